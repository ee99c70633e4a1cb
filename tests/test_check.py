"""live_trader.py --check: every line is ok, or says what to do; Alpaca is asked and nothing is changed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from alpaca.trading.requests import MarketOrderRequest, StopOrderRequest
from alpaca_live import keys_of
from receiving import TOKEN, Receiver
from rich.console import Console
from standin import StandIn
from trading import change_card, publish_eager_model, settings_in

import check
from check import Finding
from config import Settings
from desk.alpaca_orders import bracket
from desk.halt import ask_to_halt
from desk.orders import Order
from market.clock import utc_now
from market.hours import at_new_york
from market.recorded_feed import RecordedFeed
from sources import claim, open_wire

ROOT = Path(__file__).resolve().parents[1]
NOW = "2026-03-02T15:00:03Z"
MONDAY = at_new_york(date(2026, 3, 2), "10:00")


@pytest.fixture(scope="module")
def running(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars, now=NOW) as standin:
        yield standin


@pytest.fixture
def standin(running: StandIn) -> Iterator[StandIn]:
    running.reset(NOW)
    running.settings(rate_limit=None, fill_model="bar_open")
    yield running
    running.keys(running.KEY, running.SECRET)
    running.clear_faults()


@pytest.fixture
def settings(standin: StandIn, tmp_path: Path) -> Settings:
    return settings_in(tmp_path, **keys_of(standin))


def look(settings: Settings, standin: StandIn) -> dict[str, Finding]:
    wire = open_wire(settings, wait=lambda seconds: None, read_tries=1)
    return {finding.name: finding for finding in check.findings(settings, wire, standin.now)}


def alpaca_model(settings: Settings, bars: pd.DataFrame, sessions: int) -> None:
    """A model that learnt from Alpaca's bars of the first `sessions`."""
    end = RecordedFeed(bars).sessions()[sessions].open
    publish_eager_model(settings, bars[bars["timestamp"] < end].reset_index(drop=True))
    change_card(settings, market="alpaca", feed="iex")


def test_on_a_fresh_install_with_keys_every_line_is_ok(settings: Settings, standin: StandIn) -> None:
    found = look(settings, standin)
    assert list(found) == [
        "keys",
        "account",
        "feed",
        "clock",
        "calendar",
        "symbols",
        "stops",
        "horizon",
        "disk",
        "model",
        "halt",
        "messages",
    ]
    assert [finding for finding in found.values() if not finding.ok] == []
    assert found["account"].words == "active: cash 100,000 USD, equity 100,000, for entries 95,000"
    assert found["clock"].words.startswith("0 s")


def test_nothing_is_changed_at_alpaca_or_on_disk(settings: Settings, standin: StandIn, tmp_path: Path) -> None:
    standin.clear_requests()
    look(settings, standin)
    assert {entry["method"] for entry in standin.requests()} == {"GET"}
    assert len(standin.requests()) <= 10
    assert list(tmp_path.iterdir()) == []


def test_without_keys_the_three_steps_to_them_and_the_lines_of_this_machine_come(tmp_path: Path) -> None:
    found = list(check.findings(settings_in(tmp_path), None, lambda: MONDAY))
    assert [(f.name, f.ok) for f in found] == [
        ("keys", False),
        ("horizon", True),
        ("disk", True),
        ("model", True),
        ("halt", True),
        ("messages", True),
    ]
    assert found[0].code == 2
    assert "alpaca.markets" in found[0].words
    assert ".env" in found[0].words
    assert found[1].words.endswith("the next is 2026-03-03")


def test_a_calendar_that_soon_ends_is_said() -> None:
    assert not check.horizon(at_new_york(date(2035, 12, 3), "10:00")).ok


def test_refused_keys_are_exit_code_3(settings: Settings, standin: StandIn) -> None:
    standin.keys("OTHERKEY00000000000", "othersecret000000000000000000")
    found = look(settings, standin)
    assert (found["keys"].ok, found["keys"].code) == (False, 3)
    assert "account" not in found
    assert standin.KEY not in found["keys"].words


def test_no_answer_is_one_line(settings: Settings, standin: StandIn) -> None:
    standin.fault("reset_before", path="/", times=None)
    found = look(settings, standin)
    assert [name for name, finding in found.items() if not finding.ok] == ["Alpaca"]


def test_keys_that_only_the_market_data_refuses_are_refused_keys(settings: Settings, standin: StandIn) -> None:
    standin.fault("error", path="/v2/stocks", status=403, times=None)
    finding = look(settings, standin)["feed"]
    assert (finding.ok, finding.code) == (False, 3)
    assert "Copy the paper account's keys" in finding.words


def test_an_alpaca_that_hangs_is_given_up_after_seconds(
    settings: Settings, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "TOTAL_SECONDS", 0.8)
    wire = open_wire(settings, patience=0.5)
    for path in ("/v2/stocks", "/v2/clock", "/v2/calendar", "/v1beta1"):
        standin.fault("hang", path=path, times=None)
    begun = time.monotonic()
    found = list(check.findings(settings, wire, standin.now))
    assert time.monotonic() - begun < 4
    assert [f.name for f in found if not f.ok] == ["feed", "clock", "Alpaca"]
    assert "from calendar on nothing more was asked" in next(f.words for f in found if f.name == "Alpaca")
    assert [f.name for f in found][-5:] == ["horizon", "disk", "model", "halt", "messages"]


@pytest.mark.parametrize("flag", [True, None])
def test_a_blocked_account_is_said_in_alpaca_s_words(settings: Settings, standin: StandIn, flag: bool | None) -> None:
    standin.account(trading_blocked=flag)
    finding = look(settings, standin)["account"]
    assert f"trading_blocked: {flag}" in finding.words
    assert not finding.ok


def test_an_account_that_is_not_active_is_said(settings: Settings, standin: StandIn) -> None:
    standin.account(status="ACCOUNT_UPDATED")
    assert "ACCOUNT_UPDATED" in look(settings, standin)["account"].words


def test_sip_without_the_right_to_it_names_the_free_feed(settings: Settings, standin: StandIn) -> None:
    finding = look(replace(settings, FEED="sip"), standin)["feed"]
    assert not finding.ok
    assert 'FEED = "iex"' in finding.words
    standin.settings(feeds=["iex", "sip"])
    assert look(replace(settings, FEED="sip"), standin)["feed"].ok


def test_a_feed_that_cannot_be_asked_is_not_taken_for_one_without_rights(settings: Settings, standin: StandIn) -> None:
    standin.fault("error", path="/v2/stocks", status=429, times=None)
    finding = look(settings, standin)["feed"]
    assert not finding.ok
    assert finding.words.endswith("Try again")


def test_a_clock_that_is_off_is_to_be_set(settings: Settings, standin: StandIn) -> None:
    standin.fault("clock_skew", seconds=600)
    finding = look(settings, standin)["clock"]
    assert not finding.ok
    assert "600 s behind" in finding.words


def test_a_closing_that_the_calendar_here_does_not_know_is_named(settings: Settings, standin: StandIn) -> None:
    standin.fault("early_close", time="13:00", times=None)
    finding = look(settings, standin)["calendar"]
    assert not finding.ok
    assert "2026-03-02 here 09:30-16:00, there 09:30-13:00" in finding.words


def test_listed_symbols_that_cannot_be_traded_are_named(settings: Settings, standin: StandIn) -> None:
    finding = look(replace(settings, SYMBOLS=("NVDA", "NOTR", "WHAT")), standin)["symbols"]
    assert not finding.ok
    assert "NOTR, WHAT" in finding.words
    assert look(replace(settings, SYMBOLS=("NVDA",)), standin)["symbols"].ok


def test_an_empty_active_list_is_no_list(settings: Settings, standin: StandIn) -> None:
    standin.most_actives(only=[])
    assert not look(settings, standin)["symbols"].ok
    standin.most_actives()
    assert "2026-03-02T15:00:03" in look(settings, standin)["symbols"].words


def test_a_list_that_cannot_be_read_is_said(settings: Settings, standin: StandIn) -> None:
    standin.fault("error", path="/v1beta1", status=200, body=[1], times=1)
    standin.fault("error", path="/v2/assets", status=200, body={"assets": 1}, times=1)
    assert "cannot be read" in look(settings, standin)["symbols"].words
    assert "cannot be read" in look(replace(settings, SYMBOLS=("NVDA",)), standin)["symbols"].words


def test_shares_without_a_stop_are_named_whoever_bought_them(settings: Settings, standin: StandIn) -> None:
    trading = open_wire(settings, wait=standin.advance).trading
    trading.submit_order(MarketOrderRequest(symbol="NVDA", qty=3, side="buy", time_in_force="day"))
    finding = look(settings, standin)["stops"]
    assert not finding.ok
    assert "NVDA (3 of 3 shares)" in finding.words
    trading.submit_order(StopOrderRequest(symbol="NVDA", qty=2, side="sell", time_in_force="gtc", stop_price=100))
    assert "NVDA (1 of 3 shares)" in look(settings, standin)["stops"].words


@pytest.mark.parametrize("shown", [True, False])
def test_a_stop_removed_by_hand_is_missed_and_a_held_leg_is_a_stop(
    settings: Settings, standin: StandIn, shown: bool
) -> None:
    standin.settings(variants={"nested_open_shows_filled_parent": shown})
    trading = open_wire(settings, wait=standin.advance).trading
    trading.submit_order(bracket(Order("a", "NVDA", "BUY", 2, 179.0, 0, None, 0.02, 0.04), 179.0))
    finding = look(settings, standin)["stops"]
    assert (finding.ok, finding.words) == (True, "1 position, every share under a stop")
    assert {o["status"] for o in standin.orders(type="stop")} == {"held"}
    trading.cancel_order_by_id(standin.orders(type="stop")[0]["id"])
    assert "NVDA (2 of 2 shares)" in look(settings, standin)["stops"].words


def test_the_stop_of_an_entry_that_has_not_filled_protects_nothing(settings: Settings, standin: StandIn) -> None:
    trading = open_wire(settings, wait=standin.advance).trading
    trading.submit_order(MarketOrderRequest(symbol="NVDA", qty=3, side="buy", time_in_force="day"))
    standin.settings(fill_model="quotes", fill_delay_seconds=3600)
    trading.submit_order(bracket(Order("a", "NVDA", "BUY", 5, 179.0, 0, None, 0.02, 0.04), 179.0))
    assert {o["status"] for o in standin.orders(type="stop")} == {"held"}
    assert "NVDA (3 of 3 shares)" in look(settings, standin)["stops"].words


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(settings: Settings, standin: StandIn, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    finding = look(settings, standin)["disk"]
    tmp_path.chmod(0o700)
    assert not finding.ok
    assert "cannot be written" in finding.words


def test_a_file_in_the_place_of_a_folder_is_named(settings: Settings, standin: StandIn, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = look(replace(settings, MODELS_DIR=tmp_path / "file" / "models"), standin)["disk"]
    assert not finding.ok
    assert f"{tmp_path / 'file'} cannot be written" in finding.words


def test_folders_of_recorded_bars_are_not_alpaca_s(settings: Settings, standin: StandIn) -> None:
    claim(settings, "recorded", now=MONDAY)
    finding = look(settings, standin)["disk"]
    assert not finding.ok
    assert "belong to market recorded" in finding.words
    (settings.MODELS_DIR / "source.json").write_text("?")
    assert "cannot be read" in look(settings, standin)["disk"].words


def test_too_little_room_is_said(settings: Settings, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "NEEDED_BYTES", 1e18)
    assert "make room" in look(settings, standin)["disk"].words


def test_a_model_tells_its_age_its_source_and_whether_it_is_proven(
    settings: Settings, standin: StandIn, real_bars: pd.DataFrame
) -> None:
    alpaca_model(settings, real_bars, 25)
    found = look(settings, standin)["model"]
    assert found.ok
    assert "of alpaca (iex), 1 session old, unproven" in found.words
    assert "REQUIRE_PROOF" in look(replace(settings, REQUIRE_PROOF=True), standin)["model"].words
    change_card(settings, proven=True)
    assert look(replace(settings, REQUIRE_PROOF=True), standin)["model"].ok
    assert not look(replace(settings, FEED="sip"), standin)["model"].ok
    change_card(settings, train_end="2026-02-20T15:00:00-05:00")
    old = look(settings, standin)["model"]
    assert not old.ok
    assert "6 sessions old" in old.words
    next(settings.MODELS_DIR.glob("scaler_*")).unlink()
    assert "is missing" in look(settings, standin)["model"].words


def test_the_simulated_run_s_model_is_no_hindrance(
    settings: Settings, standin: StandIn, real_bars: pd.DataFrame
) -> None:
    alpaca_model(settings, real_bars, 3)
    change_card(settings, market="simulated", feed="simulated")
    finding = look(settings, standin)["model"]
    assert finding.ok
    assert "archive/" in finding.words


def test_the_lines_are_printed_and_the_code_is_the_first_failing_one_s(settings: Settings, standin: StandIn) -> None:
    standin.account(account_blocked=True)
    console = Console(record=True, width=80, file=io.StringIO())
    wire = open_wire(settings, wait=lambda seconds: None)
    code, result = check.show(settings, wire, standin.now, console)
    text = console.export_text()
    assert code == 7
    assert "look  account" in text
    assert "ok    clock" in text
    assert [c["name"] for c in result["checks"] if not c["ok"]] == ["account"]


def test_the_door_says_it_in_80_columns_sends_no_order_and_keeps_its_folders_clean(
    settings: Settings, standin: StandIn, tmp_path: Path
) -> None:
    standin.set_clock(utc_now())
    standin.real_time()
    standin.clear_requests()
    env = {name: value for name, value in os.environ.items() if "ALPACA" not in name and "APCA" not in name}
    env |= {"MODELS_DIR": str(tmp_path / "models"), "DATA_DIR": str(tmp_path / "data"), "COLUMNS": "80"}
    env |= {name: str(value) for name, value in keys_of(standin).items()}
    command = [sys.executable, str(ROOT / "live_trader.py"), "--check", "--json"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    standin.real_time(False)
    *lines, last = run.stdout.splitlines()
    assert run.returncode == 0, run.stdout + run.stderr
    assert [c["ok"] for c in json.loads(last)["checks"]] == [True] * 12
    assert max(map(len, lines[-12:])) <= 80
    assert {entry["method"] for entry in standin.requests()} == {"GET"}
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name in written if not name.startswith("data/logs/")] == []
    assert standin.KEY not in run.stdout


def test_a_halt_is_said_with_the_way_back(settings: Settings, standin: StandIn) -> None:
    ask_to_halt(settings.MODELS_DIR, "earnings week", "2026-03-02T10:31")
    finding = look(settings, standin)["halt"]
    assert not finding.ok
    assert finding.words == ("2026-03-02T10:31 earnings week. Nothing is bought until python live_trader.py --resume")


def test_each_address_gets_a_test_message_and_says_whether_it_took_it(tmp_path: Path, receiver: Receiver) -> None:
    deaf = Receiver()
    deaf.answer = 500
    settings = settings_in(tmp_path, NOTIFY_URLS=(receiver.url, deaf.url))
    took, did_not = check.messages(settings, MONDAY)
    deaf.end()
    assert (took.name, took.ok, took.words) == ("messages", True, "address 1 (JSON) took a test message")
    assert not did_not.ok
    assert did_not.words.startswith("address 2 (JSON) did not take a test message within 9 s")
    assert len(receiver.taken) == 1


def test_an_address_that_apprise_cannot_use_is_a_line_that_does_not_show_it(tmp_path: Path) -> None:
    (finding,) = check.messages(settings_in(tmp_path, NOTIFY_URLS=(f"tgrm://{TOKEN}",)), MONDAY)
    assert (finding.ok, finding.code) == (False, 2)
    assert "address 1 of 1" in finding.words
    assert TOKEN not in finding.words

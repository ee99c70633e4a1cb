"""live_trader.py --check: every line is ok, or says what to do; Alpaca is asked and nothing is changed."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from alpaca.trading.requests import MarketOrderRequest
from alpaca_live import keys_of
from rich.console import Console
from standin import StandIn
from trading import publish_eager_model, settings_in

import check
from check import Finding
from config import Settings
from market.hours import at_new_york
from market.recorded_feed import RecordedFeed
from sources import open_wire

NOW = "2026-03-02T15:00:03Z"


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
    return {finding.name: finding for finding in check.findings(settings, wire, standin.now())}


def test_on_a_fresh_install_with_keys_every_line_is_ok(settings: Settings, standin: StandIn) -> None:
    found = look(settings, standin)
    assert list(found) == ["keys", "account", "feed", "clock", "calendar", "symbols", "stops", "disk", "model"]
    assert [finding for finding in found.values() if not finding.ok] == []
    assert "cash 100,000.00 USD" in found["account"].words


def test_nothing_is_changed_at_alpaca_or_on_disk(settings: Settings, standin: StandIn, tmp_path: Path) -> None:
    standin.clear_requests()
    look(settings, standin)
    assert {entry["method"] for entry in standin.requests()} == {"GET"}
    assert len(standin.requests()) <= 10
    assert list(tmp_path.iterdir()) == []


def test_without_keys_the_three_steps_to_them_and_the_lines_of_this_machine_come(tmp_path: Path) -> None:
    found = list(check.findings(settings_in(tmp_path), None, at_new_york(pd.Timestamp("2026-03-02").date(), "10:00")))
    assert [(f.name, f.ok) for f in found] == [("keys", False), ("disk", True), ("model", True)]
    assert found[0].code == 2
    assert "alpaca.markets" in found[0].words
    assert ".env" in found[0].words


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


@pytest.mark.parametrize("flag", [True, None])
def test_a_blocked_account_is_said_in_alpaca_s_words(settings: Settings, standin: StandIn, flag: bool | None) -> None:
    standin.account(trading_blocked=flag)
    assert f"trading_blocked: {flag}" in look(settings, standin)["account"].words
    assert not look(settings, standin)["account"].ok


def test_sip_without_the_right_to_it_names_the_free_feed(settings: Settings, standin: StandIn) -> None:
    finding = look(replace(settings, FEED="sip"), standin)["feed"]
    assert not finding.ok
    assert 'FEED = "iex"' in finding.words
    standin.settings(feeds=["iex", "sip"])
    assert look(replace(settings, FEED="sip"), standin)["feed"].ok


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


def test_shares_without_a_stop_are_named_whoever_bought_them(settings: Settings, standin: StandIn) -> None:
    wire = open_wire(settings, wait=standin.advance)
    wire.trading.submit_order(MarketOrderRequest(symbol="NVDA", qty=3, side="buy", time_in_force="day"))
    finding = look(settings, standin)["stops"]
    assert not finding.ok
    assert "NVDA (3 shares)" in finding.words


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(settings: Settings, standin: StandIn, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    finding = look(settings, standin)["disk"]
    tmp_path.chmod(0o700)
    assert not finding.ok
    assert "cannot be written" in finding.words


def test_a_model_tells_its_age_and_one_of_another_feed_is_no_model(
    settings: Settings, standin: StandIn, real_bars: pd.DataFrame
) -> None:
    sessions = RecordedFeed(real_bars).sessions()
    publish_eager_model(settings, real_bars[real_bars["timestamp"] < sessions[3].open].reset_index(drop=True))
    finding = look(settings, standin)["model"]
    assert not finding.ok
    assert "sessions old, unproven" in finding.words
    standin.set_clock(standin.now() + timedelta(seconds=1))
    assert "feed iex" in look(replace(settings, FEED="sip"), standin)["model"].words


def test_the_lines_are_printed_and_the_code_is_the_first_failing_one_s(settings: Settings, standin: StandIn) -> None:
    standin.account(account_blocked=True)
    console = Console(record=True, width=80, file=io.StringIO())
    wire = open_wire(settings, wait=lambda seconds: None)
    code, result = check.show(settings, wire, standin.now(), console)
    text = console.export_text()
    assert code == 7
    assert "look  account" in text
    assert "ok    clock" in text
    assert [c["name"] for c in result["checks"] if not c["ok"]] == ["account"]

"""A live run over real HTTP: a day with quotes, part fills and lags, outages, 04:00, restarts, and refused keys."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from alpaca_live import VirtualTime, keys_of, minutes_between, trading_day
from receiving import TOKEN, Receiver
from rich.console import Console
from standin import StandIn
from trading import journal_of, publish_eager_model, settings_in

import alpaca_wire
from alpaca_wire import KeysRefused
from config import Settings
from desk.halt import ask_to_halt, ask_to_resume, asked_to_halt
from desk.journal import Journal
from ending import Terminated
from live import run_live
from locks import AlreadyRunning
from market.hours import Session, at_new_york, new_york
from market.recorded_feed import RecordedFeed
from market_scheduler import MarketScheduler
from sources import open_wire

HISTORY_SESSIONS = 12
ENDED = ("filled", "canceled", "expired", "rejected", "replaced")


@pytest.fixture(scope="module")
def sessions(real_bars: pd.DataFrame) -> list[Session]:
    return RecordedFeed(real_bars).sessions()[HISTORY_SESSIONS : HISTORY_SESSIONS + 2]


@pytest.fixture(scope="module")
def running(shared_data: Path, sessions: list[Session], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    start = at_new_york(sessions[0].day, "08:44")
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars, now=start) as standin:
        yield standin


@pytest.fixture(scope="module")
def prepared(
    running: StandIn, real_bars: pd.DataFrame, sessions: list[Session], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A models folder with an eager model, and a data folder with the bars up to the first session."""
    folder = tmp_path_factory.mktemp("prepared")
    settings = settings_in(folder, **keys_of(running), SYMBOLS=tuple(sorted(real_bars["symbol"].unique())))
    publish_eager_model(settings, real_bars[real_bars["timestamp"] < sessions[0].open].reset_index(drop=True))
    return folder


class Account:
    """A stand-in's account, folders of a test's own, and what the program said."""

    def __init__(self, standin: StandIn, settings: Settings) -> None:
        self.standin, self.settings = standin, settings
        self.said = ""

    def trade(self, minutes: Iterable[datetime], **options: Any) -> MarketScheduler:
        """One process of the live trader over these minutes."""
        console = Console(width=200, record=True, file=io.StringIO())
        try:
            time = VirtualTime(self.standin, minutes)
            return run_live(self.settings, console, timing=time.timing(), **options)
        finally:
            self.said = console.export_text()

    def check(self) -> None:
        """Books equal to the account, one order an intent, each share under a stop."""
        trades = {}
        for event in journal_of(self.settings):
            if event["kind"] == "intent":
                trades[event["order_id"]] = event
        assert {o["client_order_id"] for o in self.standin.orders(side="buy")} <= set(trades)
        assert len({o["client_order_id"] for o in self.standin.orders()}) == len(self.standin.orders())
        assert len({name.split("-")[0] for name in trades}) <= 1  # one mark for all processes on these books
        held = {symbol: int(float(p["qty"])) for symbol, p in self.standin.positions().items()}
        view = pd.read_json(self.settings.MODELS_DIR / "trade_history.json", typ="series")["trades"]
        assert {t["symbol"]: t["qty"] for t in view if t["status"] == "OPEN"} == held
        for symbol, qty in held.items():
            assert self.standin.stopped_shares(symbol) == qty


@pytest.fixture
def account(
    running: StandIn, prepared: Path, tmp_path: Path, real_bars: pd.DataFrame, sessions: list[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Account]:  # fmt: skip
    """A fresh account; its folders begin as copies of what is prepared."""
    monkeypatch.setattr(alpaca_wire, "READ_SECONDS", 0.5)
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    running.reset(at_new_york(sessions[0].day, "08:44"))
    running.settings(fill_model="bar_open", rate_limit=None)
    listed = tuple(sorted(real_bars["symbol"].unique()))
    yield Account(running, settings_in(tmp_path, **keys_of(running), SYMBOLS=listed, MIN_CONFIDENCE=0.6))
    running.clear_faults()


def test_a_day_of_quotes_part_fills_and_lags_ends_with_books_equal_to_the_account(
    account: Account, sessions: list[Session]
) -> None:
    account.standin.settings(
        fill_model="quotes", partial_share=0.5, fill_delay_seconds=0.5, cancel_lag_seconds=3, positions_lag_seconds=5,
        seed=7,
    )  # fmt: skip
    scheduler = account.trade(trading_day(sessions[0], sessions[0].open + timedelta(hours=3)))
    assert not scheduler.failures
    assert len(account.standin.orders(side="buy")) > 5
    account.check()


def test_four_in_the_morning_writes_down_what_is_sold_first_at_the_open_and_cancels_nothing(
    account: Account, sessions: list[Session]
) -> None:
    first, second = sessions
    account.trade(trading_day(first))
    held = set(account.standin.positions())
    assert held
    account.standin.clear_requests()
    account.standin.fault("set_fields", path="/v2/positions", fields={"current_price": "1.0"}, times=None)
    rebalance = at_new_york(second.day, "04:00")
    account.trade([at_new_york(second.day, "03:59"), rebalance])  # a new process, as after a night of sleep
    assert all(entry["method"] == "GET" for entry in account.standin.requests())
    (plan,) = (event for event in journal_of(account.settings)[-12:] if event["kind"] == "plan")
    assert set(plan["close"]) == held  # type: ignore[call-overload]
    account.check()
    account.standin.clear_faults()
    account.standin.clear_requests()
    account.trade(minutes_between(second.open, second.open))
    changing = [entry for entry in account.standin.requests("/v2/orders") if entry["method"] != "GET"]
    assert {entry["method"] for entry in changing} == {"DELETE", "POST"}
    assert account.standin.positions() == {}
    account.check()


def test_a_stop_that_is_gone_at_night_is_back_after_four_in_the_morning(
    account: Account, sessions: list[Session]
) -> None:
    first, second = sessions
    account.trade(trading_day(first))
    person = open_wire(account.settings, account.standin.advance).trading
    for order in account.standin.orders(side="sell", type="stop"):
        if order["status"] not in ENDED:
            person.cancel_order_by_id(order["id"])
    account.trade([at_new_york(second.day, "04:00")])
    assert account.standin.positions()
    account.check()


def test_an_outage_is_one_message_and_its_end_another(account: Account, sessions: list[Session]) -> None:
    start = sessions[0].open
    seen: list[datetime] = []

    def minutes() -> Iterator[datetime]:
        for now in minutes_between(start, start + timedelta(minutes=40)):
            if now == start + timedelta(minutes=10):
                account.standin.fault("error", path="/", status=503, times=None)
            if now == start + timedelta(minutes=25):
                account.standin.clear_faults()
            seen.append(now)
            yield now

    account.trade(minutes())
    assert len(seen) == 41
    assert account.said.count("no bars, nothing is bought") == 1
    assert account.said.count("bars are back") == 1
    assert account.said.count("failed") <= 1
    account.check()


def test_while_bars_are_missing_exits_still_go(account: Account, sessions: list[Session]) -> None:
    first, second = sessions
    account.trade(trading_day(first, first.open + timedelta(minutes=20)))
    bought = set(account.standin.positions())
    assert bought
    account.standin.fault("error", path="/v2/stocks", status=503, times=None)
    hours = [first.open + timedelta(hours=6), *minutes_between(second.open, second.open + timedelta(minutes=25))]
    account.trade(hours)
    assert account.standin.positions() == {}  # a session after the entry: sold by time
    account.check()


def test_a_full_disk_keeps_back_entries_and_no_exit(
    account: Account, sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sessions
    account.trade(trading_day(first, first.open + timedelta(minutes=20)))
    assert account.standin.positions()
    sync, full = Journal.sync, [False]

    def may_be_full(self: Journal, *, order: bool = False) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        sync(self, order=order)

    def minutes() -> Iterator[datetime]:
        yield first.open + timedelta(hours=6)
        account.standin.clear_requests()
        for now in minutes_between(second.open, second.open + timedelta(minutes=25)):
            full[0] = True
            yield now
        full[0] = False

    monkeypatch.setattr(Journal, "sync", may_be_full)
    held = set(account.standin.positions())
    account.trade(minutes())
    sold = {o["symbol"] for o in account.standin.orders(side="sell", status="filled")}
    assert held <= sold
    at_the_open = [o for o in account.standin.orders(side="buy") if o["created_at"] >= second.open.isoformat()]
    assert at_the_open == []


def test_a_refused_entry_is_not_sent_again_all_day(account: Account, sessions: list[Session]) -> None:
    body = {"code": 40310000, "message": "insufficient buying power"}
    account.standin.fault("error", method="POST", path="/v2/orders", status=403, times=None, body=body)
    account.trade(minutes_between(sessions[0].open, sessions[0].open + timedelta(minutes=30)))
    tried = [event["symbol"] for event in journal_of(account.settings) if event["kind"] == "intent"]
    assert tried
    assert len(tried) == len(set(tried))


def test_an_entry_left_by_a_killed_process_is_cancelled_before_the_next_open(
    account: Account, sessions: list[Session]
) -> None:
    first, second = sessions

    def dies() -> Iterator[datetime]:
        yield from minutes_between(first.open, first.open + timedelta(minutes=3))
        account.standin.settings(fill_model="quotes", partial_share=0.0, fill_delay_seconds=1e5)
        for now in minutes_between(first.close - timedelta(minutes=8), first.close - timedelta(minutes=1)):
            yield now
            if any(o["status"] not in ENDED for o in account.standin.orders(side="buy")):
                break
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        account.trade(dies())
    assert any(o["status"] not in ENDED for o in account.standin.orders(side="buy"))
    four = at_new_york(second.day, "04:00")
    account.trade(minutes_between(four, four + timedelta(minutes=2)))
    assert all(o["status"] in ENDED for o in account.standin.orders(side="buy"))


def test_sigterm_halts_withdraws_entries_keeps_stops_and_outlives_the_restart(
    account: Account, sessions: list[Session]
) -> None:
    first, second = sessions

    def terminated() -> Iterator[datetime]:
        yield from minutes_between(first.open, first.open + timedelta(minutes=20))
        assert account.standin.positions()
        account.standin.settings(fill_model="quotes", partial_share=0.0, fill_delay_seconds=1e5)
        for now in minutes_between(first.open + timedelta(minutes=21), first.close):
            yield now
            if any(o["status"] not in ENDED for o in account.standin.orders(side="buy")):
                raise Terminated

    with pytest.raises(Terminated):
        account.trade(terminated())
    assert all(o["status"] in ENDED for o in account.standin.orders(side="buy"))
    assert "SIGTERM" in str(asked_to_halt(account.settings.MODELS_DIR))
    account.check()
    account.standin.settings(fill_model="bar_open")
    bought = len(account.standin.orders(side="buy"))
    account.trade(trading_day(second, second.open + timedelta(minutes=20)))
    assert len(account.standin.orders(side="buy")) == bought
    ask_to_resume(account.settings.MODELS_DIR, "now")
    account.trade(minutes_between(second.open + timedelta(minutes=21), second.open + timedelta(minutes=60)))
    assert "resumed; it was halted: " in account.said
    assert len(account.standin.orders(side="buy")) > bought


def test_to_flatten_leaves_nothing_in_the_account(account: Account, sessions: list[Session]) -> None:
    start = sessions[0].open
    account.trade(minutes_between(start, start + timedelta(minutes=20)))
    assert account.standin.positions()
    ask_to_halt(account.settings.MODELS_DIR, "--flatten", "now", flatten=True)
    account.trade(minutes_between(start + timedelta(minutes=21), start + timedelta(minutes=25)))
    assert account.standin.positions() == {}
    assert all(o["status"] in ENDED for o in account.standin.orders())
    account.check()


def test_one_account_has_one_trader_from_whatever_folder(
    account: Account, sessions: list[Session], tmp_path: Path
) -> None:
    elsewhere = replace(
        account.settings, MODELS_DIR=tmp_path / "other" / "models", DATA_DIR=tmp_path / "other" / "data"
    )

    def second_start() -> Iterator[datetime]:
        yield sessions[0].open
        with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()} .* already trading this Alpaca account"):
            Account(account.standin, elsewhere).trade(minutes_between(sessions[0].open, sessions[0].open))
        yield sessions[0].open + timedelta(minutes=1)

    account.trade(second_start())
    assert not elsewhere.MODELS_DIR.exists()


def test_a_start_waits_while_there_are_too_many_requests(account: Account, sessions: list[Session]) -> None:
    start = sessions[0].open

    def minutes() -> Iterator[datetime]:
        account.standin.fault("error", path="/v2/account", status=429, body={"message": "slow"}, times=None)
        for now in minutes_between(start, start + timedelta(minutes=4)):
            if now == start + timedelta(minutes=2):
                account.standin.clear_faults()
            yield now

    account.trade(minutes())
    assert account.said.count("waiting for Alpaca") == 1


def test_keys_revoked_in_mid_session_end_the_run_and_leave_the_stops(account: Account, sessions: list[Session]) -> None:
    start = sessions[0].open

    def minutes() -> Iterator[datetime]:
        for now in minutes_between(start, start + timedelta(minutes=30)):
            if now == start + timedelta(minutes=20):
                account.standin.keys("NEWKEY0000000000000", "newsecret00000000000000000000")
            yield now

    with pytest.raises(KeysRefused, match="was reset"):
        account.trade(minutes())
    account.standin.keys(account.standin.KEY, account.standin.SECRET)
    assert account.standin.positions()
    account.check()


@pytest.mark.parametrize(
    ("fault", "parameters", "words"),
    [
        ("clock_skew", {"seconds": 600}, "clock is 6"),
        ("early_close", {"time": "12:00"}, "closes at 12:00"),
    ],
)
def test_nothing_is_bought_while_clocks_or_calendars_disagree_and_it_is_said_once(
    account: Account, sessions: list[Session], fault: str, parameters: dict[str, object], words: str
) -> None:
    account.standin.fault(fault, times=None, **parameters)
    account.trade(trading_day(sessions[0], sessions[0].open + timedelta(minutes=30)))
    assert account.standin.orders() == []
    assert account.said.count(words) == 1


def test_a_start_waits_for_alpaca_and_says_so_once(account: Account, sessions: list[Session]) -> None:
    start = sessions[0].open

    def minutes() -> Iterator[datetime]:
        account.standin.fault("reset_before", path="/v2/account", times=None)
        for now in minutes_between(start, start + timedelta(minutes=8)):
            if now == start + timedelta(minutes=4):
                account.standin.clear_faults()
            yield now

    account.trade(minutes())
    assert account.said.count("waiting for Alpaca") == 1
    assert "books and broker agree" in account.said


@pytest.mark.parametrize("after", [1, 2, 3, 5, 8, 13])
def test_a_process_that_dies_in_mid_session_is_taken_up_by_the_next(
    account: Account, sessions: list[Session], after: int
) -> None:
    start, middle = sessions[0].open, sessions[0].open + timedelta(minutes=after * 7)

    def dies() -> Iterator[datetime]:
        yield from minutes_between(start, middle)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        account.trade(dies())
    account.trade(minutes_between(middle, middle + timedelta(minutes=20)))
    account.check()


def test_watching_only_sends_no_order(account: Account, sessions: list[Session]) -> None:
    account.trade(trading_day(sessions[0], sessions[0].open + timedelta(minutes=60)), entries=False)
    assert account.standin.orders() == []
    assert any(event["kind"] == "signal" for event in journal_of(account.settings))


def test_a_quiet_minute_takes_at_most_three_requests(account: Account, sessions: list[Session]) -> None:
    account.settings = settings_in(
        account.settings.MODELS_DIR.parent, **keys_of(account.standin), MIN_CONFIDENCE=0.6, MIN_VOLUME=0, MIN_PRICE=1.0
    )
    counted: dict[datetime, int] = {}

    def minutes() -> Iterator[datetime]:
        for now in minutes_between(sessions[0].open, sessions[0].open + timedelta(minutes=50)):
            account.standin.clear_requests()
            yield now
            sent = account.standin.requests()
            quiet = all(entry["method"] == "GET" for entry in sent)
            if quiet and now.minute % 5:
                counted[now] = len(sent)

    account.trade(minutes())
    assert account.standin.orders()
    assert sorted(counted.values())[len(counted) // 2] <= 3
    busy = {now: count for now, count in counted.items() if count > 3}
    assert len(busy) <= 10, busy  # first minutes, newcomers, fills that the next minute hears of


def test_one_minute_and_no_more(account: Account, sessions: list[Session]) -> None:
    minutes = minutes_between(sessions[0].open + timedelta(minutes=5), sessions[0].close)
    account.trade(minutes, once=True)
    assert sum(event["kind"] == "minute" for event in journal_of(account.settings)) == 1
    assert next(iter(minutes)) == datetime(2026, 2, 9, 14, 36, tzinfo=UTC)


def test_cash_that_is_not_of_our_trades_is_said_once(account: Account, sessions: list[Session]) -> None:
    def minutes() -> Iterator[datetime]:
        for now in minutes_between(sessions[0].open, sessions[0].open + timedelta(minutes=40)):
            if now == sessions[0].open + timedelta(minutes=22):
                account.standin.account(cash=123456.78)
            yield now

    account.trade(minutes())
    assert account.standin.orders()
    assert account.said.count("are not of our trades") == 1


def test_a_fresh_install_trains_a_first_model_and_again_at_twenty_hours(
    account: Account, sessions: list[Session]
) -> None:
    shutil.rmtree(account.settings.MODELS_DIR)
    shutil.rmtree(account.settings.DATA_DIR, ignore_errors=True)
    evening = at_new_york(sessions[1].day, "20:00")
    account.standin.set_clock(evening - timedelta(minutes=3))
    scheduler = account.trade(minutes_between(evening - timedelta(minutes=2), evening + timedelta(minutes=2)))
    assert not scheduler.failures
    assert "No trained model found" in account.said
    duties = [(e["session"], e["outcome"]) for e in journal_of(account.settings) if e["kind"] == "duty"]
    assert duties == [(str(sessions[1].day), "done")]  # the first model is that evening's: one training a session
    card = next(account.settings.MODELS_DIR.glob("card_*.json"))
    assert '"market": "alpaca"' in card.read_text()
    assert '"feed": "iex"' in card.read_text()


def test_in_the_evening_the_day_is_reviewed_from_its_final_bars_and_then_learnt_from(
    account: Account, sessions: list[Session]
) -> None:
    day = sessions[0]

    def minutes() -> Iterator[datetime]:
        yield from minutes_between(day.open, day.open + timedelta(minutes=40))
        yield day.close
        yield from minutes_between(at_new_york(day.day, "20:00"), at_new_york(day.day, "20:02"))

    scheduler = account.trade(minutes())
    assert not scheduler.failures
    duties = [(e["duty"], e["session"], e["outcome"]) for e in journal_of(account.settings) if e["kind"] == "duty"]
    assert duties == [("review", str(day.day), "done"), ("train", str(day.day), "done")]
    review = json.loads((account.settings.MODELS_DIR / "reviews" / f"{day.day}.json").read_text())
    assert review["verification"]["compared"] > 40 * 10
    assert review["verification"]["agree"] == review["verification"]["compared"]
    assert review["costs"]  # of orders that this session filled
    assert account.said.index(f"review of {day.day}: drift") < account.said.index(f"training of {day.day} done")


def test_the_local_account_makes_up_for_bars_that_an_outage_kept_back(
    account: Account, sessions: list[Session], tmp_path: Path
) -> None:
    start, until = sessions[0].open, sessions[0].open + timedelta(minutes=60)

    def minutes(outage: bool) -> Iterator[datetime]:
        for now in minutes_between(start, until):
            if outage and now == start + timedelta(minutes=20):
                account.standin.fault("error", path="/v2/stocks", status=503, times=None)
            if now == start + timedelta(minutes=50):
                account.standin.clear_faults()
            yield now

    plain, folder = account.settings, tmp_path / "again"
    shutil.copytree(tmp_path / "models", folder / "models")
    rules: dict[str, Any] = {"STOP_LOSS_PCT": 0.003, "TAKE_PROFIT_PCT": 0.003, "MIN_CONFIDENCE": 0.45}
    account.settings = replace(plain, **rules)
    account.trade(minutes(outage=True), broker="paper")
    kept_back = exits_between(account.settings, start, 20, 50)
    account.standin.reset(start - timedelta(minutes=1))
    account.standin.settings(rate_limit=None)
    account.settings = replace(plain, **rules, MODELS_DIR=folder / "models", DATA_DIR=folder / "data")
    account.trade(minutes(outage=False), broker="paper")
    seen_at_once = exits_between(account.settings, start, 20, 50)
    assert seen_at_once
    assert kept_back == seen_at_once


def exits_between(settings: Settings, start: datetime, first: int, last: int) -> list[tuple[str, str, str]]:
    """Exits between these minutes of trades that were entered before: symbol, time, reason."""
    begin, end = (new_york(start + timedelta(minutes=n)).isoformat() for n in (first, last))
    return sorted(
        (t["symbol"], t["exit_time"], t["exit_reason"])
        for t in closed(settings)
        if t["entry_time"] < begin <= t["exit_time"] < end
    )


def closed(settings: Settings) -> list[dict[str, Any]]:
    view = json.loads((settings.MODELS_DIR / "trade_history.json").read_text())
    return [t for t in view["trades"] if t["status"] == "CLOSED"]


def test_the_local_account_can_trade_on_alpaca_s_bars(account: Account, sessions: list[Session]) -> None:
    account.trade(trading_day(sessions[0], sessions[0].open + timedelta(minutes=30)), broker="paper")
    assert account.standin.orders() == []
    assert any(event["kind"] == "execution" for event in journal_of(account.settings))


# --- who looks on -----------------------------------------------------------------------------------------------------


def test_a_phone_hears_of_the_start_each_fill_and_the_end(
    account: Account, sessions: list[Session], receiver: Receiver
) -> None:
    account.settings = replace(account.settings, NOTIFY_URLS=(receiver.url,))
    opened = sessions[0].open
    account.trade(minutes_between(opened, opened + timedelta(minutes=40)))
    bought = [t["symbol"] for t in trades_of(account.settings) if t["qty"]]
    assert bought
    heard = "\n".join(f"{message['title']}: {message['message']}" for message in receiver.taken)
    assert "Alpaca's paper account" in heard
    assert [symbol for symbol in bought if symbol not in heard] == []
    assert TOKEN not in account.said


def test_a_receiver_that_hangs_costs_no_minute_and_loses_no_trade(
    account: Account, sessions: list[Session], receiver: Receiver
) -> None:
    receiver.answer = None
    account.settings = replace(account.settings, NOTIFY_URLS=(receiver.url,))
    opened = sessions[0].open
    scheduler = account.trade(minutes_between(opened, opened + timedelta(minutes=40)))
    assert not scheduler.failures
    assert any(t["qty"] for t in trades_of(account.settings))
    account.check()


def test_systemd_and_the_health_check_hear_each_minute_and_the_end(
    account: Account, sessions: list[Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, alive = sessions[0].open, account.settings.DATA_DIR / "alive"
    seen = list[str]()

    def minutes() -> Iterator[datetime]:
        for minute in minutes_between(opened, opened + timedelta(minutes=3)):
            seen.append(alive.read_text() if alive.exists() else "")
            yield minute

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        account.trade(minutes())
        told = systemd.recv(4096).decode()
    assert told.startswith("READY=1\nWATCHDOG=1\nSTATUS=market open; 0 trades")
    assert "market open" in seen[-1]
    assert not alive.exists()


def trades_of(settings: Settings) -> list[dict[str, Any]]:
    trades: list[dict[str, Any]] = json.loads((settings.MODELS_DIR / "trade_history.json").read_text())["trades"]
    return trades

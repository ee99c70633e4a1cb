"""The law of the account: a real session traded over HTTP through alpaca-py is the local replay of that session."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from alpaca_live import VirtualTime, keys_of, trading_day
from rich.console import Console
from standin import StandIn
from trading import publish_eager_model, settings_in, trade

from config import Settings
from desk.books import Books
from live import run_live
from market.hours import at_new_york
from market.recorded_feed import RecordedFeed

HISTORY_SESSIONS = 12


def outline(books: Books) -> list[tuple[object, ...]]:
    return [
        (t.symbol, t.status, t.qty, t.entry_time, t.exit_time, t.exit_reason)
        for t in sorted(books.trades.values(), key=lambda t: (t.entry_time, t.symbol))
    ]


@pytest.fixture(scope="module")
def history(real_bars: pd.DataFrame) -> pd.DataFrame:
    sessions = RecordedFeed(real_bars).sessions()
    return real_bars[real_bars["timestamp"] < sessions[HISTORY_SESSIONS].open].reset_index(drop=True)


@pytest.mark.parametrize("first", [HISTORY_SESSIONS, HISTORY_SESSIONS + 5])
def test_a_real_session_over_http_gives_the_signals_and_trades_of_its_local_replay(
    shared_data: Path, real_bars: pd.DataFrame, history: pd.DataFrame, tmp_path: Path, first: int
) -> None:
    sessions = RecordedFeed(real_bars).sessions()[first : first + 2]
    rules: dict[str, object] = {"MIN_CONFIDENCE": 0.6, "ROUND_TRIP_COST_PCT": 0.0, "SYMBOLS": None}
    local = settings_in(tmp_path / "local", **rules)
    publish_eager_model(local, history)
    replayed = trade(local, real_bars, sessions).books

    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    start = at_new_york(sessions[0].day, "08:44")
    with StandIn.start(tmp_path / "standin", bars=bars, now=start) as standin:
        standin.settings(fill_model="bar_open", rate_limit=None)
        listed = tuple(sorted(real_bars["symbol"].unique()))
        remote: Settings = settings_in(tmp_path / "remote", **{**rules, **keys_of(standin), "SYMBOLS": listed})
        publish_eager_model(remote, history)
        time = VirtualTime(standin, (minute for session in sessions for minute in trading_day(session)))
        scheduler = run_live(remote, Console(quiet=True), timing=time.timing())
        positions = standin.positions()
        orders = standin.orders()
    lived = scheduler._trader.books

    assert not scheduler.failures
    assert sum(t.status == "CLOSED" for t in replayed.trades.values()) > 5
    assert outline(lived) == outline(replayed)
    for mine, theirs in zip(
        sorted(lived.trades.values(), key=lambda t: (t.entry_time, t.symbol)),
        sorted(replayed.trades.values(), key=lambda t: (t.entry_time, t.symbol)),
        strict=True,
    ):
        assert mine.price == pytest.approx(theirs.price, abs=0.0101)
        assert mine.confidence == pytest.approx(theirs.confidence, abs=1e-6)
        if mine.status == "CLOSED":
            assert mine.exit_price == pytest.approx(theirs.exit_price, abs=0.0101)
    for mine_signal, their_signal in zip(lived.signals, replayed.signals, strict=True):
        assert {**mine_signal, "confidence": 0} == {**their_signal, "confidence": 0}
        assert mine_signal["confidence"] == pytest.approx(their_signal["confidence"], abs=1e-6)
    assert {symbol: int(p["qty"]) for symbol, p in positions.items()} == {
        t.symbol: t.held for t in lived.live_trades().values() if t.held
    }
    assert len({o["client_order_id"] for o in orders}) == len(orders)

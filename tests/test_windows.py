"""What live prediction sees: windows without a hole, of the newest word on each bar, and the features of the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from alpaca_wire import Unreachable
from learning.features import FEATURES, WARMUP_BARS, compute_features
from market.bars import Bar, as_bars
from market.hours import epoch_minute, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from windows import Windows

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 6))
SYMBOLS = ["SIM06", "SIM10", "SIM12"]
NOW = SESSIONS[-1].open + timedelta(hours=5)
MINUTE = timedelta(minutes=1)
DAYS_BACK = 30


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return simulate_bars(SESSIONS, SYMBOLS, seed=19)


@dataclass
class CountingFeed:
    """A recorded market that notes whose history is fetched, and has an outage while `down`."""

    table: pd.DataFrame
    down: bool = False
    fetched: list[list[str]] = field(default_factory=list)

    def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        self.fetched.append(list(symbols))
        if self.down:
            raise Unreachable("no answer")
        return RecordedFeed(self.table).bars(symbols, start, end)


@dataclass
class Desk:
    """Windows over such a feed, brought up to a minute as the trader does it."""

    feed: CountingFeed

    def __post_init__(self) -> None:
        self.windows = Windows(self.feed, DAYS_BACK)  # type: ignore[arg-type]

    def look(
        self, now: datetime, symbols: Sequence[str], *, since: datetime | None = None, more: Sequence[Bar] = ()
    ) -> list[str | None]:
        """With the bars from `since` on (the newest alone by default), and `more`."""
        since, time = since or now - MINUTE, self.feed.table["timestamp"]
        newest = self.feed.table[(time >= since) & (time < now)]
        new = [bar for bar in as_bars(newest) if bar.symbol in symbols]
        return self.windows.look(now, symbols, [*more, *new], epoch_minute(since))

    def assert_whole(self, now: datetime, symbols: Sequence[str], table: pd.DataFrame) -> None:
        """The windows' features are the newest rows of all that `table` knows at `now`."""
        known = table[(table["timestamp"] < now) & table["symbol"].isin(list(symbols))].reset_index(drop=True)
        newest = compute_features(known).groupby("symbol").tail(1).set_index("symbol")
        expected = newest.loc[list(symbols), FEATURES].to_numpy()
        np.testing.assert_allclose(self.windows.features(symbols), expected, rtol=1e-6, atol=1e-9)


@pytest.fixture
def desk(bars: pd.DataFrame) -> Desk:
    return Desk(CountingFeed(bars))


def test_the_newest_features_are_the_last_row_of_the_whole_table(desk: Desk, bars: pd.DataFrame) -> None:
    assert desk.look(NOW, SYMBOLS) == [None, None, None]
    desk.assert_whole(NOW, SYMBOLS, bars)
    assert desk.windows.features([]).shape == (0, len(FEATURES))


def test_minute_by_minute_history_is_fetched_once(desk: Desk, bars: pd.DataFrame) -> None:
    for minute in range(5):
        assert desk.look(NOW + minute * MINUTE, SYMBOLS) == [None, None, None]
        desk.assert_whole(NOW + minute * MINUTE, SYMBOLS, bars)
    assert desk.feed.fetched == [SYMBOLS]


def test_a_newcomer_is_fetched_alone_and_one_that_comes_back_is_fetched_anew(desk: Desk, bars: pd.DataFrame) -> None:
    desk.look(NOW, ["SIM06"])
    desk.look(NOW + MINUTE, ["SIM06", "SIM10"])
    desk.look(NOW + 2 * MINUTE, ["SIM06"])
    desk.look(NOW + 3 * MINUTE, ["SIM06"])
    assert desk.look(NOW + 4 * MINUTE, ["SIM06", "SIM10"]) == [None, None]
    assert desk.feed.fetched == [["SIM06"], ["SIM10"], ["SIM10"]]
    desk.assert_whole(NOW + 4 * MINUTE, ["SIM06", "SIM10"], bars)


def test_minutes_that_were_missed_leave_no_hole(desk: Desk, bars: pd.DataFrame) -> None:
    desk.look(NOW, SYMBOLS)
    desk.look(NOW + 30 * MINUTE, SYMBOLS)
    assert desk.feed.fetched == [SYMBOLS, SYMBOLS]
    desk.assert_whole(NOW + 30 * MINUTE, SYMBOLS, bars)


def test_the_first_minute_of_a_session_fetches_all_anew_as_the_past_may_have_changed(
    desk: Desk, bars: pd.DataFrame
) -> None:
    desk.look(SESSIONS[-2].close, SYMBOLS)
    halved = bars.copy()
    halved[["open", "high", "low", "close"]] /= 2
    desk.feed.table = halved
    desk.look(SESSIONS[-1].open, SYMBOLS, since=SESSIONS[-2].close)
    desk.look(SESSIONS[-1].open + MINUTE, SYMBOLS)
    assert desk.feed.fetched == [SYMBOLS, SYMBOLS]
    desk.assert_whole(SESSIONS[-1].open + MINUTE, SYMBOLS, halved)


def test_a_correction_and_a_late_bar_are_the_last_word(desk: Desk, bars: pd.DataFrame) -> None:
    late = (bars["symbol"] == "SIM06") & (bars["timestamp"] == NOW - 2 * MINUTE)
    revised = (bars["symbol"] == "SIM10") & (bars["timestamp"] == NOW - MINUTE)
    first = bars[~late].reset_index(drop=True)
    first.loc[first["symbol"].eq("SIM10") & first["timestamp"].eq(NOW - MINUTE), ["close", "high"]] *= 1.01
    desk.feed.table = first
    desk.look(NOW, SYMBOLS)
    desk.assert_whole(NOW, SYMBOLS, first)
    desk.feed.table = bars
    desk.look(NOW + MINUTE, SYMBOLS, more=as_bars(bars[late | revised]))
    desk.assert_whole(NOW + MINUTE, SYMBOLS, bars)
    assert desk.feed.fetched == [SYMBOLS]


def test_one_whose_history_cannot_be_fetched_is_tried_again_and_keeps_nobody_else_waiting(
    desk: Desk, bars: pd.DataFrame
) -> None:
    desk.look(NOW, ["SIM06"])
    desk.feed.down = True
    for minute in (1, 2):
        problems = desk.look(NOW + minute * MINUTE, ["SIM06", "SIM10"])
        assert problems == [None, "its history cannot be fetched"]
    desk.feed.down = False
    assert desk.look(NOW + 3 * MINUTE, ["SIM06", "SIM10"]) == [None, None]
    assert desk.feed.fetched == [["SIM06"], ["SIM10"], ["SIM10"], ["SIM10"]]
    desk.assert_whole(NOW + 3 * MINUTE, ["SIM06", "SIM10"], bars)


def test_why_a_newest_bar_is_not_predicted(desk: Desk, bars: pd.DataFrame) -> None:
    silent = (bars["symbol"] == "SIM06") & (bars["timestamp"] >= NOW - 7 * MINUTE)
    new = (bars["symbol"] == "SIM10") & (bars["timestamp"] < NOW - 120 * MINUTE)
    desk.feed.table = bars[~silent & ~new].reset_index(drop=True)
    assert desk.look(NOW, ["SIM06", "SIM10", "SIM12", "ZZZ"]) == [
        "last bar is 8 minutes old",
        f"warming up: 120 of {WARMUP_BARS} bars",
        None,
        "the source has no bars of it",
    ]
    assert desk.look(SESSIONS[-1].close + 60 * MINUTE, ["SIM12"]) == ["market is closed"]
    assert desk.windows.price("ZZZ") == 0.0


def test_the_newest_bar_and_how_many_the_session_had_are_told_for_the_evening(desk: Desk, bars: pd.DataFrame) -> None:
    gone = (bars["symbol"] == "SIM10") & (bars["timestamp"] == SESSIONS[-1].open + 3 * MINUTE)
    desk.feed.table = bars[~gone].reset_index(drop=True)
    symbols = ["SIM10", "SIM06"]
    desk.look(NOW, symbols)
    assert desk.windows.bars_since(symbols, SESSIONS[-1].open) == [299, 300]
    last = bars[bars["timestamp"] == NOW - MINUTE].set_index("symbol")
    expected = last.loc[symbols, ["open", "high", "low", "close", "volume"]].to_numpy()
    np.testing.assert_array_equal(desk.windows.newest_bars(symbols), expected)
    assert desk.windows.price("SIM06") == last.loc["SIM06", "close"]


def test_windows_of_symbols_that_are_no_longer_watched_go_with_the_session(desk: Desk) -> None:
    desk.look(SESSIONS[-2].close, SYMBOLS)
    desk.look(NOW, SYMBOLS[:1])
    assert list(desk.windows._windows) == SYMBOLS[:1]

"""Bars on this machine, handed out as they would have become known and never earlier."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.bars import COLUMNS, Bar, NoBars, as_bars, check_bars
from market.hours import at_new_york, epoch_minute, moment, sessions_between
from market.recorded_feed import RecordedFeed

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
SESSIONS = sessions_between(date(2026, 3, 5), date(2026, 3, 9))  # over a weekend on which clocks go forward
THURSDAY, FRIDAY, MONDAY = SESSIONS
MINUTES = [epoch_minute(session.open) + into for session in SESSIONS for into in range(session.minutes)]
SYMBOLS = ["AMD", "NVDA", "TSLA"]


def table(rows: Sequence[tuple[str, int]]) -> pd.DataFrame:
    """A bars table of these symbols and minutes, each bar with its own prices."""
    values = [(s, moment(m), 10.0 + i, 10.5 + i, 9.5 + i, 10.25 + i, 100.0 + i) for i, (s, m) in enumerate(rows)]
    return check_bars(pd.DataFrame(values, columns=COLUMNS).astype({"timestamp": "datetime64[us, UTC]"}))


def between(bars: pd.DataFrame, symbols: Sequence[str], first: int, stop: int) -> list[Bar]:
    """By plain comparison: bars of `symbols` with first <= minute < stop, by minute, then symbol."""
    found = [bar for bar in as_bars(bars) if bar.symbol in symbols and first <= bar.minute < stop]
    return sorted(found, key=lambda bar: (bar.minute, bar.symbol))


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """NVDA has every minute, AMD every third, TSLA none on Friday."""
    friday = range(epoch_minute(FRIDAY.open), epoch_minute(FRIDAY.close))
    return table(
        [("NVDA", minute) for minute in MINUTES]
        + [("AMD", minute) for minute in MINUTES[::3]]
        + [("TSLA", minute) for minute in MINUTES if minute not in friday]
    )


# --- bars -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [timedelta(0), SECOND, 59 * SECOND])
def test_a_bar_is_known_one_minute_after_its_start_and_not_a_second_before(bars: pd.DataFrame, late: timedelta) -> None:
    feed = RecordedFeed(bars)
    end = THURSDAY.open + 10 * MINUTE + late
    known = feed.bars(["NVDA"], THURSDAY.open, end)
    assert known["timestamp"].max() == THURSDAY.open + 9 * MINUTE
    assert len(known) == 10
    assert feed.new_bars(["NVDA"], 0, end)[-1].minute == epoch_minute(THURSDAY.open) + 9


def test_bars_are_a_checked_table_from_start_on(bars: pd.DataFrame) -> None:
    found = RecordedFeed(bars).bars(["AMD", "TSLA"], FRIDAY.open, MONDAY.open + 30 * MINUTE)
    pd.testing.assert_frame_equal(found, check_bars(found))
    assert found["symbol"].value_counts().to_dict() == {"AMD": 130 + 10, "TSLA": 30}
    assert found["timestamp"].min() == FRIDAY.open


@given(
    symbols=st.lists(st.sampled_from(SYMBOLS), unique=True),
    start=st.integers(MINUTES[0] - 5, MINUTES[-1] + 5),
    length=st.integers(-10, 3000),
    seconds=st.integers(0, 59),
)
def test_any_span_of_any_symbols_is_what_plain_comparison_finds(
    bars: pd.DataFrame, symbols: list[str], start: int, length: int, seconds: int
) -> None:
    end = moment(start + length) + seconds * SECOND
    found = as_bars(RecordedFeed(bars).bars(symbols, moment(start), end))
    assert sorted(found, key=lambda bar: (bar.minute, bar.symbol)) == between(bars, symbols, start, start + length)
    assert [(bar.symbol, bar.minute) for bar in found] == sorted((bar.symbol, bar.minute) for bar in found)


def test_a_symbol_without_bars_brings_none_and_does_not_widen_the_question(bars: pd.DataFrame) -> None:
    feed = RecordedFeed(bars)
    assert feed.bars(["GME"], THURSDAY.open, MONDAY.close).empty
    found = feed.bars(["NVDA", "GME"], THURSDAY.open, MONDAY.close)
    assert found["symbol"].unique().tolist() == ["NVDA"]
    assert len(feed.bars([*SYMBOLS, "GME"], THURSDAY.open, MONDAY.close)) == len(bars)


def test_the_feeds_table_is_not_changed_by_who_reads_it(bars: pd.DataFrame) -> None:
    feed = RecordedFeed(bars.copy())
    found = feed.bars(SYMBOLS, THURSDAY.open, MONDAY.close)
    found["close"] = 0.0
    pd.testing.assert_frame_equal(feed.table, bars)


# --- new bars -------------------------------------------------------------------------------------------------------

some_rows = st.lists(
    st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(MINUTES)), unique=True, min_size=1, max_size=30
)
instants = st.integers(MINUTES[0] - 3, MINUTES[-1] + 3)
questions = st.tuples(instants, instants | st.none(), st.sets(st.sampled_from([*SYMBOLS, "GME"])))


@given(rows=some_rows, asked=st.lists(questions, max_size=6))
@settings(max_examples=80)
def test_new_bars_are_the_same_bars_by_minute_then_symbol_whatever_was_asked_before(
    rows: list[tuple[str, int]], asked: list[tuple[int, int | None, set[str]]]
) -> None:
    bars = table(rows)
    feed = RecordedFeed(bars)
    for after, until, symbols in asked:
        now = after + 2 if until is None else until  # None: the minute that has just ended
        expected = between(bars, sorted(symbols), after + 1, now)
        assert feed.new_bars(sorted(symbols), after, moment(now)) == expected
        known = feed.bars(SYMBOLS, moment(after + 1), moment(now))
        assert sorted(bar for bar in as_bars(known) if bar.symbol in symbols) == sorted(expected)


def test_minute_by_minute_every_bar_comes_once_over_the_weekend_too(bars: pd.DataFrame) -> None:
    feed = RecordedFeed(bars)
    seen: list[Bar] = []
    for session in SESSIONS:
        for into in range(session.minutes + 1):
            now = session.open + into * MINUTE
            after = seen[-1].minute if seen else 0
            news = feed.new_bars(SYMBOLS, after, now)
            assert all(bar.minute == epoch_minute(now) - 1 for bar in news)
            seen += news
    assert seen == between(bars, SYMBOLS, 0, 10**9)


# --- what is stored -------------------------------------------------------------------------------------------------


def test_sessions_are_those_with_bars(bars: pd.DataFrame) -> None:
    assert RecordedFeed(bars).sessions() == SESSIONS
    without_friday = bars[bars["symbol"] == "TSLA"].reset_index(drop=True)
    assert RecordedFeed(without_friday).sessions() == [THURSDAY, MONDAY]
    last_minute = table([("NVDA", epoch_minute(FRIDAY.close) - 1)])
    assert RecordedFeed(last_minute).sessions() == [FRIDAY]


def test_now_is_the_end_of_the_newest_bar_of_any_symbol() -> None:
    early, late = epoch_minute(THURSDAY.open), epoch_minute(FRIDAY.open) + 17
    feed = RecordedFeed(table([("AMD", late), ("NVDA", early)]))
    assert feed.end == FRIDAY.open + 18 * MINUTE
    assert len(feed.bars(SYMBOLS, THURSDAY.open, feed.end)) == 2
    assert len(feed.bars(SYMBOLS, THURSDAY.open, feed.end - SECOND)) == 1


def test_symbols_are_all_that_have_bars_and_the_market_has_a_name(bars: pd.DataFrame) -> None:
    feed = RecordedFeed(bars)
    assert feed.symbols(THURSDAY.open) == SYMBOLS
    assert (feed.market, feed.feed) == ("recorded", "recorded")
    assert RecordedFeed(bars, "simulated").market == "simulated"


def test_no_bars_at_all_are_refused_with_the_cure(bars: pd.DataFrame) -> None:
    with pytest.raises(NoBars, match=r"recorded market holds no bars.*--bars PATH"):
        RecordedFeed(bars.head(0))


@pytest.mark.parametrize("naive", [datetime.fromisoformat("2026-03-05T15:00:00")])
def test_a_time_without_a_zone_is_refused(bars: pd.DataFrame, naive: datetime) -> None:
    feed = RecordedFeed(bars)
    for question in (
        lambda: feed.bars(["NVDA"], naive, MONDAY.close),
        lambda: feed.bars(["NVDA"], THURSDAY.open, naive),
        lambda: feed.new_bars(["NVDA"], 0, naive),
    ):
        with pytest.raises(ValueError, match="naive"):
            question()


def test_on_real_bars_a_day_asked_minute_by_minute_is_the_day(real_bars: pd.DataFrame) -> None:
    feed = RecordedFeed(real_bars)
    session = feed.sessions()[-2]
    assert len(feed.sessions()) == 31
    assert feed.end == at_new_york(date(2026, 3, 6), "16:00")
    after = epoch_minute(session.open) - 1
    news = [
        bar
        for into in range(1, 391)
        for bar in feed.new_bars(feed.symbols(session.open), after + into - 1, session.open + into * MINUTE)
    ]
    whole = feed.bars(feed.symbols(session.open), session.open, session.close)
    assert len(news) == 12 * 390
    assert sorted(news) == sorted(as_bars(whole))

"""New York hours, against another library's calendar and on machines that live elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pandas_market_calendars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.hours import (
    NEW_YORK,
    OutsideCalendar,
    at_new_york,
    epoch_minute,
    half_hours,
    is_open,
    last_closed,
    last_opened,
    market_ordinal,
    market_time,
    moment,
    new_york,
    next_close,
    next_open,
    next_session,
    session_at,
    session_on,
    sessions_between,
)

FIRST, LAST = date(2024, 1, 1), date(2027, 12, 31)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
FRIDAY, MONDAY = date(2026, 2, 6), date(2026, 2, 9)
NAIVE = datetime.fromisoformat("2026-02-06T14:30:00")

minutes_2024_to_2027 = st.integers(
    epoch_minute(at_new_york(FIRST, "09:30")) + 2880, epoch_minute(at_new_york(LAST, "09:30"))
)


@pytest.fixture(scope="module")
def oracle() -> pd.DataFrame:
    return pandas_market_calendars.get_calendar("NYSE").schedule(str(FIRST), str(LAST))


# --- the calendar ---------------------------------------------------------------------------------------------------


def test_sessions_opens_and_closes_equal_those_of_an_independent_calendar(oracle: pd.DataFrame) -> None:
    ours = sessions_between(FIRST, LAST)
    assert [s.day for s in ours] == [stamp.date() for stamp in oracle.index]
    assert [s.open for s in ours] == oracle["market_open"].tolist()
    assert [s.close for s in ours] == oracle["market_close"].tolist()


def test_early_closes_equal_those_of_an_independent_calendar(oracle: pd.DataFrame) -> None:
    early = pandas_market_calendars.get_calendar("NYSE").early_closes(oracle)
    assert [s.day for s in sessions_between(FIRST, LAST) if s.minutes == 210] == [stamp.date() for stamp in early.index]
    assert {s.minutes for s in sessions_between(FIRST, LAST)} == {390, 210}


@pytest.mark.parametrize("day", [date(2026, 11, 27), date(2026, 12, 24)])
def test_the_day_after_thanksgiving_and_christmas_eve_close_at_13_00(day: date) -> None:
    session = session_on(day)
    assert session is not None
    assert session.close == at_new_york(day, "13:00")
    assert session.minutes == 210
    assert is_open(at_new_york(day, "12:59"))
    assert not is_open(at_new_york(day, "13:00"))


@pytest.mark.parametrize(
    "day",
    [
        date(2025, 1, 9),  # day of mourning for President Carter: in no rule, only in a kept calendar
        date(2026, 1, 1),
        date(2026, 1, 19),
        date(2026, 4, 3),  # Good Friday
        date(2026, 6, 19),
        date(2026, 7, 3),  # Independence Day falls on a Saturday
        date(2026, 11, 26),
        date(2026, 12, 25),
        date(2026, 2, 7),  # a Saturday
    ],
)
def test_holidays_and_weekends_have_no_session(day: date) -> None:
    assert session_on(day) is None
    assert not is_open(at_new_york(day, "11:00"))


@pytest.mark.parametrize("change", [date(2026, 3, 8), date(2026, 11, 1)])
def test_the_open_is_9_30_in_new_york_on_both_sides_of_a_daylight_saving_change(change: date) -> None:
    before, after = session_on(change - timedelta(days=2)), session_on(change + timedelta(days=1))
    assert before is not None
    assert after is not None
    assert [new_york(s.open).strftime("%H:%M") for s in (before, after)] == ["09:30", "09:30"]
    assert [new_york(s.close).strftime("%H:%M") for s in (before, after)] == ["16:00", "16:00"]
    assert before.open.hour != after.open.hour
    assert after.open - before.open != timedelta(days=3)


# --- the same answers wherever the machine stands -------------------------------------------------------------------

ZONES = ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata"]
QUESTIONS = """
import json, sys
from datetime import date, timedelta
from market.hours import *
answers = {}
for text in ("2026-03-06", "2026-03-08", "2026-03-09", "2026-10-30", "2026-11-01", "2026-11-02"):
    day = date.fromisoformat(text)
    for hhmm in ("04:00", "20:00"):
        answers[f"{text} {hhmm}"] = at_new_york(day, hhmm).isoformat()
    session = session_on(day)
    answers[text] = session and [session.open.isoformat(), session.close.isoformat()]
    evening = at_new_york(day, "20:00")
    answers[f"{text} shown"] = new_york(evening).isoformat()
    answers[f"{text} next open"] = next_open(evening).isoformat()
    answers[f"{text} last closed"] = last_closed(evening).day.isoformat()
    answers[f"{text} into"] = [market_ordinal(next_close(evening)) - market_ordinal(evening), is_open(evening)]
    answers[f"{text} minute"] = moment(epoch_minute(evening)).isoformat()
sys.stdout.write(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers_by_zone() -> dict[str, dict[str, object]]:
    root = Path(__file__).resolve().parents[1]
    started = {
        zone: subprocess.Popen(
            [sys.executable, "-c", QUESTIONS],
            cwd=root,
            env={**os.environ, "TZ": zone, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
        )
        for zone in ZONES
    }
    return {zone: json.loads(process.communicate()[0]) for zone, process in started.items()}


@pytest.mark.parametrize("zone", ZONES)
def test_hours_do_not_depend_on_the_time_zone_of_the_machine(
    zone: str, answers_by_zone: dict[str, dict[str, object]]
) -> None:
    answers = answers_by_zone[zone]
    expected = {
        "2026-03-06": ["2026-03-06T14:30:00+00:00", "2026-03-06T21:00:00+00:00"],
        "2026-03-08": None,
        "2026-03-09": ["2026-03-09T13:30:00+00:00", "2026-03-09T20:00:00+00:00"],
        "2026-03-06 20:00": "2026-03-07T01:00:00+00:00",
        "2026-03-08 04:00": "2026-03-08T08:00:00+00:00",
        "2026-03-08 20:00": "2026-03-09T00:00:00+00:00",
        "2026-03-08 shown": "2026-03-08T20:00:00-04:00",
        "2026-03-06 next open": "2026-03-09T13:30:00+00:00",
        "2026-10-30": ["2026-10-30T13:30:00+00:00", "2026-10-30T20:00:00+00:00"],
        "2026-11-01 04:00": "2026-11-01T09:00:00+00:00",
        "2026-11-01 20:00": "2026-11-02T01:00:00+00:00",
        "2026-11-01 last closed": "2026-10-30",
        "2026-11-02": ["2026-11-02T14:30:00+00:00", "2026-11-02T21:00:00+00:00"],
        "2026-11-02 into": [390, False],
        "2026-11-02 minute": "2026-11-03T01:00:00+00:00",
    }
    assert {question: answers[question] for question in expected} == expected
    assert answers == answers_by_zone["UTC"]


# --- questions about a moment ---------------------------------------------------------------------------------------


def test_the_market_is_open_at_the_open_and_not_at_the_close() -> None:
    session = session_on(FRIDAY)
    assert session is not None
    assert not is_open(session.open - SECOND)
    assert is_open(session.open)
    assert is_open(session.close - SECOND)
    assert not is_open(session.close)
    assert session_at(session.open) == session
    assert session_at(session.close) is None


def test_next_and_last_look_across_a_weekend() -> None:
    friday, monday = session_on(FRIDAY), session_on(MONDAY)
    assert friday is not None
    assert monday is not None
    saturday = at_new_york(date(2026, 2, 7), "12:00")
    assert (next_open(saturday), next_close(saturday)) == (monday.open, monday.close)
    assert next_session(saturday) == monday
    assert last_opened(saturday) == last_closed(saturday) == friday


def test_next_and_last_during_a_session_tell_the_open_one_from_the_closed_one() -> None:
    thursday, friday, monday = sessions_between(date(2026, 2, 5), MONDAY)
    noon = at_new_york(FRIDAY, "12:00")
    assert last_opened(noon) == friday
    assert last_closed(noon) == thursday
    assert next_close(noon) == friday.close
    assert next_session(noon) == monday


def test_at_the_open_the_next_open_is_another_and_at_the_close_the_session_has_closed() -> None:
    thursday, friday, monday = sessions_between(date(2026, 2, 5), MONDAY)
    assert next_open(friday.open - SECOND) == friday.open
    assert next_open(friday.open) == monday.open
    assert last_opened(friday.open - SECOND) == thursday
    assert last_opened(friday.open) == friday
    assert next_close(friday.close - SECOND) == friday.close
    assert next_close(friday.close) == monday.close
    assert last_closed(friday.close - SECOND) == thursday
    assert last_closed(friday.close) == friday


def test_the_zone_in_which_a_moment_is_written_does_not_matter() -> None:
    opening = at_new_york(FRIDAY, "09:30")
    for zone in ("Asia/Kolkata", "Europe/Berlin", "America/New_York"):
        elsewhere = pd.Timestamp(opening).tz_convert(zone).to_pydatetime()
        assert is_open(elsewhere)
        assert not is_open(elsewhere - MINUTE)


@pytest.mark.parametrize(
    "question",
    [
        epoch_minute, new_york, session_at, is_open, last_opened, last_closed,
        next_open, next_close, next_session, market_ordinal,
    ],
)  # fmt: skip
def test_a_naive_datetime_is_refused_by_every_question(question: Callable[[datetime], object]) -> None:
    with pytest.raises(ValueError, match=r"naive datetime 2026-02-06 14:30:00.*carry a zone"):
        question(NAIVE)


def test_a_moment_before_the_calendar_is_refused() -> None:
    early = datetime(2004, 6, 1, 15, 0, tzinfo=UTC)
    for question in (is_open, session_at, last_opened, last_closed):
        with pytest.raises(OutsideCalendar, match=r"2005-01-01 to 2035-12-31"):
            question(early)
    with pytest.raises(OutsideCalendar):
        market_time(np.array([epoch_minute(early)]))


def test_a_moment_after_the_calendar_is_refused() -> None:
    late = datetime(2036, 6, 2, 15, 0, tzinfo=UTC)
    for question in (next_open, next_close, next_session):
        with pytest.raises(OutsideCalendar, match=r"2005-01-01 to 2035-12-31"):
            question(late)
    with pytest.raises(OutsideCalendar):
        market_time(np.array([epoch_minute(late)]))


def test_sessions_between_includes_both_ends() -> None:
    assert [s.day for s in sessions_between(FRIDAY, MONDAY)] == [FRIDAY, MONDAY]
    assert sessions_between(date(2026, 2, 7), date(2026, 2, 8)) == []


@given(st.datetimes(datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2027-12-31")))
def test_a_moment_comes_back_from_its_minute_with_the_seconds_cut_off(when: datetime) -> None:
    assert moment(epoch_minute(when.replace(tzinfo=UTC))) == when.replace(second=0, microsecond=0, tzinfo=UTC)


@given(st.dates(FIRST, LAST), st.integers(0, 23), st.integers(0, 59))
def test_at_new_york_shows_that_time_on_a_new_york_clock(day: date, hour: int, minute: int) -> None:
    hhmm = f"{hour:02}:{minute:02}"
    there = at_new_york(day, hhmm).astimezone(NEW_YORK)
    skipped = hour == 2 and there.hour in (1, 3)  # the hour that a spring night leaves out
    assert skipped or (there.date(), there.strftime("%H:%M")) == (day, hhmm)


# --- market time ----------------------------------------------------------------------------------------------------


@given(st.lists(minutes_2024_to_2027, min_size=1, max_size=20))
@settings(max_examples=50)
def test_market_time_agrees_with_a_walk_through_the_sessions(oracle: pd.DataFrame, minutes: list[int]) -> None:
    found = market_time(np.array(minutes))
    opens = [epoch_minute(stamp) for stamp in oracle["market_open"]]
    closes = [epoch_minute(stamp) for stamp in oracle["market_close"]]
    base = market_time(np.array(opens[:1]))  # the count starts in 2005; compare from the first session of 2024
    for i, minute in enumerate(minutes):
        number = max(n for n, opening in enumerate(opens) if opening <= minute)
        before = sum(close - opening for opening, close in zip(opens[:number], closes[:number], strict=True))
        assert found.session[i] - base.session[0] == number
        assert found.into[i] == minute - opens[number]
        assert found.length[i] == closes[number] - opens[number]
        assert found.inside[i] == (opens[number] <= minute < closes[number])
        assert found.ordinal[i] - base.ordinal[0] == before + minute - opens[number]


def test_market_time_is_inside_from_each_open_up_to_and_without_each_close(oracle: pd.DataFrame) -> None:
    opens = np.array([epoch_minute(stamp) for stamp in oracle["market_open"]])
    closes = np.array([epoch_minute(stamp) for stamp in oracle["market_close"]])
    assert not market_time(opens - 1).inside.any()
    assert market_time(opens).inside.all()
    assert market_time(closes - 1).inside.all()
    assert not market_time(closes).inside.any()
    assert market_time(np.array([], dtype=np.int64)).ordinal.tolist() == []


@given(minutes_2024_to_2027, st.integers(0, 2 * 1440))
@settings(max_examples=40)
def test_market_time_between_two_moments_is_the_number_of_open_minutes(start: int, length: int) -> None:
    counted = sum(is_open(moment(minute)) for minute in range(start, start + length))
    assert market_ordinal(moment(start + length)) - market_ordinal(moment(start)) == counted


@given(minutes_2024_to_2027)
def test_inside_a_session_both_ways_of_counting_market_minutes_agree(minute: int) -> None:
    place = market_time(np.array([minute]))
    if place.inside[0]:
        assert market_ordinal(moment(minute)) == place.ordinal[0]
    else:
        assert market_ordinal(moment(minute)) == market_ordinal(next_open(moment(minute)))


def test_a_half_hour_of_a_session_has_one_number_that_no_other_has() -> None:
    friday, monday = sessions_between(FRIDAY, MONDAY)
    minutes = np.concatenate([np.arange(s.minutes) + epoch_minute(s.open) for s in (friday, monday)])
    numbers = half_hours(minutes).reshape(26, 30)
    assert (numbers == numbers[:, :1]).all()
    assert (np.diff(numbers[:, 0]) > 0).all()


def test_a_night_a_weekend_and_a_holiday_count_nothing() -> None:
    friday, monday = sessions_between(FRIDAY, MONDAY)
    assert market_ordinal(friday.close) == market_ordinal(monday.open)
    assert market_ordinal(at_new_york(date(2026, 2, 8), "13:00")) == market_ordinal(monday.open)
    assert market_ordinal(monday.open + MINUTE) - market_ordinal(friday.close - MINUTE) == 2
    before, after = sessions_between(date(2026, 11, 25), date(2026, 11, 27))  # Thanksgiving lies between
    assert market_ordinal(before.close) == market_ordinal(after.open)
    assert market_ordinal(after.close) - market_ordinal(after.open) == 210

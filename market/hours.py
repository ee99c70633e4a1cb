"""New York sessions: when is the market open, and how much market time lies between two moments.

The exchange's own holidays and early closes come from the XNYS calendar of `exchange_calendars`, which nothing
outside this file touches. Moments are timezone-aware `datetime` or, in bulk, int64 minutes since 1970-01-01 UTC.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import NamedTuple

import exchange_calendars
import numpy as np
import pytz
from numpy.typing import NDArray

NEW_YORK = pytz.timezone("America/New_York")
FIRST_DAY, LAST_DAY = date(2005, 1, 1), date(2035, 12, 31)
HALF_HOUR_MINUTES = 30

Minutes = NDArray[np.int64]


class OutsideCalendar(ValueError):
    """A moment before 2005 or after 2035, where we hold no exchange calendar."""


class Session(NamedTuple):
    """One trading day of the New York Stock Exchange; `open` and `close` in UTC."""

    day: date
    open: datetime
    close: datetime

    @property
    def minutes(self) -> int:
        """Length in minutes: 390, or 210 on an early close."""
        return int((self.close - self.open) // timedelta(minutes=1))


@dataclass(frozen=True)
class MarketTime:
    """Where each of n minutes stands in market time; every field is an array of shape (n,).

    `session` counts sessions since the calendar's first and `into` the minutes since that session's open;
    `length` is the session's length in minutes. `ordinal` counts market minutes since the calendar's first open, so
    that the difference of two ordinals is market time. Outside a session `inside` is False, and the other fields speak
    of the last session that had opened (`into` is then at or beyond `length`).
    """

    inside: NDArray[np.bool_]
    session: Minutes
    into: Minutes
    length: Minutes
    ordinal: Minutes


class _Calendar:
    """The whole calendar as sorted arrays, so that a question is one search."""

    def __init__(self) -> None:
        schedule = exchange_calendars.get_calendar("XNYS", start=str(FIRST_DAY), end=str(LAST_DAY)).schedule
        self.days: list[date] = [stamp.date() for stamp in schedule.index]
        self.open: Minutes = schedule["open"].to_numpy("datetime64[m]").astype(np.int64)
        self.close: Minutes = schedule["close"].to_numpy("datetime64[m]").astype(np.int64)
        length = self.close - self.open
        self.end = epoch_minute(NEW_YORK.localize(datetime.combine(LAST_DAY, time.max)))
        self.start_ordinal: Minutes = np.cumsum(length) - length

    @cached_property
    def open_list(self) -> list[int]:
        opens: list[int] = self.open.tolist()
        return opens

    @cached_property
    def close_list(self) -> list[int]:
        closes: list[int] = self.close.tolist()
        return closes

    def before(self, times: list[int], now: datetime) -> int:
        """Index of the newest of `times` at or before `now`, which lies within the years of the calendar."""
        minute = epoch_minute(now)
        index = bisect_right(times, minute) - 1
        if index < 0 or minute > self.end:
            raise OutsideCalendar(f"the exchange calendar here covers {FIRST_DAY} to {LAST_DAY} only")
        return index

    def session(self, index: int) -> Session:
        if not 0 <= index < len(self.days):
            raise OutsideCalendar(f"the exchange calendar here covers {FIRST_DAY} to {LAST_DAY} only")
        return Session(self.days[index], moment(self.open_list[index]), moment(self.close_list[index]))


@lru_cache(maxsize=1)
def _calendar() -> _Calendar:
    return _Calendar()


def epoch_minute(when: datetime) -> int:
    """Minutes since 1970-01-01 UTC, seconds cut off. ValueError for a naive datetime."""
    if when.tzinfo is None:
        raise ValueError(f"naive datetime {when}: times here always carry a zone")
    return int(when.timestamp() // 60)


def moment(minute: int) -> datetime:
    """The UTC datetime of a minute since 1970-01-01."""
    return datetime.fromtimestamp(int(minute) * 60, UTC)


def new_york(when: datetime) -> datetime:
    """The same moment on a New York wall clock (daylight saving applied)."""
    epoch_minute(when)
    return when.astimezone(NEW_YORK)


@lru_cache(maxsize=1024)  # a minute's signals and orders share one text
def local_time(minute: int) -> str:
    """A minute since 1970 as ISO 8601 with the New York offset: 2026-02-14T10:35:00-05:00."""
    return new_york(moment(minute)).isoformat()


@lru_cache(maxsize=1024)
def at_new_york(day: date, hhmm: str) -> datetime:
    """The UTC moment at which a New York clock shows `hhmm` ("20:00") on `day`."""
    local = datetime.combine(day, time.fromisoformat(hhmm))
    return NEW_YORK.localize(local).astimezone(UTC)


def session_on(day: date) -> Session | None:
    """The session of that New York date, or None on a weekend or holiday."""
    calendar = _calendar()
    index = bisect_left(calendar.days, day)
    found = index < len(calendar.days) and calendar.days[index] == day
    return calendar.session(index) if found else None


def session_at(now: datetime) -> Session | None:
    """The session with open <= now < close, or None."""
    session = last_opened(now)
    return session if now < session.close else None


def is_open(now: datetime) -> bool:
    """True from the open up to, and without, the close."""
    return session_at(now) is not None


def last_opened(now: datetime) -> Session:
    """The newest session that has opened at `now`, whether or not it has closed."""
    return _calendar().session(_calendar().before(_calendar().open_list, now))


def last_closed(now: datetime) -> Session:
    """The newest session that has closed at `now`."""
    return _calendar().session(_calendar().before(_calendar().close_list, now))


def next_open(now: datetime) -> datetime:
    """The first open after `now`."""
    return next_session(now).open


def next_close(now: datetime) -> datetime:
    """The first close after `now`."""
    return _calendar().session(bisect_right(_calendar().close_list, epoch_minute(now))).close


def next_session(now: datetime) -> Session:
    """The first session that opens after `now`."""
    return _calendar().session(bisect_right(_calendar().open_list, epoch_minute(now)))


def sessions_between(first: date, last: date) -> list[Session]:
    """All sessions with first <= day <= last, oldest first."""
    calendar = _calendar()
    return [
        calendar.session(index) for index in range(bisect_left(calendar.days, first), bisect_right(calendar.days, last))
    ]


def market_time(minutes: Minutes) -> MarketTime:
    """Place minutes since 1970 in market time, in bulk.

    Args: `minutes`, int64 of shape (n,). Raises OutsideCalendar beyond 2005..2035.
    """
    calendar = _calendar()
    if minutes.size and (minutes.min() < calendar.open[0] or minutes.max() >= calendar.close[-1]):
        raise OutsideCalendar(f"the exchange calendar here covers {FIRST_DAY} to {LAST_DAY} only")
    session = np.searchsorted(calendar.open, minutes, side="right") - 1
    into = minutes - calendar.open[session]
    length = (calendar.close - calendar.open)[session]
    ordinal = calendar.start_ordinal[session] + into
    return MarketTime(into < length, session, into, length, ordinal)


def half_hours(minutes: Minutes) -> Minutes:
    """The half hour, of all sessions' in order, that each minute of a session lies in; shape (n,)."""
    time = market_time(minutes)
    return time.session * 24 + time.into // HALF_HOUR_MINUTES


def market_ordinal(now: datetime) -> int:
    """Market minutes since the calendar's first open; outside a session, that of the next open."""
    calendar, minute = _calendar(), epoch_minute(now)
    index = calendar.before(calendar.open_list, now)
    within = min(minute, calendar.close_list[index]) - calendar.open_list[index]
    return int(calendar.start_ordinal[index]) + within

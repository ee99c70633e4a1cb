"""When the exchange is open: the house's calendar, with early closes that control announced."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from market.hours import Session, at_new_york, new_york, next_session, session_on, sessions_between

DAY = timedelta(days=1)


class Hours:
    """Sessions, after early closes; every moment is aware."""

    def __init__(self) -> None:
        self.early: dict[date, str] = {}

    def on(self, day: date) -> Session | None:
        """The session of a New York date."""
        session = _session_on(day)
        return session._replace(close=at_new_york(day, self.early[day])) if session and day in self.early else session

    def at(self, now: datetime) -> Session | None:
        """The session with open <= now < close."""
        session = self.on(new_york(now).date())
        return session if session and session.open <= now < session.close else None

    def next_open(self, now: datetime) -> datetime:
        """The first open after `now`."""
        return _next_open(now.replace(second=0, microsecond=0))

    def next_close(self, now: datetime) -> datetime:
        """The first close after `now`."""
        session = self.on(new_york(now).date())
        if session and now < session.close:
            return session.close
        following = self.on(new_york(self.next_open(now)).date())
        return following.close if following else self.next_open(now)

    def open_from(self, now: datetime) -> datetime:
        """`now` inside a session, else the next open."""
        return now if self.at(now) else self.next_open(now)

    def extended(self, now: datetime) -> bool:
        """Is `now` between 4:00 and 20:00 of a trading day?"""
        local = new_york(now)
        return self.on(local.date()) is not None and time(4) <= local.time() < time(20)

    def clock(self, now: datetime) -> dict[str, Any]:
        """GET /v2/clock."""
        return {
            "timestamp": new_york(now).isoformat(),
            "is_open": self.at(now) is not None,
            "next_open": new_york(self.next_open(now)).isoformat(),
            "next_close": new_york(self.next_close(now)).isoformat(),
        }

    def calendar(self, first: date, last: date) -> list[dict[str, str]]:
        """GET /v2/calendar: trading days only, wall-clock times of New York."""
        days = []
        for plain in sessions_between(first, last):
            session = self.on(plain.day) or plain
            days.append(
                {
                    "date": str(session.day),
                    "open": f"{new_york(session.open):%H:%M}",
                    "close": f"{new_york(session.close):%H:%M}",
                    "session_open": "0400",
                    "session_close": "2000",
                    "settlement_date": str(next_session(at_new_york(session.day, "12:00")).day),
                }
            )
        return days


@lru_cache(maxsize=4096)
def _session_on(day: date) -> Session | None:
    return session_on(day)


@lru_cache(maxsize=4096)
def _next_open(minute: datetime) -> datetime:
    return next_session(minute).open

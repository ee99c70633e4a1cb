"""A live run against the stand-in: its clock as the machine's own, and settings that lead to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from standin import StandIn

from live import Timing
from market.hours import Session, at_new_york

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class VirtualTime:
    """The stand-in's clock as the machine's own: waiting moves it, and so does each of `minutes`, 3 s late."""

    def __init__(self, standin: StandIn, minutes: Iterable[datetime]) -> None:
        self._standin, self._minutes = standin, minutes
        self.at = standin.now()

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def wait(self, seconds: float) -> None:
        self.at = self._standin.advance(seconds)

    def minutes(self) -> Iterator[datetime]:
        for now in self._minutes:
            self.at = self._standin.set_clock(max(now + 3 * SECOND, self.at + SECOND))
            yield now

    def timing(self) -> Timing:
        return Timing(self.minutes(), self.now, self.wait, self.monotonic)


def trading_day(session: Session, until: datetime | None = None) -> Iterator[datetime]:
    """A late rebalance, then the session's minutes from open to close, or `until`."""
    yield at_new_york(session.day, "08:45")
    yield from minutes_between(session.open, min(session.close, until or session.close))


def minutes_between(first: datetime, last: datetime) -> Iterator[datetime]:
    """Every minute from `first` to `last`, both inclusive."""
    yield from (first + i * MINUTE for i in range((last - first) // MINUTE + 1))


def keys_of(standin: StandIn) -> dict[str, object]:
    return {
        "MARKET": "alpaca",
        "ALPACA_API_KEY": standin.KEY,
        "ALPACA_SECRET_KEY": standin.SECRET,
        "ALPACA_TRADING_URL": standin.api,
        "ALPACA_DATA_URL": standin.api,
    }

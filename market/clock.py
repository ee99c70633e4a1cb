"""Clocks: something you iterate minutes from. The only place of the house that asks the machine for the time.

for now in WallClock():                      # every minute, a few seconds late, until the process ends
for now in ReplayClock(sessions, ...):       # every minute of history at which there is something to do, at once
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from market.hours import Session, at_new_york

log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
JUMP = 2 * MINUTE
# Alpaca publishes a minute's bar about one second after its end; three leave room for the way here.
LATENESS_SECONDS = 3.0


def utc_now() -> datetime:
    """The machine's time, aware, in UTC."""
    return datetime.now(UTC)


def wait(seconds: float) -> None:
    """Let time pass."""
    time.sleep(seconds)


@dataclass(frozen=True)
class WallClock:
    """Yields each minute (UTC, seconds zero) once it has begun, `lateness_seconds` late; a missed minute is skipped.

    The next minute is computed from the epoch each time, so that nothing drifts and a slow minute costs only itself. A
    clock that was set back by more than two minutes is believed at once: waiting for it would be a silent hour.
    `now` and `wait` (seconds) are arguments so that a test can hand in its own time.
    """

    now: Callable[[], datetime] = utc_now
    wait: Callable[[float], object] = wait
    lateness_seconds: float = LATENESS_SECONDS

    def __iter__(self) -> Iterator[datetime]:
        last: datetime | None = None
        while True:
            late = timedelta(seconds=self.lateness_seconds)
            now = self.now()
            minute = (now - late).replace(second=0, microsecond=0)
            if last is not None and minute < last - JUMP:
                log.warning("the clock was set back from %s to %s", last, minute)
            elif last is not None and minute <= last:
                self.wait((minute + MINUTE + late - now).total_seconds())
                continue
            elif last is not None and minute > last + JUMP:
                log.warning("no minute from %s to %s: suspended, or the clock was set", last, minute)
            last = minute
            yield minute


@dataclass(frozen=True)
class ReplayClock:
    """Yields, for each session, `rebalance_time`, every minute from open to close inclusive, and `train_time`.

    Session minutes are UTC; the two duties' times are New York's.
    """

    sessions: Sequence[Session]
    rebalance_time: str = "04:00"
    train_time: str = "20:00"

    def __iter__(self) -> Iterator[datetime]:
        for session in self.sessions:
            minutes = (session.open + i * MINUTE for i in range(session.minutes + 1))
            duties = (at_new_york(session.day, self.rebalance_time), at_new_york(session.day, self.train_time))
            yield from sorted({*minutes, *duties})

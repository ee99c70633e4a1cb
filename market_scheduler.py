"""What is due when: trading each minute of a session, training at 20:00, rebalancing at 04:00, New York time.

    python market_scheduler.py      is the market open, when does it open and close, when are the next duties

`MarketScheduler.run(clock)` owns the loop. What is due is decided by `tick(now)` from the books on disk, so that a
duty missed by a stopped process is made up once, or said to be missed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

import command
from alpaca_wire import AlpacaError, KeysRefused, Unreachable
from config import Settings
from desk.books import Books, BooksDisagree
from market.bars import NoBars
from market.clock import utc_now
from market.hours import (
    Session,
    at_new_york,
    epoch_minute,
    is_open,
    last_closed,
    last_opened,
    new_york,
    next_close,
    next_open,
    next_session,
    session_on,
)

log = logging.getLogger(__name__)

# A training that has not begun by an hour before the open is not begun any more: it could run into the session.
TRAIN_UNTIL_BEFORE_OPEN = timedelta(hours=1)

TRADING, LOOKING_ON = "trading minute", "what onlookers see"
ERRORS_TO_HALT = 5  # minutes in a row that fail for another reason than the way to Alpaca or the disk, which heal


class Trader(Protocol):
    """What the scheduler calls in a trader."""

    books: Books

    def minute(self, now: datetime) -> None: ...
    def rebalance(self, now: datetime) -> None: ...
    def record_duty(self, duty: str, session: str, outcome: str, words: str) -> None: ...
    def halt_for(self, why: str, now: datetime) -> None: ...


class Training(Protocol):
    """A training that has been started: `outcome` is None while it runs, then (done or failed, words)."""

    def outcome(self) -> tuple[str, str] | None: ...


class MarketScheduler:
    """Calls trader and training when they are due.

    Args: `train(now)` starts a training; `review(now, books)` learns from the day before it, and returns what there is
    to say (None: there is no review); `show(now)` ends each tick with what a person sees. The one catch-all of the
    house is here: a duty that raises is logged and counted in `failures`, and starves no other.
    """

    def __init__(
        self,
        settings: Settings,
        trader: Trader,
        train: Callable[[datetime], Training],
        say: Callable[[str], object] = log.info,
        review: Callable[[datetime, Books], str] | None = None,
        show: Callable[[datetime], object] | None = None,
    ) -> None:
        self._settings = settings
        self._trader = trader
        self._train = train
        self._review = review
        self._show = show
        self._say = say
        self._training: tuple[date, Training] | None = None
        self._began: datetime | None = None  # this process's first minute
        self._new_books = False  # whether nothing had ever been traded then
        self._said_idle: date | None = None
        self._begun: set[tuple[str, date]] = set()  # duties that this process began: one that fails is not begun again
        self.failures: Counter[str] = Counter()
        self._errors = 0  # trading minutes in a row that failed
        self._failing: dict[str, type[Exception]] = {}  # duties that are tried again, and how the last attempt failed

    def run(self, clock: Iterable[datetime]) -> None:
        """Tick for each minute that the clock yields."""
        for now in clock:
            self.tick(now)

    def tick(self, now: datetime) -> None:
        """Do what is due at `now`."""
        if self._began is None:
            self._began, self._new_books = now, not self._trader.books.last_minute
        self._attempt("review", self._review_due, now)
        self._attempt("training", self._training_due, now)
        self._attempt("rebalance", self._rebalance_due, now)
        session = last_opened(now)
        if session.open <= now <= session.close:
            self._attempt(TRADING, self._trader.minute, now)
            if self._errors >= ERRORS_TO_HALT:
                self._attempt("halt", self._halt_for_errors, now)
        else:
            self._say_idle(now)
        if self._show is not None:
            self._attempt(LOOKING_ON, self._show, now)

    def _halt_for_errors(self, now: datetime) -> None:
        self._trader.halt_for(f"{self._errors} trading minutes failed", now)
        self._errors = 0  # only now: a halt that fails is tried again, and so is one after a person has resumed

    def _attempt(self, duty: str, action: Callable[[datetime], None], now: datetime) -> None:
        try:
            action(now)
        except (BooksDisagree, KeysRefused):
            raise  # nothing may be traded on books that are wrong, or can be without keys: these end the loop
        except Exception as error:
            # The one catch-all: whatever one duty does wrong, the next minute must still look after the positions.
            self.failures[duty] += 1
            words = f"{type(error).__name__}: {error}"
            if self._failing.get(duty) is not type(error):  # one message for an outage, not one a minute
                log.log(
                    logging.INFO if isinstance(error, AlpacaError | NoBars) else logging.ERROR,
                    "%s at %s failed", duty, now, exc_info=error,
                )  # fmt: skip
                self._say(f"{duty} at {new_york(now):%Y-%m-%d %H:%M} failed: {words}")
            if duty == TRADING:
                self._errors += not isinstance(error, AlpacaError | OSError)
            again = isinstance(error, Unreachable) or (duty == "rebalance" and isinstance(error, OSError))
            if duty in (TRADING, LOOKING_ON) or again:  # the other duties are not tried again
                self._failing[duty] = type(error)
        else:
            self._errors = 0 if duty == TRADING else self._errors
            if self._failing.pop(duty, None) is not None:
                self._say(f"{duty} at {new_york(now):%Y-%m-%d %H:%M} works again")

    def _training_due(self, now: datetime) -> None:
        if self._training is not None:
            self._finish_training(*self._training)
            return
        session, due = last_closed(now), self._evening(now)
        if now < due or self._was_begun("train", session.day):
            return
        if now >= next_session(session.open).open - TRAIN_UNTIL_BEFORE_OPEN:
            words = "not begun before the next session"
            if not (self._new_books and due < self._began):  # books that began later have missed nothing
                self._say(f"training of {session.day} was missed: {words}")
                self._trader.record_duty("train", str(session.day), "missed", words)
            return
        self.begin_training(now)

    def _evening(self, now: datetime) -> datetime:
        """TRAIN_TIME after the last session that has closed."""
        return after_close(last_closed(now), self._settings.TRAIN_TIME)

    def _review_due(self, now: datetime) -> None:
        """At TRAIN_TIME, or later in the night; of a session that nobody traded there is nothing to review."""
        session, books = last_closed(now), self._trader.books
        traded = books.last_minute >= epoch_minute(session.open)
        if self._review is None or now < self._evening(now) or not traded or self._was_begun("review", session.day):
            return
        if not session.close < now < next_session(session.open).open:  # the close itself is still to be traded
            return
        with self._once("review", session.day):
            words = self._review(now, books)
        self._trader.record_duty("review", str(session.day), "done", words)
        self._say(f"review of {session.day}: {words}")

    def begin_training(self, now: datetime) -> None:
        """Start a training now, whatever the hour: there is no model to trade with."""
        day = last_closed(now).day
        with self._once("train", day):
            self._finish_training(day, self._train(now))

    def try_to_train(self, now: datetime) -> None:
        """As `begin_training`, but what keeps it from starting is said and counted, and raised no further."""
        self._attempt("training", self.begin_training, now)

    def finish_training(self, waiting: Callable[[], object] = lambda: None) -> None:
        """Wait for a training that is under way; `waiting` is called again and again meanwhile."""
        while self._training is not None:
            waiting()
            self._finish_training(*self._training)

    def _finish_training(self, day: date, training: Training) -> None:
        self._training = None  # first, so that an outcome that raises is not asked for every minute from now on
        result: tuple[str, str] | None = "failed", "what became of it cannot be told"
        try:
            result = training.outcome()
        finally:
            if result is None:
                self._training = day, training
            else:
                self._trader.record_duty("train", str(day), *result)
        if result is not None and result[0] != "skipped":
            self._say(f"training of {day} {result[0]}: {result[1]}")

    def _rebalance_due(self, now: datetime) -> None:
        session = session_on(new_york(now).date())
        if session is None or self._was_begun("rebalance", session.day):
            return
        if at_new_york(session.day, self._settings.REBALANCE_TIME) <= now < session.open:
            with self._once("rebalance", session.day, OSError):
                self._trader.rebalance(now)
            self._trader.record_duty("rebalance", str(session.day), "done", "")

    @contextmanager
    def _once(self, duty: str, day: date, *heals: type[Exception]) -> Iterator[None]:
        """A duty that fails is not begun again, unless nothing but the way to Alpaca, or what `heals`, failed it."""
        self._begun.add((duty, day))
        try:
            yield
        except (Unreachable, *heals):
            self._begun.discard((duty, day))
            raise

    def _was_begun(self, duty: str, day: date) -> bool:
        return (duty, day) in self._begun or (duty, str(day)) in self._trader.books.duties

    def _say_idle(self, now: datetime) -> None:
        """One line a day on which the market does not open."""
        today = new_york(now).date()
        if session_on(today) is None and self._said_idle != today:
            self._said_idle = today
            self._say(f"{today:%A %Y-%m-%d}: no session, nothing new to learn; next open {_local(next_open(now))}")


def _local(when: datetime) -> str:
    return f"{new_york(when):%a %Y-%m-%d %H:%M %Z}"


def after_close(session: Session, hhmm: str) -> datetime:
    """New York's `hhmm` after a session has closed; before the close's hour, that of the early next day."""
    due = at_new_york(session.day, hhmm)
    return due if due >= session.close else at_new_york(session.day + timedelta(days=1), hhmm)


def next_training(settings: Settings, now: datetime) -> datetime:
    """When the newest session that is not learnt from by `now` will be."""
    session = last_closed(now)
    while (due := after_close(session, settings.TRAIN_TIME)) <= now:
        session = next_session(session.open)
    return due


def next_rebalance(settings: Settings, now: datetime) -> datetime:
    """REBALANCE_TIME of the next day with a session."""
    session = last_closed(now)
    while (due := at_new_york(session.day, settings.REBALANCE_TIME)) <= now:
        session = next_session(session.open)
    return due


def status(settings: Settings, now: datetime) -> dict[str, str]:
    """The market and the duties at `now`, in words; times are New York's."""
    session: Session = last_opened(now)
    return {
        "now": _local(now),
        "market": "open" if is_open(now) else "closed",
        "session": f"{session.day}, {session.minutes} minutes" if is_open(now) else "none",
        "next open": _local(next_open(now)),
        "next close": _local(next_close(now)),
        "next training": _local(next_training(settings, now)),
        "next rebalance": _local(next_rebalance(settings, now)),
    }


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    lines = status(settings, utc_now())
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in lines.items():
        table.add_row(name, value)
    console.print(table)
    return 0, {name.replace(" ", "_"): value for name, value in lines.items()}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command.parser("market_scheduler.py", __doc__).parse_args(argv)
    return command.run("market_scheduler", _body, arguments)


if __name__ == "__main__":
    sys.exit(main())

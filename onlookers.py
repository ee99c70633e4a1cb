"""Who looks on while a trader runs: a person at the terminal, a phone, the page, systemd. None of them holds it up."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console

from config import Settings
from desk.books import Books
from desk.journal import Event
from figures import number, plural
from live_screen import LiveScreen, fits
from market.hours import is_open, new_york
from notices import started, stopped
from notify import Notifier
from page_writer import PageWriter
from sign_of_life import SignOfLife
from trader import LiveTrader
from view import view_of

log = logging.getLogger(__name__)


class Onlookers:
    """A context around a run: the live screen where there is a terminal for it, plain lines where not.

    Args: `place` is where the orders go, in words; `broker` is "alpaca" or "paper"; with `once`, a single minute, there
    is no screen, no page and no message.
    """

    def __init__(
        self, settings: Settings, console: Console, now: Callable[[], datetime], broker: str, place: str, *, once: bool
    ) -> None:
        self._console, self._now, self._broker, self._place = console, now, broker, place
        self._trader: LiveTrader | None = None
        self._screen = LiveScreen(console, now) if fits(console) and not once else None
        self._notifier = Notifier(() if once else settings.NOTIFY_URLS or ())
        self._page = None if once else PageWriter(settings, self.say)
        self._life = SignOfLife(settings.DATA_DIR / "alive", os.environ)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if self._screen is not None:
            self._open.enter_context(self._screen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The terminal as it was, the last message, the last page."""
        self._open.close()
        if self._trader is not None and self._trader.books.last_minute:
            how = "stopped" if kind is not None and issubclass(kind, KeyboardInterrupt) else "ended"
            crashed = error is not None and isinstance(error, Exception)
            words = f"ended by {type(error).__name__}: {error}" if crashed else how
            self._notifier.tell(stopped(words, self._place, self._trader.books, self._now(), alarm=crashed))
        if self._page is not None:
            self._page.close()
        self._notifier.close()
        self._life.end()

    def say(self, words: str) -> None:
        """Tell a person."""
        log.info("%s", words)
        if self._screen is not None:
            self._screen.say(words)
        else:
            self._console.print(words, soft_wrap=not self._console.is_terminal, markup=False)

    def hear(self, event: Event, books: Books) -> None:
        """An event of the journal, which may be worth a message."""
        self._notifier.hear(event, books)

    def watched(self, minutes: Iterable[datetime]) -> Iterator[datetime]:
        """The minutes, and a message if they stop coming."""
        return self._notifier.watched(minutes)

    def begin(self, trader: LiveTrader, now: datetime) -> None:
        """The trader has started, in the minute `now`."""
        self._trader = trader
        self._notifier.tell(started(self._place, trader.books, now))
        self.tick(now)

    def wait(self, now: datetime, words: str) -> None:
        """Nothing is traded yet, and all is well."""
        self._notifier.beat(now)
        self._life.give(new_york(now), words)

    def tick(self, now: datetime) -> None:
        """A minute is over."""
        trader = self._trader
        if trader is None:
            return
        self._life.give(new_york(now), _in_a_line(trader.books, now))
        if self._screen is not None:
            self._screen.show(view_of(trader, now, self._broker))
        if self._page is not None and trader.books.last_minute:
            self._page.tick()


def _in_a_line(books: Books, now: datetime) -> str:
    """What a trader is doing, as short as `systemctl status` wants it."""
    equity = f"; equity {number(books.equity[-1][1], ' USD')}" if books.equity else ""
    halted = f"; HALTED: {books.halt}" if books.halt else ""
    return f"market {'open' if is_open(now) else 'closed'}; {plural(len(books.live_trades()), 'trade')}{equity}{halted}"

"""Who looks on while a trader runs: a person at the terminal, a phone, the page, systemd. None of them ends a run.

One can hold it up: a pipe whose reader has stopped reading (`| less`). In the screen's place, and in a file, none can.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console

from command import in_one_line
from config import Settings
from desk.books import Books
from desk.journal import Event
from display.figures import number, plural
from display.live_screen import LiveScreen, fits
from ending import Terminated
from locks import AlreadyRunning
from market.hours import is_open, new_york
from notices import not_started, started, stopped
from notify import Notifier
from page_writer import PageWriter
from sign_of_life import SignOfLife
from trader import LiveTrader
from viewing import view_of

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
        self._secrets = [*filter(None, (settings.ALPACA_API_KEY, settings.ALPACA_SECRET_KEY))]
        self._trader: LiveTrader | None = None
        self._screen = LiveScreen(console, now) if fits(console) and not once else None
        self._heard = True  # whether somebody still reads the plain lines
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
        """The terminal as it was, no sign of life any more, the last page and message; whichever of them fails."""
        self._tell_the_end(kind, error)
        with ExitStack() as last:  # called from below
            last.callback(self._notifier.close)
            last.callback(self._write_last_page)
            last.callback(self._life.end)
            last.callback(self._close_screen)

    def _tell_the_end(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if kind is not None and issubclass(kind, AlreadyRunning):
            return  # the other one goes on, and is the one to speak
        crashed = isinstance(error, Exception)
        how = "halted and stopped by SIGTERM" if kind is not None and issubclass(kind, Terminated) else "stopped"
        words = in_one_line(f"ended by {type(error).__name__}: {error}", self._secrets) if crashed else how
        if self._trader is not None:
            self._notifier.tell(stopped(words, self._place, self._trader.books, self._now(), alarm=crashed))
        elif crashed:
            self._notifier.tell(not_started(words, self._place, self._now()))

    def _close_screen(self) -> None:
        self._screen = None
        self._open.close()

    def _write_last_page(self) -> None:
        if self._page is not None and self._page.began:
            self.say("ending; the last page is being written")
            self._page.close()

    def say(self, words: str) -> None:
        """Tell a person. A terminal or pipe whose reader has gone is not written to any more."""
        log.info("%s", words)
        if self._screen is not None:
            self._screen.say(words)
        elif self._heard:
            try:
                self._console.print(words, soft_wrap=not self._console.is_terminal)
            except (OSError, SystemExit) as error:  # the second is rich's for a broken pipe
                self._heard = False
                log.warning("nobody reads what is said any more (%r); trading goes on", error)

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
        self._life.give(new_york(now), _in_a_line(trader.books, now))

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
        if self._page is not None and trader.books.last_minute:
            self._page.tick()
        if self._screen is not None:
            self._screen.show(view_of(trader, now, self._broker))


def _in_a_line(books: Books, now: datetime) -> str:
    """What a trader is doing, as short as `systemctl status` wants it."""
    equity = f"; equity {number(books.equity[-1][1], ' USD')}" if books.equity else ""
    halted = f"; HALTED: {books.halt}" if books.halt else ""
    return f"market {'open' if is_open(now) else 'closed'}; {plural(len(books.live_trades()), 'trade')}{equity}{halted}"

"""Books and broker in agreement: at the start, at 04:00, every few minutes, and after a minute that broke off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from alpaca_wire import Refused, Unreachable
from desk.books import Books
from desk.brokers import Broker
from desk.journal import Journal
from desk.orders import Execution
from desk.reconcile import missed_executions
from market.hours import epoch_minute, new_york

CASH_TOLERANCE = 1.0  # USD that rounding may set books and account apart


class Agreement:
    """Brings the books to what the broker says. `book` writes an execution down; `say` tells a person.

    `missing` is True while the last attempt of a session failed: until then nothing may be bought.
    """

    def __init__(
        self,
        books: Books,
        broker: Broker,
        journal: Journal,
        book: Callable[[Execution], None],
        say: Callable[[str], object],
    ) -> None:
        self._books, self._broker, self._journal, self._book, self._say = books, broker, journal, book, say
        self._by_others = 0.0  # USD of the account's cash that our trades do not explain, as last said
        self.missing = False

    def reach(self, now: datetime, seen_minute: int) -> None:
        """Let the books hear what they missed; `seen_minute` is the newest whose bars are settled.

        Raises BooksDisagree, and AlpacaError where Alpaca does not answer.
        """
        for execution in missed_executions(self._books, self._broker, epoch_minute(now)):
            self._book(execution)
        for execution in self._broker.settle(seen_minute + 1, ()):  # a missing stop is placed, at any hour
            self._book(execution)
        self._journal.sync(order=True)  # in a replay with the account, at the end of the session
        if (expected := self._books.expected_cash()) is not None:
            by_others = self._broker.account().cash - expected
            if abs(by_others - self._by_others) > CASH_TOLERANCE:
                self._say(f"cash: {by_others:+,.2f} USD in the account are not of our trades (by hand, a deposit?)")
                self._by_others = by_others

    def try_to_reach(self, now: datetime, seen_minute: int) -> None:
        """`reach` in a session: exits do not wait until it succeeds, entries do."""
        try:
            self.reach(now, seen_minute)
        except (Refused, Unreachable, OSError) as error:
            if not self.missing:
                self._say(f"{new_york(now):%Y-%m-%d %H:%M}  nothing is bought until books and broker agree: {error}")
            self.missing = True
        else:
            self.missing = False

"""Positions whose symbol was split while they are held: another number of shares, other levels, a person's to mend."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from alpaca_wire import Refused, Unreachable
from desk.books import Books
from desk.brokers import Broker
from desk.journal import Event
from market.alpaca_feed import FeedUnavailable
from market.bars import BadBars, NoBars
from market.feeds import BarFeed
from market.hours import epoch_minute


class Splits:
    """Looks for splits of what is held, keeps them in the books with `record`, and lets the broker leave them alone."""

    def __init__(
        self,
        feed: BarFeed,
        books: Books,
        broker: Broker,
        record: Callable[..., Event],
        say: Callable[[str], object],
    ) -> None:
        self._feed, self._books, self._broker, self._record, self._say = feed, books, broker, record, say
        self._problem: str | None = None

    def look(self, now: datetime) -> None:
        """Before books and broker are compared: the old number of shares is none of their disagreements.

        A split counts from when it was found: by whom, and whether the bars show it still, makes no difference.
        """
        held, split, problem = self._books.live_trades(), set[str](), None
        try:
            if held:
                self._feed.check_splits(now)
            found = {symbol: epoch_minute(when) for symbol, when in self._feed.found_splits().items()}
            split = {symbol for symbol, trade in held.items() if found.get(symbol, 0) > trade.entry_minute}
        except (FeedUnavailable, Refused, Unreachable, BadBars, NoBars, OSError) as error:
            problem = str(error)
        if problem is not None and problem != self._problem:
            self._say(f"not looked for splits: {problem}")
        self._problem = problem
        if new := split - self._books.split:
            self._record("split", symbols=sorted(new))
        self._broker.leave_alone(self._books.split)
        for symbol in sorted(self._books.split):
            self._say(
                f"{symbol} was split while it is held: nothing of it is sold here. Look after it by hand at Alpaca; in "
                "the local paper account it stays as it is"
            )

    def look_again(self, now: datetime) -> None:
        """After a look that came to nothing."""
        if self._problem is not None:
            self.look(now)

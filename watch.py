"""What the trading minute sees of the market: the symbols and their new bars, or why there are none just now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from alpaca_wire import Refused, Unreachable
from market.alpaca_feed import FeedUnavailable
from market.bars import Bar
from market.feeds import BarFeed
from market.hours import new_york


class View(NamedTuple):
    """One minute's view; with a `problem` there are no bars, and only what is held is in `symbols`."""

    symbols: list[str]
    bars: list[Bar]
    problem: str | None


class Watch:
    """A feed seen through its outages: each is said once, and its end too.

    Args: `listed`, symbols to watch instead of the feed's active list.
    """

    def __init__(self, feed: BarFeed, listed: Sequence[str] | None, say: Callable[[str], object]) -> None:
        self._feed, self._listed, self._say = feed, listed, say
        self.problem: str | None = None

    def look(self, now: datetime, held: Iterable[str], after_minute: int) -> View:
        """The symbols worth watching and those `held`, with their bars of later than `after_minute`."""
        held = set(held)
        try:
            symbols = sorted({*(self._listed or self._feed.symbols(now)), *held})
            view = View(symbols, self._feed.new_bars(symbols, after_minute, now), None)
        except (FeedUnavailable, Refused, Unreachable, OSError) as error:  # OSError: a disk that takes no list
            view = View(sorted(held), [], str(error))
        if view.problem is not None and self.problem is None:
            self._say(f"{new_york(now):%Y-%m-%d %H:%M}  no bars, nothing is bought: {view.problem}")
        elif view.problem is None and self.problem is not None:
            self._say(f"{new_york(now):%Y-%m-%d %H:%M}  bars are back")
        self.problem = view.problem
        return view

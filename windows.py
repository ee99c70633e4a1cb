"""What live prediction sees: for each symbol the newest bars, without a hole, and the features of the last one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from alpaca_wire import AlpacaError
from learning.features import FEATURES, WARMUP_BARS, SymbolBars, feature_matrix
from market.bars import Bar, as_bars
from market.feeds import BarFeed
from market.hours import Session, epoch_minute, is_open, last_opened, market_time, new_york, sessions_between
from market.window import BarWindow

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

WINDOW_BARS = WARMUP_BARS + 390  # what warms the features up, and the longest session


class Windows:
    """The windows of the symbols of a session; `days_back` calendar days are fetched for a new one."""

    def __init__(self, feed: BarFeed, days_back: int) -> None:
        self._feed, self._days_back = feed, days_back
        self._windows: dict[str, BarWindow] = {}
        self._fed_until: dict[str, int] = {}  # the minute up to which a symbol's window is complete
        self._session: Session | None = None  # the one for which the windows were built

    def look(self, now: datetime, symbols: Sequence[str], new_bars: Iterable[Bar], since: int) -> list[str | None]:
        """Bring the windows of `symbols` up to `now`; for each why its newest bar is not predicted, or None.

        `new_bars` are those of the symbols from minute `since` on, and earlier ones that were corrected or came late. A
        symbol whose window does not reach up to there (it is new, or minutes were missed) is fetched anew from the
        feed, so that no window has a hole; so is every symbol in a session's first minute, as splits and corrections of
        the evening change the past. One that cannot be fetched is not predicted, and tried again the next minute.
        """
        fresh = epoch_minute(now) - 1
        if (session := last_opened(now)) != self._session:
            self._session = session
            self._fed_until.clear()
            self._windows.clear()
        reached = self._fed_until
        behind = [symbol for symbol in symbols if symbol not in reached or reached[symbol] < since - 1]
        for bar in new_bars:
            if bar.symbol in self._windows:
                self._windows[bar.symbol].put(bar)
        try:
            self._backfill(now, behind)
        except AlpacaError as error:
            log.warning("no history of %d symbols (%s): %s", len(behind), ", ".join(behind[:8]), error)
            reached = {symbol: minute for symbol, minute in reached.items() if symbol not in behind}
            self._windows |= {symbol: BarWindow(WINDOW_BARS) for symbol in behind}
        else:
            behind = []
        self._fed_until = reached | dict.fromkeys(set(symbols).difference(behind), fresh)
        return [
            "its history cannot be fetched" if symbol in behind else _problem(self._windows[symbol], fresh, now)
            for symbol in symbols
        ]

    def features(self, symbols: Sequence[str]) -> Array:
        """The features of each symbol's newest bar, shape (n, len(FEATURES))."""
        matrix = np.empty((len(symbols), len(FEATURES)))
        for row, symbol in zip(matrix, symbols, strict=True):
            row[:] = newest_features(self._windows[symbol])
        return matrix

    def price(self, symbol: str) -> float:
        """The last close in USD, 0.0 if there is none."""
        window = self._windows[symbol]
        return float(window.values[3, -1]) if len(window) else 0.0

    def newest_bars(self, symbols: Sequence[str]) -> Array:
        """Open, high, low, close and volume of each symbol's newest bar, shape (n, 5)."""
        return np.array([self._windows[symbol].values[:, -1] for symbol in symbols])

    def bars_since(self, symbols: Sequence[str], opened: datetime) -> list[int]:
        """How many bars of each symbol start at `opened` or later."""
        windows, first = (self._windows[symbol] for symbol in symbols), epoch_minute(opened)
        return [len(window) - int(np.searchsorted(window.minutes, first)) for window in windows]

    def _backfill(self, now: datetime, symbols: Sequence[str]) -> None:
        if not symbols:
            return
        first = new_york(now).date() - timedelta(days=self._days_back)
        start = sessions_between(first, last_opened(now).day)[0].open
        for symbol in symbols:
            self._windows[symbol] = BarWindow(WINDOW_BARS)
        table = self._feed.bars(symbols, start, now)
        for bar in as_bars(table.groupby("symbol").tail(WINDOW_BARS)):
            self._windows[bar.symbol].put(bar)


def newest_features(window: BarWindow) -> Array:
    """The features of a window's newest bar, shape (len(FEATURES),), by the arithmetic of `compute_features`."""
    values = np.empty((len(FEATURES), len(window)))
    feature_matrix(SymbolBars(market_time(window.minutes), *window.values), values)
    return values[:, -1]


def _problem(window: BarWindow, fresh_minute: int, now: datetime) -> str | None:
    """Why the newest bar of a window is not predicted, or None."""
    if not len(window):
        return "the source has no bars of it"
    if window.last_minute != fresh_minute:
        age = fresh_minute + 1 - window.last_minute
        return f"last bar is {age} minutes old" if is_open(now) else "market is closed"
    if len(window) < WARMUP_BARS:
        return f"warming up: {len(window)} of {WARMUP_BARS} bars"
    return None

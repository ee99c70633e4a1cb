"""Bars that are on this machine: the user's own files, what was kept of Alpaca's, or the simulated market's."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import pandas as pd

from market.bars import PRICES, Bar, NoBars, epoch_minutes, symbol_slices
from market.hours import Session, epoch_minute, market_time, moment, new_york, session_on


class RecordedFeed:
    """A feed over a checked bars table in memory.

    Args: `bars` as `market.bars.read_bars` returns them, not empty; `market` is "recorded", "simulated" for bars that
    were made up, or "alpaca" with the `feed` that they came by. Memory: one session at a time is kept as Bar tuples
    besides the table.
    """

    def __init__(self, bars: pd.DataFrame, market: str = "recorded", feed: str | None = None) -> None:
        if bars.empty:
            cure = "name some with --bars PATH, or run: python build_dataset.py"
            if market == "alpaca":
                cure = "look at SYMBOLS and FEED, and at this machine's date: python live_trader.py --check"
            raise NoBars(f"the {market} market holds no bars of these symbols and days; {cure}")
        self.market, self.feed = market, feed or market
        self._bars = bars
        self._minutes = epoch_minutes(bars["timestamp"])
        self._symbols = [symbol for symbol, _ in symbol_slices(bars["symbol"])]
        self._by_time = np.lexsort((np.arange(len(bars)), self._minutes))
        self._sorted_minutes = self._minutes[self._by_time]
        self._page: tuple[int, int, list[Bar], list[int]] = (0, 0, [], [])

    @property
    def end(self) -> datetime:
        """When the newest bar became known: the `now` of this market."""
        return moment(int(self._sorted_minutes[-1]) + 1)

    @property
    def table(self) -> pd.DataFrame:
        """All bars, for work on many minutes at once; whoever reads it answers for not looking ahead."""
        return self._bars

    def sessions(self) -> list[Session]:
        """The sessions that have bars, oldest first."""
        firsts = np.unique(market_time(self._minutes).session, return_index=True)[1]
        days: list[date] = [new_york(moment(int(self._minutes[row]))).date() for row in firsts]
        return [session for session in map(session_on, days) if session is not None]

    def symbols(self, now: datetime) -> list[str]:
        return list(self._symbols)

    def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        rows = (self._minutes >= epoch_minute(start)) & (self._minutes + 1 <= epoch_minute(end))
        if set(symbols) != set(self._symbols):
            rows &= self._bars["symbol"].isin(list(symbols)).to_numpy()
        return self._bars[rows].reset_index(drop=True)

    def new_bars(self, symbols: Sequence[str], after_minute: int, now: datetime) -> list[Bar]:
        before = epoch_minute(now)
        wanted = set(symbols)
        return [bar for bar in self._between(after_minute + 1, before) if bar.symbol in wanted]

    def check_splits(self, now: datetime) -> list[str]:
        """Nothing to compare with: these bars are what they are."""
        return []

    def found_splits(self) -> dict[str, datetime]:
        return {}

    def _between(self, first: int, stop: int) -> list[Bar]:
        """Bars with first <= minute < stop, by minute; a page of one day is turned into tuples at a time."""
        page_first, page_stop, page, minutes = self._page
        if not page_first <= first <= stop <= page_stop:
            page_first, page_stop = first, max(stop, first + 24 * 60)
            start, end = np.searchsorted(self._sorted_minutes, (page_first, page_stop))
            rows = self._by_time[start:end]
            columns = [self._bars[name].to_numpy()[rows].tolist() for name in (*PRICES, "volume")]
            minutes = self._minutes[rows].tolist()
            page = list(map(Bar, self._bars["symbol"].to_numpy()[rows].tolist(), minutes, *columns))
            self._page = (page_first, page_stop, page, minutes)
        return page[bisect_left(minutes, first) : bisect_left(minutes, stop)]

"""BarFeed: the seam between this program and wherever bars come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol

import pandas as pd

from market.bars import Bar
from market.hours import sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars

# The simulated market ends on a fixed day, so that it is the same market every time.
SIMULATED_END = date(2026, 3, 6)
SIMULATED_EXTRA_DAYS = 14  # calendar days besides the history asked for: room for sessions to trade


class BarFeed(Protocol):
    """Bars of one market. A bar is handed out only once it is known, one minute after its timestamp."""

    @property
    def market(self) -> str:
        """alpaca, recorded or simulated."""

    @property
    def feed(self) -> str:
        """Which of the market's feeds: iex or sip at Alpaca, else the market's name."""

    def symbols(self, now: datetime) -> list[str]:
        """The symbols worth watching now."""

    def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        """A checked bars table of those symbols, with start <= timestamp and timestamp + 1 minute <= end."""

    def new_bars(self, symbols: Sequence[str], after_minute: int, now: datetime) -> list[Bar]:
        """The bars with after_minute < minute that are known at `now`, sorted by minute, then symbol.

        A live market adds bars of the minutes just before that came late or were corrected since they were handed out.
        """

    def check_splits(self, now: datetime) -> list[str]:
        """Hold what is stored against the source's split-adjusted prices of `now`; the symbols fetched anew."""

    def found_splits(self) -> Mapping[str, datetime]:
        """When the newest split of a symbol was found, by this process or another."""


def simulated_feed(days_back: int, seed: int, pattern_strength: float) -> RecordedFeed:
    """The simulated market of `days_back` calendar days and two weeks more."""
    first = SIMULATED_END - timedelta(days=days_back + SIMULATED_EXTRA_DAYS)
    bars = simulate_bars(sessions_between(first, SIMULATED_END), seed=seed, pattern_strength=pattern_strength)
    return RecordedFeed(bars, market="simulated")

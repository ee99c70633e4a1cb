"""BarFeed: the seam between this program and wherever bars come from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import pandas as pd

from market.bars import Bar

MARKETS = ("alpaca", "recorded", "simulated")


class UnknownSource(ValueError):
    """A source that cannot be opened as asked; the message says what is missing and the cure."""


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
        """The bars with after_minute < minute that are known at `now`, sorted by minute, then symbol."""

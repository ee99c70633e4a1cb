"""The newest bars of one symbol as arrays that are added to in place, so that a minute costs no copy of the past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market.bars import Bar
from market.hours import Minutes


class BarWindow:
    """At least the last `bars` bars of a symbol, oldest first; older ones are dropped when the room is used up."""

    def __init__(self, bars: int) -> None:
        self._keep = bars
        self._minutes: Minutes = np.empty(2 * bars, dtype=np.int64)
        self._values: NDArray[np.float64] = np.empty((5, 2 * bars))
        self._size = 0

    def __len__(self) -> int:
        return min(self._size, self._keep)

    @property
    def minutes(self) -> Minutes:
        """Start of each bar in minutes since 1970, shape (len,)."""
        return self._minutes[self._size - len(self) : self._size]

    @property
    def values(self) -> NDArray[np.float64]:
        """Open, high, low, close and volume, shape (5, len)."""
        return self._values[:, self._size - len(self) : self._size]

    @property
    def last_minute(self) -> int:
        """Start of the newest bar, 0 when there is none."""
        return int(self._minutes[self._size - 1]) if self._size else 0

    def put(self, bar: Bar) -> None:
        """Add a bar in its place by time; for a minute that is there already it is the last word (a correction).

        A late bar older than the whole window is passed over.
        """
        kept, place = self.minutes, self._size
        if bar.minute <= self.last_minute:
            place += int(np.searchsorted(kept, bar.minute)) - len(kept)
        if place < self._size and self._minutes[place] == bar.minute:
            self._values[:, place] = bar[2:]
            return
        if len(self) == self._keep and bar.minute < kept[0]:
            return
        if self._size == self._minutes.size:
            self._minutes[: self._keep] = self._minutes[-self._keep :]
            self._values[:, : self._keep] = self._values[:, -self._keep :]
            place -= self._size - self._keep
            self._size = self._keep
        self._minutes[place + 1 : self._size + 1] = self._minutes[place : self._size]
        self._values[:, place + 1 : self._size + 1] = self._values[:, place : self._size]
        self._minutes[place] = bar.minute
        self._values[:, place] = bar[2:]
        self._size += 1

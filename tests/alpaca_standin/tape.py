"""The market's tape: every symbol's minute bars as arrays, and the price at any moment that they imply.

Inside a minute the last trade walks open -> one extreme -> the other -> close, straight between them (a rising minute
sees its low first), reaching the extremes at 15 and 45 seconds. Between bars it stands at the last close.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from string import ascii_uppercase
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market.hours import moment

CORNERS = (0.0, 15.0, 45.0, 60.0)  # seconds into the minute


class Bar(NamedTuple):
    """One minute; `minute` is its start in minutes since 1970-01-01 UTC."""

    minute: int
    open: float
    high: float
    low: float
    close: float
    volume: int

    @property
    def start(self) -> datetime:
        return moment(self.minute)

    def corners(self) -> tuple[float, float, float, float]:
        """The prices at CORNERS."""
        first, second = (self.low, self.high) if self.close >= self.open else (self.high, self.low)
        return self.open, first, second, self.close


@dataclass(frozen=True)
class Bars:
    """One symbol's bars, oldest first; `total` is the running sum of the volumes, for the volume of any stretch."""

    minute: list[int]
    prices: NDArray[np.float64]  # (n, 4): open, high, low, close
    volume: NDArray[np.int64]
    total: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.minute)

    def bar(self, index: int) -> Bar:
        o, h, low, c = self.prices[index].tolist()
        return Bar(self.minute[index], o, h, low, c, int(self.volume[index]))

    def at_or_before(self, minute: int) -> int:
        """Index of the newest bar that has begun by `minute`; -1 if there is none."""
        return bisect_right(self.minute, minute) - 1

    def from_minute(self, minute: int) -> int:
        """Index of the first bar at or after `minute`; the length if there is none."""
        return bisect_left(self.minute, minute)


class Tape:
    """All bars, and the prices of a few securities that have none (`flat`)."""

    def __init__(self, bars: dict[str, Bars], flat: dict[str, float]) -> None:
        self.bars = bars
        self.flat = flat

    def knows(self, symbol: str) -> bool:
        return symbol in self.bars or symbol in self.flat

    def half_spread(self, symbol: str) -> float:
        """Half the quoted spread as a share of the price: one to two basis points, a symbol's own."""
        return (1 + crc32(symbol.encode()) % 101 / 100) * 1e-4

    def price(self, symbol: str, now: datetime, steady: bool = False) -> float | None:
        """The last trade at `now`; `steady`: a minute's trades are all at its open until it has ended."""
        if symbol in self.flat:
            return self.flat[symbol]
        bars = self.bars.get(symbol)
        minute, seconds = divmod(now.timestamp(), 60)
        index = bars.at_or_before(int(minute)) if bars else -1
        if bars is None or index < 0:
            return None
        bar = bars.bar(index)
        if bar.minute < int(minute):
            return bar.close
        return bar.open if steady else float(np.interp(seconds, CORNERS, bar.corners()))

    def first_crossing(
        self, symbol: str, begin: datetime, end: datetime, below: float, above: float
    ) -> datetime | None:
        """The first moment in [begin, end] with last trade <= `below` or >= `above`."""
        price = self.price(symbol, begin)
        if price is None:
            return None
        if price <= below or price >= above:
            return begin
        if symbol in self.flat:
            return None
        bars = self.bars[symbol]
        first = bars.from_minute(int(begin.timestamp() // 60))
        prices = bars.prices[first : bars.from_minute(int(end.timestamp() // 60) + 1)]
        for index in np.flatnonzero((prices[:, 2] <= below) | (prices[:, 1] >= above)).tolist():
            when = _crossing(bars.bar(first + index), begin, below, above)
            if when is not None:
                return when if when <= end else None
        return None

    def close_before(self, symbol: str, now: datetime) -> float | None:
        """The close of the newest bar that began before `now`."""
        return self.flat.get(symbol) if symbol in self.flat else self._last_close(symbol, now)

    def _last_close(self, symbol: str, now: datetime) -> float | None:
        bars = self.bars.get(symbol)
        index = bars.from_minute(int(now.timestamp() // 60)) - 1 if bars else -1
        return float(bars.prices[index, 3]) if bars and index >= 0 else None

    def split(self, symbol: str, ratio: float, effective: datetime) -> None:
        """From `effective` on, prices are divided and volumes multiplied by `ratio`, as the exchange would show."""
        old = self.bars[symbol]
        index = old.from_minute(int(effective.timestamp() // 60))
        prices, volume = old.prices.copy(), old.volume.copy()
        prices[index:] = np.round(prices[index:] / ratio, 4)
        volume[index:] = np.round(volume[index:] * ratio)
        self.bars[symbol] = Bars(old.minute, prices, volume, np.cumsum(volume))


def _crossing(bar: Bar, begin: datetime, below: float, above: float) -> datetime | None:
    """When the minute's walk first touches a level, from `begin` on."""
    corners = bar.corners()
    offset = max(0.0, (begin - bar.start).total_seconds())
    if offset == 0 and (bar.open <= below or bar.open >= above):
        return bar.start
    for (t0, t1), (p0, p1) in zip(pairwise(CORNERS), pairwise(corners), strict=True):
        for level, reached in ((below, p1 <= below), (above, p1 >= above)):
            if reached and p0 != p1:
                seconds = t0 + (t1 - t0) * (level - p0) / (p1 - p0)
                if seconds >= offset:  # rounded up to a microsecond, so that the level is reached and not just missed
                    return bar.start + timedelta(microseconds=int(max(seconds, t0) * 1e6) + 1)
    return None


def read_tape(path: Path | None, clone: int | None, flat: dict[str, float]) -> Tape:
    """The bars of a Parquet file, regardless of its order; `clone`: as many symbols, the file's own repeated."""
    if path is None:
        return Tape({}, flat)
    table = pq.read_table(path, columns=["symbol", "timestamp", "open", "high", "low", "close", "volume"])
    symbol = np.asarray(table["symbol"].to_pylist())
    minute = table["timestamp"].to_numpy().astype("datetime64[m]").astype(np.int64)
    prices = np.column_stack([table[name].to_numpy() for name in ("open", "high", "low", "close")])
    volume = table["volume"].to_numpy().astype(np.int64)
    bars = {}
    for name in sorted(set(symbol.tolist())):
        rows = np.flatnonzero(symbol == name)
        rows = rows[np.argsort(minute[rows], kind="stable")]
        bars[str(name)] = Bars(minute[rows].tolist(), prices[rows], volume[rows], np.cumsum(volume[rows]))
    return Tape(bars if clone is None else _cloned(bars, clone, set(flat)), flat)


def _cloned(bars: dict[str, Bars], count: int, taken: set[str]) -> dict[str, Bars]:
    """`count` symbols that share the arrays of the given ones: NVDA, then NVDB, NVDC, ..."""
    result = dict(list(bars.items())[:count])
    for letter in ascii_uppercase:
        for name, held in bars.items():
            clone = name[:-1] + letter
            if len(result) < count and clone not in result and clone not in taken:
                result[clone] = held
    return result

"""Bars -> features, and the one place where they are computed.

To add an indicator, add one line to INDICATORS below: a name, and a function from one symbol's bars to an array of the
same length. Training, replay and live trading then all have it; nothing else needs to change (a model trained without
it goes on without it until the next training).

Two laws hold for every line, and the tests prove them on real bars: a value depends on no later bar; and it is the same
whether computed from the whole history or from the last WARMUP_BARS bars and the session so far. So: unit-free values
(ratios, returns, never a price), and no memory longer than WARMUP_BARS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd
import talib
from numpy.typing import NDArray

from market.bars import epoch_minutes, symbol_slices
from market.hours import MarketTime, market_time

Array = NDArray[np.float64]

WARMUP_BARS = 390  # one session; by then the longest exponential memory here (MACD, 26 bars) has faded below 1e-12
BOLLINGER_BARS = 20


@dataclass(frozen=True)
class SymbolBars:
    """One symbol's bars as arrays of shape (n,), oldest first, and what several indicators share."""

    time: MarketTime
    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array

    @cached_property
    def sessions(self) -> list[slice]:
        """The rows of each session."""
        edges = np.flatnonzero(np.diff(self.time.session, prepend=-1, append=-1)).tolist()
        return [slice(start, stop) for start, stop in pairwise(edges)]

    @cached_property
    def vwap(self) -> Array:
        """Volume-weighted average of the typical price, USD, restarted at each open."""
        typical = (self.high + self.low + self.close) / 3
        paid = typical * self.volume
        vwap = np.empty_like(paid)
        for rows in self.sessions:
            np.divide(np.cumsum(paid[rows]), np.cumsum(self.volume[rows]), out=vwap[rows])
        return vwap

    @cached_property
    def session_open(self) -> Array:
        """The session's first price, USD, on each of its bars."""
        starts = [rows.start for rows in self.sessions]
        return np.repeat(self.open[starts], [rows.stop - rows.start for rows in self.sessions])

    @cached_property
    def macd(self) -> tuple[Array, Array, Array]:
        """MACD(12, 26, 9): line, signal, histogram, in USD."""
        line, signal, histogram = talib.MACD(self.close, 12, 26, 9)
        return line, signal, histogram

    @cached_property
    def return_1(self) -> Array:
        """Simple return over one bar."""
        returns: Array = talib.ROCP(self.close, 1)
        return returns


def bollinger_position(close: Array, bars: int = BOLLINGER_BARS) -> Array:
    """Where the close stands between the Bollinger bands: -1 lower, 0 middle, +1 upper (2 population sd).

    Bollinger, J. (2001), Bollinger on Bollinger Bands. TA-Lib's BBANDS keeps running sums of squared prices, whose
    cancellation leaves errors of 1e-5 after some thousand bars; summing distances from the newest close does not.
    """
    total, squares = np.zeros_like(close), np.zeros_like(close)
    for lag in range(1, bars):
        distance = close[:-lag] - close[lag:]
        total[lag:] += distance
        squares[lag:] += distance * distance
    mean = total / bars
    deviation = np.sqrt(np.maximum(squares / bars - mean * mean, 0.0))
    position = -mean / (2 * deviation)
    position[: bars - 1] = np.nan
    return position


INDICATORS: dict[str, Callable[[SymbolBars], Array]] = {
    # one line each: name -> values of shape (n,) for one symbol's bars
    "vwap_deviation": lambda b: b.close / b.vwap - 1,
    "macd_line": lambda b: b.macd[0] / b.close,
    "macd_signal": lambda b: b.macd[1] / b.close,
    "macd_histogram": lambda b: b.macd[2] / b.close,
    "sma_20_deviation": lambda b: b.close / talib.SMA(b.close, 20) - 1,
    "sma_60_deviation": lambda b: b.close / talib.SMA(b.close, 60) - 1,
    "sma_240_deviation": lambda b: b.close / talib.SMA(b.close, 240) - 1,
    "return_1": lambda b: b.return_1,
    "return_5": lambda b: talib.ROCP(b.close, 5),
    "return_15": lambda b: talib.ROCP(b.close, 15),
    "return_60": lambda b: talib.ROCP(b.close, 60),
    "session_return": lambda b: b.close / b.session_open - 1,
    "rsi_14": lambda b: talib.RSI(b.close, 14) / 100,
    "bollinger_position": lambda b: bollinger_position(b.close),
    "atr_14": lambda b: talib.ATR(b.high, b.low, b.close, 14) / b.close,
    "volume_ratio_20": lambda b: b.volume / talib.SMA(b.volume, 20),
    "bar_range": lambda b: (b.high - b.low) / b.close,
    "range_60": lambda b: talib.MAX(b.high, 60) / talib.MIN(b.low, 60) - 1,
    "session_elapsed": lambda b: (b.time.into + 1) / b.time.length,
}

FEATURES: list[str] = list(INDICATORS)


def feature_matrix(bars: SymbolBars, out: Array) -> None:
    """Write the features of one symbol into `out`, shape (len(FEATURES), n); NaN where undefined or not warmed up."""
    with np.errstate(divide="ignore", invalid="ignore"):
        for row, indicator in zip(out, INDICATORS.values(), strict=True):
            row[:] = indicator(bars)
    out[:, : WARMUP_BARS - 1] = np.nan
    out[~np.isfinite(out)] = np.nan


def compute_features(bars: pd.DataFrame) -> pd.DataFrame:
    """Features of a checked bars table: `symbol, timestamp` and FEATURES (float64), with the rows of `bars`, in order.

    A row is NaN until its symbol has WARMUP_BARS bars, and infinities become NaN; such a row is not predicted.
    """
    columns: list[Array] = [bars[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
    minutes = epoch_minutes(bars["timestamp"])
    values = np.empty((len(FEATURES), len(bars)))
    for _, rows in symbol_slices(bars["symbol"]):
        feature_matrix(SymbolBars(market_time(minutes[rows]), *(c[rows] for c in columns)), values[:, rows])
    features = pd.DataFrame(values.T, columns=FEATURES, index=bars.index, copy=False)
    return pd.concat([bars[["symbol", "timestamp"]], features], axis=1)

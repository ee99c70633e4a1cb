"""Bars -> what the trade opened here would have earned. The label is the trade.

    decision     bar t, known at t + 1 minute; buy at the open `e` of the next bar
    levels       stop e x (1 - stop_loss), target e x (1 + take_profit), from that bar's own low and high on
    inside a bar first what is due at its open (time), then a gap (fills at the open), then the stop, then the target
    time         after `max_holding_minutes` of market time, at the open of that minute's bar

The local paper broker makes the same trade from the same bars; a test on real bars holds the two together. This is the
triple-barrier label of Lopez de Prado (2018), Advances in Financial Machine Learning, chapter 3, with executable fills.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from market.bars import epoch_minutes, symbol_slices
from market.hours import Minutes, market_ordinal, market_time

Array = NDArray[np.float64]

ENTRY_PATIENCE_MINUTES = 5  # an entry that no bar has filled by then is given up
REASONS = ["stop", "target", "time"]
_STOP, _TARGET, _TIME, _UNKNOWN = 0, 1, 2, -1


def label_trades(
    bars: pd.DataFrame,
    stop_loss: float,
    take_profit: float,
    max_holding_minutes: int | None,
    round_trip_cost: float,
) -> pd.DataFrame:
    """Label each row of a checked bars table with the trade decided on it.

    Args: `stop_loss`, `take_profit`, `round_trip_cost` are fractions of the entry price; `max_holding_minutes` counts
    market minutes, None means no limit.
    Returns the rows of `bars`, in order: `symbol, timestamp, label, net_return, settled_at, exit_reason`. `net_return`
    is the raw return less the cost; `label` is 1.0 where that is positive, else 0.0; `settled_at` is the end of the
    exit bar, when the answer is known. All four are missing where no trade is made (the symbol's last bar of a session,
    or one followed by more than five minutes of silence) or where its end is not yet known.
    """
    table = [bars[name].to_numpy() for name in ("open", "high", "low")]
    minutes = epoch_minutes(bars["timestamp"])
    net_return = np.full(len(bars), np.nan)
    settled = np.full(len(bars), np.iinfo(np.int64).min)
    reason = np.full(len(bars), _UNKNOWN, dtype=np.int8)
    for _, rows in symbol_slices(bars["symbol"]):
        opens, highs, lows = (column[rows] for column in table)
        exits, price, why = _exits(
            opens, highs, lows, minutes[rows], 1 - stop_loss, 1 + take_profit, max_holding_minutes
        )
        decided = _decidable(minutes[rows])
        decided &= why[1:] != _UNKNOWN
        at = np.flatnonzero(decided)  # row of the decision; the trade enters on the row after it
        net_return[rows][at] = price[at + 1] / opens[at + 1] - 1 - round_trip_cost
        settled[rows][at] = (minutes[rows][exits[at + 1]] + 1) * 60_000_000
        reason[rows][at] = why[at + 1]
    label = np.where(np.isnan(net_return), np.nan, net_return > 0)
    return pd.DataFrame(
        {
            "symbol": bars["symbol"],
            "timestamp": bars["timestamp"],
            "label": label,
            "net_return": net_return,
            "settled_at": pd.Series(settled.view("datetime64[us]"), index=bars.index).dt.tz_localize("UTC"),
            "exit_reason": pd.Categorical.from_codes(pd.Index(reason), pd.Index(REASONS)),
        },
        copy=False,
    )


def driftless(bars: pd.DataFrame, labels: pd.DataFrame, **trade_rules: Any) -> Array:
    """How often the trade of each row pays if prices rise as readily as they fall, shape (n,); NaN where not known.

    The mean of its label and of that of the mirrored market, in which every move has the other sign (antithetic
    variates: Hammersley and Morton, 1956): the days' drift cancels, and what volatility makes of stop, target, holding
    limit and cost is left. Over 21 days of 12 symbols the share that pays scatters by 0.02, this by 0.002.
    Args: checked `bars`, their `labels` and the rules that these were made by. Without a holding limit the mirrored
    trade may settle long after the row's own; the label alone is returned then, so that nothing is known too early.
    """
    own = labels["label"].to_numpy()
    if trade_rules["max_holding_minutes"] is None:
        return own
    turned = bars.assign(open=1 / bars["open"], high=1 / bars["low"], low=1 / bars["high"], close=1 / bars["close"])
    both: Array = (own + label_trades(turned, **trade_rules)["label"].to_numpy()) / 2
    return both


def _decidable(minutes: Minutes) -> NDArray[np.bool_]:
    """Which of the first n - 1 bars may open a trade: the next bar is near, and so of the same session."""
    return np.diff(minutes) <= ENTRY_PATIENCE_MINUTES


def _exits(
    opens: Array,
    highs: Array,
    lows: Array,
    minutes: Minutes,
    stop: float,
    target: float,
    max_holding_minutes: int | None,
) -> tuple[Minutes, Array, NDArray[np.int8]]:
    """For a trade entered at the open of each bar of one symbol: row, price and reason of its exit."""
    n = len(opens)
    stop_level, target_level = opens * stop, opens * target
    hit = _first_touch(lows, highs, stop_level, target_level, n if max_holding_minutes is None else max_holding_minutes)
    due = np.full(n, n)
    if max_holding_minutes is not None:
        ordinal = market_time(minutes).ordinal
        due = np.searchsorted(ordinal, ordinal + max_holding_minutes)
    exits = np.minimum(hit, due)
    known = exits < n
    exits[~known] = 0
    at_open, low = opens[exits], lows[exits]
    on_time = due <= hit
    gap = (at_open <= stop_level) | (at_open >= target_level)
    stopped = low <= stop_level
    # at_open >= target_level is decided by the open, before the low of that bar could reach the stop
    stopped &= at_open < target_level
    price = np.where(on_time | gap, at_open, np.where(stopped, stop_level, target_level))
    why = np.where(on_time, _TIME, np.where(stopped, _STOP, _TARGET)).astype(np.int8)
    why[~known] = _UNKNOWN
    return exits, price, why


def _first_touch(lows: Array, highs: Array, stop_level: Array, target_level: Array, reach: int) -> Minutes:
    """For each i the first j >= i with lows[j] <= stop_level[i] or highs[j] >= target_level[i]; at least `reach` bars
    are searched, and n means not found.

    A sparse table (Bender and Farach-Colton, 2000): minima and maxima over runs of 1, 2, 4 ... bars, then for all i at
    once the longest run that touches neither level is stepped over, then the next shorter.
    """
    n = len(lows)
    minima, maxima = [np.append(lows, np.inf)], [np.append(highs, -np.inf)]
    runs = [1]
    while sum(runs) < min(reach, n):
        run = runs[-1]
        shifted = np.minimum(np.arange(n + 1) + run, n)
        minima.append(np.minimum(minima[-1], minima[-1][shifted]))
        maxima.append(np.maximum(maxima[-1], maxima[-1][shifted]))
        runs.append(run * 2)
    position = np.arange(n)
    for run, low, high in zip(reversed(runs), reversed(minima), reversed(maxima), strict=True):
        untouched = (low[position] > stop_level) & (high[position] < target_level)
        position += untouched * run
        np.minimum(position, n, out=position)
    return position


def had_its_time(timestamp: pd.Series, at: datetime, max_holding_minutes: int | None) -> NDArray[np.bool_]:
    """Which trades, shape (n,), have had their whole holding limit at `at`, whether or not they settled before.

    Of the newest trades only those are settled that were stopped early: to learn or to judge by these alone would make
    every last day look like a bad one. Without a limit no trade is held back, and that bias stays.
    """
    if max_holding_minutes is None:
        return np.ones(len(timestamp), dtype=bool)
    entry = market_time(epoch_minutes(timestamp)).ordinal + 1
    return entry + max_holding_minutes < market_ordinal(at)


def uniqueness(labels: pd.DataFrame) -> Array:
    """How much of its own time each label has to itself, shape (n,), in (0, 1]; their sum counts independent examples.

    A label lives from its entry to its exit; with c labels of the symbol alive at a minute, each owns 1/c of it
    (Lopez de Prado, 2018, 4.3). Args: settled rows of `label_trades`, sorted by symbol and timestamp.
    """
    starts = market_time(epoch_minutes(labels["timestamp"])).ordinal + 1
    stops = market_time(epoch_minutes(labels["settled_at"]) - 1).ordinal + 1
    share = np.ones(len(labels))
    for _, rows in symbol_slices(labels["symbol"]):
        first = starts[rows].min()
        begin, end = starts[rows] - first, np.maximum(stops[rows] - first, starts[rows] - first + 1)
        change = np.zeros(end.max() + 1)
        np.add.at(change, begin, 1)
        np.add.at(change, end, -1)
        alive = np.cumsum(change)
        owned = np.concatenate([[0.0], np.cumsum(1 / np.maximum(alive, 1))])
        share[rows] = (owned[end] - owned[begin]) / (end - begin)
    return share

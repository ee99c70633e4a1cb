"""What trades teach first: what fills really cost, per symbol, and what is left of a confidence after that cost.

    legs            each fill against the price the label assumes for it: the extra cost of that leg
    learn           per symbol the mean of its legs, faded, shrunk towards 0, silent within two standard errors
    CostAdjustment  P(pays) -> P(pays the extra cost as well), from out-of-fold rows of like score

Costs are fractions of the price, positive where a fill is worse than assumed. Shrinkage is towards 0, which is the cost
the label assumes, and not towards the mean of all symbols: a few costly ones must not make the others dear.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from market.bars import epoch_minutes
from market.hours import market_time

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

HALF_LIFE_SESSIONS = 8.0  # most signals of a symbol that healed from 0.75% a leg are back after 10 to 15 sessions
SHRINKAGE_LEGS = 3.0  # few, for evidence stays thin: a symbol trades once or twice a day, less once it is dear
DEAD_BAND = 2.0  # standard errors
SPREAD_LEGS = 4.0  # how many of a symbol's own legs the spread of all is worth
LEAST_SPREAD = (
    0.0005  # sd of a leg; a smaller one is luck or a simulation, and what it would show is too small to matter
)
IMPLAUSIBLE = 0.1  # no minute is traded so far from its bar; splits, which bars follow and books do not, are further
NEIGHBOURS, NEIGHBOUR_SHARE = 1000, 0.01  # rows of like score: at least so many, and this share of a long table


@dataclass(frozen=True)
class LearntCost:
    """What the fills of a symbol cost beyond the label's assumption, all fractions of the price.

    `legs` counts its fills, faded, `mean` and `standard_error` are per leg. `extra_cost` is what acts, of a round trip:
    twice the shrunk mean, 0 inside the dead band and where fills were better than assumed.
    """

    symbol: str
    legs: float
    mean: float
    standard_error: float
    extra_cost: float
    words: str

    def to_record(self) -> dict[str, Any]:
        """A dict for strict JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LearntCost:
        """What `to_record` gave. TypeError for other keys."""
        return cls(**record)


def legs(trades: pd.DataFrame, bars: pd.DataFrame, round_trip_cost: float) -> pd.DataFrame:
    """Measure each fill of `trades` against the price that the label assumes for it (see `learning.labels`).

    Args: `trades` have symbol, entry_minute and exit_minute (minutes since 1970 of the bars of the fills), entry_price,
    exit_price (NaN while open, as exit_minute), exit_reason, stop_level and target_level (USD, as they stood at the
    broker); `bars` is a checked bars table; `round_trip_cost` is what the label takes off, a fraction.
    Returns a row per fill: symbol, session (as `market_time` counts them), side (BUY or SELL), extra_cost, which is NaN
    where the bar is missing or so far from the fill that one of them is wrong; those are counted in the log. A sale
    "by hand" is no row: it was not made to follow the label.
    """
    sold = trades[trades["exit_minute"].notna() & (trades["exit_reason"] != "by hand")]
    fills = pd.concat(
        [
            trades.assign(side="BUY", minute=trades["entry_minute"], price=trades["entry_price"], exit_reason="entry"),
            sold.assign(side="SELL", minute=sold["exit_minute"], price=sold["exit_price"]),
        ],
        ignore_index=True,
    )
    fills["minute"] = fills["minute"].astype("int64")
    minutes = epoch_minutes(bars["timestamp"])
    near = np.isin(minutes, fills["minute"].to_numpy())
    opens = bars.loc[near, ["symbol", "open"]].assign(minute=minutes[near])
    fills = fills.merge(opens, on=["symbol", "minute"], how="left", validate="many_to_one")

    price, buy = fills["price"].to_numpy(dtype=np.float64), (fills["side"] == "BUY").to_numpy()
    worse = np.where(buy, 1.0, -1.0)
    extra_cost = worse * (price / (_assumed(fills) * (1 + worse * round_trip_cost / 2)) - 1)
    unknown, wrong = np.isnan(extra_cost), np.abs(extra_cost) > IMPLAUSIBLE
    for rows, words in ((unknown, "no bar, price or level"), (wrong, f"over {IMPLAUSIBLE:.0%} from the bar")):
        if rows.any():
            which = ", ".join(fills["symbol"][rows].unique()[:8])
            log.warning("cost not measured for %d of %d fills (%s): %s", rows.sum(), len(fills), which, words)
    return pd.DataFrame(
        {
            "symbol": fills["symbol"],
            "session": market_time(fills["minute"].to_numpy()).session,
            "side": fills["side"],
            "extra_cost": np.where(wrong, np.nan, extra_cost),
        }
    )


def _assumed(fills: pd.DataFrame) -> Array:
    """The price before cost, shape (n,): the bar's open, or the level where the bar did not open beyond it."""
    open_ = fills["open"].to_numpy(dtype=np.float64)
    stop, target = (fills[name].to_numpy(dtype=np.float64) for name in ("stop_level", "target_level"))
    stopped, reached = ((fills["exit_reason"] == reason).to_numpy() for reason in ("stop", "target"))
    gapped = (stopped & (open_ <= stop)) | (reached & (open_ >= target))
    gapped &= (fills["minute"] != fills["entry_minute"]).to_numpy()
    price = np.where(stopped, stop, np.where(reached, target, open_))
    return np.where(gapped | np.isnan(open_), open_, price)


def learn(legs: pd.DataFrame, session: int) -> list[LearntCost]:
    """The cost of each symbol in `legs` (a table as that function gives it), at the end of `session`.

    Both sides are pooled, and a round trip is twice the mean: entries come first and alone, and half as many trades
    tell as much. A leg counts 0.5 ** (sessions since / HALF_LIFE_SESSIONS), so that a symbol that is not traded any
    more loses its cost. With n such legs the mean is shrunk to n / (n + SHRINKAGE_LEGS) of itself (Bühlmann, 1967,
    Experience rating and credibility), and acts only above DEAD_BAND standard errors. These weigh the symbol's own
    variance by its degrees of freedom, beside SPREAD_LEGS of the variance within all symbols (Smyth, 2004, doi
    10.2202/1544-6115.1027), and are never of less than LEAST_SPREAD: neither two legs that agree nor the equal fills of
    a simulation are a proof.
    Fills better than assumed do not act: a bet on them would be made only where nothing else speaks for the trade.
    Raises ValueError for a leg after `session`.
    """
    known = legs[legs["extra_cost"].notna()]
    if (known["session"] > session).any():
        raise ValueError(f"legs of session {known['session'].max()}, which is after session {session}")
    weight = 0.5 ** ((session - known["session"]) / HALF_LIFE_SESSIONS)
    table = pd.DataFrame(
        {"n": weight, "cost": weight * known["extra_cost"], "squares": weight**2, "count": 1.0},
    )
    sums = table.groupby(known["symbol"]).sum()
    n, mean = sums["n"], sums["cost"] / sums["n"]
    around = weight * (known["extra_cost"] - mean.reindex(known["symbol"]).to_numpy()) ** 2
    scatter, freedom = around.groupby(known["symbol"]).sum(), n - sums["squares"] / n
    everywhere = scatter.sum() / max(freedom.sum(), 1.0)
    variance = (scatter + SPREAD_LEGS * everywhere) / (freedom + SPREAD_LEGS)
    error = np.sqrt(variance.clip(lower=LEAST_SPREAD**2) / n)
    acts = mean > DEAD_BAND * error
    extra_cost = (2 * mean * n / (n + SHRINKAGE_LEGS)).where(acts, 0.0)
    columns = (sums["count"], n, mean, error, extra_cost)
    return [
        LearntCost(str(symbol), legs_, m, e, acting, _words(int(count), legs_, m, e, acting))
        for symbol, count, legs_, m, e, acting in zip(n.index, *(c.tolist() for c in columns), strict=True)
    ]


def _words(fills: int, faded: float, mean: float, error: float, extra_cost: float) -> str:
    counted = "1 fill" if fills == 1 else f"{fills} fills"
    side = "worse" if mean > 0 else "better"
    by = f"{abs(mean):.3%} {side} than assumed (uncertain by {error:.3%})"
    measured = f"{counted} (with age they count as {faded:.1f}), each {by}"
    if extra_cost > 0:
        return f"{measured}: a round trip counts {extra_cost:.2%} more"
    return f"{measured}: {'which may be chance' if abs(mean) <= DEAD_BAND * error else 'not relied on'}"


class CostAdjustment:
    """Turns the probability that a trade pays into the probability that it pays a learnt extra cost as well.

    Args: `confidence` and `net_return` (fraction, after the assumed cost) of out-of-fold rows of the model in use, each
    (n,) and finite; `extra_cost` of a round trip by symbol. ValueError where they are not.
    """

    def __init__(self, confidence: Array, net_return: Array, extra_cost: Mapping[str, float]) -> None:
        if len(confidence) != len(net_return) or not np.isfinite([confidence, net_return]).all():
            raise ValueError("confidence and net_return of the out-of-fold rows must be finite, one of each a row")
        order = np.argsort(confidence)
        self._confidence, self._net_return = confidence[order], net_return[order]
        self._winners = _counted(self._net_return > 0)
        self._rows = min(len(order), max(NEIGHBOURS, int(NEIGHBOUR_SHARE * len(order))))
        self._extra_cost = dict(extra_cost)

    def extra_cost(self, symbols: Iterable[str]) -> Array:
        """The extra cost of each of m symbols, shape (m,); 0 for one that has none."""
        return np.array([self._extra_cost.get(symbol, 0.0) for symbol in symbols])

    def adjusted(self, confidence: Array, extra_cost: Array | float) -> Array:
        """`confidence` (m,) times P(net return > extra cost | like score) / P(net return > 0 | like score), (m,).

        Never above `confidence`, falls with the cost, and is `confidence` where the cost is not positive. Like score:
        as many calibration rows above as below, the top rows where scores end, and all rows of an equal score or none.
        Where none of them paid, nothing speaks for a trade that costs more still: 0.
        """
        cost = np.broadcast_to(extra_cost, confidence.shape)
        result = confidence.copy()
        for each in np.unique(cost[cost > 0]):
            rows = cost == each
            start, stop = self._like(confidence[rows])
            first, last = start.min(), stop.max()
            payers = _counted(self._net_return[first:last] > each)
            paid = payers[stop - first] - payers[start - first]
            result[rows] *= paid / np.maximum(self._winners[stop] - self._winners[start], 1)
        return result

    def _like(self, confidence: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and stop of the calibration rows of like score, each (m,)."""
        table = self._confidence
        if len(table) == 0:
            return np.zeros(len(confidence), np.int64), np.zeros(len(confidence), np.int64)
        middle = (np.searchsorted(table, confidence) + np.searchsorted(table, confidence, side="right")) // 2
        start = np.clip(middle - self._rows // 2, 0, len(table) - self._rows)
        last = start + self._rows - 1
        return np.searchsorted(table, table[start]), np.searchsorted(table, table[last], side="right")


def _counted(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of the first 0, 1, ... n flags are set, shape (n + 1,)."""
    return np.concatenate([[0], np.cumsum(flags)])

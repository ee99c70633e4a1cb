"""Win rates of our own outcomes per confidence bin: reported always, acting only where trades and days are many.

    win_rates(outcomes)             what each twentieth of confidence won, beside what it had promised
    corrected(confidence, rates)    a confidence, less what its bin was shown to promise too much

They act downwards only. Being cautious costs a trade, being bold costs money: a bin that won more than promised may
have been lucky, and a bet on that luck would be made only where nothing else speaks for the trade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

BINS = 20
MIN_TRADES_TO_ACT, MIN_DAYS_TO_ACT = 200, 20  # fewer days and two standard errors are no longer 2 or 3% of luck
STANDARD_ERRORS_TO_ACT = 2.0
TYPICAL_MISS = 0.05  # sd of what bins truly miss by: 0.04 in the mean, as calibration errors on later days are
_EDGES = np.arange(BINS + 1) / BINS


@dataclass(frozen=True)
class WinRate:
    """What the trades of confidence `low` (included) to `high` (excluded, but for 1.0) came to.

    `confidence` is the mean of what was promised and `won` the share that won. `standard_error` is that of their
    difference, None for a single day. `correction` is what acts on a confidence of this bin: negative, or 0.0.
    """

    low: float
    high: float
    trades: int
    days: int
    confidence: float
    won: float
    standard_error: float | None
    correction: float
    words: str

    def to_record(self) -> dict[str, Any]:
        """A dict for strict JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> WinRate:
        """What `to_record` gave. TypeError for other keys, or for what is no number."""
        rate = cls(**record)
        _ = rate.low + rate.high + rate.confidence + rate.won + rate.correction
        return rate


def win_rates(outcomes: pd.DataFrame) -> list[WinRate]:
    """What each twentieth of confidence that has trades won, lowest first.

    `outcomes` has a row per settled trade: confidence (as it was before any correction of this kind, else trades move
    between bins and a correction undoes itself), won (0 or 1), session (a label of the day). Raises ValueError where a
    row lacks one of them.

    Trades of a day share its luck, so the standard error is that of a ratio estimator clustered by session, by leaving
    out a day at a time (Quenouille-Tukey jackknife). It is the usual one where days are alike; where a few days hold
    most trades the usual one hides their luck: of honest bins on 20 such days 5 to 9% acted, by the jackknife 3 to 5%,
    and on days alike 2 to 3%. Asked every evening, an honest bin acts on 3% of them (12% do so at some time within 100
    evenings), and is released again.

    A shortfall acts from MIN_TRADES_TO_ACT trades on MIN_DAYS_TO_ACT days and beyond STANDARD_ERRORS_TO_ACT, and is
    shrunk to TYPICAL_MISS**2 / (TYPICAL_MISS**2 + standard_error**2) of itself. That is n / (n + k) of n days, with the
    k of credibility theory (variance of a day over variance among bins: Bühlmann, 1967, Experience rating and
    credibility) measured from the days at hand. Without it each one would be too large, as it acts for being large.
    """
    confidence, won = (outcomes[name].to_numpy(dtype=np.float64) for name in ("confidence", "won"))
    day, labels = pd.factorize(outcomes["session"])
    if not (((confidence >= 0) & (confidence <= 1)).all() and np.isin(won, (0, 1)).all() and (day >= 0).all()):
        raise ValueError("every outcome needs a confidence from 0 to 1, won (0 or 1) and its session")
    cell = _bin(confidence) * len(labels) + day
    by_day = np.stack(
        [np.bincount(cell, weights, minlength=BINS * len(labels)) for weights in (None, confidence, won)], axis=1
    ).reshape(BINS, len(labels), 3)
    used = by_day[:, :, 0] > 0
    return [_win_rate(int(bin_), *by_day[bin_, used[bin_]].T) for bin_ in np.flatnonzero(used.any(axis=1))]


def _win_rate(bin_: int, trades: Array, confidence: Array, won: Array) -> WinRate:
    """From sums of one bin by day, each (days,)."""
    count, days = int(trades.sum()), len(trades)
    miss = float((won - confidence).sum() / count)
    error = _standard_error(trades, won - confidence)
    promised, share = float(confidence.sum() / count), float(won.sum() / count)
    correction, uncertain = 0.0, f"uncertain by {100 * (error or 0.0):.1f} points"
    if error is None or count < MIN_TRADES_TO_ACT or days < MIN_DAYS_TO_ACT:
        words = f"too few to tell, it takes {MIN_TRADES_TO_ACT} on {MIN_DAYS_TO_ACT} days"
    elif abs(miss) <= STANDARD_ERRORS_TO_ACT * error:
        words = f"the difference may be chance ({uncertain})"
    elif miss > 0:
        words = f"more than promised ({uncertain}), which is not relied on"
    else:
        correction = miss * TYPICAL_MISS**2 / (TYPICAL_MISS**2 + error**2)
        words = f"fewer than promised ({uncertain}); such confidences are lowered by {-correction:.3f}"
    trades_, days_ = (f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in ((count, "trade"), (days, "day")))
    words = f"of {trades_} on {days_} with an average confidence of {promised:.2f}, {share:.0%} won: {words}"
    low, high = float(_EDGES[bin_]), float(_EDGES[bin_ + 1])
    return WinRate(low, high, count, days, promised, share, error, correction, words)


def _standard_error(trades: Array, misses: Array) -> float | None:
    """Of misses.sum() / trades.sum(), both sums by day (days,), by the jackknife over days; None for a single one."""
    days = len(trades)
    if days < 2:
        return None
    without = (misses.sum() - misses) / (trades.sum() - trades)
    around = without - misses.sum() / trades.sum()
    return float(np.sqrt((days - 1) / days * (around**2).sum()))


def corrected(confidence: Array, rates: Sequence[WinRate]) -> Array:
    """`confidence` (m,), a probability or NaN, plus the correction of its bin, (m,); never below 0, and NaN stays NaN.

    The order stays: no confidence ends above a higher one. A confidence is worth at most what the lowest one of each
    higher bin is worth (a running minimum from above), so a bin that promised too much also caps the bins below it.
    """
    shift = np.zeros(BINS)
    shift[_bin(np.array([rate.low for rate in rates]))] = [rate.correction for rate in rates]
    lowest = _EDGES[:-1] + shift
    cap = np.append(np.minimum.accumulate(lowest[::-1])[::-1][1:], np.inf)
    bin_ = _bin(confidence)
    return np.maximum(np.minimum(confidence + shift[bin_], cap[bin_]), 0.0)


def _bin(confidence: Array) -> NDArray[np.intp]:
    """The twentieth of each confidence, (m,); the last one where it is NaN."""
    return np.clip(np.searchsorted(_EDGES, confidence, side="right") - 1, 0, BINS - 1)

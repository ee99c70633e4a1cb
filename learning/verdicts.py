"""Two verdicts on a model: is it published (does it replace the one in use), and is it proven (has it shown skill).

Both count days, never signals: minutes of one day share its luck, and a per-signal standard error calls noise
significant in 38-50% of cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from learning.evaluation import tradable
from market.bars import epoch_minutes
from market.hours import market_time

Array = NDArray[np.float64]

CONFIDENCE_LEVEL = 0.95  # one-sided
MIN_TRADES, MIN_TRADE_DAYS = 20, 5
MIN_COMPARED_DAYS = 5
HALF_HOUR = 30


@dataclass(frozen=True)
class Verdict:
    """Yes or no, and why in words."""

    holds: bool
    reason: str


def above_zero(daily: Array) -> bool:
    """Whether the mean of daily values (n,) is above 0 by Student's one-sided test at 95%; without variation, no."""
    n = len(daily)
    if n < 2 or np.ptp(daily) == 0:
        return False
    statistic = float(np.mean(daily)) / (float(np.std(daily, ddof=1)) / np.sqrt(n))
    return statistic > float(student.ppf(CONFIDENCE_LEVEL, n - 1))


def traded(judged: pd.DataFrame, threshold: float, max_open_positions: int) -> pd.DataFrame:
    """The out-of-fold signals an account could have taken, with `excess`: net return above that of all entries of the
    same day and half hour."""
    half_hour = market_time(epoch_minutes(judged["timestamp"])).into // HALF_HOUR
    matched = judged.groupby([judged["session"], half_hour])["net_return"].transform("mean")
    signals = judged.assign(excess=judged["net_return"] - matched)
    return tradable(signals[signals["confidence"] >= threshold], max_open_positions)


def proven(judged: pd.DataFrame, threshold: float, max_open_positions: int) -> Verdict:
    """Skill: daily net P&L, and its excess over matched entries, each above 0; days without a signal count 0."""
    trades = traded(judged, threshold, max_open_positions)
    days = judged["session"].unique()
    if len(trades) < MIN_TRADES:
        return Verdict(False, f"too few signals: {len(trades)} trades on {len(days)} later days, {MIN_TRADES} needed")
    if trades["session"].nunique() < MIN_TRADE_DAYS:
        return Verdict(False, f"signals on {trades['session'].nunique()} days only, {MIN_TRADE_DAYS} needed")
    net, excess = (_daily(trades, name, days) for name in ("net_return", "excess"))
    words = f"{len(trades)} trades on {len(days)} later days, {trades['net_return'].mean():+.2%} each after cost"
    if not above_zero(net):
        return Verdict(False, f"daily profit is not above 0 with 95% confidence: {words}")
    if not above_zero(excess):
        return Verdict(False, f"no better than other entries of the same half hours with 95% confidence: {words}")
    return Verdict(True, words)


def better_or_equal(candidate: pd.DataFrame, incumbent: pd.DataFrame, threshold: float, max_open: int) -> Verdict:
    """Publish unless shown worse, paired by day on the rows both predicted before knowing the outcome.

    `candidate` are its procedure's out-of-fold rows (symbol, timestamp, settled_at, session, label, net_return,
    confidence); `incumbent` (symbol, timestamp, confidence) is what it predicted live, after its own training. Its
    out-of-fold rows would not do: on days of the past the older model always had the longer history behind it.
    Net P&L is compared; log loss where neither trades.
    """
    keys = ["symbol", "timestamp"]
    shared = candidate.merge(incumbent[[*keys, "confidence"]], on=keys, suffixes=("", "_incumbent"))
    days = shared["session"].unique()
    if len(days) < MIN_COMPARED_DAYS:
        seen = f"the model in use has predicted {len(days)} of these days live"
        return Verdict(True, f"{seen}, {MIN_COMPARED_DAYS} are needed to reject")
    rival = shared.assign(confidence=shared["confidence_incumbent"])
    ours, theirs = (tradable(rows[rows["confidence"] >= threshold], max_open) for rows in (shared, rival))
    if len(ours) or len(theirs):
        worse = _daily(theirs, "net_return", days) - _daily(ours, "net_return", days)
        measure = f"daily net return {0.0 - worse.mean():+.3%} against the model in use"
    else:
        loss = _log_loss(shared["confidence"], shared["label"]) - _log_loss(rival["confidence"], shared["label"])
        worse = loss.groupby(shared["session"]).mean().to_numpy()
        measure = f"log loss {worse.mean():+.4f} against the model in use (neither trades)"
    if above_zero(worse):
        return Verdict(False, f"worse than the model in use on {len(days)} days with 95% confidence: {measure}")
    return Verdict(True, f"not shown worse on {len(days)} days in common: {measure}")


def _daily(trades: pd.DataFrame, column: str, days: Array) -> Array:
    return trades.groupby("session")[column].sum().reindex(days, fill_value=0.0).to_numpy()


def _log_loss(confidence: pd.Series, label: pd.Series) -> pd.Series:
    return -np.log(np.where(label == 1, confidence, 1 - confidence).clip(1e-6)) * pd.Series(1.0, index=label.index)

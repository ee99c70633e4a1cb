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

from learning.money import by_day, tradable, traded

Array = NDArray[np.float64]

CONFIDENCE_LEVEL = 0.95  # one-sided
MIN_TRADES, MIN_TRADE_DAYS = 20, 5
MIN_COMPARED_DAYS = 5


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


def proven(judged: pd.DataFrame, threshold: float, max_open_positions: int) -> Verdict:
    """Skill: daily net P&L, and its excess over matched entries, each above 0; days without a signal count 0.

    What is gone when the same trades are entered one bar later is no skill either: nobody is that fast.
    """
    trades = traded(judged, threshold, max_open_positions)
    days = judged["session"].unique()
    if len(trades) < MIN_TRADES:
        return Verdict(False, f"too few signals: {len(trades)} trades on {len(days)} later days, {MIN_TRADES} needed")
    if trades["session"].nunique() < MIN_TRADE_DAYS:
        return Verdict(False, f"signals on {trades['session'].nunique()} days only, {MIN_TRADE_DAYS} needed")
    net, excess = (by_day(trades, name, days) for name in ("net_return", "excess"))
    words = f"{len(trades)} trades on {len(days)} later days, {trades['net_return'].mean():+.2%} each after cost"
    if not above_zero(net):
        return Verdict(False, f"daily profit is not above 0 with 95% confidence: {words}")
    if not above_zero(excess):
        return Verdict(False, f"no better than other entries of the same half hours with 95% confidence: {words}")
    later = trades["later_net_return"].mean()
    if np.isnan(later):
        return Verdict(False, f"what the same trades earn when entered one bar later is not known: {words}")
    if later <= 0:
        return Verdict(False, f"entered one bar later the same trades earn {later:+.2%} each: {words}")
    return Verdict(True, words)


def better_or_equal(
    candidate: pd.DataFrame, live: pd.DataFrame, out_of_fold: pd.DataFrame, threshold: float, max_open: int
) -> Verdict:
    """Publish unless shown worse, paired by day on the rows that both predicted before knowing the outcome.

    `candidate` are its procedure's out-of-fold rows (symbol, timestamp, settled_at, session, label, net_return,
    history, confidence). The model in use speaks by what it predicted `live` after its own training (symbol, timestamp,
    confidence), and on other days by its procedure's `out_of_fold` rows (these and history); it is never asked again
    about days that it has seen. Of those days only such count on which it had learnt from no more sessions than the
    candidate: its window began earlier, and a longer history alone would win.
    Net P&L is compared; log loss where neither trades.
    """
    keys = ["symbol", "timestamp"]
    both = candidate.merge(_spoken(candidate, live, out_of_fold), on=keys, suffixes=("", "_incumbent"))
    shared = both[both["history_incumbent"] <= both["history"]]
    days = shared["session"].unique()
    if len(days) < MIN_COMPARED_DAYS:
        seen = f"the model in use has predicted {len(days)} of these days on equal terms"
        return Verdict(True, f"{seen}, {MIN_COMPARED_DAYS} are needed to reject")
    rival = shared.assign(confidence=shared["confidence_incumbent"])
    ours, theirs = (tradable(rows[rows["confidence"] >= threshold], max_open) for rows in (shared, rival))
    if len(ours) or len(theirs):
        worse = by_day(theirs, "net_return", days) - by_day(ours, "net_return", days)
        measure = f"daily net return {0.0 - worse.mean():+.3%} against the model in use"
    else:
        loss = _log_loss(shared["confidence"], shared["label"]) - _log_loss(rival["confidence"], shared["label"])
        worse = loss.groupby(shared["session"]).mean().to_numpy()
        measure = f"log loss {worse.mean():+.4f} against the model in use (neither trades)"
    if above_zero(worse):
        return Verdict(False, f"worse than the model in use on {len(days)} days with 95% confidence: {measure}")
    return Verdict(True, f"not shown worse on {len(days)} days in common: {measure}")


def _spoken(candidate: pd.DataFrame, live: pd.DataFrame, out_of_fold: pd.DataFrame) -> pd.DataFrame:
    """What the model in use has said, on each day by one voice only: live where it did, else out of fold."""
    columns = ["symbol", "timestamp", "confidence", "history"]
    session_of = candidate.set_index(["symbol", "timestamp"])["session"]
    lived = live.assign(history=0)[columns]  # what it said live counts whatever it had learnt from
    days = set(session_of.reindex(pd.MultiIndex.from_frame(lived[["symbol", "timestamp"]])).dropna())
    other = out_of_fold[~out_of_fold["session"].isin(days)][columns]
    return pd.concat([lived, other], ignore_index=True)


def _log_loss(confidence: pd.Series, label: pd.Series) -> pd.Series:
    return -np.log(np.where(label == 1, confidence, 1 - confidence).clip(1e-6)) * pd.Series(1.0, index=label.index)

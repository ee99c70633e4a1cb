"""How good are probabilities on days not seen: scores, and what a confidence meant beside what a perfect one would.

Everything is counted by day where luck is shared by day: AUC is a mean over days, and the calibration table stands
beside what a perfect forecast would have shown on the same days.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

Array = NDArray[np.float64]

BINS = 10
RESAMPLINGS = 1000
_SEED = 0


def scores(judged: pd.DataFrame, threshold: float) -> dict[str, float | None]:
    """Scores of calibrated out-of-fold rows (session, label, score, confidence, net_return); None where nothing can be
    measured.

    `auc` is the mean over days (pooling over folds with different calibrations biases it down), `ece` the expected
    calibration error in ten bins (Naeini et al., 2015), `ece_perfect` what a perfect forecast would show on the same
    days, `ece_perfect_high` what it would stay below on 19 of 20 such samples of days. accuracy, precision and recall
    speak of buying at `threshold`.
    """
    label, confidence = judged["label"].to_numpy(), judged["confidence"].to_numpy()
    buy = confidence >= threshold
    by_day = [
        roc_auc_score(day["label"], day["score"]) for _, day in judged.groupby("session") if day["label"].nunique() == 2
    ]
    hits = float((buy & (label == 1)).sum())
    calibration = CalibrationByDay(judged)
    luck = calibration.errors_of_a_perfect_forecast()
    return {
        "auc": float(np.mean(by_day)) if by_day else None,
        "auc_standard_error": float(np.std(by_day, ddof=1) / np.sqrt(len(by_day))) if len(by_day) > 1 else None,
        "accuracy": float((buy == (label == 1)).mean()),
        "precision": hits / float(buy.sum()) if buy.any() else None,
        "recall": hits / float((label == 1).sum()) if (label == 1).any() else None,
        "brier": float(brier_score_loss(label, confidence)),
        "log_loss": float(log_loss(label, confidence, labels=[0, 1])),
        "ece": calibration.error(),
        "ece_perfect": None if luck is None else float(luck.mean()),
        "ece_perfect_high": None if luck is None else float(np.quantile(luck, 0.95)),
        "signals": int(buy.sum()),
        "net_return_per_signal": float(judged["net_return"][buy].mean()) if buy.any() else None,
        "highest_confidence": float(confidence.max()),
    }


class CalibrationByDay:
    """Confidence against outcome, by tenth of confidence and by day.

    A perfect forecast misses too: labels of a day share its luck, and few days are few draws. How far it would miss is
    found by resampling whole days (day-block bootstrap: Kuensch, 1989) after each bin's own mean miss is taken away.
    Measured on perfect forecasts of 3 to 24 days whose labels share their day's luck: the mean error that it foretells
    is right to a tenth, and the table's span holds what paid in 84% to 91% of bins, of bins with less than a twentieth
    of the rows in 77% to 85%.
    """

    def __init__(self, judged: pd.DataFrame) -> None:
        confidence, label = judged["confidence"].to_numpy(), judged["label"].to_numpy()
        tenths, tenth = np.unique(np.minimum((confidence * BINS).astype(int), BINS - 1), return_inverse=True)
        days, day = np.unique(judged["session"].to_numpy(), return_inverse=True)
        cell, shape = day * len(tenths) + tenth, (len(days), len(tenths))
        self._rows, self._confidence, self._paid = (
            np.bincount(cell, weights, minlength=shape[0] * shape[1]).reshape(shape)
            for weights in (np.ones(len(cell)), confidence, label)
        )
        self._total = self._rows.sum(axis=0)

    def error(self) -> float:
        """Expected calibration error: the mean distance between confidence and share profitable, by bin."""
        return float(np.abs((self._paid - self._confidence).sum(axis=0)).sum() / self._total.sum())

    def errors_of_a_perfect_forecast(self) -> Array | None:
        """Expected calibration errors that luck alone would show on such days, shape (RESAMPLINGS,); None where no bin
        has two days. A bin of a single day adds nothing: what luck does to it cannot be told."""
        misses = self._misses()
        if np.isnan(misses).all():
            return None
        return np.asarray(np.nansum(np.abs(misses) * self._total, axis=1) / self._total.sum())

    def table(self) -> list[dict[str, Any]]:
        """What a probability meant: per tenth of confidence in use the rows, mean confidence, share that paid, and
        the span (5% to 95%) in which a perfect forecast's share would lie on these days (None for a single day)."""
        confidence, paid = self._confidence.sum(axis=0) / self._total, self._paid.sum(axis=0) / self._total
        # few days do not know their own spread: Student's quantile, for as many days of equal rows (Kish, 1965)
        days = self._total**2 / (self._rows**2).sum(axis=0)
        reach = student.ppf(0.95, days - 1) / norm.ppf(0.95)
        span = np.clip(confidence + reach * np.quantile(self._misses(), [0.05, 0.95], axis=0), 0, 1)
        return [
            {
                "rows": int(rows),
                "confidence": float(mean),
                "profitable": float(share),
                "low": None if np.isnan(low) else float(low),
                "high": None if np.isnan(high) else float(high),
            }
            for rows, mean, share, low, high in zip(self._total, confidence, paid, *span, strict=True)
        ]

    def _misses(self) -> Array:
        """Share that paid less mean confidence of a perfect forecast, shape (RESAMPLINGS, bins in use); NaN for a bin
        of a single day."""
        luck = self._paid - self._confidence
        luck = luck - self._rows * (luck.sum(axis=0) / self._total)
        days = len(luck)
        drawn = np.random.default_rng(_SEED).multinomial(days, np.full(days, 1 / days), RESAMPLINGS)
        rows = drawn @ self._rows
        misses = np.divide(drawn @ luck, rows, out=np.zeros_like(rows), where=rows > 0)
        # what is left of a miss's variance once the bin's own mean is taken away: 1 - 1 / n for n days of equal rows
        share = self._rows / self._total
        squares = (share**2).sum(axis=0)
        left = 1 - 2 * (share**3).sum(axis=0) / squares + squares
        left[(share > 0).sum(axis=0) == 1] = np.nan
        return np.asarray(misses / np.sqrt(left))


def break_even(judged: pd.DataFrame) -> float | None:
    """The share of profitable trades at which winners pay for losers: loss / (win + loss), as stop, target, holding
    limit and cost made them on average."""
    win = judged["net_return"][judged["label"] == 1].mean()
    loss = -judged["net_return"][judged["label"] == 0].mean()
    return float(loss / (win + loss)) if win > 0 and loss > 0 else None

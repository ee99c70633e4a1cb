"""How good are probabilities on days not seen: scores, and what a confidence meant beside what a perfect one would.

Everything is counted by day where luck is shared by day: AUC is a mean over days, and the calibration table stands
beside what a perfect forecast would have shown on the same days.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
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
    days. accuracy, precision and recall speak of buying at `threshold`.
    """
    label, confidence = judged["label"].to_numpy(), judged["confidence"].to_numpy()
    buy = confidence >= threshold
    by_day = [
        roc_auc_score(day["label"], day["score"]) for _, day in judged.groupby("session") if day["label"].nunique() == 2
    ]
    hits = float((buy & (label == 1)).sum())
    calibration = CalibrationByDay(judged)
    return {
        "auc": float(np.mean(by_day)) if by_day else None,
        "auc_standard_error": float(np.std(by_day, ddof=1) / np.sqrt(len(by_day))) if len(by_day) > 1 else None,
        "accuracy": float((buy == (label == 1)).mean()),
        "precision": hits / float(buy.sum()) if buy.any() else None,
        "recall": hits / float((label == 1).sum()) if (label == 1).any() else None,
        "brier": float(brier_score_loss(label, confidence)),
        "log_loss": float(log_loss(label, confidence, labels=[0, 1])),
        "ece": calibration.error(),
        "ece_perfect": calibration.error_of_a_perfect_forecast(),
        "signals": int(buy.sum()),
        "net_return_per_signal": float(judged["net_return"][buy].mean()) if buy.any() else None,
        "highest_confidence": float(confidence.max()),
    }


class CalibrationByDay:
    """Confidence against outcome, by tenth of confidence and by day.

    A perfect forecast misses too: labels of a day share its luck, and few days are few draws. How far it would miss is
    found by resampling whole days (day-block bootstrap: Kuensch, 1989) after each bin's own mean miss is taken away.
    """

    def __init__(self, judged: pd.DataFrame) -> None:
        confidence, label = judged["confidence"].to_numpy(), judged["label"].to_numpy()
        tenth = np.minimum((confidence * BINS).astype(int), BINS - 1)
        day = np.unique(judged["session"].to_numpy(), return_inverse=True)[1]
        cell = day * BINS + tenth
        cells = (int(day.max()) + 1) * BINS
        self._rows, self._confidence, self._paid = (
            np.bincount(cell, weights, minlength=cells).reshape(-1, BINS)
            for weights in (np.ones(len(cell)), confidence, label)
        )

    def error(self) -> float:
        """Expected calibration error: the mean distance between confidence and share profitable, by bin."""
        return float(np.abs((self._paid - self._confidence).sum(axis=0)).sum() / self._rows.sum())

    def error_of_a_perfect_forecast(self) -> float | None:
        """The expected calibration error that luck alone shows on these days, mean over resamplings; None for one."""
        misses = self._misses()
        if misses is None:
            return None
        weights = self._rows.sum(axis=0) / self._rows.sum()
        return float((np.abs(misses) @ weights).mean())

    def table(self) -> list[dict[str, Any]]:
        """What a probability meant: per tenth of confidence in use the rows, mean confidence, share that paid, and
        the span (5% to 95%) in which a perfect forecast's share would lie on these days (None for a single day)."""
        misses = self._misses()
        records: list[dict[str, Any]] = []
        for tenth in np.flatnonzero(self._rows.sum(axis=0)):
            rows = float(self._rows[:, tenth].sum())
            confidence = float(self._confidence[:, tenth].sum() / rows)
            low, high = (None, None)
            if misses is not None:
                low, high = (
                    float(np.clip(confidence + miss, 0, 1)) for miss in np.quantile(misses[:, tenth], [0.05, 0.95])
                )
            profitable = float(self._paid[:, tenth].sum() / rows)
            records.append(
                {"rows": int(rows), "confidence": confidence, "profitable": profitable, "low": low, "high": high}
            )
        return records

    def _misses(self) -> Array | None:
        """Share that paid less mean confidence of a perfect forecast, shape (RESAMPLINGS, BINS); None for one day."""
        days = len(self._rows)
        if days < 2:
            return None
        rows = self._rows.sum(axis=0)
        mean_miss = np.divide((self._paid - self._confidence).sum(axis=0), rows, out=np.zeros(BINS), where=rows > 0)
        luck = self._paid - self._confidence - self._rows * mean_miss
        drawn = np.random.default_rng(_SEED).multinomial(days, np.full(days, 1 / days), RESAMPLINGS)
        rows_drawn = drawn @ self._rows
        # few days underestimate their own spread, as n - 1 does in a variance
        wider = np.sqrt(days / (days - 1))
        return wider * np.divide(drawn @ luck, rows_drawn, out=np.zeros_like(rows_drawn), where=rows_drawn > 0)


def break_even(judged: pd.DataFrame) -> float | None:
    """The share of profitable trades at which winners pay for losers: loss / (win + loss), as stop, target, holding
    limit and cost made them on average."""
    win = judged["net_return"][judged["label"] == 1].mean()
    loss = -judged["net_return"][judged["label"] == 0].mean()
    return float(loss / (win + loss)) if win > 0 and loss > 0 else None

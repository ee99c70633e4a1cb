"""How good is the procedure on later time: purged walk-forward, scores, and what could have been traded.

    sessions   1 2 3 4 5 6 | 7 8 9 | 10 11 12 | ...
    fold 1     train ----->  score                     (kept for calibrating the next folds)
    fold 2     train ------------->  calibrate, score
    fold 3     train ----------------------->  ...

A row is trained on only if its trade had settled, and had its whole time, before the fold's first open: nothing of the
fold is known, and trades that ended early are not over-represented. The
fold's probabilities are calibrated on the scores of earlier folds alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from learning.classifier import Calibration, calibrate, fit, quietly, raw_score
from learning.labels import had_its_time, uniqueness
from market.bars import epoch_minutes
from market.hours import market_time, moment

Array = NDArray[np.float64]

FOLD_SESSIONS = 3
MIN_TRAIN_SESSIONS = 5
_IMPORTANCE_ROWS = 3000


@dataclass(frozen=True)
class WalkForward:
    """Out-of-fold predictions: `table` has symbol, timestamp, settled_at, session, label, net_return, uniqueness, fold,
    score and confidence (NaN in the first fold, which has nothing earlier to calibrate on)."""

    table: pd.DataFrame
    importances: pd.DataFrame  # feature, permutation, impurity (NaN where the estimator has none)

    @property
    def judged(self) -> pd.DataFrame:
        """The rows whose confidence was calibrated on earlier folds."""
        return self.table[self.table["confidence"].notna()]

    def calibration(self) -> Calibration:
        """The calibration that a model fitted on everything takes along: from all out-of-fold scores."""
        return _calibrate(self.table, float(np.average(self.table["label"], weights=self.table["uniqueness"])))


def walk_forward(
    examples: pd.DataFrame, features: list[str], model_type: str, max_holding_minutes: int | None = None
) -> Iterator[str | WalkForward]:
    """Judge `model_type` on settled `examples` (symbol, timestamp, features, label, net_return, settled_at).

    Yields a line of progress before each fold, and at last the WalkForward. Raises TooFewSessions.
    """
    minutes = epoch_minutes(examples["timestamp"])
    session = market_time(minutes).session
    settled = epoch_minutes(examples["settled_at"])
    share = uniqueness(examples)
    matrix, label = examples[features].to_numpy(), examples["label"].to_numpy()
    days = np.unique(session)
    if len(days) < MIN_TRAIN_SESSIONS + 2 * FOLD_SESSIONS:
        raise TooFewSessions(
            f"Insufficient training data: examples of {len(days)} sessions, {MIN_TRAIN_SESSIONS + 2 * FOLD_SESSIONS} "
            "are needed to judge a model on later days. Run: python build_dataset.py with more --days or more bars"
        )
    # Folds end at the last session; what does not make a whole fold goes to the first training window.
    starts = days[len(days) - FOLD_SESSIONS * ((len(days) - MIN_TRAIN_SESSIONS) // FOLD_SESSIONS) :: FOLD_SESSIONS]
    parts: list[pd.DataFrame] = []
    for number, first in enumerate(starts):
        yield f"fold {number + 1} of {len(starts)}"
        test = (session >= first) & (session < starts[number + 1] if number + 1 < len(starts) else True)
        opens = minutes[test].min()
        train = (settled <= opens) & had_its_time(examples["timestamp"], moment(opens), max_holding_minutes)
        if not train.any():
            raise TooFewSessions(
                "Insufficient training data: no trade had settled before the first day to judge, as they are held for "
                "many sessions. Run: python build_dataset.py --days 60, or lower MAX_HOLDING_MINUTES"
            )
        scaler, estimator = fit(model_type, matrix[train], label[train], share[train])
        part = examples.loc[test, ["symbol", "timestamp", "settled_at", "label", "net_return"]].assign(
            session=session[test],
            uniqueness=share[test],
            fold=number,
            score=raw_score(estimator, scaler.transform(matrix[test])),
            confidence=np.nan,
        )
        if parts:
            earlier = pd.concat(parts)
            earlier = earlier[train[earlier.index]]
            base_rate = float(np.average(label[train], weights=share[train]))
            part["confidence"] = _calibrate(earlier, base_rate)(part["score"].to_numpy())
        parts.append(part)
    yield "importances"
    importances = _importances(estimator, scaler.transform(matrix[test]), label[test], features)
    yield WalkForward(pd.concat(parts), importances)


class StaleDataset(ValueError):
    """The examples answer another question than the settings ask, or their files do not belong together."""


class TooFewSessions(ValueError):
    """Not enough days to judge a model on later ones."""


def _calibrate(table: pd.DataFrame, base_rate: float) -> Calibration:
    score, label, share = (table[name].to_numpy() for name in ("score", "label", "uniqueness"))
    return calibrate(score, label, share, base_rate)


def _importances(estimator: Any, scaled: Array, label: Array, features: list[str]) -> pd.DataFrame:
    """Permutation importance (Breiman, 2001): how much AUC on the last fold falls when a feature is shuffled."""
    rows = np.random.default_rng(0).permutation(len(label))[:_IMPORTANCE_ROWS]
    drop = np.full(len(features), np.nan)
    if len(np.unique(label[rows])) == 2:
        with quietly(estimator):
            result = permutation_importance(
                estimator, scaled[rows], label[rows].astype(int), scoring="roc_auc", n_repeats=3, random_state=0
            )
        drop = result.importances_mean
    impurity = getattr(estimator, "feature_importances_", np.full(len(features), np.nan))
    table = pd.DataFrame({"feature": features, "permutation": drop, "impurity": impurity})
    return table.sort_values("permutation", ascending=False, ignore_index=True)


def tradable(signals: pd.DataFrame, max_open_positions: int) -> pd.DataFrame:
    """The signals that one account could have taken: one position per symbol, at most `max_open_positions`, best first.

    `signals` need symbol, timestamp, settled_at, confidence; a position is free again when its trade has settled.
    """
    busy: dict[str, int] = {}
    taken = []
    ordered = signals.sort_values(["timestamp", "confidence"], ascending=[True, False])
    known = epoch_minutes(ordered["timestamp"]) + 1
    for row, symbol, now, until in zip(
        ordered.index, ordered["symbol"], known.tolist(), epoch_minutes(ordered["settled_at"]).tolist(), strict=True
    ):
        busy = {s: end for s, end in busy.items() if end > now}
        if symbol not in busy and len(busy) < max_open_positions:
            busy[symbol] = until
            taken.append(row)
    return ordered.loc[taken]


def scores(judged: pd.DataFrame, threshold: float) -> dict[str, float | None]:
    """Scores of calibrated out-of-fold rows; None where nothing can be measured.

    `auc` is the mean over days (pooling over folds with different calibrations biases it down), `ece` the expected
    calibration error in ten bins (Naeini et al., 2015). accuracy, precision and recall speak of buying at `threshold`.
    """
    label, confidence = judged["label"].to_numpy(), judged["confidence"].to_numpy()
    buy = confidence >= threshold
    by_day = [
        roc_auc_score(day["label"], day["score"]) for _, day in judged.groupby("session") if day["label"].nunique() == 2
    ]
    hits = float((buy & (label == 1)).sum())
    table = reliability(judged)
    return {
        "auc": float(np.mean(by_day)) if by_day else None,
        "auc_standard_error": float(np.std(by_day, ddof=1) / np.sqrt(len(by_day))) if len(by_day) > 1 else None,
        "accuracy": float((buy == (label == 1)).mean()),
        "precision": hits / float(buy.sum()) if buy.any() else None,
        "recall": hits / float((label == 1).sum()) if (label == 1).any() else None,
        "brier": float(brier_score_loss(label, confidence)),
        "log_loss": float(log_loss(label, confidence, labels=[0, 1])),
        "ece": float(sum(b["rows"] * abs(b["confidence"] - b["profitable"]) for b in table) / len(judged)),
        "signals": int(buy.sum()),
        "net_return_per_signal": float(judged["net_return"][buy].mean()) if buy.any() else None,
        "highest_confidence": float(confidence.max()),
    }


def reliability(judged: pd.DataFrame) -> list[dict[str, Any]]:
    """What a probability meant: for each tenth of confidence the rows, mean confidence and share that paid."""
    tenth = np.minimum((judged["confidence"].to_numpy() * 10).astype(int), 9)
    table = judged.assign(tenth=tenth).groupby("tenth").agg(
        rows=("label", "size"), confidence=("confidence", "mean"), profitable=("label", "mean")
    )  # fmt: skip
    records: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return records

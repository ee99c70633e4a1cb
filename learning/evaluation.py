"""How the procedure predicts later time: a purged, expanding walk-forward, calibrated on earlier folds alone.

    sessions   1 2 3 | 4 5 6 | 7 8 9 | 10 11 12 | ...
    fold 1     train > score                     (kept for calibrating the next folds)
    fold 2     train --------> calibrate, score
    fold 3     train ----------------> calibrate, score

The last fold ends at the last session; what makes no whole fold goes to fold 1, which so learns from 3 to 5 sessions.
A row is trained on only if its trade had settled, and had its whole time, before the fold's first open: nothing of the
fold is known, and trades that ended early are not over-represented. The fold's probabilities are calibrated on the
scores of earlier folds alone. What the rows of later folds are worth is said by learning/scores.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learning.classifier import Calibration, IsotonicCalibration, calibrate, fit, raw_score
from learning.importances import AucLost
from learning.labels import ENTRY_PATIENCE_MINUTES, had_its_time, uniqueness
from market.bars import epoch_minutes
from market.hours import market_time

Array = NDArray[np.float64]

FOLD_SESSIONS = 3
MIN_TRAIN_SESSIONS = 3


@dataclass(frozen=True)
class WalkForward:
    """Out-of-fold predictions.

    `table` has symbol, timestamp, settled_at, session, label, net_return, close, driftless, uniqueness,
    later_net_return (of the same trade entered one bar later), fold, history (sessions that the fold's model had learnt
    from), score, and confidence (NaN in the first fold, which has nothing earlier to calibrate on). `importances`: see
    `learning.importances`.
    """

    table: pd.DataFrame
    importances: pd.DataFrame

    @property
    def judged(self) -> pd.DataFrame:
        """The rows whose confidence was calibrated on earlier folds."""
        return self.table[self.table["confidence"].notna()]

    def calibration(self) -> Calibration | IsotonicCalibration:
        """The calibration that a model fitted on everything takes along: from all out-of-fold scores."""
        return _calibrate(self.table, self.table)


def walk_forward(
    examples: pd.DataFrame, features: Sequence[str], model_type: str, max_holding_minutes: int | None = None
) -> Iterator[str | WalkForward]:
    """Judge `model_type` on settled `examples` (symbol, timestamp, features, close, label, net_return, settled_at),
    sorted by symbol and timestamp, rows numbered from 0.

    Yields a line of progress before each fold, and at last the WalkForward. Raises TooFewSessions.
    """
    session = market_time(epoch_minutes(examples["timestamp"])).session
    settled = epoch_minutes(examples["settled_at"])
    share = uniqueness(examples)
    matrix, label = examples[list(features)].to_numpy(), examples["label"].to_numpy()
    rows = examples[["symbol", "timestamp", "settled_at", "label", "net_return", "close", "driftless"]].assign(
        session=session, uniqueness=share, later_net_return=one_bar_later(examples)
    )
    starts = _fold_starts(np.unique(session))
    parts: list[pd.DataFrame] = []
    lost = AucLost(features)
    for number, first in enumerate(starts):
        yield f"fold {number + 1} of {len(starts)}"
        test = (session >= first) & (session < starts[number + 1] if number + 1 < len(starts) else True)
        opens = rows["timestamp"][test].min()
        train = (settled <= epoch_minutes(rows["timestamp"][test]).min()) & had_its_time(
            rows["timestamp"], opens, max_holding_minutes
        )
        if not train.any():
            raise TooFewSessions(
                "Insufficient training data: no trade had settled before the first day to judge, as they are held for "
                "many sessions. Run: python build_dataset.py --days 60, or lower MAX_HOLDING_MINUTES"
            )
        scaler, estimator = fit(model_type, matrix[train], label[train], share[train])
        scaled = scaler.transform(matrix[test])
        part = rows[test].assign(
            fold=number,
            history=len(np.unique(session[train])),
            score=raw_score(estimator, scaled),
            confidence=np.nan,
        )
        if parts:
            earlier = pd.concat(parts)
            earlier = earlier[train[earlier.index]]
            part["confidence"] = _calibrate(earlier, rows[train])(part["score"].to_numpy())
        parts.append(part)
        lost.add(estimator, scaled, label[test], session[test])
    yield WalkForward(pd.concat(parts), lost.table(estimator))


class StaleDataset(ValueError):
    """The examples answer another question than the settings ask, or their files do not belong together."""


class TooFewSessions(ValueError):
    """Not enough days to judge a model on later ones."""


def one_bar_later(examples: pd.DataFrame) -> Array:
    """What each trade would have earned if it had been entered one bar later, shape (n,): the net return of the
    symbol's next example. NaN where that is too far away to be the same trade."""
    minutes = epoch_minutes(examples["timestamp"])
    same = (examples["symbol"].to_numpy()[1:] == examples["symbol"].to_numpy()[:-1]) & (
        np.diff(minutes) <= ENTRY_PATIENCE_MINUTES
    )
    later = np.full(len(examples), np.nan)
    later[:-1][same] = examples["net_return"].to_numpy()[1:][same]
    return later


def _fold_starts(days: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first session of each fold. Folds end at the last session; what makes no whole fold goes to the training
    window of the first."""
    needed = MIN_TRAIN_SESSIONS + 2 * FOLD_SESSIONS
    if len(days) < needed:
        raise TooFewSessions(
            f"Insufficient training data: examples of {len(days)} sessions, {needed} are needed to judge a model on "
            "later days. Run: python build_dataset.py with more --days or more bars"
        )
    folds = (len(days) - MIN_TRAIN_SESSIONS) // FOLD_SESSIONS
    return days[len(days) - FOLD_SESSIONS * folds :: FOLD_SESSIONS]


def _calibrate(table: pd.DataFrame, trained_on: pd.DataFrame) -> Calibration | IsotonicCalibration:
    level = trained_on[trained_on["driftless"].notna()]
    base_rate = float(np.average(level["driftless"], weights=level["uniqueness"]))
    score, label, share = (table[name].to_numpy() for name in ("score", "label", "uniqueness"))
    return calibrate(score, label, share, base_rate)

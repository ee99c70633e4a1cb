"""What each feature is worth on later days, and which have not been worth anything for several models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from learning.classifier import raw_score

Array = NDArray[np.float64]

ROWS_A_DAY = 150
MIN_MODELS = 5  # before a feature is named as one that does not earn its place
_SEED = 0


class AucLost:
    """Permutation importance (Breiman, 2001) by day: how much a day's AUC falls when a feature is shuffled in it.

    Fold by fold on a sample of rows of each day, so that each model is asked about days that it had not seen.
    """

    def __init__(self, features: Sequence[str]) -> None:
        self._features = list(features)
        self._lost: list[Array] = []  # one row of shape (features,) a day
        self._random = np.random.default_rng(_SEED)

    def add(self, estimator: Any, scaled: Array, label: Array, session: NDArray[np.int64]) -> None:
        """Take in one fold: its model, and its rows with scaled features of shape (n, features)."""
        days = [self._sample(np.flatnonzero(session == day)) for day in np.unique(session)]
        days = [rows for rows in days if len(np.unique(label[rows])) == 2]
        if not days:
            return
        sampled = scaled[np.concatenate(days)]
        variants = np.repeat(sampled[np.newaxis], len(self._features) + 1, axis=0)
        edges = np.cumsum([0, *map(len, days)])
        for start, stop in pairwise(edges):
            for column in range(len(self._features)):
                order = self._random.permutation(stop - start)
                variants[column + 1, start:stop, column] = sampled[start:stop, column][order]
        # one call for all: a forest's predictions cost far less together
        scores = raw_score(estimator, variants.reshape(-1, sampled.shape[1])).reshape(len(variants), -1)
        for rows, (start, stop) in zip(days, pairwise(edges), strict=True):
            auc = np.array([roc_auc_score(label[rows], each[start:stop]) for each in scores])
            self._lost.append(auc[0] - auc[1:])

    def table(self, estimator: Any) -> pd.DataFrame:
        """feature, permutation (mean AUC lost over days), standard_error (over days), impurity (of `estimator`, NaN
        where it has none); the most important first. NaN where no day had both labels."""
        lost = np.array(self._lost).reshape(-1, len(self._features))
        nothing = np.full(len(self._features), np.nan)
        table = pd.DataFrame(
            {
                "feature": self._features,
                "permutation": lost.mean(axis=0) if len(lost) else nothing,
                "standard_error": lost.std(axis=0, ddof=1) / np.sqrt(len(lost)) if len(lost) > 1 else nothing,
                "impurity": getattr(estimator, "feature_importances_", nothing),
            }
        )
        return table.sort_values("permutation", ascending=False, ignore_index=True)

    def _sample(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._random.permutation(rows)[:ROWS_A_DAY]


def consider_removing(cards: Iterable[Mapping[str, Any]]) -> list[str]:
    """Features that the newest models could have done without: on average over MIN_MODELS or more of them, shuffling
    the feature cost no AUC. `cards` are of models that were judged, newest last; only those with the newest one's
    features count.

    Two features that say the same both look superfluous: remove one, train, and look again.
    """
    same: list[dict[str, float]] = []
    features: list[str] | None = None
    for card in reversed(list(cards)):
        features = features or list(card["features"])
        if list(card["features"]) == features:
            same.append({row["feature"]: row["permutation"] for row in card["importances"]})
    newest = [row for row in same[: 2 * MIN_MODELS] if None not in row.values()]
    if features is None or len(newest) < MIN_MODELS:
        return []
    return [name for name in features if np.mean([row[name] for row in newest]) <= 0]

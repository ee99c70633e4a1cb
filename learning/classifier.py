"""Features -> the probability that the trade pays: a tree ensemble, and the calibration that makes its score hold.

Forests train through scikit-learn-intelex where it is installed (x86-64 Linux), else through plain scikit-learn; both
are the same estimator with the same parameters. A model file remembers which (`versions` on its card).
"""

from __future__ import annotations

import logging
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

try:
    from sklearnex.ensemble import RandomForestClassifier

    ACCELERATED = True  # forests go through scikit-learn-intelex
except ImportError:  # the requirement carries a platform marker; see requirements.txt
    from sklearn.ensemble import RandomForestClassifier

    ACCELERATED = False

logging.getLogger("sklearnex").setLevel(logging.WARNING)  # else a line at each call says which code path ran

Array = NDArray[np.float64]

TREES = 300
MIN_TREE_ROWS = 500
SEED = 20260214
PRIOR_EXAMPLES = 100.0  # about the independent examples of one fold of 12 symbols
_VERSIONED = ("scikit-learn", "scikit-learn-intelex", "numpy", "joblib", "TA-Lib")


@dataclass(frozen=True)
class Calibration:
    """Sigmoid from raw score to probability: 1 / (1 + exp(-(intercept + slope x logit(score)))), slope >= 0.

    Platt (1999), Probabilistic outputs for support vector machines, on the score's logit (a beta calibration with equal
    exponents: Kull et al., 2017).
    """

    slope: float
    intercept: float

    def __call__(self, score: Array) -> Array:
        return 1 / (1 + np.exp(-(self.intercept + self.slope * _logit(score))))


@dataclass(frozen=True)
class TradeClassifier:
    """What a model file holds: the fitted estimator and its calibration."""

    estimator: Any
    calibration: Calibration

    def confidence(self, scaled: Array) -> Array:
        """Probability of a profitable trade, shape (n,), for scaled features of shape (n, features), finite."""
        return self.calibration(raw_score(self.estimator, scaled))


def fit(model_type: str, features: Array, label: Array, uniqueness: Array) -> tuple[StandardScaler, Any]:
    """Fit scaler and estimator on (n, features) and labels 0.0 or 1.0, shape (n,).

    `uniqueness` is each label's share of its own time (`learning.labels.uniqueness`): overlapping minutes are not
    independent, so each tree draws only about as many rows as there are independent ones (Lopez de Prado, 2018, 4.5).
    """
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    rows = int(np.clip(uniqueness.sum(), min(MIN_TREE_ROWS, len(label)), len(label)))
    if model_type == "random_forest":
        estimator = RandomForestClassifier(
            n_estimators=TREES, max_samples=rows, min_samples_leaf=5, max_features="sqrt", n_jobs=-1, random_state=SEED
        )
    else:
        # Boosting has no row sampling of its own; large leaves and few rounds stand in for it. Its early stopping would
        # hold out random rows, which overlap the ones it trains on.
        estimator = HistGradientBoostingClassifier(
            max_iter=80, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=max(200, len(label) // 100),
            l2_regularization=1.0, max_features=0.5, early_stopping=False, random_state=SEED,
        )  # fmt: skip
    with quietly(estimator):
        return scaler, estimator.fit(scaled, label.astype(np.int64))


def quietly(estimator: Any) -> AbstractContextManager[object]:
    """Histogram boosting on one thread: its OpenMP threads wait for each other by spinning, so that on 2 shared cores a
    fit of 9,000 rows was seen to take anything from 0.2 to 50 s; on one thread 0.2 to 0.4 s."""
    boosting = isinstance(estimator, HistGradientBoostingClassifier)
    return threadpool_limits(1, user_api="openmp") if boosting else nullcontext()


def raw_score(estimator: Any, scaled: Array) -> Array:
    """The estimator's own estimate of the probability of class 1, shape (n,); 0.5 where it saw one class only."""
    classes = list(estimator.classes_)
    if 1 not in classes or len(classes) < 2:
        return np.full(len(scaled), 0.5)
    with quietly(estimator):
        return np.asarray(estimator.predict_proba(scaled)[:, classes.index(1)], dtype=np.float64)


def calibrate(score: Array, label: Array, uniqueness: Array, base_rate: float) -> Calibration:
    """Fit the sigmoid on out-of-fold scores, shape (n,).

    Rows weigh their uniqueness, so that two priors speak against the number of independent examples, not of minutes:
    a penalty on the slope (sd 1), and PRIOR_EXAMPLES examples of the mean score that pay as often as `base_rate`, which
    keeps a few days of luck from passing for a level. A slope that is not positive becomes flat.
    """
    base_rate = float(np.clip(base_rate, 0.001, 0.999))
    flat = Calibration(0.0, float(np.log(base_rate / (1 - base_rate))))
    if len(score) == 0 or np.ptp(score) == 0:
        return flat
    logit = _logit(score)
    middle = np.average(logit, weights=uniqueness)
    prior = PRIOR_EXAMPLES * np.array([base_rate, 1 - base_rate])
    regression = LogisticRegression(C=1.0).fit(
        np.concatenate([logit, [middle, middle]])[:, None],
        np.concatenate([label, [1.0, 0.0]]),
        sample_weight=np.concatenate([uniqueness, prior]),
    )
    slope = float(regression.coef_[0, 0])
    return Calibration(slope, float(regression.intercept_[0])) if slope > 0 else flat


def versions() -> dict[str, str]:
    """What a model's numbers depend on, by package; a package that is not installed is absent."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _logit(score: Array) -> Array:
    clipped = np.clip(score, 0.005, 0.995)
    return np.log(clipped / (1 - clipped))

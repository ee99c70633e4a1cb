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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

try:
    Path.cwd()  # without a working folder Intel's library ends the process
    from sklearnex.ensemble import RandomForestClassifier

    ACCELERATED = True  # forests go through scikit-learn-intelex
except (ImportError, FileNotFoundError):  # the requirement carries a platform marker; see requirements.txt
    from sklearn.ensemble import RandomForestClassifier

    ACCELERATED = False

logging.getLogger("sklearnex").setLevel(logging.WARNING)  # else a line at each call says which code path ran

Array = NDArray[np.float64]

TREES = 300
MIN_TREE_ROWS = 500
SEED = 20260214
PRIOR_EXAMPLES = 500.0  # independent ones, about those of four folds of 12 symbols
SLOPE_SD = 3.0
SCORE_BINS = 400
ISOTONIC_FROM = 2000.0  # independent examples; steps need many, and folds before then are judged by the sigmoid
STEP_PRIOR = 10.0  # examples a step that speak for the sigmoid
MODEL_FORMAT = "3"  # of TradeClassifier and the card
_VERSIONED = ("scikit-learn", "scikit-learn-intelex", "numpy", "joblib", "TA-Lib")


@dataclass(frozen=True)
class Calibration:
    """Sigmoid from raw score s to probability: 1 / (1 + exp(-(level + low x ln s - high x ln(1 - s)))), both >= 0.

    Beta calibration (Kull, Silva Filho and Flach, 2017): Platt's sigmoid with a slope of its own at either end, since a
    forest that finds a pattern in a few minutes of a hundred is right about its high scores and says nothing with its
    low ones. Never falling in the score. `low` = `high` is Platt (1999) on the score's logit.
    """

    level: float
    low: float
    high: float

    def __call__(self, score: Array) -> Array:
        return np.asarray(expit(self.level + _terms(score) @ np.array([self.low, self.high])))

    def record(self) -> dict[str, Any]:
        """What a card tells of it."""
        return {"kind": "sigmoid", "level": self.level, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class IsotonicCalibration:
    """Steps from raw score to probability, never falling (Zadrozny and Elkan, 2002); straight lines between them."""

    score: Array
    probability: Array

    def __call__(self, score: Array) -> Array:
        return np.asarray(np.interp(score, self.score, self.probability))

    def record(self) -> dict[str, Any]:
        """What a card tells of it."""
        return {"kind": "isotonic", "steps": len(self.score)}


@dataclass(frozen=True)
class TradeClassifier:
    """What a model file holds: the fitted estimator and its calibration."""

    estimator: Any
    calibration: Calibration | IsotonicCalibration

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


def calibrate(score: Array, label: Array, uniqueness: Array, base_rate: float) -> Calibration | IsotonicCalibration:
    """Fit the calibration on out-of-fold scores, shape (n,).

    Rows weigh their uniqueness, so that two priors speak against the number of independent examples, not of minutes:
    slopes are shrunk (normal, sd SLOPE_SD), and PRIOR_EXAMPLES examples of the mean score pay as often as `base_rate`,
    the share that pays in a market without drift: a few lucky days are no level. With more than ISOTONIC_FROM
    independent examples steps may take the sigmoid's place, each shrunk towards it by STEP_PRIOR examples.
    """
    base_rate = float(np.clip(base_rate, 0.001, 0.999))
    if len(score) == 0 or np.ptp(score) == 0:
        level = (uniqueness @ label + PRIOR_EXAMPLES * base_rate) / (uniqueness.sum() + PRIOR_EXAMPLES)
        return Calibration(_logit(float(level)), 0.0, 0.0)
    # Rows of nearly the same score are one: the fit is the same to four digits, and a hundred times as fast.
    bins = np.array_split(np.argsort(score, kind="stable"), min(SCORE_BINS, len(score)))
    weight = np.array([uniqueness[rows].sum() for rows in bins])
    mean_score = np.array([np.average(score[rows], weights=uniqueness[rows]) for rows in bins])
    paid = np.array([uniqueness[rows] @ label[rows] for rows in bins])
    sigmoid = _sigmoid(mean_score, weight, paid, base_rate)
    return sigmoid if weight.sum() <= ISOTONIC_FROM else _isotonic(mean_score, weight, paid, sigmoid)


def _sigmoid(score: Array, weight: Array, paid: Array, base_rate: float) -> Calibration:
    """The penalised maximum of the likelihood; slopes are not negative."""
    terms = _terms(score)
    middle = np.average(terms, axis=0, weights=weight)
    centred = terms - middle

    def loss(parameters: Array) -> tuple[float, Array]:
        level, slopes = parameters[0], parameters[1:]
        z = level + centred @ slopes
        value = weight @ np.logaddexp(0, z) - paid @ z
        value += PRIOR_EXAMPLES * (np.logaddexp(0, level) - base_rate * level) + slopes @ slopes / (2 * SLOPE_SD**2)
        miss = expit(z) * weight - paid
        at_level = miss.sum() + PRIOR_EXAMPLES * (expit(level) - base_rate)
        return float(value), np.array([at_level, *(miss @ centred + slopes / SLOPE_SD**2)])

    start = np.array([_logit(base_rate), 0.0, 0.0])
    level, low, high = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None), (0, None), (0, None)]).x
    return Calibration(float(level - middle @ [low, high]), float(low), float(high))


def _isotonic(score: Array, weight: Array, paid: Array, sigmoid: Calibration) -> IsotonicCalibration:
    """Pool adjacent violators, then add to each step that was found STEP_PRIOR examples of the sigmoid's opinion.

    Alone it turns a few lucky minutes at the top into certainty: probability 1.0 at 22% precision was seen.
    """
    found = isotonic_regression(paid / weight, weights=weight)
    step = np.repeat(np.arange(len(found.blocks) - 1), np.diff(found.blocks))
    examples, profitable = (np.bincount(step, each)[step] for each in (weight, paid))
    shrunk = (profitable + STEP_PRIOR * sigmoid(score)) / (examples + STEP_PRIOR)
    steps = isotonic_regression(shrunk, weights=weight).x  # a step of few examples may have passed its neighbour
    return IsotonicCalibration(score, np.asarray(steps))


def versions() -> dict[str, str]:
    """What a model's numbers depend on, by package; a package that is not installed is absent."""
    found = {"python": platform.python_version(), "model format": MODEL_FORMAT}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _terms(score: Array) -> Array:
    """ln s and -ln(1 - s), shape (n, 2)."""
    clipped = np.clip(score, 0.005, 0.995)
    return np.column_stack([np.log(clipped), -np.log(1 - clipped)])

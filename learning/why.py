"""Which features spoke for a prediction: the path it took through the trees, split by split, summed exactly.

On its way down a tree the prediction moves from each node's value to its child's, and that move is credited to the
feature the node splits on (Saabas, 2014, Interpreting random forests; Palczewska et al., 2013, Interpreting random
forest models using a feature contribution method). Base plus all credits is the estimator's own score. What spoke for
the score spoke for the confidence, as calibration never turns scores around. These are no Shapley values: of features
that work together, those split on later on the path get more of the credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

Array = NDArray[np.float64]
Nodes = NDArray[np.intp]
Unit = Literal["probability", "log-odds"]


@dataclass(frozen=True)
class Trees:
    """The nodes of all trees of an estimator in one table, to be made once per model.

    A node's value is the mean of what its tree adds to the score, over the training rows that came through the node. A
    leaf is its own child, so that trees of unequal depth are walked together.
    """

    roots: Nodes  # (trees,)
    left: Nodes  # (nodes,), as all that follow
    right: Nodes
    feature: Nodes
    threshold: Array  # left if the feature is not above it
    value: Array
    depth: int  # splits on the longest path
    features: int
    base: float
    unit: Unit
    precision: type[np.floating[Any]]  # to which the estimator rounds features before it compares them


@dataclass(frozen=True)
class Contributions:
    """`base` (the mean score of training rows) + `values` (features,) = the score of one row, in `unit`."""

    base: float
    values: Array
    unit: Unit


def trees_of(estimator: Any) -> Trees:
    """The trees behind `learning.classifier.raw_score`; a single leaf of 0.5 where the estimator saw one class only.

    A forest's score is the probability of class 1, the mean over its trees; that of histogram boosting is the log-odds
    (`decision_function`), the sum over its trees.
    """
    accelerated = hasattr(estimator, "_onedal_estimator")  # trained by scikit-learn-intelex, not by its fallback
    boosting = isinstance(estimator, HistGradientBoostingClassifier)
    base = 0.0
    unit: Unit = "probability"
    if len(estimator.classes_) < 2:
        nodes = pd.DataFrame({"tree": [0], "leaf": True, "left": 0, "right": 0, "feature": 0, "threshold": 0.0})
        nodes = nodes.assign(value=0.5, rows=1.0)
    elif boosting:
        nodes = _boosting_nodes(estimator)
        base, unit = float(estimator._baseline_prediction[0, 0]), "log-odds"
    else:
        nodes = _forest_nodes(estimator, accelerated=accelerated)
    own = np.arange(len(nodes))
    roots = np.flatnonzero(np.diff(nodes["tree"], prepend=-1))
    leaf, weight = nodes["leaf"].to_numpy(), nodes["rows"].to_numpy()
    left, right = (np.where(leaf, own, nodes[side] + roots[nodes["tree"]]) for side in ("left", "right"))
    # Inner values are made from the leaves: boosting keeps its own unshrunk, scikit-learn-intelex as means of votes.
    value = nodes["value"].to_numpy(copy=True)
    levels = [roots[~leaf[roots]]]
    while len(levels[-1]):
        below = np.concatenate([left[levels[-1]], right[levels[-1]]])
        levels.append(below[~leaf[below]])
    for inner in reversed(levels):
        low, high = left[inner], right[inner]
        value[inner] = (weight[low] * value[low] + weight[high] * value[high]) / weight[inner]
    return Trees(
        roots=roots,
        left=left,
        right=right,
        feature=np.where(leaf, 0, nodes["feature"]),
        threshold=nodes["threshold"].to_numpy(),
        value=value,
        depth=len(levels) - 1,
        features=estimator.n_features_in_,
        base=base + float(value[roots].sum()),
        unit=unit,
        precision=np.float64 if accelerated or boosting else np.float32,
    )


def contributions(trees: Trees, scaled: Array) -> Contributions:
    """What each feature of one row, shape (features,), scaled and finite, added to the score of these trees."""
    row = scaled.astype(trees.precision)
    values = np.zeros(trees.features)
    node = trees.roots
    for _ in range(trees.depth):
        feature = trees.feature[node]
        child = np.where(row[feature] <= trees.threshold[node], trees.left[node], trees.right[node])
        values += np.bincount(feature, trees.value[child] - trees.value[node], minlength=trees.features)
        node = child
    return Contributions(trees.base, values, trees.unit)


def reasons(
    contributions: Contributions, features: Sequence[str], row: Array, most: int = 5, *, against: bool = False
) -> list[dict[str, str | float]]:
    """The features that spoke for the prediction, or `against` it, the strongest first; ready for JSON.

    Args: `row` (features,) are the values before scaling. Each dict has `feature`, its `value` in the row, and its
    `contribution` in the unit of the contributions: above 0 for, below 0 against.
    """
    strength = -contributions.values if against else contributions.values
    strongest = np.argsort(-strength, kind="stable")[:most]
    return [
        {"feature": features[i], "value": float(row[i]), "contribution": float(contributions.values[i])}
        for i in strongest
        if strength[i] > 0
    ]


def _forest_nodes(estimator: Any, *, accelerated: bool) -> pd.DataFrame:
    trees = [tree.tree_ for tree in estimator.estimators_]
    columns = {
        "left": "children_left",
        "right": "children_right",
        "feature": "feature",
        "threshold": "threshold",
        "rows": "weighted_n_node_samples",
        "impurity": "impurity",
    }
    nodes = pd.DataFrame({to: np.concatenate([getattr(tree, name) for tree in trees]) for to, name in columns.items()})
    share = np.concatenate([tree.value[:, 0, 1] for tree in trees])
    if accelerated:
        share = _share_behind_vote(share, nodes["impurity"].to_numpy())
    number = np.repeat(np.arange(len(trees)), [tree.node_count for tree in trees])
    return nodes.assign(tree=number, leaf=nodes["left"] < 0, value=share / len(trees))


def _boosting_nodes(estimator: Any) -> pd.DataFrame:
    tables = [predictor.nodes for (predictor,) in estimator._predictors]
    nodes = np.concatenate(tables)
    return pd.DataFrame(
        {
            "tree": np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
            "leaf": nodes["is_leaf"] == 1,
            "left": nodes["left"],
            "right": nodes["right"],
            "feature": nodes["feature_idx"],
            "threshold": nodes["num_threshold"],
            "value": nodes["value"],
            "rows": nodes["count"],
        }
    )


def _share_behind_vote(vote: Array, impurity: Array) -> Array:
    """The share p of class 1 in each leaf, (nodes,), where `vote` is 1 or 0 for its majority.

    scikit-learn-intelex predicts with shares, but the leaves of its converted trees have the majority's vote; their
    Gini impurity 2 p (1 - p) gives the share back.
    """
    minority = (1 - np.sqrt(np.maximum(1 - 2 * impurity, 0))) / 2
    return np.where(vote > 0.5, 1 - minority, minority)

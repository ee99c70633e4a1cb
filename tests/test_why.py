"""Why a prediction came out as it did: exact sums, credited to the features the path really split on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from threadpoolctl import threadpool_limits

from durable import to_json
from learning.classifier import raw_score
from learning.why import Contributions, Trees, contributions, reasons, trees_of

KINDS = ["plain", "accelerated", "boosting"]
FORESTS = KINDS[:2]
NAMES = ["gap", "tenths", "steps", "constant", "noise"]
CONSTANT = NAMES.index("constant")


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Boosting on one thread, as its threads spin for each other where the machine is shared."""
    with threadpool_limits(1, user_api="openmp"):
        yield


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features with and without ties, one of them constant, and labels that follow two of them together."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, len(NAMES)))
    x[:, 1] = x[:, 1].round(1)
    x[:, 2] = rng.integers(0, 4, count)
    x[:, CONSTANT] = 0.25
    return x, (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(0, 1, count) > 0.5).astype(int)


def unfitted(kind: str, **parameters: Any) -> Any:
    if kind == "boosting":
        return HistGradientBoostingClassifier(
            max_iter=40, max_leaf_nodes=8, min_samples_leaf=40, early_stopping=False, random_state=1, **parameters
        )
    forest = RandomForestClassifier
    if kind == "accelerated":
        forest = pytest.importorskip("sklearnex.ensemble").RandomForestClassifier
    return forest(n_estimators=60, max_samples=300, min_samples_leaf=5, random_state=1, **parameters)


@cache
def estimator(kind: str) -> Any:
    """Fitted, and come back from a file, as the model that serves has."""
    file = BytesIO()
    joblib.dump(unfitted(kind).fit(*rows(4000, seed=0)), file)
    file.seek(0)
    return joblib.load(file)


@cache
def trees(kind: str) -> Trees:
    return trees_of(estimator(kind))


def own_score(kind: str, x: np.ndarray) -> np.ndarray:
    score = estimator(kind).decision_function(x) if kind == "boosting" else estimator(kind).predict_proba(x)[:, 1]
    return np.asarray(score)


def sums(trees: Trees, x: np.ndarray) -> np.ndarray:
    parts = [contributions(trees, row) for row in x]
    return np.array([part.base + part.values.sum() for part in parts])


# --- exact sums -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_base_and_contributions_add_up_to_the_estimator_s_own_score(kind: str) -> None:
    x, _ = rows(500, seed=1)
    score = own_score(kind, x)
    assert np.ptp(score) > 0.3
    np.testing.assert_allclose(sums(trees(kind), x), score, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_on_a_threshold_and_a_hair_beside_it_take_the_estimator_s_own_side(kind: str) -> None:
    rng = np.random.default_rng(2)
    x, _ = rows(600, seed=2)
    table = trees(kind)
    inner = np.flatnonzero(table.left != np.arange(len(table.left)))
    at = rng.choice(inner, len(x))
    hair = rng.choice([-1e-12, 0.0, 1e-12], len(x))
    x[np.arange(len(x)), table.feature[at]] = table.threshold[at] * (1 + hair)
    np.testing.assert_allclose(sums(table, x), own_score(kind, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", FORESTS)
def test_the_sum_of_a_forest_is_the_raw_score_that_is_calibrated(kind: str) -> None:
    x, _ = rows(50, seed=3)
    assert trees(kind).unit == "probability"
    np.testing.assert_allclose(sums(trees(kind), x), raw_score(estimator(kind), x), rtol=0, atol=1e-12)


def test_the_sum_of_boosting_is_the_log_odds_of_the_raw_score() -> None:
    x, _ = rows(50, seed=3)
    assert trees("boosting").unit == "log-odds"
    score = 1 / (1 + np.exp(-sums(trees("boosting"), x)))
    np.testing.assert_allclose(score, raw_score(estimator("boosting"), x), rtol=0, atol=1e-12)


def test_weighted_rows_which_scikit_learn_intelex_leaves_to_scikit_learn_add_up_too() -> None:
    x, label = rows(2000, seed=4)
    weight = np.random.default_rng(4).uniform(0.1, 1, len(x))
    fallen_back = unfitted("accelerated").fit(x, label, sample_weight=weight)
    np.testing.assert_allclose(sums(trees_of(fallen_back), x[:200]), fallen_back.predict_proba(x[:200])[:, 1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("only", [0, 1])
def test_of_one_class_alone_nothing_speaks_for_or_against(kind: str, only: int) -> None:
    x, _ = rows(300, seed=5)
    one_sided = unfitted(kind).fit(x, np.full(len(x), only))
    found = contributions(trees_of(one_sided), x[0])
    assert (found.base, found.unit) == (raw_score(one_sided, x[:1])[0], "probability")
    np.testing.assert_array_equal(found.values, np.zeros(len(NAMES)))


# --- credited to whom -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "by_hand"), [((1.0, 1.0), (3 / 8, 1 / 4)), ((1.0, 0.0), (3 / 8, -3 / 4)), ((0.0, 1.0), (-3 / 8, 0.0))]
)
def test_a_tree_of_two_splits_as_by_hand(row: tuple[float, float], by_hand: tuple[float, float]) -> None:
    # 3 of 8 pay; with the first feature 3 of 4, else none; then with the second 3 of 3, else none of 1.
    x = np.array([[0, 0], [0, 0], [0, 1], [0, 1], [1, 0], [1, 1], [1, 1], [1, 1]], dtype=float)
    tree = RandomForestClassifier(1, bootstrap=False, max_features=None).fit(x, [0, 0, 0, 0, 0, 1, 1, 1])
    found = contributions(trees_of(tree), np.array(row))
    assert found.base == 3 / 8
    assert found.values.tolist() == pytest.approx(by_hand)


def test_a_plain_loop_over_the_trees_finds_the_same() -> None:
    x, _ = rows(60, seed=6)
    for row in x:
        values = np.zeros(len(NAMES))
        for one in estimator("plain").estimators_:
            tree, node = one.tree_, 0
            while tree.children_left[node] != -1:
                left = np.float32(row[tree.feature[node]]) <= tree.threshold[node]
                child = tree.children_left[node] if left else tree.children_right[node]
                values[tree.feature[node]] += tree.value[child, 0, 1] - tree.value[node, 0, 1]
                node = child
        np.testing.assert_allclose(contributions(trees("plain"), row).values, values / 60, rtol=0, atol=1e-12)


def test_nodes_of_the_accelerated_forest_have_the_impurity_that_their_value_implies() -> None:
    impurity = np.concatenate([one.tree_.impurity for one in estimator("accelerated").estimators_])
    share = trees("accelerated").value * 60
    np.testing.assert_allclose(2 * share * (1 - share), impurity, rtol=0, atol=1e-12)


def test_nodes_of_boosting_are_worth_what_their_training_rows_got() -> None:
    x, _ = rows(4000, seed=0)
    first = 0
    for (predictor,) in estimator("boosting")._predictors[:3]:
        nodes = predictor.nodes
        got: list[list[float]] = [[] for _ in nodes]
        for row in x:
            path = [0]
            while not nodes["is_leaf"][path[-1]]:
                left = row[nodes["feature_idx"][path[-1]]] <= nodes["num_threshold"][path[-1]]
                path.append(nodes["left" if left else "right"][path[-1]])
            for node in path:
                got[node].append(nodes["value"][path[-1]])
        value = trees("boosting").value[first : first + len(nodes)]
        np.testing.assert_allclose(value, [np.mean(values) for values in got], rtol=0, atol=1e-12)
        first += len(nodes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_is_the_mean_score_of_what_was_trained_on(kind: str) -> None:
    x, label = rows(4000, seed=0)
    if kind == "boosting":
        assert trees(kind).base == pytest.approx(own_score(kind, x).mean())
    else:
        assert trees(kind).base == pytest.approx(label.mean(), abs=0.01)  # of the rows that the trees drew


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_no_tree_splits_on_gets_nothing_and_those_that_decide_get_most(kind: str) -> None:
    x, _ = rows(200, seed=7)
    values = np.array([contributions(trees(kind), row).values for row in x])
    assert np.all(values[:, CONSTANT] == 0)
    strength = np.abs(values).mean(axis=0)
    assert strength[NAMES.index("tenths")] > 3 * strength[NAMES.index("noise")]


# --- in words for a person ------------------------------------------------------------------------------------------

SPOKEN = Contributions(0.4, np.array([0.05, -0.1, 0.2, 0.0, -0.01]), "probability")
ROW = np.array([1.5, 0.3, 2.0, 0.25, -7.0])


def test_the_features_that_spoke_for_it_come_strongest_first_with_their_own_values() -> None:
    assert reasons(SPOKEN, NAMES, ROW) == [
        {"feature": "steps", "value": 2.0, "contribution": 0.2},
        {"feature": "gap", "value": 1.5, "contribution": 0.05},
    ]


def test_the_features_that_spoke_against_it_are_asked_for_the_same_way() -> None:
    assert reasons(SPOKEN, NAMES, ROW, against=True) == [
        {"feature": "tenths", "value": 0.3, "contribution": -0.1},
        {"feature": "noise", "value": -7.0, "contribution": -0.01},
    ]


def test_no_more_are_named_than_asked_for() -> None:
    assert [reason["feature"] for reason in reasons(SPOKEN, NAMES, ROW, most=1)] == ["steps"]
    assert [reason["feature"] for reason in reasons(SPOKEN, NAMES, ROW, most=1, against=True)] == ["tenths"]


@pytest.mark.parametrize("kind", KINDS)
def test_reasons_are_strict_json(kind: str) -> None:
    x, _ = rows(1, seed=8)
    found = reasons(contributions(trees(kind), x[0]), NAMES, x[0])
    assert found
    assert json.loads(to_json(found)) == found

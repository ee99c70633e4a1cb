"""From score to probability: a calibration that is monotone and modest, and fits that repeat themselves."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from learning.classifier import Calibration, TradeClassifier, calibrate, fit, raw_score, versions

MODEL_TYPES = ["random_forest", "gradient_boosting"]
SCORES = np.linspace(0.0, 1.0, 101)
ROWS = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0]), st.floats(0.001, 1)), min_size=1, max_size=60)


@pytest.fixture(autouse=True, scope="module")
def small_and_quiet() -> Iterator[None]:
    """Small forests; and boosting on one thread, as its threads spin for each other where the machine is shared."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1, user_api="openmp"):
        patch.setattr("learning.classifier.TREES", 30)
        yield


def sigmoid(score: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(intercept + slope * np.log(score / (1 - score)))))


def rows(count: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of unequal scale, labels that follow the first of them, and a uniqueness of a tenth."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 4)) * [1.0, 1e-4, 1e3, 5.0] + [0.0, 1.0, 50.0, -3.0]
    label = (features[:, 0] + rng.normal(0, 0.5, count) > 0).astype(float)
    return features, label, np.full(count, 0.1)


# --- calibration ----------------------------------------------------------------------------------------------------


@given(ROWS, st.floats(0, 1))
@settings(max_examples=50)
def test_a_calibration_never_turns_scores_around_and_never_is_certain(
    rows: list[tuple[float, float, float]], base_rate: float
) -> None:
    score, label, uniqueness = (np.array(column) for column in zip(*rows, strict=True))
    calibration = calibrate(score, label, uniqueness, base_rate)
    assert calibration.slope >= 0
    probability = calibration(SCORES)
    assert np.all(np.diff(probability) >= 0)
    assert np.all((probability > 0) & (probability < 1))


def test_a_calibration_says_higher_for_higher_scores() -> None:
    assert np.all(np.diff(Calibration(0.5, -0.2)(SCORES[1:-1])) > 0)
    np.testing.assert_allclose(Calibration(0.5, -0.2)(SCORES[5:95]), sigmoid(SCORES[5:95], 0.5, -0.2))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -0.4), (2.0, 0.3)])
def test_a_known_sigmoid_is_recovered_from_many_independent_examples(slope: float, intercept: float) -> None:
    rng = np.random.default_rng(1)
    score = rng.uniform(0.1, 0.9, 60_000)
    label = (rng.random(60_000) < sigmoid(score, slope, intercept)).astype(float)
    found = calibrate(score, label, np.ones(60_000), float(label.mean()))
    assert found.slope == pytest.approx(slope, abs=0.05)
    assert found.intercept == pytest.approx(intercept, abs=0.05)


def test_scores_that_mislead_are_flattened_to_the_base_rate() -> None:
    score = np.linspace(0.1, 0.9, 1000)
    label = (score < 0.5).astype(float)
    calibration = calibrate(score, label, np.ones(1000), 0.42)
    assert calibration.slope == 0
    np.testing.assert_allclose(calibration(SCORES), 0.42)


def test_a_constant_score_gives_the_base_rate() -> None:
    label = np.array([1.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(calibrate(np.full(4, 0.5), label, np.ones(4), 0.3)(SCORES), 0.3)


@pytest.mark.parametrize("base_rate", [0.0, 1.0])
def test_even_a_base_rate_of_never_or_always_leaves_a_doubt(base_rate: float) -> None:
    flat = calibrate(np.full(4, 0.5), np.ones(4), np.ones(4), base_rate)
    assert abs(flat(SCORES)[0] - base_rate) == pytest.approx(0.001)


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_outcomes_of_one_class_give_about_the_base_rate_whatever_the_score(only: float) -> None:
    score = np.random.default_rng(0).uniform(0.4, 0.6, 1000)
    probability = calibrate(score, np.full(1000, only), np.full(1000, 0.01), 0.4)(SCORES)
    np.testing.assert_allclose(probability, 0.4, atol=0.06)


def test_a_few_days_of_luck_move_little_from_the_base_rate() -> None:
    # 1,000 minutes that overlap so much that they count as ten examples, against a prior of a hundred.
    rng = np.random.default_rng(0)
    score = rng.uniform(0.4, 0.6, 1000)
    label = (rng.random(1000) < sigmoid(score, 3.0, 1.4)).astype(float)
    assert label.mean() > 0.75
    lucky = calibrate(score, label, np.full(1000, 0.01), 0.4)
    assert lucky.slope > 0
    assert lucky(np.array([0.5]))[0] == pytest.approx((40 + 10 * label.mean()) / 110, abs=0.01)
    assert calibrate(score, label, np.ones(1000), 0.4)(np.array([0.5]))[0] > 0.7


def test_minutes_weigh_their_uniqueness_against_the_prior() -> None:
    rng = np.random.default_rng(2)
    score = rng.uniform(0.2, 0.8, 2000)
    label = (rng.random(2000) < sigmoid(score, 2.0, 0.0)).astype(float)
    many = calibrate(score, label, np.ones(2000), 0.5)
    few = calibrate(score, label, np.full(2000, 0.005), 0.5)
    assert 0 < few.slope < 0.8 * many.slope


# --- fit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_fitting_twice_gives_the_same_scores_and_they_separate_the_classes(model_type: str) -> None:
    features, label, uniqueness = rows()
    fitted = [fit(model_type, features, label, uniqueness) for _ in range(2)]
    first, second = (raw_score(estimator, scaler.transform(features)) for scaler, estimator in fitted)
    np.testing.assert_array_equal(first, second)
    assert first[label == 1].mean() > first[label == 0].mean() + 0.2
    assert np.all((first >= 0) & (first <= 1))


def test_the_two_model_types_are_different_estimators() -> None:
    names = {type(fit(model_type, *rows())[1]).__name__ for model_type in MODEL_TYPES}
    assert names == {"RandomForestClassifier", "HistGradientBoostingClassifier"}


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_scaler_is_applied_before_the_estimator(model_type: str) -> None:
    features, label, uniqueness = rows()
    scaler, estimator = fit(model_type, features, label, uniqueness)
    np.testing.assert_allclose(scaler.transform(features).mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scaler.transform(features).std(axis=0), 1)
    # The same rows in other units are the same model.
    moved = features * [2.0, 1e5, 1e-3, 4.0]
    other_scaler, other = fit(model_type, moved, label, uniqueness)
    np.testing.assert_allclose(
        raw_score(other, other_scaler.transform(moved)), raw_score(estimator, scaler.transform(features)), atol=0.02
    )


@pytest.mark.parametrize(("share", "drawn"), [(1.0, 3000), (0.5, 1500), (0.001, 500)])
def test_a_tree_draws_about_as_many_rows_as_are_independent(share: float, drawn: int) -> None:
    features, label, _ = rows(3000)
    _, estimator = fit("random_forest", features, label, np.full(3000, share))
    assert estimator.max_samples == drawn


def test_few_rows_are_drawn_as_many_as_there_are() -> None:
    features, label, _ = rows(120)
    _, estimator = fit("random_forest", features, label, np.full(120, 0.01))
    assert estimator.max_samples == 120


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_an_estimator_of_one_class_knows_nothing(only: float) -> None:
    features, _, uniqueness = rows()
    scaler, estimator = fit("random_forest", features, np.full(len(features), only), uniqueness)
    np.testing.assert_array_equal(raw_score(estimator, scaler.transform(features)), 0.5)


def test_confidence_is_the_calibrated_score() -> None:
    features, label, uniqueness = rows()
    scaler, estimator = fit("random_forest", features, label, uniqueness)
    scaled = scaler.transform(features)
    confidence = TradeClassifier(estimator, Calibration(0.5, -0.3)).confidence(scaled)
    np.testing.assert_allclose(confidence, Calibration(0.5, -0.3)(raw_score(estimator, scaled)))
    assert confidence.shape == (len(features),)


def test_versions_name_what_the_numbers_depend_on() -> None:
    found = versions()
    assert set(found) >= {"python", "scikit-learn", "numpy", "joblib", "TA-Lib"}
    assert {name: metadata.version(name) for name in found if name != "python"} == {
        name: version for name, version in found.items() if name != "python"
    }

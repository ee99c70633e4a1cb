"""From score to probability: calibrations that are monotone and modest, and fits that repeat themselves."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits

from durable import to_json
from learning.classifier import (
    ISOTONIC_FROM,
    PRIOR_EXAMPLES,
    Calibration,
    IsotonicCalibration,
    TradeClassifier,
    calibrate,
    fit,
    raw_score,
    versions,
)

MODEL_TYPES = ["random_forest", "gradient_boosting"]
SCORES = np.linspace(0.0, 1.0, 101)
ROWS = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0]), st.floats(0.001, 1)), min_size=1, max_size=60)


@pytest.fixture(autouse=True, scope="module")
def small_and_quiet() -> Iterator[None]:
    """Small forests; and boosting on one thread, as its threads spin for each other where the machine is shared."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1, user_api="openmp"):
        patch.setattr("learning.classifier.TREES", 30)
        yield


def beta(score: np.ndarray, level: float, low: float, high: float) -> np.ndarray:
    odds = np.exp(level) * score**low / (1 - score) ** high
    return odds / (1 + odds)


def drawn(probability: np.ndarray, seed: int = 99) -> np.ndarray:
    """Labels of these probabilities."""
    return (np.random.default_rng(seed).random(len(probability)) < probability).astype(float)


@pytest.fixture
def always_sigmoid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learning.classifier.ISOTONIC_FROM", np.inf)


def rows(count: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of unequal scale, labels that follow the first of them, and a uniqueness of a tenth."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 4)) * [1.0, 1e-4, 1e3, 5.0] + [0.0, 1.0, 50.0, -3.0]
    label = (features[:, 0] + rng.normal(0, 0.5, count) > 0).astype(float)
    return features, label, np.full(count, 0.1)


# --- calibration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isotonic_from", [ISOTONIC_FROM, 0.0])
@given(ROWS, st.floats(0, 1))
@settings(max_examples=50)
def test_a_calibration_never_falls_and_never_is_certain(
    isotonic_from: float, rows: list[tuple[float, float, float]], base_rate: float
) -> None:
    score, label, uniqueness = (np.array(column) for column in zip(*rows, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.ISOTONIC_FROM", isotonic_from)
        probability = calibrate(score, label, uniqueness, base_rate)(SCORES)
    assert np.all(np.diff(probability) >= -1e-12)
    assert np.all((probability > 0) & (probability < 1))


def test_a_sigmoid_has_a_slope_of_its_own_at_either_end() -> None:
    inner = SCORES[1:-1]
    np.testing.assert_allclose(Calibration(-0.2, 0.5, 2.0)(inner), beta(inner, -0.2, 0.5, 2.0))
    assert np.all(np.diff(Calibration(-0.2, 0.5, 2.0)(inner)) > 0)
    platt = 1 / (1 + np.exp(-(0.3 + 0.7 * np.log(inner / (1 - inner)))))
    np.testing.assert_allclose(Calibration(0.3, 0.7, 0.7)(inner), platt)


@pytest.mark.usefixtures("always_sigmoid")
@pytest.mark.parametrize(("level", "low", "high"), [(0.0, 1.0, 1.0), (-0.4, 0.3, 1.5), (0.3, 2.0, 0.5)])
def test_a_known_mapping_is_reproduced_from_many_independent_examples(level: float, low: float, high: float) -> None:
    score = np.random.default_rng(1).uniform(0.05, 0.95, 200_000)
    label = drawn(beta(score, level, low, high))
    found = calibrate(score, label, np.ones(len(score)), float(label.mean()))
    np.testing.assert_allclose(found(SCORES[5:96]), beta(SCORES[5:96], level, low, high), atol=0.01)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.15), pytest.approx(high, abs=0.15))


@pytest.mark.usefixtures("always_sigmoid")
def test_high_scores_may_mean_much_where_low_ones_mean_nothing() -> None:
    score = np.random.default_rng(1).uniform(0.05, 0.95, 50_000)
    label = drawn(np.where(score > 0.7, 0.4 + 1.6 * (score - 0.7), 0.4))
    found = calibrate(score, label, np.ones(len(score)), float(label.mean()))
    assert found.low < 0.1 < found.high
    assert np.ptp(found(np.array([0.05, 0.5]))) < 0.1 < 0.25 < np.ptp(found(np.array([0.5, 0.95])))


def test_scores_that_mislead_are_flattened_to_how_often_trades_pay() -> None:
    score = np.linspace(0.1, 0.9, 1000)
    label = (score < 0.5).astype(float)
    found = calibrate(score, label, np.full(1000, 0.5), 0.42)
    assert (found.low, found.high) == (0, 0)
    np.testing.assert_allclose(found(SCORES), (PRIOR_EXAMPLES * 0.42 + 500 * 0.5) / (PRIOR_EXAMPLES + 500), atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_without_examples_or_with_one_score_the_base_rate_is_nearly_all_that_is_known(count: int) -> None:
    label = np.array([1.0, 0.0, 1.0, 1.0])[:count]
    np.testing.assert_allclose(calibrate(np.full(count, 0.5), label, np.ones(count), 0.3)(SCORES), 0.3, atol=0.004)


@pytest.mark.parametrize("base_rate", [0.0, 1.0])
def test_even_a_base_rate_of_never_or_always_leaves_a_doubt(base_rate: float) -> None:
    flat = calibrate(np.full(0, 0.5), np.ones(0), np.ones(0), base_rate)
    assert abs(flat(SCORES)[0] - base_rate) == pytest.approx(0.001)


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_outcomes_of_one_class_give_about_the_base_rate_whatever_the_score(only: float) -> None:
    score = np.random.default_rng(0).uniform(0.4, 0.6, 1000)
    probability = calibrate(score, np.full(1000, only), np.full(1000, 0.01), 0.4)(SCORES)
    np.testing.assert_allclose(probability, 0.4, atol=0.06)


def test_a_few_days_of_luck_move_little_from_the_base_rate() -> None:
    # 1,000 minutes that overlap so much that they count as ten examples
    score = np.random.default_rng(0).uniform(0.4, 0.6, 1000)
    label = drawn(beta(score, 1.4, 3.0, 3.0), seed=3)
    assert label.mean() > 0.75
    lucky = calibrate(score, label, np.full(1000, 0.01), 0.4)
    expected = (PRIOR_EXAMPLES * 0.4 + 10 * label.mean()) / (PRIOR_EXAMPLES + 10)
    assert lucky(np.array([0.5]))[0] == pytest.approx(expected, abs=0.01)
    always = calibrate(np.tile(score, 100), np.tile(label, 100), np.ones(100_000), 0.4)
    assert always(np.array([0.5]))[0] > 0.7


@pytest.mark.usefixtures("always_sigmoid")
def test_slopes_are_shrunk_the_more_the_fewer_independent_examples_there_are() -> None:
    score = np.random.default_rng(2).uniform(0.2, 0.8, 2000)
    label = drawn(beta(score, 0.0, 2.0, 2.0))
    few, more, many = (calibrate(score, label, np.full(2000, share), 0.5) for share in (0.0005, 0.005, 1.0))
    reach = [np.ptp(found(np.array([0.2, 0.8]))) for found in (few, more, many)]
    assert 0 < reach[0] < 0.6 * reach[1] < 0.9 * reach[2]
    assert reach[2] == pytest.approx(np.ptp(beta(np.array([0.2, 0.8]), 0.0, 2.0, 2.0)), abs=0.05)


@pytest.mark.usefixtures("always_sigmoid")
def test_a_row_weighs_its_uniqueness() -> None:
    score = np.random.default_rng(2).uniform(0.2, 0.8, 300)
    label = drawn(beta(score, 0.0, 2.0, 2.0))
    thrice = calibrate(np.repeat(score, 3), np.repeat(label, 3), np.full(900, 1 / 3), 0.5)
    np.testing.assert_allclose(thrice(SCORES), calibrate(score, label, np.ones(300), 0.5)(SCORES), atol=1e-3)


def test_steps_take_the_place_of_the_sigmoid_only_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learning.classifier.ISOTONIC_FROM", 50.0)
    score, label, _ = known = (np.random.default_rng(1).random(400), drawn(np.full(400, 0.5)), np.full(400, 0.125))
    assert isinstance(calibrate(*known, 0.5), Calibration)  # 50 independent examples
    assert isinstance(calibrate(score, label, np.full(400, 0.126), 0.5), IsotonicCalibration)


def test_steps_follow_what_no_sigmoid_can() -> None:
    score = np.random.default_rng(1).uniform(0.05, 0.95, 20_000)
    truth = np.select([score < 0.3, score < 0.6], [0.2, 0.5], 0.75)
    found = calibrate(score, drawn(truth), np.ones(20_000), 0.5)
    assert isinstance(found, IsotonicCalibration)
    flat = [np.linspace(0.1, 0.28, 20), np.linspace(0.32, 0.58, 20), np.linspace(0.62, 0.9, 20)]
    for part, expected in zip(flat, (0.2, 0.5, 0.75), strict=True):
        np.testing.assert_allclose(found(part), expected, atol=0.05)


def test_where_few_examples_speak_the_steps_stay_close_to_the_sigmoid() -> None:
    # Of 1,500 independent examples two lie at the top, forty overlapping minutes each; both paid.
    rng = np.random.default_rng(4)
    score = np.repeat(np.concatenate([rng.uniform(0.3, 0.6, 1498), [0.85, 0.86]]), 40)
    label = np.repeat(np.concatenate([drawn(np.full(1498, 0.4)), [1.0, 1.0]]), 40)
    share = np.full(len(score), 1 / 40)
    steps = calibrate(score, label, share, 0.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.ISOTONIC_FROM", np.inf)
        sigmoid = calibrate(score, label, share, 0.4)
    top = np.array([0.855])
    alone = IsotonicRegression().fit(score, label, sample_weight=share)
    assert alone.predict(top) == pytest.approx(1.0)
    assert sigmoid(top)[0] < 0.5
    assert abs(steps(top)[0] - sigmoid(top)[0]) < 0.2
    thick = np.linspace(0.35, 0.55, 21)
    np.testing.assert_allclose(steps(thick), sigmoid(thick), atol=0.08)


@pytest.mark.parametrize(
    ("calibration", "record"),
    [
        (Calibration(0.1, 0.2, 0.3), {"kind": "sigmoid", "level": 0.1, "low": 0.2, "high": 0.3}),
        (IsotonicCalibration(np.array([0.2, 0.4]), np.array([0.3, 0.6])), {"kind": "isotonic", "steps": 2}),
    ],
)
def test_a_card_can_tell_the_kind_of_a_calibration(
    calibration: Calibration | IsotonicCalibration, record: dict[str, object]
) -> None:
    assert calibration.record() == record
    assert to_json(calibration.record())


def test_between_two_steps_the_probability_climbs_and_beyond_them_it_stays() -> None:
    found = IsotonicCalibration(np.array([0.2, 0.4]), np.array([0.3, 0.6]))
    np.testing.assert_allclose(found(np.array([0.0, 0.2, 0.3, 0.4, 1.0])), [0.3, 0.3, 0.45, 0.6, 0.6])


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
    confidence = TradeClassifier(estimator, Calibration(-0.3, 0.5, 0.8)).confidence(scaled)
    np.testing.assert_allclose(confidence, Calibration(-0.3, 0.5, 0.8)(raw_score(estimator, scaled)))
    assert confidence.shape == (len(features),)


def test_versions_name_what_the_numbers_depend_on() -> None:
    found = versions()
    assert set(found) >= {"python", "scikit-learn", "numpy", "joblib", "TA-Lib"}
    packages = {name: version for name, version in found.items() if name not in ("python", "model format")}
    assert {name: metadata.version(name) for name in packages} == packages


def test_scores_that_say_nothing_still_tell_how_often_trades_pay() -> None:
    label = np.array([1.0] * 300 + [0.0] * 700)
    level = calibrate(np.full(1000, 0.4), label, np.ones(1000), 0.5)(np.array([0.1, 0.9]))
    expected = (300 + 0.5 * PRIOR_EXAMPLES) / (1000 + PRIOR_EXAMPLES)
    np.testing.assert_allclose(level, [expected, expected])

"""What a feature is worth: how much of a day's AUC is lost without it, and whom nobody would miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from durable import to_json
from learning.classifier import fit, raw_score
from learning.importances import MIN_MODELS, AucLost, consider_removing

FEATURES = ["weak", "none", "planted", "other_none"]
DAYS, ROWS = 15, 200


@pytest.fixture(autouse=True, scope="module")
def small_forests() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 30)
        yield


def rows(seed: int, days: int = DAYS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels that follow `planted` and a little `weak`, and sessions."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(days * ROWS, len(FEATURES)))
    z = 2 * features[:, 2] + 0.5 * features[:, 0]
    label = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(float)
    return features, label, np.repeat(np.arange(days), ROWS)


def judged(seed: int, features: Sequence[str] = FEATURES) -> pd.DataFrame:
    """The importances of a forest, asked about days that it had not seen."""
    lost = AucLost(features)
    matrix, label, _ = rows(seed)
    scaler, estimator = fit("random_forest", matrix, label, np.full(len(label), 0.5))
    for fold in range(3):
        matrix, label, session = rows(100 * seed + fold, 5)
        lost.add(estimator, scaler.transform(matrix), label, session + 5 * fold)
    return lost.table(estimator)


@pytest.fixture(scope="module")
def tables() -> list[pd.DataFrame]:
    return [judged(seed) for seed in range(1, MIN_MODELS + 1)]


def cards(tables: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    return [{"features": FEATURES, "importances": table.to_dict("records")} for table in tables]


def card(**permutation: float | None) -> dict[str, Any]:
    importances = [{"feature": name, "permutation": lost} for name, lost in permutation.items()]
    return {"features": list(permutation), "importances": importances}


# --- one model ------------------------------------------------------------------------------------------------------


def test_a_planted_feature_leads_and_one_that_says_nothing_loses_nothing(tables: list[pd.DataFrame]) -> None:
    for table in tables:
        assert table["feature"].tolist()[:2] == ["planted", "weak"]
        assert table["permutation"].is_monotonic_decreasing
        assert sorted(table["feature"]) == sorted(FEATURES)
        lost = table.set_index("feature")
        assert lost["permutation"]["planted"] > 0.2
        assert lost["permutation"]["weak"] > 2 * lost["standard_error"]["weak"]
        for name in ("none", "other_none"):
            assert abs(lost["permutation"][name]) < 4 * lost["standard_error"][name] < 0.03
        assert table["impurity"].sum() == pytest.approx(1)
    of_no_use = np.array([nones(table) for table in tables])
    assert abs(of_no_use.mean()) < 0.002


def test_what_is_lost_is_the_auc_of_each_day_less_that_with_the_feature_gone() -> None:
    # A model that adds its features up: what shuffling costs can be had by asking it without them.
    matrix, label, session = rows(3)
    estimator = LogisticRegression().fit(matrix, label)
    lost = AucLost(FEATURES)
    lost.add(estimator, matrix, label, session)
    direct = []
    rng = np.random.default_rng(99)
    for day in range(DAYS):
        of_day = session == day
        here, paid = matrix[of_day], label[of_day]
        ranked = [auc(raw_score(estimator, here), paid)]
        for column in range(len(FEATURES)):
            shuffled = here.copy()
            shuffled[:, column] = rng.permutation(here[:, column])
            ranked.append(auc(raw_score(estimator, shuffled), paid))
        direct.append(ranked[0] - np.array(ranked[1:]))
    table = lost.table(estimator).set_index("feature").loc[FEATURES]
    np.testing.assert_allclose(table["permutation"], np.mean(direct, axis=0), atol=0.03)
    error = np.std(direct, axis=0, ddof=1) / np.sqrt(DAYS)
    np.testing.assert_allclose(table["standard_error"], error, rtol=0.6)
    assert table["impurity"].isna().all()  # a regression has none


def auc(score: np.ndarray, label: np.ndarray) -> float:
    """The share of pairs in the right order."""
    return float((score[label == 1][:, np.newaxis] > score[label == 0]).mean())


def test_a_day_with_one_class_of_labels_says_nothing() -> None:
    matrix, label, session = rows(3, 4)
    estimator = LogisticRegression().fit(matrix, label)
    whole, cut = AucLost(FEATURES), AucLost(FEATURES)
    whole.add(estimator, matrix[session < 2], label[session < 2], session[session < 2])
    label[session >= 2] = 1.0
    cut.add(estimator, matrix, label, session)
    cut.add(estimator, matrix[session >= 2], label[session >= 2], session[session >= 2])
    known, same = (lost.table(estimator).set_index("feature")["permutation"] for lost in (whole, cut))
    assert known["planted"] > 0.2
    np.testing.assert_allclose(same[FEATURES], known[FEATURES], atol=0.06)  # nor were the days without a loss
    never = AucLost(FEATURES)
    never.add(estimator, matrix, np.ones(len(matrix)), session)
    table = never.table(estimator)
    assert table["feature"].tolist() == FEATURES
    assert table[["permutation", "standard_error"]].isna().all(axis=None)


def test_one_day_has_no_standard_error() -> None:
    matrix, label, session = rows(3, 1)
    estimator = LogisticRegression().fit(matrix, label)
    lost = AucLost(FEATURES)
    lost.add(estimator, matrix, label, session)
    table = lost.table(estimator)
    assert table["permutation"].notna().all()
    assert table["standard_error"].isna().all()


# --- over several models --------------------------------------------------------------------------------------------


def test_a_useless_feature_is_named_after_enough_models_and_never_the_planted_one(tables: list[pd.DataFrame]) -> None:
    useless = cards([table.replace({"permutation": dict.fromkeys(nones(table), -0.001)}) for table in tables])
    for count in range(MIN_MODELS):
        assert consider_removing(useless[:count]) == []
    assert consider_removing(useless) == ["none", "other_none"]
    assert set(consider_removing(cards(tables))) <= {"none", "other_none"}


def nones(table: pd.DataFrame) -> list[float]:
    return table["permutation"][table["feature"].isin(["none", "other_none"])].tolist()


def test_a_feature_is_judged_by_its_mean_over_the_newest_models() -> None:
    once_good = [card(a=0.1, b=0.5)] * 20 + [card(a=-0.01, b=0.0)] * (2 * MIN_MODELS)
    assert consider_removing(once_good) == ["a", "b"]
    assert consider_removing([*once_good, card(a=0.01, b=0.01)]) == ["a"]
    assert consider_removing([*once_good, card(a=0.5, b=0.01)]) == []


def test_models_with_other_features_do_not_count() -> None:
    same, other = [card(a=-0.1, b=0.1)] * (MIN_MODELS - 1), [card(a=-0.1, b=0.1, c=-0.1)] * MIN_MODELS
    assert consider_removing([*other, *same]) == []
    assert consider_removing([*same, *other, card(a=-0.1, b=0.1)]) == ["a"]
    assert consider_removing([*same, *other]) == ["a", "c"]


def test_a_model_whose_importances_could_not_be_measured_does_not_count() -> None:
    unknown, known = card(a=None, b=None), card(a=-0.1, b=0.1)
    assert consider_removing([*[known] * (MIN_MODELS - 1), unknown, unknown]) == []
    assert consider_removing([unknown, *[known] * MIN_MODELS, unknown]) == ["a"]


def test_no_models_name_nothing() -> None:
    assert consider_removing([]) == []


def test_the_table_of_a_model_fits_on_a_card(tables: list[pd.DataFrame]) -> None:
    assert to_json(cards(tables))

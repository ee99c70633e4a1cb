"""The model that serves, what the evenings have learnt since, and the word that is final."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from trading import golden_rows, publish_eager_model, settings_in

from config import Settings
from learning.classifier import raw_score
from learning.costs import CostAdjustment
from learning.features import FEATURES, compute_features
from learning.model_store import ModelStore, NoModel
from learning.reviews import Reviews
from learning.why import contributions, trees_of
from learning.win_rates import WinRate
from market.hours import at_new_york, sessions_between
from market.simulated_feed import simulate_bars
from model_in_use import ModelInUse, Prediction, lowered

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 6))
SYMBOLS = ["SIM06", "SIM10", "SIM12"]
NOW = SESSIONS[-1].open + timedelta(hours=2)
EVENING = at_new_york(SESSIONS[-2].day, "20:00")
STAMP = "20260204_200000"
LEFT_OUT = FEATURES[2]


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return simulate_bars(SESSIONS, SYMBOLS, seed=19)


@pytest.fixture(scope="module")
def matrix(bars: pd.DataFrame) -> np.ndarray:
    """Features of the last two hours before NOW, all symbols: (3 * 120, len(FEATURES))."""
    table = compute_features(bars[bars["timestamp"] < NOW].reset_index(drop=True))
    return table.groupby("symbol").tail(120)[FEATURES].to_numpy()


def published(folder: Path, bars: pd.DataFrame, names: Sequence[str] = FEATURES) -> Path:
    settings = settings_in(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 30)
        publish_eager_model(settings, bars[bars["timestamp"] < SESSIONS[-1].open].reset_index(drop=True), names)
    return settings.MODELS_DIR


@pytest.fixture(scope="module")
def models(bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("published"), bars)


@pytest.fixture(scope="module")
def models_without_one(bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained without LEFT_OUT."""
    return published(tmp_path_factory.mktemp("fewer"), bars, [name for name in FEATURES if name != LEFT_OUT])


@pytest.fixture
def settings(models: Path, tmp_path: Path) -> Settings:
    settings = settings_in(tmp_path)
    shutil.copytree(models, settings.MODELS_DIR)
    return settings


def in_use(settings: Settings) -> ModelInUse:
    return ModelInUse(settings, "recorded", "recorded")


def learn(
    settings: Settings,
    costs: dict[str, float],
    *,
    as_of: datetime = EVENING,
    day: date | None = None,
    rates: Sequence[WinRate] = (),
) -> None:
    """Write a review in which `costs` (a round trip's, by symbol) were learnt."""
    Reviews(settings.MODELS_DIR / "reviews").write(
        day or SESSIONS[-2].day,
        {
            "as_of": as_of.isoformat(),
            "drift": {"light": "green", "words": "a test"},
            "costs": [{"symbol": symbol, "extra_cost": cost} for symbol, cost in costs.items()],
            "win_rates": [rate.to_record() for rate in rates],
        },
    )


def rows_of(symbol: str) -> list[int]:
    return list(range(SYMBOLS.index(symbol) * 120, SYMBOLS.index(symbol) * 120 + 120))


EACH = [symbol for symbol in SYMBOLS for _ in range(120)]


# --- the model -------------------------------------------------------------------------------------------------------


def test_without_a_review_the_final_word_is_the_models_own(settings: Settings, matrix: np.ndarray) -> None:
    own, final = in_use(settings).confidence(NOW, EACH, matrix)
    expected = ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load().confidence(matrix)
    np.testing.assert_array_equal(own, expected)
    np.testing.assert_array_equal(final, own)
    assert [lowered(a, b) for a, b in zip(own, final, strict=True)] == [None] * len(own)


def test_a_model_that_learnt_without_a_feature_predicts_from_the_others(
    models_without_one: Path, tmp_path: Path, matrix: np.ndarray
) -> None:
    settings = replace(settings_in(tmp_path), MODELS_DIR=models_without_one)
    own, _ = in_use(settings).confidence(NOW, EACH, matrix)
    column = FEATURES.index(LEFT_OUT)
    expected = ModelStore(models_without_one, settings.STATE_DIR).load().confidence(np.delete(matrix, column, axis=1))
    np.testing.assert_array_equal(own, expected)
    undefined = matrix.copy()
    undefined[:, column] = np.nan
    np.testing.assert_array_equal(in_use(settings).confidence(NOW, EACH, undefined)[0], own)
    assert LEFT_OUT not in {each["feature"] for each in in_use(settings).why(NOW, matrix[0])}


def test_a_model_of_another_order_of_features_gets_them_in_its_own(settings: Settings, matrix: np.ndarray) -> None:
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    model = store.load()
    card = {**model.card, "features": FEATURES[::-1], "stamp": "20260205_200000"}
    store.publish(card, model.classifier, model.scaler, pd.DataFrame({"a": [1]}), golden_rows(card), serve=True)
    own, _ = in_use(settings).confidence(NOW, EACH, matrix)
    np.testing.assert_array_equal(own, model.confidence(matrix[:, ::-1]))


def test_a_model_of_a_feature_that_is_no_more_is_refused_with_the_cure(settings: Settings) -> None:
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    model = store.load()
    card = {**model.card, "features": [*FEATURES[:-1], "moon_phase"], "stamp": "20260205_200000"}
    store.publish(card, model.classifier, model.scaler, pd.DataFrame({"a": [1]}), golden_rows(card), serve=True)
    with pytest.raises(NoModel, match=r"features that are no more: moon_phase\. Run: python build_dataset"):
        in_use(settings).at(NOW)


def test_a_row_with_an_undefined_feature_is_no_confidence_and_changes_no_other(
    settings: Settings, matrix: np.ndarray
) -> None:
    model = in_use(settings)
    whole = model.confidence(NOW, EACH, matrix)[0]
    holed = matrix.copy()
    holed[5, 3] = np.nan
    holed[7, 0] = np.inf
    learn(settings, {"SIM06": 0.01})
    own, final = model.confidence(NOW, EACH, holed)
    assert np.flatnonzero(np.isnan(own)).tolist() == np.flatnonzero(np.isnan(final)).tolist() == [5, 7]
    rest = np.delete(np.arange(len(own)), [5, 7])
    np.testing.assert_array_equal(own[rest], whole[rest])
    nothing = model.confidence(NOW, ["SIM06"], np.full((1, len(FEATURES)), np.nan))
    assert np.isnan(nothing).all()


# --- the last good model ---------------------------------------------------------------------------------------------


def publish_another(settings: Settings, stamp: str, **changes: object) -> Path:
    """The served model once more under another stamp and with `changes` on its card; the path of its scaler."""
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    model = store.load(STAMP)
    card = {**model.card, **changes, "stamp": stamp}
    paths = store.publish(card, model.classifier, model.scaler, store.out_of_fold(STAMP), golden_rows(card), serve=True)
    return paths["scaler"]


def test_a_damaged_publication_leaves_the_last_good_model_and_is_said_once_until_another_comes(
    settings: Settings, matrix: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    model = in_use(settings)
    before = model.confidence(NOW, EACH, matrix)[0]
    scaler = publish_another(settings, "20260205_200000")
    scaler.write_bytes(scaler.read_bytes()[:-1])
    for minute in range(5):
        assert model.at(NOW + timedelta(minutes=minute)).stamp == STAMP
    np.testing.assert_array_equal(model.confidence(NOW, EACH, matrix)[0], before)
    (record,) = caplog.records
    assert f"{scaler} is not the file that was trained. Model {STAMP} serves instead" in record.message
    publish_another(settings, "20260205_210000")
    assert model.at(NOW).stamp == "20260205_210000"


@pytest.mark.parametrize(
    "changes",
    [
        {"market": "alpaca"},
        {"feed": "sip"},
        {"train_end": (NOW + timedelta(minutes=1)).isoformat()},
        {"features": [*FEATURES[:-1], "moon_phase"]},
    ],
)
def test_a_model_that_may_not_predict_here_or_yet_never_serves_instead(
    settings: Settings, changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    publish_another(settings, "20260205_190000", **changes)
    scaler = publish_another(settings, "20260205_200000")
    scaler.unlink()
    assert in_use(settings).at(NOW).stamp == STAMP
    assert f"{scaler} is missing. Model {STAMP} serves instead" in caplog.text
    (settings.MODELS_DIR / f"scaler_{STAMP}.pkl").unlink()
    with pytest.raises(
        NoModel, match=rf"^Model not ready for predictions: {scaler} is missing\. Run: python ml_trainer"
    ):
        in_use(settings).at(NOW)


# --- the review ------------------------------------------------------------------------------------------------------


def test_a_learnt_cost_lowers_its_symbol_and_no_other(settings: Settings, matrix: np.ndarray) -> None:
    learn(settings, {"SIM10": 0.01, "SIM12": 0.0})
    own, final = in_use(settings).confidence(NOW, EACH, matrix)
    dear = rows_of("SIM10")
    assert (final[dear] < own[dear]).all()
    rest = rows_of("SIM06") + rows_of("SIM12")
    np.testing.assert_array_equal(final[rest], own[rest])


def test_what_is_left_is_the_share_of_like_rows_that_pay_the_cost_as_well(
    settings: Settings, matrix: np.ndarray
) -> None:
    learn(settings, {"SIM10": 0.01})
    own, final = in_use(settings).confidence(NOW, EACH, matrix)
    rows = ModelStore(settings.MODELS_DIR, settings.STATE_DIR).out_of_fold(STAMP)
    scores, returns = rows["confidence"].to_numpy(), rows["net_return"].to_numpy()
    expected = CostAdjustment(scores, returns, {}).adjusted(own[rows_of("SIM10")], 0.01)
    np.testing.assert_allclose(final[rows_of("SIM10")], expected, rtol=1e-12)


def test_a_review_is_taken_up_at_the_next_minute_and_so_is_the_one_after_it(
    settings: Settings, matrix: np.ndarray
) -> None:
    model, after = in_use(settings), NOW + timedelta(minutes=1)
    before = model.confidence(NOW, EACH, matrix)[1]
    learn(settings, {"SIM10": 0.01})
    dear = model.confidence(after, EACH, matrix)[1]
    assert (dear[rows_of("SIM10")] < before[rows_of("SIM10")]).all()
    learn(settings, {}, day=SESSIONS[-1].day, as_of=after)
    healed = model.confidence(after + timedelta(minutes=1), EACH, matrix)[1]
    np.testing.assert_array_equal(healed, before)


def test_a_review_from_the_future_teaches_nothing_yet(settings: Settings, matrix: np.ndarray) -> None:
    learn(settings, {"SIM06": 0.01})
    tonight = at_new_york(SESSIONS[-1].day, "20:00")
    learn(settings, {"SIM10": 0.01}, day=SESSIONS[-1].day, as_of=tonight)
    model = in_use(settings)
    own, final = model.confidence(NOW, EACH, matrix)
    assert (final[rows_of("SIM06")] < own[rows_of("SIM06")]).all()
    np.testing.assert_array_equal(final[rows_of("SIM10")], own[rows_of("SIM10")])
    own, final = model.confidence(tonight + timedelta(hours=14), EACH, matrix)  # the next session's morning
    assert (final[rows_of("SIM10")] < own[rows_of("SIM10")]).all()
    np.testing.assert_array_equal(final[rows_of("SIM06")], own[rows_of("SIM06")])


def test_no_review_is_none_and_one_that_cannot_be_read_is_passed_over(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert in_use(settings).review(NOW) is None
    learn(settings, {"SIM10": 0.01})
    (settings.MODELS_DIR / "reviews" / f"{SESSIONS[-1].day}.json").write_text('{"as_of": "2026')
    review = in_use(settings).review(NOW)
    assert review is not None
    assert review["costs"][0]["symbol"] == "SIM10"
    assert "cannot be read" in caplog.text


def test_learnt_costs_are_reckoned_with_the_rows_of_the_model_that_serves_now(
    settings: Settings, matrix: np.ndarray
) -> None:
    learn(settings, {"SIM10": 0.01})
    model, store = in_use(settings), ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    model.confidence(NOW, EACH, matrix)
    served = store.load()
    losers = store.out_of_fold(STAMP).assign(net_return=lambda rows: np.minimum(rows["net_return"], 0.009))
    card = {**served.card, "stamp": "20260205_200000"}
    store.publish(card, served.classifier, served.scaler, losers, golden_rows(card), serve=True)
    final = model.confidence(NOW, EACH, matrix)[1]
    np.testing.assert_array_equal(final[rows_of("SIM10")], 0.0)  # no row of this model pays 1% more


def test_without_the_rows_to_reckon_with_nothing_is_left_to_a_costly_symbol(
    settings: Settings, matrix: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    learn(settings, {"SIM10": 0.01})
    (settings.MODELS_DIR / f"out_of_fold_{STAMP}.parquet").unlink()
    with caplog.at_level(logging.WARNING):
        own, final = in_use(settings).confidence(NOW, EACH, matrix)
    np.testing.assert_array_equal(final[rows_of("SIM10")], 0.0)
    np.testing.assert_array_equal(final[rows_of("SIM06")], own[rows_of("SIM06")])
    assert "out_of_fold" in caplog.text


def test_a_bin_that_promised_too_much_lowers_its_confidences(settings: Settings, matrix: np.ndarray) -> None:
    own = in_use(settings).confidence(NOW, EACH, matrix)[0]
    low = np.floor(own.max() * 20) / 20
    rate = WinRate(low, low + 0.05, 300, 30, low + 0.02, 0.4, 0.03, -0.1, "a test")
    learn(settings, {}, rates=[rate])
    again, final = in_use(settings).confidence(NOW, EACH, matrix)
    inside = own >= low
    np.testing.assert_array_equal(again, own)
    np.testing.assert_allclose(final[inside], own[inside] - 0.1)
    assert inside.any()


# --- why -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("against", [False, True])
def test_reasons_are_told_of_the_models_own_features_as_it_scaled_them(
    models_without_one: Path, tmp_path: Path, matrix: np.ndarray, against: bool
) -> None:
    settings = replace(settings_in(tmp_path), MODELS_DIR=models_without_one)
    served = ModelStore(models_without_one, settings.STATE_DIR).load()
    row = matrix[200]
    used = row[[FEATURES.index(name) for name in served.features]]
    spoken = contributions(trees_of(served.classifier.estimator), served.scaler.transform(used[np.newaxis])[0])
    assert spoken.base + spoken.values.sum() == pytest.approx(
        raw_score(served.classifier.estimator, served.scaler.transform(used[np.newaxis]))[0], abs=1e-6
    )
    told = in_use(settings).why(NOW, row, against=against)
    of_each = dict(zip(served.features, spoken.values.tolist(), strict=True))
    strongest = sorted(of_each, key=lambda name: of_each[name], reverse=not against)
    assert [each["feature"] for each in told] == strongest[: len(told)]
    for each in told:
        assert each["contribution"] == of_each[each["feature"]]
        assert (each["contribution"] < 0) is against
        assert each["value"] == row[FEATURES.index(each["feature"])]


def test_another_model_is_explained_by_its_own_trees(settings: Settings, matrix: np.ndarray) -> None:
    model, store = in_use(settings), ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    served = store.load()
    assert len({each["feature"] for each in model.why(NOW, matrix[0])}) > 1
    scaled = served.scaler.transform(matrix)
    knows_one = RandomForestClassifier(n_estimators=3, max_depth=1, max_features=None, random_state=0)
    knows_one.fit(scaled, (scaled[:, 4] > 0).astype(int))
    card = {**served.card, "stamp": "20260205_200000"}
    classifier = replace(served.classifier, estimator=knows_one)
    store.publish(card, classifier, served.scaler, store.out_of_fold(STAMP), golden_rows(card), serve=True)
    high = matrix[scaled[:, 4] > 1][0]
    assert [each["feature"] for each in model.why(NOW, high)] == [FEATURES[4]]


# --- a prediction ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "final", "kept"), [(0.8, 0.4, 0.8), (0.8, 0.8, None), (float("nan"),) * 2 + (None,)])
def test_the_models_own_word_is_kept_where_it_was_lowered(own: float, final: float, kept: float | None) -> None:
    assert lowered(own, final) == kept
    prediction = Prediction("AAA", final, 100.0, None, kept)
    assert prediction.own == own or own != own

"""models/: a model is published whole or not at all, and what cannot be vouched for is not even opened."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from learning.classifier import Calibration, IsotonicCalibration, TradeClassifier, fit, raw_score, versions
from learning.model_store import KEPT_MODELS, ModelStore, NoModel

FEATURES = ["b", "a", "c"]
ROWS = np.random.default_rng(1).normal(size=(200, 3)) * [1.0, 100.0, 1e-3]
OUT_OF_FOLD = pd.DataFrame({"symbol": ["AAA", "BBB"], "confidence": [0.25, 0.75]})
FIRST = "20260302_200003"


@pytest.fixture(scope="module")
def fitted() -> tuple[StandardScaler, TradeClassifier]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 10)
        scaler, estimator = fit("random_forest", ROWS, (ROWS[:, 0] > 0).astype(float), np.full(200, 0.5))
    return scaler, TradeClassifier(estimator, Calibration(-0.1, 0.7, 0.7))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def publish(
    store: ModelStore,
    fitted: tuple[StandardScaler, TradeClassifier],
    stamp: str = FIRST,
    *,
    serve: bool = True,
    model_type: str = "random_forest",
    **more: Any,
) -> dict[str, Path]:
    scaler, classifier = fitted
    card = {"stamp": stamp, "model_type": model_type, "features": FEATURES, "versions": versions(), **more}
    return store.publish(card, classifier, scaler, OUT_OF_FOLD, serve=serve)


def stamps(count: int) -> list[str]:
    return [f"202603{day:02}_200000" for day in range(1, count + 1)]


# --- publish and load -----------------------------------------------------------------------------------------------


def test_a_published_model_predicts_the_same_once_loaded(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    publish(store, fitted, market="recorded")
    scaler, classifier = fitted
    model = ModelStore(tmp_path / "models").load()
    np.testing.assert_array_equal(model.confidence(ROWS), classifier.confidence(scaler.transform(ROWS)))
    assert model.stamp == FIRST
    assert model.features == FEATURES
    assert model.card["market"] == "recorded"
    pd.testing.assert_frame_equal(store.out_of_fold(FIRST), OUT_OF_FOLD)


def test_a_calibration_of_steps_comes_back_as_it_was(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    scaler, sigmoid = fitted
    steps = IsotonicCalibration(np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.4, 0.8]))
    publish(store, (scaler, TradeClassifier(sigmoid.estimator, steps)))
    confidence = store.load().confidence(ROWS)
    np.testing.assert_array_equal(confidence, steps(raw_score(sigmoid.estimator, scaler.transform(ROWS))))
    assert np.ptp(confidence) > 0.2


@pytest.mark.parametrize("model_type", ["random_forest", "gradient_boosting"])
def test_the_files_have_the_documented_names(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path, model_type: str
) -> None:
    paths = publish(store, fitted, model_type=model_type)
    names = {
        f"model_{model_type}_{FIRST}.pkl",
        f"scaler_{FIRST}.pkl",
        f"features_{FIRST}.pkl",
        f"card_{FIRST}.json",
        f"out_of_fold_{FIRST}.parquet",
    }
    assert {path.name for path in paths.values()} == names
    assert {path.name for path in (tmp_path / "models").iterdir()} == names | {"current.json"}
    assert joblib.load(paths["features"]) == FEATURES
    np.testing.assert_array_equal(joblib.load(paths["scaler"]).mean_, fitted[0].mean_)


def test_a_card_is_strict_json_with_what_was_given_the_verdict_and_a_hash_of_each_file(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    paths = publish(store, fitted, rows=12, scores={"auc": None})
    card = json.loads(paths["card"].read_text(), parse_constant=lambda word: pytest.fail(f"{word} in the card"))
    assert card == store.card(FIRST)
    assert (card["rows"], card["scores"], card["published"]) == (12, {"auc": None}, True)
    hashed = {path.name for name, path in paths.items() if name != "card"}
    assert set(card["sha256"]) == hashed
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in card["sha256"].values())


def test_a_card_with_a_number_that_is_none_is_refused_and_the_old_model_goes_on(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    publish(store, fitted)
    with pytest.raises(ValueError, match="JSON"):
        publish(store, fitted, "20260303_200000", auc=float("nan"))
    assert store.load().stamp == FIRST
    assert store.stamps() == [FIRST]


# --- which one serves -----------------------------------------------------------------------------------------------


def test_without_any_model_the_documented_words_and_the_cure_appear(store: ModelStore, tmp_path: Path) -> None:
    for question in (store.load, store.current):
        with pytest.raises(NoModel) as caught:
            question()
        assert str(caught.value).startswith(f"No trained model found in {tmp_path / 'models'}.")
        assert str(caught.value).endswith("Run: python ml_trainer.py")
    assert store.stamps() == []


def test_current_json_decides_which_model_serves(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    for stamp in stamps(3):
        publish(store, fitted, stamp)
    assert store.load().stamp == stamps(3)[-1]
    store.use(stamps(3)[1])
    assert store.current() == stamps(3)[1]
    assert store.load().stamp == stamps(3)[1]
    assert store.load(stamps(3)[0]).stamp == stamps(3)[0]
    assert json.loads((tmp_path / "models" / "current.json").read_text()) == {"stamp": stamps(3)[1]}


def test_without_current_json_the_newest_published_model_serves(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    for stamp, serve in zip(stamps(3), (True, True, False), strict=True):
        publish(store, fitted, stamp, serve=serve)
    store.use(stamps(3)[0])
    (tmp_path / "models" / "current.json").unlink()
    assert store.load().stamp == stamps(3)[1]


def test_a_model_that_was_not_published_does_not_serve_but_can_be_asked_for(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    publish(store, fitted, serve=False)
    assert store.card(FIRST)["published"] is False
    with pytest.raises(NoModel, match="No trained model found"):
        store.load()
    assert store.load(FIRST).stamp == FIRST
    publish(store, fitted, "20260303_200000")
    publish(store, fitted, "20260304_200000", serve=False)
    assert store.current() == "20260303_200000"


def test_all_cards_come_oldest_first_and_one_that_cannot_be_read_takes_no_other_away(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.cards() == []
    for stamp in (stamps(4)[2], stamps(4)[0], stamps(4)[3], stamps(4)[1]):
        publish(store, fitted, stamp, serve=stamp != stamps(4)[1])
    assert [card["stamp"] for card in store.cards()] == stamps(4)
    paths = store.paths(stamps(4)[3], "random_forest")
    paths["card"].write_text('{"stamp": ')
    assert [card["stamp"] for card in store.cards()] == stamps(4)[:3]
    assert f"no card of {stamps(4)[3]}" in caplog.text
    (tmp_path / "models" / "current.json").unlink()
    assert store.current() == stamps(4)[2]


def test_using_an_unknown_stamp_changes_nothing(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    publish(store, fitted)
    with pytest.raises(NoModel, match=r"No trained model found: no card of 20991231_000000 in .*ml_trainer.py"):
        store.use("20991231_000000")
    assert store.current() == FIRST


def test_the_signature_changes_with_each_publication_and_only_then(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    seen: list[object] = [store.signature()]
    assert seen == [None]
    for stamp in stamps(2):
        publish(store, fitted, stamp)
        seen.append(store.signature())
        publish(store, fitted, stamp.replace("200000", "210000"), serve=False)
        store.load()
        assert store.signature() == seen[-1]
    assert len(set(seen)) == 3


# --- what is refused ------------------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def removed(path: Path) -> None:
    path.unlink()


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [truncated, emptied, flipped, removed, made_a_folder])
@pytest.mark.parametrize("name", ["model", "scaler", "features"])
def test_a_damaged_file_is_refused_by_name_with_the_documented_words(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], name: str, harm: Any
) -> None:
    paths = publish(store, fitted)
    harm(paths[name])
    with pytest.raises(NoModel) as caught:
        store.load()
    message = str(caught.value)
    assert message.startswith("Model not ready for predictions: ")
    assert paths[name].name in message
    assert message.endswith("Run: python ml_trainer.py")


def test_damaged_out_of_fold_predictions_are_refused_too(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    paths = publish(store, fitted)
    flipped(paths["out_of_fold"])
    with pytest.raises(NoModel, match=paths["out_of_fold"].name):
        store.out_of_fold(FIRST)
    assert store.load().stamp == FIRST


@pytest.mark.parametrize("content", ["", "{", '{"stamp": '])
def test_a_model_whose_card_cannot_be_read_is_refused(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], content: str
) -> None:
    publish(store, fitted)["card"].write_text(content)
    with pytest.raises(NoModel, match=rf"No trained model found: no card of {FIRST}"):
        store.load()


class Canary:
    """Unpickling this touches a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("name", ["model", "scaler", "features"])
def test_a_foreign_pickle_is_never_unpickled(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path, name: str
) -> None:
    paths, canary = publish(store, fitted), tmp_path / "canary"
    joblib.dump(Canary(canary), paths[name], compress=3)
    with pytest.raises(NoModel, match="is not the file that was trained"):
        store.load()
    assert not canary.exists()
    joblib.load(BytesIO(paths[name].read_bytes()))
    assert canary.exists()  # so it would have shown


@pytest.mark.parametrize("package", ["scikit-learn", "numpy", "a-package-not-here"])
def test_a_model_of_other_versions_is_refused_naming_package_and_cure(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], package: str
) -> None:
    publish(store, fitted, versions={**versions(), package: "0.0.1"})
    with pytest.raises(NoModel) as caught:
        store.load()
    here = versions().get(package, "none")
    assert str(caught.value) == (
        f"Model not ready for predictions: {FIRST} was trained with {package} 0.0.1, here is {here}. "
        f"Run: python ml_trainer.py, or install {package}==0.0.1"
    )


def test_another_python_alone_is_no_reason_to_refuse(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    publish(store, fitted, versions={**versions(), "python": "3.99.0"})
    assert store.load().stamp == FIRST


# --- what is kept ---------------------------------------------------------------------------------------------------


def model_stamps(folder: Path) -> list[str]:
    return sorted(path.stem.removeprefix("model_random_forest_") for path in folder.glob("model_*.pkl"))


def test_old_models_go_and_the_serving_one_and_all_cards_stay(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    every = stamps(KEPT_MODELS + 3)
    publish(store, fitted, every[0])
    for stamp in every[1:]:
        publish(store, fitted, stamp, serve=False)
    folder = tmp_path / "models"
    assert model_stamps(folder) == [every[0], *every[3:]]
    assert store.stamps() == every
    assert store.load().stamp == every[0]
    for kind in ("scaler", "features", "out_of_fold"):
        assert len(list(folder.glob(f"{kind}_*"))) == KEPT_MODELS + 1


def test_a_model_of_an_earlier_time_survives_its_own_publication(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    for stamp in stamps(KEPT_MODELS + 1)[1:]:
        publish(store, fitted, stamp)
    publish(store, fitted, stamps(1)[0], serve=False)
    assert stamps(1)[0] in model_stamps(tmp_path / "models")
    assert store.load(stamps(1)[0]).stamp == stamps(1)[0]


def test_a_model_that_was_pruned_says_what_is_missing(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    every = stamps(KEPT_MODELS + 1)
    for stamp in every:
        publish(store, fitted, stamp)
    with pytest.raises(NoModel, match=f"model_random_forest_{every[0]}.pkl is missing"):
        store.load(every[0])

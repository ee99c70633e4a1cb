"""models/: a model is published whole or not at all, and what cannot be vouched for is not even opened."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from learning.classifier import Calibration, IsotonicCalibration, TradeClassifier, fit, raw_score, versions
from learning.model_files import MAX_FILE_BYTES, sha256
from learning.model_store import KEPT_MODELS, ModelStore, NoModel
from learning.signing import KEY_FILE, signature, signing_key

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
    return ModelStore(tmp_path / "models", tmp_path / "state")


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
    return store.publish(card, classifier, scaler, OUT_OF_FOLD, ROWS, serve=serve)


def stamps(count: int) -> list[str]:
    return [f"202603{day:02}_200000" for day in range(1, count + 1)]


# --- publish and load -----------------------------------------------------------------------------------------------


def test_a_published_model_predicts_the_same_once_loaded(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    publish(store, fitted, market="recorded")
    scaler, classifier = fitted
    model = ModelStore(tmp_path / "models", tmp_path / "state").load()
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
    seen: list[object] = [store.version()]
    assert seen == [None]
    for stamp in stamps(2):
        publish(store, fitted, stamp)
        seen.append(store.version())
        publish(store, fitted, stamp.replace("200000", "210000"), serve=False)
        store.load()
        assert store.version() == seen[-1]
    assert len(set(seen)) == 3


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.fixture
def unpickled(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every content that reaches the unpickler."""
    seen: list[bytes] = []
    load = joblib.load

    def watched(file: BytesIO) -> object:
        seen.append(file.getvalue())
        return load(file)

    monkeypatch.setattr("learning.model_files.joblib.load", watched)
    return seen


def rewrite_card(path: Path, **changes: Any) -> None:
    """As somebody without the key would."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sign_again(path: Path, state: Path) -> None:
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"signature": signature(card, signing_key(state))}))


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


def made_a_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def made_a_link_to_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def made_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def made_huge(path: Path) -> None:
    os.truncate(path, 10**11)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (truncated, "is not the file that was trained"),
        (emptied, "is not the file that was trained"),
        (flipped, "is not the file that was trained"),
        (removed, "is missing"),
        (made_a_folder, "is a folder, not a plain file"),
        (made_a_link, "is a link, not a plain file"),
        (made_a_link_to_a_device, "is a link, not a plain file"),
        (made_a_pipe, "is a pipe, not a plain file"),
        (made_huge, f"is too large (100,000,000,000 bytes, allowed are {MAX_FILE_BYTES:,})"),
    ],
)
@pytest.mark.parametrize("name", ["model", "scaler", "features"])
def test_a_damaged_file_is_refused_by_name_with_the_documented_words(
    store: ModelStore,
    fitted: tuple[StandardScaler, TradeClassifier],
    unpickled: list[bytes],
    name: str,
    harm: Callable[[Path], None],
    why: str,
) -> None:
    paths = publish(store, fitted)
    unpickled.clear()
    harm(paths[name])
    with pytest.raises(NoModel) as caught:
        store.load()
    assert str(caught.value) == f"Model not ready for predictions: {paths[name]} {why}. Run: python ml_trainer.py"
    assert unpickled == []  # not one of them, though two are whole


def test_damaged_out_of_fold_predictions_are_refused_too(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    paths = publish(store, fitted)
    flipped(paths["out_of_fold"])
    with pytest.raises(NoModel, match=paths["out_of_fold"].name):
        store.out_of_fold(FIRST)
    assert store.load().stamp == FIRST


def test_flipped_bits_anywhere_never_reach_the_unpickler(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path, unpickled: list[bytes]
) -> None:
    paths = publish(store, fitted)
    written = {paths[name].read_bytes() for name in ("model", "scaler", "features")}
    unpickled.clear()
    rng, refused = np.random.default_rng(7), 0
    for path in (*paths.values(), tmp_path / "models" / "current.json"):
        whole = path.read_bytes()
        for position in rng.integers(0, len(whole) * 8, 100):
            content = bytearray(whole)
            content[position // 8] ^= 1 << position % 8
            path.write_bytes(content)
            try:
                store.load()
            except NoModel:
                refused += 1
        path.write_bytes(whole)
    assert refused > 350  # of the pickles each; on the card all but a blank that becomes another one
    assert set(unpickled) <= written


FOREIGN_CARDS = [
    b"", b"{", b'{"stamp": ', b"[]", b"null", b"5", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000, b'{"a": NaN}',
    b'{"a": 1' + b"0" * 5000 + b"}",
]  # fmt: skip
CHANGED_CARDS: list[dict[str, Any]] = [
    {"stamp": "20260302_200004"}, {"stamp": None}, {"published": "yes"}, {"model_type": "../../x"}, {"model_type": []},
    {"versions": []}, {"sha256": None}, {"features": "abc"}, {"scores": [1]}, {"importances": {}}, {"train_end": 5},
    {"market": None}, {"x": float("inf")}, {"x": "\ud800"},
]  # fmt: skip


@pytest.mark.parametrize("content", FOREIGN_CARDS)
def test_what_is_no_card_is_refused_and_passed_over(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], content: bytes
) -> None:
    publish(store, fitted)["card"].write_bytes(content)
    with pytest.raises(NoModel, match=rf"^Model not ready for predictions: no card of {FIRST}.*ml_trainer.py$"):
        store.load()
    with pytest.raises(NoModel, match=rf"^No trained model found: no card of {FIRST}.*ml_trainer.py$"):
        store.load(FIRST)
    assert store.cards() == []


@pytest.mark.parametrize("changes", CHANGED_CARDS)
def test_a_card_with_a_field_that_cannot_be_is_refused_and_passed_over(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], changes: dict[str, Any]
) -> None:
    rewrite_card(publish(store, fitted)["card"], **changes)
    with pytest.raises(NoModel, match=f"no card of {FIRST}"):
        store.load(FIRST)
    assert store.cards() == []


@pytest.mark.parametrize("harm", [made_a_folder, made_a_link, made_a_link_to_a_device, made_a_pipe, made_huge])
@pytest.mark.parametrize("name", ["card", "pointer"])
def test_a_card_or_pointer_that_is_no_plain_file_is_refused_at_once(
    store: ModelStore,
    fitted: tuple[StandardScaler, TradeClassifier],
    tmp_path: Path,
    name: str,
    harm: Callable[[Path], None],
) -> None:
    path = {**publish(store, fitted), "pointer": tmp_path / "models" / "current.json"}[name]
    harm(path)
    for question in (store.load, store.current, store.cards) if name == "pointer" else (store.load,):
        if question == store.cards:
            assert len(store.cards()) == 1
        elif question == store.load and name == "pointer":
            assert store.load().stamp == FIRST
        else:
            with pytest.raises(NoModel, match=path.name):
                question()


@pytest.mark.parametrize("stamp", ["../../etc/passwd", "", "20260302", "x" * 10_000, "20260302_200003\n", "\0"])
def test_a_stamp_that_is_none_reaches_no_file(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path, stamp: str
) -> None:
    publish(store, fitted)
    with pytest.raises(NoModel, match="is no stamp of a model"):
        store.load(stamp or "''")
    (tmp_path / "models" / "current.json").write_text(json.dumps({"stamp": stamp}))
    assert store.load().stamp == FIRST


class Canary:
    """Unpickling this touches a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("compress", [0, 3])
@pytest.mark.parametrize("name", ["model", "scaler", "features"])
def test_a_foreign_pickle_is_never_unpickled_whatever_the_card_says(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path, name: str, compress: int
) -> None:
    paths, canary = publish(store, fitted), tmp_path / "canary"
    joblib.dump(Canary(canary), paths[name], compress=compress)
    with pytest.raises(NoModel, match="is not the file that was trained"):
        store.load()
    hashes = json.loads(paths["card"].read_text())["sha256"]
    rewrite_card(paths["card"], sha256=hashes | {paths[name].name: sha256(paths[name].read_bytes())})
    for stamp in (None, FIRST):
        with pytest.raises(NoModel, match="was not signed on this machine, or has been changed since"):
            store.load(stamp)
    rewrite_card(paths["card"], signature=None)
    with pytest.raises(NoModel, match="was not signed on this machine"):
        store.load()
    assert not canary.exists()
    joblib.load(BytesIO(paths[name].read_bytes()))
    assert canary.exists()  # so it would have shown


@pytest.mark.parametrize(
    "changes", [{"proven": True}, {"market": "alpaca"}, {"train_end": "2026-01-01T00:00:00+00:00"}]
)
def test_a_card_that_was_changed_after_it_was_signed_is_refused(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], changes: dict[str, Any]
) -> None:
    path = publish(store, fitted, market="recorded", proven=False)["card"]
    rewrite_card(path, **changes)
    with pytest.raises(NoModel, match=f"{path} was not signed on this machine"):
        store.load()
    assert store.card(FIRST)[next(iter(changes))] == next(iter(changes.values()))  # for display it still is one


def test_a_signed_card_under_another_name_is_refused(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    path = publish(store, fitted)["card"]
    shutil.copy(path, tmp_path / "models" / "card_20260303_200000.json")
    with pytest.raises(NoModel, match="no card of 20260303_200000"):
        store.load("20260303_200000")


def test_without_its_state_folder_a_store_shows_and_loads_nothing(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    publish(store, fitted)
    display = ModelStore(tmp_path / "models")
    assert display.card(FIRST) == store.card(FIRST)
    pd.testing.assert_frame_equal(display.out_of_fold(FIRST), OUT_OF_FOLD)
    with pytest.raises(ValueError, match="state folder"):
        display.load()


def test_a_key_open_to_others_is_refused_with_its_own_cure(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    publish(store, fitted)
    (tmp_path / "state" / KEY_FILE).chmod(0o644)
    for act in (store.load, lambda: publish(store, fitted, "20260303_200000"), lambda: store.vouch(FIRST)):
        with pytest.raises(NoModel, match=r"^Model not ready for predictions: .*mode 0644.*Run: chmod 600 "):
            act()
    assert store.stamps() == [FIRST]


def test_a_warning_about_versions_while_loading_is_an_error(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    paths = publish(store, fitted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "0.0.1")
        joblib.dump(fitted[0], paths["scaler"], compress=3)
    hashes = json.loads(paths["card"].read_text())["sha256"]
    rewrite_card(paths["card"], sha256=hashes | {paths["scaler"].name: sha256(paths["scaler"].read_bytes())})
    sign_again(paths["card"], tmp_path / "state")
    with pytest.raises(NoModel, match=r"cannot be loaded here \(InconsistentVersionWarning: .*0\.0\.1"):
        store.load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert joblib.load(paths["scaler"]).mean_ == pytest.approx(fitted[0].mean_)  # else it would have loaded


@pytest.mark.parametrize(("off", "refused"), [(1e-10, False), (1e-8, True), (0.5, True)])
def test_a_model_that_predicts_something_else_than_when_it_was_trained_is_refused(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path, off: float, refused: bool
) -> None:
    paths = publish(store, fitted)
    golden = store.card(FIRST)["golden"]
    golden["confidence"][-1] += off
    rewrite_card(paths["card"], golden=golden)
    sign_again(paths["card"], tmp_path / "state")
    if not refused:
        assert store.load().stamp == FIRST
        return
    with pytest.raises(NoModel, match=f"{paths['model'].name} predicts something else here than when it was trained"):
        store.load()


def test_the_card_keeps_golden_rows_from_all_over_the_examples(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    publish(store, fitted)
    golden = store.card(FIRST)["golden"]
    places = [np.flatnonzero((row == ROWS).all(axis=1)).item() for row in golden["features"]]
    assert places == [0, 28, 56, 85, 113, 142, 170, 199]
    scaler, classifier = fitted
    np.testing.assert_array_equal(golden["confidence"], classifier.confidence(scaler.transform(ROWS[places])))


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


@pytest.mark.parametrize("fields", [{"signature"}, {"signature", "golden"}])
def test_a_model_from_before_there_were_signatures_says_so(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], fields: set[str]
) -> None:
    path = publish(store, fitted, versions={**versions(), "model format": "2"})["card"]
    path.write_text(json.dumps({name: value for name, value in store.card(FIRST).items() if name not in fields}))
    for act in (store.load, lambda: store.vouch(FIRST)):
        with pytest.raises(NoModel, match=r"was made by another version of this program\. Run: python ml_trainer.py$"):
            act()


# --- the last good one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model", "scaler", "features", "card"])
@pytest.mark.parametrize("harm", [flipped, removed, made_a_pipe, made_a_link])
def test_the_newest_other_model_serves_instead_of_a_damaged_one_and_a_warning_says_why(
    store: ModelStore,
    fitted: tuple[StandardScaler, TradeClassifier],
    caplog: pytest.LogCaptureFixture,
    name: str,
    harm: Callable[[Path], None],
) -> None:
    for stamp in stamps(3):
        paths = publish(store, fitted, stamp)
    harm(paths[name])
    assert store.load().stamp == stamps(3)[1]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert paths[name].name in record.message
    assert f"Model {stamps(3)[1]} serves instead" in record.message
    assert record.message.endswith("Run: python ml_trainer.py")
    with pytest.raises(NoModel):
        store.load(stamps(3)[2])  # who asks for it by name gets no other


def test_what_serves_instead_is_published_whole_signed_and_suits(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    every = stamps(6)
    for stamp in every:
        paths = publish(
            store, fitted, stamp, serve=stamp != every[4], market="alpaca" if stamp == every[1] else "recorded"
        )
        if stamp in (every[5], every[3]):
            flipped(paths["scaler"])
        if stamp == every[2]:
            rewrite_card(paths["card"], proven=True)
    asked: list[str] = []

    def of_the_market(card: dict[str, Any]) -> bool:
        asked.append(card["stamp"])
        return card["market"] == "recorded"

    assert store.load(suits=of_the_market).stamp == every[0]
    assert asked == [every[3], every[1], every[0]]  # only signed cards are asked about
    assert store.load().stamp == every[1]
    with pytest.raises(NoModel) as caught:
        store.load(suits=lambda card: False)
    assert str(caught.value).startswith("Model not ready for predictions: ")
    assert f"scaler_{every[5]}.pkl is not the file that was trained. Run: python ml_trainer.py" in str(caught.value)


def test_a_model_that_serves_and_is_of_other_versions_is_an_error_though_another_could_serve(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    publish(store, fitted)
    publish(store, fitted, "20260303_200000", versions={**versions(), "numpy": "0.1"})
    with pytest.raises(NoModel, match=r"was trained with numpy 0\.1, here is"):
        store.load()


def test_versions_that_were_changed_on_a_signed_card_are_damage_and_another_serves(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    publish(store, fitted)
    paths = publish(store, fitted, "20260303_200000")
    rewrite_card(paths["card"], versions={**versions(), "numpy": "0.1"})
    assert store.load().stamp == FIRST


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"stamp": 5}', '{"stamp": "20991231_200000"}'])
def test_a_pointer_to_nothing_lets_the_newest_model_serve(
    store: ModelStore,
    fitted: tuple[StandardScaler, TradeClassifier],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: str,
) -> None:
    for stamp in stamps(2):
        publish(store, fitted, stamp)
    (tmp_path / "models" / "current.json").write_text(content)
    assert store.load().stamp == stamps(2)[1]
    assert len(caplog.records) == 1


# --- moved to another machine ---------------------------------------------------------------------------------------


def test_a_model_that_moved_is_refused_until_it_is_vouched_for(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    publish(store, fitted)
    shutil.copytree(tmp_path / "models", tmp_path / "new" / "models")
    there = ModelStore(tmp_path / "new" / "models", tmp_path / "new" / "state")
    with pytest.raises(NoModel, match=f"was not signed on this machine.*python ml_trainer.py --vouch {FIRST}"):
        there.load()
    seen = there.version()
    there.vouch(FIRST)
    assert there.load().stamp == FIRST
    assert there.version() != seen  # so that a trader that runs looks again
    assert {**there.card(FIRST), "signature": None} == {**store.card(FIRST), "signature": None}
    with pytest.raises(NoModel, match="was not signed"):
        ModelStore(tmp_path / "new" / "models", tmp_path / "state").load()


@pytest.mark.parametrize("name", ["model", "scaler", "features", "out_of_fold"])
def test_nobody_vouches_for_files_that_do_not_agree_with_their_card(
    store: ModelStore,
    fitted: tuple[StandardScaler, TradeClassifier],
    tmp_path: Path,
    unpickled: list[bytes],
    name: str,
) -> None:
    paths = publish(store, fitted)
    flipped(paths[name])
    rewrite_card(paths["card"], signature="of another machine")
    before = paths["card"].read_bytes()
    unpickled.clear()
    with pytest.raises(NoModel, match=f"{paths[name].name} is not the file that was trained; nothing was signed"):
        store.vouch(FIRST)
    assert (unpickled, paths["card"].read_bytes()) == ([], before)


def test_nobody_vouches_for_a_model_that_predicts_something_else_or_is_none(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    paths = publish(store, fitted)
    card = json.loads(paths["card"].read_text())
    rewrite_card(paths["card"], golden=card["golden"] | {"confidence": [0.5] * 8})
    with pytest.raises(NoModel, match="predicts something else here than when it was trained"):
        store.vouch(FIRST)
    for golden in (None, {}, {"features": [], "confidence": []}, {"features": [[1, 2]], "confidence": ["a"]}):
        rewrite_card(paths["card"], golden=golden)
        with pytest.raises(NoModel, match="cannot be loaded here"):
            store.vouch(FIRST)
    paths["model"].write_bytes(b"no pickle")
    hashes = card["sha256"] | {paths["model"].name: sha256(b"no pickle")}
    rewrite_card(paths["card"], golden=card["golden"], sha256=hashes)
    with pytest.raises(NoModel, match="cannot be loaded here"):
        store.vouch(FIRST)
    assert "signature" in store.card(FIRST)
    with pytest.raises(NoModel, match="was not signed"):
        store.load()


# --- cut off --------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def test_a_training_killed_at_any_moment_leaves_the_old_model_or_the_new_one(
    fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: set[str] = set()
    for moment in range(100):
        store = ModelStore(tmp_path / str(moment), tmp_path / "state")
        publish(store, fitted)
        left = moment
        with monkeypatch.context() as patch:

            def until_killed(act: Callable[..., Any]) -> Callable[..., Any]:
                def acting(*arguments: Any, **named: Any) -> Any:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise Killed
                    return act(*arguments, **named)

                return acting

            for name in ("open", "write", "fsync"):
                patch.setattr(f"durable.os.{name}", until_killed(getattr(os, name)))
            patch.setattr(Path, "replace", until_killed(Path.replace))
            patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # a killed process tidies nothing up
            try:
                publish(store, fitted, "20260303_200000")
                killed = False
            except Killed:
                killed = True
        served = store.load().stamp
        assert served in (FIRST, "20260303_200000")
        assert killed or served == "20260303_200000"
        whole.add(served)
        publish(store, fitted, "20260304_200000")
        assert store.load().stamp == "20260304_200000"
        stray = {path.name for path in (tmp_path / str(moment)).iterdir() if path.name.startswith(".")}
        assert stray <= {name for name in stray if name.startswith(".current.json")}
        files = {path.name for path in (tmp_path / str(moment)).glob("*_20260303_200000.*")}
        assert len(files) == (5 if "20260303_200000" in store.stamps() else 0)
        if not killed:
            break
    assert moment > 30
    assert whole == {FIRST, "20260303_200000"}


def test_leftovers_of_a_cut_off_training_go_and_what_may_be_another_s_stays(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    publish(store, fitted, stamps(2)[0])
    folder = tmp_path / "models"
    gone = [f"model_random_forest_{FIRST[:8]}_000000.pkl", "scaler_20260228_200000.pkl"]
    gone += [".model_random_forest_20260309_200000.pkl.0123abcd.tmp", ".card_20260301_200000.json.0123abcd.tmp"]
    stays = ["scaler_20260309_200000.pkl", "model_of_mine.pkl", ".journal.jsonl.0123abcd.tmp", "trials.json"]
    for name in (*gone, *stays):
        (folder / name).touch()
    publish(store, fitted, stamps(3)[2])
    names = {path.name for path in folder.iterdir()}
    assert names & set(gone) == set()
    assert set(stays) <= names


@pytest.mark.parametrize("name", ["model_random_forest", "scaler", "features", "out_of_fold"])
def test_what_does_not_come_back_from_the_disk_is_not_published(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    publish(store, fitted)

    def worn(path: Path, content: bytes | str) -> None:
        assert isinstance(content, bytes)
        path.write_bytes(content)
        if path.name.startswith(name):
            flipped(path)

    with monkeypatch.context() as patch:
        patch.setattr("learning.model_store.replace_file", worn)
        with pytest.raises(NoModel, match=rf"^Nothing was published, the model in use stays: read back, .*{name}_2026"):
            publish(store, fitted, "20260303_200000")
    assert (store.stamps(), store.load().stamp) == ([FIRST], FIRST)


def test_a_model_that_predicts_something_else_once_loaded_is_not_published(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, fitted)
    other = joblib.load
    changed = TradeClassifier(fitted[1].estimator, Calibration(0.1, 0.7, 0.7))

    def loaded(file: BytesIO) -> object:
        value = other(file)
        return changed if isinstance(value, TradeClassifier) else value

    with monkeypatch.context() as patch:
        patch.setattr("learning.model_files.joblib.load", loaded)
        with pytest.raises(NoModel, match=r"^Nothing was published.*predicts something else here"):
            publish(store, fitted, "20260303_200000")
    assert (store.stamps(), store.load().stamp) == ([FIRST], FIRST)


def test_a_second_model_of_the_same_stamp_is_refused_and_the_first_one_stays(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier]
) -> None:
    paths = publish(store, fitted)
    before = paths["model"].read_bytes()
    with pytest.raises(NoModel, match=f"there is a model {FIRST} already"):
        publish(store, (fitted[0], TradeClassifier(fitted[1].estimator, Calibration(0.1, 0.7, 0.7))))
    assert paths["model"].read_bytes() == before
    assert store.load().stamp == FIRST


def test_while_another_process_publishes_nothing_is_written(
    store: ModelStore, fitted: tuple[StandardScaler, TradeClassifier], tmp_path: Path
) -> None:
    publish(store, fitted)
    handle = os.open(tmp_path / "models", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(NoModel, match="another training publishes into"):
        publish(store, fitted, "20260303_200000")
    os.close(handle)
    assert store.stamps() == [FIRST]
    publish(store, fitted, "20260303_200000")


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

"""Training: a model judged on later days, published with a card that says what a person must know."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits
from trading import change_card, golden_rows, logging_restored, settings_in

import ml_trainer
from build_dataset import Dataset, prepare, read_dataset, write_dataset
from config import Settings
from learning.evaluation import FOLD_SESSIONS, MIN_TRAIN_SESSIONS, StaleDataset, TooFewSessions
from learning.features import FEATURES
from learning.labels import had_its_time
from learning.model_store import ModelStore, NoModel
from learning.prediction_log import PredictionLog
from learning.trials import Trials
from market.hours import at_new_york, new_york, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from ml_trainer import MLTrainer, chosen_features
from model_in_use import ModelInUse

ROOT = Path(ml_trainer.__file__).resolve().parent
SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 19))  # 13: one warms up, one is not settled
EVENING = at_new_york(SESSIONS[-1].day, "20:00")
STAMP = "20260219_200000"
NEEDED = MIN_TRAIN_SESSIONS + 2 * FOLD_SESSIONS  # sessions to judge by
DOCUMENTED_CARD = [
    "stamp",
    "model_type",
    "market",
    "feed",
    "symbols",
    "train_start",
    "train_end",
    "rows",
    "independent_rows",
    "features",
    "published",
    "proven",
    "reason",
    "scores",
    "baseline",
    "importances",
    "calibration",
    "versions",
    "sha256",
]
DOCUMENTED_SCORES = ["auc", "accuracy", "precision", "recall", "brier", "ece", "signals", "net_return_per_signal"]


@pytest.fixture(autouse=True, scope="module")
def small_and_quiet() -> Iterator[None]:
    """Small forests; and boosting on one thread, as its threads spin for each other where the machine is shared."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1, user_api="openmp"):
        patch.setattr("learning.classifier.TREES", 30)
        patch.setattr("learning.importances.ROWS_A_DAY", 50)
        yield


@pytest.fixture(autouse=True, scope="module")
def own_logging() -> Iterator[None]:
    """The logging that a door configures ends with these tests."""
    with logging_restored():
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Every eighth example of two simulated symbols, said to be recorded."""
    feed = RecordedFeed(simulate_bars(SESSIONS, ["SIM06", "SIM10"], seed=19))
    whole = prepare(feed, EVENING, settings_in(tmp_path_factory.mktemp("dataset")))
    examples = whole.examples.iloc[::8].reset_index(drop=True)
    return Dataset(examples, whole.about | {"rows": len(examples)})


def folders(folder: Path, dataset: Dataset | None = None, **changes: object) -> Settings:
    settings = settings_in(folder, **changes)
    settings.DATA_DIR.mkdir(parents=True)
    if dataset is not None:
        write_dataset(dataset, settings)
    return settings


def door(settings: Settings, *argv: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        for name in ("DATA_DIR", "MODELS_DIR", "STATE_DIR"):
            patch.setenv(name, str(getattr(settings, name)))
        patch.setenv("COLUMNS", "200")
        return ml_trainer.main(list(argv)), printed.getvalue()


class Trained(NamedTuple):
    settings: Settings
    out: str
    card: dict[str, Any]


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One training through the door; tests read its folders and leave them as they are."""
    settings = folders(tmp_path_factory.mktemp("trained"), dataset)
    code, out = door(settings, "--json")
    assert code == 0
    return Trained(settings, out, json.loads(out.splitlines()[-1])["card"])


# --- one training ---------------------------------------------------------------------------------------------------


def test_the_files_are_the_documented_ones_and_are_named_in_the_output(trained: Trained) -> None:
    names = {path.name for path in trained.settings.MODELS_DIR.iterdir()}
    model = {f"model_random_forest_{STAMP}.pkl", f"scaler_{STAMP}.pkl", f"features_{STAMP}.pkl", f"card_{STAMP}.json"}
    assert names == model | {f"out_of_fold_{STAMP}.parquet", "current.json", "source.json", "trials.json"}
    for name in model:
        assert name in trained.out
    assert str(trained.settings.MODELS_DIR) in trained.out
    assert joblib.load(trained.settings.MODELS_DIR / f"features_{STAMP}.pkl") == FEATURES


def test_the_output_shows_importances_accuracy_precision_and_recall(trained: Trained) -> None:
    card = trained.card
    for word in ("accuracy", "precision", "recall", "Feature importances", *FEATURES):
        assert word in trained.out
    assert f"{card['scores']['accuracy']:.2%}" in trained.out
    assert f"{card['importances'][0]['permutation']:+.4f}" in trained.out
    assert f"published: yes - {card['publish_reason']}" in trained.out
    assert f"proven: no - {card['reason']}" in trained.out
    assert "as of 2026-02-19 20:00 New York" in trained.out


def test_the_card_has_the_documented_keys_and_is_strict_json(trained: Trained) -> None:
    text = (trained.settings.MODELS_DIR / f"card_{STAMP}.json").read_text()
    card = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} on the card"))
    assert set(card) >= set(DOCUMENTED_CARD)
    assert set(card["scores"]) >= set(DOCUMENTED_SCORES)
    assert {name: card[name] for name in trained.card} == trained.card


def test_the_card_says_what_was_learnt_from(trained: Trained, dataset: Dataset) -> None:
    card, examples = trained.card, dataset.examples
    assert (card["stamp"], card["model_type"]) == (STAMP, "random_forest")
    assert (card["market"], card["feed"]) == ("recorded", "recorded")
    assert card["symbols"] == ["SIM06", "SIM10"]
    had_time = had_its_time(examples["timestamp"], EVENING, 390)
    assert card["rows"] == had_time.sum() < len(examples)
    examples = examples[had_time]
    assert 10 < card["independent_rows"] < card["rows"] / 4
    assert pd.Timestamp(card["train_start"]) == examples["timestamp"].min()
    assert pd.Timestamp(card["train_end"]) == examples["settled_at"].max() <= EVENING
    assert card["features"] == FEATURES
    assert card["trade_rules"] == trained.settings.trade_rules()
    assert card["refitted_on_whole_window"] is True
    assert card["sessions"] == 11  # trades of the last one have not had their session yet


def test_the_card_is_the_judgement_of_later_days(trained: Trained) -> None:
    stored = ModelStore(trained.settings.MODELS_DIR, trained.settings.STATE_DIR).out_of_fold(STAMP)
    card = trained.card
    assert stored["session"].nunique() == 3
    assert stored["confidence"].between(0, 1, inclusive="neither").all()
    assert card["baseline"]["share_profitable"] == pytest.approx(stored["label"].mean())
    assert card["baseline"]["always_buy_net_return"] == pytest.approx(stored["net_return"].mean())
    assert card["scores"]["highest_confidence"] == pytest.approx(stored["confidence"].max())
    assert card["scores"]["signals"] == (stored["confidence"] >= 0.65).sum()
    assert card["signals_at"]["0.50"] == (stored["confidence"] >= 0.5).sum()
    assert sum(tenth["rows"] for tenth in card["calibration"]["table"]) == len(stored)
    assert len(card["importances"]) == len(FEATURES)


def test_the_model_serves_and_predicts_probabilities(trained: Trained, dataset: Dataset) -> None:
    model = ModelStore(trained.settings.MODELS_DIR, trained.settings.STATE_DIR).load()
    assert model.stamp == STAMP
    assert model.card["published"] is True
    confidence = model.confidence(dataset.examples[FEATURES].to_numpy())
    assert ((confidence > 0) & (confidence < 1)).all()
    assert confidence.std() > 0


FRESH = """
import sys, pandas as pd
from pathlib import Path
from learning.model_store import ModelStore
model = ModelStore(Path(sys.argv[1]), Path(sys.argv[3])).load()
examples = pd.read_parquet(sys.argv[2]).head(50)
print(model.stamp, *model.confidence(examples[model.features].to_numpy()).tolist())
"""


def in_a_fresh_interpreter(settings: Settings) -> tuple[str, list[float]]:
    arguments = [str(settings.MODELS_DIR), str(settings.DATA_DIR / "dataset.parquet"), str(settings.STATE_DIR)]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    stamp, *confidence = done.stdout.split()
    return stamp, [float(value) for value in confidence]


def test_a_fresh_interpreter_predicts_the_same(trained: Trained, dataset: Dataset) -> None:
    stamp, confidence = in_a_fresh_interpreter(trained.settings)
    here = (
        ModelStore(trained.settings.MODELS_DIR, trained.settings.STATE_DIR)
        .load()
        .confidence(dataset.examples[FEATURES].head(50).to_numpy())
    )
    assert stamp == STAMP
    np.testing.assert_allclose(confidence, here, rtol=1e-12)


def test_gradient_boosting_is_named_in_its_file_and_serves_a_fresh_interpreter(
    dataset: Dataset, tmp_path: Path
) -> None:
    settings = folders(tmp_path, dataset)
    code, out = door(settings, "--model", "gradient_boosting", "--json")
    assert code == 0
    card = json.loads(out.splitlines()[-1])["card"]
    assert card["model_type"] == "gradient_boosting"
    assert (settings.MODELS_DIR / f"model_gradient_boosting_{STAMP}.pkl").exists()
    assert all(row["impurity"] is None for row in card["importances"])
    model = ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load()
    assert type(model.classifier.estimator).__name__ == "HistGradientBoostingClassifier"
    here = model.confidence(dataset.examples[FEATURES].head(50).to_numpy())
    np.testing.assert_allclose(in_a_fresh_interpreter(settings)[1], here, rtol=1e-9)


# --- trainings after it ---------------------------------------------------------------------------------------------


def copied(trained: Trained, folder: Path, **changes: object) -> Settings:
    """Folders of one's own with the model and the data set of `trained`."""
    settings = settings_in(folder, **changes)
    for name in ("MODELS_DIR", "DATA_DIR"):
        target = getattr(settings, name)
        target.mkdir(parents=True)
        for path in getattr(trained.settings, name).iterdir():
            if path.is_file():
                (target / path.name).write_bytes(path.read_bytes())
    return settings


def test_a_second_training_of_the_same_moment_gets_a_stamp_of_its_own_and_an_equal_model(
    trained: Trained, tmp_path: Path
) -> None:
    settings = copied(trained, tmp_path)
    lines: list[str] = []
    again = MLTrainer(settings).train(progress=lines.append)
    assert again.card["stamp"] == "20260219_200001"
    assert ModelStore(settings.MODELS_DIR, settings.STATE_DIR).stamps() == [STAMP, "20260219_200001"]
    assert again.card["scores"] == trained.card["scores"]
    assert again.card["calibration"] == trained.card["calibration"]
    assert (
        again.published.reason
        == "the model in use has predicted 3 of these days on equal terms, 5 are needed to reject"
    )
    assert "fold 1 of 2" in " ".join(lines)


def test_a_model_by_an_earlier_version_is_no_rival(trained: Trained, tmp_path: Path) -> None:
    # Its out-of-fold rows do not say how much had been learnt by then.
    settings = copied(trained, tmp_path)
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    card = {**store.card(STAMP), "stamp": "20260219_200001"}
    model, rows = store.load(STAMP), store.out_of_fold(STAMP)
    store.publish(card, model.classifier, model.scaler, rows.drop(columns="history"), golden_rows(card), serve=True)
    training = MLTrainer(settings).train()
    assert training.published.holds
    assert training.published.reason == "the model in use is of another kind, so there is no rival"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"market": "simulated"}, "of another kind"),
        ({"feed": "sip"}, "of another kind"),
        ({"model_type": "gradient_boosting"}, "of another kind"),
        ({"features": FEATURES[:-1]}, "of another kind"),
        ({"train_end": "2026-01-30T21:00:00+00:00"}, "13 sessions old"),
        ({"train_end": "2026-02-26T21:00:00+00:00"}, "from a later time"),
    ],
)
def test_a_model_of_another_kind_or_time_is_no_rival(
    trained: Trained, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    settings = copied(trained, tmp_path)
    change_card(settings, **changes)
    training = MLTrainer(settings).train()
    assert training.published.holds
    assert training.published.reason == f"the model in use is {why}, so there is no rival"


def test_a_model_shown_worse_than_the_procedure_of_the_one_in_use_does_not_serve(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the one in use had foreseen its out-of-fold days, without having learnt from more sessions.
    monkeypatch.setattr("learning.verdicts.MIN_COMPARED_DAYS", 3)
    settings = copied(trained, tmp_path, MIN_CONFIDENCE=0.5)
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    card = {**store.card(STAMP), "stamp": "20260219_200001"}
    model, rows = store.load(STAMP), store.out_of_fold(STAMP)
    foreseen = rows.assign(confidence=np.where(rows["net_return"] > 0.005, 0.9, 0.1))
    store.publish(card, model.classifier, model.scaler, foreseen, golden_rows(card), serve=True)
    rejected = MLTrainer(settings).train()
    assert not rejected.published.holds
    assert rejected.published.reason.startswith("worse than the model in use on 3 days")
    assert store.current() == card["stamp"]
    card["stamp"] = "20260219_210000"
    longer = foreseen.assign(history=foreseen["history"] + 1)
    store.publish(card, model.classifier, model.scaler, longer, golden_rows(card), serve=True)
    assert "0 of these days on equal terms" in MLTrainer(settings).train().published.reason


def test_a_model_shown_worse_is_written_but_does_not_serve_until_it_is_asked_to(
    trained: Trained, dataset: Dataset, tmp_path: Path
) -> None:
    # What the incumbent predicted live is what an oracle would have, on days enough to compare.
    settings = copied(trained, tmp_path, MIN_CONFIDENCE=0.5)
    longer = dataset.examples
    shifted = longer.assign(label=(np.random.default_rng(1).random(len(longer)) < 0.5) * 1.0)
    shifted["net_return"] = np.where(shifted["label"] == 1, 0.01, -0.01)
    write_dataset(Dataset(shifted, dataset.about), settings)
    log = PredictionLog(settings.MODELS_DIR / "predictions")
    for row in shifted.sort_values("timestamp").itertuples():
        made = new_york(row.timestamp + timedelta(minutes=1)).isoformat()
        log.add(row.symbol, made, 100.0, 0.9 if row.label else 0.1, STAMP, meets=row.label == 1, buy=row.label == 1)
    log.write()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.verdicts.MIN_COMPARED_DAYS", 3)
        code, out = door(settings, "--json")
    card = json.loads(out.splitlines()[-1])["card"]
    assert code == 0
    assert card["published"] is False
    assert "published: no - worse than the model in use on 3 days" in out
    assert f"python ml_trainer.py --use {card['stamp']}" in out
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    assert store.current() == STAMP
    code, out = door(settings, "--use", card["stamp"])
    assert code == 0
    assert f"model {card['stamp']} serves from now on" in out
    assert store.current() == card["stamp"]


def test_use_of_an_unknown_or_damaged_model_is_refused(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = copied(trained, tmp_path)
    assert door(settings, "--use", "20200101_000000")[0] == 7
    assert "No trained model found: no card of 20200101_000000" in capsys.readouterr().err
    (settings.MODELS_DIR / f"scaler_{STAMP}.pkl").unlink()
    assert door(settings, "--use", STAMP)[0] == 7
    assert f"scaler_{STAMP}.pkl is missing" in capsys.readouterr().err


def test_a_model_moved_to_a_new_machine_serves_once_a_person_vouches_for_it(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = copied(trained, tmp_path, STATE_DIR=tmp_path / "another user")
    assert door(settings, "--use", STAMP)[0] == 7
    assert "was not signed on this machine, or has been changed since (if you made" in capsys.readouterr().err
    code, out = door(settings, "--vouch", STAMP, "--json")
    assert code == 0
    assert "A model file is code: whoever loads it runs what it contains. You vouch for" in out
    assert "only for files that you made" in out
    for name in (f"model_random_forest_{STAMP}.pkl", f"scaler_{STAMP}.pkl", f"card_{STAMP}.json"):
        assert name in out
    assert f"model {STAMP} is whole, predicts as it did, and is signed here" in out
    assert json.loads(out.splitlines()[-1]) == {"stamp": STAMP}
    assert door(settings, "--use", STAMP)[0] == 0
    assert ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load().stamp == STAMP


def test_files_that_do_not_agree_with_their_card_are_not_vouched_for(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = copied(trained, tmp_path, STATE_DIR=tmp_path / "another user")
    path = settings.MODELS_DIR / f"model_random_forest_{STAMP}.pkl"
    path.write_bytes(path.read_bytes() + b" ")
    assert door(settings, "--vouch", STAMP)[0] == 7
    err = capsys.readouterr().err
    assert err == (
        f"ml_trainer: Model not ready for predictions: {path} is not the file that was trained; nothing was signed. "
        "Run: python ml_trainer.py\n"
    )
    assert door(settings, "--vouch", "20200101_000000")[0] == 7
    assert "No trained model found: no card of 20200101_000000" in capsys.readouterr().err
    assert door(settings, "--vouch", "../x")[0] == 7


def test_a_damaged_model_in_use_is_no_rival_and_a_new_one_is_published(trained: Trained, tmp_path: Path) -> None:
    settings = copied(trained, tmp_path)
    card = settings.MODELS_DIR / f"card_{STAMP}.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"market": "alpaca", "scores": {}}))
    training = MLTrainer(settings).train()
    assert training.published.reason == "there is no model in use to compare with"
    assert ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load().stamp == training.card["stamp"] != STAMP


# --- how often was it tried -----------------------------------------------------------------------------------------


def test_a_refit_of_the_same_configuration_is_no_new_trial(trained: Trained, tmp_path: Path) -> None:
    settings = copied(trained, tmp_path)
    assert trained.card["trials"]["count"] == 1
    assert MLTrainer(settings).train().card["trials"]["count"] == 1
    assert MLTrainer(settings).train(as_of=EVENING - timedelta(hours=5)).card["trials"]["count"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"MIN_CONFIDENCE": 0.5},
        {"MAX_OPEN_POSITIONS": 1},
        {"ML_MODEL_TYPE": "gradient_boosting"},
        {"LEFT_OUT_FEATURES": ("return_1",)},
        {"DAYS_BACK": 25},
        {"SYMBOLS": ("SIM06", "SIM10")},
    ],
)
def test_another_threshold_kind_choice_of_features_history_or_symbols_is_another_trial(
    trained: Trained, tmp_path: Path, changes: dict[str, object]
) -> None:
    card = MLTrainer(copied(trained, tmp_path, **changes)).train().card
    assert card["trials"]["count"] == 2
    assert len(Trials(settings_in(tmp_path).MODELS_DIR / "trials.json")) == 2


def test_configurations_that_never_traded_are_counted_apart_and_are_no_measure(
    trained: Trained, tmp_path: Path
) -> None:
    settings = copied(trained, tmp_path, MIN_CONFIDENCE=0.2)
    first = MLTrainer(settings).train().card["trials"]
    trials = Trials(settings.MODELS_DIR / "trials.json")
    for number in range(20):
        trials.record({"another": number}, EVENING, np.zeros(3))
    later = MLTrainer(settings).train().card["trials"]
    assert (later["count"], later["traded"]) == (first["count"] + 20, first["traded"])
    assert later["deflated"] == first["deflated"]


def test_the_deflated_sharpe_ratio_asks_for_more_after_more_trials(trained: Trained, tmp_path: Path) -> None:
    settings = copied(trained, tmp_path, MIN_CONFIDENCE=0.2)
    first = MLTrainer(settings).train().card["trials"]
    trials = Trials(settings.MODELS_DIR / "trials.json")
    for number in range(20):
        daily = np.array([0.001, 0.0, -0.001]) * (-1) ** number + 0.0002 * number
        trials.record({"another": number}, EVENING, daily)
    later = MLTrainer(settings).train().card["trials"]
    assert later["count"] == 22
    assert (later["sharpe"], later["standard_error"]) == (first["sharpe"], first["standard_error"])
    assert later["deflated"] < first["deflated"]


# --- features left out ----------------------------------------------------------------------------------------------


def test_a_model_that_was_trained_without_a_feature_predicts_without_it(trained: Trained, tmp_path: Path) -> None:
    left_out = (FEATURES[0], FEATURES[5])
    settings = copied(trained, tmp_path, LEFT_OUT_FEATURES=left_out)
    training = MLTrainer(settings).train()
    kept = [name for name in FEATURES if name not in left_out]
    assert training.card["features"] == kept
    assert [row["feature"] for row in training.card["importances"]] != FEATURES
    assert sorted(row["feature"] for row in training.card["importances"]) == sorted(kept)
    assert set(training.card["drift"]["features"]["features"]) < set(kept) | {"session_elapsed"}
    assert training.published.reason == "the model in use is of another kind, so there is no rival"
    matrix = read_dataset(settings).examples[FEATURES].head(50).to_numpy(copy=True)
    in_use = ModelInUse(settings, "recorded", "recorded")
    own, _ = in_use.confidence(EVENING, ["SIM06"] * 50, matrix)
    assert own.std() > 0
    matrix[:, [FEATURES.index(name) for name in left_out]] = np.nan  # it does not even look at them
    np.testing.assert_array_equal(in_use.confidence(EVENING, ["SIM06"] * 50, matrix)[0], own)
    matrix[0, FEATURES.index(kept[0])] = np.nan
    assert np.isnan(in_use.confidence(EVENING, ["SIM06"] * 50, matrix)[0]).tolist() == [True, *[False] * 49]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("return_1,retrun_5", "LEFT_OUT_FEATURES names retrun_5, which no feature is called; see learning/features.py"),
        (",".join(FEATURES), "LEFT_OUT_FEATURES leaves no feature to learn from; name fewer"),
    ],
)
def test_a_choice_of_features_that_cannot_be_learnt_from_exits_with_2_in_one_line(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    words: str,
) -> None:
    settings = copied(trained, tmp_path)
    monkeypatch.setenv("LEFT_OUT_FEATURES", value)
    assert door(settings)[0] == 2
    assert capsys.readouterr().err == f"ml_trainer: {words}\n"
    assert ModelStore(settings.MODELS_DIR, settings.STATE_DIR).stamps() == [STAMP]


def test_without_a_choice_all_features_are_learnt_from_in_their_order(tmp_path: Path) -> None:
    assert chosen_features(settings_in(tmp_path)) == FEATURES
    assert chosen_features(settings_in(tmp_path, LEFT_OUT_FEATURES=(FEATURES[1],))) == [FEATURES[0], *FEATURES[2:]]


# --- what is hidden and what is refused -----------------------------------------------------------------------------


def test_as_of_hides_what_had_not_settled_by_then(dataset: Dataset, tmp_path: Path) -> None:
    settings = folders(tmp_path, dataset)
    then = SESSIONS[-1].open + timedelta(hours=2, minutes=1)
    code, out = door(settings, "--as-of", then.isoformat(), "--json")
    assert code == 0
    card = json.loads(out.splitlines()[-1])["card"]
    known = (dataset.examples["settled_at"] <= then) & had_its_time(dataset.examples["timestamp"], then, 390)
    assert (~known).sum() > 0
    assert card["rows"] == known.sum()
    assert datetime.fromisoformat(card["train_end"]) <= then
    assert card["stamp"] == "20260219_113100"
    stored = ModelStore(settings.MODELS_DIR, settings.STATE_DIR).out_of_fold(card["stamp"])
    assert stored["settled_at"].max() <= then


def test_bars_that_end_at_noon_give_no_trade_its_time_in_the_afternoon(tmp_path: Path) -> None:
    bars, noon = simulate_bars(SESSIONS, ["SIM06", "SIM10"], seed=19), at_new_york(SESSIONS[-1].day, "12:00")
    settings = settings_in(tmp_path)
    settings.DATA_DIR.mkdir()
    feed = RecordedFeed(bars[bars["timestamp"] < noon].reset_index(drop=True))
    write_dataset(prepare(feed, EVENING, settings), settings)
    examples = read_dataset(settings).examples
    early = ~had_its_time(examples["timestamp"], noon, 390)
    assert {"stop", "target"} >= set(examples["exit_reason"][early]) != set()
    assert MLTrainer(settings).train().card["rows"] == (~early).sum()


@pytest.mark.parametrize("bad", ["2026-02-19T20:00", "2026-02-19", "yesterday", "20:00"])
def test_a_time_without_a_zone_or_that_is_none_exits_with_2(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        door(folders(tmp_path), "--as-of", bad)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert bad in err
    assert re.search(r"write|such as", err)


def refused(settings: Settings, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line of a refusal for want of data."""
    assert door(settings, *argv)[0] == 7
    err = capsys.readouterr().err
    assert err.startswith("ml_trainer: Insufficient training data: ")
    assert err.count("\n") == 1
    assert not list(settings.MODELS_DIR.glob("*.pkl"))
    return err


def test_without_a_data_set_the_cure_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Run: python build_dataset.py" in refused(folders(tmp_path), capsys)


def test_a_data_set_made_with_another_stop_is_refused(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP_LOSS_PCT", "0.01")
    err = refused(folders(tmp_path, dataset), capsys)
    assert "was made with other stop, target, holding limit or cost. Run: python build_dataset.py" in err


def test_a_data_set_with_other_features_is_refused(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = dataset.about | {"features": FEATURES[:-1]}
    err = refused(folders(tmp_path, Dataset(dataset.examples, about)), capsys)
    assert "was made with other features. Run: python build_dataset.py" in err


@pytest.mark.parametrize(("unknown", "columns"), [("selection", ["close", "driftless"]), ("bars_end", [])])
def test_a_data_set_by_an_earlier_version_is_refused(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], unknown: str, columns: list[str]
) -> None:
    about = {key: value for key, value in dataset.about.items() if key != unknown}
    settings = folders(tmp_path, Dataset(dataset.examples.drop(columns=columns), about))
    assert "was made by an earlier version. Run: python build_dataset.py" in refused(settings, capsys)
    with pytest.raises(StaleDataset):
        MLTrainer(settings).train()


def test_fewer_examples_than_the_setting_are_refused(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = int(had_its_time(dataset.examples["timestamp"], EVENING, 390).sum())
    settings = folders(tmp_path, dataset)
    monkeypatch.setenv("MIN_TRAINING_SAMPLES", str(rows + 1))
    assert f"{rows:,} examples, MIN_TRAINING_SAMPLES is {rows + 1:,}" in refused(settings, capsys)
    with pytest.raises(TooFewSessions):
        MLTrainer(replace(settings, MIN_TRAINING_SAMPLES=rows + 1)).train()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--as-of", "2026-02-02T20:00-05:00"], "0 examples, MIN_TRAINING_SAMPLES is 500"),
        (["--as-of", "2026-02-13T20:00-05:00"], f"examples of 8 sessions, {NEEDED} are needed to judge"),
        (["--symbols", "SIM01"], "0 examples"),
    ],
)
def test_too_little_is_left_to_train_on(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert words in refused(folders(tmp_path, dataset), capsys, *argv)


def test_a_data_set_of_another_market_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    code, _ = door(folders(tmp_path, dataset), "--market", "simulated")
    assert code == 5


def test_days_and_symbols_narrow_what_is_trained_on(dataset: Dataset, tmp_path: Path) -> None:
    settings = replace(folders(tmp_path, dataset), SYMBOLS=("SIM10",), MIN_TRAINING_SAMPLES=100, DAYS_BACK=16)
    card = MLTrainer(settings).train().card
    rows = had_its_time(dataset.examples["timestamp"], EVENING, 390)
    rows &= dataset.examples["symbol"] == "SIM10"
    rows &= dataset.examples["timestamp"] >= pd.Timestamp(EVENING) - timedelta(days=17)
    assert card["rows"] == rows.sum() < (dataset.examples["symbol"] == "SIM10").sum()
    assert card["symbols"] == ["SIM10"]


def test_labels_of_one_class_make_a_model_that_knows_only_that(dataset: Dataset, tmp_path: Path) -> None:
    losing = dataset.examples.assign(label=0.0, net_return=-0.01, driftless=0.0)
    training = MLTrainer(folders(tmp_path, Dataset(losing, dataset.about))).train()
    assert training.card["scores"]["auc"] is None
    assert training.card["baseline"]["break_even_confidence"] is None
    assert not training.proven.holds
    model = ModelStore(settings_in(tmp_path).MODELS_DIR, settings_in(tmp_path).STATE_DIR).load()
    assert (model.confidence(losing[FEATURES].to_numpy()) < 0.05).all()


def test_a_trainer_opens_nothing_until_it_trains(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    MLTrainer(settings)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NoModel):
        ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load()


def test_the_data_set_is_as_it_was_after_training(trained: Trained, dataset: Dataset) -> None:
    pd.testing.assert_frame_equal(read_dataset(trained.settings).examples, dataset.examples)

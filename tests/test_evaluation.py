"""Judging on later days: nothing of a fold is known before it, and the scores are what they are called."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from durable import to_json
from learning.classifier import calibrate
from learning.evaluation import (
    FOLD_SESSIONS,
    MIN_TRAIN_SESSIONS,
    TooFewSessions,
    WalkForward,
    reliability,
    scores,
    tradable,
    walk_forward,
)
from learning.labels import uniqueness
from market.hours import sessions_between

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 20))  # 14 of them
FEATURES = ["a", "b", "c"]
HOLDING = 120
START = pd.Timestamp("2026-02-02 15:00", tz="UTC")
LIST = st.lists(
    st.tuples(st.sampled_from("ABCD"), st.integers(0, 25), st.integers(2, 12), st.integers(0, 10**9)),
    max_size=60,
    unique_by=(lambda signal: (signal[0], signal[1]), lambda signal: signal[3]),
)


@pytest.fixture(autouse=True, scope="module")
def small_forests() -> Iterator[None]:
    """Fewer trees and rows than a model needs, as many as a test does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 40)
        patch.setattr("learning.evaluation._IMPORTANCE_ROWS", 200)
        yield


def examples(
    sessions: int = len(SESSIONS), step: int = 10, holding: int = HOLDING, planted: float = 0.0, seed: int = 1
) -> pd.DataFrame:
    """Decisions every `step` minutes, settled `holding` market minutes later, over nights too; labels are coin flips.

    `planted` is how strongly feature `a` follows the label.
    """
    rng = np.random.default_rng(seed)
    minutes = pd.DatetimeIndex(
        [s.open + pd.Timedelta(minutes=m) for s in SESSIONS[-sessions:] for m in range(s.minutes)]
    )
    decided = np.arange(0, len(minutes) - holding - 1, step)
    parts = []
    for symbol in ("AAA", "BBB", "CCC"):
        label = rng.integers(0, 2, len(decided)).astype(float)
        part = pd.DataFrame(rng.normal(size=(len(decided), 3)), columns=FEATURES)
        part["a"] += planted * label
        part.insert(0, "symbol", symbol)
        part.insert(1, "timestamp", minutes[decided])
        part["label"] = label
        part["net_return"] = 0.01 * (2 * label - 1)
        part["settled_at"] = minutes[decided + 1 + holding] + pd.Timedelta(minutes=1)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def judge(table: pd.DataFrame, model_type: str = "random_forest") -> WalkForward:
    *lines, result = walk_forward(table, FEATURES, model_type)
    assert all(isinstance(line, str) for line in lines)
    assert isinstance(result, WalkForward)
    return result


@pytest.fixture(scope="module")
def noise() -> WalkForward:
    return judge(examples())


@pytest.fixture(scope="module")
def skilled() -> WalkForward:
    return judge(examples(planted=3.0))


def fold_open(judgement: WalkForward, fold: int) -> pd.Timestamp:
    table = judgement.table
    return table["timestamp"][table["fold"] == fold].min()


# --- what is known when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_fold_does_not_see_labels_that_settle_after_its_open(noise: WalkForward, fold: int) -> None:
    opens = fold_open(noise, fold)
    table = examples()
    later = table["settled_at"] > opens
    assert (later & (table["timestamp"] < opens)).sum() >= 10  # trades under way when the fold begins
    table.loc[later, "label"] = 1 - table.loc[later, "label"]
    changed = judge(table).table
    upto = noise.table["fold"] <= fold
    for column in ("score", "confidence"):
        pd.testing.assert_series_equal(changed[column][upto], noise.table[column][upto])


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_fold_does_learn_from_labels_that_settled_before_its_open(noise: WalkForward, fold: int) -> None:
    table = examples()
    newest_settled = table.loc[table["settled_at"] <= fold_open(noise, fold), "settled_at"].max()
    rows = table["settled_at"] > newest_settled - pd.Timedelta(hours=2)
    table.loc[rows, "label"] = 1.0
    same = noise.table["fold"] == fold
    assert (judge(table).table["score"][same] != noise.table["score"][same]).any()


def test_confidence_is_calibrated_on_the_outcomes_of_earlier_folds(noise: WalkForward) -> None:
    table = examples()
    first_fold = noise.table[noise.table["fold"] == 0]
    rows = first_fold.index[first_fold["settled_at"] <= fold_open(noise, 1)]
    # Labels of fold 0 that agree with its own scores: fold 1 trains on them too, but only calibration sees the scores.
    agree = (first_fold.loc[rows, "score"] > first_fold["score"].median()).astype(float)
    table.loc[rows, "label"] = agree
    second = noise.table["fold"] == 1
    spread = [np.ptp(judged.table["confidence"][second]) for judged in (noise, judge(table))]
    assert spread[1] > 2 * spread[0]


def test_the_first_fold_has_no_confidence_and_is_not_judged(noise: WalkForward) -> None:
    table = noise.table
    assert table["confidence"][table["fold"] == 0].isna().all()
    assert table["confidence"][table["fold"] > 0].between(0, 1, inclusive="neither").all()
    assert set(noise.judged["fold"]) == {1, 2}


def test_folds_are_whole_sessions_in_time_order_and_end_with_the_last(noise: WalkForward) -> None:
    folds = [rows for _, rows in noise.table.groupby("fold")]
    assert [rows["session"].nunique() for rows in folds] == [FOLD_SESSIONS] * 3
    for before, after in pairwise(folds):
        assert before["session"].max() < after["session"].min()
        assert before["timestamp"].max() < after["timestamp"].min()
    assert folds[-1]["timestamp"].max() == examples()["timestamp"].max()
    assert not noise.table.duplicated(["symbol", "timestamp"]).any()


def test_sessions_that_make_no_whole_fold_go_to_the_first_training() -> None:
    judged = judge(examples(sessions=13))
    assert judged.table["fold"].nunique() == 2
    assert judged.table["session"].nunique() == 6
    assert judged.table["timestamp"].min() == pd.Timestamp(SESSIONS[-6].open)


def test_too_few_sessions_say_how_many_are_needed_and_the_cure() -> None:
    needed = MIN_TRAIN_SESSIONS + 2 * FOLD_SESSIONS
    with pytest.raises(TooFewSessions) as caught:
        judge(examples(sessions=needed - 1))
    assert str(caught.value).startswith("Insufficient training data: examples of 10 sessions, 11 are needed")
    assert "python build_dataset.py" in str(caught.value)
    assert judge(examples(sessions=needed)).table["fold"].nunique() == 2


# --- skill ----------------------------------------------------------------------------------------------------------


def test_random_labels_show_no_skill(noise: WalkForward) -> None:
    measured = scores(noise.judged, 0.65)
    assert measured["auc"] == pytest.approx(0.5, abs=0.06)
    assert measured["signals"] == 0
    assert measured["ece"] < 0.1


def test_overlapping_labels_of_a_random_walk_show_no_skill() -> None:
    # Features that move slowly and labels that overlap: a random split of these rows scores far above 0.8.
    table = examples(step=5, holding=200)
    rng = np.random.default_rng(8)
    for _, rows in table.groupby("symbol").groups.items():
        steps = rng.normal(size=len(rows) + 41)
        table.loc[rows, "label"] = (np.convolve(steps, np.ones(40))[40 : len(rows) + 40] > 0).astype(float)
        table.loc[rows, FEATURES] = np.cumsum(rng.normal(size=(len(rows), 3)), axis=0)
    assert scores(judge(table).table.assign(confidence=0.5), 0.65)["auc"] == pytest.approx(0.5, abs=0.15)


def test_a_planted_feature_shows_skill_and_leads_the_importances(skilled: WalkForward) -> None:
    measured = scores(skilled.judged, 0.65)
    assert measured["auc"] > 0.95
    assert measured["precision"] > 0.9
    assert measured["net_return_per_signal"] > 0.005
    ranks = skilled.importances
    assert ranks["feature"][0] == "a"
    assert ranks["permutation"].is_monotonic_decreasing
    assert ranks["permutation"][0] > 0.2 > ranks["permutation"][1]
    assert ranks["impurity"].sum() == pytest.approx(1)
    assert sorted(ranks["feature"]) == FEATURES


def test_the_calibration_taken_along_comes_from_all_folds_and_rises_with_skill(
    noise: WalkForward, skilled: WalkForward
) -> None:
    assert skilled.calibration().slope > 0.3 > noise.calibration().slope
    table = skilled.table
    score, label, share = (table[name].to_numpy() for name in ("score", "label", "uniqueness"))
    assert skilled.calibration() == calibrate(score, label, share, float(np.average(label, weights=share)))


def test_labels_of_one_class_are_judged_without_an_error() -> None:
    judged = judge(examples(sessions=11).assign(label=0.0, net_return=-0.01))
    measured = scores(judged.judged, 0.65)
    assert measured["auc"] is None
    assert measured["highest_confidence"] < 0.1
    assert judged.importances["permutation"].isna().all()


# --- independent examples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_uniqueness_is_the_mean_share_of_each_minute_a_label_lives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    minutes = [s.open + pd.Timedelta(minutes=m) for s in SESSIONS[:3] for m in range(s.minutes)]
    rows = []
    for symbol in ("AAA", "BBB"):
        for first in sorted(rng.choice(len(minutes) - 500, 60, replace=False)):
            rows.append((symbol, first, first + int(rng.integers(1, 500))))
    table = pd.DataFrame(
        {
            "symbol": [symbol for symbol, _, _ in rows],
            "timestamp": pd.DatetimeIndex([minutes[first] for _, first, _ in rows]),
            "settled_at": pd.DatetimeIndex([minutes[last] + pd.Timedelta(minutes=1) for *_, last in rows]),
        }
    )
    lives = [{(symbol, minute) for minute in range(first + 1, last + 1)} for symbol, first, last in rows]
    alive: dict[tuple[str, int], int] = {}
    for life in lives:
        for minute in life:
            alive[minute] = alive.get(minute, 0) + 1
    direct = [sum(1 / alive[minute] for minute in life) / len(life) for life in lives]
    np.testing.assert_allclose(uniqueness(table), direct)


# --- what could have been traded ------------------------------------------------------------------------------------


def signals_table(rows: list[tuple[str, int, int, int]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["symbol", "start", "life", "rank"])
    table["confidence"] = table["rank"] / 1e9
    table["timestamp"] = START + pd.to_timedelta(table["start"], unit="min")
    table["settled_at"] = START + pd.to_timedelta(table["start"] + table["life"], unit="min")
    return table


@given(LIST, st.integers(1, 3))
@settings(max_examples=150)
def test_tradable_is_what_one_account_could_take(rows: list[tuple[str, int, int, int]], most: int) -> None:
    table = signals_table(rows)
    taken: list[tuple[str, int, int, int]] = []
    for minute in range(26):
        for signal in sorted((row for row in rows if row[1] == minute), key=lambda row: -row[3]):
            held = [symbol for symbol, start, life, _ in taken if start + life > minute + 1]
            if signal[0] not in held and len(held) < most:
                taken.append(signal)
    got = tradable(table, most)
    assert [tuple(row) for row in got[["symbol", "start", "life", "rank"]].to_numpy().tolist()] == taken


def test_a_position_is_free_again_at_the_minute_its_trade_has_settled() -> None:
    # The decision on bar 9 is known at minute 10.
    rows = [("A", 0, 10, 5), ("A", 8, 5, 9), ("A", 9, 5, 1)]
    assert tradable(signals_table(rows), 5)["start"].tolist() == [0, 9]


def test_no_signals_mean_no_trades() -> None:
    assert tradable(signals_table([]), 3).empty


# --- scores ---------------------------------------------------------------------------------------------------------


def judged_table(rows: list[tuple[int, int, float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["session", "label", "score", "confidence", "net_return"])


def test_scores_of_a_small_table_are_those_computed_by_hand() -> None:
    table = judged_table(
        [
            (1, 1, 0.9, 0.8, 0.03),
            (1, 0, 0.2, 0.7, -0.02),
            (1, 1, 0.4, 0.3, 0.01),
            (2, 0, 0.6, 0.6, -0.01),
            (2, 1, 0.3, 0.2, 0.02),
        ]
    )
    measured = scores(table, 0.7)
    expected = {
        "auc": 0.5,  # 1.0 on the first day, 0.0 on the second
        "auc_standard_error": 0.5,
        "accuracy": 2 / 5,
        "precision": 1 / 2,
        "recall": 1 / 3,
        "brier": (0.04 + 0.49 + 0.49 + 0.36 + 0.64) / 5,
        "log_loss": -np.log([0.8, 0.3, 0.3, 0.4, 0.2]).mean(),
        "ece": (0.2 + 0.7 + 0.7 + 0.6 + 0.8) / 5,
        "signals": 2,
        "net_return_per_signal": 0.005,
        "highest_confidence": 0.8,
    }
    assert measured == pytest.approx(expected)
    assert list(measured) == list(expected)


@pytest.mark.parametrize(
    ("rows", "undefined"),
    [
        (
            [(1, 0, 0.2, 0.3, -0.01), (1, 0, 0.3, 0.4, -0.01)],
            {"auc", "auc_standard_error", "precision", "recall", "net_return_per_signal"},
        ),
        ([(1, 1, 0.2, 0.9, 0.01), (1, 1, 0.3, 0.8, 0.01)], {"auc", "auc_standard_error"}),
        (
            [(1, 1, 0.2, 0.3, 0.01), (1, 0, 0.3, 0.4, -0.01)],
            {"auc_standard_error", "precision", "net_return_per_signal"},
        ),
    ],
)
def test_what_cannot_be_measured_is_none_and_the_rest_is_strict_json(
    rows: list[tuple[int, int, float, float, float]], undefined: set[str]
) -> None:
    measured = scores(judged_table(rows), 0.65)
    assert {name for name, value in measured.items() if value is None} == undefined
    assert to_json(measured)


def test_the_reliability_table_has_each_row_once_in_its_tenth() -> None:
    rng = np.random.default_rng(4)
    confidence = np.concatenate([rng.random(500), [0.0, 1.0, 0.1]])
    label = rng.integers(0, 2, len(confidence))
    table = judged_table([(1, int(y), p, p, 0.0) for y, p in zip(label, confidence, strict=True)])
    records = reliability(table)
    assert sum(record["rows"] for record in records) == len(table)
    assert len(records) == 10
    for tenth, record in enumerate(records):
        rows = (confidence >= tenth / 10) & ((confidence < (tenth + 1) / 10) | (tenth == 9))
        assert record["rows"] == rows.sum()
        assert record["confidence"] == pytest.approx(confidence[rows].mean())
        assert record["profitable"] == pytest.approx(label[rows].mean())
    assert to_json(records)


def test_the_judged_rows_carry_what_the_examples_said(skilled: WalkForward) -> None:
    made = examples(planted=3.0)
    columns = ["symbol", "timestamp", "settled_at", "label", "net_return"]
    pd.testing.assert_frame_equal(
        skilled.table[columns].sort_index(), made.loc[skilled.table.index.sort_values(), columns]
    )
    np.testing.assert_allclose(skilled.table["uniqueness"], uniqueness(made)[skilled.table.index])
    assert to_json(scores(skilled.judged, 0.65))


def test_boosting_is_judged_too_and_has_no_impurity() -> None:
    with threadpool_limits(1, user_api="openmp"):  # its threads spin for each other where the machine is shared
        judgement = judge(examples(sessions=11, planted=3.0, step=5), "gradient_boosting")
    assert judgement.importances["impurity"].isna().all()
    assert judgement.importances["feature"][0] == "a"
    assert scores(judgement.judged, 0.65)["auc"] > 0.9

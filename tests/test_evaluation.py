"""Judging on later days: nothing of a fold is known before it, and skill is found where it is and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from learning.classifier import calibrate
from learning.evaluation import (
    FOLD_SESSIONS,
    MIN_TRAIN_SESSIONS,
    TooFewSessions,
    WalkForward,
    one_bar_later,
    walk_forward,
)
from learning.labels import label_trades, uniqueness
from learning.scores import scores
from market.hours import sessions_between

NEEDED = MIN_TRAIN_SESSIONS + 2 * FOLD_SESSIONS  # sessions
SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 3, 6))[: NEEDED + FOLD_SESSIONS]  # three folds
FEATURES = ["a", "b", "c"]
HOLDING = 120


@pytest.fixture(autouse=True, scope="module")
def small_forests() -> Iterator[None]:
    """Fewer trees and rows than a model needs, as many as a test does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 40)
        patch.setattr("learning.importances.ROWS_A_DAY", 60)
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
        part["driftless"] = 0.5
        part["close"] = 100 + rng.normal(size=len(decided)).cumsum()
        part["settled_at"] = minutes[decided + 1 + holding] + pd.Timedelta(minutes=1)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def judge(table: pd.DataFrame, model_type: str = "random_forest", holding: int | None = None) -> WalkForward:
    *lines, result = walk_forward(table, FEATURES, model_type, holding)
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


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_a_fold_does_not_learn_from_a_trade_that_ended_before_its_time_was_over(noise: WalkForward, fold: int) -> None:
    opens, table = fold_open(noise, fold), examples()
    early = table["timestamp"].between(opens - pd.Timedelta(hours=20), opens, inclusive="neither")
    late_enough = early & (table["timestamp"] >= opens - pd.Timedelta(minutes=17 * 60 + 30 + HOLDING))
    assert late_enough.sum() >= 10  # since HOLDING minutes before the last close
    table.loc[late_enough, "settled_at"] = table["timestamp"][late_enough] + pd.Timedelta(minutes=3)  # stopped at once
    flipped = table.assign(label=table["label"].where(~late_enough, 1 - table["label"]))
    same = noise.table["fold"] == fold
    scored = [judge(each, holding=HOLDING).table["score"][same] for each in (table, flipped)]
    pd.testing.assert_series_equal(*scored)
    without = [judge(each).table["score"][same] for each in (table, flipped)]
    assert (without[0] != without[1]).any()


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
    judged = judge(examples(sessions=NEEDED + FOLD_SESSIONS - 1))
    assert judged.table["fold"].nunique() == 2
    assert judged.table["session"].nunique() == 2 * FOLD_SESSIONS
    assert judged.table["timestamp"].min() == pd.Timestamp(SESSIONS[-2 * FOLD_SESSIONS].open)


def test_too_few_sessions_say_how_many_are_needed_and_the_cure() -> None:
    with pytest.raises(TooFewSessions) as caught:
        judge(examples(sessions=NEEDED - 1))
    message = str(caught.value)
    assert message.startswith(f"Insufficient training data: examples of {NEEDED - 1} sessions, {NEEDED} are needed")
    assert "python build_dataset.py" in message
    assert judge(examples(sessions=NEEDED)).table["fold"].nunique() == 2


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
    learnt, nothing = (np.ptp(judged.calibration()(np.array([0.2, 0.8]))) for judged in (skilled, noise))
    assert learnt > 0.5 > 0.2 > nothing
    table = skilled.table
    score, label, share = (table[name].to_numpy() for name in ("score", "label", "uniqueness"))
    assert skilled.calibration() == calibrate(score, label, share, 0.5)  # the driftless share of these examples


def test_labels_of_one_class_are_judged_without_an_error() -> None:
    judged = judge(examples(sessions=11).assign(label=0.0, net_return=-0.01, driftless=0.0))
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


# --- what the rows carry --------------------------------------------------------------------------------------------


def test_the_judged_rows_carry_what_the_examples_said(skilled: WalkForward) -> None:
    made = examples(planted=3.0)
    columns = ["symbol", "timestamp", "settled_at", "label", "net_return", "close"]
    pd.testing.assert_frame_equal(
        skilled.table[columns].sort_index(), made.loc[skilled.table.index.sort_values(), columns]
    )
    np.testing.assert_allclose(skilled.table["uniqueness"], uniqueness(made)[skilled.table.index])


def test_a_row_knows_how_many_sessions_its_fold_had_learnt_from(noise: WalkForward) -> None:
    made, table = examples(), noise.table
    for fold in range(3):
        learnt = made["settled_at"] <= fold_open(noise, fold)
        days = made["timestamp"][learnt].dt.tz_convert("America/New_York").dt.date.nunique()
        assert set(table["history"][table["fold"] == fold]) == {days}
    assert table["history"].nunique() == 3


def test_entered_one_bar_later_a_trade_is_the_one_of_the_next_bar(real_bars: pd.DataFrame) -> None:
    chosen = real_bars["symbol"].isin(sorted(real_bars["symbol"].unique())[:2])
    bars = real_bars[chosen].groupby("symbol").head(4 * 390)
    bars = bars[np.random.default_rng(1).random(len(bars)) > 0.3].reset_index(drop=True)  # minutes without a trade
    trades = label_trades(bars, 0.02, 0.04, HOLDING, 0.0006)
    known = trades["label"].notna()
    expected = []
    for row in np.flatnonzero(known):
        here, following = trades.iloc[row], trades.iloc[row + 1]
        near = following["timestamp"] - here["timestamp"] <= pd.Timedelta(minutes=5)
        expected.append(following["net_return"] if near and following["symbol"] == here["symbol"] else np.nan)
    np.testing.assert_array_equal(one_bar_later(trades[known].reset_index(drop=True)), expected)
    assert 4 <= np.isnan(expected).sum() < 30  # the last minutes of each symbol's sessions, and long silences


def test_the_judged_rows_carry_what_they_would_have_earned_one_bar_later() -> None:
    made = examples(sessions=NEEDED, step=1).iloc[::2].reset_index(drop=True)
    later = judge(made).table["later_net_return"].sort_index()
    assert later.notna().mean() > 0.9
    np.testing.assert_array_equal(later, one_bar_later(made)[later.index])


def test_rows_too_far_apart_are_not_the_same_trade_one_bar_later(noise: WalkForward) -> None:
    assert noise.table["later_net_return"].isna().all()  # ten minutes lie between them


def test_boosting_is_judged_too_and_has_no_impurity() -> None:
    with threadpool_limits(1, user_api="openmp"):  # its threads spin for each other where the machine is shared
        judgement = judge(examples(sessions=11, planted=3.0, step=5), "gradient_boosting")
    assert judgement.importances["impurity"].isna().all()
    assert judgement.importances["feature"][0] == "a"
    assert scores(judgement.judged, 0.65)["auc"] > 0.9

"""Published and proven: verdicts by days, which luck shared by a day's minutes cannot buy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import SYMBOLS, entries
from scipy.stats import ttest_1samp

from learning.money import traded
from learning.verdicts import MIN_COMPARED_DAYS, Verdict, above_zero, better_or_equal, proven

DAILY = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=2, max_size=40).filter(
    lambda x: np.ptp(x) > 0.01
)


def judged_table(rng: np.random.Generator, days: int = 15, step: int = 30, drift: float = 0.0) -> pd.DataFrame:
    """Judged rows without skill: net returns share the luck of their day and of their symbol's day, confidences too.

    A trade entered one bar later earns the same.
    """
    table = entries(days, step)
    shape = (len(SYMBOLS), days, len(table) // days // len(SYMBOLS))
    luck = rng.normal(0, 0.01, (1, days, 1)) + rng.normal(0, 0.01, (len(SYMBOLS), days, 1))
    net_return = (drift + luck + rng.normal(0, 0.003, shape)).ravel()
    confidence = 0.6 + rng.normal(0, 0.1, (len(SYMBOLS), days, 1)) + rng.normal(0, 0.05, shape)
    return table.assign(
        net_return=net_return,
        later_net_return=net_return,
        label=(net_return > 0) * 1.0,
        confidence=np.clip(confidence, 0.01, 0.99).ravel(),
        history=10,
    )


def with_skill(table: pd.DataFrame, rng: np.random.Generator, skill: float) -> pd.DataFrame:
    """The same rows with confidences that follow the rank of the net return, from -1 (backwards) to 1 (an oracle)."""
    rank = table["net_return"].rank(pct=True)
    noise = rng.permutation(rank.to_numpy())
    wanted = rank if skill > 0 else 1 - rank
    mixed = pd.Series(abs(skill) * wanted + (1 - abs(skill)) * noise).rank(pct=True)
    return table.assign(confidence=0.3 + 0.5 * mixed)


# --- the test behind both -------------------------------------------------------------------------------------------


@given(DAILY)
def test_above_zero_is_the_one_sided_t_test_of_scipy(daily: list[float]) -> None:
    values = np.array(daily)
    assert above_zero(values) == (ttest_1samp(values, 0.0, alternative="greater").pvalue < 0.05)


@pytest.mark.parametrize("daily", [[], [1.0], [0.0, 0.0, 0.0], [0.5, 0.5]])
def test_no_variation_and_no_days_prove_nothing(daily: list[float]) -> None:
    assert not above_zero(np.array(daily))


# --- proven ---------------------------------------------------------------------------------------------------------


def test_noise_is_called_proven_about_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(7)
    verdicts = [proven(judged_table(rng, days=12), 0.65, 10) for _ in range(150)]
    assert sum(verdict.holds for verdict in verdicts) / len(verdicts) <= 0.07
    assert not any(verdict.reason.startswith("too few") for verdict in verdicts)


def test_daily_profit_of_noise_alone_is_refused_for_that_reason() -> None:
    verdict = proven(judged_table(np.random.default_rng(1), drift=-0.01), 0.65, 10)
    assert not verdict.holds
    assert verdict.reason.startswith("daily profit is not above 0 with 95% confidence: ")
    assert "trades on 15 later days" in verdict.reason


def test_skill_is_proven_and_says_how_much() -> None:
    rng = np.random.default_rng(3)
    table = with_skill(judged_table(rng), rng, 0.6)
    verdict = proven(table, 0.65, 10)
    assert verdict.holds
    trades = traded(table, 0.65, 10)
    assert (
        verdict.reason == f"{len(trades)} trades on 15 later days, {trades['net_return'].mean():+.2%} each after cost"
    )


def test_a_market_that_only_rises_proves_nothing() -> None:
    table = judged_table(np.random.default_rng(5), drift=0.02)
    assert above_zero(traded(table, 0.65, 10).groupby("session")["net_return"].sum().to_numpy())
    verdict = proven(table, 0.65, 10)
    assert not verdict.holds
    assert verdict.reason.startswith("no better than other entries of the same half hours with 95% confidence: ")


def test_knowing_the_hour_that_pays_is_no_skill() -> None:
    table = judged_table(np.random.default_rng(6), step=10)
    into = (table["timestamp"] - table.groupby("session")["timestamp"].transform("min")).dt.total_seconds() / 60
    table["net_return"] += np.where(into < 30, 0.03, -0.01)
    table["confidence"] = np.where(into < 30, 0.7, 0.3)
    verdict = proven(table, 0.65, 10)
    assert not verdict.holds
    assert "same half hours" in verdict.reason


def test_what_dies_one_bar_later_is_unproven() -> None:
    rng = np.random.default_rng(3)
    table = with_skill(judged_table(rng), rng, 0.6)
    earned = traded(table, 0.65, 10)["net_return"].mean()
    slower = proven(table.assign(later_net_return=table["net_return"] - earned / 2), 0.65, 10)
    assert slower.holds
    gone = proven(table.assign(later_net_return=table["net_return"] - 1.5 * earned), 0.65, 10)
    assert not gone.holds
    assert gone.reason == f"entered one bar later the same trades earn {-earned / 2:+.2%} each: {slower.reason}"
    unknown = proven(table.assign(later_net_return=np.nan), 0.65, 10)
    assert not unknown.holds
    assert unknown.reason.startswith("what the same trades earn when entered one bar later is not known: ")


def test_trades_that_have_no_later_bar_do_not_count_one_bar_later() -> None:
    rng = np.random.default_rng(3)
    table = with_skill(judged_table(rng), rng, 0.6)
    last = table["timestamp"] == table.groupby("session")["timestamp"].transform("max")
    assert proven(table.assign(later_net_return=table["net_return"].mask(last)), 0.65, 10).holds


@pytest.mark.parametrize("count", [0, 7, 19])
def test_too_few_trades_are_named_as_the_reason(count: int) -> None:
    table = judged_table(np.random.default_rng(4), days=15)
    best = table.iloc[:: len(table) // 20].index[:count]
    table["confidence"] = 0.4
    table.loc[best, "confidence"] = 0.9
    verdict = proven(table, 0.65, 10)
    assert not verdict.holds
    assert verdict.reason == f"too few signals: {count} trades on 15 later days, 20 needed"


@pytest.mark.parametrize(("days", "enough"), [(4, False), (5, True)])
def test_trades_on_too_few_days_are_named_as_the_reason(days: int, enough: bool) -> None:
    table = judged_table(np.random.default_rng(4))
    table["confidence"] = np.where(table["session"] < days, 0.9, 0.4)
    verdict = proven(table, 0.65, 10)
    assert (verdict.reason == f"signals on {days} days only, 5 needed") is not enough


def test_days_without_a_signal_count_as_zero() -> None:
    table = judged_table(np.random.default_rng(4), days=20)
    rng = np.random.default_rng(1)
    table["net_return"] = rng.normal(0, 0.001, len(table))
    bought = (table["symbol"] == "AAA") & (table["session"] < 5)
    table["confidence"] = np.where(bought, 0.9, 0.4)
    # Profit on 5 days, of which one made nearly all: five days alone are no evidence, nor are twenty with 15 zeros.
    table.loc[bought, "net_return"] = np.array([0.03, 0.011, 0.012, 0.01, 0.013])[table["session"][bought]]
    assert above_zero(np.array([0.03, 0.011, 0.012, 0.01, 0.013]))
    spread = proven(table, 0.65, 10)
    assert "on 20 later days" in spread.reason
    losing = table.copy()
    losing.loc[bought, "net_return"] = np.array([0.09, 0.002, 0.003, 0.002, 0.002])[table["session"][bought]]
    assert not proven(losing, 0.65, 10).holds


# --- published ------------------------------------------------------------------------------------------------------

Voice = Callable[[pd.DataFrame, pd.DataFrame], Verdict]


def against_live(candidate: pd.DataFrame, incumbent: pd.DataFrame) -> Verdict:
    """The model in use speaks by what it predicted live."""
    live = incumbent[["symbol", "timestamp", "confidence"]]
    return better_or_equal(candidate, live, incumbent.head(0), 0.65, 10)


def against_out_of_fold(candidate: pd.DataFrame, incumbent: pd.DataFrame) -> Verdict:
    """The model in use has predicted nothing live."""
    nothing = incumbent[["symbol", "timestamp", "confidence"]].head(0)
    return better_or_equal(candidate, nothing, incumbent, 0.65, 10)


either_voice = pytest.mark.parametrize("compare", [against_live, against_out_of_fold])


@either_voice
def test_an_equal_candidate_is_published(compare: Voice) -> None:
    table = judged_table(np.random.default_rng(1))
    verdict = compare(table, table)
    assert verdict.holds
    assert verdict.reason.startswith("not shown worse on 15 days in common: daily net return ")
    assert verdict.reason.endswith("+0.000% against the model in use")


@either_voice
@pytest.mark.parametrize(("candidate", "incumbent", "published"), [(-0.6, 0.6, False), (0.6, -0.6, True)])
def test_a_worse_candidate_is_rejected_and_a_better_one_published(
    compare: Voice, candidate: float, incumbent: float, published: bool
) -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    verdict = compare(with_skill(table, rng, candidate), with_skill(table, rng, incumbent))
    assert verdict.holds is published
    assert verdict.reason.startswith("not shown worse on 15 days" if published else "worse than the model in use on 15")
    assert ("net return +" in verdict.reason) is published


def test_a_candidate_that_lost_by_chance_is_not_rejected() -> None:
    rng = np.random.default_rng(9)
    rejected = 0
    for _ in range(60):
        table = judged_table(rng, days=10)
        rejected += not against_live(with_skill(table, rng, 1e-9), with_skill(table, rng, 1e-9)).holds
    assert rejected <= 6


def test_where_only_one_of_them_trades_money_decides_not_log_loss() -> None:
    table = judged_table(np.random.default_rng(2))
    silent = table.assign(confidence=0.5)
    # Right about the best tenth, and on the wrong side everywhere else.
    best = table["net_return"].rank(pct=True) > 0.9
    earning = table.assign(confidence=np.where(best, 0.9, np.where(table["label"] == 1, 0.2, 0.6)))
    assert not against_live(silent, earning).holds
    assert against_live(earning, silent).holds


@either_voice
def test_too_few_days_in_common_reject_nobody(compare: Voice) -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    worse, incumbent = with_skill(table, rng, -0.9), with_skill(table, rng, 0.9)
    verdict = compare(worse, incumbent[incumbent["session"] < MIN_COMPARED_DAYS - 1])
    assert verdict.holds
    few = f"the model in use has predicted {MIN_COMPARED_DAYS - 1} of these days on equal terms"
    assert verdict.reason == f"{few}, {MIN_COMPARED_DAYS} are needed to reject"
    assert not compare(worse, incumbent[incumbent["session"] < 8]).holds


@either_voice
def test_only_rows_that_both_predicted_are_compared(compare: Voice) -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    good = with_skill(table, rng, 0.6)
    # The incumbent was backwards, but only on days that the candidate did not predict.
    mixed = pd.concat([with_skill(table, rng, -0.9).query("session < 7"), good.query("session >= 7")])
    verdict = compare(good.query("session >= 7"), mixed)
    assert "on 8 days in common" in verdict.reason
    assert "0.000%" in verdict.reason


def test_days_on_which_the_model_in_use_had_learnt_from_more_sessions_do_not_count() -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    worse, incumbent = with_skill(table, rng, -0.6), with_skill(table, rng, 0.6)
    longer = incumbent.assign(history=11)
    verdict = against_out_of_fold(worse, longer)
    assert verdict.holds
    assert verdict.reason.startswith("the model in use has predicted 0 of these days on equal terms, ")
    some = longer.assign(history=longer["history"].where(longer["session"] < 9, 10))
    verdict = against_out_of_fold(worse, some)
    assert not verdict.holds
    assert verdict.reason.startswith("worse than the model in use on 6 days ")
    assert not against_out_of_fold(worse, incumbent.assign(history=3)).holds


def test_what_was_said_live_counts_whatever_it_had_learnt_from() -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    worse, incumbent = with_skill(table, rng, -0.6).assign(history=1), with_skill(table, rng, 0.6)
    assert "0 of these days on equal terms" in against_out_of_fold(worse, incumbent).reason
    assert not against_live(worse, incumbent).holds


@pytest.mark.parametrize("live_was", ["better", "worse"])
def test_on_a_day_that_was_predicted_live_the_out_of_fold_rows_are_silent(live_was: str) -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    better, worse = with_skill(table, rng, 0.6), with_skill(table, rng, -0.6)
    spoken, other = (better, worse) if live_was == "better" else (worse, better)
    # Live on every second minute only; there and between the out-of-fold rows would have said the contrary.
    live = spoken.iloc[::2][["symbol", "timestamp", "confidence"]]
    verdict = better_or_equal(table.assign(confidence=0.6), live, other, 0.65, 10)
    assert verdict.holds is (live_was == "worse")
    assert "15 days" in verdict.reason
    alone = better_or_equal(table.assign(confidence=0.6), live, other.head(0), 0.65, 10)
    assert verdict == alone


def test_days_without_a_live_prediction_are_spoken_for_by_the_out_of_fold_rows() -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    incumbent = with_skill(table, rng, 0.6)
    live = incumbent[incumbent["session"] >= 12][["symbol", "timestamp", "confidence"]]
    elsewhere = live.assign(timestamp=live["timestamp"] + pd.Timedelta(days=30))  # days that the candidate lacks
    candidate = with_skill(table, rng, -0.6)
    verdict = better_or_equal(candidate, pd.concat([live, elsewhere]), incumbent.query("session < 12"), 0.65, 10)
    assert verdict == against_live(candidate, incumbent)
    assert "on 15 days" in verdict.reason


@either_voice
@pytest.mark.parametrize("worse", [True, False])
def test_where_neither_trades_log_loss_decides(compare: Voice, worse: bool) -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    honest = table.assign(confidence=np.where(table["label"] == 1, 0.55, 0.45))
    wrong = table.assign(confidence=np.where(table["label"] == 1, 0.45, 0.55) + rng.normal(0, 0.001, len(table)))
    candidate, incumbent = (wrong, honest) if worse else (honest, wrong)
    verdict = compare(candidate, incumbent)
    assert verdict.holds is not worse
    expected = -np.log(0.45) + np.log(0.55)
    assert f"log loss {expected if worse else -expected:+.2f}" in verdict.reason
    assert "(neither trades)" in verdict.reason

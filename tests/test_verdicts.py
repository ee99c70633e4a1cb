"""Published and proven: verdicts by days, which luck shared by a day's minutes cannot buy."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from learning.verdicts import MIN_COMPARED_DAYS, above_zero, better_or_equal, proven, traded
from market.hours import sessions_between

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 3, 6))
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
DAILY = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=2, max_size=40).filter(
    lambda x: np.ptp(x) > 0.01
)


@cache
def entries(days: int, step: int) -> pd.DataFrame:
    """Every `step` minutes of each session an entry of each symbol, settled after twenty minutes."""
    rows = [
        (symbol, session.open + timedelta(minutes=minute), number)
        for symbol in SYMBOLS
        for number, session in enumerate(SESSIONS[:days])
        for minute in range(0, 360, step)
    ]
    table = pd.DataFrame(rows, columns=["symbol", "timestamp", "session"])
    return table.assign(settled_at=table["timestamp"] + pd.Timedelta(minutes=20))


def judged_table(rng: np.random.Generator, days: int = 15, step: int = 30, drift: float = 0.0) -> pd.DataFrame:
    """Judged rows without skill: net returns share the luck of their day and of their symbol's day, confidences too."""
    table = entries(days, step)
    shape = (len(SYMBOLS), days, len(table) // days // len(SYMBOLS))
    luck = rng.normal(0, 0.01, (1, days, 1)) + rng.normal(0, 0.01, (len(SYMBOLS), days, 1))
    net_return = (drift + luck + rng.normal(0, 0.003, shape)).ravel()
    confidence = 0.6 + rng.normal(0, 0.1, (len(SYMBOLS), days, 1)) + rng.normal(0, 0.05, shape)
    return table.assign(
        net_return=net_return, label=(net_return > 0) * 1.0, confidence=np.clip(confidence, 0.01, 0.99).ravel()
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


def test_excess_is_measured_against_all_entries_of_the_same_day_and_half_hour() -> None:
    table = judged_table(np.random.default_rng(2), days=2, step=15)
    trades = traded(table, 0.6, 10)
    assert len(trades) > 10
    half_hours = table["timestamp"].dt.floor("30min")  # sessions open on the half hour
    for row, trade in trades.iterrows():
        matched = table["net_return"][half_hours == half_hours[row]]
        assert len(matched) == 2 * len(SYMBOLS)
        assert trade["excess"] == pytest.approx(trade["net_return"] - matched.mean())


def test_only_trades_that_an_account_could_take_count() -> None:
    table = judged_table(np.random.default_rng(2), days=6, step=10)
    assert traded(table, 0.0, 1)["symbol"].size == 6 * 18  # every 20 minutes one trade ends and the next begins
    assert traded(table, 0.0, 4)["symbol"].size == 4 * 6 * 18
    assert traded(table, 0.7, 4)["confidence"].min() >= 0.7


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


def test_an_equal_candidate_is_published() -> None:
    table = judged_table(np.random.default_rng(1))
    verdict = better_or_equal(table, table, 0.65, 10)
    assert verdict.holds
    assert verdict.reason.startswith("not shown worse on 15 days in common: daily net return ")
    assert verdict.reason.endswith("0.000% against the model in use")


@pytest.mark.parametrize(("candidate", "incumbent", "published"), [(-0.6, 0.6, False), (0.6, -0.6, True)])
def test_a_worse_candidate_is_rejected_and_a_better_one_published(
    candidate: float, incumbent: float, published: bool
) -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    verdict = better_or_equal(with_skill(table, rng, candidate), with_skill(table, rng, incumbent), 0.65, 10)
    assert verdict.holds is published
    assert verdict.reason.startswith("not shown worse on 15 days" if published else "worse than the model in use on 15")
    assert ("net return +" in verdict.reason) is published


def test_a_candidate_that_lost_by_chance_is_not_rejected() -> None:
    rng = np.random.default_rng(9)
    rejected = 0
    for _ in range(60):
        table = judged_table(rng, days=10)
        rejected += not better_or_equal(with_skill(table, rng, 1e-9), with_skill(table, rng, 1e-9), 0.65, 10).holds
    assert rejected <= 6


def test_where_only_one_of_them_trades_money_decides_not_log_loss() -> None:
    table = judged_table(np.random.default_rng(2))
    silent = table.assign(confidence=0.5)
    # Right about the best tenth, and on the wrong side everywhere else.
    best = table["net_return"].rank(pct=True) > 0.9
    earning = table.assign(confidence=np.where(best, 0.9, np.where(table["label"] == 1, 0.2, 0.6)))
    assert not better_or_equal(silent, earning, 0.65, 10).holds
    assert better_or_equal(earning, silent, 0.65, 10).holds


def test_too_few_days_in_common_reject_nobody() -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    worse, incumbent = with_skill(table, rng, -0.9), with_skill(table, rng, 0.9)
    known = incumbent[incumbent["session"] < MIN_COMPARED_DAYS - 1]
    verdict = better_or_equal(worse, known, 0.65, 10)
    assert verdict.holds
    assert verdict.reason == "the model in use has predicted 4 of these days live, 5 are needed to reject"
    assert not better_or_equal(worse, incumbent[incumbent["session"] < 8], 0.65, 10).holds


def test_only_rows_that_both_predicted_are_compared() -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    good = with_skill(table, rng, 0.6)
    # The incumbent was backwards, but only on days that the candidate did not predict.
    mixed = pd.concat([with_skill(table, rng, -0.9).query("session < 7"), good.query("session >= 7")])
    verdict = better_or_equal(good.query("session >= 7"), mixed, 0.65, 10)
    assert "on 8 days in common" in verdict.reason
    assert "0.000%" in verdict.reason


@pytest.mark.parametrize("worse", [True, False])
def test_where_neither_trades_log_loss_decides(worse: bool) -> None:
    rng = np.random.default_rng(2)
    table = judged_table(rng)
    honest = table.assign(confidence=np.where(table["label"] == 1, 0.55, 0.45))
    wrong = table.assign(confidence=np.where(table["label"] == 1, 0.45, 0.55) + rng.normal(0, 0.001, len(table)))
    candidate, incumbent = (wrong, honest) if worse else (honest, wrong)
    verdict = better_or_equal(candidate, incumbent, 0.65, 10)
    assert verdict.holds is not worse
    expected = -np.log(0.45) + np.log(0.55)
    assert f"log loss {expected if worse else -expected:+.2f}" in verdict.reason
    assert "(neither trades)" in verdict.reason

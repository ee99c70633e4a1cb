"""Is it still the market that was learnt: ordinary days are usually green, changed ones are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from functools import cache
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t as student
from scipy.stats import ttest_ind

from durable import to_json
from learning.drift import (
    AMBER,
    MIN_DAYS,
    RATE_SD_FLOOR,
    RED,
    FeatureDrift,
    Light,
    calibration_drift,
    gaps_by_day,
    judge,
    overall,
    rates_by_day,
    reference,
    signal_rate,
)
from learning.features import FEATURES, compute_features
from market.bars import epoch_minutes
from market.hours import market_time, sessions_between
from market.simulated_feed import simulate_bars

Array = NDArray[np.float64]
Rows = tuple[Array, NDArray[np.int64]]
Change = Callable[[pd.DataFrame], pd.DataFrame]

SESSIONS = sessions_between(date(2026, 1, 22), date(2026, 3, 6))  # 31; the first is the warm-up of all but a minute
LEARNT = 21
SEEDS = range(4)
VOLATILITY = {"atr_14", "bar_range", "range_60"}
NAMES = ["a", "b", "c", "session_elapsed"]
GAPS = st.lists(st.floats(-0.4, 0.4).map(lambda x: round(x, 3)), min_size=MIN_DAYS, max_size=20).filter(
    lambda gaps: np.ptp(gaps) > 0.01
)


def as_they_are(bars: pd.DataFrame) -> pd.DataFrame:
    return bars


def doubled_volatility(bars: pd.DataFrame) -> pd.DataFrame:
    """The same bars with twice the log return."""
    first = bars.groupby("symbol")["open"].transform("first")
    return bars.assign(**{name: first * (bars[name] / first) ** 2 for name in ("open", "high", "low", "close")})


def tripled_volatility(bars: pd.DataFrame) -> pd.DataFrame:
    first = bars.groupby("symbol")["open"].transform("first")
    return bars.assign(**{name: first * (bars[name] / first) ** 3 for name in ("open", "high", "low", "close")})


def broken_volume(bars: pd.DataFrame) -> pd.DataFrame:
    """Five times the volume in every other minute, as a vendor delivered it once."""
    return bars.assign(volume=bars["volume"].where(epoch_minutes(bars["timestamp"]) % 2 == 0, bars["volume"] * 5))


CHANGES: list[Change] = [as_they_are, doubled_volatility, tripled_volatility, broken_volume]


def rows_of(bars: pd.DataFrame) -> Rows:
    """Features (n, len(FEATURES)) and session of the rows that are warmed up."""
    features = compute_features(bars)
    warm = features[FEATURES].notna().all(axis=1).to_numpy()
    return features.loc[warm, FEATURES].to_numpy(), market_time(epoch_minutes(bars["timestamp"][warm])).session


def verdicts(bars: pd.DataFrame, changes: Sequence[Change]) -> dict[Change, list[FeatureDrift]]:
    """Learn from the first sessions as they are, judge each of the others as changed."""
    features, session = rows_of(bars)
    days = np.unique(session)
    learnt = session < days[LEARNT]
    card = reference(features[learnt], session[learnt], FEATURES)
    found = {}
    for change in changes:
        today, day = (features, session) if change is as_they_are else rows_of(change(bars))
        found[change] = [judge(card, today[day == number], FEATURES) for number in days[LEARNT:]]
    return found


@cache
def simulated(seed: int) -> dict[Change, list[FeatureDrift]]:
    return verdicts(simulate_bars(SESSIONS, seed=seed, pattern_strength=0), CHANGES)


def markets(change: Change) -> list[FeatureDrift]:
    return [drift for seed in SEEDS for drift in simulated(seed)[change]]


def share(drifts: list[FeatureDrift], *lights: Light) -> float:
    return float(np.mean([drift.light in lights for drift in drifts]))


def normal_days(days: int, rows: int = 300, seed: int = 3, scale: float = 1.0) -> tuple[Array, NDArray[np.int64]]:
    """Days with a luck of their own in the features a, b, c; the time of day runs from 0 to 1 on each."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.4, (days, 1, 3)) + rng.normal(0, scale, (days, rows, 3))
    elapsed = np.broadcast_to(np.linspace(1 / rows, 1, rows)[None, :, None], (days, rows, 1))
    return np.concatenate([values, elapsed], axis=2).reshape(-1, 4), np.repeat(np.arange(days), rows)


# --- the light of all features --------------------------------------------------------------------------------------


def test_an_ordinary_day_is_usually_green_and_hardly_ever_red() -> None:
    drifts = markets(as_they_are)
    assert len(drifts) == 40
    assert share(drifts, "green") >= 0.86
    assert share(drifts, "red") <= 0.04


def test_a_changed_volatility_is_red() -> None:
    doubled, tripled = markets(doubled_volatility), markets(tripled_volatility)
    assert share(doubled, "amber", "red") >= 0.7
    assert share(doubled, "red") >= 0.4
    assert share(tripled, "red") >= 0.7  # one of these markets learnt from days that differed 2.5 times themselves
    for drift in tripled:
        assert VOLATILITY & {shift.feature for shift in drift.features[:3]}


def test_broken_volume_is_red_and_named() -> None:
    drifts = markets(broken_volume)
    assert {drift.light for drift in drifts} == {"red"}
    assert {drift.features[0].feature for drift in drifts} == {"volume_ratio_20"}
    assert "most: volume_ratio_20 (PSI " in drifts[0].words


def test_real_days_are_green_until_their_volatility_or_volume_is_changed(real_bars: pd.DataFrame) -> None:
    found = verdicts(real_bars, CHANGES)
    assert share(found[as_they_are], "green") >= 0.8
    assert share(found[doubled_volatility], "amber", "red") >= 0.5
    assert share(found[tripled_volatility], "red") >= 0.7
    assert share(found[broken_volume], "red") == 1.0


def test_a_vendors_broken_volume_is_red_and_his_good_days_are_green(real_bars: pd.DataFrame, shared_data: Path) -> None:
    """NVDA on 2026-03-12..20; read without `read_bars`, which leaves out the broken days of 03-16..19."""
    features, session = rows_of(real_bars[real_bars["symbol"] == "NVDA"].reset_index(drop=True))
    card = reference(features, session, FEATURES)
    later = pd.read_parquet(shared_data / "us_equities_1min_bad_volume.parquet").astype({"volume": float})
    today, day = rows_of(later[later["symbol"] == "NVDA"].sort_values("timestamp", ignore_index=True))
    lights = [judge(card, today[day == number], FEATURES).light for number in np.unique(day)]
    assert lights == [None, "green", "red", "red", "red", "red", "green"]  # the first day warms up


def test_the_textbook_threshold_for_independent_rows_would_cry_wolf() -> None:
    drifts = markets(as_they_are)
    assert np.mean([max(shift.psi for shift in drift.features) > 0.25 for drift in drifts]) >= 0.5
    assert share(drifts, "green") >= 0.8


def test_the_time_of_day_is_left_out() -> None:
    features, session = normal_days(20)
    card = reference(features, session, NAMES)
    assert list(card["features"]) == ["a", "b", "c"]
    today, _ = normal_days(1, seed=50)
    morning = today.copy()
    morning[:, 3] /= 3  # as if only the first third of a day had been seen
    assert judge(card, morning, NAMES) == judge(card, today, NAMES)
    half = today[: len(today) * 210 // 390]
    assert judge(card, half, NAMES).light == judge(card, today, NAMES).light == "green"


def test_the_number_of_rows_does_not_matter() -> None:
    features, session = normal_days(20)
    card = reference(features, session, NAMES)
    for seed, scale in ((50, 1.0), (51, 1.5), (52, 4.0)):
        today, _ = normal_days(1, seed=seed, scale=scale)
        assert judge(card, np.repeat(today, 2, axis=0), NAMES) == judge(card, today, NAMES)


def test_many_copies_of_a_feature_are_one_chance_of_an_alarm() -> None:
    features, session = normal_days(20)
    many, names = np.tile(features[:, :3], 6), [f"{name}{copy}" for copy in range(6) for name in "abc"]
    card, six_fold = reference(features, session, NAMES), reference(many, session, names)
    for name, value in card["joint"].items():
        assert six_fold["joint"][name] == pytest.approx(value)


def test_the_indices_are_those_of_the_definition() -> None:
    """By hand, on one feature: deciles, shares with a floor, a day against those not beside it, and the levels."""
    days = 7
    features, session = normal_days(days, rows=50)
    values = features[:, 0]
    edges = [-np.inf, *np.quantile(values, np.arange(1, 10) / 10), np.inf]

    def psi(part: Array, others: Array) -> float:
        total = 0.0
        for low, high in pairwise(edges):
            p, q = (max(float(np.mean((low <= x) & (x < high))), 0.001) for x in (part, others))
            total += (p - q) * np.log(p / q)
        return total

    daily = np.array([psi(values[session == day], values[np.abs(session - day) > 1]) for day in range(days)])
    card = reference(features[:, :1], session, ["a"])
    assert card["features"]["a"]["usual"] == pytest.approx(daily.mean())
    assert card["joint"]["days"] == pytest.approx((daily / daily.mean()).tolist())
    roots = np.cbrt(daily / daily.mean())
    for level, confidence in (("amber", AMBER), ("red", RED)):
        reach = student.ppf(confidence, 3 - 1) * roots.std(ddof=1) * np.sqrt(1 + 1 / 3)  # 7 days: 3 independent ones
        assert card["joint"][level] == pytest.approx((roots.mean() + reach) ** 3)
    today = normal_days(1, rows=50, seed=9)[0][:, :1]
    drift = judge(card, today, ["a"])
    assert drift.features[0].psi == pytest.approx(psi(today[:, 0], values))
    assert drift.joint == pytest.approx(psi(today[:, 0], values) / daily.mean())


def test_features_are_found_by_name_and_listed_most_unusual_first() -> None:
    features, session = normal_days(20)
    card = reference(features, session, NAMES)
    today, _ = normal_days(1, seed=50)
    today[:, 1] *= 8
    drift = judge(card, today, NAMES)
    assert drift.features[0].feature == "b"
    unusual = [shift.psi / shift.level for shift in drift.features]
    assert unusual == sorted(unusual, reverse=True)
    assert judge(card, today[:, [3, 1, 0, 2]], ["session_elapsed", "b", "a", "c"]) == drift
    with pytest.raises(ValueError, match="'b' is not in list"):
        judge(card, today, ["a", "x", "c", "session_elapsed"])


def test_a_feature_that_never_moved_is_no_alarm_until_it_moves() -> None:
    features, session = normal_days(20)
    features[:, 2] = 0.5
    card = reference(features, session, NAMES)
    today, _ = normal_days(1, seed=50)
    today[:, 2] = 0.5
    assert judge(card, today, NAMES).light == "green"
    today[:, 2] = 0.4
    assert judge(card, today, NAMES).light == "red"


def test_what_the_card_keeps_is_strict_json_and_judges_the_same_after_reading() -> None:
    features, session = normal_days(20)
    features[:, 2] = 0.5
    card = reference(features, session, NAMES)
    read = json.loads(to_json(card))
    assert read == card
    today, _ = normal_days(1, seed=50)
    drift = judge(card, today, NAMES)
    assert judge(read, today, NAMES) == drift
    assert json.loads(to_json(asdict(drift)))["light"] == drift.light


@pytest.mark.parametrize("days", [0, 1, MIN_DAYS - 1])
def test_too_few_days_judge_nothing_and_say_so(days: int) -> None:
    card = reference(*normal_days(days), NAMES)
    assert card["days"] == days
    drift = judge(json.loads(to_json(card)), normal_days(1)[0], NAMES)
    assert drift.light is None
    assert drift.features == ()
    assert f"{days} training days, {MIN_DAYS} are needed" in drift.words


def test_a_few_days_are_enough_for_what_is_gross() -> None:
    card = reference(*normal_days(MIN_DAYS), NAMES)
    assert judge(card, normal_days(1, seed=50)[0], NAMES).light == "green"
    assert judge(card, normal_days(1, seed=50, scale=20.0)[0], NAMES).light in ("amber", "red")


def test_days_of_a_few_rows_are_left_out_counted_and_not_judged() -> None:
    features, session = normal_days(20)
    stub = normal_days(1, rows=12, seed=8, scale=9.0)[0]
    card = reference(np.concatenate([stub, features]), np.concatenate([np.full(12, -1), session]), NAMES)
    assert (card["days"], card["short_days"]) == (20, 1)
    assert card["joint"] == reference(features, session, NAMES)["joint"]
    assert judge(card, stub, NAMES).light is None
    assert judge(card, stub, NAMES).words == "12 rows, a usual day has 300"


# --- signal rate ----------------------------------------------------------------------------------------------------


def test_days_are_counted_each_for_itself_oldest_first() -> None:
    session = np.array([7, 7, 5, 5, 5, 5])
    confidence = np.array([0.7, 0.5, 0.65, 0.1, 0.2, 0.3])
    label = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    assert rates_by_day(confidence, session, 0.65) == [0.25, 0.5]
    assert gaps_by_day(confidence, label, session) == pytest.approx([1.25 / 4 - 0.5, 0.6 - 0.5])


def test_an_ordinary_signal_rate_is_green_and_another_one_is_not() -> None:
    card = [0.02, 0.05, 0.03, 0.04, 0.02, 0.06, 0.03, 0.05, 0.04, 0.03, 0.05, 0.02, 0.03, 0.04, 0.06]
    assert signal_rate(card, 0.03).light == "green"
    assert signal_rate(card, 0.0).light in ("amber", "red")
    assert signal_rate(card, 0.15).light == "amber"
    assert signal_rate(card, 0.5).light == "red"
    assert signal_rate(card, 0.15).words.startswith(
        "15.00% of the day's predictions reach the model's threshold; on the 15 days the model was "
        "judged by 3.80% on average"
    )


def test_after_silent_days_a_few_signals_are_no_alarm_and_many_are() -> None:
    silent = [0.0] * 15
    assert [signal_rate(silent, rate).light for rate in (0.0, 0.01, 0.02, 0.05)] == ["green", "green", "amber", "red"]


@pytest.mark.parametrize("days", [9, 12, 18])
def test_days_without_drift_reach_the_levels_of_the_signal_rate_as_rarely_as_they_say(days: int) -> None:
    rng = np.random.default_rng(1)
    roots = np.clip(rng.normal(0.3, 2 * RATE_SD_FLOOR, (2000, days + 1)), 0, 1)
    lights = [signal_rate(list(rates[:-1]), rates[-1]).light for rates in np.sin(roots) ** 2]
    assert lights.count("green") >= 0.97 * 0.99 * 2000
    assert lights.count("red") <= 0.01 * 2000


def test_a_signal_rate_needs_days() -> None:
    assert signal_rate([0.1] * (MIN_DAYS - 1), 0.1).light is None
    assert signal_rate([0.1] * MIN_DAYS, 0.1).light == "green"


# --- calibration ----------------------------------------------------------------------------------------------------


@given(GAPS, GAPS)
def test_calibration_is_judged_as_by_the_two_sample_t_test_of_scipy(card: list[float], recent: list[float]) -> None:
    p = ttest_ind(card, recent).pvalue
    assert calibration_drift(card, recent).light == ("red" if p < 1 - RED else "amber" if p < 1 - AMBER else "green")


@pytest.mark.parametrize(("level", "below", "above"), [(AMBER, "green", "amber"), (RED, "amber", "red")])
def test_the_levels_of_calibration_are_where_scipy_finds_them(level: float, below: Light, above: Light) -> None:
    card, recent = np.array([-0.1, 0.2, 0.0, 0.1, -0.2, 0.05]), np.array([0.1, -0.1, 0.15, -0.15])
    shift = brentq(lambda x: ttest_ind(card, recent + x).pvalue - (1 - level), 0.05, 2.0)
    assert calibration_drift(card.tolist(), (recent + shift - 0.001).tolist()).light == below
    assert calibration_drift(card.tolist(), (recent + shift + 0.001).tolist()).light == above


def test_one_settled_day_is_judged_by_the_scatter_of_the_card() -> None:
    card = [-0.1, 0.1, 0.0, 0.1, -0.1, 0.05, -0.05, 0.0, 0.1, -0.1]
    assert calibration_drift(card, [0.15]).light == "green"
    assert calibration_drift(card, [0.3]).light == "amber"
    assert calibration_drift(card, [0.5]).light == "red"


def test_the_words_say_which_way_confidence_was_off() -> None:
    card = [0.01, -0.02, 0.0, 0.02, -0.01]
    assert calibration_drift(card, [0.21, 0.19]).words == (
        "confidence was 0.20 above the share of profitable trades on 2 settled days; on the 5 days the model was "
        "judged by it was 0.00 below"
    )
    assert "0.20 below the share" in calibration_drift(card, [-0.2]).words


def test_calibration_needs_settled_days() -> None:
    assert calibration_drift([0.1, 0.2, 0.0, 0.1, 0.2], []).light is None
    assert calibration_drift([0.1] * (MIN_DAYS - 1), [0.1]).light is None


# --- one light ------------------------------------------------------------------------------------------------------


def test_the_worst_light_speaks_for_all_and_what_cannot_be_judged_is_silent() -> None:
    for lights in permutations(("green", "amber", "red", None)):
        assert overall(*lights) == "red"
    assert overall("green", None, "amber") == "amber"
    assert overall(None, "green") == "green"
    assert overall(None, None) is None
    assert overall() is None

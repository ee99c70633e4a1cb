"""Win rates per confidence bin: what is reported, when it acts, by how much, and the order that stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from durable import to_json
from learning.win_rates import MIN_DAYS_TO_ACT, MIN_TRADES_TO_ACT, TYPICAL_MISS, WinRate, corrected, win_rates


def outcomes(*rows: tuple[float, int, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["confidence", "won", "session"])


def lived(
    seed: int,
    days: int,
    trades_a_day: float,
    *,
    too_high_by: float = 0.0,
    within_day: float = 0.15,
    uneven: float = 0.0,
    low: float = 0.5,
    high: float = 1.0,
) -> pd.DataFrame:
    """Trades whose confidence is right but for `too_high_by`, and whose luck is shared by day in each bin.

    `within_day` is the correlation of the trades of a bin and day (of a Gaussian copula), `uneven` the sd of the log of
    a day's number of trades.
    """
    rng = np.random.default_rng(seed)
    numbers = 1 + rng.poisson(trades_a_day * np.exp(rng.normal(-(uneven**2) / 2, uneven, days)) - 1)
    day = np.repeat(np.arange(days), numbers)
    confidence = rng.uniform(low, high, len(day))
    luck = rng.normal(size=(days, 20))[day, (confidence * 20).astype(int)]
    pays = norm.ppf(np.clip(confidence - too_high_by, 0.01, 0.99))
    chance = norm.cdf((pays + np.sqrt(within_day) * luck) / np.sqrt(1 - within_day))
    won = (rng.random(len(day)) < chance).astype(int)
    return pd.DataFrame({"confidence": confidence, "won": won, "session": pd.Series(day).map("day {:03d}".format)})


def even(days: int, trades_a_day: int, won_a_day: Sequence[int], confidence: float = 0.67) -> pd.DataFrame:
    """One bin whose days repeat `won_a_day`."""
    rows = [
        (confidence, int(trade < won_a_day[day % len(won_a_day)]), f"day {day}")
        for day in range(days)
        for trade in range(trades_a_day)
    ]
    return outcomes(*rows)


# --- what is reported -----------------------------------------------------------------------------------------------


def test_a_small_bin_by_hand() -> None:
    first, second = win_rates(
        outcomes((0.66, 1, "Mon"), (0.68, 0, "Mon"), (0.69, 1, "Tue"), (0.50, 0, "Mon"), (0.69, 1, "Tue"))
    )
    assert first == WinRate(
        0.5, 0.55, 1, 1, 0.5, 0.0, None, 0.0,
        "of 1 trade on 1 day with an average confidence of 0.50, 0% won: too few to tell, it takes 200 on 20 days",
    )  # fmt: skip
    assert (second.low, second.high, second.trades, second.days, second.correction) == (0.65, 0.7, 4, 2, 0.0)
    assert (second.confidence, second.won) == pytest.approx((0.68, 0.75))
    # without Tuesday the miss is -0.17, without Monday 0.31, with both 0.07; half of the squares: (2 x 0.24^2) / 2
    assert second.standard_error == pytest.approx(0.24)


def test_without_outcomes_there_is_nothing_to_report() -> None:
    assert win_rates(outcomes()) == []


@pytest.mark.parametrize(
    ("confidence", "low", "high"),
    [(0.0, 0.0, 0.05), (0.55, 0.55, 0.6), (0.6, 0.6, 0.65), (0.6499999, 0.6, 0.65), (0.95, 0.95, 1), (1.0, 0.95, 1)],
)
def test_a_bin_has_its_lower_edge_and_the_last_one_both(confidence: float, low: float, high: float) -> None:
    [rate] = win_rates(outcomes((confidence, 1, "Mon")))
    assert (rate.low, rate.high) == (low, high)


def test_every_trade_is_in_one_bin_and_every_day_is_counted_there() -> None:
    table = lived(0, days=30, trades_a_day=40, low=0.0)
    rates = win_rates(table)
    assert sum(rate.trades for rate in rates) == len(table)
    assert [rate.low for rate in rates] == [twentieth / 20 for twentieth in range(20)]
    for rate in rates:
        rows = table[(table["confidence"] >= rate.low) & (table["confidence"] < rate.high)]
        assert (rate.trades, rate.days) == (len(rows), rows["session"].nunique())
        assert (rate.confidence, rate.won) == pytest.approx((rows["confidence"].mean(), rows["won"].mean()))


@pytest.mark.parametrize("column", ["confidence", "won", "session"])
def test_an_outcome_that_lacks_something_is_refused(column: str) -> None:
    broken = outcomes((0.66, 1, "Mon"), (0.68, 0, "Mon")).astype({"won": float})
    broken.loc[1, column] = np.nan
    with pytest.raises(ValueError, match="every outcome needs"):
        win_rates(broken)


@pytest.mark.parametrize("row", [(1.2, 1, "Mon"), (-0.1, 1, "Mon"), (0.6, 2, "Mon")])
def test_an_outcome_that_cannot_be_is_refused(row: tuple[float, int, str]) -> None:
    with pytest.raises(ValueError, match="every outcome needs"):
        win_rates(outcomes(row))


def test_what_was_found_survives_strict_json() -> None:
    table = pd.concat([lived(1, days=60, trades_a_day=30, too_high_by=0.1), outcomes((0.1, 1, "day 000"))])
    rates = win_rates(table)
    assert {rate.standard_error is None for rate in rates} == {True, False}
    records = json.loads(to_json([rate.to_record() for rate in rates]))
    assert [WinRate.from_record(record) for record in records] == rates


# --- how certain it is ----------------------------------------------------------------------------------------------


def by_resampled_days(table: pd.DataFrame, seed: int = 0) -> float:
    """Standard deviation of share won less mean confidence, over tables drawn day by day with replacement."""
    days = [(day["won"] - day["confidence"]).to_numpy() for _, day in table.groupby("session")]
    rng = np.random.default_rng(seed)
    drawn = [np.concatenate([days[pick] for pick in rng.integers(len(days), size=len(days))]) for _ in range(2000)]
    return float(np.std([misses.mean() for misses in drawn]))


@pytest.mark.parametrize(("within_day", "uneven"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.5)])
def test_the_standard_error_is_that_of_resampled_days(within_day: float, uneven: float) -> None:
    table = lived(5, days=100, trades_a_day=8, within_day=within_day, uneven=uneven, low=0.65, high=0.7)
    [rate] = win_rates(table)
    assert rate.standard_error == pytest.approx(by_resampled_days(table), rel=0.06)
    by_trade = np.sqrt(rate.won * (1 - rate.won) / rate.trades)
    assert (rate.standard_error > 1.3 * by_trade) == (within_day > 0)


def test_a_day_that_holds_half_of_the_trades_does_not_vouch_for_itself() -> None:
    usual = even(20, 10, (6, 8))
    whole = pd.concat([usual, even(1, 200, (100,)).assign(session="the one")])
    [calm], [lumpy] = win_rates(usual), win_rates(whole)
    assert calm.standard_error is not None
    assert lumpy.standard_error is not None
    # without that day the share is 70% instead of 60%; seen from a mean that is half its own, it is off by half of that
    assert lumpy.standard_error == pytest.approx(0.1, abs=0.002)
    assert calm.standard_error < 0.03


def test_luck_alone_rarely_acts() -> None:
    for days, uneven in ((20, 0.0), (60, 0.7)):
        rates = [
            rate
            for seed in range(150)
            for rate in win_rates(lived(seed, days, 3000 / days, uneven=uneven))
            if rate.trades >= MIN_TRADES_TO_ACT and rate.days >= MIN_DAYS_TO_ACT
        ]
        assert len(rates) > 1400
        assert np.mean([rate.correction < 0 for rate in rates]) < 0.03
        assert min(rate.correction for rate in rates) > -0.12


# --- what acts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "trades_a_day", "acts"), [(19, 500, False), (20, 10, True), (199, 1, False), (200, 1, True)]
)
def test_below_either_limit_nothing_acts_however_bad_it_looks(days: int, trades_a_day: int, acts: bool) -> None:
    [rate] = win_rates(even(days, trades_a_day, (0,)))
    assert (rate.correction < 0) == acts
    assert ("too few to tell" in rate.words) != acts


def test_a_shortfall_by_hand() -> None:
    # by day 4 or 6 of 10 won, 0.67 promised: 0.17 short, and the days are 0.1 around their mean
    [rate] = win_rates(even(20, 10, (4, 6)))
    error = 0.1 * np.sqrt(20 / 19) / np.sqrt(20)
    assert rate.standard_error == pytest.approx(error)
    assert rate.correction == pytest.approx(-0.17 * TYPICAL_MISS**2 / (TYPICAL_MISS**2 + error**2))
    assert rate.words == (
        "of 200 trades on 20 days with an average confidence of 0.67, 50% won: fewer than promised (uncertain by 2.3 "
        "points); such confidences are lowered by 0.140"
    )


@pytest.mark.parametrize(
    ("won_a_day", "words"),
    [
        ((0, 10), "50% won: the difference may be chance (uncertain by 11.5 points)"),
        ((8, 9), "85% won: more than promised (uncertain by 1.1 points), which is not relied on"),
    ],
)
def test_what_is_within_chance_or_better_than_promised_does_not_act(won_a_day: tuple[int, int], words: str) -> None:
    [rate] = win_rates(even(20, 10, won_a_day))
    assert rate.correction == 0
    assert rate.words == f"of 200 trades on 20 days with an average confidence of 0.67, {words}"


def test_ten_points_too_confident_are_taken_off_once_it_is_clear_and_the_more_so_the_more_days() -> None:
    mean: list[float] = []
    share: list[float] = []
    for days in (15, 30, 60, 150):
        corrections = np.array(
            [win_rates(lived(seed, days, 14, too_high_by=0.1, low=0.65, high=0.7))[0].correction for seed in range(100)]
        )
        mean.append(float(corrections.mean()))
        share.append(float((corrections < 0).mean()))
    assert share[0] == 0
    assert share[1] > 0.6
    assert share[2] > 0.93
    assert mean[1:] == pytest.approx([-0.052, -0.077, -0.089], abs=0.01)


def test_a_bin_that_is_too_modest_is_never_made_bolder() -> None:
    rates = [
        rate for seed in range(20) for rate in win_rates(lived(seed, 60, 60, too_high_by=-0.1, low=0.55, high=0.85))
    ]
    assert {rate.correction for rate in rates} == {0.0}
    assert np.mean(["not relied on" in rate.words for rate in rates]) > 0.8


# --- what is left of a confidence -----------------------------------------------------------------------------------


def bins_with(**corrections: float) -> list[WinRate]:
    """Rates of the bins that begin at hundredths: bins_with(at65=-0.1)."""
    some = WinRate(0.0, 0.05, 500, 50, 0.0, 0.0, 0.01, 0.0, "")
    lows = {name: int(name.removeprefix("at")) / 100 for name in corrections}
    return [replace(some, low=lows[name], correction=correction) for name, correction in corrections.items()]


@pytest.mark.parametrize("name", ["low", "high", "confidence", "won", "correction"])
def test_a_record_without_a_number_is_no_win_rate(name: str) -> None:
    (record,) = [rate.to_record() for rate in bins_with(at65=-0.1)]
    with pytest.raises(TypeError):
        WinRate.from_record(record | {name: None})


def test_a_bin_is_corrected_and_nothing_above_it_is() -> None:
    asked = np.array([0.5, 0.649, 0.65, 0.69, 0.7, 0.9, 1.0])
    assert corrected(asked, bins_with(at65=-0.03)).tolist() == pytest.approx([0.5, 0.62, 0.62, 0.66, 0.7, 0.9, 1.0])


def test_a_bin_that_promised_too_much_caps_the_bins_below_it() -> None:
    asked = np.array([0.3, 0.58, 0.62, 0.67, 0.71, 0.74, 0.76])
    assert corrected(asked, bins_with(at70=-0.1, at65=-0.01)).tolist() == pytest.approx(
        [0.3, 0.58, 0.6, 0.6, 0.61, 0.64, 0.76]
    )


def test_without_a_correction_every_confidence_stays_exactly_as_it_is() -> None:
    asked = np.append(np.random.default_rng(0).random(1000), [0.0, 0.15, 0.35, 0.55, 1.0])
    for rates in ([], bins_with(at65=0.0, at70=0.0)):
        np.testing.assert_array_equal(corrected(asked, rates), asked)


def test_what_is_asked_stays_as_it_was_and_nobody_may_ask() -> None:
    asked = np.array([0.7, np.nan])
    corrected(asked, bins_with(at70=-0.1))
    np.testing.assert_array_equal(asked, [0.7, np.nan])
    assert corrected(np.empty(0), bins_with(at70=-0.1)).shape == (0,)


def test_an_undefined_confidence_stays_so_and_disturbs_no_other() -> None:
    answered = corrected(np.array([np.nan, 0.72, np.nan]), bins_with(at70=-0.1, at95=-0.5))
    assert np.isnan(answered).tolist() == [True, False, True]
    assert answered[1] == pytest.approx(0.45)


Corrections = dict[int, float]


def slow(confidence: float, corrections: Corrections) -> float:
    """One at a time: the least that it or any higher confidence is worth."""
    own = int(np.floor(confidence * 20 + 1e-9)) if confidence < 1 else 19
    worth = [confidence + corrections.get(own, 0.0)]
    worth += [bin_ / 20 + corrections.get(bin_, 0.0) for bin_ in range(own + 1, 20)]
    return max(0.0, min(worth))


@given(
    st.dictionaries(st.integers(0, 19), st.floats(-1, 0)),
    st.lists(st.one_of(st.floats(0, 1), st.integers(0, 40).map(lambda step: step / 40)), min_size=1, max_size=30),
)
def test_the_order_of_confidences_stays_and_none_becomes_bolder(corrections: Corrections, asked: list[float]) -> None:
    rates = bins_with(**{f"at{bin_ * 5}": correction for bin_, correction in corrections.items()})
    confidence: NDArray[np.float64] = np.sort(asked)
    answered = corrected(confidence, rates)
    assert (np.diff(answered) >= 0).all()
    assert (answered >= 0).all()
    assert (answered <= confidence).all()
    for before, after in zip(confidence, answered, strict=True):
        near_an_edge = abs(before * 20 - round(before * 20)) < 1e-6 and before * 20 != round(before * 20)
        if not near_an_edge:
            assert after == pytest.approx(slow(before, corrections))


def test_a_corrected_confidence_means_what_it_says() -> None:
    past, later = (lived(seed, 120, 80, too_high_by=0.1, low=0.6, high=0.8) for seed in (1, 2))
    honest = corrected(later["confidence"].to_numpy(), win_rates(past))
    assert later["confidence"].mean() - later["won"].mean() > 0.08
    assert honest.mean() == pytest.approx(later["won"].mean(), abs=0.03)

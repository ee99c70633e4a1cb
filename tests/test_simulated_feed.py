"""The simulated market: repeatable, shaped like real minute bars, neutral to whoever always buys, and learnable."""

from __future__ import annotations

import logging
from datetime import date

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from learning.features import WARMUP_BARS, compute_features
from learning.labels import label_trades
from learning.money import tradable
from market.bars import COLUMNS, PRICES, check_bars
from market.hours import Session, sessions_between
from market.simulated_feed import BANNER, SYMBOLS, signature_minutes, simulate_bars

SEED = 19
MONTH = sessions_between(date(2026, 1, 22), date(2026, 3, 6))  # the 31 sessions market.md was measured on
THANKSGIVING = sessions_between(date(2025, 11, 24), date(2025, 12, 2))  # 28 November closes early
EIGHT_MONTHS = [s for s in sessions_between(date(2024, 1, 2), date(2024, 9, 10)) if s.minutes == 390]
COST = 0.0006

Rows = NDArray[np.float64]  # as the rows of the bars
Cube = NDArray[np.float64]  # symbol x session x minute


def trades_of(bars: pd.DataFrame, max_holding_minutes: int) -> pd.DataFrame:
    """The trade decided on each row, before cost."""
    return label_trades(bars, 0.02, 0.04, max_holding_minutes, round_trip_cost=0.0)


def raw_returns(bars: pd.DataFrame, max_holding_minutes: int = 390) -> Rows:
    """Of the trade decided on each row, before cost; NaN where it is not made or not ended."""
    return trades_of(bars, max_holding_minutes)["net_return"].to_numpy()


def cube(bars: pd.DataFrame, name: str) -> Cube:
    return bars[name].to_numpy().reshape(len(SYMBOLS), -1, 390)


def minute_returns(bars: pd.DataFrame) -> Cube:
    """Log returns within the session; the first from the open."""
    closes, opens = np.log(cube(bars, "close")), np.log(cube(bars, "open"))
    return closes - np.concatenate([opens[:, :, :1], closes[:, :, :-1]], axis=2)


def autocorrelation(values: Cube, lag: int) -> float:
    values = values - values.mean()
    return float((values[..., lag:] * values[..., :-lag]).mean() / values.var())


def hour_after_signatures(gained: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    """Mean gain from 30 to 90 minutes after signatures that are alone: none else that day, and what began on the day
    before has ended. Arrays are day x minute."""
    hours = []
    for returns, marks in zip(gained, inside, strict=True):
        minutes = np.flatnonzero(marks)
        if len(minutes) == 20 and 170 < minutes[0] == minutes[-1] - 19 < 270:
            hours.append(returns[minutes[-1] + 30 : minutes[-1] + 90].sum())
    return float(np.mean(hours))


@pytest.fixture(scope="module")
def month() -> pd.DataFrame:
    return simulate_bars(MONTH, seed=SEED)


@pytest.fixture(scope="module")
def noise_months() -> list[pd.DataFrame]:
    return [simulate_bars(MONTH, seed=seed, pattern_strength=0.0) for seed in range(1, 5)]


@pytest.fixture(scope="module")
def with_and_without() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Eight months with the pattern, and the same noise without it."""
    return simulate_bars(EIGHT_MONTHS, seed=5), simulate_bars(EIGHT_MONTHS, seed=5, pattern_strength=0.0)


@pytest.fixture(scope="module")
def gentle() -> pd.DataFrame:
    """The same eight months, with less of a climb after the signature."""
    return simulate_bars(EIGHT_MONTHS, seed=5, climb=0.6)


@pytest.fixture(scope="module")
def signature(with_and_without: tuple[pd.DataFrame, pd.DataFrame]) -> NDArray[np.bool_]:
    """Minutes whose volume the pattern has raised."""
    planted, plain = with_and_without
    return (planted["volume"] > 2 * plain["volume"]).to_numpy()


@pytest.fixture(scope="module")
def trade_returns(with_and_without: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[Rows, Rows]:
    planted, plain = with_and_without
    return raw_returns(planted), raw_returns(plain)


# what it is


def test_the_banner_says_that_profit_here_proves_nothing() -> None:
    assert "artificial" in BANNER
    assert "always buying earns nothing" in BANNER
    assert "machinery works and nothing else" in BANNER


def test_there_are_twelve_fictional_symbols() -> None:
    assert [f"SIM{number:02}" for number in range(1, 13)] == SYMBOLS


# the table


def test_every_session_has_all_its_minutes_even_when_it_closes_early() -> None:
    bars = simulate_bars(THANKSGIVING, seed=SEED)
    for symbol in SYMBOLS:
        stamps = bars.loc[bars["symbol"] == symbol, "timestamp"].tolist()
        expected = [
            minute
            for session in THANKSGIVING
            for minute in pd.date_range(session.open, session.close, freq="min", inclusive="left")
        ]
        assert stamps == expected
    assert {session.minutes for session in THANKSGIVING} == {390, 210}


def test_the_bars_are_checked_bars_from_which_nothing_was_left_out(
    month: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        pd.testing.assert_frame_equal(check_bars(month), month)
    assert not caplog.records
    assert list(month.columns) == COLUMNS
    assert len(month) == len(SYMBOLS) * 31 * 390
    assert str(month["timestamp"].dtype) == "datetime64[us, UTC]"


def test_prices_are_whole_cents_and_volumes_whole_shares(month: pd.DataFrame) -> None:
    for name in PRICES:
        assert (month[name] == (month[name] * 100).round() / 100).all()
    assert (month["volume"] == month["volume"].round()).all()
    assert month["volume"].min() >= 1


# repeatable


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_market() -> None:
    sessions = MONTH[:3]
    pd.testing.assert_frame_equal(simulate_bars(sessions, seed=3), simulate_bars(sessions, seed=3), check_exact=True)
    other = simulate_bars(sessions, seed=4)
    assert (simulate_bars(sessions, seed=3)["close"] != other["close"]).mean() > 0.9


def test_the_global_random_state_neither_matters_nor_moves() -> None:
    np.random.seed(1)
    untouched = np.random.random()
    np.random.seed(1)
    after_one = simulate_bars(MONTH[:1], seed=SEED)
    assert np.random.random() == untouched
    np.random.seed(2)
    pd.testing.assert_frame_equal(simulate_bars(MONTH[:1], seed=SEED), after_one, check_exact=True)


@pytest.mark.parametrize("first", [1, 4, 5])
def test_more_sessions_only_extend_the_earlier_ones(first: int) -> None:
    whole = simulate_bars(THANKSGIVING, seed=SEED)
    until = pd.Timestamp(THANKSGIVING[first - 1].close)
    beginning = whole[whole["timestamp"] < until].reset_index(drop=True)
    pd.testing.assert_frame_equal(simulate_bars(THANKSGIVING[:first], seed=SEED), beginning, check_exact=True)


def test_asking_for_fewer_symbols_changes_none_of_them(month: pd.DataFrame) -> None:
    few = simulate_bars(MONTH, ["SIM11", "SIM02"], seed=SEED)
    expected = month[month["symbol"].isin(["SIM02", "SIM11"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, expected, check_exact=True)


@pytest.mark.parametrize(
    ("sessions", "symbols", "strength", "words"),
    [
        (MONTH[:1], ["SIM01", "NVDA"], 1.0, "no simulated symbol NVDA; there are SIM01 to SIM12"),
        (MONTH[:1], SYMBOLS, -0.5, "pattern_strength is -0.5"),
        (MONTH[:1], SYMBOLS, float("nan"), "pattern_strength is nan"),
        ([], SYMBOLS, 1.0, "no sessions to simulate"),
    ],
)
def test_impossible_requests_are_refused_with_the_reason(
    sessions: list[Session], symbols: list[str], strength: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        simulate_bars(sessions, symbols, pattern_strength=strength, seed=SEED)


@pytest.mark.parametrize("climb", [-0.1, float("nan")])
def test_a_climb_downwards_is_refused(climb: float) -> None:
    with pytest.raises(ValueError, match=f"climb is {climb}; give 0"):
        simulate_bars(MONTH[:1], climb=climb, seed=SEED)


# shaped like real minute bars (market.md); generous bands around the measured figures


def test_symbols_span_the_measured_volatilities_also_with_the_pattern(month: pd.DataFrame) -> None:
    sd_bp = np.std(minute_returns(month).reshape(len(SYMBOLS), -1), axis=1) * 1e4
    assert 3.0 < sd_bp.min() < 5.0  # SPY 3.9
    assert 8.5 < np.median(sd_bp) < 13.0  # 10.8
    assert 15.0 < sd_bp.max() < 25.0  # COIN 19.8


def test_symbols_share_a_market_factor(noise_months: list[pd.DataFrame]) -> None:
    for bars in noise_months:
        correlations = np.atleast_2d(np.corrcoef(minute_returns(bars).reshape(len(SYMBOLS), -1)))
        assert 0.25 < correlations[np.triu_indices(len(SYMBOLS), 1)].mean() < 0.41  # 0.33


def test_a_day_has_the_measured_shape_of_volume_and_volatility(noise_months: list[pd.DataFrame]) -> None:
    volume = np.mean(
        [cube(b, "volume") / cube(b, "volume").mean((1, 2), keepdims=True) for b in noise_months], (0, 1, 2)
    )
    moves = [np.abs(minute_returns(bars)) for bars in noise_months]
    move = np.mean([m / m.mean((1, 2), keepdims=True) for m in moves], (0, 1, 2))
    assert 8.0 < volume[0] < 11.5  # 9.6
    assert 8.5 < volume[-1] < 11.5  # 10
    assert 4.5 < move[0] < 6.7  # 5.6
    assert 0.5 < move[-1] < 1.3  # an ordinary return
    share = volume.reshape(13, 30).sum(axis=1) / 390
    measured_share = [0.177, 0.106, 0.080, 0.070, 0.059, 0.053, 0.052, 0.048, 0.048, 0.048, 0.051, 0.059, 0.148]
    np.testing.assert_allclose(share, measured_share, rtol=0.15)
    measured_move = [2.37, 1.55, 1.20, 1.00, 0.88, 0.80, 0.79, 0.76, 0.74, 0.70, 0.71, 0.71, 0.79]
    np.testing.assert_allclose(move.reshape(13, 30).mean(axis=1), measured_move, rtol=0.15)


def test_returns_have_fat_tails_and_a_slight_reversal(noise_months: list[pd.DataFrame]) -> None:
    returns = np.stack([minute_returns(bars) for bars in noise_months])
    scaled = returns / returns.std(axis=(0, 2), keepdims=True)  # per symbol and minute of the session
    scaled /= scaled.std(axis=3, keepdims=True)  # per day
    assert 1.0 < (scaled**4).mean() - 3 < 3.5  # 2.4
    assert -0.09 < autocorrelation(scaled, 1) < -0.02  # -0.05
    assert abs(autocorrelation(scaled, 5)) < 0.02


def test_days_differ_in_volatility_and_remember_the_day_before(noise_months: list[pd.DataFrame]) -> None:
    returns = np.stack([minute_returns(bars) for bars in noise_months])
    daily = (returns / returns.std(axis=(0, 2), keepdims=True)).std(axis=3)
    assert 0.18 < (daily.std(axis=2) / daily.mean(axis=2)).mean() < 0.33  # 0.25
    pooled = np.log(daily) - np.log(daily).mean(axis=(0, 2), keepdims=True)
    assert 0.35 < autocorrelation(pooled, 1) < 0.70  # 0.49


def test_nights_have_gaps(noise_months: list[pd.DataFrame]) -> None:
    for bars in noise_months:
        gaps = np.log(cube(bars, "open")[:, 1:, 0] / cube(bars, "close")[:, :-1, -1]).std(axis=1) * 100
        assert 0.3 < gaps[0] < 0.8  # SPY 0.53%
        assert 0.9 < np.median(gaps) < 2.0  # 1.6%


def test_a_bars_range_is_about_twice_its_mean_move(noise_months: list[pd.DataFrame]) -> None:
    for bars in noise_months:
        moves, ranges = np.abs(minute_returns(bars)), np.log(cube(bars, "high") / cube(bars, "low"))
        ratio = ranges.mean((1, 2)) / moves.mean((1, 2))
        assert 1.8 < np.median(ratio) < 2.05  # 1.92
        assert 0.75 < np.corrcoef(ranges.ravel(), moves.ravel())[0, 1] < 0.92  # 0.82


def test_volume_persists_and_follows_volatility(noise_months: list[pd.DataFrame]) -> None:
    log_volume = np.log(np.stack([cube(bars, "volume") for bars in noise_months]))
    log_volume -= log_volume.mean(axis=(0, 2), keepdims=True)
    moves = np.abs(np.stack([minute_returns(bars) for bars in noise_months]))
    moves /= moves.mean(axis=(0, 2), keepdims=True)
    assert 0.50 < log_volume.std() < 0.80  # 0.67
    assert 0.50 < autocorrelation(log_volume, 1) < 0.75  # 0.62
    assert 0.20 < autocorrelation(log_volume, 60) < 0.45  # 0.33
    assert 0.25 < np.corrcoef(moves.ravel(), log_volume.ravel())[0, 1] < 0.48  # 0.32


# the planted pattern


def test_a_few_minutes_in_a_hundred_carry_the_signature(signature: NDArray[np.bool_]) -> None:
    assert 0.02 < signature.mean() < 0.05


def test_strength_zero_is_the_same_noise_where_no_episode_is_near(
    with_and_without: tuple[pd.DataFrame, pd.DataFrame], signature: NDArray[np.bool_]
) -> None:
    planted, plain = with_and_without
    assert (planted["volume"] == plain["volume"])[~signature].all()
    assert np.corrcoef(minute_returns(planted).ravel(), minute_returns(plain).ravel())[0, 1] > 0.85


def test_noise_alone_drifts_nowhere(with_and_without: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    closes = cube(with_and_without[1], "close")[:, :, -1]
    daily = (closes[:, 1:] / closes[:, :-1] - 1).mean(axis=0)
    assert abs(daily.mean()) < 2 * daily.std() / np.sqrt(daily.size)


def test_always_buying_earns_nothing_with_the_pattern_or_without(trade_returns: tuple[Rows, Rows]) -> None:
    # The market's luck alone moves eight months by 10 bp. The noise being the same with the pattern and without, the
    # difference is the pattern's own; over four realisations it is known to 2 bp.
    differences = [trade_returns[0] - trade_returns[1]]
    for seed in (6, 7, 8):
        planted, plain = (simulate_bars(EIGHT_MONTHS, seed=seed, pattern_strength=strength) for strength in (1.0, 0.0))
        differences.append(raw_returns(planted) - raw_returns(plain))
    assert abs(np.nanmean(np.concatenate(differences))) < 0.0005
    assert abs(np.nanmean(trade_returns[1])) < 0.0015


def test_the_default_month_is_unremarkable(month: pd.DataFrame) -> None:
    assert abs(np.nanmean(raw_returns(month))) < 0.0005
    assert abs(np.nanmean(raw_returns(simulate_bars(MONTH, pattern_strength=0.0, seed=SEED)))) < 0.0005


def test_trades_entered_in_a_signature_mostly_win_after_cost_and_others_do_not(
    trade_returns: tuple[Rows, Rows], signature: NDArray[np.bool_]
) -> None:
    planted = trade_returns[0]
    known = ~np.isnan(planted)
    assert (planted[known & signature] > COST).mean() > 0.80
    assert planted[known & signature].mean() > 0.01
    assert 0.38 < (planted[known] > COST).mean() < 0.50


def test_every_symbol_pays_its_cost_in_a_signature(
    trade_returns: tuple[Rows, Rows], signature: NDArray[np.bool_]
) -> None:
    by_symbol = np.where(signature, trade_returns[0] - COST, np.nan).reshape(len(SYMBOLS), -1)
    assert np.nanmean(by_symbol, axis=1).min() > 0.005
    assert np.nanmean(np.where(np.isnan(by_symbol), np.nan, by_symbol > 0), axis=1).min() > 0.65


def test_without_the_pattern_the_same_minutes_look_and_earn_like_any_other(
    with_and_without: tuple[pd.DataFrame, pd.DataFrame],
    trade_returns: tuple[Rows, Rows],
    signature: NDArray[np.bool_],
) -> None:
    bars, plain = with_and_without[1], trade_returns[1]
    known = ~np.isnan(plain)
    assert abs((plain[known & signature] > COST).mean() - (plain[known] > COST).mean()) < 0.04
    assert abs(plain[known & signature].mean() - plain[known].mean()) < 0.0015
    for values in (bars["high"] / bars["low"] - 1, bars["volume"]):
        assert 0.9 < values[signature].median() / values.median() < 1.1


def test_half_the_strength_wins_less_often(trade_returns: tuple[Rows, Rows], signature: NDArray[np.bool_]) -> None:
    half = raw_returns(simulate_bars(EIGHT_MONTHS, seed=5, pattern_strength=0.5))
    full, plain = trade_returns
    wins = [np.nanmean(np.where(np.isnan(r), np.nan, r > COST)[signature]) for r in (plain, half, full)]
    assert wins[0] + 0.1 < wins[1] < wins[2] - 0.05


def test_the_signature_shows_in_the_features(
    with_and_without: tuple[pd.DataFrame, pd.DataFrame], signature: NDArray[np.bool_]
) -> None:
    features = compute_features(with_and_without[0])
    visible = features["bar_range"].notna().to_numpy()
    assert visible.sum() == len(features) - len(SYMBOLS) * (WARMUP_BARS - 1)
    quiet = (features["bar_range"] < 0.0004) & (features["volume_ratio_20"] > 0.6) & (features["rsi_14"] < 0.4)
    found = quiet.to_numpy()[visible]
    truth = signature[visible]
    assert truth[found].mean() > 0.5  # of what this rule marks, against a few in a hundred
    assert found[truth].mean() > 0.3


# the same signature with less behind it


def test_climb_leaves_the_signature_as_clear_as_it_was(
    with_and_without: tuple[pd.DataFrame, pd.DataFrame], gentle: pd.DataFrame, signature: NDArray[np.bool_]
) -> None:
    planted = with_and_without[0]
    assert (gentle["volume"] == planted["volume"]).all()
    # the fall and the stillness within it: nothing has changed but the decline of every minute, by 0.02 bp, and the
    # cent to which the price is rounded
    inside = signature.reshape(len(SYMBOLS), -1, 390)
    change = minute_returns(gentle)[inside] - minute_returns(planted)[inside]
    assert abs(change.mean()) < 1e-5
    assert np.quantile(abs(change), 0.99) < 3e-4


def test_climb_scales_the_climb_and_what_it_costs(
    with_and_without: tuple[pd.DataFrame, pd.DataFrame], signature: NDArray[np.bool_]
) -> None:
    # an hour amid a climb, less the same hour without any: 60 steps of a sixth of the symbol's minute sd
    plain = minute_returns(with_and_without[1])
    inside = signature.reshape(len(SYMBOLS), -1, 390)
    rises = {}
    for climb in (0.0, 0.5, 1.0):
        bars = simulate_bars(EIGHT_MONTHS, seed=5, climb=climb)
        gained = minute_returns(bars) - plain
        rises[climb] = np.array([hour_after_signatures(gained[row], inside[row]) for row in range(len(SYMBOLS))])
    sd = np.array([4.0, 5.3, 6.5, 9.0, 9.8, 10.6, 11.0, 11.6, 12.5, 14.0, 16.0, 20.0]) * 1e-4
    whole, half = rises[1.0] - rises[0.0], rises[0.5] - rises[0.0]
    episodes_per_minute = 0.75 / 390
    decline = episodes_per_minute * (np.expm1(sd * 17) - np.expm1(sd * -8))  # 17 = 150 / 6 - 5 x 1.6
    np.testing.assert_allclose(whole, 60 * (sd / 6 - decline), rtol=0.03)
    np.testing.assert_allclose(half, whole / 2, rtol=0.03)


def test_with_a_gentle_climb_always_buying_still_earns_nothing(
    with_and_without: tuple[pd.DataFrame, pd.DataFrame], gentle: pd.DataFrame
) -> None:
    # the noise is the same with the pattern and without
    plain = with_and_without[1]
    assert abs(np.nanmean(raw_returns(gentle, 120) - raw_returns(plain, 120))) < 0.0003


def test_with_a_gentle_climb_the_best_rule_earns_about_eight_tenths_of_a_percent_in_two_hours(
    gentle: pd.DataFrame,
) -> None:
    trades = trades_of(gentle, 120).assign(confidence=1.0)
    foretold = signature_minutes(EIGHT_MONTHS, seed=5)
    assert 0.025 < foretold.mean() < 0.035
    taken = tradable(trades[foretold & trades["net_return"].notna()], max_open_positions=len(SYMBOLS))
    assert len(taken) > 1000
    assert 0.007 < taken["net_return"].mean() - COST < 0.009

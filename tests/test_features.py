"""The two laws of the features, on real bars, and the shape of the table.

`violations` is the one check behind both laws; it is itself tested with an indicator that peeks one bar ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
import pytest
import talib

from learning import features
from learning.features import FEATURES, INDICATORS, WARMUP_BARS, SymbolBars, compute_features
from market.bars import check_bars, epoch_minutes
from market.hours import market_time, session_on, sessions_between

RELATIVE, FLOOR = 1e-6, 1e-6  # |live - history| <= RELATIVE x max(|history|, FLOOR)
ROWS = 300


def violations(history: pd.DataFrame, live: pd.DataFrame) -> list[str]:
    """The features in which rows of `live` differ from the same rows of `history` by more than the law allows."""
    names = [name for name in history.columns if name not in ("symbol", "timestamp")]
    a, b = history[names].to_numpy(), live[names].to_numpy()
    assert a.shape == b.shape
    apart = np.abs(a - b) > RELATIVE * np.maximum(np.abs(a), FLOOR)
    apart |= np.isnan(a) != np.isnan(b)
    return [name for name, bad in zip(names, apart.any(axis=0), strict=True) if bad]


@pytest.fixture(scope="module")
def history(real_bars: pd.DataFrame) -> pd.DataFrame:
    return compute_features(real_bars)


@pytest.fixture(scope="module")
def few_bars(real_bars: pd.DataFrame) -> pd.DataFrame:
    """Four sessions of three symbols."""
    some = real_bars[real_bars["symbol"].isin(["COIN", "NVDA", "SPY"])]
    return some.groupby("symbol").head(4 * 390).reset_index(drop=True)


def bars_of_one_price(last_day: date, minutes: int) -> pd.DataFrame:
    """`minutes` bars of price 100 that end with the close of `last_day`."""
    stamps = [
        stamp
        for session in sessions_between(date(2026, 11, 1), last_day)
        for stamp in pd.date_range(session.open, session.close, freq="min", inclusive="left")
    ]
    prices = dict.fromkeys(["open", "high", "low", "close"], 100.0)
    return check_bars(pd.DataFrame({"symbol": "FLAT", "timestamp": stamps[-minutes:], "volume": 100.0, **prices}))


# --- first law: no look-ahead ---------------------------------------------------------------------------------------


def violations_when_the_future_is_cut_off(bars: pd.DataFrame, cut: pd.Timestamp) -> list[str]:
    past = bars["timestamp"] < cut
    whole, cut_off = compute_features(bars), compute_features(bars[past].reset_index(drop=True))
    assert not whole[past].dropna().empty
    return violations(whole[past], cut_off)


@pytest.mark.parametrize("cut", ["2026-01-26T14:30:00Z", "2026-01-26T17:03:00Z", "2026-01-27T20:59:00Z"])
def test_cutting_off_the_future_changes_no_earlier_row(few_bars: pd.DataFrame, cut: str) -> None:
    assert violations_when_the_future_is_cut_off(few_bars, pd.Timestamp(cut)) == []


def test_scrambling_the_future_changes_no_earlier_row(few_bars: pd.DataFrame) -> None:
    cut = pd.Timestamp("2026-01-26T17:03:00Z")
    future = (few_bars["timestamp"] >= cut).to_numpy()
    numbers = ["open", "high", "low", "close", "volume"]
    scrambled = few_bars.copy()
    shuffled = few_bars.loc[future, numbers].sample(frac=1, random_state=5).to_numpy()
    scrambled.loc[future, numbers] = shuffled * [[1.3, 1.3, 1.3, 1.3, 50.0]]
    before, after = compute_features(few_bars), compute_features(scrambled)
    assert violations(before[~future], after[~future]) == []
    assert set(violations(before[future], after[future])) == set(FEATURES) - {"session_elapsed"}


def test_an_indicator_that_peeks_one_bar_ahead_is_caught(
    few_bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peek(b: SymbolBars) -> np.ndarray:
        return np.append(b.close[1:], b.close[-1]) / b.close - 1

    monkeypatch.setattr(features, "INDICATORS", INDICATORS | {"return_1": peek})
    assert violations_when_the_future_is_cut_off(few_bars, pd.Timestamp("2026-01-26T17:03:00Z")) == ["return_1"]


# --- second law: live equals history --------------------------------------------------------------------------------


def bars_so_far(bars: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """For each row, itself included: how many bars its symbol has had, and how many of them in this session."""
    session = market_time(epoch_minutes(bars["timestamp"])).session
    in_all = bars.groupby("symbol").cumcount() + 1
    return in_all.to_numpy(), (bars.groupby(["symbol", session]).cumcount() + 1).to_numpy()


def some_rows(bars: pd.DataFrame) -> list[int]:
    """ROWS random rows after the warm-up, early and late minutes of a session among them."""
    in_all, in_session = bars_so_far(bars)
    rng = np.random.default_rng(20260306)
    warm = in_all > WARMUP_BARS
    early, late = warm & (in_session <= 2), warm & (np.append(in_session[1:], 1) == 1)
    picked = [rng.choice(np.flatnonzero(rows), ROWS // 3, replace=False) for rows in (warm, early, late)]
    return sorted(np.concatenate(picked).tolist())


def last_bars_or_session_so_far(in_all: int, in_session: int) -> int:
    """Length of the window: the union of the last WARMUP_BARS bars and the session so far."""
    return max(WARMUP_BARS, in_session)


def bars_before_the_session_and_session_so_far(in_all: int, in_session: int) -> int:
    """Length of the window: WARMUP_BARS bars before the session's open, and the session so far."""
    return min(WARMUP_BARS + in_session, in_all)


def live_rows(bars: pd.DataFrame, rows: list[int], window: Callable[[int, int], int]) -> pd.DataFrame:
    """Each row computed alone, from its window of bars."""
    in_all, in_session = bars_so_far(bars)
    starts = [row + 1 - window(in_all[row], in_session[row]) for row in rows]
    return pd.concat(
        compute_features(bars.iloc[start : row + 1]).iloc[[-1]] for start, row in zip(starts, rows, strict=True)
    )


both_readings = pytest.mark.parametrize(
    "window", [last_bars_or_session_so_far, bars_before_the_session_and_session_so_far]
)


@both_readings
def test_a_row_computed_live_equals_the_row_from_the_whole_history(
    real_bars: pd.DataFrame, history: pd.DataFrame, window: Callable[[int, int], int]
) -> None:
    rows = some_rows(real_bars)
    live, expected = live_rows(real_bars, rows, window), history.iloc[rows]
    pd.testing.assert_frame_equal(live[["symbol", "timestamp"]], expected[["symbol", "timestamp"]])
    assert not expected.isna().any(axis=None)
    assert violations(expected, live) == []


@both_readings
def test_live_equals_history_for_a_thinly_traded_symbol(
    real_bars: pd.DataFrame, window: Callable[[int, int], int]
) -> None:
    thin = real_bars.sample(frac=0.3, random_state=8).sort_index().reset_index(drop=True)
    rows = some_rows(thin)
    assert violations(compute_features(thin).iloc[rows], live_rows(thin, rows, window)) == []


def test_an_indicator_with_a_longer_memory_than_the_warm_up_is_caught(
    real_bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"sma_60_deviation": lambda b: b.close / talib.EMA(b.close, 60) - 1}  # needs 500 bars, not 390
    monkeypatch.setattr(features, "INDICATORS", INDICATORS | slow)
    rows = some_rows(real_bars)[:40]
    live = live_rows(real_bars, rows, last_bars_or_session_so_far)
    assert violations(compute_features(real_bars[: rows[-1] + 1]).iloc[rows], live) == ["sma_60_deviation"]


# --- values ---------------------------------------------------------------------------------------------------------


def test_rows_are_missing_before_the_warm_up_and_complete_after_it(
    real_bars: pd.DataFrame, history: pd.DataFrame
) -> None:
    warm = real_bars.groupby("symbol").cumcount() >= WARMUP_BARS - 1
    assert history.loc[~warm, FEATURES].isna().all(axis=None)
    assert not history.loc[warm, FEATURES].isna().any(axis=None)
    assert (~warm).sum() == 12 * (WARMUP_BARS - 1)


def in_other_units(bars: pd.DataFrame, price: float, volume: float) -> pd.DataFrame:
    prices = {name: bars[name] * price for name in ("open", "high", "low", "close")}
    return bars.assign(volume=bars["volume"] * volume, **prices)


def test_no_feature_has_a_unit(few_bars: pd.DataFrame) -> None:
    plain = compute_features(few_bars)[FEATURES]
    doubled = compute_features(in_other_units(few_bars, 8, 2))[FEATURES]
    np.testing.assert_allclose(doubled, plain, rtol=1e-12, atol=1e-15)  # powers of two round nothing
    assert plain.abs().max().max() < 100


def test_no_feature_depends_on_how_prices_in_other_units_are_rounded(few_bars: pd.DataFrame) -> None:
    plain, scaled = compute_features(few_bars), compute_features(in_other_units(few_bars, 7, 3))
    np.testing.assert_allclose(scaled[FEATURES], plain[FEATURES], rtol=1e-7, atol=1e-11)


def test_other_symbols_in_the_table_do_not_matter(few_bars: pd.DataFrame) -> None:
    for symbol, alone in few_bars.groupby("symbol"):
        together = compute_features(few_bars)
        expected = together[together["symbol"] == symbol].reset_index(drop=True)
        pd.testing.assert_frame_equal(compute_features(alone.reset_index(drop=True)), expected, check_exact=True)


def test_known_features_have_the_values_of_their_definitions(few_bars: pd.DataFrame) -> None:
    bars, row = few_bars[few_bars["symbol"] == "NVDA"], 1000  # the 221st minute of the third session
    found = compute_features(few_bars)[few_bars["symbol"] == "NVDA"].iloc[row]
    close, volume = bars["close"].to_numpy(), bars["volume"].to_numpy()
    session = bars.iloc[780 : row + 1]
    typical = (session["high"] + session["low"] + session["close"]) / 3
    vwap = (typical * session["volume"]).sum() / session["volume"].sum()
    last_20 = close[row - 19 : row + 1]
    expected = {
        "vwap_deviation": close[row] / vwap - 1,
        "sma_20_deviation": close[row] / last_20.mean() - 1,
        "sma_60_deviation": close[row] / close[row - 59 : row + 1].mean() - 1,
        "sma_240_deviation": close[row] / close[row - 239 : row + 1].mean() - 1,
        "return_1": close[row] / close[row - 1] - 1,
        "return_5": close[row] / close[row - 5] - 1,
        "return_15": close[row] / close[row - 15] - 1,
        "return_60": close[row] / close[row - 60] - 1,
        "session_return": close[row] / bars["open"].iloc[780] - 1,
        "bollinger_position": (close[row] - last_20.mean()) / (2 * last_20.std()),
        "volume_ratio_20": volume[row] / volume[row - 19 : row + 1].mean(),
        "bar_range": (bars["high"].iloc[row] - bars["low"].iloc[row]) / close[row],
        "range_60": bars["high"].iloc[row - 59 : row + 1].max() / bars["low"].iloc[row - 59 : row + 1].min() - 1,
        "session_elapsed": 221 / 390,
    }
    assert found[list(expected)].to_dict() == pytest.approx(expected, rel=1e-9)
    macd = bars["close"].ewm(span=12, adjust=False).mean() - bars["close"].ewm(span=26, adjust=False).mean()
    signal = macd.ewm(span=9, adjust=False).mean()
    assert found["macd_line"] == pytest.approx(macd.iloc[row] / close[row], rel=1e-6)
    assert found["macd_signal"] == pytest.approx(signal.iloc[row] / close[row], rel=1e-6)
    assert found["macd_histogram"] == pytest.approx((macd - signal).iloc[row] / close[row], rel=1e-6)
    change = bars["close"].diff()
    gain, loss = (side.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean().iloc[row] for side in (change, -change))
    assert found["rsi_14"] == pytest.approx(gain / (gain + loss), rel=1e-6)
    before = bars["close"].shift()
    true_range = np.maximum(bars["high"], before) - np.minimum(bars["low"], before)
    atr = true_range.ewm(alpha=1 / 14, adjust=False).mean().iloc[row]
    assert found["atr_14"] == pytest.approx(atr / close[row], rel=1e-6)


def test_the_share_of_the_session_reaches_one_on_the_last_bar_of_an_early_close() -> None:
    bars = bars_of_one_price(date(2026, 11, 27), 210 + 390)
    elapsed = compute_features(bars)["session_elapsed"]
    session = session_on(date(2026, 11, 27))
    assert session is not None
    assert bars["timestamp"].iloc[-1] == pd.Timestamp("2026-11-27T17:59:00Z") == session.close - pd.Timedelta("1min")
    assert elapsed.iloc[-1] == 1.0
    assert elapsed.iloc[-210] == 1 / 210
    assert elapsed.iloc[-211] == 1.0  # 15:59 of the full session before


def test_constant_prices_give_missing_values_and_never_infinite_ones() -> None:
    found = compute_features(bars_of_one_price(date(2026, 11, 25), 3 * 390))
    assert not np.isinf(found[FEATURES].to_numpy()).any()
    assert found["bollinger_position"].isna().all()  # no band, so no place in it: such a row is never predicted
    warm = found.iloc[WARMUP_BARS:]
    assert (warm[["return_1", "vwap_deviation", "sma_60_deviation", "bar_range"]].abs().max() < 1e-9).all()


def test_an_infinite_value_becomes_a_missing_one(few_bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INDICATORS, "return_1", lambda b: (-1.0) ** np.arange(len(b.close)) / np.zeros(len(b.close)))
    found = compute_features(few_bars)
    assert found["return_1"].isna().all()
    assert found["return_5"].notna().any()


def test_minutes_without_a_bar_leave_the_session_clock_right(few_bars: pd.DataFrame) -> None:
    thin = few_bars.iloc[::3].reset_index(drop=True)
    found = compute_features(thin)
    warm = found["session_elapsed"].notna()
    opened = thin["timestamp"].dt.normalize() + pd.Timedelta("14h30min")
    into = (thin["timestamp"] - opened) / pd.Timedelta("1min")
    assert warm.sum() == 3 * (4 * 130 - WARMUP_BARS + 1)
    np.testing.assert_allclose(found.loc[warm, "session_elapsed"], (into[warm] + 1) / 390)


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_has_symbol_timestamp_and_the_features_in_order(history: pd.DataFrame) -> None:
    assert list(history.columns) == ["symbol", "timestamp", *FEATURES]
    assert (history[FEATURES].dtypes == np.float64).all()
    assert list(INDICATORS) == FEATURES
    documented = {
        "vwap_deviation", "macd_line", "macd_signal", "macd_histogram", "sma_20_deviation", "return_1", "return_15",
        "rsi_14", "bollinger_position", "atr_14", "volume_ratio_20", "bar_range", "session_elapsed",
    }  # fmt: skip
    assert documented <= set(FEATURES)


def test_the_rows_and_the_index_are_those_of_the_bars(few_bars: pd.DataFrame) -> None:
    bars = few_bars.set_axis(np.arange(len(few_bars)) * 10 + 3)
    found = compute_features(bars)
    pd.testing.assert_frame_equal(found[["symbol", "timestamp"]], bars[["symbol", "timestamp"]])
    assert found[FEATURES].to_numpy() == pytest.approx(compute_features(few_bars)[FEATURES].to_numpy(), nan_ok=True)


def test_the_bars_are_not_changed(few_bars: pd.DataFrame) -> None:
    bars = few_bars.copy(deep=True)
    found = compute_features(bars)
    found[FEATURES] = 0.0
    found["symbol"] = "X"
    pd.testing.assert_frame_equal(bars, few_bars, check_exact=True)


@pytest.mark.parametrize("rows", [0, 1, 2, 25, WARMUP_BARS - 1])
def test_too_few_bars_give_rows_without_features(few_bars: pd.DataFrame, rows: int) -> None:
    found = compute_features(few_bars[:rows])
    assert len(found) == rows
    assert list(found.columns) == ["symbol", "timestamp", *FEATURES]
    assert found[FEATURES].isna().all(axis=None)


def test_an_indicator_is_added_by_one_entry(few_bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INDICATORS, "open_to_close", lambda b: b.close / b.open - 1)
    monkeypatch.setattr(features, "FEATURES", list(INDICATORS))
    found = compute_features(few_bars)
    assert list(found.columns) == ["symbol", "timestamp", *FEATURES, "open_to_close"]
    warm = few_bars.groupby("symbol").cumcount() >= WARMUP_BARS - 1
    np.testing.assert_allclose(found.loc[warm, "open_to_close"], (few_bars["close"] / few_bars["open"] - 1)[warm])
    assert found.loc[~warm, "open_to_close"].isna().all()

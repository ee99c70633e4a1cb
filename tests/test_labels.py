"""Labels against a slow simulation of one trade at a time, on real bars, and rule by rule on bars made by hand."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.labels import driftless, label_trades
from market.bars import Bar, as_bars, check_bars
from market.hours import NEW_YORK, epoch_minute, moment, sessions_between
from market.simulated_feed import simulate_bars

STOP, TARGET, COST = 0.02, 0.04, 0.0006
RULES_120 = {"stop_loss": STOP, "take_profit": TARGET, "max_holding_minutes": 120, "round_trip_cost": COST}
LIMITS = [1, 60, 390, 1950, None]
MINUTE = pd.Timedelta(minutes=1)


class Outcome(NamedTuple):
    """How a simulated trade ended: reason, end of the exit bar, raw return less cost."""

    reason: str
    settled_at: pd.Timestamp
    net_return: float


# --- the slow simulation --------------------------------------------------------------------------------------------


@cache
def open_minutes() -> tuple[list[int], dict[int, int]]:
    """Every minute in which the market is open, in order, and the place of each in that list."""
    sessions = sessions_between(pd.Timestamp("2026-01-01").date(), pd.Timestamp("2026-12-31").date())
    minutes = [m for s in sessions for m in range(epoch_minute(s.open), epoch_minute(s.close))]
    return minutes, {minute: place for place, minute in enumerate(minutes)}


def simulate(
    bars: list[Bar], decided: int, stop_loss: float, take_profit: float, limit: int | None, cost: float
) -> Outcome | None:
    """Make the trade decided on bar `decided` of one symbol, bar by bar; None where there is none or no end yet."""
    if decided + 1 == len(bars):
        return None
    seen, entry = bars[decided], bars[decided + 1]
    if entry.minute - seen.minute > 5 or new_york_day(entry) != new_york_day(seen):
        return None
    paid = entry.open
    stop, target = paid * (1 - stop_loss), paid * (1 + take_profit)
    due = None
    if limit is not None:
        minutes, place = open_minutes()
        due = minutes[place[entry.minute] + limit]
    for bar in bars[decided + 1 :]:
        if due is not None and bar.minute >= due:
            reason, price = "time", bar.open
        elif bar.open <= stop:
            reason, price = "stop", bar.open
        elif bar.open >= target:
            reason, price = "target", bar.open
        elif bar.low <= stop:
            reason, price = "stop", stop
        elif bar.high >= target:
            reason, price = "target", target
        else:
            continue
        return Outcome(reason, pd.Timestamp(moment(bar.minute + 1)), (price - paid) / paid - cost)
    return None


def new_york_day(bar: Bar) -> object:
    return moment(bar.minute).astimezone(NEW_YORK).date()


def assert_label_is_the_trade(label: object, trade: Outcome | None) -> None:
    """`label` is one row of label_trades as a named tuple."""
    if trade is None:
        assert np.isnan(label.net_return)
        assert np.isnan(label.label)
        assert pd.isna(label.settled_at)
        assert pd.isna(label.exit_reason)
    else:
        assert (label.exit_reason, label.settled_at) == (trade.reason, trade.settled_at)
        assert label.net_return == pytest.approx(trade.net_return, rel=1e-9, abs=1e-12)
        assert label.label == float(label.net_return > 0)


def assert_labels_are_trades(
    bars: pd.DataFrame, rows: list[int], stop: float, target: float, limit: int | None, cost: float
) -> list[Outcome | None]:
    labels = label_trades(bars, stop, target, limit, cost)
    first = bars.groupby("symbol").cumcount().to_numpy()
    by_symbol = {symbol: as_bars(own) for symbol, own in bars.groupby("symbol")}
    trades = []
    for row, label in zip(rows, labels.iloc[rows].itertuples(), strict=True):
        trades.append(simulate(by_symbol[label.symbol], int(first[row]), stop, target, limit, cost))
        assert_label_is_the_trade(label, trades[-1])
    return trades


def pick(bars: pd.DataFrame, n: int) -> list[int]:
    return np.random.default_rng(7).choice(len(bars), n, replace=False).tolist()


@pytest.mark.parametrize("limit", LIMITS)
def test_a_label_is_what_a_slow_simulation_of_the_trade_earns(real_bars: pd.DataFrame, limit: int | None) -> None:
    trades = assert_labels_are_trades(real_bars, pick(real_bars, 400), STOP, TARGET, limit, COST)
    reasons = {trade.reason for trade in trades if trade}
    assert reasons == {1: {"time"}, None: {"stop", "target"}}.get(limit, {"stop", "target", "time"})


@pytest.mark.parametrize("limit", LIMITS)
def test_labels_with_narrow_levels_are_what_a_slow_simulation_earns(real_bars: pd.DataFrame, limit: int | None) -> None:
    trades = assert_labels_are_trades(real_bars, pick(real_bars, 400), 0.003, 0.002, limit, 0.0)
    assert {"stop", "target"} <= {trade.reason for trade in trades if trade}


@pytest.mark.parametrize("limit", LIMITS)
def test_labels_of_a_thin_symbol_are_what_a_slow_simulation_earns(real_bars: pd.DataFrame, limit: int | None) -> None:
    thin = real_bars.sample(frac=0.25, random_state=2).sort_index().reset_index(drop=True)
    trades = assert_labels_are_trades(thin, pick(thin, 400), STOP, TARGET, limit, COST)
    assert sum(trade is None for trade in trades) > 50  # one pause in five is longer than five minutes


ticks = st.integers(95, 105)
handfuls = st.lists(st.tuples(st.integers(1, 7), ticks, ticks, ticks, ticks), min_size=1, max_size=40)


@given(
    handfuls, st.sampled_from([1, 2, 5, 20, None]), st.sampled_from([0.01, 0.02, 0.03]), st.sampled_from([0.01, 0.03])
)
@settings(max_examples=150)
def test_labels_of_wild_coarse_bars_are_what_a_slow_simulation_earns(
    handful: list[tuple[int, ...]], limit: int | None, stop: float, target: float
) -> None:
    minutes, place = open_minutes()
    at = place[epoch_minute(pd.Timestamp("2026-11-27T12:30", tz="America/New_York"))]  # half an hour to an early close
    rows = []
    for pause, *prices in handful:
        at += pause
        rows.append(("X", pd.Timestamp(moment(minutes[at])), prices[0], max(prices), min(prices), prices[1], 1.0))
    bars = check_bars(pd.DataFrame(rows, columns=["symbol", "timestamp", "open", "high", "low", "close", "volume"]))
    assert_labels_are_trades(bars, list(range(len(bars))), stop, target, limit, COST)


@pytest.mark.parametrize(
    ("limit", "stopped", "target", "timed", "profitable"),
    [(60, 0.057, 0.009, 0.93, 0.495), (390, 0.37, 0.076, 0.55, 0.424), (1950, 0.67, 0.19, 0.14, 0.29)],
)
def test_real_bars_give_the_shares_measured_on_eighteen_symbols(
    real_bars: pd.DataFrame, limit: int, stopped: float, target: float, timed: float, profitable: float
) -> None:
    labels = label_trades(real_bars, STOP, TARGET, limit, 0.0).dropna(subset="net_return")
    share = labels["exit_reason"].value_counts(normalize=True)
    assert share["stop"] == pytest.approx(stopped, abs=0.01)
    assert share["target"] == pytest.approx(target, abs=0.005)
    assert share["time"] == pytest.approx(timed, abs=0.01)
    assert labels["label"].mean() == pytest.approx(profitable, abs=0.015)


# --- rule by rule, on bars made by hand -----------------------------------------------------------------------------


def made(*rows: tuple[str, float, float, float, float] | str) -> pd.DataFrame:
    """One symbol's bars from (New York time, open, high, low, close); a time alone is a bar that stays at 100."""
    full = [(row, 100.0, 100.0, 100.0, 100.0) if isinstance(row, str) else row for row in rows]
    frame = pd.DataFrame(full, columns=["timestamp", "open", "high", "low", "close"])
    stamps = pd.to_datetime(frame["timestamp"]).dt.tz_localize("America/New_York")
    return check_bars(frame.assign(symbol="AAPL", volume=100.0, timestamp=stamps))


def first_trade(bars: pd.DataFrame, limit: int | None = 390, cost: float = 0.0) -> tuple[str, str, float]:
    """Reason, New York time at which it is settled, and net return of the trade decided on the first bar."""
    row = label_trades(bars, STOP, TARGET, limit, cost).iloc[0]
    settled = row["settled_at"].tz_convert("America/New_York").strftime("%m-%d %H:%M")
    return row["exit_reason"], settled, round(row["net_return"], 9)


def test_the_stop_fills_at_its_level() -> None:
    bars = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 99, 99, 97, 98))
    assert first_trade(bars) == ("stop", "02-02 09:33", -0.02)


def test_the_target_fills_at_its_level() -> None:
    bars = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 101, 105, 101, 102))
    assert first_trade(bars) == ("target", "02-02 09:33", 0.04)


def test_a_touch_is_enough() -> None:
    low = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 99, 99, 98, 99))
    high = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 99, 104, 99, 99))
    assert first_trade(low)[0] == "stop"
    assert first_trade(high)[0] == "target"


def test_a_gap_through_the_stop_fills_at_the_open() -> None:
    bars = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 95, 110, 94, 109))
    assert first_trade(bars) == ("stop", "02-02 09:33", -0.05)


def test_a_gap_through_the_target_fills_at_the_open_even_where_the_low_reaches_the_stop() -> None:
    bars = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 107, 108, 90, 95))
    assert first_trade(bars) == ("target", "02-02 09:33", 0.07)


def test_where_one_bar_touches_both_levels_the_stop_wins() -> None:
    bars = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 100, 105, 97, 101))
    assert first_trade(bars) == ("stop", "02-02 09:33", -0.02)


def test_the_entry_bars_own_low_and_high_count() -> None:
    low = made("2026-02-02 09:30", ("2026-02-02 09:31", 100, 100, 97, 99), "2026-02-02 09:32")
    high = made("2026-02-02 09:30", ("2026-02-02 09:31", 100, 106, 100, 101), "2026-02-02 09:32")
    assert first_trade(low) == ("stop", "02-02 09:32", -0.02)
    assert first_trade(high) == ("target", "02-02 09:32", 0.04)


def test_the_levels_hang_on_the_entry_and_the_deciding_bar_does_not_count() -> None:
    bars = made(
        ("2026-02-02 09:30", 100, 130, 70, 100),
        ("2026-02-02 09:31", 200, 201, 199, 200),
        ("2026-02-02 09:32", 200, 200, 195, 196),
    )
    assert first_trade(bars) == ("stop", "02-02 09:33", -0.02)


def test_a_trade_that_is_due_leaves_at_the_open_before_anything_else_in_that_bar() -> None:
    for last in ((101, 110, 90, 100), (90, 91, 89, 90), (110, 111, 109, 110)):  # both touched, gap down, gap up
        bars = made("2026-02-02 09:30", "2026-02-02 09:31", "2026-02-02 09:32", ("2026-02-02 09:33", *last))
        assert first_trade(bars, limit=2) == ("time", "02-02 09:34", round(last[0] / 100 - 1, 9))


def test_the_last_bar_before_a_trade_is_due_can_still_stop_it() -> None:
    bars = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 99, 99, 97, 98), "2026-02-02 09:33")
    assert first_trade(bars, limit=2)[:2] == ("stop", "02-02 09:33")


def test_a_thin_symbol_leaves_at_its_first_bar_from_the_due_minute_on() -> None:
    bars = made(
        "2026-02-02 09:30",
        "2026-02-02 09:34",
        ("2026-02-02 09:43", 100.5, 100.5, 100.5, 100.5),
        ("2026-02-02 09:52", 101, 101, 101, 101),
    )
    assert first_trade(bars, limit=9) == ("time", "02-02 09:44", 0.005)
    assert first_trade(bars, limit=10) == ("time", "02-02 09:53", 0.01)


def test_five_minutes_of_waiting_are_a_trade_and_six_are_none() -> None:
    five = made("2026-02-02 09:30", "2026-02-02 09:35", "2026-02-02 09:36")
    six = made("2026-02-02 09:30", "2026-02-02 09:36", "2026-02-02 09:37")
    assert label_trades(five, STOP, TARGET, 1, COST)["exit_reason"].tolist()[0] == "time"
    labels = label_trades(six, STOP, TARGET, 1, COST)
    assert labels.loc[0, ["label", "net_return", "settled_at", "exit_reason"]].isna().all()
    assert len(labels) == 3


@pytest.mark.parametrize("last", ["2026-02-02 15:59", "2026-02-02 15:57", "2026-11-27 12:59", "2026-11-27 12:50"])
def test_a_sessions_last_bar_opens_no_trade(last: str) -> None:
    following = {"2026-02-02": "2026-02-03", "2026-11-27": "2026-11-30"}[last[:10]]
    bars = made(last[:10] + " 12:49", last, following + " 09:30", following + " 09:31", following + " 09:32")
    labels = label_trades(bars, STOP, TARGET, 1, COST)
    assert np.isnan(labels["net_return"].iloc[1])
    assert labels["exit_reason"].iloc[2] == "time"


def test_a_trade_is_held_over_a_weekend_which_counts_nothing() -> None:
    bars = made(
        "2026-02-06 15:58",
        "2026-02-06 15:59",
        ("2026-02-09 09:30", 101, 101, 101, 101),
        ("2026-02-09 09:31", 102, 102, 102, 102),
    )
    assert first_trade(bars, limit=1) == ("time", "02-09 09:31", 0.01)
    assert first_trade(bars, limit=2) == ("time", "02-09 09:32", 0.02)


def test_a_stop_over_the_weekend_fills_at_mondays_open() -> None:
    bars = made("2026-02-06 15:58", "2026-02-06 15:59", ("2026-02-09 09:30", 90, 91, 89, 90))
    assert first_trade(bars) == ("stop", "02-09 09:31", -0.1)


def test_an_early_close_shortens_the_day_that_is_counted() -> None:
    bars = made(
        "2026-11-27 12:57",
        "2026-11-27 12:58",
        "2026-11-27 12:59",
        ("2026-11-30 09:30", 101, 101, 101, 101),
        ("2026-11-30 09:31", 102, 102, 102, 102),
    )
    assert first_trade(bars, limit=1) == ("time", "11-27 13:00", 0.0)
    assert first_trade(bars, limit=2) == ("time", "11-30 09:31", 0.01)
    assert first_trade(bars, limit=3) == ("time", "11-30 09:32", 0.02)


def test_a_trade_whose_end_is_not_known_has_no_label() -> None:
    bars = made("2026-02-02 09:30", "2026-02-02 09:31", "2026-02-02 09:32")
    assert label_trades(bars, STOP, TARGET, 2, COST)["net_return"].isna().all()
    assert label_trades(bars, STOP, TARGET, 1, COST)["net_return"].notna().tolist() == [True, False, False]


def test_without_a_limit_a_trade_waits_for_its_stop_or_target_until_the_data_end(real_bars: pd.DataFrame) -> None:
    spy = real_bars[real_bars["symbol"] == "SPY"].reset_index(drop=True)
    labels = label_trades(spy, STOP, TARGET, None, COST)
    assert set(labels["exit_reason"].dropna()) == {"stop"}  # in this month SPY gained no 4% after losing no 2%
    longest = (labels["settled_at"] - labels["timestamp"]).max()
    assert longest > pd.Timedelta(days=20)
    open_ended = labels["net_return"].isna() & (spy["timestamp"].diff(-1) == -MINUTE)
    for row in np.flatnonzero(open_ended)[:: len(spy) // 40]:
        later = spy.iloc[row + 1 :]
        assert later["low"].min() > later["open"].iloc[0] * (1 - STOP)
        assert later["high"].max() < later["open"].iloc[0] * (1 + TARGET)
    assert open_ended.sum() > 100


# --- the numbers in a row -------------------------------------------------------------------------------------------


def test_the_cost_is_subtracted(real_bars: pd.DataFrame) -> None:
    free, costly = (label_trades(real_bars, STOP, TARGET, 60, cost)["net_return"] for cost in (0.0, 0.01))
    np.testing.assert_allclose(free - costly, np.where(free.isna(), np.nan, 0.01))


def test_a_label_is_one_only_where_something_is_earned_after_cost() -> None:
    still = made("2026-02-02 09:30", "2026-02-02 09:31", "2026-02-02 09:32")
    risen = made("2026-02-02 09:30", "2026-02-02 09:31", ("2026-02-02 09:32", 100.05, 100.05, 100.05, 100.05))
    assert label_trades(still, STOP, TARGET, 1, 0.0)["label"].tolist()[0] == 0.0
    assert label_trades(risen, STOP, TARGET, 1, 0.0)["label"].tolist()[0] == 1.0
    assert label_trades(risen, STOP, TARGET, 1, COST)["label"].tolist()[0] == 0.0


@pytest.mark.parametrize("limit", LIMITS)
def test_an_answer_is_known_at_the_end_of_a_bar_after_the_decision(real_bars: pd.DataFrame, limit: int | None) -> None:
    labels = label_trades(real_bars, STOP, TARGET, limit, COST).dropna(subset="net_return")
    assert (labels["settled_at"] > labels["timestamp"] + MINUTE).all()
    ends = set((real_bars["timestamp"] + MINUTE).unique())
    assert set(labels["settled_at"].unique()) <= ends
    assert (labels["label"] == (labels["net_return"] > 0)).all()


def test_all_four_answers_are_missing_together(real_bars: pd.DataFrame) -> None:
    missing = label_trades(real_bars, STOP, TARGET, 390, COST)[
        ["label", "net_return", "settled_at", "exit_reason"]
    ].isna()
    assert missing["label"].any()
    assert missing.eq(missing["label"], axis=0).all(axis=None)


@pytest.mark.parametrize("limit", LIMITS)
def test_cutting_off_the_future_changes_no_label_that_was_settled(real_bars: pd.DataFrame, limit: int | None) -> None:
    cut = pd.Timestamp("2026-02-13T18:00:00Z")
    past = real_bars["timestamp"] < cut
    whole = label_trades(real_bars, STOP, TARGET, limit, COST)[past].reset_index(drop=True)
    cut_off = label_trades(real_bars[past].reset_index(drop=True), STOP, TARGET, limit, COST)
    settled = whole["settled_at"] <= cut
    pd.testing.assert_frame_equal(cut_off[settled], whole[settled], check_exact=True)
    assert cut_off.loc[~settled, "net_return"].isna().all()
    assert whole.loc[~settled, "net_return"].notna().any()


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_has_the_rows_and_the_index_of_the_bars(real_bars: pd.DataFrame) -> None:
    bars = real_bars.iloc[::11]
    before = bars.copy(deep=True)
    labels = label_trades(bars, STOP, TARGET, 60, COST)
    assert list(labels.columns) == ["symbol", "timestamp", "label", "net_return", "settled_at", "exit_reason"]
    pd.testing.assert_frame_equal(labels[["symbol", "timestamp"]], bars[["symbol", "timestamp"]])
    assert labels["settled_at"].dtype == "datetime64[us, UTC]"
    labels["symbol"] = "X"
    pd.testing.assert_frame_equal(bars, before)


def test_symbols_are_labelled_each_by_itself(real_bars: pd.DataFrame) -> None:
    together = label_trades(real_bars, STOP, TARGET, 390, COST)
    for symbol in ("AVGO", "NVDA", "XLF"):
        alone = label_trades(real_bars[real_bars["symbol"] == symbol], STOP, TARGET, 390, COST)
        pd.testing.assert_frame_equal(alone, together[together["symbol"] == symbol], check_exact=True)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("limit", [60, None])
def test_a_table_too_short_for_a_trade_has_no_label(real_bars: pd.DataFrame, rows: int, limit: int | None) -> None:
    labels = label_trades(real_bars[:rows], STOP, TARGET, limit, COST)
    assert len(labels) == rows
    assert labels["net_return"].isna().all()


# --- without drift --------------------------------------------------------------------------------------------------


def test_the_driftless_share_is_the_same_in_a_market_and_in_its_mirror_image(real_bars: pd.DataFrame) -> None:
    bars = real_bars[real_bars["symbol"].isin(["NVDA", "SPY"])].reset_index(drop=True)
    turned = bars.assign(open=1 / bars["open"], high=1 / bars["low"], low=1 / bars["high"], close=1 / bars["close"])
    own, other = (label_trades(each, **RULES_120) for each in (bars, turned))
    here, there = driftless(bars, own, **RULES_120), driftless(turned, other, **RULES_120)
    np.testing.assert_array_equal(here, there)
    assert set(np.unique(here[~np.isnan(here)])) == {0.0, 0.5}  # a move and its mirror image never both pay


def test_a_rising_market_pays_more_often_than_one_without_drift_and_a_falling_one_less() -> None:
    sessions = sessions_between(date(2026, 2, 2), date(2026, 2, 20))
    calm = simulate_bars(sessions, ["SIM04", "SIM06"], seed=3, pattern_strength=0.0)
    minutes = np.tile(np.arange(len(calm) // 2), 2)
    shares = []
    for drift in (2e-5, -2e-5):
        factor = np.exp(drift * minutes)
        bars = calm.assign(**{name: calm[name] * factor for name in ("open", "high", "low", "close")})
        labels = label_trades(bars, **RULES_120)
        shares.append((labels["label"].mean(), np.nanmean(driftless(bars, labels, **RULES_120))))
    (rising, level), (falling, same_level) = shares
    assert rising > level + 0.04
    assert falling < same_level - 0.04
    assert abs(level - same_level) < 0.02


def test_without_a_holding_limit_nothing_is_known_before_the_label_is() -> None:
    bars = simulate_bars(sessions_between(date(2026, 2, 2), date(2026, 2, 6)), ["SIM12"], seed=3)
    rules = {**RULES_120, "max_holding_minutes": None}
    labels = label_trades(bars, **rules)
    np.testing.assert_array_equal(driftless(bars, labels, **rules), labels["label"].to_numpy())

"""What predictions were worth: trades that one account could have made, beside what it takes no skill to earn."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import SESSIONS, SYMBOLS, entries

from durable import to_json
from learning.money import baselines, by_day, matched_entries, money, tradable, traded

START = pd.Timestamp("2026-02-02 15:00", tz="UTC")
LIST = st.lists(
    st.tuples(st.sampled_from("ABCD"), st.integers(0, 25), st.integers(2, 12), st.integers(0, 10**9)),
    max_size=60,
    unique_by=(lambda signal: (signal[0], signal[1]), lambda signal: signal[3]),
)


def judged_table(rng: np.random.Generator, days: int = 6, step: int = 10) -> pd.DataFrame:
    """Judged rows without skill: net returns share the luck of their day."""
    table = entries(days, step)
    luck = rng.normal(0, 0.01, days)[table["session"]]
    return table.assign(
        net_return=luck + rng.normal(0, 0.005, len(table)),
        later_net_return=rng.normal(0, 0.005, len(table)),
        confidence=rng.random(len(table)),
    )


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


def test_only_trades_that_an_account_could_take_count() -> None:
    table = judged_table(np.random.default_rng(2))
    assert traded(table, 0.0, 1)["symbol"].size == 6 * 18  # every 20 minutes one trade ends and the next begins
    assert traded(table, 0.0, 4)["symbol"].size == 4 * 6 * 18
    assert 0 < len(traded(table, 0.7, 4)) < 4 * 6 * 18
    assert traded(table, 0.7, 4)["confidence"].min() >= 0.7


def test_excess_is_measured_against_all_entries_of_the_same_day_and_half_hour() -> None:
    table = judged_table(np.random.default_rng(2), days=2, step=15)
    trades = traded(table, 0.6, 10)
    assert len(trades) > 10
    half_hours = table["timestamp"].dt.floor("30min")  # sessions open on the half hour
    for row, trade in trades.iterrows():
        matched = table["net_return"][half_hours == half_hours[row]]
        assert len(matched) == 2 * len(SYMBOLS)
        assert trade["excess"] == pytest.approx(trade["net_return"] - matched.mean())
        assert matched_entries(table)[row] == pytest.approx(matched.mean())


def test_a_day_without_a_trade_counts_zero_and_what_is_not_known_adds_nothing() -> None:
    trades = pd.DataFrame({"session": [3, 1, 3], "net_return": [0.01, 0.02, -0.03], "later": [0.5, np.nan, 0.25]})
    days = np.array([1, 2, 3])
    np.testing.assert_allclose(by_day(trades, "net_return", days), [0.02, 0.0, -0.02])
    np.testing.assert_allclose(by_day(trades, "later", days), [0.0, 0.0, 0.75])
    np.testing.assert_array_equal(by_day(trades.head(0), "net_return", days), np.zeros(3))


# --- money ----------------------------------------------------------------------------------------------------------


def by_hand() -> pd.DataFrame:
    """Three days: two trades on the first (and a signal of a symbol that is held), one on the third."""
    first, second, third = (session.open for session in SESSIONS[:3])
    rows = [
        ("AAA", first, 1, 0.9, 0.03, 0.02),
        ("BBB", first + timedelta(minutes=5), 1, 0.7, -0.01, np.nan),
        ("AAA", first + timedelta(minutes=10), 1, 0.8, 0.50, 0.50),
        ("BBB", first + timedelta(minutes=40), 1, 0.1, 0.02, 0.02),
        ("AAA", second, 2, 0.5, 0.01, 0.01),
        ("BBB", third, 3, 0.65, 0.04, 0.01),
        ("AAA", third + timedelta(minutes=1), 3, 0.2, 0.00, 0.00),
    ]
    names = ["symbol", "timestamp", "session", "confidence", "net_return", "later_net_return"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(settled_at=table["timestamp"] + pd.Timedelta(minutes=20))


def test_money_of_a_small_table_is_the_one_computed_by_hand() -> None:
    measured = money(by_hand(), 0.65, 10)
    daily = [0.02, 0.0, 0.04]
    expected = {
        "trades": 3,
        "days": 3,
        "days_traded": 2,
        "net_return_per_trade": 0.02,
        "one_bar_later_per_trade": 0.015,  # of the two that have one
        "excess_per_trade": (0.03 - 0.52 / 3 + -0.01 - 0.52 / 3 + 0.04 - 0.02) / 3,
        "daily": 0.02,
        "daily_standard_error": np.std(daily, ddof=1) / np.sqrt(3),
        # 32 accounts are equally likely: two of the four entries of the first day, one of the two of the third
        "random_mean": measured["random_mean"],
        "random_low": (-0.01 + 0.02 + 0.00) / 3,
        "random_high": (0.50 + 0.50 + 0.00) / 3,
        "random_beaten": measured["random_beaten"],
    }
    assert measured == pytest.approx(expected)
    accounts = [(x + y + z) / 3 for x, y, z in product((0.03, -0.01, 0.50, 0.02), (0.03, -0.01, 0.50, 0.02), (0.04, 0))]
    assert measured["random_mean"] == pytest.approx(np.mean(accounts), abs=0.015)
    below, at_most = (np.mean(np.array(accounts) < daily_mean) for daily_mean in (0.0199, 0.0201))  # itself is one
    assert below - 0.05 < measured["random_beaten"] < at_most + 0.05
    assert to_json(measured)


def test_where_nothing_was_traded_nothing_was_earned_and_nothing_is_compared() -> None:
    measured = money(by_hand(), 0.95, 10)
    numbers = {name: value for name, value in measured.items() if value is not None}
    assert numbers == {"trades": 0, "days": 3, "days_traded": 0, "daily": 0.0, "daily_standard_error": 0.0}
    assert to_json(measured)


def test_one_day_has_no_standard_error() -> None:
    table = by_hand()
    assert money(table[table["session"] == 1], 0.65, 10)["daily_standard_error"] is None


@pytest.mark.parametrize("threshold", [0.98, 0.995])
def test_an_account_that_enters_at_random_lies_in_the_span_of_random_accounts_nine_times_of_ten(
    threshold: float,
) -> None:
    rng = np.random.default_rng(5)
    inside, beaten = [], []
    for _ in range(100):
        measured = money(judged_table(rng, days=10), threshold, 10)
        inside.append(measured["random_low"] <= measured["daily"] <= measured["random_high"])
        beaten.append(measured["random_beaten"])
    assert 0.82 <= np.mean(inside) <= 0.98
    assert 0.4 < np.mean(beaten) < 0.6


def test_random_accounts_enter_on_the_same_days_as_often() -> None:
    # Of two days one paid everybody; who traded on that day alone has shown no skill by it.
    table = judged_table(np.random.default_rng(1), days=2).assign(net_return=lambda rows: 0.01 * rows["session"])
    measured = money(table.assign(confidence=0.9 * table["session"]), 0.65, 10)
    assert measured["daily"] > 0.1
    for name in ("random_mean", "random_low", "random_high"):
        assert measured[name] == pytest.approx(measured["daily"])
    assert measured["excess_per_trade"] == pytest.approx(0.0)


# --- without skill --------------------------------------------------------------------------------------------------


def test_holding_buys_every_symbol_at_its_first_price_and_sells_at_its_last_after_cost() -> None:
    judged = pd.DataFrame(
        {
            "symbol": ["AAA", "BBB", "AAA", "BBB", "AAA"],
            "timestamp": START + pd.to_timedelta([0, 5, 60, 2000, 3000], unit="min"),
            "close": [100.0, 50.0, 500.0, 45.0, 110.0],
            "label": [1.0, 0.0, 1.0, 0.0, 0.0],
            "net_return": [0.02, -0.01, 0.03, -0.01, -0.01],
        }
    )
    for rows in (judged, judged.sample(frac=1, random_state=1)):
        measured = baselines(rows, 0.001)
        assert measured == pytest.approx(
            {
                "share_profitable": 0.4,
                "always_buy_net_return": 0.004,
                "hold_net_return": ((0.10 - 0.001) + (-0.10 - 0.001)) / 2,
            }
        )
        assert to_json(measured)

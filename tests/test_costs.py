"""What fills cost beyond the label: measured leg by leg, learnt per symbol, and taken off a confidence."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import date
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from desk.orders import Execution, Order
from desk.paper_broker import PaperBroker
from durable import to_json
from learning.costs import (
    HALF_LIFE_SESSIONS,
    IMPLAUSIBLE,
    NEIGHBOURS,
    CostAdjustment,
    LearntCost,
    learn,
    legs,
)
from market.bars import Bar, as_bars, check_bars
from market.hours import epoch_minute, market_time, sessions_between
from market.simulated_feed import simulate_bars

COST, HALF = 0.0006, 0.0003
SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 5))
TODAY = 5000  # a session's index


# --- trades of the paper account ------------------------------------------------------------------------------------


@cache
def simulated() -> pd.DataFrame:
    return simulate_bars(SESSIONS, seed=4)


def traded(bars: pd.DataFrame, cost: float) -> pd.DataFrame:
    """Trades of a paper account that enters at random, with narrow levels, and sells at the open for two reasons."""
    rng = np.random.default_rng(1)
    broker = PaperBroker(None, 1e7, cost, save_each_change=False)
    minutes: dict[int, list[Bar]] = {}
    for bar in as_bars(bars):
        minutes.setdefault(bar.minute, []).append(bar)
    for minute, now in sorted(minutes.items()):
        held = broker.positions()
        for number, bar in enumerate(now):
            name = f"{bar.symbol}-{minute}"
            if bar.symbol not in held and rng.random() < 0.05:
                broker.submit(Order(name, bar.symbol, "BUY", 1, bar.open, minute, minute + 5, 0.004, 0.003))
            elif bar.symbol in held and rng.random() < 0.02:
                reason = ("time", "rebalance")[number % 2]
                broker.submit(Order(name, bar.symbol, "SELL", 1, bar.open, minute, reason=reason))
        broker.settle(minute + 1, now)
    return as_trades([e for e in broker.recent_executions() if e.kind == "fill"])


def as_trades(fills: Sequence[Execution]) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    live: dict[str, dict[str, object]] = {}
    for fill in fills:
        if fill.side == "BUY":
            live[fill.symbol] = {
                "symbol": fill.symbol,
                "entry_minute": fill.minute,
                "entry_price": fill.price,
                "exit_minute": np.nan,
                "exit_price": np.nan,
                "exit_reason": None,
                "stop_level": fill.stop_level,
                "target_level": fill.target_level,
            }
            rows.append(live[fill.symbol])
        else:
            live.pop(fill.symbol).update(exit_minute=fill.minute, exit_price=fill.price, exit_reason=fill.reason)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("market", ["simulated", "real"])
def test_a_fill_of_the_paper_account_costs_what_the_label_assumes(market: str, request: pytest.FixtureRequest) -> None:
    bars = simulated() if market == "simulated" else request.getfixturevalue("real_bars")
    bars = bars[bars["timestamp"] <= bars["timestamp"].min() + pd.Timedelta(days=8)]
    trades = traded(bars, COST)
    measured = legs(trades, bars, COST)
    closed = trades.dropna()
    assert len(measured) == len(trades) + len(closed) > 500
    price = np.concatenate([trades["entry_price"], closed["exit_price"]])
    assert (measured["extra_cost"].abs() <= 0.00005 / price * 1.001).all()  # fills are rounded to 4 digits of a dollar

    opens = bars.assign(exit_minute=bars["timestamp"].astype("int64") // 60_000_000)[["symbol", "exit_minute", "open"]]
    closed = closed.merge(opens, on=["symbol", "exit_minute"])
    at_open = np.isclose(closed["exit_price"], closed["open"] * (1 - HALF), rtol=0, atol=0.0001)
    in_entry_bar = closed["exit_minute"] == closed["entry_minute"]
    for reason in ("stop", "target"):
        of_it = closed["exit_reason"] == reason
        assert (of_it & at_open & ~in_entry_bar).any(), f"no gap through the {reason}"
        assert (of_it & ~at_open).any(), f"no {reason} at its level"
    assert {"time", "rebalance"} <= set(closed["exit_reason"])
    assert in_entry_bar.any()


def test_fills_that_are_worse_than_the_label_assumes_show_by_how_much() -> None:
    measured = legs(traded(simulated(), COST + 0.03), simulated(), COST)
    assert set(measured["side"]) == {"BUY", "SELL"}
    assert np.allclose(measured["extra_cost"], 0.015, atol=1e-5)


# --- leg by leg, on bars made by hand -------------------------------------------------------------------------------


OPEN = epoch_minute(SESSIONS[0].open)


def made(*opens: float, symbol: str = "AAA", first: int = OPEN) -> pd.DataFrame:
    """A bar a minute from `first` on."""
    stamps = pd.to_datetime([(first + number) * 60 for number in range(len(opens))], unit="s", utc=True)
    frame = pd.DataFrame({"symbol": symbol, "timestamp": stamps, "volume": 1.0})
    return check_bars(frame.assign(**dict.fromkeys(("open", "high", "low", "close"), opens)))


def one_trade(**changes: object) -> pd.DataFrame:
    """Bought at the open of the first bar, 100, and sold "time" two minutes later at an open of 101."""
    plain = {
        "symbol": "AAA",
        "entry_minute": OPEN,
        "entry_price": 100 * (1 + HALF),
        "exit_minute": float(OPEN + 2),
        "exit_price": 101 * (1 - HALF),
        "exit_reason": "time",
        "stop_level": 98.0,
        "target_level": 104.0,
    }
    return pd.DataFrame([plain | changes])


BARS = made(100.0, 100.5, 101.0)


def extra_costs(trades: pd.DataFrame, bars: pd.DataFrame = BARS) -> list[float]:
    return [round(cost, 9) for cost in legs(trades, bars, COST)["extra_cost"]]


def test_a_leg_is_a_row_with_its_own_session() -> None:
    bars = pd.concat([BARS, made(99.0, first=epoch_minute(SESSIONS[1].open))])
    trades = one_trade(exit_minute=epoch_minute(SESSIONS[1].open), exit_price=99 * (1 - HALF) * 0.99)
    measured = legs(trades, bars, COST)
    first = int(market_time(np.array([OPEN])).session[0])
    assert list(measured.columns) == ["symbol", "session", "side", "extra_cost"]
    assert measured[["symbol", "session", "side"]].to_numpy().tolist() == [
        ["AAA", first, "BUY"],
        ["AAA", first + 1, "SELL"],
    ]
    assert measured["extra_cost"].tolist() == pytest.approx([0.0, 0.01])


@pytest.mark.parametrize(
    ("reason", "opens", "assumed"),
    [
        ("time", 99.0, 99.0),
        ("rebalance", 97.0, 97.0),
        ("unprotected", 105.0, 105.0),
        ("stop", 99.0, 98.0),
        ("stop", 97.0, 97.0),
        ("stop", 98.0, 98.0),
        ("target", 103.0, 104.0),
        ("target", 106.0, 106.0),
    ],
)
def test_a_sale_is_compared_with_the_price_its_label_has(reason: str, opens: float, assumed: float) -> None:
    sold = one_trade(exit_reason=reason, exit_price=assumed * (1 - HALF) * (1 - 0.002))
    assert extra_costs(sold, made(100.0, 100.0, opens)) == [0.0, 0.002]


@pytest.mark.parametrize(("reason", "level"), [("stop", 101.0), ("target", 99.0)])
def test_the_entry_bar_does_not_gap_through_a_level(reason: str, level: float) -> None:
    sold = one_trade(
        exit_minute=OPEN, exit_reason=reason, stop_level=level, target_level=level, exit_price=level * (1 - HALF)
    )
    assert extra_costs(sold) == [0.0, 0.0]


def test_a_better_fill_is_a_negative_cost_on_both_sides() -> None:
    better = one_trade(entry_price=100 * (1 + HALF) * 0.999, exit_price=101 * (1 - HALF) * 1.001)
    assert extra_costs(better) == [-0.001, -0.001]


def test_an_open_trade_has_one_leg_and_a_sale_by_hand_is_none() -> None:
    still_open = one_trade(exit_minute=np.nan, exit_price=np.nan, exit_reason=None)
    by_hand = one_trade(exit_reason="by hand", exit_price=90.0)
    for trades in (still_open, by_hand):
        assert legs(trades, BARS, COST)["side"].tolist() == ["BUY"]


def test_a_leg_without_its_bar_is_not_measured_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = made(100.0, 100.0, 100.0, symbol="BBB")
    with caplog.at_level(logging.WARNING):
        measured = legs(one_trade(), pd.concat([BARS.head(1), elsewhere]), COST)
    assert measured["extra_cost"].isna().tolist() == [False, True]
    assert "cost not measured for 1 of 2 fills (AAA): no bar, price or level" in caplog.text


def test_after_a_split_the_bars_have_another_unit_and_no_leg_is_measured(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        measured = legs(one_trade(), made(80.0, 80.4, 80.8), COST)  # 5 for 4
    assert measured["extra_cost"].isna().all()
    assert f"cost not measured for 2 of 2 fills (AAA): over {IMPLAUSIBLE:.0%} from the bar" in caplog.text


def test_nothing_is_said_where_everything_is_measured(caplog: pytest.LogCaptureFixture) -> None:
    legs(one_trade(), BARS, COST)
    assert caplog.text == ""


def test_without_trades_there_are_no_legs_and_nothing_is_learnt() -> None:
    none = legs(one_trade().head(0), BARS, COST)
    assert list(none.columns) == ["symbol", "session", "side", "extra_cost"]
    assert len(none) == 0
    assert learn(none, TODAY) == []


# --- what is learnt -------------------------------------------------------------------------------------------------


def of(symbol: str, *costs: float, ago: float = 0) -> pd.DataFrame:
    return pd.DataFrame({"symbol": symbol, "session": TODAY - ago, "side": "BUY", "extra_cost": list(costs)})


def learnt(*tables: pd.DataFrame, session: int = TODAY) -> dict[str, LearntCost]:
    return {cost.symbol: cost for cost in learn(pd.concat(tables, ignore_index=True), session)}


def ordinary(sd: float = 0.0005, symbols: int = 9, fills: int = 6, seed: int = 0) -> pd.DataFrame:
    """Fills around what the label assumes."""
    rng = np.random.default_rng(seed)
    return pd.concat([of(f"S{number}", *rng.normal(0, sd, fills)) for number in range(symbols)])


def test_four_equal_legs_by_hand() -> None:
    cost = learnt(of("AAA", 0.01, 0.01, 0.01, 0.01))["AAA"]
    assert (cost.legs, cost.mean) == pytest.approx((4.0, 0.01))
    assert cost.standard_error == pytest.approx(0.0005 / 2)  # the least spread, and four legs
    assert cost.extra_cost == pytest.approx(2 * 0.01 * 4 / 7)
    assert cost.words == (
        "4 fills (with age they count as 4.0), each 1.000% worse than assumed (uncertain by 0.025%): a round trip "
        "counts 1.14% more"
    )


OTHER = of("BBB", 0.0, 0.0001, -0.0001)


def test_unequal_legs_of_two_days_by_hand() -> None:
    cost = learnt(of("AAA", 0.010, ago=HALF_LIFE_SESSIONS), of("AAA", 0.004), OTHER)["AAA"]
    assert cost.legs == pytest.approx(1.5)
    assert cost.mean == pytest.approx((0.5 * 0.010 + 0.004) / 1.5)
    scatter, freedom = 0.5 * 0.004**2 + 0.002**2, 1.5 - 1.25 / 1.5
    within = (scatter + 2 * 0.0001**2) / (freedom + 2)
    assert cost.standard_error == pytest.approx(np.sqrt((scatter + 4 * within) / (freedom + 4) / 1.5))
    assert cost.extra_cost == pytest.approx(2 * 0.006 * 1.5 / 4.5)


@pytest.mark.parametrize(("trades", "acting"), [(1, 0.006), (2, 0.0085), (3, 0.0099), (6, 0.0119)])
def test_a_round_trip_of_one_and_a_half_percent_is_believed_trade_by_trade(trades: int, acting: float) -> None:
    cost = learnt(ordinary(), of("AAA", *[0.0075] * 2 * trades))["AAA"]
    assert cost.extra_cost == pytest.approx(acting, abs=0.0002)


def test_an_entry_alone_teaches_already() -> None:
    assert learnt(ordinary(), of("AAA", 0.0075))["AAA"].extra_cost > 0.003


def test_costly_symbols_make_the_others_no_dearer() -> None:
    fair = [of(f"S{number}", 0.0006, -0.0005, 0.0004, -0.0003) for number in range(9)]
    costs = learnt(*fair, *(of(name, *[0.0075] * 4) for name in ("AAA", "BBB", "CCC")))
    assert {symbol for symbol, cost in costs.items() if cost.extra_cost > 0} == {"AAA", "BBB", "CCC"}
    assert costs["S0"].mean == pytest.approx(0.00005)


def test_two_legs_that_agree_stand_on_the_spread_of_the_others() -> None:
    alone = learnt(of("AAA", 0.002, 0.002))["AAA"]
    among_calm = learnt(ordinary(sd=0.0003), of("AAA", 0.002, 0.002))["AAA"]
    among_wild = learnt(ordinary(sd=0.004), of("AAA", 0.002, 0.002))["AAA"]
    assert alone.standard_error == among_calm.standard_error == pytest.approx(0.0005 / np.sqrt(2))
    assert among_wild.standard_error > 0.001
    assert alone.extra_cost > 0
    assert among_wild.extra_cost == 0
    assert among_wild.words.endswith("worse than assumed (uncertain by 0.209%): which may be chance")


def test_a_symbol_whose_fills_are_known_has_an_error_of_its_own() -> None:
    costs = learnt(ordinary(sd=0.004), of("CALM", *np.random.default_rng(3).normal(0, 0.0003, 40)))
    assert 2 * costs["CALM"].standard_error * np.sqrt(40) < costs["S0"].standard_error * np.sqrt(6)


def test_the_plain_paper_account_teaches_no_cost() -> None:
    measured = legs(traded(simulated(), COST), simulated(), COST)
    today = int(measured["session"].max())
    for now in (today, today + 5, today + 60):
        assert [cost.extra_cost for cost in learn(measured, now)] == [0.0] * 12


def test_what_rounding_leaves_of_many_fills_never_acts() -> None:
    found = [cost for seed in range(30) for cost in learn(ordinary(1e-6, fills=40, seed=seed), TODAY)]
    assert max(cost.mean for cost in found) > 2 * 1e-6 / np.sqrt(40)
    assert {cost.extra_cost for cost in found} == {0.0}


@pytest.mark.parametrize("sd", [0.0003, 0.0005, 0.003])
def test_ordinary_fills_rarely_act(sd: float) -> None:
    found = [cost.extra_cost for seed in range(60) for cost in learn(ordinary(sd, fills=4, seed=seed), TODAY)]
    assert np.mean(np.array(found) > 0) < 0.05  # Student's t beyond 2, of some 7 degrees of freedom
    assert max(found) < 4 * sd


def test_better_fills_do_not_act() -> None:
    cost = learnt(ordinary(), of("AAA", *[-0.01] * 8))["AAA"]
    assert cost.mean == pytest.approx(-0.01)
    assert cost.extra_cost == 0
    assert "each 1.000% better than assumed" in cost.words
    assert cost.words.endswith("not relied on")


def test_a_symbol_that_is_not_traded_any_more_loses_its_cost() -> None:
    table = of("AAA", *[0.0075] * 6)
    later = [learnt(table, session=TODAY + sessions)["AAA"] for sessions in (0, 8, 16, 24, 40, 200)]
    acting = [cost.extra_cost for cost in later]
    assert [cost.legs for cost in later[:3]] == pytest.approx([6, 3, 1.5])
    assert acting[:3] == pytest.approx([0.015 * 6 / 9, 0.015 * 3 / 6, 0.015 * 1.5 / 4.5])
    assert acting == sorted(acting, reverse=True)
    assert acting[-1] == 0


def test_clean_fills_heal_a_symbol_sooner_than_time() -> None:
    before = of("AAA", *[0.0075] * 6, ago=10)
    waiting = learnt(before)["AAA"].extra_cost
    once, twice = (learnt(before, of("AAA", *[0.0] * fills))["AAA"].extra_cost for fills in (2, 4))
    assert waiting > once > twice


def test_a_leg_that_was_not_measured_counts_nothing() -> None:
    assert learnt(of("AAA", 0.01, np.nan, 0.01), of("BBB", np.nan)) == learnt(of("AAA", 0.01, 0.01))


def test_nothing_is_learnt_from_the_future() -> None:
    with pytest.raises(ValueError, match="after session"):
        learnt(of("AAA", 0.01, ago=-1))


def test_what_was_learnt_survives_strict_json() -> None:
    costs = learn(pd.concat([ordinary(), of("AAA", 0.01)]), TODAY)
    records = json.loads(to_json([cost.to_record() for cost in costs]))
    assert [LearntCost.from_record(record) for record in records] == costs


# --- what is left of a confidence -----------------------------------------------------------------------------------


Rows = tuple[NDArray[np.float64], NDArray[np.float64]]


def calibration_rows(n: int, seed: int = 0, digits: int = 12) -> Rows:
    """Scores, and returns that are the better the higher they are; few `digits` make ties."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 5, n).round(digits)
    return confidence, rng.normal((confidence - 0.5) * 0.04, 0.012)


def slow(table: list[tuple[float, float]], confidence: float, cost: float) -> float:
    """One confidence at a time, from a sorted list of (score, net return)."""
    wanted = min(len(table), max(1000, len(table) // 100))
    below = sum(score < confidence for score, _ in table)
    not_above = sum(score <= confidence for score, _ in table)
    start = max(0, min((below + not_above) // 2 - wanted // 2, len(table) - wanted))
    lowest, highest = table[start][0], table[start + wanted - 1][0]
    alike = [net for score, net in table if lowest <= score <= highest]
    winners = sum(net > 0 for net in alike)
    return confidence * sum(net > cost for net in alike) / winners if winners and cost > 0 else confidence


@pytest.mark.parametrize(("n", "digits"), [(300, 12), (1500, 12), (4000, 2), (4000, 1), (130_000, 4)])
def test_a_confidence_is_adjusted_as_a_slow_count_of_like_rows_says(n: int, digits: int) -> None:
    rows = calibration_rows(n, digits=digits)
    confidence = np.array([0.0, 0.2, 0.44, 0.5, 0.65, 0.7, 0.98, 0.3])
    cost = np.array([0.01, 0.002, 0.03, 0.01, 0.01, 0.003, 0.01, 0.0])
    adjusted = CostAdjustment(*rows, {}).adjusted(confidence, cost)
    table = sorted(zip(*(column.tolist() for column in rows), strict=True))
    assert adjusted.tolist() == pytest.approx([slow(table, p, c) for p, c in zip(confidence, cost, strict=True)])


def test_one_cost_for_all_is_that_cost_for_each() -> None:
    adjustment = CostAdjustment(*calibration_rows(3000), {})
    confidence = np.linspace(0, 1, 50)
    np.testing.assert_array_equal(
        adjustment.adjusted(confidence, 0.01), adjustment.adjusted(confidence, np.full(50, 0.01))
    )


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(-4, 4)), max_size=60),
    st.lists(st.floats(0, 1), min_size=1, max_size=10),
    st.lists(st.floats(-0.05, 0.05), min_size=2, max_size=6),
)
def test_an_adjusted_confidence_is_a_probability_that_falls_with_the_cost(
    handful: list[tuple[int, int]], confidence: list[float], costs: list[float]
) -> None:
    score, net = np.array(handful, dtype=float).reshape(-1, 2).T
    adjustment = CostAdjustment(score / 20, net / 100, {})
    asked = np.array(confidence)
    ladder = [adjustment.adjusted(asked, cost) for cost in sorted(costs)]
    for before, after in zip([asked, *ladder], ladder, strict=False):
        assert (after <= before).all()
        assert (after >= 0).all()
    for cost, result in zip(sorted(costs), ladder, strict=True):
        if cost <= 0:
            assert result.tolist() == confidence


def test_what_is_asked_stays_as_it_was() -> None:
    rows, asked = calibration_rows(2000), np.array([0.7, 0.6])
    copies = [column.copy() for column in (*rows, asked)]
    CostAdjustment(*rows, {}).adjusted(asked, 0.01)
    for column, copy in zip((*rows, asked), copies, strict=True):
        np.testing.assert_array_equal(column, copy)


def test_where_scores_end_the_rows_of_the_highest_speak() -> None:
    rows = calibration_rows(5000)
    adjustment = CostAdjustment(*rows, {})
    top = np.sort(rows[0])[-NEIGHBOURS // 4]
    within, above, far = adjustment.adjusted(np.array([top, 0.99, 1.0]), 0.01) / np.array([top, 0.99, 1.0])
    highest = rows[1][np.argsort(rows[0])[-NEIGHBOURS:]]
    assert within == above == far == pytest.approx((highest > 0.01).sum() / (highest > 0).sum())


def test_no_order_of_the_rows_is_better_than_another_even_where_all_scores_are_equal() -> None:
    confidence, net = np.full(5000, 0.6), calibration_rows(5000)[1]
    expected = 0.6 * (net > 0.01).sum() / (net > 0).sum()
    for order in (np.argsort(net), np.argsort(-net)):
        adjusted = CostAdjustment(confidence[order], net[order], {}).adjusted(np.array([0.6]), 0.01)
        assert adjusted == pytest.approx(expected)


def test_where_no_like_row_paid_nothing_speaks_for_a_dearer_trade() -> None:
    score = np.linspace(0, 1, 4000)
    adjustment = CostAdjustment(score, np.where(score < 0.5, 0.02, -0.02), {})
    assert adjustment.adjusted(np.array([0.2, 0.8, 0.8]), np.array([0.01, 0.01, 0.0])).tolist() == [0.2, 0.0, 0.8]
    empty = CostAdjustment(np.empty(0), np.empty(0), {})
    assert empty.adjusted(np.array([0.7, 0.7]), np.array([0.01, 0.0])).tolist() == [0.0, 0.7]


def test_a_confidence_that_is_undefined_stays_so_and_disturbs_no_other() -> None:
    adjustment = CostAdjustment(*calibration_rows(3000), {})
    adjusted = adjustment.adjusted(np.array([0.7, np.nan, 0.6]), 0.01)
    assert np.isnan(adjusted).tolist() == [False, True, False]
    np.testing.assert_array_equal(adjusted[[0, 2]], adjustment.adjusted(np.array([0.7, 0.6]), 0.01))


def test_a_symbol_without_a_cost_keeps_its_confidence() -> None:
    adjustment = CostAdjustment(*calibration_rows(3000), {"AAA": 0.01})
    cost = adjustment.extra_cost(["BBB", "AAA", "BBB"])
    assert cost.tolist() == [0.0, 0.01, 0.0]
    adjusted = adjustment.adjusted(np.full(3, 0.7), cost)
    assert adjusted[[0, 2]].tolist() == [0.7, 0.7]
    assert adjusted[1] < 0.65


@pytest.mark.parametrize("broken", [([0.5, np.nan], [0.1, 0.1]), ([0.5, 0.6], [0.1, np.nan]), ([0.5, 0.6], [0.1])])
def test_rows_that_cannot_be_compared_are_refused(broken: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        CostAdjustment(*map(np.array, broken), {})


def test_an_adjusted_confidence_means_what_it_says() -> None:
    rows, later = calibration_rows(40_000, seed=1), calibration_rows(40_000, seed=2)
    pays = np.array([np.mean(later[1][np.abs(later[0] - p) < 0.02] > 0) for p in (0.4, 0.5, 0.6, 0.7)])
    for cost in (0.003, 0.01):
        pays_more = [np.mean(later[1][np.abs(later[0] - p) < 0.02] > cost) for p in (0.4, 0.5, 0.6, 0.7)]
        factor = CostAdjustment(*rows, {}).adjusted(np.array([0.4, 0.5, 0.6, 0.7]), cost) / [0.4, 0.5, 0.6, 0.7]
        assert (pays * factor).tolist() == pytest.approx(pays_more, abs=0.03)

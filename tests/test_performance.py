"""What trades earned, against sums done by hand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import accumulate, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.orders import Status, Trade
from desk.performance import MIN_SHARPE_DAYS
from desk.performance import summarise as summarise_with_equity

MONDAY, TUESDAY = "2026-03-02T15:30:00-05:00", "2026-03-03T10:00:00-05:00"
START = 1000.0


def trade(
    amount: float | None = None, fraction: float | None = None, exit_time: str = MONDAY, status: Status = "CLOSED"
) -> Trade:
    return Trade(
        id=f"{exit_time}-{amount}-{status}",
        symbol="NVDA",
        side="BUY",
        qty=5,
        price=100.0,
        confidence=0.7,
        model_confidence=0.7,
        entry_time="2026-03-02T09:31:00-05:00",
        stop_loss=98.0,
        take_profit=104.0,
        status=status,
        model_id="20260301_200000",
        market="simulated",
        qty_ordered=5,
        entry_minute=1,
        exit_time=exit_time if status == "CLOSED" else None,
        pnl_pct=fraction,
        pnl_amount=amount,
    )


def summarise(trades: Sequence[Trade], start: float) -> dict[str, float]:
    """With an account that is looked at whenever a trade closes."""
    closed = sorted((t for t in trades if t.status == "CLOSED"), key=lambda t: (t.exit_time, t.id))
    return summarise_with_equity(trades, list(accumulate((t.pnl_amount for t in closed), initial=start)), [])


THREE = [
    trade(100.0, 0.05, MONDAY.replace("15:30", "10:00")),
    trade(-50.0, -0.02, MONDAY),
    trade(30.0, 0.01, TUESDAY),
]


def test_three_trades_summed_by_hand() -> None:
    summary = summarise(THREE, START)
    assert summary["closed_trades"] == 3
    assert summary["win_rate"] == pytest.approx(2 / 3)
    assert summary["total_pnl"] == 80.0
    assert summary["average_win"] == pytest.approx(0.03)
    assert summary["average_loss"] == pytest.approx(-0.02)
    assert summary["profit_factor"] == pytest.approx(130 / 50)
    assert summary["max_drawdown"] == pytest.approx(50 / 1100)  # 1,000 -> 1,100 -> 1,050 -> 1,080


def test_no_trades_are_zeros_and_all_of_them_finite_numbers() -> None:
    summary = summarise([], START)
    assert {
        "win_rate", "total_pnl", "closed_trades", "open_trades", "average_win", "average_loss", "profit_factor",
        "max_drawdown",
    } <= set(summary)  # fmt: skip
    assert set(summary.values()) == {0}
    assert all(isinstance(value, (int, float)) and math.isfinite(value) for value in summary.values())


def test_only_closed_trades_earn_and_the_others_are_counted() -> None:
    others: list[Status] = ["OPEN", "OPEN", "PENDING", "REJECTED", "CANCELLED"]
    summary = summarise([*THREE, *(trade(status=status) for status in others)], START)
    assert (summary["closed_trades"], summary["open_trades"], summary["pending_trades"]) == (3, 2, 1)
    alone = summarise(THREE, START)
    assert {name for name in summary if summary[name] != alone[name]} == {"open_trades", "pending_trades"}


def test_only_wins_lose_nothing() -> None:
    summary = summarise([trade(10.0, 0.01), trade(20.0, 0.03, TUESDAY)], START)
    assert summary["win_rate"] == 1.0
    assert summary["average_win"] == pytest.approx(0.02)
    assert summary["average_loss"] == summary["profit_factor"] == summary["max_drawdown"] == 0.0


def test_only_losses_win_nothing() -> None:
    summary = summarise([trade(-10.0, -0.01), trade(-20.0, -0.03, TUESDAY)], START)
    assert summary["win_rate"] == summary["average_win"] == summary["profit_factor"] == 0.0
    assert summary["average_loss"] == pytest.approx(-0.02)
    assert summary["total_pnl"] == -30.0
    assert summary["max_drawdown"] == pytest.approx(0.03)


def test_a_trade_that_came_out_even_is_no_win() -> None:
    summary = summarise([trade(0.0, 0.0), trade(10.0, 0.02, TUESDAY), trade(-5.0, -0.01, TUESDAY)], START)
    assert summary["win_rate"] == pytest.approx(1 / 3)
    assert summary["average_loss"] == pytest.approx(-0.005)
    assert summary["profit_factor"] == pytest.approx(2.0)


def test_a_drawdown_is_measured_from_the_highest_peak_before_it_and_heals() -> None:
    amounts = [100.0, -110.0, 60.0, -60.0, 500.0, -30.0]
    trades = [trade(amount, 0.0, f"2026-03-{day:02}T10:00:00-05:00") for day, amount in enumerate(amounts, start=2)]
    assert summarise(trades, START)["max_drawdown"] == pytest.approx(110 / 1100)
    assert summarise(trades[:1], START)["max_drawdown"] == 0.0


def days_that_earned(*amounts: float) -> list[Trade]:
    return [trade(amount, 0.0, f"2026-03-{day:02}T10:00:00-05:00") for day, amount in enumerate(amounts, start=2)]


def test_sharpe_is_the_mean_day_over_its_deviation_for_a_year() -> None:
    sharpe = summarise(days_that_earned(50.0, 30.0, 40.0, 30.0, 50.0), START)["sharpe"]
    assert sharpe == pytest.approx(40 / 10 * math.sqrt(252))  # mean 40, sample deviation 10


def test_a_few_days_have_no_sharpe() -> None:
    amounts = [50.0, 30.0, 40.0, 30.0, 50.0][: MIN_SHARPE_DAYS - 1]
    assert summarise(days_that_earned(*amounts), START)["sharpe"] == 0.0


def test_a_fall_between_two_trades_is_a_drawdown_too() -> None:
    assert summarise_with_equity(THREE, [1000.0, 800.0, 1080.0], [])["max_drawdown"] == pytest.approx(0.2)


def test_days_that_all_earned_the_same_have_no_sharpe() -> None:
    assert summarise(days_that_earned(*[10.0] * 6), START)["sharpe"] == 0.0


def test_the_order_in_which_trades_are_handed_in_does_not_matter() -> None:
    summaries = [summarise(order, START) for order in permutations([*THREE, trade(-20.0, -0.01, TUESDAY)])]
    assert all(summary == summaries[0] for summary in summaries)


cents = st.integers(-50_000, 50_000).map(lambda amount: amount / 100)
closed_trades = st.builds(
    lambda amount, day: trade(amount, amount / 500, f"2026-03-{day:02}T10:00:00-05:00"), cents, st.integers(2, 31)
)


@given(st.lists(closed_trades, max_size=30))
def test_every_number_is_finite_and_within_sense(trades: list[Trade]) -> None:
    summary = summarise(trades, 100_000.0)
    assert all(math.isfinite(value) for value in summary.values())
    assert summary["total_pnl"] == pytest.approx(sum(t.pnl_amount or 0.0 for t in trades), abs=1e-3)
    assert 0.0 <= summary["win_rate"] <= 1.0
    assert summary["average_loss"] <= 0.0 <= summary["average_win"]
    assert 0.0 <= summary["max_drawdown"] < 1.0
    assert summary["profit_factor"] >= 0.0


def test_a_session_without_a_sale_is_a_day_that_earned_nothing() -> None:
    trades = days_that_earned(10.0, 12.0, 9.0, 11.0, 10.0)
    days = [f"2026-{month:02}-{day:02}" for month in (3, 4, 5) for day in range(1, 22)]
    sparse = summarise_with_equity(trades, [START], days)["sharpe"]
    earned = [10.0, 12.0, 9.0, 11.0, 10.0] + [0.0] * (len(days) - 5)
    assert sparse == pytest.approx(statistics.mean(earned) / statistics.stdev(earned) * math.sqrt(252))
    assert summarise_with_equity(trades, [START], [])["sharpe"] > 10 * sparse

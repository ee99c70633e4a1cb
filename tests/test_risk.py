"""The rules of money: how many shares, may we open, must we exit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.orders import Account, Position
from desk.risk import Limits, Size, beyond_levels, may_open, must_exit, position_size

LIMITS = Limits(
    max_position_size=5,
    max_open_positions=10,
    stop_loss=0.02,
    take_profit=0.04,
    risk_per_trade=0.01,
    max_holding_minutes=390,
)
RICH = Account(cash=100_000.0, equity=100_000.0, buying_power=100_000.0)
NOT_A_POSITIVE_NUMBER = [math.nan, math.inf, -math.inf, 0.0, -1.0]


# --- how many -------------------------------------------------------------------------------------------------------


def test_with_the_documented_settings_the_share_limit_binds() -> None:
    assert position_size(150.0, RICH, LIMITS) == Size(5, "MAX_POSITION_SIZE")


def test_the_risk_budget_binds_when_the_share_limit_is_wide() -> None:
    # 100,000 x 1% = 1,000 USD may be lost; 150 x 2% = 3 USD a share
    assert position_size(150.0, RICH, replace(LIMITS, max_position_size=1000)) == Size(333, "RISK_PER_TRADE_PCT")


def test_the_buying_power_binds_when_little_of_it_is_left() -> None:
    assert position_size(150.0, replace(RICH, buying_power=449.0), LIMITS) == Size(2, "buying power")


def test_a_share_dearer_than_the_buying_power_is_not_bought() -> None:
    assert position_size(150.0, replace(RICH, buying_power=149.99), LIMITS) == Size(0, "buying power")


def test_a_small_account_is_stopped_by_the_risk_budget() -> None:
    assert position_size(150.0, Account(200.0, 200.0, 200.0), LIMITS) == Size(0, "RISK_PER_TRADE_PCT")


@pytest.mark.parametrize("value", NOT_A_POSITIVE_NUMBER)
def test_what_is_not_a_positive_number_buys_nothing_and_says_so(value: float) -> None:
    for size in (
        position_size(value, RICH, LIMITS),
        position_size(150.0, replace(RICH, equity=value), LIMITS),
        position_size(150.0, replace(RICH, buying_power=value), LIMITS),
    ):
        assert size == Size(0, "price, equity or buying power is not a positive number")


def test_cash_alone_is_not_asked() -> None:
    assert position_size(150.0, replace(RICH, cash=0.0), LIMITS).shares == 5


@given(
    price=st.floats(0.01, 1e5),
    equity=st.floats(0.01, 1e9),
    power=st.floats(0.01, 1e9),
    most=st.integers(1, 10_000),
    stop=st.floats(0.001, 0.5),
    risk=st.floats(0.0001, 0.5),
)
def test_no_bound_is_exceeded_and_one_more_share_would_exceed_the_one_that_is_named(
    price: float, equity: float, power: float, most: int, stop: float, risk: float
) -> None:
    limits = replace(LIMITS, max_position_size=most, stop_loss=stop, risk_per_trade=risk)
    size = position_size(price, Account(power, equity, power), limits)
    used = {
        "MAX_POSITION_SIZE": lambda shares: shares / most,
        "RISK_PER_TRADE_PCT": lambda shares: shares * price * stop / (equity * risk),
        "buying power": lambda shares: shares * price / power,
    }
    assert size.shares >= 0
    assert all(share_of(size.shares) <= 1 + 1e-12 for share_of in used.values())
    assert used[size.bound](size.shares + 1) > 1 - 1e-12


# --- may we open ----------------------------------------------------------------------------------------------------


def test_a_symbol_that_is_held_is_not_opened_again() -> None:
    assert may_open("NVDA", {"AMD", "NVDA"}, LIMITS) == "already held"


def test_the_last_place_may_be_taken_and_no_more() -> None:
    held = {f"S{i}" for i in range(9)}
    assert may_open("NVDA", held, LIMITS) is None
    assert may_open("NVDA", {*held, "S9"}, LIMITS) == "10 positions are open (MAX_OPEN_POSITIONS)"
    assert may_open("NVDA", set(), LIMITS) is None


# --- must we exit ---------------------------------------------------------------------------------------------------


def test_a_position_leaves_once_it_had_its_minutes_and_not_one_earlier() -> None:
    assert must_exit(389, LIMITS) is None
    assert must_exit(390, LIMITS) == "time"
    assert must_exit(10_000, LIMITS) == "time"


def test_without_a_limit_a_position_may_stay() -> None:
    assert must_exit(10**9, replace(LIMITS, max_holding_minutes=None)) is None


@pytest.mark.parametrize(
    ("price", "reason"),
    [(98.01, None), (98.0, "stop"), (50.0, "stop"), (103.99, None), (104.0, "target"), (500.0, "target")],
)
def test_a_price_at_or_past_a_level_names_the_level(price: float, reason: str | None) -> None:
    position = Position("NVDA", 5, 100.0, 1, stop_level=98.0, target_level=104.0, last_price=price)
    assert beyond_levels(position) == reason

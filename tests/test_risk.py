"""The rules of money: how many shares, may we open, must we exit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_wire import Unreachable
from desk.books import Books
from desk.brokers import Broker
from desk.orders import Account, Order, Position
from desk.risk import (
    MAX_ORDERS_PER_MINUTE,
    RESERVE,
    Gate,
    Known,
    Limits,
    Quote,
    Size,
    beyond_levels,
    entry_refused,
    loss_beyond,
    may_open,
    must_exit,
    position_size,
    untrusted,
)
from market.bars import Bar
from market.hours import local_time

LIMITS = Limits(
    max_position_size=5,
    max_open_positions=10,
    stop_loss=0.02,
    take_profit=0.04,
    risk_per_trade=0.01,
    max_holding_minutes=390,
    max_position=1.0,
    max_exposure=1.0,
    max_entries_per_symbol=3,
    max_orders_per_day=200,
    max_daily_loss=0.03,
    max_drawdown=0.1,
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
    assert position_size(150.0, replace(RICH, buying_power=473.0), LIMITS) == Size(2, "buying power")  # 449.35 after 5%


def test_a_share_dearer_than_the_buying_power_is_not_bought() -> None:
    assert position_size(150.0, replace(RICH, buying_power=157.8), LIMITS) == Size(0, "buying power")


def test_the_largest_position_binds_when_risk_and_cash_would_allow_more() -> None:
    limits = replace(LIMITS, max_position_size=1000, risk_per_trade=0.5, max_position=0.1)
    assert position_size(150.0, RICH, limits) == Size(66, "MAX_POSITION_PCT")


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
    share=st.floats(0.001, 1.0),
)
def test_no_bound_is_exceeded_and_one_more_share_would_exceed_the_one_that_is_named(
    price: float, equity: float, power: float, most: int, stop: float, risk: float, share: float
) -> None:
    limits = replace(LIMITS, max_position_size=most, stop_loss=stop, risk_per_trade=risk, max_position=share)
    size = position_size(price, Account(power, equity, power), limits)
    used = {
        "MAX_POSITION_SIZE": lambda shares: shares / most,
        "RISK_PER_TRADE_PCT": lambda shares: shares * price * stop / (equity * risk),
        "MAX_POSITION_PCT": lambda shares: shares * price / (equity * share),
        "buying power": lambda shares: shares * price / (power * (1 - RESERVE)),
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


# --- the gate: what lets an entry pass ------------------------------------------------------------------------------

MINUTE = 29_400_000
CLOSE = datetime(2026, 3, 2, 21, 0, tzinfo=UTC)
ENTRY = Order("t-20260302-NVDA-buy-1", "NVDA", "BUY", 5, 100.0, MINUTE, MINUTE + 5, 0.02, 0.04)
KNOWN = Known(
    account=RICH,
    worth={"AMD": 500.0},
    quote=Quote(MINUTE - 1, 100.0, 100.5),
    tradable=True,
    market=None,
    orders_this_minute=0,
    orders_today=0,
    entries=0,
    opening=100_000.0,
    peak=100_000.0,
    minute=MINUTE,
)


def test_an_entry_within_all_limits_passes() -> None:
    assert entry_refused(ENTRY, KNOWN, LIMITS) is None


@pytest.mark.parametrize(
    ("rule", "order", "known"),
    [
        ("MAX_POSITION_SIZE", {"qty": 6}, {}),
        ("MAX_POSITION_SIZE", {"qty": 0}, {}),
        ("MAX_POSITION_SIZE", {"qty": -5}, {}),
        ("MAX_POSITION_SIZE", {"qty": math.nan}, {}),
        ("price", {"price": math.nan}, {}),
        ("price", {"price": math.inf}, {}),
        ("price", {"price": 0.0}, {}),
        ("stop and target", {"stop_loss": None}, {}),
        ("stop and target", {"stop_loss": math.nan}, {}),
        ("stop and target", {"take_profit": -0.04}, {}),
        ("fresh bar", {}, {"quote": None}),
        ("fresh bar", {}, {"quote": Quote(MINUTE - 3, 100.0, 100.0)}),
        ("fresh bar", {}, {"quote": Quote(MINUTE + 1, 100.0, 100.0)}),
        ("fresh bar", {}, {"minute": MINUTE + 2}),
        ("price gap", {"price": 103.1}, {}),
        ("price gap", {"price": 96.9}, {}),
        ("price gap", {}, {"quote": Quote(MINUTE - 1, math.nan, 100.0)}),
        ("price spike", {"price": 1000.0}, {"quote": Quote(MINUTE - 1, 1000.0, 100.0)}),
        ("price spike", {}, {"quote": Quote(MINUTE - 1, 100.0, math.nan)}),
        ("one position per symbol", {}, {"worth": {"NVDA": 1.0}}),
        ("MAX_OPEN_POSITIONS", {}, {"worth": {f"S{i}": 1.0 for i in range(10)}}),
        ("account", {}, {"account": None}),
        ("account", {}, {"account": replace(RICH, equity=math.nan)}),
        ("account", {}, {"account": replace(RICH, equity=0.0)}),
        ("account", {}, {"account": replace(RICH, buying_power=math.nan)}),
        ("account", {}, {"account": replace(RICH, buying_power=-1.0)}),
        ("MAX_POSITION_PCT", {}, {"account": replace(RICH, equity=499.0), "worth": {}, "opening": None, "peak": None}),
        ("MAX_EXPOSURE_PCT", {}, {"worth": {"AMD": 99_600.0}}),
        ("MAX_EXPOSURE_PCT", {}, {"worth": {"AMD": math.nan}}),
        ("buying power", {}, {"account": replace(RICH, buying_power=526.0)}),
        ("orders per minute", {}, {"orders_this_minute": MAX_ORDERS_PER_MINUTE}),
        ("MAX_ORDERS_PER_DAY", {}, {"orders_today": 200}),
        ("MAX_ENTRIES_PER_SYMBOL", {}, {"entries": 3}),
        ("market", {}, {"market": "Alpaca says that the market is closed"}),
        ("tradable", {}, {"tradable": False}),
        ("tradable", {}, {"tradable": None}),
        ("loss limit: MAX_DAILY_LOSS_PCT", {}, {"opening": 103_100.0}),
        ("loss limit: MAX_DRAWDOWN_PCT", {}, {"peak": 111_200.0}),
    ],
)
def test_an_entry_is_refused_by_the_rule_it_breaks_and_by_what_is_missing(
    rule: str, order: dict[str, Any], known: dict[str, Any]
) -> None:
    words = entry_refused(replace(ENTRY, **order), replace(KNOWN, **known), LIMITS)
    assert words is not None
    assert words.startswith(f"{rule}: ")


ODD = st.one_of(st.floats(), st.sampled_from([0.0, 5.0, 100.0, 1e5]))


@given(
    qty=st.integers(-10, 10**12), price=ODD, close=ODD, before=ODD, equity=ODD, power=ODD, held=ODD, age=st.integers()
)
def test_whatever_passes_is_finite_positive_and_within_its_limits(
    qty: int, price: float, close: float, before: float, equity: float, power: float, held: float, age: int
) -> None:
    order = replace(ENTRY, qty=qty, price=price)
    account, quote = Account(power, equity, power), Quote(MINUTE - age, close, before)
    known = replace(KNOWN, account=account, quote=quote, worth={"AMD": held}, opening=None, peak=None)
    if entry_refused(order, known, LIMITS) is None:
        worth = qty * price
        assert 0 < qty <= 5
        assert all(0 < value < math.inf for value in (price, close, before, equity))
        assert abs(price / close - 1) <= 0.03 + 1e-9
        assert abs(close / before - 1) <= 0.2 + 1e-9
        assert 0 <= age <= 2
        assert worth <= power * 0.95
        assert worth + held <= equity


# --- the gate: exits, losses, quantities ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equity", "rule"),
    [(97_001.0, None), (96_999.0, "MAX_DAILY_LOSS_PCT"), (math.nan, "MAX_DAILY_LOSS_PCT")],
)
def test_a_loss_beyond_the_days_limit_is_named(equity: float, rule: str | None) -> None:
    words = loss_beyond(equity, 100_000.0, 100_000.0, LIMITS)
    assert (words or "").partition(":")[0] == (rule or "")


def test_a_slow_fall_breaks_the_drawdown_limit_alone() -> None:
    words = loss_beyond(89_999.0, 90_500.0, 100_000.0, LIMITS)
    assert words == "MAX_DRAWDOWN_PCT: equity is 89,999.00 USD, at its highest it was 100,000.00"
    assert loss_beyond(90_001.0, 90_500.0, 100_000.0, LIMITS) is None
    assert loss_beyond(1.0, None, None, LIMITS) is None


def test_no_more_is_sold_than_there_is_and_no_price_is_nonsense() -> None:
    assert untrusted(5, 5, 98.0, 104.0) is None
    assert untrusted(6, 5) == "quantity: 6 of 5 shares"
    assert untrusted(0, 5) == "quantity: 0 of 5 shares"
    assert untrusted(cast(int, math.nan), 5) == "quantity: nan of 5 shares"
    assert untrusted(5, 5, 98.0, math.nan) == "price: nan USD"
    assert untrusted(5, 5, -1.0) == "price: -1.0 USD"


BARS = [Bar("NVDA", MINUTE - before, 100.0, 100.0, 100.0, 100.0, 1.0) for before in (2, 1)]


@dataclass
class FakeBroker:
    """Holds `held` shares of NVDA and takes every order."""

    held: int = 5
    orders: list[Order] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # whether a symbol is tradable
    down: bool = False
    blocked: str | None = None

    def positions(self) -> dict[str, Position]:
        return {"NVDA": Position("NVDA", self.held, 100.0, 1, 98.0, 104.0, 101.0)} if self.held else {}

    def working_orders(self) -> list[Order]:
        return []

    def account(self) -> Account:
        return RICH

    def tradable(self, symbol: str) -> bool:
        self.asked.append(symbol)
        if self.down:
            raise Unreachable("GET /v2/assets: no answer")
        return True

    def hindrance(self, close: datetime) -> str | None:
        return self.blocked

    def submit(self, order: Order) -> None:
        self.orders.append(order)


@pytest.mark.parametrize(("held", "qty", "left"), [(5, 5, 1), (5, 3, 1), (5, 6, 0), (0, 5, 0), (5, 0, 0), (5, -5, 0)])
def test_an_exit_passes_whatever_else_is_wrong_unless_its_quantity_cannot_be(held: int, qty: int, left: int) -> None:
    broker, written = FakeBroker(held), list[str]()
    gate = Gate(cast(Broker, broker), Books(local_time), LIMITS, print)
    sale = Order("t-sell-1", "NVDA", "SELL", qty, math.nan, MINUTE)
    no = gate.submit(sale, CLOSE, lambda: written.append("intent"))
    assert (len(broker.orders), len(written), no is None) == (left, left, bool(left))


def test_an_entry_leaves_only_after_it_was_written_down() -> None:
    broker = FakeBroker(held=0)
    gate = Gate(cast(Broker, broker), Books(local_time), LIMITS, print)

    def full() -> None:
        raise OSError(28, "No space left on device")

    gate.see(BARS)
    with pytest.raises(OSError, match="No space"):
        gate.submit(ENTRY, CLOSE, full)
    assert broker.orders == []
    seen: list[int] = []
    assert gate.submit(ENTRY, CLOSE, lambda: seen.append(len(broker.orders))) is None
    assert (seen, broker.orders) == ([0], [ENTRY])


def test_a_minute_that_comes_twice_as_the_clock_was_set_back_asks_the_broker_twice() -> None:
    broker, said = FakeBroker(held=0), list[str]()
    gate = Gate(cast(Broker, broker), Books(local_time), LIMITS, said.append)
    gate.see(BARS)
    assert gate.submit(ENTRY, CLOSE, lambda: None) is None
    broker.blocked = "Alpaca says trading_blocked: None"
    gate.see(())
    assert gate.submit(ENTRY, CLOSE, lambda: None) == f"market: {broker.blocked}"
    assert gate.submit(ENTRY, CLOSE, lambda: None) == f"market: {broker.blocked}"
    assert len(said) == 1


def test_an_outage_is_waited_for_once_a_minute_and_not_once_an_entry() -> None:
    broker = FakeBroker(held=0, down=True)
    gate = Gate(cast(Broker, broker), Books(local_time), LIMITS, print)
    for minute in (MINUTE, MINUTE + 1):
        gate.see(())
        for symbol in ("NVDA", "META", "NFLX"):
            no = gate.submit(replace(ENTRY, symbol=symbol, minute=minute), CLOSE, lambda: None)
            assert no is not None
            assert no.startswith("market: no answer that can be used (GET /v2/assets")
    assert broker.asked == ["NVDA", "NVDA"]


def test_what_was_sent_and_not_heard_of_counts_as_bought() -> None:
    books = Books(local_time, [{"kind": "journal", "started": "20260301_200000"}])
    for number in range(10):
        books.apply(
            {
                "kind": "intent", "order_id": f"t-20260302-S{number}-buy-1", "symbol": f"S{number}", "qty": 5,
                "price": 100.0, "confidence": 0.7, "minute": MINUTE, "stop_loss": 0.02, "take_profit": 0.04,
                "model_id": "m", "market": "alpaca",
            }
        )  # fmt: skip
    gate = Gate(cast(Broker, FakeBroker(held=0)), books, LIMITS, print)
    gate.see(BARS)
    assert gate.submit(ENTRY, CLOSE, lambda: None) == "MAX_OPEN_POSITIONS: 10 are open"
    narrow = Gate(gate.broker, books, replace(LIMITS, max_open_positions=20, max_exposure=0.05), print)
    narrow.see(BARS)
    assert str(narrow.submit(ENTRY, CLOSE, lambda: None)).startswith("MAX_EXPOSURE_PCT: 5,500.00 USD")


def test_only_the_gate_hands_orders_to_a_broker() -> None:
    """Every origin passes it: nobody else of the house calls `submit` of a broker, and one place alone posts orders."""
    root = Path(__file__).resolve().parents[1]
    files = [*root.glob("*.py"), *root.glob("desk/*.py")]
    callers = {file.name for file in files if "broker.submit(" in file.read_text()}
    assert callers == {"risk.py"}
    posts = {
        file.name: file.read_text().count(".submit_order(") for file in files if ".submit_order(" in file.read_text()
    }
    assert posts == {"alpaca_hands.py": 1}

"""What is sold, and what is not: by time, by plan, by a level, once, and never more than is held."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from trading import settings_in

from desk.books import Books
from desk.brokers import Broker
from desk.journal import Journal
from desk.orders import Order, Position
from desk.risk import Gate
from exits import Exits
from gates import limits_of
from market.bars import Bar
from market.hours import epoch_minute, local_time, session_on

SESSION = session_on(date(2026, 11, 24))
assert SESSION is not None
TEN = SESSION.open + timedelta(minutes=30)
BARS = [Bar("NVDA", minute, 100.0, 100.0, 100.0, 100.0, 1.0) for minute in (1, 2)]
HELD = Position("NVDA", 5, 100.0, epoch_minute(TEN), 98.0, 104.0, 100.0)


@dataclass
class FakeBroker:
    """Holds a position and takes every order."""

    position: Position = HELD
    orders: list[Order] = field(default_factory=list)

    def positions(self) -> dict[str, Position]:
        return {self.position.symbol: self.position}

    def working_orders(self) -> list[Order]:
        return self.orders

    def submit(self, order: Order) -> None:
        self.orders.append(order)


@dataclass
class FakeJournal:
    """A disk that may be full."""

    full: bool = False

    def sync(self, *, order: bool = False) -> None:
        if self.full:
            raise OSError(28, "No space left on device")


class Desk:
    def __init__(self, folder: Path) -> None:
        self.books, self.broker, self.journal = Books(local_time), FakeBroker(), FakeJournal()
        self.said, self.events = list[str](), list[dict[str, Any]]()
        self.record("journal", started="20261101_090000")
        gate = Gate(cast(Broker, self.broker), self.books, limits_of(settings_in(folder)), self.said.append)
        self.gate = gate
        self.exits = Exits(self.books, gate, cast(Journal, self.journal), self.record, self.said.append)
        self.record(
            "intent", order_id="t-20261124-NVDA-buy-1", symbol="NVDA", qty=5, price=100.0, confidence=0.7,
            minute=epoch_minute(TEN), stop_loss=0.02, take_profit=0.04, model_id="m", market="alpaca",
        )  # fmt: skip

    def record(self, kind: str, **fields: Any) -> dict[str, Any]:
        event = {"kind": kind, **fields}
        self.events.append(event)
        self.books.apply(event)
        return event

    def sell(self, now: datetime = TEN + timedelta(minutes=1)) -> list[tuple[str, int]]:
        assert SESSION is not None
        self.exits.sell(now, SESSION)
        return [(order.reason, order.qty) for order in self.broker.orders]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_has_its_time_its_levels_and_no_plan_is_held(desk: Desk) -> None:
    assert desk.sell() == []


def test_what_has_had_its_market_minutes_is_sold_by_time(desk: Desk) -> None:
    assert desk.sell(SESSION.close + timedelta(hours=18)) == [("time", 5)]  # type: ignore[union-attr]


def test_what_was_planned_is_sold_for_the_planned_reason(desk: Desk) -> None:
    desk.record("plan", close={"NVDA": "by hand"})
    assert desk.sell() == [("by hand", 5)]


@pytest.mark.parametrize(("price", "reason"), [(97.0, "stop"), (105.0, "target")])
def test_a_level_that_the_price_has_passed_sells(desk: Desk, price: float, reason: str) -> None:
    desk.broker.position = replace(HELD, last_price=price)
    desk.gate.see([*BARS, Bar("NVDA", 3, price, price, price, price, 1.0)])
    assert desk.sell() == [(reason, 5)]


def test_one_absurd_bar_sells_nothing_and_a_second_one_does(desk: Desk) -> None:
    desk.broker.position = replace(HELD, last_price=10.0)
    desk.gate.see([*BARS, Bar("NVDA", 3, 10.0, 10.0, 10.0, 10.0, 1.0)])
    assert desk.sell() == []
    desk.gate.see([Bar("NVDA", 4, 10.0, 10.0, 10.0, 10.0, 1.0)])
    assert desk.sell() == [("stop", 5)]


def test_what_the_broker_takes_no_stop_for_is_sold_whatever_the_bars_say(desk: Desk) -> None:
    desk.broker.position = replace(HELD, protected=False)
    desk.gate.see([*BARS, Bar("NVDA", 3, 10.0, 10.0, 10.0, 10.0, 1.0)])
    assert desk.sell() == [("unprotected", 5)]


def test_a_price_beyond_the_stop_that_nothing_confirms_sells_what_has_no_stop(desk: Desk) -> None:
    desk.broker.position = replace(HELD, protected=False, last_price=97.0)
    desk.gate.see([Bar("NVDA", 3, 97.0, 97.0, 97.0, 97.0, 1.0)])  # the first that this process has seen
    assert desk.sell() == [("unprotected", 5)]


def test_a_sale_under_way_is_not_sent_again(desk: Desk) -> None:
    desk.record("plan", close={"NVDA": "by hand"})
    desk.sell()
    assert desk.sell() == [("by hand", 5)]


def test_the_sale_is_written_down_first_and_leaves_even_when_the_disk_is_full(desk: Desk) -> None:
    desk.record("plan", close={"NVDA": "by hand"})
    desk.journal.full = True
    assert desk.sell() == [("by hand", 5)]
    assert desk.events[-1]["kind"] == "exit"
    assert desk.events[-1]["order_id"] == desk.broker.orders[0].id == "t-20261124-NVDA-buy-1-sell-1"


def test_what_was_split_or_is_not_ours_is_left_alone(desk: Desk) -> None:
    desk.record("plan", close={"NVDA": "by hand", "AMD": "by hand"})
    desk.record("split", symbols=["NVDA"])
    assert desk.sell() == []
    desk.broker.position = replace(HELD, symbol="AMD")
    assert desk.sell() == []


def test_a_quantity_that_cannot_be_is_not_sold_and_said_once(desk: Desk) -> None:
    desk.record("plan", close={"NVDA": "by hand"})
    desk.broker.position = replace(HELD, qty=0)
    assert desk.sell() == desk.sell() == []
    assert desk.said == ["NVDA is not sold, look after it by hand: quantity: 0 of 0 shares"]


def test_a_price_that_the_bars_do_not_know_sells_nothing(desk: Desk) -> None:
    desk.broker.position = replace(HELD, last_price=10.0)  # as the broker's list of positions tells it
    desk.gate.see(BARS)
    assert desk.sell() == []

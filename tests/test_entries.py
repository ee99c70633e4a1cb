"""What is bought: which signals pass, in which order, what is written down before an order leaves, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trading import settings_in

from desk.books import Books
from desk.orders import Account, Order, Position
from desk.risk import Gate
from entries import Entries
from gates import limits_of
from learning.labels import ENTRY_PATIENCE_MINUTES
from market.bars import Bar
from market.hours import epoch_minute, local_time, session_on
from model_in_use import Prediction

SESSION = session_on(date(2026, 11, 24))
TEN = epoch_minute(SESSION.open) + 30


@dataclass
class FakeBroker:
    """Takes every order; `hinders` is what it has against entries now."""

    cash: float = 100_000.0
    hinders: str | None = None
    listed: bool | None = True
    orders: list[Order] = field(default_factory=list)
    asked: int = 0
    before_submit: Callable[[], object] = lambda: None

    def hindrance(self, close: datetime) -> str | None:
        assert close == SESSION.close
        self.asked += 1
        return self.hinders

    def account(self) -> Account:
        return Account(self.cash, 100_000.0, self.cash)

    def tradable(self, symbol: str) -> bool | None:
        return self.listed

    def positions(self) -> dict[str, Position]:
        return {}

    def working_orders(self) -> list[Order]:
        return []

    def submit(self, order: Order) -> None:
        self.before_submit()
        self.orders.append(order)


@dataclass
class FakeJournal:
    """Knows how many events were on disk, and for which reason it was last synced."""

    events: list[dict[str, Any]] = field(default_factory=list)
    synced: int = 0

    def sync(self, *, order: bool = False) -> None:
        assert order
        self.synced = len(self.events)


class Desk:
    """Entries at work over real books."""

    def __init__(self, folder: Path, *, stopped: str | None = None, proven: bool = True, **settings: object) -> None:
        self.books, self.broker, self.journal, self.said = Books(local_time), FakeBroker(), FakeJournal(), list[str]()
        self.books.apply({"kind": "journal", "started": "20261101_090000"})
        self.model: Any = SimpleNamespace(stamp="20261123_200000", card={"proven": proven})
        self.settings, self.stopped = settings_in(folder, **settings), stopped
        self.gate = Gate(self.broker, self.books, limits_of(self.settings), self.said.append)  # type: ignore[arg-type]
        self.entries = Entries(
            self.settings, "recorded", self.books, self.gate, self.journal, self.record  # type: ignore[arg-type]
        )  # fmt: skip

    def record(self, kind: str, **fields: Any) -> dict[str, Any]:
        event = {"kind": kind, **fields}
        self.journal.events.append(event)
        self.books.apply(event)
        return event

    def enter(self, *predictions: Prediction, minute: int = TEN) -> dict[str, str]:
        self.gate.see(bar(p.symbol, minute - before, p.price) for p in predictions for before in (2, 1))
        return self.entries.enter(minute, SESSION, predictions, self.model, None, self.stopped)

    def signals(self) -> list[tuple[str, bool, str]]:
        return [(s["symbol"], s["taken"], s["reason"]) for s in self.books.signals]


def signal(symbol: str, confidence: float, own: float | None = None, price: float = 100.0) -> Prediction:
    return Prediction(symbol, confidence, price, None, own)


def bar(symbol: str, minute: int, price: float) -> Bar:
    return Bar(symbol, minute, price, price, price, price, 100)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# --- what passes -----------------------------------------------------------------------------------------------------


def test_the_most_confident_is_ordered_first_by_what_is_left_after_what_was_learnt(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MAX_OPEN_POSITIONS=2)
    ordered = desk.enter(signal("AAA", 0.66, own=0.9), signal("BBB", 0.7), signal("DDD", 0.8), signal("CCC", 0.7))
    assert list(ordered) == [order.symbol for order in desk.broker.orders] == ["DDD", "BBB"]
    assert desk.entries.outcomes == {
        "DDD": "ordered", "BBB": "ordered",
        "CCC": "2 positions are open (MAX_OPEN_POSITIONS)", "AAA": "2 positions are open (MAX_OPEN_POSITIONS)",
    }  # fmt: skip


def test_the_order_names_its_stop_its_target_and_the_minute_at_which_it_is_given_up(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STOP_LOSS_PCT=0.01, TAKE_PROFIT_PCT=0.03, MAX_POSITION_SIZE=4)
    ids = desk.enter(signal("AAA", 0.8, price=50.0))
    (order,) = desk.broker.orders
    assert (order.id, order.side, order.qty, order.price) == (ids["AAA"], "BUY", 4, 50.0)
    assert (order.stop_loss, order.take_profit) == (0.01, 0.03)
    assert (order.minute, order.expires_minute) == (TEN, TEN + ENTRY_PATIENCE_MINUTES)


def test_no_entry_outlives_the_session(desk: Desk) -> None:
    close = epoch_minute(SESSION.close)
    desk.enter(signal("AAA", 0.8), minute=close - 2)
    assert desk.broker.orders[0].expires_minute == close


def test_what_no_share_can_be_bought_for_is_not_ordered_and_says_what_bound(desk: Desk) -> None:
    desk.broker.cash = 99.0
    assert desk.enter(signal("AAA", 0.8)) == {}
    assert desk.signals() == [("AAA", False, "no share affordable: buying power")]


def test_nothing_is_bought_while_books_and_broker_could_not_be_compared(desk: Desk) -> None:
    desk.stopped = "books and broker could not be compared"
    assert desk.enter(signal("AAA", 0.8)) == {}
    desk.stopped = None
    assert list(desk.enter(signal("AAA", 0.8), minute=TEN + 1)) == ["AAA"]
    assert desk.signals() == [
        ("AAA", False, "books and broker could not be compared"),
        ("AAA", True, "ordered"),
    ]


def test_watching_only_writes_signals_and_orders_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, stopped="watching only (--no-entries)")
    desk.enter(signal("AAA", 0.8))
    assert (desk.broker.orders, desk.broker.asked) == ([], 0)
    assert desk.signals() == [("AAA", False, "watching only (--no-entries)")]


def test_a_broker_that_hinders_is_asked_once_a_minute_and_only_for_a_signal_that_passed(desk: Desk) -> None:
    desk.broker.hinders = "the clock is wrong"
    desk.enter(signal("AAA", 0.3), signal("BBB", 0.4, own=0.8))
    assert desk.broker.asked == 0
    desk.enter(signal("AAA", 0.8), signal("CCC", 0.8), minute=TEN + 1)
    assert desk.broker.asked == 1
    assert desk.entries.outcomes == {"AAA": "market: the clock is wrong", "CCC": "market: the clock is wrong"}


def test_what_hinders_is_said_once_and_again_only_when_it_is_something_else(desk: Desk) -> None:
    for minute, words in enumerate(("the clock is wrong", "the clock is wrong", "closes early", None, "closes early")):
        desk.broker.hinders = words
        desk.enter(signal(f"S{minute}", 0.8), minute=TEN + minute)
    assert [line.partition("nothing is bought: ")[2] for line in desk.said] == [
        "the clock is wrong", "closes early", "closes early",
    ]  # fmt: skip
    assert [order.symbol for order in desk.broker.orders] == ["S3"]


# --- what is written down --------------------------------------------------------------------------------------------


def test_the_intent_is_on_disk_before_the_order_leaves_and_the_signal_follows(desk: Desk) -> None:
    seen: list[list[str]] = []
    desk.broker.before_submit = lambda: seen.append([e["kind"] for e in desk.journal.events])
    desk.enter(signal("AAA", 0.8))
    assert seen == [["intent"]]
    assert desk.journal.synced == 1
    assert [e["kind"] for e in desk.journal.events] == ["intent", "signal"]


def test_the_intent_keeps_the_models_own_confidence_beside_the_lowered_one(desk: Desk) -> None:
    desk.enter(signal("AAA", 0.7, own=0.8), signal("BBB", 0.75))
    kept = {e["symbol"]: e for e in desk.journal.events if e["kind"] == "intent"}
    assert (kept["AAA"]["confidence"], kept["AAA"]["model_confidence"]) == (0.7, 0.8)
    assert (kept["BBB"]["confidence"], kept["BBB"]["model_confidence"]) == (0.75, 0.75)
    assert {e["model_id"] for e in kept.values()} == {"20261123_200000"}
    assert {e["market"] for e in kept.values()} == {"recorded"}


def test_a_signal_tells_the_price_the_time_and_the_models_own_confidence(desk: Desk) -> None:
    desk.enter(signal("AAA", 0.3, own=0.8, price=12.5))
    (kept,) = desk.books.signals
    assert (kept["price"], kept["confidence"], kept["timestamp"]) == (12.5, 0.8, "2026-11-24T10:00:00-05:00")
    assert not kept["taken"]


def test_a_signal_that_lasts_is_written_once_and_again_when_it_is_bought_after_all(desk: Desk) -> None:
    for minute, (final, own) in enumerate([(0.4, 0.8), (0.3, 0.9), (0.7, 0.8), (0.7, 0.8)]):
        desk.enter(signal("AAA", final, own), minute=TEN + minute)
    assert desk.signals() == [
        ("AAA", False, "learnt from outcomes: confidence 0.80 becomes 0.40"),
        ("AAA", True, "ordered"),
    ]


def test_a_signal_that_fell_is_written_again_and_one_that_was_not_seen_meanwhile_is_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, stopped="watching only (--no-entries)")
    desk.enter(signal("AAA", 0.8), signal("BBB", 0.8))
    desk.enter(signal("AAA", 0.2), minute=TEN + 1)  # BBB had no bar
    desk.enter(signal("AAA", 0.8), signal("BBB", 0.8), minute=TEN + 2)
    assert [symbol for symbol, _, _ in desk.signals()] == ["AAA", "BBB", "AAA"]


def test_outcomes_are_those_of_the_last_minute_alone(desk: Desk) -> None:
    desk.enter(signal("AAA", 0.8))
    desk.enter(signal("BBB", 0.8), minute=TEN + 1)
    assert desk.entries.outcomes == {"BBB": "ordered"}
    desk.enter(signal("BBB", 0.1), minute=TEN + 2)
    assert desk.entries.outcomes == {}


def test_an_intent_that_cannot_be_brought_to_disk_sends_no_order(desk: Desk) -> None:
    def full(*, order: bool = False) -> None:
        raise OSError(28, "No space left on device")

    desk.journal.sync = full  # type: ignore[method-assign]
    assert desk.enter(signal("AAA", 0.8)) == {}
    assert desk.broker.orders == []
    assert desk.signals() == [("AAA", False, "the journal cannot be written (No space left on device)")]


def test_a_moment_later_is_another_minute_of_the_same_session(desk: Desk) -> None:
    """Ids come from session, symbol and attempt: two intents of one session are never the same order."""
    first = desk.enter(signal("AAA", 0.8))["AAA"]
    name = f"{first}/rejected"
    told = {"id": name, "kind": "cancelled", "order_id": first, "symbol": "AAA", "side": "BUY", "qty": 5, "price": 0.0}
    desk.record("execution", execution={**told, "minute": TEN + 5, "reason": "no trade in time"})
    second = desk.enter(signal("AAA", 0.8), minute=TEN + 6)["AAA"]
    assert (first.rpartition("-")[2], second.rpartition("-")[2]) == ("1", "2")
    assert first.rpartition("-")[0] == second.rpartition("-")[0]

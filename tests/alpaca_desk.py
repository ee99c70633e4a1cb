"""Books and an Alpaca broker over real HTTP, on the stand-in's virtual time: what the broker's tests drive."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standin import StandIn

import alpaca_wire
from alpaca_wire import AlpacaWire
from desk.alpaca_broker import AlpacaBroker
from desk.books import Books
from desk.orders import Execution, Order, Trade
from desk.reconcile import missed_executions
from market.hours import local_time, new_york

START = datetime(2026, 3, 2, 15, 0, 3, tzinfo=UTC)  # a Monday, 10:00:03 in New York
CLOSE = datetime(2026, 3, 2, 21, 0, tzinfo=UTC)
PATIENCE_MINUTES = 5


@pytest.fixture(scope="module")
def running(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars, now=START) as standin:
        yield standin


@pytest.fixture
def standin(running: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A fresh account at START; fills at once and whole, so that a test chooses what else happens."""
    monkeypatch.setattr(alpaca_wire, "READ_SECONDS", 0.5)  # a test need not wait as long as a trader
    random.seed(1)
    running.reset(START)
    running.settings(fill_model="bar_open", rate_limit=None)
    yield running
    running.clear_faults()


class Desk:
    """One account's books and broker. Waiting moves the stand-in's clock, and nothing else does."""

    def __init__(self, standin: StandIn, stop_loss: float = 0.02) -> None:
        self.standin, self.stop_loss = standin, stop_loss
        self.books = Books(local_time)
        self.books.apply({"kind": "journal", "started": "20260301_200000"})
        self.start()

    def start(self) -> None:
        """A new process on the same books."""
        s = self.standin
        wire = AlpacaWire(s.KEY, s.SECRET, s.api, s.api, wait=s.advance, monotonic=lambda: s.now().timestamp())
        self.broker = AlpacaBroker(wire, s.now, self.stop_loss, 0.04)
        self.broker.resume(self.books.tag, self.books.trades.values())

    @property
    def minute(self) -> int:
        return int(self.standin.now().timestamp() // 60)

    def next_minute(self) -> None:
        """Three seconds into the next minute: what the live clock does; then settle."""
        now = self.standin.now()
        self.standin.set_clock(now.replace(second=3, microsecond=0) + timedelta(minutes=1))
        self.settle()

    def intend(self, symbol: str = "NVDA", price: float = 179.0, qty: int = 5) -> Order:
        day = new_york(self.standin.now()).date()
        order = Order(
            self.books.entry_id(day, symbol), symbol, "BUY", qty, price, self.minute, self.minute + PATIENCE_MINUTES,
            self.stop_loss, 0.04,
        )  # fmt: skip
        self.books.apply(
            {
                "kind": "intent", "order_id": order.id, "symbol": symbol, "qty": qty, "price": price,
                "confidence": 0.7, "minute": self.minute, "stop_loss": self.stop_loss, "take_profit": 0.04,
                "model_id": "m", "market": "alpaca",
            }
        )  # fmt: skip
        return order

    def buy(self, symbol: str = "NVDA", price: float = 179.0, qty: int = 5) -> Trade:
        order = self.intend(symbol, price, qty)
        self.broker.submit(order)
        self.settle()
        return self.books.trades[order.id]

    def order_to_sell(self, trade: Trade, reason: str = "time") -> Order:
        order = Order(self.books.exit_id(trade), trade.symbol, "SELL", trade.held, 0.0, self.minute, reason=reason)
        self.books.apply({"kind": "exit", "order_id": order.id, "reason": reason, "minute": self.minute})
        return order

    def sell(self, trade: Trade, reason: str = "time") -> None:
        self.broker.submit(self.order_to_sell(trade, reason))
        self.settle()

    def settle(self) -> None:
        for execution in self.broker.settle(self.minute, ()):
            self.book(execution)

    def reconcile(self) -> None:
        for execution in missed_executions(self.books, self.broker, self.minute):
            self.book(execution)

    def book(self, execution: Execution) -> None:
        self.books.apply({"kind": "execution", "execution": asdict(execution)})

    def check(self) -> None:
        """What must hold once all is settled: one order an intent, books as the account, every share under a stop."""
        orders = self.standin.orders()
        ids = [o["client_order_id"] for o in orders]
        assert len(ids) == len(set(ids))
        held = {t.symbol: t.held for t in self.books.live_trades().values() if t.held}
        account = {symbol: int(float(p["qty"])) for symbol, p in self.standin.positions().items()}
        assert held == account
        for symbol, qty in held.items():
            assert self.standin.stopped_shares(symbol) == qty


@pytest.fixture
def desk(standin: StandIn) -> Desk:
    return Desk(standin)

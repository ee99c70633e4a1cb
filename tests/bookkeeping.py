"""The events of a few trades, as tests of the books and of their view tell them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any, Literal

from desk.books import Books
from desk.journal import Event
from desk.orders import Execution
from desk.trade_history import SCHEMA, old_signals, viewed
from market.hours import at_new_york, epoch_minute, moment, new_york

STAMP = "20260302_200000"
OPEN = epoch_minute(at_new_york(date(2026, 3, 2), "09:30"))


def local_time(minute: int) -> str:
    return new_york(moment(minute)).isoformat()


def intent(order_id: str = "NVDA-1", symbol: str = "NVDA", price: float = 100.0, minute: int = OPEN) -> Event:
    return {
        "n": 1, "kind": "intent", "order_id": order_id, "symbol": symbol, "qty": 5, "bound": "MAX_POSITION_SIZE",
        "price": price, "confidence": 0.71, "minute": minute, "stop_loss": 0.02, "take_profit": 0.04,
        "model_id": "20260301_200000", "market": "simulated",
    }  # fmt: skip


def told(
    kind: Literal["fill", "cancelled", "rejected"],
    side: Literal["BUY", "SELL"] = "BUY",
    price: float = 0.0,
    minute: int = OPEN + 1,
    order_id: str = "NVDA-1",
    symbol: str = "NVDA",
    reason: str = "entry",
    qty: int = 5,
) -> Event:
    levels = (price * 0.98, price * 1.04) if side == "BUY" and kind == "fill" else (None, None)
    name = f"{order_id}/{reason}"
    execution = Execution(name, kind, order_id, symbol, side, qty, price, minute, reason, *levels)
    return {"n": 2, "kind": "execution", "execution": asdict(execution)}


BOUGHT = told("fill", price=100.03)
STOPPED = told("fill", "SELL", 98.0, OPEN + 9, reason="stop")
SIGNAL = {
    "n": 9, "kind": "signal", "symbol": "NVDA", "price": 100.0, "confidence": 0.71, "timestamp": local_time(OPEN),
    "taken": True, "reason": "bought",
}  # fmt: skip

STORY: list[Event] = [
    intent(), SIGNAL, BOUGHT,
    intent("AMD-1", "AMD", 50.0), told("rejected", order_id="AMD-1", symbol="AMD", reason="no cash"),
    STOPPED,
    intent("NVDA-2", minute=OPEN + 20), told("cancelled", order_id="NVDA-2", reason="expired"),
    intent("NVDA-3", minute=OPEN + 30), told("fill", price=97.5, order_id="NVDA-3", minute=OPEN + 31),
]  # fmt: skip


def view_of(books: Books) -> dict[str, Any]:
    """What models/trade_history.json is to hold: all trades, and the signals of the newest sessions."""
    trades = [viewed(trade) for trade in books.trades.values()]
    return {"schema": SCHEMA, "trades": trades, "signals": books.signals[old_signals(books) :]}

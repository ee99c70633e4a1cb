"""The engine written to the state file and read from it."""

from __future__ import annotations

from typing import Any

from alpaca_standin.account import Account
from alpaca_standin.engine import Engine
from alpaca_standin.ledger import Fill, Ledger, Position
from alpaca_standin.order_book import OrderBook
from alpaca_standin.orders import Order
from alpaca_standin.state import State


def save(engine: Engine, extra: dict[str, Any], state: State) -> None:
    """Write what changed since the last time; `extra` are further documents by name."""
    for order in engine.book.changed.values():
        state.put("order", order.id, vars(order))
    engine.book.changed.clear()
    account = engine.account
    state.put("engine", "clock", {"now": engine.now, "moves": engine.moves})
    state.put(
        "engine",
        "account",
        {
            "cash": account.cash,
            "last_equity": account.last_equity,
            "true": [vars(position) for position in account.true.positions.values()],
            "shown": [vars(position) for position in account.shown.positions.values()],
            "unseen": [[visible_at, list(fill)] for visible_at, fill in account.unseen],
        },
    )
    state.put("engine", "settings", vars(engine.settings))
    for name, value in extra.items():
        state.put("extra", name, value)
    state.commit()


def restore(engine: Engine, state: State) -> bool:
    """Take up where the file's last process ended; False if the file is new."""
    clock = state.get("engine", "clock")
    if clock is None:
        return False
    engine.now, engine.moves = clock["now"], clock["moves"]
    orders = sorted((Order(**fields) for fields in state.all("order")), key=lambda order: order.number)
    engine.book = OrderBook(orders)
    known = state.get("engine", "account")
    account = Account(engine.book, engine.last_trade, engine.account.ask)
    account.cash, account.last_equity = known["cash"], known["last_equity"]
    account.true = Ledger([Position(**fields) for fields in known["true"]])
    account.shown = Ledger([Position(**fields) for fields in known["shown"]])
    account.unseen = [(visible_at, Fill(*fill)) for visible_at, fill in known["unseen"]]
    engine.account = account
    engine.settings.change(state.get("engine", "settings"))
    return True

"""The paper account: cash, positions as they are and as they are shown, buying power, shares that orders reserve."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from alpaca_standin.ledger import ZERO, Fill, Ledger
from alpaca_standin.order_book import OrderBook

CENT = Decimal("0.01")


class Account:
    """Money and shares. `price(symbol)` is the last trade now, `ask(symbol)` what a buy would pay."""

    def __init__(self, book: OrderBook, price: Callable[[str], Decimal | None], ask: Callable[[str], Decimal]) -> None:
        self.book, self.price, self.ask = book, price, ask
        self.cash = self.last_equity = Decimal(100_000)
        self.true, self.shown = Ledger(), Ledger()
        self.unseen: list[tuple[datetime, Fill]] = []

    def book_fill(self, fill: Fill, visible_at: datetime) -> None:
        """Cash and shares move at once; the positions endpoint learns of it at `visible_at`."""
        self.cash -= fill.qty * fill.price
        self.true.apply(fill)
        self.unseen.append((visible_at, fill))

    def show(self, now: datetime) -> None:
        """Let the fills that have become visible by `now` be seen."""
        for visible_at, fill in [item for item in self.unseen if item[0] <= now]:
            self.shown.apply(fill)
            self.unseen.remove((visible_at, fill))

    def split(self, symbol: str, ratio: Decimal) -> None:
        """More shares at the same cost, in what is held, what is shown and what is still to be shown."""
        self.true.split(symbol, ratio)
        self.shown.split(symbol, ratio)
        self.unseen = [
            (at, fill._replace(qty=fill.qty * ratio, price=fill.price / ratio) if fill.symbol == symbol else fill)
            for at, fill in self.unseen
        ]

    def reserved(self, symbol: str, side: str) -> tuple[Decimal, list[str]]:
        """Shares that live orders of that side hold, and the orders' ids; a pair of exits holds its shares once."""
        orders = [o for o in self.book.live.values() if o.symbol == symbol and o.side == side and self.book.at_work(o)]
        held: dict[str, Decimal] = {}
        for order in orders:
            key = order.group_id or order.id
            held[key] = max(held.get(key, ZERO), order.left)
        return sum(held.values(), ZERO), [order.id for order in orders]

    def open_buys(self) -> Decimal:
        """What the live buys may still cost, by their limit or the ask; buying back a short costs nothing here."""
        total = ZERO
        for order in self.book.live.values():
            if order.side == "buy" and self.book.at_work(order) and self.true.qty(order.symbol) >= 0:
                price = order.limit_price or order.stop_price or self.ask(order.symbol)
                total += (order.notional or ZERO) if order.qty is None else order.left * price
        return total

    def value(self, symbol: str, qty: Decimal) -> Decimal:
        """Shares at the last trade, to the cent."""
        return (qty * (self.price(symbol) or ZERO)).quantize(CENT)

    def market_value(self, long: bool = True) -> Decimal:
        """What all long, or all short, positions are worth."""
        held = [position for position in self.true.positions.values() if (position.qty > 0) == long]
        return sum((self.value(position.symbol, position.qty) for position in held), ZERO)

    def equity(self) -> Decimal:
        """Cash and everything held, to the cent."""
        return self.cash.quantize(CENT) + self.market_value() + self.market_value(long=False)

    def buying_power(self, multiplier: int = 4) -> Decimal:
        """What may still be bought: it falls with an order, not only with its fill."""
        exposure = self.market_value() - self.market_value(long=False)
        return max(ZERO, multiplier * self.equity() - exposure - self.open_buys())

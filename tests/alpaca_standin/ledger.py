"""Shares and cash: positions by average cost, as the account has them or, a little later, as it shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

ZERO = Decimal(0)


class Fill(NamedTuple):
    """`qty` is negative for a sale."""

    symbol: str
    qty: Decimal
    price: Decimal
    at: datetime


@dataclass
class Position:
    """Shares of one symbol; `qty` is negative for a short one."""

    symbol: str
    qty: Decimal
    cost: Decimal
    opened_at: datetime

    @property
    def average(self) -> Decimal:
        return self.cost / self.qty


class Ledger:
    """Positions by symbol; only those with shares."""

    def __init__(self, positions: list[Position] | None = None) -> None:
        self.positions = {position.symbol: position for position in positions or []}

    def qty(self, symbol: str) -> Decimal:
        return self.positions[symbol].qty if symbol in self.positions else ZERO

    def apply(self, fill: Fill) -> None:
        """Add to a position at cost, or take from it at its average."""
        held = self.positions.get(fill.symbol)
        if held is None:
            self.positions[fill.symbol] = Position(fill.symbol, fill.qty, fill.qty * fill.price, fill.at)
            return
        same_way = (held.qty > 0) == (fill.qty > 0)
        after = held.qty + fill.qty
        if after == 0:
            del self.positions[fill.symbol]
        elif same_way:
            held.qty, held.cost = after, held.cost + fill.qty * fill.price
        elif (after > 0) == (held.qty > 0):
            held.qty, held.cost = after, held.average * after
        else:
            self.positions[fill.symbol] = Position(fill.symbol, after, after * fill.price, fill.at)

    def split(self, symbol: str, ratio: Decimal) -> None:
        """More shares at the same cost."""
        if symbol in self.positions:
            self.positions[symbol].qty *= ratio

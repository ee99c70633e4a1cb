"""Broker: the seam between our decisions and whoever executes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from desk.orders import Account, Execution, Order, Position, PriceBar


class Broker(Protocol):
    """Executes market orders with a stop and a target; its word is the truth about fills, cash and positions."""

    @property
    def name(self) -> str: ...

    def account(self) -> Account:
        """Cash, equity and buying power now, USD."""

    def positions(self) -> Mapping[str, Position]:
        """What is held now, by symbol."""

    def working_orders(self) -> list[Order]:
        """Orders accepted and neither filled nor withdrawn."""

    def submit(self, order: Order) -> None:
        """Hand over an order. The same id twice is one order. What becomes of it is told by `settle`."""

    def settle(self, now_minute: int, bars: Iterable[PriceBar]) -> list[Execution]:
        """What happened up to `now_minute`, oldest first. `bars`, sorted by minute, are those since the last call."""

    def recent_executions(self) -> list[Execution]:
        """Executions of the last sessions again, oldest first, for books that may have missed some."""

    def save(self) -> None:
        """Make the broker's own memory durable, if it keeps one on this machine."""

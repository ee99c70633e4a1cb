"""Broker: the seam between our decisions and whoever executes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from desk.orders import Account, Execution, Order, Position, PriceBar, Trade


class Broker(Protocol):
    """Executes market orders with a stop and a target; its word is the truth about fills, cash and positions."""

    def resume(self, tag: str, trades: Iterable[Trade]) -> None:
        """Take up the trades of the books again after a start; `tag` begins the ids of all their orders."""

    def hindrance(self, close: datetime) -> str | None:
        """Why no entry may be made now, in a session that ends at `close`; None: go on."""

    def tradable(self, symbol: str) -> bool | None:
        """Whether a symbol may be bought; None: unknown."""

    def withdraw_entries(self) -> None:
        """Let no working entry buy any more, those of unknown outcome too; `settle` tells. May be asked again."""

    def leave_alone(self, symbols: Collection[str]) -> None:
        """Neither protect nor compare positions in these symbols: they were split, and a person looks after them."""

    def account(self) -> Account:
        """Cash, equity and buying power now, USD."""

    def positions(self) -> Mapping[str, Position]:
        """What is held now, by symbol."""

    def working_orders(self) -> list[Order]:
        """Orders accepted and neither filled nor withdrawn."""

    def submit(self, order: Order) -> None:
        """Hand over an order. The same id twice is one order. What becomes of it is told by `settle`; a sale of which
        nothing is known to have come is no longer a working order, and may be handed over again."""

    def settle(self, now_minute: int, bars: Iterable[PriceBar]) -> list[Execution]:
        """What happened up to `now_minute`, oldest first. `bars`, sorted by minute, are those since the last call.

        By `now_minute` the local account lets entries expire; Alpaca's own clock runs on, and is not told.
        """

    def recent_executions(self) -> list[Execution]:
        """Executions of the last sessions again, oldest first, for books that may have missed some.

        Raises BooksDisagree where the broker's own records contradict each other.
        """

    def save(self) -> None:
        """Make the broker's own memory durable, if it keeps one on this machine."""

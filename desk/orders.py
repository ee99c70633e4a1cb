"""The nouns of the desk: Order, Execution, Position, Account, Trade. Values only.

    Trade:  PENDING --first fill--> OPEN --all sold--> CLOSED
               |--refused--> REJECTED
               '--expired or withdrawn unfilled--> CANCELLED

Prices are USD per share, quantities whole shares, `minute` counts minutes since 1970-01-01 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Side = Literal["BUY", "SELL"]
Kind = Literal["fill", "cancelled", "rejected", "levels"]
Status = Literal["PENDING", "OPEN", "CLOSED", "REJECTED", "CANCELLED"]


class PriceBar(Protocol):
    """What a broker on this machine needs of a bar: `minute` is its start."""

    @property
    def symbol(self) -> str: ...
    @property
    def minute(self) -> int: ...
    @property
    def open(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def close(self) -> float: ...


@dataclass(frozen=True)
class Order:
    """A market order. A BUY carries its stop and target as fractions of the entry price; a SELL closes a position.

    `id` is made from what is meant (session, symbol, intent), so that the same intent can never be two orders. `price`
    is the last price known when it was decided. At `expires_minute` what is not filled is withdrawn; None: it waits.
    """

    id: str
    symbol: str
    side: Side
    qty: int
    price: float
    minute: int
    expires_minute: int | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    reason: str = "entry"


@dataclass(frozen=True)
class Execution:
    """What a broker says of an order. `id` is unique, so that hearing it twice changes nothing.

    A fill states the whole order so far: `qty` shares at `price` on average, so that a statement missed between two
    others is no loss. `stop_level` and `target_level` are those that now stand at the broker ("levels" says only
    them). `reason`: entry, stop, target, time, rebalance, by hand, or why it was cancelled or rejected. `trade_id`
    names the trade that an exit belongs to, where the broker knows it.
    """

    id: str
    kind: Kind
    order_id: str
    symbol: str
    side: Side
    qty: int
    price: float
    minute: int
    reason: str
    stop_level: float | None = None
    target_level: float | None = None
    trade_id: str | None = None


@dataclass(frozen=True)
class Position:
    """Shares held, with the levels that stand at the broker. `last_price` is the newest the broker knows.

    `protected` is False where the broker refused to take a stop.
    """

    symbol: str
    qty: int
    entry_price: float
    entry_minute: int
    stop_level: float
    target_level: float
    last_price: float
    protected: bool = True


@dataclass(frozen=True)
class Account:
    """Money in USD; `equity` is cash plus positions at their last price, `buying_power` what entries may spend."""

    cash: float
    equity: float
    buying_power: float


@dataclass
class Trade:
    """One entry and its exit, as documented for models/trade_history.json. Times are ISO 8601, New York.

    `exits` are the orders that sold, each with shares and average price; `exits_refused` counts sales that came to
    nothing; `entering` is True while the entry may still buy. `model_confidence` is the model's own, before outcomes
    lowered it to `confidence`; `why` are the features that spoke for the entry, the strongest first, each with feature,
    value and contribution to the score.
    """

    id: str
    symbol: str
    side: Side
    qty: int
    price: float
    confidence: float
    model_confidence: float
    entry_time: str
    stop_loss: float
    take_profit: float
    status: Status
    model_id: str
    market: str
    qty_ordered: int
    entry_minute: int
    exit_price: float | None = None
    exit_time: str | None = None
    pnl_pct: float | None = None
    pnl_amount: float | None = None
    exit_reason: str | None = None
    fees: float = 0.0
    entering: bool = True
    exits: dict[str, tuple[int, float]] = field(default_factory=dict)
    exits_refused: int = 0
    why: list[dict[str, Any]] = field(default_factory=list)

    @property
    def held(self) -> int:
        """Shares bought and not sold."""
        return self.qty - sum(qty for qty, _ in self.exits.values())

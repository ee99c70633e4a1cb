"""The nouns of the desk: Order, Execution, Position, Account, Trade. Values only.

    Trade:  PENDING --fill--> OPEN --exit fill--> CLOSED
               |--refused--> REJECTED
               '--expired or withdrawn--> CANCELLED

Prices are USD per share, quantities whole shares, `minute` counts minutes since 1970-01-01 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Side = Literal["BUY", "SELL"]
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
    """What a broker says happened to an order. `id` is unique, so that hearing it twice changes nothing.

    For fills `price` is the price paid or got; on entries `stop_level` and `target_level` are those that now stand at
    the broker. `reason`: entry, stop, target, time, rebalance, or why it was cancelled or rejected.
    """

    id: str
    kind: Literal["fill", "cancelled", "rejected"]
    order_id: str
    symbol: str
    side: Side
    qty: int
    price: float
    minute: int
    reason: str
    stop_level: float | None = None
    target_level: float | None = None


@dataclass(frozen=True)
class Position:
    """Shares held, with the levels that stand at the broker. `last_price` is the newest the broker knows."""

    symbol: str
    qty: int
    entry_price: float
    entry_minute: int
    stop_level: float
    target_level: float
    last_price: float


@dataclass(frozen=True)
class Account:
    """Money in USD; `equity` is cash plus positions at their last price, `buying_power` what entries may spend."""

    cash: float
    equity: float
    buying_power: float


@dataclass
class Trade:
    """One entry and its exit, as documented for models/trade_history.json. Times are ISO 8601, New York."""

    id: str
    symbol: str
    side: Side
    qty: int
    price: float
    confidence: float
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

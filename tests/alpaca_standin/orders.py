"""An order as the stand-in keeps it, and as Alpaca shows it.

pending_new -> new -> partially_filled* -> filled           in hours
accepted -> new -> ...                                      queued until the open
any live one -> pending_cancel -> canceled                  canceled, after a lag
any live one -> expired | replaced | rejected
held -> new | canceled                                      a leg whose entry is not filled, or the stop of a pair
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from alpaca_standin.formats import stamp, text

TERMINAL = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
ENTRY, TARGET, STOP = "entry", "take_profit", "stop_loss"


@dataclass
class Order:
    """One order. `role` is its part in a group; `number` counts orders in the sequence of booking.

    The last block is the engine's own: from when it may fill, what bar an exit was placed in, when a cancel completes.
    """

    number: int
    id: str
    client_order_id: str
    symbol: str
    asset_id: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    status: str
    notional: Decimal | None = None
    order_class: str = ""
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    extended_hours: bool = False
    position_intent: str = "buy_to_open"
    filled_qty: Decimal = Decimal(0)
    filled_avg_price: Decimal | None = None
    filled_at: datetime | None = None
    expired_at: datetime | None = None
    canceled_at: datetime | None = None
    failed_at: datetime | None = None
    replaced_at: datetime | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    role: str | None = None

    active_at: datetime | None = None
    fill_from: datetime | None = None
    placed_minute: int = 0
    next_minute: int = 0
    triggered: bool = False
    cancel_at: datetime | None = None
    fill_on_cancel: bool = False
    stop_rejected: bool = False
    filled_in_move: int = -1

    @property
    def live(self) -> bool:
        return self.status not in TERMINAL

    @property
    def resting(self) -> bool:
        """Waits for a price; a market order, and a stop that was triggered, do not."""
        return self.type != "market" and not (self.triggered and self.type == "stop")

    @property
    def left(self) -> Decimal:
        """What is still to fill; a notional order's is known only at its fill."""
        return (self.qty or Decimal(0)) - self.filled_qty

    def body(self, legs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The Order object of the trading API."""
        body = {
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": stamp(self.created_at),
            "updated_at": stamp(self.updated_at),
            "submitted_at": stamp(self.created_at),
            "filled_at": stamp(self.filled_at),
            "expired_at": stamp(self.expired_at),
            "expires_at": stamp(self.expires_at),
            "canceled_at": stamp(self.canceled_at),
            "failed_at": stamp(self.failed_at),
            "replaced_at": stamp(self.replaced_at),
            "replaced_by": self.replaced_by,
            "replaces": self.replaces,
            "asset_id": self.asset_id,
            "symbol": self.symbol,
            "asset_class": "us_equity",
            "notional": text(self.notional),
            "qty": text(self.qty),
            "filled_qty": text(self.filled_qty),
            "filled_avg_price": text(self.filled_avg_price),
            "order_class": self.order_class,
            "order_type": self.type,
            "type": self.type,
            "side": self.side,
            "position_intent": self.position_intent,
            "time_in_force": self.time_in_force,
            "limit_price": text(self.limit_price),
            "stop_price": text(self.stop_price),
            "status": self.status,
            "extended_hours": self.extended_hours,
            "legs": legs,
            "trail_percent": None,
            "trail_price": None,
            "hwm": None,
            "ratio_qty": None,
        }
        if self.group_id:
            body |= {"group_id": self.group_id, "group_role": self.role}
        return body

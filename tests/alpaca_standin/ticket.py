"""An order request read from its JSON: every field known, every choice one of Alpaca's, every number a number."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from alpaca_standin.formats import number
from alpaca_standin.refusals import invalid

FIELDS = {
    "symbol", "qty", "notional", "side", "type", "time_in_force", "limit_price", "stop_price", "trail_price",
    "trail_percent", "extended_hours", "client_order_id", "order_class", "take_profit", "stop_loss", "position_intent",
}  # fmt: skip
CHOICES = {
    "side": {"buy", "sell"},
    "type": {"market", "limit", "stop", "stop_limit"},
    "time_in_force": {"day", "gtc", "opg", "cls", "ioc", "fok"},
    "order_class": {"", "simple", "bracket", "oco", "oto"},
}
SIMULATED_TIMES = {"day", "gtc", "opg"}


@dataclass
class Ticket:
    """A well-formed order request: choices are known ones, numbers are numbers."""

    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    order_class: str
    extended_hours: bool
    client_order_id: str | None
    target_limit: Decimal | None
    loss_stop: Decimal | None
    loss_limit: Decimal | None

    @property
    def complex(self) -> bool:
        return self.order_class in ("bracket", "oco", "oto")


def read_ticket(body: dict[str, Any]) -> Ticket:
    """The body of POST /v2/orders; Refused names the field that is missing or malformed."""
    unknown = sorted(set(body) - FIELDS)
    if unknown:
        raise invalid(f"unknown field {unknown[0]}")
    for name, known in CHOICES.items():
        value = body.get(name)
        if value is None and name != "order_class":
            raise invalid(f"{name} is required")
        if value is not None and value not in known:
            raise invalid(f"invalid {name} {value}")
    if not body.get("symbol"):
        raise invalid("symbol is required")
    if body["time_in_force"] not in SIMULATED_TIMES:
        raise invalid(f"time_in_force {body['time_in_force']} is not simulated")
    if body.get("qty") is None and body.get("notional") is None:
        raise invalid("qty is required")
    if len(body.get("client_order_id") or "") > 128:
        raise invalid("client_order_id must be no more than 128 characters")
    target, loss = body.get("take_profit") or {}, body.get("stop_loss") or {}
    ticket = Ticket(
        symbol=body["symbol"],
        side=body["side"],
        type=body["type"],
        time_in_force=body["time_in_force"],
        qty=positive(body, "qty"),
        notional=positive(body, "notional"),
        limit_price=positive(body, "limit_price"),
        stop_price=positive(body, "stop_price"),
        order_class=body.get("order_class") or "",
        extended_hours=bool(body.get("extended_hours")),
        client_order_id=body.get("client_order_id") or None,
        target_limit=positive(target, "limit_price"),
        loss_stop=positive(loss, "stop_price"),
        loss_limit=positive(loss, "limit_price"),
    )
    needs_limit = ticket.type in ("limit", "stop_limit") and ticket.order_class != "oco"
    if needs_limit and ticket.limit_price is None:
        raise invalid(f"{ticket.type} orders require limit price")
    if ticket.type in ("stop", "stop_limit") and ticket.stop_price is None:
        raise invalid(f"{ticket.type} orders require stop price")
    return ticket


def positive(body: dict[str, Any], name: str) -> Decimal | None:
    """A number above zero, or None if the field is absent."""
    if body.get(name) is None:
        return None
    try:
        value = number(body[name])
    except ValueError as error:
        raise invalid(f"{name} is invalid") from error
    if value <= 0:
        raise invalid(f"{name} must be > 0")
    return value

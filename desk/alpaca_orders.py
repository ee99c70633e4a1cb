"""Alpaca's orders as values: what it says of them, the prices it accepts, and what that means for our books.

    entry   client id <trade>             market buy with its bracket: a limit (target) and a stop, alive once it filled
    sale    client id <trade>-sell-<n>    market sell
    arm     client id <trade>-arm-<n>     limit with a stop leg (OCO): the levels again, where the bracket's are gone

Numbers arrive as text. Prices are USD per share and obey Rule 612 of Regulation NMS: whole cents from 1 USD on, four
decimals below.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from alpaca.trading.enums import OrderClass, OrderSide, TimeInForce
from alpaca.trading.requests import (
    LimitOrderRequest,
    MarketOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
)

from alpaca_wire import Unreachable
from desk.orders import Execution, Kind, Order

MOST = 1e12  # shares or USD per share; beyond it an amount is nonsense
ENDED = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})  # any other word means: it may still fill


@dataclass(frozen=True)
class Placed:
    """One order as Alpaca tells it; `price` is the average of its fills, `minute` that of its last change."""

    id: str
    client_id: str
    symbol: str
    side: str
    kind: str
    status: str
    qty: int
    filled: int
    price: float
    limit: float | None
    stop: float | None
    minute: int
    submitted: datetime
    replaces: str | None
    replaced_by: str | None
    legs: tuple[Placed, ...]

    @property
    def live(self) -> bool:
        """Whether it may still fill; `held` legs and states that we do not know count as alive."""
        return self.status not in ENDED

    @property
    def family(self) -> tuple[Placed, ...]:
        """The order and its legs."""
        return (self, *self.legs)


def placed(raw: Any) -> Placed:
    """Read one order of Alpaca's JSON. Unreachable if what matters is missing or no number: the answer is unusable."""
    try:
        # A person may sell parts of a share: rounded up, so that such a sale explains the whole share that is gone.
        filled, average = math.ceil(_number(raw["filled_qty"])), _number(raw.get("filled_avg_price") or 0)
        if filled and not average:
            raise ValueError("shares without a price")  # noqa: TRY301 - as unusable as a missing field
        changed = raw.get("filled_at") or raw.get("canceled_at") or raw.get("updated_at") or raw["submitted_at"]
        return Placed(
            id=str(raw["id"]),
            client_id=str(raw["client_order_id"]),
            symbol=str(raw["symbol"]),
            side=str(raw["side"]),
            kind=str(raw.get("type") or raw["order_type"]),
            status=str(raw["status"]),
            qty=int(_number(raw["qty"] or 0)),  # null: a person's order by amount of money
            filled=filled,
            price=average,
            limit=_optional(raw.get("limit_price")),
            stop=_optional(raw.get("stop_price")),
            minute=int(_moment(changed).timestamp() // 60),
            submitted=_moment(raw.get("submitted_at") or raw["created_at"]),
            replaces=_name(raw.get("replaces")),
            replaced_by=_name(raw.get("replaced_by")),
            legs=tuple(placed(leg) for leg in raw.get("legs") or ()),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Unreachable(f"an order in Alpaca's reply cannot be read ({type(error).__name__}: {error})") from error


def _number(text: object) -> float:
    value = float(text)  # type: ignore[arg-type]
    if not 0 <= value <= MOST:
        raise ValueError(f"{text!r} is no amount")
    return value


def _moment(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.tzinfo is None or not 1970 < when.year < 9999:
        raise ValueError(f"{text!r} is no moment")
    return when


def _name(value: object) -> str | None:
    return None if value is None else str(value)


def _optional(text: object) -> float | None:
    return None if text is None else _number(text)


def tick(price: float) -> float:
    """The smallest step of a price."""
    return 0.01 if price >= 1 else 0.0001


def stop_price(entry: float, fraction: float) -> float:
    """The stop `fraction` below `entry`, rounded down: never nearer than asked, and never at the entry itself."""
    exact = Decimal(str(entry)) * (1 - Decimal(str(fraction)))
    return _on_tick(min(exact, Decimal(str(entry)) - Decimal("0.01")), ROUND_FLOOR)


def target_price(entry: float, fraction: float) -> float:
    """The target `fraction` above `entry`, rounded up."""
    exact = Decimal(str(entry)) * (1 + Decimal(str(fraction)))
    return _on_tick(max(exact, Decimal(str(entry)) + Decimal("0.01")), ROUND_CEILING)


def _on_tick(price: Decimal, rounding: str) -> float:
    return float(price.quantize(Decimal("0.01") if price >= 1 else Decimal("0.0001"), rounding))


def bracket(order: Order, base: float) -> MarketOrderRequest:
    """An entry with its legs, priced from `base`. The legs are good till cancelled: day legs die at 16:00."""
    return MarketOrderRequest(
        symbol=order.symbol,
        qty=order.qty,
        side=OrderSide.BUY,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.BRACKET,
        client_order_id=order.id,
        take_profit=TakeProfitRequest(limit_price=target_price(base, order.take_profit or 0.0)),
        stop_loss=StopLossRequest(stop_price=stop_price(base, order.stop_loss or 0.0)),
    )


def market_sale(order_id: str, symbol: str, qty: int) -> MarketOrderRequest:
    """A sale at the market, good for the day."""
    return MarketOrderRequest(
        symbol=symbol, qty=qty, side=OrderSide.SELL, time_in_force=TimeInForce.DAY, client_order_id=order_id
    )


def arm(order_id: str, symbol: str, qty: int, stop: float, target: float) -> LimitOrderRequest:
    """Stop and target for shares that have lost theirs: one cancels the other."""
    return LimitOrderRequest(
        symbol=symbol,
        qty=qty,
        side=OrderSide.SELL,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.OCO,
        client_order_id=order_id,
        limit_price=target,
        take_profit=TakeProfitRequest(limit_price=target),
        stop_loss=StopLossRequest(stop_price=stop),
    )


def exits_of(trade_id: str, rows: Iterable[Placed], known: Collection[str] = ()) -> list[Placed]:
    """All sell orders among `rows` that belong to a trade: legs, arms, sales, and what replaced one of these.

    `known` are ids of orders that are known to belong to it.
    """
    rows = list(rows)
    every = [order for row in rows for order in row.family if order.side == "sell"]
    ours = {*known, *(o.id for row in rows if row.client_id == trade_id for o in row.legs)}
    ours |= {o.id for row in rows if row.client_id.startswith(f"{trade_id}-") for o in row.family}
    while new := {o.id for o in every if o.replaces in ours} - ours:
        ours |= new
    return [o for o in every if o.id in ours]


def standing_levels(exits: Iterable[Placed]) -> tuple[float | None, float | None]:
    """Stop and target that are alive at the broker."""
    live = [o for o in exits if o.live]
    return (
        next((o.stop for o in live if o.stop is not None), None),
        next((o.limit for o in live if o.kind == "limit"), None),
    )


def statements(trade_id: str, entry: Placed, exits: Sequence[Placed], qty_ordered: int) -> Iterator[Execution]:
    """What an entry and its exits mean for the books, oldest first; `qty_ordered` by the newest intent under its id."""
    stop, target = standing_levels(exits)
    symbol = entry.symbol
    if entry.filled:
        name = f"{trade_id}/fill/{entry.filled}"
        yield Execution(
            name, "fill", trade_id, symbol, "BUY", entry.filled, entry.price, entry.minute, "entry", stop, target
        )
    if entry.status in ("canceled", "expired", "rejected"):
        kind: Kind = "rejected" if entry.status == "rejected" else "cancelled"
        name, words = f"{trade_id}/{entry.status}", f"{entry.status} at Alpaca"
        yield Execution(name, kind, trade_id, symbol, "BUY", entry.filled, 0.0, entry.minute, words)
    elif entry.status == "filled" and entry.filled < qty_ordered:  # an earlier intent under this id had arrived
        words = f"Alpaca had an order of {entry.filled} under this id"
        yield Execution(
            f"{trade_id}/fewer", "cancelled", trade_id, symbol, "BUY", entry.filled, 0.0, entry.minute, words
        )
    if stop is not None and entry.filled:
        legs = "/".join(sorted(o.id for o in exits if o.live))
        yield Execution(
            f"{trade_id}/levels/{legs}", "levels", trade_id, symbol, "BUY", 0, 0.0, entry.minute, "levels", stop, target
        )
    for order in sorted(exits, key=lambda o: o.minute):
        sale = order.client_id.startswith(f"{trade_id}-sell-")
        order_id = order.client_id if sale else f"{trade_id}/{order.id}"
        if order.filled:
            reason = "sale" if sale else "target" if order.kind == "limit" else "stop"
            name = f"{order_id}/fill/{order.filled}"
            yield Execution(
                name, "fill", order_id, symbol, "SELL", order.filled, order.price, order.minute, reason,
                trade_id=trade_id,
            )  # fmt: skip
        if sale and order.status in ("canceled", "expired", "rejected"):
            name = f"{order_id}/{order.status}"
            yield Execution(
                name, "cancelled", order_id, symbol, "SELL", order.filled, 0.0, order.minute, order.status,
                trade_id=trade_id,
            )  # fmt: skip


def foreign_orders(tag: str, rows: Iterable[Placed], ours: Collection[str]) -> Iterator[str]:
    """Words about living orders that these books did not send; `ours` are ids of orders that they did."""
    for row in rows:
        if row.live and row.id not in ours and not row.client_id.startswith(f"{tag}-"):
            yield f"{row.symbol}: a {row.side} order of {row.qty} shares is not ours; left alone"

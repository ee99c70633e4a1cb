"""POST, GET, PATCH and DELETE of /v2/orders."""

from __future__ import annotations

from typing import Any

from alpaca_standin.account_api import ensure_unblocked
from alpaca_standin.assets import is_uuid
from alpaca_standin.call import Answer, Call
from alpaca_standin.engine import Engine
from alpaca_standin.orders import ENTRY, STOP, TARGET, Order
from alpaca_standin.refusals import invalid, missing, unprocessable
from alpaca_standin.ticket import Ticket
from alpaca_standin.validation import check_order, check_replace


def submit(call: Call) -> Answer:
    """Book an order; the answer shows it as it was taken, whatever happens to it right after."""
    engine = call.engine
    ensure_unblocked(call)
    ticket, security = check_order(engine, call.json())
    oco = ticket.order_class == "oco"
    order = engine.submit(
        _legs(ticket),
        symbol=ticket.symbol,
        asset_id=security.id,
        side=ticket.side,
        type=ticket.type,
        time_in_force=ticket.time_in_force,
        qty=ticket.qty,
        notional=ticket.notional,
        limit_price=ticket.target_limit if oco else ticket.limit_price,
        stop_price=ticket.stop_price,
        order_class="" if ticket.order_class == "simple" else ticket.order_class,
        extended_hours=ticket.extended_hours,
        client_order_id=ticket.client_order_id,
        position_intent=intent(engine, ticket.symbol, ticket.side),
        group_id="" if ticket.complex else None,
        role=(TARGET if oco else ENTRY) if ticket.complex else None,
    )
    order.stop_rejected = call.meets("stop_rejected")
    answer = show(engine, order, nested=True)
    engine.settle()
    return 200, answer


def _legs(ticket: Ticket) -> list[dict[str, Any]]:
    """The fields of the legs; those of an order of class simple are not looked at, as with Alpaca."""
    if not ticket.complex:
        return []
    oco = ticket.order_class == "oco"
    side = ticket.side if oco else "sell" if ticket.side == "buy" else "buy"
    common = {"side": side, "qty": ticket.qty, "position_intent": f"{side}_to_close"}
    legs = []
    if ticket.target_limit is not None and not oco:
        legs.append(common | {"role": TARGET, "type": "limit", "limit_price": ticket.target_limit})
    if ticket.loss_stop is not None:
        kind = "stop" if ticket.loss_limit is None else "stop_limit"
        prices = {"stop_price": ticket.loss_stop, "limit_price": ticket.loss_limit}
        legs.append(common | {"role": STOP, "type": kind} | prices)
    return legs


def intent(engine: Engine, symbol: str, side: str) -> str:
    """Does an order of that side open or close a position?"""
    held = engine.account.true.qty(symbol)
    closes = held > 0 if side == "sell" else held < 0
    return f"{side}_to_{'close' if closes else 'open'}"


def show(engine: Engine, order: Order, nested: bool) -> dict[str, Any]:
    """An order's JSON, with its legs if `nested` and it has some."""
    legs = [leg.body() for leg in engine.book.legs(order)] if nested else []
    for leg in legs:  # the description gives these to no leg under its order
        del leg["expires_at"], leg["ratio_qty"]
    return order.body(legs or None)


def find(call: Call, order_id: str) -> Order:
    """The order of an id in a path."""
    if not is_uuid(order_id):
        raise invalid("order_id is missing" if not order_id else f"invalid order_id {order_id}")
    order = call.engine.book.all.get(order_id)
    if order is None:
        raise missing(f"order not found for {order_id}")
    return order


def get(call: Call) -> Answer:
    """One order by id."""
    return 200, show(call.engine, find(call, call.part), call.flag("nested"))


def get_by_client_id(call: Call) -> Answer:
    """One order by the client's id; with its legs, if it has some."""
    client_id = call.query.get("client_order_id", "")
    if not client_id:
        raise invalid("client_order_id is missing")
    order = call.engine.book.by_client_id.get(client_id)
    if order is None:
        raise missing(f"order not found for {client_id}")
    return 200, show(call.engine, order, nested=True)


def get_all(call: Call) -> Answer:
    """Orders by status, symbol, side and time, newest first unless asked otherwise."""
    status = call.choice("status", "open", ("open", "closed", "all"))
    direction = call.choice("direction", "desc", ("asc", "desc"))
    side = call.choice("side", "", ("", "buy", "sell"))
    limit, nested = call.count("limit", 50, 500), call.flag("nested")
    after, until = call.moment("after"), call.moment("until")
    symbols = set(call.query["symbols"].split(",")) if call.query.get("symbols") else None
    rows = _rows(call.engine, nested, status)
    chosen = [
        order
        for order in sorted(rows, key=lambda order: (order.created_at, order.number), reverse=direction == "desc")
        if (symbols is None or order.symbol in symbols)
        and (not side or order.side == side)
        and (after is None or order.created_at > after)
        and (until is None or order.created_at < until)
    ]
    return 200, [show(call.engine, order, nested) for order in chosen[:limit]]


def _rows(engine: Engine, nested: bool, status: str) -> list[Order]:
    """The rows of a list: flat, a `held` leg is not open; nested, a filled entry stays open with its legs (variant)."""
    stays = nested and engine.settings.variants["nested_open_shows_filled_parent"]

    def is_open(order: Order) -> bool:
        live_legs = any(leg.live for leg in engine.book.legs(order)) if stays else False
        return (order.live and order.status != "held") or live_legs

    def is_row(order: Order) -> bool:
        parent = engine.book.all.get(order.parent_id or "")
        return not nested or parent is None or (status == "open" and not is_open(parent))

    source = engine.book.live.values() if status == "open" and not nested else engine.book.all.values()
    return [order for order in source if is_row(order) and (status == "all" or is_open(order) == (status == "open"))]


def replace(call: Call) -> Answer:
    """A new order with other prices or another quantity; the old one is `replaced`."""
    order = find(call, call.part)
    new = call.engine.replace(order, **check_replace(call.engine, order, call.json()))
    answer = show(call.engine, new, nested=True)
    call.engine.settle()
    return 200, answer


def cancel(call: Call) -> Answer:
    """Ask for an order's end."""
    order = find(call, call.part)
    if order.status in ("pending_cancel", "canceled") and call.variant("canceled_again") == 204:
        return 204, None
    if not order.live or order.status == "pending_cancel":
        raise unprocessable(f'order is already in "{order.status}" state')
    call.engine.cancel(order, fill_instead=call.meets("fill_on_cancel"))
    call.engine.settle()
    return 204, None


def cancel_all(call: Call) -> Answer:
    """Ask for the end of every open order; one answer each."""
    answers = []
    for order in list(call.engine.book.live.values()):
        if order.status not in ("held", "pending_cancel"):
            call.engine.cancel(order)
            answers.append({"id": order.id, "status": 200})
    call.engine.settle()
    return 207, answers

"""The checks of POST and PATCH /v2/orders, in the order in which the API makes them."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from typing import Any

from alpaca_standin.assets import Asset
from alpaca_standin.engine import Engine
from alpaca_standin.formats import text, tick
from alpaca_standin.ledger import ZERO
from alpaca_standin.orders import Order
from alpaca_standin.refusals import Refused, forbidden, invalid, missing, unprocessable
from alpaca_standin.ticket import Ticket, positive, read_ticket
from market.hours import new_york

REPLACE_FIELDS = {"qty", "time_in_force", "limit_price", "stop_price", "trail", "client_order_id"}
CENT = Decimal("0.01")


def check_order(engine: Engine, body: dict[str, Any]) -> tuple[Ticket, Asset]:
    """Every check; Refused says which one failed first."""
    ticket = read_ticket(body)
    if ticket.client_order_id in engine.book.by_client_id:
        raise invalid("client_order_id must be unique")
    if ticket.extended_hours and ticket.type != "limit":
        raise invalid('only type="limit" is allowed for extended hours orders')
    _check_prices(ticket)
    asset = _check_asset(engine, ticket)
    _check_class(engine, ticket)
    _check_levels(engine, ticket)
    _check_money(engine, ticket)
    _check_shares(engine, ticket)
    _check_wash_trade(engine, ticket)
    _check_opening_auction(engine, ticket)
    return ticket, asset


def _check_prices(ticket: Ticket) -> None:
    prices = {
        "limit_price": ticket.limit_price,
        "stop_price": ticket.stop_price,
        "take_profit.limit_price": ticket.target_limit if ticket.complex else None,
        "stop_loss.stop_price": ticket.loss_stop if ticket.complex else None,
        "stop_loss.limit_price": ticket.loss_limit if ticket.complex else None,
    }
    for name, price in prices.items():
        check_increment(name, price)


def check_increment(name: str, price: Decimal | None) -> None:
    """A cent, or a hundredth of one below a dollar."""
    if price is not None and price % tick(price) != 0:
        problem = "sub-penny increment does not fulfill minimum pricing criteria"
        raise unprocessable(f"invalid {name} {text(price)}. {problem}")


def _check_asset(engine: Engine, ticket: Ticket) -> Asset:
    asset = engine.assets.find(ticket.symbol)
    which = None
    if asset is None or engine.last_trade(asset.symbol) is None:
        which = "unknown_asset_body"
    elif asset.status != "active":
        which = "inactive_body"
    elif not asset.tradable:
        which = "not_tradable_body"
    if which or asset is None:
        body = dict(engine.settings.variants[which or "unknown_asset_body"])
        raise Refused(422, body | {"message": body["message"].format(symbol=ticket.symbol)})
    ticket.symbol = asset.symbol
    return asset


def _check_class(engine: Engine, ticket: Ticket) -> None:
    code = engine.settings.variants["bracket_lacks_leg_code"]
    kind = ticket.order_class
    if kind in ("bracket", "oco") and ticket.target_limit is None:
        raise unprocessable(f"{kind} orders require take_profit.limit_price", code)
    if kind in ("bracket", "oco") and ticket.loss_stop is None:
        raise unprocessable(f"{kind} orders require stop_loss.stop_price", code)
    if kind == "oto" and (ticket.target_limit is None) == (ticket.loss_stop is None):
        raise unprocessable("oto orders require take_profit.limit_price or stop_loss.stop_price", code)
    held = engine.account.true.qty(ticket.symbol)
    exits = held > 0 if ticket.side == "sell" else held < 0
    if kind in ("bracket", "oto") and exits:
        raise unprocessable(f"{kind} orders must be entry orders")
    if kind == "oco" and not exits:
        raise unprocessable("oco orders must be exit orders")
    if kind == "oco" and ticket.type != "limit":
        raise unprocessable("oco orders must be limit orders")
    fractional = ticket.notional is not None or (ticket.qty is not None and ticket.qty % 1 != 0)
    if fractional and ticket.complex:
        raise unprocessable("fractional orders must be simple orders")
    if fractional and ticket.time_in_force != "day":
        raise unprocessable("fractional orders must be DAY orders")
    if ticket.notional is not None and (ticket.qty is not None or ticket.type != "market"):
        raise invalid("only one of qty or notional is accepted")
    if ticket.complex and ticket.time_in_force not in ("day", "gtc"):
        raise unprocessable(f"{kind} orders must be DAY or GTC orders")
    if ticket.complex and ticket.extended_hours:
        raise unprocessable(f"extended hours orders must not be {kind} orders")


def _check_levels(engine: Engine, ticket: Ticket) -> None:
    """Each level on its side of the market; a bracket's base is its own limit when it is a limit order."""
    last = engine.last_trade(ticket.symbol) or ZERO
    base = ticket.limit_price if ticket.limit_price is not None and ticket.order_class != "oco" else last
    sells = (ticket.side == "buy") == (ticket.order_class != "oco")  # do the exits sell?
    shown = {"base_price": text(base)}
    if ticket.complex and ticket.target_limit is not None:
        if sells and ticket.target_limit < base + CENT:
            raise unprocessable("take_profit.limit_price must be >= base_price + 0.01", **shown)
        if not sells and ticket.target_limit > base - CENT:
            raise unprocessable("take_profit.limit_price must be <= base_price - 0.01", **shown)
    if ticket.complex and ticket.loss_stop is not None:
        if sells and ticket.loss_stop > base - CENT:
            raise unprocessable("stop_loss.stop_price must be <= base_price - 0.01", **shown)
        if not sells and ticket.loss_stop < base + CENT:
            raise unprocessable("stop_loss.stop_price must be >= base_price + 0.01", **shown)
    check_stop_side(ticket.side, ticket.stop_price, last)


def check_stop_side(side: str, stop: Decimal | None, last: Decimal) -> None:
    """A stop waits beyond the market."""
    if stop is not None and side == "sell" and stop >= last:
        raise unprocessable("stop price must be less than current price")
    if stop is not None and side == "buy" and stop <= last:
        raise unprocessable("stop price must be greater than current price")


def _check_opening_auction(engine: Engine, ticket: Ticket) -> None:
    local = new_york(engine.now).time()
    if ticket.time_in_force == "opg" and time(9, 28) <= local < time(19):
        raise forbidden("opg orders must be submitted after 7:00pm and before 9:28am")


def _check_shares(engine: Engine, ticket: Ticket) -> None:
    """An exit may take what no other order holds; without a position it opens one the other way."""
    ledger = engine.account.shown if engine.settings.variants["shares_available_lag"] else engine.account.true
    existing = ledger.qty(ticket.symbol)
    if existing == 0 or ticket.qty is None or (existing > 0) == (ticket.side == "buy"):
        return
    reserved, related = engine.account.reserved(ticket.symbol, ticket.side)
    available = max(ZERO, abs(existing) - reserved)
    if ticket.qty > available:
        raise held_back(ticket.symbol, ticket.qty, abs(existing), reserved, related)


def held_back(symbol: str, asked: Decimal, existing: Decimal, reserved: Decimal, related: list[str]) -> Refused:
    """Other orders hold the shares."""
    available = max(ZERO, existing - reserved)
    return forbidden(
        f"insufficient qty available for order (requested: {text(asked)}, available: {text(available)})",
        available=text(available),
        existing_qty=text(existing),
        held_for_orders=text(reserved),
        related_orders=related,
        symbol=symbol,
    )


def _check_wash_trade(engine: Engine, ticket: Ticket) -> None:
    """No simple order may meet one of the account's own; groups are exempt on either side."""
    if ticket.complex:
        return
    for order in engine.book.live.values():
        other_side = order.symbol == ticket.symbol and order.side != ticket.side and order.group_id is None
        if other_side and _may_meet(ticket, order):
            raise forbidden(
                "potential wash trade detected. use complex orders",
                status=engine.settings.variants["wash_trade_status"],
                code=40310000 if engine.settings.variants["wash_trade_status"] == 403 else 42210000,
                existing_order_id=order.id,
                reject_reason="opposite side order exists",
            )


def _may_meet(ticket: Ticket, order: Order) -> bool:
    if ticket.type == "limit" and order.type == "limit":
        buy, sell = (ticket, order) if ticket.side == "buy" else (order, ticket)
        return (buy.limit_price or ZERO) >= (sell.limit_price or ZERO)
    return True


def _check_money(engine: Engine, ticket: Ticket) -> None:
    opens = (engine.account.true.qty(ticket.symbol) >= 0) == (ticket.side == "buy") or (
        engine.account.true.qty(ticket.symbol) == 0
    )
    if not opens:
        return
    bid, ask = engine.quote(ticket.symbol)
    price = ticket.limit_price or ticket.stop_price or (ask if ticket.side == "buy" else bid)
    cost = ticket.notional if ticket.qty is None else ticket.qty * price
    power = engine.account.buying_power()
    if (cost or ZERO) > power:
        raise forbidden("insufficient buying power", buying_power=text(power), cost_basis=text(cost))


def check_replace(engine: Engine, order: Order | None, body: dict[str, Any]) -> dict[str, Any]:
    """The checks of PATCH; the fields to change."""
    if order is None:
        raise missing("order not found")
    unknown = sorted(set(body) - REPLACE_FIELDS)
    if unknown:
        raise invalid(f"unknown field {unknown[0]}")
    if not order.live:
        raise unprocessable(f'order is already in "{order.status}" state')
    held_leg = order.status == "held" and engine.settings.variants["leg_replace_allowed_while_held"]
    if order.status not in ("new", "partially_filled") and not held_leg:
        raise unprocessable(f"cannot replace order in {order.status} status")
    if body.get("client_order_id") in engine.book.by_client_id:
        raise invalid("client_order_id must be unique")
    changes: dict[str, Any] = {name: positive(body, name) for name in ("qty", "limit_price", "stop_price")}
    if order.parent_id and (changes["qty"] or body.get("time_in_force")):
        raise unprocessable("only limit_price and stop_price of a leg may be replaced")
    for name in ("limit_price", "stop_price"):
        check_increment(name, changes[name])
        if changes[name] is not None and getattr(order, name) is None:
            raise unprocessable(f"{name} is not accepted for {order.type} orders")
    if engine.book.at_work(order):
        check_stop_side(order.side, changes["stop_price"], engine.last_trade(order.symbol) or ZERO)
    return changes | {name: body.get(name) for name in ("time_in_force", "client_order_id")}

"""GET and DELETE of /v2/positions."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import Any

from alpaca_standin import orders_api
from alpaca_standin.account_api import ensure_unblocked
from alpaca_standin.call import Answer, Call
from alpaca_standin.engine import Engine
from alpaca_standin.formats import number, on_tick, text
from alpaca_standin.ledger import ZERO, Ledger, Position
from alpaca_standin.orders import Order
from alpaca_standin.refusals import Refused, invalid, missing
from alpaca_standin.validation import held_back
from market.hours import new_york

RATIO = Decimal("0.000001")


def get_all(call: Call) -> Answer:
    """Every position that has become visible."""
    return 200, list_positions(call.engine, call.engine.account.shown)


def list_positions(engine: Engine, ledger: Ledger) -> list[dict[str, Any]]:
    """The positions of a ledger, by symbol."""
    return [show(engine, ledger.positions[symbol]) for symbol in sorted(ledger.positions)]


def get(call: Call) -> Answer:
    """One position by symbol or asset id."""
    return 200, show(call.engine, _find(call))


def _find(call: Call) -> Position:
    asset = call.engine.assets.find(call.part)
    position = call.engine.account.shown.positions.get(asset.symbol if asset else call.part)
    if position is None:
        raise missing("position does not exist")
    return position


def show(engine: Engine, position: Position) -> dict[str, Any]:
    """A position's JSON, valued at the last trade."""
    asset = engine.assets.by_symbol[position.symbol]
    price = engine.last_trade(position.symbol) or ZERO
    opened = new_york(position.opened_at).date()
    today = new_york(engine.now).date()
    session = engine.hours.on(today)
    before = session.open if session and session.open <= engine.now else engine.now
    close = engine.tape.close_before(position.symbol, before)
    last_day = price if close is None else on_tick(close)
    value, cost = engine.account.value(position.symbol, position.qty), position.cost
    gain, day_cost = value - cost, cost if opened == today else position.qty * last_day
    exit_side = "sell" if position.qty > 0 else "buy"
    reserved, _ = engine.account.reserved(position.symbol, exit_side)
    free = max(ZERO, abs(position.qty) - reserved)
    return {
        "asset_id": asset.id,
        "symbol": position.symbol,
        "exchange": asset.exchange,
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": text(position.qty),
        "qty_available": text(free if position.qty > 0 else -free),
        "avg_entry_price": text(position.average.quantize(RATIO)),
        "side": "long" if position.qty > 0 else "short",
        "market_value": text(value),
        "cost_basis": text(cost),
        "unrealized_pl": text(gain),
        "unrealized_plpc": text((gain / abs(cost)).quantize(RATIO)),
        "unrealized_intraday_pl": text(value - day_cost),
        "unrealized_intraday_plpc": text(((value - day_cost) / abs(day_cost)).quantize(RATIO)),
        "current_price": text(price),
        "lastday_price": text(last_day),
        "change_today": text((price / last_day - 1).quantize(RATIO)),
    }


def close(call: Call) -> Answer:
    """Sell a position, or a part of it, at the market."""
    ensure_unblocked(call)
    position = _find(call)
    order = _close(call.engine, position, _quantity(call, position))
    answer = orders_api.show(call.engine, order, nested=False)
    call.engine.settle()
    return 200, answer


def _quantity(call: Call, position: Position) -> Decimal:
    try:
        if "qty" in call.query:
            return number(call.query["qty"])
        share = number(call.query.get("percentage", "100")) / 100
    except ValueError as error:
        raise invalid("qty or percentage is invalid") from error
    if not 0 < share <= 1:
        raise invalid("percentage must be between 0 and 100")
    return (abs(position.qty) * share).quantize(Decimal("1e-9"), ROUND_DOWN).normalize()


def _close(engine: Engine, position: Position, qty: Decimal) -> Order:
    side = "sell" if position.qty > 0 else "buy"
    existing = abs(engine.account.true.qty(position.symbol))
    reserved, related = engine.account.reserved(position.symbol, side)
    if qty > existing - reserved:
        raise held_back(position.symbol, qty, existing, reserved, related)
    return engine.submit(
        [],
        symbol=position.symbol,
        asset_id=engine.assets.by_symbol[position.symbol].id,
        side=side,
        type="market",
        time_in_force="day",
        qty=qty,
        position_intent=f"{side}_to_close",
    )


def close_all(call: Call) -> Answer:
    """Sell everything; what could not be sold says so in its own item, with the answer as a whole still a 207."""
    ensure_unblocked(call)
    if call.flag("cancel_orders"):
        orders_api.cancel_all(call)
    answers = []
    for position in list(call.engine.account.shown.positions.values()):
        item: dict[str, Any] = {"symbol": position.symbol, "status": 200}
        try:
            order = _close(call.engine, position, abs(position.qty))
            item["body"] = orders_api.show(call.engine, order, nested=False)
        except Refused as refusal:
            item |= {"status": refusal.status, "body": refusal.body}
        answers.append(item)
    call.engine.settle()
    return 207, answers

"""The control port: the clock, the settings, faults, and the truth behind the answers. JSON in, JSON out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alpaca_standin.desk import Desk
from alpaca_standin.faults import BadFault
from alpaca_standin.formats import moment_of
from alpaca_standin.positions_api import list_positions
from alpaca_standin.settings import BadSetting


class BadControl(ValueError):
    """Control asked for something that cannot be."""


def control(desk: Desk) -> Starlette:
    """The application of the control port."""

    def route(path: str, **handlers: Callable[[Desk, dict[str, Any]], Any]) -> Route:
        async def answer(request: Request) -> Response:
            body = await request.body()
            try:
                desk.tick()
                result = handlers[request.method.lower()](desk, json.loads(body) if body else {})
                desk.save()
            except (BadControl, BadFault, BadSetting, KeyError, ValueError) as error:
                return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
            return JSONResponse(result)

        return Route(path, answer, methods=[name.upper() for name in handlers])

    return Starlette(
        routes=[
            route("/reset", post=_reset),
            route("/clock", get=_clock, post=_set_clock),
            route("/settings", get=_settings, post=_change_settings),
            route("/faults", get=_list_faults, post=_add_fault, delete=_clear_faults),
            route("/account", post=_account),
            route("/keys", post=_keys),
            route("/bars", post=_bars),
            route("/most_actives", post=_most_actives),
            route("/orders", get=_orders),
            route("/positions", get=_positions),
            route("/requests", get=_requests, delete=_clear_requests),
        ]
    )


def _reset(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    """A new account with default settings, at `now` or the first bar."""
    desk.reset(moment_of(body["now"]) if "now" in body else None)
    return _clock(desk, body)


def _clock(desk: Desk, _: dict[str, Any]) -> dict[str, Any]:
    return {"now": desk.engine.now.isoformat(), "mode": "real" if desk.real else "virtual"}


def _set_clock(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    """`now` or `advance`, and `mode`; back only while there are no orders."""
    if "mode" in body:
        desk.run_with_the_machine({"real": True, "virtual": False}[body["mode"]])
    if "now" in body or "advance" in body:
        now = desk.engine.now
        to = moment_of(body["now"]) if "now" in body else now + timedelta(seconds=body["advance"])
        if to < now and desk.engine.book.all:
            raise BadControl(f"the clock shows {now.isoformat()}; it does not run back once there are orders")
        if to < now:
            desk.engine.now = to
        desk.engine.advance(to)
    return _clock(desk, body)


def _settings(desk: Desk, _: dict[str, Any]) -> dict[str, Any]:
    return dict(vars(desk.engine.settings))


def _change_settings(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    desk.engine.settings.change(body)
    return _settings(desk, body)


def _list_faults(desk: Desk, _: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(vars(fault)) for fault in desk.faults.all]


def _add_fault(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    fault = desk.faults.add(body)
    if fault.name == "early_close":
        desk.close_early(fault.parameters["time"])
    return dict(vars(fault))


def _clear_faults(desk: Desk, _: dict[str, Any]) -> dict[str, Any]:
    desk.clear_faults()
    return {}


def _account(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    """`set`: fields of the answer; `cash`: the money itself."""
    desk.overrides |= body.get("set", {})
    if "cash" in body:
        desk.engine.account.cash = desk.engine.account.last_equity = Decimal(str(body["cash"]))
    return {"set": desk.overrides, "cash": str(desk.engine.account.cash)}


def _keys(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    desk.keys = (body["key"], body["secret"])
    return {}


def _bars(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    if not set(body) or set(body) - {"revise", "hide", "split"}:
        raise BadControl("bars takes revise, hide or split")
    desk.feed.change(body)
    desk.engine.settle()
    return {}


def _most_actives(desk: Desk, body: dict[str, Any]) -> dict[str, Any]:
    desk.most_actives = body
    return body


def _orders(desk: Desk, _: dict[str, Any]) -> list[dict[str, Any]]:
    return [order.body() | {"parent_id": order.parent_id} for order in desk.engine.book.all.values()]


def _positions(desk: Desk, _: dict[str, Any]) -> list[dict[str, Any]]:
    return list_positions(desk.engine, desk.engine.account.true)


def _requests(desk: Desk, _: dict[str, Any]) -> list[dict[str, Any]]:
    return desk.log


def _clear_requests(desk: Desk, _: dict[str, Any]) -> dict[str, Any]:
    desk.log.clear()
    return {}

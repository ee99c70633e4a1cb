"""The API's front: keys, rate limit, faults, routes, and a log of every request."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alpaca_standin import account_api, data_api, orders_api, positions_api
from alpaca_standin.call import Answer, Call
from alpaca_standin.desk import Desk
from alpaca_standin.faults import Fault, spoil
from alpaca_standin.refusals import Refused
from market.clock import utc_now

METHODS = ["GET", "POST", "PATCH", "DELETE", "PUT"]
ROUTES: list[tuple[str, str, Callable[[Call], Answer], str]] = [
    ("GET", "/v2/account", account_api.account, ""),
    ("GET", "/v2/clock", account_api.clock, ""),
    ("GET", "/v2/calendar", account_api.calendar, "start end date_type"),
    ("GET", "/v2/assets", account_api.assets, "status asset_class exchange attributes"),
    ("GET", "/v2/assets/(.+)", account_api.asset, ""),
    ("POST", "/v2/orders", orders_api.submit, ""),
    ("GET", "/v2/orders", orders_api.get_all, "status limit after until direction nested symbols side"),
    ("DELETE", "/v2/orders", orders_api.cancel_all, ""),
    ("GET", "/v2/orders:by_client_order_id", orders_api.get_by_client_id, "client_order_id"),
    ("GET", "/v2/orders/(.*)", orders_api.get, "nested"),
    ("PATCH", "/v2/orders/(.*)", orders_api.replace, ""),
    ("DELETE", "/v2/orders/(.*)", orders_api.cancel, ""),
    ("GET", "/v2/positions", positions_api.get_all, ""),
    ("DELETE", "/v2/positions", positions_api.close_all, "cancel_orders"),
    ("GET", "/v2/positions/(.+)", positions_api.get, ""),
    ("DELETE", "/v2/positions/(.+)", positions_api.close, "qty percentage"),
    (
        "GET",
        "/v2/stocks/bars",
        data_api.bars,
        "symbols timeframe start end limit adjustment asof feed currency page_token sort",
    ),
    ("GET", "/v2/stocks/bars/latest", data_api.latest_bars, "symbols feed currency"),
    ("GET", "/v2/stocks/quotes/latest", data_api.latest_quotes, "symbols feed currency"),
    ("GET", "/v2/stocks/trades/latest", data_api.latest_trades, "symbols feed currency"),
    ("GET", "/v2/stocks/snapshots", data_api.snapshots, "symbols feed currency"),
    ("GET", "/v1beta1/screener/stocks/most-actives", data_api.most_actives, "by top"),
]
HTML = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
REASONS = {500: "500 Internal Server Error", 502: "502 Bad Gateway", 503: "503 Service Unavailable"}
REASONS[504] = "504 Gateway Time-out"


def api(desk: Desk) -> Starlette:
    """The application of the api port."""

    async def answer(request: Request) -> Response:
        return await _answer(desk, request)

    return Starlette(routes=[Route("/{path:path}", answer, methods=METHODS)])


async def _answer(desk: Desk, request: Request) -> Response:
    body = await request.body()
    desk.tick()
    call = Call(desk, request.method, request.url.path, dict(request.query_params), body)
    call.fault = desk.faults.take(call.method, call.path)
    entry = {
        "at": desk.engine.now.isoformat(),
        "method": call.method,
        "path": call.path,
        "query": call.query,
        "body": _readable(body),
        "status": None,
        "keys": sum(name in request.headers for name in ("apca-api-key-id", "apca-api-secret-key")),
        "fault": call.fault.name if call.fault else None,
        "unknown": None,
    }
    desk.log.append(entry)
    if call.fault and call.fault.name in ("hang", "reset_before", "error"):
        return await _before(call, request, entry)
    untouched = call.fault and call.fault.name in ("html_200", "empty_200") and not call.fault.get("booked", False)
    status, content, headers = (200, None, {}) if untouched else _handled(call, request, entry)
    response = await _after(call, request, status, content, headers)
    entry["status"] = response.status_code
    return response


def _handled(call: Call, request: Request, entry: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    """What an undisturbed Alpaca says."""
    limit, left, seconds = call.desk.allowance("data" if call.is_data else "trading")
    headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(max(0, left)),
        "X-RateLimit-Reset": str(int(utc_now().timestamp()) + seconds),
    }
    given = (request.headers.get("apca-api-key-id"), request.headers.get("apca-api-secret-key"))
    if given != tuple(call.desk.keys):
        return call.variant("unauthorized_status"), {"message": "forbidden."}, headers
    if left < 0:
        return 429, call.variant("rate_limit_body"), headers
    try:
        status, content = _routed(call, entry)
    except Refused as refusal:
        status, content = refusal.status, refusal.body
    call.desk.save()
    return status, content, headers


def _routed(call: Call, entry: dict[str, Any]) -> Answer:
    for method, pattern, endpoint, parameters in ROUTES:
        found = re.fullmatch(pattern, call.path)
        if found and method == call.method:
            strange = sorted(set(call.query) - set(parameters.split()))
            if strange:
                entry["unknown"] = f"parameter {strange[0]}"
                raise Refused(400, {"code": 40010000, "message": f"unknown parameter {strange[0]}"})
            call.part = found.group(1) if found.groups() else ""
            return endpoint(call)
    entry["unknown"] = "path"
    raise Refused(404, {"code": 40410000, "message": "endpoint not found."})


async def _before(call: Call, request: Request, entry: dict[str, Any]) -> Response:
    """A fault that keeps the request from being handled."""
    fault = call.fault
    assert fault is not None
    if fault.name == "hang":
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return Response()
    if fault.name == "reset_before":
        return _reset(request)
    entry["status"] = fault.get("status", 500)
    return _error(call, fault, entry["status"])


async def _after(call: Call, request: Request, status: int, content: Any, headers: dict[str, str]) -> Response:
    """The answer, with what a fault does to it."""
    fault = call.fault
    if fault is None:
        return _response(status, content, headers)
    if fault.name == "slow":
        await asyncio.sleep(fault.get("seconds", 5))
    if fault.name == "reset_after":
        return _reset(request)
    if fault.name == "error_after":
        return _error(call, fault, fault.get("status", 504))
    if fault.name == "html_200":
        return Response(HTML.format("Welcome"), 200, media_type="text/html")
    if fault.name == "empty_200":
        return Response(b"", 200)
    if status < 300 and content is not None:
        content = json.loads(content) if isinstance(content, bytes) else content
        content = spoil(fault, content)
        if fault.name == "repeat_token" and "next_page_token" in content:
            content["next_page_token"] = fault.parameters.setdefault(
                "token", content["next_page_token"] or data_api.token_of("", 0)
            )
    response = _response(status, content, headers)
    if fault.name == "truncated_json":
        return Response(response.body[: len(response.body) // 2], status, headers, media_type="application/json")
    return response


def _response(status: int, content: Any, headers: dict[str, str]) -> Response:
    if content is None:
        return Response(None, status, headers)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Response(body, status, headers, media_type="application/json")


def _error(call: Call, fault: Fault, status: int) -> Response:
    """The status, with the fault's own body or the one that usually comes with it."""
    usual: Any = HTML.format(REASONS.get(status, str(status)))
    if status == 429:
        usual = call.variant("rate_limit_body")
    elif status in (401, 403):
        usual = {"message": "forbidden."}
    body = fault.get("body", usual)
    headers = fault.get("headers", {})
    if isinstance(body, str):
        return Response(body, status, headers, media_type="text/html")
    return _response(status, body, headers)


def _reset(request: Request) -> Response:
    """Tear the connection down with a reset; the answer that is returned goes nowhere."""
    transport = request.scope["state"]["transport"]
    plain = transport.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    return Response()


def _readable(body: bytes) -> Any:
    """A request's body for the log."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")

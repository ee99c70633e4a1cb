"""Where this project deviates from Alpaca's published description, all of it, and why.

What we send, accepted although the description says otherwise:
    numbers of an order         alpaca-py sends JSON numbers; the description says text, its own wording "string/number"
    nested=True                 the way requests writes a boolean; the description says true
    calendar, start and end     alpaca-py sends 2026-03-02; the description says date-time, its answers are dates

What is answered, accepted although the description leaves it out:
    easy_to_borrow of an asset  in the description's examples, and required by alpaca-py 0.44
    refusals                    the trading API describes some of 401, 403, 404, 422, 429 for some endpoints, mostly
                                without a body. Here each of ours may answer with any of them; the body has a code and a
                                message for 404 and 422 (`Error`, as elsewhere in the description), else a message

Stricter than the description: an object holds the fields that it names and no others, so that a misspelt one is seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

TRADING, MARKET_DATA = "trading-api.json", "market-data-api.json"
OURS = (
    "/v2/account",
    "/v2/assets",
    "/v2/assets/{symbol_or_asset_id}",
    "/v2/calendar",
    "/v2/clock",
    "/v2/orders",
    "/v2/orders/{order_id}",
    "/v2/orders:by_client_order_id",
    "/v2/positions",
    "/v2/positions/{symbol_or_asset_id}",
)
CLOSED = {
    TRADING: (
        "Account Assets CreateOrderRequest Order OrderLeg PatchOrderRequest Position legacy_calendar_day legacy_clock"
    ),
    MARKET_DATA: (
        "most_active most_actives_resp stock_bar stock_bars_resp stock_latest_bars_resp stock_latest_trades_resp "
        "stock_trade"
    ),
}
NUMBER = {"type": ["string", "number"]}
SAYS_WHY = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
SAYS_CODE = {"$ref": "#/components/schemas/Error"}


def overlaid(specs: Path, folder: Path) -> None:
    """Write both descriptions of `specs` to `folder`, with the deviations."""
    for name, closed in CLOSED.items():
        spec = json.loads((specs / name).read_text())
        schemas = spec["components"]["schemas"]
        for schema in closed.split():
            schemas[schema]["additionalProperties"] = False
        if name == TRADING:
            _accept_what_we_send(spec)
            _accept_answers(spec)
        (folder / name).write_text(json.dumps(spec))


def _accept_what_we_send(spec: Json) -> None:
    schemas, paths = spec["components"]["schemas"], spec["paths"]
    create, patch = schemas["CreateOrderRequest"]["properties"], schemas["PatchOrderRequest"]["properties"]
    for order in (create, patch):
        order |= dict.fromkeys(("qty", "limit_price", "stop_price"), NUMBER)
    for leg in (create["take_profit"], create["stop_loss"]):
        leg["properties"] = dict.fromkeys(leg["properties"], NUMBER)
        leg["additionalProperties"] = False
    for path in ("/v2/orders", "/v2/orders/{order_id}"):
        _parameter(spec, paths[path], "nested")["schema"] = {"enum": ["true", "false", "True", "False"]}
    for name in ("start", "end"):
        _parameter(spec, paths["/v2/calendar"], name)["schema"] = {"type": "string", "format": "date"}


def _accept_answers(spec: Json) -> None:
    schemas, paths = spec["components"]["schemas"], spec["paths"]
    schemas["Assets"]["properties"]["easy_to_borrow"] = {"type": "boolean"}
    for path in OURS:
        for method in paths[path].keys() & {"get", "post", "patch", "delete"}:
            for status in ("401", "403", "404", "422", "429"):
                body = SAYS_CODE if status in ("404", "422") else SAYS_WHY
                described = {"description": status, "content": {"application/json": {"schema": body}}}
                paths[path][method]["responses"][status] = described


def _parameter(spec: Json, path: Json, name: str) -> Json:
    """A query parameter of a path's GET; it may stand among the components, which no other path of ours shares."""
    for parameter in path["get"]["parameters"]:
        reference = parameter.get("$ref", "").rpartition("/")[2]
        found: Json = spec["components"]["parameters"][reference] if reference else parameter
        if found["name"] == name:
            return found
    raise KeyError(name)

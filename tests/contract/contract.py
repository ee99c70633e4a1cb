"""The contract: the stand-in's answers and this program's requests, judged by Alpaca's own published description.

    make contract           needs Node 20 with npm; Prism and the description are fetched once, into .venv/contract

Between alpaca-py and the stand-in stand two Prism proxies, one for trading and one for market data. Whatever they find
(a type, an enum, a missing or unknown field, an undescribed status) is a `Violation` that names the field, raised in
the test that made the request. The description knows shapes only: that fills and refusals are the right ones is
tests/test_alpaca_standin.py's part. What of the description is not taken at its word is listed in overlay.py.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca.trading.requests import ReplaceOrderRequest
from conftest import SHARED_DATA
from overlay import MARKET_DATA, TRADING, overlaid
from prism import SPECS, Proxy, fetch
from requests.adapters import HTTPAdapter
from standin import StandIn
from trading import settings_in

import check
from alpaca_wire import AlpacaWire, KeysRefused, Refused, Unreachable
from desk import alpaca_account
from desk.alpaca_account import AlpacaAccount
from desk.alpaca_broker import AlpacaBroker
from desk.alpaca_orders import Placed, arm, bracket, market_sale, placed
from desk.orders import Order
from market import alpaca_feed
from market.active_list import ActiveList
from market.alpaca_feed import AlpacaFeed, FeedUnavailable
from market.bar_store import BarStore
from market.bars import read_bars
from market.hours import at_new_york, sessions_between
from market.simulated_feed import simulate_bars

ROOT = Path(__file__).resolve().parents[2]
MONDAY = date(2026, 3, 2)
START = datetime(2026, 3, 2, 15, 0, 3, tzinfo=UTC)  # 10:00:03 in New York
OPEN = START.replace(hour=14, minute=30, second=0)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
KEYS = {"ALPACA_API_KEY": StandIn.KEY, "ALPACA_SECRET_KEY": StandIn.SECRET}
NOBODY = "00000000-0000-4000-8000-000000000000"

# Every request in the code of this program, as it is written there, and what goes over the wire.
UUID = "[0-9a-f-]{36}"
REQUESTS = {
    "trading.get_account": "GET /v2/account",
    "trading.get_clock": "GET /v2/clock",
    "trading.get_calendar": "GET /v2/calendar",
    "trading.get /assets": "GET /v2/assets",
    "trading.get_asset": r"GET /v2/assets/\w+",
    "trading.submit_order": "POST /v2/orders",
    "trading.get_orders": "GET /v2/orders",
    "trading.get_order_by_id": f"GET /v2/orders/{UUID}",
    "trading.get_order_by_client_id": "GET /v2/orders:by_client_order_id",
    "trading.replace_order_by_id": f"PATCH /v2/orders/{UUID}",
    "trading.cancel_order_by_id": f"DELETE /v2/orders/{UUID}",
    "trading.get_all_positions": "GET /v2/positions",
    "trading.get_open_position": r"GET /v2/positions/\w+",
    "data.get /stocks/bars": "GET /v2/stocks/bars",
    "data.get /stocks/bars/latest": "GET /v2/stocks/bars/latest",
    "data.get /stocks/trades/latest": "GET /v2/stocks/trades/latest",
    "screener.get /screener/stocks/most-actives": "GET /v1beta1/screener/stocks/most-actives",
}


class Violation(AssertionError):
    """The description does not allow a request, or what was answered; the text names the fields."""


@pytest.fixture(scope="module", autouse=True)
def judged() -> Iterator[None]:
    """What a proxy finds is raised at once: as no AlpacaError, so that no code under test can swallow it."""
    send = HTTPAdapter.send

    def judge(self: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = send(self, request, **options)
        # An answer without the stand-in's name comes from Prism itself: the request went no further.
        if "server" not in response.headers or "sl-violations" in response.headers:
            found = json.loads(response.headers.get("sl-violations", "[]"))
            if "problem+json" in response.headers.get("content-type", ""):
                problem = response.json()
                found = problem.get("validation") or [{"message": problem["title"]}]
            words = "; ".join(dict.fromkeys(item["message"] for item in found))
            raise Violation(f"{request.method} {request.path_url}: {words or response.text}")
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPAdapter, "send", judge)
        yield


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real minute bars, or made ones where there are none."""
    real = SHARED_DATA / "us_equities_1min_31_sessions.parquet"
    if real.exists():
        return real
    made = tmp_path_factory.mktemp("bars") / "made.parquet"
    simulate_bars(sessions_between(date(2026, 2, 26), date(2026, 3, 6)), seed=1).to_parquet(made)
    return made


@pytest.fixture(scope="module")
def symbols(bars: Path) -> list[str]:
    return sorted(set(read_bars(bars)["symbol"]))


class Judged:
    """The stand-in behind its two judges, and all that was asked of it so far (`answered`: with success)."""

    def __init__(self, standin: StandIn, trading: str, data: str) -> None:
        self.standin, self._trading, self._data = standin, trading, data
        self.answered: set[str] = set()
        self.unknown: list[dict[str, Any]] = []

    def wire(self, key: str = StandIn.KEY) -> AlpacaWire:
        """Our own way to Alpaca; waiting moves the stand-in's clock."""
        s = self.standin
        return AlpacaWire(key, s.SECRET, self._trading, self._data, s.advance, lambda: s.now().timestamp())

    def note(self) -> None:
        """Take over the stand-in's log, before it is emptied."""
        log = self.standin.requests()
        self.answered |= {f"{r['method']} {r['path']}" for r in log if r["status"] in (200, 204) and not r["fault"]}
        self.unknown += [entry for entry in log if entry["unknown"]]
        self.standin.clear_requests()


@pytest.fixture(scope="module")
def behind(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    fetch()
    folder = tmp_path_factory.mktemp("contract")
    overlaid(SPECS, folder)
    with StandIn.start(folder / "standin", bars=bars, now=START) as standin, ExitStack() as ended:
        proxies = []
        for name in (TRADING, MARKET_DATA):
            proxies.append(Proxy(folder / name, standin.api))
            ended.callback(proxies[-1].stop)
        yield Judged(standin, *(proxy.url() for proxy in proxies))


@pytest.fixture
def standin(behind: Judged) -> Iterator[StandIn]:
    """A fresh account at START."""
    behind.standin.reset(START)
    behind.standin.settings(rate_limit=None, partial_share=0.0)
    yield behind.standin
    behind.note()


@pytest.fixture
def wire(behind: Judged, standin: StandIn) -> AlpacaWire:
    return behind.wire()


@pytest.fixture
def account(wire: AlpacaWire) -> AlpacaAccount:
    return AlpacaAccount(wire.trading)


@pytest.fixture
def symbol(symbols: list[str]) -> str:
    return symbols[0]


def last_price(wire: AlpacaWire, symbol: str) -> float:
    price: float = wire.data.get("/stocks/trades/latest", {"symbols": symbol, "feed": "iex"})["trades"][symbol]["p"]
    return price


def entry(symbol: str, price: float, client_id: str = "entry-1", qty: int = 10) -> Order:
    return Order(client_id, symbol, "BUY", qty, price, 0, stop_loss=0.02, take_profit=0.04)


def enter(wire: AlpacaWire, symbol: str, client_id: str = "entry-1") -> Placed:
    """Submit a bracket at the last price."""
    price = last_price(wire, symbol)
    return placed(wire.trading.submit_order(bracket(entry(symbol, price, client_id), price)))


# --- the trading API -------------------------------------------------------------------------------------------------


def test_account_asset_and_clock(account: AlpacaAccount, standin: StandIn, symbol: str) -> None:
    assert account.read()[0].cash == 100_000
    assert account.tradable(symbol)
    assert not account.tradable("NOSUCH")
    assert account.clock_problem(standin.now(), at_new_york(MONDAY, "16:00")) is None
    standin.set_clock(at_new_york(MONDAY, "16:30"))
    assert account.clock()["is_open"] is False


@pytest.mark.parametrize("named", [True, False])
def test_what_check_asks(wire: AlpacaWire, standin: StandIn, symbols: list[str], tmp_path: Path, named: bool) -> None:
    enter(wire, symbols[0])
    standin.advance(60)
    settings = settings_in(tmp_path, SYMBOLS=symbols if named else None, MARKET="alpaca", **KEYS)
    assert [finding for finding in check.findings(settings, wire, standin.now) if not finding.ok] == []
    assert any(request["query"] == {"start": "2026-03-02", "end": "2026-03-12"} for request in standin.requests())


def test_an_order_in_each_of_its_states(
    wire: AlpacaWire, account: AlpacaAccount, standin: StandIn, symbols: list[str]
) -> None:
    seen = set()

    def look() -> None:
        """Every order by list, id and client id, as the program asks for them."""
        for row in account.orders(START - DAY):
            assert account.find(row.client_id) == account.order(row.id) == row
            seen.update(order.status for order in row.family)
        account.orders(START, symbols[:2])
        account.shares()

    standin.reset(at_new_york(MONDAY, "09:00"))
    standin.settings(partial_share=1.0, cancel_lag_seconds=5, rate_limit=None)
    queued = enter(wire, symbols[0], "entry-0")
    look()
    wire.trading.cancel_order_by_id(queued.id)
    standin.set_clock(START)
    first = enter(wire, symbols[0])
    standin.fault("stop_rejected")
    enter(wire, symbols[1], "entry-2")
    for seconds in (1, 1, 1):
        standin.advance(seconds)
        look()  # filled in part, then whole
    target, stop = account.order(first.id).legs
    assert target.limit is not None
    assert stop.stop is not None
    wire.trading.replace_order_by_id(target.id, ReplaceOrderRequest(limit_price=round(target.limit + 0.05, 2)))
    wire.trading.replace_order_by_id(stop.id, ReplaceOrderRequest(stop_price=round(stop.stop - 0.05, 2)))
    look()
    seen.update(account.order(leg.id).status for leg in (target, stop))  # where a list shows what replaced them
    live = [o for row in account.orders(START - DAY, [symbols[0]]) for o in row.family if o.live]
    wire.trading.cancel_order_by_id(live[0].id)
    look()  # the cancel is pending
    standin.advance(10)
    assert account.free_shares()[symbols[0]] == 10
    pair = placed(wire.trading.submit_order(arm("entry-1-arm-1", symbols[0], 10, stop.stop, target.limit)))
    look()
    wire.trading.cancel_order_by_id(pair.id)
    standin.advance(10)
    wire.trading.submit_order(market_sale("entry-1-sell-1", symbols[0], 10))
    look()
    standin.advance(60)
    look()
    standin.advance(60)
    look()
    assert symbols[0] not in account.shares()
    assert seen == {
        "accepted", "canceled", "filled", "held", "new", "partially_filled", "pending_cancel", "pending_new",
        "rejected", "replaced",
    }  # fmt: skip


def test_orders_over_several_pages(
    wire: AlpacaWire, account: AlpacaAccount, symbols: list[str], monkeypatch: pytest.MonkeyPatch, standin: StandIn
) -> None:
    monkeypatch.setattr(alpaca_account, "ORDERS_PAGE", 2)
    for number, symbol in enumerate(symbols[:5]):
        enter(wire, symbol, f"entry-{number}")
        standin.advance(1)
    assert {row.client_id for row in account.orders(START - MINUTE)} == {f"entry-{number}" for number in range(5)}


def test_the_broker_buys_levels_and_sells(wire: AlpacaWire, standin: StandIn, symbol: str) -> None:
    broker = AlpacaBroker(wire, standin.now, 0.02, 0.04)
    broker.resume("20260301_200000", [])
    price = last_price(wire, symbol) * 0.999
    broker.submit(entry(symbol, price, f"20260301_200000-20260302-{symbol}-buy-1"))
    minute = int(START.timestamp() // 60)
    heard = list(broker.settle(minute, []))
    standin.advance(60)
    heard += broker.settle(minute + 1, [])
    heard += broker.recent_executions()
    (name,) = {e.order_id for e in heard if e.kind == "fill"}
    broker.submit(Order(f"{name}-sell-1", symbol, "SELL", 10, price, minute + 1))
    standin.advance(60)
    sold = [e for e in broker.settle(minute + 2, []) if e.side == "SELL"]
    assert [e.kind for e in sold] == ["fill"]
    assert any(request["method"] == "PATCH" for request in standin.requests("/v2/orders/"))


# --- market data -----------------------------------------------------------------------------------------------------


def feed_of(wire: AlpacaWire, folder: Path, symbols: list[str], name: str = "iex") -> AlpacaFeed:
    return AlpacaFeed(wire, BarStore(folder), lambda now: symbols, name, 30)


def test_bars_over_several_pages(
    wire: AlpacaWire, standin: StandIn, symbols: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alpaca_feed, "BARS_PER_PAGE", 1000)
    feed = feed_of(wire, tmp_path, symbols)
    found = feed.bars(symbols, at_new_york(date(2026, 2, 27), "09:30"), START)
    assert set(found["symbol"]) == set(symbols)
    assert any("page_token" in request["query"] for request in standin.requests("/v2/stocks/bars"))
    assert feed.new_bars(symbols, int(START.timestamp() // 60) - 2, START)
    assert feed.check_splits(START) == []


def test_the_largest_page_of_bars(wire: AlpacaWire, symbols: list[str], tmp_path: Path) -> None:
    feed = feed_of(wire, tmp_path, symbols)
    assert len(feed.bars(symbols, at_new_york(date(2026, 2, 27), "09:30"), START)) > 4000


def test_no_bars_at_all(wire: AlpacaWire, symbols: list[str], tmp_path: Path) -> None:
    assert feed_of(wire, tmp_path, symbols).new_bars(["NOSUCH"], int(START.timestamp() // 60) - 2, START) == []


def test_the_active_list(wire: AlpacaWire, tmp_path: Path, standin: StandIn, symbols: list[str]) -> None:
    active = ActiveList(wire, tmp_path, 100, 1.0, 0.0, "iex", say=lambda words: None)
    assert set(active.look(standin.now())) & set(symbols)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_nothing_there(account: AlpacaAccount, wire: AlpacaWire, symbol: str) -> None:
    assert account.find("never-sent") is None
    assert account.free_shares().get(symbol, 0) == 0
    for ask in (lambda: account.order(NOBODY), lambda: wire.trading.get_asset("NOSUCH")):
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.not_found


def test_an_id_twice_and_legs_off_the_price(wire: AlpacaWire, symbol: str) -> None:
    enter(wire, symbol)
    with pytest.raises(Refused, match="422 client_order_id must be unique"):
        enter(wire, symbol)
    price = last_price(wire, symbol)
    with pytest.raises(Refused) as refused:
        wire.trading.submit_order(bracket(entry(symbol, price, "entry-2"), price * 1.1))
    assert refused.value.status == 422
    assert float(refused.value.extras["base_price"]) == pytest.approx(price)


def test_shares_that_are_held_and_money_that_is_not_there(wire: AlpacaWire, standin: StandIn, symbol: str) -> None:
    bought = enter(wire, symbol)
    standin.advance(5)
    with pytest.raises(Refused, match="403 insufficient qty"):
        wire.trading.submit_order(market_sale("sale", symbol, 10))
    price = last_price(wire, symbol)
    with pytest.raises(Refused, match="403 insufficient buying power"):
        wire.trading.submit_order(bracket(entry(symbol, price, "entry-2", 1_000_000), price))
    with pytest.raises(Refused, match='422 order is already in "filled" state'):
        wire.trading.cancel_order_by_id(bought.id)
    with pytest.raises(Refused, match='422 order is already in "filled" state'):
        wire.trading.replace_order_by_id(bought.id, ReplaceOrderRequest(limit_price=1.0))
    with pytest.raises(Refused) as refused:
        wire.trading.cancel_order_by_id(NOBODY)
    assert refused.value.not_found


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_keys(behind: Judged, standin: StandIn, symbol: str, status: int) -> None:
    standin.settings(variants={"unauthorized_status": status})
    stranger = behind.wire(key="PKNOBODY00000000000A")
    asked = {"symbols": symbol, "feed": "iex"}
    for ask in (stranger.trading.get_account, lambda: stranger.data.get("/stocks/trades/latest", asked)):
        with pytest.raises(KeysRefused):
            ask()


def test_no_right_to_the_newest_sip_bars(wire: AlpacaWire, symbols: list[str], tmp_path: Path) -> None:
    with pytest.raises(FeedUnavailable):
        feed_of(wire, tmp_path, symbols, "sip").new_bars(symbols, int(START.timestamp() // 60) - 2, START)
    with pytest.raises(Refused, match="403 subscription"):
        wire.data.get("/stocks/trades/latest", {"symbols": symbols[0], "feed": "sip"})


def test_too_many_requests(account: AlpacaAccount, wire: AlpacaWire, standin: StandIn, symbol: str) -> None:
    standin.settings(rate_limit=0)
    asked = {"symbols": symbol, "feed": "iex"}
    for ask in (account.clock, account.read, lambda: wire.data.get("/stocks/trades/latest", asked)):
        with pytest.raises(Unreachable, match="429"):
            ask()


# --- the judge itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fault", "field"),
    [
        ("/v2/account", {"fields": {"cash": 100000.0}}, "cash must be string"),
        ("/v2/account", {"fields": {"status": "FINE"}}, "status must be equal to one of"),
        ("/v2/account", {"fields": {"created_at": "yesterday"}}, "created_at must match format"),
        ("/v2/account", {"names": ["id"]}, "must have required property 'id'"),
        ("/v2/account", {"fields": {"bying_power": "1"}}, "bying_power"),
        ("/v2/clock", {"names": ["is_open"]}, "must have required property 'is_open'"),
        ("/v2/orders", {"fields": {"qty": 10}}, "qty must be string,null"),
        ("/v2/orders", {"fields": {"id": "42"}}, "id must match format"),
        ("/v2/orders", {"fields": {"side": "long"}}, "side must be equal to one of"),
        ("/v2/orders", {"fields": {"legs": [{"status": "asleep"}]}}, "legs.0.*status must be equal to one of"),
        ("/v2/orders", {"names": ["notional"]}, "must have required property 'notional'"),
        ("/v2/positions", {"names": ["current_price"]}, "must have required property 'current_price'"),
        ("/v2/assets", {"fields": {"exchange": "NOWHERE"}}, "exchange must be equal to one of"),
        ("/v2/stocks/bars", {"names": ["vw"]}, "must have required property 'vw'"),
        ("/v2/stocks/bars", {"fields": {"next_page_token": 7}}, "next_page_token must be string,null"),
        ("/v2/stocks/trades/latest", {"fields": {"p": "187.25"}}, "p must be number"),
        ("/v1beta1/screener/stocks/most-actives", {"fields": {"volume": 0.5}}, "volume must be integer"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_named(
    wire: AlpacaWire, standin: StandIn, symbol: str, path: str, fault: dict[str, Any], field: str
) -> None:
    enter(wire, symbol)
    standin.advance(60)
    query = {"/v2/stocks/bars": {"symbols": symbol, "timeframe": "1Min", "feed": "iex", "start": OPEN.isoformat()}}
    query["/v2/stocks/trades/latest"] = {"symbols": symbol}
    client = wire.trading if path.startswith(("/v2/account", "/v2/clock", "/v2/o", "/v2/p", "/v2/as")) else wire.data
    client = wire.screener if "screener" in path else client
    ask = path.removeprefix("/v2").removeprefix("/v1beta1")
    assert client.get(ask, query.get(path))
    standin.fault("set_fields" if "fields" in fault else "drop_fields", path=path, times=1, **fault)
    with pytest.raises(Violation, match=field):
        client.get(ask, query.get(path))


def test_a_refusal_without_code_and_a_status_out_of_place_are_named(account: AlpacaAccount, standin: StandIn) -> None:
    standin.fault("error", path="/v2/orders/", status=404, body={"message": "order not found"})
    with pytest.raises(Violation, match="must have required property 'code'"):
        account.order(NOBODY)
    standin.fault("error", path="/v2/clock", status=418, body={})
    with pytest.raises(Violation, match="Unable to match the returned status code"):
        account.clock()


@pytest.mark.parametrize(
    ("change", "field"),
    [({"side": "long"}, "side"), ({"qty": None}, "qty"), ({"stoploss": {}}, "stoploss"), ({"type": None}, "type")],
)
def test_a_wrong_request_is_named_and_goes_no_further(
    wire: AlpacaWire, standin: StandIn, symbol: str, change: dict[str, Any], field: str
) -> None:
    order = {"symbol": symbol, "qty": 1, "side": "buy", "type": "market", "time_in_force": "day", **change}
    with pytest.raises(Violation, match=field):
        wire.trading.post("/orders", order)
    assert standin.requests("/v2/orders") == []


# --- and nothing left out --------------------------------------------------------------------------------------------


def requests_in(source: str) -> Iterator[str]:
    """Every call of one of the wire's clients: `trading.get_clock`, or `data.get /stocks/bars` where it has a path."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            client = re.search(r"\b_?(trading|data|screener)$", ast.unparse(node.func.value))
            if client:
                method = node.func.attr
                path = ast.unparse(node.args[0]).strip("'") if method in ("get", "post", "patch", "delete") else ""
                yield f"{client[1]}.{method} {path}".strip()


def test_every_request_of_the_program_was_judged(behind: Judged) -> None:
    files = [path for folder in (".", "desk", "market") for path in (ROOT / folder).glob("*.py")]
    sources = [text for path in files if "from alpaca_wire import" in (text := path.read_text())]
    written = {request for source in sources for request in requests_in(source)}
    assert len(written) >= 15, "the search finds hardly anything any more"
    assert written <= REQUESTS.keys(), "requests that the contract does not know"
    for request in written:
        met = [asked for asked in behind.answered if re.fullmatch(REQUESTS[request], asked)]
        assert met, f"{request} ({REQUESTS[request]}) was never judged"


def test_the_standin_knows_every_path_and_parameter_that_was_sent(behind: Judged) -> None:
    assert behind.unknown == []

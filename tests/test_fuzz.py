"""Nonsense from outside - replies, settings, history files, model files - ends in a declared error, or is said.

FUZZ=10000 looks longer; FUZZ=1 FUZZ_SEED=123 repeats the one change that failed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import math
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import requests
import urllib3
from bookkeeping import STAMP, STORY, intent, local_time
from fuzzing import COUNT, Case, as_bytes, cases, changed, mangled, told
from requests.adapters import HTTPAdapter

from alpaca_wire import AlpacaWire, KeysRefused, Refused, Unreachable
from config import BadSetting, load_settings
from desk.alpaca_account import AlpacaAccount
from desk.alpaca_broker import AlpacaBroker
from desk.alpaca_orders import placed
from desk.books import Books, BooksDisagree
from desk.journal import Journal, NewerJournal, read_events
from desk.orders import Execution, Order, Trade
from desk.paper_broker import BadAccountFile, PaperBroker
from desk.trade_history import TradeHistory, secure_view
from learning.classifier import Calibration, TradeClassifier, fit, versions
from learning.followed import COLUMNS, Followed, follow
from learning.model_store import ModelStore, NoModel
from learning.prediction_log import PredictionLog
from learning.reviews import Reviews
from learning.trials import Trials
from learning.win_rates import WinRate, corrected
from market.active_list import ActiveList, read_lists
from market.alpaca_feed import AlpacaFeed, FeedUnavailable
from market.bar_store import BarStore
from market.bars import BadBars
from model_in_use import ModelInUse
from sources import StateRefused, stored_market

NOW = datetime(2026, 3, 2, 15, 0, 3, tzinfo=UTC)  # a Monday, 10:00:03 in New York
MINUTE = int(NOW.timestamp() // 60)
CLOSE = datetime(2026, 3, 2, 21, 0, tzinfo=UTC)
TAG = "260301200000"
ENTRY = f"{TAG}-20260302-NVDA-buy-1"
KEY, SECRET = "PKCANARY123456789012", "canarysecret0123456789canarysecret012345"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


# --- replies of the broker -------------------------------------------------------------------------------------------


def order(order_id: str, client_id: str, symbol: str = "NVDA", **more: Any) -> dict[str, Any]:
    """One order as the trading service writes it."""
    when = "2026-03-02T14:58:00.123456789Z"
    return {
        "id": order_id, "client_order_id": client_id, "created_at": when, "updated_at": when, "submitted_at": when,
        "filled_at": when, "expired_at": None, "canceled_at": None, "failed_at": None, "replaced_at": None,
        "replaced_by": None, "replaces": None, "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "symbol": symbol,
        "asset_class": "us_equity", "notional": None, "qty": "4", "filled_qty": "4", "filled_avg_price": "187.25",
        "order_class": "", "order_type": "market", "type": "market", "side": "buy", "time_in_force": "gtc",
        "limit_price": None, "stop_price": None, "status": "filled", "extended_hours": False, "legs": None,
        "trail_percent": None, "trail_price": None, "hwm": None, "subtag": None, "source": None,
        **more,
    }  # fmt: skip


OPEN_LEG = {"side": "sell", "filled_qty": "0", "filled_avg_price": None, "filled_at": None}
ARM_ID, TWO_ID, ONE_ID, HAND_ID, TARGET_ID, STOP_ID = (f"61e69015-8549-4bfd-b9c3-01e75843f47{n}" for n in range(6))
LEGS = [
    order(TARGET_ID, "x1", type="limit", limit_price="191.00", status="new", **OPEN_LEG),
    order(STOP_ID, "x2", type="stop", stop_price="183.50", status="held", **OPEN_LEG),
]
ORDERS = [
    order(HAND_ID, "person-1", "AMD", side="sell", qty="0.5", filled_qty="0.5", filled_avg_price="101.5"),
    order(ARM_ID, f"{TAG}-20260302-AMD-buy-1-arm-1", "AMD", type="limit", limit_price="110", status="new", **OPEN_LEG),
    order(TWO_ID, f"{TAG}-20260302-AMD-buy-1", "AMD", status="partially_filled", filled_qty="1", filled_at=None),
    order(ONE_ID, ENTRY, order_class="bracket", legs=LEGS),
]
ONE = f"/v2/orders/{ONE_ID}"
REPLIES: dict[str, Any] = {
    "/v2/account": {
        "id": "c0ffee00-5555-4a2b-9f3e-3f1f5d1c0de5", "account_number": "PA3STANDIN01", "status": "ACTIVE",
        "currency": "USD", "cash": "98000.25", "equity": "100001.50", "last_equity": "100000",
        "buying_power": "196000.50", "regt_buying_power": "196000.50", "non_marginable_buying_power": "97000",
        "long_market_value": "2001.25", "short_market_value": "0", "multiplier": "2", "trading_blocked": False,
        "transfers_blocked": False, "account_blocked": False, "trade_suspended_by_user": False,
        "shorting_enabled": True, "created_at": "2025-11-03T15:04:05.678901Z",
    },
    "/v2/clock": {
        "timestamp": "2026-03-02T10:00:03.5-05:00", "is_open": True, "next_open": "2026-03-03T09:30:00-05:00",
        "next_close": "2026-03-02T16:00:00-05:00",
    },
    "/v2/positions": [
        {"asset_id": "b0b6", "symbol": symbol, "exchange": "NASDAQ", "asset_class": "us_equity", "qty": qty,
         "qty_available": "0", "avg_entry_price": "187.25", "side": "long", "market_value": "749.2",
         "cost_basis": "749", "unrealized_pl": "0.2", "current_price": "187.30", "lastday_price": "186"}
        for symbol, qty in (("NVDA", "4"), ("AMD", "1"))
    ],
    "/v2/orders": ORDERS,
    ONE: ORDERS[-1],
    "/v2/orders:by_client_order_id": ORDERS[-1],
    "/v2/assets": [
        {"id": "b0b6", "class": "us_equity", "exchange": "NASDAQ", "symbol": symbol, "name": f"{symbol} Corp.",
         "status": "active", "tradable": True, "marginable": True, "shortable": True, "fractionable": True}
        for symbol in ("NVDA", "AMD")
    ],
    "/v2/assets/NVDA": {
        "id": "b0b6", "class": "us_equity", "exchange": "NASDAQ", "symbol": "NVDA", "name": "NVIDIA Corporation",
        "status": "active", "tradable": True, "fractionable": True, "attributes": ["has_options"],
    },
    "/v2/stocks/bars": {
        "bars": {
            symbol: [
                {"t": f"2026-03-02T14:{minute}:00Z", "o": 187.1, "h": 187.6, "l": 186.9, "c": 187.3, "v": 1200, "n": 13,
                 "vw": 187.2}
                for minute in (57, 58, 59)
            ]
            for symbol in ("AMD", "NVDA")
        },
        "next_page_token": None,
    },
    "/v2/stocks/trades/latest": {
        "trades": {s: {"t": "2026-03-02T14:59:59.9Z", "i": 1, "x": "V", "p": 187.3, "s": 100} for s in ("NVDA", "AMD")}
    },
    "/v1beta1/screener/stocks/most-actives": {
        "last_updated": "2026-03-02T14:59:00Z",
        "most_actives": [{"symbol": s, "volume": 61000000, "trade_count": 500000} for s in ("NVDA", "AMD")],
    },
}  # fmt: skip
ANSWER_ERRORS = (Refused, Unreachable, KeysRefused)


class Server:
    """Answers each path with its bytes, in place of the network. An order gets 200, what is unknown 404."""

    def __init__(self) -> None:
        self.seconds = count(step=60)
        self.reset()

    def reset(self, status: int = 200) -> None:
        self.bodies = {path: as_bytes(reply) for path, reply in REPLIES.items()}
        self.status = status

    def wire(self) -> AlpacaWire:
        """The real way to it, with a minute between two requests."""
        host = "http://127.0.0.1"
        return AlpacaWire(KEY, SECRET, host, host, lambda seconds: None, lambda: float(next(self.seconds)), 1)

    def send(self, request: requests.PreparedRequest) -> requests.Response:
        path = (request.url or "").split("?")[0].partition("127.0.0.1")[2]
        body = self.bodies.get(path if request.method == "GET" else ONE)
        response = requests.Response()
        response.status_code = 404 if body is None else self.status
        response.url, response.request = request.url or "", request
        response.raw = urllib3.HTTPResponse(BytesIO(body or b"{}"), preload_content=False, status=response.status_code)
        return response


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(HTTPAdapter, "send", lambda self, request, **options: server.send(request))
    return server


def fit_to_be_shown(words: str) -> bool:
    """Whether a message is one line without anything of a key."""
    return words.isprintable() and not any(part in words for part in (KEY[4:16], SECRET[4:16]))


@contextmanager
def declared(*errors: type[Exception]) -> Iterator[None]:
    """These errors may come, with words that are fit to be shown."""
    caught: list[Exception] = []
    try:
        yield
    except errors as error:
        caught.append(error)
    assert all(fit_to_be_shown(str(error)) for error in caught)


def finite(*values: float) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def look_at_the_account(wire: Any, folder: Path) -> None:
    account, blocked = AlpacaAccount(wire.trading).read()
    assert finite(account.cash, account.equity, account.buying_power)
    assert account.buying_power >= 0
    assert blocked is None or isinstance(blocked, str)


def look_at_shares(wire: Any, folder: Path) -> None:
    for qty, price in AlpacaAccount(wire.trading).shares().values():
        assert isinstance(qty, int)
        assert finite(price)
        assert price >= 0
    assert all(isinstance(qty, int) for qty in AlpacaAccount(wire.trading).free_shares().values())


def look_at_orders(wire: Any, folder: Path) -> None:
    account = AlpacaAccount(wire.trading)
    found = account.find(ENTRY)
    for each in [*account.orders(NOW - timedelta(days=7)), *([found] if found else [])]:
        for one in each.family:
            assert finite(one.price, one.qty, one.filled, one.limit or 0, one.stop or 0)
            assert min(one.price, one.qty, one.filled, one.limit or 0, one.stop or 0) >= 0
            assert one.submitted.tzinfo is not None


def look_at_clock_and_asset(wire: Any, folder: Path) -> None:
    account = AlpacaAccount(wire.trading)
    assert isinstance(account.tradable("NVDA"), bool)
    words = account.clock_problem(NOW, CLOSE)
    assert words is None or isinstance(words, str)


def trade_a_minute(wire: Any, folder: Path) -> None:
    """What a trader asks of its broker, in the order in which it does."""
    broker = AlpacaBroker(wire, lambda: NOW, 0.02, 0.02)
    broker.resume(TAG, [live_trade()])
    heard: list[Execution] = []
    try:
        heard += broker.recent_executions()
        heard += broker.settle(MINUTE, ())
        broker.hindrance(CLOSE)
    finally:
        for execution in heard:
            assert finite(execution.qty, execution.price)
            assert min(execution.qty, execution.price) >= 0
        for position in broker.positions().values():
            assert finite(position.qty, position.entry_price, position.last_price)
            assert min(position.qty, position.entry_price, position.last_price) > 0
    account = broker.account()
    assert finite(account.cash, account.equity, account.buying_power)
    broker.submit(Order(f"{ENTRY}-sell-1", "NVDA", "SELL", 4, 187.0, MINUTE))
    broker.submit(Order(f"{TAG}-20260302-AMD-buy-9", "AMD", "BUY", 1, 187.0, MINUTE, None, 0.02, 0.02))
    broker.settle(MINUTE + 1, ())


def look_at_bars(wire: Any, folder: Path) -> None:
    feed = AlpacaFeed(wire, BarStore(folder / "bars"), lambda now: ["AMD", "NVDA"], "iex", 30)
    for bar in feed.new_bars(["AMD", "NVDA"], MINUTE - 2, NOW):
        assert finite(bar.open, bar.high, bar.low, bar.close, bar.volume)
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert MINUTE - 10 < bar.minute < MINUTE


def look_at_active_list(wire: Any, folder: Path) -> None:
    shutil.rmtree(folder / "symbols", ignore_errors=True)
    active = ActiveList(wire, folder / "symbols", 10, 1.0, 1000.0, "iex", lambda words: None)
    assert set(active.look(NOW)) <= {"NVDA", "AMD"} | set(active._prices)
    assert all(price is None or (finite(price) and price > 0) for price in active._prices.values())


RATE = WinRate(0.6, 0.65, 50, 20, 0.62, 0.5, 0.03, -0.05, "worse than promised").to_record()
LOOKS: dict[Callable[[Any, Path], None], tuple[str, ...]] = {
    look_at_the_account: ("/v2/account",),
    look_at_shares: ("/v2/positions",),
    look_at_orders: ("/v2/orders", ONE, "/v2/orders:by_client_order_id"),
    look_at_clock_and_asset: ("/v2/clock", "/v2/assets/NVDA"),
    trade_a_minute: ("/v2/account", "/v2/positions", "/v2/orders", ONE, "/v2/clock"),
    look_at_bars: ("/v2/stocks/bars",),
    look_at_active_list: ("/v1beta1/screener/stocks/most-actives", "/v2/assets", "/v2/stocks/trades/latest"),
}


def live_trade() -> Trade:
    return Trade(
        ENTRY, "NVDA", "BUY", 0, 187.0, 0.7, 0.7, local_time(MINUTE - 3), 183.0, 191.0, "PENDING", "none", "alpaca", 4,
        MINUTE - 3,
    )  # fmt: skip


def test_mutated_replies_over_the_wire_end_in_declared_errors(server: Server, tmp_path: Path) -> None:
    for case in cases("replies as bytes"):
        server.reset(case.random.choice((200,) * 8 + (201, 204, 401, 403, 404, 422, 429, 500, 503)))
        look = case.one_of(LOOKS)
        path = case.one_of(LOOKS[look])
        case.words.append(f"{look.__name__}, {path}, status {server.status}")
        content = as_bytes(changed(case, REPLIES[path])) if case.random.random() < 0.6 else server.bodies[path]
        server.bodies[path] = mangled(case, content) if case.random.random() < 0.5 else content
        with told(case), declared(*ANSWER_ERRORS, BooksDisagree, FeedUnavailable, BadBars):
            look(server.wire(), tmp_path)


class Client:
    """alpaca-py's clients at once: hands out parsed JSON as it is, changed or not."""

    def __init__(self, replies: Mapping[str, Any]) -> None:
        self._replies = replies
        self.trading = self.data = self.screener = self

    def wait(self, seconds: float) -> None:
        pass

    @contextmanager
    def urgently(self) -> Iterator[None]:
        yield

    def get(self, path: str, query: Any = None) -> Any:
        for prefix in ("/v2", "/v1beta1"):
            if prefix + path in self._replies:
                return self._replies[prefix + path]
        raise Unreachable(path)

    def get_account(self) -> Any:
        return self._replies["/v2/account"]

    def get_clock(self) -> Any:
        return self._replies["/v2/clock"]

    def get_asset(self, symbol: str) -> Any:
        return self._replies["/v2/assets/NVDA"]

    def get_all_positions(self) -> Any:
        return self._replies["/v2/positions"]

    def get_orders(self, wanted: Any) -> Any:
        return self._replies["/v2/orders"]

    def get_order_by_id(self, order_id: str, wanted: Any) -> Any:
        return self._replies[ONE]

    def get_order_by_client_id(self, client_id: str) -> Any:
        return self._replies["/v2/orders:by_client_order_id"]

    def submit_order(self, request: Any) -> Any:
        return self._replies[ONE]

    def replace_order_by_id(self, order_id: str, request: Any) -> Any:
        return self._replies[ONE]

    def cancel_order_by_id(self, order_id: str) -> None:
        pass


def test_mutated_replies_that_parse_end_in_declared_errors(tmp_path: Path) -> None:
    for case in cases("replies as JSON"):
        look = case.one_of(LOOKS)
        path = case.one_of(LOOKS[look])
        case.words.append(f"{look.__name__}, {path}")
        client = Client({**REPLIES, path: changed(case, REPLIES[path])})
        with told(case), declared(*ANSWER_ERRORS, BooksDisagree, FeedUnavailable, BadBars):
            look(client, tmp_path)


def test_a_mutated_order_is_read_whole_or_is_unusable() -> None:
    for case in cases("an order"):
        raw = changed(case, case.one_of(ORDERS))
        with told(case), suppress(Unreachable):
            read = placed(raw)
            assert finite(read.qty, read.filled, read.price, read.limit or 0, read.stop or 0)
            assert min(read.qty, read.filled, read.price, read.limit or 0, read.stop or 0) >= 0
            assert read.submitted.tzinfo is not None


def test_a_mutated_refusal_of_an_order_ends_in_no_error(server: Server) -> None:
    """`submit` raises nothing but KeysRefused, whatever the service adds to its no."""
    body = {"code": 42210000, "message": "stop price must be below base_price", "base_price": "187.25"}
    for case in cases("a refusal"):
        server.reset(case.one_of((403, 422, 429)))
        server.bodies[ONE] = as_bytes(changed(case, body))
        broker = AlpacaBroker(server.wire(), lambda: NOW, 0.02, 0.02)
        broker.resume(TAG, [])
        with told(case), suppress(KeysRefused):
            broker.submit(Order(ENTRY, "NVDA", "BUY", 4, 187.0, MINUTE, None, 0.02, 0.02))


# --- settings --------------------------------------------------------------------------------------------------------

ENV_FILE = f"""# keys of the paper account
ALPACA_API_KEY={KEY}
ALPACA_SECRET_KEY={SECRET}
MIN_CONFIDENCE=0.7
SYMBOLS=NVDA,AMD
TRAIN_TIME=20:00
MODELS_DIR=models_of_a_test
""".encode()
SETTINGS = (
    "MIN_CONFIDENCE", "STOP_LOSS_PCT", "MAX_POSITION_SIZE", "SYMBOLS", "TRAIN_TIME", "MARKET", "DATA_DIR", "PAPER_CASH",
    "MAX_HOLDING_MINUTES", "REQUIRE_PROOF", "LOG_LEVEL", "ALPACA_TRADING_URL", "ALPACA_API_KEY", "STATE_DIR", "FEED",
    "MAX_EXPOSURE_PCT", "TRAIN_MEMORY_GB", "SIMULATED_SEED",
)  # fmt: skip


def test_a_mutated_setting_is_refused_in_one_line_that_shows_no_key(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    for case in cases("settings"):
        content, arguments, environment = ENV_FILE, {}, {}
        kind = case.one_of(("file", "file", "argument", "environment"))
        if kind == "file":
            content = mangled(case, content)
        else:
            name = case.one_of(SETTINGS)
            value = changed(case, case.one_of(("0.5", "NVDA,AMD", "20:00", f"{KEY}", 5, 0.1, True)))
            if kind == "argument":
                arguments = {name: value}
            elif "\x00" not in str(value):
                environment = {name: str(value)}
            case.words.append(f"{name} as {kind}")
        path.write_bytes(content)
        path.chmod(0o600)
        with told(case), declared(BadSetting):
            settings = load_settings(arguments, environment, path)
            assert finite(*[value for value in asdict(settings).values() if isinstance(value, float)])
            assert kind != "file" or fit_to_be_shown(repr(settings))


# --- files of history ------------------------------------------------------------------------------------------------


def history(folder: Path) -> dict[str, bytes]:
    """A models folder as it is after some trading; the content of each of its files by name."""
    models = folder / "models"
    models.mkdir(parents=True)
    with Journal(models / "journal.jsonl", STAMP) as journal:
        for event in [intent("OLD-1", "OLD", minute=MINUTE - 45 * 1440), *STORY]:
            journal.append(event["kind"], **{name: v for name, v in event.items() if name not in ("n", "kind")})
        journal.sync()
        journal.archive_months(local_time)
        events = list(journal.events)
    TradeHistory(models / "trade_history.json", Books(local_time, events)).flush()
    paper = PaperBroker(models / "paper_account.json", 10_000.0, 0.0006)
    bar = SimpleNamespace(symbol="NVDA", minute=MINUTE, open=100.0, high=101.0, low=99.5, close=100.5)
    paper.submit(Order("NVDA-1", "NVDA", "BUY", 5, 100.0, MINUTE, None, 0.02, 0.04))
    paper.settle(MINUTE + 1, [bar])
    paper.submit(Order("AMD-1", "AMD", "BUY", 5, 50.0, MINUTE, None, 0.02, 0.04))
    log = PredictionLog(models / "predictions")
    for minute in range(6):
        log.add("NVDA", local_time(MINUTE + minute), 100.0 + minute, 0.6, STAMP, meets=True, buy=True)
    log.write()
    old = (models / "predictions" / "2026-03-02.jsonl").read_bytes().replace(b"2026-03-02", b"2026-01-15")
    (models / "predictions" / "2026-01-15.jsonl.gz").write_bytes(gzip.compress(old, mtime=0))
    review = {"as_of": "2026-03-02T20:00:00-05:00", "drift": {"light": "green", "words": ""},
              "costs": [{"symbol": "NVDA", "extra_cost": 0.001}], "win_rates": [RATE]}  # fmt: skip
    Reviews(models / "reviews").write(date(2026, 3, 2), review)
    Trials(models / "trials.json").record({"model": "forest"}, NOW, np.array([0.01, -0.02, 0.03]))
    rows = pd.DataFrame(
        {"symbol": ["NVDA", "AMD"], "timestamp": [NOW - timedelta(minutes=5)] * 2, "kind": "shadow", "confidence": 0.6,
         "model_id": STAMP}
    )  # fmt: skip
    Followed(models / "followed_trades.jsonl").write(follow(pd.DataFrame(), rows))
    (models / "source.json").write_text('{"market": "recorded", "feed": "recorded"}')
    (models / "current.json").write_text(json.dumps({"stamp": STAMP}))
    card = {"stamp": STAMP, "published": True, "model_type": "random_forest", "versions": versions(), "sha256": {}}
    (models / f"card_{STAMP}.json").write_text(json.dumps({**card, "features": ["a"], "signature": "0" * 64}))
    (models / "symbols").mkdir()
    listed = {"date": "2026-03-02", "symbols": {"NVDA": "2026-03-02T09:30:00-05:00"}, "left_out": {"SPY": "fund"}}
    (models / "symbols" / "2026-03-02.json").write_text(json.dumps(listed))
    files = [path for path in models.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(models)): path.read_bytes() for path in files}


def kept(models: Path, name: str, content: bytes) -> bool:
    """Whether the bytes that could not be used are still there, under this name or another one."""
    path = models / name
    return any(content == each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


def whole_lines(content: bytes) -> set[bytes]:
    return {line for line in content.split(b"\n") if line.endswith(b'"}') and line.startswith(b'{"n":')}


def open_journal(models: Path, name: str, original: bytes) -> None:
    """What was readable before the change and is unchanged in the file is still there after it."""
    content = (models / name).read_bytes()
    before = whole_lines(original) & set(content.split(b"\n"))
    read_events(models / "journal.jsonl")
    with Journal(models / "journal.jsonl", "20260303_090000") as journal:
        events = list(journal.events)
        Books(local_time, events).performance()
    numbers = [event["n"] for event in events]
    assert numbers == sorted(set(numbers))
    read = {json.dumps(event, sort_keys=True) for event in events}
    lost = [
        line for line in before
        if json.dumps({k: v for k, v in json.loads(line).items() if k != "crc"}, sort_keys=True) not in read
        and json.dumps(json.loads(line), sort_keys=True) not in read
    ]  # fmt: skip
    assert not lost, lost
    if name == "journal.jsonl" and set(content.split(b"\n")) - {b""} - whole_lines((models / name).read_bytes()):
        aside = b"".join(path.read_bytes() for path in models.glob("journal.jsonl.*") if path.suffix != ".lock")
        assert set(content.split(b"\n")) - {b""} - whole_lines((models / name).read_bytes()) <= set(aside.split(b"\n"))


def open_history(models: Path, name: str, original: bytes) -> None:
    content = (models / name).read_bytes()
    books = Books(local_time, read_events(models / "journal.jsonl"))
    secure_view(models / name, books, STAMP)
    view = TradeHistory(models / name, books)
    view.flush()
    view._beside.shutdown()
    assert json.loads((models / name).read_text())["schema"] == 1
    trades = json.loads((models / name).read_text())["trades"]
    assert {trade["id"] for trade in trades} == set(books.trades)
    ours = False
    with suppress(ValueError, RecursionError, TypeError, LookupError):
        document = json.loads(content)
        ours = document["schema"] == 1 and {t["id"] for t in document["trades"]} <= set(books.trades)
    assert ours or kept(models, name, content)


def open_paper_account(models: Path, name: str, original: bytes) -> None:
    content = (models / name).read_bytes()
    try:
        broker = PaperBroker(models / name, 5.0, 0.0006)
    except BadAccountFile:
        assert kept(models, name, content)
        return
    account = broker.account()
    assert finite(account.cash, account.equity, account.buying_power)
    assert account.cash >= 0
    for position in broker.positions().values():
        assert isinstance(position.qty, int)
        assert position.qty > 0
        assert finite(position.entry_price, position.stop_level, position.target_level, position.last_price)
    bar = SimpleNamespace(symbol="NVDA", minute=MINUTE + 5, open=100.0, high=101.0, low=99.5, close=100.5)
    broker.settle(MINUTE + 6, [bar])
    broker.recent_executions()


def open_model_card(models: Path, name: str, original: bytes) -> None:
    store = ModelStore(models, models.parent / "state")
    store.stamps(), store.cards(), store.version()
    with suppress(NoModel):
        store.current()
    with suppress(NoModel):
        store.card(STAMP)
    with pytest.raises(NoModel):
        store.load()


def open_note(models: Path, name: str, original: bytes) -> None:
    settings = SimpleNamespace(MODELS_DIR=models, DATA_DIR=models)
    with suppress(StateRefused):
        assert isinstance(stored_market(settings), str)  # type: ignore[arg-type]


def open_reviews(models: Path, name: str, original: bytes) -> None:
    reviews = Reviews(models / "reviews")
    reviews.all()
    later = datetime(2026, 3, 3, 15, tzinfo=UTC)
    reviews.newest(later)
    settings = replace(load_settings({}, {}, models / "no.env"), MODELS_DIR=models)
    in_use = ModelInUse(settings, "recorded", "recorded")
    in_use.review(later)  # what a trading minute makes of it
    assert finite(*corrected(np.array([0.0, 0.62, 1.0]), in_use._rates).tolist())


def open_followed(models: Path, name: str, original: bytes) -> None:
    content = (models / name).read_bytes()
    table = Followed(models / name).read(STAMP)
    assert list(table.columns) == COLUMNS
    assert len(table) or not content.strip() or kept(models, name, content)


def open_trials(models: Path, name: str, original: bytes) -> None:
    content = (models / name).read_bytes()
    trials = Trials(models / name)
    before = len(trials)
    assert all(finite(sharpe) for sharpe in trials.sharpes())
    trials.record({"model": "another"}, NOW, np.array([0.01, 0.02, 0.0]))
    named: Any = None
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        named = json.loads(content)["trials"]
    assert (isinstance(named, dict) and before == len(named)) or kept(models, name, content)


def open_predictions(models: Path, name: str, original: bytes) -> None:
    content = (models / name).read_bytes()
    log = PredictionLog(models / "predictions")
    for prediction in log.read("NVDA"):
        assert finite(prediction["price"])
    table = log.of_day("2026-03-02")
    assert table["timestamp"].notna().all()
    assert np.isfinite(table["price"]).all()
    if name.endswith(".jsonl"):
        assert len(table) >= len(set(original.splitlines()) & set(content.split(b"\n")))
    log.of_day("2026-01-15")
    log.of_model(STAMP)


def open_lists(models: Path, name: str, original: bytes) -> None:
    read_lists(models / "symbols", date(2026, 3, 2), date(2026, 3, 2))
    active = ActiveList(Client(REPLIES), models / "symbols", 10, 1.0, 1000.0, "iex", lambda words: None)  # type: ignore[arg-type]
    assert active.look(NOW)


OPENERS: dict[str, Callable[[Path, str, bytes], None]] = {
    "journal.jsonl": open_journal,
    "archive/journal_2026-01.jsonl": open_journal,
    "trade_history.json": open_history,
    "paper_account.json": open_paper_account,
    "current.json": open_model_card,
    f"card_{STAMP}.json": open_model_card,
    "source.json": open_note,
    "reviews/2026-03-02.json": open_reviews,
    "followed_trades.jsonl": open_followed,
    "trials.json": open_trials,
    "predictions/2026-03-02.jsonl": open_predictions,
    "predictions/2026-01-15.jsonl.gz": open_predictions,
    "symbols/2026-03-02.json": open_lists,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return history(tmp_path_factory.mktemp("history"))


def lay_out(folder: Path, files: Mapping[str, bytes]) -> Path:
    models = folder / "models"
    shutil.rmtree(models, ignore_errors=True)
    for name, content in files.items():
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_bytes(content)
    return models


def reworked(case: Case, content: bytes) -> bytes:
    """Bytes of a file, changed as JSON where it is one document or lines of it, or as bytes."""
    if case.random.random() < 0.5 and content[:1] == b"{":
        with suppress(ValueError):
            return as_bytes(changed(case, json.loads(content)))
        lines = content.splitlines()
        at = case.random.randrange(len(lines))
        lines[at] = as_bytes(changed(case, json.loads(lines[at])))
        return b"\n".join(lines) + b"\n"
    return mangled(case, content)


@pytest.mark.parametrize("name", OPENERS)
def test_a_mutated_history_file_is_recovered_or_refused_and_nothing_readable_is_lost(
    name: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    assert name in files
    for case in cases(name, max(COUNT // len(OPENERS), 1)):
        models = lay_out(tmp_path, files)
        content = reworked(case, files[name])
        (models / name).write_bytes(content)
        with told(case), suppress(NewerJournal):
            OPENERS[name](models, name, files[name])


# --- model files -----------------------------------------------------------------------------------------------------

ROWS = np.random.default_rng(1).normal(size=(60, 3))


def published(folder: Path) -> ModelStore:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 3)
        scaler, estimator = fit("random_forest", ROWS, (ROWS[:, 0] > 0).astype(float), np.full(60, 0.5))
    classifier = TradeClassifier(estimator, Calibration(-0.1, 0.7, 0.7))
    store = ModelStore(folder / "models", folder / "state")
    for stamp in ("20260301_200000", "20260302_200000"):
        card = {"stamp": stamp, "model_type": "random_forest", "features": ["a", "b", "c"], "versions": versions()}
        out_of_fold = pd.DataFrame({"symbol": ["AAA"], "confidence": [0.5]})
        store.publish(card, classifier, scaler, out_of_fold, ROWS, serve=True)
    return store


def test_no_unverified_byte_of_a_model_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path)
    models = tmp_path / "models"
    whole = {path.name: path.read_bytes() for path in models.iterdir() if path.is_file()}
    pickles = sorted(name for name in whole if name.endswith(".pkl"))
    genuine = {whole[name] for name in pickles}
    load = joblib.load
    unverified: list[str] = []

    def spy(file: Any, *more: Any, **options: Any) -> Any:
        if not isinstance(file, BytesIO) or file.getvalue() not in genuine:
            unverified.append(repr(file)[:80])
            raise EOFError("not unpickled here")
        return load(file, *more, **options)

    def never(*arguments: Any, **options: Any) -> Any:
        unverified.append("pickle")
        raise pickle.UnpicklingError("not unpickled here")

    monkeypatch.setattr(joblib, "load", spy)
    monkeypatch.setattr(pickle, "load", never)
    monkeypatch.setattr(pickle, "loads", never)
    served = 0
    for case in cases("model files"):
        name, other = case.one_of(whole), case.one_of(pickles)
        kind = case.one_of(("mangled", "mangled", "swapped", "JSON", "forged"))
        content = mangled(case, whole[name])
        if kind == "swapped":
            content = whole[other]
        elif kind == "JSON" and name.endswith(".json"):
            content = as_bytes(changed(case, json.loads(whole[name])))
        elif kind == "forged":  # and the card says that it is right
            name, stamp = other, other[-19:-4]
            content = mangled(case, whole[name])
            card = json.loads(whole[f"card_{stamp}.json"])
            card["sha256"][name] = hashlib.sha256(content).hexdigest()
            (models / f"card_{stamp}.json").write_bytes(as_bytes(card))
        case.words.insert(0, f"{name} {kind} ({other})")
        (models / name).write_bytes(content)
        store = ModelStore(models, tmp_path / "state")
        with told(case):
            for stamp in (None, "20260302_200000", "20260301_200000"):
                with declared(NoModel):
                    assert np.isfinite(store.load(stamp).confidence(ROWS[:3])).all()
                    served += 1
            with suppress(NoModel):
                store.out_of_fold("20260302_200000")
            store.cards()
            assert unverified == []
        for name, content in whole.items():
            (models / name).write_bytes(content)
    assert COUNT < 100 or served > COUNT  # what was not changed still serves


def test_a_seed_makes_the_same_nonsense_again() -> None:
    def made(seed: int) -> list[Any]:
        case = Case(seed, Random(seed))
        return [repr(changed(case, REPLIES["/v2/orders"])), mangled(case, b"one\ntwo\n"), case.words]

    assert made(7) == made(7)
    assert len({str(made(seed)) for seed in range(20)}) == 20

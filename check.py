"""Is everything ready to trade on Alpaca? One line each, ok or what to do; nothing is changed.

The lines of `findings` are what `python live_trader.py --check` prints.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from alpaca.trading.requests import GetCalendarRequest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alpaca_wire import AlpacaError, AlpacaWire, KeysRefused, Refused, Unreachable
from config import Settings
from desk.alpaca_account import MAX_SKEW_SECONDS, AlpacaAccount, amount
from desk.books import Books
from desk.halt import in_force
from desk.journal import read_events
from desk.orders import Account
from desk.risk import RESERVE
from display.figures import plural
from learning.model_store import ModelStore, NoModel
from market.hours import LAST_DAY, local_time, new_york, next_session, sessions_between
from notices import trial
from notify import BadAddress, send_test
from sources import StateRefused, stored_market

# A hanging Alpaca must not hold a person up: a request may take this long, and after so long none is begun.
PATIENCE_SECONDS, TOTAL_SECONDS = 4.0, 6.0
MESSAGE_SECONDS = 9.0  # for a test message: apprise gives connecting and answering 4 s each, all addresses at once
CALENDAR_DAYS = 10
HORIZON = timedelta(days=60)  # the calendar here should reach this far
GTC_LIFE = timedelta(days=90)  # Alpaca ends orders "good till cancelled" then
NEEDED_BYTES = 1_000_000_000  # a year of bars, models and books of 100 symbols
OLD_MODEL_SESSIONS = 3
GET_KEYS = (
    "none. Create a free account at alpaca.markets, switch to the paper account, generate its API keys, and put "
    "ALPACA_API_KEY and ALPACA_SECRET_KEY into .env (see .env.example)"
)


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is as it should be, and what was found or what to do."""

    name: str
    ok: bool
    words: str
    code: int = 7  # exit code of the door if this is the first that is not ok


def findings(settings: Settings, wire: AlpacaWire | None, now: Callable[[], datetime]) -> Iterator[Finding]:
    """Every line; without a wire (no keys) those of this machine. `now` tells this machine's time."""
    if wire is None:
        yield Finding("keys", False, GET_KEYS, 2)
    else:
        yield from _online(settings, wire, now)
    yield horizon(now())
    yield disk(settings)
    yield model(settings, now())
    yield halt(settings)
    yield from messages(settings, now())


def _online(settings: Settings, wire: AlpacaWire, now: Callable[[], datetime]) -> Iterator[Finding]:
    begun = time.monotonic()
    try:
        money, blocked = AlpacaAccount(wire.trading).read()
    except KeysRefused as error:
        yield Finding("keys", False, str(error), 3)
        return
    except AlpacaError as error:
        yield Finding("Alpaca", False, f"{error}. Look at the network and at status.alpaca.markets, then try again")
        return
    yield Finding("keys", True, "accepted by Alpaca's paper account")
    yield account(money, blocked)
    lines: list[tuple[str, Callable[[], Finding]]] = [
        ("feed", lambda: feed(settings, wire)),
        ("clock", lambda: clock(wire, now)),
        ("calendar", lambda: calendar(wire, new_york(now()).date())),
        ("symbols", lambda: symbols(settings, wire)),
        ("stops", lambda: stops(wire, now())),
    ]
    for name, line in lines:
        if time.monotonic() - begun > TOTAL_SECONDS:
            yield Finding("Alpaca", False, f"answers too slowly: from {name} on nothing more was asked. Try again")
            return
        try:
            yield line()
        except KeysRefused as error:
            yield Finding(name, False, str(error), 3)
        except AlpacaError as error:
            yield Finding(name, False, f"{error}. Try again")


def account(money: Account, blocked: str | None) -> Finding:
    """Whether the account may trade, and with how much."""
    spendable = money.buying_power * (1 - RESERVE)
    words = f"active: cash {money.cash:,.0f} USD, equity {money.equity:,.0f}, for entries {spendable:,.0f}"
    if blocked is not None:
        words = f"{blocked}. Look at the account's page at Alpaca, or reset the paper account"
    return Finding("account", blocked is None, words)


def feed(settings: Settings, wire: AlpacaWire) -> Finding:
    """Whether the newest bars of FEED may be read: without them nothing can be traded in the session."""
    try:
        wire.data.get("/stocks/bars/latest", {"symbols": "SPY", "feed": settings.FEED})
    except Refused as error:
        if error.status != 403:
            raise
        cure = 'set FEED = "iex" in config.py, which is free, or subscribe'
        return Finding("feed", False, f"no right to the newest {settings.FEED} bars ({error.message}): {cure}", 2)
    return Finding("feed", True, f"the newest {settings.FEED} bars may be read")


def clock(wire: AlpacaWire, now: Callable[[], datetime]) -> Finding:
    """Whether this machine and Alpaca agree on the time."""
    behind = (AlpacaAccount(wire.trading).clock()["timestamp"] - now()).total_seconds()
    words = f"{abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'} Alpaca's"
    if abs(behind) <= MAX_SKEW_SECONDS:
        return Finding("clock", True, words)
    return Finding("clock", False, f"{words}; nothing would be bought. Set it (Linux: timedatectl set-ntp true)")


def calendar(wire: AlpacaWire, today: date) -> Finding:
    """Whether the exchange calendar here knows Alpaca's sessions and early closes."""
    last = today + timedelta(days=CALENDAR_DAYS)
    theirs = wire.trading.get_calendar(GetCalendarRequest(start=today, end=last))
    try:
        there = {day["date"]: (day["open"], day["close"]) for day in theirs}
    except (KeyError, TypeError) as error:
        raise Unreachable("Alpaca's calendar cannot be read") from error
    here = {
        str(s.day): (f"{new_york(s.open):%H:%M}", f"{new_york(s.close):%H:%M}") for s in sessions_between(today, last)
    }
    apart = sorted(day for day in here.keys() | there.keys() if here.get(day) != there.get(day))
    if not apart:
        return Finding("calendar", True, f"{plural(len(here), 'session')} until {last}, as at Alpaca")
    words = "; ".join(f"{day} here {_hours(here.get(day))}, there {_hours(there.get(day))}" for day in apart)
    cure = "pip install -U exchange_calendars; until they agree nothing is bought on these days"
    return Finding("calendar", False, f"{words}. {cure}")


def _hours(session: tuple[str, str] | None) -> str:
    return "closed" if session is None else "-".join(session)


def symbols(settings: Settings, wire: AlpacaWire) -> Finding:
    """Whether there is something to trade: SYMBOLS, or Alpaca's most active."""
    if settings.SYMBOLS is None:
        reply = wire.screener.get("/screener/stocks/most-actives", {"by": "volume", "top": settings.ACTIVE_SYMBOLS})
        try:
            count, updated = len(reply.get("most_actives") or ()), reply.get("last_updated")
        except (AttributeError, TypeError) as error:
            raise Unreachable("Alpaca's most-active list cannot be read") from error
        words = f"{count} in the most-active list of {updated}"
        return Finding("symbols", count > 0, words if count else f"{words}: empty. Try again, or list some in SYMBOLS")
    # All at once: a request for each of a hundred symbols would take longer than a person waits.
    assets = wire.trading.get("/assets", {"status": "active", "asset_class": "us_equity"})
    try:
        tradable = {asset["symbol"] for asset in assets if asset.get("tradable") is True}
    except (AttributeError, KeyError, TypeError) as error:
        raise Unreachable("Alpaca's list of assets cannot be read") from error
    unfit = [symbol for symbol in settings.SYMBOLS if symbol not in tradable]
    words = f"{plural(len(settings.SYMBOLS), 'symbol')} listed in SYMBOLS"
    cure = f"{words}, not tradable at Alpaca: {', '.join(unfit)}. Take them out of SYMBOLS"
    return Finding("symbols", not unfit, cure if unfit else f"{words}, all tradable", 2)


def stops(wire: AlpacaWire, now: datetime) -> Finding:
    """Whether every share held is under a living stop, whoever bought it; one that waits for its entry is none yet."""
    held = {str(raw.get("symbol")): amount(raw, "qty") for raw in wire.trading.get_all_positions()}
    bare = {symbol: qty for symbol, qty in held.items() if qty > 0}
    rows = AlpacaAccount(wire.trading).orders(now - GTC_LIFE, list(bare)) if bare else []
    for order in (order for row in rows if not (row.side == "buy" and row.live) for order in row.family):
        if order.live and order.side == "sell" and "stop" in order.kind and order.symbol in bare:
            bare[order.symbol] -= order.qty - order.filled
    unprotected = [f"{symbol} ({qty:g} of {held[symbol]:g} shares)" for symbol, qty in bare.items() if qty > 0]
    if not unprotected:
        return Finding("stops", True, f"{plural(len(bare), 'position')}, every share under a stop")
    cure = "start python live_trader.py, which puts back those of its own; protect by hand what you bought by hand"
    return Finding("stops", False, f"without a stop: {', '.join(unprotected)}; {cure}")


def horizon(now: datetime) -> Finding:
    """Whether the exchange calendar here reaches far enough."""
    words = f"sessions are known until {LAST_DAY}"
    if new_york(now).date() + HORIZON > LAST_DAY:
        return Finding("horizon", False, f"{words} only: raise LAST_DAY in market/hours.py")
    return Finding("horizon", True, f"{words}, the next is {next_session(now).day}")


def disk(settings: Settings) -> Finding:
    """Whether the folders are Alpaca's or free for it, may be written, and have room."""
    try:
        stored = stored_market(settings)
    except StateRefused as error:
        return Finding("disk", False, str(error))
    if stored not in (None, "alpaca", "simulated"):
        cure = "use others: MODELS_DIR=models_alpaca DATA_DIR=data_alpaca python live_trader.py"
        return Finding("disk", False, f"the folders belong to market {stored}; {cure}", 2)
    places = [_existing(folder) for folder in (settings.DATA_DIR, settings.MODELS_DIR)]
    for place in places:
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            return Finding("disk", False, f"{place} cannot be written: change its rights, or set other folders", 2)
    free = min(shutil.disk_usage(place).free for place in places)
    words = f"{free / 1e9:.1f} GB free"
    return Finding("disk", free >= NEEDED_BYTES, words if free >= NEEDED_BYTES else f"{words}: make room for 1 GB")


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if os.access(place, os.F_OK))


def model(settings: Settings, now: datetime) -> Finding:
    """Whether a model serves that Alpaca's market may be traded with, and how old it is."""
    try:
        card = ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load().card
    except NoModel as error:
        if "No trained model found" in str(error):
            return Finding("model", True, "none yet: a first one is trained when the trader starts")
        return Finding("model", False, str(error))
    stamp, source = card["stamp"], f"{card['market']} ({card['feed']})"
    if card["market"] == "simulated":
        words = f"{stamp} is the simulated market's: it moves to archive/ at the start, and a first one is trained"
        return Finding("model", True, words)
    if (card["market"], card["feed"]) != ("alpaca", settings.FEED):
        cure = "use that feed, or other folders: MODELS_DIR=... DATA_DIR=..."
        return Finding("model", False, f"{stamp} learnt from {source}, not alpaca ({settings.FEED}): {cure}", 2)
    trained = datetime.fromisoformat(card["train_end"])
    age = len([s for s in sessions_between(new_york(trained).date(), new_york(now).date()) if trained < s.close <= now])
    words = f"{stamp} of {source}, {plural(age, 'session')} old, {'proven' if card['proven'] else 'unproven'}"
    if settings.REQUIRE_PROOF and not card["proven"]:
        return Finding("model", False, f"{words}; it buys nothing while REQUIRE_PROOF is True", 2)
    if age > OLD_MODEL_SESSIONS:
        words += f". Old: it is trained anew at {settings.TRAIN_TIME}, or now: python build_dataset.py, ml_trainer.py"
    return Finding("model", age <= OLD_MODEL_SESSIONS, words)


def halt(settings: Settings) -> Finding:
    """Whether a halt keeps everything from being bought."""
    books = Books(local_time, read_events(settings.MODELS_DIR / "journal.jsonl"))
    why = in_force(settings.MODELS_DIR, books.halt)
    if why is None:
        return Finding("halt", True, "not halted")
    return Finding("halt", False, f"{why}. Nothing is bought until python live_trader.py --resume")


def messages(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Whether each address of NOTIFY_URLS takes a test message."""
    if settings.NOTIFY_URLS is None:
        yield Finding("messages", True, "none: NOTIFY_URLS in .env may name who gets them")
        return
    try:
        answers = send_test(settings.NOTIFY_URLS, trial(now), MESSAGE_SECONDS)
    except BadAddress as error:
        yield Finding("messages", False, str(error), 2)
        return
    for name, took in answers:
        cure = (
            f"{name} did not take a test message within {MESSAGE_SECONDS:.0f} s: look at its token, topic and network"
        )
        yield Finding("messages", took, f"{name} took a test message" if took else cure)


def show(
    settings: Settings, wire: AlpacaWire | None, now: Callable[[], datetime], console: Console
) -> tuple[int, dict[str, Any]]:
    """Print the lines; the exit code and what --json prints."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    found = []
    with console.status("asking Alpaca"):
        for finding in findings(settings, wire, now):
            found.append(finding)
            mark = Text("ok") if finding.ok else Text("look", style="bold")
            table.add_row(mark, finding.name, Text(finding.words))
    console.print(table)
    code = next((finding.code for finding in found if not finding.ok), 0)
    return code, {"checks": [{"name": f.name, "ok": f.ok, "words": f.words} for f in found]}

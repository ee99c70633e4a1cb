"""Is everything ready to trade on Alpaca? One line each, ok or what to do; nothing is changed.

The lines of `findings` are what `python live_trader.py --check` prints.
"""

from __future__ import annotations

import os
import shutil
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
from desk.alpaca_account import MAX_SKEW_SECONDS, AlpacaAccount
from desk.orders import Account
from figures import plural
from learning.model_store import ModelStore, NoModel
from market.hours import new_york, next_session, sessions_between
from sources import feed_of

CALENDAR_DAYS = 10
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


def findings(settings: Settings, wire: AlpacaWire | None, now: datetime) -> Iterator[Finding]:
    """Every line; without a wire (no keys) those of this machine."""
    if wire is None:
        yield Finding("keys", False, GET_KEYS, 2)
    else:
        yield from _online(settings, wire, now)
    yield disk(settings)
    yield model(settings, now)


def _online(settings: Settings, wire: AlpacaWire, now: datetime) -> Iterator[Finding]:
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
        ("calendar", lambda: calendar(wire, new_york(now).date())),
        ("symbols", lambda: symbols(settings, wire)),
        ("stops", lambda: stops(wire, now)),
    ]
    for name, line in lines:
        try:
            yield line()
        except AlpacaError as error:
            yield Finding(name, False, f"{error}. Try again")


def account(money: Account, blocked: str | None) -> Finding:
    """Whether the account may trade, and with how much."""
    words = f"cash {money.cash:,.2f} USD, equity {money.equity:,.2f}, for entries {money.buying_power:,.2f}"
    if blocked is not None:
        words = f"{blocked}. Look at the account's page at Alpaca, or reset the paper account"
    return Finding("account", blocked is None, words)


def feed(settings: Settings, wire: AlpacaWire) -> Finding:
    """Whether the newest bars of FEED may be read: without them nothing can be traded in the session."""
    try:
        wire.data.get("/stocks/bars/latest", {"symbols": "SPY", "feed": settings.FEED})
    except Refused as error:
        cure = 'set FEED = "iex" in config.py, which is free, or subscribe'
        return Finding("feed", False, f"no right to the newest {settings.FEED} bars ({error.message}): {cure}", 2)
    return Finding("feed", True, f"the newest {settings.FEED} bars may be read")


def clock(wire: AlpacaWire, now: datetime) -> Finding:
    """Whether this machine and Alpaca agree on the time."""
    behind = (AlpacaAccount(wire.trading).clock()["timestamp"] - now).total_seconds()
    words = f"{abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'} Alpaca's"
    cure = "" if abs(behind) <= MAX_SKEW_SECONDS else "; nothing would be bought. Set it: timedatectl set-ntp true"
    return Finding("clock", not cure, words + cure)


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
    return Finding("calendar", False, f"{words}. Update exchange_calendars; until then nothing is bought on these days")


def _hours(session: tuple[str, str] | None) -> str:
    return "closed" if session is None else "-".join(session)


def symbols(settings: Settings, wire: AlpacaWire) -> Finding:
    """Whether there is something to trade: SYMBOLS, or Alpaca's most active."""
    if settings.SYMBOLS is None:
        reply = wire.screener.get("/screener/stocks/most-actives", {"by": "volume", "top": settings.ACTIVE_SYMBOLS})
        count = len(reply.get("most_actives") or ())
        words = f"{count} in the most-active list of {reply.get('last_updated')}"
        return Finding("symbols", count > 0, words if count else f"{words}: empty. Try again, or list some in SYMBOLS")
    unfit = [symbol for symbol in settings.SYMBOLS if not _tradable(wire, symbol)]
    words = f"{plural(len(settings.SYMBOLS), 'symbol')} listed in SYMBOLS"
    cure = f"{words}, not tradable at Alpaca: {', '.join(unfit)}. Take them out of SYMBOLS"
    return Finding("symbols", not unfit, cure if unfit else f"{words}, all tradable", 2)


def _tradable(wire: AlpacaWire, symbol: str) -> bool:
    try:
        asset: dict[str, Any] = wire.trading.get_asset(symbol)
    except Refused:
        return False
    return asset.get("status") == "active" and asset.get("tradable") is True


def stops(wire: AlpacaWire, now: datetime) -> Finding:
    """Whether every share held is under a stop, whoever bought it."""
    reader = AlpacaAccount(wire.trading)
    held = {symbol: qty for symbol, (qty, _) in reader.shares().items() if qty > 0}
    for order in (order for row in reader.orders(now - GTC_LIFE, list(held)) for order in row.family):
        if order.live and order.side == "sell" and order.kind != "limit":
            held[order.symbol] -= order.qty - order.filled
    bare = [f"{symbol} ({plural(qty, 'share')})" for symbol, qty in held.items() if qty > 0]
    if not bare:
        return Finding("stops", True, f"{plural(len(held), 'position')}, every share under a stop")
    cure = "start python live_trader.py, which puts back those of its own; protect by hand what you bought by hand"
    return Finding("stops", False, f"without a stop: {', '.join(bare)}; {cure}")


def disk(settings: Settings) -> Finding:
    """Whether there is room, and the folders may be written."""
    for folder in (settings.DATA_DIR, settings.MODELS_DIR):
        place = _existing(folder)
        if not os.access(place, os.W_OK):
            return Finding("disk", False, f"{place} cannot be written: change its rights, or set other folders", 2)
    free = min(shutil.disk_usage(_existing(folder)).free for folder in (settings.DATA_DIR, settings.MODELS_DIR))
    words = f"{free / 1e9:.1f} GB free"
    return Finding("disk", free >= NEEDED_BYTES, words if free >= NEEDED_BYTES else f"{words}: make room for 1 GB")


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def model(settings: Settings, now: datetime) -> Finding:
    """Whether a model serves, and how old it is."""
    try:
        card = ModelStore(settings.MODELS_DIR).load().card
    except NoModel as error:
        if "No trained model found" in str(error):
            return Finding("model", True, "none yet: a first one is trained when the trader starts")
        return Finding("model", False, str(error))
    source = (settings.market, feed_of(settings, settings.market))
    if (card["market"], card["feed"]) != source:
        words = (
            f"{card['stamp']} learnt from market {card['market']} (feed {card['feed']}), not {source[0]} ({source[1]})"
        )
        return Finding("model", False, f"{words}. Run: python ml_trainer.py")
    trained = datetime.fromisoformat(card["train_end"])
    age = len([s for s in sessions_between(new_york(trained).date(), new_york(now).date()) if trained < s.close <= now])
    words = f"{card['stamp']}, {plural(age, 'session')} old, {'proven' if card['proven'] else 'unproven'}"
    if age > OLD_MODEL_SESSIONS:
        words += f". Old: it is trained anew at {settings.TRAIN_TIME}, or now: python build_dataset.py, ml_trainer.py"
    return Finding("model", age <= OLD_MODEL_SESSIONS, f"{words}; next session {next_session(now).day}")


def show(settings: Settings, wire: AlpacaWire | None, now: datetime, console: Console) -> tuple[int, dict[str, Any]]:
    """Print the lines as they come to be known; the exit code and what --json prints."""
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

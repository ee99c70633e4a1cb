"""What was earned, and why: the books as a summary on the terminal and as one HTML page.

python report.py                     summary, page in data/report.html
python report.py --out report.html   the page somewhere else

It reads the books as they are on disk, while a trader runs too, and needs neither network nor model. --market only checks
whose books they are; --bars, --symbols and --days change nothing. For your own plots:

>>> from config import load_settings
>>> import report
>>> report.equity(load_settings())  # time, equity; also trades and signals
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import command
from config import Settings
from desk.books import Books
from desk.journal import Event, read_events
from desk.orders import Trade
from desk.performance import summarise
from durable import replace_file
from figures import Report, listed, number, percent, why_nothing_was_bought
from learning.model_store import ModelStore, NoModel
from market.bars import NoBars
from market.simulated_feed import BANNER
from page import html_page
from sources import StateRefused
from trader import local_time

SHOWN_TRADES = SHOWN_SESSIONS = 10
SHOWN_DUTIES = 3  # that did not end well


def equity(settings: Settings) -> pd.DataFrame:
    """The account once a minute of every session: time (New York), equity (USD). Raises NoBars."""
    return _equity(_books(_events(settings)))


def trades(settings: Settings) -> pd.DataFrame:
    """Every trade in the order of its decision: the fields of models/trade_history.json. Raises NoBars.

    Times are New York's, money is USD, `pnl_pct` a fraction; NaN and NaT where a trade has no exit yet.
    """
    return _trades(_books(_events(settings)))


def signals(settings: Settings) -> pd.DataFrame:
    """Every signal: symbol, price (USD), confidence, timestamp (New York), taken, reason. Raises NoBars."""
    return _signals(_books(_events(settings)))


def _events(settings: Settings) -> list[Event]:
    path = settings.MODELS_DIR / "journal.jsonl"
    events = read_events(path)
    if not events:
        raise NoBars(f"there is nothing to report yet: {path} holds no journal. Run: python live_trader.py")
    return events


def _books(events: Iterable[Event]) -> Books:
    return Books(local_time, events)


def _equity(books: Books) -> pd.DataFrame:
    frame = pd.DataFrame(books.equity, columns=["time", "equity"])
    return frame.assign(time=_new_york(frame["time"]), equity=frame["equity"].astype(float))


def _trades(books: Books) -> pd.DataFrame:
    names = [field.name for field in fields(Trade) if field.name != "entry_minute"]
    frame = pd.DataFrame([asdict(trade) for trade in books.trades.values()], columns=names)
    frame[["exit_price", "pnl_pct", "pnl_amount"]] = frame[["exit_price", "pnl_pct", "pnl_amount"]].astype(float)
    return frame.assign(entry_time=_new_york(frame["entry_time"]), exit_time=_new_york(frame["exit_time"]))


def _signals(books: Books) -> pd.DataFrame:
    frame = pd.DataFrame(books.signals, columns=["symbol", "price", "confidence", "timestamp", "taken", "reason"])
    return frame.assign(timestamp=_new_york(frame["timestamp"]), taken=frame["taken"].astype(bool))


def _new_york(times: pd.Series) -> pd.Series:
    return pd.to_datetime(times, utc=True).dt.tz_convert("America/New_York")


def read_report(settings: Settings) -> Report:
    """Everything a report shows, from what is on disk at this moment. Raises NoBars where there is no journal."""
    events = _events(settings)
    books = _books(events)
    source = settings.MODELS_DIR / "source.json"
    origin = json.loads(source.read_text()) if source.exists() else {"market": "unknown", "feed": "unknown"}
    card, no_model = _card_in_use(settings)
    duties = [event for event in events if event["kind"] == "duty"]
    return Report(
        market=origin["market"],
        feed=origin["feed"],
        banner=BANNER if origin["market"] == "simulated" else None,
        card=card,
        no_model=no_model,
        threshold=settings.MIN_CONFIDENCE,
        performance=summarise(list(books.trades.values()), settings.PAPER_CASH),
        equity=_equity(books),
        trades=_trades(books),
        signals=_signals(books),
        sessions=_sessions(events, books),
        duties=[{name: event[name] for name in ("session", "duty", "outcome", "words")} for event in duties],
    )


def _card_in_use(settings: Settings) -> tuple[dict[str, Any] | None, str]:
    store = ModelStore(settings.MODELS_DIR)
    try:
        return store.card(store.current()), ""
    except NoModel as error:
        return None, str(error)


def _sessions(events: Iterable[Event], books: Books) -> list[dict[str, Any]]:
    ended = {event["day"]: event for event in events if event["kind"] == "session"}
    bought = Counter(t.entry_time[:10] for t in books.trades.values() if t.qty)
    closed = [t for t in books.trades.values() if t.status == "CLOSED"]
    sessions = []
    for day in sorted({time[:10] for time, _ in books.equity} | set(ended)):
        earned = [t.pnl_amount or 0.0 for t in closed if (t.exit_time or "")[:10] == day]
        missed = Counter(s["reason"] for s in books.signals if s["timestamp"][:10] == day and not s["taken"])
        words = "" if bought[day] else why_nothing_was_bought(ended.get(day), missed)
        counts = {"day": day, "bought": bought[day], "sold": len(earned), "pnl": sum(earned), "words": words}
        sessions.append(ended.get(day, {}) | counts)
    return sessions


# --- the terminal ----------------------------------------------------------------------------------------------------


def show(settings: Settings, console: Console) -> None:
    """Print the summary. Raises NoBars where there is no journal."""
    _print(read_report(settings), console)


def _print(report: Report, console: Console) -> None:
    if report.banner:
        console.print(Panel(Text(report.banner), title="SIMULATED MARKET", style="bold"))
    console.print(_pairs(report.about()))
    figures = report.figures()
    grid = Table(box=None, show_header=False, pad_edge=False)
    for left, right in zip(figures[::2], figures[1::2], strict=True):
        grid.add_row(left[0], Text(left[1], justify="right"), " ", right[0], Text(right[1], justify="right"))
    _heading(console, "performance")
    console.print(grid)
    _print_trades(report, console)
    _heading(console, "signals")
    console.print(report.signals_in_words(), markup=False)
    if not_taken := report.not_taken():
        console.print(f"not taken: {listed(not_taken)}", markup=False)
    silent = [(s["day"], s["words"]) for s in report.sessions if s["words"]]
    if silent:
        _heading(console, f"sessions without a purchase: {len(silent)} of {len(report.sessions)}")
        if len(silent) > SHOWN_SESSIONS:
            console.print(f"the last {SHOWN_SESSIONS}; the page has all")
        console.print(_pairs(silent[-SHOWN_SESSIONS:]))
    _heading(console, "duties")
    outcomes = report.outcomes()
    console.print("; ".join(f"{duty}: {listed_by_outcome(count)}" for duty, count in outcomes.items()) or "none was due")


def _print_trades(report: Report, console: Console) -> None:
    closed, held = report.with_status("CLOSED"), report.with_status("OPEN")
    _heading(console, f"closed trades, the last {SHOWN_TRADES} of {len(closed)}" if len(closed) > SHOWN_TRADES else "closed trades")

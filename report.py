"""What was earned, and why: the books as a summary on the terminal and as one HTML page.

    python report.py                     summary, page in data/report.html
    python report.py --out report.html   the page somewhere else

It reads the books as they are on disk, while a trader runs too, and needs neither network nor model. --market only
checks whose books they are; --bars, --symbols and --days change nothing. For your own plots:

    >>> import report
    >>> report.equity()  # time, equity; also trades, signals, sessions, duties, followed and costs
    >>> report.trades().groupby("symbol")["pnl_amount"].sum()

Each is a pandas DataFrame, and takes other settings than those of config.py and the environment as an argument.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

import command
from config import Settings, load_settings
from desk.books import Books
from desk.halt import in_force
from desk.journal import Event, read_events
from desk.orders import Trade
from display.comparisons import compare
from display.figures import Report, card_in_use, session_lines
from display.learnt import read_learnt, summary
from display.page import html_page
from display.summary import print_summary
from durable import replace_file
from learning.costs import LearntCost
from learning.followed import Followed
from learning.reviews import Reviews
from locks import is_held
from market.bars import NoBars
from market.clock import utc_now
from market.hours import NEW_YORK, local_time
from market.simulated_feed import BANNER
from sources import StateRefused, bar_store, read_note, stamp_of

READ_FIRST = ["symbol", "status", "entry_time", "price", "qty", "exit_time", "exit_price", "exit_reason", "pnl_amount"]
PAGE = "report.html"  # in DATA_DIR
RELOAD_SECONDS = 300  # of a page that a running trader writes anew as often
DUTY_FIELDS = ["session", "duty", "outcome", "words"]


def equity(settings: Settings | None = None) -> pd.DataFrame:
    """The account once a minute of every session: time (New York), equity (USD). Raises NoBars."""
    return _equity(_books(settings))


def trades(settings: Settings | None = None) -> pd.DataFrame:
    """Every trade in the order of its decision: the fields of models/trade_history.json. Raises NoBars.

    Times are New York's, money is USD, `pnl_pct` a fraction; NaN and NaT where a trade has no exit yet.
    """
    return _trades(_books(settings))


def signals(settings: Settings | None = None) -> pd.DataFrame:
    """Every signal: symbol, price (USD), confidence, timestamp (New York), taken, reason. Raises NoBars."""
    return _signals(_books(settings))


def sessions(settings: Settings | None = None) -> pd.DataFrame:
    """A row per session: day, bought, sold, pnl (USD), words (why nothing was bought), and what was predicted in it.
    Raises NoBars."""
    settings = settings or load_settings()
    events = _events(settings)
    return pd.DataFrame(session_lines(events, Books(local_time, events)))


def duties(settings: Settings | None = None) -> pd.DataFrame:
    """Every training, review and rebalance: session, duty, outcome, words. Raises NoBars."""
    return pd.DataFrame(_duties(_events(settings or load_settings())), columns=DUTY_FIELDS)


def followed(settings: Settings | None = None) -> pd.DataFrame:
    """Trades that were not made, followed all the same: the columns of `learning.followed`, no row where none was."""
    settings = settings or load_settings()
    return Followed(settings.MODELS_DIR / "followed_trades.jsonl").read(stamp_of(utc_now()))


def costs(settings: Settings | None = None) -> pd.DataFrame:
    """What fills cost beyond the label's assumption, a row per review and symbol: session and the fields of
    `learning.costs.LearntCost`, fractions of the price."""
    settings = settings or load_settings()
    rows = [
        {"session": review["session"], **cost}
        for review in Reviews(settings.MODELS_DIR / "reviews").all()
        for cost in review["costs"]
    ]
    return pd.DataFrame(rows, columns=["session", *(field.name for field in fields(LearntCost))])


def _books(settings: Settings | None) -> Books:
    return Books(local_time, _events(settings or load_settings()))


def _duties(events: Iterable[Event]) -> list[dict[str, Any]]:
    return [{name: event[name] for name in DUTY_FIELDS} for event in events if event["kind"] == "duty"]


def _events(settings: Settings) -> list[Event]:
    path = settings.MODELS_DIR / "journal.jsonl"
    events = read_events(path)
    if not events:
        raise NoBars(f"there is nothing to report yet: {path} holds no journal. Run: python live_trader.py")
    return events


def _equity(books: Books) -> pd.DataFrame:
    frame = pd.DataFrame(books.equity, columns=["time", "equity"])
    return frame.assign(time=_new_york(frame["time"]), equity=frame["equity"].astype(float))


def _trades(books: Books) -> pd.DataFrame:
    names = [*READ_FIRST, *(f.name for f in fields(Trade) if f.name not in {*READ_FIRST, "entry_minute"})]
    frame = pd.DataFrame([asdict(trade) for trade in books.trades.values()], columns=names)
    frame[["exit_price", "pnl_pct", "pnl_amount"]] = frame[["exit_price", "pnl_pct", "pnl_amount"]].astype(float)
    return frame.assign(entry_time=_new_york(frame["entry_time"]), exit_time=_new_york(frame["exit_time"]))


def _signals(books: Books) -> pd.DataFrame:
    frame = pd.DataFrame(books.signals, columns=["symbol", "price", "confidence", "timestamp", "taken", "reason"])
    return frame.assign(timestamp=_new_york(frame["timestamp"]), taken=frame["taken"].astype(bool))


def _new_york(times: pd.Series) -> pd.Series:
    return pd.to_datetime(times, utc=True).dt.tz_convert(NEW_YORK)


def read_report(settings: Settings) -> Report:
    """Everything a report shows, from what is on disk at this moment. Raises NoBars where there is no journal, and
    StateRefused where source.json is damaged."""
    events = _events(settings)
    books = Books(local_time, events)
    source = settings.MODELS_DIR / "source.json"
    origin = read_note(source) if source.exists() else {"market": "unknown", "feed": "unknown"}
    card, no_model = card_in_use(settings.MODELS_DIR)
    return Report(
        written=utc_now(),
        market=origin["market"],
        feed=origin["feed"],
        banner=BANNER if origin["market"] == "simulated" else None,
        halt=in_force(settings.MODELS_DIR, books.halt),
        card=card,
        no_model=no_model,
        performance=books.performance(),
        equity=_equity(books),
        trades=_trades(books),
        signals=_signals(books),
        sessions=session_lines(events, books),
        duties=_duties(events),
    )


# --- the terminal ----------------------------------------------------------------------------------------------------


def show(settings: Settings, console: Console) -> None:
    """Print the summary. Raises as `read_report`."""
    report = read_report(settings)
    print_summary(report, read_learnt(settings.MODELS_DIR, report.card), console)


# --- page and door ---------------------------------------------------------------------------------------------------


def write_page(
    settings: Settings, path: Path, bars: pd.DataFrame | None = None, reload_seconds: int | None = None
) -> Path:
    """Write the page, whole or not at all; its path. Raises as `read_report`, and UsageError where `path` cannot be
    written.

    `bars` are those of the traded sessions; by default what DATA_DIR keeps whole. With `reload_seconds` an open page
    looks for a newer one as often.
    """
    return _write(settings, read_report(settings), path, bars, reload_seconds)


def _write(
    settings: Settings,
    report: Report,
    path: Path,
    bars: pd.DataFrame | None = None,
    reload_seconds: int | None = None,
) -> Path:
    def between(first: date, last: date) -> pd.DataFrame:
        if bars is None:
            # Alpaca's day may be stored half in its session; that half is all that recorded bars may ever have.
            return bar_store(settings).read(first, last, complete=report.market == "alpaca")
        days = bars["timestamp"].dt.tz_convert(NEW_YORK).dt.date
        return bars[(days >= first) & (days <= last)].reset_index(drop=True)

    held_against = compare(report.trades, report.equity, between, **settings.trade_rules())
    page = html_page(report, read_learnt(settings.MODELS_DIR, report.card), held_against, reload_seconds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, page)
    except OSError as error:
        raise command.UsageError(f"--out {path} cannot be written ({error.strerror}); name another file") from error
    return path


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    report = read_report(settings)
    if arguments.market not in (None, "auto", report.market):
        raise StateRefused(
            f"{settings.MODELS_DIR} holds the books of market {report.market}, not of {arguments.market}. "
            "Leave --market away, or name other folders: MODELS_DIR=... DATA_DIR=... python report.py"
        )
    learnt = read_learnt(settings.MODELS_DIR, report.card)
    if not console.quiet:
        print_summary(report, learnt, console)
    out = arguments.out or settings.DATA_DIR / PAGE
    running = is_held(settings.MODELS_DIR / "journal.lock")  # then newer ones will follow
    page = _write(settings, report, out, reload_seconds=RELOAD_SECONDS if running else None)
    console.print(f"\npage: {page} (open it in a browser)", soft_wrap=True)
    return 0, _summary(report) | {"learnt": summary(learnt), "page": str(page)}


def _summary(report: Report) -> dict[str, Any]:
    card, last = report.card, report.equity.tail(1)
    return {
        "market": report.market,
        "feed": report.feed,
        "model": {name: card[name] for name in ("stamp", "proven", "reason")} if card else None,
        "first": report.equity["time"].min().isoformat() if len(last) else None,
        "last": report.equity["time"].max().isoformat() if len(last) else None,
        "equity": float(last["equity"].iloc[0]) if len(last) else None,
        **report.performance,
        "signals": len(report.signals),
        "signals_not_taken": report.not_taken(),
        "sessions": report.sessions,
        "duties": report.outcomes(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser("report.py", __doc__)
    parser.add_argument("--out", type=Path, metavar="PATH", help="the page's file (default: report.html in DATA_DIR)")
    return command.run("report", _body, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

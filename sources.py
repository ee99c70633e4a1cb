"""Which market the folders belong to: models/ and data/ hold one source at a time, and say which in source.json.

What the simulated market made is disposable and moves to archive/ when something else needs the folders; what was
learnt from Alpaca or from the user's own bars is never moved, and another source is refused.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from alpaca_wire import READ_TRIES, AlpacaWire
from config import BadSetting, Settings
from desk.halt import WORDS
from desk.journal import lock_books
from durable import HEALING_ERRNOS, replace_file, to_json
from market.active_list import ActiveList
from market.alpaca_feed import AlpacaFeed, FeedUnavailable
from market.bar_store import BarStore
from market.bars import BadBars, read_bars
from market.clock import utc_now, wait
from market.feeds import simulated_feed
from market.hours import Session, new_york
from market.recorded_feed import RecordedFeed

log = logging.getLogger(__name__)

# What may lie in a folder that no source has claimed yet.
_OURS = re.compile(
    r"\..*|(HALT|RESUME|FLATTEN|alive|logs|backtests|bars|symbols|predictions|reviews|archive|models|data)|report\.html"
    r"|(model|scaler|features|card|out_of_fold)_\w+\.\w+|current\.json|dataset\.\w+"
    r"|(journal|trade_history|paper_account|followed_trades|trials)\..*"
)
_ARCHIVED = re.compile(r"simulated_\d{8}_\d{6}")
STRAY_AGE = timedelta(days=1)
TRADED_SESSIONS = 5  # of a market that lies in the past; all earlier ones are history


class StateRefused(RuntimeError):
    """The folders belong to another source; the message names both and the cure."""


def stamp_of(now: datetime) -> str:
    """The New York time of `now` as it stands in file names: YYYYMMDD_HHMMSS."""
    return new_york(now).strftime("%Y%m%d_%H%M%S")


def feed_of(settings: Settings, market: str) -> str:
    """The feed that stamps bars and models of a market."""
    return settings.FEED if market == "alpaca" else market


def stored_market(settings: Settings) -> str | None:
    """The market that the folders belong to, or None while they are empty."""
    for folder in (settings.MODELS_DIR, settings.DATA_DIR):
        note = folder / "source.json"
        if note.exists():
            return read_note(note)["market"]
    return None


def read_note(note: Path) -> dict[str, str]:
    """Market and feed of a source.json. Raises StateRefused where it cannot be read."""
    try:
        source = json.loads(note.read_text())
        return {"market": str(source["market"]), "feed": str(source["feed"])}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise StateRefused(
            f"{note} cannot be read, so whose these folders are is not known. Write the market's name and feed into it "
            '(as in {"market": "recorded", "feed": "recorded"}), or use other folders: MODELS_DIR=... DATA_DIR=...'
        ) from error


def claim(settings: Settings, market: str, *, now: datetime, new_run: bool = False) -> str | None:
    """Take the folders for `market`; a message if a simulated run was archived for it. Raises StateRefused.

    `new_run`: a simulated run begins; books of an earlier one are archived, what build_dataset.py and ml_trainer.py
    made for it is used.
    """
    feed, message = feed_of(settings, market), None
    notes = [folder / "source.json" for folder in (settings.MODELS_DIR, settings.DATA_DIR)]
    found = [read_note(note) for note in notes if note.exists()]
    foreign = [source for source in found if source != {"market": market, "feed": feed}]
    finished = new_run and market == "simulated" and (settings.MODELS_DIR / "journal.jsonl").exists()
    if any(source["market"] != "simulated" for source in foreign):
        other = next(source for source in foreign if source["market"] != "simulated")
        same = other["market"] == market
        choice, name = (f"FEED={other['feed']}", feed) if same else (f"--market {other['market']}", market)
        raise StateRefused(
            f"{settings.MODELS_DIR} and {settings.DATA_DIR} belong to market {other['market']} (feed {other['feed']}), "
            f"not to {market} (feed {feed}); nothing was touched. Use {choice}, or other folders: "
            f"MODELS_DIR=models_{name} DATA_DIR=data_{name} python ..."
        )
    for folder in [note.parent for note in notes if not note.exists() and note.parent.is_dir()]:
        if strange := sorted(entry.name for entry in folder.iterdir() if not _OURS.fullmatch(entry.name)):
            raise StateRefused(
                f"{folder} holds files that are not this program's ({', '.join(strange[:3])}), and what a simulated "
                "run leaves is moved and removed later; nothing was touched. Name an empty folder: MODELS_DIR=... "
                "DATA_DIR=..."
            )
    if foreign or finished:
        simulated = [note.parent for note in notes if note.exists() and read_note(note)["market"] == "simulated"]
        message = _archive(settings, simulated, stamp_of(now))
    for note in notes:
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            replace_file(note, to_json({"market": market, "feed": feed}))  # each time: does the disk take a file?
        except OSError as error:
            if error.errno in HEALING_ERRNOS:
                raise OSError(error.errno, error.strerror, str(note.parent)) from error
            raise BadSetting(
                f"{note.parent} cannot be written ({error.strerror}), so nothing was begun. Mend that, or name another "
                "folder: MODELS_DIR=... DATA_DIR=..."
            ) from error
    _sweep(settings, now - STRAY_AGE)
    return message


def _sweep(settings: Settings, before: datetime) -> None:
    """Remove temporary files of writers that were killed; those of one that is at work are younger."""
    for folder in (settings.MODELS_DIR, settings.DATA_DIR):
        for stray in folder.rglob(".*.tmp"):
            with suppress(FileNotFoundError):  # a running trader may rename it meanwhile
                if stray.is_file() and stray.stat().st_mtime < before.timestamp():
                    stray.unlink()


def _archive(settings: Settings, simulated: Sequence[Path], stamp: str) -> str:
    """Move the simulated folders' content to archive/simulated_<stamp>/; then remove older archives.

    Raises AlreadyRunning while a trader writes the books there.
    """
    root = settings.MODELS_DIR.parent / "archive"
    target = root / f"simulated_{stamp}"
    older = [path for path in root.glob("simulated_*") if _ARCHIVED.fullmatch(path.name)]
    with lock_books(settings.MODELS_DIR / "journal.jsonl"):
        for folder in simulated:
            place = target / ("models" if folder == settings.MODELS_DIR else "data")
            place.mkdir(parents=True, exist_ok=True)
            for entry in list(folder.iterdir()):
                if entry.name not in (".gitkeep", "logs", "backtests", "journal.lock", *WORDS):
                    shutil.move(entry, place / entry.name)  # the folders may lie on different disks
    for old in older:
        shutil.rmtree(old)
    return f"the earlier simulated run was moved to {_short(target)} (the last one is kept)"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def bar_store(settings: Settings) -> BarStore:
    """The bars kept in DATA_DIR."""
    return BarStore(settings.DATA_DIR / "bars")


def open_wire(
    settings: Settings,
    wait: Callable[[float], object] = wait,
    monotonic: Callable[[], float] = time.monotonic,
    read_tries: int = READ_TRIES,
    patience: float | None = None,
) -> AlpacaWire:
    """The way to Alpaca on the account of .env. Opening it sends nothing; BadSetting without keys."""
    if settings.ALPACA_API_KEY is None or settings.ALPACA_SECRET_KEY is None:
        raise BadSetting(
            "MARKET=alpaca cannot be reached without keys: put ALPACA_API_KEY and ALPACA_SECRET_KEY of a paper account "
            "into .env (see .env.example), or use --market simulated"
        )
    urls = settings.ALPACA_TRADING_URL, settings.ALPACA_DATA_URL
    keys = settings.ALPACA_API_KEY, settings.ALPACA_SECRET_KEY
    return AlpacaWire(*keys, *urls, wait, monotonic, read_tries, patience)


def open_alpaca(settings: Settings, wire: AlpacaWire, say: Callable[[str], object] = log.warning) -> AlpacaFeed:
    """Alpaca's market with SYMBOLS, or else the active list; `say` tells a person what that leaves out, and why."""
    listed = settings.SYMBOLS
    active = ActiveList(
        wire,
        settings.DATA_DIR / "symbols",
        settings.ACTIVE_SYMBOLS,
        settings.MIN_PRICE,
        settings.MIN_VOLUME,
        settings.FEED,
        say,
    )
    watch = active.look if listed is None else lambda now: listed
    return AlpacaFeed(wire, bar_store(settings), watch, settings.FEED, settings.DAYS_BACK)


def open_stored(settings: Settings, market: str, sessions: int = 0) -> RecordedFeed:
    """What data/bars/ keeps of a market, its newest `sessions` or all (0), as one that lies in the past.

    Raises NoBars, BadBars. A session of Alpaca's that is still open is not part of it.
    """
    bars = bar_store(settings).read_newest(sessions, complete=market == "alpaca")
    return RecordedFeed(bars, market, feed_of(settings, market))


def open_market(settings: Settings, bars: Path | None = None) -> RecordedFeed:
    """The chosen market, which lies in the past; its `recorded` bars are those of `bars`, or the ones imported before.

    Raises BadBars, NoBars, and FeedUnavailable for Alpaca's, which `open_alpaca` and, for what is stored, `open_stored`
    open.
    """
    if settings.market == "alpaca":
        raise FeedUnavailable("market alpaca cannot be replayed here; use --market simulated, or python backtest.py")
    if settings.market == "simulated":
        feed = simulated_feed(settings.DAYS_BACK, settings.SIMULATED_SEED, settings.SIMULATED_PATTERN_STRENGTH)
    else:
        feed = open_stored(settings, "recorded") if bars is None else RecordedFeed(read_bars(bars))
        if feed.end > utc_now():
            raise BadBars(
                f"{bars or settings.DATA_DIR / 'bars'}: the newest bar ends at {feed.end}, in the future by this "
                "machine's clock; mend the one or the other"
            )
    offered = feed.symbols(feed.end)
    if settings.SYMBOLS is not None and not set(settings.SYMBOLS) & set(offered):
        raise BadSetting(
            f"SYMBOLS={','.join(settings.SYMBOLS[:8])}: none is in the {feed.market} market, which has {offered[0]} to "
            f"{offered[-1]} ({len(offered)} symbols); choose from these"
        )
    return feed


def traded_sessions(feed: RecordedFeed, count: int | None) -> list[Session]:
    """The last `count` sessions of a market that lies in the past: those that live_trader.py trades."""
    return feed.sessions()[-(count or TRADED_SESSIONS) :]

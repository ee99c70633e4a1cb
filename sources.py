"""Which market the folders belong to: models/ and data/ hold one source at a time, and say which in source.json.

What the simulated market made is disposable and moves to archive/ when something else needs the folders; what was
learnt from Alpaca or from the user's own bars is never moved, and another source is refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd

from config import BadSetting, Settings
from desk.journal import lock_books
from durable import replace_file, to_json
from market.bar_store import BarStore
from market.bars import read_bars
from market.feeds import open_feed
from market.hours import Session, new_york
from market.recorded_feed import RecordedFeed

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
            return _read_note(note)["market"]
    return None


def _read_note(note: Path) -> dict[str, str]:
    try:
        source = json.loads(note.read_text())
        return {"market": str(source["market"]), "feed": str(source["feed"])}
    except (OSError, ValueError, LookupError, TypeError) as error:
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
    found = [_read_note(note) for note in notes if note.exists()]
    foreign = [source for source in found if source != {"market": market, "feed": feed}]
    finished = new_run and market == "simulated" and (settings.MODELS_DIR / "journal.jsonl").exists()
    if any(source["market"] != "simulated" for source in foreign):
        other = next(source for source in foreign if source["market"] != "simulated")
        raise StateRefused(
            f"{settings.MODELS_DIR} and {settings.DATA_DIR} belong to market {other['market']} (feed {other['feed']}), "
            f"not to {market} (feed {feed}); nothing was touched. Use --market {other['market']}, or other folders: "
            f"MODELS_DIR=models_{market} DATA_DIR=data_{market} python ..."
        )
    if foreign or finished:
        simulated = [note.parent for note in notes if note.exists() and _read_note(note)["market"] == "simulated"]
        message = _archive(settings, simulated, stamp_of(now))
    for note in notes:
        note.parent.mkdir(parents=True, exist_ok=True)
        if not note.exists():
            replace_file(note, to_json({"market": market, "feed": feed}))
    return message


def _archive(settings: Settings, simulated: Sequence[Path], stamp: str) -> str:
    """Move the simulated folders' content to archive/simulated_<stamp>/; then remove older archives.

    Raises AlreadyRunning while a trader writes the books there.
    """
    root = settings.MODELS_DIR.parent / "archive"
    target = root / f"simulated_{stamp}"
    older = list(root.glob("simulated_*"))
    with lock_books(settings.MODELS_DIR / "journal.jsonl"):
        for folder in simulated:
            place = target / ("models" if folder == settings.MODELS_DIR else "data")
            place.mkdir(parents=True, exist_ok=True)
            for entry in list(folder.iterdir()):
                if entry.name not in (".gitkeep", "logs", "backtests", "journal.lock"):
                    shutil.move(entry, place / entry.name)  # the folders may lie on different disks
    for old in older:
        shutil.rmtree(old)
    return f"the earlier simulated run was moved to {_short(target)} (the last one is kept)"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def bar_store(settings: Settings) -> BarStore:
    """The bars kept in DATA_DIR."""
    return BarStore(settings.DATA_DIR / "bars")


def open_market(settings: Settings, bars: Path | None = None) -> RecordedFeed:
    """The chosen market; its `recorded` bars are those of `bars`, or the ones imported before."""

    def recorded() -> pd.DataFrame:
        return bar_store(settings).read_newest() if bars is None else read_bars(bars)

    seed, strength = settings.SIMULATED_SEED, settings.SIMULATED_PATTERN_STRENGTH
    feed = open_feed(settings.market, settings.FEED, recorded, settings.DAYS_BACK, seed, strength)
    offered = feed.symbols(feed.end)
    if settings.SYMBOLS is not None and not set(settings.SYMBOLS) & set(offered):
        raise BadSetting(
            f"SYMBOLS={','.join(settings.SYMBOLS)}: none is in the {feed.market} market, which has {offered[0]} to "
            f"{offered[-1]} ({len(offered)} symbols); choose from these"
        )
    return feed


def traded_sessions(feed: RecordedFeed, count: int | None) -> list[Session]:
    """The last `count` sessions of a market that lies in the past: those that live_trader.py trades."""
    return feed.sessions()[-(count or TRADED_SESSIONS) :]

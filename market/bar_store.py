"""data/bars/: minute bars by New York date, one Parquet file a session with a note beside it of what it holds.

    data/bars/2026-03-02.parquet    the bars
    data/bars/2026-03-02.json       {"symbols": [...], "feed": "iex", "adjustment": "split", "complete": true}

Updating fetches only what is missing: a session that is complete for a symbol is never asked for again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from durable import replace_file, to_json
from market.bars import BadBars, NoBars
from market.hours import Session

Fetch = Callable[[Sequence[str], datetime, datetime], pd.DataFrame]


@dataclass(frozen=True)
class Fetched:
    """What one session brought: `rows` bars that are new or changed; `stored` True if nothing had to be fetched."""

    rows: int
    stored: bool


class BarStore:
    """The bars kept under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def days(self) -> list[date]:
        """The session dates that are stored, oldest first."""
        return sorted(date.fromisoformat(path.stem) for path in self._folder.glob("????-??-??.parquet"))

    def read(self, first: date, last: date, symbols: Sequence[str] | None = None) -> pd.DataFrame:
        """A bars table of the sessions first <= day <= last; all symbols, or those given. Raises NoBars, BadBars."""
        frames = [self._read_day(day) for day in self.days() if first <= day <= last]
        if not frames:
            raise NoBars(f"{self._folder}: no bars from {first} to {last}; run: python build_dataset.py")
        table = pd.concat(frames, ignore_index=True)
        if symbols is not None:
            table = table[table["symbol"].isin(list(symbols))]
        return table.sort_values(["symbol", "timestamp"], kind="stable", ignore_index=True)

    def read_newest(self, sessions: int = 0) -> pd.DataFrame:
        """A bars table of the newest `sessions` that are stored, 0 for all. Raises NoBars, BadBars."""
        days = self.days()[-sessions:]
        if not days:
            raise NoBars(
                f"{self._folder}: no bars are stored. Run: python build_dataset.py, for your own bars with "
                "--market recorded --bars PATH"
            )
        return self.read(days[0], days[-1])

    def update(
        self,
        fetch: Fetch,
        feed: str,
        symbols: Sequence[str],
        sessions: Sequence[Session],
        now: datetime,
        *,
        again: bool = False,
    ) -> Iterator[Fetched]:
        """Bring `sessions` up to date for `symbols`, one session a step; a session still open is stored incomplete.

        `fetch` is the `bars` of a feed, `feed` that feed's name; `again` fetches also what is stored already.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for session in sessions:
            note = self._note(session.day)
            known = set(note["symbols"]) if note["complete"] and note["feed"] == feed and not again else set()
            missing = [symbol for symbol in symbols if symbol not in known]
            if not missing:
                yield Fetched(0, stored=True)
                continue
            new = fetch(missing, session.open, min(session.close, now))
            old = self._read_day(session.day) if note["feed"] == feed and session.day in self.days() else new.iloc[:0]
            both = pd.concat([old, new], ignore_index=True).drop_duplicates()
            table = both.drop_duplicates(["symbol", "timestamp"], keep="last")  # what came last is the last word
            self._write_day(session.day, table, sorted(known | set(symbols)), feed, now >= session.close)
            yield Fetched(len(both) - len(old), stored=False)

    def _note(self, day: date) -> dict[str, Any]:
        path = self._folder / f"{day}.json"
        if not path.exists() or not path.with_suffix(".parquet").exists():
            return {"symbols": [], "feed": "", "complete": False}
        try:
            note: dict[str, Any] = json.loads(path.read_text())
            return {name: note[name] for name in ("symbols", "feed", "complete")}
        except (ValueError, KeyError, TypeError):
            return {"symbols": [], "feed": "", "complete": False}

    def _read_day(self, day: date) -> pd.DataFrame:
        path = self._folder / f"{day}.parquet"
        try:
            return pd.read_parquet(path)
        except (ValueError, OSError) as error:
            raise BadBars(f"{path}: cannot be read ({error}); delete it and run: python build_dataset.py") from error

    def _write_day(self, day: date, table: pd.DataFrame, symbols: Sequence[str], feed: str, complete: bool) -> None:
        path = self._folder / f"{day}.parquet"
        content = BytesIO()
        table.sort_values(["symbol", "timestamp"], kind="stable").to_parquet(content, index=False)
        # The bars before the note: a crash between the two only means that the day is fetched again.
        replace_file(path, content.getvalue())
        note = {"symbols": list(symbols), "feed": feed, "adjustment": "split", "complete": complete}
        replace_file(path.with_suffix(".json"), to_json(note))

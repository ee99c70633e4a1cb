"""data/bars/: minute bars by New York date, one Parquet file a session with a note beside it of what it holds.

    data/bars/2026-03-02.parquet    the bars
    data/bars/2026-03-02.json       {"symbols": [...], "feed": "iex", "adjustment": "split", "complete": true}
    data/bars/splits.json           {"NVDA": "2026-03-03T09:00:00+00:00"}: when a split of it was found

Updating fetches only what is missing: a session that is complete for a symbol is never asked for again. What was
fetched is stored before more is asked for, so that after a failure the next run goes on there.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from durable import replace_file, to_json
from market.bars import BadBars, NoBars
from market.hours import Session

CHUNK_BARS = 40_000  # fetched at once: one full session of 100 symbols, or a month of a few
FULL_SESSION_MINUTES = 390

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
        self._splits = folder / "splits.json"

    def days(self, *, complete: bool = False) -> list[date]:
        """The session dates that are stored, oldest first; or only those that are `complete`."""
        days = sorted(date.fromisoformat(path.stem) for path in self._folder.glob("????-??-??.parquet"))
        return [day for day in days if self._note(day)["complete"]] if complete else days

    def read(
        self, first: date, last: date, symbols: Sequence[str] | None = None, *, complete: bool = False
    ) -> pd.DataFrame:
        """A bars table of the sessions first <= day <= last that are stored (and `complete`); all symbols, or those
        given. Raises NoBars, BadBars."""
        frames = [self._read_day(day) for day in self.days(complete=complete) if first <= day <= last]
        if not frames:
            what, when = ("complete session", " after the close") if complete else ("bars", "")
            raise NoBars(f"{self._folder}: no {what} from {first} to {last}; run: python build_dataset.py{when}")
        if symbols is not None:
            frames = [frame[frame["symbol"].isin(list(symbols))] for frame in frames]
        table = pd.concat(frames, ignore_index=True)
        return table.sort_values(["symbol", "timestamp"], kind="stable", ignore_index=True)

    def read_newest(self, sessions: int = 0, *, complete: bool = False) -> pd.DataFrame:
        """A bars table of the newest `sessions` that are stored (and `complete`), 0 for all. Raises NoBars, BadBars."""
        days = self.days(complete=complete)[-sessions:]
        if not days:
            raise NoBars(
                f"{self._folder}: no bars are stored. Run: python build_dataset.py, for your own bars with "
                "--market recorded --bars PATH"
            )
        return self.read(days[0], days[-1], complete=complete)

    def update(
        self,
        fetch: Fetch,
        feed: str,
        symbols: Sequence[str],
        sessions: Sequence[Session],
        now: datetime,
        *,
        again: bool = False,
        settle: timedelta = timedelta(0),
        unusable: Collection[str] = (),
        whole: bool = False,
    ) -> Iterator[Fetched]:
        """Bring `sessions` up to date for `symbols`, one session a step; one that is still open is stored incomplete.

        `fetch` is the `bars` of a feed, `feed` that feed's name; it is asked for consecutive sessions that miss the
        same symbols at once, up to CHUNK_BARS. `again` fetches also what is stored already. A session is complete
        `settle` after its close: until then its last bars may still come. `unusable` symbols, looked at after each
        fetch, count as not fetched. `whole`: `fetch` gives all there is of a session so far, so that a stored bar which
        it no longer gives was withdrawn. (Of a person's files each may hold a part.)
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        steps = [(session, self._missing(session.day, symbols, feed, again=again)) for session in sessions]
        for missing, run in groupby(steps, key=lambda step: step[1]):
            alike = [session for session, _ in run]
            size = max(1, CHUNK_BARS // (FULL_SESSION_MINUTES * max(len(missing), 1)))
            for chunk in (alike[first : first + size] for first in range(0, len(alike), size)):
                if not missing:
                    yield from (Fetched(0, stored=True) for _ in chunk)
                    continue
                new = fetch(missing, chunk[0].open, min(chunk[-1].close, now))
                got = set(missing).difference(unusable)
                for session in chunk:
                    rows = new[(new["timestamp"] >= session.open) & (new["timestamp"] < session.close)]
                    complete = now >= session.close + settle
                    changed = self._merge(session.day, rows, got, feed, complete=complete, whole=whole)
                    yield Fetched(changed, stored=False)

    def note_splits(self, symbols: Collection[str], now: datetime) -> None:
        """Keep that splits of these symbols were found at `now`: whoever finds one mends the bars that show it."""
        with self._locked():
            found = {**self.splits(), **dict.fromkeys(symbols, now)}
            replace_file(self._splits, to_json({symbol: when.isoformat() for symbol, when in sorted(found.items())}))

    def splits(self) -> dict[str, datetime]:
        """When the newest split of a symbol was found, by any process. Raises BadBars."""
        try:
            known: dict[str, str] = json.loads(self._splits.read_text())
            return {symbol: datetime.fromisoformat(when) for symbol, when in known.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise BadBars(f"{self._splits}: cannot be read ({error}); delete it and start again") from error

    def forget(self, symbols: Collection[str]) -> None:
        """Remove these symbols from every day, so that they are fetched anew.

        The newest day comes last: if this is cut off, whoever looks at the newest bars still sees what is wrong.
        """
        for day in self.days():
            with self._locked():
                note, table = self._note(day), self._read_day(day)
                if not set(symbols).isdisjoint([*note["symbols"], *table["symbol"].unique()]):
                    kept = table[~table["symbol"].isin(list(symbols))]
                    known = set(note["symbols"]).difference(symbols)
                    self._write_day(day, kept, known, note["feed"], complete=note["complete"])

    def _missing(self, day: date, symbols: Sequence[str], feed: str, *, again: bool) -> list[str]:
        note = self._note(day)
        known = set(note["symbols"]) if note["complete"] and note["feed"] == feed and not again else set()
        return [symbol for symbol in symbols if symbol not in known]

    def _merge(
        self, day: date, new: pd.DataFrame, symbols: Collection[str], feed: str, *, complete: bool, whole: bool
    ) -> int:
        """Add bars to a day; how many are new or changed. Where they are the `whole`, no other one of `symbols` stays.

        Another process may add other symbols at the same time.
        """
        with self._locked():
            note = self._note(day)
            same = note["feed"] == feed
            known = set(note["symbols"]) if same and note["complete"] == complete else set()
            old = self._read_day(day) if same and day in self.days() else new.iloc[:0]
            kept = old[~old["symbol"].isin(list(symbols))] if whole else old
            table = pd.concat([kept, new], ignore_index=True)
            table = table.drop_duplicates(["symbol", "timestamp"], keep="last")  # what came last is the last word
            self._write_day(day, table, known.union(symbols), feed, complete=complete)
            return len(pd.concat([old, new], ignore_index=True).drop_duplicates()) - len(old)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Between reading a day and writing it no other process writes here."""
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _note(self, day: date) -> dict[str, Any]:
        path = self._folder / f"{day}.json"
        if not path.exists() or not path.with_suffix(".parquet").exists():
            return {"symbols": [], "feed": "", "complete": False}
        try:
            note: dict[str, Any] = json.loads(path.read_text())
            return {name: note[name] for name in ("symbols", "feed", "complete")}
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"symbols": [], "feed": "", "complete": False}

    def _read_day(self, day: date) -> pd.DataFrame:
        path = self._folder / f"{day}.parquet"
        try:
            return pd.read_parquet(path)
        except (ValueError, OSError) as error:
            raise BadBars(f"{path}: cannot be read ({error}); delete it and run: python build_dataset.py") from error

    def _write_day(
        self, day: date, table: pd.DataFrame, symbols: Collection[str], feed: str, *, complete: bool
    ) -> None:
        path = self._folder / f"{day}.parquet"
        content = BytesIO()
        table.sort_values(["symbol", "timestamp"], kind="stable").to_parquet(content, index=False)
        # The bars before the note: a crash between the two only means that the day is fetched again.
        replace_file(path, content.getvalue())
        note = {"symbols": sorted(symbols), "feed": feed, "adjustment": "split", "complete": complete}
        replace_file(path.with_suffix(".json"), to_json(note))

"""The journal: every decision and outcome, one checksummed JSON line each, appended and never changed.

    {"n":17,"kind":"intent","symbol":"NVDA", ... ,"crc":"9a41c0d2"}

It is the truth; models/trade_history.json is a view of it (`desk/trade_history.py`). `crc` is the CRC-32 of the line
before it, `n` counts up by one. Finished months move from journal.jsonl to archive/journal_2026-01.jsonl, in the same
lines; the first line (`n` 0) heads every file. An event that stands in two files, after a cut in the middle of a move,
is one event. One process writes (a lock beside the file), any number may read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from desk.journal_files import (
    SCHEMA,
    Event,
    NewerJournal,
    archive_folder,
    by_month,
    each_event,
    line_of,
    newest_archived,
    ordered_lines,
    read_archives,
    read_events,
    recover,
)
from durable import AppendedFile, remove_strays, replace_file, sync_folder
from locks import AlreadyRunning, hold

__all__ = ["AlreadyRunning", "Event", "Journal", "NewerJournal", "lock_books", "read_events"]

log = logging.getLogger(__name__)

# Whose temporary files are removed at the start; a training under way has others.
OWN_FILES = ("journal.jsonl", "trade_history.json", "paper_account.json", "HALT", "RESUME", "FLATTEN")


class Journal:
    """The books' one writer.

    Args: `path` of the journal; `stamp` (such as "20260302_200000") names files that are moved aside, and new books.
    With `sync_each_order` False (replay) `sync(order=True)` leaves the disk alone, and only `sync()` reaches it.
    Opening takes the lock and mends what a crash left: a torn last line is cut off, a file with unreadable lines is
    moved aside and rewritten from its readable ones; both are kept beside it and said in the log. Raises
    AlreadyRunning, NewerJournal, OSError.
    """

    def __init__(self, path: Path, stamp: str, *, sync_each_order: bool = True) -> None:
        self.path = path
        self._stamp = stamp
        self._sync_each_order = sync_each_order
        self._buffer: list[str] = []
        self._file: AppendedFile | None = None  # opened by the first sync, and anew after the file was replaced
        self._minutes: tuple[int, int] | None = None  # the first in journal.jsonl, and the newest
        self._lock = lock_books(path)
        with ExitStack() as on_failure:
            on_failure.callback(self._lock.close)
            _remove_strays(path)
            events = recover(path, stamp)
            newest = max((event["n"] for event in events), default=-1)
            self._next = 1 + max(newest, newest_archived(path))  # an older journal may have been put back
            for event in events:
                self._note_minute(event)
            if not events:
                self._begin()
            on_failure.pop_all()

    def _begin(self) -> None:
        header = next(read_archives(self.path), None)
        if header is None:
            self.append("journal", schema=SCHEMA, started=self._stamp)
        else:
            log.warning("%s is gone; the books go on after event %d of its archives", self.path, self._next - 1)
            self._buffer.append(line_of(header))
        self.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def events(self) -> Iterator[Event]:
        """All events on disk, oldest first, archives included; read anew each time, and not kept in memory."""
        return each_event(self.path)

    def append(self, kind: str, **fields: Any) -> Event:
        """Add one event; it is on disk after the next `sync`. ValueError for NaN or infinity."""
        event: Event = {"n": self._next, "kind": kind, **fields}
        line = line_of(event)
        self._next += 1  # first: whatever interrupts here, no number comes twice
        self._buffer.append(line)
        self._note_minute(event)
        return event

    def _note_minute(self, event: Event) -> None:
        minute = event.get("minute")
        if minute is not None:
            first, newest = self._minutes or (minute, minute)
            self._minutes = first, max(newest, minute)

    def sync(self, *, order: bool = False) -> None:
        """Write and fsync all events so far. `order=True`: an order is about to leave that these events announce.

        OSError where the disk does not take them: none is lost, and the next call writes them all.
        """
        if order and not self._sync_each_order:
            return
        if self._buffer:
            if self._file is None:
                sync_folder(self.path.parent)  # the file may have been replaced by a rename that is not on disk yet
                self._file = AppendedFile(self.path)
            self._file.append("".join(self._buffer).encode())
            self._buffer.clear()

    @property
    def syncs_each_minute(self) -> bool:
        """Whether the books are brought to disk each minute (live) or each session (replay)."""
        return self._sync_each_order

    def archive_months(self, local_time: Callable[[int], str]) -> None:
        """Move the events of finished months to their archives; costs nothing while none is due.

        An event's month is that of the newest `minute` up to it; `local_time` turns a minute into ISO 8601. Archives
        are on disk before the journal is replaced by what remains. OSError: nothing is lost, call again later.
        """
        if self._minutes is None or len({local_time(minute)[:7] for minute in self._minutes}) == 1:
            return
        self.sync()
        self._close_file()
        head, months = by_month(recover(self.path, self._stamp), local_time)
        folder = archive_folder(self.path)
        folder.mkdir(exist_ok=True)
        sync_folder(self.path.parent)
        current = max(months, default="")
        for month in sorted(months.keys() - {current}):
            archive = folder / f"{self.path.stem}_{month}.jsonl"
            replace_file(archive, ordered_lines([*recover(archive, self._stamp), *head, *months[month]]))
        replace_file(self.path, ordered_lines([*head, *months[current]]))
        self._minutes = self._minutes[1], self._minutes[1]

    def close(self) -> None:
        """Sync, and let another process write."""
        try:
            self.sync()
        finally:
            try:
                self._close_file()
            finally:
                self._lock.close()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _remove_strays(path: Path) -> None:
    """Remove the temporary files of a writer that was killed; who holds the lock is the only one now."""
    for name in OWN_FILES:
        for stray in path.parent.glob(f".{name}.*.tmp"):
            stray.unlink(missing_ok=True)
    remove_strays(archive_folder(path))


def lock_books(journal: Path) -> IO[str]:
    """The lock of the books of `journal`, held until it is closed or its process ends. Raises AlreadyRunning."""
    return hold(journal.with_suffix(".lock"), f"is already trading with these books ({journal.parent})")

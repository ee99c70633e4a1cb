"""The journal: every decision and outcome, one checksummed JSON line each, appended and never rewritten.

    {"n":17,"kind":"intent","symbol":"NVDA", ... ,"crc":"9a41c0d2"}

It is the truth; models/trade_history.json is a view of it (`desk/books.py`). `crc` is the CRC-32 of the line before it,
`n` counts up by one. One process writes (a lock beside the file), any number may read.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from durable import name_aside, replace_file, sync_folder, to_json

log = logging.getLogger(__name__)

SCHEMA = 1
Event = dict[str, Any]


class AlreadyRunning(RuntimeError):
    """Another process writes these books; the message names it."""


class NewerJournal(ValueError):
    """The journal was written by a newer version of this program, which this one must not touch."""


class Journal:
    """The books' one writer.

    Args: `path` of the journal; `stamp` (such as "20260302_200000") names files that are moved aside, and new books.
    With `sync_each_order` False (replay) `sync(order=True)` leaves the disk alone, and only `sync()` reaches it.
    Opening takes the lock and mends what a crash left: a torn last line is cut off, a file with unreadable lines is
    moved aside and rewritten from its readable ones; both are kept beside it and said in the log.
    """

    def __init__(self, path: Path, stamp: str, *, sync_each_order: bool = True) -> None:
        self.path = path
        self._sync_each_order = sync_each_order
        self._buffer: list[str] = []
        self._lock = lock_books(path)
        for name in (path.name, "trade_history.json", "paper_account.json"):
            for stray in path.parent.glob(f".{name}.*.tmp"):  # of a writer that was killed; we are the only one now
                stray.unlink(missing_ok=True)
        self.events = _recover(path, stamp)
        self._next = self.events[-1]["n"] + 1 if self.events else 0
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()  # all before it is whole and synced
        if not self.events:
            self.events = [self.append("journal", schema=SCHEMA, started=stamp)]
            self.sync()
            sync_folder(path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, kind: str, **fields: Any) -> Event:
        """Add one event; it is on disk after the next `sync`. ValueError for NaN or infinity."""
        event: Event = {"n": self._next, "kind": kind, **fields}
        self._buffer.append(_line(event))
        self._next += 1
        return event

    def sync(self, *, order: bool = False) -> None:
        """Write and fsync all events so far. `order=True`: an order is about to leave that these events announce."""
        if order and not self._sync_each_order:
            return
        if self._buffer:
            content = "".join(self._buffer).encode()
            try:
                written = 0
                while written < len(content):
                    written += self._file.write(content[written:])
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self._size)  # the next sync writes all of it again: no half line, none twice
                raise
            self._size += len(content)
            self._buffer.clear()

    @property
    def syncs_each_minute(self) -> bool:
        """Whether the books are brought to disk each minute (live) or each session (replay)."""
        return self._sync_each_order

    def close(self) -> None:
        """Sync, and let another process write."""
        try:
            self.sync()
        finally:
            self._file.close()
            self._lock.close()


def read_events(path: Path) -> list[Event]:
    """All readable events of a journal, oldest first, without lock or touching the file. Raises NewerJournal."""
    events = _parse(path.read_bytes())[0] if path.exists() else []
    _check_schema(path, events)
    return events


def _check_schema(path: Path, events: list[Event]) -> None:
    schema = events[0].get("schema", 0) if events else SCHEMA
    if schema > SCHEMA:
        raise NewerJournal(f"{path}: written by a newer version (schema {schema}, here {SCHEMA}); update the program")


def _line(event: Event) -> str:
    body = to_json(event)
    return f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'


def _parse_line(line: bytes) -> Event | None:
    head, mark, tail = line.rpartition(b',"crc":"')
    body = head + b"}"
    if not mark or tail[8:] != b'"}' or tail[:8] != b"%08x" % zlib.crc32(body):
        return None
    event: Event = json.loads(body)
    return event


def _parse(content: bytes) -> tuple[list[Event], list[int]]:
    """The readable events, and the numbers of the lines that are not."""
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    parsed = [_parse_line(line) for line in lines]
    return [event for event in parsed if event is not None], [i for i, event in enumerate(parsed) if event is None]


def _recover(path: Path, stamp: str) -> list[Event]:
    content = path.read_bytes() if path.exists() else b""
    events, unreadable = _parse(content)
    _check_schema(path, events)
    lines = content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    torn = unreadable == [lines - 1] or (content and not content.endswith(b"\n") and not unreadable)
    if torn and events:
        kept = "".join(map(_line, events)).encode()
        tail = name_aside(path, "torn", stamp)
        replace_file(tail, content[len(kept) :])
        replace_file(path, kept)
        log.warning(
            "%s: the last line was cut off by a crash; it is kept in %s, all before it is whole", path, tail.name
        )
    elif unreadable:
        aside = name_aside(path, "damaged", stamp)
        replace_file(aside, content)  # a copy, so that no failure in between leaves us without a journal
        replace_file(path, "".join(map(_line, events)))
        log.warning(
            "%s: %d of %d lines cannot be read; the file is kept as %s, and the journal goes on with the %d others",
            path, len(unreadable), lines, aside.name, len(events),
        )  # fmt: skip
    return events


def lock_books(journal: Path) -> IO[str]:
    """The lock of the books of `journal`, held until it is closed or its process ends. Raises AlreadyRunning."""
    path = journal.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        lock.close()
        raise AlreadyRunning(f"{owner} is already trading with these books ({path.parent}); stop it first") from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()
    return lock

"""models/trade_history.json: the documented view of the books, whole at every moment and at most a minute behind.

All trades stay in it. Signals older than SIGNAL_SESSIONS sessions stand in archive/signals_2026-01.jsonl, one a line.
"""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from desk.books import Books, timestamp_of
from desk.journal_files import archive_folder
from desk.orders import Trade
from durable import move_aside, replace_file, sync_folder, to_json

log = logging.getLogger(__name__)

SCHEMA = 1
SIGNAL_SESSIONS = 30  # those whose signals stand in the view; older ones in archives
LINES_AT_ONCE = 1000  # joined before another thread has its turn


class TradeHistory:
    """Keeps the view at `path` like `books`. Lines are made once, when a trade or signal changes.

    A file of 100,000 lines takes longer to write than a minute may wait, so `write` has it written beside the minute,
    never two at once. Until it is written the lines stay as they are, whatever happens to the books.
    """

    def __init__(self, path: Path, books: Books) -> None:
        self._path = path
        self._books = books
        books.changed = dict.fromkeys(books.trades)
        self._places: dict[str, int] = {}  # id of a trade -> its place among the lines
        self._trades: list[bytes] = []
        self._signals = 0  # how many of the books' the lines hold
        self._archived = 0  # the oldest of these, which stand in archives
        self._version = 0  # of the lines
        self._on_disk = -1  # the version that the file holds; what was there before is written anew
        self._beside = ThreadPoolExecutor(1, "trade history")
        self._writing: Future[None] | None = None

    def write(self) -> None:
        """Begin to bring the view to disk, if anything changed and none is under way.

        OSError: an earlier one came to nothing; a new one is under way. ValueError for NaN or infinity.
        """
        before = self._writing
        if before is not None and not before.done():
            return  # the next minute brings what is new
        self._writing = self._beside.submit(self._replace) if self._refresh() else None
        if before is not None:
            before.result()

    def flush(self) -> None:
        """Bring view and archives of signals to disk, completely. OSError: nothing is lost, call again later."""
        self.wait()
        self._writing = None  # what came to nothing is done now
        try:
            self._archive_signals()
        finally:
            if self._refresh():
                self._replace()

    def wait(self) -> None:
        """Wait until nothing is under way."""
        if self._writing is not None:
            wait([self._writing])

    def _refresh(self) -> bool:
        """Bring the lines up to date; whether the file is to be written."""
        books = self._books
        lines = {trade_id: to_json(viewed(books.trades[trade_id])).encode() for trade_id in books.changed}
        if lines or len(books.signal_lines) != self._signals:
            self._version += 1
        self._signals = len(books.signal_lines)
        for trade_id, line in lines.items():
            place = self._places.setdefault(trade_id, len(self._trades))
            self._trades[place : place + 1] = [line]
        books.changed.clear()
        return self._on_disk != self._version or not self._path.exists()

    def _replace(self) -> None:
        replace_file(self._path, _document(self._trades, self._books.signal_lines[self._archived : self._signals]))
        self._on_disk = self._version

    def _archive_signals(self) -> None:
        """Copy signals that are old by now to the archives of their months, and let them go from the view."""
        old = old_signals(self._books)
        if old <= self._archived:
            return
        lines = self._books.signal_lines[:old]
        of_month = [timestamp_of(line)[:7] for line in lines]
        months = {month: list[bytes]() for month in of_month[self._archived :]}
        for month, line in zip(of_month, lines, strict=True):
            if month in months:
                months[month] += line, b"\n"
        folder = archive_folder(self._path)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
        newest = timestamp_of(lines[-1])
        for month, parts in months.items():
            _grow(folder / f"signals_{month}.jsonl", b"".join(parts), newest)
        self._version += 1
        self._archived = old


def old_signals(books: Books) -> int:
    """How many of the oldest signals are older than the newest SIGNAL_SESSIONS sessions."""
    end, day = len(books.equity), ""
    for _ in range(SIGNAL_SESSIONS):
        if end == 0:
            return 0
        day = books.equity[end - 1][0][:10]
        end = bisect_left(books.equity, (day,), hi=end)
    return bisect_left(books.signal_lines, day, key=timestamp_of)


def viewed(trade: Trade) -> dict[str, Any]:
    """The fields of a trade that are documented."""
    return {name: getattr(trade, name) for name in _TRADE_FIELDS}


def _document(trades: Sequence[bytes], signals: Sequence[bytes]) -> Iterator[bytes]:
    """JSON that a person can read and a program can write fast: one trade or signal a line; in parts."""
    yield f'{{"schema":{SCHEMA},\n"trades":[\n'.encode()
    yield from _joined(trades)
    yield b'\n],\n"signals":[\n'
    yield from _joined(signals)
    yield b"\n]}\n"


def _joined(lines: Sequence[bytes]) -> Iterator[bytes]:
    for start in range(0, len(lines), LINES_AT_ONCE):
        yield (b",\n" if start else b"") + b",\n".join(lines[start : start + LINES_AT_ONCE])


def _grow(path: Path, content: bytes, stamp: str) -> None:
    """Bring an archive to `content`; one that is no beginning of it holds what the books do not know, and is kept."""
    there = path.read_bytes() if path.exists() else b""
    if not content.startswith(there):
        aside = move_aside(path, "foreign", stamp[:10])
        log.warning("%s: its signals are not those of the journal; it is kept as %s", path, aside.name)
    if content != there:
        replace_file(path, content)


def secure_view(path: Path, books: Books, stamp: str) -> None:
    """Move aside a trade_history.json that is not a view of these books, before it would be overwritten."""
    if not path.exists():
        return
    try:
        document = json.loads(path.read_text())
        ours = {t["id"] for t in document["trades"]} <= set(books.trades)
        why = "it holds trades that the journal does not know"
        if document["schema"] != SCHEMA:
            ours, why = False, f"its schema is {document['schema']}, here {SCHEMA}"
    except (ValueError, KeyError, TypeError, RecursionError):
        ours, why = False, "it cannot be read as a trade history"
    if not ours:
        aside = move_aside(path, "foreign", stamp)
        log.warning("%s: %s; it is kept as %s, and a new one is written from the journal", path, why, aside.name)


_INNER_FIELDS = {"entry_minute", "entering", "exits", "exits_refused"}
_TRADE_FIELDS = [name for name in Trade.__dataclass_fields__ if name not in _INNER_FIELDS]

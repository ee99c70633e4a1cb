"""models/trade_history.json: the documented view of the books, whole at every moment and at most a minute behind.

All trades stay in it. Signals older than SIGNAL_SESSIONS sessions stand in archive/signals_2026-01.jsonl, one a line.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

from desk.books import SCHEMA, Books, viewed
from desk.journal_files import archive_folder
from durable import move_aside, replace_file, sync_folder, to_json

log = logging.getLogger(__name__)

LINES_AT_ONCE = 1000  # joined without letting the trading minute go on


class TradeHistory:
    """Keeps the view at `path` like `books`. Lines are made once, when a trade or signal changes.

    A file of 100,000 lines takes longer to write than a minute may wait, so `write` has it written beside the minute,
    from lines that nobody changes; never two at once.
    """

    def __init__(self, path: Path, books: Books) -> None:
        self._path = path
        self._books = books
        books.changed = dict.fromkeys(books.trades)
        self._places: dict[str, int] = {}  # id of a trade -> its place among the lines
        self._trades: list[bytes] = []
        self._signals: list[bytes] = []  # of those that are not in an archive
        self._archived = 0  # signals, the oldest
        self._version = 0  # of the lines
        self._on_disk = 0  # the version that the file holds
        self._writer: Thread | None = None
        self._failure: OSError | None = None

    def write(self) -> None:
        """Begin to bring the view to disk, if anything changed and none is under way.

        OSError: an earlier one came to nothing; a new one is under way. ValueError for NaN or infinity.
        """
        if self._writer is not None and self._writer.is_alive():
            return  # the next minute brings what is new
        failure, self._failure = self._failure, None
        if self._refresh():
            self._writer = Thread(target=self._try_to_replace, args=self._snapshot(), name="trade history")
            self._writer.start()
        if failure is not None:
            raise failure

    def flush(self) -> None:
        """Bring view and archives of signals to disk, completely. OSError: nothing is lost, call again later."""
        self.wait()
        self._failure = None
        try:
            self._archive_signals()
        finally:
            if self._refresh():
                self._replace(*self._snapshot())

    def wait(self) -> None:
        """Wait until nothing is under way."""
        if self._writer is not None:
            self._writer.join()

    def _refresh(self) -> bool:
        """Bring the lines up to date; whether the file is to be written."""
        books = self._books
        lines = {trade_id: to_json(viewed(books.trades[trade_id])).encode() for trade_id in books.changed}
        new = [to_json(signal).encode() for signal in books.signals[self._archived + len(self._signals) :]]
        for trade_id, line in lines.items():
            place = self._places.setdefault(trade_id, len(self._trades))
            self._trades[place : place + 1] = [line]
        self._signals += new
        if lines or new:
            self._version += 1
        books.changed.clear()
        return self._on_disk != self._version or not self._path.exists()

    def _snapshot(self) -> tuple[list[bytes], list[bytes], int]:
        return self._trades.copy(), self._signals.copy(), self._version

    def _try_to_replace(self, trades: list[bytes], signals: list[bytes], version: int) -> None:
        try:
            self._replace(trades, signals, version)
        except OSError as error:
            self._failure = error

    def _replace(self, trades: list[bytes], signals: list[bytes], version: int) -> None:
        self._path.exists()  # asks the disk, and so lets the minute that began this go on first
        content = bytearray()
        for part in _document(trades, signals):
            content += part
        replace_file(self._path, bytes(content))
        self._on_disk = version

    def _archive_signals(self) -> None:
        """Copy signals that are old by now to the archives of their months, and let them go from the view."""
        signals, old = self._books.signals, self._books.old_signals()
        if old <= self._archived:
            return
        months = defaultdict[str, list[str]](list)
        for signal in signals[:old]:
            months[signal["timestamp"][:7]].append(to_json(signal) + "\n")
        folder = archive_folder(self._path)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
        for month in sorted({signal["timestamp"][:7] for signal in signals[self._archived : old]}):
            _grow(folder / f"signals_{month}.jsonl", "".join(months[month]).encode(), signals[old - 1]["timestamp"])
        del self._signals[: old - self._archived]
        self._archived = old
        self._version += 1


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
    except (ValueError, KeyError, TypeError):
        ours, why = False, "it cannot be read as a trade history"
    if not ours:
        aside = move_aside(path, "foreign", stamp)
        log.warning("%s: %s; it is kept as %s, and a new one is written from the journal", path, why, aside.name)

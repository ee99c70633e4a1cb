"""The stand-in's memory on disk: one SQLite table of named JSON documents, committed once per request.

A killed process loses nothing that was committed (the pages are with the operating system), which is what a test of
a restart needs; a power cut is not simulated, so SQLite need not wait for the disk.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from alpaca_standin.formats import pack, unpack


class State:
    """Documents by (kind, key); `put` writes only what changed."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS documents (kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key))"
        )
        self._written: dict[tuple[str, str], str] = {}
        self._open = False

    def put(self, kind: str, key: str, value: object) -> None:
        """Store a document unless it is already stored like this."""
        body = pack(value)
        if self._written.get((kind, key)) == body:
            return
        if not self._open:
            self._db.execute("BEGIN")
            self._open = True
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, body))
        self._written[kind, key] = body

    def commit(self) -> None:
        """Make everything put so far survive the process."""
        if self._open:
            self._db.execute("COMMIT")
            self._open = False

    def get(self, kind: str, key: str) -> Any:
        """A document, or None."""
        row = self._db.execute("SELECT body FROM documents WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return unpack(row[0]) if row else None

    def all(self, kind: str) -> list[Any]:
        """Every document of a kind."""
        rows = self._db.execute("SELECT body FROM documents WHERE kind = ? ORDER BY rowid", (kind,)).fetchall()
        return [unpack(row[0]) for row in rows]

    def clear(self) -> None:
        """Forget everything."""
        self.commit()
        self._db.execute("DELETE FROM documents")
        self._written.clear()

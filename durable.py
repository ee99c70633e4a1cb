"""Files that survive a cut: replaced whole or not at all, or grown by whole pieces. The ground floor: imports no other
file of the house, and is the only one that writes, syncs and renames what must not be lost.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HEALING_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})


def replace_file(path: Path, content: bytes | str | Iterable[bytes]) -> None:
    """Write `content`, or its pieces, so that a crash at any point leaves the old file or the new one, never a third.

    Temporary file in the same folder, fsync, rename over, fsync of the folder: without the first fsync the rename may
    reach the disk before the data, without the second it may not reach it at all (Pillai et al., OSDI 2014).
    """
    whole = content.encode() if isinstance(content, str) else content
    pieces = [whole] if isinstance(whole, bytes) else whole
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            for piece in pieces:
                _write_all(handle, piece)
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(path)
    except BaseException:  # whatever cut it off, Ctrl-C included: leave no stray file, and let it go on its way
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


class AppendedFile:
    """A file that grows by whole pieces: an append is on disk, or has left no trace.

    Args: `path` is created if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._size = os.fstat(self._handle).st_size  # all before it is whole and synced
        self._torn = False
        if not self._size:
            try:
                sync_folder(path.parent)
            except OSError:
                os.close(self._handle)
                raise

    def append(self, data: bytes) -> None:
        """Write and fsync. OSError when the disk does not take it; the same data may then be appended again.

        After a failed fsync the pages may be gone (Rebello et al., ATC 2020), so that all of it is written anew.
        """
        if self._torn:
            os.ftruncate(self._handle, self._size)
        self._torn = True
        _write_all(self._handle, data)
        os.fsync(self._handle)
        self._size += len(data)
        self._torn = False

    def close(self) -> None:
        """Leave no half piece behind, as far as the disk allows."""
        try:
            if self._torn:
                os.ftruncate(self._handle, self._size)
        finally:
            os.close(self._handle)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Strict JSON: NaN and infinity raise ValueError instead of producing what other parsers refuse."""
    separators = None if indent else (",", ":")
    return json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent, separators=separators)


def name_aside(path: Path, why: str, stamp: str) -> Path:
    """`<name>.<why>-<stamp>` beside `path`, with a serial number if that is taken."""
    aside = path.with_name(f"{path.name}.{why}-{stamp}")
    serial = 1
    while aside.exists():
        serial += 1
        aside = path.with_name(f"{path.name}.{why}-{stamp}.{serial}")
    return aside


def move_aside(path: Path, why: str, stamp: str) -> Path:
    """Rename a file that cannot be used to `<name>.<why>-<stamp>`, so that it is never overwritten; its new path."""
    aside = name_aside(path, why, stamp)
    path.replace(aside)
    sync_folder(path.parent)
    return aside


def remove_strays(folder: Path) -> list[Path]:
    """Remove the temporary files of writers that were killed; only for who knows that nobody writes there now."""
    strays = list(folder.glob(".*.tmp"))
    for stray in strays:
        stray.unlink(missing_ok=True)
    return strays

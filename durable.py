"""Files that survive a cut: replaced whole or not at all. The ground floor: imports no other file of the house."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def replace_file(path: Path, content: bytes | str) -> None:
    """Write `content` so that after a crash at any point the file is the old or the new one, never a third.

    Temporary file in the same folder, fsync, rename over, fsync of the folder: without the first fsync the rename may
    reach the disk before the data, without the second it may not reach it at all (Pillai et al., OSDI 2014).
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # whatever cut it off, Ctrl-C included: leave no stray file, and let it go on its way
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


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
    path.rename(aside)
    sync_folder(path.parent)
    return aside

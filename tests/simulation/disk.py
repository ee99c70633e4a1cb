"""The disk under one folder: its system calls fail, a process dies between them, and a power cut takes what was not
synced.

A power cut leaves of each file a prefix that holds at least all that was synced, and of each folder's renames and new
names at least those from before its last sync (the crash states of Pillai et al., OSDI 2014). After a failed fsync the
pages are gone although a later one succeeds (Rebello et al., ATC 2020).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import durable
from tests.simulation.faults import Faults

CALLS = ("open", "write", "fsync", "ftruncate", "replace", "rename", "unlink", "close")


class Machine(Protocol):
    """What a system call needs of the world around it."""

    faults: Faults
    time: float

    @property
    def dead(self) -> bool: ...
    def crash(self, words: str) -> None: ...
    def alive(self) -> None: ...
    def disturb(self, seconds: float) -> None: ...


class Change(NamedTuple):
    """A name in a folder that was not synced yet: `shadow` keeps what stood under it before."""

    path: str
    came_from: str | None
    shadow: str | None


@dataclass
class Content:
    """Of one file: the bytes that surely survive; `gone_from`, where a failed fsync may have lost some."""

    synced: int = 0
    gone_from: int | None = None


class Disk:
    """Counterparts of `os` calls for paths below `folder`; `installed()` puts them in their place."""

    def __init__(self, folder: Path, shadows: Path, machine: Machine) -> None:
        self._root, self._shadows, self._machine, self._faults = str(folder), shadows, machine, machine.faults
        self._real: dict[str, Any] = {name: getattr(os, name) for name in CALLS}
        self._open: dict[int, str] = {}
        self._content: dict[int, Content] = {}  # by inode
        self._changes: dict[str, list[Change]] = {}  # by folder
        self._serial = 0
        self.trouble: tuple[int, float] = (0, 0.0)  # errno, and until when

    @contextmanager
    def installed(self) -> Iterator[None]:
        own = {"open": self._open_file, "write": self._write, "fsync": self._fsync, "ftruncate": self._ftruncate}
        own |= {"replace": self._replace, "rename": self._replace, "unlink": self._unlink, "close": self._close}
        for name, call in own.items():
            setattr(os, name, call)
        names, durable.secrets = durable.secrets, SimpleNamespace(token_hex=self._token)  # type: ignore[assignment]
        try:
            yield
        finally:
            durable.secrets = names
            for name, call in self._real.items():
                setattr(os, name, call)

    def _token(self, _: int) -> str:
        """What temporary files are called."""
        self._serial += 1
        return f"{self._serial:08x}"

    # --- failing -----------------------------------------------------------------------------------------------------

    def fill(self, seconds: float, code: int = errno.ENOSPC) -> None:
        """Nothing new is taken for a while."""
        self.trouble = code, self._machine.time + seconds
        self._machine.disturb(seconds)

    def _fail(self, what: str, code: int) -> None:
        raise OSError(code, os.strerror(code), what)

    def _before(self, what: str, *, writes: bool = True) -> None:
        machine, fires = self._machine, self._faults.fires
        machine.alive()
        if fires("crash before a disk operation"):
            machine.crash(f"before {what}")
        if not writes:
            return
        for kind, code in (("disk full", errno.ENOSPC), ("disk read-only", errno.EROFS)):
            if fires(kind):
                self.fill(self._faults.random.uniform(1, 300), code)
        if machine.time < self.trouble[1]:
            self._fail(what, self.trouble[0])

    def _after(self, what: str) -> None:
        if self._faults.fires("crash after a disk operation"):
            self._machine.crash(f"after {what}")

    # --- the calls ---------------------------------------------------------------------------------------------------

    def _open_file(self, path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        name = os.fspath(path)
        if not isinstance(name, str) or not name.startswith(self._root):
            return self._real["open"](path, flags, mode, **options)
        new = bool(flags & os.O_CREAT) and not os.path.lexists(name)
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
        self._before(f"open {name}", writes=new)
        handle: int = self._real["open"](path, flags, mode, **options)
        self._open[handle] = name
        if new:
            self._content[os.fstat(handle).st_ino] = Content()
            self._changed(Change(name, None, None))
        elif writes:
            status = os.fstat(handle)
            self._content.setdefault(status.st_ino, Content(status.st_size))
        return handle

    def _write(self, handle: int, data: Any) -> int:
        if handle not in self._open:
            return self._real["write"](handle, data)
        self._before("write")
        if self._faults.fires("write fails"):
            self._fail("write", errno.EIO)
        if len(data) > 1 and self._faults.fires("write falls short"):
            data = data[: self._faults.random.randint(1, len(data) - 1)]
        written: int = self._real["write"](handle, data)
        self._after("write")
        return written

    def _fsync(self, handle: int) -> None:
        name = self._open.get(handle)
        if name is None:
            return self._real["fsync"](handle)
        self._before("fsync")
        if os.path.isdir(name):  # noqa: PTH112
            for change in self._changes.pop(name, ()):
                self._drop_shadow(change)
        else:
            status = os.fstat(handle)
            content = self._content.setdefault(status.st_ino, Content())
            if self._faults.fires("fsync fails"):
                content.gone_from = content.synced if content.gone_from is None else content.gone_from
                self._fail("fsync", errno.EIO)
            content.synced = status.st_size if content.gone_from is None else content.gone_from
        return self._after("fsync")

    def _ftruncate(self, handle: int, length: int) -> None:
        if handle not in self._open:
            return self._real["ftruncate"](handle, length)
        self._before("ftruncate")
        self._real["ftruncate"](handle, length)
        content = self._content.setdefault(os.fstat(handle).st_ino, Content())
        content.synced = min(content.synced, length)
        if content.gone_from is not None and length <= content.gone_from:
            content.gone_from = None
        return self._after("ftruncate")

    def _replace(self, source: Any, target: Any, **options: Any) -> None:
        old, new = os.fspath(source), os.fspath(target)
        if not isinstance(new, str) or not new.startswith(self._root):
            return self._real["replace"](source, target, **options)
        self._before(f"rename {new}")
        if self._faults.fires("rename fails"):
            self._fail(new, errno.EIO)
        shadow = None
        if os.path.lexists(new):
            self._serial += 1
            shadow = str(self._shadows / str(self._serial))
            os.link(new, shadow)
        self._real["replace"](old, new)
        self._changed(Change(new, old, shadow))
        return self._after(f"rename {new}")

    def _unlink(self, path: Any, **options: Any) -> None:
        if self._machine.dead:
            return None  # a killed process cleans nothing up
        return self._real["unlink"](path, **options)

    def _close(self, handle: int) -> None:
        self._open.pop(handle, None)
        self._real["close"](handle)

    def _changed(self, change: Change) -> None:
        self._changes.setdefault(os.path.dirname(change.path), []).append(change)  # noqa: PTH120

    def _drop_shadow(self, change: Change) -> None:
        if change.shadow is not None:
            self._real["unlink"](change.shadow)

    # --- the end of a process ----------------------------------------------------------------------------------------

    def killed(self) -> None:
        """The process is gone: its handles are closed, what it wrote is in the page cache still."""
        for handle in list(self._open):
            self._close(handle)

    def power_cut(self) -> None:
        """The machine is gone too: take from the disk what was not synced."""
        self.killed()
        random = self._faults.random
        for changes in self._changes.values():
            kept = random.randint(0, len(changes))
            for change in reversed(changes[kept:]):
                self._undo(change)
            for change in changes[:kept]:
                self._drop_shadow(change)
        self._changes.clear()
        for folder, _, names in os.walk(self._root):
            for name in sorted(names):
                path = os.path.join(folder, name)  # noqa: PTH118
                status = os.stat(path)  # noqa: PTH116
                content = self._content.get(status.st_ino)
                if content is not None and content.synced < status.st_size:
                    os.truncate(path, random.randint(content.synced, status.st_size))
        self._content.clear()  # what is left is on disk

    def _undo(self, change: Change) -> None:
        there = os.path.lexists(change.path)
        if there and change.came_from is not None:
            self._real["replace"](change.path, change.came_from)
        elif there:
            self._real["unlink"](change.path)
        if change.shadow is not None:
            self._real["replace"](change.shadow, change.path)

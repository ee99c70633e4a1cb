"""Locks that end with their process: one trader an account, one writer of the books. Ground floor."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


class AlreadyRunning(RuntimeError):
    """Another process holds the lock; the message names it."""


def hold(path: Path, what: str) -> IO[str]:
    """The lock at `path`, held until it is closed or its process ends. Raises AlreadyRunning with `what` it does.

    The kernel lets go of a `flock` when its holder is killed, and a child does not inherit the file (PEP 446).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        lock.close()
        raise AlreadyRunning(f"{owner} {what}; stop it first, or look at it: python live_trader.py --status") from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} (in {Path(__file__).parent})")
    lock.flush()
    return lock


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock of the books; it is asked for a moment, shared, and written nothing into."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

"""Memory handed back to the system, in a process that runs for weeks. Ground floor."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

import pyarrow

M_MMAP_THRESHOLD = -3  # glibc's malloc.h; mallopt(3)
LARGE_BYTES = 1 << 20


def keep_large_apart() -> None:
    """Have glibc map each block of LARGE_BYTES or more by itself, so that it goes back to the system when it is freed.

    Left alone it raises that limit, up to 32 MiB, with each such block that is freed. Later ones then lie in the heap,
    where a small one above them keeps them.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def give_back() -> None:
    """Return what was freed, where the C library can (malloc_trim of glibc), and what Arrow keeps for itself.

    An evening reads a month of bars and frees them; scattered over the heap, they would stay. Texts in tables are
    Arrow's, whose pool has a heap of its own.
    """
    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_libc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None

"""Memory handed back to the system. Ground floor."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return what was freed, where the C library can (malloc_trim of glibc).

    An evening reads a month of bars and frees them; scattered over the heap, they would stay with a process that runs
    for weeks.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

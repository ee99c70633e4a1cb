"""What was freed goes back to the system."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from memory import give_back


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc alone can")
def test_freed_pieces_below_one_that_is_kept_are_given_back() -> None:
    pieces = [bytes(1000) for _ in range(200_000)]
    kept = bytes(1000)
    before = resident_bytes()
    del pieces
    give_back()
    assert len(kept) == 1000
    assert resident_bytes() < before - 100_000_000

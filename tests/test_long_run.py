"""Days in one process: memory, open files and threads stay as they are. The long one is `make soak`'s."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.long_run import WARM_SESSIONS, long_run


@pytest.mark.skipif(sys.platform != "linux", reason="memory and files are read from /proc")
def test_five_days_leave_no_file_open_no_thread_behind_and_no_memory_taken(tmp_path: Path) -> None:
    run = long_run(5, 12, tmp_path)
    assert run.trades > 20
    assert run.growth < 0.05
    assert run.files[-1] <= run.files[WARM_SESSIONS - 1]
    assert run.threads[-1] <= run.threads[WARM_SESSIONS - 1]

"""kill -9 at any moment leaves readable files, one order an intent, and every position under its stop."""

from __future__ import annotations

from pathlib import Path

import killing


def test_twenty_kills_lose_nothing_double_nothing_and_leave_nothing_bare(shared_data: Path, tmp_path: Path) -> None:
    tally = killing.run(20, seed=1, folder=tmp_path, spawn=True)
    assert tally.kills == 20
    assert tally.looked >= 10
    assert tally.in_start >= 2
    assert tally.most_held >= 2

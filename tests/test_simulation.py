"""Sessions of the real trader in a world of seeded faults: nothing lost, nothing doubled, nothing unprotected."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.run import Session, run_session, run_sessions

SESSIONS = 500
STATES = (
    "power cut", "process killed", "killed with a position", "killed with an entry filled in part",
    "killed while halted", "ended by the disk", "ended by its keys", "started without an answer", "stop put back",
    "training broke after the open",
)  # fmt: skip
TWICE = 10


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    return list(run_sessions(range(SESSIONS), jobs=2))


def test_in_500_sessions_nothing_is_lost_doubled_or_left_unprotected(sessions: list[Session]) -> None:
    violations = [
        f"python -m tests.simulation.run --seed {s.seed} --log: {s.violation}" for s in sessions if s.violation
    ]
    assert violations == []


def test_every_fault_fired_and_every_rare_state_was_seen(sessions: list[Session]) -> None:
    fired, seen = Counter[str](), Counter[str]()
    for session in sessions:
        fired += session.fired
        seen += session.seen
    assert [kind for kind in KINDS if fired[kind] < 20] == []
    assert [state for state in STATES if seen[state] < 20] == []


def test_a_seed_gives_the_same_session_again_whatever_the_hash_seed(sessions: list[Session]) -> None:
    code = f"from tests.simulation.run import run_session\nprint(*(run_session(seed).trace for seed in range({TWICE})))"
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(root)}
    again = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert again.stdout.split() == [session.trace for session in sessions[:TWICE]]


def test_two_seeds_are_two_sessions() -> None:
    assert run_session(1).trace != run_session(2).trace

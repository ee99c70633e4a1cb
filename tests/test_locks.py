"""Locks end with their process, whatever ended it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from locks import AlreadyRunning, hold

ROOT = Path(__file__).resolve().parents[1]
HOLDER = (
    "import sys, time; from pathlib import Path; from locks import hold\n"
    "lock = hold(Path(sys.argv[1]), 'trades'); print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "account.lock"


def held_by_another(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_holder_is_refused_and_the_first_is_named(path: Path) -> None:
    with held_by_another(path) as holder:
        with pytest.raises(AlreadyRunning, match=rf"process {holder.pid} \(in .*\) trades; stop it first"):
            hold(path, "trades")
        holder.kill()


def test_the_same_lock_by_another_name_is_the_same_lock(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    with hold(path, "trades"):
        link.symlink_to(path.parent)
        with pytest.raises(AlreadyRunning):
            hold(link / path.name, "trades")


def test_a_lock_that_a_killed_process_left_does_not_refuse(path: Path) -> None:
    with held_by_another(path) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    hold(path, "trades").close()
    assert path.exists()


def test_a_child_of_a_killed_holder_does_not_keep_the_lock(path: Path) -> None:
    with hold(path, "trades"):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        hold(path, "trades").close()
    finally:
        child.kill()
        child.communicate()


def test_the_next_holder_is_the_one_that_is_named(path: Path) -> None:
    with held_by_another(path) as holder:
        holder.kill()
    with hold(path, "trades"), pytest.raises(AlreadyRunning, match=f"process {os.getpid()} "):
        hold(path, "trades")

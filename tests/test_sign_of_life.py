"""Signs of life reach systemd's socket and a file, and nothing that hinders them reaches the trader."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from market.hours import new_york
from sign_of_life import AGAIN_SECONDS, LIMIT_SECONDS, SignOfLife, judge

ROOT = Path(__file__).resolve().parents[1]
NOON = new_york(datetime.fromisoformat("2026-03-02T17:00:00+00:00"))
MINUTE = timedelta(minutes=1)


class Hand:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The manager's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(30)
        yield end


def heard(end: socket.socket) -> list[list[str]]:
    """The datagrams that wait at this end, each as its lines."""
    end.setblocking(False)
    datagrams = []
    while True:
        try:
            datagrams.append(end.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return datagrams


def test_systemd_hears_once_that_the_trader_is_ready_and_every_minute_that_it_is_alive(
    tmp_path: Path, systemd: socket.socket
) -> None:
    life = SignOfLife(tmp_path / "alive", {"NOTIFY_SOCKET": systemd.getsockname()})
    life.give(NOON, "open; 3 held")
    life.give(NOON + MINUTE, "open; 4 held")
    life.end()
    assert heard(systemd) == [
        ["READY=1", "WATCHDOG=1", "STATUS=open; 3 held"],
        ["WATCHDOG=1", "STATUS=open; 4 held"],
        ["STOPPING=1"],
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket_is_found_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0ml-paper-trader-{os.getpid()}")
        SignOfLife(tmp_path / "alive", {"NOTIFY_SOCKET": f"@ml-paper-trader-{os.getpid()}"}).give(NOON, "open")
        assert heard(end) == [["READY=1", "WATCHDOG=1", "STATUS=open"]]


def test_words_of_several_lines_are_one_status_and_no_other_message(tmp_path: Path, systemd: socket.socket) -> None:
    life = SignOfLife(tmp_path / "alive", {"NOTIFY_SOCKET": systemd.getsockname()})
    life.give(NOON, "halted: a\nSTOPPING=1\r\nb \udcff")
    assert heard(systemd) == [["READY=1", "WATCHDOG=1", "STATUS=halted: a STOPPING=1 b ?"]]


def test_the_same_sign_in_a_waiting_loop_is_given_twice_a_minute(tmp_path: Path, systemd: socket.socket) -> None:
    clock = Hand()
    life = SignOfLife(tmp_path / "alive", {"NOTIFY_SOCKET": systemd.getsockname()}, clock)
    for _ in range(600):  # a minute, ten times a second
        life.give(NOON, "a first model is trained")
        clock.seconds += 0.1
    assert len(heard(systemd)) == 2
    clock.seconds += AGAIN_SECONDS
    life.give(NOON, "a first model is trained")
    life.give(NOON, "open")
    assert len(heard(systemd)) == 2


def test_a_systemd_that_does_not_listen_is_logged_once_and_hears_ready_when_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "later")
    life = SignOfLife(tmp_path / "alive", {"NOTIFY_SOCKET": path})
    with caplog.at_level(logging.WARNING):
        life.give(NOON, "one")
        life.give(NOON, "two")
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == ["no sign of life reaches systemd"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(path)
        life.give(NOON, "three")
        assert heard(end)[0][0] == "READY=1"


def test_a_full_queue_holds_nothing_up(tmp_path: Path, systemd: socket.socket) -> None:
    life = SignOfLife(tmp_path / "alive", {"NOTIFY_SOCKET": systemd.getsockname()})
    for count in range(600):  # the system keeps some hundred at most
        life.give(NOON, f"{count} held")
    assert len(heard(systemd)) < 600


@pytest.mark.parametrize("address", ["relative", "x" * 200, "/", "@"])
def test_an_address_of_nothing_stops_nothing(tmp_path: Path, address: str) -> None:
    life = SignOfLife(tmp_path / "alive", {"NOTIFY_SOCKET": address})
    life.give(NOON, "open")
    life.end()


def test_a_disk_that_takes_nothing_is_logged_once_and_systemd_still_hears(
    tmp_path: Path, systemd: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing" / "alive"
    life = SignOfLife(path, {"NOTIFY_SOCKET": systemd.getsockname()})
    with caplog.at_level(logging.WARNING):
        life.give(NOON, "one")
        life.give(NOON, "two")
        life.end()
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [f"no sign of life reaches {path}"]
    assert len(heard(systemd)) == 3


def test_without_systemd_the_file_tells(tmp_path: Path) -> None:
    clock = Hand()
    SignOfLife(tmp_path / "alive", {}, clock).give(NOON, "open; 3 held; equity 100,230.10 USD")
    assert json.loads((tmp_path / "alive").read_text()) == {
        "minute": "2026-03-02T12:00-05:00",
        "monotonic_seconds": 1000.0,
        "words": "open; 3 held; equity 100,230.10 USD",
    }
    assert judge(tmp_path / "alive", clock.seconds) == (
        True,
        "alive; 2026-03-02T12:00-05:00: open; 3 held; equity 100,230.10 USD",
    )


@pytest.mark.parametrize(
    ("age_seconds", "alive"), [(0, True), (LIMIT_SECONDS, True), (LIMIT_SECONDS + 1, False), (-1, False)]
)
def test_a_sign_that_is_too_old_or_from_before_the_machine_started_is_none(
    tmp_path: Path, age_seconds: float, alive: bool
) -> None:
    clock = Hand()
    SignOfLife(tmp_path / "alive", {}, clock).give(NOON, "open")
    judged, words = judge(tmp_path / "alive", clock.seconds + age_seconds)
    assert judged is alive
    assert "12:00" in words


def test_after_an_end_in_order_nobody_is_alive(tmp_path: Path) -> None:
    life = SignOfLife(tmp_path / "alive", {})
    life.give(NOON, "open")
    life.end()
    assert judge(tmp_path / "alive", time.monotonic()) == (
        False,
        f"no sign of life in {tmp_path / 'alive'}: no trader runs, or it is still starting",
    )


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b"1", b"null", b"\xff", b'{"monotonic_seconds": "soon"}', b'{"monotonic_seconds": 1}',
        b'{"monotonic_seconds": NaN, "minute": "", "words": ""}',
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_no_sign_and_no_traceback(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "alive").write_bytes(content)
    alive, words = judge(tmp_path / "alive", 1.0)
    assert not alive
    assert words.startswith("no sign of life")
    assert "\n" not in words


# --- as processes -----------------------------------------------------------------------------------------------------

TRADER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from sign_of_life import SignOfLife
life = SignOfLife(Path(sys.argv[1]), os.environ)
life.give(datetime(2026, 3, 2, 17, tzinfo=UTC), "open; 1 held")
sys.stdin.read()
life.end()
"""


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """The health check as a container runs it."""
    env = {**os.environ, "DATA_DIR": str(folder)}
    return subprocess.run(
        [sys.executable, str(ROOT / "sign_of_life.py")], env=env, capture_output=True, text=True, check=False
    )


def test_a_process_is_ready_alive_and_stopping_and_the_health_check_says_so(
    tmp_path: Path, systemd: socket.socket
) -> None:
    env = {**os.environ, "NOTIFY_SOCKET": systemd.getsockname(), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", TRADER, str(tmp_path / "alive")], env=env, stdin=subprocess.PIPE
    ) as trader:
        assert systemd.recv(4096) == b"READY=1\nWATCHDOG=1\nSTATUS=open; 1 held"
        living = check(tmp_path)
        trader.communicate(timeout=30)
        assert systemd.recv(4096) == b"STOPPING=1"
    assert (living.returncode, living.stdout) == (0, "sign_of_life: alive; 2026-03-02T17:00+00:00: open; 1 held\n")
    ended = check(tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("sign_of_life: no sign of life in ")
    assert len(ended.stderr.splitlines()) == 1


def test_the_health_check_loads_nothing_that_takes_long() -> None:
    script = "import sys, sign_of_life; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"numpy", "pandas", "rich", "sklearn", "exchange_calendars", "alpaca"} & set(loaded.split()) == set()


def test_settings_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "sign_of_life.py")],
        env={**os.environ, "MIN_CONFIDENCE": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("sign_of_life: MIN_CONFIDENCE=")
    assert len(run.stderr.splitlines()) == 1

"""What all tests share: the real minute bars, no network but loopback, and repeatable Hypothesis runs."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pandas as pd
import pytest
from receiving import Receiver
from trading import logging_restored

from market.bars import read_bars

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """No test reaches another machine; `pytest.fail` passes through an `except Exception` in the code under test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            pytest.fail(f"a test tried to reach {address}; only loopback is allowed")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(scope="session", autouse=True)
def state_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys and locks of the tests, never the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real minute bars beside the repository; without it the test skips, in CI it fails."""
    if not SHARED_DATA.is_dir():
        reason = f"no real minute bars: {SHARED_DATA} is absent"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED_DATA


@pytest.fixture(scope="session")
def real_bars(shared_data: Path) -> pd.DataFrame:
    """12 symbols, 31 sessions of 390 bars (2026-01-22..03-06). One table for all tests: do not change it."""
    return read_bars(shared_data / "us_equities_1min_31_sessions.parquet")


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Folders of this test alone for doors that it calls; the logging that they configure ends with it."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    with logging_restored():
        yield


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Takes messages on this machine."""
    started = Receiver()
    yield started
    started.end()

"""Who looks on ends nothing and leaves nothing behind: dead terminals, second starts, starts that fail, secrets."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from receiving import Receiver
from rich.console import Console
from test_trader import DAYS, desk, market
from trading import settings_in

from config import Settings
from desk.books import BooksDisagree
from ending import Terminated
from locks import AlreadyRunning
from onlookers import Onlookers

NOON = DAYS[0].open
PLACE = "Alpaca's paper account"
KEY = "PKSECRETSECRET000000"


def looking_on(settings: Settings, console: Console | None = None, *, once: bool = False) -> Onlookers:
    console = console or Console(file=io.StringIO(), width=200)
    return Onlookers(settings, console, lambda: NOON, "alpaca", PLACE, once=once)


class Gone(io.StringIO):
    """A terminal that is not there any more."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error, self.tried = error, 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "Input/output error")], ids=str)
def test_a_terminal_that_is_gone_ends_no_run_and_is_not_written_to_again(
    tmp_path: Path, error: OSError, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Gone(error)
    with looking_on(settings_in(tmp_path), Console(file=gone, width=200)) as onlookers:
        for words in ("bought", "sold", "sold again"):
            onlookers.say(words)
    assert gone.tried <= 1
    assert caplog.text.count("nobody reads what is said any more") == 1


def test_a_second_start_that_is_refused_tells_nobody_and_leaves_the_first_ones_sign(
    tmp_path: Path, receiver: Receiver
) -> None:
    settings = replace(settings_in(tmp_path), NOTIFY_URLS=(receiver.url,))
    settings.DATA_DIR.mkdir(exist_ok=True)
    with desk(tmp_path, market(), {}) as d:
        first = looking_on(settings_in(tmp_path))
        first.begin(d.trader, NOON)
        with pytest.raises(AlreadyRunning), looking_on(settings):
            raise AlreadyRunning("process 1 is already trading")
        assert (settings.DATA_DIR / "alive").exists()
        first.__exit__(None, None, None)
    assert not (settings.DATA_DIR / "alive").exists()
    assert receiver.asked == 0


def test_a_start_that_fails_is_told_without_the_keys(tmp_path: Path, receiver: Receiver) -> None:
    settings = replace(settings_in(tmp_path), NOTIFY_URLS=(receiver.url,), ALPACA_API_KEY=KEY, ALPACA_SECRET_KEY=KEY)
    with pytest.raises(BooksDisagree), looking_on(settings):
        raise BooksDisagree(f"the books hold 5 AAA, the account of {KEY} none")
    (message,) = receiver.taken
    assert message["title"].endswith("not started")
    assert "BooksDisagree: the books hold 5 AAA" in message["message"]
    assert KEY not in str(message)


@pytest.mark.parametrize(
    ("ended", "words"),
    [(KeyboardInterrupt, "stopped;"), (Terminated, "halted and stopped by SIGTERM"), (OSError, "ended by OSError")],
)
def test_the_end_is_told_with_its_reason(
    tmp_path: Path, receiver: Receiver, ended: type[BaseException], words: str
) -> None:
    settings = replace(settings_in(tmp_path), NOTIFY_URLS=(receiver.url,))
    with desk(tmp_path, market(), {}) as d:
        onlookers = looking_on(settings)
        onlookers.begin(d.trader, NOON)
        with pytest.raises(ended), onlookers:
            raise ended
    assert any(words in message["message"] for message in receiver.taken)


def test_a_single_minute_sends_no_message_and_writes_no_page(tmp_path: Path, receiver: Receiver) -> None:
    settings = replace(settings_in(tmp_path), NOTIFY_URLS=(receiver.url,))
    with desk(tmp_path, market(), {}) as d, looking_on(settings, once=True) as onlookers:
        onlookers.begin(d.trader, NOON)
        onlookers.tick(NOON)
    assert receiver.asked == 0
    assert not (settings.DATA_DIR / "report.html").exists()

"""How a door speaks: one line and a code for what a user can mend, one JSON object for a machine, a log for later."""

from __future__ import annotations

import argparse
import errno
import io
import json
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import command
import locks
from alpaca_wire import KeysRefused, Refused, Unreachable
from command import EXIT_CODES, UsageError
from config import BadSetting, Settings
from desk.journal import AlreadyRunning, NewerJournal
from desk.paper_broker import BadAccountFile
from learning.evaluation import TooFewSessions
from learning.model_store import NoModel
from learning.signing import KeyRefused
from market.alpaca_feed import FeedUnavailable
from market.bars import BadBars, NoBars
from market.hours import OutsideCalendar
from sources import StateRefused

DOCUMENTED_CODES = {
    BadSetting: 2,
    UsageError: 2,
    BadBars: 2,
    FeedUnavailable: 2,
    OutsideCalendar: 8,
    KeysRefused: 3,
    AlreadyRunning: 4,
    locks.AlreadyRunning: 4,
    StateRefused: 5,
    NewerJournal: 5,
    BadAccountFile: 5,
    KeyRefused: 5,
    TooFewSessions: 7,
    NoModel: 7,
    NoBars: 7,
    Unreachable: 7,
}


@pytest.fixture(autouse=True)
def at_home(own_folders: None) -> None:
    """Every test here has folders of its own."""


def run(*argv: str, raises: BaseException | None = None, code: int = 0, overrides: Any = None) -> int:
    """A door whose body says "working", and then raises or returns."""

    def body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
        console.print("working")
        logging.getLogger("room").info("quietly noted")
        if raises is not None:
            raise raises
        return code, {"answer": 42, "market": settings.market, "confidence": settings.MIN_CONFIDENCE}

    arguments = command.parser("a_door.py", "A door.\n\n    python a_door.py").parse_args(argv)
    return command.run("a_door", body, arguments, overrides)


# --- exit codes -----------------------------------------------------------------------------------------------------


def test_the_exit_codes_are_the_documented_ones() -> None:
    assert DOCUMENTED_CODES.items() <= EXIT_CODES.items()
    assert set(EXIT_CODES.values()) <= set(range(2, 9))  # 0 is done, 1 a bug


@pytest.mark.parametrize("kind", DOCUMENTED_CODES)
def test_what_a_user_can_mend_is_one_line_and_its_code(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raises=kind("this is wrong; do that")) == DOCUMENTED_CODES[kind]
    cure = ". Look at the network and at status.alpaca.markets" if kind is Unreachable else ""
    assert capsys.readouterr().err == f"a_door: this is wrong; do that{cure}\n"


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run(raises=ZeroDivisionError("a bug"))


def test_done_is_0_and_a_bodys_own_code_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert run(code=6) == 6
    assert capsys.readouterr().err == ""


def test_an_interrupt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", raises=KeyboardInterrupt()) == 130
    captured = capsys.readouterr()
    assert captured.err == "a_door: interrupted\n"
    assert json.loads(captured.out.splitlines()[-1]) == {"error": "interrupted", "exit_code": 130}


def test_a_bad_setting_in_the_environment_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP_LOSS_PCT", "150")
    assert run() == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("a_door: STOP_LOSS_PCT='150' (environment) is not allowed: 0.0001 to 0.5")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["--no-such-flag"],
        ["--market", "nyse"],
        ["--days"],
        *[["--days", bad] for bad in ("0", "-3", "abc", "1.5", "", "½", "1e3")],
        ["stray"],
    ],
)
def test_arguments_that_make_no_sense_exit_with_2_and_say_which(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert argv[0] in said
    assert said.startswith("a_door.py: ")
    assert said.endswith("--help shows them all\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["--makret", "simulated"], "unrecognized arguments: --makret simulated; did you mean --market? "),
        (["--day=3"], None),  # an abbreviation
        (["--dyas=3"], "unrecognized arguments: --dyas=3; did you mean --days? "),
        ([""], "unrecognized arguments: ; --help"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate; --help"),
        (["x\n\x1b[2J"], r"unrecognized arguments: x\n\x1b[2J; --help"),
    ],
)
def test_a_mistyped_argument_gets_a_suggestion(
    argv: list[str], hint: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if hint is None:
        assert run(*argv) == 0
        return
    with pytest.raises(SystemExit):
        run(*argv)
    assert hint in capsys.readouterr().err


def test_help_is_the_manual(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "A door.\n\npython a_door.py\n" in out
    for flag in ("--market {auto,alpaca,recorded,simulated}", "--bars", "--symbols", "--days", "--json", "--quiet"):
        assert flag in out


@pytest.mark.parametrize(
    ("argv", "market"),
    [
        ([], "simulated"),
        (["--market", "recorded"], "recorded"),
        (["--bars", "my.csv"], "recorded"),
    ],
)
def test_the_market_is_what_was_asked_for_and_bars_of_ones_own_are_recorded(
    argv: list[str], market: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET", "auto")
    run(*argv, "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["market"] == market


def test_a_doors_own_arguments_come_before_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIN_CONFIDENCE", "0.7")
    run("--json", overrides={"MIN_CONFIDENCE": 0.8})
    run("--json", overrides={"MIN_CONFIDENCE": None})
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [result["confidence"] for result in said] == [0.8, 0.7]


# --- what is printed ------------------------------------------------------------------------------------------------


def test_what_was_overridden_is_said_and_from_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIN_CONFIDENCE", "0.6")
    run("--market", "simulated")
    said = " ".join(capsys.readouterr().out.split())
    assert "MIN_CONFIDENCE=0.6 (environment)" in said
    assert "MARKET=simulated (command line)" in said


@pytest.mark.parametrize("raises", [None, NoModel("none here; train one")])
def test_the_last_line_is_one_json_object_also_after_an_error(
    raises: Exception | None, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--json", raises=raises)
    *_, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    if raises is None:
        assert result["answer"] == 42
    else:
        assert result == {"error": "none here; train one", "exit_code": 7}


def test_without_json_no_object_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert "{" not in capsys.readouterr().out


def test_quiet_prints_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    run("--quiet")
    assert capsys.readouterr() == ("", "")
    run("--quiet", raises=NoModel("none here"))
    assert capsys.readouterr() == ("", "a_door: none here\n")


def test_quiet_with_json_prints_the_object_alone(capsys: pytest.CaptureFixture[str]) -> None:
    run("--quiet", "--json")
    assert json.loads(capsys.readouterr().out)["answer"] == 42


# --- the log --------------------------------------------------------------------------------------------------------


def test_rooms_log_to_a_file_that_is_rotated(tmp_path: Path) -> None:
    run()
    run(raises=NoModel("none here"))
    text = (tmp_path / "data" / "logs" / "a_door.log").read_text()
    assert "INFO room: quietly noted" in text
    assert "ERROR a_door: none here" in text
    assert "Traceback" not in text
    (file,) = [handler for handler in logging.getLogger().handlers if isinstance(handler, RotatingFileHandler)]
    assert file.maxBytes > 0
    assert file.backupCount > 0


def test_the_log_level_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    run(raises=NoModel("none here"))
    text = (tmp_path / "data" / "logs" / "a_door.log").read_text()
    assert "quietly noted" not in text
    assert "none here" in text


def test_warnings_of_the_rooms_reach_the_screen_once(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    run()  # a second door in one process replaces the first one's logging
    capsys.readouterr()
    logging.getLogger("room").warning("look here")
    logging.getLogger("room").info("not here")
    assert capsys.readouterr().err == "WARNING: look here\n"


@pytest.mark.parametrize("kind", DOCUMENTED_CODES)
def test_no_message_breaks_its_line_or_moves_the_cursor(
    kind: type[Exception], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--json", raises=kind("bad symbol A\n2026-01-01 00:00:00 INFO forged: line\x1b[2J\udcff\r"))
    captured = capsys.readouterr()
    assert r"bad symbol A\n2026-01-01 00:00:00 INFO forged: line\x1b[2J\udcff\r" in captured.err
    assert captured.err.count("\n") == 1
    log = (tmp_path / "data" / "logs" / "a_door.log").read_text()
    for text in (captured.out, captured.err, log):
        assert not any(char in text for char in "\x1b\r\udcff")
    assert not [line for line in log.splitlines() if line.startswith("2026-01-01")]


def test_a_message_of_several_lines_cannot_pass_for_two_records(tmp_path: Path) -> None:
    run()
    logging.getLogger("room").warning("training failed\n2026-01-01 00:00:00 INFO forged: line\x1b[2J")
    *_, first, second = (tmp_path / "data" / "logs" / "a_door.log").read_text().splitlines()
    assert first.endswith("WARNING room: training failed")
    assert second == r"    2026-01-01 00:00:00 INFO forged: line\x1b[2J"


def test_a_bug_ends_in_the_log_as_on_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(raises=ZeroDivisionError("a bug"))
    sys.excepthook(caught.type, caught.value, caught.tb)
    for text in (capsys.readouterr().err, (tmp_path / "data" / "logs" / "a_door.log").read_text()):
        assert "CRITICAL" in text
        assert "Traceback (most recent call last)" in text
        assert "ZeroDivisionError: a bug" in text


@pytest.mark.parametrize(
    ("number", "code", "cure"),
    [
        (errno.ENOSPC, 8, "Make room"),
        (errno.EROFS, 8, "Make it writable"),
        (errno.EACCES, 2, "Give this user the right to it"),
        (errno.ENOTDIR, 2, "Move away what is there"),
        (errno.EMFILE, 8, "Allow more open files: ulimit -n"),
    ],
)
def test_what_the_machine_refuses_is_one_line_with_the_cure_and_a_code_that_says_whether_it_may_heal(
    number: int, code: int, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raises=OSError(number, os.strerror(number), "/a/file")) == code
    said = capsys.readouterr().err
    assert said.startswith(f"a_door: /a/file: {os.strerror(number)}; this run has ended, what is saved stays. {cure}")
    assert said.count("\n") == 1
    assert run(raises=OSError(number, os.strerror(number))) == code
    assert capsys.readouterr().err.startswith(f"a_door: {os.strerror(number)}; ")


def test_what_only_a_bug_asks_of_the_machine_is_not_hidden() -> None:
    with pytest.raises(FileNotFoundError):
        run(raises=FileNotFoundError(errno.ENOENT, "no such file", "x"))


def test_a_working_folder_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        assert run() == 2
    finally:
        os.chdir(tmp_path)
    assert capsys.readouterr().err == (
        "a_door: the folder in which this was started no longer exists; cd to another one\n"
    )


# --- secrets --------------------------------------------------------------------------------------------------------

KEY, SECRET = "PKCANARY000000000001", "canary/0000000000000000000000000000001+A"


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", KEY)
    monkeypatch.setenv("ALPACA_SECRET_KEY", SECRET)


def everything_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    logs = [path.read_text() for path in (tmp_path / "data" / "logs").glob("*")]
    return "\n".join([captured.out, captured.err, *logs])


@pytest.mark.usefixtures("canaries")
@pytest.mark.parametrize("kind", [*EXIT_CODES, OSError])
def test_no_message_of_any_kind_shows_a_key(
    kind: type[Exception], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    words = f"refused: key {KEY}, secret {SECRET}."
    numbers = {OSError: (errno.ENOSPC,), Refused: (403, {})}
    assert run("--json", "--market", "simulated", raises=kind(*numbers.get(kind, ()), words)) != 0
    said = everything_said(tmp_path, capsys)
    assert "refused: key (a key), secret (a key)." in said
    assert KEY not in said
    assert SECRET not in said


@pytest.mark.usefixtures("canaries")
def test_no_log_line_and_no_traceback_shows_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bug = ValueError(f"Invalid header value {SECRET}")
    bug.__cause__ = RuntimeError(KEY)
    with pytest.raises(ValueError, match="Invalid header") as caught:
        run("--market", "simulated", raises=bug)
    room = logging.getLogger("room")
    room.warning("sent %s", {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET})
    room.error("not sent", exc_info=bug)
    sys.excepthook(caught.type, caught.value, caught.tb)
    said = everything_said(tmp_path, capsys)
    assert said.count("ValueError: Invalid header value (a key)") == 4  # twice in the log, twice on the screen
    assert "RuntimeError: (a key)" in said
    assert KEY not in said
    assert SECRET not in said


@pytest.mark.usefixtures("canaries")
@pytest.mark.parametrize(
    "wrong",
    [
        {"MIN_CONFIDENCE": KEY},
        {"SYMBOLS": f"AAPL,{KEY}"},
        {"ALPACA_TRADING_URL": f"https://{KEY}:{SECRET}@paper-api.alpaca.markets"},
        {"ALPACA_API_KEY": f"{KEY}\n"},
        {"ALPACA_SECRET_KEY": f'"{SECRET}"'},
        {"ALPACA_SECRET_KEY": ""},
        {"APCA_API_KEY_ID": KEY, "ALPACA_API_KEY": "", "ALPACA_SECRET_KEY": ""},
        {"MIN_CONFIDENC": SECRET},
        {"DATA_DIR": "/proc/no", "MARKET": "alpaca"},
    ],
)
def test_no_refused_setting_shows_a_key(
    wrong: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    assert run("--json") == 2
    said = everything_said(tmp_path, capsys)
    assert KEY not in said
    assert SECRET not in said


def test_a_data_folder_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_file").write_text("in the way")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "a_file"))
    assert run() == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"a_door: DATA_DIR={tmp_path / 'a_file'} cannot be written (")
    assert captured.err.endswith("); name another\n")
    assert captured.err.count("\n") == 1
    assert (tmp_path / "a_file").read_text() == "in the way"


def test_a_log_that_cannot_be_written_is_found_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "logs" / "a_door.log").mkdir(parents=True)
    assert run() == 2
    assert f"DATA_DIR={tmp_path / 'data'} cannot be written (Is a directory)" in capsys.readouterr().err


class FullDisk(io.StringIO):
    """A file on a disk that takes nothing more."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("canaries")
def test_a_log_that_fails_is_said_once_shows_no_key_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--market", "simulated") == 0
    capsys.readouterr()
    (file,) = [handler for handler in logging.getLogger().handlers if isinstance(handler, RotatingFileHandler)]
    file.stream = FullDisk()
    for _ in range(3):
        logging.getLogger("room").info("sent %s", KEY)
    said = capsys.readouterr().err
    log = tmp_path / "data" / "logs" / "a_door.log"
    assert said == f"WARNING: the log {log} cannot be written ([Errno 28] No space left on device); the run goes on\n"

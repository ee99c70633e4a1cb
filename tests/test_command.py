"""How a door speaks: one line and a code for what a user can mend, one JSON object for a machine, a log for later."""

from __future__ import annotations

import argparse
import json
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import command
from alpaca_wire import KeysRefused, Unreachable
from command import EXIT_CODES, UsageError
from config import BadSetting, Settings
from desk.journal import AlreadyRunning, NewerJournal
from desk.paper_broker import BadAccountFile
from learning.evaluation import TooFewSessions
from learning.model_store import NoModel
from market.alpaca_feed import FeedUnavailable
from market.bars import BadBars, NoBars
from market.hours import OutsideCalendar
from sources import StateRefused

DOCUMENTED_CODES = {
    BadSetting: 2,
    UsageError: 2,
    BadBars: 2,
    FeedUnavailable: 2,
    OutsideCalendar: 2,
    KeysRefused: 3,
    AlreadyRunning: 4,
    StateRefused: 5,
    NewerJournal: 5,
    BadAccountFile: 5,
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
    assert set(EXIT_CODES.values()) <= set(range(2, 8))  # 0 is done, 1 a bug


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
    assert argv[0] in capsys.readouterr().err


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

"""The door live_trader.py on Alpaca: exit codes, one line with the cure, and a stop in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin import StandIn

from desk.journal import read_events
from live_trader import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def standin(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars, now="2026-03-06T23:00:00Z") as running:
        yield running


def environment(folder: Path, standin: StandIn | None, **changes: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if "ALPACA" not in name and "APCA" not in name}
    env |= {"MODELS_DIR": str(folder / "models"), "DATA_DIR": str(folder / "data"), "COLUMNS": "80"}
    if standin is not None:
        env |= {"ALPACA_API_KEY": standin.KEY, "ALPACA_SECRET_KEY": standin.SECRET}
        env |= {"ALPACA_TRADING_URL": standin.api, "ALPACA_DATA_URL": standin.api}
    return env | changes


def door(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "live_trader.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_without_keys_alpaca_is_refused_with_the_cure(tmp_path: Path) -> None:
    run = door(environment(tmp_path, None), "--market", "alpaca")
    assert run.returncode == 2
    assert "ALPACA_API_KEY" in run.stderr
    assert "Traceback" not in run.stderr


def test_alpaca_s_account_does_not_execute_for_a_market_of_the_past(tmp_path: Path) -> None:
    run = door(environment(tmp_path, None), "--market", "simulated", "--broker", "alpaca")
    assert run.returncode == 2
    assert "--broker alpaca needs --market alpaca" in run.stderr


def test_refused_keys_are_exit_code_3_and_never_shown(tmp_path: Path, standin: StandIn) -> None:
    wrong = "PKWRONGWRONGWRONG00"
    run = door(environment(tmp_path, standin, ALPACA_API_KEY=wrong), "--once", "--json")
    assert run.returncode == 3
    assert "refused the keys" in run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["exit_code"] == 3
    logs = "".join(path.read_text() for path in (tmp_path / "data" / "logs").iterdir())
    for text in (run.stdout, run.stderr, logs):
        assert wrong not in text
        assert standin.SECRET not in text


def test_a_live_host_is_refused_before_the_first_request(tmp_path: Path, standin: StandIn) -> None:
    run = door(environment(tmp_path, standin, ALPACA_TRADING_URL="https://api.alpaca.markets"), "--once")
    assert run.returncode == 2
    assert "never trades live" in run.stderr


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, "stopped; all is on disk, 0 positions stay with their stops in Alpaca's paper account"),
        (signal.SIGTERM, "stopped by SIGTERM and halted, back: --resume; all is on disk"),
    ],
    ids=["ctrl-c", "sigterm"],
)
def test_a_signal_ends_the_run_in_order_and_says_where_the_stops_are(
    tmp_path: Path, standin: StandIn, number: signal.Signals, words: str
) -> None:
    standin.fault("error", path="/v2/account", status=503, times=None)  # it waits for Alpaca: a place to interrupt it
    with subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "live_trader.py")],
        env=environment(tmp_path, standin), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        while "Ctrl-C" not in first:
            first = process.stdout.readline()
        journal = tmp_path / "models" / "journal.jsonl"
        while not journal.exists() or not read_events(journal):
            assert process.poll() is None
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    standin.clear_faults()
    assert process.returncode == 0
    assert words in " ".join(output.split())
    assert "Traceback" not in errors


# --- halt, flatten, resume --------------------------------------------------------------------------------------------


def word(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, object], str]:
    """What the door says, as JSON and as text; it needs no market."""
    assert main([*arguments, "--json"]) == 0
    out = capsys.readouterr().out
    return json.loads(out.splitlines()[-1]), out


def test_halt_and_resume_leave_word_and_say_what_they_do(own_folders: None, capsys: pytest.CaptureFixture[str]) -> None:
    result, said = word(capsys, "--halt", "earnings week")
    assert result["halted"] == "earnings week"
    assert "halted: earnings week" in said
    assert "--resume" in said
    main(["--status"])
    assert "HALTED: " in capsys.readouterr().out
    result, said = word(capsys, "--resume")
    assert "earnings week" in str(result["resumed"])
    assert "resumes from: " in said
    main(["--status"])
    assert "HALTED: " not in capsys.readouterr().out
    assert "not halted" in word(capsys, "--resume")[1]


def test_flatten_says_what_will_be_sold_and_when(own_folders: None, capsys: pytest.CaptureFixture[str]) -> None:
    result, said = word(capsys, "--flatten")
    assert (result["halted"], result["held"]) == ("--flatten", [])
    assert "nothing is held" in said


def test_a_reason_is_asked_for_and_two_words_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--halt"], ["--halt", "a", "--resume"], ["--flatten", "--resume"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2


def test_a_halted_simulated_run_buys_nothing_and_one_after_a_resume_does(tmp_path: Path) -> None:
    env = environment(tmp_path, None)
    door(env, "--halt", "not today")
    run = door(env, "--days", "1", "--json")
    assert run.returncode == 0
    assert "HALTED" in run.stdout
    halted = [e for e in read_events(tmp_path / "models" / "journal.jsonl") if e["kind"] in ("intent", "halt")]
    assert [e["kind"] for e in halted] == ["halt"]
    assert "not today" in door(env, "--status").stdout

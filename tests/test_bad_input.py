"""Bad input at the doors: one line that says what, where and what to do, the documented exit code, and nothing lost.

What a single setting, bar or broker's reply may hold is tested beside its module; here is what reaches a door whole.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

import backtest
import build_dataset
import config
import live_trader
import market_scheduler
import ml_predictor
import ml_trainer
import report

ROOT = Path(__file__).resolve().parents[1]
DOORS = {
    "backtest": backtest.main,
    "build_dataset": build_dataset.main,
    "live_trader": live_trader.main,
    "market_scheduler": market_scheduler.main,
    "ml_predictor": ml_predictor.main,
    "ml_trainer": ml_trainer.main,
    "report": report.main,
}
TRADING = ("build_dataset", "live_trader", "backtest")  # doors that take --bars and write

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def at_home(own_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of its own for every test, and no keys."""
    for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Calls a door that has to refuse with `code`; the one line that it says. Every file that was there is kept."""

    def call(door: str, *argv: str | Path, code: int) -> str:
        before = contents(tmp_path)
        try:
            found = DOORS[door](list(map(str, argv)))
        except SystemExit as end:  # argparse's way
            found = end.code
        said = capsys.readouterr().err
        assert found == code, said
        assert said.startswith((f"{door}: ", f"{door}.py: ")), said
        assert said.endswith("\n")
        assert said[:-1].isprintable(), said
        assert len(said) < 700
        assert "Traceback" not in said
        after = contents(tmp_path)
        assert {path: after.get(path) for path in before} == before
        return said

    return call


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below `folder` but the logs."""
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "logs" and not path.is_symlink()
    }


# --- settings and .env ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"MIN_CONFIDENCE=0.7\n", 0o644, "Run: chmod 600"),
        (b"MIN_CONFIDENCE=0.7\nMIN_CONFIDENCE=0.8\n", 0o600, "line 2: MIN_CONFIDENCE stands on line 1 already"),
        (b"ALPACA_API_KEY=your_key_here\nALPACA_SECRET_KEY=your_secret\n", 0o600, "does not look like a key"),
        (b"ALPACA_API_KEY='PKCANARY00000000\n", 0o600, "line 1: not of the form NAME=value (or an open quote)"),
        (b"stop_los_pct=0.02\n", 0o600, "did you mean STOP_LOSS_PCT?"),
        (b"MIN_CONFIDENCE=\x00\n", 0o600, "line 1: a control character"),
        (b"MIN_CONFIDENCE=0.7 # gr\xfc\xdfe", 0o600, "not UTF-8 text at byte 23"),
    ],
)
def test_an_env_file_with_a_mistake(
    door: str, content: bytes, mode: int, words: str, refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".env").write_bytes(content)
    (home / ".env").chmod(mode)
    monkeypatch.setattr(config, "_HERE", home)
    said = refused(door, code=2)
    assert words in said
    assert "CANARY" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STOP_LOSS_PCT", "5%"),
        ("MIN_CONFIDENCE", "nan"),
        ("TRAIN_TIME", "25:00"),
        ("SYMBOLS", "AAPL;rm -rf"),
        ("SYMBOLS", "AAPL,\x1b[2J\nB"),
        ("SYMBOLS", ",".join(f"{n}" for n in range(5000))),
        ("MODELS_DIR", "models\nERROR"),
        ("MODELS_DIR", "~nobody_of_this_name/models"),
        ("MODELS_DIR", ".."),
        ("DATA_DIR", "/"),
        ("MODELS_DIR", "x" * 5000),
        ("DATA_DIR", "x" * 300),
        ("ALPACA_TRADING_URL", "https://api.alpaca.markets"),
        ("MIN_CONFIDENC", "0.6"),
    ],
)
def test_a_bad_value_in_the_environment(
    name: str, value: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert name.partition("_")[0] in refused("market_scheduler", code=2)


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--symbol5", "AAPL"], "unrecognized arguments: --symbol5 AAPL; did you mean --symbols?"),
        (["--market", "nyse"], "argument --market: invalid choice: 'nyse'"),
        (["--days", "0"], "argument --days: '0' is not a whole number above 0"),
        (["--days"], "argument --days: expected one argument"),
        (["--bars", "x", "--market", "simulated"], "--bars names your own bars, --market simulated has its own"),
        (["--symbols", "BRK/B"], "SYMBOLS='BRK/B' (command line) is not allowed: upper-case tickers"),
        (["--symbols", "A\x1b[31m"], r"SYMBOLS='A\x1b[31m' (command line) is not allowed"),
    ],
)
def test_an_argument_with_a_mistake(door: str, argv: list[str], words: str, refused: Refused) -> None:
    assert words in refused(door, *argv, code=2)


# --- bars of one's own ----------------------------------------------------------------------------------------------


def table(**changes: Sequence[object]) -> pd.DataFrame:
    """Three good minutes of one symbol, with columns replaced."""
    minutes = ["2026-02-02T14:30:00Z", "2026-02-02T14:31:00Z", "2026-02-02T14:32:00Z"]
    columns: dict[str, Sequence[object]] = {"symbol": ["AAA"] * 3, "timestamp": minutes}
    columns |= {name: [10.0, 10.0, 10.0] for name in ("open", "high", "low", "close")} | {"volume": [100, 100, 100]}
    return pd.DataFrame(columns | changes)


def as_csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def as_parquet(frame: pd.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


BAD_BARS = {
    "empty.csv": (b"", "the file is empty"),
    "empty.parquet": (b"", "the file is empty"),
    "garbage.parquet": (b"PAR1 no table PAR1", "not readable as parquet"),
    "cut.parquet": (as_parquet(table())[:-9], "not readable as parquet"),
    "binary.csv": (bytes(range(256)), "not readable as csv"),
    "page.csv": (b"<!DOCTYPE html>\n<html></html>\n", "column symbol, timestamp"),
    "bars.xlsx": (b"PK", "neither .parquet nor .csv"),
    "nan.csv": (as_csv(table(close=[10, float("nan"), 10])), "AAA at 2026-02-02 14:31:00+00:00: a price is missing"),
    "inf.csv": (as_csv(table(high=[10, float("inf"), 10])), "a price is infinite"),
    "text.csv": (as_csv(table(open=["10", "ten", "10"])), "open is not a number"),
    "negative.csv": (as_csv(table(low=[10, -1, 10])), "a price is not positive"),
    "upside_down.csv": (as_csv(table(high=[10, 9, 10])), "high is below low"),
    "volume.csv": (as_csv(table(volume=[1, -1, 1])), "volume is missing, infinite or negative"),
    "naive.csv": (as_csv(table(timestamp=["2026-02-02 14:30:00"] * 3)), "has no time zone"),
    "no_time.csv": (as_csv(table(timestamp=["2026-02-30T14:30:00Z"] * 3)), "is not a time"),
    "twice.csv": (as_csv(table(timestamp=["2026-02-02T14:30:00Z"] * 3, close=[9.9, 10, 9.8], low=[9, 9, 9])),
                  "two different bars for one minute"),
    "far_future.csv": (as_csv(table(timestamp=["2126-02-02T14:30:00Z"] * 3)), "2126-02-02"),
    "escapes.csv": (as_csv(table(symbol=["A\x1b[2J"] * 3)), r"symbol 'A\x1b[2J' has characters that cannot be printed"),
    "new\nline.csv": (as_csv(table(symbol=["A\nB"] * 3)), r"new\nline.csv: symbol 'A\nB' has characters"),
    "escapes.parquet": (as_parquet(table(symbol=["A\rB"] * 3)), r"symbol 'A\rB' has characters"),
    "future.csv": (
        as_csv(table(timestamp=[f"2035-02-02T14:3{minute}:00Z" for minute in range(3)])),
        "the newest bar ends at 2035-02-02 14:33:00+00:00, in the future by this machine's clock; mend the one or",
    ),
    "columns.csv": (as_csv(table().drop(columns="low")), "column low is missing"),
}  # fmt: skip


@pytest.mark.parametrize("door", TRADING)
@pytest.mark.parametrize("name", BAD_BARS)
def test_a_file_of_bars_with_a_mistake(door: str, name: str, refused: Refused, tmp_path: Path) -> None:
    content, words = BAD_BARS[name]
    (tmp_path / name).write_bytes(content)
    said = refused(door, "--bars", tmp_path / name, code=2)
    assert words in said
    assert not (tmp_path / "data" / "bars").exists()


@pytest.mark.parametrize("door", TRADING)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.csv", "no such file or folder; check the path given to --bars"),
        ("folder", "no .parquet or .csv file in this folder"),
        ("pipe.csv", "no such file or folder"),
        ("a\0b", "no such file or folder"),
        ("x" * 300, "File name too long; this run has ended, what is saved stays. Choose a shorter name"),
    ],
)
def test_a_path_of_bars_with_a_mistake(door: str, name: str, words: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert words in refused(door, "--bars", tmp_path / name, code=2)


@pytest.mark.parametrize("door", TRADING)
def test_five_thousand_symbols_of_another_market(door: str, refused: Refused) -> None:
    many = ",".join(f"A{number}" for number in range(5000))
    said = refused(door, "--market", "simulated", "--symbols", many, code=2)
    assert "none is in the simulated market, which has SIM01 to SIM12 (12 symbols); choose from these" in said


@pytest.mark.parametrize("door", TRADING)
def test_bars_of_too_few_minutes_are_not_enough_data(door: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_bytes(as_csv(table()))
    assert "Insufficient training data" in refused(door, "--bars", tmp_path / "few.csv", code=7)


@pytest.mark.parametrize("door", TRADING)
def test_bars_without_a_row_are_no_bars(door: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "header.csv").write_bytes(as_csv(table().head(0)))
    assert "holds no bars" in refused(door, "--bars", tmp_path / "header.csv", code=7)


# --- what is on disk ------------------------------------------------------------------------------------------------


def event(**fields: object) -> bytes:
    """A checksummed line of the journal."""
    body = json.dumps(fields, separators=(",", ":"))
    return f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'.encode()


@pytest.mark.parametrize(
    ("door", "argv"), [("report", []), ("live_trader", ["--status"]), ("live_trader", ["--market", "alpaca", "--once"])]
)
def test_books_of_a_newer_version_are_refused_and_kept(
    door: str, argv: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", "PKCANARY000000000001")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "canary/0000000000000000000000000000001+A")
    for url in ("ALPACA_TRADING_URL", "ALPACA_DATA_URL"):
        monkeypatch.setenv(url, "http://127.0.0.1:9")  # nobody listens there
    journal = tmp_path / "models" / "journal.jsonl"
    journal.parent.mkdir()
    journal.write_bytes(event(n=0, kind="journal", schema=99, started="20300101_000000"))
    said = refused(door, *argv, code=5)
    assert f"{journal}: written by a newer version (schema 99" in said
    assert "update the program" in said


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b'"', b"\xef\xbb\xbf{}", b'{"market": "alp', b"\0" * 9, b"[" * 200_000]
)
@pytest.mark.parametrize("folder", ["models", "data"])
@pytest.mark.parametrize("door", ["build_dataset", "live_trader"])
def test_folders_whose_owner_cannot_be_read(
    door: str, folder: str, content: bytes, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    note = tmp_path / folder / "source.json"
    note.write_bytes(content)
    said = refused(door, "--market", "simulated", "--days", "5", code=5)
    assert f"{note} cannot be read, so whose these folders are is not known. Write the market's name" in said


@pytest.mark.parametrize("name", ["dataset.parquet", "dataset.json"])
@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b"\xef\xbb\xbf{}", b"PAR1", b'{"market": "sim', b"[" * 200_000]
)
def test_a_data_set_that_cannot_be_read(
    name: str, content: bytes, refused: Refused, dataset: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for file, good in (dataset | {name: content}).items():
        (tmp_path / "data" / file).write_bytes(good)
    said = refused("ml_trainer", code=7)
    assert "Insufficient training data" in said
    assert "Run: python build_dataset.py" in said


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a good data set, by name."""
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(folder / "data"))
        patch.setenv("MODELS_DIR", str(folder / "models"))
        assert build_dataset.main(["--market", "simulated", "--days", "9", "--quiet"]) == 0
    return {name: (folder / "data" / name).read_bytes() for name in ("dataset.parquet", "dataset.json")}


# --- folders and disks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["MODELS_DIR", "DATA_DIR"])
def test_a_file_in_the_place_of_a_folder(
    door: str, name: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv(name, str(tmp_path / "file"))
    said = refused(door, code=2)
    assert f"{name}={tmp_path / 'file'} " in said


@pytest.mark.parametrize("name", ["MODELS_DIR", "DATA_DIR"])
@pytest.mark.parametrize("door", ["build_dataset", "live_trader"])
def test_a_folder_that_cannot_be_made_or_written(
    door: str, name: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/proc/ml-paper-trader")  # where not even root can make a folder
    said = refused(door, "--market", "simulated", code=2)
    assert "/proc/ml-paper-trader cannot be written (" in said
    assert "name another" in said


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("door", ["build_dataset", "live_trader"])
def test_a_full_disk_is_found_before_anything_is_begun(
    door: str, claimed: bool, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    notes = [tmp_path / folder / "source.json" for folder in ("models", "data")] if claimed else []
    for note in notes:
        note.parent.mkdir()
        note.write_text('{"market": "simulated", "feed": "simulated"}')
    monkeypatch.setattr(os, "fsync", full)
    said = refused(door, "--market", "simulated", code=8)
    assert f"{tmp_path / 'models'}: No space left on device; this run has ended, what is saved stays. Make room" in said
    assert sorted(contents(tmp_path)) == sorted(notes)


# --- the machine ----------------------------------------------------------------------------------------------------


def in_a_process(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )


SCHEDULE = [sys.executable, str(ROOT / "market_scheduler.py"), "--market", "simulated", "--json", "--quiet"]


@pytest.fixture(scope="module")
def ordinary() -> dict[str, object]:
    """What market_scheduler.py answers in an ordinary environment."""
    answer: dict[str, object] = json.loads(in_a_process(*SCHEDULE).stdout)
    return answer


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "garbage/Nowhere", "PYTHONHASHSEED": "1", "HOME": ""},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "2", "TZ": "Asia/Kolkata"},
    ],
)
def test_an_odd_environment_changes_nothing(environment: dict[str, str], ordinary: dict[str, object]) -> None:
    odd = in_a_process(*SCHEDULE, **environment)
    assert (odd.returncode, odd.stderr) == (0, "")
    answer = json.loads(odd.stdout)
    assert answer.keys() == ordinary.keys()
    assert (answer["next_close"], answer["next_training"]) == (ordinary["next_close"], ordinary["next_training"])


def test_few_open_files_are_enough_for_the_data_set() -> None:
    door = f"{sys.executable} {ROOT / 'build_dataset.py'} --market simulated --days 9 --quiet"
    run = in_a_process("sh", "-c", f"ulimit -n 32; exec {door}")
    assert (run.returncode, run.stderr) == (0, "")


def test_a_terminal_that_cannot_show_a_character_shows_an_escape(tmp_path: Path) -> None:
    (tmp_path / "Börse").mkdir()
    run = in_a_process(
        sys.executable, str(ROOT / "market_scheduler.py"), PYTHONIOENCODING="ascii", DATA_DIR=str(tmp_path / "Börse")
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert r"B\xf6rse" in run.stdout.replace("\n", "")

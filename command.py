"""How every door speaks: the arguments they share, the console, the logs, and errors turned into one line and a code.

Exit codes: 0 done, 1 a bug, 2 usage or settings, 3 broker refused the keys, 4 already running, 5 state refused,
6 books do not agree with the broker, 7 not enough data, no model, or Alpaca out of reach.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from alpaca_wire import KeysRefused, Refused, Unreachable
from config import BadSetting, Settings, load_settings
from desk.books import BooksDisagree
from desk.journal import AlreadyRunning, NewerJournal
from desk.paper_broker import BadAccountFile
from durable import to_json
from learning.evaluation import StaleDataset, TooFewSessions
from learning.model_store import NoModel
from market.alpaca_feed import FeedUnavailable
from market.bars import BadBars, NoBars
from market.hours import OutsideCalendar
from sources import StateRefused


class UsageError(ValueError):
    """Arguments that do not fit together; the message names them and the cure."""


EXIT_CODES: Mapping[type[Exception], int] = {
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
    BooksDisagree: 6,
    StaleDataset: 7,
    TooFewSessions: 7,
    NoModel: 7,
    NoBars: 7,
    Refused: 7,
    Unreachable: 7,
}
_LOG_BYTES, _LOG_FILES = 5_000_000, 5

Door = Callable[[argparse.Namespace, Settings, Console], "tuple[int, dict[str, Any]]"]


def parser(door: str, manual: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that every door has; `manual` is the door's docstring."""
    result = argparse.ArgumentParser(
        prog=door, description=inspect.cleandoc(manual or ""), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--market", choices=("auto", "alpaca", "recorded", "simulated"), help="where bars come from")
    result.add_argument("--bars", type=Path, metavar="PATH", help="your own bars: a Parquet or CSV file, or a folder")
    result.add_argument("--symbols", metavar="A,B", help="these symbols instead of the source's active list")
    result.add_argument("--days", type=_positive, metavar="N", help="days of history; in replays the last N sessions")
    result.add_argument("--json", action="store_true", help="end with one line that is one JSON object")
    result.add_argument("--quiet", action="store_true", help="print errors only")
    return result


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def run(door: str, body: Door, arguments: argparse.Namespace, overrides: Mapping[str, object] | None = None) -> int:
    """Load settings, open console and log, call `body`, and turn what it raises into a message and an exit code.

    `overrides` are settings that this door's own arguments set. `body` returns an exit code and the --json object.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # until the log is open, nothing goes to the screen by itself
    console = Console(quiet=arguments.quiet, highlight=False)
    given = {"MARKET": arguments.market, "SYMBOLS": arguments.symbols, **(overrides or {})}
    if arguments.bars is not None and arguments.market is None:
        given["MARKET"] = "recorded"
    try:
        if arguments.bars is not None and given["MARKET"] in ("alpaca", "simulated"):
            raise UsageError(
                f"--bars names your own bars, --market {given['MARKET']} has its own; leave one of them out"
            )
        settings = load_settings(given)
        if settings.MODELS_DIR.exists() and not settings.MODELS_DIR.is_dir():
            raise BadSetting(f"MODELS_DIR={settings.MODELS_DIR} is a file; name a folder")
        _open_log(door, settings)
        if settings.overridden:
            console.print("settings: " + ", ".join(settings.overridden), style="dim", markup=False)
        code, result = body(arguments, settings, console)
    except tuple(EXIT_CODES) as error:
        code = EXIT_CODES[type(error)]
        words = (
            f"{error}. Look at the network and at status.alpaca.markets"
            if code == 7 and isinstance(error, Unreachable)
            else str(error)
        )
        result = {"error": words, "exit_code": code}
        logging.getLogger(door).error("%s", words)  # noqa: TRY400 - a user's mistake needs no traceback
        print(f"{door}: {words}", file=sys.stderr)  # noqa: T201 - a door speaks to people
    except KeyboardInterrupt:
        code, result = 130, {"error": "interrupted", "exit_code": 130}
        print(f"{door}: interrupted", file=sys.stderr)  # noqa: T201
    if arguments.json:
        print(to_json(result))  # noqa: T201
    return code


def _open_log(door: str, settings: Settings) -> None:
    folder = settings.DATA_DIR / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(folder / f"{door}.log", maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, delay=True)
    except OSError as error:
        raise BadSetting(f"DATA_DIR={settings.DATA_DIR} cannot be written ({error.strerror}); name another") from error
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    screen = logging.StreamHandler()
    screen.setLevel(logging.WARNING)
    screen.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    screen.addFilter(lambda record: record.levelno < logging.ERROR or record.exc_info is not None)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(file)
    root.addHandler(screen)
    root.setLevel(settings.LOG_LEVEL)


def progress(console: Console) -> Progress:
    """A progress bar for work of more than two seconds; it leaves no trace when done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=console.quiet)

"""How every door speaks: the arguments they share, the console, the logs, and errors turned into one line and a code.

Exit codes: 0 done, 1 a bug, 2 usage or settings, 3 broker refused the keys, 4 already running, 5 state refused,
6 books do not agree with the broker, 7 not enough data, no model, or Alpaca out of reach, 8 this machine's disk or
clock. What ends with 1, 7 or 8 may go well if it is started again later.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import inspect
import io
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from alpaca_wire import KeysRefused, Refused, Unreachable
from config import BadSetting, Settings, load_settings
from desk.books import BooksDisagree
from desk.journal import NewerJournal
from desk.paper_broker import BadAccountFile
from durable import HEALING_ERRNOS, to_json
from learning.evaluation import StaleDataset, TooFewSessions
from learning.model_store import NoModel
from learning.signing import KeyRefused
from locks import AlreadyRunning
from market.alpaca_feed import FeedUnavailable
from market.bars import BadBars, NoBars
from market.hours import OutsideCalendar
from notify import BadAddress
from sources import StateRefused


class UsageError(ValueError):
    """Arguments that do not fit together; the message names them and the cure."""


MACHINE = 8
EXIT_CODES: Mapping[type[Exception], int] = {
    BadSetting: 2,
    BadAddress: 2,
    UsageError: 2,
    BadBars: 2,
    FeedUnavailable: 2,
    OutsideCalendar: MACHINE,
    KeysRefused: 3,
    AlreadyRunning: 4,
    StateRefused: 5,
    NewerJournal: 5,
    BadAccountFile: 5,
    KeyRefused: 5,
    BooksDisagree: 6,
    StaleDataset: 7,
    TooFewSessions: 7,
    NoModel: 7,
    NoBars: 7,
    Refused: 7,
    Unreachable: 7,
}
_LOG_BYTES, _LOG_FILES = 5_000_000, 5
_OTHER_FOLDERS = "or name other folders: MODELS_DIR=... DATA_DIR=... STATE_DIR=..."
_MACHINE_CURES = {
    errno.ENOSPC: f"Make room, {_OTHER_FOLDERS}",
    errno.EDQUOT: f"Make room, {_OTHER_FOLDERS}",
    errno.EROFS: f"Make it writable, {_OTHER_FOLDERS}",
    errno.EACCES: f"Give this user the right to it, {_OTHER_FOLDERS}",
    errno.EPERM: f"Give this user the right to it, {_OTHER_FOLDERS}",
    errno.EISDIR: f"Move away what is there, {_OTHER_FOLDERS}",
    errno.ENOTDIR: f"Move away what is there, {_OTHER_FOLDERS}",
    errno.EEXIST: f"Move away what is there, {_OTHER_FOLDERS}",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EIO: f"Look at the disk, {_OTHER_FOLDERS}",
    errno.EMFILE: "Allow more open files: ulimit -n 1024",
    errno.ENFILE: "Close what holds so many files open",
}

Door = Callable[[argparse.Namespace, Settings, Console], "tuple[int, dict[str, Any]]"]


def parser(door: str, manual: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that every door has; `manual` is the door's docstring."""
    result = _Parser(
        prog=door, description=inspect.cleandoc(manual or ""), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--market", choices=("auto", "alpaca", "recorded", "simulated"), help="where bars come from")
    result.add_argument("--bars", type=Path, metavar="PATH", help="your own bars: a Parquet or CSV file, or a folder")
    result.add_argument("--symbols", metavar="A,B", help="these symbols instead of the source's active list")
    result.add_argument("--days", type=positive, metavar="N", help="days of history; in replays the last N sessions")
    result.add_argument("--json", action="store_true", help="end with one line that is one JSON object")
    result.add_argument("--quiet", action="store_true", help="print errors only")
    return result


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, with the argument that may have been meant."""

    def error(self, message: str) -> NoReturn:
        wrong = message.removeprefix("unrecognized arguments: ").partition(" ")[0].partition("=")[0]
        near = difflib.get_close_matches(wrong, self._option_string_actions, n=1)
        hint = f"did you mean {near[0]}? " if near and near[0] not in message else ""
        self.exit(2, in_one_line(f"{self.prog}: {message}; {hint}--help shows them all") + "\n")


def positive(text: str) -> int:
    """An argument that is a whole number above 0."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def run(door: str, body: Door, arguments: argparse.Namespace, overrides: Mapping[str, object] | None = None) -> int:
    """Load settings, open console and log, call `body`, and turn what it raises into a message and an exit code.

    `overrides` are settings that this door's own arguments set. `body` returns an exit code and the --json object.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # until the log is open, nothing goes to the screen by itself
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what this terminal cannot show is no reason to end
            stream.reconfigure(errors="backslashreplace")
    # Paths, symbols and reasons are shown letter by letter: [data] in one is a folder and no style.
    console = Console(quiet=arguments.quiet, highlight=False, markup=False, emoji=False)
    given = {"MARKET": arguments.market, "SYMBOLS": arguments.symbols, **(overrides or {})}
    if arguments.bars is not None and arguments.market is None:
        given["MARKET"] = "recorded"
    keys: list[str] = []
    try:
        _check_working_folder()
        if arguments.bars is not None and given["MARKET"] in ("alpaca", "simulated"):
            raise UsageError(
                f"--bars names your own bars, --market {given['MARKET']} has its own; leave one of them out"
            )
        settings = load_settings(given)
        keys += filter(None, (settings.ALPACA_API_KEY, settings.ALPACA_SECRET_KEY, *(settings.NOTIFY_URLS or ())))
        if settings.MODELS_DIR.exists() and not settings.MODELS_DIR.is_dir():
            raise BadSetting(f"MODELS_DIR={settings.MODELS_DIR} is a file; name a folder")
        _open_log(door, settings, keys)
        if settings.overridden:
            words = "settings: " + ", ".join(settings.overridden)
            console.print(words, style="dim", soft_wrap=not console.is_terminal)
        code, result = body(arguments, settings, console)
    except tuple(EXIT_CODES) as error:
        cure = ". Look at the network and at status.alpaca.markets" if isinstance(error, Unreachable) else ""
        code, result = _refuse(door, EXIT_CODES[type(error)], f"{error}{cure}", keys)
    except OSError as error:
        if error.errno not in _MACHINE_CURES:
            raise
        where = f"{error.filename}: " if error.filename else ""
        words = f"{where}{error.strerror}; this run has ended, what is saved stays. {_MACHINE_CURES[error.errno]}"
        code, result = _refuse(door, MACHINE if error.errno in HEALING_ERRNOS else EXIT_CODES[BadSetting], words, keys)
    except KeyboardInterrupt:
        code, result = 130, {"error": "interrupted", "exit_code": 130}
        print(f"{door}: interrupted", file=sys.stderr)  # noqa: T201
    if arguments.json:
        print(to_json(result))  # noqa: T201
    return code


def _check_working_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("the folder in which this was started no longer exists; cd to another one") from error


def _refuse(door: str, code: int, message: str, keys: Sequence[str]) -> tuple[int, dict[str, Any]]:
    words = in_one_line(message, keys)
    logging.getLogger(door).error("%s", words)
    print(f"{door}: {words}", file=sys.stderr)  # noqa: T201 - a door speaks to people
    return code, {"error": words, "exit_code": code}


def in_one_line(text: str, keys: Sequence[str] = ()) -> str:
    """`text` without the values of keys, and with what would break the line or move the cursor as escapes."""
    for key in keys:
        text = text.replace(key, "(a key)")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Guarded(logging.Formatter):
    """Log lines, tracebacks included, that hold no key's value and no escape sequence; lines that go on are indented,
    so that no message can pass for another record."""

    def __init__(self, form: str, keys: Sequence[str]) -> None:
        super().__init__(form)
        self._keys = keys

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        return "\n    ".join(in_one_line(line, self._keys) for line in lines)


class _LogFile(RotatingFileHandler):
    """A log that may fail: that is said once and stops nothing."""

    _said = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        if not self._said:
            words = in_one_line(f"the log {self.baseFilename} cannot be written ({sys.exc_info()[1]}); the run goes on")
            print(f"WARNING: {words}", file=sys.stderr)  # noqa: T201
        self._said = True


def _open_log(door: str, settings: Settings, keys: Sequence[str]) -> None:
    folder = settings.DATA_DIR / "logs"
    path = folder / f"{door}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()  # fails now, and not with the first line that is lost
        file = _LogFile(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, delay=True, encoding="utf-8")
    except OSError as error:
        if error.errno in HEALING_ERRNOS:
            raise
        raise BadSetting(f"DATA_DIR={settings.DATA_DIR} cannot be written ({error.strerror}); name another") from error
    file.setFormatter(_Guarded("%(asctime)s %(levelname)s %(name)s: %(message)s", keys))
    screen = logging.StreamHandler()
    screen.setLevel(logging.WARNING)
    screen.setFormatter(_Guarded("%(levelname)s: %(message)s", keys))
    screen.addFilter(lambda record: record.levelno < logging.ERROR or record.exc_info is not None)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(file)
    root.addHandler(screen)
    root.setLevel(settings.LOG_LEVEL)
    sys.excepthook = _note_bug


def _note_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A bug ends the program with its traceback, in the log as on the screen."""
    logging.getLogger().critical("a bug; please report it", exc_info=(kind, error, trace))


def progress(console: Console) -> Progress:
    """A progress bar for work of more than two seconds; it leaves no trace when done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=console.quiet)

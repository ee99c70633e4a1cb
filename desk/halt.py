"""The halt: nothing is bought, working entries are withdrawn, stops stay - until a person resumes.

models/HALT      is there: halted; its text says when and why. `touch models/HALT` halts too
models/FLATTEN   and all that is held is to be sold
models/RESUME    a person has looked: taken up within a minute, or at the next start

The journal remembers a halt besides, so that deleting HALT does not resume, and a lost file does not either.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from desk.books import Books
from desk.brokers import Broker
from desk.journal import Event, Journal
from durable import replace_file

log = logging.getLogger(__name__)

WORDS = ("HALT", "FLATTEN", "RESUME")
BY_HAND = "by hand"  # why a position is sold that a person wants sold


def ask_to_halt(folder: Path, why: str, when: str, *, flatten: bool = False) -> None:
    """Leave word for the trader of the books in `folder`, running or not; with `flatten` to sell all besides."""
    folder.mkdir(parents=True, exist_ok=True)
    if flatten:
        replace_file(folder / "FLATTEN", f"{when}\n")
    replace_file(folder / "HALT", f"{when}  {_printable(why)}\n")
    (folder / "RESUME").unlink(missing_ok=True)


def ask_to_resume(folder: Path, when: str) -> None:
    """Leave word that a person has looked, and buying may go on."""
    (folder / "FLATTEN").unlink(missing_ok=True)
    replace_file(folder / "RESUME", f"{when}\n")
    (folder / "HALT").unlink(missing_ok=True)


def asked_to_halt(folder: Path) -> str | None:
    """What HALT says, in one line, or None if there is none. One that cannot be read halts as well."""
    path = folder / "HALT"
    try:
        path.lstat()
        words = _printable(path.read_bytes()[:400].decode(errors="replace")) if path.is_file() else ""
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return words or f"{path.name} is there, without a word"


class Halt:
    """Hears what was asked for in `folder`, keeps it in the books, and lets nothing more be bought.

    Args: `record` writes an event down; `say` tells a person; `local_time` turns minutes into New York's time.
    """

    def __init__(
        self,
        folder: Path,
        books: Books,
        broker: Broker,
        journal: Journal,
        record: Callable[..., Event],
        local_time: Callable[[int], str],
        say: Callable[[str], object],
    ) -> None:
        self._folder, self._books, self._broker, self._journal = folder, books, broker, journal
        self._record, self._local_time, self._say = record, local_time, say

    def hear(self, minute: int) -> None:
        """Halt or resume as a person asked; while halted, no entry may work on."""
        asked = asked_to_halt(self._folder)
        if asked is not None:
            if self._books.halt is None:
                self._write_down("halt", why=asked, minute=minute)
                self._say(f"HALTED: {asked}. Nothing is bought until python live_trader.py --resume; stops stay")
        elif os.path.lexists(self._folder / "RESUME"):
            self._resume(minute)
        elif self._books.halt is not None:
            self._leave_word(self._books.halt, minute)
        if self._books.halt is not None:
            self._broker.withdraw_entries()
        if os.path.lexists(self._folder / "FLATTEN"):
            plan = dict.fromkeys(self._books.live_trades(), BY_HAND)
            if self._write_down("plan", close=plan):
                (self._folder / "FLATTEN").unlink(missing_ok=True)
            self._say(f"to be sold, as asked: {', '.join(plan) or 'nothing is held'}")

    def begin(self, why: str, minute: int) -> None:
        """Halt now, for a reason that the program itself has."""
        if self._books.halt is None:
            self._leave_word(why, minute)
            self.hear(minute)
        if self._books.halt is None:  # the file did not get there: the books know it all the same
            self._write_down("halt", why=why, minute=minute)
            self._broker.withdraw_entries()

    def _resume(self, minute: int) -> None:
        halted = self._books.halt
        if halted is None or self._write_down("resume", minute=minute, halted=halted):
            (self._folder / "RESUME").unlink(missing_ok=True)
        if halted is not None:
            self._say(f"resumed; it was halted: {halted}")

    def _leave_word(self, why: str, minute: int) -> None:
        try:
            ask_to_halt(self._folder, why, self._local_time(minute)[:16])
        except OSError as error:
            log.warning("HALT cannot be written (%s); the halt holds all the same: %s", error.strerror, why)

    def _write_down(self, kind: str, **fields: object) -> bool:
        self._record(kind, **fields)
        try:
            self._journal.sync(order=True)
        except OSError as error:
            log.warning("the %s is not on disk yet: %s", kind, error.strerror)
            return False
        return True


def _printable(words: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())[:200]

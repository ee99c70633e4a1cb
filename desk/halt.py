"""The halt: nothing is bought, working entries are withdrawn, stops stay - until a person resumes.

models/HALT      is there: halted; its text says when and why. `touch models/HALT` halts too
models/FLATTEN   is there: halted as well, and all that is held is to be sold
models/RESUME    a person has looked: taken up within a minute, or at the next start

The journal remembers a halt besides, so that deleting HALT does not resume, and a lost file does not either.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from desk.books import BY_HAND
from desk.journal import Event, Journal
from desk.risk import Gate, loss_beyond
from durable import replace_file

log = logging.getLogger(__name__)

WORDS = ("HALT", "FLATTEN", "RESUME")


def ask_to_halt(folder: Path, why: str, when: str, *, flatten: bool = False) -> None:
    """Leave word for the trader of the books in `folder`, running or not; with `flatten` to sell all besides."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        replace_file(folder / "HALT", f"{when}  {_printable(why)}\n")
    finally:  # a full disk takes no HALT, and lets RESUME go all the same
        (folder / "RESUME").unlink(missing_ok=True)
    if flatten:
        replace_file(folder / "FLATTEN", f"{when}\n")


def ask_to_resume(folder: Path, when: str) -> None:
    """Leave word that a person has looked, and buying may go on."""
    (folder / "FLATTEN").unlink(missing_ok=True)
    replace_file(folder / "RESUME", f"{when}\n")
    (folder / "HALT").unlink(missing_ok=True)


def asked_to_halt(folder: Path) -> str | None:
    """What HALT says, in one line; None if there is neither it nor FLATTEN. One that cannot be read halts as well."""
    for path in (folder / "HALT", folder / "FLATTEN"):
        try:
            path.lstat()
            words = _printable(path.read_bytes()[:400].decode(errors="replace")) if path.is_file() else ""
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        return words or f"{path.name} is there, without a word"
    return None


def in_force(folder: Path, in_books: str | None) -> str | None:
    """Why nothing is bought, for whoever shows it: what was asked for last counts, heard by a trader or not."""
    asked = asked_to_halt(folder)
    return None if asked is None and os.path.lexists(folder / "RESUME") else asked or in_books


class Halt:
    """Hears what was asked for in `folder`, keeps it in the books, and lets nothing more be bought.

    Args: `gate` knows books, broker and limits; `record` writes an event down; `say` tells a person.
    """

    def __init__(
        self,
        folder: Path,
        gate: Gate,
        journal: Journal,
        record: Callable[..., Event],
        say: Callable[[str], object],
    ) -> None:
        self._folder, self._books, self._broker, self._limits = folder, gate.books, gate.broker, gate.limits
        self._journal, self._record, self._say = journal, record, say
        self._loss: str | None = None  # the limit that was broken in the last minute
        self._heard_resume: tuple[int, int] | None = None  # which RESUME was taken up

    def hear(self, minute: int) -> None:
        """Halt or resume as a person asked; while halted, no entry may work on."""
        asked = asked_to_halt(self._folder)
        if asked is not None:
            self._halt(asked, minute)
        elif self._resume_waits():
            self._resume(minute)
        elif self._books.halt is not None:
            self._leave_word(self._books.halt, minute)
        if self._books.halt is not None:
            self._broker.withdraw_entries()
        if os.path.lexists(self._folder / "FLATTEN"):
            plan = dict.fromkeys(self._books.live_trades(), BY_HAND)
            if self._write_down("plan", close=plan):
                self._forget("FLATTEN")
            self._say(f"to be sold, as asked: {', '.join(plan) or 'nothing is held'}")

    def begin(self, why: str, minute: int) -> None:
        """Halt now, for a reason that the program itself has; a resume that was not heard yet is void."""
        if self._books.halt is None or os.path.lexists(self._folder / "RESUME"):
            self._leave_word(why, minute)
        self._halt(why, minute)
        self._broker.withdraw_entries()

    def watch_losses(self, equity: float, minute: int) -> None:
        """Halt on a loss beyond its limit, once two minutes in a row have shown it: one may be a wrong price."""
        if equity <= 0:  # none that can be believed; nothing is bought on it
            return
        opening, peak = self._books.opening_equity(minute), self._books.peak_equity
        before, self._loss = self._loss, loss_beyond(equity, opening, peak, self._limits)
        if self._loss is not None and before is not None:
            self.begin(self._loss, minute)

    def _halt(self, why: str, minute: int) -> None:
        if self._books.halt is None:
            self._write_down("halt", why=why, minute=minute)
            self._say(f"HALTED: {why}. Nothing is bought until python live_trader.py --resume; stops stay")

    def _resume_waits(self) -> bool:
        """Whether there is a RESUME that was not taken up: one that cannot be removed must not void a later halt."""
        try:
            there = (self._folder / "RESUME").lstat()
        except FileNotFoundError:
            return False
        heard, self._heard_resume = self._heard_resume, (there.st_ino, there.st_mtime_ns)
        if heard == self._heard_resume:
            self._forget("RESUME")
        return heard != self._heard_resume

    def _resume(self, minute: int) -> None:
        halted = self._books.halt
        if halted is None or self._write_down("resume", minute=minute, halted=halted):
            self._forget("RESUME")
        if halted is not None:
            self._say(f"resumed; it was halted: {halted}")

    def _forget(self, name: str) -> None:
        """A word that cannot be removed must not keep the minute from its exits."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed (%s); do it by hand", self._folder / name, error.strerror)

    def _leave_word(self, why: str, minute: int) -> None:
        try:
            ask_to_halt(self._folder, why, self._books.local_time(minute)[:16])
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

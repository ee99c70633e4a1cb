"""The page of a running trader, written anew every few minutes by a process of its own.

A page takes seconds and a trading minute has none to spare; whatever becomes of a page, trading goes on.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from config import Settings

log = logging.getLogger(__name__)

REPORT = Path(__file__).with_name("report.py")
FIRST_SECONDS, EVERY_SECONDS = 30.0, 300.0  # after the start; between two pages
PATIENCE_SECONDS, KILL_SECONDS = 30.0, 2.0  # for the last page, when the trader ends; for one that was killed


class PageWriter:
    """Call `tick` each minute and `close` at the end; `say` tells a person, once, that pages fail or work again.

    `monotonic` (seconds) is time as the processes live it.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], object],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._say, self._monotonic = settings, say, monotonic
        self._process: subprocess.Popen[str] | None = None
        self._due = monotonic() + FIRST_SECONDS
        self.began = False  # whether there was any page
        self._fails = False

    def tick(self) -> None:
        """Begin a page if the last one is old enough; one that has not ended by then is ended."""
        if self._monotonic() < self._due:
            if self._process is not None and self._process.poll() is not None:
                self._ended()
            return
        self._wait(0.0)
        self._due = self._monotonic() + EVERY_SECONDS
        self._begin()

    def close(self) -> None:
        """The last page, once the books are closed; waited for. It no longer reloads by itself."""
        self._wait(PATIENCE_SECONDS)
        self._begin()
        self._wait(PATIENCE_SECONDS)

    def _begin(self) -> None:
        self.began = True
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own script, no shell
                ["nice", "-n", "10", sys.executable, str(REPORT), "--quiet"],  # noqa: S607 - a trading minute goes first
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env={**os.environ, **self._settings.as_environment()},
                start_new_session=True,  # Ctrl-C is for the trader; a page is finished
            )
        except OSError as error:
            self._tell(str(error))

    def _wait(self, seconds: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # one that hangs in the disk is left to the system
                self._process.wait(KILL_SECONDS)
        self._ended()

    def _ended(self) -> None:
        process, self._process = self._process, None
        if process is None or process.stderr is None:
            return
        with process.stderr as errors:
            last = errors.read().strip().rpartition("\n")[2]
        self._tell("" if process.returncode == 0 else last or f"exit code {process.returncode}")

    def _tell(self, trouble: str) -> None:
        if bool(trouble) != self._fails:
            self._fails = bool(trouble)
            self._say(f"the page cannot be written: {trouble}" if trouble else "the page can be written again")

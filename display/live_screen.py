"""The newest view of a running trader kept on the terminal, its countdowns going by the second."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr
from datetime import datetime
from threading import Lock
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from display.screen import draw, wrapped
from display.view import View
from market.clock import utc_now

LEAST_WIDTH, LEAST_HEIGHT = 60, 16  # of a terminal that the live screen is used on
KEPT_WORDS = 200  # lines of the log


def fits(console: Console) -> bool:
    """Whether the live screen can be used: a terminal of a sane size. Else there are plain lines, as in a log."""
    shows = console.is_terminal and not console.is_dumb_terminal and not console.quiet and not console.is_jupyter
    big = console.width >= LEAST_WIDTH and console.height >= LEAST_HEIGHT
    return shows and big and not console.options.ascii_only


class LiveScreen:
    """The newest view on the terminal's other screen, drawn once a second, with what was said below it.

    A context: leaving it, however it ends, gives the terminal back as it was. `show` and `say` replace values that the
    drawing thread only reads, so that no trading minute waits for a terminal (one that Ctrl-S has stopped, say). What
    is logged to the terminal meanwhile is said here.
    """

    def __init__(self, console: Console, now: Callable[[], datetime] = utc_now) -> None:
        self._console, self._now = console, now
        self._view: View | None = None
        self.said: tuple[str, ...] = ()  # the log, oldest first
        self._saying = Lock()
        self._live = Live(
            console=console,
            screen=True,
            refresh_per_second=1,
            get_renderable=self._drawn,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._live.stop)
            self._live.start(refresh=True)
            if sys.stderr.isatty():
                words = _Words(self.say)
                for handler in logging.getLogger().handlers:
                    if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                        stack.callback(handler.setStream, handler.setStream(words))
                stack.enter_context(redirect_stderr(words))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def show(self, view: View) -> None:
        """Draw this view from now on. One that cannot be drawn raises here, and not beside the trading minute."""
        draw(view, self._now(), *self._console.size, self.said)
        self._view = view

    def say(self, words: str) -> None:
        """Put a line into the log at the bottom."""
        with self._saying:
            self.said = (*self.said, *words.splitlines())[-KEPT_WORDS:]

    def _drawn(self) -> Group:
        view, said, (width, height) = self._view, self.said, self._console.size
        if view is not None:
            return draw(view, self._now(), width, height, said)
        lines = [Text(line) for words in said for line in wrapped(words, width, 3)]
        return Group(Text("starting", style="bold"), *lines[-(height - 1) :])


class _Words(io.TextIOBase):
    """What is written here is said."""

    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__()
        self._say = say

    def write(self, text: str) -> int:
        if text.strip():
            self._say(text.rstrip("\n"))
        return len(text)

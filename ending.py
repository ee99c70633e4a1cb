"""Ctrl-C and SIGTERM, heard between two steps of trading and not in the middle of one.

Ctrl-C (SIGINT) ends a run in order. SIGTERM halts it besides: nothing is bought until a person resumes. A second one
does not wait for the step to end.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM was heard."""


class Ending:
    """Raises KeyboardInterrupt or Terminated once it is asked for, but not within `finishing`."""

    def __init__(self) -> None:
        self.terminated = False  # whether SIGTERM was heard
        self._busy = False
        self._asked: type[KeyboardInterrupt] | None = None

    def listen(self) -> None:
        """Take over both signals of this process."""
        signal.signal(signal.SIGINT, self._hear)
        signal.signal(signal.SIGTERM, self._hear)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """A step that is brought to its end first."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self._asked is not None:
            raise self._asked

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.terminated |= number == signal.SIGTERM
        kind = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if not self._busy or self._asked is not None:
            raise kind
        self._asked = kind

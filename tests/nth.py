"""The Nth call that reaches the disk fails, or the process ends there: for each N until none is left.

    for fault in each_nth("error"):          # or "cut before", "cut after"
        with fault:
            work()                           # anew each time
        assert ...                           # the old state or the new one

`with fault` lets nothing out but what is no part of the test. After a cut, nothing reaches the disk any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pytest

How = Literal["error", "cut before", "cut after"]
HOW: tuple[How, ...] = ("error", "cut before", "cut after")
CALLS = (
    (os, "open"), (os, "write"), (os, "fsync"), (os, "ftruncate"), (Path, "replace"), (Path, "mkdir"), (Path, "unlink"),
)  # fmt: skip


class Cut(BaseException):
    """The process ends here: no handler of an Exception may take part."""


class Fault:
    """One run in which the `nth` call fails; `fired` says whether there was one, `failed` whether it was felt."""

    def __init__(self, nth: int, how: How) -> None:
        self.nth, self.how = nth, how
        self.fired = self.failed = False
        self._calls = 0
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Fault:
        for owner, name in CALLS:
            self._patch.setattr(owner, name, self._faulty(name, getattr(owner, name)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        self._patch.undo()
        self.failed = isinstance(error, Cut) or (isinstance(error, OSError) and error.errno == 5)
        return self.failed

    def _faulty(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*args: Any, **kwargs: Any) -> Any:
            if self.fired and self.how != "error":
                raise Cut
            self._calls += 1
            if self._calls != self.nth:
                return call(*args, **kwargs)
            self.fired = True
            if name == "write":
                call(args[0], bytes(args[1])[: len(args[1]) // 2])
            elif self.how == "cut after":
                call(*args, **kwargs)
            if self.how == "error":
                raise OSError(5, "Input/output error")
            raise Cut

        return faulty


def each_nth(how: How, most: int = 500) -> Iterator[Fault]:
    """A fault for N = 1, 2, ... up to the first that comes too late; a work of more than `most` calls has no end."""
    for nth in range(1, most):
        fault = Fault(nth, how)
        yield fault
        if not fault.fired:
            assert nth > 1, "nothing reached the disk"
            return
    raise AssertionError(f"more than {most} calls")

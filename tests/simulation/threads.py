"""Threads without a second line of execution: what was begun runs when somebody waits, at a moment the seed chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from desk import trade_history


class Threads:
    """Stands in for the executor that the program uses; a killed process takes what has not run along."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._begun: list[_Future] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        names: dict[str, Any] = {"ThreadPoolExecutor": lambda *_: self, "wait": _wait}
        real = {name: getattr(trade_history, name) for name in names}
        for name, stand_in in names.items():
            setattr(trade_history, name, stand_in)
        try:
            yield
        finally:
            for name, original in real.items():
                setattr(trade_history, name, original)

    def submit(self, call: Callable[..., Any], *args: Any) -> _Future:
        self._begun.append(_Future(call, args))
        return self._begun[-1]

    def go_on(self) -> None:
        """Time passes: some get to their end."""
        for future in self._begun:
            if self._random.random() < 0.7:
                future.run()
        self._begun = [future for future in self._begun if not future.done()]

    def killed(self) -> None:
        self._begun.clear()


class _Future:
    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._call, self._args = call, args
        self._done = False
        self._error: Exception | None = None

    def done(self) -> bool:
        return self._done

    def run(self) -> None:
        """Run to the end; the crash of a whole process passes through."""
        if not self._done:
            try:
                self._call(*self._args)
            except Exception as error:  # noqa: BLE001 - handed on by `result`
                self._error = error
            self._done = True

    def result(self) -> None:
        self.run()
        if self._error is not None:
            raise self._error


def _wait(futures: Iterable[_Future]) -> None:
    for future in futures:
        future.run()

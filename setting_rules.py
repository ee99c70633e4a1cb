"""What a setting may be: a number in a range, one of some words, text of a form. `explain` says it in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Between:
    """A number within [low, high]; `unit` is for the message."""

    low: float
    high: float
    unit: str

    def explain(self, value: object) -> str | None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        allowed = f"{self.low:g} to {self.high:g} {self.unit}"
        return None if number and self.low <= value <= self.high else allowed  # type: ignore[operator]


@dataclass(frozen=True)
class OneOf:
    """One of these words."""

    words: tuple[str, ...]

    def explain(self, value: object) -> str | None:
        return None if value in self.words else "one of " + ", ".join(self.words)


@dataclass(frozen=True)
class Matches:
    """Text of this form, described by `words`."""

    pattern: str
    words: str
    spelt: Callable[[str], str] = str  # how items of a list are written

    def explain(self, value: object) -> str | None:
        return None if isinstance(value, str) and re.fullmatch(self.pattern, value) else self.words

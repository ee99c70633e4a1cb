"""Nonsense made from sense: seeded changes to JSON, to bytes and to lines, each with words that say what was done.

for case in cases(FILES): ...      a seed, its random source and words about the change; see test_fuzz.py
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

COUNT = int(os.environ.get("FUZZ", "500"))  # changes of each sort
FIRST = int(os.environ.get("FUZZ_SEED", "0"))  # FUZZ=1 FUZZ_SEED=123 repeats one that failed

HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
TEXTS = (
    "", " ", "NaN", "Infinity", "-1", "1e999", "abc", "\x00", "a\nb", "\x1b[2J", "\u202e\u0661\u0662", "\ud800",
    "../../etc/passwd", "x" * 5000, "0x10", "1_000", "\u00bd", "null", "true", "AAA", "1e30", "1e-30",
)  # fmt: skip
TIMES = (
    "2026-03-02T15:00:00", "2026-03-02", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "2026-13-45T99:99:99Z",
    "1969-12-31T23:59:59Z", "2026-03-02T14:58:00+23:59", "20260302T145800Z",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    float("nan"), float("inf"), float("-inf"), 10**400, -(10**400), 1e308, 1e30, -1e308, 2**63, -1, 0,
    -0.0, 1e-320, 0.5, True, False,
)  # fmt: skip


@dataclass
class Case:
    """One change. `words` tell what was changed, in the order in which it was."""

    seed: int
    random: Random
    words: list[str] = field(default_factory=list)

    def one_of(self, choices: Any) -> Any:
        return self.random.choice(list(choices))


def cases(kind: str, count: int = COUNT) -> Iterator[Case]:
    """Seeds FIRST and on; each `kind` draws its own."""
    for seed in range(FIRST, FIRST + count):
        yield Case(seed, Random(f"{kind} {seed}"))


@contextmanager
def told(case: Case) -> Iterator[None]:
    """A failure inside says how to see it again."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"FUZZ=1 FUZZ_SEED={case.seed}: {'; '.join(case.words)}")
        raise


# --- JSON ------------------------------------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside `value`, itself first."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def changed(case: Case, value: Any) -> Any:
    """A copy with one or two of its values changed."""
    value = copy.deepcopy(value)
    for _ in range(case.random.choice((1, 1, 1, 2))):
        value = _change(case, value)
    return value


def _change(case: Case, value: Any) -> Any:
    way = case.one_of(places(value))
    name, act = case.one_of(CHANGES.items())
    old, parent = value, None
    for step in way:
        parent, old = old, old[step]
    case.words.append(f"{'.'.join(map(str, way)) or 'all'}: {name}")
    if name == "missing":
        if parent is None:
            return None
        del parent[way[-1]]
        return value
    if name == "twice":
        if isinstance(parent, list):
            parent.append(copy.deepcopy(old))
        elif isinstance(parent, dict):
            parent[f"{way[-1]}_again"] = copy.deepcopy(old)
        return value
    new = act(case.random, old)
    case.words[-1] += f" ({repr(new)[:60]})"
    if parent is None:
        return new
    parent[way[-1]] = new
    return value


def _nested(random: Random, old: Any) -> Any:
    result: Any = old
    for _ in range(random.choice((3, 50, 400))):
        result = [result] if random.random() < 0.5 else {"a": result}
    return result


def _another_time(random: Random, old: Any) -> Any:
    if not isinstance(old, str) or "T" not in old:
        return random.choice(TIMES)
    return random.choice((*TIMES, old.removesuffix("Z"), old[:16]))


def _in_itself(random: Random, old: Any) -> Any:
    """A thing that holds itself under each of its names, as deep as a JSON parser goes."""
    if not isinstance(old, dict):
        return [old, [old]]
    result: Any = None
    for _ in range(random.choice((2, 20, 300))):
        result = {**old, **{name: [result] for name in old if name in ("legs", "a")}}
    return result


CHANGES: dict[str, Callable[[Random, Any], Any]] = {
    "missing": lambda random, old: None,
    "twice": lambda random, old: None,
    "null": lambda random, old: None,
    "a number": lambda random, old: random.choice(NUMBERS),
    "a number as text": lambda random, old: str(random.choice(NUMBERS)),
    "a text": lambda random, old: random.choice(TEXTS),
    "another time": _another_time,
    "negative": lambda random, old: f"-{old}" if isinstance(old, str) else -1.5,
    "cut short": lambda random, old: old[: len(old) // 2] if isinstance(old, str | list) else str(old)[:1],
    "longer": lambda random, old: f"{old}{random.choice(TEXTS)}",
    "a list": lambda random, old: [old],
    "an empty list": lambda random, old: [],
    "an object": lambda random, old: {"a": old},
    "an empty object": lambda random, old: {},
    "deep": _nested,
    "in itself": _in_itself,
}


# --- bytes -----------------------------------------------------------------------------------------------------------


def mangled(case: Case, content: bytes) -> bytes:
    """Bytes as a disk, a network or another program may leave them."""
    name, act = case.one_of(MANGLINGS.items())
    case.words.append(name)
    return act(case.random, content)


def as_bytes(value: Any) -> bytes:
    """JSON as a careless service writes it: NaN and lone surrogates included."""
    return json.dumps(value).encode()


def _flipped(random: Random, content: bytes) -> bytes:
    result = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 20))):
        if result:
            result[random.randrange(len(result))] ^= 1 << random.randrange(8)
    return bytes(result)


def _lines(act: Callable[[Random, list[bytes]], list[bytes]]) -> Callable[[Random, bytes], bytes]:
    return lambda random, content: b"".join(act(random, content.splitlines(keepends=True)))


def _line_twice(random: Random, lines: list[bytes]) -> list[bytes]:
    at = random.randrange(len(lines)) if lines else 0
    return [*lines[: at + 1], *lines[at:]]


def _line_gone(random: Random, lines: list[bytes]) -> list[bytes]:
    at = random.randrange(len(lines)) if lines else 0
    return [*lines[:at], *lines[at + 1 :]]


def _line_cut(random: Random, lines: list[bytes]) -> list[bytes]:
    if lines:
        at = random.randrange(len(lines))
        lines[at] = lines[at][: random.randrange(len(lines[at]))]
    return lines


def _shuffled(random: Random, lines: list[bytes]) -> list[bytes]:
    return random.sample(lines, len(lines))


def _foreign_line(random: Random, lines: list[bytes]) -> list[bytes]:
    foreign = random.choice(
        (b"{}\n", b"[]\n", b"null\n", b'{"n":1}\n', HTML + b"\n", b"\x00" * 512 + b"\n", b"\n", b'{"symbol":\n')
    )
    at = random.randrange(len(lines) + 1)
    return [*lines[:at], foreign, *lines[at:]]


MANGLINGS: dict[str, Callable[[Random, bytes], bytes]] = {
    "bits flipped": _flipped,
    "bits flipped again": _flipped,
    "cut off": lambda random, content: content[: random.randrange(len(content) + 1)],
    "empty": lambda random, content: b"",
    "web page": lambda random, content: HTML,
    "zeros": lambda random, content: b"\x00" * len(content),
    "a hole of zeros": lambda random, content: (
        content[: len(content) // 3] + b"\x00" * 64 + content[len(content) // 2 :]
    ),
    "another's bytes": lambda random, content: random.randbytes(random.randrange(400)),
    "twice over": lambda random, content: content + content,
    "another encoding": lambda random, content: content.decode(errors="replace").encode("utf-16"),
    "deep lists": lambda random, content: b"[" * 100_000 + b"]" * 100_000,
    "deep objects": lambda random, content: b'{"a":' * 100_000,
    "a line twice": _lines(_line_twice),
    "a line gone": _lines(_line_gone),
    "a line cut": _lines(_line_cut),
    "lines shuffled": _lines(_shuffled),
    "a foreign line": _lines(_foreign_line),
}

"""The files of a journal: its lines, its archived months, reading all of them as one, and mending after a crash.

Who reads takes no lock and touches nothing; `desk/journal.py` is the one that writes.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from durable import name_aside, replace_file, to_json

log = logging.getLogger(__name__)

SCHEMA = 1
Event = dict[str, Any]


class NewerJournal(ValueError):
    """The journal was written by a newer version of this program, which this one must not touch."""


def read_events(path: Path) -> list[Event]:
    """All readable events of a journal and its archives, oldest first, without lock or touching a file.

    Unreadable lines of archives, and events that are missing, are counted in the log. Raises NewerJournal.
    """
    return list(each_event(path))


def each_event(path: Path) -> Iterator[Event]:
    """As `read_events`, one at a time."""
    newest, missing, unreadable = -1, 0, Counter[Path]()
    for source, line in _lines(path):
        event = _parse_line(line.removesuffix(b"\n"))
        if event is None:
            unreadable[source] += 1
        elif event["n"] > newest:  # else it was read in an archive
            _check_schema(path, event)
            missing += event["n"] - newest - 1
            newest = event["n"]
            yield event
    for source in unreadable.keys() - {path}:
        log.warning("%s: %d lines cannot be read; what they said is not counted", source, unreadable[source])
    if missing:
        log.warning(
            "%s: %d of its %d events are missing (%s is incomplete, or lines were damaged); the others are counted",
            path, missing, newest + 1, archive_folder(path),
        )  # fmt: skip


def read_archives(path: Path) -> Iterator[Event]:
    """The readable events of the archived months of a journal."""
    lines = chain.from_iterable(map(_lines_in, archives(path)))
    return (event for _, line in lines if (event := _parse_line(line.removesuffix(b"\n"))) is not None)


def archive_folder(path: Path) -> Path:
    """Where the finished months of a journal lie."""
    return path.parent / "archive"


def archives(path: Path) -> list[Path]:
    """The archived months of a journal, oldest first."""
    return sorted(archive_folder(path).glob(f"{path.stem}_????-??.jsonl"))


def _lines(path: Path) -> Iterator[tuple[Path, bytes]]:
    """The lines of all files, the header of the journal first, whatever became of the archives."""
    with path.open("rb") if path.exists() else BytesIO() as journal:  # first, lest a month moves while we read
        header = journal.readline()
        if header.startswith(b'{"n":0,'):
            yield path, header
        for archive in archives(path):
            yield from _lines_in(archive)
        journal.seek(0)
        yield from ((path, line) for line in journal)


def _lines_in(path: Path) -> Iterator[tuple[Path, bytes]]:
    with path.open("rb") as lines:
        yield from ((path, line) for line in lines)


def newest_archived(path: Path) -> int:
    """The number of the newest event in the archives of a journal; -1 if there is none."""
    return max((event["n"] for event in read_archives(path)), default=-1)


def by_month(events: Sequence[Event], local_time: Callable[[int], str]) -> tuple[list[Event], dict[str, list[Event]]]:
    """The header, and the other events by month (YYYY-MM), oldest first."""
    newest = next((event["minute"] for event in events if "minute" in event), 0)
    months = defaultdict[str, list[Event]](list)
    for event in events:
        newest = max(newest, event.get("minute", newest))
        if event["n"] > 0:
            months[local_time(newest)[:7]].append(event)
    return [event for event in events if event["n"] == 0], months


def _check_schema(path: Path, event: Event) -> None:
    if event["kind"] == "journal" and event.get("schema", 0) > SCHEMA:
        schema = event["schema"]
        raise NewerJournal(f"{path}: written by a newer version (schema {schema}, here {SCHEMA}); update the program")


def line_of(event: Event) -> str:
    body = to_json(event)
    return f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'


def ordered_lines(events: Sequence[Event]) -> str:
    """The lines of events, each once and in the order of their numbers."""
    numbered = {event["n"]: event for event in events}
    return "".join(line_of(numbered[n]) for n in sorted(numbered))


def _parse_line(line: bytes) -> Event | None:
    head, mark, tail = line.rpartition(b',"crc":"')
    body = head + b"}"
    if not mark or tail[8:] != b'"}' or tail[:8] != b"%08x" % zlib.crc32(body):
        return None
    event: Event = json.loads(body)
    return event


def _parse(content: bytes) -> tuple[list[Event], list[int]]:
    """The readable events, and the numbers of the lines that are not."""
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    parsed = [_parse_line(line) for line in lines]
    return [event for event in parsed if event is not None], [i for i, event in enumerate(parsed) if event is None]


def recover(path: Path, stamp: str) -> list[Event]:
    """The readable events of one file, none if it is missing; what cannot be read is moved aside and said.

    Raises NewerJournal, and OSError with nothing lost.
    """
    content = path.read_bytes() if path.exists() else b""
    events, unreadable = _parse(content)
    for event in events:
        _check_schema(path, event)
    lines = content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    ordered = all(before["n"] < after["n"] for before, after in pairwise(events))
    torn = unreadable == [lines - 1] or (content and not content.endswith(b"\n") and not unreadable)
    if torn and events:
        kept = "".join(map(line_of, events)).encode()
        tail = name_aside(path, "torn", stamp)
        replace_file(tail, content[len(kept) :])
        replace_file(path, kept)
        log.warning(
            "%s: the last line was cut off by a crash; it is kept in %s, all before it is whole", path, tail.name
        )
    elif unreadable or not ordered:
        aside = name_aside(path, "damaged", stamp)
        replace_file(aside, content)  # a copy, so that no failure in between leaves us without a journal
        replace_file(path, ordered_lines(events))
        log.warning(
            "%s: %d of %d lines cannot be read; the file is kept as %s, and the journal goes on with the %d others",
            path, len(unreadable), lines, aside.name, len(events),
        )  # fmt: skip
    elif content:
        # The process before may have been killed after a failed fsync: what can be read may be in memory alone.
        replace_file(path, content)
    return events

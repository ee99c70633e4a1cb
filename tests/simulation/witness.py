"""What the trader's journal acknowledged, kept where no crash reaches it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from desk.journal import Event, Journal
from durable import to_json


class Witness:
    """Events that a `sync` returned for, as JSON, oldest first; the entries that they announce, and whether the last
    word on a halt is that there is one."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.intents: set[str] = set()
        self.halted = False

    def hear(self, events: list[Event]) -> None:
        self.acknowledged += map(to_json, events)
        self.intents |= {event["order_id"] for event in events if event["kind"] == "intent"}
        for event in events:
            if event["kind"] in ("halt", "resume"):
                self.halted = event["kind"] == "halt"


class WatchedJournal(Journal):
    """A journal whose promises are heard by a witness."""

    def __init__(self, path: Path, stamp: str, witness: Witness, trace: Callable[[str], None]) -> None:
        self._witness, self._trace = witness, trace
        self._waiting: list[Event] = []
        super().__init__(path, stamp)
        for event in self.events:  # what a killed process wrote and did not sync is on disk from this start on
            if event["kind"] in ("halt", "resume"):
                witness.halted = event["kind"] == "halt"

    def append(self, kind: str, **fields: Any) -> Event:
        event = super().append(kind, **fields)
        self._trace(to_json(event))
        self._waiting.append(event)
        return event

    def sync(self, *, order: bool = False) -> None:
        super().sync(order=order)
        self._witness.hear(self._waiting)
        self._waiting.clear()

"""One request to the API, as its endpoint sees it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from alpaca_standin.engine import Engine
from alpaca_standin.faults import Fault
from alpaca_standin.formats import moment_of, truth
from alpaca_standin.refusals import Refused, invalid

if TYPE_CHECKING:
    from alpaca_standin.desk import Desk

Answer = tuple[int, Any]  # status, and JSON, or bytes that are JSON already


@dataclass
class Call:
    """`part` is what the path's pattern left open; `fault` the fault that this request meets."""

    desk: Desk
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    part: str = ""
    fault: Fault | None = None

    @property
    def engine(self) -> Engine:
        return self.desk.engine

    def variant(self, name: str) -> Any:
        """How the stand-in behaves where nobody knows how Alpaca does."""
        return self.engine.settings.variants[name]

    def meets(self, fault: str) -> bool:
        return self.fault is not None and self.fault.name == fault

    def json(self) -> dict[str, Any]:
        """The body, an object."""
        try:
            body = json.loads(self.body or b"{}")
        except ValueError as error:
            raise Refused(400, {"code": 40010000, "message": "request body format is invalid"}) from error
        if not isinstance(body, dict):
            raise Refused(400, {"code": 40010000, "message": "request body format is invalid"})
        return body

    def moment(self, name: str) -> datetime | None:
        """A time in the query, or None."""
        try:
            return moment_of(self.query[name]) if name in self.query else None
        except ValueError as error:
            raise self.refuse(f"invalid {name}: {self.query[name]}") from error

    def flag(self, name: str) -> bool:
        """A boolean in the query; absent is false."""
        try:
            return truth(self.query.get(name, "false"))
        except ValueError as error:
            raise self.refuse(f"invalid {name}: {self.query[name]}") from error

    def count(self, name: str, default: int, most: int) -> int:
        """A whole number in the query, from 1 to `most`."""
        value = self.query.get(name, str(default))
        if not value.isdigit() or not 1 <= int(value) <= most:
            raise self.refuse(f"invalid {name}: {value}; it lies between 1 and {most}")
        return int(value)

    def choice(self, name: str, default: str, known: tuple[str, ...]) -> str:
        """One of a few words in the query."""
        value = self.query.get(name, default)
        if value not in known:
            raise self.refuse(f"invalid {name}: {value}")
        return value

    @property
    def is_data(self) -> bool:
        return self.path.startswith(("/v2/stocks", "/v1beta1"))

    def refuse(self, message: str) -> Refused:
        """A bad parameter, in the words of this half of the API."""
        return Refused(400, {"message": message}) if self.is_data else invalid(message)

"""Faults on demand: which requests go wrong, and how.

A fault matches a method (or any) and a path: a prefix, or a regular expression matched from the path's beginning. It
skips its first `after` matches, works `times` times (None: until cleared), and one request meets one fault at most,
the oldest that matches. What each does stands beside its name in BEFORE, AFTER and ENGINE.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

BEFORE = {
    "hang": "never answers, keeps the socket open",
    "reset_before": "connection reset, nothing booked",
    "error": "status and body, nothing booked",
}
AFTER = {
    "slow": "handles the request, and answers after `seconds`",
    "reset_after": "booked, then the connection is reset",
    "error_after": "booked, then `status` with an HTML body, or `body`",
    "html_200": "status 200 with HTML; `booked` says whether the request was handled",
    "empty_200": "status 200 without a body; `booked` likewise",
    "truncated_json": "booked, then half of the body",
    "drop_fields": "`names` left out of every object of the answer",
    "set_fields": "`fields` put into the answer's objects",
    "empty_list": "an empty list, or an object with its lists and objects empty",
    "repeat_token": "paging never ends: the same next_page_token for ever",
    "clock_skew": "`seconds` added to the clock's answer",
}
ENGINE = {
    "early_close": "clock, calendar and fills: today closes at `time`",
    "fill_on_cancel": "204, but the order fills when it would have been canceled",
    "stop_rejected": "the stop leg of a bracket is rejected when its entry has filled",
}
PARAMETERS = {
    "error": {"status", "body", "headers"},
    "error_after": {"status", "body", "headers"},
    "slow": {"seconds"},
    "clock_skew": {"seconds"},
    "html_200": {"booked"},
    "empty_200": {"booked"},
    "drop_fields": {"names"},
    "set_fields": {"fields"},
    "early_close": {"time"},
}
DEFAULT_PATHS = {"clock_skew": "/v2/clock", "fill_on_cancel": "/v2/orders/", "stop_rejected": "/v2/orders"}
DEFAULT_METHODS = {"fill_on_cancel": "DELETE", "stop_rejected": "POST"}


class BadFault(ValueError):
    """Control asked for a fault that does not exist."""


@dataclass
class Fault:
    """One fault and how often it still works."""

    name: str
    method: str | None
    path: str
    times: int | None
    after: int
    parameters: dict[str, Any]

    def matches(self, method: str, path: str) -> bool:
        return self.method in (None, method) and (path.startswith(self.path) or re.match(self.path, path) is not None)

    def get(self, name: str, default: Any = None) -> Any:
        return self.parameters.get(name, default)


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def add(self, asked: dict[str, Any]) -> Fault:
        """A fault from control's JSON; a typing error must not make a test pass, so unknown names are refused."""
        rest = dict(asked)
        name = rest.pop("fault", None)
        if name not in BEFORE | AFTER | ENGINE:
            raise BadFault(f"no such fault: {name!r}; there are {', '.join(BEFORE | AFTER | ENGINE)}")
        fault = Fault(
            name,
            rest.pop("method", DEFAULT_METHODS.get(name)),
            rest.pop("path", DEFAULT_PATHS.get(name, "/")),
            rest.pop("times", 1),
            rest.pop("after", 0),
            rest,
        )
        strange = sorted(set(rest) - PARAMETERS.get(name, set()))
        if strange:
            raise BadFault(f"{name} takes no {', '.join(strange)}")
        self.all.append(fault)
        return fault

    def clear(self) -> None:
        self.all.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, counted."""
        for fault in self.all:
            if fault.name != "early_close" and fault.times != 0 and fault.matches(method, path):
                if fault.after:
                    fault.after -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None


def spoil(fault: Fault, answer: Any) -> Any:
    """The answer's JSON with a fault of content in it."""
    if fault.name == "drop_fields":
        return _each(answer, lambda item: {k: v for k, v in item.items() if k not in fault.get("names", [])})
    if fault.name == "set_fields":
        return _set_fields(answer, fault.get("fields", {}))
    if fault.name == "empty_list":
        return _emptied(answer)
    return answer


def _emptied(answer: Any) -> Any:
    """Nothing in it: an empty list, or an object whose lists and objects are empty."""
    if isinstance(answer, list):
        return []
    return {name: type(value)() if isinstance(value, list | dict) else value for name, value in answer.items()}


def _each(value: Any, change: Any) -> Any:
    """Every object inside `value`, changed from the outside in."""
    if isinstance(value, dict):
        return {name: _each(item, change) for name, item in change(value).items()}
    return [_each(item, change) for item in value] if isinstance(value, list) else value


def _set_fields(answer: Any, fields: dict[str, Any]) -> Any:
    """Override fields of the answer's object, or of each object of its list; those it lacks, wherever they are deeper.

    A field that is nowhere is added.
    """
    if isinstance(answer, list):
        return [_set_fields(item, fields) for item in answer]
    here = {name: value for name, value in fields.items() if name in answer}
    deeper = {name: value for name, value in fields.items() if name not in answer and _holds(answer, name)}
    new = {name: value for name, value in fields.items() if name not in here and name not in deeper}
    return {**_each(answer, lambda item: item | {k: v for k, v in deeper.items() if k in item}), **here, **new}


def _holds(value: Any, name: str) -> bool:
    if isinstance(value, dict):
        return name in value or any(_holds(item, name) for item in value.values())
    return isinstance(value, list) and any(_holds(item, name) for item in value)

"""The errors of the trading and data API as exceptions: a status and a body of `code`, `message` and extra keys."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """An answer that is an error; `body` is its JSON."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


def invalid(message: str) -> Refused:
    """A field missing or malformed."""
    return Refused(422, {"code": 40010001, "message": message})


def unprocessable(message: str, code: int = 42210000, **extra: Any) -> Refused:
    """A well-formed request that breaks a rule."""
    return Refused(422, {"code": code, "message": message, **extra})


def forbidden(message: str, status: int = 403, code: int = 40310000, **extra: Any) -> Refused:
    """Not enough money or shares, or an order that must not meet another."""
    return Refused(status, {"code": code, "message": message, **extra})


def missing(message: str) -> Refused:
    """No such thing."""
    return Refused(404, {"code": 40410000, "message": message})


def bad_query(message: str) -> Refused:
    """The data API's complaint about a parameter: no code."""
    return Refused(400, {"message": message})

"""Numbers, times and JSON as Alpaca writes them: trading numbers as strings, times as RFC 3339 with a Z."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any


def number(value: object) -> Decimal:
    """The exact decimal a JSON number or numeric string spells; ValueError for anything else."""
    try:
        result = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"{value!r} is not a number") from error
    if not result.is_finite():
        raise ValueError(f"{value!r} is not a number")
    return result


def text(value: Decimal | None) -> str | None:
    """A decimal without exponent or trailing zeros: "100", "187.25"."""
    if value is None:
        return None
    plain = f"{value:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def cents(value: Decimal) -> str:
    """Money with two digits, as the account shows it."""
    return f"{value:.2f}"


def tick(price: float | Decimal) -> Decimal:
    """The smallest price step: a cent, below one dollar a hundredth of it."""
    return Decimal("0.01") if price >= 1 else Decimal("0.0001")


def on_tick(price: float, rounding: str | None = None) -> Decimal:
    """`price` on the grid of prices; `rounding` ROUND_FLOOR for a bid and ROUND_CEILING for an ask."""
    exact = Decimal(repr(round(price, 8)))
    return exact.quantize(tick(price), rounding) if rounding else exact.quantize(tick(price))


def bid_ask(price: float, half_spread: float) -> tuple[Decimal, Decimal]:
    """The quote round `price`, each side at least half a spread (a share of the price) away."""
    return on_tick(price * (1 - half_spread), ROUND_FLOOR), on_tick(price * (1 + half_spread), ROUND_CEILING)


def stamp(when: datetime | None) -> str | None:
    """2026-03-02T14:30:00.25Z"""
    return None if when is None else when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment_of(value: str) -> datetime:
    """A moment from RFC 3339, with nanoseconds or not, or from a date; UTC unless it says otherwise."""
    clean = value.strip().replace(" ", "+") if "T" in value else value.strip()
    when = datetime.fromisoformat(clean)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def truth(value: str) -> bool:
    """A query's flag: Python's `True` counts like JSON's `true`. ValueError for anything but a flag."""
    if value.lower() not in ("true", "false", "1", "0", "t", "f"):
        raise ValueError(f"{value!r} is not a boolean")
    return value.lower() in ("true", "1", "t")


def pack(value: object) -> str:
    """JSON that `unpack` gives back with decimals, moments and dates as they were."""

    def tagged(item: object) -> dict[str, str]:
        if isinstance(item, Decimal):
            return {"$decimal": str(item)}
        if isinstance(item, datetime):
            return {"$moment": item.isoformat()}
        if isinstance(item, date):
            return {"$date": item.isoformat()}
        raise TypeError(f"{item!r} cannot be stored")

    return json.dumps(value, default=tagged)


def unpack(body: str) -> Any:
    """What `pack` packed."""

    def plain(item: dict[str, Any]) -> Any:
        if "$decimal" in item:
            return Decimal(item["$decimal"])
        if "$moment" in item:
            return datetime.fromisoformat(item["$moment"])
        if "$date" in item:
            return date.fromisoformat(item["$date"])
        return item

    return json.loads(body, object_hook=plain)

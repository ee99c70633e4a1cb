"""One order at the simulated exchange, and its JSON as Alpaca writes it. Prices and money are whole cents."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ENDED = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
NEVER = float("inf")


@dataclass(slots=True, eq=False)
class Resting:
    """An order; times are seconds since 1970. A leg has a `parent`; `armed` tells that it may fill."""

    id: str
    client_id: str
    symbol: str
    side: str
    kind: str
    qty: int
    submitted: float
    order_class: str = ""
    day: bool = False
    limit: int | None = None
    stop: int | None = None
    status: str = "new"
    filled: int = 0
    paid: int = 0
    changed: float = 0.0
    by_person: bool = False
    parent: Resting | None = None
    legs: list[Resting] = field(default_factory=list)
    replaces: str | None = None
    replaced_by: str | None = None
    armed: bool = True
    listed_at: float = 0.0
    fill_at: float = 0.0
    first_part: int = 0  # shares of the first of two fills; 0: all at once
    rest_at: float = NEVER
    reject_at: float = NEVER
    cancel_at: float = NEVER
    _raw: dict[str, Any] | None = None

    @property
    def live(self) -> bool:
        return self.status not in ENDED

    @property
    def left(self) -> int:
        return self.qty - self.filled

    @property
    def top(self) -> Resting:
        return self.parent or self

    @property
    def group(self) -> list[Resting]:
        """The parent and its legs."""
        return [self.top, *self.top.legs]

    def set(self, status: str, when: float) -> None:
        self.status, self.changed = status, when
        self.touch()

    def touch(self) -> None:
        """What was shown of it before is no longer true."""
        self._raw = self.top._raw = None

    def raw(self) -> dict[str, Any]:
        """Its JSON with legs; a new object for each change, not to be changed by who reads it."""
        if self._raw is None:
            changed = stamp(self.changed)
            self._raw = {
                "id": self.id,
                "client_order_id": self.client_id,
                "symbol": self.symbol,
                "side": self.side,
                "type": self.kind,
                "order_type": self.kind,
                "order_class": self.order_class,
                "time_in_force": "day" if self.day else "gtc",
                "status": self.status,
                "qty": str(self.qty),
                "filled_qty": str(self.filled),
                "filled_avg_price": f"{self.paid / self.filled / 100:.6f}" if self.filled else None,
                "limit_price": dollars(self.limit),
                "stop_price": dollars(self.stop),
                "created_at": stamp(self.submitted),
                "submitted_at": stamp(self.submitted),
                "updated_at": changed,
                "filled_at": changed if self.status == "filled" else None,
                "canceled_at": changed if self.status == "canceled" else None,
                "replaces": self.replaces,
                "replaced_by": self.replaced_by,
                "legs": [leg.raw() for leg in self.legs] or None,
            }
        return self._raw


def stamp(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")


def dollars(cents: int | None) -> str | None:
    return None if cents is None else f"{cents / 100:.2f}"


def cents(price: object) -> int | None:
    return None if price is None else round(float(price) * 100)  # type: ignore[arg-type]

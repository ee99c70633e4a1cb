"""All that one screen shows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Holding:
    """Shares held, USD a share; `last` is NaN where no price is known. `note`: what is unusual about it."""

    symbol: str
    qty: int
    entry: float
    last: float
    stop: float
    target: float
    note: str = ""

    @property
    def earned(self) -> float:
        """USD so far."""
        return self.qty * (self.last - self.entry)


@dataclass(frozen=True)
class Event:
    """An order, a fill or a signal: ISO 8601 time (New York) and words; `gain` in USD where there is one."""

    time: str
    words: str
    gain: float = 0.0


@dataclass(frozen=True)
class View:
    """All that one screen shows. Money in USD, None or NaN where it is not known; lists newest first.

    `past`: the market lies in the past, and time stands at `at`. `halted` says why, or is None. `opening` and `first`
    are the equity before the newest session and at the very beginning. `signals` are those of the newest session,
    `silence` says why it bought nothing.
    """

    at: datetime
    running: bool
    source: str
    simulated: bool
    past: bool
    halted: str | None
    warnings: tuple[str, ...]
    last_minute: datetime | None
    equity: float | None
    opening: float | None
    first: float | None
    cash: float | None
    holdings: tuple[Holding, ...]
    most_holdings: int
    orders: tuple[Event, ...]
    signals: tuple[Event, ...]
    signals_in_words: str
    silence: str
    model: str
    proof: str
    to_sell: str
    training: datetime
    rebalance: datetime

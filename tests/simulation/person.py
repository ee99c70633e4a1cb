"""A person at the account and at the machine: trades by hand, halts, resumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from desk.halt import ask_to_halt, ask_to_resume
from tests.simulation.market import SYMBOLS

if TYPE_CHECKING:
    from tests.simulation.world import World


class Person:
    """`halted_since`: when a person halted, None while nobody has; `traded_at`: the last trade by hand."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.halted_since: float | None = None
        self._resumes_at: float | None = None
        self.traded_at = 0.0

    def act(self) -> None:
        """What a person does in a minute; most do nothing."""
        world = self._world
        if self._resumes_at is not None and world.time >= self._resumes_at:
            self.resume()
        elif world.halted and self._resumes_at is None:
            self.will_resume()
        if world.faults.fires("a person halts") and self.halted_since is None:
            world.trace("a person halts")
            with self._undisturbed():
                ask_to_halt(world.models, "looked odd", "now")
            self.halted_since = world.time
            self.will_resume()
        if world.exchange.market.is_open(world.time):
            self._trade()

    def will_resume(self) -> None:
        """Somebody looks, sooner or later; at once where nothing fails any more."""
        world = self._world
        self._resumes_at = world.time + (0 if world.faults.calm else world.faults.random.uniform(60, 1800))

    def resume(self) -> None:
        world = self._world
        world.trace("a person resumes")
        with self._undisturbed():
            ask_to_resume(world.models, "now")
        self.halted_since = self._resumes_at = None

    def _trade(self) -> None:
        world, exchange = self._world, self._world.exchange
        fires, random = world.faults.fires, world.faults.random
        ours = sorted(symbol for symbol, qty in exchange.ours.items() if qty > 0)
        if fires("a person buys"):
            self._at_hand(random.choice(SYMBOLS), random.randint(1, 4))
        if ours and fires("a person sells ours"):
            symbol = random.choice(ours)
            self._at_hand(symbol, -random.randint(1, exchange.shares[symbol]))
        if ours and fires("a person cancels a stop"):
            self.traded_at, symbol = world.time, random.choice(ours)
            world.trace(f"a person cancels what would sell {symbol}")
            exchange.person_cancels(symbol)

    def _at_hand(self, symbol: str, signed: int) -> None:
        self.traded_at = self._world.time
        self._world.trace(f"a person trades {signed:+d} {symbol}")
        self._world.exchange.person_trades(symbol, signed)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """A person's command is no part of what is tested here."""
        faults, disk = self._world.faults, self._world.disk
        calm, trouble = faults.calm, disk.trouble
        faults.calm, disk.trouble = True, (0, 0.0)
        try:
            yield
        finally:
            faults.calm, disk.trouble = calm, trouble

"""The Nth request, or the Nth call that reaches the disk, fails: for each N until none is left.

The stretch of each run, on the simulated exchange with the real trader: AAA is bought and sold when it has had its
time; BBB is bought, filled in part, its rest cancelled, its stop put back; CCC is bought and its target met; the
process is stopped and started anew. Exactly one thing fails. Minutes without trouble follow, in which DDD is bought.
The oracles of tests/simulation must hold all along: what is written down leaves, once; books are as the exchange.
"""

from __future__ import annotations

import gc
import logging
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from desk.books import Books
from desk.journal import read_events
from market.hours import epoch_minute, local_time, sessions_between
from tests.defects import SIMULATED
from tests.simulation.oracles import Violation, bare
from tests.simulation.run import SHM
from tests.simulation.world import World

REQUESTS = (
    "no answer, nothing booked", "no answer, but booked", "too many requests", "keys refused",
    "crash before a request", "crash after a request",
)  # fmt: skip
DISK = (
    "write fails", "write falls short", "fsync fails", "rename fails", "disk full",
    "crash before a disk operation", "crash after a disk operation",
)  # fmt: skip
MOST = 400  # opportunities of one kind in a stretch
SEED = 1  # of the prices


SCRIPT = {"stopped in order": 7, "partial fill, rest never": 2}  # at which opportunity


class OneFault:
    """Stands in for Faults: of `kind` only the `nth` opportunity fires; besides, what the stretch is made of.

    `power` tells whether the machine goes down with a process that is killed.
    """

    def __init__(self, random: Random, kind: str, nth: int, *, power: bool) -> None:
        self.random, self._kind, self._nth, self._power = random, kind, nth, power
        self.calm, self.count = False, 0
        self.fired, self._met = Counter[str](), Counter[str]()

    def fires(self, kind: str) -> bool:
        if self.calm:
            return False
        self._met[kind] += 1
        if self._met[kind] != (self._nth if kind == self._kind else SCRIPT.get(kind)):
            return False
        self.fired[kind] += 1
        self.count += kind == self._kind
        return True

    def power_fails(self) -> bool:
        return self._power and not self.calm


class Stretch:
    """Stands in for Timeline: some minutes in the middle of a session, and ten more in which nothing fails."""

    def __init__(self, _: Random) -> None:
        self.sessions = sessions_between(date(2026, 3, 2), date(2026, 3, 3))
        self.first = self.sessions[0].open + timedelta(hours=1)
        self.start, self.quiet = self.first.timestamp(), self.first.timestamp() + 13 * 60
        self.end, self.evening = self.quiet + 10 * 60, self.sessions[0].close.timestamp()

    def calm(self, now: float) -> bool:
        return now >= self.quiet

    def until_calm(self, now: float, until: float) -> float:
        return min(until, self.quiet) if now < self.quiet else until

    def over_the_night(self, now: float, seconds: float) -> float:
        return seconds


def world_of(folder: Path, kind: str, nth: int, *, power: bool) -> World:
    """The stretch with one fault, in an empty folder."""
    faults: Any = partial(OneFault, kind=kind, nth=nth, power=power)
    timeline: Any = Stretch
    world = World(SEED, folder, faults, timeline)
    world.settings = replace(world.settings, MAX_HOLDING_MINUTES=4)
    first = epoch_minute(timeline(Random(0)).first)
    buys = {first + 1: "AAA", first + 2: "BBB", first + 4: "CCC", first + 18: "DDD"}
    for minute, row in world.confidence.items():
        row.update(dict.fromkeys(row, 0.3) | ({buys[minute]: 0.9} if minute in buys else {}))
    for when, prices in zip(world.market.times, world.market.rows, strict=True):
        if when >= (first + 7) * 60:
            prices["CCC"] = round(1.02 * prices["CCC"])  # beyond its target
    return world


def violation_of(world: World) -> str | None:
    """What did not hold in a run and after it, or None."""
    try:
        world.run()
    except Violation as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - one more way in which it may not hold
        return f"{type(error).__name__}: {error}"
    events = read_events(world.models / "journal.jsonl")
    books = Books(local_time, events)
    bought = [order.symbol for order in world.exchange.orders if order.side == "buy"]
    if "DDD" not in bought or len(bought) != len(set(bought)):
        return f"bought were {bought}"
    unprotected = [symbol for symbol, qty in world.exchange.ours.items() if qty and bare(world.exchange, symbol)]
    if unprotected or not world.exchange.ours["DDD"]:
        return f"{unprotected} are without a stop, DDD: {world.exchange.ours['DDD']} shares"
    held = {t.symbol: t.held for t in books.live_trades().values() if t.held}
    if held != {symbol: qty for symbol, qty in world.exchange.ours.items() if qty}:
        return f"on disk the books hold {held}, our orders bought {world.exchange.ours}"
    if [event["n"] for event in events] != list(range(len(events))):
        return "events are missing"
    strays = [path.name for path in world.models.iterdir() if path.name.endswith(".tmp")]
    return f"left behind: {strays}" if strays else None


def violations(folder: Path, kind: str, *, power: bool = False) -> Iterator[tuple[int, str | None]]:
    """N and what did not hold, for N = 1, 2, ... up to the first run in which nothing failed any more."""
    logging.disable(logging.CRITICAL)
    try:
        for nth in range(1, MOST):
            here = folder / str(nth)
            here.mkdir()
            world = world_of(here, kind, nth, power=power)
            yield nth, violation_of(world)
            shutil.rmtree(here)
            if not world.faults.fired[kind]:
                assert nth > 5, f"{kind} has hardly an opportunity"
                return
        raise AssertionError(f"more than {MOST} opportunities")
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture
def memory() -> Iterator[Path]:
    """An empty folder; in memory, where there is such a one."""
    gc.freeze()  # each crash collects what it left, and need not look at all that the tests have imported
    with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
        yield Path(folder)
    gc.unfreeze()


def test_the_stretch_has_each_thing_that_a_trade_can_do(memory: Path) -> None:
    world = world_of(memory, "none", 0, power=False)
    assert violation_of(world) is None
    orders = world.exchange.orders
    assert [(o.symbol, o.status) for o in orders if o.side == "buy"] == [
        ("AAA", "filled"), ("BBB", "canceled"), ("CCC", "filled"), ("DDD", "filled"),
    ]  # fmt: skip
    assert any(order.filled and order.left for order in orders)  # a part fill
    assert any(leg.replaces for order in orders for leg in order.legs)  # a level that was moved
    assert any("-arm-" in order.client_id for order in orders)  # a stop that was put back
    assert any(
        "AAA" in order.client_id and "-sell-" in order.client_id and order.status == "filled" for order in orders
    )
    assert any(leg.symbol == "CCC" and leg.limit and leg.status == "filled" for order in orders for leg in order.legs)
    assert world.faults.fired == {"stopped in order": 1, "partial fill, rest never": 1}


@pytest.mark.parametrize("kind", REQUESTS)
def test_whichever_request_fails_nothing_is_doubled_or_left_unprotected(memory: Path, kind: str) -> None:
    assert [(nth, words) for nth, words in violations(memory, kind) if words] == []


@pytest.mark.parametrize("kind", DISK)
def test_whichever_call_to_the_disk_fails_nothing_is_lost(memory: Path, kind: str) -> None:
    assert [(nth, words) for nth, words in violations(memory, kind) if words] == []


@pytest.mark.parametrize("kind", [kind for kind in (*REQUESTS, *DISK) if kind.startswith("crash")])
def test_whenever_the_power_is_cut_nothing_acknowledged_is_lost(memory: Path, kind: str) -> None:
    assert [(nth, words) for nth, words in violations(memory, kind, power=True) if words] == []


@pytest.mark.parametrize(
    ("name", "kind", "power"),
    [
        ("lost reply for a refusal", "no answer, but booked", False),
        ("retried entry", "no answer, but booked", False),
        ("no fsync", "crash after a request", True),
        ("disk error ignored", "write fails", False),
        ("stop not put back", "no answer, nothing booked", False),
    ],
)
def test_a_planted_defect_shows_at_some_n(
    memory: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, *, power: bool
) -> None:
    defect = next(defect for defect in SIMULATED if defect.name == name)
    defect.plant(monkeypatch)
    assert any(words and re.search(defect.caught, words) for _, words in violations(memory, kind, power=power))

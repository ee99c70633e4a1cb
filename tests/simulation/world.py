"""One simulated session: true time, the machine with its clock and disk, the exchange, and who trades on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from config import Settings, load_settings
from tests.simulation import oracles
from tests.simulation.disk import Disk
from tests.simulation.exchange import Exchange
from tests.simulation.faults import Faults
from tests.simulation.market import Market
from tests.simulation.outlook import confidences
from tests.simulation.person import Person
from tests.simulation.process import Crash, Finished, Process
from tests.simulation.threads import Threads
from tests.simulation.timeline import Timeline
from tests.simulation.trading import Trading
from tests.simulation.witness import Witness
from trader import LiveTrader

CASH = 20_000_00  # cents
STEPS_SECONDS = (1.0, 70.0, 600.0, 3600.0)  # by which a clock is set wrong


class World:
    """Everything of one seed, in an empty `folder`; `run` ends with the session, or with a Violation.

    What fails and when things happen are made by `faults` and `timeline`, of a random source each.
    """

    def __init__(
        self,
        seed: int,
        folder: Path,
        faults: Callable[[Random], Faults],
        timeline: Callable[[Random], Timeline] = Timeline,
        *,
        log: bool = False,
    ) -> None:
        def random() -> Random:
            return Random(source.getrandbits(64))

        source = Random(seed)
        self._folder, self.models = folder, folder / "models"
        self.settings = settings_in(folder)
        self.faults, self.timeline = faults(random()), timeline(random())
        self.market = Market(random(), self.timeline.sessions)
        self.confidence = confidences(self.market, random())
        self.time = self.timeline.start
        self.exchange = Exchange(seed, self.market, self.faults, self.time, CASH)
        self.trading, self.person, self.threads = (
            Trading(self.exchange, self),
            Person(self),
            Threads(self.faults.random),
        )
        for path in (self.models, folder / "shadows"):
            path.mkdir()
        self.disk = Disk(self.models, folder / "shadows", self)
        self.witness, self.watch = Witness(), oracles.Watch(self)
        self.trader: LiveTrader | None = None
        self.dead = False
        self.offset = 0.0  # seconds by which the machine's clock is ahead
        self.disturbed_until = 0.0  # the end of what fired before
        self.tick_began = 0.0
        self.ticks = 0  # since the process, or a calm stretch, began
        self.seen: Counter[str] = Counter()
        self._hash = hashlib.blake2b(digest_size=16)
        self.log: list[str] | None = [] if log else None

    def run(self) -> None:
        """Trade the session. Raises oracles.Violation."""
        with self.disk.installed(), self.threads.installed():
            try:
                while True:
                    self.ticks = 0
                    Process(self).run()
            except Finished:
                pass
        oracles.at_the_end(self)

    # --- what the parts of the world ask for -------------------------------------------------------------------------

    def machine_now(self) -> datetime:
        return datetime.fromtimestamp(self.time + self.offset, UTC)

    def wait(self, seconds: float) -> None:
        """Time passes in the middle of a process's work."""
        self.time += max(seconds, 0.001)
        self.exchange.advance(self.time)
        if not self.dead:
            self._begin_or_end_calm()
            self.threads.go_on()

    def sleep(self, seconds: float) -> None:
        """Until the next minute: the night is passed over, people act, clocks are set, machines sleep."""
        random, fires, before = self.faults.random, self.faults.fires, self.offset
        self.person.act()
        if fires("clock steps back"):
            self.offset -= random.choice(STEPS_SECONDS)
        if fires("clock steps ahead"):
            self.offset += random.choice(STEPS_SECONDS)
        if self.offset and random.random() < 0.1:
            self.offset = 0.0
        if self.offset != before:
            self.trace(f"the machine's clock is {self.offset:+.0f} s off")
        if fires("machine suspended"):
            seconds = self.timeline.until_calm(self.time, self.time + random.uniform(60, 3600)) - self.time
        self.wait(self.timeline.over_the_night(self.time, seconds))
        self._look_at_the_end()

    def pass_time(self, seconds: float) -> None:
        """Nobody trades for a while, but not into a calm stretch."""
        until = self.timeline.until_calm(self.time, self.time + seconds)
        while self.time < until:
            self.person.act()
            self.wait(min(60.0, until - self.time))
        self._look_at_the_end()

    def _look_at_the_end(self) -> None:
        if self.time >= self.timeline.end:
            raise Finished

    def _begin_or_end_calm(self) -> None:
        before, self.faults.calm = self.faults.calm, self.timeline.calm(self.time)
        if self.faults.calm and not before:
            self.trace("calm")
            self.ticks = 0
            self.offset = self.disturbed_until = 0.0
            self.disk.trouble = 0, 0.0
            self.trading.heal()
            self.person.will_resume()

    @property
    def halted(self) -> bool:
        """Whether the process that trades is halted, for whatever reason."""
        return self.trader is not None and self.trader.books.halt is not None

    def trace(self, words: str) -> None:
        line = f"{self.time:.3f} {words.replace(str(self._folder), '')}"
        self._hash.update(line.encode())
        if self.log is not None:
            self.log.append(line)

    @property
    def trace_hash(self) -> str:
        """What two runs of a seed have in common: every request, journal line and word."""
        return self._hash.hexdigest()

    def crash(self, words: str) -> None:
        self.dead = True
        self.trace(f"CRASH {words}")
        raise Crash(words)

    def alive(self) -> None:
        """Raises Crash in a process that is gone and cleans up all the same."""
        if self.dead:
            raise Crash("nothing is done by a process that is gone")

    def disturb(self, seconds: float) -> None:
        self.disturbed_until = max(self.disturbed_until, self.time + seconds)

    def submitting(self, request: Any) -> None:
        oracles.may_leave(self, request)

    def say(self, words: str) -> None:
        self.trace(f"says {words}")
        oracles.no_bug(words)


def settings_in(folder: Path) -> Settings:
    """Limits so tight that each is met."""
    plain = load_settings(environment={}, env_file=folder / "no.env")
    return replace(
        plain,
        MARKET="alpaca",
        MODELS_DIR=folder / "models",
        DATA_DIR=folder / "data",
        STATE_DIR=folder / "state",
        STOP_LOSS_PCT=0.006,
        TAKE_PROFIT_PCT=0.01,
        MAX_HOLDING_MINUTES=45,
        MAX_OPEN_POSITIONS=4,
        MAX_POSITION_SIZE=5,
        MAX_ENTRIES_PER_SYMBOL=8,
        MAX_EXPOSURE_PCT=0.12,
        MAX_POSITION_PCT=0.06,
    )

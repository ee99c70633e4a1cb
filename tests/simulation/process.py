"""The processes that trade in a simulated session: each is begun as live.run_live does it, and ends in many ways."""

from __future__ import annotations

import errno
import gc
from contextlib import suppress
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from alpaca_wire import KeysRefused, Unreachable
from desk.alpaca_broker import AlpacaBroker
from market.clock import WallClock
from market.hours import new_york
from market_scheduler import MarketScheduler
from tests.simulation import oracles
from tests.simulation.outlook import Feed, Forecaster
from tests.simulation.trading import Wire
from tests.simulation.witness import WatchedJournal
from trader import LiveTrader

if TYPE_CHECKING:
    from tests.simulation.world import World


class Crash(BaseException):
    """The process is gone, at once: nothing that it left to do is done."""


class Finished(BaseException):
    """The simulated time is over."""


class Process:
    """One process, from its start to its end; `run` returns when it is gone and the time came for the next."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._journal: WatchedJournal | None = None

    def run(self) -> None:
        """Trade until the process ends. Raises Finished, and oracles.Violation."""
        world = self._world
        downtime = world.faults.random.choice((1.0, 1.0, 5.0, 60.0, 400.0))
        try:
            oracles.nothing_lost(world)
            stamp = f"{new_york(world.machine_now()):%Y%m%d_%H%M%S}"
            if world.faults.fires("starts on a full disk"):
                world.disk.fill(world.faults.random.uniform(1, 300))
            with WatchedJournal(world.models / "journal.jsonl", stamp, world.witness, world.trace) as self._journal:
                self._trade(self._journal)
        except Crash:
            self._bury()
        except OSError as error:  # a disk that takes nothing ends a start, with words; it is tried again
            world.trace(f"ended: {error}")
            world.seen["ended by the disk"] += 1
            self._bury(power=False)
            downtime = 60.0
        world.trader = None
        world.pass_time(downtime)

    def _bury(self, *, power: bool | None = None) -> None:
        """What a killed process, or a power cut, leaves."""
        world = self._world
        seen, exchange = world.seen, world.exchange
        if power is None:
            power = world.faults.power_fails()
            seen["power cut" if power else "process killed"] += 1
            seen["killed with a position"] += any(exchange.ours.values())
            seen["killed with an entry filled in part"] += self._half_filled()
            seen["killed while halted"] += self._halted()
        world.threads.killed()
        if self._journal is not None:
            self._journal._lock.close()
        if power:
            world.disk.power_cut()
        else:
            world.disk.killed()
        world.dead = False
        files = sorted(path for path in world.models.iterdir() if path.is_file() and path.suffix != ".lock")
        left = ", ".join(f"{path.name} {path.stat().st_size}" for path in files)
        world.trace(f"{'a power cut' if power else 'a killed process'} leaves {left}")
        gc.collect()

    def _trade(self, journal: WatchedJournal) -> None:
        """Start with the first minute in which the broker answers, then tick."""
        world, settings = self._world, self._world.settings
        wire: Any = Wire(world.trading, world.wait)
        broker = AlpacaBroker(wire, world.machine_now, settings.STOP_LOSS_PCT, settings.TAKE_PROFIT_PCT)
        feed: Any = Feed(world.market, world.faults, lambda: world.time)
        predictor: Any = Forecaster(world.models, world.confidence, world.faults)
        trader = LiveTrader(settings, feed=feed, broker=broker, journal=journal, predictor=predictor, say=world.say)
        scheduler = MarketScheduler(settings, trader, self._training, world.say, lambda now, books: "nothing")
        world.trader, started = trader, False
        for now in WallClock(world.machine_now, world.sleep):
            before = world.faults.count
            world.tick_began = world.time
            try:
                if not started:
                    trader.start(now)
                    started = True
                with oracles.duties_in_time(world, trader, now):
                    scheduler.tick(now)
            except Unreachable:
                world.seen["started without an answer"] += 1
                continue
            except KeysRefused:
                world.seen["ended by its keys"] += 1
                trader.keeping.flush()
                return
            world.ticks += 1
            world.seen["minutes traded"] += 1
            world.seen["minutes halted"] += world.halted
            world.watch.after_tick(trader, now, clean=world.faults.count == before)
            if self._ends(trader):
                return

    def _ends(self, trader: LiveTrader) -> bool:
        world, fires = self._world, self._world.faults.fires
        if (
            fires("killed between two minutes")
            or (self._half_filled() and fires("killed as an entry is filled in part"))
            or (self._halted() and fires("killed while halted"))
        ):
            world.crash("between two minutes")
        if fires("SIGTERM"):
            world.trace("SIGTERM")
            with suppress(KeysRefused):
                trader.halt_for("SIGTERM", world.machine_now())
            trader.keeping.flush()
            return True
        if fires("stopped in order"):
            world.trace("stopped in order")
            trader.keeping.flush()
            return True
        return False

    def _halted(self) -> bool:
        return self._world.halted or self._world.person.halted_since is not None

    def _half_filled(self) -> bool:
        return any(order.side == "buy" and order.filled for order in self._world.exchange.live.values())

    def _training(self, now: datetime) -> Any:
        world = self._world
        if world.faults.fires("training breaks after the open"):
            return SimpleNamespace(outcome=self._break_after_the_open)
        outcome = ("failed", "it was ended") if world.faults.fires("training fails") else ("done", "published")
        return SimpleNamespace(outcome=lambda: outcome)

    def _break_after_the_open(self) -> tuple[str, str] | None:
        if not self._world.exchange.market.is_open(self._world.time):
            return None
        self._world.seen["training broke after the open"] += 1
        raise OSError(errno.EIO, "the training's outcome cannot be read")

"""kill -9 at any moment: a real trader process on real files, the Alpaca stand-in as its broker.

    python tests/killing.py --kills 1000       what `make soak` runs; each life is forked, so that it begins at once
    python tests/killing.py --kills 20 --spawn each life is a new Python process, its imports included

A life trades on the stand-in's clock as fast as it can. It tells through a pipe which journal lines are acknowledged,
when books and broker agree, and that its second minute is over; then it waits until it was looked at. It is killed at a
random moment, its start included, and looked at again. Nothing of the trader is replaced but the clock.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pandas as pd
from alpaca_live import VirtualTime, keys_of, trading_day
from rich.console import Console
from standin import StandIn
from trading import publish_eager_model, settings_in

from config import Settings
from desk.journal import Journal, read_events
from live import run_live
from market.bars import read_bars
from market.hours import Session, at_new_york
from market.recorded_feed import RecordedFeed
from trader import LiveTrader

BARS = HERE.parents[1] / "shared" / "data" / "us_equities_1min_31_sessions.parquet"
HISTORY_SESSIONS = 12
LIFE_SECONDS = 1.5  # a life is killed within so long of its start or of its second minute
STARTS_KILLED = 0.3
PATIENCE_SECONDS = 60.0
SHARES = 5
ENDED = ("filled", "canceled", "expired", "rejected", "replaced")


class Violation(AssertionError):
    """What must never happen after a kill."""


# --- the trader's side ------------------------------------------------------------------------------------------------


def settings_of(standin: StandIn, folder: Path, symbols: tuple[str, ...]) -> Settings:
    return settings_in(folder, **keys_of(standin), SYMBOLS=symbols, MIN_CONFIDENCE=0.6)


def live(standin: StandIn, settings: Settings, sessions: list[Session], tell: IO[str], go: IO[str]) -> None:
    """Trade on from the stand-in's time until killed, telling what happens."""

    def say(word: str) -> None:
        tell.write(word + "\n")
        tell.flush()

    sync, start = Journal.sync, LiveTrader.start

    def acknowledged(self: Journal, *, order: bool = False) -> None:
        sync(self, order=order)
        say(f"synced {self._next}")

    def started(self: LiveTrader, now: datetime) -> None:
        start(self, now)
        say("ready")

    def minutes() -> Iterator[datetime]:
        seen = 0
        begin = standin.now()
        for session in sessions:
            for now in trading_day(session):
                if now + timedelta(seconds=3) > begin:
                    yield now
                    seen += 1
                    if seen == 2:
                        say("look")
                        go.readline()

    Journal.sync, LiveTrader.start = acknowledged, started  # type: ignore[method-assign]
    run_live(settings, Console(file=io.StringIO()), timing=VirtualTime(standin, minutes()).timing())


# --- the killer's side ------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What was seen over all lives."""

    kills: int = 0
    in_start: int = 0
    looked: int = 0
    most_held: int = 0
    bought: int = 0
    ready_seconds: list[float] = field(default_factory=list)


class Life:
    """One process; `words` are what it told so far."""

    def __init__(self, pid: int, told: IO[str], go: IO[str]) -> None:
        self.pid, self._told, self._go = pid, told, go
        self.synced = 0
        self.began = time.monotonic()
        self.ready: float | None = None

    def until(self, word: str) -> bool:
        """Read on until `word`; False when the process ended first."""
        for line in self._told:
            if line.startswith("synced"):
                self.synced = int(line.split()[1])
            elif line == "ready\n":
                self.ready = time.monotonic() - self.began
            if line.startswith(word):
                return True
        return False

    def go_on(self) -> None:
        self._go.write("\n")
        self._go.flush()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.until("the end of what it told")
        self._told.close()
        self._go.close()


class Arena:
    """The stand-in, the folders, and the lives in them. Everything random comes from `seed`, but not the moments."""

    def __init__(self, folder: Path, seed: int, *, spawn: bool) -> None:
        self.folder, self.random, self.spawn = folder, random.Random(seed), spawn
        self.bars = read_bars(BARS)
        self.symbols = tuple(sorted(self.bars["symbol"].unique()))
        self.sessions = RecordedFeed(self.bars).sessions()[HISTORY_SESSIONS:]
        self.standin = StandIn.start(folder / "standin", bars=BARS, now=self.morning)
        self.tally, self.round = Tally(), 0
        prepared = settings_of(self.standin, folder / "prepared", self.symbols)
        publish_eager_model(prepared, self.before(self.sessions[0].open))
        self.begin_anew()

    @property
    def morning(self) -> datetime:
        return at_new_york(self.sessions[0].day, "08:44")

    def before(self, when: datetime) -> pd.DataFrame:
        return self.bars[self.bars["timestamp"] < when].reset_index(drop=True)

    def begin_anew(self) -> None:
        """A fresh account and fresh folders with the prepared model and bars."""
        self.round += 1
        place = self.folder / f"round{self.round}"
        subprocess.run(["cp", "-r", str(self.folder / "prepared"), str(place)], check=True)
        self.settings = settings_of(self.standin, place, self.symbols)
        self.standin.reset(self.morning)
        self.standin.settings(
            fill_model="quotes", partial_share=0.3, fill_delay_seconds=0.5, cancel_lag_seconds=2,
            positions_lag_seconds=3, seed=self.round, rate_limit=None,
        )  # fmt: skip
        self.acknowledged = 0

    def life(self) -> Life:
        (told, tell), (go, wait) = (os.pipe(), os.pipe())  # told<-tell, wait<-go: reading ends first
        go, wait = wait, go
        if self.spawn:
            arguments = [self.settings.MODELS_DIR.parent, self.standin.api, self.standin.control, tell, wait]
            process = subprocess.Popen(
                [sys.executable, __file__, "--live", *map(str, arguments)], pass_fds=(tell, wait)
            )
            pid = process.pid
            process.returncode = 0  # it is waited for by its number
        elif (pid := os.fork()) == 0:
            os.close(told)
            os.close(go)
            code = 1
            try:
                live(self.standin, self.settings, self.sessions, os.fdopen(tell, "w"), os.fdopen(wait))
                code = 0
            finally:
                if code:
                    sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
                os._exit(code)
        os.close(tell)
        os.close(wait)
        return Life(pid, os.fdopen(told), os.fdopen(go, "w"))

    def one_kill(self) -> None:
        """Start, look, kill at a random moment, look again."""
        if self.standin.now() > self.sessions[-1].close - timedelta(hours=3):
            self.begin_anew()
        held_before, began = self.held(), self.standin.now()
        life, in_start = self.life(), self.random.random() < STARTS_KILLED
        if in_start:
            self.tally.in_start += 1
        else:
            if not life.until("look"):
                raise Violation("the process ended by itself")
            self.look(held_before, began)
            life.go_on()
        time.sleep(self.random.uniform(0, LIFE_SECONDS))
        life.kill()
        self.tally.kills += 1
        if life.ready is not None:
            self.tally.ready_seconds.append(life.ready)
        self.acknowledged = max(self.acknowledged, life.synced)
        self.check_files()
        self.check_orders()

    def held(self) -> dict[str, int]:
        return {symbol: int(float(p["qty"])) for symbol, p in self.standin.positions().items()}

    def look(self, held_before: dict[str, int], began: datetime) -> None:
        """Two minutes after a start: what was held before it has its stops, is being sold, or was sold since."""
        self.tally.looked += 1
        held = self.held()
        bought_since = {
            o["symbol"] for o in self.standin.orders(side="buy") if datetime.fromisoformat(o["created_at"]) >= began
        }
        selling = {o["symbol"] for o in self.standin.orders(side="sell", type="market") if o["status"] not in ENDED}
        for symbol in (held.keys() & held_before.keys()) - selling - bought_since:
            qty = min(held[symbol], held_before[symbol])
            if self.standin.stopped_shares(symbol) < qty:
                rows = "\n".join(map(str, self.standin.orders(symbol=symbol)[-8:]))
                raise Violation(
                    f"{symbol}: {qty} shares held over the restart have no stop a minute after it, at "
                    f"{self.standin.now()}; its last orders:\n{rows}"
                )

    def check_files(self) -> None:
        """All files can be read, and every line that was acknowledged is there once."""
        path = self.settings.MODELS_DIR / "journal.jsonl"
        numbers = [event["n"] for event in read_events(path)]
        if numbers[: self.acknowledged] != list(range(self.acknowledged)):
            raise Violation(f"{self.acknowledged} journal lines were acknowledged, not all are there once")
        view = self.settings.MODELS_DIR / "trade_history.json"
        if view.exists():
            json.loads(view.read_text())

    def check_orders(self) -> None:
        """At most one order an intent, and none without one."""
        orders = self.standin.orders()
        ids = [order["client_order_id"] for order in orders]
        bought = [order for order in orders if order["side"] == "buy"]
        intents = {
            e["order_id"] for e in read_events(self.settings.MODELS_DIR / "journal.jsonl") if e["kind"] == "intent"
        }
        if len(ids) != len(set(ids)) or any(order["client_order_id"] not in intents for order in bought):
            raise Violation("an order twice, or one that the journal does not know")
        held = self.held()
        if any(not 0 < qty <= SHARES for qty in held.values()):
            raise Violation(f"more than one order's shares, or fewer than none: {held}")
        self.tally.most_held, self.tally.bought = max(self.tally.most_held, len(held)), len(bought)

    def end(self) -> None:
        """One last life without a kill: books and account are equal."""
        life = self.life()
        if not life.until("look"):
            raise Violation("the last process ended by itself")
        life.kill()
        view = json.loads((self.settings.MODELS_DIR / "trade_history.json").read_text())
        books = {t["symbol"]: t["qty"] for t in view["trades"] if t["status"] == "OPEN"}
        if books != self.held():
            raise Violation(f"books {books}, account {self.held()}")
        self.standin.kill()


def run(kills: int, seed: int, folder: Path, *, spawn: bool) -> Tally:
    """Kill so often; raises Violation."""
    arena = Arena(folder, seed, spawn=spawn)
    for done in range(1, kills + 1):
        arena.one_kill()
        if done % 100 == 0:
            print(f"{done} kills, 0 violations so far", flush=True)
    arena.end()
    return arena.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spawn", action="store_true")
    parser.add_argument("--live", nargs=5, metavar=("FOLDER", "API", "CONTROL", "TELL", "GO"))
    arguments = parser.parse_args()
    if arguments.live:
        place, api, control, tell, go = arguments.live
        table = read_bars(BARS)
        standin = StandIn.of(api, control)
        settings = settings_of(standin, Path(place), tuple(sorted(table["symbol"].unique())))
        sessions = RecordedFeed(table).sessions()[HISTORY_SESSIONS:]
        live(standin, settings, sessions, os.fdopen(int(tell), "w"), os.fdopen(int(go)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STATE_DIR"] = f"{folder}/state"
        tally = run(arguments.kills, arguments.seed, Path(folder), spawn=arguments.spawn)
    ready = sorted(tally.ready_seconds)
    print(
        f"{tally.kills} kills ({tally.in_start} while starting), {tally.looked} times looked at, "
        f"up to {tally.most_held} positions held; ready after {ready[len(ready) // 2]:.2f} s (median), "
        f"{ready[int(len(ready) * 0.99)]:.2f} s (99%), {ready[-1]:.2f} s (most); 0 violations"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What Alpaca's part costs, over HTTP against the local stand-in: python -m benchmarks.alpaca

The bars are the shared ones (31 sessions of 12 symbols, cloned to 100). Each part runs in a process of its own, so that
the memory is its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from alpaca_wire import AlpacaWire
from benchmarks.run import ROOT
from config import Settings
from live import run_live
from market.alpaca_feed import AlpacaFeed
from market.bar_store import BarStore
from market.bars import read_bars
from market.hours import at_new_york, sessions_between
from sources import claim

sys.path.insert(0, str(ROOT / "tests"))
from alpaca_live import MINUTE, VirtualTime, keys_of, minutes_between
from standin import StandIn
from trading import publish_eager_model, settings_in

BARS = ROOT.parent / "shared" / "data" / "us_equities_1min_31_sessions.parquet"
SYMBOLS, LAST_DAY = 100, date(2026, 3, 6)
SESSIONS = sessions_between(date(2026, 2, 5), LAST_DAY)  # 30 calendar days
# Trades are held for ten minutes, so that there are orders to measure all the time.
RULES = {"MIN_CONFIDENCE": 0.5, "MAX_HOLDING_MINUTES": 10, "MIN_VOLUME": 0.0, "MIN_PRICE": 1.0}
EVENING = at_new_york(LAST_DAY, "20:00")


def _no_budget() -> tuple[Callable[[float], object], Callable[[], float]]:
    """`wait` and `monotonic` of a time that only pauses let pass: the stand-in has no limit of requests a minute."""
    waited = [0.0]

    def wait(seconds: float) -> None:
        waited[0] += seconds

    return wait, lambda: waited[0]


def fetch(api: str, names: list[str], folder: Path) -> dict[str, float]:
    """30 days of 100 symbols into an empty store, then once more the same evening."""
    wire = AlpacaWire(StandIn.KEY, StandIn.SECRET, api, api, *_no_budget())
    feed = AlpacaFeed(wire, BarStore(folder), lambda now: names, "iex", 30)
    start = time.perf_counter()
    bars = feed.bars(names, SESSIONS[0].open, EVENING)
    first = time.perf_counter() - start
    start = time.perf_counter()
    feed.bars(names, SESSIONS[0].open, EVENING)
    again = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MB on Linux
    return {"bars": len(bars), "first": first, "again": again, "peak_mb": peak}


def history(folder: Path) -> list[tuple[str, str, str]]:
    """The rows of the table for `fetch`."""
    with StandIn.start(folder / "standin", bars=BARS, now=EVENING, clone=SYMBOLS) as standin:
        standin.settings(rate_limit=None)
        names = _names(standin)
        arguments = ["-m", "benchmarks.alpaca", "fetch", standin.api, json.dumps(names), str(folder / "bars")]
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
        requests = len(standin.requests("/v2/stocks/bars"))
    found = json.loads(done.stdout)
    what = f"{found['bars']:,} bars of {SYMBOLS} symbols, {len(SESSIONS)} sessions"
    return [
        (f"fetch and store {what}", f"{found['first']:.1f} s, {requests} requests", "20 s"),
        ("peak memory of it", f"{found['peak_mb']:.0f} MB", "1000 MB"),
        ("the same once more, from the store", f"{found['again']:.1f} s", ""),
    ]


def trading(folder: Path) -> list[tuple[str, str, str]]:
    """The rows for the live minute of 100 symbols, and for a restart while 10 positions are held."""
    session = SESSIONS[-1]
    bars = read_bars(BARS)
    with StandIn.start(folder / "account", bars=BARS, now=session.open - MINUTE, clone=SYMBOLS) as standin:
        standin.settings(rate_limit=None, fill_model="bar_open")
        settings = settings_in(folder, **keys_of(standin), **RULES)
        publish_eager_model(settings, bars[bars["timestamp"] < session.open].reset_index(drop=True))
        claim(settings, "alpaca", now=session.open)
        first = minutes_between(session.open, session.open + 60 * MINUTE)
        quiet, busy = _timed_minutes(standin, settings, first)
        held = len(standin.positions())
        restart = json.dumps([standin.api, standin.control, str(folder)])
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "benchmarks.alpaca", "restart", restart], cwd=ROOT, check=True)  # noqa: S603
        again = time.perf_counter() - start
    seconds, requests = zip(*quiet, strict=True)
    return [
        (
            f"a minute of {SYMBOLS} symbols without orders, median of {len(quiet)}",
            f"{1000 * median(seconds):.0f} ms, {median(requests):.0f} requests",
            "500 ms, 3 requests",
        ),
        (
            f"a minute with orders, median of {len(busy)}",
            f"{1000 * median(row[0] for row in busy):.0f} ms, {median(row[1] for row in busy):.0f} requests",
            "500 ms",
        ),
        (f"a process started with {held} positions, until its first minute is done", f"{again:.1f} s", "5 s"),
    ]


Timed = list[tuple[float, int]]  # seconds and requests of a minute


def _timed_minutes(standin: StandIn, settings: Settings, minutes: Iterable[datetime]) -> tuple[Timed, Timed]:
    """Trade these minutes; those without and those with orders, from five minutes after the first on."""
    quiet: Timed = []
    busy: Timed = []
    virtual = VirtualTime(standin, minutes)

    def timed() -> Iterator[datetime]:
        for place, now in enumerate(virtual.minutes()):
            standin.clear_requests()
            start = time.perf_counter()
            yield now
            seconds, sent = time.perf_counter() - start, standin.requests()
            if place >= 5:
                (quiet if all(r["method"] == "GET" for r in sent) else busy).append((seconds, len(sent)))

    run_live(settings, Console(quiet=True), timing=replace(virtual.timing(), minutes=timed()))
    return quiet, busy


def restart(api: str, control: str, folder: str) -> None:
    """What a new process does on the same account until its first minute is done."""
    standin = StandIn.of(api, control)
    settings = settings_in(Path(folder), **keys_of(standin), **RULES)
    virtual = VirtualTime(standin, [standin.now().replace(second=0) + MINUTE])
    run_live(settings, Console(quiet=True), once=True, timing=virtual.timing())


def _names(standin: StandIn) -> list[str]:
    """The symbols that the stand-in has bars of."""
    wire = AlpacaWire(StandIn.KEY, StandIn.SECRET, standin.api, standin.api, lambda seconds: None)
    assets = [asset["symbol"] for asset in wire.trading.get("/assets", {"asset_class": "us_equity"})]
    bars = wire.data.get("/stocks/bars/latest", {"symbols": ",".join(assets)})["bars"]
    standin.clear_requests()
    return sorted(bars)


def main() -> None:
    if sys.argv[1:2] == ["fetch"]:
        api, names, folder = sys.argv[2:]
        print(json.dumps(fetch(api, json.loads(names), Path(folder))))
        return
    if sys.argv[1:2] == ["restart"]:
        restart(*json.loads(sys.argv[2]))
        return
    table = Table(title=f"stand-in, {os.cpu_count()} cores", title_justify="left", box=None, pad_edge=False)
    for column in ("work", "measured", "target"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        for line in (*history(Path(folder) / "history"), *trading(Path(folder) / "trading")):
            table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()

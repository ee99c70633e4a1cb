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
from collections.abc import Callable
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from alpaca_wire import AlpacaWire
from benchmarks.run import ROOT
from market.alpaca_feed import AlpacaFeed
from market.bar_store import BarStore
from market.hours import at_new_york, sessions_between

sys.path.insert(0, str(ROOT / "tests"))
from standin import StandIn

BARS = ROOT.parent / "shared" / "data" / "us_equities_1min_31_sessions.parquet"
SYMBOLS, LAST_DAY = 100, date(2026, 3, 6)
SESSIONS = sessions_between(date(2026, 2, 5), LAST_DAY)  # 30 calendar days
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
    table = Table(title=f"stand-in, {os.cpu_count()} cores", title_justify="left", box=None, pad_edge=False)
    for column in ("work", "measured", "target"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        for line in history(Path(folder)):
            table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()

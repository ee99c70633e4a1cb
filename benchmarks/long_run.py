"""Weeks in one process: does memory grow, do files stay open, does a minute stay short? Part of `make soak`.

    python -m benchmarks.long_run                          30 sessions of 200 symbols (about a quarter of an hour)
    python -m benchmarks.long_run --sessions 4 --symbols 24

The trader, its predictor, journal, local paper account and evening review run as live, minute by minute, on the wall
clock of a machine whose waiting takes no time. What differs from live: bars come from a simulated market that lies in
memory, and nothing is trained at night (that is a process of its own).
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from rich.console import Console

from benchmarks.run import ROOT, renamed
from config import Settings
from desk.journal import Journal
from desk.paper_broker import PaperBroker
from market.hours import Session, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import SYMBOLS, simulate_bars
from market_scheduler import MarketScheduler
from memory import keep_large_apart
from ml_predictor import MLPredictor
from nightly import Skipped
from review import evening_review
from trader import LiveTrader

sys.path.insert(0, str(ROOT / "tests"))
from trading import FakeTime, publish_eager_model, settings_in

HISTORY_SESSIONS = 24  # more than DAYS_BACK, so that an evening looks at as much on the first day as on the last
WARM_SESSIONS = 2  # after which memory and files are compared


@dataclass
class Run:
    """What was measured: seconds of each trading minute; after each session resident memory in MB, files, threads."""

    seconds: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    trades: int = 0

    @property
    def growth(self) -> float:
        """Share by which memory grew after the warm sessions."""
        return self.resident_mb[-1] / self.resident_mb[WARM_SESSIONS - 1] - 1

    @property
    def p99_seconds(self) -> float:
        """What 99 of 100 trading minutes stay below."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


def resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def long_run(sessions: int, symbols: int, folder: Path) -> Run:
    """Trade so many sessions of so many symbols in this process."""
    days = sessions_between(date(2025, 12, 1), date(2026, 12, 31))[: HISTORY_SESSIONS + sessions]
    plain = simulate_bars(days, seed=19)
    settings = settings_in(folder, MARKET="simulated", MIN_CONFIDENCE=0.6, MAX_OPEN_POSITIONS=50)
    publish_eager_model(settings, plain[plain["timestamp"] < days[HISTORY_SESSIONS].open].reset_index(drop=True))
    many = renamed(plain, -(-symbols // len(SYMBOLS)))
    names = sorted(many["symbol"].unique())[:symbols]
    feed = RecordedFeed(many[many["symbol"].isin(names)].reset_index(drop=True), "simulated", "simulated")
    del plain, many
    return trade(settings, feed, days[HISTORY_SESSIONS:])


def trade(settings: Settings, feed: RecordedFeed, sessions: list[Session]) -> Run:
    keep_large_apart()  # as live.py does
    run = Run()
    broker = PaperBroker(settings.MODELS_DIR / "paper_account.json", settings.PAPER_CASH, settings.ROUND_TRIP_COST_PCT)

    closes = {session.close for session in sessions}
    machine = FakeTime(sessions[0].open - timedelta(hours=1), sessions[-1].close + timedelta(hours=6))
    with Journal(settings.MODELS_DIR / "journal.jsonl", "20260101_000000") as journal:
        trader = LiveTrader(
            settings, feed=feed, broker=broker, journal=journal, predictor=MLPredictor(settings, feed), say=lambda _: 0
        )
        minute = trader.minute

        def measured(now: datetime) -> None:
            begun = time.perf_counter()
            minute(now)
            run.seconds.append(time.perf_counter() - begun)
            if now in closes:
                run.resident_mb.append(resident_mb())
                print(f"{len(run.resident_mb)} sessions, {run.resident_mb[-1]:.0f} MB", flush=True)
                run.files.append(len(list(Path("/proc/self/fd").iterdir())))
                run.threads.append(threading.active_count())

        trader.minute = measured  # type: ignore[method-assign]
        trader.start(machine.at)
        review = evening_review(settings, feed)
        scheduler = MarketScheduler(settings, trader, lambda now: Skipped("not here"), lambda _: 0, review)
        scheduler.run(machine.clock())
        trader.keeping.flush()
    assert not scheduler.failures, scheduler.failures
    run.trades = len(trader.books.trades)
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--symbols", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = long_run(arguments.sessions, arguments.symbols, Path(folder))
    Console(soft_wrap=True, highlight=False).print(
        f"{arguments.sessions} sessions, {arguments.symbols} symbols, {run.trades} trades: a minute takes "
        f"{sorted(run.seconds)[len(run.seconds) // 2] * 1000:.0f} ms (median), {run.p99_seconds * 1000:.0f} ms (99%), "
        f"{max(run.seconds) * 1000:.0f} ms (most); memory {run.resident_mb[WARM_SESSIONS - 1]:.0f} MB after "
        f"{WARM_SESSIONS} sessions, {run.resident_mb[-1]:.0f} MB at the end ({run.growth:+.1%}); "
        f"files {run.files[0]} -> {run.files[-1]}, threads {run.threads[0]} -> {run.threads[-1]}"
    )
    return 0 if run.growth < 0.05 and run.files[-1] <= run.files[WARM_SESSIONS - 1] and run.p99_seconds < 2 else 1


if __name__ == "__main__":
    sys.exit(main())

"""What it costs to write one more trade or signal down, when 50,000 of each are on disk already.

    python -m benchmarks.recording          (about a minute on 2 cores; TMPDIR chooses the disk)

Recording: the journal appended and synced, the books moved, the view begun. All 100,000 stand in the newest 30
sessions, so that the view holds every one of them. The next minute is 60 s away, so it begins here when the view is on
disk; "while the view is being written" is what it costs else.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from desk.books import Books
from desk.journal import Journal
from desk.orders import Execution
from desk.trade_history import TradeHistory
from durable import AppendedFile
from market.hours import epoch_minute, local_time, sessions_between

RECORDS = 50_000  # trades, and as many signals
MINUTES = 200
SPOKE = [{"feature": f"feature_{i}", "value": 0.123456, "contribution": -0.012345} for i in range(5)]


def day(minute: int, serial: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of one signal and of the trade that it led to."""
    symbol, order = f"S{serial % 100:03}", f"260122-20260302-S{serial % 100:03}-buy-{serial}"
    bought = Execution(f"{order}/1", "fill", order, symbol, "BUY", 10, 101.25, minute + 1, "entry", 99.2, 105.3)
    sold = Execution(f"{order}/2", "fill", f"{order}-sell-1", symbol, "SELL", 10, 99.2, minute + 9, "stop")
    yield "signal", {
        "symbol": symbol, "price": 101.2, "confidence": 0.71, "timestamp": local_time(minute), "taken": True,
        "reason": "ordered",
    }  # fmt: skip
    yield "intent", {
        "order_id": order, "symbol": symbol, "qty": 10, "bound": "MAX_POSITION_SIZE", "price": 101.2,
        "confidence": 0.71, "minute": minute, "stop_loss": 0.02, "take_profit": 0.04, "model_id": "20260301_200000",
        "market": "simulated",
    }  # fmt: skip
    yield "execution", {"execution": asdict(bought)}
    yield "why", {"order_id": order, "spoke": SPOKE}
    yield "execution", {"execution": asdict(sold)}


def write_history(path: Path) -> int:
    """A journal of RECORDS trades and signals in 29 sessions; its newest minute."""
    sessions = sessions_between(date(2026, 1, 22), date(2026, 3, 4))
    minutes = [epoch_minute(s.open) + i for s in sessions for i in range(s.minutes)]
    done = 0
    with Journal(path, "20260122_080000", sync_each_order=False) as journal:
        journal.append("account", cash=100_000.0)
        for place, minute in enumerate(minutes, 1):
            while done * len(minutes) < place * RECORDS and done < RECORDS:
                for kind, fields in day(minute, done):
                    journal.append(kind, **fields)
                done += 1
            journal.append("minute", minute=minute, equity=100_000.0 + done % 997, above=[])
        journal.archive_months(local_time)
    return minutes[-1]


def record(journal: Journal, books: Books, history: TradeHistory, *synced: list[tuple[str, dict[str, Any]]]) -> float:
    """Seconds that the minute pays for these events, with a sync after each list of them."""
    start = time.perf_counter()
    for events in synced:
        for kind, fields in events:
            books.apply(journal.append(kind, **fields))
        journal.sync()
    history.write()
    return time.perf_counter() - start


def bare_sync(folder: Path) -> float:
    """Seconds that the disk takes for a small append at this moment, whoever asks."""
    file = AppendedFile(folder / "bare")
    start = time.perf_counter()
    file.append(b"x" * 500)
    taken = time.perf_counter() - start
    file.close()
    return taken


def p50_p99(taken: list[float]) -> str:
    """Both in milliseconds."""
    return f"{statistics.median(taken) * 1000:.1f} / {statistics.quantiles(taken, n=100)[98] * 1000:.1f} ms"


def until_done(history: TradeHistory) -> float:
    """Seconds until what was begun is on disk."""
    start = time.perf_counter()
    history.wait()
    return time.perf_counter() - start


def measure(folder: Path) -> list[tuple[str, str, str]]:
    """The lines of the table."""
    path = folder / "journal.jsonl"
    newest = write_history(path)
    start = time.perf_counter()
    journal = Journal(path, "bench")
    books = Books(local_time, journal.events)
    loaded = time.perf_counter() - start
    history = TradeHistory(folder / "trade_history.json", books)
    history.flush()
    started = time.perf_counter() - start
    assert len(books.trades) == len(books.signals) == RECORDS
    signal, trade, busy, age, bare = ([] for _ in range(5))
    serials = iter(range(RECORDS, 2 * RECORDS))
    for minute in range(newest + 1, newest + 1 + MINUTES):
        one, intent, fill = list(day(minute, next(serials)))[:3]
        bare.append(bare_sync(folder))
        signal.append(record(journal, books, history, [one]))
        age.append(until_done(history))
        trade.append(record(journal, books, history, [intent], [fill]))
        busy.append(record(journal, books, history, [one]))
        until_done(history)
    view = (folder / "trade_history.json").stat().st_size
    size = sum(file.stat().st_size for file in [path, *(folder / "archive").iterdir()])
    journal.close()
    return [
        ("one more signal, p50 / p99", p50_p99(signal), "10 ms"),
        ("one more trade: intent, sync, fill, sync", p50_p99(trade), ""),
        ("one more signal while the view is being written", p50_p99(busy), ""),
        ("of each sync the disk itself", p50_p99(bare), ""),
        ("the view is on disk after, p50 / p99", p50_p99(age), "60 s"),
        (f"start: journal of {size / 1e6:.0f} MB read, books made", f"{loaded:.1f} s", ""),
        (f"start, with a view of {view / 1e6:.0f} MB written", f"{started:.1f} s", ""),
        *memory(path),
    ]


def memory(path: Path) -> list[tuple[str, str, str]]:
    """What the books and the view's lines hold per trade (with its signal), in bytes."""
    tracemalloc.start()
    books = Books(local_time, Journal(path, "bench").events)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    history = TradeHistory(path.parent / "trade_history.json", books)
    history.flush()
    gc.collect()
    lines = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    trades = len(books.trades)
    return [
        ("memory of the books, a trade and its signal", f"{held / trades:,.0f} bytes", ""),
        ("memory of the view's lines for them", f"{lines / trades:,.0f} bytes", ""),
    ]


def main() -> None:
    """Print the table."""
    table = Table(
        title=f"{RECORDS:,} trades and signals, {os.cpu_count()} cores", title_justify="left", box=None, pad_edge=False
    )
    for column in ("work", "measured", "target"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        for line in measure(Path(folder)):
            table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()

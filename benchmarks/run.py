"""Speed and memory of the parts that have a target, each line beside its target. Run by `make bench`.

    python -m benchmarks.run                    everything (about 3 minutes on 2 cores)
    python -m benchmarks.run features replay    some of it

Bars: the 31 real sessions beside the repository if they are there, else simulated ones of the same shape.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from build_dataset import build_dataset, write_dataset
from config import Settings, load_settings
from desk.journal import Journal
from desk.paper_broker import PaperBroker
from learning.features import compute_features
from learning.labels import label_trades
from market.bars import read_bars
from market.clock import ReplayClock
from market.hours import at_new_york, moment, new_york, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from market_scheduler import MarketScheduler
from ml_predictor import MLPredictor
from ml_trainer import MLTrainer
from nightly import Skipped
from replay import ReplayPredictor
from trader import LiveTrader

ROOT = Path(__file__).resolve().parents[1]
REAL_BARS = ROOT.parent / "shared" / "data" / "us_equities_1min_31_sessions.parquet"
TRAINED_SESSIONS = 20
console = Console()


def load_bars() -> tuple[pd.DataFrame, str]:
    if REAL_BARS.exists():
        return read_bars(REAL_BARS), "real"
    sessions = sessions_between(date(2026, 1, 22), date(2026, 3, 6))
    return simulate_bars(sessions, seed=19), "simulated"


def renamed(bars: pd.DataFrame, times: int) -> pd.DataFrame:
    """The bars `times` over, under other symbols."""
    copies = [bars.assign(symbol=bars["symbol"] + f"{copy:03}") for copy in range(times)]
    return pd.concat(copies).sort_values(["symbol", "timestamp"], kind="stable", ignore_index=True)


def seconds(work: Callable[[], object], runs: int = 5) -> float:
    """Median of `runs`, after one to warm up."""
    taken = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def settings_in(folder: Path) -> Settings:
    plain = load_settings(environment={}, env_file=folder / "no.env")
    return replace(plain, MARKET="recorded", MODELS_DIR=folder / "models", DATA_DIR=folder / "data")


def features(bars: pd.DataFrame) -> list[tuple[str, str, str]]:
    large = renamed(bars, 10)
    tracemalloc.start()
    frame = compute_features(large)
    beyond = (tracemalloc.get_traced_memory()[1] - frame.memory_usage().sum()) / 2**20
    tracemalloc.stop()
    del frame
    rate = len(large) / seconds(lambda: compute_features(large))
    table_mb = large.memory_usage().sum() / 2**20
    return [
        (f"features, {len(large):,} bars", f"{rate / 1e6:.1f} million bars/s", "3 million"),
        ("features, memory beyond the frame", f"{beyond:.0f} MB (the bars table: {table_mb:.0f} MB)", "the table once"),
    ]


def labels(bars: pd.DataFrame) -> list[tuple[str, str, str]]:
    large = renamed(bars, 10)
    lines = []
    for limit in (60, 390, 1950, None):
        rate = len(large) / seconds(lambda limit=limit: label_trades(large, 0.02, 0.04, limit, 0.0006), 3)
        lines.append((f"labels, holding limit {limit}", f"{rate / 1e6:.1f} million bars/s", "5 million"))
    return lines


def training(bars: pd.DataFrame) -> list[tuple[str, str, str]]:
    lines = []
    for model_type in ("random_forest", "gradient_boosting"):
        with tempfile.TemporaryDirectory() as folder:
            settings = replace(settings_in(Path(folder)), DAYS_BACK=60, ML_MODEL_TYPE=model_type)
            start = time.perf_counter()
            write_dataset(build_dataset(bars, settings.trade_rules(), about_of(bars)), settings)
            MLTrainer(settings).train()
            lines.append((f"training, 31 sessions, {model_type}", f"{time.perf_counter() - start:.1f} s", "30 s"))
    return lines


def training_100(bars: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The training child as the evening starts it, on 100 symbols; time and the process's own peak memory."""
    many = renamed(bars, -(-100 // bars["symbol"].nunique()))
    names = many["symbol"].unique()[:100]
    many = many[many["symbol"].isin(names)].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(settings_in(Path(folder)), DAYS_BACK=60)
        dataset = build_dataset(many, settings.trade_rules(), {**about_of(many), "symbols": list(names)})
        write_dataset(dataset, settings)
        environment = {**os.environ, **settings.as_environment()}
        start = time.perf_counter()
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(ROOT / "ml_trainer.py"), "--quiet"], check=True, env=environment
        )
        taken, peak_gb = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        rows = dataset.about["rows"]
        name = f"training, 31 sessions, 100 symbols ({rows:,} rows)"
        return [(name, f"{taken:.0f} s, {peak_gb:.1f} GB", "180 s, 4 GB")]


def about_of(bars: pd.DataFrame) -> dict[str, object]:
    """What a data set says of its source, at 20:00 of the last day of `bars`."""
    last = int(bars["timestamp"].max().timestamp() // 60)
    now = at_new_york(new_york(moment(last)).date(), "20:00")
    chosen = {"chosen": "the source's own", "sessions": 31, "sessions_listed": 0, "by_hindsight": None}
    return {"market": "recorded", "feed": "recorded", "as_of": now.isoformat(), "sessions": 31, "selection": chosen}


def trained(bars: pd.DataFrame, folder: Path) -> tuple[Settings, RecordedFeed]:
    """A model fitted on the first sessions of `bars`."""
    settings, feed = settings_in(folder), RecordedFeed(bars)
    now = at_new_york(feed.sessions()[TRAINED_SESSIONS - 1].day, "20:00")
    known = feed.bars(feed.symbols(now), moment(0), now)
    write_dataset(build_dataset(known, settings.trade_rules(), about_of(known)), settings)
    MLTrainer(settings).train()
    return settings, feed


def minute(bars: pd.DataFrame) -> list[tuple[str, str, str]]:
    """From a minute's new bars in memory to signals, through the live predictor."""
    lines = []
    for symbols, target in ((100, "50 ms"), (500, "200 ms")):
        with tempfile.TemporaryDirectory() as folder:
            settings, feed = trained(bars, Path(folder))
            session = feed.sessions()[TRAINED_SESSIONS + 1]
            day = bars[bars["timestamp"] >= feed.sessions()[TRAINED_SESSIONS - 2].open]
            many = renamed(day[day["timestamp"] < session.close], -(-symbols // bars["symbol"].nunique()))
            names = many["symbol"].unique()[:symbols].tolist()
            many = RecordedFeed(many[many["symbol"].isin(names)].reset_index(drop=True))
            predictor = MLPredictor(settings, many)
            minutes = list(ReplayClock([session]))[200:260]
            predictor.at_minute(minutes[0], names, [], 0)
            taken = []
            for now in minutes[1:]:
                new = many.new_bars(names, int(now.timestamp() // 60) - 2, now)
                start = time.perf_counter()
                predictor.at_minute(now, names, new, int(now.timestamp() // 60) - 1)
                taken.append(time.perf_counter() - start)
            lines.append((f"minute to signals, {symbols} symbols", f"{statistics.median(taken) * 1000:.0f} ms", target))
    return lines


def replay(bars: pd.DataFrame) -> list[tuple[str, str, str]]:
    """All 31 sessions with a given model, journal included (synced once a session)."""
    with tempfile.TemporaryDirectory() as folder:
        settings, feed = trained(bars, Path(folder))
        # The model saw these sessions, which is of no matter for speed: its card is made to say otherwise.
        card = next(settings.MODELS_DIR.glob("card_*.json"))
        text = card.read_text()
        first = text.index('"train_end": "') + len('"train_end": "')
        card.write_text(text[:first] + "2020-01-01" + text[first + 10 :])
        settings = replace(settings, MIN_CONFIDENCE=0.2)

        def run() -> None:
            for name in ("journal.jsonl", "paper_account.json", "trade_history.json"):
                (settings.MODELS_DIR / name).unlink(missing_ok=True)
            shutil.rmtree(settings.MODELS_DIR / "archive", ignore_errors=True)
            broker = PaperBroker(settings.MODELS_DIR / "paper_account.json", 100_000, 0.0006, save_each_change=False)
            with Journal(settings.MODELS_DIR / "journal.jsonl", "bench", sync_each_order=False) as journal:
                trader = LiveTrader(
                    settings, feed=feed, broker=broker, journal=journal, predictor=ReplayPredictor(settings, feed)
                )
                trader.start(feed.sessions()[0].open)
                scheduler = MarketScheduler(settings, trader, lambda now: Skipped("bench"))
                scheduler.run(ReplayClock(feed.sessions()))
                trader.keeping.flush()
            assert not scheduler.failures
            assert trader.books.trades

        minutes = sum(session.minutes for session in feed.sessions())
        return [(f"replay, {minutes:,} minutes, given model", f"{seconds(run, 3):.1f} s", "5 s")]


def cycle(bars: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The main job after installation: history, training, 5 sessions with nightly training, summary."""
    with tempfile.TemporaryDirectory() as folder:
        here = {"MODELS_DIR": f"{folder}/models", "DATA_DIR": f"{folder}/data"}
        keyless = {name: value for name, value in os.environ.items() if not name.startswith("ALPACA")}
        start = time.perf_counter()
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(ROOT / "live_trader.py"), "--quiet"], check=True, env={**keyless, **here}
        )
        return [("main job on the simulated market", f"{time.perf_counter() - start:.0f} s", "90 s")]


PARTS = {part.__name__: part for part in (features, labels, training, training_100, minute, replay, cycle)}


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    bars, origin = load_bars()
    table = Table(title=f"{origin} bars, {os.cpu_count()} cores", title_justify="left", box=None, pad_edge=False)
    for column in ("work", "measured", "target"):
        table.add_column(column)
    for name in chosen:
        with console.status(name):
            for line in PARTS[name](bars):
                table.add_row(*line)
    console.print(table)


if __name__ == "__main__":
    main()

"""Collect minute bars and turn them into labelled examples: data/bars/<date>.parquet, then data/dataset.parquet.

    python build_dataset.py                                       30 days of the active symbols
    python build_dataset.py --days 60                             twice as far back; only what is missing is fetched
    python build_dataset.py --market recorded --bars my_bars/     your own bars (Parquet or CSV), imported for good

To add an indicator (RSI, Bollinger Bands, ATR ... are there already), add one line to INDICATORS in
learning/features.py; training, replay and live trading then all have it.

Today's most active symbols are those that moved, and to learn from what they did before is to choose by hindsight. So
of each session whose list was kept (data/symbols/) only the symbols listed that day become examples, each from the
minute on in which it joined; data/dataset.json and the screen say how much is still chosen by hindsight.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

import command
from config import Settings
from display.learnt import selection_in_words
from durable import replace_file, to_json
from learning.evaluation import StaleDataset
from learning.features import FEATURES, compute_features
from learning.labels import driftless, label_trades
from market.active_list import ACTIVE_LIST, SOURCE, SYMBOLS, Selection, read_lists
from market.alpaca_feed import AlpacaFeed
from market.bar_store import Fetched
from market.bars import NoBars
from market.clock import utc_now
from market.feeds import BarFeed
from market.hours import Session, at_new_york, new_york, sessions_between
from market.recorded_feed import RecordedFeed
from sources import TRADED_SESSIONS, bar_store, claim, feed_of, open_alpaca, open_market, open_wire


@dataclass(frozen=True)
class Dataset:
    """Labelled examples and what they are made of: `about` is the content of data/dataset.json."""

    examples: pd.DataFrame
    about: dict[str, Any]


def build_dataset(
    bars: pd.DataFrame,
    trade_rules: Mapping[str, Any],
    about: Mapping[str, Any],
    admitted: NDArray[np.bool_] | None = None,
) -> Dataset:
    """Bars -> examples: `symbol, timestamp`, FEATURES, `close, driftless, label, net_return, settled_at, exit_reason`.

    All are known, but `driftless` may be NaN for the newest. `close` (USD) is no feature: it is what holding is judged
    by; `driftless` (see `learning.labels`) is the level that probabilities start from. `admitted`, shape (n,), says
    which bars may become examples, None all. Rows that cannot are left out, and `about["left_out"]` counts them by
    reason; `about["bars_end"]` is the end of the newest bar, beyond which no outcome could be seen.
    """
    features = compute_features(bars)
    labels = label_trades(bars, **trade_rules)
    warm = features[FEATURES].notna().all(axis=1)
    settled = labels["label"].notna()
    outcome = labels[["label", "net_return", "settled_at", "exit_reason"]]
    level = pd.Series(driftless(bars, labels, **trade_rules), index=bars.index, name="driftless")
    examples = pd.concat([features, bars["close"], level, outcome], axis=1)
    left_out = {
        "not warmed up or undefined": int((~warm).sum()),
        "no trade there, or its end not yet known": int((warm & ~settled).sum()),
    }
    kept = warm & settled
    if admitted is not None:
        left_out["not on the list of that day"] = int((kept & ~admitted).sum())
        kept &= admitted
    examples = examples[kept].reset_index(drop=True)
    described = {
        **about,
        "features": FEATURES,
        "trade_rules": dict(trade_rules),
        "symbols": sorted(examples["symbol"].unique().tolist()),
        "rows": len(examples),
        "first": str(examples["timestamp"].min()),
        "last": str(examples["timestamp"].max()),
        "bars_end": (bars["timestamp"].max() + timedelta(minutes=1)).isoformat(),
        "left_out": left_out,
    }
    return Dataset(examples, described)


def write_dataset(dataset: Dataset, settings: Settings) -> None:
    """Replace data/dataset.parquet and its description, the description last."""
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    content = BytesIO()
    dataset.examples.to_parquet(content, index=False, compression="zstd", compression_level=1)
    replace_file(settings.DATA_DIR / "dataset.parquet", content.getvalue())
    about = {**dataset.about, "sha256": hashlib.sha256(content.getvalue()).hexdigest()}
    replace_file(settings.DATA_DIR / "dataset.json", to_json(about, indent=1))


def read_dataset(settings: Settings) -> Dataset:
    """The data set as it stands. NoBars or StaleDataset, with the documented words, if there is none to train on."""
    table, about = settings.DATA_DIR / "dataset.parquet", settings.DATA_DIR / "dataset.json"
    if not table.exists() or not about.exists():
        raise NoBars(f"Insufficient training data: {table} does not exist. Run: python build_dataset.py")
    try:
        content, described = table.read_bytes(), json.loads(about.read_text())
        if described["sha256"] == hashlib.sha256(content).hexdigest():
            return Dataset(pd.read_parquet(BytesIO(content)), described)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise NoBars(f"Insufficient training data: {table} cannot be read. Run: python build_dataset.py") from error
    raise StaleDataset(f"Insufficient training data: {about} describes another {table}. Run: python build_dataset.py")


def select(feed: BarFeed, now: datetime, settings: Settings) -> Selection:
    """Whose bars to learn from at `now`: SYMBOLS, if set; else all that `feed` watches and, at Alpaca, has watched."""
    if settings.SYMBOLS is not None:
        return Selection(SYMBOLS, settings.SYMBOLS, {})
    watched = feed.symbols(now)
    if feed.market != "alpaca":
        return Selection(SOURCE, watched, {})
    sessions = history(settings, now)
    lists = read_lists(settings.DATA_DIR / "symbols", sessions[0].day, sessions[-1].day)
    return Selection(ACTIVE_LIST, watched, {s: lists[s.day] for s in sessions if s.day in lists})


def prepare(feed: BarFeed, now: datetime, settings: Settings, selection: Selection | None = None) -> Dataset:
    """What `feed` knows at `now` of the last DAYS_BACK calendar days, as a data set.

    `selection` where `feed` is what is stored of another, which alone can tell whom it watches; None: ask `feed`.
    """
    selection = selection or select(feed, now, settings)
    sessions = history(settings, now)
    bars = feed.bars(selection.symbols, sessions[0].open, now)
    if bars.empty:
        raise NoBars(f"Insufficient training data: no bars from {sessions[0].day} to {sessions[-1].day}")
    about = {"market": feed.market, "feed": feed.feed, "as_of": now.isoformat(), "sessions": len(sessions)}
    admitted = selection.admits(bars) if selection.lists else None
    dataset = build_dataset(bars, settings.trade_rules(), about, admitted)
    described = selection.describe(dataset.examples["timestamp"], len(sessions))
    return replace(dataset, about={**dataset.about, "selection": described})


def history(settings: Settings, now: datetime) -> list[Session]:
    """The sessions of the last DAYS_BACK calendar days that have opened at `now`. NoBars if there is none."""
    first = new_york(now).date() - timedelta(days=settings.DAYS_BACK)
    sessions = [s for s in sessions_between(first, new_york(now).date()) if s.open < now]
    if not sessions:
        raise NoBars(f"Insufficient training data: no session in the {settings.DAYS_BACK} days before {now:%Y-%m-%d}")
    return sessions


def store_bars(feed: RecordedFeed, settings: Settings, now: datetime, console: Console, *, again: bool = False) -> int:
    """Keep what a market that lies in the past knows at `now` in data/bars/; how many were new or other than before.

    `again` looks also at days that are stored already: the user's files may have changed.
    """
    symbols = list(settings.SYMBOLS or feed.symbols(now))
    sessions = [session for session in feed.sessions() if session.close <= now]
    update = bar_store(settings).update(feed.bars, feed.feed, symbols, sessions, min(now, feed.end), again=again)
    return _by_session(update, len(sessions), console)


def fetch_bars(feed: AlpacaFeed, settings: Settings, now: datetime, symbols: Sequence[str], console: Console) -> int:
    """Bring data/bars/ up to date from Alpaca, splits included; how many bars are new or other than before."""
    for symbol in feed.check_splits(now):
        console.print(f"{symbol} was split: its bars were fetched anew")
    sessions = history(settings, now)
    return _by_session(feed.update(symbols, sessions[0].open, now), len(sessions), console)


def _by_session(update: Iterable[Fetched], sessions: int, console: Console) -> int:
    rows = 0
    with command.progress(console) as bar:
        task = bar.add_task("storing bars by session", total=sessions)
        for step in update:
            rows += step.rows
            bar.advance(task)
    return rows


def recorded_end(feed: RecordedFeed, market: str, stored_days: Sequence[date]) -> datetime:
    """The `now` of bars that lie in the past: 20:00 New York of their last day, so that a training can follow.

    The simulated market's last sessions are still to be traded, unless a run has stored them already.
    """
    day = new_york(feed.end).date()
    if market == "simulated":
        history = feed.sessions()[:-TRADED_SESSIONS]
        day = max([history[-1].day, *stored_days])
    return at_new_york(day, "20:00")


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    market, store = settings.market, bar_store(settings)
    feed: AlpacaFeed | RecordedFeed
    if market == "alpaca":
        feed, now = open_alpaca(settings, open_wire(settings), console.print), utc_now()
    else:
        feed = open_market(settings, arguments.bars)
        now = recorded_end(feed, market, store.days())
    if (note := claim(settings, market, now=utc_now())) is not None:
        console.print(note)
    selection = select(feed, now, settings)
    symbols = selection.symbols
    first = new_york(now).date() - timedelta(days=settings.DAYS_BACK)
    console.print(
        f"market {market} (feed {feed_of(settings, market)}), {len(symbols)} symbols, until {new_york(now):%Y-%m-%d}"
    )
    if isinstance(feed, AlpacaFeed):
        rows = fetch_bars(feed, settings, now, symbols, console)
    else:
        if unknown := sorted(set(symbols) - set(feed.symbols(now))):
            console.print(f"not in this market, left out: {', '.join(unknown)}")
        rows = store_bars(feed, settings, now, console, again=arguments.bars is not None)
    kept = f"bars: {rows:,} new" if rows else "bars: nothing new"
    console.print(f"{kept}, {len(store.days())} sessions in {settings.DATA_DIR / 'bars'}", soft_wrap=True)
    stored = RecordedFeed(store.read(first, new_york(now).date(), symbols), market, feed.feed)
    if market == "alpaca" and (silent := sorted(set(symbols) - set(stored.symbols(now)))):
        console.print(f"no bars of: {', '.join(silent)}")
    with console.status("computing features and labels"):
        dataset = prepare(stored, now, settings, selection)
        if dataset.examples.empty:
            left_out = "; ".join(f"{count:,} rows {reason}" for reason, count in dataset.about["left_out"].items())
            raise NoBars(
                f"Insufficient training data: no examples ({left_out}). Collect more days: --days N or --bars PATH"
            )
        write_dataset(dataset, settings)
    about = dataset.about
    console.print(
        f"examples: {about['rows']:,} of {len(about['symbols'])} symbols, {about['first'][:10]} to "
        f"{about['last'][:10]}, {dataset.examples['label'].mean():.1%} of the trades pay"
    )
    for reason, count in about["left_out"].items():
        console.print(f"  left out: {count:,} rows, {reason}")
    console.print(f"selection: {selection_in_words(about)}")
    console.print(f"written: {settings.DATA_DIR / 'dataset.parquet'}. Next: python ml_trainer.py", soft_wrap=True)
    shown = ("market", "feed", "rows", "symbols", "first", "last", "left_out", "selection")
    return 0, {key: about[key] for key in shown}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command.parser("build_dataset.py", __doc__).parse_args(argv)
    return command.run("build_dataset", _body, arguments, {"DAYS_BACK": arguments.days})


if __name__ == "__main__":
    sys.exit(main())

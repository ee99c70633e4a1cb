"""What several tests need to trade on real bars: a model that buys often, and a run of the trader over sessions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from config import Settings, load_settings
from desk.journal import Journal, read_events
from desk.paper_broker import PaperBroker
from learning.classifier import Calibration, TradeClassifier, fit, versions
from learning.features import FEATURES, compute_features
from learning.labels import label_trades, uniqueness
from learning.model_store import ModelStore
from market.clock import ReplayClock, WallClock
from market.hours import Session
from market.recorded_feed import RecordedFeed
from market_scheduler import MarketScheduler
from ml_predictor import MLPredictor
from nightly import Skipped
from replay import ReplayPredictor
from sources import feed_of
from trader import LiveTrader


def settings_in(folder: Path, **changes: object) -> Settings:
    """Default settings with folders of their own, whatever the machine's environment says."""
    plain = load_settings(environment={}, env_file=folder / "no.env")
    here = {"MARKET": "recorded", "MODELS_DIR": folder / "models", "DATA_DIR": folder / "data"}
    return replace(plain, **{**here, **changes})


def publish_eager_model(settings: Settings, bars: pd.DataFrame) -> None:
    """Fit a small model on `bars` and publish it with a steep calibration, so that there is something to trade."""
    feed = feed_of(settings, settings.market)
    features = compute_features(bars)
    labels = label_trades(bars, **settings.trade_rules())
    usable = (features[FEATURES].notna().all(axis=1) & labels["label"].notna()).to_numpy()
    rows = np.flatnonzero(usable)[::7]
    examples = labels.iloc[rows].reset_index(drop=True)
    scaler, estimator = fit(
        "random_forest", features[FEATURES].to_numpy()[rows], examples["label"].to_numpy(), uniqueness(examples)
    )
    card = {
        "stamp": "20260204_200000",
        "model_type": "random_forest",
        "market": settings.market,
        "feed": feed,
        "train_end": examples["settled_at"].max().isoformat(),
        "features": FEATURES,
        "trade_rules": settings.trade_rules(),
        "proven": False,
        "reason": "made for a test",
        "baseline": {"break_even_confidence": 0.46},
        "versions": versions(),
    }
    classifier = TradeClassifier(estimator, Calibration(0.6, 3.0, 3.0))
    ModelStore(settings.MODELS_DIR).publish(card, classifier, scaler, examples.head(1), serve=True)


@contextmanager
def logging_restored() -> Iterator[None]:
    """The logging that a door configures ends here."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


@dataclass
class FakeTime:
    """A machine's clock and its sleep: waiting is what makes time pass."""

    at: datetime
    end: datetime
    waits: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += timedelta(seconds=max(seconds, 0.001))

    def clock(self) -> Iterator[datetime]:
        """A WallClock over this time, until its end."""
        for now in WallClock(self.now, self.wait):
            if now > self.end:
                return
            yield now


def trade(settings: Settings, bars: pd.DataFrame, sessions: list[Session], *, live: bool = False) -> LiveTrader:
    """Trade `sessions` of `bars` with the published model: as a replay, or minute by minute as live does it."""
    feed = RecordedFeed(bars)
    predictor = MLPredictor(settings, feed) if live else ReplayPredictor(settings, feed)
    broker = PaperBroker(
        settings.MODELS_DIR / "paper_account.json",
        settings.PAPER_CASH,
        settings.ROUND_TRIP_COST_PCT,
        save_each_change=live,
    )
    clock: Iterable[datetime] = ReplayClock(sessions)
    if live:
        start = sessions[0].open - timedelta(hours=6)
        clock = FakeTime(start, sessions[-1].close + timedelta(hours=6)).clock()
    with Journal(settings.MODELS_DIR / "journal.jsonl", "stamp", sync_each_order=live) as journal:
        trader = LiveTrader(settings, feed=feed, broker=broker, journal=journal, predictor=predictor)
        trader.start(sessions[0].open - timedelta(hours=7))
        scheduler = MarketScheduler(settings, trader, lambda now: Skipped("no training in this test"))
        scheduler.run(clock)
        trader.flush()
    assert not scheduler.failures
    return trader


def journal_of(settings: Settings) -> list[dict[str, object]]:
    return read_events(settings.MODELS_DIR / "journal.jsonl")

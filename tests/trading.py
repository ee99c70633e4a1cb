"""What several tests need to trade on real bars: a model that buys often, and a run of the trader over sessions."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from config import Settings, load_settings
from desk.brokers import Broker
from desk.journal import Journal, read_events
from desk.orders import Account, Execution, Order, Position, PriceBar, Trade
from desk.paper_broker import PaperBroker
from learning.classifier import Calibration, TradeClassifier, fit, versions
from learning.drift import gaps_by_day, rates_by_day, reference
from learning.features import FEATURES, compute_features
from learning.labels import label_trades, uniqueness
from learning.model_store import ModelStore
from learning.signing import signature, signing_key
from market.bars import epoch_minutes
from market.clock import ReplayClock, WallClock
from market.hours import Session, market_time
from market.recorded_feed import RecordedFeed
from market_scheduler import MarketScheduler
from ml_predictor import MLPredictor
from nightly import Skipped
from replay import ReplayPredictor
from review import evening_review
from sources import feed_of
from trader import LiveTrader

log = logging.getLogger(__name__)


def settings_in(folder: Path, **changes: object) -> Settings:
    """Default settings with folders of their own, whatever the machine's environment says."""
    plain = load_settings(environment={}, env_file=folder / "no.env")
    here = {"MARKET": "recorded", "MODELS_DIR": folder / "models", "DATA_DIR": folder / "data"}
    here["STATE_DIR"] = Path(os.environ.get("STATE_DIR", folder / "state"))  # that of the doors that a test calls
    return replace(plain, **{**here, **changes})


def publish_eager_model(settings: Settings, bars: pd.DataFrame, names: Sequence[str] = FEATURES) -> None:
    """Fit a small model on `bars` and publish it with a steep calibration, so that there is something to trade.

    Its out-of-fold rows and the days of its card are those that it has seen: they are there to be read, not believed.
    """
    names = list(names)
    feed = feed_of(settings, settings.market)
    features = compute_features(bars)
    labels = label_trades(bars, **settings.trade_rules())
    usable = (features[FEATURES].notna().all(axis=1) & labels["label"].notna()).to_numpy()
    rows = np.flatnonzero(usable)[::7]
    examples = labels.iloc[rows].reset_index(drop=True)
    matrix, label = features[names].to_numpy()[rows], examples["label"].to_numpy()
    scaler, estimator = fit("random_forest", matrix, label, uniqueness(examples))
    classifier = TradeClassifier(estimator, Calibration(0.6, 3.0, 3.0))
    confidence = classifier.confidence(scaler.transform(matrix))
    day = market_time(epoch_minutes(examples["timestamp"])).session
    card = {
        "stamp": "20260204_200000",
        "model_type": "random_forest",
        "market": settings.market,
        "feed": feed,
        "train_end": examples["settled_at"].max().isoformat(),
        "features": names,
        "trade_rules": settings.trade_rules(),
        "min_confidence": settings.MIN_CONFIDENCE,
        "proven": False,
        "reason": "made for a test",
        "baseline": {"break_even_confidence": 0.46},
        "importances": [{"feature": name, "permutation": None} for name in names],
        "drift": {
            "features": reference(matrix, day, names),
            "signal_rates": rates_by_day(confidence, day, settings.MIN_CONFIDENCE),
            "gaps": gaps_by_day(confidence, label, day),
        },
        "versions": versions(),
    }
    out_of_fold = examples.assign(session=day, history=0, confidence=confidence)
    ModelStore(settings.MODELS_DIR, settings.STATE_DIR).publish(
        card, classifier, scaler, out_of_fold, matrix, serve=True
    )


def golden_rows(card: Mapping[str, Any]) -> np.ndarray:
    """Feature rows (n, features) that a card keeps, to publish another model with."""
    return np.array(card["golden"]["features"])


def change_card(settings: Settings, **changes: object) -> None:
    """Change what the card of the only model says, and sign it again."""
    (path,) = settings.MODELS_DIR.glob("card_*.json")
    card = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(card | {"signature": signature(card, signing_key(settings.STATE_DIR))}))


class CostlyBroker:
    """A PaperBroker whose fills are worse than its bars show, in its executions and in its cash alike.

    Args: those of PaperBroker; `extra_cost` by symbol worsens each leg, `scatter` (standard deviation) moves each leg
    of any symbol either way, both fractions of the price. The same `seed` and order give the same fill, in any process.
    """

    def __init__(
        self,
        path: Path | None,
        cash: float,
        round_trip_cost: float,
        *,
        save_each_change: bool = True,
        extra_cost: Mapping[str, float],
        scatter: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._inner = PaperBroker(path, cash, round_trip_cost, save_each_change=save_each_change)
        self._extra_cost, self._scatter, self._seed = extra_cost, scatter, seed
        self._told: dict[str, Execution] = {}  # by id, so that each is made once

    def resume(self, tag: str, trades: Iterable[Trade]) -> None:
        self._inner.resume(tag, trades)

    def hindrance(self, close: datetime) -> str | None:
        return self._inner.hindrance(close)

    def tradable(self, symbol: str) -> bool:
        return self._inner.tradable(symbol)

    def withdraw_entries(self) -> None:
        self._inner.withdraw_entries()

    def leave_alone(self, symbols: Collection[str]) -> None:
        self._inner.leave_alone(symbols)

    def positions(self) -> Mapping[str, Position]:
        return self._inner.positions()

    def working_orders(self) -> list[Order]:
        return self._inner.working_orders()

    def submit(self, order: Order) -> None:
        self._inner.submit(order)

    def save(self) -> None:
        self._inner.save()

    def account(self) -> Account:
        plain, fills = self._inner.account(), self._inner.recent_executions()
        paid = sum(_worse(fill) * (self._tell(fill).price - fill.price) * fill.qty for fill in fills)
        return Account(plain.cash - paid, plain.equity - paid, max(plain.buying_power - paid, 0.0))

    def settle(self, now_minute: int, bars: Iterable[PriceBar]) -> list[Execution]:
        return [self._tell(execution) for execution in self._inner.settle(now_minute, bars)]

    def recent_executions(self) -> list[Execution]:
        return [self._tell(execution) for execution in self._inner.recent_executions()]

    def _tell(self, execution: Execution) -> Execution:
        if execution.id not in self._told:
            luck = np.random.default_rng([self._seed, zlib.crc32(execution.id.encode())]).normal()
            extra = self._extra_cost.get(execution.symbol, 0.0) + self._scatter * luck
            price = round(execution.price * (1 + _worse(execution) * extra), 4)
            self._told[execution.id] = replace(execution, price=price)
        return self._told[execution.id]


def _worse(execution: Execution) -> int:
    """The sign in which a price is worse."""
    return 1 if execution.side == "BUY" else -1


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


def trade(
    settings: Settings,
    bars: pd.DataFrame,
    sessions: list[Session],
    *,
    live: bool = False,
    broker: Callable[..., Broker] = PaperBroker,
    review: bool = False,
    say: Callable[[str], object] = log.info,
) -> LiveTrader:
    """Trade `sessions` of `bars` with the published model: as a replay, or minute by minute as live does it."""
    feed = RecordedFeed(bars)
    predictor = MLPredictor(settings, feed) if live else ReplayPredictor(settings, feed)
    account = broker(
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
        trader = LiveTrader(settings, feed=feed, broker=account, journal=journal, predictor=predictor, say=say)
        trader.start(sessions[0].open - timedelta(hours=7))
        learn = evening_review(settings, feed) if review else None
        scheduler = MarketScheduler(settings, trader, lambda now: Skipped("no training in this test"), say, learn)
        scheduler.run(clock)
        trader.keeping.flush()
    assert not scheduler.failures
    return trader


def journal_of(settings: Settings) -> list[dict[str, object]]:
    return read_events(settings.MODELS_DIR / "journal.jsonl")

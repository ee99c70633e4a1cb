"""What the trader sees: a feed whose bars are late, wrong or missing, and a model that signals now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from alpaca_wire import Unreachable
from learning.model_store import NoModel
from learning.prediction_log import PredictionLog
from market.alpaca_feed import FeedUnavailable
from market.bars import Bar
from market.hours import epoch_minute
from model_in_use import Prediction
from tests.simulation.faults import Faults
from tests.simulation.market import SYMBOLS, Market

SIGNAL_SHARE = 0.012  # of a symbol's minutes


class Feed:
    """The market's bars on a bad line; `true_time` (seconds since 1970) tells which are known."""

    market = "alpaca"
    feed = "iex"

    def __init__(self, market: Market, faults: Faults, true_time: Callable[[], float]) -> None:
        self._market, self._faults, self._true_time = market, faults, true_time
        self._late: list[tuple[int, Bar]] = []
        self._frozen_until, self._frozen_at = 0.0, 0

    def symbols(self, now: datetime) -> list[str]:
        return list(SYMBOLS)

    def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        raise FeedUnavailable("the simulation has no history")

    def check_splits(self, now: datetime) -> list[str]:
        if self._faults.fires("no bars"):
            raise Unreachable("GET /v2/stocks/bars: no answer")
        return []

    def found_splits(self) -> dict[str, datetime]:
        return {}

    def new_bars(self, symbols: Sequence[str], after_minute: int, now: datetime) -> list[Bar]:
        fires, random = self._faults.fires, self._faults.random
        if fires("no bars"):
            raise random.choice((Unreachable, FeedUnavailable))("GET /v2/stocks/bars: no answer")
        known = min(int(self._true_time() // 60), epoch_minute(now))
        if fires("bars frozen"):
            self._frozen_at, self._frozen_until = known, self._true_time() + random.uniform(60, 600)
        if self._true_time() < self._frozen_until and not self._faults.calm:
            known = self._frozen_at
        first = after_minute + 1
        if known - first < 3 and fires("bars twice"):
            first -= 1
        told = (self._told(bar) for m in range(first, known) for bar in self._market.bars.get(m, ()))
        found = [bar for bar in told if bar is not None and bar.symbol in symbols]
        bars = found + [bar for due, bar in self._late if due <= known]
        self._late = [(due, bar) for due, bar in self._late if due > known]
        return sorted(bars, key=lambda bar: (bar.minute, bar.symbol))

    def _told(self, bar: Bar) -> Bar | None:
        fires = self._faults.fires
        if fires("bar missing"):
            return None
        if fires("bar late"):
            self._late.append((bar.minute + self._faults.random.randint(2, 4), bar))
            return None
        factor = 1.0
        if fires("bar ten times too high"):
            factor = 10.0
        if fires("bar of an absurd price"):
            factor = self._faults.random.choice((1e-4, 1e6))
        if factor == 1.0:
            return bar
        return Bar(bar.symbol, bar.minute, *(round(price * factor, 4) for price in bar[2:6]), bar.volume)


def confidences(market: Market, random: Random) -> dict[int, dict[str, float]]:
    """What a model says of each symbol in each minute: now and then that it is sure."""
    rng = np.random.default_rng(random.getrandbits(64))
    table = rng.uniform(0.2, 0.6, (len(market.bars), len(SYMBOLS)))
    signals = rng.random(table.shape) < SIGNAL_SHARE
    table = np.where(signals, rng.uniform(0.66, 0.95, table.shape), table).round(6)
    rows = [dict(zip(SYMBOLS, row, strict=True)) for row in table.tolist()]
    return dict(zip(sorted(market.bars), rows, strict=True))


class Forecaster:
    """A Predictor: the same confidence for the same symbol and minute in every process of a session."""

    def __init__(self, folder: Path, confidence: dict[int, dict[str, float]], faults: Faults) -> None:
        self.log = PredictionLog(folder / "predictions")
        self._confidence, self._faults = confidence, faults
        card = {"proven": True, "reason": "", "baseline": {"break_even_confidence": 0.5}}
        self._model = SimpleNamespace(stamp="20260101_200000", card=card)

    def model(self, now: datetime) -> Any:
        if self._faults.fires("no model"):
            raise NoModel("Model not ready for predictions: there is none. Run: python ml_trainer.py")
        return self._model

    def review(self, now: datetime) -> None:
        return None

    def why(self, now: datetime, symbol: str) -> list[dict[str, Any]]:
        return [{"feature": "return_1", "value": 0.001, "contribution": 0.1}]

    def remember(self, now: datetime) -> None:
        """Nothing is remembered."""

    def write(self) -> None:
        self.log.write()

    def at_minute(self, now: datetime, symbols: Sequence[str], new_bars: Iterable[Bar], since: int) -> list[Prediction]:
        last = {bar.symbol: bar for bar in new_bars}
        newest = epoch_minute(now) - 1
        predictions = []
        for symbol in symbols:
            bar = last.get(symbol)
            if bar is None or bar.minute != newest:
                predictions.append(Prediction(symbol, float("nan"), 0.0, "no bar of the last minute"))
            else:
                predictions.append(Prediction(symbol, self._confidence[newest][symbol], bar.close, None))
        return predictions

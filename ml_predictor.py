"""Ask the published model: a symbol's newest bars in, a BUY or HOLD with its probability and the reason out.

python ml_predictor.py                          sample predictions
python ml_predictor.py --symbols AAPL,MSFT      of these

>>> from ml_predictor import MLPredictor
>>> MLPredictor().predict("AAPL")
{'symbol': 'AAPL', 'signal': 1, 'confidence': 0.78, 'price': 150.5, 'recommendation': 'BUY', ...}
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

import command
from alpaca_wire import AlpacaError
from config import Settings, load_settings
from learning.features import FEATURES, WARMUP_BARS, SymbolBars, feature_matrix
from learning.model_store import ModelStore, NoModel, PublishedModel
from learning.prediction_log import PredictionLog
from market.bars import Bar, NoBars, as_bars
from market.clock import utc_now
from market.feeds import BarFeed
from market.hours import Session, epoch_minute, is_open, last_opened, market_time, new_york, sessions_between
from market.recorded_feed import RecordedFeed
from market.window import BarWindow
from sources import open_alpaca, open_market, open_stored, open_wire, stored_market

log = logging.getLogger(__name__)

WINDOW_BARS = WARMUP_BARS + 390  # what warms the features up, and the longest session
SAMPLES = ("AAPL", "MSFT", "TSLA")


class Prediction(NamedTuple):
    """One symbol at one minute; `confidence` is NaN where nothing was predicted, and `problem` says why."""

    symbol: str
    confidence: float
    price: float
    problem: str | None


class ModelInUse:
    """The model that serves, taken up anew when another is published. Shared by live prediction and replay."""

    def __init__(self, settings: Settings, market: str, feed: str) -> None:
        self._store = ModelStore(settings.MODELS_DIR)
        self._source = (market, feed)
        self._loaded: PublishedModel | None = None
        self._seen: object = None
        self._train_end = datetime.max.replace(tzinfo=UTC)

    def at(self, now: datetime) -> PublishedModel:
        """The model for predictions at `now`. Raises NoModel, with the documented words and the cure."""
        signature = self._store.signature()
        if self._loaded is None or signature != self._seen:
            self._loaded = self._checked(self._store.load())
            self._seen = signature
            self._train_end = datetime.fromisoformat(self._loaded.card["train_end"])
        if self._train_end > now:
            raise NoModel(
                f"Model not ready for predictions: {self._loaded.stamp} is from the future, it learnt from trades "
                f"settled at {self._train_end:%FT%R}, now is {now:%FT%R}. "
                f"Run: python ml_trainer.py --as-of {now:%FT%R}Z"
            )
        return self._loaded

    def _checked(self, model: PublishedModel) -> PublishedModel:
        card, stamp = model.card, model.stamp
        if (card["market"], card["feed"]) != self._source:
            raise NoModel(
                f"Model not ready for predictions: {stamp} learnt from market {card['market']} (feed {card['feed']}), "
                f"here is {self._source[0]} (feed {self._source[1]}). Run: python ml_trainer.py"
            )
        if model.features != FEATURES:
            raise NoModel(
                f"Model not ready for predictions: {stamp} was trained with other features. "
                "Run: python build_dataset.py, then python ml_trainer.py"
            )
        return model


class MLPredictor:
    """Predictions by the published model, for a person (`predict`) and for the trading minute (`at_minute`).

    Constructing it opens nothing. Args: `settings` and `feed` default to config.py's and to the market that the folders
    belong to; on recorded or simulated bars `now` is the end of what is stored.
    """

    def __init__(self, settings: Settings | None = None, feed: BarFeed | None = None) -> None:
        self._settings = settings or load_settings()
        self._feed = feed
        self._model: ModelInUse | None = None
        self._windows: dict[str, BarWindow] = {}
        self._fed_until: dict[str, int] = {}  # the minute up to which a symbol's window is complete
        self._session: Session | None = None  # the one for which the windows were built
        self.log = PredictionLog(self._settings.MODELS_DIR / "predictions")

    def predict(self, symbol: str) -> dict[str, Any]:
        """Predict one symbol from its newest bars.

        Returns symbol, signal (1 buy, 0 hold), confidence (probability of a profitable trade, 0.0 if unknown), price
        (last close, USD), recommendation, meets_threshold, timestamp, model_id, reason. Raises NoModel, NoBars.
        """
        return self.predict_all([symbol])[0]

    def predict_all(self, symbols: Sequence[str]) -> list[dict[str, Any]]:
        """The dicts of `predict`, their bars fetched together."""
        now = self._now()
        model = self.model(now)
        predictions = self.at_minute(now, symbols, [], since=epoch_minute(now))
        told = [self._tell(prediction, now, model) for prediction in predictions]
        self.log.write()
        return told

    def _tell(self, prediction: Prediction, now: datetime, model: PublishedModel) -> dict[str, Any]:
        feed, symbol, threshold = self._open(), prediction.symbol, self._settings.MIN_CONFIDENCE
        confidence = 0.0 if np.isnan(prediction.confidence) else float(prediction.confidence)
        meets = confidence >= threshold
        reason = prediction.problem or (
            f"{confidence:.2f} reaches {threshold:.2f}" if meets else f"{confidence:.2f} is below {threshold:.2f}"
        )
        opened = is_open(now) and prediction.problem is None
        if not opened and prediction.problem is None:
            reason += "; market is closed"
        if isinstance(feed, RecordedFeed):
            reason += f"; as of {new_york(now):%Y-%m-%d %H:%M}, the end of the stored {feed.market} bars"
        timestamp = new_york(now).isoformat()
        buy = meets and opened
        if prediction.problem is None:
            self.log.add(symbol, timestamp, prediction.price, confidence, model.stamp, meets=meets, buy=buy)
        return {
            "symbol": symbol,
            "signal": int(buy),
            "confidence": confidence,
            "price": prediction.price,
            "recommendation": "BUY" if buy else "HOLD",
            "meets_threshold": meets,
            "timestamp": timestamp,
            "model_id": model.stamp,
            "reason": reason,
        }

    def get_buy_signals(self, symbols: Iterable[str]) -> list[dict[str, Any]]:
        """The predictions that meet the threshold, best first."""
        found = [prediction for prediction in self.predict_all(list(symbols)) if prediction["meets_threshold"]]
        return sorted(found, key=lambda prediction: -prediction["confidence"])

    def get_prediction_history(self, symbol: str) -> list[dict[str, Any]]:
        """All predictions of a symbol that were ever made here, oldest first."""
        return sorted(self.log.read(symbol), key=lambda prediction: prediction["timestamp"])

    def is_model_ready(self) -> bool:
        """Whether a model serves that may predict now."""
        try:
            self.model(self._now())
        except LookupError:
            return False
        return True

    def symbols(self) -> list[str]:
        """The symbols that the market offers now."""
        return self._open().symbols(self._now())

    def model(self, now: datetime) -> PublishedModel:
        """The model for predictions at `now`. Raises NoModel."""
        if self._model is None:
            feed = self._open()
            self._model = ModelInUse(self._settings, feed.market, feed.feed)
        return self._model.at(now)

    def at_minute(self, now: datetime, symbols: Sequence[str], new_bars: Iterable[Bar], since: int) -> list[Prediction]:
        """Predict all `symbols` at `now` in one batch. Raises NoModel.

        `new_bars` are those of the symbols from minute `since` on, and earlier ones that were corrected or came late. A
        symbol whose window does not reach up to there (it is new, or minutes were missed) is fetched anew from the
        feed, so that no window has a hole; so is every symbol in a session's first minute, as splits and corrections of
        the evening change the past. One that cannot be fetched is not predicted, and tried again the next minute.
        """
        model = self.model(now)
        fresh = epoch_minute(now) - 1
        if (session := last_opened(now)) != self._session:
            self._session = session
            self._fed_until.clear()
        reached = self._fed_until
        behind = [symbol for symbol in symbols if symbol not in reached or reached[symbol] < since - 1]
        for bar in new_bars:
            if bar.symbol in self._windows:
                self._windows[bar.symbol].put(bar)
        try:
            self._backfill(now, behind)
        except AlpacaError as error:
            log.warning("no history of %d symbols (%s): %s", len(behind), ", ".join(behind[:8]), error)
            reached = {symbol: minute for symbol, minute in reached.items() if symbol not in behind}
            self._windows |= {symbol: BarWindow(WINDOW_BARS) for symbol in behind}
        else:
            behind = []
        self._fed_until = reached | dict.fromkeys(set(symbols).difference(behind), fresh)
        problems = [
            "its history cannot be fetched" if symbol in behind else _problem(self._windows[symbol], fresh, now)
            for symbol in symbols
        ]
        ready = [symbol for symbol, problem in zip(symbols, problems, strict=True) if problem is None]
        matrix = np.empty((len(ready), len(FEATURES)))
        for row, symbol in zip(matrix, ready, strict=True):
            row[:] = newest_features(self._windows[symbol])
        defined = np.isfinite(matrix).all(axis=1)
        confidence = np.full(len(ready), np.nan)
        if defined.any():
            confidence[defined] = model.confidence(matrix[defined])
        by_symbol = dict(zip(ready, confidence.tolist(), strict=True))
        result = []
        for symbol, problem in zip(symbols, problems, strict=True):
            window = self._windows[symbol]
            price = float(window.values[3, -1]) if len(window) else 0.0
            value = by_symbol.get(symbol, float("nan"))
            undefined = "a feature is undefined (no price or volume change)" if value != value else None
            result.append(Prediction(symbol, value, price, problem or undefined))
        return result

    def _backfill(self, now: datetime, symbols: Sequence[str]) -> None:
        if not symbols:
            return
        feed = self._open()
        first = new_york(now).date() - timedelta(days=self._settings.DAYS_BACK)
        start = sessions_between(first, last_opened(now).day)[0].open
        for symbol in symbols:
            self._windows[symbol] = BarWindow(WINDOW_BARS)
        table = feed.bars(symbols, start, now)
        for bar in as_bars(table.groupby("symbol").tail(WINDOW_BARS)):
            self._windows[bar.symbol].put(bar)

    def _now(self) -> datetime:
        feed = self._open()
        return feed.end if isinstance(feed, RecordedFeed) else utc_now().replace(microsecond=0)

    def _open(self) -> BarFeed:
        if self._feed is None:
            settings = self._settings
            kept = stored_market(settings)
            market = kept if kept and settings.MARKET == "auto" else settings.market
            if market == "alpaca":
                self._feed = open_alpaca(settings, open_wire(settings))
            elif kept is None and settings.MARKET == "auto":
                self._feed = open_market(settings)
            else:
                self._feed = open_stored(settings, market, settings.DAYS_BACK)
        return self._feed


def newest_features(window: BarWindow) -> np.ndarray:
    """The features of a window's newest bar, shape (len(FEATURES),), by the arithmetic of `compute_features`."""
    values = np.empty((len(FEATURES), len(window)))
    feature_matrix(SymbolBars(market_time(window.minutes), *window.values), values)
    return values[:, -1]


def _problem(window: BarWindow, fresh_minute: int, now: datetime) -> str | None:
    """Why the newest bar of a window is not predicted, or None."""
    if not len(window):
        return "the source has no bars of it"
    if window.last_minute != fresh_minute:
        age = fresh_minute + 1 - window.last_minute
        return f"last bar is {age} minutes old" if is_open(now) else "market is closed"
    if len(window) < WARMUP_BARS:
        return f"warming up: {len(window)} of {WARMUP_BARS} bars"
    return None


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    predictor = MLPredictor(settings, open_market(settings, arguments.bars) if arguments.bars else None)
    known = predictor.symbols()
    symbols = list(settings.SYMBOLS or [symbol for symbol in SAMPLES if symbol in known])
    if not symbols:
        symbols = known[: len(SAMPLES)]
        console.print(f"{', '.join(SAMPLES)} are not in this market; here are its first {len(symbols)}")
    if not symbols:
        raise NoBars("the market offers no symbols now; name some with --symbols")
    predictions = predictor.predict_all(symbols)
    table = Table(box=None, pad_edge=False)
    for column in ("symbol", "price", "confidence", "recommendation", "reason"):
        table.add_column(column, justify="right" if column in ("price", "confidence") else "left")
    for p in predictions:
        table.add_row(p["symbol"], f"{p['price']:.2f}", f"{p['confidence']:.2f}", p["recommendation"], p["reason"])
    console.print(f"model {predictions[0]['model_id']}")
    console.print(table)
    if not any(p["price"] for p in predictions):
        console.print("No buy signals generated: the market has no bars of these symbols")
    elif not any(p["confidence"] for p in predictions):
        console.print("No buy signals generated: nothing could be predicted, for the reasons above")
    elif not any(p["signal"] for p in predictions):
        best = max(p["confidence"] for p in predictions)
        passing = {level: sum(p["confidence"] >= level for p in predictions) for level in (0.60, 0.50)}
        console.print(
            f"No buy signals generated: highest confidence {best:.2f}, threshold {settings.MIN_CONFIDENCE:.2f}; "
            f"{passing[0.60]} would pass at 0.60, {passing[0.50]} at 0.50. Lower MIN_CONFIDENCE to trade more"
        )
    return 0, {"predictions": predictions}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command.parser("ml_predictor.py", __doc__).parse_args(argv)
    return command.run("ml_predictor", _body, arguments)


if __name__ == "__main__":
    sys.exit(main())

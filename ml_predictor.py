"""Ask the published model: a symbol's newest bars in, a BUY or HOLD with its probability and the reason out.

python ml_predictor.py                          sample predictions
python ml_predictor.py --symbols AAPL,MSFT      of these
python ml_predictor.py --why AAPL               what spoke for and against it, and which gate says no first

>>> from ml_predictor import MLPredictor
>>> MLPredictor().predict("AAPL")
{'symbol': 'AAPL', 'signal': 1, 'confidence': 0.78, 'price': 150.5, 'recommendation': 'BUY', ...}
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import command
from config import Settings, load_settings
from desk.books import Books
from desk.journal import read_events
from display.figures import card_in_use, model_in_words
from gates import first_no
from learning.model_store import PublishedModel
from learning.prediction_log import PredictionLog
from learning.reviews import Review
from learning.seen_log import SeenLog
from market.bars import Bar, NoBars
from market.clock import utc_now
from market.feeds import BarFeed
from market.hours import epoch_minute, is_open, last_opened, local_time, new_york
from market.recorded_feed import RecordedFeed
from model_in_use import ModelInUse, Prediction, lowered
from sources import open_alpaca, open_market, open_stored, open_wire, stored_market
from windows import Windows

SAMPLES = ("AAPL", "MSFT", "TSLA")


class MLPredictor:
    """Predictions by the published model, for a person (`predict`) and for the trading minute (`at_minute`).

    Constructing it opens nothing. Args: `settings` and `feed` default to config.py's and to the market that the folders
    belong to; on recorded or simulated bars `now` is the end of what is stored.
    """

    def __init__(self, settings: Settings | None = None, feed: BarFeed | None = None) -> None:
        self._settings = settings or load_settings()
        self._feed = feed
        self._model: ModelInUse | None = None
        self._windows: Windows | None = None
        self._asked: dict[str, np.ndarray] = {}  # the features behind the last minute's predictions, (len(FEATURES),)
        self._own = np.empty(0)  # the model's confidences of these
        self._newest: dict[str, Prediction] = {}
        self.log = PredictionLog(self._settings.MODELS_DIR / "predictions")
        self.seen = SeenLog(self._settings.MODELS_DIR / "predictions")

    def __repr__(self) -> str:
        model = model_in_words(*card_in_use(self._settings.MODELS_DIR))
        return f"MLPredictor(market {self._settings.market}; model {model})"

    def predict(self, symbol: str) -> dict[str, Any]:
        """Predict one symbol from its newest bars.

        Returns symbol, signal (1 buy, 0 hold), confidence (probability of a profitable trade, 0.0 if unknown), price
        (last close, USD), recommendation, meets_threshold, timestamp, model_id, reason. Raises NoModel, NoBars.
        """
        return self.predict_all([symbol])[0]

    def predict_all(self, symbols: Sequence[str]) -> list[dict[str, Any]]:
        """The dicts of `predict`, their bars fetched together."""
        now = self.now()
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
        if prediction.model_confidence is not None:
            reason += f", lowered from {prediction.model_confidence:.2f} by what outcomes have taught"
        opened = is_open(now) and prediction.problem is None
        if not opened and prediction.problem is None:
            reason += "; market is closed"
        if isinstance(feed, RecordedFeed):
            reason += f"; as of {new_york(now):%Y-%m-%d %H:%M}, the end of the stored {feed.market} bars"
        timestamp = new_york(now).isoformat()
        buy = meets and opened
        if prediction.problem is None:
            self.log.add(
                symbol, timestamp, prediction.price, confidence, model.stamp,
                meets=meets, buy=buy, model_confidence=prediction.model_confidence,
            )  # fmt: skip
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
            self.model(self.now())
        except LookupError:
            return False
        return True

    def symbols(self) -> list[str]:
        """The symbols that the market offers now."""
        return self._open().symbols(self.now())

    def model(self, now: datetime) -> PublishedModel:
        """The model for predictions at `now`. Raises NoModel."""
        return self._in_use().at(now)

    def review(self, now: datetime) -> Review | None:
        """What the evenings before `now` have learnt."""
        return self._in_use().review(now)

    def why(self, now: datetime, symbol: str, *, against: bool = False) -> list[dict[str, Any]]:
        """The features that spoke most for (or against) the last prediction of a symbol; none if there is none.

        Each: feature, value, contribution (see `learning.why`). Raises NoModel.
        """
        row = self._asked.get(symbol)
        return [] if row is None else self._in_use().why(now, row, against=against)

    def _in_use(self) -> ModelInUse:
        if self._model is None:
            feed = self._open()
            self._model = ModelInUse(self._settings, feed.market, feed.feed)
        return self._model

    def at_minute(self, now: datetime, symbols: Sequence[str], new_bars: Iterable[Bar], since: int) -> list[Prediction]:
        """Predict all `symbols` at `now` in one batch, with the bars of `Windows.look`. Raises NoModel."""
        self.model(now)
        windows = self._open_windows()
        problems = windows.look(now, symbols, new_bars, since)
        ready = [symbol for symbol, problem in zip(symbols, problems, strict=True) if problem is None]
        matrix = windows.features(ready)
        own, lowest = self._in_use().confidence(now, ready, matrix)
        self._asked, self._own = dict(zip(ready, matrix, strict=True)), own
        by_symbol = dict(zip(ready, zip(own.tolist(), lowest.tolist(), strict=True), strict=True))
        result = []
        for symbol, problem in zip(symbols, problems, strict=True):
            value, final = by_symbol.get(symbol, (float("nan"), float("nan")))
            undefined = "a feature is undefined (no price or volume change)" if value != value else None
            result.append(Prediction(symbol, final, windows.price(symbol), problem or undefined, lowered(value, final)))
        self._newest = {prediction.symbol: prediction for prediction in result}
        return result

    def newest(self, symbol: str) -> Prediction:
        """The last prediction of a symbol that was asked for. KeyError if there is none."""
        return self._newest[symbol]

    def remember(self, now: datetime) -> None:
        """Keep what the last minute's predictions saw, for the evening's verification."""
        symbols = [symbol for symbol, value in zip(self._asked, self._own.tolist(), strict=True) if value == value]
        if not symbols:
            return
        windows, session = self._open_windows(), last_opened(now)
        self.seen.add(
            session.day,
            epoch_minute(now) - 1,
            symbols,
            windows.bars_since(symbols, session.open),
            windows.newest_bars(symbols),
            np.array([self._asked[symbol] for symbol in symbols]),
            self._own[np.isfinite(self._own)],
        )

    def write(self) -> None:
        """Bring predictions, and what they saw, to disk."""
        self.log.write()
        self.seen.write()

    def now(self) -> datetime:
        """The moment of predictions: the end of stored bars, or the machine's time."""
        feed = self._open()
        return feed.end if isinstance(feed, RecordedFeed) else utc_now().replace(microsecond=0)

    def _open_windows(self) -> Windows:
        if self._windows is None:
            self._windows = Windows(self._open(), self._settings.DAYS_BACK)
        return self._windows

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
                # so many calendar days hold no more sessions than that
                self._feed = open_stored(settings, market, sessions=settings.DAYS_BACK)
        return self._feed


def _why(predictor: MLPredictor, symbol: str, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    """Print what spoke for and against a symbol, and the first gate that says no."""
    now = predictor.now()
    told = predictor.predict(symbol)
    console.print(f"{symbol} at {told['timestamp'][:16]}: {told['recommendation']}, {told['reason']}")
    sides = {"for": predictor.why(now, symbol), "against": predictor.why(now, symbol, against=True)}
    table = Table(box=None, pad_edge=False)
    for column in ("spoke", "feature", "value", "contribution"):
        table.add_column(column, justify="left" if column in ("spoke", "feature") else "right")
    for side, spoken in sides.items():
        for each in spoken:
            table.add_row(side, each["feature"], f"{each['value']:.6g}", f"{each['contribution']:+.4f}")
    if table.row_count:
        console.print(table)
        console.print("The strongest of each side; contributions are to the model's raw score, before calibration.")
    books = Books(local_time, read_events(settings.MODELS_DIR / "journal.jsonl"))
    model, review = predictor.model(now), predictor.review(now)
    no = first_no(predictor.newest(symbol), last_opened(now), settings, model.card, review, books)
    closed = None if is_open(now) else "market is closed"
    against = no or closed or "none; only the broker can still refuse (buying power, its own state)"
    console.print(f"first reason not to buy: {against}")
    return 0, {"prediction": told, **sides, "first_no": no or closed}


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    predictor = MLPredictor(settings, open_market(settings, arguments.bars) if arguments.bars else None)
    if arguments.why:
        return _why(predictor, arguments.why.upper(), settings, console)
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
        best, threshold = max(p["confidence"] for p in predictions), settings.MIN_CONFIDENCE
        reach = {level: sum(p["confidence"] >= level for p in predictions) for level in (threshold, 0.60, 0.50)}
        console.print(
            f"No buy signals generated: highest confidence {best:.2f}, threshold {threshold:.2f}; "
            + (
                f"{reach[threshold]} of {len(predictions)} reach it, but the market is closed"
                if reach[threshold]
                else f"{reach[0.60]} would pass at 0.60, {reach[0.50]} at 0.50. Lower MIN_CONFIDENCE to trade more"
            )
        )
    return 0, {"predictions": predictions}


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser("ml_predictor.py", __doc__)
    parser.add_argument("--why", metavar="SYMBOL", help="what spoke for and against it, and which gate says no first")
    return command.run("ml_predictor", _body, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

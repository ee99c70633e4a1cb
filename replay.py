"""Prediction for a replay: all minutes of a session at once, with the same features, model and result as live.

A test on real bars holds it to `MLPredictor.at_minute`, signal for signal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np

from config import Settings
from learning.features import FEATURES, compute_features
from learning.model_store import PublishedModel
from learning.prediction_log import PredictionLog
from market.bars import Bar, epoch_minutes
from market.hours import epoch_minute, last_opened, market_time
from market.recorded_feed import RecordedFeed
from ml_predictor import ModelInUse, Prediction


class ReplayPredictor:
    """`MLPredictor`'s part in the trading minute, over a market that lies in the past.

    Features of the whole table are computed once: no row depends on a later one (tests/test_features.py). Confidences
    are computed session by session, with the model that serves at its first minute.
    """

    def __init__(self, settings: Settings, feed: RecordedFeed) -> None:
        self.log = PredictionLog(settings.MODELS_DIR / "predictions")
        self._model = ModelInUse(settings, feed.market, feed.feed)
        table = feed.table
        self._minutes = epoch_minutes(table["timestamp"])
        self._sessions = market_time(self._minutes).session
        self._symbols, self._close = table["symbol"].to_numpy(), table["close"].to_numpy()
        self._features = compute_features(table)[FEATURES].to_numpy()
        self._page: dict[int, list[Prediction]] = {}
        self._page_of: tuple[str, datetime] | None = None

    def model(self, now: datetime) -> PublishedModel:
        """The model for predictions at `now`. Raises NoModel."""
        return self._model.at(now)

    def at_minute(self, now: datetime, symbols: Sequence[str], new_bars: Iterable[Bar]) -> list[Prediction]:
        """As `MLPredictor.at_minute`; a symbol without a bar in the last minute is not in the list."""
        model = self.model(now)
        session = last_opened(now)
        if self._page_of != (model.stamp, session.open):
            self._page = self._predict_session(model, epoch_minute(session.open))
            self._page_of = (model.stamp, session.open)
        return self._page.get(epoch_minute(now) - 1, [])

    def _predict_session(self, model: PublishedModel, open_minute: int) -> dict[int, list[Prediction]]:
        rows = np.flatnonzero(self._sessions == market_time(np.array([open_minute])).session[0])
        features = self._features[rows]
        defined = np.isfinite(features).all(axis=1)
        confidence = np.full(len(rows), np.nan)
        if defined.any():
            confidence[defined] = model.confidence(features[defined])
        page: dict[int, list[Prediction]] = defaultdict(list)
        columns = (self._minutes, self._symbols, self._close)
        for minute, symbol, close, value in zip(*(c[rows].tolist() for c in columns), confidence.tolist(), strict=True):
            problem = None if value == value else "not warmed up, or a feature is undefined"
            page[minute].append(Prediction(symbol, value, close, problem))
        return dict(page)

"""The model that serves and what the evenings have learnt since, for live prediction and replay alike."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from config import Settings
from learning.costs import CostAdjustment
from learning.features import FEATURES
from learning.model_store import ModelStore, NoModel, PublishedModel
from learning.reviews import Review, Reviews
from learning.why import Trees, contributions, reasons, trees_of
from learning.win_rates import WinRate, corrected

log = logging.getLogger(__name__)

Array = NDArray[np.float64]


class Prediction(NamedTuple):
    """One symbol at one minute; `confidence` is NaN where nothing was predicted, and `problem` says why.

    `model_confidence` is the model's own where outcomes (learnt costs, win rates) have lowered it, else None.
    """

    symbol: str
    confidence: float
    price: float
    problem: str | None
    model_confidence: float | None = None

    @property
    def own(self) -> float:
        """The model's own confidence."""
        return self.confidence if self.model_confidence is None else self.model_confidence


def lowered(own: float, final: float) -> float | None:
    """`model_confidence` of a prediction."""
    return own if final < own else None


class ModelInUse:
    """Takes up another model, and another review, as soon as it is there."""

    def __init__(self, settings: Settings, market: str, feed: str) -> None:
        self._store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
        self._reviews = Reviews(settings.MODELS_DIR / "reviews")
        self._source = (market, feed)
        self._loaded: PublishedModel | None = None
        self._seen: object = None
        self._train_end = datetime.max.replace(tzinfo=UTC)
        self._columns: list[int] = []  # of the model's features among FEATURES
        self._trees: Trees | None = None
        self._review: Review | None = None
        self._review_seen: object = None
        self._costs: CostAdjustment | None = None
        self._rates: list[WinRate] = []

    def at(self, now: datetime) -> PublishedModel:
        """The model for predictions at `now`. Raises NoModel, with the documented words and the cure."""
        signature = self._store.version()
        if self._loaded is None or signature != self._seen:
            self._loaded = self._checked(self._store.load(suits=lambda card: self._suits(card, now)))
            self._seen = signature
            self._train_end = datetime.fromisoformat(self._loaded.card["train_end"])
            self._columns = [FEATURES.index(name) for name in self._loaded.features]
            self._trees, self._review_seen = None, None
        if self._train_end > now:
            raise NoModel(
                f"Model not ready for predictions: {self._loaded.stamp} is from the future, it learnt from trades "
                f"settled at {self._train_end:%FT%R}, now is {now:%FT%R}. "
                f"Run: python ml_trainer.py --as-of {now:%FT%R}Z"
            )
        return self._loaded

    def review(self, now: datetime) -> Review | None:
        """What the evenings before `now` have learnt, as of the newest one."""
        signature = (self._reviews.signature(), now.date())
        if signature != self._review_seen:
            self._review, self._review_seen = self._reviews.newest(now), signature
            self._costs = self._adjustment()
            self._rates = [WinRate.from_record(each) for each in self._review["win_rates"]] if self._review else []
        return self._review

    def confidence(self, now: datetime, symbols: Sequence[str], matrix: Array) -> tuple[Array, Array]:
        """Probability of a profitable trade for n symbols with features (n, len(FEATURES)): by the model alone, and
        after what outcomes have taught (win rates, and what fills cost beyond the label's assumption); NaN where a
        feature is undefined."""
        model = self.at(now)
        self.review(now)
        used = matrix[:, self._columns]
        defined = np.isfinite(used).all(axis=1)
        own = np.full(len(matrix), np.nan)
        if defined.any():
            own[defined] = model.confidence(used[defined])
        final = corrected(own, self._rates)
        if self._costs is not None and defined.any():
            cost = self._costs.extra_cost(symbols)
            final[defined] = self._costs.adjusted(final[defined], cost[defined])
        return own, final

    def why(self, now: datetime, row: Array, *, against: bool = False) -> list[dict[str, Any]]:
        """The features that spoke most for (or against) a trade, of one row of FEATURES; see `learning.why`."""
        model = self.at(now)
        if self._trees is None:
            self._trees = trees_of(model.classifier.estimator)
        used = row[self._columns]
        spoken = contributions(self._trees, model.scaler.transform(used[np.newaxis])[0])
        return reasons(spoken, model.features, used, against=against)

    def _adjustment(self) -> CostAdjustment | None:
        """None where nothing was learnt that acts."""
        model, review = self._loaded, self._review
        costs = {c["symbol"]: c["extra_cost"] for c in review["costs"] if c["extra_cost"] > 0} if review else {}
        if not costs or model is None:
            return None
        try:
            rows = self._store.out_of_fold(model.stamp)
        except NoModel as error:
            log.warning("no confidence is left to symbols of learnt cost: %s", error)
            return CostAdjustment(np.empty(0), np.empty(0), costs)
        return CostAdjustment(rows["confidence"].to_numpy(), rows["net_return"].to_numpy(), costs)

    def _suits(self, card: dict[str, Any], now: datetime) -> bool:
        """Whether the model of a card may serve instead of one that cannot."""
        source, known = (card["market"], card["feed"]), set(card["features"]) <= set(FEATURES)
        return source == self._source and known and datetime.fromisoformat(card["train_end"]) <= now

    def _checked(self, model: PublishedModel) -> PublishedModel:
        card, stamp = model.card, model.stamp
        if (card["market"], card["feed"]) != self._source:
            raise NoModel(
                f"Model not ready for predictions: {stamp} learnt from market {card['market']} (feed {card['feed']}), "
                f"here is {self._source[0]} (feed {self._source[1]}). Run: python ml_trainer.py"
            )
        if unknown := sorted(set(model.features) - set(FEATURES)):
            raise NoModel(
                f"Model not ready for predictions: {stamp} learnt from features that are no more: "
                f"{', '.join(unknown)}. Run: python build_dataset.py, then python ml_trainer.py"
            )
        return model

"""Trading the past: the same trader, scheduler and books as live, on a replay clock and the local paper broker.

Only prediction is done another way, all minutes of a session at once; tests on real bars hold it to
`MLPredictor.at_minute`, signal for signal, and a whole replay to a live run, line for line of the journal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

import command
from config import Settings
from desk.brokers import Broker
from desk.journal import Journal
from desk.paper_broker import PaperBroker
from learning.evaluation import FOLD_SESSIONS, MIN_TRAIN_SESSIONS
from learning.features import FEATURES, compute_features
from learning.model_store import NoModel, PublishedModel
from learning.prediction_log import PredictionLog
from learning.reviews import Review
from market.bars import Bar, NoBars, epoch_minutes, symbol_slices
from market.clock import ReplayClock
from market.hours import (
    Session,
    at_new_york,
    epoch_minute,
    last_closed,
    last_opened,
    local_time,
    market_time,
    next_session,
)
from market.recorded_feed import RecordedFeed
from market_scheduler import MarketScheduler
from model_in_use import ModelInUse, Prediction, lowered
from nightly import nightly_training
from review import evening_review
from sources import stamp_of
from trader import LiveTrader

# What a first model is judged on, a session that warms the features up, and one whose trades are not settled yet.
MIN_HISTORY_SESSIONS = MIN_TRAIN_SESSIONS + 2 * FOLD_SESSIONS + 2


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
        self._rows_of = dict(symbol_slices(table["symbol"]))
        self._symbols, self._close = table["symbol"].to_numpy(), table["close"].to_numpy()
        self._features = compute_features(table)[FEATURES].to_numpy()
        self._every = set(feed.symbols(feed.end))
        self._page: dict[int, list[Prediction]] = {}
        self._page_of: tuple[str, datetime] | None = None

    def model(self, now: datetime) -> PublishedModel:
        """The model for predictions at `now`. Raises NoModel."""
        return self._model.at(now)

    def at_minute(self, now: datetime, symbols: Sequence[str], new_bars: Iterable[Bar], since: int) -> list[Prediction]:
        """As `MLPredictor.at_minute`, but a symbol without a bar in the last minute is not in the list."""
        model = self.model(now)
        session = last_opened(now)
        if self._page_of != (model.stamp, session.open):
            self._page = self._predict_session(session, now)
            self._page_of = (model.stamp, session.open)
        page = self._page.get(epoch_minute(now) - 1, [])
        wanted = set(symbols)
        if self._every <= wanted:
            return page
        return [prediction for prediction in page if prediction.symbol in wanted]

    def review(self, now: datetime) -> Review | None:
        """What the evenings before `now` have learnt."""
        return self._model.review(now)

    def why(self, now: datetime, symbol: str) -> list[dict[str, Any]]:
        """As `MLPredictor.why`, of the prediction made at `now`."""
        rows, minute = self._rows_of.get(symbol, slice(0, 0)), epoch_minute(now) - 1
        row = rows.start + int(np.searchsorted(self._minutes[rows], minute))
        there = row < rows.stop and self._minutes[row] == minute
        return self._model.why(now, self._features[row]) if there else []

    def remember(self, now: datetime) -> None:
        """Nothing: recorded bars are the final ones, so there is nothing to verify."""

    def write(self) -> None:
        """Bring predictions to disk."""
        self.log.write()

    def _predict_session(self, session: Session, now: datetime) -> dict[int, list[Prediction]]:
        rows = np.flatnonzero(self._sessions == market_time(np.array([epoch_minute(session.open)])).session[0])
        own, final_confidence = self._model.confidence(now, self._symbols[rows], self._features[rows])
        page: dict[int, list[Prediction]] = defaultdict(list)
        columns = (self._minutes[rows], self._symbols[rows], self._close[rows], own, final_confidence)
        for minute, symbol, close, value, final in zip(*(column.tolist() for column in columns), strict=True):
            problem = None if value == value else "not warmed up, or a feature is undefined"
            page[minute].append(Prediction(symbol, final, close, problem, lowered(value, final)))
        return dict(page)


@dataclass(frozen=True)
class Replay:
    """What a replay left behind: the trader with its books, and how often each duty failed."""

    trader: LiveTrader
    failures: Counter[str]


def history_before(feed: RecordedFeed, sessions: Sequence[Session]) -> list[Session]:
    """The sessions before the traded ones. NoBars if they are too few to train a first model on."""
    history = [session for session in feed.sessions() if session.open < sessions[0].open]
    if len(history) < MIN_HISTORY_SESSIONS:
        raise NoBars(
            f"Insufficient training data: {len(history)} sessions before {sessions[0].day}, {MIN_HISTORY_SESSIONS} are "
            "needed. Give more bars, or trade fewer sessions with --days"
        )
    return history


def run_replay(
    settings: Settings,
    feed: RecordedFeed,
    sessions: Sequence[Session],
    console: Console,
    *,
    retrain: str = "daily",
    entries: bool = True,
    broker: Broker | None = None,
) -> Replay:
    """Trade `sessions` of the past as if they were today: the same trader, scheduler, books and broker rules as live.

    Before the first one a model is trained on what came before, unless one that may serve is there. `retrain`: daily,
    weekly (after the week's last session) or never; `broker` is the local paper account by default. Books that reach
    into `sessions` are continued.
    Raises NoBars with fewer than MIN_HISTORY_SESSIONS before them, NoModel if none can be trained.
    """
    history = history_before(feed, sessions)
    eve = at_new_york(history[-1].day, settings.TRAIN_TIME)
    predictor = ReplayPredictor(settings, feed)
    journal = Journal(settings.MODELS_DIR / "journal.jsonl", stamp_of(eve), sync_each_order=False)
    broker = broker or PaperBroker(
        settings.MODELS_DIR / "paper_account.json",
        settings.PAPER_CASH,
        settings.ROUND_TRIP_COST_PCT,
        save_each_change=False,
    )
    with journal, command.progress(console) as bar:
        say = partial(bar.console.print, soft_wrap=not console.is_terminal)  # a file or pipe gets whole lines
        trader = LiveTrader(
            settings, feed=feed, broker=broker, journal=journal, predictor=predictor, entries=entries, say=say
        )
        trader.start(eve)

        def due(now: datetime) -> bool:
            if now == eve:
                return not _serves(predictor, now)
            return retrain == "daily" or (retrain == "weekly" and _ends_week(now))

        training, review = nightly_training(settings, feed, wait=True, due=due), evening_review(settings, feed)
        scheduler = MarketScheduler(settings, trader, training, say, review)
        done = trader.books.last_minute  # an earlier run may have ended here; the books are never traded twice
        task = bar.add_task("training a first model", total=len(sessions))
        try:
            if not done:
                scheduler.tick(eve)
                predictor.model(eve)
            elif done >= epoch_minute(sessions[-1].close):
                say(f"these sessions are traded already: the books reach {local_time(done)[:16]}")
            for session in sessions:
                bar.update(task, description=f"session {session.day}")
                clock = ReplayClock([session], settings.REBALANCE_TIME, settings.TRAIN_TIME)
                scheduler.run(now for now in clock if epoch_minute(now) > done)
                bar.advance(task)
        finally:
            trader.keeping.flush()
    return Replay(trader, scheduler.failures)


def _serves(predictor: ReplayPredictor, now: datetime) -> bool:
    try:
        predictor.model(now)
    except NoModel:
        return False
    return True


def _ends_week(now: datetime) -> bool:
    """Whether the last session that has closed was its week's last; by now the next week's first day may have begun."""
    return next_session(now).day.isocalendar()[:2] != last_closed(now).day.isocalendar()[:2]

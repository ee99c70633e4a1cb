"""What an evening learns from the day, before the training: costs, followed trades, drift, and whether live was right.

It reads the books, the predictions and the day's final bars, writes models/reviews/<date>.json, and speaks in a few
lines. From the next minute on the predictor reckons with the costs it learnt, and the trader knows its drift light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from build_dataset import history
from config import Settings
from desk.books import BY_HAND, Books
from desk.orders import Trade
from display.figures import LEARNT, plural
from learning.costs import LearntCost, learn, legs
from learning.drift import Drift, FeatureDrift, calibration_drift, gaps_by_day, judge, overall, signal_rate
from learning.features import FEATURES, compute_features
from learning.followed import NOT_TAKEN, SHADOW, Followed, evidence, follow, not_taken, settle, shadows
from learning.labels import had_its_time, label_trades
from learning.model_store import ModelStore, NoModel, PublishedModel
from learning.prediction_log import PredictionLog
from learning.reviews import Review, Reviews
from learning.seen_log import SeenLog
from learning.verification import verify
from learning.win_rates import win_rates
from market.feeds import BarFeed
from market.hours import NEW_YORK, Session, epoch_minute, market_time
from memory import give_back
from sources import stamp_of

WARM_UP_SESSIONS = 4  # before the day, so that thin symbols are warm too
SETTLED_SESSIONS = 5  # recent ones by which the calibration of live predictions is judged
OUTCOME_SESSIONS = 60  # whose outcomes make the win rates
NAMED = 4  # symbols named in a line


def evening_review(settings: Settings, feed: BarFeed) -> Callable[[datetime, Books], str]:
    """A function that reviews the day of `now` and returns what there is to say; see `review`."""

    def make(now: datetime, books: Books) -> str:
        words = review(settings, feed, books, now)["words"]
        give_back()  # a month of bars was read, and this process goes on for weeks
        return "\n  ".join(words)

    return make


def review(settings: Settings, feed: BarFeed, books: Books, now: datetime) -> Review:
    """Review the last session that has closed at `now`, and write it down. Raises NoBars, and what the feed raises."""
    folder, sessions = settings.MODELS_DIR, history(settings, now)
    session = sessions[-1]
    log = PredictionLog(folder / "predictions")
    days = {s.day: log.of_day(str(s.day)) for s in sessions[-1 - SETTLED_SESSIONS :]}
    predictions = days[session.day]
    followed_file = Followed(folder / "followed_trades.jsonl")
    followed = followed_file.read(stamp_of(now))
    trades = [t for t in books.trades.values() if t.qty and t.entry_minute >= epoch_minute(sessions[0].open)]
    symbols = {*predictions["symbol"], *followed["symbol"][followed["net_return"].isna()], *(t.symbol for t in trades)}
    bars = feed.bars(sorted(symbols), sessions[0].open, now)
    labels = label_trades(bars, **settings.trade_rules())

    new = _to_follow(books, session, predictions, days[sessions[-2].day] if len(sessions) > 1 else predictions[:0])
    for part in new:
        followed = follow(followed, part)
    followed = settle(followed, labels, settings.MAX_HOLDING_MINUTES)
    followed_file.write(followed)

    costs = learn(legs(_fills(trades), bars, settings.ROUND_TRIP_COST_PCT), _number(session))
    model = _model(settings, predictions)
    features = _features(bars, sessions[-1 - WARM_UP_SESSIONS :], session)
    drift = _drift(model, features, predictions, _gaps(days, labels, settings, now))
    verification = _verification(settings, model, session, bars, sessions[-1 - WARM_UP_SESSIONS :])
    turned_down = [s for s in books.signals_on(str(session.day)) if s["reason"].startswith(LEARNT)]
    verdicts = {kind: evidence(followed, kind) for kind in (SHADOW, NOT_TAKEN)}
    record: Review = {
        "session": str(session.day),
        "as_of": now.isoformat(),
        "model_id": model.stamp if model else None,
        "drift": drift,
        "costs": [cost.to_record() for cost in costs],
        "turned_down": turned_down,
        "win_rates": [rate.to_record() for rate in win_rates(_outcomes(books, followed))],
        "followed": {
            "waiting": int(followed["net_return"].isna().sum()),
            "settled": int(followed["net_return"].notna().sum()),
            "evidence": {kind: asdict(verdict) for kind, verdict in verdicts.items()},
        },
        "verification": verification,
    }
    record["words"] = list(_words(record, costs))
    Reviews(folder / "reviews").write(session.day, record)
    return record


def _to_follow(
    books: Books, session: Session, predictions: pd.DataFrame, before: pd.DataFrame
) -> Iterable[pd.DataFrame]:
    yield shadows(predictions, before)
    yield not_taken(books.signals_on(str(session.day)), predictions)


def _fills(trades: Sequence[Trade]) -> pd.DataFrame:
    """The trades as `learning.costs.legs` reads them."""
    rows = [
        (
            t.symbol, t.entry_minute, t.price,
            np.nan if t.exit_time is None else epoch_minute(datetime.fromisoformat(t.exit_time)),
            np.nan if t.exit_price is None else t.exit_price,
            t.exit_reason, t.stop_loss, t.take_profit,
        )
        for t in trades
    ]  # fmt: skip
    names = ["symbol", "entry_minute", "entry_price", "exit_minute", "exit_price", "exit_reason"]
    return pd.DataFrame(rows, columns=[*names, "stop_level", "target_level"])


def _outcomes(books: Books, followed: pd.DataFrame) -> pd.DataFrame:
    """How signals of the last OUTCOME_SESSIONS came out, taken or not: a bin that is turned down can heal.

    A trade that a person sold is none: its end says nothing about the confidence.
    """
    closed = [t for t in books.trades.values() if t.status == "CLOSED" and t.exit_reason != BY_HAND]
    rows = [(t.model_confidence, float((t.pnl_amount or 0.0) > 0), t.entry_time[:10]) for t in closed]
    missed = followed[(followed["kind"] == NOT_TAKEN) & followed["net_return"].notna()]
    days = missed["timestamp"].dt.tz_convert(NEW_YORK).dt.strftime("%Y-%m-%d")
    rows += list(zip(missed["confidence"], missed["label"], days, strict=True))
    outcomes = pd.DataFrame(rows, columns=["confidence", "won", "session"])
    return outcomes[outcomes["session"].isin(sorted(outcomes["session"].unique())[-OUTCOME_SESSIONS:])]


def _number(session: Session) -> int:
    return int(market_time(np.array([epoch_minute(session.open)])).session[0])


def _model(settings: Settings, predictions: pd.DataFrame) -> PublishedModel | None:
    """The model that spoke last on the day; by now another may serve."""
    newest = predictions.loc[predictions["timestamp"].idxmax(), "model_id"] if len(predictions) else None
    try:
        return ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load(newest)
    except NoModel:
        return None


def _features(bars: pd.DataFrame, sessions: Sequence[Session], session: Session) -> pd.DataFrame:
    """The features of the day's final bars, where all are defined."""
    recent = bars[bars["timestamp"] >= sessions[0].open].reset_index(drop=True)
    features = compute_features(recent)
    return features[(features["timestamp"] >= session.open) & features[FEATURES].notna().all(axis=1)]


def _gaps(days: Mapping[Any, pd.DataFrame], labels: pd.DataFrame, settings: Settings, now: datetime) -> list[float]:
    """Mean confidence less share profitable of each recent session whose predictions have all had their time."""
    gaps: list[float] = []
    known = labels[["symbol", "timestamp", "label"]].dropna()
    for day, made in days.items():
        if made.empty or not had_its_time(made["timestamp"], now, settings.MAX_HOLDING_MINUTES).all():
            continue
        settled = made.merge(known, on=["symbol", "timestamp"])
        own = settled["model_confidence"].to_numpy()
        gaps += gaps_by_day(own, settled["label"].to_numpy(), np.full(len(settled), str(day)))
    return gaps


def _drift(
    model: PublishedModel | None, features: pd.DataFrame, predictions: pd.DataFrame, gaps: list[float]
) -> dict[str, Any]:
    """The evening's light, and the three it is the worst of."""
    if model is None or predictions.empty:
        why = "no model served" if model is None else "nothing was predicted"
        return {"light": None, "words": why, "parts": {}, "features": []}
    card = model.card["drift"]
    shift: FeatureDrift = judge(card["features"], features[model.features].to_numpy(), model.features)
    rate = float((predictions["model_confidence"] >= model.card["min_confidence"]).mean())  # as its rates were counted
    parts = {
        "features": Drift(shift.light, shift.words),
        "signals": signal_rate(card["signal_rates"], rate),
        "calibration": calibration_drift(card["gaps"], gaps),
    }
    light = overall(*(part.light for part in parts.values()))
    worst = [part.words for part in parts.values() if part.light == light and light != "green"]
    return {
        "light": light,
        "words": "; ".join(worst) or "as on the days that the model learnt from",
        "parts": {name: asdict(part) for name, part in parts.items()},
        "features": [asdict(each) for each in shift.features],
    }


def _verification(
    settings: Settings, model: PublishedModel | None, session: Session, bars: pd.DataFrame, warm: Sequence[Session]
) -> dict[str, Any] | None:
    """The day's predictions once more from its final bars; None where nothing was kept to compare with."""
    seen_log = SeenLog(settings.MODELS_DIR / "predictions")
    seen = seen_log.read(session.day)
    seen_log.drop_before(session.day)
    if seen is None or model is None:
        return None
    columns = [FEATURES.index(name) for name in model.features]
    recent = bars[bars["timestamp"] >= warm[0].open].reset_index(drop=True)
    found = verify(seen, recent, lambda matrix: model.confidence(matrix[:, columns]), settings.MIN_CONFIDENCE, FEATURES)
    return {**found.record(), "words": found.words}


def _words(record: Review, costs: Sequence[LearntCost]) -> Iterable[str]:
    drift, followed = record["drift"], record["followed"]
    yield f"drift {drift['light'] or 'unknown'}: {drift['words']}"
    acting = sorted((cost for cost in costs if cost.extra_cost > 0), key=lambda cost: -cost.extra_cost)
    if acting:
        named = ", ".join(f"{cost.symbol} {cost.extra_cost:.2%}" for cost in acting[:NAMED])
        more = ", ..." if len(acting) > NAMED else ""
        down = plural(len(record["turned_down"]), "signal")
        yield f"learnt costs beyond the assumed ones: {named}{more}; {down} turned down for it today"
    counts = f"{followed['settled']} ended, {followed['waiting']} open"
    yield f"trades not made: {counts}; {followed['evidence'][SHADOW]['reason']}"
    if record["verification"]:
        yield record["verification"]["words"]

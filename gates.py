"""Which gate says no first to buying.

prediction   bars fresh, features warm and defined
threshold    the model's own confidence reaches MIN_CONFIDENCE
learnt cost  and so does what is left of it after the symbol's extra cost
rules        --no-entries, REQUIRE_PROOF, red drift, one position a symbol, MAX_OPEN_POSITIONS, refused today
broker       books and broker agree, nothing hinders, a share is affordable
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config import Settings
from desk.books import Books
from desk.risk import Limits, may_open
from figures import LEARNT
from learning.reviews import Review
from market.hours import Session
from model_in_use import Prediction


def limits_of(settings: Settings) -> Limits:
    """The settings that the desk's rules need."""
    return Limits(
        settings.MAX_POSITION_SIZE,
        settings.MAX_OPEN_POSITIONS,
        settings.STOP_LOSS_PCT,
        settings.TAKE_PROFIT_PCT,
        settings.RISK_PER_TRADE_PCT,
        settings.MAX_HOLDING_MINUTES,
    )


def first_no(
    prediction: Prediction,
    session: Session,
    settings: Settings,
    card: Mapping[str, Any],
    review: Review | None,
    books: Books,
    *,
    entries: bool = True,
) -> str | None:
    """The first gate that says no to buying, of those that need no broker; None if all let it pass."""
    threshold = settings.MIN_CONFIDENCE
    if prediction.problem is not None:
        return prediction.problem
    if prediction.own < threshold:
        return f"confidence {prediction.own:.2f} is below {threshold:.2f}"
    if prediction.confidence < threshold:
        return f"{LEARNT}: confidence {prediction.own:.2f} becomes {prediction.confidence:.2f}"
    if not entries:
        return "watching only (--no-entries)"
    if settings.REQUIRE_PROOF and not card["proven"]:
        return "the model is unproven (REQUIRE_PROOF)"
    if settings.STOP_ENTRIES_ON_RED_DRIFT and review is not None and review["drift"]["light"] == "red":
        return "the drift light is red (STOP_ENTRIES_ON_RED_DRIFT)"
    if (no := may_open(prediction.symbol, set(books.live_trades()), limits_of(settings))) is not None:
        return no
    return books.refused(session.day, prediction.symbol)

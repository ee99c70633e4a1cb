"""Which gate says no first to buying.

prediction   bars fresh, features warm and defined
threshold    the model's own confidence reaches MIN_CONFIDENCE
learnt cost  and so does what is left of it after the symbol's extra cost
stopped      --no-entries, halted, the disk takes nothing, books and broker could not be compared
rules        REQUIRE_PROOF, red drift, one position a symbol, MAX_OPEN_POSITIONS, refused today
last gate    desk/risk.py: a share is affordable, and the order within every limit
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config import Settings
from desk.books import Books
from desk.risk import Limits, may_open
from display.figures import LEARNT
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
        settings.MAX_POSITION_PCT,
        settings.MAX_EXPOSURE_PCT,
        settings.MAX_ENTRIES_PER_SYMBOL,
        settings.MAX_ORDERS_PER_DAY,
        settings.MAX_DAILY_LOSS_PCT,
        settings.MAX_DRAWDOWN_PCT,
    )


def first_no(
    prediction: Prediction,
    session: Session,
    settings: Settings,
    card: Mapping[str, Any],
    review: Review | None,
    books: Books,
    stopped: str | None = None,
) -> str | None:
    """The first gate that says no to buying, of those that need no broker; None if all let it pass. `stopped`: why
    nothing at all may be bought just now."""
    threshold = settings.MIN_CONFIDENCE
    if prediction.problem is not None:
        return prediction.problem
    if prediction.own < threshold:
        return f"confidence {prediction.own:.2f} is below {threshold:.2f}"
    if prediction.confidence < threshold:
        return f"{LEARNT}: confidence {prediction.own:.2f} becomes {prediction.confidence:.2f}"
    if stopped is not None:
        return stopped
    if settings.REQUIRE_PROOF and not card["proven"]:
        return "the model is unproven (REQUIRE_PROOF)"
    if settings.STOP_ENTRIES_ON_RED_DRIFT and review is not None and review["drift"]["light"] == "red":
        return "the drift light is red (STOP_ENTRIES_ON_RED_DRIFT)"
    if (no := may_open(prediction.symbol, set(books.live_trades()), limits_of(settings))) is not None:
        return no
    return books.refused(session.day, prediction.symbol)

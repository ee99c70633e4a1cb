"""Which gate says no first: the order of the gates, and each alone."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from trading import settings_in

from config import Settings
from desk.books import Books
from desk.orders import Execution
from gates import first_no, limits_of
from learning.reviews import Review
from market.hours import epoch_minute, local_time, session_on
from model_in_use import Prediction

SESSION = session_on(date(2026, 11, 24))
OPEN = epoch_minute(SESSION.open)
NAN = float("nan")


def review(light: str | None) -> Review:
    return {"drift": {"light": light, "words": "a test"}}


def books(*symbols: str, refused: str | None = None) -> Books:
    """Books that hold `symbols`, and one whose entry of today was `refused`."""
    result = Books(local_time, [{"kind": "journal", "started": "stamp"}])
    for symbol in [*symbols, *([refused] if refused else [])]:
        order_id = result.entry_id(SESSION.day, symbol)
        result.apply(
            {
                "kind": "intent", "order_id": order_id, "symbol": symbol, "qty": 1, "price": 100.0, "confidence": 0.7,
                "minute": OPEN + 1, "stop_loss": 0.02, "take_profit": 0.04, "model_id": "m", "market": "recorded",
            }
        )  # fmt: skip
        if symbol == refused:
            name = f"{order_id}/rejected"
            told = Execution(name, "rejected", order_id, symbol, "BUY", 1, 0.0, OPEN + 1, "halted")
            result.apply({"kind": "execution", "execution": asdict(told)})
    return result


def asked(settings: Settings, **changes: Any) -> str | None:
    """The first no to a symbol AAA that every gate lets pass, but for the `changes`."""
    passing: dict[str, Any] = {
        "prediction": Prediction("AAA", 0.8, 100.0, None),
        "session": SESSION,
        "settings": settings,
        "card": {"proven": True},
        "review": None,
        "books": books(),
    }
    return first_no(**{**passing, **changes})


def test_the_gates_say_no_in_their_order_and_each_is_heard_once_those_before_it_let_pass(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path, REQUIRE_PROOF=True, STOP_ENTRIES_ON_RED_DRIFT=True, MAX_OPEN_POSITIONS=2, MIN_CONFIDENCE=0.65
    )
    shut: dict[str, Any] = {
        "prediction": Prediction("AAA", NAN, 100.0, "warming up: 12 of 390 bars"),
        "card": {"proven": False},
        "review": review("red"),
        "books": books("AAA", "BBB"),
        "stopped": "watching only (--no-entries)",
    }
    opened: list[tuple[dict[str, Any], str | None]] = [
        ({}, "warming up: 12 of 390 bars"),
        ({"prediction": Prediction("AAA", 0.3, 100.0, None, 0.64)}, "confidence 0.64 is below 0.65"),
        (
            {"prediction": Prediction("AAA", 0.3, 100.0, None, 0.7)},
            "learnt from outcomes: confidence 0.70 becomes 0.30",
        ),
        ({"prediction": Prediction("AAA", 0.65, 100.0, None, 0.7)}, "watching only (--no-entries)"),
        ({"stopped": None}, "the model is unproven (REQUIRE_PROOF)"),
        ({"card": {"proven": True}}, "the drift light is red (STOP_ENTRIES_ON_RED_DRIFT)"),
        ({"review": review("amber")}, "already held"),
        ({"books": books("BBB", "CCC")}, "2 positions are open (MAX_OPEN_POSITIONS)"),
        ({"books": books("BBB", refused="AAA")}, "not again today: halted"),
        ({"books": books("BBB", refused="CCC")}, None),
    ]
    for change, no in opened:
        shut |= change
        assert asked(settings, **shut) == no


@pytest.mark.parametrize("settings_say", [True, False])
@pytest.mark.parametrize("light", ["red", "amber", "green", None])
def test_only_a_red_light_stops_entries_and_only_where_the_setting_says_so(
    tmp_path: Path, settings_say: bool, light: str | None
) -> None:
    settings = settings_in(tmp_path, STOP_ENTRIES_ON_RED_DRIFT=settings_say)
    no = asked(settings, review=review(light))
    assert (no is not None) == (settings_say and light == "red")


def test_an_unproven_model_buys_unless_proof_is_required(tmp_path: Path) -> None:
    assert asked(settings_in(tmp_path), card={"proven": False}) is None
    assert asked(settings_in(tmp_path, REQUIRE_PROOF=True), card={"proven": False}) is not None


@pytest.mark.parametrize(("own", "final", "no"), [(0.65, 0.65, False), (0.6499, 0.6499, True), (0.9, 0.65, False)])
def test_the_threshold_itself_is_enough_before_and_after_what_was_learnt(
    tmp_path: Path, own: float, final: float, no: bool
) -> None:
    prediction = Prediction("AAA", final, 100.0, None, own if final < own else None)
    assert (asked(settings_in(tmp_path, MIN_CONFIDENCE=0.65), prediction=prediction) is not None) == no


def test_the_limits_of_the_desk_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path, MAX_POSITION_SIZE=7, MAX_OPEN_POSITIONS=3, STOP_LOSS_PCT=0.011, TAKE_PROFIT_PCT=0.033,
        RISK_PER_TRADE_PCT=0.005, MAX_HOLDING_MINUTES=None,
    )  # fmt: skip
    limits = limits_of(settings)
    assert (limits.max_position_size, limits.max_open_positions, limits.stop_loss) == (7, 3, 0.011)
    assert (limits.take_profit, limits.risk_per_trade, limits.max_holding_minutes) == (0.033, 0.005, None)

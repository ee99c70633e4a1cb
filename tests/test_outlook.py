"""What would change a verdict is computed from the gates that the verdict itself went through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reporting import CARD
from test_verdicts import judged_table, with_skill

from display.outlook import MOST_DAYS, days_to_pass, undoing_day, what_would_change
from learning.money import by_day, money, traded
from learning.verdicts import above_zero, proven

NO_HELP = "More days like these would not help; it takes another model, or better results on newer days: "
ABOVE = np.array([0.01, 0.02, 0.03] * 4)  # a daily margin over matched entries that is above 0 beyond chance


def card(**money_: float | None) -> dict[str, Any]:
    """A card whose model passes every gate, but for what is said otherwise; unproven."""
    passing = {"trades": 40, "days_traded": 9, "daily": 0.02, "daily_standard_error": 0.005}
    return CARD | {"money": CARD["money"] | passing | money_}


def spread(mean: float, deviation: float, days: int) -> NDArray[np.float64]:
    """So many daily values with this mean and this standard deviation."""
    values = np.random.default_rng(days).normal(size=days)
    return mean + deviation * (values - values.mean()) / values.std(ddof=1)


# --- more days -------------------------------------------------------------------------------------------------------


def test_too_few_trades_are_said_with_the_days_that_they_take_at_the_present_rate() -> None:
    words = what_would_change(card(trades=12), ABOVE)  # of 20: 12 on 12 days, so 8 more days
    assert words == (
        "More days like those so far would be enough: 8 more trades needed, 12 in 12 days so far. That makes 20 judged "
        "days in place of 12 (a DAYS_BACK of about 41); with better results on newer days it takes fewer."
    )  # 20 sessions hold 12 judged days, so 28 hold 20; 28 sessions are 28 x 365 / 252 = 40.6 calendar days


def test_a_trade_in_many_days_is_a_rate_of_its_own_and_not_zero_a_day() -> None:
    words = what_would_change(card(trades=1, days=24, days_traded=1), ABOVE)
    assert "19 more trades needed, 1 in 24 days so far" in words
    assert "That makes 480 judged days" in words


def test_trades_on_too_few_days_need_more_such_days() -> None:
    words = what_would_change(card(days_traded=3), ABOVE)  # of 5: 3 on 12 days, so 20
    assert "2 more days with a trade needed, 3 so far. That makes 20 judged days" in words


def test_profit_within_chance_needs_the_days_that_students_test_asks_for() -> None:
    words = what_would_change(card(daily=0.01, daily_standard_error=0.008), ABOVE)
    needed = next(n for n in range(12, 99) if above_zero(spread(0.01, 0.008 * np.sqrt(12), n)))
    assert needed > 15
    assert (
        "daily profit of +1.00% on average, uncertain by 0.80%, may still be luck (if the coming days are alike, "
        f"{needed - 12} more would settle it)"
    ) in words
    assert f"That makes {needed} judged days" in words


def test_a_margin_over_matched_entries_within_chance_needs_more_days_too() -> None:
    words = what_would_change(card(), spread(0.01, 0.03, 12))
    needed = next(n for n in range(12, 99) if above_zero(spread(0.01, 0.03, n)))
    assert "the daily margin over entries of the same half hours of +1.00% on average, uncertain by 0.87%" in words
    assert f"{needed - 12} more would settle it" in words


def test_of_several_gates_the_one_that_takes_longest_sets_the_days() -> None:
    words = what_would_change(card(trades=12, daily=0.01, daily_standard_error=0.008), ABOVE)
    assert "8 more trades needed, 12 in 12 days so far; daily profit of +1.00%" in words
    assert "That makes 20 judged days" not in words


@pytest.mark.parametrize(("mean", "deviation"), [(0.01, 0.02), (0.001, 0.01), (0.02, 0.01), (0.0095, 0.01)])
def test_days_to_pass_are_the_least_that_pass(mean: float, deviation: float) -> None:
    needed = days_to_pass(mean, deviation, 3)
    assert needed is not None
    assert above_zero(spread(mean, deviation, needed))
    assert needed == 3 or not above_zero(spread(mean, deviation, needed - 1))


def test_what_takes_longer_than_ten_years_is_not_promised() -> None:
    assert days_to_pass(0.0001, 0.02, 12) is None
    words = what_would_change(card(daily=0.0001, daily_standard_error=0.006), ABOVE)
    assert words.startswith(f"{NO_HELP}daily profit of +0.01% on average")
    assert "if the coming days are alike, more than ten years would settle it" in words
    assert MOST_DAYS / 252 == 10


# --- nothing but another model ---------------------------------------------------------------------------------------


def test_without_a_signal_more_days_do_not_help() -> None:
    nothing = dict.fromkeys(("net_return_per_trade", "one_bar_later_per_trade", "excess_per_trade"))
    silent = card(trades=0, days_traded=0, daily=0.0, daily_standard_error=0.0, **nothing)
    silent["scores"] = silent["scores"] | {"highest_confidence": 0.58}
    assert what_would_change(silent, np.zeros(12)) == (
        f"{NO_HELP}in 12 days there was no signal, for the highest confidence was 0.58, and 0.65 is needed "
        "(you may lower MIN_CONFIDENCE, and it will count as one more configuration tried; needed to break "
        "even: 0.43)."
    )


@pytest.mark.parametrize(
    ("figures", "excess", "words"),
    [
        ({"daily": -0.002}, ABOVE, "daily profit is -0.20%, not above 0"),
        ({}, -ABOVE, "the daily margin over entries of the same half hours is -2.00%, not above 0"),
        ({"one_bar_later_per_trade": -0.001}, ABOVE, "entered one bar later the same trades earn -0.10% each"),
        ({"one_bar_later_per_trade": None}, ABOVE, "entered one bar later is not known"),
        ({"excess_per_trade": -0.001}, None, "other entries of the same half hours earned no less"),
    ],
)
def test_what_loses_is_not_mended_by_more_days(
    figures: dict[str, float | None], excess: NDArray[np.float64] | None, words: str
) -> None:
    said = what_would_change(card(trades=12, **figures), excess)
    assert said.startswith(NO_HELP)
    assert words in said
    assert "8 more trades" in said
    assert "judged days" not in said


# --- proven ----------------------------------------------------------------------------------------------------------


def test_a_proven_model_says_which_day_would_undo_it() -> None:
    words = what_would_change(card() | {"proven": True}, ABOVE)
    day = undoing_day(0.02, 0.005, 12)
    assert words.endswith(
        f"If the next judged day lost more than {-day:.2%} of a position (so far days average +2.00%), the profit "
        "could no longer be told from luck, and the model would be called unproven."
    )
    slim = what_would_change(card(days=5, daily_standard_error=0.0093) | {"proven": True}, ABOVE)
    assert f"earned less than {undoing_day(0.02, 0.0093, 5):+.2%} of a position" in slim


@pytest.mark.parametrize(("mean", "deviation", "days"), [(0.02, 0.02, 12), (0.01, 0.012, 9), (0.05, 0.01, 24)])
def test_above_the_undoing_day_profit_stays_proven_and_below_it_does_not(
    mean: float, deviation: float, days: int
) -> None:
    so_far = spread(mean, deviation, days)
    assert above_zero(so_far)
    day = undoing_day(mean, deviation / np.sqrt(days), days)
    assert above_zero(np.append(so_far, day + 1e-6))
    assert not above_zero(np.append(so_far, day - 1e-6))


# --- with the verdict itself -----------------------------------------------------------------------------------------

GATES = {
    "too few signals": "more trade",
    "signals on": "with a trade",
    "daily profit is not above 0": "daily profit",
    "no better than other entries": "the daily margin over entries of the same half hours",
    "entered one bar later": "entered one bar later the same trades earn",
}


def test_the_gate_that_the_verdict_names_is_among_those_that_would_have_to_open() -> None:
    rng, seen = np.random.default_rng(11), set()
    for trial in range(60):
        table = judged_table(rng, days=12, step=120 if trial % 3 else 30, drift=(trial % 5 - 2) * 0.01)
        table = with_skill(table, rng, 0.5) if trial % 2 else table
        table["confidence"] -= (trial % 4) * 0.06
        table["later_net_return"] = table["net_return"] - (0.05 if trial % 7 == 1 else 0.0)
        verdict = proven(table, 0.65, 10)
        trades = traded(table, 0.65, 10)
        figures = card() | {"money": money(table, 0.65, 10), "proven": verdict.holds}
        words = what_would_change(figures, by_day(trades, "excess", table["session"].unique()))
        if verdict.holds:
            assert words.startswith("Every training judges anew, on newer days. If the next judged day ")
        elif len(trades):
            gate = next(gate for gate in GATES if verdict.reason.startswith(gate))
            seen.add(gate)
            assert GATES[gate] in words, verdict.reason
    assert {"too few signals", "daily profit is not above 0", "no better than other entries"} <= seen


def test_a_card_that_passes_every_gate_says_so() -> None:
    assert what_would_change(card(), ABOVE).startswith("Training again: by today's rules")
    undone = card(daily=0.002) | {"proven": True}
    assert "by the numbers on this card the next may find it unproven" in what_would_change(undone, ABOVE)

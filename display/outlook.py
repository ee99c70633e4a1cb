"""What would change the verdict on a model: how much more evidence at the present rate, or nothing but another model.

The gates are those of `learning.verdicts.proven`, asked of the numbers on the card. A daily profit within chance on 12
days may be told from 0 on 20, if its mean and its scatter stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t as student

from display.figures import number, percent, plural
from learning.verdicts import CONFIDENCE_LEVEL, MIN_TRADE_DAYS, MIN_TRADES

MOST_DAYS = 2520  # ten years; what needs more will not be seen
CALENDAR_DAYS_PER_SESSION = 365 / 252


@dataclass(frozen=True)
class Gate:
    """What is missing, in words, and the judged days it takes at the present rate; None where no number of days would
    do."""

    words: str
    days: int | None


def what_would_change(card: Mapping[str, Any], excess: NDArray[np.float64] | None) -> str:
    """One sentence. `card` has money; `excess` (days,) are the daily sums above matched entries, None if not known."""
    if card["proven"]:
        return _what_would_undo(card)
    shut = list(_shut(card, excess))
    if not shut:
        return "Training again: by today's rules the numbers on this card pass every test."
    missing = "; ".join(gate.words for gate in shut)
    if any(gate.days is None for gate in shut):
        return (
            f"More days like these would not help; it takes another model, or better results on newer days: {missing}."
        )
    days, judged = max(gate.days or 0 for gate in shut), card["money"]["days"]
    back = math.ceil((card["sessions"] - judged + days) * CALENDAR_DAYS_PER_SESSION)
    return (
        f"More days like those so far would be enough: {missing}. That makes {days:,} judged days in place of "
        f"{judged} (a DAYS_BACK of about {back:,}); with better results on newer days it takes fewer."
    )


def _shut(card: Mapping[str, Any], excess: NDArray[np.float64] | None) -> Iterator[Gate]:
    """The gates that the model does not pass."""
    m, highest = card["money"], card["scores"]["highest_confidence"]
    trades, days, traded_days = m["trades"], m["days"], m["days_traded"]
    if not trades:
        yield Gate(
            f"in {plural(days, 'day')} there was no signal, for the highest confidence was {number(highest)}, and "
            f"{number(card['min_confidence'])} is needed (you may lower MIN_CONFIDENCE, and it will count as one more "
            f"configuration tried; needed to break even: {number(card['baseline']['break_even_confidence'])})",
            None,
        )
        return
    if trades < MIN_TRADES:
        yield Gate(
            f"{plural(MIN_TRADES - trades, 'more trade')} needed, {trades} in {plural(days, 'day')} so far",
            math.ceil(MIN_TRADES * days / trades),
        )
    if traded_days < MIN_TRADE_DAYS:
        yield Gate(
            f"{plural(MIN_TRADE_DAYS - traded_days, 'more day')} with a trade needed, {traded_days} so far",
            math.ceil(MIN_TRADE_DAYS * days / traded_days),
        )
    yield from _not_above_zero("daily profit", m["daily"], m["daily_standard_error"], days)
    if excess is None:
        if m["excess_per_trade"] <= 0:
            yield Gate("other entries of the same half hours earned no less", None)
    else:
        mean, error = mean_and_error(excess)
        yield from _not_above_zero("the daily margin over entries of the same half hours", mean, error, days)
    later = m["one_bar_later_per_trade"]
    if later is None:
        yield Gate("what the same trades earn when entered one bar later is not known", None)
    elif later <= 0:
        yield Gate(f"entered one bar later the same trades earn {percent(later, '+')} each", None)


def _not_above_zero(name: str, mean: float, error: float | None, days: int) -> Iterator[Gate]:
    if mean <= 0:
        yield Gate(f"{name} is {percent(mean, '+')}, not above 0", None)
    elif error and mean / error <= _critical(days):
        needed = days_to_pass(mean, error * math.sqrt(days), days)
        more = "more than ten years" if needed is None else f"{needed - days:,} more"
        settled = f"if the coming days are alike, {more} would settle it"
        words = (
            f"{name} of {percent(mean, '+')} on average, uncertain by {percent(error)}, may still be luck ({settled})"
        )
        yield Gate(words, needed)


def mean_and_error(daily: NDArray[np.float64]) -> tuple[float, float | None]:
    """The mean of daily values (n,) and its standard error, None for a single day."""
    error = float(daily.std(ddof=1)) / math.sqrt(len(daily)) if len(daily) > 1 else None
    return float(daily.mean()), error


def days_to_pass(mean: float, deviation: float, days: int) -> int | None:
    """The least number of days, from `days` on, on which a positive mean and its standard deviation pass Student's
    test; None beyond MOST_DAYS."""
    n = np.arange(max(days, 2), MOST_DAYS)
    passes = mean / deviation * np.sqrt(n) > student.ppf(CONFIDENCE_LEVEL, n - 1)
    return int(n[passes.argmax()]) if passes.any() else None


def _what_would_undo(card: Mapping[str, Any]) -> str:
    m = card["money"]
    mean, error, days = m["daily"], m["daily_standard_error"], m["days"]
    again = "Every training judges anew, on newer days"
    if not error or mean / error <= _critical(days):
        return f"{again}; by the numbers on this card the next may find it unproven."
    day = undoing_day(mean, error, days)
    earned = f"lost more than {percent(-day)}" if day < 0 else f"earned less than {percent(day, '+')}"
    return (
        f"{again}. If the next judged day {earned} of a position (so far days average "
        f"{percent(mean, '+')}), the profit could no longer be told from luck, and the model would be called unproven."
    )


def undoing_day(mean: float, error: float, days: int) -> float:
    """The net return of one more day, below which the mean of daily returns is no longer above 0 by Student's test."""
    squares = error**2 * days * (days - 1)

    def margin(day: float) -> float:
        after = mean + (day - mean) / (days + 1)
        scatter = math.sqrt((squares + (day - mean) ** 2 * days / (days + 1)) / days / (days + 1))
        return after - _critical(days + 1) * scatter

    return float(brentq(margin, mean - (days + 1) * 2 * mean, mean))


def _critical(days: int) -> float:
    return float(student.ppf(CONFIDENCE_LEVEL, days - 1))

"""Is today's market still the one the model learnt from? Three lights: features, signal rate, calibration.

Rows of one day share that day's luck. By the textbook's thresholds for independent rows (0.1, 0.25) an ordinary day
compared with a month is drift, with population stability indices of 0.05 to 1. So a day is the unit here, and what is
usual is learnt from the training days themselves: each is compared with the others, and a new day is unusual where it
lies outside Student's interval for one more such day. Calm and wild days come in runs: a training day is not compared
with the two beside it, and RUN_DAYS days count as one independent day.

`reference` is what a model's card keeps, `judge` the light of an evening, on a whole day's rows: a morning alone has
wilder hours than the days it is compared with. Measured on 100 simulated markets without a pattern that had no part in
choosing the levels (12 symbols, 20 days learnt, the next 10 judged):

    days                                              amber or red      red
    ordinary                                                  3.1%     0.2%
    volatility doubled                                         87%      58%    at least one of three red: 78%
        where that made it 2 to 2.5 times the learnt          100%      81%
    volatility tripled                                        100%      97%
    volume x 5 in every other bar                             100%     100%

The 120 markets the levels were chosen on gave 5.4% and 1.3% on ordinary days: volatility wanders for weeks, and 13 of
the 16 reds there fell on days with more than 1.5 times the learnt volatility, or less than its 1.5th part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.float64]
Light = Literal["green", "amber", "red"]

TIME_FEATURES = ("session_elapsed",)  # tell the time of day; a half-day changes them and means nothing
MIN_DAYS = 5
MIN_SHARE_OF_ROWS = 0.5  # of a usual day's; an early close has 0.54
AMBER, RED = 0.97, 0.995  # how surely today is none of the training days
BINS = 10
SHARE_FLOOR = 0.001  # an empty bin would make the index infinite
PSI_FLOOR = 0.001  # what is below it comes from the number of rows; no ratio is formed to less
RUN_DAYS = 3  # days that count as one independent day
MIN_INDEPENDENT_DAYS = 3.0  # with fewer Student's interval would hold anything
RATE_SD_FLOOR = 0.03  # of an arcsine root: 280 independent predictions a day scatter that much, 1 / (2 sqrt(280))


@dataclass(frozen=True)
class Drift:
    """A light, None where nothing can be judged, and why in words."""

    light: Light | None
    words: str


@dataclass(frozen=True)
class FeatureShift:
    """How far one feature lies from the training days: its population stability index, and the index that ordinary
    days stay below (AMBER of them)."""

    feature: str
    psi: float
    level: float


@dataclass(frozen=True)
class FeatureDrift:
    """The light of all features together. `joint` is 1 for an average training day; `features` come most unusual first.
    Numbers are None, and `features` empty, where nothing can be judged."""

    light: Light | None
    words: str
    joint: float | None = None
    amber: float | None = None
    red: float | None = None
    features: tuple[FeatureShift, ...] = ()


def reference(features: Array, session: NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """What a model's card keeps of its training days, in plain JSON types.

    Args: `features` (n, len(names)), finite; `session` (n,), a label of each row's day that sorts in time.
    A feature's index between shares p and q of its training deciles is the sum of (p - q) ln(p / q) (Siddiqi, 2006,
    Credit Risk Scorecards); where p is a sample of q it is distributed as a multiple of chi-square (Yurdakul, 2018,
    Statistical Properties of Population Stability Index), whose cube root is nearly normal (Wilson and Hilferty, 1931),
    so Student's interval is laid on cube roots. The joint statistic of a day is the mean over features of its index
    relative to what is usual for the feature, so that many correlated features are one chance of an alarm, not many.
    Days with fewer than MIN_SHARE_OF_ROWS of the median day's rows (the warm-up leaves one) are left out and counted.
    With fewer than MIN_DAYS days `reason` says so, and nothing else is there to be judged by.
    """
    day, rows = np.unique(session, return_inverse=True, return_counts=True)[1:]
    usual_rows = float(np.median(rows)) if len(rows) else 0.0
    whole = rows >= MIN_SHARE_OF_ROWS * usual_rows
    about = {"days": int(whole.sum()), "short_days": int((~whole).sum()), "rows_per_day": usual_rows}
    if about["days"] < MIN_DAYS:
        return about | {"reason": f"{about['days']} training days, {MIN_DAYS} are needed to know what is usual"}
    kept = whole[day]
    number = (np.cumsum(whole) - 1)[day[kept]]
    edges, binned = {}, []
    for name, column in zip(names, features.T, strict=True):
        if name not in TIME_FEATURES:
            values = column[kept]
            edges[name] = np.quantile(values, np.arange(1, BINS) / BINS)
            binned.append(_counts(values, edges[name], number))
    counts = np.stack(binned, axis=1)
    apart = np.abs(np.subtract.outer(np.arange(len(counts)), np.arange(len(counts)))) > 1
    daily = _psi(_shares(counts), _shares(np.einsum("ij,jfb->ifb", apart, counts)))
    usual = np.maximum(daily.mean(axis=0), PSI_FLOOR)
    joint = (daily / usual).mean(axis=1)
    level = np.maximum(_upper(daily, AMBER), PSI_FLOOR)
    shares = _shares(counts.sum(axis=0))
    return about | {
        "reason": None,
        "joint": {"days": joint.tolist(), "amber": float(_upper(joint, AMBER)), "red": float(_upper(joint, RED))},
        "features": {
            name: {"edges": edge.tolist(), "shares": share.tolist(), "usual": float(mean), "level": float(high)}
            for (name, edge), share, mean, high in zip(edges.items(), shares, usual, level, strict=True)
        },
    }


def judge(reference: Mapping[str, Any], features: Array, names: Sequence[str]) -> FeatureDrift:
    """The light of one day's rows, `features` (n, len(names)), finite, against the training days of a card.

    Raises ValueError if `names` lack a feature of the reference.
    """
    if reference["reason"]:
        return FeatureDrift(None, reference["reason"])
    if len(features) < MIN_SHARE_OF_ROWS * reference["rows_per_day"]:
        return FeatureDrift(None, f"{len(features):,} rows, a usual day has {reference['rows_per_day']:,.0f}")
    whole_day = np.zeros(len(features), dtype=np.int64)
    shifts, relative = [], []
    for name, learnt in reference["features"].items():
        counts = _counts(features[:, list(names).index(name)], np.array(learnt["edges"]), whole_day)
        psi = float(_psi(_shares(counts[0]), np.array(learnt["shares"])))
        shifts.append(FeatureShift(name, psi, learnt["level"]))
        relative.append(psi / learnt["usual"])
    shifts.sort(key=lambda shift: -shift.psi / shift.level)
    joint, amber, red = float(np.mean(relative)), reference["joint"]["amber"], reference["joint"]["red"]
    light = _light(joint, amber, red)
    words = f"the day's inputs differ from the training days {joint:.1f} times as much as an ordinary training day "
    words += f"differs from the others (amber above {amber:.1f}, red above {red:.1f})"
    if light != "green":
        words += "; most: " + ", ".join(
            f"{shift.feature} (PSI {shift.psi:.2f}, usually below {shift.level:.2f})" for shift in shifts[:3]
        )
    return FeatureDrift(light, words, joint, amber, red, tuple(shifts))


def rates_by_day(confidence: Array, session: NDArray[Any], threshold: float) -> list[float]:
    """Each day's share of predictions at the threshold, oldest day first; arrays of shape (n,)."""
    rates: list[float] = pd.Series(confidence >= threshold).groupby(session).mean().tolist()
    return rates


def gaps_by_day(confidence: Array, label: Array, session: NDArray[Any]) -> list[float]:
    """Each day's mean confidence less its share of profitable trades, oldest day first; arrays of shape (n,)."""
    gaps: list[float] = pd.Series(confidence - label).groupby(session).mean().tolist()
    return gaps


def signal_rate(card_rates: Sequence[float], today: float) -> Drift:
    """Today's share of predictions at the card's threshold against the card's days, none of which the model had seen.

    Student's two-sided interval for one more day, on arcsine roots, where a share's scatter does not depend on its size
    (Anscombe, 1948); RUN_DAYS days count as one, for those of a fold share its calibration. An interval, and not the
    extremes of the days: among 15 of them the highest is passed by chance once in 16. Less scatter than RATE_SD_FLOOR
    is not believed: after 15 days without a signal amber begins at 1.2%, red at 3.3%.
    """
    if len(card_rates) < MIN_DAYS:
        return Drift(None, f"{len(card_rates)} days on the card, {MIN_DAYS} are needed to know the usual signal rate")
    roots = np.arcsin(np.sqrt(card_rates))
    days = _independent(len(roots))
    scatter = max(float(np.std(roots, ddof=1)), RATE_SD_FLOOR) * np.sqrt(1 + 1 / days)
    distance = abs(float(np.arcsin(np.sqrt(today)) - roots.mean()))
    light = _light(distance / scatter, _student(AMBER, days - 1), _student(RED, days - 1))
    usual = f"{np.mean(card_rates):.2%} on average, {max(card_rates):.2%} at most"
    judged = f"on the {len(card_rates)} days the model was judged by"
    return Drift(light, f"{today:.2%} of the day's predictions reach the model's threshold; {judged} {usual}")


def calibration_drift(card_gaps: Sequence[float], recent_gaps: Sequence[float]) -> Drift:
    """The gaps of recent days whose trades have settled against those of the card's days (`gaps_by_day`).

    Student's two-sided test of two means with a common variance. Each day counts: the market's luck of a day moves its
    share of profitable trades by 0.13 (held for two hours) to 0.24 (for a session), but is gone the next day (measured
    on simulated markets: autocorrelation below 0.05).
    """
    if len(card_gaps) < MIN_DAYS or not recent_gaps:
        return Drift(None, f"{len(recent_gaps)} settled days and {len(card_gaps)} of the card, 1 and {MIN_DAYS} needed")
    freedom = len(card_gaps) + len(recent_gaps) - 2
    squares = sum(float(np.var(gaps)) * len(gaps) for gaps in (card_gaps, recent_gaps))
    scatter = np.sqrt(squares / freedom * (1 / len(card_gaps) + 1 / len(recent_gaps)))
    learnt, recent = float(np.mean(card_gaps)), float(np.mean(recent_gaps))
    light = _light(abs(recent - learnt), _student(AMBER, freedom) * scatter, _student(RED, freedom) * scatter)
    return Drift(
        light,
        f"confidence was {abs(recent):.2f} {'above' if recent > 0 else 'below'} the share of profitable trades on "
        f"{len(recent_gaps)} settled days; on the {len(card_gaps)} days the model was judged by it was "
        f"{abs(learnt):.2f} {'above' if learnt > 0 else 'below'}",
    )


def overall(*lights: Light | None) -> Light | None:
    """The worst of the lights that could be judged; None if none could."""
    order: tuple[Light, ...] = ("red", "amber", "green")
    return next((light for light in order if light in lights), None)


def _counts(values: Array, edges: Array, day: NDArray[np.int64]) -> Array:
    """Rows per day and bin, (days, BINS); days are numbered from 0."""
    cell = day * BINS + np.searchsorted(edges, values, side="right")
    return np.bincount(cell, minlength=(int(day.max()) + 1) * BINS).reshape(-1, BINS).astype(np.float64)


def _shares(counts: Array) -> Array:
    shares: Array = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def _psi(shares: Array, usual: Array) -> Array:
    """Population stability index over the last axis, the bins."""
    p, q = np.maximum(shares, SHARE_FLOOR), np.maximum(usual, SHARE_FLOOR)
    index: Array = ((p - q) * np.log(p / q)).sum(axis=-1)
    return index


def _upper(daily: Array, confidence: float) -> Array:
    """What one more day stays below: Student's one-sided interval on cube roots of `daily`, (days,) or (days, f)."""
    roots, days = np.cbrt(daily), _independent(len(daily))
    reach = student.ppf(confidence, days - 1) * roots.std(axis=0, ddof=1) * np.sqrt(1 + 1 / days)
    upper: Array = (roots.mean(axis=0) + reach) ** 3
    return upper


def _independent(days: int) -> float:
    """How many independent days so many days are worth."""
    return max(days / RUN_DAYS, MIN_INDEPENDENT_DAYS)


def _student(confidence: float, freedom: float) -> float:
    """The two-sided quantile."""
    return float(student.ppf((1 + confidence) / 2, freedom))


def _light(value: float, amber: float, red: float) -> Light:
    return "red" if value > red else "amber" if value > amber else "green"

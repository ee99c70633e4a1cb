"""The pictures of a page, as SVG in the page itself: numbers in, markup out. Each says in words what it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from figures import minute, number, percent
from markup import Html, note

CURVE_POINTS = 800  # more could not be told apart on a screen
DATE_TICKS, MONEY_TICKS = 6, 4
CURVE_HEIGHT = 220  # pixels; the width is the reader's
SERIES_HEIGHT, SPAN_HEIGHT = 40, 18  # pixels


def curve(equity: pd.DataFrame) -> str:
    """The account over its minutes (time, equity), or a sentence where there is no curve to draw."""
    if len(equity) < 2:
        return note("Fewer than two minutes are in the books, too few for a curve.")
    usd, time = equity["equity"].to_numpy(), equity["time"]
    if number(usd.min()) == number(usd.max()):
        return note(f"Equity has stood at {number(usd[0])} USD in all {len(usd):,} minutes; there is no curve to draw.")
    steps = _money_ticks(usd.min(), usd.max())
    low, high = steps[0], steps[-1]
    kept = _thinned(usd)
    x, y = kept / (len(usd) - 1) * 1000, (high - usd[kept]) / (high - low) * 1000
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    digits = 0 if steps[1] - steps[0] >= 1 else 2
    grid, labels = "", ""
    for step in steps:
        at = 24 + (high - step) / (high - low) * CURVE_HEIGHT
        grid += f'<line class="grid" x1="0" x2="100%" y1="{at:.1f}" y2="{at:.1f}"></line>'
        labels += f'<text x="0" y="{at - 4:.1f}">{step:,.{digits}f}</text>'
    for share, label in _date_ticks(time):
        grid += f'<line class="grid" x1="{share}%" x2="{share}%" y1="24" y2="{CURVE_HEIGHT + 30}"></line>'
        labels += f'<text x="{share}%" dx="3" y="{CURVE_HEIGHT + 40}">{label}</text>'
    words = (
        f"From {number(usd[0])} USD at {minute(time.iloc[0])} to {number(usd[-1])} USD at {minute(time.iloc[-1])}, "
        f"New York; lowest {number(usd.min())}, highest {number(usd.max())} USD. Nights are left out."
    )
    return (
        f'<svg role="img" aria-labelledby="curve-title curve-desc" width="100%" height="{CURVE_HEIGHT + 48}">'
        f'<title id="curve-title">Equity of the account in USD</title><desc id="curve-desc">{words}</desc>{grid}'
        f'<svg y="24" width="100%" height="{CURVE_HEIGHT}" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
        f'<polyline class="curve" vector-effect="non-scaling-stroke" points="{points}"></polyline></svg>{labels}'
        f"</svg>\n{note(words)}"
    )


def _thinned(values: np.ndarray) -> np.ndarray:
    """Indices of at most CURVE_POINTS values: first, last, and the lowest and highest of each stretch."""
    if len(values) <= CURVE_POINTS:
        return np.arange(len(values))
    stretches = np.array_split(np.arange(len(values)), CURVE_POINTS // 2 - 1)
    extremes = [stretch[pick] for stretch in stretches for pick in (values[stretch].argmin(), values[stretch].argmax())]
    return np.unique([0, *extremes, len(values) - 1])


def _money_ticks(low: float, high: float) -> list[float]:
    """Round numbers around low and high, MONEY_TICKS or a few more."""
    per_tick = max((high - low) / MONEY_TICKS, 0.01)
    unit = 10 ** math.floor(math.log10(per_tick))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= per_tick)
    return [round(i * step, 2) for i in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _date_ticks(time: pd.Series) -> list[tuple[float, str]]:
    """Where in the curve (percent) dates begin, and their labels; those too near the right edge are left out."""
    starts = np.flatnonzero(time.dt.date.ne(time.dt.date.shift()))
    every = math.ceil(len(starts) / DATE_TICKS)
    shares = [(round(100 * i / (len(time) - 1), 2), f"{time.iloc[i]:%b %d}") for i in starts[::every]]
    return [(share, label) for share, label in shares if share <= 86]


def bar(start: float, length: float) -> Html:
    """A bar of `length` from `start`, both percent of the width; the number stands beside it."""
    return Html(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="{start:.1f}" width="{max(length, 0.5):.1f}" height="10"></rect></svg>'
    )


def span(promised: float, came: float, low: float | None, high: float | None) -> Html:
    """What a confidence promised (a line), the share that came (a dot), and where a perfect forecast's would lie (a
    band), on an axis from 0 to 1; the numbers stand beside it."""
    band = "" if low is None or high is None else f'<rect x="{low:.1%}" width="{high - low:.1%}" height="100%"></rect>'
    return Html(
        f'<svg class="plot" height="{SPAN_HEIGHT}" aria-hidden="true">{band}'
        f'<line class="grid" x1="0" x2="100%" y1="50%" y2="50%"></line>'
        f'<line class="mark" x1="{promised:.1%}" x2="{promised:.1%}" y1="0" y2="100%"></line>'
        f'<circle cx="{came:.1%}" cy="50%" r="4"></circle></svg>'
    )


def series(values: Sequence[float | None], errors: Sequence[float | None], low: float, high: float) -> Html:
    """Values over models, oldest left, each with its standard error, on an axis from `low` to `high`; None: a gap."""

    def at(value: float) -> str:
        return percent((high - min(max(value, low), high)) / (high - low))

    dots, stretches = "", [list[str]()]
    for i, (value, error) in enumerate(zip(values, errors, strict=True)):
        if value is None:
            stretches.append([])
            continue
        x, y = percent((i + 0.5) / len(values)), at(value)
        if error is not None:
            dots += f'<line class="error" x1="{x}" x2="{x}" y1="{at(value + error)}" y2="{at(value - error)}"></line>'
        dots += f'<circle cx="{x}" cy="{y}" r="2.5"></circle>'
        stretches[-1].append(f"{x[:-1]},{y[:-1]}")
    lines = "".join(
        f'<polyline class="curve" vector-effect="non-scaling-stroke" points="{" ".join(points)}"></polyline>'
        for points in stretches
        if len(points) > 1
    )
    words = ", ".join(number(value, sign="+", digits=4) for value in values)
    return Html(
        f'<svg class="plot" role="img" height="{SERIES_HEIGHT}" aria-label="{escape(f"oldest first: {words}")}">'
        f'<line class="grid" x1="0" x2="100%" y1="{at(0.0)}" y2="{at(0.0)}"></line>'
        f'<svg width="100%" height="100%" viewBox="0 0 100 100" preserveAspectRatio="none">{lines}</svg>{dots}</svg>'
    )

"""The pictures of a page, as SVG in the page itself: numbers in, markup out. Each says in words what it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from display.figures import minute, number, percent
from display.markup import Html, note

CURVE_POINTS = 800  # more could not be told apart on a screen
DATE_TICKS, MONEY_TICKS = 6, 4
CURVE_HEIGHT, DRAWDOWN_HEIGHT = 220, 110  # pixels; the width is the reader's
PLOT_SHARE = 80  # percent of the width; right of it stands what each line ends at
BAND = "nine of ten accounts lie in the band, half of them above its line"
LABEL_GAP = 15  # pixels between two labels
SERIES_HEIGHT, SPAN_HEIGHT = 40, 18  # pixels

STYLE = """
.band { fill: var(--band); stroke: none; } .legend { margin: 1rem 0 0; padding: 0; list-style: none; font-size: .9rem; }
.legend li { display: flex; gap: .6rem; } .legend svg { flex: none; margin-top: .35rem; }
.market { stroke: CanvasText; stroke-width: 1.5px; stroke-dasharray: 6 4; }
.random { stroke: GrayText; stroke-width: 1.5px; } .own { font-weight: 600; }
@media (max-width: 40rem) { .wide { display: none; } }
"""


@dataclass(frozen=True)
class _Line:
    """A line over the account's minutes: `x` from 0 (the first) to 1000 (the last), `y` in the unit of its plot."""

    name: str
    style: str
    x: np.ndarray
    y: np.ndarray


def curve(
    equity: pd.DataFrame,
    market: pd.DataFrame | None = None,
    random: pd.DataFrame | None = None,
    *,
    market_name: str = "market",
    invested: float | None = None,
) -> str:
    """The account over its minutes (time, equity), or a sentence where there is no curve to draw.

    Beside it, from the account's first equity on: `market` (time, earned), a dashed line, as `invested` USD held in it
    (None: all equity) would have earned; `random` (time, low, median, high in USD), a band with its median. See
    `learning.random_entries`, which gives both. Their times have any zone, and count where the account has minutes.
    """
    if len(equity) < 2:
        return note("Fewer than two minutes are in the books, too few for a curve.")
    usd, time = equity["equity"].to_numpy(), equity["time"]
    if number(usd.min()) == number(usd.max()):
        return note(f"Equity has stood at {number(usd[0])} USD in all {len(usd):,} minutes; there is no curve to draw.")
    kept = _thinned(usd)
    lines = [_Line("account", "curve", kept / (len(usd) - 1) * 1000, usd[kept])]
    words = (
        f"From {number(usd[0])} USD at {minute(time.iloc[0])} to {number(usd[-1])} USD at {minute(time.iloc[-1])}, "
        f"New York; lowest {number(usd.min())}, highest {number(usd.max())} USD. Nights are left out."
    )
    band, legend = None, [("curve", "account, open positions at their last price")]
    if market is not None and len(market):
        money = usd[0] if invested is None else invested
        lines.append(
            _Line(market_name, "curve market", _along(time, market), usd[0] + money * market["earned"].to_numpy())
        )
        legend.append(
            ("curve market", f"{market_name}, {number(money, ' USD', digits=0)} held in it from the first open")
        )
        words += f" The {market_name} would have ended at {number(lines[-1].y[-1])} USD."
    if random is not None and len(random):
        x = np.append(0.0, _along(time, random))
        low, median, high = (usd[0] + np.append(0.0, random[name]) for name in ("low", "median", "high"))
        lines.append(_Line("random", "curve random", x, median))
        band = np.append(x, x[::-1]), np.append(low, high[::-1])
        legend.append(("curve random", f"random entries, each once sold: {BAND}"))
        words += f" Nine of ten random accounts would have ended between {number(low[-1])} and {number(high[-1])} USD."
    drawn = _plot("curve", "Equity of the account in USD", words, time, CURVE_HEIGHT, lines[::-1], band)
    return (_legend(legend) if len(lines) > 1 else "") + drawn


def drawdown(equity: pd.DataFrame) -> str:
    """How far the account (time, equity) stands below its highest equity so far, percent; or a sentence."""
    if len(equity) < 2:
        return note("Fewer than two minutes are in the books, too few for a drawdown.")
    usd, time = equity["equity"].to_numpy(), equity["time"]
    below = (usd / np.maximum.accumulate(usd) - 1) * 100
    deepest = int(below.argmin())
    if number(below[deepest]) == number(0.0):
        return note("Equity has not fallen 0.01% below its highest in any minute; there is no drawdown to draw.")
    words = (
        f"Deepest {number(below[deepest], '%')} at {minute(time.iloc[deepest])}, New York, "
        f"{number(below[-1], '%')} at the end."
    )
    kept = _thinned(below)
    x = kept / (len(usd) - 1) * 1000
    area = np.concatenate([[0.0], x, [1000.0]]), np.concatenate([[0.0], below[kept], [0.0]])
    line = _Line("now", "curve", x, below[kept])
    title = "Drawdown, equity below its highest, percent"
    return _plot("drawdown", title, words, time, DRAWDOWN_HEIGHT, [line], area, "%")


def _along(time: pd.Series, other: pd.DataFrame) -> np.ndarray:
    """Where in the curve, 0 to 1000, the times of another table lie."""
    own, its = (each.to_numpy("datetime64[us]") for each in (time, other["time"]))
    return np.minimum(np.searchsorted(own, its), len(own) - 1) / (len(own) - 1) * 1000


def _plot(
    name: str,
    title: str,
    words: str,
    time: pd.Series,
    height: int,
    lines: Sequence[_Line],
    area: tuple[np.ndarray, np.ndarray] | None,
    unit: str = "",
) -> str:
    """Lines and an area over minutes, round numbers at the left, what each line ends at to the right of it."""
    values = np.concatenate([line.y for line in lines] + ([] if area is None else [area[1]]))
    steps = _money_ticks(values.min(), values.max())
    low, high = steps[0], steps[-1]
    digits = 0 if steps[1] - steps[0] >= 1 else 2

    def points(x: np.ndarray, y: np.ndarray) -> str:
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, (high - y) / (high - low) * 1000, strict=True))

    grid, labels = "", ""
    for step in steps:
        at = 24 + (high - step) / (high - low) * height
        grid += f'<line class="grid" x1="0" x2="{PLOT_SHARE}%" y1="{at:.1f}" y2="{at:.1f}"></line>'
        labels += f'<text x="0" y="{at - 4:.1f}">{number(step, unit, digits=digits)}</text>'
    for share, label in _date_ticks(time):
        x = f"{share * PLOT_SHARE / 100:.2f}%"
        grid += f'<line class="grid" x1="{x}" x2="{x}" y1="24" y2="{height + 30}"></line>'
        labels += f'<text x="{x}" dx="3" y="{height + 40}">{label}</text>'
    at_end = 2 if unit else digits
    spots = apart([28 + (high - line.y[-1]) / (high - low) * height for line in lines], LABEL_GAP, 24, height + 28)
    for line, spot in zip(lines, spots, strict=True):
        words_at_end = f'<tspan class="wide">{escape(line.name)} </tspan>{number(line.y[-1], unit, digits=at_end)}'
        style = ' class="own"' if line.style == "curve" else ""
        labels += f'<text{style} x="{PLOT_SHARE}%" dx="6" y="{spot:.1f}">{words_at_end}</text>'
    drawn = "" if area is None else f'<polygon class="band" points="{points(*area)}"></polygon>'
    for line in lines:
        style = f'class="{line.style}" vector-effect="non-scaling-stroke"'
        drawn += f'<polyline {style} points="{points(line.x, line.y)}"></polyline>'
    return (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc" width="100%" height="{height + 48}">'
        f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{escape(words)}</desc>{grid}'
        f'<svg y="24" width="{PLOT_SHARE}%" height="{height}" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
        f"{drawn}</svg>{labels}</svg>\n{note(words)}"
    )


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    """What each line is, beside a piece of it."""
    items = ""
    for style, words in entries:
        band = '<rect class="band" width="28" height="12"></rect>' if style == "curve random" else ""
        line = f'<path class="{style}" d="M0 6h28"></path>'
        items += f'<li><svg width="28" height="12" aria-hidden="true">{band}{line}</svg>{escape(words)}</li>'
    return f'<ul class="legend">{items}</ul>\n'


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places between `low` and `high`, at least `gap` apart, in the order of those wanted and as near as can be.

    The least squares that keep an order are an isotonic regression; written as minima and maxima of means (Robertson,
    Wright and Dykstra, 1988, theorem 1.4.4), for there are only a few labels.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    free = [wanted[i] - gap * rank for rank, i in enumerate(order)]
    n = len(free)
    mean = {(j, k): sum(free[j : k + 1]) / (k + 1 - j) for j in range(n) for k in range(j, n)}
    places = [0.0] * n
    for rank, i in enumerate(order):
        best = max(min(mean[j, k] for k in range(rank, n)) for j in range(rank + 1))
        places[i] = max(low, min(best, high - gap * (n - 1))) + gap * rank
    return places


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

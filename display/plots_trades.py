"""One trade on candles, as SVG in the page itself: bars and a trade in, markup out. It says in words what it shows.

A hollow candle closed at or above its open, a filled one below. Bars of several sessions stand side by side, and a
thin line marks where a day begins. All coordinates are whole numbers, two to a pixel, so that a page holds hundreds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from display.figures import minute, number, percent, plural
from display.markup import Html, note
from display.plots import apart
from learning.costs import IMPLAUSIBLE
from market.bars import epoch_minutes, symbol_slices
from market.hours import Minutes, epoch_minute, market_time, moment, new_york

Array = NDArray[np.float64]

DAILY = 390  # minutes, a whole session to a candle, for what is held for weeks
CANDLE_MINUTES = (1, 2, 5, 10, 15, 30, 60, DAILY)
MOST_CANDLES = 60
WIDTH, TOP, BOTTOM, HEIGHT = 720, 14, 420, 464  # half pixels; candles stand between TOP and BOTTOM, times below
LETTER, LINE, GUTTER = 12, 27, 24  # half pixels: width of a letter, from label to label, from candles to labels
MARGIN_BARS = 10  # at least so many bars are shown before the entry and after the exit
LEAST_SHARE = 0.3  # of the height for the candles; a stop or target that would leave them less is named, not drawn
MOST_PRICES, MOST_TIMES = 4, 5  # labels on the axes
TIME_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 90, 120, 180, 240)  # minutes
PRICE_STEPS = (1, 2, 5, 2.5, 4, 3, 1.5, 8, 6, 1.2)  # times a power of ten, those liked best first

STYLE = """
.trades { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1.5rem 1rem; }
.trade { --up: #2f8f83; --down: #c8562b; margin: 0; max-width: 30rem; break-inside: avoid; }
.trade svg { display: block; width: 100%; height: auto; } .trade figcaption { white-space: normal; line-height: 1.35; }
.trade small { display: block; font-size: .85rem; opacity: .75; font-variant-numeric: tabular-nums; }
.trade text { font-size: 23px; stroke-width: 8px; font-variant-numeric: tabular-nums; }
.trade path { fill: none; stroke-width: 2px; } .trade .up { stroke: var(--up); }
.trade .down { fill: var(--down); stroke: var(--down); } .trade .lead { stroke: var(--line); }
.trade .level { stroke: CanvasText; stroke-width: 3px; stroke-dasharray: 10 6; }
.trade .mark { fill: var(--ink); stroke: Canvas; stroke-width: 3px; paint-order: stroke; }
"""


def trade_charts(trades: pd.DataFrame, bars: pd.DataFrame) -> Iterator[Html]:
    """A chart for each row of `trades`, the filled ones of `report.trades`, in order; `bars` of all symbols."""
    of_symbol = {symbol: bars.iloc[rows] for symbol, rows in symbol_slices(bars["symbol"])}
    for trade in trades.itertuples():
        yield trade_chart(trade, of_symbol.get(str(trade.symbol), bars.iloc[:0]))


def trade_chart(trade: Any, bars: pd.DataFrame) -> Html:
    """A figure of one trade, or a note where its bars are missing.

    Args: `trade` has symbol, qty, price, entry_time, stop_loss, take_profit (USD), and exit_time, exit_price,
    exit_reason, pnl_amount, pnl_pct, which are missing while it is open; `bars` are checked bars of its symbol.
    """
    minutes, entry = epoch_minutes(bars["timestamp"]), epoch_minute(trade.entry_time)
    closed = bool(pd.notna(trade.exit_time))
    end = epoch_minute(trade.exit_time) if closed else max([entry, *minutes[-1:].tolist()])
    first, after = np.searchsorted(minutes, [entry, end + 1]).tolist()
    margin = max(MARGIN_BARS, (after - first) // 6)
    shown = slice(max(first - margin, 0), after + margin)
    known = set(market_time(minutes[shown]).session.tolist())
    for when, session in zip((entry, end), market_time(np.array([entry, end])).session.tolist(), strict=True):
        if session not in known:
            day = f"{new_york(moment(when)):%Y-%m-%d}"
            return _no_chart(trade, f"its bars of {day} are not stored")
    candles = _candles(bars, minutes, shown)
    bought, sold = candles.at(entry), candles.at(end)
    if not candles.low[bought] * (1 - IMPLAUSIBLE) < trade.price < candles.high[bought] * (1 + IMPLAUSIBLE):
        return _no_chart(trade, f"it was bought at {_usd(trade.price)} USD, far from its bars (a split since?)")
    held = slice(bought, sold + 1)
    between = float(candles.low[held].min()), float(candles.high[held].max())
    marks = {
        "entry": _Mark(trade.price, bought),
        "exit" if closed else "last": _Mark(trade.exit_price if closed else float(candles.close[sold]), sold),
        "stop": _Mark(trade.stop_loss, sold),
        "target": _Mark(trade.take_profit, sold),
    }
    return Html(
        f'<figure class="trade"><figcaption>{_caption(trade, candles.size)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(trade.symbol)}, New York time</title>'
        f"<desc>{_words(trade, between)}</desc>{_drawing(candles, marks)}</svg></figure>\n"
    )


def _no_chart(trade: Any, why: str) -> Html:
    return Html(note(f"{trade.symbol}, bought {minute(trade.entry_time)}: no chart, {why}."))


# --- candles ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candles:
    """Bars put together, `size` minutes of one session to each; arrays of shape (n,).

    `minute` is a candle's first, in minutes since 1970, and `into` counts it from the session's open.
    """

    size: int
    minute: Minutes
    session: Minutes
    into: Minutes
    open: Array
    high: Array
    low: Array
    close: Array

    def at(self, minute: int) -> int:
        """The candle of a minute."""
        return max(int(np.searchsorted(self.minute, minute, side="right")) - 1, 0)


def _candles(bars: pd.DataFrame, minutes: Minutes, shown: slice) -> _Candles:
    time = market_time(minutes[shown])
    for size in CANDLE_MINUTES:
        key = time.session * 1000 + time.into // size
        first = np.flatnonzero(np.diff(key, prepend=-1))
        if len(first) <= MOST_CANDLES:
            break
    opens, highs, lows, closes = (bars[name].to_numpy()[shown] for name in ("open", "high", "low", "close"))
    return _Candles(
        size=size,
        minute=minutes[shown][first] - time.into[first] % size,
        session=time.session[first],
        into=time.into[first] // size * size,
        open=opens[first],
        high=np.maximum.reduceat(highs, first),
        low=np.minimum.reduceat(lows, first),
        close=closes[np.append(first[1:], len(closes)) - 1],
    )


# --- words -----------------------------------------------------------------------------------------------------------


def _caption(trade: Any, size: int) -> str:
    until, earned = "", "still open"
    if pd.notna(trade.exit_time):
        same_day = trade.entry_time.date() == trade.exit_time.date()
        until = f" to {trade.exit_time:%H:%M}" if same_day else f" to {trade.exit_time:%m-%d %H:%M}"
        earned = f"{number(trade.pnl_amount, ' USD', '+')}, {percent(trade.pnl_pct, '+')}, sold: {trade.exit_reason}"
    candles = "daily candles" if size == DAILY else f"{size}-min candles"
    return (
        f"<strong>{escape(trade.symbol)}</strong> {escape(earned)}"
        f"<small>{minute(trade.entry_time)}{until}, {candles}</small>"
    )


def _words(trade: Any, between: tuple[float, float]) -> str:
    end = "and still open"
    if pd.notna(trade.exit_time):
        end = f"sold at {_usd(trade.exit_price)} ({trade.exit_reason}), {number(trade.pnl_amount, ' USD', '+')}"
    low, high = between
    return escape(
        f"{plural(trade.qty, 'share')} bought at {_usd(trade.price)}, {end}. Stop {_usd(trade.stop_loss)}, target "
        f"{_usd(trade.take_profit)}; while held between {_usd(low)} and {_usd(high)} USD."
    )


def _usd(price: float) -> str:
    return number(price, digits=2 if price >= 1 else 4)


# --- drawing ---------------------------------------------------------------------------------------------------------


class _Mark(NamedTuple):
    """A price (USD) and the candle at which it came, or up to which it held."""

    price: float
    candle: int


@dataclass(frozen=True)
class _Frame:
    """Where in the picture candles and prices (USD) are, half pixels."""

    low: float
    high: float
    left: int
    slot: int  # from candle to candle

    def x(self, candle: int) -> int:
        return self.left + self.slot * candle + self.slot // 2

    def y(self, price: float) -> int:
        return round(TOP + (self.high - price) / (self.high - self.low) * (BOTTOM - TOP))

    def holds(self, price: float) -> bool:
        return self.low < price < self.high


def _drawing(candles: _Candles, marks: Mapping[str, _Mark]) -> str:
    low, high = _range(candles, marks)
    prices, names = _price_ticks(low, high), {name: f"{name} {_usd(mark.price)}" for name, mark in marks.items()}
    left = LETTER * max(map(len, prices.values())) + 14
    width = WIDTH - left - LETTER * (max(map(len, names.values())) + 2) - GUTTER
    frame = _Frame(low, high, left, max(width // len(candles.minute), 1))
    right = left + frame.slot * len(candles.minute)

    grid = "".join(f"M{left} {frame.y(price)}H{right}" for price in prices)
    texts = "".join(f'<text x="0" y="{frame.y(price) + 8}">{label}</text>' for price, label in prices.items())
    days = np.flatnonzero(np.diff(candles.session)) + 1 if candles.size < DAILY else np.empty(0, np.int64)
    grid += "".join(f"M{left + frame.slot * day} {TOP}V{BOTTOM + 8}" for day in days.tolist())
    for candle, label in _time_ticks(candles, frame):
        x = frame.x(candle) - LETTER * len(label) // 2
        texts += f'<text x="{x}" y="{BOTTOM + 34}">{label}</text>'
        grid += f"M{frame.x(candle)} {BOTTOM}v8" if candle not in days else ""

    leads = ""
    places = apart([min(max(frame.y(mark.price), TOP), BOTTOM) for mark in marks.values()], LINE, TOP, BOTTOM)
    for (name, mark), place in zip(marks.items(), places, strict=True):
        if frame.holds(mark.price):
            leads += f"M{frame.x(mark.candle)} {frame.y(mark.price)}H{right}L{right + GUTTER - 4} {place:.0f}"
        beyond = "" if frame.holds(mark.price) else " ↑" if mark.price >= high else " ↓"
        texts += f'<text x="{right + GUTTER}" y="{place + 8:.0f}">{names[name]}{beyond}</text>'

    rising, falling = _bodies(candles, frame)
    paths = {"grid": grid, "lead": leads, "up": rising, "down": falling, **_trade_paths(marks, frame)}
    return "".join(f'<path class="{name}" d="{path}"/>' for name, path in paths.items() if path) + texts


def _trade_paths(marks: Mapping[str, _Mark], frame: _Frame) -> dict[str, str]:
    """Stop and target while they held, and triangles that point at the prices of entry and exit."""
    entry = marks["entry"]
    triangles = f"M{frame.x(entry.candle)} {frame.y(entry.price)}l11 20h-22z"
    if "exit" in marks:
        triangles += f"M{frame.x(marks['exit'].candle)} {frame.y(marks['exit'].price)}l11-20h-22z"
    levels = [mark for mark in (marks["stop"], marks["target"]) if frame.holds(mark.price)]
    start = frame.x(entry.candle)
    lines = "".join(f"M{start} {frame.y(p)}H{max(frame.x(until), start + frame.slot)}" for p, until in levels)
    return {"level": lines, "mark": triangles}


def _range(candles: _Candles, marks: Mapping[str, _Mark]) -> tuple[float, float]:
    """What the height spans, USD: candles and fills, and those levels that leave them LEAST_SHARE of it."""
    levels = {marks["stop"].price, marks["target"].price}
    inside = {mark.price for mark in marks.values()} - levels
    low, high = min(float(candles.low.min()), *inside), max(float(candles.high.max()), *inside)
    most = (high - low) / LEAST_SHARE
    for level in sorted(levels, key=lambda price: max(low - price, price - high)):
        if max(high, level) - min(low, level) <= most:
            low, high = min(low, level), max(high, level)
    room = max((high - low) * 0.03, high * 1e-5)  # the latter where no price ever changed
    return low - room, high + room


def _bodies(candles: _Candles, frame: _Frame) -> tuple[str, str]:
    """Rising and falling candles, a path of each: wick, body, wick. A hollow body has no wick inside."""
    half = max(min(frame.slot * 3 // 8, 9), 1)
    paths: tuple[list[str], list[str]] = [], []
    columns = (candles.open, candles.high, candles.low, candles.close)
    for i, bar in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        start, top, bottom, end = map(frame.y, bar)
        upper, lower = min(start, end), max(start, end)
        above = f"v{upper - top}" if upper > top else ""
        below = f"m{half} {lower - upper}v{bottom - lower}" if bottom > lower else ""
        body = f"M{frame.x(i)} {top}{above}m-{half} 0h{2 * half}v{lower - upper}h-{2 * half}z{below}"
        paths[bar[3] < bar[0]].append(body)
    return "".join(paths[0]), "".join(paths[1])


def _price_ticks(low: float, high: float) -> dict[float, str]:
    """Three or four round prices between low and high, and their labels."""
    unit = 10.0 ** math.floor(math.log10((high - low) / MOST_PRICES))
    for factor in (*PRICE_STEPS, *(10 * factor for factor in PRICE_STEPS)):
        step = unit * factor
        first, last = math.ceil(low / step), math.floor(high / step)
        if 3 <= last - first + 1 <= MOST_PRICES:
            break
    digits = next(d for d in range(9) if d == 8 or abs(step * 10**d - round(step * 10**d)) < 1e-6)
    return {i * step: number(i * step, digits=digits) for i in range(first, last + 1)}


def _time_ticks(candles: _Candles, frame: _Frame) -> list[tuple[int, str]]:
    """_Candles with a label below them: where days begin, and between them times that leave room."""
    days = (np.flatnonzero(np.diff(candles.session)) + 1).tolist()
    best = {i: f"{_clock(candles, i):%b %d}" for i in days[:: math.ceil(len(days) / (MOST_TIMES - 2)) or 1]}
    begun = dict(best)
    for step in TIME_STEPS:
        at = [i for i in np.flatnonzero(candles.into % step == 0).tolist() if i not in begun]
        if len(at) + len(begun) > MOST_TIMES:
            continue
        found = dict(begun)
        for i in at:
            if all(frame.slot * abs(i - j) >= LETTER * (len(label) + 9) / 2 for j, label in found.items()):
                found[i] = f"{_clock(candles, i):%H:%M}"
        if len(found) > len(best):
            best = found
        if len(best) >= MOST_TIMES - 2:
            break
    return sorted(best.items())


def _clock(candles: _Candles, i: int) -> datetime:
    return new_york(moment(int(candles.minute[i])))

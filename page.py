"""The report as one HTML page: figures in, text out. The page needs no network and no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from figures import NOTHING, Report, listed, minute, number, origin, percent, plural, scores

CURVE_POINTS = 800  # more could not be told apart on a screen
DATE_TICKS, MONEY_TICKS = 6, 4
CURVE_HEIGHT = 220  # pixels; the width is the reader's

_PERFORMANCE = (
    "Of closed trades. Average win and loss are per trade, of the money put in; profit factor is USD won per USD lost; "
    "max drawdown is the deepest fall of equity from a peak, minute by minute. "
    "Every amount is rounded to the cent by itself, so rows may add up to a cent more or less than their total."
)
_SESSIONS = (
    "Confidence is the model's probability that a trade opened then is profitable after cost; break-even is the one at "
    "which such trades earn nothing. Signals at 0.60: how many there would have been at that threshold."
)
_SCORES = "Measured on days that the model had not seen; returns are after cost."
_IMPORTANCES = "How much AUC is lost when a feature is shuffled. At 0 or below the model does as well without it."


def html_page(report: Report) -> str:
    """The whole page."""
    title = f"Paper trading report, {report.market} market"
    banner = f'<p class="banner"><strong>SIMULATED MARKET</strong> {escape(report.banner)}</p>' if report.banner else ""
    sections = (
        _section("Performance", _facts(report.figures()), *_about_performance(report)),
        _section("Equity, USD", _curve(report.equity)),
        _section("Open positions, times New York", *_open_positions(report)),
        _section("Closed trades, times New York", _closed_trades(report.with_status("CLOSED"))),
        _section("Signals", *_signals(report)),
        _section("Sessions", *_sessions(report.sessions)),
        _section("Model in use", *(_model(report.card) if report.card else [_note(report.no_model)])),
        _section("Duties", _duties(report.duties)),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n"
        f"<h1>{escape(title)}</h1>\n{banner}{_facts(report.about(), 'about')}</header>\n"
        f"<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _open_positions(report: Report) -> Iterable[str]:
    held, pending = report.with_status("OPEN"), report.with_status("PENDING")
    head = ("bought", "symbol", "#shares", "#entry, USD", "#stop, USD", "#target, USD", "#confidence")
    rows = [
        (minute(t.entry_time), t.symbol, t.qty, *map(number, (t.price, t.stop_loss, t.take_profit, t.confidence)))
        for t in held.itertuples()
    ]
    yield _table("Open positions", head, rows) if rows else _note("No position is open.")
    if len(pending):
        yield _note(f"Ordered and not yet filled: {', '.join(pending['symbol'])}.")


def _closed_trades(closed: pd.DataFrame) -> str:
    if closed.empty:
        return _note("No trade has closed yet. A trade closes at its stop, at its target, or when its time is up.")
    head = ("bought", "sold", "symbol", "#shares", "#entry, USD", "#exit, USD", "sold by")
    rows = [
        (minute(t.entry_time), minute(t.exit_time), t.symbol, t.qty, number(t.price), number(t.exit_price),
         t.exit_reason, number(t.pnl_amount, sign="+"), percent(t.pnl_pct, "+"), number(t.confidence))
        for t in closed.iloc[::-1].itertuples()
    ]  # fmt: skip
    return _table("Closed trades, newest first", (*head, "#P&L, USD", "#P&L, %", "#confidence"), rows)


def _about_performance(report: Report) -> Iterable[str]:
    closed = len(report.with_status("CLOSED"))
    yield _note(_PERFORMANCE if closed else "No trade has closed yet, so there is no performance to measure.")
    if counts := report.not_filled():
        yield _note(f"{plural(sum(counts.values()), 'order')} not filled: {listed(counts)}.")


def _signals(report: Report) -> Iterable[str]:
    yield _note(report.signals_in_words())
    if rows := list(report.not_taken().items()):
        yield _table("Signals not taken", ("why not", "#signals"), rows)


def _sessions(sessions: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if not sessions:
        yield _note("No minute of a session is in the books yet.")
        return
    levels = sorted({level for s in sessions for level in s.get("signals_at", ())}, reverse=True)
    head = ("session", "#bought", "#sold", "#P&L, USD", "#highest confidence", "#threshold", "#break-even")
    rows = [
        (s["day"], s["bought"], s["sold"], number(s["pnl"], sign="+"),
         *(number(s.get(name)) for name in ("highest_confidence", "threshold", "break_even")),
         *(s.get("signals_at", {}).get(level, NOTHING) for level in levels),
         *(number(s.get(name), digits=0) for name in ("predicted", "not_predicted")))
        for s in reversed(sessions)
    ]  # fmt: skip
    lower = (f"#signals at {level}" for level in levels)
    yield _table("Sessions, newest first", (*head, *lower, "#predictions", "#not predicted"), rows)
    yield _note(_SESSIONS)
    if silent := [(s["day"], s["words"]) for s in reversed(sessions) if s["words"]]:
        yield "<h3>Why nothing was bought</h3>\n"
        yield _facts(silent, "about")


def _model(card: Mapping[str, Any]) -> Iterable[str]:
    calibration = card["calibration"]["table"]
    yield _facts(origin(card), "about")
    yield _facts(scores(card))
    yield _note(_SCORES)
    yield "<h3>Calibration: what a confidence meant</h3>\n"
    if not calibration:
        yield _note("No row of a later day was judged.")
    else:
        most = max(calibration, key=lambda r: r["rows"])
        meant = f"{number(most['confidence'])} meant that {percent(most['profitable'])} of {most['rows']:,} rows"
        rows = [(number(r["confidence"]), percent(r["profitable"]), f"{r['rows']:,}") for r in calibration]
        yield _note(f"To be read so: a confidence around {meant} were profitable.")
        yield _table("Calibration", ("#mean confidence", "#profitable, %", "#of rows"), rows)
    yield f"<h3>Importances of the {len(card['features'])} features</h3>\n"
    yield _note(_IMPORTANCES)
    yield _importances(card["importances"])


def _importances(importances: Sequence[Mapping[str, Any]]) -> str:
    lost = [row["permutation"] or 0.0 for row in importances]
    low, high = min([0.0, *lost]), max([0.0, *lost])
    scale = 100 / (high - low) if high > low else 0.0
    rows = [
        (row["feature"], number(row["permutation"], sign="+", digits=4), number(row["impurity"], digits=3),
         _bar((min(value, 0.0) - low) * scale, abs(value) * scale))
        for row, value in zip(importances, lost, strict=True)
    ]  # fmt: skip
    return _table("Importances", ("feature", "#AUC lost", "#impurity", "AUC lost, as a bar"), rows)


def _duties(duties: Sequence[Mapping[str, Any]]) -> str:
    if not duties:
        return _note("No duty has been due yet: training comes after the close, rebalancing before the open.")
    rows = [(d["session"], d["duty"], d["outcome"], d["words"]) for d in reversed(duties)]
    return _table("Duties, newest first", ("session", "duty", "outcome", "in words"), rows)


# --- the curve -------------------------------------------------------------------------------------------------------


def _curve(equity: pd.DataFrame) -> str:
    if len(equity) < 2:
        return _note("Fewer than two minutes are in the books, too few for a curve.")
    usd, time = equity["equity"].to_numpy(), equity["time"]
    if number(usd.min()) == number(usd.max()):
        return _note(
            f"Equity has stood at {number(usd[0])} USD in all {len(usd):,} minutes; there is no curve to draw."
        )
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
        f"</svg>\n{_note(words)}"
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


# --- building blocks -------------------------------------------------------------------------------------------------


class _Html(str):
    """Text that is markup already."""


def _section(heading: str, *blocks: str) -> str:
    name = heading.split(",")[0].lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{heading}</h2>\n{"".join(blocks)}</section>\n'


def _note(words: str) -> str:
    return f"<p>{escape(words)}</p>\n"


def _facts(pairs: Iterable[tuple[str, str]], style: str = "figures") -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n" for name, value in pairs)
    return f'<dl class="{style}">\n{items}</dl>\n'


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls inside its box; a heading that begins with "#" is over numbers."""
    right = [' class="n"' if name.startswith("#") else "" for name in head]
    columns = "".join(
        f'<th scope="col"{n}>{escape(name.lstrip("#"))}</th>' for name, n in zip(head, right, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td{n}>{_cell(cell)}</td>' for cell, n in zip(row, right, strict=True))}</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n{body}</tbody>\n"
        "</table>\n</div>\n"
    )


def _cell(content: object) -> str:
    return content if isinstance(content, _Html) else escape(str(content))


def _bar(start: float, length: float) -> _Html:
    return _Html(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect x="{start:.1f}" width="{max(length, 0.5):.1f}" height="10"></rect></svg>'
    )


_STYLE = """
:root { color-scheme: light dark; --line: rgb(128 128 128 / .35); --ink: #3b7dc4; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
p { max-width: 44rem; }
.banner { max-width: none; border: 3px solid; padding: .75rem 1rem; } .banner strong { display: block; }
dl { margin: 1rem 0; } dt { font-size: .85rem; opacity: .75; } dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1rem; }
.figures dd { font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.about div { display: grid; grid-template-columns: 9rem 1fr; } .about dt { line-height: 1.8; }
@media (max-width: 36rem) { .about div { display: block; margin-bottom: .5rem; } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; } caption { position: absolute; clip-path: inset(50%); }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; font-weight: 600; } td { white-space: nowrap; }
td:last-child { white-space: normal; min-width: 4rem; } th:first-child, td:first-child { padding-left: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
svg text { font-size: 12px; fill: CanvasText; stroke: Canvas; stroke-width: 4px; paint-order: stroke; }
.grid { stroke: var(--line); } .curve { fill: none; stroke: var(--ink); stroke-width: 2px; }
.bar { display: block; width: 12rem; height: .9rem; fill: var(--ink); }
"""

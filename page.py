"""The report as one HTML page: figures in, text out. The page needs no network and no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from figures import NOTHING, Report, listed, minute, number, percent, plural
from learnt import Learnt
from markup import STYLE, anchor, facts, folded, note, section, subheading, table
from page_learning import learning_sections
from plots import curve

NAMED_REASONS = 2  # features named of those that spoke for a trade; the others unfold

_PERFORMANCE = (
    "Of closed trades. Average win and loss are per trade, of the money put in; profit factor is USD won per USD lost; "
    "max drawdown is the deepest fall of equity from a peak, minute by minute. "
    "Every amount is rounded to the cent by itself, so rows may add up to a cent more or less than their total."
)
_SESSIONS = (
    "Confidence is the model's probability that a trade opened then is profitable after cost; break-even is the one at "
    "which such trades earn nothing. Silent in a row: sessions up to this one without a confidence at the threshold. "
    "Signals at 0.60: how many there would have been at that threshold."
)
_SPOKE = (
    "Spoke for it: the features that moved the model's score most towards buying; unfolded, what each added to the "
    "score, and its value."
)


def html_page(report: Report, learnt: Learnt) -> str:
    """The whole page."""
    title = f"Paper trading report, {report.market} market"
    banner = f'<p class="banner"><strong>SIMULATED MARKET</strong> {escape(report.banner)}</p>' if report.banner else ""
    sections: dict[str, Iterable[str]] = {
        "Performance": [facts(report.figures()), *_about_performance(report)],
        "Equity, USD": [curve(report.equity)],
        "Open positions, times New York": _open_positions(report),
        "Closed trades, times New York": _closed_trades(report.with_status("CLOSED")),
        "Signals": _signals(report),
        "Sessions": _sessions(report.sessions),
        **learning_sections(learnt, report.no_model),
        "Duties": [_duties(report.duties)],
    }
    contents = "".join(f'<li><a href="#{anchor(name)}">{name.split(",")[0]}</a></li>' for name in sections)
    main = "".join(section(heading, *blocks) for heading, blocks in sections.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n"
        f"<h1>{escape(title)}</h1>\n{banner}{facts(report.about(), 'about')}"
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n</header>\n'
        f"<main>\n{main}</main>\n</body>\n</html>\n"
    )


def _open_positions(report: Report) -> Iterable[str]:
    held, pending = report.with_status("OPEN"), report.with_status("PENDING")
    head = ("bought", "symbol", "#shares", "#entry, USD", "#stop, USD", "#target, USD", "#confidence")
    rows = [
        (minute(t.entry_time), t.symbol, t.qty, *map(number, (t.price, t.stop_loss, t.take_profit, t.confidence)),
         _spoke(t.why))
        for t in held.itertuples()
    ]  # fmt: skip
    yield table("Open positions", (*head, "spoke for it"), rows) if rows else note("No position is open.")
    if len(pending):
        yield note(f"Ordered and not yet filled: {', '.join(pending['symbol'])}.")


def _closed_trades(closed: pd.DataFrame) -> Iterable[str]:
    if closed.empty:
        yield note("No trade has closed yet. A trade closes at its stop, at its target, or when its time is up.")
        return
    head = ("bought", "sold", "symbol", "#shares", "#entry, USD", "#exit, USD", "sold by")
    rows = [
        (minute(t.entry_time), minute(t.exit_time), t.symbol, t.qty, number(t.price), number(t.exit_price),
         t.exit_reason, number(t.pnl_amount, sign="+"), percent(t.pnl_pct, "+"), number(t.confidence),
         _spoke(t.why))
        for t in closed.iloc[::-1].itertuples()
    ]  # fmt: skip
    more = ("#P&L, USD", "#P&L, %", "#confidence", "spoke for it")
    yield table("Closed trades, newest first", (*head, *more), rows)
    yield note(_SPOKE)


def _spoke(why: Sequence[Mapping[str, Any]]) -> str:
    """The features that spoke for a trade; '-' where they were not kept."""
    if not why:
        return NOTHING
    lines = (
        f"{number(each['contribution'], sign='+', digits=3)} {each['feature']} {number(each['value'], digits=4)}"
        for each in why
    )
    return folded(", ".join(each["feature"] for each in why[:NAMED_REASONS]), lines)


def _about_performance(report: Report) -> Iterable[str]:
    closed = len(report.with_status("CLOSED"))
    yield note(_PERFORMANCE if closed else "No trade has closed yet, so there is no performance to measure.")
    if counts := report.not_filled():
        yield note(f"{plural(sum(counts.values()), 'order')} not filled: {listed(counts)}.")


def _signals(report: Report) -> Iterable[str]:
    yield note(report.signals_in_words())
    if rows := list(report.not_taken().items()):
        yield table("Signals not taken", ("why not", "#signals"), rows)


def _sessions(sessions: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if not sessions:
        yield note("No minute of a session is in the books yet.")
        return
    levels = sorted({level for s in sessions for level in s.get("signals_at", ())}, reverse=True)
    head = ("session", "#bought", "#sold", "#P&L, USD", "#highest confidence", "#threshold", "#break-even")
    rows = [
        (s["day"], s["bought"], s["sold"], number(s["pnl"], sign="+"),
         *(number(s.get(name)) for name in ("highest_confidence", "threshold", "break_even")),
         s.get("silent_sessions", NOTHING),
         *(s.get("signals_at", {}).get(level, NOTHING) for level in levels),
         *(number(s.get(name), digits=0) for name in ("predicted", "not_predicted")))
        for s in reversed(sessions)
    ]  # fmt: skip
    lower = (f"#signals at {level}" for level in levels)
    yield table("Sessions, newest first", (*head, "#silent in a row", *lower, "#predictions", "#not predicted"), rows)
    yield note(_SESSIONS)
    if silent := [(s["day"], s["words"]) for s in reversed(sessions) if s["words"]]:
        yield subheading("Why nothing was bought")
        yield facts(silent, "about")


def _duties(duties: Sequence[Mapping[str, Any]]) -> str:
    if not duties:
        return note("No duty has been due yet: training comes after the close, rebalancing before the open.")
    rows = [(d["session"], d["duty"], d["outcome"], d["words"]) for d in reversed(duties)]
    return table("Duties, newest first", ("session", "duty", "outcome", "in words"), rows)

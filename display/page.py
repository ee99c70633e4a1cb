"""The report as one HTML page: figures in, text out. The page needs no network, and reads well without its script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from display.comparisons import Comparisons
from display.figures import NOTHING, Report, each_of, minute, number
from display.learnt import Learnt
from display.markup import STYLE, anchor, facts, note, section, subheading, table
from display.page_learning import learning_sections
from display.page_script import SCRIPT
from display.page_trades import charts, closed_trades, equity, open_positions, performance
from display.plots import STYLE as CURVES
from display.plots_trades import STYLE as CANDLES
from market.hours import new_york

SHOWN_SIGNALS = 500  # the newest

_SIGNALS = (
    "A signal is a symbol whose confidence newly rises to the threshold. One that stays above counts once, so the "
    "highest confidence of a day may come in a minute that is not listed."
)
_SESSIONS = (
    "Confidence is the model's probability that a trade opened then is profitable after cost; break-even is the one at "
    "which such trades earn nothing. Silent in a row: sessions up to this one without a confidence at the threshold. "
    "Signals at 0.60: how often a confidence newly rose to that level. One that stays above counts once, so a lower "
    "level may count fewer."
)


def html_page(report: Report, learnt: Learnt, held_against: Comparisons, reload_seconds: int | None = None) -> str:
    """The whole page; with `reload_seconds` it reloads by itself, as a running trader writes it again and again."""
    title = f"Paper trading report, {report.market} market"
    banner = f'<p class="banner"><strong>SIMULATED MARKET</strong> {escape(report.banner)}</p>' if report.banner else ""
    halt = f'<p class="banner"><strong>HALTED</strong> {escape(report.halted_in_words())}</p>' if report.halt else ""
    sections: dict[str, Iterable[str]] = {
        "Open positions, times New York": open_positions(report),
        "Performance": performance(report, held_against),
        "Equity, USD": equity(report, held_against),
        "Closed trades, times New York": closed_trades(report, held_against),
        "Trades on candles, times New York": charts(report, held_against),
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
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}{CURVES}{CANDLES}</style>\n'
        '</head>\n<body>\n<a class="skip" href="#main">Skip to the report</a>\n<header>\n'
        f"<h1>{escape(title)}</h1>\n{banner}{halt}{facts(report.about(), 'about')}{_fresh(report, reload_seconds)}"
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n</header>\n'
        f'<main id="main">\n{main}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )


def _fresh(report: Report, reload_seconds: int | None) -> str:
    written = f"Written {new_york(report.written):%Y-%m-%d %H:%M:%S} New York"
    if reload_seconds is None:
        return f"<p>{written}.</p>\n"
    return (
        f'<p>{written}. <span class="fresh" hidden data-every="{reload_seconds}" '
        f'data-written="{report.written.isoformat()}">That is <span data-age role="status"></span>. '
        '<label><input type="checkbox"> Reload automatically</label></span></p>\n'
    )


def _signals(report: Report) -> Iterable[str]:
    yield note(report.signals_in_words())
    yield note(_SIGNALS)
    if counts := list(report.not_taken().items()):
        yield table("Signals not taken", ("why not", "#signals"), counts)
    if report.signals.empty:
        return
    every = len(report.signals)
    yield subheading(
        f"Every signal, times New York{'' if every <= SHOWN_SIGNALS else f', the newest {SHOWN_SIGNALS} of {every:,}'}"
    )
    rows = [
        (s.symbol, "ordered" if s.taken else s.reason, number(s.confidence), minute(s.timestamp), number(s.price))
        for s in each_of(report.signals.iloc[: -SHOWN_SIGNALS - 1 : -1])
    ]
    yield table("Every signal", ("symbol", "what became of it", "#confidence", "at", "#price, USD"), rows)


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
    rows = [
        (d["session"], d["duty"], d["outcome"], "; ".join(map(str.strip, d["words"].splitlines())))
        for d in reversed(duties)
    ]
    return table("Duties, newest first", ("session", "duty", "outcome", "in words"), rows)

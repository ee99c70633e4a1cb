"""The report on a terminal: the page's figures in a few tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from display.figures import Report, each_of, listed, number, percent, plural
from display.learnt import Learnt, terminal_lines

SHOWN_TRADES = SHOWN_SESSIONS = 10
SHOWN_TROUBLES = 3  # failed or missed duties


def print_summary(report: Report, learnt: Learnt, console: Console) -> None:
    """Print what was earned, why nothing was, what was learnt, and the duties."""
    if report.banner:
        console.print(Panel(Text(report.banner), title="SIMULATED MARKET", style="bold"))
    if report.halt:
        console.print(Text(f"HALTED: {report.halted_in_words()}", style="bold"))
    console.print(_pairs(report.about()))
    _heading(console, "performance, of closed trades")
    figures, grid = report.figures(), Table(box=None, show_header=False, pad_edge=False)
    for (name, value), (other, its) in zip(figures[::2], figures[1::2], strict=True):
        grid.add_row(name, Text(value, justify="right"), "", other, Text(its, justify="right"))
    console.print(grid)
    _print_trades(report, console)
    _heading(console, "signals")
    console.print(Text(report.signals_in_words()))
    if not_taken := report.not_taken():
        console.print(Text(f"not taken: {listed(not_taken)}"))
    _print_sessions([(s["day"], s["words"]) for s in report.sessions if s["words"]], console)
    _heading(console, "learnt")
    console.print(_pairs(terminal_lines(learnt)))
    _heading(console, "duties")
    outcomes = {
        duty: ", ".join(f"{n} {what}" for what, n in counts.items()) for duty, counts in report.outcomes().items()
    }
    console.print(_pairs(outcomes.items()) if outcomes else "none was due yet")
    for duty in [d for d in report.duties if d["outcome"] in ("failed", "missed")][-SHOWN_TROUBLES:]:
        console.print(Text(f"{duty['duty']} of {duty['session']} {duty['outcome']}: {duty['words']}"))


def _print_trades(report: Report, console: Console) -> None:
    closed, held = report.with_status("CLOSED"), report.with_status("OPEN")
    last = f", the last {SHOWN_TRADES} of {len(closed)}" if len(closed) > SHOWN_TRADES else ""
    _heading(console, f"closed trades{last} (times New York, prices and P&L USD)")
    rows = [
        (f"{t.entry_time:%m-%d %H:%M}", t.symbol, f"{t.qty}", number(t.price), number(t.exit_price), t.exit_reason,
         number(t.pnl_amount, sign="+"), percent(t.pnl_pct, "+"), number(t.confidence))
        for t in each_of(closed.tail(SHOWN_TRADES))
    ]  # fmt: skip
    head = ("bought", "symbol", "#qty", "#entry", "#exit", "sold by", "#P&L", "#P&L %", "#conf.")
    console.print(_table(head, rows) if rows else "none yet")
    if not_filled := report.not_filled():
        console.print(Text(f"orders not filled: {listed(not_filled)}"))
    _heading(console, "open positions")
    rows = [
        (f"{t.entry_time:%m-%d %H:%M}", t.symbol, f"{t.qty}",
         *map(number, (t.price, t.stop_loss, t.take_profit, t.confidence)))
        for t in each_of(held)
    ]  # fmt: skip
    console.print(
        _table(("bought", "symbol", "#qty", "#entry", "#stop", "#target", "#conf."), rows) if rows else "none"
    )


def _print_sessions(silent: Sequence[tuple[str, str]], console: Console) -> None:
    if silent:
        last = f", the last {SHOWN_SESSIONS}" if len(silent) > SHOWN_SESSIONS else ""
        _heading(console, f"{plural(len(silent), 'session')} without a purchase{last}")
        console.print(_pairs(silent[-SHOWN_SESSIONS:]))


def _heading(console: Console, words: str) -> None:
    console.print()
    console.print(Text(words, style="bold"))


def _pairs(pairs: Iterable[tuple[str, str]]) -> Table:
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, words in pairs:
        grid.add_row(Text(name), Text(words))
    return grid


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    for name in head:
        table.add_column(name.lstrip("#"), justify="right" if name.startswith("#") else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table

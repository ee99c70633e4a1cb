"""The page's sections about trades: what is held, what was earned and at what cost, every trade on candles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from itertools import repeat
from typing import Any

import pandas as pd

from display.comparisons import Comparisons, costs_in_words
from display.figures import Report, each_of, listed, minute, number, percent, plural
from display.markup import Html, facts, note, table
from display.plots import curve, drawdown
from display.plots_trades import trade_charts
from market.hours import NEW_YORK

_PERFORMANCE = (
    "Of closed trades. Average win and loss are per trade, of the money put in; profit factor is USD won per USD lost; "
    "max drawdown is the deepest fall of equity from a peak, minute by minute; exposure is the share of equity in "
    "positions, at their entry price. "
    "Every amount is rounded to the cent by itself, so rows may add up to a cent more or less than their total."
)
SHOWN_TRADES, SHOWN_CHARTS = 1000, 500  # the newest
LAGGING = pd.Timedelta(hours=1)
_CHARTS = (
    "Hollow candles rose, filled ones fell. The lines are stop and target while the trade was open. "
    "A day's candles come in its evening."
)


def performance(report: Report, held_against: Comparisons) -> Iterable[str]:
    """Figures, P&L by three prices, and the orders that were not filled."""
    yield facts(report.figures())
    closed = len(report.with_status("CLOSED"))
    yield note(_PERFORMANCE if closed else "No trade has closed yet, so there is no performance to measure.")
    if (costs := held_against.costs) is not None:
        names = (
            ("raw", "at the bars' prices, before any cost"),
            ("modelled", "after the cost model"),
            ("filled", "as it was filled"),
        )
        yield table(
            "P&L by price", ("P&L of closed trades", "#USD"), [(w, number(costs[n], sign="+")) for n, w in names]
        )
        yield note(held_against.span + costs_in_words(costs, held_against.closed))
    elif held_against.closed:
        yield note(f"{held_against.span}No closed trade could be priced from stored bars, or all were sold by hand.")
    if counts := report.not_filled():
        yield note(f"{plural(sum(counts.values()), 'order')} not filled: {listed(counts)}.")


def equity(report: Report, held_against: Comparisons) -> Iterable[str]:
    """The account beside the market and beside chance, and how deep it fell."""
    mean, chance = held_against.mean, held_against.chance
    newest, random = held_against.equity, None if chance is None else chance.curve
    if held_against.span:
        yield note(held_against.span)
    # as much as the account had in positions
    invested = report.exposure().tail(len(newest)).mean() * newest["equity"].iloc[0] if len(newest) else 0.0
    yield curve(newest, mean if invested else None, random, market_name="market mean", invested=invested)
    if chance is not None:
        yield note(
            f"{chance.words} What they earn is luck and the market; skill is what the account earns beyond that."
        )
    if held_against.without:
        yield note(held_against.without)
    elif mean is not None and newest["time"].iloc[-1] - mean["time"].iloc[-1] > LAGGING:
        reach = minute(mean["time"].iloc[-1].tz_convert(NEW_YORK))
        yield note(f"Market and random entries reach to {reach}: a day's bars come in its evening.")
    yield drawdown(newest)


def open_positions(report: Report) -> Iterable[str]:
    """What is held, with its levels, and what is on its way."""
    held, pending = report.with_status("OPEN"), report.with_status("PENDING")
    head = ("symbol", "#shares", "#entry, USD", "#stop, USD", "#target, USD", "bought", "#confidence")
    rows = [
        (
            _linked(t),
            t.qty,
            *map(number, (t.price, t.stop_loss, t.take_profit)),
            minute(t.entry_time),
            number(t.confidence),
        )
        for t in each_of(held)
    ]
    yield table("Open positions", head, rows) if rows else note("No position is open.")
    if len(pending):
        yield note(f"Ordered and not yet filled: {', '.join(pending['symbol'])}.")


def _charted(report: Report, held_against: Comparisons) -> pd.DataFrame:
    """The newest filled trades of the sessions that are compared, newest first."""
    filled, newest = report.with_status("OPEN", "CLOSED"), held_against.equity
    if len(newest):
        filled = filled[filled["entry_time"].dt.date >= newest["time"].iloc[0].date()]
    return filled.iloc[: -SHOWN_CHARTS - 1 : -1]


def closed_trades(report: Report, held_against: Comparisons) -> Iterable[str]:
    """Every closed trade in a line, newest first."""
    closed = report.with_status("CLOSED")
    if closed.empty:
        yield note("No trade has closed yet. A trade closes at its stop, at its target, or when its time is up.")
        return
    head = (
        "symbol", "#P&L, USD", "#P&L, %", "sold by", "bought", "sold", "#shares", "#entry, USD", "#exit, USD",
        "#confidence",
    )  # fmt: skip
    charted = set(_charted(report, held_against)["id"])
    rows = [
        (_linked(t) if t.id in charted else t.symbol, number(t.pnl_amount, sign="+"), percent(t.pnl_pct, "+"),
         t.exit_reason, minute(t.entry_time), minute(t.exit_time), t.qty, number(t.price), number(t.exit_price),
         number(t.confidence))
        for t in each_of(closed.iloc[: -SHOWN_TRADES - 1 : -1])
    ]  # fmt: skip
    if len(closed) > SHOWN_TRADES:
        yield note(f"The newest {SHOWN_TRADES:,} of {len(closed):,}; report.trades() has all.")
    yield table("Closed trades, newest first", head, rows)
    yield note(
        "A symbol leads to its trade on candles, with what spoke for it. Sold by stop, target, time (its holding "
        "limit was over), or by hand."
    )


def charts(report: Report, held_against: Comparisons) -> Iterable[str]:
    """Every trade on candles, newest first, folded but for the newest; with the features that spoke for it."""
    filled = _charted(report, held_against)
    if filled.empty:
        yield note("There is no trade to draw yet.")
        return
    bars = held_against.bars
    yield note(_CHARTS if bars is not None else held_against.without)
    drawn = repeat("") if bars is None else trade_charts(filled, bars)
    yield "".join(_folded(filled, drawn))


def _folded(filled: pd.DataFrame, drawn: Iterable[str]) -> Iterator[str]:
    for place, (trade, chart) in enumerate(zip(each_of(filled), drawn, strict=False)):
        yield (
            f'<details class="told" id="{anchor_of(trade)}"{" open" if place == 0 else ""}>'
            f'<summary>{escape(_in_a_line(trade))}</summary>\n<div class="beside">{chart}{_spoke(trade)}</div>'
            "</details>\n"
        )


def anchor_of(trade: Any) -> str:
    """The id of a trade on the page."""
    return escape(f"trade-{trade.id}")


def _linked(trade: Any) -> Html:
    return Html(f'<a href="#{anchor_of(trade)}">{escape(trade.symbol)}</a>')


def _in_a_line(trade: Any) -> str:
    bought = f"{trade.symbol}, {minute(trade.entry_time)}: {trade.qty} bought at {number(trade.price)}"
    if trade.status != "CLOSED":
        return f"{bought}, still held"
    earned = f"{number(trade.pnl_amount, ' USD', '+')}, {percent(trade.pnl_pct, '+')}"
    return f"{bought}, sold at {number(trade.exit_price)} by {trade.exit_reason}: {earned}"


def _spoke(trade: Any) -> str:
    """The features that moved the model's score most towards buying, where they were kept."""
    if not trade.why:
        return note("What spoke for it was not kept.")
    rows = [
        (each["feature"], f"{each['value']:.3g}", number(each["contribution"], sign="+", digits=3))
        for each in trade.why
    ]
    return table(
        f"What spoke for {trade.symbol} at {minute(trade.entry_time)}",
        ("spoke for it", "#its value", "#added to the model's score"),
        rows,
    )

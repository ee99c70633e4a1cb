"""The figures of a report, as data and as words; terminal and page show the same ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from desk.books import Books
from desk.journal import Event
from learning.model_store import ModelStore, NoModel

NOTHING = "-"
LOWER_THRESHOLDS = (0.60, 0.55, 0.50)  # signals there are counted too: how near it came, where none was bought
LEARNT = "learnt from outcomes"  # begins the reason of a signal that they turned down


@dataclass(frozen=True)
class Report:
    """What the books say at one moment.

    `equity`, `trades` and `signals` are the frames of report.py. `sessions`, oldest first: day, bought, sold, pnl
    (USD), words, and the fields of the session's journal event, if it has ended. `duties`, oldest first: session, duty,
    outcome, words. `card` is that of the model in use, `no_model` says why there is none; `halt` why nothing is bought.
    """

    written: datetime
    market: str
    feed: str
    banner: str | None
    halt: str | None
    card: Mapping[str, Any] | None
    no_model: str
    performance: Mapping[str, float]
    equity: pd.DataFrame
    trades: pd.DataFrame
    signals: pd.DataFrame
    sessions: Sequence[Mapping[str, Any]]
    duties: Sequence[Mapping[str, Any]]

    def with_status(self, *status: str) -> pd.DataFrame:
        """The trades in one of these states, by time of entry."""
        return self.trades[self.trades["status"].isin(status)].sort_values("entry_time", kind="stable")

    def about(self) -> list[tuple[str, str]]:
        """Market, model and period, each by name."""
        model, period = model_in_words(self.card, self.no_model), "no minute of a session yet"
        if len(self.equity):
            first, last, count = self.equity["time"].iloc[0], self.equity["time"].iloc[-1], len(self.sessions)
            period = f"{minute(first)} to {minute(last)} New York, {plural(count, 'session')}"
        market = f"{self.market} (feed {self.feed})"
        entries = [] if self.halt else [("entries", "not halted")]
        return [("market", market), ("model", model), ("period", period), *entries]

    def halted_in_words(self) -> str:
        """Why nothing is bought, and the way back."""
        return f"{self.halt}. Nothing is bought until python live_trader.py --resume"

    def exposure(self) -> pd.Series:
        """The share of equity in positions at each minute of the books, at their entry price."""
        filled = self.with_status("OPEN", "CLOSED")
        worth, sold = filled["price"] * filled["qty"], filled["status"] == "CLOSED"
        changes = pd.concat(
            [
                pd.Series(worth.to_numpy(), index=filled["entry_time"]),
                pd.Series(-worth[sold].to_numpy(), index=filled.loc[sold, "exit_time"]),
            ]
        ).sort_index()
        steps = pd.DatetimeIndex(changes.index).searchsorted(self.equity["time"], side="right")
        invested = np.concatenate([[0.0], changes.to_numpy(dtype=np.float64).cumsum()])[steps]
        return pd.Series(invested / self.equity["equity"].to_numpy(), name="exposure")

    def figures(self) -> list[tuple[str, str]]:
        """Performance, each figure by name and with its unit; '-' where there is nothing to measure."""
        p, pnl = self.performance, self.with_status("CLOSED")["pnl_amount"]
        last = self.equity["equity"].iloc[-1] if len(self.equity) else None
        exposure = self.exposure()
        figures = (
            ("equity", number(last, " USD"), True),
            ("total P&L", number(p["total_pnl"], " USD", "+"), len(pnl)),
            ("closed trades", f"{len(pnl)}", True),
            ("win rate", percent(p["win_rate"]), len(pnl)),
            ("average win", percent(p["average_win"], "+"), (pnl > 0).any()),
            ("average loss", percent(p["average_loss"], "+"), (pnl <= 0).any()),
            ("profit factor", number(p["profit_factor"]), (pnl < 0).any()),
            ("max drawdown", percent(p["max_drawdown"]), len(pnl)),
            ("exposure, mean", percent(exposure.mean()), len(self.equity)),
            ("exposure, highest", percent(exposure.max()), len(self.equity)),
        )
        return [(name, text if known else NOTHING) for name, text, known in figures]

    def signals_in_words(self) -> str:
        """How many signals there were and how many led to an order."""
        if self.signals.empty:
            return "No buy signals generated: no confidence has reached the threshold."
        taken = int(self.signals["taken"].sum())
        return f"{plural(len(self.signals), 'signal')} at the threshold, {taken} taken as an order."

    def not_taken(self) -> Mapping[str, int]:
        """Signals that led to no order, counted by reason, most frequent first."""
        return _counted(map(kind_of_reason, self.signals.loc[~self.signals["taken"], "reason"]))

    def not_filled(self) -> Mapping[str, int]:
        """Entries that were ordered and never filled, counted by what became of them."""
        failed = self.with_status("REJECTED", "CANCELLED")
        return _counted(f"{t.status.lower()} ({t.exit_reason})" for t in each_of(failed))

    def outcomes(self) -> dict[str, dict[str, int]]:
        """Duties counted by outcome: {"train": {"done": 5, "failed": 1}}."""
        counts: dict[str, Counter[str]] = {}
        for duty in self.duties:
            counts.setdefault(duty["duty"], Counter())[duty["outcome"]] += 1
        return {duty: dict(count) for duty, count in counts.items()}


def each_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows of a frame as named tuples, of the types that its columns have (which pandas' own stubs cannot know)."""
    return iter(frame.itertuples())


def card_in_use(models: Path) -> tuple[Mapping[str, Any] | None, str]:
    """The card of the model that serves in a folder, and why there is none."""
    store = ModelStore(models)
    try:
        return store.card(store.current()), ""
    except NoModel as error:
        return None, str(error)


def model_in_words(card: Mapping[str, Any] | None, no_model: str) -> str:
    """A model's kind, stamp and verdict in a line."""
    if card is None:
        return no_model
    proof = "proven" if card["proven"] else "unproven"
    return f"{card['model_type']} {card['stamp']}, {proof}: {card['reason']}"


def session_lines(events: Iterable[Event], books: Books) -> list[dict[str, Any]]:
    """One line per session in the books, oldest first; see `Report.sessions`."""
    ended = {event["day"]: event for event in events if event["kind"] == "session"}
    bought = Counter(t.entry_time[:10] for t in books.trades.values() if t.qty)
    closed = [t for t in books.trades.values() if t.status == "CLOSED"]
    lines = []
    for day in sorted({time[:10] for time, _ in books.equity} | set(ended)):
        earned = [t.pnl_amount or 0.0 for t in closed if (t.exit_time or "")[:10] == day]
        no = (s["reason"] for s in books.signals_on(day) if not s["taken"])
        missed = _counted(map(kind_of_reason, no))
        found = {name: value for name, value in ended.get(day, {}).items() if name not in ("n", "kind")}
        words = "" if bought[day] else why_nothing_was_bought(found, missed)
        pnl = round(sum(earned, 0.0), 4)
        lines.append(found | {"day": day, "bought": bought[day], "sold": len(earned), "pnl": pnl, "words": words})
    return lines


def kind_of_reason(reason: str) -> str:
    """A reason without the numbers of its own case, so that like ones can be counted."""
    return LEARNT if reason.startswith(LEARNT) else reason


def why_nothing_was_bought(session: Mapping[str, Any], not_taken: Mapping[str, int]) -> str:
    """Why a session bought nothing, from its journal event (empty before its end) and its signals not taken."""
    if not session:
        return "The session has not ended in these books: it is running, or the trader was stopped before the close."
    if not session["predicted"]:
        return "Nothing was predicted: no model served, or no symbol had enough bars."
    highest, threshold = session["highest_confidence"], session["threshold"]
    digits = 4 if f"{highest:.2f}" == f"{threshold:.2f}" else 2  # 0.4997 must not read as if it had reached 0.50
    where = f"{highest:.{digits}f} ({session['highest_symbol']} at {session['highest_time']})"
    if not_taken or highest >= threshold:
        reasons = listed(not_taken) or "no order was filled"
        return f"No signal led to a purchase: {reasons}; highest confidence {where}, threshold {threshold:.2f}."
    lower = {level: n for level, n in session["signals_at"].items() if float(level) < threshold}
    words = f"No buy signals generated: highest confidence {where}, threshold {threshold:.2f}"
    if session["break_even"] is not None:
        words += f", break-even {session['break_even']:.2f}"
    if (silent := session.get("silent_sessions", 0)) > 1:
        words += f"; silent for {silent} sessions"
    if lower:
        words += "; signals there would have been: " + ", ".join(f"{n} at {level}" for level, n in lower.items())
    return words + "."


def number(value: float | None, unit: str = "", sign: str = "", digits: int = 2) -> str:
    """A number with its unit; `sign` "+" shows it also for gains. '-' for what is not known."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{round(value, digits) + 0.0:{sign},.{digits}f}{unit}"


def percent(fraction: float | None, sign: str = "", digits: int = 2) -> str:
    """A fraction as a percentage."""
    return number(None if fraction is None else fraction * 100, "%", sign, digits)


def minute(when: pd.Timestamp) -> str:
    """Date and time to the minute."""
    return f"{when:%Y-%m-%d %H:%M}"


def plural(count: int, noun: str) -> str:
    """A count and its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(counts: Mapping[str, int]) -> str:
    """Counts by name in one line."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())

"""What the trader says to a person: a fill, and a session in a few words; when nothing was bought, how near it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from desk.books import Books
from desk.orders import Account, Execution, Trade
from display.figures import LOWER_THRESHOLDS, kind_of_reason, why_nothing_was_bought
from market.hours import Session, moment, new_york
from model_in_use import Prediction


@dataclass
class SessionTally:
    """Counts one session's predictions: the highest, and how often each lower threshold was newly reached."""

    session: Session | None
    watched: int = 0
    predicted: int = 0
    highest: float = 0.0
    highest_symbol: str = ""
    highest_time: str = ""
    reached: dict[float, int] = field(default_factory=lambda: dict.fromkeys(LOWER_THRESHOLDS, 0))
    _above: dict[float, set[str]] = field(default_factory=lambda: {level: set() for level in LOWER_THRESHOLDS})

    def count(self, now: datetime, watched: int, predictions: Sequence[Prediction]) -> None:
        """Take in one minute's predictions, of `watched` symbols."""
        self.watched += watched
        self.predicted += len(predictions)
        for prediction in predictions:
            symbol, confidence = prediction.symbol, prediction.confidence
            if confidence > self.highest:
                self.highest, self.highest_symbol = confidence, symbol
                self.highest_time = f"{new_york(now):%H:%M}"
            for level, above in self._above.items():
                if confidence < level:
                    above.discard(symbol)
                elif symbol not in above:
                    above.add(symbol)
                    self.reached[level] += 1

    def event(self, threshold: float, card: Mapping[str, Any] | None, books: Books) -> dict[str, Any]:
        """The session as a journal event; its signals stand in the books, also those from before a restart."""
        day = str(self.session.day)
        silent = self.highest < threshold and not books.signals_on(day)
        return {
            "day": day,
            "predicted": self.predicted,
            "not_predicted": self.watched - self.predicted,
            "threshold": threshold,
            "highest_confidence": round(self.highest, 6),
            "highest_symbol": self.highest_symbol,
            "highest_time": self.highest_time,
            "break_even": card["baseline"]["break_even_confidence"] if card else None,
            "silent_sessions": books.silent_sessions + 1 if silent else 0,
            "signals_at": {f"{level:.2f}": count for level, count in self.reached.items()},
        }

    def lines(self, books: Books, account: Account, event: Mapping[str, Any]) -> list[str]:
        """The session in words for a person, from its `event`."""
        day = event["day"]
        entries = [t for t in books.trades.values() if t.entry_time[:10] == day and t.status in ("OPEN", "CLOSED")]
        exits = [t for t in books.trades.values() if (t.exit_time or "")[:10] == day]
        earned = sum(t.pnl_amount or 0.0 for t in exits)
        summary = (
            f"{day}: {len(entries)} bought, {len(exits)} sold for {earned:+.2f} USD, "
            f"{len(books.live_trades())} held, equity {account.equity:,.2f} USD"
        )
        if entries:
            return [summary]
        no = (s["reason"] for s in books.signals_on(day) if not s["taken"])
        missed = Counter(map(kind_of_reason, no))
        return [summary, "  " + why_nothing_was_bought(event, missed)]


def told(execution: Execution, trade: Trade) -> str:
    """A fill in one line; `trade` as the books have it after the fill."""
    when = f"{new_york(moment(execution.minute)):%Y-%m-%d %H:%M}"
    shares = f"{execution.qty} {execution.symbol} at {execution.price:.2f}"
    if execution.side == "BUY":
        so_far = f" of {trade.qty_ordered}" if trade.entering else ""
        levels = f"stop {trade.stop_loss:.2f}, target {trade.take_profit:.2f}, confidence {trade.confidence:.2f}"
        return f"{when}  bought {shares}{so_far} ({levels})"
    if trade.status != "CLOSED":
        return f"{when}  sold {shares} ({execution.reason}), {trade.held} left"
    earned = f"{trade.pnl_amount or 0.0:+.2f} USD, {trade.pnl_pct or 0.0:+.2%}"
    return f"{when}  sold {shares} ({trade.exit_reason}: {earned})"


def tally_of(made: pd.DataFrame, session: Session) -> SessionTally:
    """The tally of a session's predictions, columns as `PredictionLog.of_day` returns them."""
    minute = timedelta(minutes=1)  # after its bar a prediction is made; none counts at the open, and none at the close
    made = made[made["timestamp"].between(session.open, session.close - minute, inclusive="left")]
    tally = SessionTally(session, watched=len(made), predicted=len(made))
    if len(made):
        best = made.sort_values("confidence", kind="stable").iloc[-1]
        tally.highest, tally.highest_symbol = float(best["confidence"]), str(best["symbol"])
        tally.highest_time = f"{new_york(best['timestamp'] + minute):%H:%M}"
    for level in LOWER_THRESHOLDS:
        above = made["confidence"] >= level
        before = above.groupby(made["symbol"]).shift(fill_value=False)  # sorted by symbol, then time
        tally.reached[level] = int((above & ~before).sum())
    return tally

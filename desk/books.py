"""The books: what the journal adds up to - trades, signals, duties. Their view on disk is `desk/trade_history.py`."""

from __future__ import annotations

import json
import logging
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from desk.journal import Event
from desk.orders import Execution, Trade
from desk.performance import summarise
from durable import to_json

log = logging.getLogger(__name__)

BY_HAND = "by hand"  # why something was sold, or is to be, that a person wanted sold
WITHDRAWN = "never reached the broker"  # an intent that may be tried again, under the same order id


class BooksDisagree(RuntimeError):
    """Books and broker tell different stories that cannot be brought together; nothing is traded."""


class Books:
    """Trades and signals as folded from journal events, oldest first.

    `local_time` turns a minute since 1970 into ISO 8601 with the New York offset (desks know no time zones). Applying
    an execution twice changes nothing.
    """

    def __init__(self, local_time: Callable[[int], str], events: Iterable[Event] = ()) -> None:
        self.local_time = local_time
        self.trades: dict[str, Trade] = {}
        self.signal_lines: list[bytes] = []  # JSON, as the view has them: weeks of signals as objects are large
        self.duties: dict[tuple[str, str], str] = {}  # (duty, session date) -> outcome
        self.split: set[str] = set()  # symbols that were split while they are held: a person looks after these
        self.exit_plan: dict[str, str] = {}  # symbol -> reason, to be sold as the first act of the session
        self.equity: list[tuple[str, float]] = []  # (time, USD) once a minute
        self.first_cash: float | None = None  # USD with which the account began
        self._settled_cash: float | None = None  # USD without positions, when the account began
        self.above: list[str] = []  # symbols whose confidence stood at the threshold in the last minute
        self.last_minute = 0
        self.halt: str | None = None  # why nothing is bought until a person resumes
        self.peak_equity: float | None = None  # USD, the highest since the beginning or the last resume
        self._opening_equity: dict[str, float] = {}  # New York date -> USD before it, or since a resume on it
        self._orders: Counter[str] = Counter()  # orders sent by New York date
        self._orders_in: tuple[int, int] = (0, 0)  # the minute of the newest order, and how many were sent in it
        self.silent_sessions = 0  # the newest in a row in which no confidence reached the threshold
        self.changed: dict[str, None] = {}  # ids of the trades that the view does not show yet as they are
        self.tag = "0"  # sets the order ids of these books apart from those of others on the same account
        self._entries: dict[str, int] = {}  # stem of an order id -> newest attempt
        self._exit_reasons: dict[str, str] = {}  # order id of a sale -> why it was ordered
        self._live: dict[str, Trade] = {}  # symbol -> its PENDING or OPEN trade
        self._heard: set[str] = set()
        for event in events:
            self.apply(event)

    def performance(self) -> dict[str, float]:
        """What the trades earned; see `desk.performance.summarise`."""
        first = [] if self.first_cash is None else [self.first_cash]
        days = {time[:10] for time, _ in self.equity}
        return summarise(list(self.trades.values()), [*first, *(equity for _, equity in self.equity)], days)

    def expected_cash(self) -> float | None:
        """Cash in USD that the account holds if nobody but these books traded; None where its beginning is unknown."""
        if self._settled_cash is None:
            return None
        earned = (sum(q * p for q, p in t.exits.values()) - t.qty * t.price - t.fees for t in self.trades.values())
        return self._settled_cash + sum(earned)

    @property
    def signals(self) -> list[dict[str, Any]]:
        """All signals, oldest first; read anew each time, so ask for those of one day with `signals_on`."""
        return [json.loads(line) for line in self.signal_lines]

    def signals_on(self, day: str) -> list[dict[str, Any]]:
        """The signals of a New York date, oldest first."""
        first, end = (bisect_left(self.signal_lines, bound, key=timestamp_of) for bound in (day, f"{day}U"))  # T < U
        return [json.loads(line) for line in self.signal_lines[first:end]]

    def live_trades(self) -> dict[str, Trade]:
        """PENDING and OPEN trades by symbol."""
        return dict(self._live)

    def entry_id(self, session_day: date, symbol: str) -> str:
        """The order id of the next entry: books, session, symbol, intent and attempt.

        An intent that never reached the broker is tried again under its own id, so that it can never be two orders.
        """
        stem = f"{self.tag}-{session_day:%Y%m%d}-{symbol}-buy"
        attempt = self._entries.get(stem, 0)
        newest = self.trades.get(f"{stem}-{attempt}")
        return f"{stem}-{attempt if newest is not None and newest.exit_reason == WITHDRAWN else attempt + 1}"

    def refused(self, session_day: date, symbol: str) -> str | None:
        """Why the newest entry of a symbol was refused in this session, or None: the same order would be again."""
        stem = f"{self.tag}-{session_day:%Y%m%d}-{symbol}-buy"
        newest = self.trades.get(f"{stem}-{self._entries.get(stem, 0)}")
        if newest is None or newest.status != "REJECTED":
            return None
        return f"not again today: {newest.exit_reason}"

    def entries_under(self, order_id: str) -> int:
        """Entries of the symbol and session of `order_id` that came before it."""
        return int(order_id.rpartition("-")[2]) - 1

    def orders_in_minute(self, minute: int) -> int:
        """Orders sent in the newest minute that had any; 0 for another."""
        return self._orders_in[1] if self._orders_in[0] == minute else 0

    def orders_on_day(self, minute: int) -> int:
        """Orders sent on the New York date of a minute."""
        return self._orders[self.local_time(minute)[:10]]

    def opening_equity(self, minute: int) -> float | None:
        """USD before the first minute of the New York date of `minute`, or since a person resumed on it."""
        newest = self.equity[-1][1] if self.equity else self.first_cash
        return self._opening_equity.get(self.local_time(minute)[:10], newest)

    def exit_id(self, trade: Trade) -> str:
        """The order id of the sale of a trade: the same until the broker says that it came to nothing."""
        return f"{trade.id}-sell-{trade.exits_refused + 1}"

    def apply(self, event: Event) -> None:
        """Take in one journal event; kinds that say nothing about money are passed over."""
        handler = getattr(self, f"_on_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def heard(self, execution: Execution) -> bool:
        """Whether an execution is in the books already."""
        return execution.id in self._heard

    def _on_journal(self, event: Event) -> None:
        self.tag = re.sub(r"\D", "", event.get("started", ""))[2:] or "0"

    def _on_signal(self, event: Event) -> None:
        self.signal_lines.append(to_json({name: event[name] for name in _SIGNAL_FIELDS}).encode())

    def _on_intent(self, event: Event) -> None:
        trade = Trade(
            id=event["order_id"],
            symbol=event["symbol"],
            side="BUY",
            qty=0,
            price=event["price"],
            confidence=event["confidence"],
            model_confidence=event.get("model_confidence") or event["confidence"],
            entry_time=self.local_time(event["minute"]),
            stop_loss=event["price"] * (1 - event["stop_loss"]),
            take_profit=event["price"] * (1 + event["take_profit"]),
            status="PENDING",
            model_id=event["model_id"],
            market=event["market"],
            qty_ordered=event["qty"],
            entry_minute=event["minute"],
        )
        self.trades[trade.id] = self._live[trade.symbol] = trade
        self._count_order(event["minute"])
        stem, _, attempt = trade.id.rpartition("-")
        if attempt.isdecimal():
            self._entries[stem] = int(attempt)
        self.changed[trade.id] = None

    def _on_why(self, event: Event) -> None:
        trade = self.trades.get(event["order_id"])
        if trade is not None:  # else the line of its intent was lost
            trade.why = event["spoke"]
            self.changed[trade.id] = None

    def _on_session(self, event: Event) -> None:
        self.silent_sessions = event.get("silent_sessions", 0)

    def _on_exit(self, event: Event) -> None:
        self._exit_reasons[event["order_id"]] = event["reason"]
        self._count_order(event["minute"])

    def _count_order(self, minute: int) -> None:
        self._orders[self.local_time(minute)[:10]] += 1
        self._orders_in = minute, self.orders_in_minute(minute) + 1

    def _on_halt(self, event: Event) -> None:
        self.halt = event["why"]

    def _on_resume(self, event: Event) -> None:
        """A person has looked: losses count from here on, and what was to be flattened stays."""
        self.halt = None
        self.exit_plan = {symbol: why for symbol, why in self.exit_plan.items() if why != BY_HAND}
        if self.equity:
            self.peak_equity = self._opening_equity[self.local_time(event["minute"])[:10]] = self.equity[-1][1]

    def _on_execution(self, event: Event) -> None:
        execution = Execution(**event["execution"])
        if execution.id in self._heard:
            return
        trade = self._trade_of(execution)
        if trade is not None and trade.status == "PENDING" and execution.side == "SELL":
            log.warning("%s: sold before these books heard it was bought; waiting for the broker's word", trade.id)
            return
        self._heard.add(execution.id)
        if trade is not None:
            self.changed[trade.id] = None
        if trade is None:
            log.warning(
                "%s: %s of %d shares belongs to no trade of ours", execution.symbol, execution.kind, execution.qty
            )
        elif execution.side == "BUY":
            self._entry(trade, execution)
        else:
            self._exit(trade, execution)

    def _trade_of(self, execution: Execution) -> Trade | None:
        """The trade an execution speaks of. After a lost line an older trade than the newest may still be open."""
        if execution.side == "BUY" or execution.trade_id is not None:
            trade = self.trades.get(execution.trade_id or execution.order_id)
            # One that came to nothing may have been booked all the same: a fill has the last word.
            known = trade is not None and (trade.status in ("PENDING", "OPEN") or trade.qty == 0)
            return trade if known else None
        live = self._live.get(execution.symbol)
        if live is not None and live.entry_minute <= execution.minute:
            return live
        earlier = (t for t in reversed(self.trades.values()) if t.symbol == execution.symbol and t.status == "OPEN")
        return next((t for t in earlier if t.entry_minute <= execution.minute), None)

    def _entry(self, trade: Trade, execution: Execution) -> None:
        if execution.kind == "levels":
            self._levels(trade, execution)
        elif execution.kind != "fill":
            trade.entering = False
            if trade.qty == 0:
                trade.status = "REJECTED" if execution.kind == "rejected" else "CANCELLED"
                trade.exit_reason = execution.reason
                self._ended(trade)
            else:
                self._close_if_sold(trade, execution)
        elif execution.qty > trade.qty:
            if trade.status != "OPEN":  # PENDING, or thought to have come to nothing
                trade.status, trade.exit_reason = "OPEN", None
                trade.entry_minute, trade.entry_time = execution.minute, self.local_time(execution.minute)
                self._live[trade.symbol] = trade
            trade.qty, trade.price = execution.qty, execution.price
            trade.entering = trade.qty < trade.qty_ordered
            self._levels(trade, execution)

    def _levels(self, trade: Trade, execution: Execution) -> None:
        trade.stop_loss = execution.stop_level or trade.stop_loss
        trade.take_profit = execution.target_level or trade.take_profit

    def _exit(self, trade: Trade, execution: Execution) -> None:
        if execution.kind == "fill":
            trade.exits[execution.order_id] = execution.qty, execution.price
            self._close_if_sold(trade, execution)
        else:
            trade.exits_refused += 1

    def _close_if_sold(self, trade: Trade, execution: Execution) -> None:
        if trade.held > 0 or trade.entering or not trade.exits:
            return
        proceeds = sum(qty * price for qty, price in trade.exits.values())
        trade.status = "CLOSED"
        trade.exit_reason = self._exit_reasons.get(execution.order_id, execution.reason)
        trade.exit_price = proceeds / sum(qty for qty, _ in trade.exits.values())
        trade.exit_time = self.local_time(execution.minute)
        trade.pnl_amount = round((trade.exit_price - trade.price) * trade.qty - trade.fees, 4)
        trade.pnl_pct = trade.pnl_amount / (trade.price * trade.qty)
        self._ended(trade)

    def _ended(self, trade: Trade) -> None:
        if self._live.get(trade.symbol) is trade:
            del self._live[trade.symbol]
            self.exit_plan.pop(trade.symbol, None)
            self.split.discard(trade.symbol)

    def _on_split(self, event: Event) -> None:
        self.split |= set(event["symbols"])

    def _on_plan(self, event: Event) -> None:
        self.exit_plan = dict(event["close"])

    def _on_duty(self, event: Event) -> None:
        self.duties[event["duty"], event["session"]] = event["outcome"]

    def _on_account(self, event: Event) -> None:
        self.first_cash = self.peak_equity = event["cash"]
        self._settled_cash = event.get("settled")

    def _on_minute(self, event: Event) -> None:
        self.above = event.get("above", [])
        self.last_minute = event["minute"]
        local, equity = self.local_time(event["minute"]), event["equity"]
        opening = self.opening_equity(event["minute"])
        if opening is not None:  # a clock that leaves the day and comes back finds it as it was
            self._opening_equity.setdefault(local[:10], opening)
        before = self.equity[-1][1] if self.equity else equity
        self.peak_equity = max(self.peak_equity or equity, min(before, equity))  # two minutes show it: no wrong price
        self.equity.append((local, equity))


def timestamp_of(signal_line: bytes) -> str:
    """When a signal was, as its line says it."""
    timestamp: str = json.loads(signal_line)["timestamp"]
    return timestamp


_SIGNAL_FIELDS = ("symbol", "price", "confidence", "timestamp", "taken", "reason")

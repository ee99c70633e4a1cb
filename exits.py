"""What is sold: what has had its time, what the rebalance planned, and what a level should have sold or cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from desk.books import Books
from desk.journal import Event, Journal
from desk.orders import Order
from desk.risk import Gate, beyond_levels, must_exit
from market.hours import Session, epoch_minute, market_ordinal, moment

log = logging.getLogger(__name__)


class Exits:
    """Sells through the gate. Writes each sale down with `record` before it leaves; `say` tells a person."""

    def __init__(
        self,
        books: Books,
        gate: Gate,
        journal: Journal,
        record: Callable[..., Event],
        say: Callable[[str], object],
    ) -> None:
        self._books, self._gate, self._journal, self._record, self._say = books, gate, journal, record, say
        self._refused: dict[str, str] = {}  # id of a trade -> what was said last of its sale

    def sell(self, now: datetime, session: Session) -> bool:
        """Hand over the sales that are due; whether there were any."""
        trades = self._books.live_trades()
        if not trades:
            return False
        sent, elapsed, minute = False, market_ordinal(now), epoch_minute(now)
        selling = {order.symbol for order in self._gate.broker.working_orders() if order.side == "SELL"}
        for symbol, position in self._gate.broker.positions().items():
            trade = trades.get(symbol)
            if trade is None or symbol in selling or symbol in self._books.split:
                continue
            held = elapsed - _ordinal(position.entry_minute)
            planned = self._books.exit_plan.get(symbol)
            beyond = beyond_levels(position)
            if beyond in ("stop", "target") and not self._gate.confirmed(symbol, position.last_price):
                beyond = None if position.protected else "unprotected"  # one absurd bar; a stop rests at the broker
            reason = must_exit(held, self._gate.limits) or planned or beyond
            if reason is not None:
                order_id, price = self._books.exit_id(trade), position.last_price
                order = Order(order_id, symbol, "SELL", position.qty, price, minute, reason=reason)
                sent |= self._hand_over(order, session)
        return sent

    def _hand_over(self, order: Order, session: Session) -> bool:
        def write_down() -> None:
            self._record(
                "exit", order_id=order.id, symbol=order.symbol, qty=order.qty, reason=order.reason, minute=order.minute
            )
            try:  # a sale leaves even when the disk is full: its id is made from the trade, so it cannot become two
                self._journal.sync(order=True)
            except OSError as error:
                log.error("an exit leaves before it is on disk: %s", error)  # noqa: TRY400 - all there is to say

        no = self._gate.submit(order, session.close, write_down)
        trade = order.id.rpartition("-sell-")[0]
        if no is not None and self._refused.get(trade) != no:
            self._refused[trade] = no
            self._say(f"{order.symbol} is not sold, look after it by hand: {no}")
        return no is None


@lru_cache(maxsize=4096)
def _ordinal(minute: int) -> int:
    return market_ordinal(moment(minute))

"""Alpaca's paper account as broker: its answers are the truth, and whatever is unsure is looked up, never repeated.

A trade is followed from its entry to its last sold share:

    submit --answer or look-up--> entry --partly filled a minute later, or expired: cancel the rest--> held
    held --levels off by more than a tick: replace once--> held --leg fills, or legs cancelled and sold--> done
    held and a stop missing: put back; where Alpaca takes none the position says that it is not `protected`

Nothing is kept on this machine: `resume` and Alpaca's own list of orders bring everything back after a restart.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from alpaca_wire import AlpacaWire, Refused, Unreachable
from desk.alpaca_account import AlpacaAccount
from desk.alpaca_comparison import compare_shares
from desk.alpaca_hands import AlpacaHands
from desk.alpaca_orders import Placed, statements, stop_price, target_price
from desk.alpaca_trade import MARGIN, PATIENCE_MINUTES, AlpacaTrade
from desk.orders import Account, Execution, Order, Position, PriceBar, Trade

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(days=7)  # how far a comparison reads back, beyond the trades that are followed
FREE_SECONDS, POLL_SECONDS = 15.0, 0.5  # for legs to end and shares to come free; seen to take 7 s on paper
ARM_TRIES = 5  # a second apart, until what holds shares without protecting them has ended
FILL_SECONDS = 1.0  # what a market order takes to fill; its levels are then set in the same minute


class AlpacaBroker:
    """One paper account behind a wire.

    Args: `now` tells this machine's time, to compare with Alpaca's; `stop_loss` and `take_profit` are fractions of the
    entry price. All methods raise KeysRefused; `submit` raises nothing else, the others Unreachable or Refused when
    Alpaca gives no answer that can be used.
    """

    def __init__(self, wire: AlpacaWire, now: Callable[[], datetime], stop_loss: float, take_profit: float) -> None:
        self._wire = wire
        self._account = AlpacaAccount(wire.trading)
        self._hands = AlpacaHands(wire.trading, self._account, now, stop_loss, take_profit)
        self._now = now
        self._stop_loss, self._take_profit = stop_loss, take_profit
        self._tag = ""
        self._trades: dict[str, AlpacaTrade] = {}
        self._over: set[str] = set()  # ids of trades that have ended
        self._last: dict[str, float] = {}
        self._told: set[str] = set()
        self._said: set[str] = set()
        self._alone: set[str] = set()  # symbols that a person looks after
        self._unclear: set[str] = set()  # ids of trades of whose stop or target not all is known just now
        self._tradable: dict[str, tuple[date, bool]] = {}
        self._money: tuple[Account, float] | None = None  # and what our positions were worth in it

    # --- what the trader asks ----------------------------------------------------------------------------------------

    def resume(self, tag: str, trades: Iterable[Trade]) -> None:
        self._tag = tag
        for trade in trades:
            if trade.status in ("PENDING", "OPEN"):
                self._trades.setdefault(trade.id, AlpacaTrade.of_books(trade))
            elif trade.qty:  # what was refused or never arrived may have been booked all the same
                self._over.add(trade.id)

    def account(self) -> Account:
        if self._money is None:
            self._money = self._account.read()[0], self._worth()
        read, worth_then = self._money
        return replace(read, equity=read.equity + self._worth() - worth_then)

    def _worth(self) -> float:
        return sum(p.qty * p.last_price for p in self.positions().values())

    def positions(self) -> Mapping[str, Position]:
        found = (trade.position(self._last.get(trade.symbol)) for trade in self._trades.values())
        return {position.symbol: position for position in found if position is not None}

    def working_orders(self) -> list[Order]:
        return [order for trade in self._trades.values() if (order := trade.working()) is not None]

    def hindrance(self, close: datetime) -> str | None:
        money, blocked = self._account.read()
        self._money = money, self._worth()
        return blocked or self._account.clock_problem(self._now(), close)

    def tradable(self, symbol: str) -> bool:
        today = self._now().date()
        if self._tradable.get(symbol, (None,))[0] != today:
            self._tradable[symbol] = today, self._account.tradable(symbol)
        return self._tradable[symbol][1]

    def withdraw_entries(self) -> None:
        for trade in self._trades.values():
            if trade.entry is None or trade.entry.live:
                trade.expires_minute = 0

    def leave_alone(self, symbols: Collection[str]) -> None:
        self._alone = set(symbols)

    def submit(self, order: Order) -> None:
        self._money, self._hands.sent = None, True
        if order.side == "SELL":
            self._sell(order)
        elif order.id not in self._trades or self._trades[order.id].gone:
            stop, target = stop_price(order.price, self._stop_loss), target_price(order.price, self._take_profit)
            expires = order.expires_minute or order.minute + PATIENCE_MINUTES
            since = self._now() - MARGIN
            trade = AlpacaTrade(order.id, order.symbol, order.qty, since, expires, stop, target)
            self._trades[order.id] = trade
            self._hands.enter(trade, order)

    def settle(self, now_minute: int, bars: Iterable[PriceBar]) -> list[Execution]:
        for bar in bars:
            self._last[bar.symbol] = bar.close
        if self._trades:
            self._finish_sales(self._refresh())
            if self._hands.sent and self.working_orders():
                self._wire.wait(FILL_SECONDS)
                self._refresh()
            self._hands.sent = False
            self._look_after([trade for trade in self._trades.values() if trade.symbol not in self._alone])
        executions = [e for e in self._executions(self._trades.values()) if e.id not in self._told]
        self._told |= {e.id for e in executions}
        self._over |= {name for name, trade in self._trades.items() if trade.ended and not trade.gone}
        self._trades = {name: trade for name, trade in self._trades.items() if not trade.ended}
        if executions:
            self._money = None
        return executions

    def _look_after(self, trades: Sequence[AlpacaTrade]) -> None:
        """Look after each, and again those whose stop waits for something else to end, for as long as that may take."""
        for attempt in range(ARM_TRIES):
            if attempt:
                self._wire.wait(FILL_SECONDS)
                try:
                    self._refresh()
                except (Refused, Unreachable):
                    return  # the next minute goes on
            minute = int(self._now().timestamp() // 60)  # bars may be behind, orders are not
            for trade in [trade for trade in trades if trade.id not in self._unclear]:
                try:
                    self._hands.look_after(trade, minute)
                except (
                    Refused,
                    Unreachable,
                    ValueError,
                ) as error:  # one symbol's trouble leaves the others looked after
                    log.warning("%s: looked after again in a minute: %s", trade.symbol, error)
            trades = [trade for trade in trades if trade.waits_for_its_stop]
            if not trades:
                return

    def recent_executions(self) -> list[Execution]:
        """What our orders of the last days have become, compared with the shares in the account.

        Shares and orders that are not ours are said once and left alone. Raises BooksDisagree where the account holds
        less than our orders bought and no sale explains it.
        """
        self._money = None
        oldest = min((trade.since for trade in self._trades.values()), default=self._now())
        rows: list[Placed] = []

        def read_orders() -> list[Placed]:
            rows[:] = self._account.orders(min(oldest, self._now() - LOOK_BACK))
            self._learn(rows)
            if self._unclear:
                raise Unreachable("what replaced one of our orders cannot be read")
            return rows

        read_orders()
        for trade in [trade for trade in self._trades.values() if trade.entry is None]:
            self._hands.probe(trade)
        if unlisted := [t.symbol for t in self._trades.values() if t.entry is None and t.levelled and not t.gone]:
            # The books heard of these fills: a list that is behind, and no reason yet to think that nothing is held.
            raise Unreachable(f"Alpaca does not list orders that it has filled before: {', '.join(unlisted)}")
        past = self._take_up(rows)
        compared = [trade for trade in self._trades.values() if trade.symbol not in self._alone]
        found = compare_shares(self._account, compared, self._tag, rows, read_orders, self._wire.wait)
        self._hands.news += found.sales
        self._last |= found.last
        for words in found.foreign:
            if words not in self._said:
                self._said.add(words)
                log.warning("%s", words)
        return self._executions([*past, *self._trades.values()])

    def _take_up(self, rows: Sequence[Placed]) -> list[AlpacaTrade]:
        """Follow entries of these books that are not followed and not over; the ones that are over are returned."""
        ours = re.compile(rf"{re.escape(self._tag)}-\d{{8}}-[A-Z0-9.]+-buy-\d+")
        past = []
        for row in rows:
            if ours.fullmatch(row.client_id) and row.client_id not in self._over | self._trades.keys():
                base = row.price or 1.0
                stop, target = stop_price(base, self._stop_loss), target_price(base, self._take_profit)
                trade = AlpacaTrade.of_entry(row, stop, target)
                trade.take(rows)
                if trade.ended:
                    past.append(trade)
                else:
                    self._trades[trade.id] = trade
        return past

    def save(self) -> None:
        """Nothing is kept here."""

    # --- exits -------------------------------------------------------------------------------------------------------

    def _sell(self, order: Order) -> None:
        """Begin a sale, and end it at once if the shares are free already; else `settle` goes on."""
        trade = self._trades.get(order.id.rpartition("-sell-")[0])
        if trade is None or trade.held <= 0:
            self._hands.note(f"{order.id}/closed", "cancelled", order, "the position was closed before")
            return
        try:
            with self._wire.urgently():
                self._hands.begin_sale(trade, order)
                if trade.closing is not None:
                    self._learn(rows := self._account.orders(trade.since, [trade.symbol]))
                    self._hands.sell_if_free(trade, self._hands.free_shares_or_none(), rows)
        except (Refused, Unreachable, ValueError) as error:
            log.warning("%s: not sold yet: %s", order.symbol, error)

    def _finish_sales(self, rows: Sequence[Placed]) -> None:
        """Sell what is to be closed as its shares come free: all positions together, under one deadline."""
        deadline = time.monotonic() + FREE_SECONDS
        with self._wire.urgently():
            for _ in range(int(FREE_SECONDS / POLL_SECONDS)):
                closing = [t for t in self._trades.values() if t.closing is not None and t.id not in self._unclear]
                if not closing or time.monotonic() > deadline:
                    return
                free = self._hands.free_shares_or_none()
                for trade in closing:
                    try:
                        for standing in trade.live:
                            if standing.status != "pending_cancel":
                                self._hands.cancel(standing)
                        self._hands.sell_if_free(trade, free, rows)
                    except (Refused, Unreachable, ValueError) as error:
                        log.warning("%s: not sold yet: %s", trade.symbol, error)
                if any(trade.closing is not None for trade in closing):
                    self._wire.wait(POLL_SECONDS)
                    rows = self._refresh()

    # --- learning from Alpaca's lists --------------------------------------------------------------------------------

    def _refresh(self) -> Sequence[Placed]:
        rows = self._account.orders(min(trade.since for trade in self._trades.values()))
        self._learn(rows)
        return rows

    def _learn(self, rows: Sequence[Placed]) -> None:
        self._unclear = set()
        for trade in self._trades.values():
            trade.take(rows)
            try:
                self._follow_replacements(trade)
            except (Refused, Unreachable, ValueError) as error:  # the others are looked after all the same
                log.warning("%s: what replaced an order is not known yet: %s", trade.symbol, error)
                self._unclear.add(trade.id)

    def _follow_replacements(self, trade: AlpacaTrade) -> None:
        for gone in [o for o in trade.exits if o.status == "replaced"]:
            if gone.replaced_by is not None and all(o.id != gone.replaced_by for o in trade.exits):
                trade.take([self._account.order(gone.replaced_by)])

    # --- what the books hear -----------------------------------------------------------------------------------------

    def _executions(self, trades: Iterable[AlpacaTrade]) -> list[Execution]:
        news, self._hands.news = self._hands.news, []
        for trade in trades:
            if trade.entry is not None:
                news += statements(trade.id, trade.entry, trade.exits, trade.qty_ordered)
        return sorted(news, key=lambda e: (e.minute, e.side == "SELL"))  # within a minute, first what was bought

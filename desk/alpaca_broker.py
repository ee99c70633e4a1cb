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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from alpaca.trading.requests import ReplaceOrderRequest

from alpaca_wire import AlpacaWire, Refused, Unreachable
from desk.alpaca_account import AlpacaAccount
from desk.alpaca_comparison import compare_shares
from desk.alpaca_orders import (
    Placed,
    arm,
    bracket,
    market_sale,
    placed,
    statements,
    stop_price,
    target_price,
    tick,
)
from desk.alpaca_trade import MARGIN, PATIENCE_MINUTES, AlpacaTrade
from desk.books import WITHDRAWN
from desk.orders import Account, Execution, Kind, Order, Position, PriceBar, Trade

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(days=7)  # how far a comparison reads back, beyond the trades that are followed
MISSES, MISSED_AFTER = 3, timedelta(seconds=10)  # look-ups without a trace, and their time, before an order never was
FREE_SECONDS, POLL_SECONDS = 15.0, 0.5  # for legs to end and shares to come free; seen to take 7 s on paper
CLOSING_MINUTES = 2  # how long a sale is waited for without a stop
FILL_SECONDS = 1.0  # what a market order takes to fill; its levels are then set in the same minute


class AlpacaBroker:
    """One paper account behind a wire.

    Args: `now` tells this machine's time, to compare with Alpaca's; `stop_loss` and `take_profit` are fractions of the
    entry price. All methods raise KeysRefused; `submit` raises nothing else, the others Unreachable or Refused when
    Alpaca gives no answer that can be used.
    """

    def __init__(self, wire: AlpacaWire, now: Callable[[], datetime], stop_loss: float, take_profit: float) -> None:
        self._wire, self._trading = wire, wire.trading
        self._account = AlpacaAccount(wire.trading)
        self._now = now
        self._stop_loss, self._take_profit = stop_loss, take_profit
        self._tag = ""
        self._trades: dict[str, AlpacaTrade] = {}
        self._over: set[str] = set()  # ids of trades that have ended
        self._last: dict[str, float] = {}
        self._news: list[Execution] = []
        self._told: set[str] = set()
        self._said: set[str] = set()
        self._money: tuple[Account, float] | None = None  # and what our positions were worth in it
        self._just_sent = False

    # --- what the trader asks ----------------------------------------------------------------------------------------

    def resume(self, tag: str, trades: Iterable[Trade]) -> None:
        self._tag = tag
        for trade in trades:
            if trade.status in ("PENDING", "OPEN"):
                self._trades.setdefault(trade.id, AlpacaTrade.of_books(trade))
            elif trade.exit_reason != WITHDRAWN:
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

    def submit(self, order: Order) -> None:
        self._money, self._just_sent = None, True
        if order.side == "SELL":
            self._sell(order)
        elif order.id not in self._trades:
            stop, target = stop_price(order.price, self._stop_loss), target_price(order.price, self._take_profit)
            expires = order.expires_minute or order.minute + PATIENCE_MINUTES
            since = self._now() - MARGIN
            trade = AlpacaTrade(order.id, order.symbol, order.qty, since, expires, stop, target)
            self._trades[order.id] = trade
            self._enter(trade, order)

    def settle(self, now_minute: int, bars: Iterable[PriceBar]) -> list[Execution]:
        for bar in bars:
            self._last[bar.symbol] = bar.close
        if self._trades:
            self._refresh()
            self._finish_sales()
            if self._just_sent and self.working_orders():
                self._wire.wait(FILL_SECONDS)
                self._refresh()
            self._just_sent = False
            minute = int(self._now().timestamp() // 60)  # bars may be behind, orders are not
            for trade in list(self._trades.values()):
                try:
                    self._look_after(trade, minute)
                except (
                    Refused,
                    Unreachable,
                    ValueError,
                ) as error:  # one symbol's trouble leaves the others looked after
                    log.warning("%s: looked after again in a minute: %s", trade.symbol, error)
        executions = [e for e in self._executions(self._trades.values()) if e.id not in self._told]
        self._told |= {e.id for e in executions}
        self._over |= {name for name, trade in self._trades.items() if trade.ended}
        self._trades = {name: trade for name, trade in self._trades.items() if not trade.ended}
        if executions:
            self._money = None
        return executions

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
            return rows

        read_orders()
        for trade in [trade for trade in self._trades.values() if trade.entry is None]:
            self._probe(trade)
        past = self._take_up(rows)
        found = compare_shares(
            self._account, list(self._trades.values()), self._tag, rows, read_orders, self._wire.wait
        )
        self._news += found.sales
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

    # --- entries -----------------------------------------------------------------------------------------------------

    def _enter(self, trade: AlpacaTrade, order: Order, *, again: bool = False) -> None:
        try:
            trade.take([placed(self._trading.submit_order(bracket(order, order.price)))])
        except Refused as error:
            base = error.extras.get("base_price")
            if _taken_already(error):
                self._probe(trade)
            elif base is not None and not again:  # the price has moved on: the legs hang on the newest one, once
                self._enter(trade, replace(order, price=float(base)), again=True)
            else:
                log.warning("%s: entry refused: %s", order.symbol, error)
                del self._trades[trade.id]
                if error.status == 429:  # says nothing about this order
                    self._note(f"{order.id}/withdrawn/{order.minute}", "cancelled", order, WITHDRAWN)
                else:
                    self._note(f"{order.id}/refused", "rejected", order, error.message or str(error))
        except Unreachable as error:
            log.warning("%s: whether the entry was booked is looked up (%s)", order.symbol, error)
            self._probe(trade)

    def _probe(self, trade: AlpacaTrade) -> None:
        """Look up an entry of which no usable answer has come; after several look-ups without a trace it never was."""
        try:
            found = self._account.find(trade.id)
        except (Refused, Unreachable):
            return  # still unsure: asked again in the next minute
        if found is not None:
            trade.take([found])
            return
        trade.misses += 1
        if trade.misses >= MISSES and self._now() - trade.since > MARGIN + MISSED_AFTER:
            del self._trades[trade.id]
            order = Order(trade.id, trade.symbol, "BUY", trade.qty_ordered, 0.0, int(self._now().timestamp() // 60))
            self._note(f"{trade.id}/withdrawn/{order.minute}", "cancelled", order, WITHDRAWN)

    # --- while it is held --------------------------------------------------------------------------------------------

    def _look_after(self, trade: AlpacaTrade, now_minute: int) -> None:
        entry = trade.entry
        if entry is None:
            self._probe(trade)
        elif entry.live and (now_minute >= trade.expires_minute or (entry.filled and now_minute > entry.minute)):
            self._cancel(entry)  # shares of a part fill have no legs while the rest may still come
            trade.take([self._account.order(entry.id)])
            entry = trade.entry
        if entry is None or entry.live:
            return
        if trade.held <= 0:
            for left in trade.live_exits:
                self._cancel(left)
            return
        if trade.unsure_sale is not None and self._account.find(trade.unsure_sale) is None:
            trade.unsure_sale = None
        if trade.closing is not None and now_minute - trade.closing.minute >= CLOSING_MINUTES:
            trade.closing = None  # its shares did not come free: under a stop again, until it is asked for anew
        if not trade.levelled and now_minute - entry.minute <= PATIENCE_MINUTES:
            self._level(trade, entry)
        if trade.uncovered > 0 and not trade.selling:
            self._arm(trade)

    def _level(self, trade: AlpacaTrade, entry: Placed) -> None:
        """Hang the legs on the price of the fill: once, and only where they are off by more than a tick."""
        stop, target = stop_price(entry.price, self._stop_loss), target_price(entry.price, self._take_profit)
        own = {leg.id for leg in entry.legs}
        for leg in [leg for leg in trade.live_exits if leg.replaces is None and leg.id in own]:
            wanted = (
                ReplaceOrderRequest(limit_price=target) if leg.stop is None else ReplaceOrderRequest(stop_price=stop)
            )
            off = abs((leg.limit or 0.0) - target) if leg.stop is None else abs(leg.stop - stop)
            if off > 1.001 * tick(entry.price):
                try:
                    trade.take([placed(self._trading.replace_order_by_id(leg.id, wanted))])
                except Refused as error:
                    log.info("%s: a level stays where it stands: %s", trade.symbol, error)
        trade.levelled = True

    def _arm(self, trade: AlpacaTrade) -> None:
        """Put stop and target back for shares that have lost them."""
        for leg in trade.live_exits:
            self._cancel(leg)  # a target without its stop holds the shares that the new pair needs
        if trade.live_exits:
            return  # until they have ended
        log.warning("%s: %d shares without a stop; stop and target are placed again", trade.symbol, trade.uncovered)
        order = arm(trade.next_arm, trade.symbol, trade.uncovered, trade.stop_level, trade.target_level)
        try:
            trade.take([placed(self._trading.submit_order(order))])
            trade.protected = True
        except Refused as error:
            if not _taken_already(error) and error.status != 429:
                log.warning("%s: Alpaca takes no stop (%s); the position is to be closed", trade.symbol, error)
                trade.protected = False

    # --- exits -------------------------------------------------------------------------------------------------------

    def _sell(self, order: Order) -> None:
        """Ask what stands to end, and sell at once if the shares are free already; else `settle` goes on."""
        trade = self._trades.get(order.id.rpartition("-sell-")[0])
        if trade is None or trade.held <= 0:
            self._note(f"{order.id}/closed", "cancelled", order, "the position was closed before")
            return
        try:
            with self._wire.urgently():
                if (there := self._shares_there(trade)) < trade.held:
                    log.warning("%s: the account holds %d of our %d shares: not sold", trade.symbol, there, trade.held)
                    return  # the next comparison explains it; what is not there must not be sold short
                trade.closing = order
                for standing in trade.live:
                    self._cancel(standing)
                self._learn(self._account.orders(trade.since, [trade.symbol]))
                self._sell_if_free(trade, self._free_shares())
        except (Refused, Unreachable, ValueError) as error:
            log.warning("%s: not sold yet: %s", order.symbol, error)

    def _finish_sales(self) -> None:
        """Sell what is to be closed as its shares come free: all positions together, under one deadline."""
        deadline = time.monotonic() + FREE_SECONDS
        with self._wire.urgently():
            for _ in range(int(FREE_SECONDS / POLL_SECONDS)):
                closing = [trade for trade in self._trades.values() if trade.closing is not None]
                if not closing or time.monotonic() > deadline:
                    return
                free = self._free_shares()
                for trade in closing:
                    try:
                        for standing in trade.live:
                            if standing.status != "pending_cancel":
                                self._cancel(standing)
                        self._sell_if_free(trade, free)
                    except (Refused, Unreachable, ValueError) as error:
                        log.warning("%s: not sold yet: %s", trade.symbol, error)
                if any(trade.closing is not None for trade in closing):
                    self._wire.wait(POLL_SECONDS)
                    self._refresh()

    def _shares_there(self, trade: AlpacaTrade) -> int:
        """Shares of a trade's symbol in the account; while positions cannot be read, what the orders make of it."""
        try:
            return self._account.shares().get(trade.symbol, (0, 0.0))[0]
        except Unreachable:
            rows = self._account.orders(trade.since, [trade.symbol])
            return trade.held - sum(sale.filled for sale in trade.sales_by_hand(rows))

    def _free_shares(self) -> Mapping[str, int] | None:
        """Shares that no order holds, or None while positions cannot be read: an exit does not wait for them."""
        try:
            return self._account.free_shares()
        except Unreachable:
            return None

    def _sell_if_free(self, trade: AlpacaTrade, free: Mapping[str, int] | None) -> None:
        """Send the sale that is wanted, once nothing stands any more and the shares are free, as far as can be read."""
        order = trade.closing
        if order is None or trade.live:
            return
        if trade.held <= 0:
            trade.closing = None  # a leg was faster
        elif free is None or free.get(trade.symbol, 0) >= trade.held:
            trade.closing = None
            self._send_sale(trade, order)

    def _send_sale(self, trade: AlpacaTrade, order: Order) -> None:
        self._just_sent = True
        try:
            trade.take([placed(self._trading.submit_order(market_sale(order.id, order.symbol, trade.held)))])
        except Refused as error:
            if _taken_already(error):
                trade.unsure_sale = order.id
                return
            log.warning("%s: sale refused: %s", order.symbol, error)
            if error.status != 429:
                self._note(f"{order.id}/refused", "rejected", order, error.message or str(error), trade.id)
        except Unreachable as error:
            log.warning("%s: whether the sale was booked is looked up (%s)", order.symbol, error)
            trade.unsure_sale = order.id

    def _cancel(self, order: Placed) -> None:
        """Ask for a cancel; an order that has ended by then, or is ending with its group, is no error."""
        try:
            self._trading.cancel_order_by_id(order.id)
        except Refused as error:
            log.info("%s: not cancelled: %s", order.symbol, error)

    # --- learning from Alpaca's lists --------------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._learn(self._account.orders(min(trade.since for trade in self._trades.values())))

    def _learn(self, rows: Sequence[Placed]) -> None:
        for trade in self._trades.values():
            trade.take(rows)
            for gone in [o for o in trade.exits if o.status == "replaced"]:
                if gone.replaced_by is not None and all(o.id != gone.replaced_by for o in trade.exits):
                    trade.take([self._account.order(gone.replaced_by)])

    # --- what the books hear -----------------------------------------------------------------------------------------

    def _executions(self, trades: Iterable[AlpacaTrade]) -> list[Execution]:
        news, self._news = self._news, []
        for trade in trades:
            if trade.entry is not None:
                news += statements(trade.id, trade.entry, trade.exits)
        return sorted(news, key=lambda e: e.minute)

    def _note(self, name: str, kind: Kind, order: Order, words: str, trade_id: str | None = None) -> None:
        self._news.append(
            Execution(
                name, kind, order.id, order.symbol, order.side, order.qty, 0.0, order.minute, words, trade_id=trade_id
            )
        )


def _taken_already(error: Refused) -> bool:
    """Whether an order id was refused because an earlier request under it had arrived: a success in disguise."""
    return error.status == 422 and "client_order_id" in error.message and "unique" in error.message

"""One trade's orders at Alpaca: placed, looked up, levelled, protected and sold; each a request and its outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from alpaca.trading.requests import LimitOrderRequest, MarketOrderRequest, ReplaceOrderRequest

from alpaca_wire import Refused, Unreachable
from desk.alpaca_account import AlpacaAccount, amount
from desk.alpaca_orders import Placed, arm, bracket, market_sale, placed, stop_price, target_price, tick
from desk.alpaca_trade import MARGIN, PATIENCE_MINUTES, AlpacaTrade
from desk.books import WITHDRAWN
from desk.orders import Execution, Kind, Order
from desk.risk import MAX_PRICE_GAP, untrusted

log = logging.getLogger(__name__)

MISSES, MISSED_AFTER = 3, timedelta(seconds=10)  # look-ups without a trace, and their time, before an order never was
CLOSING_MINUTES = 2  # how long a sale is waited for without a stop


class AlpacaHands:
    """What is done about a trade at Alpaca. What the books must hear besides is left in `news`.

    Args: `trading`, alpaca-py's client; `account` reads; `now` tells this machine's time; `stop_loss` and
    `take_profit` are fractions of the entry price. `sent` tells that an order has left since it was last set back.
    """

    def __init__(
        self,
        trading: Any,
        account: AlpacaAccount,
        now: Callable[[], datetime],
        stop_loss: float,
        take_profit: float,
    ) -> None:
        self._trading, self._account, self._now = trading, account, now
        self._stop_loss, self._take_profit = stop_loss, take_profit
        self.news: list[Execution] = []
        self.sent = False

    # --- entries -----------------------------------------------------------------------------------------------------

    def enter(self, trade: AlpacaTrade, order: Order, *, again: bool = False) -> None:
        try:
            trade.take([self._send(bracket(order, order.price), trade.qty_ordered)])
        except Refused as error:
            base = _base_price(error)
            if _taken_already(error):
                self.probe(trade)
            elif base is not None and not again and abs(base - order.price) <= MAX_PRICE_GAP * order.price:
                # The price has moved on, no further than the gate allows: the legs hang on the newest one, once.
                self.enter(trade, replace(order, price=base), again=True)
            else:
                log.warning("%s: entry refused: %s", order.symbol, error)
                trade.gone = True
                if error.status == 429:  # says nothing about this order
                    self.note(f"{order.id}/withdrawn/{order.minute}", "cancelled", order, WITHDRAWN)
                else:
                    self.note(f"{order.id}/refused", "rejected", order, error.message or str(error))
        except Unreachable as error:
            log.warning("%s: whether the entry was booked is looked up (%s)", order.symbol, error)
            self.probe(trade)

    def probe(self, trade: AlpacaTrade) -> None:
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
            trade.gone = True
            order = Order(trade.id, trade.symbol, "BUY", trade.qty_ordered, 0.0, int(self._now().timestamp() // 60))
            self.note(f"{trade.id}/withdrawn/{order.minute}", "cancelled", order, WITHDRAWN)

    # --- while it is held --------------------------------------------------------------------------------------------

    def look_after(self, trade: AlpacaTrade, now_minute: int) -> None:
        entry = trade.entry
        if entry is None:
            self.probe(trade)
        elif entry.live and (now_minute >= trade.expires_minute or _had_its_minute(trade, entry, now_minute)):
            self.cancel(entry)  # shares of a part fill have no legs while the rest may still come
            trade.take([self._account.order(entry.id)])
            entry = trade.entry
        if entry is None or entry.live:
            return
        if trade.held <= 0:
            for left in trade.live_exits:
                self.cancel(left)
            return
        if trade.unsure_sale is not None and self._account.find(trade.unsure_sale) is None:
            trade.unsure_sale = None
        if trade.closing is not None and now_minute - trade.closing.minute >= CLOSING_MINUTES:
            trade.closing = None  # its shares did not come free: under a stop again, until it is asked for anew
        if not trade.levelled and now_minute - entry.minute <= PATIENCE_MINUTES:
            self._level(trade, entry)
        if trade.uncovered != 0 and not trade.selling:  # below 0: a person sold some, and the stop would sell too many
            self._arm(trade)

    def _level(self, trade: AlpacaTrade, entry: Placed) -> None:
        """Hang the legs on the price of the fill: once, and only where they are off by more than a tick."""
        stop, target = stop_price(entry.price, self._stop_loss), target_price(entry.price, self._take_profit)
        own = {leg.id for leg in entry.legs}
        for leg in [leg for leg in trade.live_exits if leg.replaces is None and not leg.filled and leg.id in own]:
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
            self.cancel(leg)  # a target without its stop holds the shares that the new pair needs
        if trade.live_exits:
            return  # until they have ended
        log.warning("%s: %d shares without a stop; stop and target are placed again", trade.symbol, trade.uncovered)
        order = arm(trade.next_arm, trade.symbol, trade.uncovered, trade.stop_level, trade.target_level)
        try:
            trade.take([self._send(order, trade.held)])
            trade.protected = True
        except Refused as error:
            if not _taken_already(error) and error.status != 429:
                log.warning("%s: Alpaca takes no stop (%s); the position is to be closed", trade.symbol, error)
                trade.protected = False

    # --- exits -------------------------------------------------------------------------------------------------------

    def begin_sale(self, trade: AlpacaTrade, order: Order) -> None:
        """Ask what stands to end; `sell_if_free` then sells, once the shares are free."""
        rows = self._rows_of(trade)
        if (there := self._shares_there(trade, rows)) < trade.held:
            log.warning("%s: the account holds %d of our %d shares: not sold", trade.symbol, there, trade.held)
            return  # the next comparison explains it; what is not there must not be sold short
        if _sold_just_now(trade, rows or (), order.minute):
            return
        trade.closing = order
        for standing in trade.live:
            self.cancel(standing)

    def _rows_of(self, trade: AlpacaTrade) -> Sequence[Placed] | None:
        """The orders of a trade's symbol, or None while they cannot be read: an exit does not wait for them."""
        try:
            return self._account.orders(trade.since, [trade.symbol])
        except Unreachable:
            return None

    def _shares_there(self, trade: AlpacaTrade, rows: Sequence[Placed] | None) -> int:
        """Shares of a trade's symbol in the account; while positions cannot be read, what the orders make of it."""
        try:
            return self._account.shares().get(trade.symbol, (0, 0.0))[0]
        except Unreachable:
            if rows is None:
                raise  # blind: its stop stays
            return trade.held - trade.unheard_by_hand(rows)

    def free_shares_or_none(self) -> Mapping[str, int] | None:
        """Shares that no order holds, or None while positions cannot be read: an exit does not wait for them."""
        try:
            return self._account.free_shares()
        except Unreachable:
            return None

    def sell_if_free(self, trade: AlpacaTrade, free: Mapping[str, int] | None, rows: Sequence[Placed]) -> None:
        """Send the sale that is wanted, once nothing stands any more and the shares are free, as far as can be read.

        `rows` are Alpaca's newest orders: a person may have sold since the sale was begun. Then ours is given up, and
        asked for anew in the next minute.
        """
        order = trade.closing
        if order is None or trade.live:
            return
        if trade.held <= 0:
            trade.closing = None  # a leg was faster
        elif free is None or free.get(trade.symbol, 0) >= trade.held:
            trade.closing = None
            sold = trade.unheard_by_hand(rows) > 0 if free is None else _sold_just_now(trade, rows, order.minute)
            if not sold:
                self._send_sale(trade, order)

    def _send_sale(self, trade: AlpacaTrade, order: Order) -> None:
        self.sent = True
        try:
            trade.take([self._send(market_sale(order.id, order.symbol, trade.held), trade.held)])
        except Refused as error:
            if _taken_already(error):
                trade.unsure_sale = order.id
                return
            log.warning("%s: sale refused: %s", order.symbol, error)
            if error.status != 429:
                self.note(f"{order.id}/refused", "rejected", order, error.message or str(error), trade.id)
        except Unreachable as error:
            log.warning("%s: whether the sale was booked is looked up (%s)", order.symbol, error)
            trade.unsure_sale = order.id

    def _send(self, request: MarketOrderRequest | LimitOrderRequest, most: int) -> Placed:
        """The last look at an order, with its legs, on shares that are at most so many. Raises Refused."""
        legs = [*([request.take_profit.limit_price] if request.take_profit else []),
                *([request.stop_loss.stop_price] if request.stop_loss else [])]  # fmt: skip
        no = untrusted(int(request.qty or 0), most, *legs)
        if no is not None or request.client_order_id is None:
            raise Refused(0, {}, f"not sent: {no or 'an order without an id'}")
        return placed(self._trading.submit_order(request))

    def cancel(self, order: Placed) -> None:
        """Ask for a cancel; an order that has ended by then, or is ending with its group, is no error."""
        try:
            self._trading.cancel_order_by_id(order.id)
        except Refused as error:
            log.info("%s: not cancelled: %s", order.symbol, error)

    def note(self, name: str, kind: Kind, order: Order, words: str, trade_id: str | None = None) -> None:
        self.news.append(
            Execution(
                name, kind, order.id, order.symbol, order.side, order.qty, 0.0, order.minute, words, trade_id=trade_id
            )
        )


def _base_price(error: Refused) -> float | None:
    """The price from which the service wants the legs to hang, in USD, where it says one that can be used."""
    try:
        price = amount(error.extras, "base_price")
    except Unreachable:
        return None
    return price if price > 0 else None


def _sold_just_now(trade: AlpacaTrade, rows: Sequence[Placed], minute: int) -> bool:
    """Whether a person sold the symbol in the last minute: orders show it at once, positions seconds later."""
    sold = trade.unheard_by_hand(rows, since_minute=minute - 1) > 0
    if sold:
        log.warning("%s: a person has just sold some; ours wait a minute, as positions lag behind", trade.symbol)
    return sold


def _had_its_minute(trade: AlpacaTrade, entry: Placed, now_minute: int) -> bool:
    """Whether an entry filled in part has waited for its rest, by Alpaca's clock or by ours, which may differ."""
    if not entry.filled:
        return False
    if trade.part_seen is None:
        trade.part_seen = now_minute
    return now_minute > entry.minute or now_minute != trade.part_seen


def _taken_already(error: Refused) -> bool:
    """Whether an order id was refused because an earlier request under it had arrived: a success in disguise."""
    return error.status == 422 and "client_order_id" in error.message and "unique" in error.message

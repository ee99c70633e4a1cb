"""The order state machine under a virtual clock: what a request does at once, and what time does afterwards.

Nothing moves by itself. `advance(to)` lets everything happen that is due up to `to`, in order of its time: splits,
orders becoming active, fills, cancels completing, expiry, the day's close. At one moment they go in that order, so
that the bar that ends with the session can still fill what expires with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from alpaca_standin.account import Account
from alpaca_standin.assets import Assets
from alpaca_standin.fills import BarOpen, Quotes
from alpaca_standin.formats import bid_ask, on_tick
from alpaca_standin.hours import Hours
from alpaca_standin.ledger import ZERO, Fill
from alpaca_standin.order_book import OrderBook
from alpaca_standin.orders import ENTRY, STOP, TARGET, Order
from alpaca_standin.settings import Settings
from alpaca_standin.tape import Tape
from market.hours import at_new_york, epoch_minute, new_york

SPLIT, ACTIVATE, FILL, CANCEL, EXPIRE, DAY_END = range(6)
GTC_LIFE = timedelta(days=90)
INSTANT = timedelta(microseconds=1)


class Engine:
    """Clock, orders and account; `moves` counts the clock's moves."""

    def __init__(self, tape: Tape, assets: Assets, now: datetime) -> None:
        self.tape, self.assets, self.now = tape, assets, now
        self.hours, self.settings = Hours(), Settings()
        self.book = OrderBook()
        self.account = Account(self.book, self.last_trade, lambda symbol: self.quote(symbol)[1])
        self.splits: list[dict[str, Any]] = []
        self.moves = 0
        self._models: dict[str, Quotes | BarOpen] = {"quotes": Quotes(self), "bar_open": BarOpen(self)}

    # -- prices ------------------------------------------------------------------------------------------------

    def _price(self, symbol: str, when: datetime | None) -> float | None:
        return self.tape.price(symbol, when or self.now, steady=self.settings.fill_model == "bar_open")

    def last_trade(self, symbol: str, when: datetime | None = None) -> Decimal | None:
        """The last trade at `when`, or now; None before the first one."""
        price = self._price(symbol, when)
        return None if price is None else on_tick(price)

    def quote(self, symbol: str, when: datetime | None = None) -> tuple[Decimal, Decimal]:
        """Bid and ask at `when`, or now, of a symbol that has traded before; two zeros if it has not."""
        price = self._price(symbol, when)
        return (ZERO, ZERO) if price is None else bid_ask(price, self.tape.half_spread(symbol))

    # -- time --------------------------------------------------------------------------------------------------

    def advance(self, to: datetime) -> None:
        """Move the clock to `to`, and let happen what is due on the way."""
        self.moves += 1
        self.settle(to)

    def settle(self, to: datetime | None = None) -> None:
        """Let happen everything due up to `to`, or now."""
        to = to or self.now
        while due := [event for event in self._events(to) if event[0] <= to]:
            first = min(event[:2] for event in due)
            when, rank = first
            self.now = max(self.now, when)
            together = [order for event, order in ((event[:2], event[2]) for event in due) if event == first]
            if rank == SPLIT:
                self._split(when)
            elif rank == DAY_END:
                self.account.last_equity = self.account.equity()
            for order in sorted((order for order in together if order), key=lambda order: order.number):
                if order.live:
                    self._happen(order, rank, when)
        self.now = max(self.now, to)
        self.account.show(self.now)

    def _events(self, until: datetime) -> Iterator[tuple[datetime, int, Order | None]]:
        """Everything that lies ahead, as (when, rank, order)."""
        model = self._models[self.settings.fill_model]
        yield self.hours.next_close(self.now), DAY_END, None
        yield from ((split["effective"], SPLIT, None) for split in self.splits if not split["done"])
        for order in list(self.book.live.values()):
            if order.status in ("pending_new", "accepted"):
                yield order.active_at or self.now, ACTIVATE, order
            elif order.status != "held" and self.book.at_work(order):
                stuck = order.status == "pending_cancel" and any(o.fill_on_cancel for o in self.book.group(order))
                when = None if stuck else model.due(order, until)
                if when is not None:
                    yield when, FILL, order
            if order.cancel_at is not None:
                yield order.cancel_at, CANCEL, order
            yield order.expires_at, EXPIRE, order

    def _happen(self, order: Order, rank: int, when: datetime) -> None:
        if rank == ACTIVATE:
            self._set(order, "new", when)
        elif rank == FILL:
            self._models[self.settings.fill_model].fire(order, when)
        elif rank == EXPIRE:
            self._end(order, "expired", when)
        elif any(other.fill_on_cancel for other in self.book.group(order)):
            self._fill_instead(order, when)
        else:
            self._end(order, "canceled", when)

    def _fill_instead(self, order: Order, when: datetime) -> None:
        """The market was faster than the cancel: the group is as it was, and the order in question fills."""
        group = self.book.group(order)
        chosen = next(other for other in group if other.fill_on_cancel)
        chosen.fill_on_cancel = False
        for other in group:
            if other.status == "pending_cancel":
                waits = other.role == STOP or not self.book.at_work(other)
                self._set(other, "held" if waits and other is not chosen else "new", when)
            other.cancel_at = None
        if chosen.role == STOP:
            self.trigger(chosen, when)
        price = chosen.limit_price or chosen.stop_price or self.quote(chosen.symbol, when)[chosen.side == "buy"]
        self.fill(chosen, chosen.left, price, when)

    def _split(self, when: datetime) -> None:
        for split in [split for split in self.splits if not split["done"] and split["effective"] <= when]:
            ratio, split["done"] = Decimal(str(split["ratio"])), True
            self.account.split(split["symbol"], ratio)
            for order in [order for order in self.book.live.values() if order.symbol == split["symbol"]]:
                order.qty = None if order.qty is None else order.qty * ratio
                order.filled_qty *= ratio
                for name in ("limit_price", "stop_price", "filled_avg_price"):
                    price = getattr(order, name)
                    setattr(order, name, None if price is None else (price / ratio).quantize(Decimal("0.0001")))
                self.book.touch(order)

    def tradable_from(self, order: Order, when: datetime) -> datetime:
        """The first moment from `when` on at which the order may fill."""
        if not order.extended_hours:
            return self.hours.open_from(when)
        if self.hours.extended(when):
            return when
        early = at_new_york(new_york(self.hours.next_open(when)).date(), "04:00")
        return max(when, early)

    def tradable_until(self, order: Order, when: datetime) -> datetime:
        """The last moment of the stretch of trading that `when` lies in."""
        if order.extended_hours:
            return at_new_york(new_york(when).date(), "20:00") - INSTANT
        session = self.hours.at(when)
        return session.close - INSTANT if session else when

    # -- orders ------------------------------------------------------------------------------------------------

    def submit(self, legs: list[dict[str, Any]], **fields: Any) -> Order:
        """Book an order and its legs, all at once; `legs` are the fields in which they differ from their parent."""
        parent = self._new(**fields)
        if parent.group_id == "":
            parent.group_id = str(uuid5(NAMESPACE_URL, f"group:{parent.id}"))
        self._queue(parent)
        self.book.add(parent)
        same = {
            name: getattr(parent, name) for name in ("symbol", "asset_id", "time_in_force", "order_class", "group_id")
        }
        for leg in legs:
            self.book.add(self._new(**same | {"parent_id": parent.id} | leg))
        return parent

    def _new(self, **fields: Any) -> Order:
        minute = epoch_minute(self.now)
        gtc = fields["time_in_force"] == "gtc"
        plain = {
            "expires_at": self.now + GTC_LIFE if gtc else self.hours.next_close(self.now),
            "placed_minute": minute,
            "next_minute": minute,
            "status": "held",
            "qty": None,
        }
        return Order(**self._identity() | plain | {name: value for name, value in fields.items() if value is not None})

    def _identity(self) -> dict[str, Any]:
        """What no two orders share."""
        number = len(self.book.all)
        return {
            "number": number,
            "id": str(uuid5(NAMESPACE_URL, f"order:{number}")),
            "client_order_id": str(uuid5(NAMESPACE_URL, f"client:{number}")),
            "created_at": self.now,
            "updated_at": self.now,
        }

    def _queue(self, order: Order) -> None:
        """When the order becomes active, and from when it may fill."""
        delay = timedelta(seconds=self.settings.fill_delay_seconds if self.settings.fill_model == "quotes" else 0)
        begin = self.tradable_from(order, self.now)
        order.status = self.settings.variants["submit_answer_status"] if begin == self.now else "accepted"
        order.active_at = begin + delay / 2 if begin == self.now else begin
        order.fill_from = begin + delay
        if order.extended_hours and order.time_in_force == "day":
            order.expires_at = at_new_york(new_york(begin).date(), "20:00")

    def cancel(self, order: Order, fill_instead: bool = False) -> None:
        """Ask for the end of an order, and with it of its group."""
        for other in self.book.group(order):
            if other.live and other.status != "pending_cancel":
                other.cancel_at = self.now + timedelta(seconds=self.settings.cancel_lag_seconds)
                self._set(other, "pending_cancel", self.now)
        order.fill_on_cancel = fill_instead

    def replace(self, old: Order, **changes: Any) -> Order:
        """A new order in the place of `old`, which is `replaced`."""
        given = {name: value for name, value in changes.items() if value is not None}
        if given.get("time_in_force") == "gtc":
            given["expires_at"] = self.now + GTC_LIFE
        new = Order(**vars(old) | self._identity() | {"replaces": old.id} | given)
        old.replaced_by = new.id
        self.book.adopt(old, new)
        self._end(old, "replaced", self.now)
        return new

    def trigger(self, stop: Order, when: datetime) -> None:
        """The tape reached the stop: it is an order of its own now, and its target can no longer fill."""
        stop.triggered = True
        self._set(stop, "new", when)
        for other in self.book.pair(stop):
            if other is not stop:
                self._end(other, self.settings.variants["target_after_stop"], when)

    def fill(self, order: Order, qty: Decimal, price: Decimal, when: datetime) -> None:
        """Book a fill of `qty` shares, all of the order's rest or a part."""
        if order.qty is None:
            order.qty = qty = ((order.notional or ZERO) / price).quantize(Decimal("1e-9"))
        paid = (order.filled_avg_price or ZERO) * order.filled_qty + qty * price
        order.filled_qty += qty
        order.filled_avg_price = (paid / order.filled_qty).quantize(Decimal("1e-6"))
        signed = qty if order.side == "buy" else -qty
        visible_at = self.now + timedelta(seconds=self.settings.positions_lag_seconds)
        self.account.book_fill(Fill(order.symbol, signed, price, when), visible_at)
        order.filled_at = when
        done = order.left == 0
        if done:
            order.cancel_at = None
        waits = order.status == "pending_cancel" and not done
        self._set(order, "filled" if done else "pending_cancel" if waits else "partially_filled", when)
        if order.role == ENTRY and done:
            self._arm(order, when)
        elif order.role == TARGET:
            self._shrink_stop(order, when)

    def _shrink_stop(self, target: Order, when: datetime) -> None:
        """What the target has sold the stop need not protect."""
        for stop in self.book.pair(target):
            if stop is not target and target.live:
                stop.qty = target.left
                self.book.touch(stop)
            elif stop is not target:
                self._end(stop, self.settings.variants["stop_loss_after_target"], when)

    def _arm(self, entry: Order, when: datetime) -> None:
        """The entry is complete: its legs go to work, on the entry's own bar too."""
        legs = [leg for leg in self.book.legs(entry) if leg.live]
        if legs and self.settings.variants["legs_after_partial_close"] == "capped":
            self._cap(legs, when)
        for leg in [leg for leg in legs if leg.live]:
            leg.placed_minute = leg.next_minute = epoch_minute(when)
            leg.fill_from, leg.cancel_at = when, None
            if leg.role == STOP and entry.stop_rejected:
                self._end(leg, "rejected", when)
            else:
                self._set(leg, "held" if leg.role == STOP and len(legs) > 1 else "new", when)

    def _cap(self, legs: list[Order], when: datetime) -> None:
        """What was sold of a partly filled entry, or is being sold, its legs cannot sell again."""
        symbol, side = legs[0].symbol, legs[0].side
        reserved, _ = self.account.reserved(symbol, side)
        own = max(leg.left for leg in legs)
        free = abs(self.account.true.qty(symbol)) - (reserved - own)
        for leg in legs:
            leg.qty = min(leg.left, free)
            if free <= 0:
                self._end(leg, "canceled", when)

    def _set(self, order: Order, status: str, when: datetime) -> None:
        order.status, order.updated_at = status, when
        self.book.touch(order)

    def _end(self, order: Order, status: str, when: datetime) -> None:
        """An end other than a complete fill; an entry takes its waiting legs along."""
        moments = {
            "canceled": "canceled_at",
            "expired": "expired_at",
            "replaced": "replaced_at",
            "rejected": "failed_at",
        }
        setattr(order, moments[status], when)
        order.cancel_at = None
        self._set(order, status, when)
        if order.role == ENTRY and status != "replaced":
            for leg in self.book.legs(order):
                if leg.live:
                    self._end(leg, status, when)

"""The exchange's own truth: orders, shares and cash, moved on by time. Knows no faults but those of its market.

Semantics as Alpaca's (brackets, OCO, legs that wait for the whole entry, unique client ids, shares held by open
orders), written from its documentation and not from the code under test. Money is whole cents, so that its
conservation is exact.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from alpaca_wire import Refused
from tests.simulation.faults import Faults
from tests.simulation.market import Market
from tests.simulation.orders import Resting, cents

MARGIN_TICK = 1  # cent by which Alpaca wants the legs apart from its base price


def refusal(status: int, code: int, message: str, **extras: Any) -> Refused:
    return Refused(status, {"code": code, "message": message, **extras}, f"{status} {message}")


class Exchange:
    """One account. `ours` are the shares that the program's orders bought and nobody has sold since."""

    def __init__(self, seed: int, market: Market, faults: Faults, now: float, cash: int) -> None:
        self._seed, self.market, self._faults = seed, market, faults
        self.now = now
        self.cash = self.first_cash = cash
        self.orders: list[Resting] = []
        self.by_id: dict[str, Resting] = {}
        self.by_client_id: dict[str, Resting] = {}
        self.live: dict[str, Resting] = {}
        self.shares: Counter[str] = Counter()
        self.ours: Counter[str] = Counter()
        self.fills: list[tuple[str, int, int]] = []  # symbol, shares (negative: sold), price
        self.touched: set[str] = set()  # symbols in which a person traded
        self.short: str | None = None  # what was sold without being held
        self.lapsed: str | None = None  # of what a level ended with its day
        self.caps_legs = bool(seed % 2)  # what Alpaca does with legs larger than the position is not documented
        self.lag_until, self._before_fill = 0.0, dict[str, int]()
        self.prices = market.prices(now)
        self._next = sum(time <= now for time in market.times)

    # --- time --------------------------------------------------------------------------------------------------------

    def advance(self, to: float) -> None:
        times = self.market.times
        while self._next < len(times) and times[self._next] <= to:
            self.prices = self.market.rows[self._next]
            self._next += 1
            if self.live:
                self._step(times[self._next - 1])
        self.now = to
        if self.live:
            self._step(to)

    def _step(self, now: float) -> None:
        self.now, open_ = now, self.market.is_open(now)
        for order in list(self.live.values()):
            if not order.live:
                continue
            if order.cancel_at <= now:
                self._end(order, "canceled")
            elif order.reject_at <= now and not order.filled:
                self._end(order, "rejected")
            elif order.day and not open_ and self.market.next_close(order.submitted) <= now:
                self._end(order, "expired")
                if order.kind != "market":
                    self.lapsed = order.symbol
            elif open_ and order.armed:
                self._meet(order, now)

    def _meet(self, order: Resting, now: float) -> None:
        price = self.prices[order.symbol]
        if order.limit is not None and price < order.limit:
            return
        if order.stop is not None and price > order.stop and not order.filled:
            return
        if order.kind != "market" and not order.filled:
            kind = "target fills in part" if order.limit is not None else "stop fills in part"
            if order.qty > 1 and self._faults.fires(kind):
                order.first_part = self._faults.random.randint(1, order.qty - 1)
                order.rest_at = now + self._faults.random.uniform(1, 200)
        if order.first_part and not order.filled and order.fill_at <= now:
            self._fill(order, order.first_part, price)
        elif (order.rest_at if order.first_part else order.fill_at) <= now:
            self._fill(order, order.left, price)

    # --- what an order does ------------------------------------------------------------------------------------------

    def _fill(self, order: Resting, qty: int, price: int) -> None:
        symbol, signed = order.symbol, qty if order.side == "buy" else -qty
        if self._faults.fires("positions lag"):
            self._before_fill, self.lag_until = dict(self.shares), self.now + self._faults.random.uniform(1, 9)
        order.filled += qty
        order.paid += qty * price
        self.cash -= signed * price
        self.shares[symbol] += signed
        self.fills.append((symbol, signed, price))
        if not order.by_person:
            self.ours[symbol] += signed
        elif signed < 0:
            self.ours[symbol] = min(self.ours[symbol], self.shares[symbol])
        if self.shares[symbol] < 0:
            self.short = f"{symbol}: {self.shares[symbol]} shares after {order.client_id}"
        order.set("partially_filled" if order.left else "filled", self.now)
        if not order.left:
            self.live.pop(order.id, None)
        for other in order.group:
            if other is order or not other.live:
                continue
            if order.side == "buy":
                if not order.left:
                    self._arm(other)
            elif order.left and order.limit is not None:  # what the target has sold, the stop need not protect
                other.qty = other.filled + order.left
                other.touch()
            else:
                self._end(other, "canceled")

    def _arm(self, leg: Resting) -> None:
        """The entry is whole: its legs go to work; on no more shares than there are, as far as the variant cares."""
        free = self.shares[leg.symbol]
        if self.caps_legs and free < leg.qty:
            leg.qty = free
            if not free:
                self._end(leg, "canceled")
                return
        leg.armed = True
        leg.set("new" if leg.limit is not None else "held", self.now)

    def _end(self, order: Resting, status: str) -> None:
        order.set(status, self.now)
        self.live.pop(order.id, None)
        if order.side == "buy":
            for leg in order.legs:
                if leg.live:
                    self._end(leg, "canceled")

    def _book(self, order: Resting) -> Resting:
        order.changed = order.listed_at = self.now
        self.by_id[order.id] = self.by_client_id[order.client_id] = self.live[order.id] = order
        if order.parent is None:
            self.orders.append(order)
        return order

    def _number(self) -> str:
        return f"{self._seed:x}-{len(self.by_id)}"

    # --- requests ----------------------------------------------------------------------------------------------------

    def submit(self, request: Any) -> Resting:
        """Check and book an order as alpaca-py's request describes it. Raises Refused."""
        symbol, side, qty = request.symbol, request.side.value, int(request.qty)
        client_id = request.client_order_id or f"generated-{self._number()}"
        order_class = request.order_class.value if request.order_class else "simple"
        base = self.prices.get(symbol)
        if base is None:
            raise refusal(422, 42210000, f"asset {symbol} not found")
        if client_id in self.by_client_id:
            raise refusal(422, 40010001, "client_order_id must be unique")
        stop = cents(request.stop_loss.stop_price) if request.stop_loss else None
        target = cents(request.take_profit.limit_price) if request.take_profit else None
        self._check(symbol, side, qty, order_class, base, stop, target)
        day = request.time_in_force.value == "day"
        fields = {
            "symbol": symbol, "side": side, "qty": qty, "submitted": self.now, "order_class": order_class, "day": day,
        }  # fmt: skip
        if order_class == "oco":
            top = self._book(Resting(self._number(), client_id, kind="limit", limit=target, **fields))
            legs = [("stop", None, stop)]
        else:
            status = "pending_new" if self.market.is_open(self.now) else "accepted"
            top = self._book(Resting(self._number(), client_id, kind="market", status=status, **fields))
            legs = [("limit", target, None), ("stop", None, stop)] if order_class == "bracket" else []
        for kind, limit, level in legs:
            leg = Resting(
                self._number(), f"leg-{self._number()}", kind=kind, limit=limit, stop=level, status="held", parent=top,
                armed=order_class == "oco", **{**fields, "side": "sell"},
            )  # fmt: skip
            top.legs.append(self._book(leg))
        return top

    def _check(
        self, symbol: str, side: str, qty: int, order_class: str, base: int, stop: int | None, target: int | None
    ) -> None:
        if qty < 1:
            raise refusal(422, 40010001, "qty must be > 0")
        if order_class == "bracket":
            if target is None or target < base + MARGIN_TICK:
                words = "take_profit.limit_price must be >= base_price + 0.01"
                raise refusal(422, 42210000, words, base_price=f"{base / 100:.2f}")
            if stop is None or stop > base - MARGIN_TICK:
                words = "stop_loss.stop_price must be <= base_price - 0.01"
                raise refusal(422, 42210000, words, base_price=f"{base / 100:.2f}")
        if side == "buy":
            if qty * base > self.buying_power:
                raise refusal(403, 40310000, "insufficient buying power", buying_power=f"{self.buying_power / 100:.2f}")
            return
        held = self.shares[symbol]
        if order_class == "oco":
            if held <= 0:
                raise refusal(422, 42210000, "oco orders must be exit orders")
            if stop is None or stop >= base:
                raise refusal(422, 42210000, "stop price must be less than current price")
        if held > 0 and qty > held - self.reserved(symbol):
            words = (
                f"insufficient qty available for order (requested: {qty}, available: {held - self.reserved(symbol)})"
            )
            raise refusal(403, 40310000, words, symbol=symbol, existing_qty=str(held))

    def replace(self, old: Resting, limit: int | None, stop: int | None) -> Resting:
        """A leg at another price: a new order in the old one's place."""
        triggered = old.stop is not None and old.filled
        if not old.live or old.status.startswith("pending") or triggered:
            raise refusal(422, 42210000, f"order is not replaceable in {old.status} state")
        new = Resting(
            self._number(), f"leg-{self._number()}", old.symbol, old.side, old.kind, old.left, self.now,
            old.order_class, limit=limit or old.limit, stop=stop or old.stop, status=old.status, parent=old.parent,
            replaces=old.id, armed=old.armed, day=old.day,
        )  # fmt: skip
        self._book(new)
        old.replaced_by = new.id
        self._end(old, "replaced")
        if old.parent is not None:
            old.parent.legs[old.parent.legs.index(old)] = new
            new.touch()
        return new

    def cancel(self, order: Resting, lag: float = 0.0, *, meets_fill: bool = False) -> None:
        """Ask for an order's end, and with it for its group's. Raises Refused where it has ended."""
        if meets_fill and order.live and order.armed and self.market.is_open(self.now):
            self._fill(order, order.left, order.limit or self.prices[order.symbol])
        if not order.live or order.status == "pending_cancel":
            raise refusal(422, 42210000, f'order is already in "{order.status}" state')
        for other in order.group:
            if other.live and lag:
                other.cancel_at = self.now + lag
                other.set("pending_cancel", self.now)
            elif other.live:
                self._end(other, "canceled")

    # --- what there is -----------------------------------------------------------------------------------------------

    @property
    def buying_power(self) -> int:
        open_buys = sum(o.left * self.prices[o.symbol] for o in self.live.values() if o.side == "buy")
        return self.cash - open_buys

    @property
    def equity(self) -> int:
        return self.cash + sum(qty * self.prices[symbol] for symbol, qty in self.shares.items())

    def reserved(self, symbol: str) -> int:
        """Shares that open sell orders hold; the orders of one pair hold them once."""
        pairs: dict[str, int] = {}
        for order in self.live.values():
            if order.symbol == symbol and order.side == "sell" and order.armed:
                pairs[order.top.id] = max(pairs.get(order.top.id, 0), order.left)
        return sum(pairs.values())

    def shown_shares(self) -> dict[str, int]:
        """Positions as the account's page has them: some seconds behind, now and then."""
        return self._before_fill if self.now < self.lag_until else self.shares

    # --- a person ----------------------------------------------------------------------------------------------------

    def person_trades(self, symbol: str, signed: int) -> None:
        """A market order by hand, filled at once; a sale first cancels what holds the shares."""
        self.touched.add(symbol)
        if signed < 0:
            self.person_cancels(symbol)
        side = "buy" if signed > 0 else "sell"
        name = self._number()
        order = Resting(name, f"person-{name}", symbol, side, "market", abs(signed), self.now, by_person=True)
        self._book(order)
        self._fill(order, order.qty, self.prices[symbol])

    def person_cancels(self, symbol: str) -> None:
        """Cancel all open sales and stops of a symbol by hand."""
        for order in list(self.live.values()):
            if order.symbol == symbol and order.side == "sell" and order.armed and order.live:
                self._end(order, "canceled")

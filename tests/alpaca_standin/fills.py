"""When and at what price an order fills: two models of the same market.

`Quotes`: market orders at the quote after a delay, resting ones when the tape reaches their price, some in two parts.
`BarOpen`: market orders at the open of a bar, exits by whole bars once they have ended, as a backtest on bars does.

Both answer two questions. `due(order, until)`: when, up to `until`, will something happen to this order, or None.
`fire(order, when)`: let it happen. The engine asks in order of time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from math import inf
from random import Random
from typing import TYPE_CHECKING

from alpaca_standin.formats import on_tick
from alpaca_standin.orders import STOP, Order
from market.hours import epoch_minute, moment

if TYPE_CHECKING:
    from alpaca_standin.engine import Engine

MINUTE = timedelta(minutes=1)
HALF_MINUTE = timedelta(seconds=30)


class Quotes:
    """Fills at the quote: buys at the ask, sells at the bid."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def due(self, order: Order, until: datetime) -> datetime | None:
        if order.filled_in_move == self.engine.moves:
            return None  # the rest of a partial fill waits for the next move of the clock
        begin = self.engine.tradable_from(order, max(order.fill_from or order.created_at, self.engine.now))
        if begin > until:
            return None
        if not order.resting:
            return begin if self.engine.tape.price(order.symbol, begin) is not None else None
        return self._reached(order, begin, until)

    def _reached(self, order: Order, begin: datetime, until: datetime) -> datetime | None:
        """The first tradable moment at which the tape meets the order's price."""
        below, above = self._levels(order)
        while begin <= until:
            stretch = min(until, self.engine.tradable_until(order, begin))
            when = self.engine.tape.first_crossing(order.symbol, begin, stretch, below, above)
            if when is not None:
                return when
            begin = self.engine.tradable_from(order, stretch + timedelta(microseconds=1))
        return None

    def _levels(self, order: Order) -> tuple[float, float]:
        """Last trades at which the order fills: at or below, at or above. The pair of an exit counts as one order."""
        below, above = -inf, inf
        half = self.engine.tape.half_spread(order.symbol)
        for exit_ in self.engine.book.pair(order):
            stop_waits = exit_.stop_price is not None and not exit_.triggered
            if exit_.side == "sell":
                if stop_waits:
                    below = float(exit_.stop_price)
                else:
                    above = float(exit_.limit_price) / (1 - half)
            elif stop_waits:
                above = float(exit_.stop_price)
            else:
                below = float(exit_.limit_price) / (1 + half)
        return below, above

    def fire(self, order: Order, when: datetime) -> None:
        if not order.resting:
            self._fill(order, when)
            return
        last = self.engine.tape.price(order.symbol, when)
        for exit_ in self.engine.book.pair(order):
            if exit_.stop_price is not None and not exit_.triggered:
                sells = exit_.side == "sell"
                if last <= float(exit_.stop_price) if sells else last >= float(exit_.stop_price):
                    self.engine.trigger(exit_, when)
                    if exit_.type == "stop":
                        self._fill(exit_, when)
                    return
        limit = next(exit_ for exit_ in self.engine.book.pair(order) if exit_.limit_price is not None)
        self._fill(limit, when)

    def _fill(self, order: Order, when: datetime) -> None:
        bid, ask = self.engine.quote(order.symbol, when)
        price = ask if order.side == "buy" else bid
        if order.limit_price is not None:
            better = min if order.side == "buy" else max
            price = better(price, order.limit_price)
        rng = Random(f"{self.engine.settings.seed}:{order.number}:{order.filled_qty}")
        qty = order.left
        if order.filled_qty == 0 and qty >= 2 and rng.random() < self.engine.settings.partial_share:
            qty = Decimal(rng.randint(1, int(qty) - 1))
            order.filled_in_move = self.engine.moves
            order.fill_from = when + timedelta(seconds=self.engine.settings.partial_rest_seconds)
        self.engine.fill(order, qty, price, when)


class BarOpen:
    """Fills by bars: market orders at an open, exits at their own price inside a bar or at its open after a gap."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def due(self, order: Order, until: datetime) -> datetime | None:
        if order.symbol in self.engine.tape.flat:
            return self._due_without_bars(order, until)
        bars = self.engine.tape.bars[order.symbol]
        first = epoch_minute(order.fill_from or order.created_at) if not order.resting else order.next_minute
        for index in range(bars.from_minute(first), len(bars)):
            start = moment(bars.minute[index])
            when = start + MINUTE if order.resting else max(order.fill_from or order.created_at, start)
            if when > until:
                return None
            if self.engine.hours.at(start):
                return max(when, self.engine.now)
        return None

    def _due_without_bars(self, order: Order, until: datetime) -> datetime | None:
        when = self.engine.tradable_from(order, max(order.fill_from or order.created_at, self.engine.now))
        return when if when <= until and not order.resting else None

    def fire(self, order: Order, when: datetime) -> None:
        if order.symbol in self.engine.tape.flat:
            self.engine.fill(order, order.left, on_tick(self.engine.tape.flat[order.symbol]), when)
            return
        bars = self.engine.tape.bars[order.symbol]
        if not order.resting:
            bar = bars.bar(bars.at_or_before(epoch_minute(when)))
            self.engine.fill(order, order.left, on_tick(bar.open), when)
            return
        bar = bars.bar(bars.from_minute(order.next_minute))
        pair = self.engine.book.pair(order)
        fresh = any(exit_.placed_minute == bar.minute for exit_ in pair)
        for exit_ in pair:
            exit_.next_minute = bar.minute + 1
        for exit_, level, is_stop in sorted(((e, *self._level(e)) for e in pair), key=lambda item: not item[2]):
            sells_down = (exit_.side == "sell") == is_stop  # a sell stop and a buy limit wait for lower prices
            gap = not fresh and (bar.open <= level if sells_down else bar.open >= level)
            other_gap = not fresh and is_stop and not gap and self._gapped_over(pair, exit_, bar.open)
            inside = bar.low <= level if sells_down else bar.high >= level
            if (gap or inside) and not other_gap:
                price = on_tick(bar.open) if gap else on_tick(level)
                if is_stop:
                    self.engine.trigger(exit_, bar.start + HALF_MINUTE)
                self.engine.fill(exit_, exit_.left, price, bar.start + HALF_MINUTE)
                return

    @staticmethod
    def _level(order: Order) -> tuple[float, bool]:
        is_stop = order.stop_price is not None and not order.triggered
        return float(order.stop_price if is_stop else order.limit_price), is_stop

    @staticmethod
    def _gapped_over(pair: list[Order], stop: Order, price: float) -> bool:
        """Did the bar open beyond the target, so that the stop inside the bar came too late?"""
        targets = [
            exit_ for exit_ in pair if exit_ is not stop and exit_.role != STOP and exit_.limit_price is not None
        ]
        return any(
            price >= float(t.limit_price) if t.side == "sell" else price <= float(t.limit_price) for t in targets
        )

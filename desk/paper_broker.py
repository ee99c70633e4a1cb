"""The local paper account: fills orders from bars, exactly as the label assumes, and keeps its own books.

An order fills at the open of the first bar that starts at or after the minute of its submission. Inside a bar: first
what waits for its open, then a gap beyond a level (fills at the open), then the stop, then the target. Levels hang on
the entry open; each fill is worsened by half the round-trip cost, so that a trade earns what its label says.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from desk.orders import Account, Execution, Order, Position, PriceBar, Trade
from durable import replace_file, to_json

log = logging.getLogger(__name__)

SCHEMA = 1
T = TypeVar("T", Position, Order, Execution)
_SORTS: dict[str, set[type]] = {
    "str": {str}, "Side": {str}, "Kind": {str}, "int": {int}, "bool": {bool}, "float": {int, float},
    "str | None": {str, type(None)}, "int | None": {int, type(None)}, "float | None": {int, float, type(None)},
}  # fmt: skip
_KEPT_EXECUTIONS = 1000  # weeks of trading; enough for books that missed the last sessions


class PaperBroker:
    """One paper account, in memory and in `path` (None: in memory only).

    Args: `cash` USD at the first start; `round_trip_cost` as a fraction; `save_each_change` writes the file at each
    order and fill (live), else only when `save` is called (replay).
    """

    def __init__(
        self, path: Path | None, cash: float, round_trip_cost: float, *, save_each_change: bool = True
    ) -> None:
        self._path = path
        self._half_cost = round_trip_cost / 2
        self._save_each_change = save_each_change
        self._cash = cash
        self._positions: dict[str, Position] = {}
        self._orders: dict[str, Order] = {}
        self._executions: dict[str, Execution] = {}
        self._known: set[str] = set()  # ids of all orders ever handed over, as far as they are remembered
        self._alone: set[str] = set()  # symbols whose positions stay as they are
        self._settled_minute = 0
        self._unsaved: str | None = None  # why the file lags behind, where it should not
        if path is not None and path.exists():
            self._load(path)

    def resume(self, tag: str, trades: Iterable[Trade]) -> None:
        """Nothing to do: this account's own file holds its orders and positions."""

    def hindrance(self, close: datetime) -> str | None:
        """Only a disk that does not take this account's file."""
        return self._unsaved

    def tradable(self, symbol: str) -> bool:
        """What has bars has a price, and can be had for it."""
        return True

    def withdraw_entries(self) -> None:
        for order in list(self._orders.values()):
            if order.side == "BUY":
                self._orders[order.id] = replace(order, expires_minute=0)

    def leave_alone(self, symbols: Collection[str]) -> None:
        """At the prices of after a split these shares would be sold at a stop that nobody reached."""
        self._alone = set(symbols)

    def account(self) -> Account:
        held = sum(p.qty * p.last_price for p in self._positions.values())
        reserved = sum(o.qty * o.price * (1 + self._half_cost) for o in self._orders.values() if o.side == "BUY")
        return Account(self._cash, self._cash + held, max(self._cash - reserved, 0.0))

    @property
    def settled_minute(self) -> int:
        """The newest minute of which this account has heard."""
        return self._settled_minute

    def positions(self) -> Mapping[str, Position]:
        return dict(self._positions)

    def working_orders(self) -> list[Order]:
        return list(self._orders.values())

    def recent_executions(self) -> list[Execution]:
        return list(self._executions.values())

    def submit(self, order: Order) -> None:
        if order.id not in self._known:
            self._known.add(order.id)
            self._orders[order.id] = order
            self._changed()

    def settle(self, now_minute: int, bars: Iterable[PriceBar]) -> list[Execution]:
        news: list[Execution] = []
        settled = self._settled_minute
        for bar in bars:
            settled = max(settled, bar.minute)
            if bar.minute <= self._settled_minute:
                continue  # after a restart the first bars may be ones that were settled before it
            if bar.symbol in self._alone:
                continue
            for order in [o for o in self._orders.values() if o.symbol == bar.symbol]:
                if order.minute <= bar.minute and (order.expires_minute is None or bar.minute < order.expires_minute):
                    news.append(self._fill_at_open(order, bar))
            position = self._positions.get(bar.symbol)
            if position is not None:
                news += self._watch_levels(position, bar)
        for order in list(self._orders.values()):
            if order.expires_minute is not None and now_minute >= order.expires_minute:
                news.append(self._end(order, "cancelled", now_minute, "no trade in the minutes it was good for"))
        self._settled_minute = settled  # by what bars say: the machine's clock may be wrong
        if news or self._unsaved is not None:
            self._changed()
        return news

    def save(self) -> None:
        if self._path is not None:
            document = {
                "schema": SCHEMA,
                "cash": self._cash,
                "settled_minute": self._settled_minute,
                "positions": [asdict(p) for p in self._positions.values()],
                "orders": [asdict(o) for o in self._orders.values()],
                "executions": [asdict(e) for e in list(self._executions.values())[-_KEPT_EXECUTIONS:]],
            }
            replace_file(self._path, to_json(document))

    def _changed(self) -> None:
        """A disk that takes nothing hinders entries; `save` tries again, before the books say more than the file."""
        if self._save_each_change:
            try:
                self.save()
                self._unsaved = None
            except OSError as error:
                self._unsaved = f"the paper account cannot be saved ({error.strerror})"

    def _fill_at_open(self, order: Order, bar: PriceBar) -> Execution:
        if order.side == "SELL":
            position = self._positions.get(order.symbol)
            if position is None:
                return self._end(order, "cancelled", bar.minute, "the position was closed before")
            return self._close(position, bar.open, bar.minute, order.reason, order.id)
        price = round(bar.open * (1 + self._half_cost), 4)
        if order.symbol in self._positions:
            return self._end(order, "rejected", bar.minute, "already held")
        if price * order.qty > self._cash:
            return self._end(order, "rejected", bar.minute, "not enough cash at the price of the fill")
        del self._orders[order.id]
        self._cash = round(self._cash - price * order.qty, 4)
        stop, target = bar.open * (1 - (order.stop_loss or 0.0)), bar.open * (1 + (order.take_profit or 0.0))
        self._positions[order.symbol] = Position(
            order.symbol, order.qty, price, bar.minute, stop, target, last_price=bar.open
        )
        name = f"{order.id}/fill"
        fill = Execution(
            name, "fill", order.id, order.symbol, "BUY", order.qty, price, bar.minute, "entry", stop, target
        )
        return self._record(fill)

    def _watch_levels(self, position: Position, bar: PriceBar) -> list[Execution]:
        entered_here = position.entry_minute == bar.minute
        gapped = not entered_here and not position.stop_level < bar.open < position.target_level
        if bar.low <= position.stop_level and (entered_here or bar.open < position.target_level):
            price, reason = bar.open if gapped else position.stop_level, "stop"
        elif bar.high >= position.target_level:
            price, reason = bar.open if gapped else position.target_level, "target"
        else:
            self._positions[bar.symbol] = replace(position, last_price=bar.close)
            return []
        return [self._close(position, price, bar.minute, reason, f"{position.symbol}-{position.entry_minute}")]

    def _close(self, position: Position, price: float, minute: int, reason: str, order_id: str) -> Execution:
        self._orders.pop(order_id, None)
        del self._positions[position.symbol]
        got = round(price * (1 - self._half_cost), 4)
        self._cash = round(self._cash + got * position.qty, 4)
        name = f"{order_id}/{reason}"
        return self._record(
            Execution(name, "fill", order_id, position.symbol, "SELL", position.qty, got, minute, reason)
        )

    def _end(self, order: Order, kind: Any, minute: int, reason: str) -> Execution:
        self._orders.pop(order.id, None)
        name = f"{order.id}/{kind}"
        return self._record(Execution(name, kind, order.id, order.symbol, order.side, order.qty, 0.0, minute, reason))

    def _record(self, execution: Execution) -> Execution:
        self._executions[execution.id] = execution
        return execution

    def _load(self, path: Path) -> None:
        try:
            document = json.loads(path.read_text(), parse_constant=_refuse)
            if document["schema"] != SCHEMA:
                raise ValueError(f"schema {document['schema']}, here {SCHEMA}")  # noqa: TRY301
            to_json(document)  # 1e999 is read as infinity
            self._positions = {p["symbol"]: _read(Position, p) for p in document["positions"]}
            self._orders = {o["id"]: _read(Order, o) for o in document["orders"]}
            self._executions = {e["id"]: _read(Execution, e) for e in document["executions"]}
            self._known = {*self._orders, *(e.order_id for e in self._executions.values())}
            self._cash, self._settled_minute = float(document["cash"]), int(document["settled_minute"])
            if self._cash < 0:
                raise ValueError(f"cash: {self._cash}")  # noqa: TRY301
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise BadAccountFile(
                f"{path}: not a paper account of this program ({error}); nothing is traded on it. Move it away to "
                "start a new paper account, or put back a good copy"
            ) from error


def _read(kind: type[T], raw: Mapping[str, Any]) -> T:
    """A value of the desk from its JSON, each field of its own sort and no amount negative."""
    value: Any = kind(**raw)
    for field in fields(value):
        here = getattr(value, field.name)
        sort = _SORTS[str(field.type)]
        if (
            type(here) not in sort
            or (float in sort and here is not None and here < 0)
            or (field.name == "qty" and here < 0)
        ):
            raise ValueError(f"{field.name}: {here!r}")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no amount")


class BadAccountFile(ValueError):
    """The paper account's file cannot be read; its message names the file and the cure."""

"""Every order ever booked, found by id, by client_order_id and by group."""

from __future__ import annotations

from collections import defaultdict

from alpaca_standin.orders import ENTRY, TARGET, Order


class OrderBook:
    """Orders in the sequence of booking; `live` are those not yet terminal, `changed` those to be written to disk."""

    def __init__(self, orders: list[Order] | None = None) -> None:
        self.all: dict[str, Order] = {}
        self.by_client_id: dict[str, Order] = {}
        self.live: dict[str, Order] = {}
        self.changed: dict[str, Order] = {}
        self._groups: defaultdict[str, list[Order]] = defaultdict(list)
        for order in orders or []:
            self.add(order)
        self.changed.clear()

    def add(self, order: Order) -> None:
        self.all[order.id] = self.by_client_id[order.client_order_id] = order
        if order.group_id:
            self._groups[order.group_id].append(order)
        self.touch(order)

    def touch(self, order: Order) -> None:
        """Note that an order changed."""
        self.changed[order.id] = order
        if order.live:
            self.live[order.id] = order
        else:
            self.live.pop(order.id, None)

    def legs(self, parent: Order) -> list[Order]:
        """The newest version of each leg of a group's parent, target first."""
        same = self._groups[parent.group_id] if parent.group_id else []
        legs = [order for order in same if order.parent_id == parent.id and order.replaced_by is None]
        return sorted(legs, key=lambda leg: (leg.role != TARGET, leg.number))

    def group(self, order: Order) -> list[Order]:
        """Every order of the group in its newest version, the given one first; alone if it has no group."""
        same = self._groups[order.group_id] if order.group_id else []
        return [order, *(other for other in same if other.replaced_by is None and other is not order)]

    def pair(self, order: Order) -> list[Order]:
        """The live exits that stand and fall together with this one, itself included."""
        return [
            other
            for other in self.group(order)
            if other.live and (other is order or (other.role != ENTRY and order.role != ENTRY))
        ]

    def at_work(self, order: Order) -> bool:
        """May it fill? A leg only once its entry has filled completely."""
        parent = self.all.get(order.parent_id or "")
        return parent is None or parent.role != ENTRY or parent.status == "filled"

    def adopt(self, old: Order, new: Order) -> None:
        """`new` takes the place of `old`, and its legs."""
        self.add(new)
        for leg in self._groups[old.group_id] if old.group_id else []:
            if leg.parent_id == old.id:
                leg.parent_id = new.id
                self.touch(leg)

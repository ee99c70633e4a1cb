"""One trade as it stands at Alpaca, between its intent and its last sold share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from desk.alpaca_orders import Placed, exits_of, standing_levels
from desk.books import BY_HAND
from desk.orders import Execution, Order, Position, Trade

PATIENCE_MINUTES = 5  # what an entry of a process that has ended may still take to fill
MARGIN = timedelta(minutes=10)  # an order is older than its fill, and Alpaca's clock may differ from ours


@dataclass
class AlpacaTrade:
    """What is known of a trade's orders. Levels are USD per share: those that stand, else those that should."""

    id: str
    symbol: str
    qty_ordered: int
    since: datetime  # no order of this trade is older
    expires_minute: int
    stop_level: float
    target_level: float
    entry: Placed | None = None  # None: sent, and no answer yet that can be used
    exits: list[Placed] = field(default_factory=list)
    by_hand: dict[str, int] = field(default_factory=dict)  # shares that a person sold, by order
    closing: Order | None = None  # the sale that is wanted, until it is sent
    unsure_sale: str | None = None  # client id of a sale of which no usable answer has come
    misses: int = 0  # look-ups in a row without a trace of the entry
    gone: bool = False  # refused, or found never to have arrived
    part_seen: int | None = None  # minute here in which the entry was first seen filled in part
    levelled: bool = False
    protected: bool = True

    @classmethod
    def of_books(cls, trade: Trade) -> AlpacaTrade:
        """A live trade of the books, to be looked up."""
        since = datetime.fromtimestamp(trade.entry_minute * 60, UTC) - MARGIN
        expires = trade.entry_minute + PATIENCE_MINUTES
        result = cls(trade.id, trade.symbol, trade.qty_ordered, since, expires, trade.stop_loss, trade.take_profit)
        result.levelled = trade.status == "OPEN"  # the books hear of a fill after its levels were set
        result.by_hand = {name: qty for name, (qty, _) in trade.exits.items() if not name.startswith(trade.id)}
        return result

    @classmethod
    def of_entry(cls, entry: Placed, stop_level: float, target_level: float) -> AlpacaTrade:
        """A trade known from Alpaca's list alone."""
        expires = entry.minute + PATIENCE_MINUTES
        since = entry.submitted - MARGIN
        return cls(entry.client_id, entry.symbol, entry.qty, since, expires, stop_level, target_level)

    def take(self, rows: Sequence[Placed]) -> None:
        """Learn from a listing of orders what has become of this trade."""
        self.entry = next((row for row in rows if row.client_id == self.id), self.entry)
        if self.entry is not None:
            self.gone = False  # refused, or not found, and booked all the same
            self.since = min(self.since, self.entry.submitted - MARGIN)
        known = {o.id: o for o in self.exits}
        known |= {o.id: o for o in exits_of(self.id, rows, known)}
        for new in list(known.values()):  # an answer to a replacement tells of the new order only
            if new.replaces in known and known[new.replaces].live:
                known[new.replaces] = replace(known[new.replaces], status="replaced")
        self.exits = list(known.values())
        if any(o.client_id == self.unsure_sale for o in self.exits):
            self.unsure_sale = None
        stop, target = standing_levels(self.exits)
        self.stop_level, self.target_level = stop or self.stop_level, target or self.target_level

    @property
    def tag(self) -> str:
        """What the client ids of all orders of the same books begin with."""
        return self.id.partition("-")[0] + "-"

    @property
    def held(self) -> int:
        """Shares bought and not sold."""
        bought = self.entry.filled if self.entry else 0
        return bought - sum(o.filled for o in self.exits) - sum(self.by_hand.values())

    @property
    def live_exits(self) -> list[Placed]:
        """Sell orders that may still fill."""
        return [o for o in self.exits if o.live]

    @property
    def live(self) -> list[Placed]:
        """Everything that may still fill, the entry too."""
        return [o for o in (self.entry, *self.exits) if o is not None and o.live]

    @property
    def uncovered(self) -> int:
        """Shares that no living stop or sale would sell."""
        return self.held - sum(o.qty - o.filled for o in self.live_exits if o.kind != "limit")

    @property
    def waits_for_its_stop(self) -> bool:
        """Whether shares wait for their stop until something else has ended: the rest of the entry, or old levels."""
        if self.entry is None or self.held <= 0 or self.selling or not self.protected:
            return False
        if self.entry.live:
            return self.entry.status == "pending_cancel"
        return bool(self.live_exits) and self.uncovered != 0

    @property
    def selling(self) -> bool:
        """Whether a sale at the market is under way, or may be."""
        sales = f"{self.id}-sell-"
        return (
            self.closing is not None
            or self.unsure_sale is not None
            or any(o.client_id.startswith(sales) for o in self.live_exits)
        )

    @property
    def ended(self) -> bool:
        """Whether nothing can happen any more."""
        return self.gone or (self.entry is not None and not self.live and self.held <= 0 and not self.selling)

    @property
    def next_arm(self) -> str:
        """Client id of the next order that puts stop and target back."""
        arms = {o.client_id for o in self.exits if o.client_id.startswith(f"{self.id}-arm-")}
        return f"{self.id}-arm-{len(arms) + 1}"

    def position(self, last_price: float | None) -> Position | None:
        """The shares held, or None."""
        if self.entry is None or self.held <= 0:
            return None
        price, minute = self.entry.price, self.entry.minute
        return Position(
            self.symbol, self.held, price, minute, self.stop_level, self.target_level, last_price or price,
            self.protected,
        )  # fmt: skip

    def working(self) -> Order | None:
        """The entry or sale that is under way, or None."""
        if self.gone:
            return None
        minute = int(self.since.timestamp() // 60)
        if self.entry is None or self.entry.live:
            return Order(self.id, self.symbol, "BUY", self.qty_ordered, 0.0, minute)
        return Order(f"{self.id}-sell", self.symbol, "SELL", self.held, 0.0, minute) if self.selling else None

    def sales_by_hand(self, rows: Sequence[Placed]) -> Iterator[Placed]:
        """A person's sales of the symbol since the entry, among a listing of orders."""
        known = {o.id for o in self.exits}
        since = int(self.entry.submitted.timestamp() // 60) if self.entry is not None else 0
        for sale in (order for row in rows if not row.client_id.startswith(self.tag) for order in row.family):
            ours = sale.id in known or sale.symbol != self.symbol or sale.side != "sell"
            if not ours and sale.filled and sale.minute >= since:
                yield sale

    def unheard_by_hand(self, rows: Sequence[Placed], since_minute: int = 0) -> int:
        """Shares of the symbol that a person has sold since a minute, and the books have not heard of."""
        sales = [sale for sale in self.sales_by_hand(rows) if sale.minute >= since_minute]
        return sum(max(sale.filled - self.by_hand.get(sale.id, 0), 0) for sale in sales)

    def note_sales_by_hand(self, rows: Sequence[Placed], missing: int) -> Iterator[Execution]:
        """Take a person's sales as the reason why `missing` of our shares are gone."""
        bought = self.entry.minute if self.entry is not None else 0  # a fill of the rest comes later than the sale
        for sale in self.sales_by_hand(rows):
            before = self.by_hand.get(sale.id, 0)
            sold = min(sale.filled, before + missing)
            if sold > before:
                missing -= sold - before
                self.by_hand[sale.id] = sold
                yield Execution(
                    f"{sale.id}/fill/{sold}", "fill", sale.id, self.symbol, "SELL", sold, sale.price,
                    max(sale.minute, bought), BY_HAND, trade_id=self.id,
                )  # fmt: skip

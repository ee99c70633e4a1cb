"""Rules of money: how many shares, must we exit, and the gate that every order passes before it leaves.

An entry passes only if all of it is known and within its limits: what is missing or not a number lets nothing pass. An
exit passes unless its side or quantity cannot be trusted. The refusal begins with the name of the rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from alpaca_wire import Refused, Unreachable
from desk.books import Books
from desk.brokers import Broker
from desk.orders import Account, Order, Position, PriceBar

RESERVE = 0.05  # of buying power stays free: a market order fills at another price than the last
MAX_PRICE_GAP = 0.03  # of the last trade, between it and the price on which an order was decided
MAX_SPIKE = 0.2  # of the bar before: a price further away is believed once a second bar confirms it
MAX_BAR_AGE_MINUTES = 2
MAX_ORDERS_PER_MINUTE = 10


@dataclass(frozen=True)
class Limits:
    """What one trade and all together may cost; fractions of the price or of equity."""

    max_position_size: int
    max_open_positions: int
    stop_loss: float
    take_profit: float
    risk_per_trade: float
    max_holding_minutes: int | None
    max_position: float
    max_exposure: float
    max_entries_per_symbol: int
    max_orders_per_day: int
    max_daily_loss: float
    max_drawdown: float


@dataclass(frozen=True)
class Size:
    """Whole shares to buy, and the rule that set the number."""

    shares: int
    bound: str


def position_size(price: float, account: Account, limits: Limits) -> Size:
    """The smallest of the share limit, what the risk budget allows to lose at the stop, the largest position, the cash.

    Fixed-fractional sizing (Vince, 1990): shares = equity x risk / (price x stop). Anything not a positive finite
    number means 0 shares.
    """
    inputs = (price, account.equity, account.buying_power)
    if not all(math.isfinite(value) and value > 0 for value in inputs):
        return Size(0, "price, equity or buying power is not a positive number")
    candidates = [
        Size(limits.max_position_size, "MAX_POSITION_SIZE"),
        Size(int(account.equity * limits.risk_per_trade / (price * limits.stop_loss)), "RISK_PER_TRADE_PCT"),
        Size(int(account.equity * limits.max_position / price), "MAX_POSITION_PCT"),
        Size(int(account.buying_power * (1 - RESERVE) / price), "buying power"),
    ]
    return min(candidates, key=lambda size: size.shares)


def may_open(symbol: str, held: set[str], limits: Limits) -> str | None:
    """None, or why no position may be opened; `held` are the symbols of open positions and working entries."""
    if symbol in held:
        return "already held"
    if len(held) >= limits.max_open_positions:
        return f"{len(held)} positions are open (MAX_OPEN_POSITIONS)"
    return None


def must_exit(held_minutes: int, limits: Limits) -> str | None:
    """Return "time" once a position has had its market minutes, else None; stop and target rest at the broker."""
    limit = limits.max_holding_minutes
    return "time" if limit is not None and held_minutes >= limit else None


def beyond_levels(position: Position) -> str | None:
    """Return "stop" or "target" when the newest price has passed a level at which the position should have closed,
    and "unprotected" where the broker takes no stop."""
    if position.last_price <= position.stop_level:
        return "stop"
    if position.last_price >= position.target_level:
        return "target"
    return None if position.protected else "unprotected"


def loss_beyond(equity: float, opening: float | None, peak: float | None, limits: Limits) -> str | None:
    """The loss limit that `equity` breaks, in words, or None. USD; `opening` before the session, `peak` the highest."""
    if opening is not None and not equity >= opening * (1 - limits.max_daily_loss):
        return f"MAX_DAILY_LOSS_PCT: equity is {equity:,.2f} USD, before the session it was {opening:,.2f}"
    if peak is not None and not equity >= peak * (1 - limits.max_drawdown):
        return f"MAX_DRAWDOWN_PCT: equity is {equity:,.2f} USD, at its highest it was {peak:,.2f}"
    return None


@dataclass(frozen=True)
class Quote:
    """The newest bar of a symbol that the desk has seen, and the close before it."""

    minute: int
    close: float
    before: float


@dataclass(frozen=True)
class Known:
    """What is known as an entry is about to leave.

    `worth`: USD in positions and working entries by symbol; `market`: what speaks against any entry now; orders of this
    minute and of this New York date (sales that were asked for included), `entries` of this symbol in this session;
    `opening` and `peak` equity in USD; `minute`: in which the order would leave.
    """

    account: Account | None
    worth: Mapping[str, float]
    quote: Quote | None
    tradable: bool | None
    market: str | None
    orders_this_minute: int
    orders_today: int
    entries: int
    opening: float | None
    peak: float | None
    minute: int


def entry_refused(order: Order, known: Known, limits: Limits) -> str | None:
    """The first rule that an entry breaks, with words, or None. All comparisons are false for NaN, and refuse."""
    quote = known.quote or Quote(0, math.nan, math.nan)
    equity, cash = (known.account.equity, known.account.buying_power) if known.account else (math.nan, math.nan)
    worth = order.qty * order.price
    exposure = worth + sum(known.worth.values())
    age = known.minute - quote.minute
    loss = loss_beyond(equity, known.opening, known.peak, limits)
    sane = 0 < (order.stop_loss or 0.0) < 1 and 0 < (order.take_profit or 0.0) < math.inf
    rules: tuple[tuple[str, bool, str], ...] = (
        ("side", order.side == "BUY", order.side),
        ("market", known.market is None, str(known.market)),
        ("MAX_POSITION_SIZE", 0 < order.qty <= limits.max_position_size, f"{order.qty} shares"),
        ("price", 0 < order.price < math.inf, f"{order.price} USD"),
        ("stop and target", sane, f"{order.stop_loss} and {order.take_profit} of the price"),
        ("fresh bar", 0 <= age <= MAX_BAR_AGE_MINUTES, "none" if known.quote is None else f"{age} minutes old"),
        ("price gap", abs(order.price - quote.close) <= MAX_PRICE_GAP * quote.close,
         f"decided at {order.price:g} USD, the last trade was at {quote.close:g}"),
        ("price spike", not _spike(quote),
         f"{_from(quote)} to {quote.close:g} USD in one bar, not confirmed yet"),
        ("one position per symbol", order.symbol not in known.worth, "already held, or on its way"),
        ("MAX_OPEN_POSITIONS", len(known.worth) < limits.max_open_positions, f"{len(known.worth)} are open"),
        ("account", 0 < equity < math.inf and 0 <= cash < math.inf, f"equity {equity:g}, buying power {cash:g} USD"),
        ("MAX_POSITION_PCT", worth <= limits.max_position * equity, f"{worth:,.2f} USD of {equity:,.2f}"),
        ("MAX_EXPOSURE_PCT", exposure <= limits.max_exposure * equity, f"{exposure:,.2f} USD of {equity:,.2f}"),
        ("buying power", worth <= cash * (1 - RESERVE), f"{worth:,.2f} USD, {cash:,.2f} less {RESERVE:.0%} are there"),
        ("orders per minute", known.orders_this_minute < MAX_ORDERS_PER_MINUTE, f"{known.orders_this_minute} are sent"),
        ("MAX_ORDERS_PER_DAY", known.orders_today < limits.max_orders_per_day, f"{known.orders_today} are sent"),
        ("MAX_ENTRIES_PER_SYMBOL", known.entries < limits.max_entries_per_symbol, f"{known.entries} in this session"),
        ("tradable", known.tradable is True, "the broker does not say that it is"),
        ("loss limit", loss is None, str(loss)),
    )  # fmt: skip
    return next((f"{rule}: {words}" for rule, passed, words in rules if not passed), None)


def _from(quote: Quote) -> str:
    return "from no bar before" if math.isnan(quote.before) else f"from {quote.before:g}"


def _spike(quote: Quote) -> bool:
    """Whether the newest bar is far from the one before, or has none before it."""
    return not abs(quote.close - quote.before) <= MAX_SPIKE * quote.before


def untrusted(qty: int, most: int, *prices: float) -> str | None:
    """Why a quantity or a price of an order cannot be right, or None; `most` are the shares that it is about."""
    if not 0 < qty <= most:
        return f"quantity: {qty} of {most} shares"
    wrong = next((price for price in prices if not 0 < price < math.inf), None)
    return None if wrong is None else f"price: {wrong} USD"


@dataclass
class Gate:
    """The one way to the broker, for every order of every origin.

    Args: `say` tells a person what the market has against entries, when it changes; `leaves` is the minute in which an
    order would leave, which in a slow minute is later than the one it was decided in.
    """

    broker: Broker
    books: Books
    limits: Limits
    say: Callable[[str], object]
    leaves: Callable[[Order], int] = lambda order: order.minute
    _quotes: dict[str, Quote] = field(default_factory=dict)
    _market: str | None = None  # what the broker has against entries
    _asked: bool = False  # whether it was asked in this minute

    def see(self, bars: Iterable[PriceBar]) -> None:
        """A minute begins: take in its new bars, oldest first. Its number may have been before: clocks are set back."""
        self._asked = False
        for bar in bars:
            last = self._quotes.get(bar.symbol)
            if last is None or bar.minute > last.minute:
                self._quotes[bar.symbol] = Quote(bar.minute, bar.close, last.close if last else math.nan)

    def confirmed(self, symbol: str, price: float) -> bool:
        """Whether a price is near the newest bar, and that one near the bar before; without bars none is doubted."""
        quote = self._quotes.get(symbol)
        if quote is None:
            return True
        return abs(price - quote.close) <= MAX_SPIKE * quote.close and not _spike(quote)

    def submit(self, order: Order, close: datetime, write_down: Callable[[], None]) -> str | None:
        """Check an order, have it written down, hand it over; why it did not leave, or None.

        `close` ends the session; `write_down` brings the intent to disk, and an OSError of it keeps an entry back.
        """
        no = self._exit_refused(order) if order.side == "SELL" else self._entry_refused(order, close)
        if no is None:
            write_down()
            self.broker.submit(order)
        return no

    def _exit_refused(self, order: Order) -> str | None:
        held = self.broker.positions().get(order.symbol)
        return untrusted(order.qty, held.qty if held else 0)

    def _entry_refused(self, order: Order, close: datetime) -> str | None:
        # At least what was paid: one absurdly low price must not make room for more.
        worth = {symbol: p.qty * max(p.last_price, p.entry_price) for symbol, p in self.broker.positions().items()}
        for trade in self.books.live_trades().values():
            if trade.entering:  # what may still be bought counts as bought
                worth[trade.symbol] = max(worth.get(trade.symbol, 0.0), trade.qty_ordered * trade.price)
        for pending in self.broker.working_orders():
            if pending.side == "BUY":
                worth.setdefault(pending.symbol, pending.qty * pending.price)
        account, tradable = None, None
        market = self._against_entries(order.minute, close)
        if market is None:
            try:
                account, tradable = self.broker.account(), self.broker.tradable(order.symbol)
            except (Refused, Unreachable) as error:
                market = f"no answer that can be used ({error})"
                self._market = market  # nor will the minute's other entries wait for one
        books = self.books
        known = Known(
            account=account,
            worth=worth,
            quote=self._quotes.get(order.symbol),
            tradable=tradable,
            market=market,
            orders_this_minute=books.orders_in_minute(order.minute),
            orders_today=books.orders_on_day(order.minute),
            entries=books.entries_under(order.id),
            opening=books.opening_equity(order.minute),
            peak=books.peak_equity,
            minute=self.leaves(order),
        )
        return entry_refused(order, known, self.limits)

    def _against_entries(self, minute: int, close: datetime) -> str | None:
        """What the broker has against entries, asked once a minute and only when one is to be made; said once."""
        if not self._asked:
            before, self._asked = self._market, True
            try:
                self._market = self.broker.hindrance(close)
            except (Refused, Unreachable) as error:
                self._market = f"no answer that can be used ({error})"
            if self._market is not None and self._market != before:
                self.say(f"{self.books.local_time(minute)[:16]}  nothing is bought: {self._market}")
        return self._market

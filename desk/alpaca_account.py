"""What Alpaca says of one paper account, as values: orders, shares, money, and whether entries may be made at all."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrderByIdRequest, GetOrdersRequest

from alpaca_wire import Refused, Unreachable
from desk.alpaca_orders import MOST, Placed, placed
from desk.orders import Account

log = logging.getLogger(__name__)

ORDERS_PAGE = 500  # the most that Alpaca lists at once
MAX_SKEW_SECONDS = 30.0
_FLAGS = ("account_blocked", "trading_blocked", "trade_suspended_by_user")


class AlpacaAccount:
    """Reads through alpaca-py's TradingClient with `raw_data=True`.

    All methods raise Unreachable where there is no answer that can be used.
    """

    def __init__(self, trading: Any) -> None:
        self._trading = trading

    def orders(self, after: datetime, symbols: list[str] | None = None) -> list[Placed]:
        """All orders submitted after a time, ended ones too, with their legs, newest first."""
        rows: list[Placed] = []
        until = None
        while True:
            wanted = GetOrdersRequest(
                status=QueryOrderStatus.ALL, limit=ORDERS_PAGE, after=after, until=until, nested=True, symbols=symbols
            )
            page = self._trading.get_orders(wanted)
            if not isinstance(page, list):
                raise Unreachable(f"Alpaca's orders cannot be read ({type(page).__name__})")
            read = [order for order in map(_readable, page) if order is not None]
            rows += read
            if len(page) < ORDERS_PAGE:
                return rows
            if not read:
                raise Unreachable("not one of a page of Alpaca's orders can be read")
            if rows[-1].submitted == until:
                return rows
            until = rows[-1].submitted

    def order(self, order_id: str) -> Placed:
        """One order with its legs."""
        try:
            return placed(self._trading.get_order_by_id(order_id, GetOrderByIdRequest(nested=True)))
        except ValueError as error:  # alpaca-py sends nothing for an id that is none
            raise Unreachable(f"an order in Alpaca's reply has no usable id ({error})") from error

    def find(self, client_id: str) -> Placed | None:
        """An order with its legs by its client id, or None if Alpaca itself says that there is none."""
        try:
            return self.order(placed(self._trading.get_order_by_client_id(client_id)).id)
        except Refused as error:
            if error.not_found:
                return None
            raise

    def shares(self) -> dict[str, tuple[int, float]]:
        """Whole shares and newest price (0.0: not said) of everything in the account; short positions are negative."""
        try:
            rows = {str(raw["symbol"]): raw for raw in self._trading.get_all_positions()}
        except (KeyError, TypeError) as error:
            raise Unreachable(f"Alpaca's positions cannot be read ({type(error).__name__})") from error
        return {symbol: (int(amount(raw, "qty")), _price(raw)) for symbol, raw in rows.items()}

    def free_shares(self) -> dict[str, int]:
        """Shares by symbol that no open order holds."""
        try:
            return {str(raw["symbol"]): int(amount(raw, "qty_available")) for raw in self._trading.get_all_positions()}
        except (KeyError, TypeError) as error:
            raise Unreachable(f"Alpaca's positions cannot be read ({type(error).__name__})") from error

    def read(self) -> tuple[Account, str | None]:
        """Cash, equity, and what entries may spend (cash, never margin); and why it may not buy."""
        raw = self._trading.get_account()
        if not isinstance(raw, dict):
            raise Unreachable(f"Alpaca's account cannot be read ({type(raw).__name__})")
        limits = [amount(raw, name) for name in ("cash", "buying_power", "non_marginable_buying_power") if name in raw]
        money = Account(amount(raw, "cash"), amount(raw, "equity"), max(min(limits), 0.0))
        if raw.get("status") != "ACTIVE":
            return money, f"Alpaca says that the account's status is {raw.get('status')}"
        # What is not said counts as blocked.
        flag = next((flag for flag in _FLAGS if raw.get(flag) is not False), None)
        return money, None if flag is None else f"Alpaca says {flag}: {raw.get(flag)}"

    def tradable(self, symbol: str) -> bool:
        """Whether Alpaca says that a symbol is active and tradable; what is not said is not."""
        try:
            raw = self._trading.get_asset(symbol)
        except Refused as error:
            if error.status in (404, 422):
                return False
            raise
        return isinstance(raw, dict) and raw.get("tradable") is True and raw.get("status") == "active"

    def clock_problem(self, here: datetime, close: datetime) -> str | None:
        """Why no entry may be made now, or None; `here` is this machine's time, `close` the end of the session."""
        clock = self.clock()
        if abs(skew := (clock["timestamp"] - here).total_seconds()) > MAX_SKEW_SECONDS:
            return f"this machine's clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} Alpaca's; set it"
        if clock["is_open"] is not True:
            return "Alpaca says that the market is closed"
        if abs((clock["next_close"] - close).total_seconds()) > 60:
            ours = close.astimezone(clock["next_close"].tzinfo)
            return f"Alpaca closes at {clock['next_close']:%H:%M}, the exchange calendar here says {ours:%H:%M}"
        return None

    def clock(self) -> dict[str, Any]:
        """Alpaca's clock: `timestamp`, `next_open`, `next_close` as datetimes, `is_open`."""
        raw = self._trading.get_clock()
        try:
            times = {name: datetime.fromisoformat(raw[name]) for name in ("timestamp", "next_open", "next_close")}
            if any(time.tzinfo is None for time in times.values()):
                raise ValueError("a time without its zone")  # noqa: TRY301 - as unusable as one that is missing
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"Alpaca's clock cannot be read ({type(error).__name__})") from error
        return {**times, "is_open": raw.get("is_open")}


def _readable(raw: Any) -> Placed | None:
    """One order, or None where it cannot be read: nothing new of it, and the others are looked after."""
    try:
        return placed(raw)
    except Unreachable as error:
        if not isinstance(raw, dict):
            raise
        log.info("passed over: %s", error)
        return None


def _price(raw: Mapping[str, Any]) -> float:
    price = amount(raw, "current_price") if raw.get("current_price") is not None else 0.0
    if price < 0:
        raise Unreachable(f"Alpaca's answer has no usable current_price ({price})")
    return price


def amount(raw: Mapping[str, Any], name: str) -> float:
    """A number that Alpaca sends as text. Unreachable if it is missing or not finite: the answer is of no use."""
    try:
        value = float(raw[name])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Unreachable(f"Alpaca's answer has no usable {name} ({type(error).__name__})") from error
    if not abs(value) <= MOST:  # NaN neither
        raise Unreachable(f"Alpaca's answer has no usable {name} ({value})")
    return value

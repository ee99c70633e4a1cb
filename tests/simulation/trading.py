"""alpaca-py's TradingClient with `raw_data=True`, as desk/ calls it, on the simulated exchange; every call may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from alpaca_wire import KeysRefused, Refused, Unreachable
from market.hours import NEW_YORK
from tests.simulation.exchange import Exchange, refusal
from tests.simulation.faults import Faults
from tests.simulation.orders import NEVER, Resting, cents

T = TypeVar("T")


class Machine(Protocol):
    """What a request needs of the world around it."""

    faults: Faults

    def wait(self, seconds: float) -> None: ...
    def crash(self, words: str) -> None: ...
    def alive(self) -> None: ...
    def trace(self, words: str) -> None: ...
    def disturb(self, seconds: float) -> None: ...
    def submitting(self, request: Any) -> None: ...


class Wire:
    """What an AlpacaBroker needs of an AlpacaWire."""

    def __init__(self, trading: Trading, wait: Callable[[float], None]) -> None:
        self.trading, self.wait = trading, wait

    @contextmanager
    def urgently(self) -> Iterator[None]:
        yield


class Trading:
    """One account behind a way that loses requests and replies. Raises what alpaca_wire raises."""

    def __init__(self, exchange: Exchange, machine: Machine) -> None:
        self._exchange, self._machine, self._faults = exchange, machine, machine.faults
        self._random = self._faults.random
        self.away_until = self.stops_refused_until = 0.0
        self._block: tuple[float, float, str, Any] | None = None  # from and until when, flag, and what it says

    def heal(self) -> None:
        """All that lasts is over."""
        self.away_until = self.stops_refused_until = self._exchange.lag_until = 0.0
        self._block = None
        for order in self._exchange.orders:
            order.listed_at = 0.0

    def _call(self, what: str, act: Callable[[], T], *, writes: bool = False) -> T:
        machine, fires = self._machine, self._faults.fires
        machine.alive()
        if fires("crash before a request"):
            machine.crash(f"before {what}")
        if fires("broker away for minutes"):
            self.away_until = self._exchange.now + self._random.uniform(30, 600)
            machine.disturb(self.away_until - self._exchange.now)
        if self._exchange.now < self.away_until:
            machine.wait(5.0)
            raise self._lost(what, "no answer (ConnectTimeout)")
        if fires("no answer, nothing booked"):
            machine.wait(self._random.uniform(0, 25))
            raise self._lost(what, "no answer (ReadTimeout)")
        if fires("keys refused"):
            machine.trace(f"{what} -> 401")
            raise KeysRefused(f"Alpaca refused the keys ({what}: 401)")
        if fires("too many requests"):
            if writes:
                self._machine.trace(f"{what} -> 429")
                raise Refused(429, {}, f"{what}: 429, too many requests")
            raise self._lost(what, "429")
        try:
            answer = act()
        except Refused as error:
            machine.trace(f"{what} -> {error}")
            raise
        machine.trace(f"{what} -> ok")
        if fires("crash after a request"):
            machine.crash(f"after {what}")
        if fires("no answer, but booked"):
            machine.wait(self._random.uniform(0, 25))
            raise self._lost(what, "no answer (ReadTimeout)")
        return answer

    def _lost(self, what: str, words: str) -> Unreachable:
        self._machine.trace(f"{what} -> {words}")
        return Unreachable(f"{what}: {words}")

    # --- orders ------------------------------------------------------------------------------------------------------

    def submit_order(self, request: Any) -> dict[str, Any]:
        return self._call(f"submit {request.client_order_id} {request.qty}", lambda: self._submit(request), writes=True)

    def _submit(self, request: Any) -> dict[str, Any]:
        exchange, fires, random = self._exchange, self._faults.fires, self._random
        oco = request.order_class is not None and request.order_class.value == "oco"
        self._machine.submitting(request)
        if oco and fires("stop refused"):
            self.stops_refused_until = exchange.now + random.uniform(1, 240)
            self._machine.disturb(self.stops_refused_until - exchange.now)
        if oco and exchange.now < self.stops_refused_until:
            raise refusal(403, 40310000, "stops are not accepted for this asset")
        if not oco and fires("order refused"):
            raise refusal(403, 40310000, "asset is not active")
        if not oco and fires("taken for a wash trade"):
            raise refusal(403, 40310000, "potential wash trade detected. use complex orders", existing_order_id="1")
        order = exchange.submit(request)
        order.fill_at = exchange.now + 0.3
        if not oco:
            self._trouble_fill(order)
        if fires("order not listed for a while"):
            order.listed_at = exchange.now + random.uniform(1, 8)
            self._machine.disturb(8)
        exchange.advance(exchange.now)
        if fires("duplicate id in disguise"):  # a gateway sent the request twice, and tells of the second
            raise refusal(422, 40010001, "client_order_id must be unique")
        return order.raw()

    def _trouble_fill(self, order: Resting) -> None:
        fires, random, now = self._faults.fires, self._random, self._exchange.now
        if fires("order rejected later"):
            order.reject_at, order.fill_at = now + random.uniform(0.5, 5), NEVER
        if fires("slow fill"):
            order.fill_at += random.uniform(5, 500)
            if order.side == "sell":
                self._machine.disturb(500)
        if order.qty > 1 and fires("partial fill, rest later"):
            order.first_part = random.randint(1, order.qty - 1)
            order.rest_at = order.fill_at + random.uniform(0.5, 200)
        if order.qty > 1 and fires("partial fill, rest never"):
            order.first_part, order.rest_at = random.randint(1, order.qty - 1), NEVER

    def cancel_order_by_id(self, order_id: str) -> None:
        def act() -> None:
            lag = self._random.uniform(0.5, 20) if self._faults.fires("cancel takes its time") else 0.0
            self._machine.disturb(lag)
            self._exchange.cancel(self._found(order_id), lag, meets_fill=self._faults.fires("cancel meets a fill"))

        self._call(f"cancel {order_id}", act, writes=True)

    def replace_order_by_id(self, order_id: str, request: Any) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            old = self._found(order_id)
            if self._faults.fires("replacement refused"):
                raise refusal(422, 42210000, "order cannot be replaced")
            new = self._exchange.replace(old, cents(request.limit_price), cents(request.stop_price))
            self._exchange.advance(self._exchange.now)
            return new.raw()

        return self._call(f"replace {order_id}", act, writes=True)

    def _found(self, order_id: str) -> Resting:
        order = self._exchange.by_id.get(order_id)
        if order is None:
            raise refusal(404, 40410000, f"order not found for {order_id}")
        return order

    def get_orders(self, wanted: Any) -> list[dict[str, Any]]:
        def act() -> list[dict[str, Any]]:
            after, now = wanted.after.timestamp(), self._exchange.now
            rows = []
            for order in reversed(self._exchange.orders):
                if order.submitted <= after:
                    break
                if order.listed_at <= now and (wanted.symbols is None or order.symbol in wanted.symbols):
                    rows.append(order.raw())
            if rows and rows[0]["status"] in ("new", "accepted") and self._faults.fires("order of an unknown state"):
                rows[0] = rows[0] | {"status": "held_for_review"}
            return rows

        return self._call("orders", act)

    def get_order_by_id(self, order_id: str, _: Any) -> dict[str, Any]:
        return self._call(f"order {order_id}", lambda: self._found(order_id).raw())

    def get_order_by_client_id(self, client_id: str) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            order = self._exchange.by_client_id.get(client_id)
            if order is None or order.listed_at > self._exchange.now:
                raise refusal(404, 40410000, f"order not found for {client_id}")
            return order.raw()

        return self._call(f"order {client_id}", act)

    # --- the account -------------------------------------------------------------------------------------------------

    def get_all_positions(self) -> list[dict[str, Any]]:
        def act() -> list[dict[str, Any]]:
            if self._faults.fires("positions empty once"):
                return []
            exchange, prices = self._exchange, self._exchange.prices
            return [
                {
                    "symbol": symbol,
                    "qty": str(qty),
                    "qty_available": str(max(qty - exchange.reserved(symbol), 0)),
                    "current_price": f"{prices[symbol] / 100:.2f}",
                }
                for symbol, qty in exchange.shown_shares().items()
                if qty
            ]

        return self._call("positions", act)

    def get_account(self) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            exchange = self._exchange
            account: dict[str, Any] = {
                "status": "ACTIVE",
                "cash": f"{exchange.cash / 100:.2f}",
                "equity": f"{exchange.equity / 100:.2f}",
                "last_equity": f"{exchange.first_cash / 100:.2f}",
                "buying_power": f"{2 * exchange.buying_power / 100:.2f}",
                "non_marginable_buying_power": f"{exchange.buying_power / 100:.2f}",
                "trading_blocked": False,
                "account_blocked": False,
                "trade_suspended_by_user": False,
            }
            self._fire_block()
            if self._blocked_now() and self._block is not None:
                _, _, flag, value = self._block
                account[flag] = value
                if value == "":
                    del account[flag]
            if self._faults.fires("account is nonsense"):
                account[self._random.choice(("cash", "equity"))] = self._random.choice((None, "abc", "NaN", "1e999"))
            return account

        return self._call("account", act)

    def _fire_block(self) -> None:
        for kind, values in (("account blocked", (True,)), ("account does not say whether it is blocked", (None, ""))):
            if self._faults.fires(kind) and not self._blocked_now():
                flag = self._random.choice(("trading_blocked", "account_blocked", "trade_suspended_by_user"))
                now, seconds = self._exchange.now, self._random.uniform(1, 900)
                self._block = now, now + seconds, flag, self._random.choice(values)

    def _blocked_now(self) -> bool:
        return self._block is not None and self._exchange.now < self._block[1]

    def blocked_since(self, when: float) -> bool:
        """Whether the account has not said since then that it may buy."""
        return self._blocked_now() and self._block is not None and self._block[0] < when

    def get_clock(self) -> dict[str, Any]:
        def act() -> dict[str, Any]:
            now, market, fires = self._exchange.now, self._exchange.market, self._faults.fires
            close = market.next_close(now) - (10_800 if fires("broker closes early") else 0)
            there = now + (self._random.choice((-600, 45, 600)) if fires("broker's clock is off") else 0)
            return {
                "timestamp": _new_york(there),
                "is_open": market.is_open(now) and not fires("broker's clock says closed"),
                "next_open": _new_york(market.next_open(now)),
                "next_close": _new_york(close),
            }

        return self._call("clock", act)

    def get_asset(self, symbol: str) -> dict[str, Any]:
        return self._call(f"asset {symbol}", lambda: {"symbol": symbol, "status": "active", "tradable": True})


def _new_york(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).astimezone(NEW_YORK).isoformat()

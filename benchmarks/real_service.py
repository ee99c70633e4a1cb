"""What only the real service can tell, settled in ten minutes with a paper account's keys in .env.

    python -m benchmarks.real_service                    bars, most-active list; any time, also before the open
    python -m benchmarks.real_service --buy F            also a bracket of one share of F, bought and sold; in session
    python -m benchmarks.real_service --flood            also what a 429 looks like; uses up a minute's requests

Prints a table to keep or to paste into an issue. The share that it buys is sold again whatever happens in between, and
a symbol in which anything is held is refused.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrdersRequest, ReplaceOrderRequest
from rich.console import Console
from rich.table import Table

from alpaca_wire import AlpacaError, AlpacaWire, Refused
from config import BadSetting, Settings, load_settings
from desk.alpaca_account import AlpacaAccount
from desk.alpaca_orders import Placed, bracket, market_sale, placed
from desk.orders import Order
from market.clock import utc_now, wait
from sources import open_wire

Row = tuple[str, str]
LIQUID = "SPY"
POLLS_SECONDS = 12  # how long after a minute's end its bar is waited for
SETTLED_SECONDS = 40  # after which a bar is not restated any more
FILL_SECONDS, FREE_SECONDS = 15, 30
FLOOD_REQUESTS = 260


class Probe:
    """The questions. `now` and `wait` (seconds) are the machine's, or a test's own."""

    def __init__(
        self,
        settings: Settings,
        wire: AlpacaWire,
        now: Callable[[], datetime] = utc_now,
        wait: Callable[[float], object] = wait,
    ) -> None:
        self._feed, self._wire, self._trading = settings.FEED, wire, wire.trading
        self._account = AlpacaAccount(wire.trading)
        self._now, self._wait = now, wait

    # --- bars and the active list -------------------------------------------------------------------------------------

    def market(self) -> Iterator[Row]:
        """When a minute's bar appears, whether it is restated, and how old the most-active list is."""
        minute = self._now().replace(second=0, microsecond=0)
        self._wait((minute + timedelta(minutes=1) - self._now()).total_seconds())
        first = self._bar(minute)
        while first is None and self._now() < minute + timedelta(minutes=1, seconds=POLLS_SECONDS):
            self._wait(1.0)
            first = self._bar(minute)
        late = (self._now() - minute).total_seconds() - 60
        if first is None:
            yield "bar of the last minute", f"not there after {late:.0f} s (market closed, or no trade on this feed)"
        else:
            yield "bar of the last minute", f"there {late:.1f} s after its end"
            self._wait(SETTLED_SECONDS - late)
            again = self._bar(minute)
            changed = [name for name in "ohlcv" if again is not None and again.get(name) != first.get(name)]
            yield (
                f"the same bar {SETTLED_SECONDS} s later",
                f"restated: {', '.join(changed)}" if changed else "the same",
            )
        reply = self._wire.screener.get("/screener/stocks/most-actives", {"by": "volume", "top": 100})
        yield "most-active list", f"{len(reply['most_actives'])} symbols, last updated {reply['last_updated']}"

    def _bar(self, minute: datetime) -> dict[str, Any] | None:
        query = {"symbols": LIQUID, "timeframe": "1Min", "start": minute.isoformat(), "feed": self._feed}
        bars = self._wire.data.get("/stocks/bars", {**query, "end": minute.isoformat()}).get("bars") or {}
        return next(iter(bars.get(LIQUID, ())), None)

    # --- one share ----------------------------------------------------------------------------------------------------

    def orders(self, symbol: str) -> Iterator[Row]:
        """A bracket of one share: its fill, its legs, its end. The share is sold in any case."""
        if symbol in self._account.shares() or any(row.live for row in self._account.orders(self._day_ago, [symbol])):
            raise BadSetting(f"--buy {symbol}: shares or orders of it are in the account; name another symbol")
        price = float(self._wire.data.get("/stocks/trades/latest", {"symbols": symbol})["trades"][symbol]["p"])
        name = f"probe-{self._now():%Y%m%d%H%M%S}"
        order = Order(f"{name}-buy", symbol, "BUY", 1, price, 0, None, 0.02, 0.04)
        try:
            yield from self._bracket(order, name)
        finally:
            self._leave_flat(symbol, name)
        yield "account afterwards", f"{self._account.shares().get(symbol, (0, 0.0))[0]} shares of {symbol}"

    def _bracket(self, order: Order, name: str) -> Iterator[Row]:
        started = self._now()
        answer = placed(self._trading.submit_order(bracket(order, order.price)))
        yield "answer to the bracket", f"status {answer.status}, {len(answer.legs)} legs"
        yield "the same client_order_id again", self._refusal(lambda: self._trading.submit_order(bracket(order, 1.0)))
        entry = self._until(lambda: self._account.order(answer.id), lambda o: not o.live, FILL_SECONDS)
        yield "entry", f"{entry.status} after {self._since(started)}; legs {', '.join(o.status for o in entry.legs)}"
        shares = self._until(self._account.shares, lambda held: order.symbol in held, FILL_SECONDS)
        yield "position", f"{'shown' if order.symbol in shares else 'not shown'} after {self._since(started)}"
        wanted = GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True, symbols=[order.symbol])
        rows = [placed(raw) for raw in self._trading.get_orders(wanted)]
        shown = ", ".join(f"{row.kind} {row.status} with {len(row.legs)} legs" for row in rows) or "nothing"
        yield "status=open&nested=true after the fill", shown
        sale = market_sale(f"{name}-early", order.symbol, 1)
        yield "a sale while the legs stand", self._refusal(lambda: self._trading.submit_order(sale))
        for leg in entry.legs:
            lower = round((leg.stop or leg.limit or 0.0) * (0.99 if leg.stop else 1.01), 2)
            change = ReplaceOrderRequest(stop_price=lower) if leg.stop else ReplaceOrderRequest(limit_price=lower)
            yield f"replace the {leg.status} {leg.kind} leg", self._refusal(lambda leg=leg, change=change: (
                self._trading.replace_order_by_id(leg.id, change)
            ))  # fmt: skip
        started = self._now()
        for row in self._living(order.symbol):
            yield (
                f"cancel the {row.status} {row.kind}",
                self._refusal(lambda row=row: self._trading.cancel_order_by_id(row.id)),
            )
        self._until(lambda: self._living(order.symbol), lambda rows: not rows, FREE_SECONDS)
        yield "legs gone", f"after {self._since(started)}"
        free = self._until(lambda: self._account.free_shares(order.symbol), lambda count: count >= 1, FREE_SECONDS)
        yield "shares free", f"{free} after {self._since(started)}"

    def _leave_flat(self, symbol: str, name: str) -> None:
        self._until(lambda: self._cancel_all(symbol), lambda living: not living, FREE_SECONDS)
        rows = self._account.orders(self._day_ago, [symbol])
        ours = [order for row in rows if row.client_id.startswith(name) for order in row.family]
        held = sum(order.filled if order.side == "buy" else -order.filled for order in ours)
        if held > 0:
            self._until(lambda: self._account.free_shares(symbol), lambda free: free >= held, FREE_SECONDS)
            self._trading.submit_order(market_sale(f"{name}-end", symbol, held))
            self._until(self._account.shares, lambda shares: symbol not in shares, FILL_SECONDS)

    def _cancel_all(self, symbol: str) -> list[Placed]:
        """Ask for the end of what lives: an entry that fills meanwhile brings legs to life, so ask until none does."""
        living = self._living(symbol)
        for order in living:
            self._refusal(lambda order=order: self._trading.cancel_order_by_id(order.id))
        return living

    def _living(self, symbol: str) -> list[Placed]:
        rows = self._account.orders(self._day_ago, [symbol])
        return [order for row in rows for order in row.family if order.live]

    @property
    def _day_ago(self) -> datetime:
        return self._now() - timedelta(days=1)

    def _until(self, ask: Callable[[], Any], done: Callable[[Any], bool], seconds: float) -> Any:
        """Ask every half second until the answer will do, or the time is over; the last answer."""
        end = self._now() + timedelta(seconds=seconds)
        answer = ask()
        while not done(answer) and self._now() < end:
            self._wait(0.5)
            answer = ask()
        return answer

    def _since(self, start: datetime) -> str:
        return f"{(self._now() - start).total_seconds():.1f} s"

    def _refusal(self, ask: Callable[[], Any]) -> str:
        try:
            ask()
        except Refused as error:
            return f"{error.status} {error.code} {error.message}; also {', '.join(error.extras) or 'nothing'}"
        return "accepted"

    # --- too many requests --------------------------------------------------------------------------------------------

    def flood(self) -> Iterator[Row]:
        """What the service answers beyond its requests a minute."""
        for sent in range(1, FLOOD_REQUESTS):
            try:
                self._trading.get_clock()
            except Refused as error:
                yield "beyond the limit", f"request {sent}: {error.status} {error.code} {error.message}"
                return
        yield "beyond the limit", f"no refusal in {FLOOD_REQUESTS} requests"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buy", metavar="SYMBOL", help="buy and sell one share of it")
    parser.add_argument("--flood", action="store_true", help="use up a minute's requests")
    arguments = parser.parse_args(argv)
    console = Console()
    table = Table("question", "finding", title=f"Alpaca, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", title_justify="left")
    try:
        settings = load_settings()
        probe = Probe(settings, open_wire(settings))
        for row in probe.market():
            table.add_row(*row)
        if arguments.buy:
            for row in probe.orders(arguments.buy.upper()):
                table.add_row(*row)
        if arguments.flood:
            impatient = open_wire(settings, lambda seconds: None, lambda: time.monotonic() * 1e6, read_tries=1)
            for row in Probe(settings, impatient).flood():
                table.add_row(*row)
    except (AlpacaError, BadSetting) as error:
        console.print(str(error), markup=False)
        return 2
    finally:
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

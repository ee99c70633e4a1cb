"""What only the real service can tell, settled in ten minutes with a paper account's keys in .env.

    python -m benchmarks.real_service                    bars, most-active list; any time, also before the open
    python -m benchmarks.real_service --buy F            also a bracket of one share of F, bought and sold; in session
    python -m benchmarks.real_service --flood            also what a 429 looks like; uses up a minute's requests

Prints a table to keep or to paste into an issue. The share that it buys is sold again whatever happens in between
(Ctrl-C too: give it the seconds that it needs), and a symbol in which anything is held is refused.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import requests
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrdersRequest, ReplaceOrderRequest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alpaca_wire import AlpacaError, AlpacaWire, Refused, Unreachable
from command import EXIT_CODES
from config import BadSetting, Settings, load_settings
from desk.alpaca_account import AlpacaAccount
from desk.alpaca_orders import Placed, bracket, exits_of, market_sale, placed
from desk.orders import Order
from market.clock import utc_now, wait
from sources import open_wire

Row = tuple[str, str]
LIQUID = "SPY"
POLLS_SECONDS = 12  # how long after a minute's end its bar is waited for
SETTLED_SECONDS = 40  # after which a bar is not restated any more
FILL_SECONDS, FREE_SECONDS = 15, 30
SHOWN_SECONDS, LEAVE_SECONDS = 10, 180  # for a lost order to be shown; for the account to be left flat
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
        self._settings, self._feed, self._wire, self._trading = settings, settings.FEED, wire, wire.trading
        self._account = AlpacaAccount(wire.trading)
        self._now, self._wait = now, wait
        self._sale_sent: datetime | None = None

    # --- bars and the active list -------------------------------------------------------------------------------------

    def market(self) -> Iterator[Row]:
        """When a minute's bar appears, whether it is restated, and how old the most-active list is."""
        minute = self._now().replace(second=0, microsecond=0)
        self._wait((minute + timedelta(minutes=1) - self._now()).total_seconds())
        end = minute + timedelta(minutes=1)
        first, late, latest = None, 0.0, ""
        while (first is None or not latest) and self._now() < end + timedelta(seconds=POLLS_SECONDS):
            if first is None and (first := self._bar(minute)) is not None:
                late = (self._now() - end).total_seconds()
            if not latest and self._latest_is(minute):
                latest = f"there {self._since(end)} after its end"
            self._wait(1.0)
        if first is None:
            words = f"not there after {POLLS_SECONDS} s (market closed, or no trade on this feed)"
            yield "bar of the last minute", words
        else:
            yield "bar of the last minute", f"there {late:.1f} s after its end"
            yield "the same from bars/latest", latest or f"not there after {POLLS_SECONDS} s"
            self._wait(max(SETTLED_SECONDS - (self._now() - end).total_seconds(), 0.0))
            again = self._bar(minute)
            changed = [name for name in "ohlcv" if again is not None and again.get(name) != first.get(name)]
            words = f"restated: {', '.join(changed)}" if changed else "the same"
            yield f"the same bar {SETTLED_SECONDS} s later", words
        reply = self._wire.screener.get("/screener/stocks/most-actives", {"by": "volume", "top": 100})
        words = f"{len(reply.get('most_actives') or ())} symbols, last updated {reply.get('last_updated')}"
        yield "most-active list", f"{words}; asked at {self._now():%H:%M:%S} UTC"

    def _bar(self, minute: datetime) -> dict[str, Any] | None:
        query = {"symbols": LIQUID, "timeframe": "1Min", "start": minute.isoformat(), "feed": self._feed}
        bars = self._wire.data.get("/stocks/bars", {**query, "end": minute.isoformat()}).get("bars") or {}
        return next(iter(bars.get(LIQUID, ())), None)

    def _latest_is(self, minute: datetime) -> bool:
        reply = self._wire.data.get("/stocks/bars/latest", {"symbols": LIQUID, "feed": self._feed})
        newest = (reply.get("bars") or {}).get(LIQUID)
        return newest is not None and datetime.fromisoformat(newest["t"]) == minute

    # --- one share ----------------------------------------------------------------------------------------------------

    def orders(self, symbol: str) -> Iterator[Row]:
        """A bracket of one share: its fill, its legs, its end. The share is sold in any case."""
        if symbol in self._account.shares() or any(row.live for row in self._account.orders(self._day_ago, [symbol])):
            raise BadSetting(f"--buy {symbol}: shares or orders of it are in the account; name another symbol")
        if self._account.clock()["is_open"] is not True:
            raise BadSetting("--buy: the market is closed, so nothing would fill; run it in the session")
        reply = self._wire.data.get("/stocks/trades/latest", {"symbols": symbol, "feed": self._feed})
        trade = (reply.get("trades") or {}).get(symbol)
        if trade is None:
            raise BadSetting(f"--buy {symbol}: no trade of it on feed {self._feed}; name a liquid symbol")
        name = f"probe-{self._now():%Y%m%d%H%M%S}"
        order = Order(f"{name}-buy", symbol, "BUY", 1, float(trade["p"]), 0, None, 0.02, 0.04)
        try:
            yield from self._bracket(order, name)
        finally:
            rows = self._leave_flat(symbol, name)
        yield from rows

    def _bracket(self, order: Order, name: str) -> Iterator[Row]:
        started = self._now()
        answer = placed(self._trading.submit_order(bracket(order, order.price)))
        yield "answer to the bracket", f"status {answer.status}, {len(answer.legs)} legs, after {self._since(started)}"
        yield "the same client_order_id again", self._refusal(lambda: self._trading.submit_order(bracket(order, 1.0)))
        entry = self._until(lambda: self._account.order(answer.id), lambda o: not o.live, FILL_SECONDS)
        yield "entry", f"{entry.status} after {self._since(started)}; legs {', '.join(o.status for o in entry.legs)}"
        if entry.status != "filled":
            return  # a sale now would open a short position
        shares = self._until(self._account.shares, lambda held: order.symbol in held, FILL_SECONDS)
        yield "position", f"{'shown' if order.symbol in shares else 'not shown'} after {self._since(started)}"
        wanted = GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True, symbols=[order.symbol])
        rows = [placed(raw) for raw in self._trading.get_orders(wanted)]
        shown = ", ".join(f"{row.kind} {row.status} with {len(row.legs)} legs" for row in rows) or "nothing"
        yield "status=open&nested=true after the fill", shown
        for leg in entry.legs:
            lower = round((leg.stop or leg.limit or 0.0) * (0.99 if leg.stop else 1.01), 2)
            change = ReplaceOrderRequest(stop_price=lower) if leg.stop else ReplaceOrderRequest(limit_price=lower)
            yield (
                f"replace the {leg.status} {leg.kind} leg",
                self._refusal(lambda leg=leg, change=change: self._trading.replace_order_by_id(leg.id, change)),
            )
        sale = market_sale(f"{name}-early", order.symbol, 1)
        yield "a sale while the legs stand", self._refusal(lambda: self._trading.submit_order(sale))
        started = self._now()
        for row in self._living(order.symbol, name):
            yield (
                f"cancel the {row.status} {row.kind}",
                self._refusal(lambda row=row: self._trading.cancel_order_by_id(row.id)),
            )
        left = self._until(lambda: self._living(order.symbol, name), lambda rows: not rows, FREE_SECONDS)
        yield (
            "legs gone",
            f"{len(left)} still there after {self._since(started)}" if left else f"after {self._since(started)}",
        )
        free = self._until(
            lambda: self._account.free_shares().get(order.symbol, 0), lambda count: count >= 1, FREE_SECONDS
        )
        yield "shares free", f"{free} after {self._since(started)}"

    def _leave_flat(self, symbol: str, name: str) -> list[Row]:
        """Cancel and sell what is ours until nothing of it is left, whatever goes wrong on the way; how it ended.

        Raises Unreachable, naming the cure, if that does not come about in LEAVE_SECONDS.
        """
        started, pause, trouble = self._now(), 0.0, ""
        while (past := (self._now() - started).total_seconds()) < LEAVE_SECONDS:
            try:
                self._wait(pause)
                pause = 0.5
                ours = self._ours(symbol, name)
                living = [order for order in ours if order.live]
                held = sum(order.filled if order.side == "buy" else -order.filled for order in ours)
                if not living and held <= 0 and (ours or past > SHOWN_SECONDS):
                    return self._ended(symbol)
                self._wind_up(symbol, name, ours, held)
            except (Refused, Unreachable) as error:
                trouble = f" ({error})"
            except KeyboardInterrupt:
                trouble = " (interrupted again, and not heeded)"
        raise Unreachable(
            f"it is not known whether the share of {symbol} is sold{trouble}: look at the account at Alpaca, cancel "
            f"the orders {name}-... and sell the share by hand"
        )

    def _wind_up(self, symbol: str, name: str, ours: Sequence[Placed], held: int) -> None:
        """One step towards nothing: cancel what lives, then sell. A sale that lives is left to fill."""
        sales = [order for order in ours if order.client_id.startswith(f"{name}-end")]
        living = [order for order in ours if order.live]
        for order in living:
            if order not in sales:
                self._refusal(lambda order=order: self._trading.cancel_order_by_id(order.id))
        if held > 0 and not living and self._account.free_shares().get(symbol, 0) >= held:
            # The same id until that sale has ended: one whose answer was lost is not booked twice.
            self._sale_sent = self._sale_sent or self._now()
            self._trading.submit_order(market_sale(f"{name}-end{len(sales)}", symbol, held))

    def _ended(self, symbol: str) -> list[Row]:
        sold = [("the sale", f"filled after {self._since(self._sale_sent)}")] if self._sale_sent else []
        shares = self._until(self._account.shares, lambda held: symbol not in held, FILL_SECONDS)
        return [*sold, ("account afterwards", f"{shares.get(symbol, (0, 0.0))[0]} shares of {symbol}")]

    def _ours(self, symbol: str, name: str) -> list[Placed]:
        """The entry, its legs, what replaced them, and the sales."""
        rows = self._account.orders(self._day_ago, [symbol])
        return [*(row for row in rows if row.client_id == f"{name}-buy"), *exits_of(name, rows)]

    def _living(self, symbol: str, name: str) -> list[Placed]:
        return [order for order in self._ours(symbol, name) if order.live]

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
        """What the service answers beyond its requests a minute, headers included."""
        for sent in range(1, FLOOD_REQUESTS + 1):
            try:
                self._trading.get_clock()
            except AlpacaError as error:
                yield "beyond the limit", f"request {sent}: {error}"
                break
        else:
            yield "beyond the limit", f"no refusal in {FLOOD_REQUESTS} requests"
        # Past the wire, which keeps neither headers nor a body that is no JSON. The host is one that config.py allows.
        raw = requests.get(
            f"{self._settings.ALPACA_TRADING_URL}/v2/clock",
            headers={
                "APCA-API-KEY-ID": self._settings.ALPACA_API_KEY,
                "APCA-API-SECRET-KEY": self._settings.ALPACA_SECRET_KEY,
            },
            timeout=10,
            allow_redirects=False,
        )
        yield "its body", f"{raw.status_code} {raw.headers.get('Content-Type')}: {raw.text[:200]}"
        limits = [
            f"{key}: {value}" for key, value in raw.headers.items() if "limit" in key.lower() or key == "Retry-After"
        ]
        yield "its headers", "; ".join(limits) or "none that tell of limits"


def main(
    argv: Sequence[str] | None = None,
    now: Callable[[], datetime] = utc_now,
    wait: Callable[[float], object] = wait,
) -> int:
    """Print the table, also what is known of it when something ends it early."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buy", metavar="SYMBOL", help="buy and sell one share of it")
    parser.add_argument("--flood", action="store_true", help="use up a minute's requests")
    arguments = parser.parse_args(argv)
    console = Console()
    table = Table("question", "finding", title=f"Alpaca, {now():%Y-%m-%d %H:%M} UTC", title_justify="left")
    try:
        settings = load_settings()
        probe = Probe(settings, open_wire(settings, wait), now, wait)
        parts = [probe.market()]
        if arguments.buy:
            parts.append(probe.orders(arguments.buy.upper()))
        if arguments.flood:
            impatient = open_wire(settings, lambda seconds: None, lambda: time.monotonic() * 1e6, read_tries=1)
            parts.append(Probe(settings, impatient, now, wait).flood())
        for part in parts:
            with closing(part), console.status("asking Alpaca; each part takes a minute or two"):
                for row in part:
                    table.add_row(*(escape(text) for text in row))
    except (AlpacaError, BadSetting) as error:
        console.print(str(error), markup=False)
        return EXIT_CODES[type(error)]
    except requests.RequestException as error:
        console.print(f"no answer ({type(error).__name__})")
        return EXIT_CODES[Unreachable]
    except KeyboardInterrupt:
        console.print("interrupted; nothing that was bought is left")
        return 130
    finally:
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

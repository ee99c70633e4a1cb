"""What must hold, whatever failed. Each oracle raises a Violation that says what does not."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from desk.journal import read_events
from durable import to_json
from market.hours import epoch_minute
from trader import LiveTrader

if TYPE_CHECKING:
    from tests.simulation.exchange import Exchange
    from tests.simulation.world import World

NEW_YORK = ZoneInfo("America/New_York")  # and not by market.hours, whose word is on trial here
SLACK = 1.06  # prices move between the bar that was decided on and the fill
EXPECTED_FAILURES = {"Unreachable", "Refused", "FeedUnavailable", "OSError", "FileNotFoundError", "PermissionError"}
ENTRY_ID = re.compile(r"\d+-\d{8}-[A-Z]+-buy-\d+")
BARE_MINUTES = 2  # clean minutes at whose end a position may not be without a stop
TICKS_TO_AGREE, TICKS_AFTER_A_PERSON = 3, 7


class Violation(BaseException):  # passes every handler of the program
    """Something was lost, doubled, unprotected or untrue."""


# --- before an order leaves ------------------------------------------------------------------------------------------


def may_leave(world: World, request: Any) -> None:
    """An order arrives at the exchange: was it written down, is it the only one, is it within the limits?"""
    exchange, settings, symbol = world.exchange, world.settings, request.symbol
    client_id = request.client_order_id
    if client_id is None:
        raise Violation(f"an order of {symbol} without a client id")
    if client_id in exchange.by_client_id:
        world.seen["an order sent twice"] += 1
        return
    if request.side.value == "sell":
        world.seen["stop put back" if "-arm-" in client_id else "sold by us"] += 1
        return
    if not ENTRY_ID.fullmatch(client_id):
        raise Violation(f"{client_id} is no entry's id")
    if client_id not in world.witness.intents:
        raise Violation(f"{client_id} leaves before its intent is on disk")
    if _halted_before_this_minute(world):
        raise Violation(f"{client_id} leaves although a person has halted")
    if world.halted or world.witness.halted:
        raise Violation(f"{client_id} leaves although the books are halted")
    if world.trading.blocked_since(world.tick_began):
        raise Violation(f"{client_id} leaves although the account does not say that it may buy")
    worth = {s: qty * exchange.prices[s] for s, qty in exchange.ours.items() if qty > 0}
    for order in exchange.live.values():
        if order.side == "buy" and not order.by_person:
            worth[order.symbol] = worth.get(order.symbol, 0) + order.left * exchange.prices[order.symbol]
    if symbol in worth:
        raise Violation(f"{client_id} leaves although {symbol} is held or on its way")
    if len(worth) >= settings.MAX_OPEN_POSITIONS:
        raise Violation(f"{client_id} leaves as number {len(worth) + 1}")
    if request.qty > settings.MAX_POSITION_SIZE:
        raise Violation(f"{client_id} of {request.qty} shares")
    own = request.qty * exchange.prices[symbol]
    if own > SLACK * settings.MAX_POSITION_PCT * exchange.equity:
        raise Violation(f"{client_id} is worth {own / 100:.2f} of {exchange.equity / 100:.2f} USD")
    if (total := own + sum(worth.values())) > SLACK * settings.MAX_EXPOSURE_PCT * exchange.equity:
        raise Violation(f"with {client_id} {total / 100:.2f} of {exchange.equity / 100:.2f} USD are at stake")
    world.seen["bought by us"] += 1


def _halted_before_this_minute(world: World) -> bool:
    return world.person.halted_since is not None and world.person.halted_since < world.tick_began


def no_bug(words: str) -> None:
    """What the scheduler caught is trouble from outside, and not a mistake of the program's own."""
    found = re.search(r" failed: (\w+): ", words)
    if found and found[1] not in EXPECTED_FAILURES:
        raise Violation(f"a duty raised what no fault raises: {words}")


# --- duties ----------------------------------------------------------------------------------------------------------


@contextmanager
def duties_in_time(world: World, trader: LiveTrader, now: datetime) -> Iterator[None]:
    """What a tick at `now` does is due by New York's clock, and whatever fails, a session's minute is traded."""
    before, traded = set(trader.books.duties), list[datetime]()
    trade = trader.minute

    def minute(at: datetime) -> None:
        traded.append(at)
        trade(at)

    trader.minute = minute  # type: ignore[method-assign]
    yield
    del trader.minute  # the class's own again
    here = now.astimezone(NEW_YORK)
    today, time = f"{here:%Y-%m-%d}", f"{here:%H:%M}"
    for duty, day in trader.books.duties.keys() - before:
        in_time = (
            day == today and "04:00" <= time < "09:30"
            if duty == "rebalance"
            else (day == today and time >= "20:00") or day < today
        )
        if not in_time:
            raise Violation(f"{duty} of {day} at {here:%F %H:%M}, New York's time")
    if any(s.open <= now <= s.close for s in world.timeline.sessions) and not traded:
        raise Violation("the market is open, and the minute is not traded")


# --- after each minute -----------------------------------------------------------------------------------------------


class Watch:
    """Oracles that remember the minute before."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fills, self._cash, self._shares = 0, world.exchange.first_cash, Counter[str]()
        self._bare: dict[str, set[int]] = {}  # by symbol the clean minutes, in a row, at whose end a stop was missing
        self._halted_ticks = 0

    def after_tick(self, trader: LiveTrader, now: datetime, *, clean: bool) -> None:
        """`clean`: no fault fired in it."""
        world = self._world
        exchange = world.exchange
        clean &= world.tick_began >= world.disturbed_until
        quiet = self._conserved() == 0 or exchange.now - world.tick_began < 1
        if exchange.short is not None:
            raise Violation(f"sold short: {exchange.short}")
        if exchange.lapsed is not None:
            raise Violation(
                f"{exchange.lapsed}: a level was good for the day only, and its shares have none in the night"
            )
        if not (exchange.market.is_open(world.time) and exchange.market.is_open(now.timestamp())):
            return  # a trader whose clock is an hour off sleeps through the open
        self._protected(clean)
        self._withdrawn(clean)
        needed = TICKS_AFTER_A_PERSON if world.time - world.person.traded_at < 900 else TICKS_TO_AGREE
        if world.faults.calm and world.ticks > needed and quiet:
            agree(trader, exchange, world.time)
            world.seen["books and exchange compared"] += 1
            if world.ticks > needed + 1 and (stopped := trader._stopped()) is not None:
                raise Violation(f"nothing fails any more, and still nothing is bought: {stopped}")
        if (
            clean
            and quiet
            and epoch_minute(now) % 5 == 0
            and world.time - world.person.traded_at > 900
            and world.ticks > 1
        ):
            agree(trader, exchange, world.time)

    def _conserved(self) -> int:
        """Cash and shares are what the fills make of them; the number of new fills."""
        exchange = self._world.exchange
        new = exchange.fills[self._fills :]
        for symbol, signed, price in new:
            self._cash -= signed * price
            self._shares[symbol] += signed
        self._fills += len(new)
        if self._cash != exchange.cash or any(self._shares[s] != qty for s, qty in exchange.shares.items()):
            raise Violation(f"cash is {exchange.cash}, its fills make {self._cash}")
        return len(new)

    def _protected(self, clean: bool) -> None:
        for symbol in list(self._world.exchange.ours):
            missing = bare(self._world.exchange, symbol)
            if missing <= 0:
                self._bare.pop(symbol, None)
            elif clean:
                bare_minutes = self._bare.setdefault(symbol, set())
                bare_minutes.add(int(self._world.time // 60))  # a new process may look at the same minute again
                if len(bare_minutes) >= BARE_MINUTES:
                    raise Violation(f"{symbol}: {missing} shares without a stop after {BARE_MINUTES} clean minutes")

    def _withdrawn(self, clean: bool) -> None:
        world = self._world
        working = [
            o.client_id for o in world.exchange.live.values() if o.side == "buy" and o.status != "pending_cancel"
        ]
        self._halted_ticks = self._halted_ticks + 1 if _halted_before_this_minute(world) and clean and working else 0
        if self._halted_ticks >= 2:
            raise Violation(f"halted for two clean minutes, and {working} may still buy")


def bare(exchange: Exchange, symbol: str) -> int:
    """Our shares of a symbol that no living stop or sale would sell."""
    live = [o for o in exchange.live.values() if o.symbol == symbol and o.side == "sell" and o.armed]
    covered = sum(o.left for o in live if o.kind != "limit" and not o.by_person)
    return min(exchange.ours[symbol], exchange.shares[symbol]) - covered


def agree(trader: LiveTrader, exchange: Exchange, now: float) -> None:
    """Books and exchange tell the same."""
    books = trader.books
    held = {t.symbol: t.held for t in books.live_trades().values() if t.held}
    for symbol in sorted(held.keys() | {s for s, qty in exchange.ours.items() if qty}):
        ours, there = exchange.ours[symbol], exchange.shares[symbol]
        if symbol in exchange.touched:
            if held.get(symbol, 0) > there:
                raise Violation(f"{symbol}: the books hold {held[symbol]}, the account {there}")
        elif held.get(symbol, 0) != ours:
            raise Violation(f"{symbol}: the books hold {held.get(symbol, 0)}, our orders bought {ours}")
    for trade in books.live_trades().values():
        order = exchange.by_client_id.get(trade.id)
        if trade.status == "PENDING" and now / 60 - trade.entry_minute > 15 and (order is None or not order.live):
            raise Violation(f"{trade.id} is pending in the books, at the exchange it is {order and order.status}")
    expected = books.expected_cash()
    if not exchange.touched and expected is not None and abs(expected - exchange.cash / 100) > 0.05:
        raise Violation(f"the books expect {expected:.2f} USD in cash, there are {exchange.cash / 100:.2f}")


# --- at the start of a process, and at the end -----------------------------------------------------------------------


def nothing_lost(world: World) -> None:
    """All that was acknowledged can be read, and so can the view."""
    events = {event["n"]: to_json(event) for event in read_events(world.models / "journal.jsonl")}
    for line in world.witness.acknowledged:
        number = json.loads(line)["n"] if not line.startswith('{"n":') else int(line[5 : line.index(",")])
        if events.get(number) != line:
            raise Violation(f"acknowledged and lost: {line}; there is {events.get(number)}")
    history = world.models / "trade_history.json"
    if history.exists() and json.loads(history.read_text())["schema"] != 1:
        raise Violation("trade_history.json is no view")


def at_the_end(world: World) -> None:
    """The session ended with a trader that worked, and nothing is lost."""
    nothing_lost(world)
    day = f"{world.timeline.sessions[0].day}"
    written = read_events(world.models / "journal.jsonl")
    trained = any(e["kind"] == "duty" and (e["duty"], e["session"]) == ("train", day) for e in written)
    if world.time > world.timeline.evening and not trained and not world.seen["training broke after the open"]:
        raise Violation(f"a training of {day} was neither done nor missed")
    if world.ticks < TICKS_TO_AGREE:
        raise Violation("nobody traded in the last minutes, although nothing failed any more")

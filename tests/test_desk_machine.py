"""The desk as a state machine: whatever happens in whatever order, a ledger that is kept beside it still adds up.

Books, journal, gate, halt, agreement, exits and Alpaca broker are the real ones; exchange, time and disk are fakes.
SOAK=true looks much longer.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import durable
from agreement import Agreement
from alpaca_wire import Refused, Unreachable
from desk.alpaca_broker import AlpacaBroker
from desk.books import Books
from desk.halt import BY_HAND, Halt, ask_to_halt, ask_to_resume
from desk.journal import Event, Journal, read_events
from desk.orders import Execution, Order
from desk.risk import Gate, Limits
from exits import Exits
from market.bars import Bar
from market.hours import Session, epoch_minute, local_time, new_york, session_at, sessions_between
from tests.simulation.exchange import Exchange
from tests.simulation.oracles import Violation, agree, bare
from tests.simulation.trading import Trading, Wire

SYMBOLS = ("AAA", "BBB", "CCC")
CASH = 10_000_00  # cents
LIMITS = Limits(
    max_position_size=8, max_open_positions=2, stop_loss=0.01, take_profit=0.015, risk_per_trade=0.02,
    max_holding_minutes=25, max_position=0.1, max_exposure=0.15, max_entries_per_symbol=6, max_orders_per_day=40,
    max_daily_loss=0.2, max_drawdown=0.3,
)  # fmt: skip
SLACK = 1.06  # prices move between the bar that was decided on and the fill
SESSIONS = sessions_between(date(2026, 3, 2), date(2026, 4, 10))
PATIENT_MINUTES, RECONCILE_MINUTES = 2, 5  # as the trading minute has them
BARE_MINUTES = 2  # undisturbed ones at whose end a position may not be without a stop
ENTRY_MINUTES = 8  # that an entry may work on
ONCE = (
    "no answer, nothing booked", "no answer, but booked", "too many requests", "duplicate id in disguise",
    "order refused", "order rejected later", "partial fill, rest later", "partial fill, rest never", "slow fill",
    "target fills in part", "stop fills in part", "order not listed for a while", "cancel meets a fill",
    "cancel takes its time", "stop refused", "replacement refused", "positions empty once", "positions lag",
    "account blocked", "account is nonsense", "broker's clock says closed", "broker away for minutes",
    "order of an unknown state", "crash before a request", "crash after a request",
)  # fmt: skip

moves = st.tuples(*[st.sampled_from((0.0, 0.004, -0.004, 0.02, -0.02, 0.1, -0.1))] * len(SYMBOLS))
symbols = st.sampled_from(SYMBOLS)
quantities = st.sampled_from((8, 2, 1, 3, 8, 5, 8, 10))  # 8 is the most; two of these are beyond the exposure
troubles = st.lists(st.sampled_from(ONCE), max_size=3)


SEEN = Counter[str]()  # in all examples of this process: faults that fired, and what was done


class Crash(BaseException):
    """The process is gone, at once."""


class Tape:
    """The exchange's prices, a row each time they move; its hours are the calendar's."""

    def __init__(self, now: float) -> None:
        self.times, self.rows = [now], [{"AAA": 110_00, "BBB": 120_00, "CCC": 60_00}]
        self._spans = [(s.open.timestamp(), s.close.timestamp()) for s in SESSIONS]

    def move(self, when: float, fractions: Iterable[float]) -> None:
        row = self.rows[-1]
        self.times.append(max(when, self.times[-1]))
        self.rows.append(
            {s: min(max(round(row[s] * (1 + f)), 2_00), 900_00) for s, f in zip(row, fractions, strict=True)}
        )

    def prices(self, when: float) -> dict[str, int]:
        return self.rows[-1]

    def is_open(self, when: float) -> bool:
        return any(opens <= when < closes for opens, closes in self._spans)

    def next_close(self, when: float) -> float:
        return next(closes for _, closes in self._spans if closes > when)

    def next_open(self, when: float) -> float:
        return next(opens for opens, _ in self._spans if opens > when)


class Armed:
    """Faults that fire at their next opportunity, each as often as it was armed."""

    def __init__(self) -> None:
        self.random, self.calm, self.count = Random(0), False, 0
        self.waiting: Counter[str] = Counter()

    def fires(self, kind: str) -> bool:
        if not self.waiting[kind]:
            return False
        self.waiting[kind] -= 1
        self.count += 1
        SEEN[kind] += 1
        return True


class Process:
    """The desk of one process, wired as the trader wires it; `minute` is what of its minute concerns orders."""

    def __init__(self, world: DeskMachine) -> None:
        self.world = world
        self.journal = Journal(world.folder / "journal.jsonl", f"{new_york(world.clock()):%Y%m%d_%H%M%S}")
        wire: Any = Wire(world.trading, world.wait)
        self.books = Books(local_time, self.journal.events)
        self.broker = AlpacaBroker(wire, world.clock, LIMITS.stop_loss, LIMITS.take_profit)
        self.said: list[str] = []
        self.gate = Gate(self.broker, self.books, LIMITS, self.said.append)
        self.halt = Halt(world.folder, self.gate, self.journal, self.record, self.said.append)
        self.agreement = Agreement(self.books, self.broker, self.journal, self.book, self.said.append)
        self.exits = Exits(self.books, self.gate, self.journal, self.record, self.said.append)
        self.started, self.disk_full, self._unfinished, self._newest = False, False, False, 0
        self.broker.resume(self.books.tag, self.books.trades.values())

    def record(self, kind: str, **fields: Any) -> Event:
        event = self.journal.append(kind, **fields)
        self.books.apply(event)
        return event

    def book(self, execution: Execution) -> None:
        if not self.books.heard(execution):
            self.record("execution", execution=asdict(execution))

    def _start(self, now: datetime) -> None:
        if self.books.first_cash is None:
            account = self.broker.account()
            self.record("account", cash=account.equity, settled=account.cash)
        self.agreement.reach(now, epoch_minute(now) - 1)
        self.started = True

    def minute(self, now: datetime, bars: list[Bar], buy: tuple[str, int] | None, sell: str | None) -> bool:
        """One minute; whether books and broker were compared in it. Raises what ends it early."""
        minute, compared = epoch_minute(now), False
        self.halt.hear(minute)
        if not self.started:
            self._start(now)
        if self._unfinished or minute > self._newest + PATIENT_MINUTES:
            self.agreement.try_to_reach(now, minute - 1)
        self._unfinished, self._newest = True, minute
        self.gate.see(bars)
        self._settle(minute, bars)
        unprotected = any(not position.protected for position in self.broker.positions().values())
        if minute % RECONCILE_MINUTES == 0 or self.agreement.missing or unprotected:
            self.agreement.try_to_reach(now, minute - 1)
            compared = not self.agreement.missing
        if sell is not None:
            self.record("plan", close={**self.books.exit_plan, sell: BY_HAND})
        session = session_at(now)
        if session is not None and session.open < now < session.close:
            self.exits.sell(now, session)
            if buy is not None and self.stopped() is None:
                self._buy(*buy, minute, session)
        self._settle(minute, ())
        self.record("minute", minute=minute, equity=round(self.broker.account().equity, 4), above=[])
        try:
            self.journal.sync()
            self.disk_full = False
        except OSError:
            self.disk_full = True
        self._unfinished = False
        return compared

    def stopped(self) -> str | None:
        """Why nothing is bought, as the trader has it."""
        if self.disk_full or self.agreement.missing:
            return "disk, or no agreement"
        return self.books.halt

    def _settle(self, minute: int, bars: Iterable[Bar]) -> None:
        for execution in self.broker.settle(minute, bars):
            self.book(execution)

    def _buy(self, symbol: str, qty: int, minute: int, session: Session) -> None:
        price = self.world.exchange.prices[symbol] / 100
        order = Order(
            self.books.entry_id(session.day, symbol), symbol, "BUY", qty, price, minute, minute + ENTRY_MINUTES,
            LIMITS.stop_loss, LIMITS.take_profit,
        )  # fmt: skip

        def write_down() -> None:
            self.record(
                "intent", order_id=order.id, symbol=symbol, qty=qty, price=price, confidence=0.7, minute=minute,
                stop_loss=LIMITS.stop_loss, take_profit=LIMITS.take_profit, model_id="none", market="alpaca",
            )  # fmt: skip
            self.journal.sync(order=True)

        with suppress(OSError):  # the intent stays behind, and is withdrawn at the next comparison
            self.gate.submit(order, session.close, write_down)

    def kill(self) -> None:
        """What the kernel does for a process that is gone."""
        self.journal._lock.close()
        if self.journal._file is not None:
            os.close(self.journal._file._handle)


class DeskMachine(RuleBasedStateMachine):
    """`ledger` is a plain dict: what the fills, as the exchange tells them, make of cash, cost and gains, in cents."""

    @initialize(variant=st.booleans())
    def begin(self, variant: bool) -> None:
        logging.disable(logging.CRITICAL)
        shm = Path("/dev/shm")  # noqa: S108 - memory, and files that nobody else looks at
        self.folder = Path(tempfile.mkdtemp(prefix="desk-", dir=shm if shm.is_dir() else None))
        self.time = SESSIONS[0].open.timestamp() + 60
        self.tape, self.faults = Tape(self.time), Armed()
        market: Any = self.tape
        faults: Any = self.faults
        self.exchange = Exchange(int(variant), market, faults, self.time, CASH)
        self.trading = Trading(self.exchange, self)
        self.ledger: dict[str, Any] = {
            "fills": 0, "cash": Fraction(CASH), "realised": Fraction(0), "held": Counter(), "cost": {},
        }  # fmt: skip
        self.process: Process | None = None
        self.halted, self.resumed_at = False, 0.0  # by a person, or by the books themselves
        self.disk_heals = 0.0
        self.disturbed_until = 0.0
        self.bare: Counter[str] = Counter()
        self.write_all, self.disk_trouble = durable._write_all, False
        durable._write_all = self._write_all
        self._minute()

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self._calm_and_settle()
        finally:
            durable._write_all = self.write_all
            if self.process is not None:
                self.process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
            logging.disable(logging.NOTSET)

    # --- what the fakes ask of the world -----------------------------------------------------------------------------

    def clock(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    def wait(self, seconds: float) -> None:
        self.time += max(seconds, 0.001)
        self.exchange.advance(self.time)

    def crash(self, words: str) -> None:
        raise Crash(words)

    def alive(self) -> None:
        pass

    def trace(self, words: str) -> None:
        pass

    def disturb(self, seconds: float) -> None:
        self.disturbed_until = max(self.disturbed_until, self.time + seconds)

    def _write_all(self, handle: int, data: bytes) -> None:
        """Half of it, and no more, while the disk is full."""
        if self.disk_trouble:
            self.write_all(handle, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.write_all(handle, data)

    def submitting(self, request: Any) -> None:
        """An order has come to the exchange: is it the only one of its intent, and may it be there at all?"""
        exchange, symbol, client_id = self.exchange, request.symbol, request.client_order_id
        assert client_id, "an order without a client id"
        if request.side.value == "sell":
            SEEN["a stop put back" if "-arm-" in client_id else "a sale"] += 1
        if request.side.value == "sell" or client_id in exchange.by_client_id:
            return
        intents = {e["order_id"]: e for e in read_events(self.folder / "journal.jsonl") if e["kind"] == "intent"}
        assert client_id in intents, f"{client_id} leaves before its intent is on disk"
        assert request.qty == intents[client_id]["qty"] <= LIMITS.max_position_size
        assert not self.halted, f"{client_id} leaves while halted"
        worth = Counter({s: qty * exchange.prices[s] for s, qty in exchange.ours.items() if qty > 0})
        for order in exchange.live.values():
            if order.side == "buy" and not order.by_person:
                worth[order.symbol] += order.left * exchange.prices[order.symbol]
        assert symbol not in worth, f"{client_id} leaves although {symbol} is held or on its way"
        assert len(worth) < LIMITS.max_open_positions
        own = request.qty * exchange.prices[symbol]
        assert own <= SLACK * LIMITS.max_position * exchange.equity, f"{client_id}: {own} cents"
        assert own + sum(worth.values()) <= SLACK * LIMITS.max_exposure * exchange.equity, "exposure"
        SEEN["a purchase"] += 1

    # --- rules -------------------------------------------------------------------------------------------------------

    @rule(fractions=moves, minutes=st.integers(1, 4), faults=troubles)
    def time_passes(self, fractions: tuple[float, ...], minutes: int, faults: list[str]) -> None:
        self.faults.waiting.update(faults)
        for _ in range(minutes):
            self._minute(fractions)
            fractions = (0.0,) * len(SYMBOLS)

    @rule(symbol=symbols, qty=quantities, fractions=moves, faults=troubles)
    def signal(self, symbol: str, qty: int, fractions: tuple[float, ...], faults: list[str]) -> None:
        self.faults.waiting.update(faults)
        self._minute(fractions, buy=(symbol, qty))

    @rule(symbol=symbols, qty=quantities, fraction=st.sampled_from((-0.02, 0.02)), faults=troubles)
    def signal_and_then_a_level_is_met(self, symbol: str, qty: int, fraction: float, faults: list[str]) -> None:
        self._minute(buy=(symbol, qty))
        self.faults.waiting.update(faults)
        self._minute((fraction,) * len(SYMBOLS))

    @rule(symbol=symbols, qty=quantities, fractions=moves, faults=troubles)
    def signal_that_fills_slowly(self, symbol: str, qty: int, fractions: tuple[float, ...], faults: list[str]) -> None:
        self.faults.waiting["slow fill"] += 1
        self._minute(buy=(symbol, qty))
        self.faults.waiting.update(faults)
        self._minute(fractions)

    @precondition(lambda self: any(qty > 0 for qty in self.exchange.ours.values()))
    @rule(data=st.data(), faults=troubles)
    def exit_is_due(self, data: st.DataObject, faults: list[str]) -> None:
        self.faults.waiting.update(faults)
        self._minute(sell=data.draw(st.sampled_from(sorted(s for s, qty in self.exchange.ours.items() if qty > 0))))

    @rule()
    def nothing_fails_any_more(self) -> None:
        self.faults.waiting.clear()
        self.trading.heal()

    @rule(symbol=symbols, qty=st.integers(1, 4))
    def person_buys(self, symbol: str, qty: int) -> None:
        self.exchange.person_trades(symbol, qty)

    @precondition(lambda self: self._person_may_sell())
    @rule(data=st.data())
    def person_sells(self, data: st.DataObject) -> None:
        symbol = data.draw(st.sampled_from(self._person_may_sell()))
        self.exchange.person_trades(symbol, -data.draw(st.integers(1, self.exchange.shares[symbol])))

    def _person_may_sell(self) -> list[str]:
        """What is held; but where legs are as large as their whole entry, not while it buys: they would sell short, and
        no program is quick enough to keep them from it."""
        entering = {order.symbol for order in self.exchange.live.values() if order.side == "buy"}
        barred = set() if self.exchange.caps_legs else entering
        return sorted(s for s, qty in self.exchange.shares.items() if qty and s not in barred)

    @precondition(lambda self: any(qty > 0 for qty in self.exchange.ours.values()))
    @rule(data=st.data(), unknown=st.booleans(), faults=troubles)
    def person_cancels_a_stop(self, data: st.DataObject, unknown: bool, faults: list[str]) -> None:
        ours = sorted(s for s, qty in self.exchange.ours.items() if qty > 0)
        self.exchange.person_cancels(data.draw(st.sampled_from(ours)))
        self._minute()
        self.faults.waiting.update([*faults, *(["order of an unknown state"] if unknown else [])])
        self._minute()

    @rule(minutes=st.integers(1, 6))
    def person_halts(self, minutes: int) -> None:
        self._by_hand(lambda: ask_to_halt(self.folder, "looked odd", "now"))
        self.halted, self.resumed_at = True, math.inf
        self._minute()
        self.resumed_at = self.time + 60 * minutes

    @rule()
    def person_resumes(self) -> None:
        self._by_hand(lambda: ask_to_resume(self.folder, "now"))
        self.halted = False
        self._minute()

    @precondition(lambda self: self.halted and self.process is not None and not self.process.journal._buffer)
    @rule()
    def halt_file_is_deleted(self) -> None:
        """While the journal knows of the halt: a full disk may have kept it from it."""
        (self.folder / "HALT").unlink(missing_ok=True)

    @precondition(lambda self: self.process is not None and self.process.started)
    @rule(minutes=st.integers(1, 6))
    def program_halts(self, minutes: int) -> None:
        assert self.process is not None
        self.process.halt.begin("a loss", epoch_minute(self.clock()))
        self.halted, self.resumed_at = not self.disk_trouble, self.time + 60 * minutes

    @rule(torn=st.booleans(), minutes=st.integers(0, 3))
    def crash_and_restart(self, torn: bool, minutes: int) -> None:
        self._bury()
        if torn and not self.disk_trouble:
            with (self.folder / "journal.jsonl").open("ab") as journal:
                journal.write(b'{"n":9999,"kind":"minute","minute":29')
        self._pass(60.0 * minutes)
        self._minute()

    @rule(minutes=st.integers(1, 4))
    def disk_is_full_for_a_while(self, minutes: int) -> None:
        self.disk_trouble, self.disk_heals = True, self.time + 60 * minutes

    # --- what rules are made of --------------------------------------------------------------------------------------

    def _pass(self, seconds: float) -> None:
        """Time passes; from two minutes before the close it is the next morning."""
        to = self.time + seconds
        session = next(s for s in SESSIONS if s.close.timestamp() > self.time)
        if to > session.close.timestamp() - 120:
            for when in (session.close.timestamp(), self.tape.next_open(to) + 60):
                self.tape.move(when, (0.0,) * len(SYMBOLS))
                to = when
        self.time = to
        self.exchange.advance(to)

    def _minute(
        self,
        fractions: tuple[float, ...] = (0.0,) * len(SYMBOLS),
        buy: tuple[str, int] | None = None,
        sell: str | None = None,
    ) -> None:
        """The next whole minute, with a process that is begun if there is none."""
        if self.time >= self.disk_heals:
            self.disk_trouble = False
        if self.halted and self.time >= self.resumed_at:
            self._by_hand(lambda: ask_to_resume(self.folder, "now"))
            self.halted = False
        self.tape.move(self.time + 1, fractions)
        self._pass(60 - self.time % 60)
        now, faults, began = self.clock(), self.faults.count, self.time
        minute = epoch_minute(now)
        bars = [Bar(s, minute - 1, *([p / 100] * 4), 1000.0) for s, p in self.exchange.prices.items()]
        worked = compared = False
        try:
            if self.process is None:
                self.process = Process(self)
            compared = self.process.minute(now, bars, buy, sell)
            worked = True
        except Crash:
            self._bury()
        except (Refused, Unreachable):
            pass
        except OSError:  # a disk that takes nothing ends a start
            assert self.disk_trouble
            SEEN["ended by the disk"] += 1
            self._bury()
        undisturbed = worked and self.faults.count == faults and began >= self.disturbed_until and not self.disk_trouble
        self._look(undisturbed, compared)

    def _bury(self) -> None:
        if self.process is not None:
            self.process.kill()
        self.process = None

    def _by_hand(self, act: Any) -> None:
        trouble, self.disk_trouble = self.disk_trouble, False
        act()
        self.disk_trouble = trouble

    def _look(self, undisturbed: bool, compared: bool) -> None:
        """What must hold after a minute, according to what happened in it."""
        process, exchange = self.process, self.exchange
        for symbol in SYMBOLS:
            position = process.broker.positions().get(symbol) if process is not None else None
            if bare(exchange, symbol) <= 0 or (position is not None and not position.protected):
                self.bare[symbol] = 0
            elif undisturbed:
                self.bare[symbol] += 1
                assert self.bare[symbol] < BARE_MINUTES, f"{symbol}: {bare(exchange, symbol)} shares without a stop"
        if undisturbed and process is not None:
            working = [o.client_id for o in exchange.live.values() if o.side == "buy" and not o.status.startswith("pe")]
            assert not (self.halted and working), f"halted, and {working} may still buy"
            assert not self.halted or process.books.halt is not None, "the halt is forgotten"
        if undisturbed and compared and process is not None:
            self._agree(process)

    def _agree(self, process: Process) -> None:
        SEEN["books and exchange compared"] += 1
        try:
            agree(SimpleNamespace(books=process.books), self.exchange, self.time)  # type: ignore[arg-type]
        except Violation as violation:
            raise AssertionError(str(violation)) from violation

    def _calm_and_settle(self) -> None:
        """At the end nothing fails any more: books and exchange agree, all is protected, and one may buy again."""
        self.faults.waiting.clear()
        self.disk_trouble = False
        self.trading.heal()
        self.disturbed_until = 0.0
        self.person_resumes()
        for _ in range(8):
            self._minute()
        assert self.process is not None
        assert self.process.stopped() is None, "nothing fails any more, and still nothing is bought"
        assert self.process.agreement.missing is False
        self._agree(self.process)
        assert [s for s in SYMBOLS if bare(self.exchange, s) > 0] == []

    # --- invariants --------------------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_adds_up(self) -> None:
        ledger, exchange = self.ledger, self.exchange
        for symbol, signed, price in exchange.fills[ledger["fills"] :]:
            held, cost = ledger["held"][symbol], ledger["cost"].get(symbol, Fraction(0))
            if signed > 0:
                cost += signed * price
            else:
                share = Fraction(-signed, held) * cost
                ledger["realised"] += -signed * price - share
                cost -= share
            ledger["held"][symbol], ledger["cost"][symbol] = held + signed, cost
            ledger["cash"] -= signed * price
        ledger["fills"] = len(exchange.fills)
        assert ledger["cash"] + sum(ledger["cost"].values()) - ledger["realised"] == CASH
        assert ledger["cash"] == exchange.cash, "cash that no fill explains"

    @invariant()
    def nothing_is_short(self) -> None:
        assert self.exchange.short is None
        assert all(qty >= 0 for qty in self.ledger["held"].values())

    @invariant()
    def no_order_is_overfilled_or_doubled(self) -> None:
        orders = list(self.exchange.by_id.values())
        assert [o.client_id for o in orders if o.filled > o.qty] == []
        assert len({o.client_id for o in orders}) == len(orders)

    @invariant()
    def the_books_hold_no_more_than_was_ordered(self) -> None:
        if self.process is not None:
            trades = self.process.books.trades.values()
            assert [t.id for t in trades if not 0 <= t.held <= t.qty <= t.qty_ordered] == []


SOAK = os.environ.get("SOAK") == "true"
DONE = {"a purchase", "a sale", "a stop put back", "ended by the disk", "books and exchange compared"}


def test_the_desk_keeps_its_books_whatever_happens_in_whatever_order() -> None:
    SEEN.clear()
    run_state_machine_as_test(
        DeskMachine,
        settings=settings(
            max_examples=3000 if SOAK else 600,
            stateful_step_count=80 if SOAK else 40,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            report_multiple_bugs=False,
            phases=[phase for phase in Phase if phase is not Phase.explain],
        ),
    )
    assert [what for what in {*ONCE, *DONE} if not SEEN[what]] == [], "it never came to this, which proves nothing"

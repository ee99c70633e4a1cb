"""Trading now: the wall clock, Alpaca's bars, and Alpaca's paper account or the local one as broker."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from rich.console import Console

from alpaca_wire import AlpacaWire, Unreachable
from config import Settings
from desk.alpaca_broker import AlpacaBroker
from desk.brokers import Broker
from desk.journal import Journal
from desk.paper_broker import PaperBroker
from display.figures import plural
from ending import Ending, Terminated
from learning.model_store import NoModel
from locks import hold
from market.clock import WallClock, utc_now, wait
from market.hours import new_york
from market_scheduler import MarketScheduler
from memory import keep_large_apart
from ml_predictor import MLPredictor
from nightly import nightly_training
from onlookers import Onlookers
from review import evening_review
from sources import open_alpaca, open_wire, stamp_of
from trader import LiveTrader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """Where a live run takes its time from; a test hands in its own."""

    minutes: Iterable[datetime] = field(default_factory=WallClock)
    now: Callable[[], datetime] = utc_now
    wait: Callable[[float], object] = wait
    monotonic: Callable[[], float] = time.monotonic


def run_live(
    settings: Settings,
    console: Console,
    *,
    broker: str = "alpaca",
    entries: bool = True,
    once: bool = False,
    timing: Timing | None = None,
    ending: Ending | None = None,
) -> MarketScheduler:
    """Trade until interrupted, or one minute with `once`; what happened is in the books and in the result.

    `broker` is "alpaca" or "paper"; `ending` hears what ends the run. Raises NoModel if there is none, none can be
    trained, and nothing is held; AlreadyRunning if another process trades this account or these books.
    """
    keep_large_apart()
    timing, ending = timing or Timing(), ending or Ending()
    place = "Alpaca's paper account" if broker == "alpaca" else "the local paper account"
    with Onlookers(settings, console, timing.now, broker, place, once=once) as onlookers:
        onlookers.say(f"market alpaca (feed {settings.FEED}), broker {place}; Ctrl-C ends it in order")
        wire = open_wire(settings, timing.wait, timing.monotonic)
        feed = open_alpaca(settings, wire, onlookers.say)
        books = settings.MODELS_DIR / "journal.jsonl"
        with _account_lock(settings, broker), Journal(books, stamp_of(timing.now())) as journal:
            trader = LiveTrader(
                settings,
                feed=feed,
                broker=_executing(settings, broker, wire, timing.now),
                journal=journal,
                predictor=MLPredictor(settings, feed),
                entries=entries,
                say=onlookers.say,
                hear=onlookers.hear,
                now=timing.now,
            )
            training, review = nightly_training(settings, feed, wait=False), evening_review(settings, feed)
            scheduler = MarketScheduler(settings, trader, training, onlookers.say, review, onlookers.tick)
            try:
                _trade(trader, scheduler, onlookers, timing.minutes, ending, once=once)
            except Terminated:
                ending.terminated = True
                raise
            finally:
                if ending.terminated:  # whatever else ends the run just then
                    trader.halt_for("SIGTERM", timing.now())
                trader.keeping.flush()
    return scheduler


def _executing(settings: Settings, broker: str, wire: AlpacaWire, now: Callable[[], datetime]) -> Broker:
    if broker == "alpaca":
        return AlpacaBroker(wire, now, settings.STOP_LOSS_PCT, settings.TAKE_PROFIT_PCT)
    return PaperBroker(settings.MODELS_DIR / "paper_account.json", settings.PAPER_CASH, settings.ROUND_TRIP_COST_PCT)


def _trade(
    trader: LiveTrader,
    scheduler: MarketScheduler,
    onlookers: Onlookers,
    clock: Iterable[datetime],
    ending: Ending,
    *,
    once: bool,
) -> None:
    minutes = iter(onlookers.watched(clock))
    first = _start(trader, minutes, onlookers, ending)
    onlookers.begin(trader, first)
    if trader.books.halt is None and (missing := _no_model(trader, first)) is not None:
        onlookers.say(f"{missing.partition('. Run')[0]}; one is trained now")
        if trader.books.live_trades():
            scheduler.try_to_train(first)  # whatever comes of it, what is held is watched
        else:
            scheduler.begin_training(first)
            scheduler.finish_training(lambda: onlookers.wait(first, "a first model is trained"))
            trader.predictor.model(first)
        first = next(minutes)
    for now in chain([first], [] if once else minutes):
        with ending.finishing():
            scheduler.tick(now)
    scheduler.finish_training()


def _account_lock(settings: Settings, broker: str) -> AbstractContextManager[object]:
    """One trader an account, from whatever folder; the local account is locked with its books."""
    if broker == "paper":
        return nullcontext()
    account = hashlib.sha256(str(settings.ALPACA_API_KEY).encode()).hexdigest()[:12]
    return hold(settings.STATE_DIR / "locks" / f"alpaca-{account}.lock", "is already trading this Alpaca account")


def _start(trader: LiveTrader, minutes: Iterator[datetime], onlookers: Onlookers, ending: Ending) -> datetime:
    """Start with the first minute in which Alpaca answers; returns it."""
    waiting = False
    for now in minutes:
        with ending.finishing():
            try:
                trader.start(now)
            except Unreachable as error:
                onlookers.wait(now, "waiting for Alpaca")
                if not waiting:
                    onlookers.say(f"{new_york(now):%Y-%m-%d %H:%M}  waiting for Alpaca: {error}")
                waiting = True
                continue
        held = plural(len(trader.books.live_trades()), "trade")
        halted = f"; halted: {trader.books.halt}" if trader.books.halt else ""
        onlookers.say(f"{new_york(now):%Y-%m-%d %H:%M}  books and broker agree: {held} under way{halted}")
        return now
    raise AssertionError("a clock of minutes does not end before the start")


def _no_model(trader: LiveTrader, now: datetime) -> str | None:
    """Why no model may serve, or None."""
    try:
        trader.predictor.model(now)
    except NoModel as error:
        return str(error)
    return None

"""Trade on paper with the published model: every minute settle, exit, predict, size and buy; train at 20:00, rebalance
at 04:00, keep every decision and outcome in models/.

    python live_trader.py                      Alpaca's paper account if .env holds its keys, else a simulated market
    python live_trader.py --days 3             simulated or recorded bars: trade the last 3 sessions
    python live_trader.py --market recorded    the bars that build_dataset.py imported, minute by minute
    python live_trader.py --check              is everything ready for Alpaca? Changes nothing
    python live_trader.py --no-entries         watch and exit only
    python live_trader.py --status             what the books say, while another process trades
    python live_trader.py --halt "why"         buy nothing more until --resume; stops stay, exits go on
    python live_trader.py --resume             a person has looked: buying goes on
    python live_trader.py --flatten            halt, and sell all that is held as soon as the market is open

Ctrl-C ends it in order. Started again it goes on where it was; only a simulated run begins anew. SIGTERM halts
besides (on Alpaca's bars).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel

import check
import command
import report
from build_dataset import store_bars
from config import Settings
from desk.books import Books
from desk.halt import ask_to_halt, ask_to_resume, asked_to_halt, in_force
from desk.journal import read_events
from display.figures import plural
from display.screen import show
from ending import Ending
from learning.classifier import ACCELERATED
from live import run_live
from market.clock import utc_now
from market.hours import local_time, new_york
from market.simulated_feed import BANNER
from replay import history_before, run_replay
from sources import claim, open_market, open_wire, stored_market, traded_sessions
from trader import LiveTrader
from viewing import view_on_disk

__all__ = ["LiveTrader", "main"]

PLAIN_TRAINING_SECONDS = 15  # a session with its nightly training, plain scikit-learn, 12 symbols, 2 cores

NEXT_STEPS = """
What to look at (after . .venv/bin/activate): the page above, python report.py, python ml_predictor.py.
Your own minute bars:  python backtest.py --market recorded --bars PATH
From here to Alpaca's paper account:
  1. create a free account at alpaca.markets and generate the keys of its paper account
  2. cp .env.example .env && chmod 600 .env, and put the keys into .env
  3. python live_trader.py --check, then python live_trader.py"""


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    if arguments.status:
        return _status(settings, console)
    if arguments.check:
        wire = open_wire(settings, patience=check.PATIENCE_SECONDS) if settings.has_keys else None
        return check.show(settings, wire, utc_now, console)
    if arguments.halt is not None or arguments.resume or arguments.flatten:
        return _leave_word(arguments, settings, console)
    live = settings.market == "alpaca"
    if arguments.broker == "alpaca" and not live:
        raise command.UsageError(
            f"--broker alpaca needs --market alpaca; the {settings.market} market lies in the past"
        )
    return _trade_now(arguments, settings, console) if live else _trade_the_past(arguments, settings, console)


def _trade_now(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    open_wire(settings)  # without keys nothing is claimed
    if (note := claim(settings, "alpaca", now=utc_now())) is not None:
        console.print(note)
    broker = "paper" if arguments.broker == "paper" else "alpaca"
    place = "Alpaca's paper account" if broker == "alpaca" else "paper (local)"
    failures: dict[str, int] = {}
    ending = Ending()
    ending.listen()
    entries, once = not arguments.no_entries, arguments.once
    try:
        failures = dict(run_live(settings, console, broker=broker, entries=entries, once=once, ending=ending).failures)
    except KeyboardInterrupt:
        if ending.terminated and asked_to_halt(settings.MODELS_DIR) is None:  # it was not trading yet
            ask_to_halt(settings.MODELS_DIR, "SIGTERM", f"{new_york(utc_now()):%Y-%m-%d %H:%M}")
        held = LiveTrader(settings).get_performance_summary()["open_trades"]
        how = "stopped by SIGTERM and halted, back: --resume" if ending.terminated else "stopped"
        _say(console, f"{how}; all is on disk, {held} positions stay with their stops in {place}")
    summary = LiveTrader(settings).get_performance_summary()
    return (1 if failures else 0), {"market": "alpaca", "broker": broker, "failures": failures, **summary}


def _trade_the_past(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    feed = open_market(settings, arguments.bars)
    sessions = traded_sessions(feed, arguments.days)
    history_before(feed, sessions)
    if (note := claim(settings, feed.market, now=utc_now(), new_run=True)) is not None:
        console.print(note)
    console.print(f"market {feed.market}, broker paper (local), {len(feed.symbols(feed.end))} symbols")
    if feed.market == "simulated":
        console.print(Panel(BANNER, title="SIMULATED MARKET", style="bold"))
    span = f"{sessions[0].day} to {sessions[-1].day}"
    console.print(f"trading {plural(len(sessions), 'session')}, {span}, training every night at {settings.TRAIN_TIME}")
    console.print(f"a symbol is bought when its confidence reaches {settings.MIN_CONFIDENCE:.2f} (MIN_CONFIDENCE)")
    if not ACCELERATED:
        seconds = PLAIN_TRAINING_SECONDS * (len(sessions) + 1)
        console.print(f"without scikit-learn-intelex a night takes longer: about {seconds} s for this run on 2 cores")
    try:
        result = run_replay(settings, feed, sessions, console, entries=not arguments.no_entries)
    except KeyboardInterrupt:
        held = LiveTrader(settings).get_performance_summary()["open_trades"]
        console.print(f"stopped; all is on disk, {held} positions stay in the paper account")
        return 0, {"market": feed.market, "stopped": True}
    store_bars(feed, settings, feed.end, console)
    console.print()
    report.show(settings, console)
    page = report.write_page(settings, settings.DATA_DIR / "report.html")
    console.print(f"\npage: {page}; books: {settings.MODELS_DIR / 'trade_history.json'}", soft_wrap=True)
    if feed.market == "simulated":
        console.print(NEXT_STEPS)
    summary = result.trader.get_performance_summary()
    return (1 if result.failures else 0), {"market": feed.market, "failures": dict(result.failures), **summary}


def _leave_word(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    """Halt, flatten or resume: word for the trader that runs, or for the next one."""
    folder, when = settings.MODELS_DIR, f"{new_york(utc_now()):%Y-%m-%d %H:%M}"
    taken_up = "a running trader takes it up within a minute of the session, else the next one at its start"
    if arguments.resume:
        halted = in_force(folder, _books(settings).halt)
        if halted is not None:
            ask_to_resume(folder, when)
        _say(console, f"resumes from: {halted}; {taken_up}" if halted else "not halted: there is nothing to resume")
        return 0, {"halted": None, "resumed": halted}
    why = "--flatten" if arguments.flatten else arguments.halt or "no reason given"
    ask_to_halt(folder, why, when, flatten=arguments.flatten)  # before anything that could fail
    held = list(_books(settings).live_trades())
    then = "sold as soon as the market is open" if arguments.flatten else "stops stay"
    then = "a new simulated run begins without it" if stored_market(settings) == "simulated" else then
    of_held = f"held: {', '.join(held)}; {then}" if held else "nothing is held"
    words = f"halted: {why} ({of_held}); {taken_up}"
    _say(console, f"{words}. Back: python live_trader.py --resume")
    return 0, {"halted": why, "flatten": arguments.flatten, "held": held}


def _say(console: Console, words: str) -> None:
    """A line in a file or pipe stays whole."""
    console.print(words, soft_wrap=not console.is_terminal)


def _books(settings: Settings) -> Books:
    return Books(local_time, read_events(settings.MODELS_DIR / "journal.jsonl"))


def _status(settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    now = utc_now()
    view = view_on_disk(settings, now)
    show(view, now, console)
    last = new_york(view.last_minute).isoformat() if view.last_minute is not None else None
    console.print(f"\nbooks up to {last}; what was earned, and why: python report.py" if last else "")
    return 0, {"last_minute": last, "halted": view.halted, **LiveTrader(settings).get_performance_summary()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser("live_trader.py", __doc__)
    parser.add_argument("--broker", choices=("auto", "alpaca", "paper"), default="auto", help="who executes the orders")
    parser.add_argument("--check", action="store_true", help="is everything ready for Alpaca? Changes nothing")
    parser.add_argument("--once", action="store_true", help="trade one minute and end (Alpaca)")
    parser.add_argument("--no-entries", action="store_true", help="watch and exit only")
    parser.add_argument("--status", action="store_true", help="show what the books say and end")
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--halt", metavar="WHY", help="buy nothing more until --resume")
    words.add_argument("--resume", action="store_true", help="a person has looked: buying goes on")
    words.add_argument("--flatten", action="store_true", help="halt, and sell all that is held")
    return command.run("live_trader", _body, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

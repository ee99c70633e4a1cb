"""What one screen shows of a trader, as plain values: gathered from the running one, or from what is on disk."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from config import Settings
from desk.books import Books
from desk.halt import in_force
from desk.journal import read_events
from desk.orders import Position, Trade
from desk.paper_broker import BadAccountFile, PaperBroker
from display.figures import card_in_use, kind_of_reason, number, percent, plural, why_nothing_was_bought
from display.view import Event, Holding, View
from learning.model_store import NoModel
from learning.prediction_log import PredictionLog
from learning.reviews import Review, Reviews
from locks import is_held
from market.hours import (
    last_opened,
    local_time,
    moment,
    new_york,
    sessions_between,
)
from market_scheduler import next_rebalance, next_training
from sources import feed_of, stored_market
from spoken import SessionTally, tally_of
from trader import LiveTrader

SHOWN = 12  # signals and orders at most
BEHIND_MINUTES = 60  # a local account that has heard of no bar for so long is not the one that is traded
RECENT_TRADES = 200  # the newest entries, among which the last orders are looked for


@dataclass(frozen=True)
class _Known:
    """What books and settings do not tell: of a process at work, or as far as it is on disk."""

    running: bool
    market: str
    feed: str
    broker: str
    card: Mapping[str, Any] | None
    no_model: str
    review: Review | None
    positions: Mapping[str, Position]
    cash: float | None
    tally: SessionTally
    troubles: tuple[str, ...]


def view_of(trader: LiveTrader, now: datetime, broker: str) -> View:
    """The view of a trader at the end of the minute `now`: what it already knows, nobody else is asked.

    `broker` is "alpaca" or "paper". Takes a fraction of a millisecond.
    """
    books, problem = trader.books, trader.watch.problem
    troubles = (
        f"no bars, nothing is bought: {problem}" if problem is not None else "",
        f"nothing is bought: {trader.keeping.trouble}" if trader.keeping.trouble is not None else "",
        "nothing is bought until books and broker agree" if trader.agreement.missing else "",
        "watching only (--no-entries): nothing is bought, exits go on" if trader.watching_only else "",
    )
    card, no_model = None, ""
    try:
        card = {"stamp": (model := trader.predictor.model(now)).stamp, **model.card}
    except NoModel as error:
        no_model = str(error)
    known = _Known(
        running=True,
        market=trader.feed.market,
        feed=trader.feed.feed,
        broker=broker,
        card=card,
        no_model=no_model,
        review=trader.predictor.review(now),
        positions=trader.broker.positions(),
        cash=trader.account.cash if trader.account is not None else None,
        tally=trader.tally,
        troubles=troubles,
    )
    return _view(known, books, trader.settings, now)


def view_on_disk(settings: Settings, now: datetime) -> View:
    """The view that the files tell, while another process trades or none does. Raises StateRefused."""
    folder = settings.MODELS_DIR
    books = Books(local_time, read_events(folder / "journal.jsonl"))
    market = stored_market(settings) or settings.market
    last = moment(books.last_minute) if books.last_minute else None
    now = last if last is not None and market != "alpaca" else now
    card, no_model = card_in_use(folder)
    made = PredictionLog(folder / "predictions").of_day(local_time(books.last_minute)[:10])
    paper: PaperBroker | None = None
    troubles: tuple[str, ...] = ()
    if (account_file := folder / "paper_account.json").exists():
        try:
            paper = PaperBroker(account_file, settings.PAPER_CASH, settings.ROUND_TRIP_COST_PCT)
            if market == "alpaca" and paper.settled_minute < books.last_minute - BEHIND_MINUTES:
                paper = None  # of an earlier --broker paper; Alpaca's account is traded since
        except BadAccountFile as error:
            troubles = (str(error),)
    prices = made.groupby("symbol")["price"].last().to_dict()
    prices |= {symbol: position.last_price for symbol, position in paper.positions().items()} if paper else {}
    positions = {
        symbol: Position(
            symbol, trade.held, trade.price, trade.entry_minute, trade.stop_loss, trade.take_profit,
            prices.get(symbol, math.nan),
        )
        for symbol, trade in books.live_trades().items()
        if trade.held
    }  # fmt: skip
    known = _Known(
        running=is_held(folder / "journal.lock"),
        market=market,
        feed=feed_of(settings, market),
        broker="alpaca" if market == "alpaca" and paper is None else "paper",
        card=card,
        no_model=no_model,
        review=Reviews(folder / "reviews").newest(now),
        positions=positions,
        cash=paper.account().cash if paper else books.expected_cash(),
        tally=tally_of(made, last_opened(last or now)),
        troubles=troubles,
    )
    return _view(known, books, settings, now)


def _view(known: _Known, books: Books, settings: Settings, now: datetime) -> View:
    last = moment(books.last_minute) if books.last_minute else None
    day = local_time(books.last_minute)[:10]
    live = books.live_trades()
    signals = books.signals_on(day)
    telling = [s for s in signals if s["reason"] != "already held"]  # of those a count says enough
    missed = Counter(kind_of_reason(s["reason"]) for s in signals if not s["taken"])
    bought = any(trade.entry_time[:10] == day and trade.qty for trade in _newest(books))
    silence = ""
    if last is not None and not bought and known.tally.session is not None:
        event = known.tally.event(settings.MIN_CONFIDENCE, known.card, books)
        if last >= known.tally.session.close:  # the books have counted it
            event["silent_sessions"] = books.silent_sessions
        silence = why_nothing_was_bought(event, dict(missed.most_common()))
    words = f"{len(signals)} at the threshold, {len(signals) - missed.total()} ordered"
    if missed:
        words += "; not: " + ", ".join(f"{why}: {count}" for why, count in missed.most_common())
    place = "Alpaca's paper account" if known.broker == "alpaca" else "the local paper account"
    halted = in_force(settings.MODELS_DIR, books.halt)
    return View(
        at=now,
        running=known.running,
        source=f"{known.market} (feed {known.feed}), {place}"
        if known.market == "alpaca"
        else f"{known.market}, {place}",
        simulated=known.market == "simulated",
        past=known.market != "alpaca",
        halted=halted,
        warnings=tuple(_warnings(known, books, settings, halted)),
        last_minute=last,
        equity=books.equity[-1][1] if books.equity else books.first_cash,
        opening=_before(books, day),
        first=books.first_cash,
        cash=known.cash,
        holdings=tuple(_holdings(known.positions, live)),
        most_holdings=settings.MAX_OPEN_POSITIONS,
        orders=tuple(sorted(_orders(_newest(books)), key=lambda e: e.time, reverse=True)[:SHOWN]),
        signals=tuple(map(_signal, sorted(telling, key=lambda s: s["timestamp"], reverse=True)[:SHOWN])),
        signals_in_words=words if signals else "",
        silence=silence,
        model=_model(known, now),
        proof=str(known.card["reason"]) if known.card is not None else "",
        to_sell=", ".join(f"{symbol} ({why})" for symbol, why in books.exit_plan.items() if symbol in live),
        training=next_training(settings, now),
        rebalance=next_rebalance(settings, now),
    )


def _before(books: Books, day: str) -> float | None:
    """Equity at the end of the session before `day`; not that of a resume, from which the loss limits count."""
    at = bisect_left(books.equity, (day,))
    return books.equity[at - 1][1] if at else books.first_cash


def _warnings(known: _Known, books: Books, settings: Settings, halted: str | None) -> Iterable[str]:
    """What a person should know, the gravest first."""
    if halted is not None:
        yield f"HALTED: {halted}. Nothing is bought until python live_trader.py --resume; stops stay"
    if bare := [p.symbol for p in known.positions.values() if not p.protected]:
        yield f"without a stop at the broker: {', '.join(bare)}"
    yield from filter(None, known.troubles)
    if known.no_model:
        yield f"{known.no_model}. Positions are watched, nothing is bought"
    if books.split:
        yield f"split while held, yours to look after: {', '.join(sorted(books.split))}"
    if known.card is not None and settings.REQUIRE_PROOF and not known.card["proven"]:
        yield "nothing is bought: the model is unproven (REQUIRE_PROOF)"
    drift = known.review["drift"] if known.review is not None else {"light": None}
    if drift["light"] in ("amber", "red"):
        stops = drift["light"] == "red" and settings.STOP_ENTRIES_ON_RED_DRIFT
        yield f"drift is {drift['light']}{', nothing is bought' if stops else ''}: {drift['words']}"
    if known.card is not None and (known.card["baseline"]["break_even_confidence"] or 0.0) > settings.MIN_CONFIDENCE:
        level = known.card["baseline"]["break_even_confidence"]
        words = f"MIN_CONFIDENCE {settings.MIN_CONFIDENCE:.2f} is below break-even {level:.2f}"
        yield f"{words}: such trades lose on average"


def _holdings(positions: Mapping[str, Position], live: Mapping[str, Trade]) -> Iterable[Holding]:
    for symbol, p in sorted(positions.items()):
        note = "" if p.protected else "no stop at the broker"
        yield Holding(symbol, p.qty, p.entry_price, p.last_price, p.stop_level, p.target_level, note)
    for symbol, trade in sorted(live.items()):
        if symbol not in positions:
            note = f"{trade.qty_ordered} ordered"
            yield Holding(symbol, 0, trade.price, math.nan, trade.stop_loss, trade.take_profit, note)


def _newest(books: Books) -> list[Trade]:
    return list(islice(reversed(books.trades.values()), RECENT_TRADES))


def _orders(trades: Iterable[Trade]) -> Iterable[Event]:
    for t in trades:
        because = [each["feature"] for each in t.why if each["contribution"] > 0][:1]
        why = f"confidence {t.confidence:.2f}" + (f" by {because[0]}" if because else "")
        if t.status == "PENDING":
            yield Event(t.entry_time, f"ordered {t.qty_ordered} {t.symbol} at about {t.price:,.2f}, {why}")
        elif t.status in ("REJECTED", "CANCELLED"):
            did = "refused" if t.status == "REJECTED" else "not filled"
            yield Event(t.entry_time, f"{did}: {t.qty_ordered} {t.symbol}, {t.exit_reason}")
        else:
            yield Event(t.entry_time, f"bought {t.qty} {t.symbol} at {t.price:,.2f}, {why}")
        if t.status == "CLOSED":
            gain = f"{number(t.pnl_amount, sign='+')} USD, {percent(t.pnl_pct, '+')}"
            sold = f"sold {t.qty} {t.symbol} at {number(t.exit_price)}, {t.exit_reason}: {gain}"
            yield Event(t.exit_time or t.entry_time, sold, t.pnl_amount or 0.0)


def _signal(signal: Mapping[str, Any]) -> Event:
    outcome = "ordered" if signal["taken"] else signal["reason"]
    return Event(signal["timestamp"], f"{signal['symbol']:<5} {signal['confidence']:.2f}  {outcome}")


def _model(known: _Known, now: datetime) -> str:
    if known.card is None:
        return "none"
    words = f"{known.card.get('model_type', '')} {known.card['stamp']}".strip()
    if "train_end" in known.card:
        trained = datetime.fromisoformat(known.card["train_end"])
        since = sessions_between(new_york(trained).date(), new_york(now).date())
        words += f", {plural(sum(trained < session.close <= now for session in since), 'session')} old"
    light = known.review["drift"]["light"] if known.review is not None else None
    words += ", proven" if known.card["proven"] else ", UNPROVEN"
    return words if light is None else f"{words}, drift {light}"

"""The trading minute: hear a halt, settle, exit, predict, buy, write down - one code for live, replay and backtest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

from agreement import Agreement
from config import Settings, load_settings
from desk.books import BY_HAND, Books
from desk.brokers import Broker
from desk.halt import Halt
from desk.journal import Event, Journal, read_events
from desk.orders import Account, Execution
from desk.risk import Gate, beyond_levels
from entries import Entries
from exits import Exits
from gates import first_no, limits_of
from keeping import Keeping
from learning.model_store import NoModel, PublishedModel
from learning.prediction_log import PredictionLog
from learning.reviews import Review
from market.bars import Bar
from market.feeds import BarFeed
from market.hours import Session, epoch_minute, last_opened, local_time, new_york
from model_in_use import Prediction
from splits import Splits
from spoken import SessionTally, told
from watch import Watch

log = logging.getLogger(__name__)

RECONCILE_MINUTES = 5
PATIENT_MINUTES = 2  # without a trading minute, after which books and broker are compared first


class Predictor(Protocol):
    """What the trading minute needs of a predictor; `MLPredictor` live, `ReplayPredictor` in a replay."""

    log: PredictionLog

    def model(self, now: datetime) -> PublishedModel: ...
    def review(self, now: datetime) -> Review | None: ...
    def why(self, now: datetime, symbol: str) -> list[dict[str, Any]]: ...
    def remember(self, now: datetime) -> None: ...
    def write(self) -> None: ...
    def at_minute(
        self, now: datetime, symbols: Sequence[str], new_bars: Iterable[Bar], since: int
    ) -> list[Prediction]: ...


class LiveTrader:
    """One account's trading, a minute at a time. The same object trades live, in a replay and in a backtest.

    `LiveTrader()` opens nothing and answers `get_performance_summary()` from disk. To trade, hand in the four things
    that differ between live and replay, call `start(now)`, then `minute(now)` for each minute of a session. `say` tells
    a person, `hear` is told each event of the journal with the books after it.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        feed: BarFeed | None = None,
        broker: Broker | None = None,
        journal: Journal | None = None,
        predictor: Predictor | None = None,
        entries: bool = True,
        say: Callable[[str], object] = log.info,
        hear: Callable[[Event, Books], object] = lambda event, books: None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        if feed and broker and journal and predictor:
            self.feed, self.broker, self._journal, self.predictor = feed, broker, journal, predictor
            self.books = Books(local_time, journal.events)
            self.keeping = Keeping(self.settings.MODELS_DIR, self.books, broker, journal, predictor, say)
            self.watch = Watch(feed, self.settings.SYMBOLS, say)
            self.agreement = Agreement(self.books, broker, journal, self._book, say)
            self._gate = Gate(broker, self.books, limits_of(self.settings), say)
            if now is not None:  # a replay's minute takes no time
                self._gate.leaves = lambda order: epoch_minute(now())
            self.halt = Halt(self.settings.MODELS_DIR, self._gate, journal, self._record, say)
            self._splits = Splits(feed, self.books, broker, self._record, say)
            self.exits = Exits(self.books, self._gate, journal, self._record, say)
            self.entries = Entries(self.settings, feed.market, self.books, self._gate, journal, self._record)
        self._say, self._hear, self.watching_only = say, hear, not entries
        self._seen_minute = 0  # the newest minute whose bars have been settled
        self._began_minute = 0  # the newest that was begun
        self._unfinished = False  # whether the last minute broke off
        self._model_id: str | None = None
        self.account: Account | None = None  # as the last minute found it
        self.tally = SessionTally(None)

    # --- what is on disk ---------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        books = getattr(self, "books", None) or self._on_disk()
        p, reach = books.performance(), local_time(books.last_minute)[:16] if books.last_minute else "no minute yet"
        won = f"{p['win_rate']:.0%}" if p["closed_trades"] else "-"
        halted = f"; halted: {books.halt}" if books.halt else ""
        return (
            f"LiveTrader({p['closed_trades']} closed trades, {p['total_pnl']:+,.2f} USD, win rate {won}; "
            f"{p['open_trades']} open; books to {reach}{halted})"
        )

    def get_performance_summary(self) -> dict[str, float]:
        """What the trades on disk earned; see `desk.performance.summarise`. Needs no network, lock or model."""
        return self._on_disk().performance()

    def _on_disk(self) -> Books:
        return Books(local_time, read_events(self.settings.MODELS_DIR / "journal.jsonl"))

    # --- start and 04:00 ---------------------------------------------------------------------------------------------

    def start(self, now: datetime) -> None:
        """Bring books and broker together and take up where an earlier process ended. Raises BooksDisagree."""
        self.keeping.secure_view(now)
        self.broker.resume(self.books.tag, self.books.trades.values())
        self.halt.hear(epoch_minute(now))  # before Alpaca is asked: the file may be gone before it answers
        if self.books.first_cash is None:
            account = self.broker.account()
            self._record("account", cash=account.equity, settled=account.cash)
        self._seen_minute = (self.books.last_minute or epoch_minute(now)) - 1
        self._splits.look(now)
        self.reconcile(now)
        self.entries.above = set(self.books.above)
        self.keeping.start(now)

    def reconcile(self, now: datetime) -> None:
        """Let the books hear what the broker did and they missed. Raises BooksDisagree."""
        self.agreement.reach(now, self._seen_minute)

    def rebalance(self, now: datetime) -> None:
        """04:00: compare the books, and write down what will be sold as the session's first act, and why."""
        self._splits.look(now)
        self.reconcile(now)
        ours = self.books.live_trades().keys() - self.books.split
        plan = {
            symbol: reason
            for symbol, position in self.broker.positions().items()
            if symbol in ours and (reason := beyond_levels(position)) is not None
        }
        plan |= {symbol: reason for symbol, reason in self.books.exit_plan.items() if reason == BY_HAND}
        self._record("plan", close=plan)
        if held := len(self.books.live_trades()):
            planned = ", ".join(f"{symbol} ({reason})" for symbol, reason in plan.items()) or "none"
            self._say(f"{new_york(now):%Y-%m-%d %H:%M}  rebalance: {held} held, to be sold at the open: {planned}")

    def halt_for(self, why: str, now: datetime) -> None:
        """Halt now, for a reason of the program's own, and let no working entry buy any more."""
        self.halt.begin(why, epoch_minute(now))
        self.agreement.try_to_reach(now, self._seen_minute)

    # --- the trading minute ------------------------------------------------------------------------------------------

    def minute(self, now: datetime) -> None:
        """One minute of a session, from its open to its close inclusive: settle, exit, predict, buy, write down."""
        minute, session = epoch_minute(now), last_opened(now)
        self._seen_minute = min(self._seen_minute, minute - 1)  # a clock that was set back
        self.halt.hear(minute)
        if self._unfinished or minute > self._began_minute + PATIENT_MINUTES:
            # The minute before broke off, or there was none for a while: the broker may know more than the books.
            self.agreement.try_to_reach(now, self._seen_minute)
        self._began_minute, self._unfinished = minute, True
        since = self._seen_minute + 1
        symbols, bars, problem = self.watch.look(now, self.books.live_trades(), self._seen_minute)
        self._gate.see(bars)
        if problem is None:
            self._splits.look_again(now)
        seen = minute if problem is None else since  # bars that were not seen are still to be settled
        for execution in self.broker.settle(seen, bars):
            self._book(execution)
        unprotected = any(not position.protected for position in self.broker.positions().values())
        if minute % RECONCILE_MINUTES == 0 or self.agreement.missing or unprotected:
            self.agreement.try_to_reach(now, self._seen_minute)
        sent = now < session.close and self.exits.sell(now, session)
        if self.tally.session != session:
            self.tally = SessionTally(session)
            self._say_drift(now)
        model, ordered = self._model(now), dict[str, str]()
        if model is not None and problem is None:
            predictions = list[Prediction]()
            try:
                predictions = self._predict(now, symbols, bars, since, model)
            except OSError as error:  # history or predictions that the disk does not take
                self.keeping.failed(now, error)
            if session.open < now < session.close:
                self.tally.count(now, len(symbols), predictions)
                review, stopped = self.predictor.review(now), self._stopped()
                ordered = self.entries.enter(minute, session, predictions, model, review, stopped)
            self.predictor.remember(now)
        if sent or ordered:  # what was filled at once is booked now, and its levels are set
            for execution in self.broker.settle(minute, ()):
                self._book(execution)
        self._end_minute(now, minute, session, model)
        self._seen_minute, self._unfinished = seen - 1, False
        self._keep_reasons(now, ordered)  # last: a minute that traded well is not broken off by its explanation

    def _stopped(self) -> str | None:
        """Why nothing at all may be bought just now, or None."""
        if self.watching_only:
            return "watching only (--no-entries)"
        if self.books.halt is not None:
            return f"halted: {self.books.halt}"
        if self.keeping.trouble is not None:
            return self.keeping.trouble
        return "books and broker could not be compared" if self.agreement.missing else None

    def _model(self, now: datetime) -> PublishedModel | None:
        """The model in use, announced when it is another; None, said once, where none may serve."""
        try:
            model = self.predictor.model(now)
        except NoModel as error:
            if self._model_id != "":
                self._say(f"{error}. Positions are watched, nothing is bought")
                self._model_id = ""
            return None
        if model.stamp != self._model_id:
            proof = "proven" if model.card["proven"] else "unproven"
            self._say(f"{new_york(now):%Y-%m-%d %H:%M}  model {model.stamp} is in use ({proof})")
            if (break_even := model.card["baseline"]["break_even_confidence"] or 0.0) > self.settings.MIN_CONFIDENCE:
                threshold = (
                    f"MIN_CONFIDENCE {self.settings.MIN_CONFIDENCE:.2f} is below its break-even {break_even:.2f}"
                )
                self._say(f"  {threshold}: such trades lose on average")
            self._record("model", model_id=model.stamp, minute=epoch_minute(now))
            self._model_id = model.stamp
        return model

    def _say_drift(self, now: datetime) -> None:
        """At the open: whether this is still the market that the model learnt from."""
        review = self.predictor.review(now)
        if review is not None and review["drift"]["light"] in ("amber", "red"):
            self._say(
                f"{new_york(now):%Y-%m-%d %H:%M}  drift is {review['drift']['light']}: {review['drift']['words']}"
            )

    def _predict(
        self, now: datetime, symbols: Sequence[str], bars: Sequence[Bar], since: int, model: PublishedModel
    ) -> list[Prediction]:
        predictions = [p for p in self.predictor.at_minute(now, symbols, bars, since) if p.problem is None]
        timestamp, threshold = new_york(now).isoformat(), self.settings.MIN_CONFIDENCE
        for prediction in predictions:
            meets = prediction.confidence >= threshold
            self.predictor.log.add(
                prediction.symbol, timestamp, prediction.price, prediction.confidence, model.stamp,
                meets=meets, buy=meets, model_confidence=prediction.model_confidence,
            )  # fmt: skip
        return predictions

    def _keep_reasons(self, now: datetime, ordered: Mapping[str, str]) -> None:
        """Write down which features spoke for each purchase; the orders have left already."""
        for symbol, order_id in ordered.items():
            spoke = [
                {
                    "feature": each["feature"],
                    "value": round(each["value"], 6),
                    "contribution": round(each["contribution"], 6),
                }
                for each in self.predictor.why(now, symbol)
            ]
            self._record("why", order_id=order_id, spoke=spoke)

    def first_no(self, prediction: Prediction, now: datetime) -> str | None:
        """Which gate said no first to buying on a prediction of the minute `now`; None: it was ordered."""
        session = last_opened(now)
        if not session.open < now < session.close:
            return "no entry at the session's first and last minute"
        if prediction.symbol in self.entries.outcomes:
            outcome = self.entries.outcomes[prediction.symbol]
            return None if outcome == "ordered" else outcome
        card = self.predictor.model(now).card
        review = self.predictor.review(now)
        return first_no(prediction, session, self.settings, card, review, self.books, self._stopped())

    def _end_minute(self, now: datetime, minute: int, session: Session, model: PublishedModel | None) -> None:
        account = self.account = self.broker.account()
        self._record("minute", minute=minute, equity=round(account.equity, 4), above=sorted(self.entries.above))
        self.halt.watch_losses(account.equity, minute)
        if now >= session.close:
            card = model.card if model else None
            event = self.tally.event(self.settings.MIN_CONFIDENCE, card, self.books)
            self._record("session", **event)
            for line in self.tally.lines(self.books, account, event):
                self._say(line)
            self.keeping.end_session(now)
        elif self._journal.syncs_each_minute:
            self.keeping.end_minute(now)

    # --- the books ---------------------------------------------------------------------------------------------------

    def record_duty(self, duty: str, session: str, outcome: str, words: str) -> None:
        """Write down that a daily duty was done, failed or missed for a session date."""
        self._record("duty", duty=duty, session=session, outcome=outcome, words=words)
        self._journal.sync()

    def _record(self, kind: str, **fields: Any) -> Event:
        event = self._journal.append(kind, **fields)
        self.books.apply(event)
        self._hear(event, self.books)
        return event

    def _book(self, execution: Execution) -> None:
        if self.books.heard(execution):
            return
        before = self.books.live_trades().get(execution.symbol)
        self._record("execution", execution=asdict(execution))
        if execution.kind == "fill" and before is not None:
            self._say(told(execution, before))

"""What is bought: the signals that pass every gate (gates.py, then the broker's own)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agreement import Agreement
from config import Settings
from desk.books import Books
from desk.brokers import Broker
from desk.journal import Event, Journal
from desk.orders import Order
from desk.risk import position_size
from gates import first_no, limits_of
from learning.labels import ENTRY_PATIENCE_MINUTES
from learning.model_store import PublishedModel
from learning.reviews import Review
from market.hours import Session, epoch_minute, local_time
from model_in_use import Prediction


class Entries:
    """Buys what passes every gate. Writes signals and intents down with `record`; `allowed` False only watches."""

    def __init__(
        self,
        settings: Settings,
        market: str,
        books: Books,
        broker: Broker,
        journal: Journal,
        agreement: Agreement,
        record: Callable[..., Event],
        say: Callable[[str], object],
        *,
        allowed: bool,
    ) -> None:
        self._settings, self._market, self._limits = settings, market, limits_of(settings)
        self._books, self._broker, self._journal, self._agreement = books, broker, journal, agreement
        self._record, self._say, self._allowed = record, say, allowed
        self._hindrance: tuple[int, str | None] = (0, None)  # the minute in which it was asked, and the answer
        self.above: set[str] = set()  # symbols whose last prediction reached the threshold
        self.outcomes: dict[str, str] = {}  # of the last minute's signals, by symbol: ordered, or the first no

    def enter(
        self,
        minute: int,
        session: Session,
        predictions: Sequence[Prediction],
        model: PublishedModel,
        review: Review | None,
    ) -> dict[str, str]:
        """Buy, most confident first; order id by symbol. A signal is written down when it appears or is bought."""
        reached = [p for p in predictions if p.own >= self._settings.MIN_CONFIDENCE]
        self.outcomes = outcomes = dict[str, str]()
        ordered: dict[str, str] = {}
        for prediction in sorted(reached, key=lambda p: (-p.confidence, p.symbol)):
            symbol = prediction.symbol
            outcome = self._try_to_buy(prediction, minute, session, model, review)
            if taken := isinstance(outcome, Order):
                ordered[symbol] = outcome.id
            outcomes[symbol] = "ordered" if isinstance(outcome, Order) else outcome
            if symbol not in self.above or taken:
                self._record(
                    "signal",
                    symbol=symbol,
                    price=prediction.price,
                    confidence=round(prediction.own, 6),
                    timestamp=local_time(minute),
                    taken=taken,
                    reason=outcomes[symbol],
                )
        seen = {p.symbol for p in predictions}
        self.above = {p.symbol for p in reached} | (self.above - seen)
        return ordered

    def _try_to_buy(
        self, prediction: Prediction, minute: int, session: Session, model: PublishedModel, review: Review | None
    ) -> Order | str:
        """Submit an entry, or say why there is none."""
        settings = self._settings
        no = first_no(prediction, session, settings, model.card, review, self._books, entries=self._allowed)
        if no is not None:
            return no
        if self._agreement.missing:
            return "books and broker could not be compared"
        if (no := self._hindered(minute, session)) is not None:
            return no
        size = position_size(prediction.price, self._broker.account(), self._limits)
        if size.shares < 1:
            return f"no share affordable: {size.bound}"
        order = Order(
            id=self._books.entry_id(session.day, prediction.symbol),
            symbol=prediction.symbol,
            side="BUY",
            qty=size.shares,
            price=prediction.price,
            minute=minute,
            expires_minute=min(minute + ENTRY_PATIENCE_MINUTES, epoch_minute(session.close)),
            stop_loss=settings.STOP_LOSS_PCT,
            take_profit=settings.TAKE_PROFIT_PCT,
        )
        self._record(
            "intent",
            order_id=order.id,
            symbol=order.symbol,
            qty=order.qty,
            bound=size.bound,
            price=order.price,
            confidence=round(prediction.confidence, 6),
            model_confidence=round(prediction.own, 6),
            minute=minute,
            stop_loss=order.stop_loss,
            take_profit=order.take_profit,
            model_id=model.stamp,
            market=self._market,
        )
        self._journal.sync(order=True)
        self._broker.submit(order)
        return order

    def _hindered(self, minute: int, session: Session) -> str | None:
        """What the broker has against entries, asked once a minute and only when one is to be made; said once."""
        asked, before = self._hindrance
        if asked != minute:
            self._hindrance = minute, self._broker.hindrance(session.close)
            if (words := self._hindrance[1]) is not None and words != before:
                self._say(f"{local_time(minute)[:16]}  nothing is bought: {words}")
        return self._hindrance[1]

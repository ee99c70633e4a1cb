"""What is bought: the signals that pass every gate (gates.py, then the one before the wire, desk/risk.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alpaca_wire import Refused, Unreachable
from config import Settings
from desk.books import Books
from desk.journal import Event, Journal
from desk.orders import Order
from desk.risk import Gate, position_size
from gates import first_no
from learning.labels import ENTRY_PATIENCE_MINUTES
from learning.model_store import PublishedModel
from learning.reviews import Review
from market.hours import Session, epoch_minute, local_time
from model_in_use import Prediction

NO_ACCOUNT = "the account cannot be read"


class Entries:
    """Buys what passes every gate. Writes signals and intents down with `record`, and brings intents to disk."""

    def __init__(
        self,
        settings: Settings,
        market: str,
        books: Books,
        gate: Gate,
        journal: Journal,
        record: Callable[..., Event],
    ) -> None:
        self._settings, self._market = settings, market
        self._books, self._gate, self._journal, self._record = books, gate, journal, record
        self.above: set[str] = set()  # symbols whose last prediction reached the threshold
        self.outcomes: dict[str, str] = {}  # of the last minute's signals, by symbol: ordered, or the first no

    def enter(
        self,
        minute: int,
        session: Session,
        predictions: Sequence[Prediction],
        model: PublishedModel,
        review: Review | None,
        stopped: str | None,
    ) -> dict[str, str]:
        """Buy, most confident first; order id by symbol. A signal is written down when it appears or is bought.

        `stopped`: why nothing at all may be bought just now, or None.
        """
        reached = [p for p in predictions if p.own >= self._settings.MIN_CONFIDENCE]
        self.outcomes = outcomes = dict[str, str]()
        ordered: dict[str, str] = {}
        for prediction in sorted(reached, key=lambda p: (-p.confidence, p.symbol)):
            symbol = prediction.symbol
            outcome = self._try_to_buy(prediction, minute, session, model, review, stopped)
            if isinstance(outcome, str) and outcome.startswith(NO_ACCOUNT):
                stopped = outcome  # an outage is waited for once a minute, not once a signal
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
        self,
        prediction: Prediction,
        minute: int,
        session: Session,
        model: PublishedModel,
        review: Review | None,
        stopped: str | None,
    ) -> Order | str:
        """Submit an entry, or say why there is none."""
        settings = self._settings
        no = first_no(prediction, session, settings, model.card, review, self._books, stopped)
        if no is not None:
            return no
        try:
            size = position_size(prediction.price, self._gate.broker.account(), self._gate.limits)
        except (Refused, Unreachable) as error:
            return f"{NO_ACCOUNT}: {error}"
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

        def write_down() -> None:
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

        try:
            return self._gate.submit(order, session.close, write_down) or order
        except OSError as error:  # the intent is in the books, and withdrawn at the next comparison: it never left
            return f"the journal cannot be written ({error.strerror})"

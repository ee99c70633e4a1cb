"""What a trading minute leaves on disk: the broker's memory, the journal, the predictions, the documented view."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from desk.books import Books
from desk.brokers import Broker
from desk.journal import Journal
from desk.trade_history import TradeHistory, secure_view
from learning.prediction_log import PredictionLog
from market.hours import local_time, new_york


class Writes(Protocol):
    """What is kept of a predictor: its log, and what else it has to write."""

    log: PredictionLog

    def write(self) -> None: ...


class Keeping:
    """Brings minutes to disk. A disk that takes nothing stops entries and not exits, and heals.

    `trouble` says why nothing may be bought, or is None; every minute tries again, with all there is to write.
    """

    def __init__(
        self,
        folder: Path,
        books: Books,
        broker: Broker,
        journal: Journal,
        predictor: Writes,
        say: Callable[[str], object],
    ) -> None:
        self._view_path = folder / "trade_history.json"
        self._books, self._broker, self._journal, self._predictor = books, broker, journal, predictor
        self._history = TradeHistory(self._view_path, books)
        self._say = say
        self.trouble: str | None = None
        self._failed: datetime | None = None  # the newest minute in which the disk refused something

    def secure_view(self, now: datetime) -> None:
        """Move aside a view that is not of these books, before anything is written over it."""
        secure_view(self._view_path, self._books, new_york(now).strftime("%Y%m%d_%H%M%S"))

    def start(self, now: datetime) -> None:
        """Write the view that an earlier process may have left behind, and archive what is over."""
        self._try(now, self._history.flush, self._archive)

    def end_minute(self, now: datetime) -> None:
        self._try(now, self._broker.save, self._journal.sync, self._predictor.write, self._history.write)

    def end_session(self, now: datetime) -> None:
        self._try(now, self.flush, self._predictor.log.compress_old, self._archive)

    def flush(self) -> None:
        """Bring everything to disk. The broker's own memory comes first: what it tells again the books may miss, but
        they must not know more than it does."""
        self._broker.save()
        self._journal.sync()
        self._predictor.write()
        self._history.flush()

    def failed(self, now: datetime, error: OSError) -> None:
        """The disk refused something in the minute `now`."""
        if self.trouble is None:
            self._say(f"{new_york(now):%Y-%m-%d %H:%M}  nothing is bought until the disk takes the books: {error}")
        self.trouble, self._failed = f"the disk does not take the books ({error.strerror})", now

    def _try(self, now: datetime, *steps: Callable[[], object]) -> None:
        try:
            for step in steps:
                step()
        except OSError as error:
            self.failed(now, error)
        else:
            if self.trouble is not None and self._failed != now:  # a whole minute without a refusal
                self._say(f"{new_york(now):%Y-%m-%d %H:%M}  the disk takes the books again")
                self.trouble = None

    def _archive(self) -> None:
        self._journal.archive_months(local_time)

"""Minute bars from Alpaca: history by way of data/bars/, the newest minute with its corrections, and splits.

One feed (iex or sip) for training and trading, prices split-adjusted. Alpaca publishes a minute's bar about a second
after its end, recomputes it some thirty seconds later and adds late ones, so each minute asks for the three before too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from alpaca_wire import AlpacaError, AlpacaWire, Refused, Unreachable
from market.bar_store import BarStore, Fetched
from market.bars import COLUMNS, Bar, as_bars, sift_bars
from market.hours import NEW_YORK, Session, epoch_minute, moment, new_york, sessions_between

log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
OVERLAP_MINUTES = 3  # before the newest minute: where corrections and late bars are looked for
SETTLED = timedelta(minutes=20)  # after the close, when no bar of a session comes or changes any more
SIP_DELAY = timedelta(minutes=16)  # without a subscription SIP bars are given out after 15 minutes
SYMBOLS_PER_REQUEST = 200  # an address of about 1,000 characters
BARS_PER_PAGE = 10_000  # Alpaca's most
UNUSABLE_SHARE = 0.05  # of a symbol's bars broken: none of them is used
SPLIT_SHARE = 0.01  # a stored close further from Alpaca's adjusted one than this was adjusted for another split
LATE = timedelta(minutes=45)  # 200 symbols x 45 bars are one page


class FeedUnavailable(RuntimeError):
    """A source of bars that cannot be used as asked; the message says why and the cure."""


class AlpacaFeed:
    """A BarFeed over Alpaca's market data.

    Args: `wire`; `store`, where history is kept; `watch(now)`, the symbols worth watching; `feed`, iex or sip;
    `days_back`, calendar days that are fetched again after a split. Raises AlpacaError where Alpaca does not answer.
    """

    market = "alpaca"

    def __init__(
        self, wire: AlpacaWire, store: BarStore, watch: Callable[[datetime], Sequence[str]], feed: str, days_back: int
    ) -> None:
        self.feed = feed
        self._wire, self._store, self._watch, self._days_back = wire, store, watch, days_back
        self._handed: dict[tuple[str, int], Bar] = {}  # what new_bars gave out of the last minutes
        self._split: set[str] = set()  # forgotten because of a split, and not fetched again yet
        self._unusable: set[str] = set()  # too many broken bars in the newest fetch

    def symbols(self, now: datetime) -> list[str]:
        """The symbols worth watching now; one whose history must be fetched again after a split is not among them."""
        return [symbol for symbol in self._watch(now) if symbol not in self._split]

    # --- history -----------------------------------------------------------------------------------------------------

    def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        """As BarFeed.bars; what the store lacks is fetched first."""
        for _ in self.update(symbols, start, end):
            pass
        sessions = _sessions(start, end)
        if not sessions:
            return _table([], start, end)[0]
        table = self._store.read(sessions[0].day, sessions[-1].day, symbols)
        within = (table["timestamp"] >= start) & (table["timestamp"] + MINUTE <= end)
        return table[within].reset_index(drop=True)

    def update(self, symbols: Sequence[str], start: datetime, end: datetime) -> Iterator[Fetched]:
        """Bring the store up to date for what is known at `end`, one session a step."""
        end = _whole_minute(end)
        sessions = _sessions(start, end)
        yield from self._store.update(
            self._fetch, self.feed, symbols, sessions, end, settle=SETTLED, unusable=self._unusable, whole=True
        )
        self._split.difference_update(set(symbols) - self._unusable)

    def _fetch(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        """Bars of start <= timestamp < end as a checked table, past the store."""
        try:
            rows = list(self._rows(symbols, start, end))
        except Refused as error:
            if not _too_recent(error):
                raise
            end = max(start, end - SIP_DELAY)
            log.info("the subscription gives SIP bars only after 15 minutes; asking up to %s", end)
            rows = list(self._rows(symbols, start, end))
        table, broken = _table(rows, start, end)
        self._unusable.difference_update(symbols)
        if unusable := sorted(symbol for symbol, share in broken.items() if share > UNUSABLE_SHARE):
            self._unusable.update(unusable)
            log.warning("more than %.0f%% of the bars are broken, left out: %s", 100 * UNUSABLE_SHARE, unusable)
            table = table[~table["symbol"].isin(unusable)].reset_index(drop=True)
        return table

    def _rows(self, symbols: Sequence[str], start: datetime, end: datetime) -> Iterator[tuple[Any, ...]]:
        """Alpaca's bars of start <= timestamp < end, as COLUMNS, unchecked. Alpaca counts `end` in, so it is moved."""
        if start >= end:
            return
        for place in range(0, len(symbols), SYMBOLS_PER_REQUEST):
            some = symbols[place : place + SYMBOLS_PER_REQUEST]
            query = {
                "symbols": ",".join(some),
                "timeframe": "1Min",
                "start": start.isoformat(),
                "end": (end - MINUTE).isoformat(),
                "adjustment": "split",
                "feed": self.feed,
                "limit": BARS_PER_PAGE,
            }
            expected = len(some) * ((end - start) // MINUTE)
            try:
                for page in self._pages(query, most=2 + 2 * expected // BARS_PER_PAGE):
                    yield from _read_page(page)
            except Refused as error:
                unknown = re.search(r"invalid symbol:?\s*(\S+)", error.message)
                if unknown is None or unknown[1] not in some:
                    raise
                log.warning("Alpaca does not know the symbol %s: it has no bars", unknown[1])
                yield from self._rows([symbol for symbol in some if symbol != unknown[1]], start, end)

    def _pages(self, query: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
        tokens: set[str] = set()
        token: str | None = None
        while True:
            page = self._wire.data.get("/stocks/bars", query if token is None else {**query, "page_token": token})
            if not isinstance(page, dict):
                raise Unreachable(f"/stocks/bars: a reply that holds no bars ({type(page).__name__})")
            yield page
            token = page.get("next_page_token")
            if not token:
                return
            if not isinstance(token, str):
                raise Unreachable("/stocks/bars: a reply whose next page cannot be named")
            if token in tokens or len(tokens) + 1 >= most:
                raise Unreachable(
                    f"/stocks/bars: page {len(tokens) + 1} of at most {most} leads on to another "
                    f"{'for the second time' if token in tokens else 'one'}; the reply has no end, try again later"
                )
            tokens.add(token)

    # --- the newest minute -------------------------------------------------------------------------------------------

    def new_bars(self, symbols: Sequence[str], after_minute: int, now: datetime) -> list[Bar]:
        """As BarFeed.new_bars, with what changed or came late in the OVERLAP_MINUTES before. One request a 200 symbols.

        Raises FeedUnavailable where the subscription does not give the newest bars.
        """
        start, now = moment(after_minute + 1 - OVERLAP_MINUTES), _whole_minute(now)
        found: list[Bar] = []
        for session in _sessions(start, now):
            first, end = max(start, session.open), min(session.close, now)
            try:
                rows = list(self._rows(symbols, first, end))
            except Refused as error:
                if not _too_recent(error):
                    raise
                raise FeedUnavailable(
                    "Alpaca gives this account SIP bars only after 15 minutes, so nothing can be traded on them: set "
                    'FEED = "iex" in config.py (in folders of its own: MODELS_DIR=... DATA_DIR=...), or subscribe'
                ) from error
            found += as_bars(_table(rows, first, end)[0])
        found.sort(key=lambda bar: (bar.minute, bar.symbol))
        new = [bar for bar in found if bar.minute > after_minute or self._handed.get(bar[:2]) != bar]
        oldest = epoch_minute(now) - OVERLAP_MINUTES
        self._handed = {bar[:2]: bar for bar in found if bar.minute >= oldest}
        return new

    # --- splits ------------------------------------------------------------------------------------------------------

    def check_splits(self, now: datetime) -> list[str]:
        """Compare each symbol's newest stored close with Alpaca's adjusted one; fetch anew whole what is off.

        Returns the symbols that were split. One whose fetch fails is not in `symbols()` until it succeeds.
        """
        first = new_york(now).date() - timedelta(days=self._days_back)
        stored = self._newest_stored(first)
        spans = [rows for _, rows in stored.groupby(["day", "late"])]
        now_said = [
            self._fetch(s["symbol"].tolist(), s["timestamp"].min(), s["timestamp"].max() + MINUTE) for s in spans
        ]
        both = stored.merge(pd.concat([stored.iloc[:0], *now_said]), on=["symbol", "timestamp"], suffixes=("", "_now"))
        if gone := sorted(set(stored["symbol"]) - set(both["symbol"])):
            log.warning(
                "splits: not compared, Alpaca has no bar now where one is stored: %d (%s)",
                len(gone),
                ", ".join(gone[:8]),
            )
        off = both[(both["close"] / both["close_now"] - 1).abs() > SPLIT_SHARE]
        for symbol, old, new in zip(off["symbol"], off["close"], off["close_now"], strict=True):
            log.warning("%s: stored close %.4f is now %.4f (a split): fetching it anew", symbol, old, new)
        if len(off):
            self._store.note_splits(set(off["symbol"]), now)
            self._store.forget(set(off["symbol"]))
            self._split |= set(off["symbol"])
        before = sorted(self._split)
        if before:
            start = sessions_between(first, new_york(now).date())[0].open
            try:
                for _ in self.update(before, start, now):
                    pass
            except AlpacaError as error:
                log.warning("not watched until they are fetched anew: %s (%s)", ", ".join(before), error)
        return before

    def found_splits(self) -> dict[str, datetime]:
        return self._store.splits()

    def _newest_stored(self, first: date) -> pd.DataFrame:
        """The newest stored bar of each symbol, from `first` on: symbol, timestamp, close, day, and late in the day."""
        days = [day for day in self._store.days(complete=True) if day >= first]
        table = self._store.read(days[0], days[-1]) if days else _table([], moment(0), moment(0))[0]
        newest = table.groupby("symbol").tail(1)[["symbol", "timestamp", "close"]]
        closes = {session.day: session.close for session in sessions_between(first, max(days, default=first))}
        day = newest["timestamp"].dt.tz_convert(NEW_YORK).dt.date
        return newest.assign(day=day, late=newest["timestamp"] >= pd.to_datetime(day.map(closes), utc=True) - LATE)


def _whole_minute(when: datetime) -> datetime:
    """Up to when the bars are known whole; the bar of a running minute is none yet."""
    return moment(epoch_minute(when))


def _sessions(start: datetime, end: datetime) -> list[Session]:
    """The sessions of which a part lies in start <= time < end."""
    near = sessions_between(new_york(start).date(), new_york(end).date())
    return [session for session in near if session.open < end and session.close > start]


def _read_page(page: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of one reply in the order of COLUMNS, with None for a field that is not there."""
    try:
        for symbol, bars in (page.get("bars") or {}).items():
            for bar in bars:
                yield (symbol, *map(bar.get, "tohlcv"))
    except (AttributeError, TypeError) as error:
        raise Unreachable("/stocks/bars: a reply whose bars cannot be read") from error


def _table(rows: Sequence[tuple[Any, ...]], start: datetime, end: datetime) -> tuple[pd.DataFrame, Mapping[str, float]]:
    return sift_bars(pd.DataFrame(rows, columns=COLUMNS), start, end, "Alpaca")


def _too_recent(error: Refused) -> bool:
    return error.status == 403 and "recent SIP data" in error.message

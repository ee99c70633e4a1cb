"""The most active US stocks of a day, sifted for what can sensibly be traded, kept in data/symbols/<date>.json.

    {"date": "2026-03-02", "symbols": {"NVDA": "2026-03-02T09:30:00-05:00"}, "left_out": {"SPY": "fund"}}

The day is the last session's that opened: at 20:00 and at 04:00 the list is still that of the session before. A symbol
that was on it once stays watched until the day ends, as one that comes and goes at the hundredth place would have to be
fetched each time; so the list may grow beyond its limit.

The days kept say whom one could have chosen then. To learn what today's list did last month is to choose by hindsight:
it favours what has moved already.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alpaca_wire import AlpacaError, AlpacaWire, Unreachable
from durable import replace_file, to_json
from market.bars import epoch_minutes
from market.hours import Minutes, Session, epoch_minute, last_opened, new_york, sessions_between

log = logging.getLogger(__name__)

MOST = 1e12  # USD per share; beyond it a price is nonsense
MOST_ACTIVE = 100  # Alpaca's list ends there
# Volume counts from the open; before this much of the session is over, nobody has much of it.
VOLUME_COUNTS_AFTER = timedelta(minutes=30)
NAMED_EACH = 4  # symbols named for each reason on the screen; the file names all

SYMBOLS, ACTIVE_LIST, SOURCE = "SYMBOLS", "active list", "the source's own"  # who chose a selection

_FUND_EXCHANGES = {"ARCA", "NYSEARCA", "BATS"}  # where funds are listed, and hardly anything else
# As whole words: Northern Trust, WisdomTree, Inc. and Invesco Ltd. are companies.
_FUND_NAME = re.compile(
    r"\b(ETFs?|ETNs?|ETPs?|ETVs?|Exchange[- ]Traded|Index Fund|Funds?|ProShares|UltraPro|iShares|SPDR|Direxion|"
    r"GraniteShares|YieldMax|VanEck|MicroSectors|T-REX|Tradr|Roundhill|Leverage Shares|QQQ|iPath|VelocityShares|"
    r"(Bull|Bear) \d(\.\d+)?X|\d(\.\d+)?X (Long|Short|Bull|Bear))\b",
    re.IGNORECASE,
)


class ActiveList:
    """Which symbols to watch now.

    Args: `folder`, where the days are kept; of each look the first `limit` that pass are taken; floors `min_price`
    (USD) and `min_volume` (shares of the session so far, from half an hour after its open on); `feed`, whose latest
    trades give the prices; `say` shows a person, once, what is left out and why.
    """

    def __init__(
        self,
        wire: AlpacaWire,
        folder: Path,
        limit: int,
        min_price: float,
        min_volume: float,
        feed: str,
        say: Callable[[str], object] = log.warning,
    ) -> None:
        self._wire, self._folder, self._limit, self._feed, self._say = wire, folder, limit, feed, say
        self._min_price = min_price
        self._min_volume = min_volume
        self._day: date | None = None
        self._symbols: dict[str, str] = {}  # the day's, with the moment each was first seen, ISO 8601
        self._left_out: dict[str, str] = {}  # the day's, with the reason
        self._unfit: dict[str, str | None] = {}  # every active asset: why it is none for us, or None
        self._prices: dict[str, float | None] = {}  # USD, when first looked at that day
        self._last: list[str] = []  # of the day before, for an outage at the open
        self._failing = False

    def look(self, now: datetime) -> list[str]:
        """The symbols to watch at `now`, sorted: those of the day so far and the newly active.

        While Alpaca does not answer the last list serves. Raises AlpacaError only where there is none.
        """
        session = last_opened(now)
        if session.day != self._day:
            self._begin(session.day)
        try:
            volumes = self._most_active()
            self._sift(volumes, now, volume_counts=now >= session.open + VOLUME_COUNTS_AFTER)
        except AlpacaError as error:
            serving = sorted(self._symbols) or self._last
            if not serving:
                raise
            if not self._failing:
                self._say(f"no most-active list to be had, the last one of {len(serving)} symbols serves: {error}")
            self._failing = True
            return serving
        if self._failing:
            self._say("the most-active list is there again")
        self._failing = False
        return sorted(self._symbols)

    def _begin(self, day: date) -> None:
        if self._day is None:
            earlier = sorted(path for path in self._folder.glob("????-??-??.json") if path.stem < str(day))
            self._symbols = self._read(earlier[-1])["symbols"] if earlier else {}
        self._day, self._last = day, sorted(self._symbols)
        kept = self._read(self._path)
        self._symbols, self._left_out = kept["symbols"], kept["left_out"]
        self._unfit, self._prices = {}, {}

    def _most_active(self) -> dict[str, float]:
        """Volume by symbol, the most active first."""
        reply = self._wire.screener.get("/screener/stocks/most-actives", {"by": "volume", "top": MOST_ACTIVE})
        try:
            volumes = {str(item["symbol"]): float(item["volume"]) for item in reply["most_actives"]}
            to_json(volumes).encode()  # finite numbers and whole characters
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise Unreachable("/screener/stocks/most-actives: a reply that cannot be read") from error
        return volumes

    def _sift(self, volumes: Mapping[str, float], now: datetime, *, volume_counts: bool) -> None:
        """Take into the day what passes, write down what does not; nothing changes if Alpaca does not answer."""
        too_little = f"below {self._min_volume:,.0f} shares"
        judged = self._symbols.keys() | {s for s, why in self._left_out.items() if not why.startswith(too_little)}
        fresh = [symbol for symbol in volumes if symbol not in judged]
        if fresh and not self._unfit:
            self._unfit = self._assets()
        reasons: dict[str, str | None] = {}
        for symbol in fresh:
            reasons[symbol] = self._unfit.get(symbol, "not an active US stock at Alpaca")
            if reasons[symbol] is None and volume_counts and volumes[symbol] < self._min_volume:
                reasons[symbol] = f"{too_little} ({volumes[symbol]:,.0f})"
        self._look_up_prices(symbol for symbol in fresh if reasons[symbol] is None)
        for symbol in fresh:
            if reasons[symbol] is None:
                price = self._prices[symbol]
                if price is None:
                    reasons[symbol] = f"no price on feed {self._feed}"
                elif price < self._min_price:
                    reasons[symbol] = f"below {self._min_price:g} USD ({price:g})"
        fitting = [symbol for symbol in volumes if symbol in self._symbols or reasons.get(symbol, "") is None]
        entering = [symbol for symbol in fitting[: self._limit] if symbol not in self._symbols]
        leaving = {symbol: why for symbol, why in reasons.items() if why and symbol not in self._left_out}
        for symbol in entering:
            self._left_out.pop(symbol, None)
            self._symbols[symbol] = new_york(now).isoformat()
        if entering or leaving:
            self._left_out |= leaving
            self._folder.mkdir(parents=True, exist_ok=True)
            content = {"date": str(self._day), "symbols": self._symbols, "left_out": self._left_out}
            replace_file(self._path, to_json(content, indent=1))
        if leaving:
            self._tell(leaving)

    def _assets(self) -> dict[str, str | None]:
        reply = self._wire.trading.get("/assets", {"status": "active", "asset_class": "us_equity"})
        if not isinstance(reply, list) or not reply:
            raise Unreachable("/assets: a reply that holds no assets")
        return {str(asset.get("symbol")): unfit(asset) for asset in reply if isinstance(asset, dict)}

    def _look_up_prices(self, symbols: Iterable[str]) -> None:
        unknown = [symbol for symbol in symbols if symbol not in self._prices]
        if not unknown:
            return
        reply = self._wire.data.get("/stocks/trades/latest", {"symbols": ",".join(unknown), "feed": self._feed})
        trades = reply.get("trades") if isinstance(reply, dict) else None
        if not isinstance(trades, dict):
            raise Unreachable("/stocks/trades/latest: a reply that holds no trades")
        for symbol in unknown:
            trade = trades.get(symbol)
            price = trade.get("p") if isinstance(trade, dict) else None
            self._prices[symbol] = price if isinstance(price, int | float) and 0 < price < MOST else None

    def _tell(self, left_out: Mapping[str, str]) -> None:
        kinds = defaultdict(list)
        for symbol, why in left_out.items():
            kinds[why.partition(" (")[0]].append(symbol)
        parts = [
            f"{len(names)} {kind} ({', '.join(names[:NAMED_EACH])}{', ...' if len(names) > NAMED_EACH else ''})"
            for kind, names in kinds.items()
        ]
        self._say(f"most active, but left out: {', '.join(parts)}; all in {self._path}")

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._day}.json"

    def _read(self, path: Path) -> dict[str, dict[str, str]]:
        empty: dict[str, dict[str, str]] = {"symbols": {}, "left_out": {}}
        if not path.exists():
            return empty
        try:
            content = json.loads(path.read_text())
            to_json(content).encode()  # whole characters all through
            return {name: {str(key): str(value) for key, value in content[name].items()} for name in empty}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            self._say(f"{path} cannot be read ({type(error).__name__}) and is begun anew")
            return empty


def read_lists(folder: Path, first: date, last: date) -> dict[date, dict[str, datetime]]:
    """The lists kept of the sessions first <= day <= last: who stood on each, and since when (aware).

    Who joined at the close or later was chosen by what the day did: such symbols are left out, and a day that has no
    others is left out whole. A file that cannot be read is passed over with a warning.
    """
    lists: dict[date, dict[str, datetime]] = {}
    for session in sessions_between(first, last):
        path = folder / f"{session.day}.json"
        if not path.exists():
            continue
        try:
            joined = {
                str(s): datetime.fromisoformat(when) for s, when in json.loads(path.read_text())["symbols"].items()
            }
            in_time = {symbol: when for symbol, when in joined.items() if when < session.close}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s cannot be read (%s): a day without a list", path, type(error).__name__)
            continue
        if in_time:
            lists[session.day] = in_time
    return lists


@dataclass(frozen=True)
class Selection:
    """Whose bars to learn from.

    `chosen` says who chose: SYMBOLS, ACTIVE_LIST or SOURCE; `watched` are the symbols of now; `lists` has, of the
    sessions whose list was kept, who stood on it and since when.
    """

    chosen: str
    watched: Sequence[str]
    lists: Mapping[Session, Mapping[str, datetime]]

    @property
    def symbols(self) -> list[str]:
        """Everybody whose bars are needed, sorted."""
        return sorted({*self.watched, *(symbol for joined in self.lists.values() for symbol in joined)})

    def admits(self, bars: pd.DataFrame) -> NDArray[np.bool_]:
        """Which bars, shape (n,), may be learnt from.

        In a session with a list those that became known while their symbol stood on it, else those of `watched`.
        """
        minutes, symbols = epoch_minutes(bars["timestamp"]), bars["symbol"]
        admitted: NDArray[np.bool_] = symbols.isin(list(self.watched)).to_numpy(copy=True)
        for session, joined in self.lists.items():
            rows = _within(session, minutes)
            since = {symbol: math.ceil(when.timestamp() / 60) for symbol, when in joined.items()}
            # NaN for who was not listed, and nothing is at or after that
            admitted[rows] = minutes[rows] + 1 >= symbols[rows].map(since).to_numpy("float64")
        return admitted

    def describe(self, timestamps: pd.Series, sessions: int) -> dict[str, Any]:
        """Who chose, and how much of it by hindsight: the share of `timestamps` in a session without a list.

        None where no list chose, or there is nothing to have a share of. Args: `timestamps`, shape (n,), of what was
        admitted out of a window of so many `sessions`.
        """
        minutes = epoch_minutes(timestamps)
        unlisted = len(minutes) - sum(int(_within(session, minutes).sum()) for session in self.lists)
        measurable = self.chosen == ACTIVE_LIST and len(minutes) > 0
        return {
            "chosen": self.chosen,
            "sessions": sessions,
            "sessions_listed": len(self.lists),
            "by_hindsight": unlisted / len(minutes) if measurable else None,
        }


def _within(session: Session, minutes: Minutes) -> NDArray[np.bool_]:
    return (minutes >= epoch_minute(session.open)) & (minutes < epoch_minute(session.close))


def unfit(asset: Mapping[str, Any]) -> str | None:
    """Why an asset of Alpaca's list is not traded here, or None; fields that are not there are not held against it."""
    exchange = str(asset.get("exchange"))
    if asset.get("status", "active") != "active" or asset.get("class", "us_equity") != "us_equity":
        return "not an active US stock at Alpaca"
    if asset.get("tradable") is False:
        return "not tradable"
    if exchange == "OTC":
        return "traded over the counter"
    if exchange in _FUND_EXCHANGES or _FUND_NAME.search(str(asset.get("name"))):
        return "fund"
    return None

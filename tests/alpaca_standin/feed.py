"""The bars as the data API publishes them: late, sometimes hidden, revised, restated or adjusted for a split.

The tape is what happened; this is what one is told. `changes` are control's, kept so that a restart repeats them.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime
from typing import Any

from alpaca_standin.formats import moment_of
from alpaca_standin.settings import Settings
from alpaca_standin.tape import Bar, Bars, Tape
from market.hours import Session, epoch_minute

RESTATED_AFTER = 30  # seconds


class Feed:
    """Published bars."""

    def __init__(self, tape: Tape, settings: Settings) -> None:
        self.tape, self.settings = tape, settings
        self.changes: list[dict[str, Any]] = []
        self.splits: list[dict[str, Any]] = []
        self._revised: dict[tuple[str, int], dict[str, float]] = {}
        self._hidden: dict[str, list[tuple[int, int]]] = {}
        self.closed: list[tuple[int, int]] = []  # minutes after an early close, hidden for every symbol

    def change(self, asked: dict[str, Any]) -> None:
        """Take over a `revise`, `hide` or `split`."""
        if item := asked.get("revise"):
            values = {name: value for name, value in item.items() if name not in ("symbol", "timestamp")}
            minute = epoch_minute(moment_of(item["timestamp"]))
            self._revised.setdefault((item["symbol"], minute), {}).update(values)
        if item := asked.get("hide"):
            first, last = epoch_minute(moment_of(item["from"])), epoch_minute(moment_of(item["to"]))
            self._hidden.setdefault(item["symbol"], []).append((first, last))
        if item := asked.get("split"):
            effective = moment_of(item["effective"])
            self.tape.split(item["symbol"], float(item["ratio"]), effective)
            self.splits.append({**item, "effective": effective, "done": False})
        self.changes.append(asked)

    def published_until(self, now: datetime) -> int:
        """The newest minute whose bar may be out at `now`."""
        return int((now.timestamp() - self.settings.bar_delay_seconds) // 60) - 1

    def span(self, symbol: str, first: int, last: int) -> tuple[Bars, int, int] | None:
        """The symbol's bars and the slice of them with first <= minute <= last."""
        bars = self.tape.bars.get(symbol)
        return None if bars is None else (bars, bars.from_minute(first), bars.from_minute(last + 1))

    def rows(self, symbol: str, bars: Bars, begin: int, end: int, now: datetime, adjusted: bool) -> list[Bar]:
        """Bars `begin` to `end` (without it) as told at `now`; hidden ones are left out."""
        prices = bars.prices[begin:end].tolist()
        volumes = bars.volume[begin:end].tolist()
        minutes = bars.minute[begin:end]
        rows = [Bar(m, *p, v) for m, p, v in zip(minutes, prices, volumes, strict=True)]
        for split in self.splits:
            if adjusted and split["symbol"] == symbol and split["effective"] <= now:
                cut = bisect_left(minutes, epoch_minute(split["effective"]))
                rows[:cut] = [_divided(row, float(split["ratio"])) for row in rows[:cut]]
        if self._revised:
            rows = [row._replace(**self._revised.get((symbol, row.minute), {})) for row in rows]
        if symbol in self._hidden or self.closed:
            rows = [row for row in rows if not self._is_hidden(symbol, row.minute)]
        if self.settings.variants["restate"] and rows:
            told_at = now.timestamp() - self.settings.bar_delay_seconds - 60
            if rows[-1].minute * 60 + RESTATED_AFTER > told_at:
                rows[-1] = _first_version(rows[-1])
        return rows

    def _is_hidden(self, symbol: str, minute: int) -> bool:
        return any(first <= minute <= last for first, last in self.closed + self._hidden.get(symbol, []))

    def latest(self, symbol: str, now: datetime) -> Bar | None:
        """The newest published bar."""
        found = self.span(symbol, 0, self.published_until(now))
        if found is None:
            return None
        bars, _, end = found
        while end > 0:
            rows = self.rows(symbol, bars, end - 1, end, now, adjusted=False)
            if rows:
                return rows[-1]
            end -= 1
        return None

    def day(self, symbol: str, session: Session, now: datetime) -> Bar | None:
        """The session so far as one bar, at the minute of its open."""
        last = min(self.published_until(now), epoch_minute(session.close) - 1)
        found = self.span(symbol, epoch_minute(session.open), last)
        if found is None or found[1] >= found[2]:
            return None
        bars, begin, end = found
        prices = bars.prices[begin:end]
        volume = int(bars.volume[begin:end].sum())
        high, low = float(prices[:, 1].max()), float(prices[:, 2].min())
        return Bar(epoch_minute(session.open), float(prices[0, 0]), high, low, float(prices[-1, 3]), volume)

    def volume(self, symbol: str, session: Session, now: datetime) -> int:
        """Shares traded in the session so far."""
        last = min(self.published_until(now), epoch_minute(session.close) - 1)
        found = self.span(symbol, epoch_minute(session.open), last)
        if found is None or found[1] >= found[2]:
            return 0
        bars, begin, end = found
        return int(bars.total[end - 1] - (bars.total[begin - 1] if begin else 0))


def _divided(bar: Bar, ratio: float) -> Bar:
    o, h, low, c = (round(price / ratio, 4) for price in (bar.open, bar.high, bar.low, bar.close))
    return Bar(bar.minute, o, h, low, c, round(bar.volume * ratio))


def _first_version(bar: Bar) -> Bar:
    """What is published before late trades are in: less volume, another close."""
    close = bar.low if bar.close != bar.low else bar.high
    return bar._replace(close=close, volume=bar.volume * 97 // 100)

"""The stand-in as a whole: engine, published bars, faults, keys, request log, and the state file that holds them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from alpaca_standin.assets import EXTRAS, Assets
from alpaca_standin.engine import Engine
from alpaca_standin.faults import Faults
from alpaca_standin.feed import Feed
from alpaca_standin.memory import restore, save
from alpaca_standin.state import State
from alpaca_standin.tape import Tape, read_tape
from market.clock import utc_now
from market.hours import at_new_york, epoch_minute, moment, new_york, session_on


class Desk:
    """Everything one process serves."""

    def __init__(
        self, state: Path, bars: Path | None, clone: int | None, keys: tuple[str, str], now: datetime | None
    ) -> None:
        flat = {asset.symbol: asset.price for asset in EXTRAS if asset.price is not None}
        self._tape, self._first_keys = read_tape(bars, clone, flat), keys
        self._state = State(state)
        self._begin(now)
        self._restore()

    def _begin(self, now: datetime | None) -> None:
        """Everything as in a new account."""
        tape = Tape(dict(self._tape.bars), self._tape.flat)
        self.engine = Engine(tape, Assets(list(tape.bars)), now or _first_moment(tape))
        self.feed = Feed(tape, self.engine.settings)
        self.engine.splits = self.feed.splits
        self.faults, self.keys = Faults(), self._first_keys
        self.overrides: dict[str, Any] = {}
        self.most_actives: dict[str, Any] = {}
        self.log: list[dict[str, Any]] = []
        self.real, self._clock_set_at = False, utc_now()
        self._windows: dict[str, tuple[float, int]] = {}

    def reset(self, now: datetime | None) -> None:
        """Forget everything, as if started with a new file."""
        self._state.clear()
        self._begin(now)

    def _restore(self) -> None:
        if not restore(self.engine, self._state):
            return
        extra = self._state.get("extra", "desk")
        self.keys, self.overrides = tuple(extra["keys"]), extra["overrides"]
        self.most_actives = extra["most_actives"]
        for change, done in zip(extra["changes"], extra["done"], strict=True):
            self.feed.change(change)
            if done:
                self.feed.splits[-1]["done"] = True

    def save(self) -> None:
        """Commit what changed."""
        done = iter(split["done"] for split in self.feed.splits)
        desk = {
            "keys": list(self.keys),
            "overrides": self.overrides,
            "most_actives": self.most_actives,
            "changes": self.feed.changes,
            "done": [next(done) if change.get("split") else False for change in self.feed.changes],
        }
        save(self.engine, {"desk": desk}, self._state)

    def tick(self) -> None:
        """Before each request: in real mode the clock has gone on; what was due has happened."""
        if self.real:
            now = utc_now()
            self.engine.advance(self.engine.now + (now - self._clock_set_at))
            self._clock_set_at = now
        else:
            self.engine.settle()

    def run_with_the_machine(self, real: bool) -> None:
        """Let the clock follow the machine's from now on, or stand again."""
        self.tick()
        self.real, self._clock_set_at = real, utc_now()

    def close_early(self, hhmm: str) -> None:
        """Today's session ends at `hhmm`; what was to expire at the close expires then."""
        day = new_york(self.engine.now).date()
        plain = session_on(day)
        if plain is None:
            return
        self.engine.hours.early[day] = hhmm
        self.feed.closed.append((epoch_minute(at_new_york(day, hhmm)), epoch_minute(plain.close)))
        for order in self.engine.book.live.values():
            if order.expires_at == plain.close:
                order.expires_at = at_new_york(day, hhmm)

    def clear_faults(self) -> None:
        """Everything works again, and closes when it always does."""
        self.faults.clear()
        self.engine.hours.early.clear()
        self.feed.closed.clear()

    def allowance(self, bucket: str) -> tuple[int, int, int]:
        """Count a request against its bucket: (limit, left, seconds to go); -1 are left beyond it."""
        limit = self.engine.settings.rate_limit
        begun, used = self._windows.get(bucket, (monotonic(), 0))
        if monotonic() - begun >= 60:
            begun, used = monotonic(), 0
        self._windows[bucket] = (begun, used + 1)
        ceiling = 1_000_000 if limit is None else limit
        return ceiling, max(-1, ceiling - used - 1), 60 - int(monotonic() - begun)


def _first_moment(tape: Tape) -> datetime:
    """The open of the first bar there is; without bars, some Monday's open."""
    firsts = [bars.minute[0] for bars in tape.bars.values()]
    return moment(min(firsts)) if firsts else at_new_york(date(2026, 3, 2), "09:30")

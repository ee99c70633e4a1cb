"""Prices of a few symbols over two sessions, as a tape of points and as the minute bars that they make."""

from __future__ import annotations

from bisect import bisect_right
from random import Random

import numpy as np

from market.bars import Bar
from market.hours import Session, epoch_minute

SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
POINTS = 4  # prices a minute: open, two between, close
STEP = 0.0006  # standard deviation of a step
JUMP, JUMP_SHARE = 0.012, 0.0005


class Market:
    """The tape: `times` (seconds since 1970) and `rows`, each with the price of every symbol in cents."""

    def __init__(self, random: Random, sessions: list[Session]) -> None:
        self.sessions = [(s.open.timestamp(), s.close.timestamp()) for s in sessions]
        self.times: list[float] = []
        self.rows: list[dict[str, int]] = []
        self.bars: dict[int, list[Bar]] = {}  # by minute since 1970
        rng = np.random.default_rng(random.getrandbits(64))
        level = np.log([random.uniform(20, 300) for _ in SYMBOLS])
        self.before = dict(zip(SYMBOLS, np.rint(100 * np.exp(level)).astype(int).tolist(), strict=True))
        for session in sessions:
            steps = rng.normal(0, STEP, (session.minutes * POINTS, len(SYMBOLS)))
            jumps = rng.random(steps.shape) < JUMP_SHARE
            steps += np.where(jumps, rng.normal(0, JUMP, steps.shape), 0)
            path = level + rng.normal(0, 0.004, len(SYMBOLS)) + np.cumsum(steps, axis=0)
            level = path[-1]
            self._add(session, np.rint(100 * np.exp(path)).astype(np.int64))

    def _add(self, session: Session, path: np.ndarray) -> None:
        start = session.open.timestamp()
        self.times += [start + i * 60 / POINTS for i in range(len(path))]
        self.rows += [dict(zip(SYMBOLS, row, strict=True)) for row in path.tolist()]
        by_minute = path.reshape(session.minutes, POINTS, len(SYMBOLS))
        columns = [by_minute[:, 0], by_minute.max(axis=1), by_minute.min(axis=1), by_minute[:, -1]]
        table = (np.stack(columns, axis=2) / 100).tolist()
        first = epoch_minute(session.open)
        for i, row in enumerate(table):
            self.bars[first + i] = [
                Bar(symbol, first + i, *prices, 1000.0) for symbol, prices in zip(SYMBOLS, row, strict=True)
            ]

    def is_open(self, when: float) -> bool:
        return any(opens <= when < closes for opens, closes in self.sessions)

    def next_close(self, when: float) -> float:
        """The first close after `when`; beyond the last session, that of a day later."""
        return next((closes for _, closes in self.sessions if closes > when), self.sessions[-1][1] + 86_400)

    def next_open(self, when: float) -> float:
        return next((opens for opens, _ in self.sessions if opens > when), self.sessions[-1][0] + 86_400)

    def prices(self, when: float) -> dict[str, int]:
        index = bisect_right(self.times, when) - 1
        return self.rows[index] if index >= 0 else self.before

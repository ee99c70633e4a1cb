"""What it takes no skill to earn while the account traded: as many entries made at random, and the market itself.

    random_entries   as many entries a session, of the same USD and under the same exits, at random minutes and symbols
    market_mean      every symbol bought at the first open and held

A random portfolio is the benchmark that shares all with the account but its choice (Burns, 2007, Random portfolios for
performance measurement). `learning.money` asks the same of a model before it serves; this asks it of trades made.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learning.labels import ENTRY_PATIENCE_MINUTES, label_trades
from market.bars import epoch_minutes, symbol_slices
from market.hours import Minutes, half_hours, last_opened, market_time, moment

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

DRAWS = 200
LOW, HIGH = 0.05, 0.95  # quantiles: nine of ten draws lie between


@dataclass(frozen=True)
class RandomEntries:
    """What `draws` accounts earned that entered at random, beside the `trades` that they stand for.

    `curve` has a row per session of the bars, oldest first: day (date), time (UTC, its close), and low, median, high
    (USD): the P&L since the beginning of all entries that have settled by then; 5%, 50% and 95% of the draws.
    `earned` is the P&L (USD) of those trades that have closed, `beaten` the share of draws that earned less by the last
    bar, None without a trade. `waiting` is the share of random entries whose end the bars do not reach: they count 0,
    as open trades do. `left_out` counts trades in whose session no bar can be entered on, which neither side counts.
    """

    curve: pd.DataFrame
    draws: int
    trades: int
    earned: float
    beaten: float | None
    waiting: float
    left_out: int

    @property
    def words(self) -> str:
        """The comparison in a sentence or two."""
        missing = f" {_trades(self.left_out)} left out: no bars of that session." if self.left_out else ""
        if self.beaten is None:
            return f"There is no trade to compare with random entries.{missing}"
        share = round(self.beaten * self.draws) * 100 // self.draws  # rounded down: 100% are all
        still = f" {self.waiting:.0%} of their entries are still open and count 0, as open trades do."
        return (
            f"{_trades(self.trades)} earned {self.earned:+,.2f} USD so far, more than {share}% of {self.draws:,} "
            "random portfolios: as many entries a session, at random minutes and symbols, with the same USD, exits and "
            "cost."
            f"{still if self.waiting else ''}{missing}"
        )


def _trades(count: int) -> str:
    return "1 trade" if count == 1 else f"{count:,} trades"


def random_entries(
    bars: pd.DataFrame, trades: pd.DataFrame, *, seed: int = 0, draws: int = DRAWS, **trade_rules: Any
) -> RandomEntries:
    """Make each trade of `trades` `draws` times over, at a minute and symbol that chance picks.

    Args: checked `bars` of the traded sessions, their end included; `trades` with entry_time (any zone), price, qty
    (0: never filled, not compared) and pnl_amount (USD, NaN while open); the rules of `label_trades`.
    Every bar of the session that an entry can follow is as likely as any other, whoever trades there already: a symbol
    may be held twice, which an account could not. An entry earns in the session in which it settles.
    """
    minutes = epoch_minutes(bars["timestamp"])
    session = market_time(minutes).session
    labels = label_trades(bars, **trade_rules)
    net_return, settled = labels["net_return"].to_numpy(), epoch_minutes(labels["settled_at"])
    enterable = _enterable(bars["symbol"], minutes)

    filled = trades[trades["qty"] > 0]
    usd = (filled["price"] * filled["qty"]).to_numpy(dtype=np.float64)
    entered = market_time(epoch_minutes(filled["entry_time"])).session
    days = np.unique(session)
    pnl = np.zeros((draws, len(days)))
    random, waiting, compared = np.random.default_rng(seed), 0, np.zeros(len(filled), dtype=bool)
    for day in np.intersect1d(days, entered):
        rows = np.flatnonzero(enterable & (session == day))
        of_day = entered == day
        if not len(rows):
            continue
        compared |= of_day
        drawn = random.choice(rows, (draws, int(of_day.sum())))
        draw, entry = np.nonzero(np.isfinite(net_return[drawn]))
        row = drawn[draw, entry]
        ended = np.searchsorted(days, market_time(settled[row]).session)
        np.add.at(pnl, (draw, ended), net_return[row] * usd[of_day][entry])
        waiting += drawn.size - row.size
    total, count = pnl.cumsum(axis=1), int(compared.sum())
    earned = float(filled.loc[compared, "pnl_amount"].sum())
    return RandomEntries(
        curve=_quantiles(total, minutes, session),
        draws=draws,
        trades=count,
        earned=earned,
        beaten=float((total[:, -1] < earned).mean()) if count else None,
        waiting=waiting / (draws * count) if count else 0.0,
        left_out=len(filled) - count,
    )


def _enterable(symbols: pd.Series, minutes: Minutes) -> NDArray[np.bool_]:
    """Which bars an entry can follow, whether or not its end is known yet: the symbol's next bar is near."""
    near = np.diff(minutes, append=0) <= ENTRY_PATIENCE_MINUTES
    near[[rows.stop - 1 for _, rows in symbol_slices(symbols)]] = False
    return near


def _quantiles(total: Array, minutes: Minutes, session: Minutes) -> pd.DataFrame:
    opened = [last_opened(moment(minute)) for minute in minutes[np.unique(session, return_index=True)[1]].tolist()]
    low, median, high = np.quantile(total, [LOW, 0.5, HIGH], axis=0)
    return pd.DataFrame(
        {
            "day": [each.day for each in opened],
            "time": pd.to_datetime([each.close for each in opened], utc=True).as_unit("us"),
            "low": low,
            "median": median,
            "high": high,
        }
    )


def market_mean(bars: pd.DataFrame) -> pd.DataFrame:
    """What an account would have earned that put the same money into each symbol at the first open, and held.

    Args: checked `bars`; those of one symbol give that symbol's own curve.
    Returns time (UTC) and earned (fraction of the money, before cost): 0 at the first open, then one row at the end of
    every half hour in which anything traded; a symbol without a bar stands at its last close. `symbols` counts those
    bought. One that has no bar in the first session cannot be bought at its open: left out, and counted in the log.
    """
    minutes = epoch_minutes(bars["timestamp"])
    every = np.unique(minutes)
    points = every[np.flatnonzero(np.diff(half_hours(every), append=-1))]
    session = market_time(every).session
    first_day = every[session == session[0]] if len(every) else every
    opens, closes = bars["open"].to_numpy(), bars["close"].to_numpy()
    total, bought, late = np.zeros(len(points)), 0, []
    for symbol, rows in symbol_slices(bars["symbol"]):
        own = minutes[rows]
        if own[0] > first_day[-1]:
            late.append(symbol)
            continue
        newest = np.searchsorted(own, points, side="right") - 1
        total += np.where(newest < 0, 0.0, closes[rows][newest] / opens[rows][0] - 1)
        bought += 1
    if late:
        log.warning("market mean: left out %d symbols without a bar in the first session (%s)", len(late), late[:8])
    when = np.concatenate([every[:1], points + 1])
    return pd.DataFrame(
        {
            "time": pd.to_datetime(when * 60_000_000, unit="us", utc=True),
            "earned": np.concatenate([np.zeros(len(every[:1])), total / max(bought, 1)]),
            "symbols": bought,
        }
    )

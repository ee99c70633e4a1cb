"""What the account is held against: the market's mean, entries made at random with the same exits, and what cost took.

It needs the minute bars of the traded sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from display.figures import plural
from learning.costs import legs
from learning.random_entries import RandomEntries, market_mean, random_entries
from market.bars import BadBars, NoBars

SIDES = ("entry", "exit")
COMPARED_SESSIONS = 60  # the newest: bars of more would make a page slow and large


@dataclass(frozen=True)
class Comparisons:
    """`bars` of the traded sessions; `mean` and `chance` are those of `learning.random_entries` (None: no trade);
    `costs` are USD by name, see `priced` (None: of no trade); `without` says why there are none of all these. All of
    it, and `equity`, is of the newest COMPARED_SESSIONS of `sessions`."""

    bars: pd.DataFrame | None
    equity: pd.DataFrame
    sessions: int
    closed: int = 0  # trades compared
    mean: pd.DataFrame | None = None
    chance: RandomEntries | None = None
    costs: Mapping[str, float] | None = None
    without: str = ""

    @property
    def span(self) -> str:
        """Of which sessions all this is, where it is not all of them."""
        newest = f"Of the newest {COMPARED_SESSIONS} of {self.sessions:,} sessions. "
        return newest if self.sessions > COMPARED_SESSIONS else ""


def compare(
    trades: pd.DataFrame,
    equity: pd.DataFrame,
    read_bars: Callable[[date, date], pd.DataFrame],
    round_trip_cost: float,
    **trade_rules: Any,
) -> Comparisons:
    """Hold `trades` and `equity` (as in report.py) against what the bars of those sessions allowed.

    `read_bars` gives those of the sessions from a date to another, both included; it may raise NoBars or BadBars.
    """
    if equity.empty:
        return Comparisons(None, equity, 0, without="No minute of a session is in the books yet.")
    dates = equity["time"].dt.date
    traded = dates.unique()
    first = traded[-COMPARED_SESSIONS:][0]
    newest = equity[dates >= first].reset_index(drop=True)
    try:
        bars = read_bars(first, traded[-1])
    except (NoBars, BadBars) as error:
        without = f"Without these sessions' bars there is nothing to compare with: {error}."
        return Comparisons(None, newest, len(traded), without=without)
    if bars.empty:
        return Comparisons(None, newest, len(traded), without="The bars of these sessions come in the evening.")
    filled = trades[trades["status"].isin(["OPEN", "CLOSED"]) & (trades["entry_time"].dt.date >= first)]
    closed = filled[filled["status"] == "CLOSED"]
    rules = {"round_trip_cost": round_trip_cost, **trade_rules}
    chance = random_entries(bars, filled, **rules) if len(filled) else None
    costs = priced(closed, bars, round_trip_cost) if len(closed) else None
    costs = costs if costs and costs["trades"] else None
    return Comparisons(bars, newest, len(traded), len(closed), market_mean(bars), chance, costs)


def priced(closed: pd.DataFrame, bars: pd.DataFrame, round_trip_cost: float) -> dict[str, float]:
    """What closed trades earned by three prices, in USD, over those whose fills can both be measured.

    `raw`: at the prices of the bars, as if trading cost nothing; `modelled`: less the round trip that the label takes
    off; `filled`: as booked. `extra_cost` is the mean of a fill beyond the model, a fraction; `trades` how many.
    """
    minutes = {name: (closed[f"{name}_time"] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(minutes=1) for name in SIDES}
    fills = pd.DataFrame(
        {
            "symbol": closed["symbol"],
            "entry_minute": minutes["entry"],
            "entry_price": closed["price"],
            "exit_minute": minutes["exit"],
            "exit_price": closed["exit_price"],
            "exit_reason": closed["exit_reason"],
            "stop_level": closed["stop_loss"],
            "target_level": closed["take_profit"],
        }
    )
    fills = fills[fills["exit_reason"] != "by hand"]  # not made to follow the label
    extra = legs(fills, bars, round_trip_cost)["extra_cost"].to_numpy().reshape(2, -1)
    sides = np.array([1.0, -1.0])[:, None]  # a purchase is dear above the bar's price, a sale below it
    prices = fills[["entry_price", "exit_price"]].to_numpy(dtype=np.float64).T
    modelled = prices / (1 + sides * extra)
    raw = modelled / (1 + sides * round_trip_cost / 2)
    shares = closed.loc[fills.index, "qty"].to_numpy(dtype=np.float64)
    known = ~np.isnan(extra).any(axis=0)
    earned = {
        name: float((shares * (sold - bought))[known].sum())
        for name, (bought, sold) in (("raw", raw), ("modelled", modelled), ("filled", prices))
    }
    beyond = float(extra[:, known].mean()) if known.any() else float("nan")
    return earned | {"extra_cost": beyond, "trades": int(known.sum())}


def costs_in_words(costs: Mapping[str, float], closed: int) -> str:
    """How much of the trades could be measured, and what a fill cost beyond the model."""
    part = "" if costs["trades"] == closed else f" ({closed - costs['trades']:.0f} of {closed} could not be measured)"
    worse = round(costs["extra_cost"] * 1e4, 1)
    beyond = f"{abs(worse)} basis points {'worse' if worse > 0 else 'better'} than" if worse else "just as in"
    return f"Over {plural(int(costs['trades']), 'trade')}{part}; a fill was {beyond} the cost model on average."

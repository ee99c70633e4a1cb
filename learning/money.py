"""What predictions were worth as an account could have traded them, beside what it takes no skill to earn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from market.bars import epoch_minutes
from market.hours import half_hours

Array = NDArray[np.float64]

RANDOM_ACCOUNTS = 500
_SEED = 0


def tradable(signals: pd.DataFrame, max_open_positions: int) -> pd.DataFrame:
    """The signals that one account could have taken: one position per symbol, at most `max_open_positions`, best first.

    `signals` need symbol, timestamp, settled_at, confidence; a position is free again when its trade has settled.
    """
    busy: dict[str, int] = {}
    taken = []
    ordered = signals.sort_values(["timestamp", "confidence"], ascending=[True, False])
    known = epoch_minutes(ordered["timestamp"]) + 1
    for row, symbol, now, until in zip(
        ordered.index, ordered["symbol"], known.tolist(), epoch_minutes(ordered["settled_at"]).tolist(), strict=True
    ):
        busy = {s: end for s, end in busy.items() if end > now}
        if symbol not in busy and len(busy) < max_open_positions:
            busy[symbol] = until
            taken.append(row)
    return ordered.loc[taken]


def matched_entries(entries: pd.DataFrame) -> pd.Series:
    """For each entry (timestamp, net_return) the mean net return of all entries of its day and half hour."""
    half_hour = half_hours(epoch_minutes(entries["timestamp"]))
    matched: pd.Series = entries["net_return"].groupby(half_hour).transform("mean")
    return matched


def traded(judged: pd.DataFrame, threshold: float, max_open_positions: int) -> pd.DataFrame:
    """The out-of-fold signals an account could have taken, with `excess`: net return above that of all entries of the
    same day and half hour."""
    signals = judged.assign(excess=judged["net_return"] - matched_entries(judged))
    return tradable(signals[signals["confidence"] >= threshold], max_open_positions)


def by_day(trades: pd.DataFrame, column: str, days: NDArray[np.int64]) -> Array:
    """Daily sums of a column of trades, shape (len(days),); a day without a trade counts 0."""
    return trades.groupby("session")[column].sum().reindex(days, fill_value=0.0).to_numpy()


def money(judged: pd.DataFrame, threshold: float, max_open_positions: int) -> dict[str, float | int | None]:
    """What was earned on days not seen; returns are fractions of a position, after cost, None where nothing traded.

    `daily` is the mean of daily sums over all judged days; `one_bar_later_per_trade` that of the same trades entered a
    bar later; `random_low` to `random_high` is where nine of ten accounts with as many random entries a day would lie,
    under the same exits, and `random_beaten` the share of such accounts that earned less.
    """
    trades = traded(judged, threshold, max_open_positions)
    days = judged["session"].unique()
    daily = by_day(trades, "net_return", days)
    random = _random_accounts(judged, trades)
    any_trade = len(trades) > 0
    return {
        "trades": len(trades),
        "days": len(days),
        "days_traded": int(trades["session"].nunique()),
        "net_return_per_trade": _mean(trades["net_return"]),
        "one_bar_later_per_trade": _mean(trades["later_net_return"]),
        "excess_per_trade": _mean(trades["excess"]),
        "daily": float(daily.mean()),
        "daily_standard_error": float(daily.std(ddof=1) / np.sqrt(len(days))) if len(days) > 1 else None,
        "random_mean": float(random.mean()) if any_trade else None,
        "random_low": float(np.quantile(random, 0.05)) if any_trade else None,
        "random_high": float(np.quantile(random, 0.95)) if any_trade else None,
        "random_beaten": float((random < daily.mean()).mean()) if any_trade else None,
    }


def baselines(judged: pd.DataFrame, round_trip_cost: float) -> dict[str, float | None]:
    """What it takes no skill to earn on the judged days, after cost: `share_profitable` and `always_buy_net_return` of
    entering at every minute, `hold_net_return` of buying every symbol on the first day and selling on the last."""
    prices = judged.sort_values("timestamp").groupby("symbol")["close"]
    hold = prices.last() / prices.first() - 1 - round_trip_cost
    return {
        "share_profitable": float(judged["label"].mean()),
        "always_buy_net_return": float(judged["net_return"].mean()),
        "hold_net_return": _mean(hold),
    }


def _random_accounts(judged: pd.DataFrame, trades: pd.DataFrame) -> Array:
    """Mean daily net return of RANDOM_ACCOUNTS that enter at random, as often a day as `trades` did.

    A symbol may be entered twice at a time, which an account could not: with more than a few trades of each symbol a
    day the accounts lie further apart than real ones would (measured: 10 in 10 of those inside, not 9).
    """
    random = np.random.default_rng(_SEED)
    wanted = trades["session"].value_counts()
    total = np.zeros(RANDOM_ACCOUNTS)
    for session, returns in judged.groupby("session")["net_return"]:
        count = int(wanted.get(session, 0))
        if count:
            total += random.choice(returns.to_numpy(), (RANDOM_ACCOUNTS, count)).sum(axis=1)
    return total / judged["session"].nunique()


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if values.notna().any() else None

"""Pure: what trades earned. Every number is a finite float; 0.0 where there is nothing to measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

from desk.orders import Trade

SESSIONS_PER_YEAR = 252
MIN_SHARPE_DAYS = 5  # fewer say nothing about the spread between days


def summarise(trades: Sequence[Trade], equity: Sequence[float], days: Iterable[str]) -> dict[str, float]:
    """Performance of closed trades; `equity` is the account in USD minute by minute, from its first cash on, and `days`
    the New York dates on which it was traded, with or without a sale.

    `win_rate` is a fraction; `total_pnl` USD; `average_win` and `average_loss` are mean `pnl_pct` of trades above 0 and
    at or below 0; `profit_factor` is USD won over USD lost (0.0 while nothing is lost); `max_drawdown` the deepest fall
    of equity from its peak, as a fraction; `sharpe` of daily P&L, annualised (Sharpe, 1994), from MIN_SHARPE_DAYS on.
    """
    closed = sorted((t for t in trades if t.status == "CLOSED"), key=lambda t: (t.exit_time or "", t.id))
    amounts = [t.pnl_amount or 0.0 for t in closed]
    wins = [t.pnl_pct or 0.0 for t in closed if (t.pnl_amount or 0.0) > 0]
    losses = [t.pnl_pct or 0.0 for t in closed if (t.pnl_amount or 0.0) <= 0]
    lost = -sum(amount for amount in amounts if amount < 0)
    return {
        "closed_trades": len(closed),
        "open_trades": sum(t.status == "OPEN" for t in trades),
        "pending_trades": sum(t.status == "PENDING" for t in trades),
        "win_rate": len(wins) / len(closed) if closed else 0.0,
        "total_pnl": round(sum(amounts, 0.0), 4),
        "average_win": sum(wins) / len(wins) if wins else 0.0,
        "average_loss": sum(losses) / len(losses) if losses else 0.0,
        "profit_factor": sum(a for a in amounts if a > 0) / lost if lost > 0 else 0.0,
        "max_drawdown": _max_drawdown(equity),
        "sharpe": _sharpe(closed, days),
    }


def _max_drawdown(equity: Sequence[float]) -> float:
    return max((1 - now / peak for now, peak in zip(equity, accumulate(equity, max), strict=True)), default=0.0)


def _sharpe(closed: Sequence[Trade], days: Iterable[str]) -> float:
    earned = dict.fromkeys(days, 0.0)
    for trade in closed:
        day = (trade.exit_time or "")[:10]
        earned[day] = earned.get(day, 0.0) + (trade.pnl_amount or 0.0)
    if len(earned) < MIN_SHARPE_DAYS:
        return 0.0
    mean = sum(earned.values()) / len(earned)
    variance = sum((value - mean) ** 2 for value in earned.values()) / (len(earned) - 1)
    return mean / math.sqrt(variance) * math.sqrt(SESSIONS_PER_YEAR) if variance > 0 else 0.0

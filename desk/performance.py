"""Pure: what trades earned. Every number is a finite float; 0.0 where there is nothing to measure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from desk.orders import Trade

SESSIONS_PER_YEAR = 252


def summarise(trades: Sequence[Trade], starting_equity: float) -> dict[str, float]:
    """Performance of closed trades, in the order in which they closed.

    `win_rate` is a fraction; `total_pnl` USD; `average_win` and `average_loss` are mean `pnl_pct` of trades above 0 and
    at or below 0; `profit_factor` is USD won over USD lost (0.0 while nothing is lost); `max_drawdown` the deepest fall
    of equity from its peak as a fraction, at closes of trades; `sharpe` of daily P&L, annualised (Sharpe, 1994).
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
        "total_pnl": round(sum(amounts), 4),
        "average_win": sum(wins) / len(wins) if wins else 0.0,
        "average_loss": sum(losses) / len(losses) if losses else 0.0,
        "profit_factor": sum(a for a in amounts if a > 0) / lost if lost > 0 else 0.0,
        "max_drawdown": _max_drawdown(amounts, starting_equity),
        "sharpe": _sharpe(closed),
    }


def _max_drawdown(amounts: Sequence[float], starting_equity: float) -> float:
    equity = peak = starting_equity
    deepest = 0.0
    for amount in amounts:
        equity += amount
        peak = max(peak, equity)
        deepest = max(deepest, 1 - equity / peak)
    return deepest


def _sharpe(closed: Sequence[Trade]) -> float:
    days: dict[str, float] = {}
    for trade in closed:
        day = (trade.exit_time or "")[:10]
        days[day] = days.get(day, 0.0) + (trade.pnl_amount or 0.0)
    if len(days) < 2:
        return 0.0
    mean = sum(days.values()) / len(days)
    variance = sum((value - mean) ** 2 for value in days.values()) / (len(days) - 1)
    return mean / math.sqrt(variance) * math.sqrt(SESSIONS_PER_YEAR) if variance > 0 else 0.0

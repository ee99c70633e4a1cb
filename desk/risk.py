"""Pure rules of money: how many shares, may we open, must we exit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from desk.orders import Account, Position


@dataclass(frozen=True)
class Limits:
    """What one trade and all together may cost; fractions of the price or of equity."""

    max_position_size: int
    max_open_positions: int
    stop_loss: float
    take_profit: float
    risk_per_trade: float
    max_holding_minutes: int | None


@dataclass(frozen=True)
class Size:
    """Whole shares to buy, and the rule that set the number."""

    shares: int
    bound: str


def position_size(price: float, account: Account, limits: Limits) -> Size:
    """The smallest of three: the share limit, what the risk budget allows to lose at the stop, and the cash.

    Fixed-fractional sizing (Vince, 1990): shares = equity x risk / (price x stop). Anything not a positive finite
    number means 0 shares.
    """
    inputs = (price, account.equity, account.buying_power)
    if not all(math.isfinite(value) and value > 0 for value in inputs):
        return Size(0, "price, equity or buying power is not a positive number")
    candidates = [
        Size(limits.max_position_size, "MAX_POSITION_SIZE"),
        Size(int(account.equity * limits.risk_per_trade / (price * limits.stop_loss)), "RISK_PER_TRADE_PCT"),
        Size(int(account.buying_power / price), "buying power"),
    ]
    return min(candidates, key=lambda size: size.shares)


def may_open(symbol: str, held: set[str], limits: Limits) -> str | None:
    """None, or why no position may be opened; `held` are the symbols of open positions and working entries."""
    if symbol in held:
        return "already held"
    if len(held) >= limits.max_open_positions:
        return f"{len(held)} positions are open (MAX_OPEN_POSITIONS)"
    return None


def must_exit(held_minutes: int, limits: Limits) -> str | None:
    """Return "time" once a position has had its market minutes, else None; stop and target rest at the broker."""
    limit = limits.max_holding_minutes
    return "time" if limit is not None and held_minutes >= limit else None


def beyond_levels(position: Position) -> str | None:
    """Return "stop" or "target" when the newest price has passed a level at which the position should have closed,
    and "unprotected" where the broker takes no stop."""
    if position.last_price <= position.stop_level:
        return "stop"
    if position.last_price >= position.target_level:
        return "target"
    return None if position.protected else "unprotected"

"""GET /v2/account, /v2/clock, /v2/calendar and /v2/assets."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from alpaca_standin.call import Answer, Call
from alpaca_standin.formats import cents
from alpaca_standin.ledger import ZERO
from alpaca_standin.refusals import Refused, missing
from market.hours import new_york

MULTIPLIER = 4


def account(call: Call) -> Answer:
    """The account; without the fields of the retired day-trading rule."""
    money = call.engine.account
    equity, long, short = money.equity(), money.market_value(), money.market_value(long=False)
    free = max(ZERO, money.cash - money.open_buys())
    body = {
        "id": "c0ffee00-5555-4a2b-9f3e-3f1f5d1c0de5",
        "account_number": "PA3STANDIN01",
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "cash": cents(money.cash),
        "equity": cents(equity),
        "portfolio_value": cents(equity),
        "last_equity": cents(money.last_equity),
        "buying_power": cents(money.buying_power(MULTIPLIER)),
        "regt_buying_power": cents(money.buying_power(2)),
        "non_marginable_buying_power": cents(free),
        "options_buying_power": cents(free),
        "long_market_value": cents(long),
        "short_market_value": cents(short),
        "initial_margin": cents((long - short) / 2),
        "maintenance_margin": cents((long - short) * Decimal("0.3")),
        "last_maintenance_margin": "0",
        "sma": cents(money.last_equity),
        "multiplier": str(MULTIPLIER),
        "accrued_fees": "0",
        "pending_reg_taf_fees": "0",
        "intraday_adjustments": "0",
        "options_approved_level": 3,
        "options_trading_level": 3,
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": False,
        "shorting_enabled": True,
        "balance_asof": str(new_york(call.engine.now - timedelta(days=1)).date()),
        "created_at": "2025-11-03T15:04:05.678901Z",
    }
    return 200, body | call.desk.overrides


def ensure_unblocked(call: Call) -> None:
    """A blocked account places no orders."""
    blocks = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
    if any(call.desk.overrides.get(name) for name in blocks) or call.desk.overrides.get("status", "ACTIVE") != "ACTIVE":
        raise Refused(403, call.variant("blocked_body"))


def clock(call: Call) -> Answer:
    """The market clock."""
    skew = call.fault.get("seconds", 0) if call.fault and call.meets("clock_skew") else 0
    return 200, call.engine.hours.clock(call.engine.now + timedelta(seconds=skew))


def calendar(call: Call) -> Answer:
    """The trading days of a stretch of time."""
    today = new_york(call.engine.now).date()
    first, last = call.moment("start"), call.moment("end")
    begin = first.date() if first else today
    return 200, call.engine.hours.calendar(begin, last.date() if last else date(today.year + 1, 12, 31))


def assets(call: Call) -> Answer:
    """All assets, those of one status or exchange."""
    if call.query.get("asset_class", "us_equity") != "us_equity":
        return 200, []
    wanted = {name: call.query.get(name) for name in ("status", "exchange")}
    found = [asset.body(call.variant("borrow_fields")) for asset in call.engine.assets.by_symbol.values()]
    return 200, [asset for asset in found if all(value in (None, asset[name]) for name, value in wanted.items())]


def asset(call: Call) -> Answer:
    """One asset by symbol or id."""
    found = call.engine.assets.find(call.part)
    if found is None:
        raise missing(f"asset not found for {call.part}")
    return 200, found.body(call.variant("borrow_fields"))

"""What tests of money and of verdicts share: entries at every few minutes, whose outcomes each test makes itself."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import pandas as pd

from market.hours import sessions_between

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 3, 6))
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")


@cache
def entries(days: int, step: int) -> pd.DataFrame:
    """Every `step` minutes of each session an entry of each symbol, settled after twenty minutes."""
    rows = [
        (symbol, session.open + timedelta(minutes=minute), number)
        for symbol in SYMBOLS
        for number, session in enumerate(SESSIONS[:days])
        for minute in range(0, 360, step)
    ]
    table = pd.DataFrame(rows, columns=["symbol", "timestamp", "session"])
    return table.assign(settled_at=table["timestamp"] + pd.Timedelta(minutes=20))

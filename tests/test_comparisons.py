"""What the account is held against. Hand-made bars on which every figure can be worked out on paper."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pandas as pd
import pytest

from display import comparisons
from display.comparisons import compare, costs_in_words, priced
from market.bars import NoBars

COST = 0.001
ZONE = "America/New_York"


RULES = {"stop_loss": 0.02, "take_profit": 0.04, "max_holding_minutes": 390, "round_trip_cost": COST}


def giving(bars: pd.DataFrame) -> Callable[[date, date], pd.DataFrame]:
    """Bars as they are kept: those of the sessions that are asked for."""

    def between(first: date, last: date) -> pd.DataFrame:
        days = bars["timestamp"].dt.tz_convert(ZONE).dt.date
        return bars[(days >= first) & (days <= last)].reset_index(drop=True)

    return between


def no_bars(first: date, last: date) -> pd.DataFrame:
    raise NoBars(f"no bars from {first} to {last}")


def at(clock: str) -> pd.Timestamp:
    return pd.Timestamp(f"2026-03-02 {clock}", tz=ZONE)


def bars(symbol: str = "AAA", opens: float = 100.0, minutes: int = 390) -> pd.DataFrame:
    times = pd.date_range(at("09:30"), periods=minutes, freq="min").tz_convert("UTC").as_unit("us")
    price = [opens] * minutes
    return pd.DataFrame(
        {
            "symbol": symbol,
            "timestamp": times,
            "open": price,
            "high": price,
            "low": price,
            "close": price,
            "volume": 1e5,
        }
    )


def trade(**changes: object) -> dict[str, object]:
    """Bought and sold at 100 as the paper account fills: half of COST worse than the bar on both sides."""
    return {
        "symbol": "AAA", "status": "CLOSED", "qty": 10, "price": 100.05, "entry_time": at("10:00"),
        "exit_time": at("11:00"), "exit_price": 99.95, "exit_reason": "time", "stop_loss": 98.0, "take_profit": 104.0,
        "pnl_amount": -1.0,
    } | changes  # fmt: skip


def test_a_trade_filled_as_the_model_says_earns_the_same_by_both() -> None:
    costs = priced(pd.DataFrame([trade()]), bars(), COST)
    assert costs["raw"] == pytest.approx(0.0)
    assert costs["modelled"] == pytest.approx(-1.0)
    assert costs["filled"] == pytest.approx(-1.0)
    assert costs["extra_cost"] == pytest.approx(0.0)
    assert costs_in_words(costs, 1) == "Over 1 trade; a fill was just as in the cost model on average."


def test_a_fill_beyond_the_model_shows_as_the_difference() -> None:
    dear = trade(price=100.05 * 1.002)  # 20 basis points more than modelled, on one of two fills
    costs = priced(pd.DataFrame([dear]), bars(), COST)
    assert costs["modelled"] - costs["filled"] == pytest.approx(10 * 100.05 * 0.002)
    assert (
        costs_in_words(costs, 1) == "Over 1 trade; a fill was 10.0 basis points worse than the cost model on average."
    )


def test_a_sale_at_the_stop_is_measured_against_the_stop() -> None:
    falls = bars()
    falls.loc[90:, ["open", "high", "low", "close"]] = 97.0
    falls.loc[90, ["open", "high"]] = 99.0
    stopped = trade(exit_reason="stop", exit_price=98.0 * (1 - COST / 2))
    costs = priced(pd.DataFrame([stopped]), falls, COST)
    assert costs["raw"] == pytest.approx(10 * (98.0 - 100.0))


def test_what_cannot_be_measured_is_counted_and_left_out_of_every_figure() -> None:
    trades = pd.DataFrame([trade(), trade(symbol="GONE", qty=1000), trade(exit_reason="by hand", qty=1000)])
    costs = priced(trades, bars(), COST)
    assert (costs["trades"], costs["filled"]) == (1, pytest.approx(-1.0))
    assert "(2 of 3 could not be measured)" in costs_in_words(costs, 3)


def test_sessions_whose_bars_are_not_stored_say_so() -> None:
    equity = pd.DataFrame({"time": [at("09:30")], "equity": [1e5]})
    found = compare(pd.DataFrame([trade()]), equity, no_bars, **RULES)
    assert found.bars is None
    assert "Without these sessions' bars there is nothing to compare with" in found.without


def test_only_the_bars_of_traded_sessions_count() -> None:
    before = bars().assign(timestamp=bars()["timestamp"] - pd.Timedelta(days=3))
    every = pd.concat([before, bars()], ignore_index=True)
    equity = pd.DataFrame({"time": [at("09:30"), at("16:00")], "equity": [1e5, 1e5]})
    found = compare(pd.DataFrame([trade()]), equity, giving(every), **RULES)
    assert found.bars is not None
    assert len(found.bars) == 390
    assert found.mean is not None
    assert found.mean["earned"].abs().max() == 0.0
    assert found.chance is not None
    assert found.chance.trades == 1


def test_only_the_newest_sessions_are_compared_however_long_the_books_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "COMPARED_SESSIONS", 1)
    before = at("09:30") - pd.Timedelta(days=3)
    equity = pd.DataFrame({"time": [before, at("09:30"), at("16:00")], "equity": [1e5, 2e5, 2e5]})
    old = trade(entry_time=before, exit_time=before)
    every = pd.concat([bars().assign(timestamp=bars()["timestamp"] - pd.Timedelta(days=3)), bars()], ignore_index=True)
    found = compare(pd.DataFrame([old, trade()]), equity, giving(every), **RULES)
    assert found.bars is not None
    assert len(found.bars) == 390
    assert (found.sessions, found.equity["equity"].tolist()) == (2, [2e5, 2e5])
    assert found.chance is not None
    assert (found.chance.trades, found.chance.left_out) == (1, 0)


def test_books_without_a_minute_or_a_trade_have_nothing_to_compare() -> None:
    equity = pd.DataFrame({"time": pd.DatetimeIndex([], tz=ZONE), "equity": []})
    none = pd.DataFrame([trade()]).iloc[:0]
    assert "No minute" in compare(none, equity, giving(bars()), **RULES).without
    idle = pd.DataFrame({"time": [at("09:30"), at("16:00")], "equity": [1e5, 1e5]})
    found = compare(none, idle, giving(bars()), **RULES)
    assert (found.chance, found.costs) == (None, None)
    assert found.mean is not None

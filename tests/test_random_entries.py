"""Random portfolios: as many entries, the same money, the same exits; and the market that everybody could have had."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from learning.labels import label_trades
from learning.random_entries import market_mean, random_entries
from market.hours import Session, sessions_between

SESSIONS = sessions_between(date(2026, 3, 2), date(2026, 3, 6))
RULES: dict[str, Any] = {"stop_loss": 0.02, "take_profit": 0.04, "max_holding_minutes": 30, "round_trip_cost": 0.001}


def session_bars(session: Session, prices: dict[str, list[float]]) -> pd.DataFrame:
    """One bar a minute from the open on; open is the minute's price, close the next one's, no wider range."""
    frames = []
    for symbol, path in prices.items():
        opens, closes = np.array(path), np.array([*path[1:], path[-1]])
        time = pd.date_range(session.open, periods=len(path), freq="min").as_unit("us")
        frames.append(
            pd.DataFrame(
                {"symbol": symbol, "timestamp": time, "open": opens, "high": np.maximum(opens, closes),
                 "low": np.minimum(opens, closes), "close": closes, "volume": 100.0}
            )
        )  # fmt: skip
    return pd.concat(frames)


def table(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts).sort_values(["symbol", "timestamp"], ignore_index=True)


def jumping(session: Session, factor: float, symbols: str = "AB", at: int = 200) -> pd.DataFrame:
    """Every symbol stands still for `at` minutes, moves beyond stop or target within one, and stands still again."""
    return session_bars(session, {symbol: [100.0] * at + [100.0 * factor] * (390 - at) for symbol in symbols})


def bought(*rows: tuple[Session, float, int, float]) -> pd.DataFrame:
    """Trades by session, price, shares and P&L."""
    return pd.DataFrame(
        {
            "entry_time": pd.DatetimeIndex([session.open for session, *_ in rows], tz="UTC").tz_convert(
                "America/New_York"
            )
            + pd.Timedelta(minutes=7),
            "price": [price for _, price, *_ in rows],
            "qty": [qty for *_, qty, _ in rows],
            "pnl_amount": [pnl for *_, pnl in rows],
        }
    )


def random_walk(rng: np.random.Generator, sessions: list[Session], symbols: str) -> pd.DataFrame:
    parts = []
    for symbol in symbols:
        path = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, 390 * len(sessions))))
        for i, session in enumerate(sessions):
            parts.append(session_bars(session, {symbol: path[390 * i : 390 * (i + 1)].tolist()}))
    return table(*parts)


# --- where every random entry has a known outcome --------------------------------------------------------------------


def test_where_every_entry_earns_the_same_every_draw_earns_it_on_the_same_usd() -> None:
    # Bought at 100 and never moved: each entry leaves at its time and has paid the cost.
    still = table(*(session_bars(session, {"A": [100.0] * 390, "B": [7.0] * 390}) for session in SESSIONS[:2]))
    rules = RULES | {"max_holding_minutes": 2}
    trades = bought((SESSIONS[0], 50.0, 4, 3.0), (SESSIONS[0], 10.0, 10, -1.0), (SESSIONS[1], 1000.0, 1, 9.0))
    result = random_entries(still, trades, **rules)
    first, both = -0.001 * (200 + 100), -0.001 * (200 + 100 + 1000)
    assert result.curve["day"].tolist() == [date(2026, 3, 2), date(2026, 3, 3)]
    assert result.curve["time"].tolist() == [session.close for session in SESSIONS[:2]]
    # The last minutes of a day carry an entry into the next, and those of the last day beyond the bars.
    np.testing.assert_allclose(result.curve["low"], [first, both], rtol=0.05)
    np.testing.assert_allclose(result.curve["median"], [first, both])
    assert (result.trades, result.earned, result.beaten, result.left_out) == (3, 11.0, 1.0, 0)


def test_the_draws_are_spread_as_all_entries_of_the_session_are() -> None:
    rng = np.random.default_rng(3)
    bars = random_walk(rng, SESSIONS[:2], "ABC")
    trades = bought((SESSIONS[0], 100.0, 5, 0.0))
    # By hand: each bar of the first session that the next bar follows, with the label of its trade.
    outcomes = [
        row.net_return * 500.0
        for row in label_trades(bars, **RULES).itertuples()
        if row.timestamp < SESSIONS[0].close - pd.Timedelta(minutes=1)
    ]
    assert len(outcomes) == 3 * 389
    result = random_entries(bars, trades, draws=20_000, **RULES)
    for name, quantile in (("low", 0.05), ("median", 0.5), ("high", 0.95)):
        assert result.curve[name].iloc[-1] == pytest.approx(np.quantile(outcomes, quantile), abs=0.3)
    assert np.std(outcomes) > 5
    assert result.beaten == pytest.approx(np.mean(np.array(outcomes) < 0.0), abs=0.02)


def test_an_entry_earns_in_the_session_in_which_it_settles() -> None:
    # Nothing moves on the first day; the second opens beyond the target, and without a limit all is sold there.
    rules = RULES | {"max_holding_minutes": None}
    bars = table(session_bars(SESSIONS[0], {"A": [100.0] * 390}), session_bars(SESSIONS[1], {"A": [110.0] * 390}))
    result = random_entries(bars, bought((SESSIONS[0], 100.0, 10, 0.0)), **rules)
    for name in ("low", "median", "high"):
        np.testing.assert_allclose(result.curve[name], [0.0, 1000 * (0.1 - 0.001)])
    assert result.waiting == 0.0


def test_each_entry_is_of_the_usd_of_the_trade_it_stands_for() -> None:
    # Nine trades of next to nothing beside one of 1,000 USD: spread as that one alone.
    bars = random_walk(np.random.default_rng(3), SESSIONS[:2], "ABC")
    large, small = (SESSIONS[0], 100.0, 10, 0.0), (SESSIONS[0], 1e-6, 1, 0.0)
    alone = random_entries(bars, bought(large), draws=20_000, **RULES).curve
    beside = random_entries(bars, bought(*[small] * 9, large), draws=20_000, **RULES).curve
    for name in ("low", "median", "high"):
        assert beside[name].iloc[-1] == pytest.approx(alone[name].iloc[-1], abs=0.6)


def test_exits_are_those_of_the_label() -> None:
    # Entries at minutes 1 to 389: of those at 170 to 199 the stop is touched within half an hour, those from 360 on are
    # still open at the last bar, all others leave at their time for what they were bought for.
    result = random_entries(jumping(SESSIONS[0], 0.9), bought((SESSIONS[0], 100.0, 390, 0.0)), draws=20_000, **RULES)
    assert result.curve["low"].iloc[0] == pytest.approx(-39_000 * 0.021)
    assert result.curve["median"].iloc[0] == pytest.approx(-39_000 * 0.001)
    assert result.beaten == pytest.approx(359 / 389, abs=0.01)
    many = random_entries(jumping(SESSIONS[0], 0.9), bought(*[(SESSIONS[0], 100.0, 1, 0.0)] * 390), **RULES)
    assert many.curve["median"].iloc[0] == pytest.approx(-39_000 * (30 * 0.021 + 329 * 0.001) / 389, rel=0.05)


def test_a_day_without_trades_adds_none() -> None:
    bars = table(*(jumping(session, 1.1) for session in SESSIONS[:4]))
    result = random_entries(bars, bought((SESSIONS[1], 100.0, 5, 0.0)), **RULES)
    low, median, high = (result.curve[name].tolist() for name in ("low", "median", "high"))
    assert (low[0], median[0], high[0]) == (0.0, 0.0, 0.0)
    assert (low[1], median[1]) != (0.0, 0.0)
    assert (low[3], median[3], high[3]) == (low[2], median[2], high[2])


def test_only_bars_of_the_trade_s_own_session_stand_in_for_it() -> None:
    # The first day rises for everyone, the second falls: who traded on the second is compared with that one.
    bars = table(jumping(SESSIONS[0], 1.1, at=385), jumping(SESSIONS[1], 0.9, at=385))
    rules = RULES | {"max_holding_minutes": 389}
    rise = random_entries(bars, bought((SESSIONS[0], 100.0, 10, 0.0)), **rules).curve["median"]
    fall = random_entries(bars, bought((SESSIONS[1], 100.0, 10, 0.0)), **rules).curve["median"]
    np.testing.assert_allclose(rise, [39.0, 39.0])
    np.testing.assert_allclose(fall, [0.0, -21.0])


def test_cost_is_taken_off_once_a_trade() -> None:
    bars = random_walk(np.random.default_rng(4), SESSIONS[:2], "AB")
    trades = bought((SESSIONS[0], 100.0, 5, 0.0), (SESSIONS[0], 10.0, 5, 0.0))
    free = random_entries(bars, trades, **RULES | {"round_trip_cost": 0.0})
    costly = random_entries(bars, trades, **RULES | {"round_trip_cost": 0.01})
    for name in ("low", "median", "high"):
        assert free.curve[name].iloc[-1] - costly.curve[name].iloc[-1] == pytest.approx(0.01 * 550)


# --- what cannot be compared is counted ------------------------------------------------------------------------------


def test_entries_whose_end_the_bars_do_not_reach_count_nothing_and_are_counted() -> None:
    still = session_bars(SESSIONS[0], {"A": [100.0] * 100})
    result = random_entries(still, bought((SESSIONS[0], 100.0, 10, float("nan"))), draws=10_000, **RULES)
    # 99 bars can be entered on; after the first 69 of them there are 30 minutes more.
    assert result.waiting == pytest.approx(30 / 99, abs=0.02)
    assert result.curve["high"].tolist() == [0.0]
    assert result.curve["low"].tolist() == [-1.0]
    assert result.earned == 0.0
    assert result.beaten == pytest.approx(1 - result.waiting)
    assert "30% of their entries are still open" in replace(result, waiting=0.3).words


def test_trades_of_sessions_without_bars_are_left_out_of_both_sides_and_counted() -> None:
    alone = jumping(SESSIONS[2], 1.1).head(1)  # a bar that none follows is none to enter on
    bars = table(jumping(SESSIONS[0], 1.1), alone, jumping(SESSIONS[3], 1.1))
    trades = bought((SESSIONS[0], 100.0, 1, 2.5), *((session, 100.0, 1, 1000.0) for session in SESSIONS[1:3]))
    result = random_entries(bars, trades, **RULES)
    assert (result.trades, result.left_out, result.earned) == (1, 2, 2.5)
    assert "2 trades left out: no bars of that session" in result.words


def test_orders_that_were_never_filled_are_no_trades() -> None:
    trades = bought((SESSIONS[0], 100.0, 1, 2.5), (SESSIONS[0], 100.0, 0, float("nan")))
    result = random_entries(jumping(SESSIONS[0], 1.1), trades, **RULES)
    assert (result.trades, result.left_out) == (1, 0)


def test_no_entry_is_made_on_a_bar_that_no_bar_follows_in_time() -> None:
    # After a silence of six minutes an order is given up; B's only bar is followed by none.
    bars = session_bars(SESSIONS[0], {"A": [100.0, 100.0]})
    late = bars.assign(
        timestamp=bars["timestamp"] + pd.Timedelta(minutes=7), open=110.0, high=110.0, low=110.0, close=110.0
    )
    alone = bars.head(1).assign(symbol="B")
    result = random_entries(
        table(bars, late, alone), bought((SESSIONS[0], 100.0, 10, 0.0)), **RULES | {"max_holding_minutes": 1}
    )
    # That of 9:30 is sold at 9:37 for 110, that of 9:37 is still open.
    assert result.waiting == pytest.approx(0.5, abs=0.15)
    assert (result.curve["low"].iloc[0], result.curve["high"].iloc[0]) == (0.0, pytest.approx(99.0))


@pytest.mark.parametrize("none", ["trades", "bars", "both"])
def test_without_trades_or_bars_nothing_is_compared(none: str) -> None:
    bars, trades = jumping(SESSIONS[0], 1.1), bought((SESSIONS[0], 100.0, 1, 2.5))
    bars, trades = bars.head(0 if none != "trades" else None), trades.head(0 if none != "bars" else 1)
    result = random_entries(bars, trades, **RULES)
    assert (result.trades, result.beaten, result.earned) == (0, None, 0.0)
    assert result.left_out == (none == "bars")
    assert len(result.curve) == (none == "trades")
    assert not result.curve[["low", "median", "high"]].to_numpy().any()
    assert result.words.startswith("There is no trade to compare")


# --- chance ----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_draws_and_another_seed_others() -> None:
    bars = random_walk(np.random.default_rng(5), SESSIONS[:3], "ABC")
    trades = bought((SESSIONS[0], 100.0, 1, 0.0), (SESSIONS[1], 50.0, 3, 0.0))
    one, again, other = (random_entries(bars, trades, seed=seed, **RULES) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.curve, again.curve)
    assert one.beaten == again.beaten
    assert not one.curve.equals(other.curve)


def test_a_new_session_changes_nothing_that_had_settled() -> None:
    bars = random_walk(np.random.default_rng(5), SESSIONS[:3], "ABC")
    trades = bought(*((session, 100.0, 2, 0.0) for session in SESSIONS[:3] for _ in range(4)))
    short = random_entries(bars[bars["timestamp"] < SESSIONS[1].close], trades.head(8), **RULES).curve
    long = random_entries(bars, trades, **RULES).curve
    pd.testing.assert_frame_equal(short.head(1), long.head(1))
    assert len(long) == 3


def test_trades_that_are_random_themselves_beat_any_share_of_random_portfolios_as_often_as_any_other() -> None:
    rng = np.random.default_rng(6)
    bars = random_walk(rng, SESSIONS, "ABCD")
    labels = label_trades(bars, **RULES)
    known = labels["net_return"].notna().to_numpy()
    shares = []
    for trial in range(150):
        rows = rng.choice(np.flatnonzero(known), 20)
        at = bars["timestamp"].iloc[rows].reset_index(drop=True) + pd.Timedelta(minutes=1)
        gained = labels["net_return"].to_numpy()[rows] * 500
        trades = pd.DataFrame({"entry_time": at, "price": 100.0, "qty": 5, "pnl_amount": gained})
        shares.append(random_entries(bars, trades, seed=trial, draws=100, **RULES).beaten)
    assert 0.43 < np.mean(shares) < 0.57
    assert 0.25 < np.std(shares) < 0.33  # uniform: 0.289
    assert 0.04 < np.mean(np.array(shares) < 0.1) < 0.17


def test_skill_shows() -> None:
    bars = random_walk(np.random.default_rng(7), SESSIONS, "ABCD")
    trades = bought(*((session, 100.0, 5, 12.0) for session in SESSIONS for _ in range(5)))
    assert random_entries(bars, trades, **RULES).beaten == 1.0
    assert random_entries(bars, trades.assign(pnl_amount=-12.0), **RULES).beaten == 0.0


def test_the_words_never_round_up_to_all() -> None:
    result = random_entries(jumping(SESSIONS[0], 1.1), bought((SESSIONS[0], 100.0, 1, 2.5)), draws=1000, **RULES)
    assert "more than 83% of 1,000 random portfolios" in replace(result, beaten=0.83).words
    assert "more than 99% of 1,000 random portfolios" in replace(result, beaten=0.999).words
    assert "more than 100% of 1,000 random portfolios" in replace(result, beaten=1.0).words
    assert "1 trade earned +2.50 USD" in result.words


def test_real_bars_take_the_rules_of_the_settings(real_bars: pd.DataFrame) -> None:
    rows = np.arange(0, len(real_bars), 1001)  # some of each session, the last one too
    trades = pd.DataFrame(
        {
            "entry_time": real_bars["timestamp"].iloc[rows].dt.tz_convert("America/New_York").to_numpy(),
            "price": real_bars["close"].iloc[rows].to_numpy(),
            "qty": 5,
            "pnl_amount": 0.0,
        }
    )
    rules = {"stop_loss": 0.02, "take_profit": 0.04, "max_holding_minutes": 390, "round_trip_cost": 0.0006}
    result = random_entries(real_bars, trades, **rules)
    assert len(result.curve) == 31
    assert (result.curve["low"] <= result.curve["median"]).all()
    assert (result.curve["median"] <= result.curve["high"]).all()
    assert result.curve["low"].iloc[-1] < result.curve["high"].iloc[-1] - 100
    assert 0 < result.waiting < 0.1


# --- the market ------------------------------------------------------------------------------------------------------


def test_the_market_mean_is_what_the_same_money_in_each_symbol_earned_since_the_first_open() -> None:
    bars = table(
        session_bars(SESSIONS[0], {"A": [100.0 + i / 10 for i in range(390)], "B": [50.0] * 390}),
        session_bars(SESSIONS[1], {"A": [110.0] * 390, "B": [60.0] * 300}),  # B falls silent
    )
    mean = market_mean(bars)
    assert len(mean) == 1 + 13 + 13
    assert mean["time"].iloc[0] == SESSIONS[0].open
    assert mean["earned"].iloc[0] == 0.0
    assert mean["time"].iloc[1] == SESSIONS[0].open + pd.Timedelta(minutes=30)
    assert mean["earned"].iloc[1] == pytest.approx((0.03 + 0.0) / 2)
    assert mean["time"].iloc[13] == SESSIONS[0].close
    assert mean["earned"].iloc[-1] == pytest.approx((0.10 + 0.20) / 2)
    assert mean["time"].iloc[-1] == SESSIONS[1].close
    assert (mean["symbols"] == 2).all()


def test_the_bars_of_one_symbol_give_its_own_curve(real_bars: pd.DataFrame) -> None:
    spy = real_bars[real_bars["symbol"] == "SPY"]
    own = market_mean(spy)
    assert own["earned"].iloc[-1] == pytest.approx(spy["close"].iloc[-1] / spy["open"].iloc[0] - 1)
    assert len(own) == 1 + 31 * 13


def test_every_point_is_what_a_look_at_each_symbol_gives(real_bars: pd.DataFrame) -> None:
    holes = real_bars[np.random.default_rng(1).random(len(real_bars)) < 0.05]  # 1 bar of 20, each symbol its own
    mean = market_mean(holes)
    for time, earned in mean[["time", "earned"]].iloc[1::40].itertuples(index=False):
        returns = []
        for _, own in holes.groupby("symbol"):
            past = own[own["timestamp"] < time]
            returns.append(past["close"].iloc[-1] / own["open"].iloc[0] - 1 if len(past) else 0.0)
        assert earned == pytest.approx(np.mean(returns))


def test_a_symbol_that_comes_later_could_not_be_bought_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    late = session_bars(SESSIONS[1], {"NEW": [10.0] * 200 + [20.0] * 190})
    mean = market_mean(table(jumping(SESSIONS[0], 1.1, "A"), late))
    assert mean["earned"].iloc[-1] == pytest.approx(0.1)
    assert (mean["symbols"] == 1).all()
    assert "NEW" in caplog.text


def test_until_its_first_trade_a_symbol_has_earned_nothing() -> None:
    bars = session_bars(SESSIONS[0], {"A": [100.0] * 390, "B": [50.0] * 390})
    late = (bars["symbol"] == "B") & (bars["timestamp"] < SESSIONS[0].open + pd.Timedelta(minutes=45))
    rising = bars.assign(close=bars["close"].where(bars["symbol"] == "A", 55.0))
    assert market_mean(table(rising[~late]))["earned"].iloc[:3].tolist() == [0.0, 0.0, pytest.approx(0.05)]


def test_without_bars_there_is_no_market() -> None:
    mean = market_mean(jumping(SESSIONS[0], 1.1).head(0))
    assert mean.columns.tolist() == ["time", "earned", "symbols"]
    assert mean.empty

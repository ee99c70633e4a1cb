"""The laws of the house, on real bars: replay equals live, and the label is the trade."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from trading import CostlyBroker, journal_of, publish_eager_model, settings_in, trade

from gates import LEARNT
from learning.labels import label_trades
from learning.reviews import Reviews
from market.hours import new_york
from market.recorded_feed import RecordedFeed

HISTORY_SESSIONS = 12


@pytest.fixture(scope="module")
def history(real_bars: pd.DataFrame) -> pd.DataFrame:
    sessions = RecordedFeed(real_bars).sessions()
    return real_bars[real_bars["timestamp"] < sessions[HISTORY_SESSIONS].open].reset_index(drop=True)


def thinned(bars: pd.DataFrame, keep: float) -> pd.DataFrame:
    """Bars of which a random share never traded."""
    rows = np.random.default_rng(3).random(len(bars)) < keep
    return bars[rows].reset_index(drop=True)


@pytest.mark.parametrize("keep", [1.0, 0.7])
def test_a_replay_and_a_live_run_write_the_same_journal(
    real_bars: pd.DataFrame, history: pd.DataFrame, tmp_path: Path, keep: float
) -> None:
    bars = thinned(real_bars, keep)
    sessions = RecordedFeed(bars).sessions()[HISTORY_SESSIONS : HISTORY_SESSIONS + 2]
    runs = []
    for name, live in (("replay", False), ("live", True)):
        settings = settings_in(tmp_path / name, MIN_CONFIDENCE=0.6)
        publish_eager_model(settings, history)
        trade(settings, bars, sessions, live=live)
        runs.append((journal_of(settings), json.loads((settings.MODELS_DIR / "trade_history.json").read_text())))
    (replayed, replayed_view), (lived, lived_view) = runs
    assert sum(event["kind"] == "intent" for event in replayed) > 10
    assert sum(event["kind"] == "signal" for event in replayed) > 10
    assert [strip(event) for event in replayed] == [strip(event) for event in lived]
    assert replayed_view == lived_view


def strip(event: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in event.items() if name != "crc"}


def test_a_replay_and_a_live_run_learn_the_same_from_their_fills_and_act_on_it_alike(
    real_bars: pd.DataFrame, history: pd.DataFrame, tmp_path: Path
) -> None:
    sessions = RecordedFeed(real_bars).sessions()[HISTORY_SESSIONS : HISTORY_SESSIONS + 2]
    dear = dict.fromkeys(sorted(real_bars["symbol"].unique())[::3], 0.0075)
    broker = partial(CostlyBroker, extra_cost=dear, scatter=0.0002, seed=1)
    runs, said = [], list[str]()
    for name, live in (("replay", False), ("live", True)):
        settings = settings_in(tmp_path / name, MIN_CONFIDENCE=0.6)
        publish_eager_model(settings, history)
        trade(settings, real_bars, sessions, live=live, broker=broker, review=True, say=said.append)
        reviews = Reviews(settings.MODELS_DIR / "reviews").all()
        runs.append(
            (journal_of(settings), json.loads((settings.MODELS_DIR / "trade_history.json").read_text()), reviews)
        )
    (replayed, replayed_view, replay_reviews), (lived, lived_view, live_reviews) = runs

    learnt = {cost["symbol"]: cost["extra_cost"] for cost in live_reviews[0]["costs"] if cost["extra_cost"] > 0}
    assert learnt
    assert set(learnt) <= set(dear)
    first, second = ([s for s in lived_view["signals"] if s["timestamp"][:10] == str(d.day)] for d in sessions)
    assert not any(s["reason"].startswith(LEARNT) for s in first)
    turned_down = {s["symbol"] for s in second if s["reason"].startswith(LEARNT)}
    assert turned_down
    assert turned_down <= set(learnt)

    assert replayed_view == lived_view
    assert [without_verification(event) for event in replayed] == [without_verification(event) for event in lived]
    assert all(trade["why"] for trade in lived_view["trades"])
    for ours, theirs in zip(replay_reviews, live_reviews, strict=True):
        assert {**ours, "verification": None, "words": None} == {**theirs, "verification": None, "words": None}
        assert (ours["verification"], theirs["verification"]["flips"]) == (None, {})
        assert theirs["verification"]["agree"] == theirs["verification"]["compared"] > 1000
    assert not any("not of our trades" in line for line in said)  # the costly account's cash adds up


def without_verification(event: dict[str, object]) -> dict[str, object]:
    """A review's words end in the verification where it was live; all before is the same."""
    kept = [line for line in str(event.get("words", "")).split("\n  ") if "verified" not in line]
    return {**strip(event), "words": kept}


@pytest.mark.parametrize(("max_holding_minutes", "keep"), [(60, 1.0), (390, 1.0), (390, 0.7), (None, 1.0), (7, 0.6)])
def test_a_trade_of_the_paper_account_is_its_label_in_time_price_and_reason(
    real_bars: pd.DataFrame, history: pd.DataFrame, tmp_path: Path, max_holding_minutes: int | None, keep: float
) -> None:
    bars = thinned(real_bars, keep)
    settings = settings_in(tmp_path, MIN_CONFIDENCE=0.5, MAX_HOLDING_MINUTES=max_holding_minutes, MAX_OPEN_POSITIONS=12)
    publish_eager_model(settings, history)
    trader = trade(settings, bars, RecordedFeed(bars).sessions()[HISTORY_SESSIONS:])
    labels = label_trades(bars, **settings.trade_rules()).set_index(["symbol", "timestamp"])
    decided = {event["order_id"]: event["minute"] for event in journal_of(settings) if event["kind"] == "intent"}
    closed = [t for t in trader.books.trades.values() if t.status == "CLOSED"]
    assert len(closed) >= (8 if max_holding_minutes is None else 60)
    half = settings.ROUND_TRIP_COST_PCT / 2
    for t in closed:
        decision_bar = pd.Timestamp((decided[t.id] - 1) * 60, unit="s", tz="UTC")
        label = labels.loc[(t.symbol, decision_bar)]
        assert t.exit_reason == label["exit_reason"]
        assert pd.Timestamp(t.exit_time) + pd.Timedelta(minutes=1) == label["settled_at"]
        raw_return = (t.exit_price / (1 - half)) / (t.price / (1 + half)) - 1  # the cost taken out of both fills
        assert raw_return - settings.ROUND_TRIP_COST_PCT == pytest.approx(label["net_return"], abs=3e-6)
        assert t.pnl_pct == pytest.approx(label["net_return"], abs=1e-4)
        assert (t.pnl_amount > 0) == (label["label"] == 1) or abs(label["net_return"]) < 1e-4


def test_an_entry_without_a_label_is_given_up_unfilled(
    real_bars: pd.DataFrame, history: pd.DataFrame, tmp_path: Path
) -> None:
    bars = thinned(real_bars, 0.25)
    settings = settings_in(tmp_path, MIN_CONFIDENCE=0.5)
    publish_eager_model(settings, history)
    trader = trade(settings, bars, RecordedFeed(bars).sessions()[HISTORY_SESSIONS:])
    labels = label_trades(bars, **settings.trade_rules()).set_index(["symbol", "timestamp"])
    decided = {event["order_id"]: event["minute"] for event in journal_of(settings) if event["kind"] == "intent"}
    cancelled = [t for t in trader.books.trades.values() if t.status == "CANCELLED"]
    assert len(cancelled) > 3
    for t in cancelled:
        decision_bar = pd.Timestamp((decided[t.id] - 1) * 60, unit="s", tz="UTC")
        assert pd.isna(labels.loc[(t.symbol, decision_bar), "net_return"])


def test_every_fill_lies_inside_its_bar_and_its_session(
    real_bars: pd.DataFrame, history: pd.DataFrame, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, MIN_CONFIDENCE=0.5)
    publish_eager_model(settings, history)
    trader = trade(settings, real_bars, RecordedFeed(real_bars).sessions()[HISTORY_SESSIONS:])
    by_minute = real_bars.set_index(["symbol", "timestamp"])
    half = settings.ROUND_TRIP_COST_PCT / 2
    for t in trader.books.trades.values():
        if t.status != "CLOSED":
            continue
        for price, when in ((t.price / (1 + half), t.entry_time), (t.exit_price / (1 - half), t.exit_time)):
            bar = by_minute.loc[(t.symbol, pd.Timestamp(when).tz_convert("UTC"))]
            assert bar["low"] - 1e-4 <= price <= bar["high"] + 1e-4
            assert "09:30" <= f"{new_york(pd.Timestamp(when)):%H:%M}" <= "15:59"
        assert 1 <= t.qty <= settings.MAX_POSITION_SIZE

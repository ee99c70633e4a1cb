"""A replay that is interrupted, repeated, or asked for too little."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest
from bookkeeping import view_of
from rich.console import Console
from trading import CostlyBroker, journal_of, publish_eager_model, settings_in

from config import Settings
from gates import LEARNT
from learning.features import compute_features
from learning.reviews import Reviews
from market.bars import NoBars
from market.hours import at_new_york, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from replay import MIN_HISTORY_SESSIONS, ReplayPredictor, history_before, run_replay
from trader import LiveTrader

SESSIONS = sessions_between(date(2026, 1, 20), date(2026, 2, 11))
TRADED = SESSIONS[-3:]


@pytest.fixture(scope="module")
def feed() -> RecordedFeed:
    return RecordedFeed(simulate_bars(SESSIONS, ["SIM04", "SIM06", "SIM09"], seed=2))


@pytest.fixture
def settings(feed: RecordedFeed, tmp_path: Path) -> Settings:
    """With a model that serves, so that nothing has to be trained."""
    settings = settings_in(tmp_path, MIN_CONFIDENCE=0.6)
    history = feed.bars(feed.symbols(feed.end), SESSIONS[0].open, SESSIONS[10].close)
    publish_eager_model(settings, history)
    return settings


def replayed(settings: Settings, feed: RecordedFeed) -> LiveTrader:
    result = run_replay(settings, feed, TRADED, Console(quiet=True), retrain="never")
    assert not result.failures
    return result.trader


def test_a_second_run_over_the_same_sessions_changes_nothing(settings: Settings, feed: RecordedFeed) -> None:
    first = view_of(replayed(settings, feed).books)
    assert len(first["trades"]) > 3
    assert view_of(replayed(settings, feed).books) == first


@pytest.mark.parametrize("minutes", [1, 200, 391, 392, 393, 700])
def test_an_interrupted_replay_goes_on_where_it_was(
    settings: Settings, feed: RecordedFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    whole = settings_in(tmp_path / "whole", MIN_CONFIDENCE=0.6)
    publish_eager_model(whole, feed.bars(feed.symbols(feed.end), SESSIONS[0].open, SESSIONS[10].close))
    expected = view_of(replayed(whole, feed).books)
    left = [minutes]
    minute = LiveTrader.minute

    def until_ctrl_c(trader: LiveTrader, now: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        minute(trader, now)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(LiveTrader, "minute", until_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            replayed(settings, feed)
    assert view_of(replayed(settings, feed).books) == expected


@pytest.mark.parametrize("minutes", [1, 200, 391, 392, 393, 700])
def test_a_killed_replay_goes_on_from_its_last_whole_session(
    settings: Settings, feed: RecordedFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    whole = settings_in(tmp_path / "whole", MIN_CONFIDENCE=0.6)
    publish_eager_model(whole, feed.bars(feed.symbols(feed.end), SESSIONS[0].open, SESSIONS[10].close))
    traded, minute = [], LiveTrader.minute

    def killed(self: LiveTrader, now: datetime) -> None:
        minute(self, now)
        traded.append(now)
        if len(traded) == minutes:
            os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        monkeypatch.setattr(LiveTrader, "minute", killed)
        replayed(settings, feed)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert view_of(replayed(settings, feed).books) == view_of(replayed(whole, feed).books)


def test_too_little_history_is_said_before_anything_is_touched(feed: RecordedFeed) -> None:
    with pytest.raises(NoBars, match="Insufficient training data"):
        history_before(feed, SESSIONS[MIN_HISTORY_SESSIONS - 1 :])
    assert len(history_before(feed, SESSIONS[MIN_HISTORY_SESSIONS:])) == MIN_HISTORY_SESSIONS


def test_a_replay_predicts_only_what_it_is_asked_for(settings: Settings, feed: RecordedFeed) -> None:
    predictor = ReplayPredictor(settings, feed)
    now = TRADED[0].open.replace(minute=45)
    asked = predictor.at_minute(now, ["SIM06", "AAA", "BBB"], [], 0)
    assert [p.symbol for p in asked] == ["SIM06"]


def test_only_chosen_symbols_are_bought(settings: Settings, feed: RecordedFeed) -> None:
    trader = replayed(replace(settings, SYMBOLS=("SIM09",)), feed)
    assert {t.symbol for t in trader.books.trades.values()} <= {"SIM09"}
    assert trader.books.trades


@pytest.mark.parametrize("train_time", ["20:00", "02:00"])
def test_weekly_training_is_after_the_last_session_of_a_week_also_past_midnight(
    settings: Settings, feed: RecordedFeed, train_time: str
) -> None:
    thursday, friday, monday = sessions_between(date(2026, 2, 5), date(2026, 2, 9))
    hungry = replace(settings, TRAIN_TIME=train_time, MIN_TRAINING_SAMPLES=10**9)  # a training that is begun fails
    result = run_replay(hungry, feed, [thursday, friday, monday], Console(quiet=True), retrain="weekly")
    outcomes = {day: outcome for (duty, day), outcome in result.trader.books.duties.items() if duty == "train"}
    assert (outcomes[str(thursday.day)], outcomes[str(friday.day)]) == ("skipped", "failed")


# --- evenings --------------------------------------------------------------------------------------------------------


def test_each_evening_of_a_replay_is_reviewed_and_kept(settings: Settings, feed: RecordedFeed) -> None:
    trader = replayed(settings, feed)
    reviews = Reviews(settings.MODELS_DIR / "reviews").all()
    assert [review["session"] for review in reviews] == [str(session.day) for session in TRADED]
    for review, session in zip(reviews, TRADED, strict=True):
        assert datetime.fromisoformat(review["as_of"]) == at_new_york(session.day, "20:00")
        assert review["verification"] is None  # recorded bars are the final ones
        assert trader.books.duties["review", str(session.day)] == "done"
        assert review["drift"]["light"] is not None


def test_a_replay_again_over_its_own_reviews_learns_nothing_from_the_future(
    settings: Settings, feed: RecordedFeed, tmp_path: Path
) -> None:
    def run(folder: Path) -> list[dict[str, object]]:
        there = settings_in(folder, MIN_CONFIDENCE=0.6)
        cash, cost = there.PAPER_CASH, there.ROUND_TRIP_COST_PCT
        broker = CostlyBroker(None, cash, cost, extra_cost=dict.fromkeys(["SIM06", "SIM09"], 0.0075))
        run_replay(there, feed, TRADED, Console(quiet=True), retrain="never", broker=broker)
        return [event for event in journal_of(there) if event["kind"] in ("signal", "intent")]

    first = run(tmp_path)  # the folder of `settings`
    assert any(str(event.get("reason")).startswith(LEARNT) for event in first)
    shutil.copytree(tmp_path / "models", tmp_path / "again" / "models")
    for name in ("journal.jsonl", "trade_history.json", "followed_trades.jsonl"):
        (tmp_path / "again" / "models" / name).unlink()
    for name in ("predictions", "archive"):
        shutil.rmtree(tmp_path / "again" / "models" / name, ignore_errors=True)
    assert run(tmp_path / "again") == first


def test_a_replay_explains_the_prediction_of_the_minute_it_is_asked_about(
    settings: Settings, feed: RecordedFeed
) -> None:
    predictor, now = ReplayPredictor(settings, feed), TRADED[0].open.replace(minute=45)
    predictor.at_minute(now, ["SIM06"], [], 0)
    spoke = predictor.why(now, "SIM06")
    known = feed.bars(["SIM06"], SESSIONS[0].open, now)
    row = compute_features(known).iloc[-1]
    assert spoke
    assert all(each["value"] == pytest.approx(row[each["feature"]], rel=1e-9) for each in spoke)
    assert predictor.why(now, "ZZZ") == []

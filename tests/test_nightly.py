from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import pytest
from trading import settings_in

from market.hours import at_new_york, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from nightly import ChildTraining, Skipped, nightly_training

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 20))
NIGHT = at_new_york(SESSIONS[-1].day, "20:00")


@pytest.fixture(scope="module")
def feed() -> RecordedFeed:
    return RecordedFeed(simulate_bars(SESSIONS, ["SIM04", "SIM06", "SIM09"], seed=2))


def child(program: str, deadline_seconds: float = 60.0, *, wait: bool = True) -> ChildTraining:
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    return ChildTraining(process, deadline_seconds, wait)


def test_a_night_brings_the_data_set_up_to_date_and_publishes_a_model(feed: RecordedFeed, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    training = nightly_training(settings, feed, wait=True)(NIGHT)
    outcome, words = training.outcome()
    assert outcome == "done", words
    assert "20260220_200000 serves from now on" in words
    assert (settings.DATA_DIR / "dataset.parquet").exists()
    assert (settings.MODELS_DIR / "model_random_forest_20260220_200000.pkl").exists()


def test_the_child_trains_under_the_parent_s_settings(feed: RecordedFeed, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, MIN_TRAINING_SAMPLES=1_000_000)
    outcome, words = nightly_training(settings, feed, wait=True)(NIGHT).outcome()
    assert outcome == "failed"
    assert "Insufficient training data" in words
    assert "1,000,000" in words
    assert not list(settings.MODELS_DIR.glob("model_*"))


def test_a_training_that_is_not_due_is_skipped(feed: RecordedFeed, tmp_path: Path) -> None:
    def never(now: datetime) -> bool:
        return False

    training = nightly_training(settings_in(tmp_path), feed, wait=True, due=never)(NIGHT)
    assert isinstance(training, Skipped)
    assert training.outcome()[0] == "skipped"


def test_a_child_that_hangs_is_ended_at_its_deadline() -> None:
    training = child("import signal; signal.pause()", deadline_seconds=0.2)
    outcome, words = training.outcome()
    assert outcome == "failed"
    assert "took longer" in words
    assert training.process.poll() is not None


def test_a_child_that_crashes_is_a_failure_in_words() -> None:
    outcome, words = child("raise SystemExit('out of memory, say')").outcome()
    assert (outcome, words) == ("failed", "exit code 1: out of memory, say")


def test_a_child_that_prints_no_json_is_a_failure_in_words() -> None:
    assert child("import os; print('hm'); os._exit(3)").outcome()[0] == "failed"


def test_asking_without_waiting_returns_at_once_while_it_runs() -> None:
    training = child("import signal; signal.pause()", wait=False)
    assert training.outcome() is None
    training.process.kill()
    outcome, _ = training.outcome() or ("still running", "")
    assert outcome in ("failed", "still running")
    training.process.communicate()

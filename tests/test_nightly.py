"""The nightly training: whatever happens to the child, the trader goes on and the model in use stays."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest
from trading import publish_eager_model, settings_in

from learning.model_store import ModelStore
from market.hours import at_new_york, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from nightly import ChildTraining, Skipped, nightly_training, start_child

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 20))
ROOT = Path(__file__).resolve().parents[1]
Child = Callable[..., ChildTraining]
NIGHT = at_new_york(SESSIONS[-1].day, "20:00")


@pytest.fixture(scope="module")
def feed() -> RecordedFeed:
    return RecordedFeed(simulate_bars(SESSIONS, ["SIM04", "SIM06", "SIM09"], seed=2))


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """A training whose program is given."""

    def begin(program: str, deadline_seconds: float = 60.0, *, wait: bool = True, **changes: object) -> ChildTraining:
        process, leash = start_child([sys.executable, "-c", program], settings_in(tmp_path, **changes))
        return ChildTraining(process, deadline_seconds, wait, leash)

    return begin


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


def test_a_child_that_hangs_is_ended_at_its_deadline(child: Child) -> None:
    training = child("import signal; signal.pause()", deadline_seconds=0.2)
    outcome, words = training.outcome()
    assert outcome == "failed"
    assert words == "it took longer than 0 minutes and was ended; the model in use stays"
    assert training.process.poll() == -signal.SIGKILL
    assert training.leash.closed


def test_a_child_that_shuts_its_ears_is_ended_too_though_its_own_child_holds_the_pipes(child: Child) -> None:
    program = """
import os, signal
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    signal.alarm(20)
print(flush=True)
signal.pause()
"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nightly.KILL_SECONDS", 0.2)
        training = child(program, deadline_seconds=1.0)
        assert training.outcome()[0] == "failed"
        assert time.monotonic() - training.started < 10
    assert training.process.wait(5) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit('no bars, say')", "exit code 1: no bars, say"),
        ("import os; print('hm'); os._exit(3)", "exit code 3: no message"),
        ("raise MemoryError", "it asked for more memory than TRAIN_MEMORY_GB allows, or the machine has (MemoryError)"),
        ("import os; os.kill(os.getpid(), 11)", "it was ended by signal 11 (Segmentation fault): no message"),
        ("import os; os.kill(os.getpid(), 9)", "it was ended by signal 9 (Killed): no message"),
        ("import os; os.write(2, b'\\xff'); os._exit(1)", "exit code 1: \ufffd"),
        ("pass", "it ended without telling what it made: ''"),
        ("print('[]')", "it ended without telling what it made: '[]\\n'"),
        ("print('{\"card\": {}}')", "it ended without telling what it made: '{\"card\": {}}\\n'"),
    ],
)
def test_whatever_ends_a_child_is_a_failure_in_one_line(child: Child, program: str, words: str) -> None:
    training = child(program)
    assert training.outcome() == ("failed", f"{words}; the model in use stays")
    assert training.leash.closed


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process can limit another one")
def test_a_child_that_eats_memory_fails_at_the_limit_and_the_old_model_stays(
    child: Child, feed: RecordedFeed, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 10)
        publish_eager_model(settings, feed.bars(feed.symbols(feed.end), SESSIONS[0].open, feed.end))
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    before = store.load().stamp
    hungry = "import time; time.sleep(0.3); held = bytearray(8 * 10**9)"  # as soon as the limit is there
    outcome, words = child(hungry, TRAIN_MEMORY_GB=1.0).outcome()
    limit = "it asked for more memory than TRAIN_MEMORY_GB allows, or the machine has (MemoryError)"
    assert (outcome, words) == ("failed", f"{limit}; the model in use stays")
    assert (store.stamps(), store.load().stamp) == ([before], before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process can limit another one")
def test_the_limit_is_the_setting_and_leaves_this_process_alone(child: Child) -> None:
    here = resource.getrlimit(resource.RLIMIT_AS)
    wait = "import time; time.sleep(0.5); "  # until the limit is there
    program = f"{wait}import resource; raise SystemExit(str(resource.getrlimit(resource.RLIMIT_AS)))"
    assert "(3000000000, 3000000000)" in child(program, TRAIN_MEMORY_GB=3).outcome()[1]
    assert resource.getrlimit(resource.RLIMIT_AS) == here


def test_a_child_holds_no_file_of_this_process(child: Child, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        program = "import os; raise SystemExit(' '.join(os.readlink(f'/proc/self/fd/{n}') for n in range(3, 99) if "
        words = child(program + "os.path.exists(f'/proc/self/fd/{n}')) or 'none')").outcome()[1]
    assert lock.name not in words
    assert words.startswith("exit code 1: none;")


PARENT = """
import sys, time
from pathlib import Path
sys.path.insert(0, "tests")
from nightly import start_child
from trading import settings_in
program = "import os, ml_trainer; ml_trainer.end_with_parent(); print(os.getpid(), flush=True)\\nwhile True: pass"
process, leash = start_child([sys.executable, "-c", program], settings_in(Path(sys.argv[1])))
print(process.stdout.readline(), flush=True)
{then}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere SIGIO ends no process")
@pytest.mark.parametrize(
    "then", ["time.sleep(60)", "import os; os._exit(1)", "leash.close(); process.wait(); time.sleep(60)"]
)
def test_a_child_ends_with_its_parent_however_that_ends(tmp_path: Path, then: str) -> None:
    program = PARENT.replace("{then}", then)
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    gone = os.pidfd_open(child)
    if then == "time.sleep(60)":
        parent.kill()
    ready = select.select([gone], [], [], 5)[0]
    parent.kill()
    parent.communicate()
    os.close(gone)
    assert ready


def test_a_training_whose_parent_was_gone_before_it_began_does_not_begin(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "ml_trainer.py", "--with-parent"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert done.stderr == "the trader that began this training is no more\n"


def test_asking_without_waiting_returns_at_once_while_it_runs(child: Child) -> None:
    training = child("import signal; signal.pause()", wait=False)
    assert training.outcome() is None
    assert not training.leash.closed
    training.process.kill()
    outcome, _ = training.outcome() or ("still running", "")
    assert outcome in ("failed", "still running")
    training.process.communicate()

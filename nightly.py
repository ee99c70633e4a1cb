"""The 20:00 training: bring the data set up to date here, train in a child process with a deadline and a memory limit.

A crash, a hang, a hunger for memory or too little data in the child leaves trading and the model in use untouched. The
child holds no file of the trader's, and ends with it.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from build_dataset import prepare, write_dataset
from config import Settings
from market.feeds import BarFeed
from memory import give_back

log = logging.getLogger(__name__)

TRAINER = Path(__file__).with_name("ml_trainer.py")
KILL_SECONDS = 5.0  # a killed child is gone by then, or is left to the system
OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "allocate", "start new thread", "pthread_create", "failed to map")


@dataclass(frozen=True)
class ChildTraining:
    """A training under way in a child process; `wait` makes `outcome` wait for its end (a replay does).

    `leash` is the pipe whose end the child waits for: the system closes it if this process dies.
    """

    process: subprocess.Popen[str]
    deadline_seconds: float
    wait: bool
    leash: BinaryIO
    started: float = field(default_factory=time.monotonic)

    def outcome(self) -> tuple[str, str] | None:
        """None while it runs; then ("done" or "failed", words)."""
        left = self.deadline_seconds - (time.monotonic() - self.started)
        try:
            output, errors = self.process.communicate(timeout=max(left, 0.0) if self.wait else min(left, 0.01))
        except subprocess.TimeoutExpired:
            if left > 0 and not self.wait:
                return None
            self.process.kill()
            with suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=KILL_SECONDS)
            self.leash.close()
            return _failed(f"it took longer than {self.deadline_seconds / 60:.0f} minutes and was ended")
        self.leash.close()
        return _read(self.process.returncode, output, errors)


@dataclass(frozen=True)
class Skipped:
    """A training that was not due by the replay's own schedule."""

    words: str

    def outcome(self) -> tuple[str, str]:
        return "skipped", self.words


def nightly_training(
    settings: Settings, feed: BarFeed, *, wait: bool, due: Callable[[datetime], bool] = lambda now: True
) -> Callable[[datetime], ChildTraining | Skipped]:
    """A function that starts the training of `now`; `due` may say that none is wanted then."""
    # The child must read this source and no other, whatever its own environment would choose.
    chosen = replace(settings, MARKET=feed.market)

    def train(now: datetime) -> ChildTraining | Skipped:
        if not due(now):
            return Skipped("not due by --retrain")
        feed.check_splits(now)
        write_dataset(prepare(feed, now, chosen), chosen)
        give_back()  # a month of bars and examples, and this process goes on for weeks
        command = [sys.executable, str(TRAINER), "--as-of", now.isoformat(), "--json", "--quiet"]
        process, leash = start_child([*command, "--with-parent"], chosen)
        return ChildTraining(process, chosen.TRAIN_DEADLINE_MINUTES * 60, wait, leash)

    return train


def start_child(command: Sequence[str], settings: Settings) -> tuple[subprocess.Popen[str], BinaryIO]:
    """Run our own script under `settings`, with TRAIN_MEMORY_GB of address space where the system can limit another
    process's (Linux); the process, and its leash."""
    held, end = os.pipe()
    leash = os.fdopen(end, "wb")
    try:
        process = subprocess.Popen(  # noqa: S603 - our own script, no shell
            command,
            stdin=held,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **settings.as_environment()},
        )
    finally:
        os.close(held)
    if sys.platform == "linux":
        _, allowed = resource.prlimit(process.pid, resource.RLIMIT_AS)
        limit = int(settings.TRAIN_MEMORY_GB * 1e9)
        limit = limit if allowed == resource.RLIM_INFINITY else min(limit, allowed)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
    return process, leash


def _read(code: int, output: str, errors: str) -> tuple[str, str]:
    if code != 0:
        log.error("training ended with code %s\n%s", code, errors)
        last = errors.strip().splitlines()[-1] if errors.strip() else "no message"
        if any(sign in errors for sign in OUT_OF_MEMORY):
            return _failed(f"it asked for more memory than TRAIN_MEMORY_GB allows, or the machine has ({last})")
        if code < 0:
            return _failed(f"it was ended by signal {-code} ({signal.strsignal(-code)}): {last}")
        return _failed(f"exit code {code}: {last}")
    try:
        card = json.loads(output.strip().splitlines()[-1])["card"]
        auc, error = (card["scores"][name] for name in ("auc", "auc_standard_error"))
        skill = "not measurable" if auc is None or error is None else f"{auc:.3f} +- {error:.3f}"
        proof = "proven" if card["proven"] else "unproven"
        serves = "serves from now on" if card["published"] else f"is kept aside: {card['publish_reason']}"
        return "done", f"{card['stamp']} {serves}; AUC {skill} on later days; {proof}: {card['reason']}"
    except (ValueError, LookupError, TypeError):
        return _failed(f"it ended without telling what it made: {output[-200:]!r}")


def _failed(why: str) -> tuple[str, str]:
    return "failed", f"{why}; the model in use stays"

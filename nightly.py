"""The 20:00 training: bring the data set up to date here, train in a child process with a deadline.

A crash, a hang or too little data in the child leaves trading and the model in use untouched.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from build_dataset import prepare, write_dataset
from config import Settings
from market.feeds import BarFeed

log = logging.getLogger(__name__)

TRAINER = Path(__file__).with_name("ml_trainer.py")


@dataclass(frozen=True)
class ChildTraining:
    """A training under way in a child process; `wait` makes `outcome` wait for its end (a replay does)."""

    process: subprocess.Popen[str]
    deadline_seconds: float
    wait: bool
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
            self.process.communicate()
            return "failed", f"it took longer than {self.deadline_seconds / 60:.0f} minutes and was ended"
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
        command = [sys.executable, str(TRAINER), "--as-of", now.isoformat(), "--json", "--quiet"]
        process = subprocess.Popen(  # noqa: S603 - our own script, no shell
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **chosen.as_environment()},
        )
        return ChildTraining(process, chosen.TRAIN_DEADLINE_MINUTES * 60, wait)

    return train


def _read(code: int, output: str, errors: str) -> tuple[str, str]:
    if code != 0:
        log.error("training ended with code %s\n%s", code, errors)
        last = errors.strip().splitlines()[-1] if errors.strip() else "no message"
        return "failed", f"exit code {code}: {last}"
    card = json.loads(output.strip().splitlines()[-1])["card"]
    auc, error = (card["scores"][name] for name in ("auc", "auc_standard_error"))
    skill = "not measurable" if auc is None or error is None else f"{auc:.3f} +- {error:.3f}"
    proof = "proven" if card["proven"] else "unproven"
    serves = "serves from now on" if card["published"] else f"is kept aside: {card['publish_reason']}"
    return "done", f"{card['stamp']} {serves}; AUC {skill} on later days; {proof}: {card['reason']}"

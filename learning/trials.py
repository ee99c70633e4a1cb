"""How often was it tried: the distinct configurations ever judged, and what a Sharpe ratio is worth after so many.

The best of many configurations without skill looks skilled. models/trials.json counts them, once each: a nightly refit
of the same configuration is no new trial. The deflated Sharpe ratio asks for more the more there were.

Sharpe ratios here are per day, never annualised; times sqrt(252) they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from durable import move_aside, replace_file, to_json
from market.hours import new_york

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

SCHEMA = 1
ROUNDING = 1e-12  # what is smaller beside 1 is no measurement


def configuration(what: Mapping[str, Any]) -> str:
    """A short id of what makes a configuration (12 hex digits): the same for the same content in any order of keys.

    `what` must be strict JSON; ValueError for NaN or infinity.
    """
    content = json.dumps(what, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


class Trials:
    """The configurations judged so far, kept in the file `path`; every call reads it anew.

    A file that cannot be used is said in a warning and counts as no trials. `record` moves a damaged one aside and
    begins another, and leaves that of a newer version of the program alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, what: Mapping[str, Any], as_of: datetime, daily: Array) -> None:
        """Count one judgement of the configuration `what`, made with what was known at `as_of` (with a zone).

        Args: `daily` (days,) are the net returns it would have earned on the days it was judged by, 0 where it did not
        trade. Of several judgements, the Sharpe ratio of the one with the latest `as_of` is kept.
        """
        when = new_york(as_of)
        now = when.isoformat()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(self._path.parent):
            try:
                trials = self._read()
            except _NewerTrials as error:
                log.warning("%s: %s; this trial is not counted", self._path, error)
                return
            except ValueError as error:
                aside = move_aside(self._path, "damaged", when.strftime("%Y%m%d_%H%M%S"))
                log.warning("%s: %s; it is kept as %s, and counting begins anew", self._path, error, aside.name)
                trials = {}
            unseen = {"what": dict(what), "first": now, "last": now, "judged": 0}
            trial = trials.setdefault(configuration(what), unseen)
            trial["judged"] += 1
            trial["first"] = min(trial["first"], now, key=datetime.fromisoformat)
            trial["last"] = max(trial["last"], now, key=datetime.fromisoformat)
            if trial["last"] == now:
                trial |= {"sharpe": sharpe(daily), "days": len(daily)}
            replace_file(self._path, to_json({"schema": SCHEMA, "trials": trials}, indent=1))

    def sharpes(self) -> list[float]:
        """The daily Sharpe ratios of all configurations that have one."""
        return [trial["sharpe"] for trial in self._known().values() if trial["sharpe"] is not None]

    def __len__(self) -> int:
        return len(self._known())

    def _known(self) -> dict[str, dict[str, Any]]:
        try:
            return self._read()
        except ValueError as error:
            log.warning("%s: %s; no trial is known", self._path, error)
            return {}

    def _read(self) -> dict[str, dict[str, Any]]:
        """The trials on file, by id. _NewerTrials, or another ValueError if it cannot be read as trials."""
        if not self._path.exists():
            return {}
        try:
            document = json.loads(self._path.read_bytes())
            newer = document["schema"] > SCHEMA
            trials = {} if newer else {name: _checked(trial) for name, trial in document["trials"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError("it cannot be read as trials") from error
        if newer:
            raise _NewerTrials(f"it is of a newer version (schema {document['schema']}, here {SCHEMA})")
        return trials


class _NewerTrials(ValueError):
    """The file was written by a newer version of this program, which this one must not touch."""


def _checked(trial: dict[str, Any]) -> dict[str, Any]:
    """The trial, if it is strict JSON with what is asked of it; else one of the errors that `_read` expects."""
    known = 0.0 if trial["sharpe"] is None else trial["sharpe"]
    _ = to_json(trial), trial["what"].keys(), trial["judged"] + trial["days"] + known
    _ = [new_york(datetime.fromisoformat(trial[at])) for at in ("first", "last")]
    return trial


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for whoever else is writing in `folder`: two trainings at once must not overwrite each other's count."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sharpe(daily: Array) -> float | None:
    """Mean over standard deviation of daily returns (days,), per day; None with fewer than 2 days or no variation."""
    if len(daily) < 2:
        return None
    spread = float(np.std(daily, ddof=1))
    return float(np.mean(daily)) / spread if spread > ROUNDING * np.max(np.abs(daily)) else None


def sharpe_standard_error(daily: Array) -> float | None:
    """The standard error of `sharpe`: sqrt((1 - skewness SR + (kurtosis - 1) / 4 SR^2) / (days - 1)).

    Mertens (2002), for returns that need not be normal; for normal ones that of Lo (2002). As in Bailey and Lopez de
    Prado (2012), The Sharpe ratio efficient frontier. None with fewer than 3 days, no variation, or where the formula
    leaves no error, as for returns of two values whose SR is 2 / skewness.
    """
    ratio = sharpe(daily)
    if ratio is None or len(daily) < 3:
        return None
    standardised = (daily - np.mean(daily)) / np.std(daily)
    skewness, kurtosis = float(np.mean(standardised**3)), float(np.mean(standardised**4))
    factor = 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2
    return float(np.sqrt(factor / (len(daily) - 1))) if factor > ROUNDING else None


def probabilistic_sharpe(daily: Array, benchmark: float) -> float | None:
    """The probability that the true daily Sharpe ratio is above `benchmark`; None where there is no standard error.

    Bailey and Lopez de Prado (2012).
    """
    ratio, error = sharpe(daily), sharpe_standard_error(daily)
    return float(norm.cdf((ratio - benchmark) / error)) if ratio is not None and error is not None else None


def expected_maximum_sharpe(sharpes: Sequence[float]) -> float:
    """What the best of as many independent trials without skill would show, spread as `sharpes` are; 0 for one trial.

    The mean of the largest of N normal values, approximately: Bailey and Lopez de Prado (2014), The deflated Sharpe
    ratio.
    """
    n = len(sharpes)
    if n < 2:
        return 0.0
    quantiles = (1 - np.euler_gamma) * norm.ppf(1 - 1 / n) + np.euler_gamma * norm.ppf(1 - 1 / (n * np.e))
    return float(np.std(sharpes, ddof=1) * quantiles)


def deflated_sharpe(daily: Array, sharpes: Sequence[float]) -> float | None:
    """The probability that the true Sharpe ratio of `daily` is above what the best of all trials would show by chance.

    Bailey and Lopez de Prado (2014). `sharpes` are those of all trials that have one, the one behind `daily` among
    them: what never traded cannot be the best by luck. None where there is none, or no standard error.
    """
    return probabilistic_sharpe(daily, expected_maximum_sharpe(sharpes)) if sharpes else None

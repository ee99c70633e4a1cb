"""models/reviews/<date>.json: what each evening learnt from the day - costs, followed trades, drift, verification.

The newest one serves: the predictor takes learnt costs from it, the trader its drift light.
"""

from __future__ import annotations

import json
import logging
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from durable import replace_file, to_json
from learning.win_rates import WinRate, corrected
from market.hours import new_york

log = logging.getLogger(__name__)

Review = dict[str, Any]


class Reviews:
    """The reviews kept under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, day: date, review: Review) -> None:
        """Keep the review of a session, in place of an earlier one; it needs `as_of` (ISO 8601), `drift`, `costs` and
        `win_rates`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._folder / f"{day}.json", to_json(review, indent=1))

    def all(self) -> list[Review]:
        """Every review, oldest first; one that cannot be read is passed over with a warning."""
        found = [self._read(path) for path in sorted(self._folder.glob("????-??-??.json"))]
        return [review for review in found if review is not None]

    def newest(self, now: datetime) -> Review | None:
        """The newest review made at or before `now`."""
        for path in sorted(self._folder.glob("????-??-??.json"), reverse=True):
            review = self._read(path)
            if review is not None and datetime.fromisoformat(review["as_of"]) <= now:
                return review
        return None

    def signature(self) -> int:
        """Changes whenever a review is written; cheap enough to ask every minute."""
        try:
            return self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _read(self, path: Path) -> Review | None:
        try:
            review: Review = json.loads(path.read_text())
            _ = new_york(datetime.fromisoformat(review["as_of"]))  # without a zone it is no moment
            _ = to_json(review), review["drift"]["light"]  # finite numbers all through
            # What a trading minute reads of it.
            _ = {cost["symbol"]: cost["extra_cost"] > 0 for cost in review["costs"]}
            _ = corrected(np.zeros(1), [WinRate.from_record(rate) for rate in review["win_rates"]])
        except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
            log.warning("%s cannot be read (%s) and is passed over", path, type(error).__name__)
            return None
        return review

"""Verify live: would the day's predictions have been the same from the bars that the day has in the end?

The final bars can differ from those that a minute had, and each row that differs names the first cause that applies:

    revised bar          the bar it was made on has other numbers now
    late bar             the session has more bars up to that minute now: some arrived after the prediction
    bar withdrawn        it has fewer, or the bar it was made on is gone
    earlier bar revised  neither, so that a bar before the newest has other numbers now
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from learning.features import WARMUP_BARS, compute_features
from market.bars import PRICES, epoch_minutes
from market.hours import market_time

Array = NDArray[np.float64]

# |live - final| <= TOLERANCE x max(|final|, FLOOR) counts as equal. Rounding to the log's float32 explains 6e-8 of it,
# different windows 3e-10 (measured on real bars), while one cent more in a close, or 0.1% more volume, shows in the
# bar's own row. Less could only move a tree's answer if a split lay just there, and decisions are compared on all rows.
TOLERANCE, FLOOR = 1e-4, 1e-4
CAUSES = ("revised bar", "late bar", "bar withdrawn", "earlier bar revised")
EQUAL = "equal features"  # a decision flips without a cause: another model answered, or a split lies in the tolerance


@dataclass(frozen=True)
class FeatureDifference:
    """How far one feature was off: the rows that differ, and |live - final| / max(|final|, FLOOR) over these rows
    (None where there is none, or where the final value is undefined on all of them)."""

    feature: str
    rows: int
    median: float | None
    largest: float | None


@dataclass(frozen=True)
class Verification:
    """A day's predictions beside those that the final bars give. Counts are rows: one symbol at one minute.

    `causes` counts the rows that differ by cause, `flips` the decisions that fall on the other side of the threshold
    (EQUAL where no feature differs); a row that the final bars would not predict is no buy. `unverified` counts, by
    reason, what has nothing to be compared with. `not_predicted_live` are rows that the final bars predict and the
    minute did not, as their bar came late.
    """

    compared: int
    agree: int
    features: tuple[FeatureDifference, ...]
    causes: Mapping[str, int]
    flips: Mapping[str, int]
    not_predicted_live: int
    unverified: Mapping[str, int]

    def table(self) -> list[tuple[str, int, float | None, float | None]]:
        """Feature, rows that differ, median and largest relative difference, of the features that differ anywhere; most
        rows first."""
        rows = [(f.feature, f.rows, f.median, f.largest) for f in self.features if f.rows]
        return sorted(rows, key=lambda row: -row[1])

    def record(self) -> dict[str, Any]:
        """Every field, as strict JSON takes it."""
        return asdict(self)

    @property
    def words(self) -> str:
        """All of it in one line."""
        flips = sum(self.flips.values())
        words = "no prediction could be verified"
        if self.compared:
            share = self.agree * 1000 // self.compared / 10  # cut, not rounded: 100.0% is said only of all
            decisions = f"{flips:,} decision{'' if flips == 1 else 's'}" if flips else "no decision"
            words = f"{self.compared:,} prediction{'' if self.compared == 1 else 's'} verified: {share}% agree; "
            causes = ", ".join(f"{n:,} {cause}" for cause, n in sorted(self.flips.items(), key=lambda item: -item[1]))
            words += f"{decisions} would have flipped" + (f" ({causes})" if flips else "")
        if self.not_predicted_live:
            words += f"; not predicted live: {self.not_predicted_live:,} (late bars)"
        if self.unverified:
            reasons = ", ".join(f"{count:,} ({reason})" for reason, count in self.unverified.items())
            words += f"; not verified: {reasons}"
        return words


def verify(
    seen: pd.DataFrame,
    bars: pd.DataFrame,
    confidence: Callable[[Array], Array],
    threshold: float,
    features: Sequence[str],
) -> Verification:
    """Compare what was predicted live with what the final bars say of the same symbols and minutes.

    Args: `seen`, a day of SeenLog.read; `bars`, a checked table of that day and of WARMUP_BARS bars of each symbol
    before it; `confidence`, the model that served: finite features (n, len(features)) -> (n,); `features`, its names.
    """
    names = list(features)
    known = bars[bars["symbol"].isin(seen["symbol"])].reset_index(drop=True)
    minutes = epoch_minutes(known["timestamp"])
    sessions = market_time(minutes).session
    place = _keys(known["symbol"], minutes).get_indexer(_keys(seen["symbol"], seen["minute"]))
    found = place >= 0
    same_day = _keys(seen["symbol"], market_time(seen["minute"].to_numpy()).session).isin(
        _keys(known["symbol"], sessions).unique()
    )
    table = compute_features(known)[names].to_numpy()
    # Row -1 stands for a minute that the final bars do not have.
    final = np.vstack([table, np.full(len(names), np.nan)])[place]
    warm = np.append(known.groupby("symbol").cumcount() >= WARMUP_BARS - 1, False)[place]
    bars_today = np.append(known.groupby(["symbol", sessions]).cumcount() + 1, 0)[place]
    bar = np.vstack([known[[*PRICES, "volume"]].to_numpy(), np.full(5, np.nan)])[place]

    without_day, cold = ~found & ~same_day, found & ~warm
    verified = ~(without_day | cold)
    live = seen[names].to_numpy(np.float64)
    apart = np.abs(live - final) / np.maximum(np.abs(final), FLOOR)
    differs = ~(apart <= TOLERANCE) & verified[:, np.newaxis]  # also where one is undefined
    row_differs = differs.any(axis=1)
    seen_today = seen["bars_today"].to_numpy()
    cause = np.select(
        [~row_differs, ~found, (seen[[*PRICES, "volume"]].to_numpy() != bar).any(axis=1),
         seen_today < bars_today, seen_today > bars_today],
        [EQUAL, "bar withdrawn", "revised bar", "late bar", "bar withdrawn"],
        "earlier bar revised",
    )  # fmt: skip

    defined = np.isfinite(final).all(axis=1)
    again = np.full(len(seen), np.nan, np.float32)
    if defined.any():
        again[defined] = confidence(final[defined])
    level = np.float32(threshold)  # both sides in the precision of the log, so that rounding flips nothing
    flipped = verified & ((seen["confidence"].to_numpy(np.float32) >= level) != (again >= level))
    unverified = {"no final bars of that day": without_day, "too few final bars before it": cold}
    return Verification(
        compared=int(verified.sum()),
        agree=int((verified & ~row_differs).sum()),
        features=tuple(
            _difference(name, apart[rows & found, column])
            for column, (name, rows) in enumerate(zip(names, differs.T, strict=True))
        ),
        causes=_counts({name: row_differs & (cause == name) for name in CAUSES}),
        flips=_counts({name: flipped & (cause == name) for name in (*CAUSES, EQUAL)}),
        not_predicted_live=_not_predicted_live(seen, known["symbol"], minutes, table, place[found]),
        unverified=_counts(unverified),
    )


def _not_predicted_live(
    seen: pd.DataFrame, symbol: pd.Series, minutes: NDArray[np.int64], table: Array, predicted: NDArray[np.intp]
) -> int:
    """Rows of the final `table` with all features, between a symbol's first and last prediction, in a minute in which
    others were predicted."""
    span = seen.groupby("symbol")["minute"].agg(["min", "max"]).loc[symbol].to_numpy()
    expected = (minutes > span[:, 0]) & (minutes < span[:, 1]) & np.isin(minutes, seen["minute"])
    expected &= np.isfinite(table).all(axis=1)
    expected[predicted] = False
    return int(expected.sum())


def _keys(symbol: pd.Series, number: pd.Series | NDArray[np.int64]) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([symbol, number])


def _difference(feature: str, apart: Array) -> FeatureDifference:
    measured = apart[np.isfinite(apart)]
    middle, largest = (float(np.median(measured)), float(measured.max())) if len(measured) else (None, None)
    return FeatureDifference(feature, len(apart), middle, largest)


def _counts(rows: Mapping[str, NDArray[np.bool_]]) -> dict[str, int]:
    return {name: int(which.sum()) for name, which in rows.items() if which.any()}

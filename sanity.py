"""Can this pipeline be fooled, and does it find what is there? Asked of markets whose truth is known:

    python ml_trainer.py --sanity

Simulated bars go through all that a training does: features, labels, purged walk-forward, calibration, scores, verdict.
Model type and LEFT_OUT_FEATURES are the settings' own. Stored bars and models are neither read nor changed.

    no look-ahead     features of bars cut off at random minutes are those of all bars
    shuffled labels   the planted market, each day of a symbol with the features of another: nothing to learn
    noise             driftless random walks, traded by the rules of the settings
    noise, short      ten minutes between tight levels: what looks one bar ahead shows most
    planted pattern   3% of minutes foretell the next two hours, and always buying earns nothing: must be found
    noise, top 2%     the best scores of the three without a pattern, traded whatever the threshold, before cost: the
                      verdict's own test

Not sane is a bug, of this program or of an indicator added to it: a sane pipeline fails in far less than one run in a
hundred. AUC where nothing can be known may lie FAR standard errors (over days) from 0.5. There the verdict calls hardly
a market proven (none of 102 measured), so two of five are too many; of the top 2% it may call as many as a chance of 5%
each explains. The AUC of trades by the settings' own rules is not judged: how often a stop is hit can be told from
volatility, honestly, and earns nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.stats import binom

from build_dataset import build_dataset
from config import Settings
from display.figures import NOTHING, number
from learning.evaluation import WalkForward, walk_forward
from learning.features import compute_features
from learning.money import traded
from learning.scores import scores
from learning.verdicts import proven
from market.bars import epoch_minutes
from market.hours import market_time, sessions_between
from market.simulated_feed import simulate_bars

MARKETS = 5  # of each kind; their seeds are 0, 1, 2 ...
SESSIONS = (date(2026, 1, 22), date(2026, 3, 6))  # 31 without an early close; a case takes the last of them
CLIMB = 0.6  # of the planted pattern: hard enough that a pipeline can fail to find it
LONGEST_MINUTES = 780  # a trade may be held here: of longer ones too few end within the sessions
FAR = 4.0  # standard errors
TOP = 0.98  # quantile of the scores
ROUNDING = 1e-9  # relative
CUTS = 8

BENCHMARK = {
    "STOP_LOSS_PCT": 0.02,
    "TAKE_PROFIT_PCT": 0.04,
    "MAX_HOLDING_MINUTES": 120,
    "ROUND_TRIP_COST_PCT": 0.0006,
    "MIN_CONFIDENCE": 0.65,
    "MAX_OPEN_POSITIONS": 10,
}
# Levels at equal distance, and no cost: then volatility foretells nothing, and 0.5 is what noise should show.
TIGHT = BENCHMARK | {
    "STOP_LOSS_PCT": 0.005,
    "TAKE_PROFIT_PCT": 0.005,
    "MAX_HOLDING_MINUTES": 10,
    "ROUND_TRIP_COST_PCT": 0.0,
}


@dataclass(frozen=True)
class Case:
    """A kind of market, what is done with it, and what it may show.

    `rules` are settings that stand in for the user's. With a `lowest_auc` there is something to find; without, AUC may
    be `honest_auc` from 0.5 and its own error besides (None: it is not judged).
    """

    name: str
    sessions: int
    planted: bool
    look_at: str
    rules: Mapping[str, Any] = field(default_factory=dict)
    shuffled: bool = False
    lowest_auc: float | None = None
    honest_auc: float | None = None


CASES = (
    Case(
        "shuffled labels",
        sessions=21,
        planted=True,
        rules=BENCHMARK,
        shuffled=True,
        honest_auc=0.0,
        look_at="learning/evaluation.py, whether outcomes of the judged days reach the training",
    ),
    Case(
        "noise",
        sessions=21,
        planted=False,
        look_at="learning/verdicts.py and learning/money.py, whether luck passes for skill",
    ),
    Case(
        "noise, short",
        sessions=15,
        planted=False,
        rules=TIGHT,
        # the market takes 6% of a minute's move back in the next, and rows of one day share its path
        honest_auc=0.02,
        look_at="learning/features.py and learning/labels.py, whether a feature knows a bar of the trade",
    ),
    Case(
        "planted pattern",
        sessions=31,
        planted=True,
        rules=BENCHMARK,
        lowest_auc=0.58,
        look_at="LEFT_OUT_FEATURES, then learning/classifier.py, whether something keeps the model from learning",
    ),
)


@dataclass(frozen=True)
class Row:
    """What a case showed; None where nothing is measured. `fault` says what is wrong and where to look, "" if it is
    as `expected`."""

    case: str
    expected: str
    fault: str
    markets: int | None = None
    auc: float | None = None
    auc_standard_error: float | None = None
    highest_confidence: float | None = None
    trades: int | None = None
    proven: int | None = None


def check(settings: Settings, features: Sequence[str], console: Console) -> tuple[int, dict[str, Any]]:
    """Run all cases, print them; the exit code (0 sane, 1 not) and the --json object."""
    with console.status("sanity") as status:
        rows = [no_feature_looks_ahead(features)]
        rows += statistical(settings, features, CASES, MARKETS, lambda line: status.update(f"sanity: {line}"))
    faults = [f"{row.case}: {row.fault}" for row in rows if row.fault]
    words = "sane: it finds what is there, and nothing where nothing is"
    if faults:
        words = "NOT SANE: " + "; ".join(faults)
    console.print(_table(rows))
    console.print(words, soft_wrap=True)
    return (1 if faults else 0), {"sane": not faults, "verdict": words, "rows": [asdict(row) for row in rows]}


def no_feature_looks_ahead(features: Sequence[str]) -> Row:
    """Cut bars off at random minutes; no value of an earlier row may change."""
    bars = simulate_bars(sessions_between(*SESSIONS)[:3], seed=0)
    whole = compute_features(bars)[list(features)].to_numpy()
    minutes = np.unique(bars["timestamp"])
    differs = np.zeros(len(features), dtype=bool)
    for end in np.random.default_rng(0).choice(minutes[len(minutes) // 2 :], CUTS, replace=False):
        known = (bars["timestamp"] < end).to_numpy()
        before = compute_features(bars[known].reset_index(drop=True))[list(features)].to_numpy()
        same = np.isclose(before, whole[known], rtol=ROUNDING, atol=0, equal_nan=True)
        differs |= ~same.all(axis=0)
    fault = ""
    if differs.any():
        names = ", ".join(name for name, differ in zip(features, differs, strict=True) if differ)
        fault = f"{names} changes when later bars are cut off. Look at INDICATORS in learning/features.py"
    return Row("no look-ahead", f"equal at {CUTS} cuts", fault)


def statistical(
    settings: Settings,
    features: Sequence[str],
    cases: Sequence[Case],
    markets: int,
    progress: Callable[[str], object] = lambda line: None,
) -> list[Row]:
    """A row for each of `cases`, run on `markets` markets each, and the verdict's own test on those with nothing to
    find. `progress` is called with a line for each market."""
    rows: list[Row] = []
    lucky: list[bool] = []
    for case in cases:
        changed = replace(settings, **case.rules)
        frames = []
        for seed in range(markets):
            progress(f"{case.name}, market {seed + 1} of {markets}")
            frames.append(out_of_fold(case, seed, changed, features))
        rows.append(judge(case, frames, changed))
        if case.lowest_auc is None:
            lucky += [_top_proven(judged, changed) for judged in frames]
    allowed = int(binom.isf(0.001, len(lucky), 0.05))
    fault = f"{sum(lucky)} of {len(lucky)} proven. Look at learning/verdicts.py" if sum(lucky) > allowed else ""
    top = Row("noise, top 2%", f"at most {allowed} proven", fault, markets=len(lucky), proven=sum(lucky))
    return [*rows, top]


def out_of_fold(case: Case, seed: int, settings: Settings, features: Sequence[str]) -> pd.DataFrame:
    """The judged rows (`learning.evaluation.WalkForward`) of one market."""
    sessions = sessions_between(*SESSIONS)[-case.sessions :]
    bars = simulate_bars(sessions, seed=seed, pattern_strength=float(case.planted), climb=CLIMB)
    longest = min(settings.MAX_HOLDING_MINUTES or LONGEST_MINUTES, LONGEST_MINUTES)
    rules = settings.trade_rules() | {"max_holding_minutes": longest}
    examples = build_dataset(bars, rules, {}).examples
    if case.shuffled:
        examples = shuffled(examples, features, np.random.default_rng(seed))
    *_, result = walk_forward(examples, features, settings.ML_MODEL_TYPE, longest)
    assert isinstance(result, WalkForward)  # noqa: S101 - what walk_forward ends with
    return result.judged


def shuffled(examples: pd.DataFrame, features: Sequence[str], random: np.random.Generator) -> pd.DataFrame:
    """The examples, with the features of each symbol and session from another symbol and session, and from another time
    of day.

    Moved in whole, because neighbouring minutes have nearly the same features and nearly the same outcome: they keep
    both, so labels overlap, settle and are purged as ever, and a split that lets a row's neighbours into its training
    shows. To any symbol and hour, because in place these foretell how often a trade pays, and AUC would not be 0.5.
    """
    session = market_time(epoch_minutes(examples["timestamp"])).session
    blocks = list(examples.groupby(["symbol", session]).indices.values())
    source = np.empty(len(examples), dtype=np.int64)
    for rows, other in zip(blocks, random.permutation(len(blocks)), strict=True):
        drawn = blocks[other]
        source[rows] = drawn[(np.arange(len(rows)) + random.integers(len(drawn))) % len(drawn)]
    moved = examples[list(features)].iloc[source].set_axis(examples.index)
    return examples.assign(**moved)


def judge(case: Case, frames: Sequence[pd.DataFrame], settings: Settings) -> Row:
    """What the judged rows of a case's markets show, and whether they may."""
    threshold, most = settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS
    measured = [scores(judged, threshold) for judged in frames]
    holds = sum(proven(judged, threshold, most).holds for judged in frames)
    auc, error = _auc(measured)
    faults = []
    if case.lowest_auc is not None:
        needed = len(frames) // 2 + 1
        expected = f"AUC from {case.lowest_auc:.2f}, {needed} or more proven"
        if not auc >= case.lowest_auc:
            faults.append(f"AUC {auc:.3f} is below {case.lowest_auc:.2f}")
        if holds < needed:
            faults.append(f"{holds} of {len(frames)} proven, {needed} are needed")
    else:
        allowed = len(frames) // 4
        expected = f"at most {allowed} proven"
        if case.honest_auc is not None:
            far = case.honest_auc + FAR * error
            expected = f"AUC {0.5 - far:.3f} to {0.5 + far:.3f}, {expected}"
            if not abs(auc - 0.5) <= far:
                faults.append(f"AUC {auc:.3f} where nothing can be known")
        if holds > allowed:
            faults.append(f"{holds} of {len(frames)} proven where nothing can be earned")
    return Row(
        case.name,
        expected,
        f"{' and '.join(faults)}. Look at {case.look_at}" if faults else "",
        markets=len(frames),
        auc=None if np.isnan(auc) else auc,
        auc_standard_error=None if np.isnan(error) else error,
        highest_confidence=max(float(judged["confidence"].max()) for judged in frames),
        trades=sum(len(traded(judged, threshold, most)) for judged in frames),
        proven=holds,
    )


def _auc(measured: Sequence[Mapping[str, float | None]]) -> tuple[float, float]:
    """Mean over markets, and its standard error; NaN where days cannot be measured."""
    auc, error = (np.array([each[name] for each in measured], dtype=float) for name in ("auc", "auc_standard_error"))
    return float(auc.mean()), float(np.sqrt((error**2).sum()) / len(error))


def _top_proven(judged: pd.DataFrame, settings: Settings) -> bool:
    """Whether the best scores are called proven when they are traded whatever the threshold, before cost."""
    cost = settings.ROUND_TRIP_COST_PCT
    free = judged.assign(
        net_return=judged["net_return"] + cost,
        later_net_return=judged["later_net_return"] + cost,
        confidence=judged["score"].rank(pct=True),
    )
    return proven(free, TOP, settings.MAX_OPEN_POSITIONS).holds


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("case", no_wrap=True)
    for name in ("AUC by day", "highest\nconfidence", "trades", "proven"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("expected")
    table.add_column("", no_wrap=True)
    for row in rows:
        auc = f"{number(row.auc, digits=3)} ± {number(row.auc_standard_error, digits=3)}"
        table.add_row(
            row.case,
            NOTHING if row.auc is None else auc,
            number(row.highest_confidence),
            NOTHING if row.trades is None else f"{row.trades:,}",
            NOTHING if row.proven is None else f"{row.proven} of {row.markets}",
            row.expected,
            "FAIL" if row.fault else "ok",
        )
    return table

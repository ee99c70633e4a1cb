"""Does it find a pattern where there is one, is it impressed by none, does it learn what fills cost? On days not seen.

    python -m benchmarks.learning                      everything, 40 seeds (about 25 minutes on 2 cores)
    python -m benchmarks.learning noise pattern        some of it: noise, pattern, trap, drift, forest, real
    python -m benchmarks.learning pattern --seeds 10

Artificial markets: 12 symbols, MAX_HOLDING_MINUTES=120. noise: driftless. pattern: on about 3% of minutes the next two
hours drift up, paid for by a small decline, so that always buying earns nothing; the best rule buys in each of these
minutes, one position a symbol. trap: each fill in 3 of 12 symbols costs 1.5% (or half of it) that bars do not show.
Each line stands beside its target.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from rich.console import Console
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from benchmarks.run import REAL_BARS, ROOT
from build_dataset import build_dataset
from config import Settings, load_settings
from learning.classifier import ACCELERATED, fit, raw_score
from learning.drift import judge, reference
from learning.evaluation import WalkForward, walk_forward
from learning.features import FEATURES, compute_features
from learning.labels import uniqueness
from learning.money import tradable, traded
from learning.prediction_log import PredictionLog
from learning.scores import scores
from learning.verdicts import proven
from market.bars import read_bars
from market.hours import NEW_YORK, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import signature_minutes, simulate_bars
from replay import run_replay

sys.path.insert(0, str(ROOT / "tests"))
from trading import CostlyBroker

SESSIONS = sessions_between(date(2026, 1, 22), date(2026, 3, 6))
CLIMB = 0.6  # of the simulated market's default: the best rule earns 0.8% net within two hours
TOP_SHARE = 0.02
TRAPPED, NIGHTS = ("SIM04", "SIM07", "SIM11"), 5
TRAP_COSTS = (0.015, 0.0075)  # of a fill; the second is 1.5% a round trip, which takes longer to tell
LEG_SCATTER = 0.0003  # fills lie a few basis points around what bars show, in every symbol
Line = tuple[str, str, str]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Found:
    """What one market came to."""

    auc: float
    calibration_error: float
    by_luck: float
    trades: int
    captured: float  # share of what the best rule earned on the same days
    captured_per_trade: float
    best_rule: float
    gross_always: float
    beats_always: bool
    proven: bool
    top_proven: bool


def settings_of(**changes: object) -> Settings:
    return replace(load_settings(environment={}), MAX_HOLDING_MINUTES=120, **changes)


def one_market(seed: int, strength: float, sessions: int) -> Found:
    """Train and judge on one market of the newest `sessions`."""
    settings, days = settings_of(), SESSIONS[-sessions:]
    bars = simulate_bars(days, seed=seed, pattern_strength=strength, climb=CLIMB)
    examples = build_dataset(bars, settings.trade_rules(), {}).examples
    with threadpool_limits(1):
        *_, judgement = walk_forward(examples, FEATURES, "random_forest", settings.MAX_HOLDING_MINUTES)
    assert isinstance(judgement, WalkForward)
    judged, cost = judgement.judged, settings.ROUND_TRIP_COST_PCT
    limits = settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS
    trades, measured = traded(judged, *limits), scores(judged, settings.MIN_CONFIDENCE)
    shown = bars[signature_minutes(days, seed=seed)][["symbol", "timestamp"]]
    best = tradable(judged.merge(shown, on=["symbol", "timestamp"]).assign(confidence=1.0), limits[1])
    top = judged.assign(net_return=judged["net_return"] + cost, later_net_return=judged["later_net_return"] + cost)
    top["confidence"] = top["score"].rank(pct=True)
    per_trade = float(trades["net_return"].mean()) if len(trades) else 0.0
    return Found(
        float(measured["auc"] or 0.5),
        float(measured["ece"] or 0.0),
        float(measured["ece_perfect"] or 0.0),
        len(trades),
        float(trades["net_return"].sum() / best["net_return"].sum()),
        per_trade / float(best["net_return"].mean()),
        float(best["net_return"].mean()),
        float(examples["net_return"].mean()) + cost,
        per_trade > float(judged["net_return"].mean()),
        proven(judged, *limits).holds,
        proven(top, 1 - TOP_SHARE, limits[1]).holds,
    )


def mapped(work: Callable[[int], Result], seeds: Sequence[int], words: str) -> Iterator[Result]:
    """One process a core: a forest of this size has little for a second thread to do."""
    with ProcessPoolExecutor(os.cpu_count()) as pool, Console(stderr=True).status(words) as status:
        for number, result in enumerate(pool.map(work, seeds), 1):
            status.update(f"{words}: {number} of {len(seeds)}")
            yield result


def noise(seeds: Sequence[int]) -> Iterator[Line]:
    found = list(mapped(partial(one_market, strength=0.0, sessions=31), seeds, "noise"))
    n = len(found)
    yield "noise: called proven", f"{sum(f.proven for f in found)} of {n}", "2 of 40"
    yield "noise, top 2% traded before cost: called proven", f"{sum(f.top_proven for f in found)} of {n}", "4 of 40"
    yield "noise: AUC by day, calibration error", _auc(found), "0.5"


def pattern(seeds: Sequence[int]) -> Iterator[Line]:
    for sessions, target in ((31, "38 of 40"), (21, "34 of 40")):
        work = partial(one_market, strength=1.0, sessions=sessions)
        found = list(mapped(work, seeds, f"pattern, {sessions} sessions"))
        n, name = len(found), f"pattern, {sessions} sessions"
        captured, per_trade = ([getattr(f, field) for f in found] for field in ("captured", "captured_per_trade"))
        yield f"{name}: called proven", f"{sum(f.proven for f in found)} of {n}", target
        yield f"{name}: captured of the best rule's return", f"{np.mean(captured):.0%}", "65%"
        yield f"{name}: return per trade over the best rule's", f"{np.mean(per_trade):.0%}", "-"
        yield f"{name}: above always buying", f"{sum(f.beats_always for f in found)} of {n}", "40 of 40"
        yield f"{name}: AUC by day, calibration error", _auc(found), "0.035"
        always = np.mean([f.gross_always for f in found])
        best = np.mean([f.best_rule for f in found])
        yield f"{name}: best rule net, always buying gross", f"{best:.2%}, {always:+.3%}", "0.8%, within 0.05%"


def _auc(found: Sequence[Found]) -> str:
    auc, error, luck = (np.mean([getattr(f, x) for f in found]) for x in ("auc", "calibration_error", "by_luck"))
    return f"{auc:.3f}, {error:.4f} (by luck {luck:.4f})"


def one_trap(seed: int, fill_cost: float) -> tuple[float, float]:
    """Trade NIGHTS sessions with a model of the first 26; share of the signals still taken on the last two sessions
    after them, in trapped symbols and in the others."""
    bars = simulate_bars(SESSIONS, seed=seed, climb=CLIMB)
    feed = RecordedFeed(bars, "simulated")
    traded_days = SESSIONS[-NIGHTS - 2 :]
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        settings = settings_of(
            MARKET="simulated", DAYS_BACK=60, MODELS_DIR=Path(folder) / "models", DATA_DIR=Path(folder) / "data"
        )
        costs = dict.fromkeys(TRAPPED, fill_cost)
        broker = CostlyBroker(
            None, settings.PAPER_CASH, settings.ROUND_TRIP_COST_PCT, extra_cost=costs, scatter=LEG_SCATTER, seed=seed
        )
        run_replay(settings, feed, traded_days, Console(quiet=True), retrain="never", broker=broker)
        predictions = PredictionLog(settings.MODELS_DIR / "predictions")
        log = pd.concat([predictions.of_day(str(session.day)) for session in traded_days[NIGHTS:]])
    signals = log[log["model_confidence"] >= settings.MIN_CONFIDENCE]
    taken = signals["confidence"] >= settings.MIN_CONFIDENCE
    trapped = signals["symbol"].isin(TRAPPED)
    return float(taken[trapped].mean()), float(taken[~trapped].mean())


def trap(seeds: Sequence[int]) -> Iterator[Line]:
    for cost in TRAP_COSTS:
        found = np.array(list(mapped(partial(one_trap, fill_cost=cost), seeds[:20], "trap")))
        trapped, others = np.nanmean(found, axis=0)
        name = f"trap, fills cost {cost:.2%} more, 5 nights"
        yield f"{name}: signals of costly symbols still taken", f"{trapped:.1%}", "5%"
        yield f"{name}: signals of other symbols taken", f"{others:.1%}", "93%"


def forest(seeds: Sequence[int]) -> Iterator[Line]:
    """One fit on two markets together, scikit-learn-intelex against plain scikit-learn, judged on a third."""
    rules = settings_of().trade_rules()
    markets = [build_dataset(simulate_bars(SESSIONS, seed=s, climb=CLIMB), rules, {}).examples for s in (0, 1, 2)]
    train, test = pd.concat(markets[:2], ignore_index=True), markets[2]
    matrix, label = train[FEATURES].to_numpy(), train["label"].to_numpy()
    share = np.concatenate([uniqueness(market) for market in markets[:2]])
    scaler, fast = fit("random_forest", matrix, label, share)
    if not ACCELERATED:
        yield "forest", "scikit-learn-intelex is not installed here", "6 times"
        return
    known = RandomForestClassifier().get_params()
    same = {name: value for name, value in fast.get_params().items() if name in known}
    for words, changes in (
        ("as it is trained here", {}),
        ("full bootstrap", {"max_samples": None, "n_estimators": 60}),
    ):
        models = [kind(**same | changes) for kind in (type(fast), RandomForestClassifier)]
        taken = [_seconds(model, scaler.transform(matrix), label) for model in models]
        scaled = scaler.transform(test[FEATURES].to_numpy())
        auc = [roc_auc_score(test["label"], raw_score(model, scaled)) for model in models]
        name = f"forest on {len(train):,} rows, {words}"
        times = f"{taken[1] / taken[0]:.1f} times ({taken[1]:.1f} s, {taken[0]:.1f} s)"
        yield f"{name}: plain over intelex", times, "6 times"
        yield f"{name}: AUC apart", f"{abs(auc[0] - auc[1]):.4f}", "0.005"


def _seconds(model: Any, matrix: np.ndarray, label: np.ndarray) -> float:
    start = time.perf_counter()
    model.fit(matrix, label.astype(int))
    return time.perf_counter() - start


def one_drift(seed: int) -> dict[str, list[str]]:
    """The light of each of the last 10 days of a market without a pattern, as it is and changed; 20 days are learnt."""
    bars = simulate_bars(SESSIONS, seed=seed, pattern_strength=0.0)
    learnt, judged = SESSIONS[:-10], SESSIONS[-10:]
    past = compute_features(bars[bars["timestamp"] < judged[0].open].reset_index(drop=True)).dropna()
    day = past["timestamp"].dt.tz_convert(NEW_YORK).dt.date.to_numpy()
    usual = reference(past[FEATURES].to_numpy(), day, FEATURES)
    lights: dict[str, list[str]] = {
        name: [] for name in ("ordinary", "volatility doubled", "volume x 5, every other bar")
    }
    for before, session in pairwise([learnt[-1], *judged]):
        two = bars[(bars["timestamp"] >= before.open) & (bars["timestamp"] < session.close)].reset_index(drop=True)
        today = (two["timestamp"] >= session.open).to_numpy()
        start = two[today].groupby("symbol")["open"].transform("first")
        prices = ["open", "high", "low", "close"]
        wild, broken = two.copy(), two.copy()
        wild.loc[today, prices] = two.loc[today, prices].pow(2).div(start, axis=0)  # log moves since the open, twice
        broken.loc[np.flatnonzero(today)[::2], "volume"] *= 5
        for name, table in zip(lights, (two, wild, broken), strict=True):
            features = compute_features(table)[today][FEATURES].dropna().to_numpy()
            lights[name].append(judge(usual, features, FEATURES).light or "none")
    return lights


def drift(seeds: Sequence[int]) -> Iterator[Line]:
    """Of markets that had no part in choosing the levels: seeds from 1000 on."""
    found = list(mapped(one_drift, [1000 + seed for seed in seeds], "drift"))
    for name in found[0]:
        lights = [light for lights in found for light in lights[name]]
        share = {light: lights.count(light) / len(lights) for light in ("amber", "red")}
        target = "amber about 5%, red hardly ever" if name == "ordinary" else "red"
        yield f"drift, {name}: amber or red, red", f"{share['amber'] + share['red']:.1%}, {share['red']:.1%}", target


def real(seeds: Sequence[int]) -> Iterator[Line]:
    if not REAL_BARS.exists():
        yield "real bars", "not beside the repository", "-"
        return
    for minutes in (120, 390):
        settings = replace(settings_of(), MAX_HOLDING_MINUTES=minutes)
        examples = build_dataset(read_bars(REAL_BARS), settings.trade_rules(), {}).examples
        *_, judgement = walk_forward(examples, FEATURES, "random_forest", minutes)
        assert isinstance(judgement, WalkForward)
        measured = scores(judgement.judged, settings.MIN_CONFIDENCE)
        verdict = proven(judgement.judged, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS)
        words = (
            f"AUC {measured['auc']:.3f} +- {measured['auc_standard_error']:.3f}, calibration error "
            f"{measured['ece']:.3f} (by luck {measured['ece_perfect']:.3f}), highest confidence "
            f"{measured['highest_confidence']:.2f}; {'proven' if verdict.holds else 'unproven'}: {verdict.reason}"
        )
        yield f"31 real sessions, held {minutes} minutes", words, "whatever is true"


PARTS = {part.__name__: part for part in (noise, pattern, trap, drift, forest, real)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--seeds", type=int, default=40)
    arguments = parser.parse_args()
    console = Console()
    console.print(f"{os.cpu_count()} cores; work: measured (target)")
    for name in arguments.parts or PARTS:
        for work, measured, target in PARTS[name](range(arguments.seeds)):
            console.print(f"{work}: {measured} ({target})", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

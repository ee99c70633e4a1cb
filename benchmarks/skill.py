"""Does it find a pattern where there is one, and none where there is none? On the simulated market, days not seen.

    python -m benchmarks.skill            10 seeds with the pattern, 10 without (about 3 minutes on 2 cores)
    python -m benchmarks.skill --seeds 3

For each seed: 31 sessions, walk-forward as in ml_trainer.py, scores on the days after the first training window. ECE is
the calibration error, `net a trade` what an account could have earned after cost, `always` the same for every minute.
"""

from __future__ import annotations

import argparse
from datetime import date

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from build_dataset import build_dataset
from config import load_settings
from learning.evaluation import WalkForward, walk_forward
from learning.features import FEATURES
from learning.money import traded
from learning.scores import scores
from learning.verdicts import proven
from market.hours import sessions_between
from market.simulated_feed import simulate_bars

SESSIONS = sessions_between(date(2026, 1, 21), date(2026, 3, 6))


def judged(seed: int, strength: float) -> pd.DataFrame:
    """Out-of-fold rows of one simulated market."""
    settings = load_settings(environment={})
    bars = simulate_bars(SESSIONS, seed=seed, pattern_strength=strength)
    examples = build_dataset(bars, settings.trade_rules(), {}).examples
    *_, result = walk_forward(examples, FEATURES, settings.ML_MODEL_TYPE, settings.MAX_HOLDING_MINUTES)
    assert isinstance(result, WalkForward)
    return result.judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    settings, console = load_settings(environment={}), Console()
    table = Table(title=f"means over {len(seeds)} seeds", title_justify="left", box=None, pad_edge=False)
    for column in ("strength", "AUC by day", "ECE", "trades", "net a trade", "always", "proven"):
        table.add_column(column, justify="right")
    for strength in (0.0, settings.SIMULATED_PATTERN_STRENGTH):
        rows = []
        with console.status("") as status:
            for seed in seeds:
                status.update(f"strength {strength}, seed {seed}")
                found = judged(seed, strength)
                measured = scores(found, settings.MIN_CONFIDENCE)
                trades = traded(found, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS)
                verdict = proven(found, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS)
                always = found["net_return"].mean()
                rows.append(
                    (measured["auc"], measured["ece"], len(trades), trades["net_return"].sum(), always, verdict.holds)
                )
        auc, ece, count, net, always, holds = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        table.add_row(
            f"{strength:g}",
            f"{auc.mean():.3f} ({auc.min():.2f}-{auc.max():.2f})",
            f"{ece.mean():.3f}",
            f"{count.mean():.0f}",
            f"{net.sum() / count.sum():+.2%}" if count.sum() else "-",
            f"{always.mean():+.2%}",
            f"{holds.sum():.0f} of {len(seeds)}",
        )
    console.print(table)


if __name__ == "__main__":
    main()

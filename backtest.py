"""Trade the past with the live program, day by day, retraining every night on what was known then.

    python backtest.py --market recorded --bars my_bars/      all sessions after the first 20
    python backtest.py --market recorded --bars f.parquet --days 5 --retrain never
    python backtest.py --market alpaca                        what build_dataset.py collected from Alpaca
    python backtest.py --market simulated                     the simulated market

Models, books and report go to --out (default data/backtests/<time>/) and nowhere else. There is no second set of rules:
this is live_trader.py's own minute on a replay clock and the local paper broker.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

import command
import report
from config import Settings
from display.figures import plural
from market.bars import NoBars
from market.clock import utc_now
from replay import history_before, run_replay
from sources import claim, open_market, open_stored, stamp_of

FIRST_HISTORY_SESSIONS = 20


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    alpaca = settings.market == "alpaca"  # what build_dataset.py collected there
    feed = open_stored(settings, "alpaca") if alpaca else open_market(settings, arguments.bars)
    out = (arguments.out or settings.DATA_DIR / "backtests" / stamp_of(utc_now())).resolve()
    if (out / "models" / "journal.jsonl").exists():
        raise command.UsageError(f"--out {out} holds a backtest already; name another folder")
    settings = replace(settings, MODELS_DIR=out / "models", DATA_DIR=out / "data", MARKET=feed.market)
    every = feed.sessions()
    sessions = every[-arguments.days :] if arguments.days else every[FIRST_HISTORY_SESSIONS:]
    if not sessions:
        raise NoBars(
            f"Insufficient training data: {len(every)} sessions, the first {FIRST_HISTORY_SESSIONS} are history. "
            "Give more bars, or choose with --days"
        )
    history_before(feed, sessions)
    claim(settings, feed.market, now=utc_now())
    console.print(
        f"market {feed.market}: trading {plural(len(sessions), 'session')}, {sessions[0].day} to {sessions[-1].day}"
    )
    result = run_replay(settings, feed, sessions, console, retrain=arguments.retrain)
    console.print()
    report.show(settings, console)
    page = report.write_page(settings, out / "report.html")
    console.print(f"books, models and report: {out} (open {page.name} in a browser)", soft_wrap=True)
    summary = result.trader.get_performance_summary()
    return (1 if result.failures else 0), {"out": str(out), "failures": dict(result.failures), **summary}


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser("backtest.py", __doc__)
    parser.add_argument("--retrain", choices=("daily", "weekly", "never"), default="daily", help="default: daily")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where models, books and report go")
    return command.run("backtest", _body, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

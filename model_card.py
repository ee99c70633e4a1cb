"""The card of a model: what a person and the predictor must know of it, made at its training, and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from config import Settings
from display.figures import LOWER_THRESHOLDS, NOTHING, number, percent, plural
from display.learnt import trials
from learning.classifier import versions
from learning.drift import gaps_by_day, rates_by_day, reference
from learning.evaluation import WalkForward
from learning.money import baselines, money
from learning.scores import CalibrationByDay, break_even, scores
from learning.verdicts import Verdict
from market.hours import NEW_YORK


@dataclass(frozen=True)
class Training:
    """What a training came to."""

    card: dict[str, Any]
    published: Verdict
    proven: Verdict
    paths: dict[str, Path]


def make_card(
    about: Mapping[str, Any],
    examples: pd.DataFrame,
    features: Sequence[str],
    independent: float,
    judgement: WalkForward,
    settings: Settings,
    now: datetime,
) -> dict[str, Any]:
    """The card, but for stamp, verdicts and trials.

    `about` describes the data set, `examples` are those trained on, worth `independent` independent ones.
    """
    judged, calibration = judgement.judged, judgement.calibration()
    session = judgement.table["session"]
    return {
        "model_type": settings.ML_MODEL_TYPE,
        "market": about["market"],
        "feed": about["feed"],
        "symbols": sorted(examples["symbol"].unique().tolist()),
        "selection": about["selection"],
        "train_start": examples["timestamp"].min().isoformat(),
        "train_end": examples["settled_at"].max().isoformat(),
        "as_of": now.isoformat(),
        "rows": len(examples),
        "independent_rows": round(independent),
        "sessions": len(days_of(examples)),
        "judged_sessions": int(judged["session"].nunique()),
        "refitted_on_whole_window": True,
        "features": list(features),
        "trade_rules": settings.trade_rules(),
        "min_confidence": settings.MIN_CONFIDENCE,
        "max_open_positions": settings.MAX_OPEN_POSITIONS,
        "scores": scores(judged, settings.MIN_CONFIDENCE),
        "money": money(judged, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS),
        "baseline": {
            **baselines(judged, settings.ROUND_TRIP_COST_PCT),
            "break_even_confidence": break_even(judged),
        },
        "signals_at": {f"{level:.2f}": int((judged["confidence"] >= level).sum()) for level in LOWER_THRESHOLDS},
        "importances": [
            {key: value if pd.notna(value) else None for key, value in row.items()}
            for row in judgement.importances.to_dict("records")
        ],
        "calibration": {**calibration.record(), "table": CalibrationByDay(judged).table()},
        "drift": {
            "features": reference(examples[list(features)].to_numpy(), days_of_rows(examples), features),
            "signal_rates": rates_by_day(
                judged["confidence"].to_numpy(), session[judged.index].to_numpy(), settings.MIN_CONFIDENCE
            ),
            "gaps": gaps_by_day(
                judged["confidence"].to_numpy(), judged["label"].to_numpy(), session[judged.index].to_numpy()
            ),
        },
        "versions": versions(),
    }


def days_of_rows(examples: pd.DataFrame) -> NDArray[np.object_]:
    """The New York date of each example."""
    return examples["timestamp"].dt.tz_convert(NEW_YORK).dt.date.to_numpy()


def days_of(examples: pd.DataFrame) -> NDArray[np.object_]:
    """The New York dates of examples, each once."""
    return np.unique(days_of_rows(examples))


# --- the terminal ----------------------------------------------------------------------------------------------------


def show(training: Training, console: Console) -> None:
    """Print scores, money, calibration, importances, verdicts and files for a person."""
    card = training.card
    console.print(
        f"{card['model_type']} {card['stamp']}: {card['rows']:,} examples of {len(card['symbols'])} symbols "
        f"({card['independent_rows']:,} independent), {card['sessions']} sessions to {card['train_end'][:10]}"
    )
    table = Table(
        title=f"On {plural(card['judged_sessions'], 'day')} it had not seen",
        title_justify="left", show_header=False, box=None, pad_edge=False,
    )  # fmt: skip
    for row in (*_scores(card), *_money(card)):
        table.add_row(*row)
    console.print(table)
    console.print(_calibration(card))
    console.print(_importances(card))
    if card["consider_removing"]:
        names = ", ".join(card["consider_removing"])
        console.print(f"the newest models did as well without these, consider removing (LEFT_OUT_FEATURES): {names}")
    console.print(trials(card))
    if card["selection"]["by_hindsight"]:
        console.print(f"{percent(card['selection']['by_hindsight'])} of the examples were chosen by hindsight")
    console.print(f"published: {'yes' if training.published.holds else 'no'} - {training.published.reason}")
    console.print(f"proven: {'yes' if training.proven.holds else 'no'} - {training.proven.reason}")
    if not training.published.holds:
        console.print(f"to use it all the same: python ml_trainer.py --use {card['stamp']}")
    console.print(
        "files: " + ", ".join(path.name for path in training.paths.values()) + f" in {training.paths['model'].parent}",
        soft_wrap=True,
    )


def _scores(card: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    s, threshold = card["scores"], f"buying at {card['min_confidence']:.2f}"
    error = number(s["auc_standard_error"], digits=3)
    exact, high = number(s["ece_perfect"], digits=3), number(s["ece_perfect_high"], digits=3)
    luck = f"on so few days even exact probabilities show about {exact}, once in twenty times above {high}"
    lower = {level: count for level, count in card["signals_at"].items() if float(level) < card["min_confidence"]}
    return [
        ("AUC, mean over days", number(s["auc"], digits=3), f"standard error {error}; 0.5 is chance"),
        ("accuracy", percent(s["accuracy"]), threshold),
        ("precision", percent(s["precision"]), f"{plural(s['signals'], 'row')}, {threshold}"),
        ("recall", percent(s["recall"]), threshold),
        ("calibration error", number(s["ece"], digits=3), luck),
        ("Brier score, log loss", number(s["brier"], digits=3), number(s["log_loss"], digits=3)),
        ("break-even confidence", number(card["baseline"]["break_even_confidence"]), "its trades earn 0 on average"),
        ("highest confidence", number(s["highest_confidence"]), f"rows at lower thresholds: {listed_at(lower)}"),
    ]  # fmt: skip


def _money(card: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    m, baseline = card["money"], card["baseline"]
    traded = f"{plural(m['trades'], 'trade')} on {plural(m['days_traded'], 'day')}, after cost"
    span = f"{percent(m['random_low'], '+')} to {percent(m['random_high'], '+')}"
    return [
        ("net return per trade", percent(m["net_return_per_trade"], "+"), traded),
        (
            "  entered one bar later",
            percent(m["one_bar_later_per_trade"], "+"),
            "a profit that vanishes then does not count as skill",
        ),
        ("  above other entries", percent(m["excess_per_trade"], "+"), "of the same day and half hour"),
        ("net return per day", percent(m["daily"], "+"), f"standard error {percent(m['daily_standard_error'])}"),
        ("  random entries", percent(m["random_mean"], "+"), f"as many a day; nine of ten accounts earn {span}"),
        ("always buying", percent(baseline["always_buy_net_return"], "+"), "per trade, after cost"),
        ("buying and holding", percent(baseline["hold_net_return"], "+"), "over all these days, mean of the symbols"),
    ]


def _calibration(card: Mapping[str, Any]) -> Table:
    table = Table(title="What a confidence meant", title_justify="left", box=None, pad_edge=False)
    for column in ("confidence", "paid", "if exact", "rows"):
        table.add_column(column, justify="right")
    for row in card["calibration"]["table"]:
        known = row["low"] is not None
        span = f"{percent(row['low'], digits=0)} to {percent(row['high'], digits=0)}" if known else NOTHING
        table.add_row(number(row["confidence"]), percent(row["profitable"], digits=0), span, f"{row['rows']:,}")
    return table


def _importances(card: Mapping[str, Any]) -> Table:
    ranks = Table(title="Feature importances", title_justify="left", box=None, pad_edge=False)
    for column in ("feature", "AUC lost when shuffled", "standard error", "impurity"):
        ranks.add_column(column, justify="left" if column == "feature" else "right")
    for row in card["importances"]:
        lost, error, impurity = row["permutation"], row["standard_error"], row["impurity"]
        ranks.add_row(
            row["feature"], number(lost, sign="+", digits=4), number(error, digits=4), number(impurity, digits=3)
        )
    return ranks


def listed_at(counts: Mapping[str, int]) -> str:
    """Counts at thresholds in one line."""
    return ", ".join(f"{count:,} at {level}" for level, count in counts.items()) or "none is lower"

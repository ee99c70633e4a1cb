"""Train a model on data/dataset.parquet, judge it on later days, and publish it unless it is shown to be worse.

    python ml_trainer.py                               train, judge, publish
    python ml_trainer.py --model gradient_boosting     another kind of model
    python ml_trainer.py --as-of 2026-03-02T20:00-05:00   as if it were then: nothing settled later is seen
    python ml_trainer.py --use 20260302_200000         let an earlier model serve

Two verdicts: `published` says that the model serves from now on, `proven` that it has shown skill on days it had not
seen. An unproven model may still trade on paper, which is how evidence is gathered (REQUIRE_PROOF=True forbids it).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

import command
from build_dataset import Dataset, read_dataset
from config import Settings, load_settings
from learning.classifier import TradeClassifier, fit, versions
from learning.evaluation import StaleDataset, TooFewSessions, WalkForward, reliability, scores, walk_forward
from learning.features import FEATURES
from learning.labels import had_its_time, uniqueness
from learning.model_store import ModelStore, NoModel
from learning.prediction_log import PredictionLog
from learning.verdicts import Verdict, better_or_equal, proven
from market.clock import utc_now
from market.hours import new_york, sessions_between
from sources import StateRefused, claim, stamp_of

EXPIRED_SESSIONS = 10  # a model older than this is no rival to a new one


@dataclass(frozen=True)
class Training:
    """What a training came to."""

    card: dict[str, Any]
    published: Verdict
    proven: Verdict
    paths: dict[str, Path]


class MLTrainer:
    """Fits, judges and publishes models for one set of settings. Opens nothing until `train` is called."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or load_settings()
        self._store = ModelStore(self._settings.MODELS_DIR)

    def train(self, as_of: datetime | None = None, progress: Callable[[str], object] = lambda line: None) -> Training:
        """Train on the data set as it stands.

        Args: `as_of` hides every example not settled by then; default: the end of the data set. `progress` is called
        with a line for each step. Raises NoBars, TooFewSessions (with the documented words) or StateRefused.
        """
        settings = self._settings
        progress("reading the data set")
        dataset = read_dataset(settings)
        now = as_of or datetime.fromisoformat(dataset.about["as_of"])
        self._check(dataset)
        examples = self._examples(dataset, now)
        claim(settings, dataset.about["market"], now=now)
        judgement = self._judge(examples, progress)
        progress("fitting on the whole window")
        matrix, label = examples[FEATURES].to_numpy(), examples["label"].to_numpy()
        share = uniqueness(examples)
        scaler, estimator = fit(settings.ML_MODEL_TYPE, matrix, label, share)
        classifier = TradeClassifier(estimator, judgement.calibration())
        published = self._against_incumbent(judgement.judged, dataset, now)
        skill = proven(judgement.judged, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS)
        card = self._card(dataset, examples, share, judgement, now) | {
            "proven": skill.holds,
            "reason": skill.reason,
            "publish_reason": published.reason,
        }
        progress("writing the model")
        paths = self._store.publish(card, classifier, scaler, _stored(judgement), serve=published.holds)
        return Training(card | {"published": published.holds}, published, skill, paths)

    def _check(self, dataset: Dataset) -> None:
        """Refuse a data set that answers another question than the settings ask."""
        about, settings = dataset.about, self._settings
        if about["features"] != FEATURES or about["trade_rules"] != settings.trade_rules():
            what = "features" if about["features"] != FEATURES else "stop, target, holding limit or cost"
            raise StaleDataset(
                f"Insufficient training data: {settings.DATA_DIR / 'dataset.parquet'} was made with other {what}. "
                "Run: python build_dataset.py"
            )

    def _examples(self, dataset: Dataset, now: datetime) -> pd.DataFrame:
        settings, examples = self._settings, dataset.examples
        first = pd.Timestamp(now) - timedelta(days=settings.DAYS_BACK + 1)
        known = (examples["settled_at"] <= now) & (examples["timestamp"] >= first)
        known &= had_its_time(examples["timestamp"], now, settings.MAX_HOLDING_MINUTES)
        if settings.SYMBOLS is not None:
            known &= examples["symbol"].isin(settings.SYMBOLS)
        examples = examples[known].reset_index(drop=True)
        if len(examples) < settings.MIN_TRAINING_SAMPLES:
            raise TooFewSessions(
                f"Insufficient training data: {len(examples):,} examples, MIN_TRAINING_SAMPLES is "
                f"{settings.MIN_TRAINING_SAMPLES:,}. Run: python build_dataset.py"
            )
        return examples

    def _judge(self, examples: pd.DataFrame, progress: Callable[[str], object]) -> WalkForward:
        for step in walk_forward(examples, FEATURES, self._settings.ML_MODEL_TYPE, self._settings.MAX_HOLDING_MINUTES):
            if isinstance(step, WalkForward):
                return step
            progress(f"judging on later days: {step}")
        raise AssertionError("walk_forward ends with its result")

    def _against_incumbent(self, judged: pd.DataFrame, dataset: Dataset, now: datetime) -> Verdict:
        settings = self._settings
        try:
            stamp = self._store.current()
            card = self._store.card(stamp)
        except NoModel:
            return Verdict(True, "there is no model in use to compare with")
        age = len(sessions_between(datetime.fromisoformat(card["train_end"]).date(), new_york(now).date())) - 1
        same = (
            card["model_type"] == settings.ML_MODEL_TYPE
            and (card["market"], card["feed"]) == (dataset.about["market"], dataset.about["feed"])
            and card["features"] == FEATURES
            and card["trade_rules"] == settings.trade_rules()
        )
        if not same or not 0 <= age <= EXPIRED_SESSIONS:
            why = "of another kind" if not same else f"{age} sessions old" if age > 0 else "from a later time"
            return Verdict(True, f"the model in use is {why}, so there is no rival")
        incumbent = PredictionLog(settings.MODELS_DIR / "predictions").of_model(stamp)
        return better_or_equal(judged, incumbent, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS)

    def _card(
        self, dataset: Dataset, examples: pd.DataFrame, share: np.ndarray, judgement: WalkForward, now: datetime
    ) -> dict[str, Any]:
        settings, judged = self._settings, judgement.judged
        calibration = judgement.calibration()
        return {
            "stamp": self._free_stamp(now),
            "model_type": settings.ML_MODEL_TYPE,
            "market": dataset.about["market"],
            "feed": dataset.about["feed"],
            "symbols": sorted(examples["symbol"].unique().tolist()),
            "train_start": examples["timestamp"].min().isoformat(),
            "train_end": examples["settled_at"].max().isoformat(),
            "as_of": now.isoformat(),
            "rows": len(examples),
            "independent_rows": round(float(share.sum())),
            "sessions": len(new_york_days(examples)),
            "refitted_on_whole_window": True,
            "features": FEATURES,
            "trade_rules": settings.trade_rules(),
            "min_confidence": settings.MIN_CONFIDENCE,
            "scores": scores(judged, settings.MIN_CONFIDENCE),
            "baseline": {
                "share_profitable": float(judged["label"].mean()),
                "always_buy_net_return": float(judged["net_return"].mean()),
                "break_even_confidence": break_even(judged),
            },
            "signals_at": {f"{level:.2f}": int((judged["confidence"] >= level).sum()) for level in (0.6, 0.55, 0.5)},
            "importances": [
                {key: value if pd.notna(value) else None for key, value in row.items()}
                for row in judgement.importances.to_dict("records")
            ],
            "calibration": {
                "slope": calibration.slope,
                "intercept": calibration.intercept,
                "table": reliability(judged),
            },
            "versions": versions(),
        }

    def _free_stamp(self, now: datetime) -> str:
        """The New York time of `now`; a second more for each model that has it already."""
        while (stamp := stamp_of(now)) in self._store.stamps():
            now += timedelta(seconds=1)
        return stamp


def break_even(judged: pd.DataFrame) -> float | None:
    """The share of profitable trades at which winners pay for losers: loss / (win + loss), as they were on average."""
    win = judged["net_return"][judged["label"] == 1].mean()
    loss = -judged["net_return"][judged["label"] == 0].mean()
    return float(loss / (win + loss)) if win > 0 and loss > 0 else None


def new_york_days(examples: pd.DataFrame) -> np.ndarray:
    """The New York dates of examples, each once."""
    return examples["timestamp"].dt.tz_convert("America/New_York").dt.date.unique()


def _stored(judgement: WalkForward) -> pd.DataFrame:
    return judgement.judged[["symbol", "timestamp", "settled_at", "session", "label", "net_return", "confidence"]]


def show(training: Training, console: Console) -> None:
    """Print scores, importances, verdicts and files for a person."""
    card, measured = training.card, training.card["scores"]
    console.print(
        f"{card['model_type']} {card['stamp']}: {card['rows']:,} examples of {len(card['symbols'])} symbols "
        f"({card['independent_rows']:,} independent), {card['sessions']} sessions to {card['train_end'][:10]}"
    )
    table = Table(title="On days it had not seen", title_justify="left", show_header=False, box=None, pad_edge=False)
    error = measured["auc_standard_error"]
    threshold = f"buying at {card['min_confidence']:.2f}"
    for name, value, words in (
        (
            "AUC, mean over days",
            _number(measured["auc"], ".3f"),
            f"standard error {_number(error, '.3f')}; 0.5 is chance",
        ),
        ("accuracy", _number(measured["accuracy"], ".1%"), threshold),
        ("precision", _number(measured["precision"], ".1%"), f"{measured['signals']:,} signals, {threshold}"),
        ("recall", _number(measured["recall"], ".1%"), threshold),
        ("net return per signal", _number(measured["net_return_per_signal"], "+.2%"), "after cost"),
        ("always buying", _number(card["baseline"]["always_buy_net_return"], "+.2%"), "per trade, after cost"),
        (
            "break-even confidence",
            _number(card["baseline"]["break_even_confidence"], ".2f"),
            "a trade of this confidence earns nothing",
        ),
        ("highest confidence", _number(measured["highest_confidence"], ".2f"), _lower_thresholds(card)),
        ("calibration error", _number(measured["ece"], ".3f"), f"Brier {_number(measured['brier'], '.3f')}"),
    ):
        table.add_row(name, value, words, style=None)
    console.print(table)
    ranks = Table(title="Feature importances", title_justify="left", box=None, pad_edge=False)
    for column in ("feature", "AUC lost when shuffled", "impurity"):
        ranks.add_column(column, justify="left" if column == "feature" else "right")
    for row in card["importances"]:
        ranks.add_row(row["feature"], _number(row["permutation"], "+.4f"), _number(row["impurity"], ".3f"))
    console.print(ranks)
    console.print(f"published: {'yes' if training.published.holds else 'no'} - {training.published.reason}")
    console.print(f"proven: {'yes' if training.proven.holds else 'no'} - {training.proven.reason}")
    if not training.published.holds:
        console.print(f"to use it all the same: python ml_trainer.py --use {card['stamp']}")
    console.print(
        "files: " + ", ".join(path.name for path in training.paths.values()) + f" in {training.paths['model'].parent}",
        soft_wrap=True,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _lower_thresholds(card: dict[str, Any]) -> str:
    return "signals at " + ", ".join(f"{level}: {count:,}" for level, count in card["signals_at"].items())


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    if arguments.use:
        store = ModelStore(settings.MODELS_DIR)
        store.load(arguments.use)
        store.use(arguments.use)
        console.print(f"model {arguments.use} serves from now on")
        return 0, {"stamp": arguments.use}
    about = read_dataset(settings).about
    if settings.MARKET != "auto" and settings.market != about["market"]:
        raise StateRefused(
            f"the data set is of market {about['market']}, not {settings.market}; nothing was trained. "
            f"Run: python build_dataset.py --market {settings.market}, in folders of its own"
        )
    as_of = datetime.fromisoformat(about["as_of"])
    console.print(
        f"data set of market {about['market']}, {about['rows']:,} examples, as of {new_york(as_of):%Y-%m-%d %H:%M} New "
        f"York ({(utc_now() - as_of).days} days ago)"
    )
    with console.status("training") as status:
        training = MLTrainer(settings).train(arguments.as_of, lambda line: status.update(f"training: {line}"))
    show(training, console)
    return 0, {"stamp": training.card["stamp"], "card": training.card}


def _moment(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-03-02T20:00-05:00") from error
    if when.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no zone; write 2026-03-02T20:00-05:00 for 8 pm in New York")
    return when


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser("ml_trainer.py", __doc__)
    parser.add_argument("--model", choices=("random_forest", "gradient_boosting"), help="instead of ML_MODEL_TYPE")
    parser.add_argument("--as-of", type=_moment, metavar="TIME", help="hide everything not settled by then")
    parser.add_argument("--use", metavar="STAMP", help="let the model of this stamp serve, train nothing")
    arguments = parser.parse_args(argv)
    overrides = {"DAYS_BACK": arguments.days, "ML_MODEL_TYPE": arguments.model}
    return command.run("ml_trainer", _body, arguments, overrides)


if __name__ == "__main__":
    sys.exit(main())

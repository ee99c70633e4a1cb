"""Train a model on data/dataset.parquet, judge it on later days, and publish it unless it is shown to be worse.

    python ml_trainer.py                               train, judge, publish
    python ml_trainer.py --model gradient_boosting     another kind of model
    python ml_trainer.py --as-of 2026-03-02T20:00-05:00   as if it were then: nothing settled later is seen
    python ml_trainer.py --use 20260302_200000         let an earlier model serve
    python ml_trainer.py --vouch 20260302_200000       sign a model that you made on another machine and moved here
    python ml_trainer.py --sanity                      can it be fooled, and does it find what is there (see sanity.py)

Two verdicts: `published` says that the model serves from now on, `proven` that it has shown skill on days it had not
seen. An unproven model may still trade on paper, which is how evidence is gathered (REQUIRE_PROOF=True forbids it).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from rich.console import Console

import command
import sanity
from build_dataset import Dataset, read_dataset
from config import Settings, load_settings
from learning.classifier import TradeClassifier, fit
from learning.evaluation import StaleDataset, TooFewSessions, WalkForward, walk_forward
from learning.features import FEATURES
from learning.importances import consider_removing
from learning.labels import had_its_time, uniqueness
from learning.model_store import ModelStore, NoModel
from learning.money import by_day, traded
from learning.prediction_log import PredictionLog
from learning.trials import Trials, deflated_sharpe, sharpe, sharpe_standard_error
from learning.verdicts import Verdict, better_or_equal, proven
from market.clock import utc_now
from market.hours import new_york, sessions_between
from model_card import Training, make_card, show
from sources import StateRefused, claim, stamp_of

EXPIRED_SESSIONS = 10  # a model older than this is no rival to a new one


class MLTrainer:
    """Fits, judges and publishes models for one set of settings. Opens nothing until `train` is called."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or load_settings()
        self._store = ModelStore(self._settings.MODELS_DIR, self._settings.STATE_DIR)

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
        examples, features = self._examples(dataset, now), chosen_features(settings)
        claim(settings, dataset.about["market"], now=now)
        judgement = self._judge(examples, features, progress)
        progress("fitting on the whole window")
        matrix, label = examples[features].to_numpy(), examples["label"].to_numpy()
        share = uniqueness(examples)
        scaler, estimator = fit(settings.ML_MODEL_TYPE, matrix, label, share)
        classifier = TradeClassifier(estimator, judgement.calibration())
        published = self._against_incumbent(judgement.judged, dataset, features, now)
        skill = proven(judgement.judged, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS)
        progress("writing the card")
        card = make_card(dataset.about, examples, features, float(share.sum()), judgement, settings, now) | {
            "stamp": self._free_stamp(now),
            "trials": self._count_trial(dataset, features, judgement.judged, now),
            "proven": skill.holds,
            "reason": skill.reason,
            "publish_reason": published.reason,
        }
        card["consider_removing"] = consider_removing([*self._store.cards(), card])
        paths = self._store.publish(card, classifier, scaler, _stored(judgement), matrix, serve=published.holds)
        return Training(card | {"published": published.holds}, published, skill, paths)

    def _check(self, dataset: Dataset) -> None:
        """Refuse a data set that answers another question than the settings ask."""
        about, settings = dataset.about, self._settings
        how = None
        if "driftless" not in dataset.examples.columns or "bars_end" not in about:
            how = "by an earlier version"
        elif about["features"] != FEATURES:
            how = "with other features"
        elif about["trade_rules"] != settings.trade_rules():
            how = "with other stop, target, holding limit or cost"
        if how is not None:
            raise StaleDataset(
                f"Insufficient training data: {settings.DATA_DIR / 'dataset.parquet'} was made {how}. "
                "Run: python build_dataset.py"
            )

    def _examples(self, dataset: Dataset, now: datetime) -> pd.DataFrame:
        settings, examples = self._settings, dataset.examples
        first = pd.Timestamp(now) - timedelta(days=settings.DAYS_BACK + 1)
        known = (examples["settled_at"] <= now) & (examples["timestamp"] >= first)
        seen = min(now, datetime.fromisoformat(dataset.about["bars_end"]))  # bars may end before now does
        known &= had_its_time(examples["timestamp"], seen, settings.MAX_HOLDING_MINUTES)
        if settings.SYMBOLS is not None:
            known &= examples["symbol"].isin(settings.SYMBOLS)
        examples = examples[known].reset_index(drop=True)
        if len(examples) < settings.MIN_TRAINING_SAMPLES:
            raise TooFewSessions(
                f"Insufficient training data: {len(examples):,} examples, MIN_TRAINING_SAMPLES is "
                f"{settings.MIN_TRAINING_SAMPLES:,}. Run: python build_dataset.py"
            )
        return examples

    def _judge(self, examples: pd.DataFrame, features: list[str], progress: Callable[[str], object]) -> WalkForward:
        for step in walk_forward(examples, features, self._settings.ML_MODEL_TYPE, self._settings.MAX_HOLDING_MINUTES):
            if isinstance(step, WalkForward):
                return step
            progress(f"judging on later days: {step}")
        raise AssertionError("walk_forward ends with its result")

    def _against_incumbent(self, judged: pd.DataFrame, dataset: Dataset, features: list[str], now: datetime) -> Verdict:
        settings = self._settings
        try:
            stamp = self._store.current()
            card = self._store.card(stamp)
            out_of_fold = self._store.out_of_fold(stamp)
        except NoModel:
            return Verdict(True, "there is no model in use to compare with")
        age = len(sessions_between(datetime.fromisoformat(card["train_end"]).date(), new_york(now).date())) - 1
        same = (
            card["model_type"] == settings.ML_MODEL_TYPE
            and (card["market"], card["feed"]) == (dataset.about["market"], dataset.about["feed"])
            and card["features"] == features
            and card["trade_rules"] == settings.trade_rules()
            and "history" in out_of_fold  # else by an earlier version
        )
        if not same or not 0 <= age <= EXPIRED_SESSIONS:
            why = "of another kind" if not same else f"{age} sessions old" if age > 0 else "from a later time"
            return Verdict(True, f"the model in use is {why}, so there is no rival")
        live = PredictionLog(settings.MODELS_DIR / "predictions").of_model(stamp)
        return better_or_equal(judged, live, out_of_fold, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS)

    def _count_trial(
        self, dataset: Dataset, features: list[str], judged: pd.DataFrame, now: datetime
    ) -> dict[str, float | int | None]:
        """Write down that this configuration was judged, and what its Sharpe ratio is worth after so many."""
        settings = self._settings
        trades = traded(judged, settings.MIN_CONFIDENCE, settings.MAX_OPEN_POSITIONS)
        daily = by_day(trades, "net_return", judged["session"].unique())
        trials = Trials(settings.MODELS_DIR / "trials.json")
        configuration = {
            "model_type": settings.ML_MODEL_TYPE,
            "market": dataset.about["market"],
            "feed": dataset.about["feed"],
            "features": features,
            "trade_rules": settings.trade_rules(),
            "min_confidence": settings.MIN_CONFIDENCE,
            "max_open_positions": settings.MAX_OPEN_POSITIONS,
            "days_back": settings.DAYS_BACK,
            "symbols": sorted(settings.SYMBOLS) if settings.SYMBOLS else None,
        }
        trials.record(configuration, now, daily)
        sharpes = trials.sharpes()
        return {
            "count": len(trials),
            "traded": len(sharpes),
            "sharpe": sharpe(daily),
            "standard_error": sharpe_standard_error(daily),
            "deflated": deflated_sharpe(daily, sharpes),
        }

    def _free_stamp(self, now: datetime) -> str:
        """The New York time of `now`; a second more for each model that has it already."""
        while (stamp := stamp_of(now)) in self._store.stamps():
            now += timedelta(seconds=1)
        return stamp


def chosen_features(settings: Settings) -> list[str]:
    """The features that a model learns from: all but LEFT_OUT_FEATURES. Raises UsageError for an unknown one."""
    left_out = set(settings.LEFT_OUT_FEATURES or ())
    if unknown := sorted(left_out - set(FEATURES)):
        raise command.UsageError(
            f"LEFT_OUT_FEATURES names {', '.join(unknown)}, which no feature is called; see learning/features.py"
        )
    chosen = [name for name in FEATURES if name not in left_out]
    if not chosen:
        raise command.UsageError("LEFT_OUT_FEATURES leaves no feature to learn from; name fewer")
    return chosen


def _stored(judgement: WalkForward) -> pd.DataFrame:
    columns = ["symbol", "timestamp", "settled_at", "session", "label", "net_return", "history", "confidence"]
    return judgement.judged[columns]


def _body(arguments: argparse.Namespace, settings: Settings, console: Console) -> tuple[int, dict[str, Any]]:
    if arguments.sanity:
        return sanity.check(settings, chosen_features(settings), console)
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    if arguments.vouch:
        return _vouch(store, arguments.vouch, console)
    if arguments.use:
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


def _vouch(store: ModelStore, stamp: str, console: Console) -> tuple[int, dict[str, Any]]:
    names = ", ".join(path.name for path in store.paths(stamp, store.card(stamp)["model_type"]).values())
    console.print(
        f"A model file is code: whoever loads it runs what it contains. You vouch for {names} with the key of this "
        "machine; do so only for files that you made. They are loaded now, and must predict what they did there.",
        soft_wrap=True,
    )
    store.vouch(stamp)
    console.print(f"model {stamp} is whole, predicts as it did, and is signed here")
    return 0, {"stamp": stamp}


def _moment(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-03-02T20:00-05:00") from error
    if when.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no zone; write 2026-03-02T20:00-05:00 for 8 pm in New York")
    return when


def end_with_parent() -> None:
    """End this process as soon as the pipe that is its standard input does: at the latest when its parent dies.

    The system sends SIGIO then, which on Linux ends a process whatever it is computing. A killed trader's training
    would otherwise go on, and publish beside the one that its next start begins.
    """
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # it had ended before
        sys.exit("the trader that began this training is no more")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser("ml_trainer.py", __doc__)
    parser.add_argument("--model", choices=("random_forest", "gradient_boosting"), help="instead of ML_MODEL_TYPE")
    parser.add_argument("--as-of", type=_moment, metavar="TIME", help="hide everything not settled by then")
    parser.add_argument("--use", metavar="STAMP", help="let the model of this stamp serve, train nothing")
    parser.add_argument("--vouch", metavar="STAMP", help="sign a model that you made elsewhere, train nothing")
    parser.add_argument("--sanity", action="store_true", help="judge this program on simulated markets; 1: not sane")
    parser.add_argument("--with-parent", action="store_true", help="end with the standard input: the nightly training")
    arguments = parser.parse_args(argv)
    if arguments.with_parent:
        end_with_parent()
    overrides = {"DAYS_BACK": arguments.days, "ML_MODEL_TYPE": arguments.model}
    return command.run("ml_trainer", _body, arguments, overrides)


if __name__ == "__main__":
    sys.exit(main())

"""models/: publish a model whole or not at all, and load none that cannot be vouched for.

model_random_forest_20260302_200003.pkl    the fitted estimator and its calibration
scaler_20260302_200003.pkl                 the feature scaler
features_20260302_200003.pkl               the ordered feature names
card_20260302_200003.json                  what a person and the predictor must know, and a SHA-256 per file
out_of_fold_20260302_200003.parquet        what the procedure predicted for days it had not seen
current.json                               which stamp serves; written last
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from durable import replace_file, to_json
from learning.classifier import TradeClassifier, versions

log = logging.getLogger(__name__)

KEPT_MODELS = 10


class NoModel(LookupError):
    """No model serves, or none that may; the message is the documented one, with the cure."""


@dataclass(frozen=True)
class PublishedModel:
    """A loaded model with its card."""

    stamp: str
    classifier: TradeClassifier
    scaler: StandardScaler
    features: list[str]
    card: dict[str, Any]

    def confidence(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of a profitable trade, shape (n,), for finite features of shape (n, len(self.features))."""
        return self.classifier.confidence(self.scaler.transform(features))


class ModelStore:
    """The models kept under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def publish(
        self,
        card: Mapping[str, Any],
        classifier: TradeClassifier,
        scaler: StandardScaler,
        out_of_fold: pd.DataFrame,
        *,
        serve: bool,
    ) -> dict[str, Path]:
        """Write the files of a model, its card last but one, and with `serve` point current.json at it. Their paths."""
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = self.paths(card["stamp"], card["model_type"])
        contents = {
            "model": _pickled(classifier),
            "scaler": _pickled(scaler),
            "features": _pickled(list(card["features"])),
            "out_of_fold": _parquet(out_of_fold),
        }
        hashes = {paths[name].name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        for name, content in contents.items():
            replace_file(paths[name], content)
        replace_file(paths["card"], to_json({**card, "published": serve, "sha256": hashes}, indent=1))
        if serve:
            self.use(card["stamp"])
        self._prune(keep=card["stamp"])
        return paths

    def use(self, stamp: str) -> None:
        """Let the model of `stamp` serve. NoModel if there is none of that stamp."""
        self.card(stamp)
        replace_file(self._folder / "current.json", to_json({"stamp": stamp}))

    def paths(self, stamp: str, model_type: str) -> dict[str, Path]:
        """Where the files of a model are."""
        names = {
            "model": f"model_{model_type}_{stamp}.pkl",
            "scaler": f"scaler_{stamp}.pkl",
            "features": f"features_{stamp}.pkl",
            "card": f"card_{stamp}.json",
            "out_of_fold": f"out_of_fold_{stamp}.parquet",
        }
        return {name: self._folder / file for name, file in names.items()}

    def stamps(self) -> list[str]:
        """The stamps of all models with a card, oldest first."""
        return sorted(path.stem.removeprefix("card_") for path in self._folder.glob("card_*.json"))

    def card(self, stamp: str) -> dict[str, Any]:
        """The card of a model. NoModel if it is missing or unreadable."""
        try:
            card: dict[str, Any] = json.loads((self._folder / f"card_{stamp}.json").read_text())
            _ = card["stamp"], card["published"], card["model_type"], card["versions"], card["sha256"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise NoModel(f"No trained model found: no card of {stamp} in {self._folder}. {_CURE}") from error
        return card

    def cards(self) -> list[dict[str, Any]]:
        """The cards of all models, oldest first; one that cannot be read takes no other away, and is passed over."""
        found = []
        for stamp in self.stamps():
            try:
                found.append(self.card(stamp))
            except NoModel as error:
                log.warning("%s", error)
        return found

    def current(self) -> str:
        """The stamp that serves: current.json's, without it the newest published one. NoModel if there is none."""
        pointer = self._folder / "current.json"
        if pointer.exists():
            try:
                return str(json.loads(pointer.read_text())["stamp"])
            except (OSError, ValueError, LookupError, TypeError) as error:
                raise NoModel(
                    f"Model not ready for predictions: {pointer} cannot be read. "
                    f"Run: python ml_trainer.py --use STAMP, with one of: {', '.join(self.stamps())}"
                ) from error
        published = [card["stamp"] for card in self.cards() if card["published"]]
        if not published:
            raise NoModel(f"No trained model found in {self._folder}. {_CURE}")
        return str(published[-1])

    def signature(self) -> tuple[int, int] | None:
        """Changes whenever another model is published; cheap enough to ask every minute."""
        try:
            status = (self._folder / "current.json").stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino

    def load(self, stamp: str | None = None) -> PublishedModel:
        """Load the model that serves, or that of `stamp`, from bytes whose SHA-256 is the card's.

        Raises NoModel, with the documented words and the cure, if files are missing or changed, or if the model was
        made with other versions of what it depends on.
        """
        stamp = stamp or self.current()
        card = self.card(stamp)
        here = versions()
        if card["versions"].get("model format") != here["model format"]:
            raise NoModel(
                f"Model not ready for predictions: {stamp} was made by another version of this program. {_CURE}"
            )
        for package, trained_with in card["versions"].items():
            if package != "python" and here.get(package) != trained_with:
                raise NoModel(
                    f"Model not ready for predictions: {stamp} was trained with {package} {trained_with}, here is "
                    f"{here.get(package, 'none')}. Run: python ml_trainer.py, or install {package}=={trained_with}"
                )
        paths = self.paths(stamp, card["model_type"])
        loaded = {name: self._verified(paths[name], card["sha256"]) for name in ("model", "scaler", "features")}
        classifier, scaler, features = (joblib.load(BytesIO(content)) for content in loaded.values())
        return PublishedModel(stamp, classifier, scaler, features, card)

    def out_of_fold(self, stamp: str) -> pd.DataFrame:
        """What the procedure behind a model predicted for days it had not seen."""
        card = self.card(stamp)
        path = self.paths(stamp, card["model_type"])["out_of_fold"]
        return pd.read_parquet(BytesIO(self._verified(path, card["sha256"])))

    def _verified(self, path: Path, hashes: Mapping[str, str]) -> bytes:
        if not path.is_file():
            raise NoModel(f"Model not ready for predictions: {path} is missing. {_CURE}")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != hashes.get(path.name):
            raise NoModel(f"Model not ready for predictions: {path} is not the file that was trained. {_CURE}")
        return content

    def _prune(self, keep: str) -> None:
        """Remove the files of all but the newest models; cards stay, they are the record of what was learnt."""
        try:
            serving = self.current()
        except NoModel:
            serving = keep
        for stamp in self.stamps()[:-KEPT_MODELS]:
            if stamp not in (keep, serving):
                for pattern in ("model_*", "scaler", "features", "out_of_fold"):
                    for path in self._folder.glob(f"{pattern}_{stamp}.*"):
                        path.unlink(missing_ok=True)


_CURE = "Run: python ml_trainer.py"


def _pickled(value: object) -> bytes:
    content = BytesIO()
    joblib.dump(value, content, compress=3)
    return content.getvalue()


def _parquet(table: pd.DataFrame) -> bytes:
    content = BytesIO()
    table.to_parquet(content, index=False, compression="zstd")
    return content.getvalue()

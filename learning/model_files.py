"""One model on disk: its card, its files, and the way from their bytes to something that predicts.

Nothing here asks who signed a card; `learning.model_store` does, before it loads.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from durable import to_json
from learning.classifier import TradeClassifier
from learning.signing import Untrusted, read_plain

MAX_FILE_BYTES = 500_000_000
MAX_CARD_BYTES = 10_000_000
GOLDEN_ROWS = 8
GOLDEN_TOLERANCE = 1e-9  # of a confidence; other processors round within it

Card = dict[str, Any]

_STAMP = re.compile(r"\d{8}_\d{6}")
_FILE = re.compile(
    r"\.?(?:model_[a-z_]+|scaler|features|out_of_fold|card)_(?P<stamp>\d{8}_\d{6})\.(?:pkl|parquet|json)"
    r"(?P<temporary>\.[0-9a-f]{8}\.tmp)?"
)
_NEEDED = {"stamp": str, "published": bool, "model_type": str, "versions": dict, "sha256": dict}
_IF_THERE = {
    **dict.fromkeys(("market", "feed", "train_start", "train_end", "reason", "publish_reason"), str),
    **dict.fromkeys(("features", "symbols", "importances", "consider_removing"), list),
    **dict.fromkeys(("scores", "baseline", "calibration", "money", "trials", "selection"), dict),
    "proven": bool,
}
# What loading can raise where the code that a pickle names is not what it was, or the pickle is none.
_UNLOADABLE = (
    UserWarning, ImportError, AttributeError, LookupError, TypeError, ValueError, EOFError, pickle.UnpicklingError,
    zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class PublishedModel:
    """A loaded model with its card."""

    stamp: str
    classifier: TradeClassifier
    scaler: StandardScaler
    features: list[str]
    card: Card

    def confidence(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of a profitable trade, shape (n,), for finite features of shape (n, len(self.features))."""
        return self.classifier.confidence(self.scaler.transform(features))


def paths_of(folder: Path, stamp: str, model_type: str) -> dict[str, Path]:
    """Where the files of a model are."""
    names = {
        "model": f"model_{model_type}_{stamp}.pkl",
        "scaler": f"scaler_{stamp}.pkl",
        "features": f"features_{stamp}.pkl",
        "card": f"card_{stamp}.json",
        "out_of_fold": f"out_of_fold_{stamp}.parquet",
    }
    return {name: folder / file for name, file in names.items()}


def contents_of(model: PublishedModel, out_of_fold: pd.DataFrame) -> dict[str, bytes]:
    """The bytes of each file but the card."""
    table = BytesIO()
    out_of_fold.to_parquet(table, index=False, compression="zstd")
    pickled = {"model": model.classifier, "scaler": model.scaler, "features": model.features}
    return {**{name: _pickled(value) for name, value in pickled.items()}, "out_of_fold": table.getvalue()}


def _pickled(value: object) -> bytes:
    content = BytesIO()
    joblib.dump(value, content, compress=3)
    return content.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def golden(model: PublishedModel, examples: NDArray[np.float64]) -> dict[str, Any]:
    """GOLDEN_ROWS of the examples (n, features), n > 0, and what the model says of them, as the card keeps it."""
    rows = examples[np.linspace(0, len(examples) - 1, GOLDEN_ROWS).astype(int)]
    return {"features": rows.tolist(), "confidence": model.confidence(rows).tolist()}


def read_card(folder: Path, stamp: str) -> Card:
    """The card of a stamp; what else stands under that name is Untrusted."""
    path = folder / f"card_{stamp}.json"
    if not _STAMP.fullmatch(stamp):
        raise Untrusted(f"{stamp[:40]!r} is no stamp of a model (YYYYMMDD_HHMMSS)")
    try:
        card = json.loads(read_plain(path, MAX_CARD_BYTES))
        to_json(card).encode()  # finite numbers and whole characters all through
        kinds = {name: kind for name, kind in (_NEEDED | _IF_THERE).items() if name in _NEEDED or name in card}
        wrong = [name for name, kind in kinds.items() if type(card[name]) is not kind]
        if card["stamp"] != stamp or not re.fullmatch("[a-z_]+", card["model_type"]):
            wrong = ["stamp or model_type"]
    except Untrusted as error:
        raise Untrusted(f"no card of {stamp} in {folder}: {error}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Untrusted(f"no card of {stamp} in {folder}: {path.name} is not one that was written here") from error
    if wrong:
        raise Untrusted(f"no card of {stamp} in {folder}: in {path.name} {', '.join(wrong)} cannot be")
    return dict(card)


def read_checked(path: Path, hashes: Mapping[str, Any]) -> bytes:
    """The bytes of a file, read once, if their SHA-256 is the card's."""
    content = read_plain(path, MAX_FILE_BYTES)
    if sha256(content) != hashes.get(path.name):
        raise Untrusted(f"{path} is not the file that was trained")
    return content


def load_files(folder: Path, card: Card) -> PublishedModel:
    """The model of a card that somebody has vouched for: all files are checked before the first one is unpickled.

    Untrusted if one is not what the card says, does not load, or predicts something else than it did when it was made.
    """
    paths = paths_of(folder, card["stamp"], card["model_type"])
    contents = {name: read_checked(paths[name], card["sha256"]) for name in ("model", "scaler", "features")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # InconsistentVersionWarning is one, and the model would load
            classifier, scaler, features = (joblib.load(BytesIO(content)) for content in contents.values())
        model = PublishedModel(card["stamp"], classifier, scaler, features, card)
        rows, expected = (np.array(card["golden"][name], dtype=float) for name in ("features", "confidence"))
        off = float(np.abs(model.confidence(rows) - expected).max())
    except _UNLOADABLE as error:
        raise Untrusted(f"{paths['model']} cannot be loaded here ({type(error).__name__}: {error})") from error
    if not off <= GOLDEN_TOLERANCE:
        raise Untrusted(f"{paths['model']} predicts something else here than when it was trained (by {off:.2g})")
    if features != card["features"]:
        raise Untrusted(f"{paths['features']} names other features than the card")
    return model


def leftovers(folder: Path, stamps: Sequence[str]) -> list[Path]:
    """What trainings that were cut off left behind: half-written files, and those older than the newest of `stamps`
    (of the cards) without a card of their own. Only for who knows that nobody publishes there now."""
    carded, newest = set(stamps), max(stamps, default="")
    found = [(path, _FILE.fullmatch(path.name)) for path in folder.iterdir() if not path.is_dir()]
    return [
        path
        for path, match in found
        if match and (match["temporary"] or (match["stamp"] not in carded and match["stamp"] < newest))
    ]

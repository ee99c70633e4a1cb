"""models/: publish a model whole or not at all, and load none that cannot be vouched for.

model_random_forest_20260302_200003.pkl    the fitted estimator and its calibration
scaler_20260302_200003.pkl                 the feature scaler
features_20260302_200003.pkl               the ordered feature names
card_20260302_200003.json                  what a person and the predictor must know; a SHA-256 per file, golden rows
                                           with the confidence each must give, and a signature over it all
out_of_fold_20260302_200003.parquet        what the procedure predicted for days it had not seen
current.json                               which stamp serves; written last

A pickle is code: each is read once, checked against the signed card, and loaded from the bytes that were checked.
Files without a card are those of a training that was cut off; they serve nobody, and a later one removes them.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from durable import replace_file, to_json
from learning.classifier import TradeClassifier, versions
from learning.model_files import (
    MAX_CARD_BYTES,
    Card,
    contents_of,
    golden,
    leftovers,
    load_files,
    paths_of,
    read_card,
    read_checked,
    sha256,
)
from learning.model_files import PublishedModel as PublishedModel  # whoever loads models names what they are
from learning.signing import KeyRefused, Untrusted, is_signed, read_plain, signature, signing_key

log = logging.getLogger(__name__)

KEPT_MODELS = 10
_CURE = "Run: python ml_trainer.py"
_NOT_READY = "Model not ready for predictions"


class NoModel(LookupError):
    """No model serves, or none that may; the message is the documented one, with the cure."""


class ModelStore:
    """The models kept under `folder`.

    `state` is the folder of the key that signs them; without it cards and out-of-fold rows are read, for display, and
    nothing can be loaded or published.
    """

    def __init__(self, folder: Path, state: Path | None = None) -> None:
        self._folder = folder
        self._state = state

    def publish(
        self,
        card: Mapping[str, Any],
        classifier: TradeClassifier,
        scaler: StandardScaler,
        out_of_fold: pd.DataFrame,
        examples: NDArray[np.float64],
        *,
        serve: bool,
    ) -> dict[str, Path]:
        """Write the files of a model, load them back, and only if they predict what they should, sign and write the
        card, and with `serve` point current.json at it. A kill at any moment leaves the models as they were before or
        are after.

        Args: `examples` (n, features), n > 0, finite: a few go onto the card with their confidences. Returns the paths.
        Raises NoModel, with nothing published, if the files do not come back, if there is a model of this stamp, or
        while another training publishes.
        """
        key, stamp, features = self._key(), card["stamp"], list(card["features"])
        paths = self.paths(stamp, card["model_type"])
        model = PublishedModel(stamp, classifier, scaler, features, dict(card))
        contents = contents_of(model, out_of_fold)
        hashes = {paths[name].name: sha256(content) for name, content in contents.items()}
        more = {"published": serve, "sha256": hashes, "golden": golden(model, examples)}
        unsigned = json.loads(to_json({**card, **more}))  # as it will be read again
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if stamp in self.stamps():
                raise NoModel(f"Nothing was published: there is a model {stamp} already. {_CURE}")
            for name, content in contents.items():
                replace_file(paths[name], content)
            try:
                self._whole(unsigned)
            except Untrusted as error:
                cure = "Look at the disk and the memory of this machine, then run: python ml_trainer.py"
                raise NoModel(f"Nothing was published, the model in use stays: read back, {error}. {cure}") from error
            self._sign(unsigned, key)
            if serve:
                self.use(stamp)
            for path in leftovers(self._folder, self.stamps()):
                path.unlink(missing_ok=True)
            self._prune(keep=stamp)
        return paths

    def vouch(self, stamp: str) -> PublishedModel:
        """Sign a model that was signed on another machine, if it is whole, loads, and predicts here what it did there.

        Only for files that the person who asks for it has made: loading them runs what they contain. Raises NoModel,
        with nothing signed.
        """
        card = self.card(stamp)
        self._check_versions(card)
        key = self._key()
        with self._alone():
            try:
                model = self._whole(card)
            except Untrusted as error:
                raise NoModel(f"{_NOT_READY}: {error}; nothing was signed. {_CURE}") from error
            self._sign(card, key)
            if self._pointed() == stamp:
                self.use(stamp)  # written anew, so that a running trader looks again
        return model

    def use(self, stamp: str) -> None:
        """Let the model of `stamp` serve. NoModel if there is none of that stamp."""
        self.card(stamp)
        replace_file(self._folder / "current.json", to_json({"stamp": stamp}))

    def paths(self, stamp: str, model_type: str) -> dict[str, Path]:
        """Where the files of a model are."""
        return paths_of(self._folder, stamp, model_type)

    def stamps(self) -> list[str]:
        """The stamps of all models with a card, oldest first."""
        return sorted(path.stem.removeprefix("card_") for path in self._folder.glob("card_*.json"))

    def card(self, stamp: str) -> Card:
        """The card of a model, for display: nobody has vouched for it. NoModel if it is missing or unreadable."""
        try:
            return read_card(self._folder, stamp)
        except Untrusted as error:
            raise NoModel(f"No trained model found: {error}. {_CURE}") from error

    def cards(self) -> list[Card]:
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
        try:
            pointed = self._pointed()
        except Untrusted as error:
            choice = ", ".join(self.stamps())
            raise NoModel(
                f"{_NOT_READY}: {error}. Run: python ml_trainer.py --use STAMP, with one of: {choice}"
            ) from error
        if pointed is not None:
            return pointed
        published = [card["stamp"] for card in self.cards() if card["published"]]
        if not published:
            raise NoModel(f"No trained model found in {self._folder}. {_CURE}")
        return str(published[-1])

    def version(self) -> tuple[int, int] | None:
        """Changes whenever another model is published; cheap enough to ask every minute."""
        try:
            status = (self._folder / "current.json").stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino

    def load(self, stamp: str | None = None, suits: Callable[[Card], bool] = lambda card: True) -> PublishedModel:
        """Load the model that serves, or that of `stamp`, from bytes that this machine has signed for.

        If the one that serves is damaged or was not signed here, the newest other published one that is vouched for
        and whose card `suits` serves instead, and a warning says so. Raises NoModel, with the documented words and the
        cure, if there is none, or if the one that serves was made with other versions of what it depends on.
        """
        if stamp is not None:
            card = self.card(stamp)
            try:
                return load_files(self._folder, self._vouched(card))
            except Untrusted as error:
                raise NoModel(f"{_NOT_READY}: {error}. {_CURE}") from error
        serving = None
        try:
            serving = self._pointed() or self.current()
            return load_files(self._folder, self._vouched(read_card(self._folder, serving)))
        except Untrusted as error:
            return self._instead(serving, str(error), suits)

    def out_of_fold(self, stamp: str) -> pd.DataFrame:
        """What the procedure behind a model predicted for days it had not seen. NoModel if that cannot be read."""
        card = self.card(stamp)
        path = self.paths(stamp, card["model_type"])["out_of_fold"]
        try:
            trusted = card if self._state is None else self._vouched(card)
            return pd.read_parquet(BytesIO(read_checked(path, trusted["sha256"])))
        except Untrusted as error:
            raise NoModel(f"{_NOT_READY}: {error}. {_CURE}") from error

    def _instead(self, serving: str | None, why: str, suits: Callable[[Card], bool]) -> PublishedModel:
        for stamp in reversed(self.stamps()):
            try:
                card = read_card(self._folder, stamp)
                if stamp == serving or not card["published"] or not suits(self._vouched(card)):
                    continue
                model = load_files(self._folder, card)
            except (Untrusted, NoModel):
                continue
            log.warning("%s. Model %s serves instead until another is published. %s", why, stamp, _CURE)
            return model
        raise NoModel(f"{_NOT_READY}: {why}. {_CURE}")

    def _pointed(self) -> str | None:
        """The stamp in current.json, None without that file."""
        pointer = self._folder / "current.json"
        if not os.path.lexists(pointer):
            return None
        try:
            return str(json.loads(read_plain(pointer, MAX_CARD_BYTES))["stamp"])
        except Untrusted:
            raise
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise Untrusted(f"{pointer} cannot be read") from error

    def _vouched(self, card: Card) -> Card:
        """The card, if it was signed on this machine. Raises NoModel if it is of other versions, else Untrusted."""
        signed = is_signed(card, self._key())
        if signed or "signature" not in card:  # as before there were any
            self._check_versions(card)
        if not signed:
            stamp = card["stamp"]
            raise Untrusted(
                f"{self.paths(stamp, card['model_type'])['card']} was not signed on this machine, or has been changed "
                f"since (if you made this model and moved it here: python ml_trainer.py --vouch {stamp})"
            )
        return card

    def _check_versions(self, card: Card) -> None:
        stamp, here = card["stamp"], versions()
        if card["versions"].get("model format") != here["model format"]:
            raise NoModel(f"{_NOT_READY}: {stamp} was made by another version of this program. {_CURE}")
        for package, trained_with in card["versions"].items():
            if package != "python" and here.get(package) != trained_with:
                raise NoModel(
                    f"{_NOT_READY}: {stamp} was trained with {package} {trained_with}, here is "
                    f"{here.get(package, 'none')}. Run: python ml_trainer.py, or install {package}=={trained_with}"
                )

    def _whole(self, card: Card) -> PublishedModel:
        read_checked(self.paths(card["stamp"], card["model_type"])["out_of_fold"], card["sha256"])
        return load_files(self._folder, card)

    def _sign(self, card: Card, key: bytes) -> None:
        signed = {**card, "signature": signature(card, key)}
        replace_file(self._folder / f"card_{card['stamp']}.json", to_json(signed, indent=1))

    def _key(self) -> bytes:
        if self._state is None:
            raise ValueError("a store without its state folder loads and publishes nothing")
        try:
            return signing_key(self._state)
        except KeyRefused as error:
            raise NoModel(f"{_NOT_READY}: {error}") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process publishes into the folder meanwhile; the lock ends with the process that holds it."""
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise NoModel(
                    f"Nothing was published: another training publishes into {self._folder} just now. {_CURE}"
                ) from error
            yield
        finally:
            os.close(handle)

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
                        if not path.is_dir():
                            path.unlink(missing_ok=True)

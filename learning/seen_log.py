"""models/predictions/<date>.seen: what the live predictor saw, so that the evening can compare it with the final bars.

A line of JSON that describes the records, then one record of fixed size per prediction: the newest bar as it was then,
how many bars of the session were known, the features and the confidence. 100 symbols x 390 minutes are under 6 MB.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from durable import to_json
from learning.features import FEATURES
from market.bars import PRICES

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

SYMBOL_BYTES = 12
_BAR = [*PRICES, "volume"]
_RECORD = np.dtype(
    [
        ("symbol", f"S{SYMBOL_BYTES}"),
        ("minute", "<i8"),
        ("bars_today", "<i4"),
        ("bar", "<f8", (len(_BAR),)),
        ("features", "<f4", (len(FEATURES),)),
        ("confidence", "<f4"),
    ]
)
_HEADER = to_json({"fields": _RECORD.descr, "bar": _BAR, "features": FEATURES}).encode() + b"\n"
_LONGEST_HEADER = 1 << 16


class SeenLog:
    """What was seen, kept under `folder` in a file a day; buffered until `write`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: list[bytes] = []
        self._day = date.min

    def add(
        self,
        day: date,
        minute: int,
        symbols: Sequence[str],
        bars_today: Sequence[int] | NDArray[np.int64],
        newest_bars: Array,
        features: Array,
        confidence: Array,
    ) -> None:
        """Remember the n predictions of one minute of the session of `day`.

        Args: `minute`, start of the newest bar in minutes since 1970; `bars_today` (n,), how many bars of this session
        were known, the newest included; `newest_bars` (n, 5): open, high, low, close in USD and volume in shares;
        `features` (n, len(FEATURES)) and `confidence` (n,), finite. A symbol of over 12 bytes is left out, and said.
        """
        if day != self._day:
            self.write()
            self._day = day
        names = [symbol.encode() for symbol in symbols]
        records = np.empty(len(names), _RECORD)
        records["symbol"] = names
        records["minute"] = minute
        records["bars_today"] = bars_today
        records["bar"] = newest_bars
        records["features"] = features
        records["confidence"] = confidence
        fits = np.array([len(name) <= SYMBOL_BYTES for name in names], dtype=bool)
        if not fits.all():
            long = ", ".join(symbol for symbol, fit in zip(symbols, fits, strict=True) if not fit)
            log.warning("not kept for the evening's verification, the symbol is too long: %s", long)
        self._records.append(records[fits].tobytes())

    def write(self) -> None:
        """Append what was added since the last call, in whole records.

        What a crash cut off before is removed, so that records stay aligned; a file of other fields or features, that
        nobody could read here, is begun anew. The lock keeps processes from doing so to one another.
        """
        content = b"".join(self._records)
        if not content:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(self._day)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # until it is closed
            size = os.fstat(handle).st_size
            start = os.pread(handle, _LONGEST_HEADER, 0)
            keep = len(_HEADER) + (size - len(_HEADER)) // _RECORD.itemsize * _RECORD.itemsize
            if not start.startswith(_HEADER):
                keep, content = 0, _HEADER + content
            if keep < size:
                why = "what a crash cut off is removed" if keep else f"begun anew, {_foreign(start)}"
                log.warning("%s: %s", path, why)
                os.ftruncate(handle, keep)
            while content:
                content = content[os.write(handle, content) :]
        finally:
            os.close(handle)
        self._records.clear()

    def read(self, day: date) -> pd.DataFrame | None:
        """What was seen on a day, in the order of writing; None if nothing was, or if the file cannot be used.

        Columns symbol, minute (since 1970), bars_today, open, high, low, close, volume, FEATURES (float32), confidence
        (float32). Of several records of one symbol and minute the first counts.
        """
        path = self._path(day)
        if not path.exists():
            return None
        content = path.read_bytes()
        if not content.startswith(_HEADER):
            log.warning("%s cannot be used: %s", path, _foreign(content[:_LONGEST_HEADER]))
            return None
        count, torn = divmod(len(content) - len(_HEADER), _RECORD.itemsize)
        records = np.frombuffer(content, _RECORD, count, offset=len(_HEADER))
        written = records["symbol"] != b""  # a power cut can leave zeros where data was to come
        if torn or not written.all():
            log.warning("%s: passed over what a crash cut off (%d records)", path, bool(torn) + np.sum(~written))
        records = records[written]
        table = pd.DataFrame(
            {
                "symbol": [name.decode(errors="replace") for name in records["symbol"].tolist()],
                "minute": records["minute"],
                "bars_today": records["bars_today"],
            }
        )
        table[_BAR] = records["bar"]
        features = pd.DataFrame(records["features"], columns=FEATURES).assign(confidence=records["confidence"])
        whole = pd.concat([table, features], axis=1)
        return whole.drop_duplicates(["symbol", "minute"], ignore_index=True)

    def drop_before(self, day: date) -> None:
        """Remove the files of earlier days: once verified they have served."""
        for path in self._folder.glob("[0-9]*.seen"):
            if path.stem < day.isoformat():
                path.unlink(missing_ok=True)

    def _path(self, day: date) -> Path:
        return self._folder / f"{day.isoformat()}.seen"


def _foreign(start: bytes) -> str:
    """Why a file that begins so is none of ours, in words."""
    try:
        features = set(map(str, json.loads(start.partition(b"\n")[0])["features"]))
    except (ValueError, LookupError, TypeError, RecursionError):
        return "its header cannot be read"
    changed = sorted(features ^ set(FEATURES))
    return f"it was written with other features ({', '.join(changed)})" if changed else "it was written in another form"

"""models/predictions/<date>.jsonl: every prediction that was made, one JSON line each, appended.

Appending whole lines with one write to a file opened for appending keeps several processes from mixing theirs.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from durable import replace_file, to_json

log = logging.getLogger(__name__)

KEPT_PLAIN = 30  # sessions; older days are compressed

_LINE = re.compile(  # as `add` builds it: faster than a JSON parser, and it passes over what a crash cut short
    r'\{"symbol":"([^"]+)","timestamp":"([0-9T:.+-]+)","signal":[01],"confidence":([0-9.]+),"price":([0-9.e+-]+),'
    r'"recommendation":"[A-Z]+","meets_threshold":(true|false),(?:"model_confidence":([0-9.]+),)?"model_id":"([^"]+)"\}'
)


class PredictionLog:
    """The predictions kept under `folder`; buffered until `write`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: list[str] = []
        self._day = ""

    def add(
        self,
        symbol: str,
        timestamp: str,
        price: float,
        confidence: float,
        model_id: str,
        *,
        meets: bool,
        buy: bool,
        model_confidence: float | None = None,
    ) -> None:
        """Remember one prediction; `timestamp` is ISO 8601 with the New York offset, price and confidence finite.

        `meets` the threshold is not always a recommendation to `buy`: the market may be closed. `model_confidence` is
        the model's own word where a learnt cost has changed it into `confidence`.
        """
        day = timestamp[:10]
        if day != self._day:
            self.write()
            self._day = day
        own = "" if model_confidence is None else f'"model_confidence":{model_confidence:.6f},'
        # Built by hand: a replay writes hundreds of thousands of these, and all parts are known to be plain.
        self._lines.append(
            f'{{"symbol":"{symbol}","timestamp":"{timestamp}","signal":{int(buy)},"confidence":{confidence:.6f},'
            f'"price":{price!r},"recommendation":"{"BUY" if buy else "HOLD"}",'
            f'"meets_threshold":{"true" if meets else "false"},{own}"model_id":"{model_id}"}}\n'
        )

    def write(self) -> None:
        """Append what was added since the last call."""
        if not self._lines:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        content = "".join(self._lines).encode()
        handle = os.open(self._folder / f"{self._day}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            while content:  # a disk that fills up takes a part, and says so at the next call
                content = content[os.write(handle, content) :]
        finally:
            os.close(handle)
        self._lines.clear()

    def compress_old(self) -> None:
        """Compress the days before the newest KEPT_PLAIN."""
        for path in sorted(self._folder.glob("[0-9]*.jsonl"))[:-KEPT_PLAIN]:
            replace_file(path.with_suffix(".jsonl.gz"), gzip.compress(self._content(path.stem)))
            path.unlink()

    def read(self, symbol: str) -> Iterator[dict[str, Any]]:
        """The predictions of one symbol, oldest first; a line that a crash cut short is passed over."""
        mark = to_json({"symbol": symbol})[:-1].encode()
        for day in self._days():
            for line in self._content(day).split(b"\n"):
                whole = line[max(line.rfind(b'{"symbol":'), 0) :]  # behind what a crash cut short
                if whole.startswith(mark) and whole.endswith(b"}"):
                    try:
                        prediction: dict[str, Any] = json.loads(whole)
                        finite = math.isfinite(prediction["price"])
                    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
                        continue
                    if finite:
                        yield prediction

    def of_day(self, day: str) -> pd.DataFrame:
        """All predictions of a New York date: symbol, timestamp (start of the bar it was made on, UTC), price (USD),
        confidence, model_confidence (before a learnt cost, else the same), meets_threshold, model_id.

        Each (symbol, timestamp) once, as it was predicted first; sorted by both.
        """
        return _first_of_each(_parsed(self._content(day)))

    def of_model(self, model_id: str) -> pd.DataFrame:
        """What one model predicted live: symbol, timestamp (start of the bar it was made on, UTC), confidence (the
        model's own, before a learnt cost), each day sorted by symbol and timestamp."""
        mark = f'"model_id":"{model_id}"'.encode()
        days = [_parsed(b"")]
        for day in self._days():
            content = self._content(day)
            if mark in content:
                table = _parsed(content)
                days.append(_first_of_each(table[table["model_id"] == model_id]))
        found = pd.concat(days, ignore_index=True)
        return found[["symbol", "timestamp"]].assign(confidence=found["model_confidence"])

    def _days(self) -> list[str]:
        return sorted({path.name.partition(".")[0] for path in self._folder.glob("[0-9]*.jsonl*")})

    def _content(self, day: str) -> bytes:
        """All lines of a day; a crash while compressing leaves it twice, a late writer in two parts."""
        plain, packed = self._folder / f"{day}.jsonl", self._folder / f"{day}.jsonl.gz"
        try:
            old = gzip.decompress(packed.read_bytes()) if packed.exists() else b""
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            log.warning("%s cannot be read (%s); what it said is not counted", packed, error)
            old = b""
        new = plain.read_bytes() if plain.exists() else b""
        return new if new.startswith(old) else old + new


def _parsed(content: bytes) -> pd.DataFrame:
    """The whole lines of a day's file, in its order, with the columns of `of_day`."""
    names = ["symbol", "timestamp", "confidence", "price", "meets_threshold", "model_confidence", "model_id"]
    text = pd.DataFrame(_LINE.findall(content.decode(errors="replace")), columns=names, dtype="str")
    made = pd.to_datetime(text["timestamp"], utc=True, format="ISO8601").dt.as_unit("us")
    own = text["model_confidence"].where(text["model_confidence"] != "", text["confidence"])
    return pd.DataFrame(
        {
            "symbol": text["symbol"],
            "timestamp": made.dt.floor("min") - pd.Timedelta(minutes=1),  # a person may ask within a minute
            "price": text["price"].astype("float64"),
            "confidence": text["confidence"].astype("float64"),
            "model_confidence": own.astype("float64"),
            "meets_threshold": text["meets_threshold"] == "true",
            "model_id": text["model_id"],
        }
    )


def _first_of_each(predictions: pd.DataFrame) -> pd.DataFrame:
    keys = ["symbol", "timestamp"]
    return predictions.drop_duplicates(keys).sort_values(keys, ignore_index=True)

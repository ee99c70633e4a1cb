"""The bars table: one row per symbol and traded minute, checked before anything trusts it.

    symbol  timestamp (UTC)            open    high     low   close   volume
    NVDA    2026-02-02 14:30:00+00:00  187.20  187.66  187.02  187.55  812345.0

`timestamp` is the START of the minute (the convention of Alpaca, Polygon and Yahoo), so a bar is known one minute
later and never before. Prices are USD per share, split-adjusted; volume is shares. Sorted by symbol and timestamp,
unique, regular session only; a minute without a trade has no row.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from market.hours import OutsideCalendar, market_time

log = logging.getLogger(__name__)

PRICES = ["open", "high", "low", "close"]
COLUMNS = ["symbol", "timestamp", *PRICES, "volume"]
_KNOWN_EXTRAS = {"trade_count", "vwap"}  # what alpaca-py's `.df` carries besides; we compute our own VWAP
_BROKEN_VOLUME_SHARE = 0.05


class BadBars(ValueError):
    """Bars that cannot be used: names where they came from, symbol, first bad time, the rule and the cure."""


class NoBars(LookupError):
    """There are no bars where some are needed; the message names the place and the cure."""


class Bar(NamedTuple):
    """One minute of one symbol; `minute` is its start, in minutes since 1970-01-01 UTC."""

    symbol: str
    minute: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def read_bars(path: str | Path) -> pd.DataFrame:
    """Read one Parquet or CSV file, or every such file of a folder, as a checked bars table.

    Column names in any case; timestamps with a zone, or ISO text with one; the (symbol, timestamp) index that
    alpaca-py's `.df` returns. Rows that are not bars of the regular session are left out, and their count is logged.
    Raises BadBars, naming file, symbol, first bad time and rule.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in (".parquet", ".csv"))
        if not files:
            raise BadBars(f"{path}: no .parquet or .csv file in this folder; name a folder or file that holds bars")
    elif path.is_file():
        files = [path]
    else:
        raise BadBars(f"{path}: no such file or folder; check the path given to --bars")
    frames = [check_bars(_read_file(file), str(file)) for file in files]
    return frames[0] if len(frames) == 1 else check_bars(pd.concat(frames, ignore_index=True), str(path))


def _read_file(file: Path) -> pd.DataFrame:
    if file.stat().st_size == 0:
        raise BadBars(f"{file}: the file is empty; export the bars again")
    try:
        if file.suffix.lower() == ".parquet":
            return pd.read_parquet(file)
        if file.suffix.lower() == ".csv":
            return _read_csv(file)
    except (pa.ArrowException, ValueError, TypeError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise BadBars(f"{file}: not readable as {file.suffix[1:].lower()} ({reason}); export it again") from error
    raise BadBars(f"{file}: neither .parquet nor .csv; convert it to one of them")


def _read_csv(file: Path) -> pd.DataFrame:
    """Texts stay text: TRUE, NA and NAN are symbols of real companies."""
    with file.open(encoding="utf-8-sig") as lines:
        names = next(csv.reader(lines), [])
    options = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in names if name.strip().lower() in ("symbol", "timestamp")},
        null_values=["", "NaN", "nan"],
    )
    return pa_csv.read_csv(file, convert_options=options).to_pandas(types_mapper=pd.ArrowDtype)


def check_bars(frame: pd.DataFrame, source: str = "bars") -> pd.DataFrame:
    """Cast, sort and check a table of bars; the returned frame has exactly COLUMNS and a plain index.

    Left out, each with its count in the log: repeated identical rows, rows outside the regular session, minutes with
    volume 0 (nothing traded), and whole symbol-days whose volume contradicts their prices. Anything else that breaks a
    rule raises BadBars.
    """
    frame = _columns(frame, source)
    frame = _cast(frame, source)
    if not frame.empty:
        _check_values(frame, source)
        frame = _leave_out(frame, source)
        _check_unique(frame, source)
    return frame


def _columns(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    frame = frame.set_axis([str(name).strip().lower() for name in frame.columns], axis=1)
    levels = {str(name).strip().lower(): level for level, name in enumerate(frame.index.names)}
    for name in COLUMNS:
        if name in levels and name not in frame.columns:
            frame = frame.assign(**{name: frame.index.get_level_values(levels[name])})
    frame = frame.reset_index(drop=True)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise BadBars(f"{source}: column {', '.join(missing)} is missing; bars need {', '.join(COLUMNS)}")
    twice = frame.columns[frame.columns.duplicated()].unique().tolist()
    if twice:
        raise BadBars(f"{source}: column {', '.join(map(str, twice))} stands there twice; keep one")
    extras = [str(name) for name in frame.columns if name not in COLUMNS and name not in _KNOWN_EXTRAS]
    if extras:
        log.warning("%s: columns not used: %s", source, ", ".join(extras))
    return frame[COLUMNS]


def _cast(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    stamps = frame["timestamp"]
    if not isinstance(stamps.dtype, pd.DatetimeTZDtype):
        text = stamps.astype("str")
        naive = ~text.str.contains(r"(?:[+-]\d\d:?\d\d|Z|UTC)$", regex=True)
        if naive.any():
            raise BadBars(
                f"{source}: timestamp {text[naive].iloc[0]} of {frame['symbol'][naive].iloc[0]} has no time zone; "
                "write UTC or an offset, as in 2026-02-02T14:30:00+00:00"
            )
        stamps = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601")
        if stamps.isna().any():
            raise BadBars(f"{source}: timestamp {text[stamps.isna()].iloc[0]!r} is not a time; write ISO 8601")
    symbols = frame["symbol"].astype("str").str.strip()
    for name, empty in (("timestamp", stamps.isna()), ("symbol", symbols.isna() | (symbols == ""))):
        if empty.any():
            raise BadBars(f"{source}: an empty {name} in {int(empty.sum())} rows; every bar needs one")
    if unprintable := [symbol for symbol in symbols.unique() if not symbol.isprintable()]:
        raise BadBars(f"{source}: symbol {unprintable[0]!r} has characters that cannot be printed; mend the symbol")
    table = {
        "symbol": symbols,
        "timestamp": stamps.dt.tz_convert("UTC").dt.as_unit("us"),
    }
    for name in [*PRICES, "volume"]:
        try:
            number = pd.to_numeric(frame[name], errors="coerce").astype("float64")
        except (TypeError, ValueError, OverflowError) as error:
            raise BadBars(f"{source}: column {name} is not made of numbers ({error}); export it as floats") from error
        broken = number.isna() & frame[name].notna()
        if broken.any():
            raise _bad(frame.assign(timestamp=stamps), broken, f"{name} is not a number", source)
        table[name] = number
    return pd.DataFrame(table).sort_values(["symbol", "timestamp"], kind="stable", ignore_index=True)


def _bad(frame: pd.DataFrame, rows: pd.Series[bool], rule: str, source: str) -> BadBars:
    first = frame[rows].sort_values("timestamp").iloc[0]
    return BadBars(
        f"{source}: {first['symbol']} at {first['timestamp']}: {rule} "
        f"({int(rows.sum()):,} of {len(frame):,} rows); nothing was read, mend or remove those rows"
    )


def _rules(frame: pd.DataFrame) -> list[tuple[pd.Series[bool], str]]:
    """What a single bar has to obey: the rows that do not, and the rule in words."""
    prices = frame[PRICES]
    return [
        (prices.isna().any(axis=1), "a price is missing or NaN"),
        (~np.isfinite(prices).all(axis=1), "a price is infinite"),
        ((prices <= 0).any(axis=1), "a price is not positive"),
        (frame["high"] < frame["low"], "high is below low"),
        (prices.max(axis=1) > frame["high"], "open or close is above high"),
        (prices.min(axis=1) < frame["low"], "open or close is below low"),
        (~np.isfinite(frame["volume"]) | (frame["volume"] < 0), "volume is missing, infinite or negative"),
        (frame["timestamp"] != frame["timestamp"].dt.floor("min"), "the timestamp is not the start of a minute"),
    ]


def _check_values(frame: pd.DataFrame, source: str) -> None:
    for rows, rule in _rules(frame):
        if rows.any():
            raise _bad(frame, rows, rule, source)


def sift_bars(
    frame: pd.DataFrame, start: datetime, end: datetime, source: str
) -> tuple[pd.DataFrame, Mapping[str, float]]:
    """Rows of COLUMNS as a service sent them -> a checked table of start <= timestamp < end, and what was dropped.

    The user can mend a file and not a service, so that rows which break a rule are dropped instead of raising; the
    first of two bars for a minute stays. The log counts them by rule, the second value is the dropped share of each
    symbol that lost any. Rows outside the regular session are no fault and are left out without a word.
    """
    stamps = pd.to_datetime(frame["timestamp"].astype("str"), utc=True, errors="coerce", format="ISO8601")
    numbers = {name: _numbers(frame[name]) for name in [*PRICES, "volume"]}
    table = frame.assign(timestamp=stamps.dt.as_unit("us"), **numbers)
    within = (table["timestamp"] >= start) & (table["timestamp"] < end)
    again = within & table.duplicated(["symbol", "timestamp"])
    outside = (~within, "not a time that was asked for")
    broken = pd.Series(data=False, index=table.index)
    for rows, rule in (outside, *_rules(table), (again, "a second bar for one minute")):
        if (found := rows & ~broken).any():
            which = ", ".join(table["symbol"][found].unique()[:8])
            log.warning("%s: dropped %s bars (%s): %s", source, f"{int(found.sum()):,}", which, rule)
            broken |= rows
    shares = broken.groupby(table["symbol"]).mean()
    kept = table[~broken]
    kept = kept[market_time(epoch_minutes(kept["timestamp"])).inside]
    return check_bars(kept, source), {str(symbol): float(share) for symbol, share in shares.items() if share > 0}


def _numbers(column: pd.Series) -> pd.Series:
    """As float64, NaN for what is no number; of integers that no float holds infinity."""
    try:
        return pd.to_numeric(column, errors="coerce").astype("float64")
    except OverflowError:
        return pd.to_numeric(column.astype("str"), errors="coerce").astype("float64")


def _leave_out(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    try:
        time = market_time(epoch_minutes(frame["timestamp"]))
    except OutsideCalendar as error:
        raise BadBars(f"{source}: {frame['timestamp'].min()} to {frame['timestamp'].max()}: {error}") from error
    repeated = frame.duplicated().to_numpy()
    outside = ~time.inside & ~repeated
    keep = ~(repeated | outside)
    silent = keep & (frame["volume"] == 0).to_numpy()
    moved = silent & (frame["high"] > frame["low"]).to_numpy()
    days = frame[["symbol"]].assign(session=time.session, moved=moved)[keep]
    contradicted = days.groupby(["symbol", "session"])["moved"].transform("mean") > _BROKEN_VOLUME_SHARE
    broken = np.zeros(len(frame), dtype=bool)
    broken[np.flatnonzero(keep)] = contradicted.to_numpy()
    for rows, words in (
        (repeated, "repeated rows"),
        (outside, "rows outside the regular session"),
        (broken, "rows of symbol-days with broken volume (prices moved in minutes of volume 0)"),
        (silent & ~broken, "minutes in which nothing traded (volume 0)"),
    ):
        if rows.any():
            which = ", ".join(frame["symbol"][rows].unique()[:8])
            log.warning("%s: left out %s %s (%s)", source, f"{int(rows.sum()):,}", words, which)
    return frame[keep & ~silent & ~broken].reset_index(drop=True)


def _check_unique(frame: pd.DataFrame, source: str) -> None:
    again = frame.duplicated(["symbol", "timestamp"])
    if again.any():
        raise _bad(frame, again, "two different bars for one minute", source)


def epoch_minutes(stamps: pd.Series) -> NDArray[np.int64]:
    """Timestamps (n,) as int64 minutes since 1970-01-01 UTC."""
    return stamps.to_numpy("datetime64[us]").view("int64") // 60_000_000


def symbol_slices(symbols: pd.Series) -> Iterator[tuple[str, slice]]:
    """Each symbol of a table sorted by symbol, with the slice of its rows."""
    if len(symbols) == 0:
        return
    codes, names = pd.factorize(symbols)
    edges = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
    for start, stop in pairwise(edges.tolist()):
        yield str(names[codes[start]]), slice(start, stop)


def as_bars(frame: pd.DataFrame) -> list[Bar]:
    """The rows of a bars table as Bar tuples, in the table's order."""
    columns = (frame[name].tolist() for name in [*PRICES, "volume"])
    return list(map(Bar, frame["symbol"].tolist(), epoch_minutes(frame["timestamp"]).tolist(), *columns))

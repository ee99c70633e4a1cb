"""Trades that were not made, followed all the same: signals that were not taken, and shadow trades, never sent.

    evening   new = shadows(of_day, of_day_before), not_taken(signals, of_day)
              followed = settle(follow(followed, new), labels)      the label says what the trade would have earned
              evidence(followed, "shadow")

A shadow trade is the one a lower threshold would have made, and that threshold was known before the session. The best
minutes of a session, picked after it, would not do: where confidence rises as a price falls, a symbol's best minute is
its day's low, and on random walks such picks earn 0.8% each and are called skill in 200 of 200 trials (these in 4).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from durable import move_aside, replace_file, to_json
from learning.labels import ENTRY_PATIENCE_MINUTES, had_its_time
from learning.verdicts import MIN_TRADE_DAYS, MIN_TRADES, Verdict, above_zero
from market.bars import epoch_minutes
from market.hours import HALF_HOUR_MINUTES, NEW_YORK, half_hours, market_time, moment

log = logging.getLogger(__name__)

SHADOW, NOT_TAKEN = "shadow", "not taken"
NAME_OF = {SHADOW: "shadow trades", NOT_TAKEN: "signals not taken"}
KEYS = ["symbol", "timestamp", "kind"]
COLUMNS = [
    *KEYS, "confidence", "model_id", "reason", "label", "net_return", "settled_at", "exit_reason", "matched"
]  # fmt: skip
_NUMBERS, _TIMES = {"confidence", "label", "net_return", "matched"}, {"timestamp", "settled_at"}


def shadows(predictions: pd.DataFrame, before: pd.DataFrame, count: int = 5) -> pd.DataFrame:
    """The would-be trades of one session: the first `count` symbols to reach the confidence that `count` symbols
    reached in the session before, each in the first minute in which it did.

    So there are about four a session, and at most `count`. Follow every session, with signals or without: that none
    came is known only at its close.

    Args: `predictions`, `before`: symbol, timestamp (start of the bar), confidence, model_id, as `PredictionLog.of_day`
    returns them; without a session before there is no shadow.
    Returns symbol, timestamp, confidence, model_id, kind; a session's last bar can open no trade.
    """
    level = _enterable(before).groupby("symbol")["confidence"].max().nlargest(count).min()
    today = _enterable(predictions)
    order = {"timestamp": True, "confidence": False, "symbol": True}
    reached = today[today["confidence"] >= level].sort_values(list(order), ascending=list(order.values()))
    first = reached.drop_duplicates("symbol").head(count)
    return first[["symbol", "timestamp", "confidence", "model_id"]].assign(kind=SHADOW)


def _enterable(predictions: pd.DataFrame) -> pd.DataFrame:
    time = market_time(epoch_minutes(predictions["timestamp"]))
    return predictions[time.into < time.length - 1]


def not_taken(signals: Iterable[Mapping[str, Any]], predictions: pd.DataFrame) -> pd.DataFrame:
    """One session's signals that were not taken, on the bar that each was decided on.

    Args: `signals` as the books keep them: symbol, confidence, timestamp (ISO 8601, one minute after the start of the
    bar), taken, reason; `predictions` as in `shadows`, which know the model.
    Returns symbol, timestamp, confidence, model_id (missing where the prediction is not on disk), reason, kind.
    """
    missed = [signal for signal in signals if not signal["taken"]]
    table = pd.DataFrame(missed, columns=["symbol", "timestamp", "confidence", "reason"])
    made = pd.to_datetime(table["timestamp"], utc=True, format="ISO8601").dt.as_unit("us")
    table = table.assign(symbol=table["symbol"].astype("str"), timestamp=made - pd.Timedelta(minutes=1))
    models = predictions[["symbol", "timestamp", "model_id"]]
    return table.merge(models, how="left", on=["symbol", "timestamp"]).assign(kind=NOT_TAKEN)


def follow(followed: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """`followed` and `new` as one table of COLUMNS; of two rows with the same KEYS the one followed before stays."""
    both = pd.concat([_typed(followed), _typed(new)], ignore_index=True)
    return both.drop_duplicates(KEYS).sort_values(["timestamp", "symbol", "kind"], ignore_index=True)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS with their types; those that `table` lacks are missing in every row. ValueError for other content."""
    whole = table.reindex(columns=COLUMNS)
    typed = {
        name: pd.to_datetime(whole[name].map(str, na_action="ignore"), utc=True, format="ISO8601").dt.as_unit("us")
        if name in _TIMES
        else whole[name].astype("float64" if name in _NUMBERS else "str")
        for name in COLUMNS
    }
    return pd.DataFrame(typed)


def settle(followed: pd.DataFrame, labels: pd.DataFrame, max_holding_minutes: int | None) -> pd.DataFrame:
    """Add to each trade what it earned, and `matched`: the mean net return of all entries of its half hour.

    A trade is settled when every entry of its session and half hour, in any symbol, has had its whole holding limit
    within the bars: before, those that ended early would speak for all (see `had_its_time`; without a limit they do).
    What was settled stays.

    Args: `followed`, COLUMNS; `labels`, all rows that `label_trades` returns, of all symbols.
    Returns `followed` with label, net_return, settled_at, exit_reason and matched where they are known. Trades that can
    never be known (no bar, no entry, older than the bars) are left out, and their count is logged.
    """
    rows = followed.reset_index(drop=True)
    waiting = rows[rows["net_return"].isna()]
    if waiting.empty or labels.empty:
        return rows
    known, hopeless = _answers(waiting, labels)
    time = market_time(epoch_minutes(waiting["timestamp"]))
    last_bar = np.minimum((time.into // HALF_HOUR_MINUTES + 1) * HALF_HOUR_MINUTES, time.length) - 1
    last_entry = waiting["timestamp"] + pd.to_timedelta(last_bar - time.into, unit="min")
    end = moment(epoch_minutes(labels["timestamp"]).max() + 1)
    ready = known[had_its_time(last_entry, end, max_holding_minutes) & known["net_return"].notna()]
    for name in ready.columns:
        rows.loc[ready.index, name] = ready[name]
    for why, left_out in hopeless.items():
        if len(left_out):
            which = ", ".join(waiting["symbol"][left_out].unique()[:8])
            log.warning("left out %d followed trades (%s): %s", len(left_out), which, why)
    return rows.drop(index=[row for left_out in hopeless.values() for row in left_out]).reset_index(drop=True)


def _answers(waiting: pd.DataFrame, labels: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.Index]]:
    """What `labels` say of each waiting trade so far, and the index of those of which they will never say anything."""
    minutes = epoch_minutes(labels["timestamp"])
    half_hour, wanted = half_hours(minutes), half_hours(epoch_minutes(waiting["timestamp"]))
    ends = (labels["symbol"] != labels["symbol"].shift(-1)).to_numpy()
    last = pd.Series(minutes[ends], labels["symbol"][ends])
    silence = np.where(ends, 0, np.diff(minutes, append=0))  # until the symbol's next bar; 0: there may be one yet
    near = np.isin(half_hour, wanted)
    table = labels[near].assign(silence=silence[near], exit_reason=labels["exit_reason"][near].astype("str"))
    matched = table["net_return"].groupby(half_hour[near]).mean()
    found = waiting[["symbol", "timestamp"]].merge(table, how="left", on=["symbol", "timestamp"])
    found = found.set_index(waiting.index).assign(matched=matched.reindex(wanted).to_numpy())
    made = epoch_minutes(waiting["timestamp"])
    old = made < minutes.min()
    no_bar = ~old & found["silence"].isna() & (waiting["symbol"].map(last).fillna(0) > made)
    hopeless = {
        "older than the bars": found.index[old],
        "there is no bar of that minute": found.index[no_bar],
        "no bar near enough to enter at": found.index[found["silence"] > ENTRY_PATIENCE_MINUTES],
    }
    return found[["label", "net_return", "settled_at", "exit_reason", "matched"]], hopeless


def evidence(followed: pd.DataFrame, kind: str | None) -> Verdict:
    """Whether the settled trades of a kind (None: all) show skill: their net return, and its excess over matched
    entries, each summed by day and above 0 by Student's one-sided 95%.

    Summed, as a day's mean would favour whatever buys falling prices: a loss draws in more trades that dilute it, and a
    gain stands alone.
    """
    trades = followed[followed["net_return"].notna() & ((followed["kind"] == kind) | (kind is None))]
    trades = trades.drop_duplicates(["symbol", "timestamp"])  # one trade may be followed for two reasons
    trades = trades.assign(excess=trades["net_return"] - trades["matched"])
    session = market_time(epoch_minutes(trades["timestamp"])).session
    daily = trades[["net_return", "excess"]].groupby(session).sum()
    name = "followed trades" if kind is None else NAME_OF[kind]
    words = f"{len(trades)} {name} on {len(daily)} day{'' if len(daily) == 1 else 's'}"
    if len(trades) < MIN_TRADES or len(daily) < MIN_TRADE_DAYS:
        return Verdict(False, f"too few to judge: {words} have ended, it takes {MIN_TRADES} on {MIN_TRADE_DAYS}")
    skill = all(above_zero(daily[column].to_numpy()) for column in daily)
    net, excess = trades["net_return"].mean(), trades["excess"].mean()
    words += f", {net:+.2%} each after cost, {excess:+.2%} against other entries of the same half hours"
    return Verdict(skill, f"{words}: {'skill' if skill else 'no skill'} shown")


class Followed:
    """models/followed_trades.jsonl: every followed trade, one JSON record a line, replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, stamp: str) -> pd.DataFrame:
        """The table of COLUMNS, without rows where nothing was followed yet.

        A file that cannot be read is moved aside under `stamp` (YYYYMMDD_HHMMSS), and that is logged.
        """
        if not self._path.exists():
            return _typed(pd.DataFrame())
        try:
            lines = self._path.read_text().split("\n")
            table = pd.DataFrame([dict(json.loads(line)) for line in lines if line])
            return _typed(table[COLUMNS] if len(table) else table)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            aside = move_aside(self._path, "unreadable", stamp)
            log.warning("%s cannot be read; it is kept as %s, and following begins anew", self._path, aside.name)
            return _typed(pd.DataFrame())

    def write(self, followed: pd.DataFrame) -> None:
        """Replace the file by a table of COLUMNS."""
        text = followed.assign(
            **{
                name: followed[name].dt.tz_convert(NEW_YORK).map(pd.Timestamp.isoformat, na_action="ignore")
                for name in _TIMES
            }
        )
        records = text.astype(object).where(text.notna(), None).to_dict("records")
        replace_file(self._path, "".join(to_json(record) + "\n" for record in records))

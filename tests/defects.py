"""Defects that a program like this one really gets, planted one at a time: does what is meant to catch them do so?

    python -m tests.defects            hunt each over many seeds: how often it is caught, and as what

Most are caught by a simulated session (tests/simulation), whose oracles say what was lost, doubled or left unprotected;
the others by a prover of their own. Each plant is a patch of the program's code that the given MonkeyPatch undoes.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import requests
from alpaca.trading.enums import TimeInForce
from alpaca.trading.requests import MarketOrderRequest
from requests.adapters import HTTPAdapter

import desk.alpaca_broker
import desk.alpaca_hands
import desk.journal
import durable
import learning.model_store
import market_scheduler
from agreement import Agreement
from alpaca_wire import AlpacaWire, PoliteAdapter, Unreachable
from desk.alpaca_account import AlpacaAccount
from desk.alpaca_comparison import Comparison
from desk.alpaca_hands import AlpacaHands
from desk.alpaca_trade import AlpacaTrade
from desk.books import Books
from desk.halt import Halt, ask_to_resume
from desk.journal import AlreadyRunning, Journal
from desk.orders import Execution, Trade
from desk.risk import Gate
from learning.classifier import Calibration, TradeClassifier, fit, versions
from learning.model_files import sha256
from learning.model_store import ModelStore, NoModel
from market_scheduler import MarketScheduler
from tests.simulation.run import run_session

Patch = pytest.MonkeyPatch
MORE_SEEDS = 40  # after those that are known to show a defect


@dataclass(frozen=True)
class Defect:
    """`plant` puts it in; `caught` is what the oracle's words contain, a pattern.

    `faults` are kinds that fire in each session of its hunt, and how often; `seeds` sessions that are known to show it.
    """

    name: str
    plant: Callable[[Patch], None]
    caught: str
    faults: Mapping[str, float]
    seeds: tuple[int, ...]


def hunt(defect: Defect) -> str | None:
    """The words of the oracle that was to catch a planted defect, from the first session in which it did, or None."""
    for seed in [*defect.seeds, *range(MORE_SEEDS)]:
        violation = run_session(seed, rates=defect.faults).violation
        if violation is not None and re.search(defect.caught, violation):
            return violation
    return None


# --- orders ----------------------------------------------------------------------------------------------------------


def no_client_id(patch: Patch) -> None:
    """Each request gets an id of its own from the broker."""
    send = AlpacaHands._send

    def anonymous(self: AlpacaHands, request: Any, most: int) -> Any:
        return send(self, request.model_copy(update={"client_order_id": f"fresh-{next(serial)}"}), most)

    serial = count()
    patch.setattr(AlpacaHands, "_send", anonymous)


def journal_after_order(patch: Patch) -> None:
    """The order leaves before it is written down."""

    def submit(self: Gate, order: Any, close: datetime, write_down: Callable[[], None]) -> str | None:
        no = self._exit_refused(order) if order.side == "SELL" else self._entry_refused(order, close)
        if no is None:
            self.broker.submit(order)
            write_down()
        return no

    patch.setattr(Gate, "submit", submit)


def retried_sale(patch: Patch) -> None:
    """A sale of which no answer came is sent again, as another order."""
    send = AlpacaHands._send

    def twice(self: AlpacaHands, request: Any, most: int) -> Any:
        try:
            return send(self, request, most)
        except Unreachable:
            if "-sell-" not in request.client_order_id:
                raise
            return send(self, request.model_copy(update={"client_order_id": f"{request.client_order_id}0"}), most)

    patch.setattr(AlpacaHands, "_send", twice)


def retried_entry(patch: Patch) -> None:
    """A purchase of which no answer came is sent again, as another order."""
    send = AlpacaHands._send

    def twice(self: AlpacaHands, request: Any, most: int) -> Any:
        try:
            return send(self, request, most)
        except Unreachable:
            return send(self, request.model_copy(update={"client_order_id": f"{request.client_order_id}0"}), most)

    patch.setattr(AlpacaHands, "_send", twice)


def _refusals_are_final(patch: Patch) -> None:
    """A fill after a refusal is not believed; else the two defects that follow would do no harm."""
    trade_of = Books._trade_of

    def unless_refused(self: Books, execution: Execution) -> Trade | None:
        trade = trade_of(self, execution)
        return None if trade is not None and trade.status == "REJECTED" else trade

    patch.setattr(Books, "_trade_of", unless_refused)


def lost_reply_for_a_refusal(patch: Patch) -> None:
    """An entry of which no answer came is taken for one that was not booked."""

    def probe(self: AlpacaHands, trade: AlpacaTrade) -> None:
        trade.gone = True
        self.news.append(
            Execution(f"{trade.id}/lost", "rejected", trade.id, trade.symbol, "BUY", trade.qty_ordered, 0.0, 0, "lost")
        )

    _refusals_are_final(patch)
    patch.setattr(AlpacaHands, "probe", probe)


def duplicate_id_for_a_refusal(patch: Patch) -> None:
    """An id that is taken already is not understood as a success in disguise."""
    _refusals_are_final(patch)
    patch.setattr(desk.alpaca_hands, "_taken_already", lambda error: False)


def pending_exposure_ignored(patch: Patch) -> None:
    """What may still be bought does not count as bought."""
    refused = Gate._entry_refused

    def blind(self: Gate, order: Any, close: datetime) -> str | None:
        with pytest.MonkeyPatch.context() as blinkers:
            blinkers.setattr(self.books, "live_trades", dict)
            blinkers.setattr(self.broker, "working_orders", list)
            return refused(self, order, close)

    patch.setattr(Gate, "_entry_refused", blind)


def missing_flags_for_fine(patch: Patch) -> None:
    """What the account does not say is taken for no (Python's `None >= 3` in another dress)."""
    read = AlpacaAccount.read

    def trusting(self: AlpacaAccount) -> Any:
        money, blocked = read(self)
        return money, None if blocked is not None and blocked.endswith("None") else blocked

    patch.setattr(AlpacaAccount, "read", trusting)


# --- positions -------------------------------------------------------------------------------------------------------


def empty_positions_for_flat(patch: Patch) -> None:
    """An answer without positions is booked as the sale of all of them."""

    def compare(account: AlpacaAccount, trades: Sequence[AlpacaTrade], *_: object) -> Comparison:
        there, sales = account.shares(), list[Execution]()
        for trade in trades:
            if (missing := trade.held - there.get(trade.symbol, (0, 0.0))[0]) > 0 and trade.entry is not None:
                trade.by_hand["gone"] = missing
                name, price, minute = f"{trade.id}/gone", trade.entry.price, trade.entry.minute
                sales.append(
                    Execution(
                        name, "fill", name, trade.symbol, "SELL", missing, price, minute, "gone", trade_id=trade.id
                    )
                )
        return Comparison(sales, {symbol: price for symbol, (_, price) in there.items() if price}, [])

    patch.setattr(desk.alpaca_broker, "compare_shares", compare)


def ordered_for_filled(patch: Patch) -> None:
    """A part fill is taken for all that was ordered, and so is the stop that it gets."""

    def held(self: AlpacaTrade) -> int:
        bought = self.qty_ordered if self.entry is not None and self.entry.filled else 0
        return bought - sum(o.filled for o in self.exits) - sum(self.by_hand.values())

    patch.setattr(AlpacaTrade, "held", property(held))
    patch.setattr(desk.alpaca_hands, "untrusted", lambda *_: None)


def part_fill_ignored(patch: Patch) -> None:
    """Only an entry that is filled whole is taken for a position."""
    tell = desk.alpaca_broker.statements

    def whole(trade_id: str, entry: Any, exits: Any, qty_ordered: int) -> Iterator[Execution]:
        seen = entry if entry.filled == entry.qty else replace(entry, filled=0)
        return tell(trade_id, seen, exits, qty_ordered)

    patch.setattr(desk.alpaca_broker, "statements", whole)


def sale_by_hand_not_looked_for(patch: Patch) -> None:
    """Positions that lag behind are believed, and what a person has just sold is sold again."""
    patch.setattr(desk.alpaca_hands, "_sold_just_now", lambda *_: False)


def stop_not_put_back(patch: Patch) -> None:
    """Shares whose stop is gone stay without one."""
    patch.setattr(AlpacaHands, "_arm", lambda self, trade: None)


def levels_for_the_day(patch: Patch) -> None:
    """Stop and target end with the session."""
    ask = desk.alpaca_hands.bracket

    def bracket(order: Any, base: float) -> Any:
        return ask(order, base).model_copy(update={"time_in_force": TimeInForce.DAY})

    patch.setattr(desk.alpaca_hands, "bracket", bracket)


def reconcile_skipped(patch: Patch) -> None:
    """Books and broker are never compared."""
    patch.setattr(Agreement, "reach", lambda self, now, seen_minute: None)


# --- the disk --------------------------------------------------------------------------------------------------------


def no_folder_fsync(patch: Patch) -> None:
    """New names and renames are not made durable."""
    for module in (durable, desk.journal):
        patch.setattr(module, "sync_folder", lambda folder: None)


def no_fsync(patch: Patch) -> None:
    """What is appended is written and not synced."""

    def append(self: durable.AppendedFile, data: bytes) -> None:
        durable._write_all(self._handle, data)
        self._size += len(data)

    patch.setattr(durable.AppendedFile, "append", append)


def disk_error_ignored(patch: Patch) -> None:
    """A journal that could not be written is passed over."""
    sync = Journal.sync

    def careless(self: Journal, *, order: bool = False) -> None:
        try:
            sync(self, order=order)
        except OSError:
            self._buffer.clear()

    patch.setattr(Journal, "sync", careless)


# --- the day ---------------------------------------------------------------------------------------------------------


def halt_forgotten(patch: Patch) -> None:
    """A new process begins without the halt of the one before."""
    hear = Halt.hear

    def forgetful(self: Halt, minute: int) -> None:
        if not hasattr(self, "began"):
            self.began = minute  # type: ignore[attr-defined]
            ask_to_resume(self._folder, "at the start")
        hear(self, minute)

    patch.setattr(Halt, "hear", forgetful)


def halt_kept_in_memory(patch: Patch) -> None:
    """The books do not keep a halt, and the file HALT is not read again."""
    patch.setattr(Books, "_on_halt", lambda self, event: None)
    patch.setattr("desk.halt.asked_to_halt", lambda folder: None)


def naive_time(patch: Patch) -> None:
    """20:00 and 04:00 are read as UTC's, as on a server."""
    patch.setattr(
        market_scheduler,
        "at_new_york",
        lambda day, hhmm: datetime(day.year, day.month, day.day, int(hhmm[:2]), int(hhmm[3:]), tzinfo=UTC),
    )


def one_catch_all(patch: Patch) -> None:
    """One handler around all duties, so that one that fails starves the others."""

    def attempt(self: MarketScheduler, duty: str, action: Callable[[datetime], None], now: datetime) -> None:
        action(now)

    tick = MarketScheduler.tick

    def caught(self: MarketScheduler, now: datetime) -> None:
        try:
            tick(self, now)
        except Exception as error:  # noqa: BLE001 - this is the defect
            self._say(f"tick at {now} failed: {type(error).__name__}: {error}")

    patch.setattr(MarketScheduler, "_attempt", attempt)
    patch.setattr(MarketScheduler, "tick", caught)


LOST = {"no answer, but booked": 0.05}
KILLED = {"killed between two minutes": 0.02}
PART = {"partial fill, rest never": 0.3}
HALTED = {"a person halts": 0.02, "killed while halted": 0.2}

SIMULATED = (
    Defect("no client id", no_client_id, "is no entry's id", {}, (0, 1, 2)),
    Defect("journal after order", journal_after_order, "before its intent is on disk", {}, (0, 1, 2)),
    Defect("retried sale", retried_sale, "sold short", {"no answer, but booked": 0.1}, (0, 5, 8)),
    Defect("retried entry", retried_entry, "before its intent is on disk", LOST, (0, 5, 6)),
    Defect(
        "lost reply for a refusal", lost_reply_for_a_refusal, "the books hold|that the journal does not know",
        LOST, (1, 2, 6),
    ),
    Defect(
        "duplicate id for a refusal", duplicate_id_for_a_refusal, "books hold",
        {"duplicate id in disguise": 0.3}, (0, 1, 3),
    ),
    Defect("pending exposure ignored", pending_exposure_ignored, "USD are at stake", {"slow fill": 0.7}, (2, 5, 7)),
    Defect(
        "missing flags for fine", missing_flags_for_fine, "does not say that it may buy",
        {"account does not say whether it is blocked": 0.1}, (1, 2, 3),
    ),
    Defect(
        "empty positions for flat", empty_positions_for_flat, "the books hold|without a stop",
        {"positions empty once": 0.05}, (0, 1, 2),
    ),
    Defect("ordered for filled", ordered_for_filled, "lacks shares|the books hold", PART, (0, 1, 2)),
    Defect("part fill ignored", part_fill_ignored, "the books hold", PART, (0, 2, 3)),
    Defect(
        "sale by hand not looked for", sale_by_hand_not_looked_for, "sold short.*-sell-",
        {"a person sells ours": 0.3, "positions lag": 1.0, "cancel takes its time": 0.5}, (1, 12, 23),
    ),
    Defect("stop not put back", stop_not_put_back, "without a stop", PART, (0, 1, 2)),
    Defect(
        "reconcile skipped", reconcile_skipped, "the books hold|pending in the books|without a stop",
        {"crash after a request": 0.01}, (0, 6, 11),
    ),
    Defect("levels for the day", levels_for_the_day, "good for the day only", {}, (0, 2, 3)),
    Defect("no folder fsync", no_folder_fsync, "acknowledged and lost", KILLED, (0, 1, 2)),
    Defect("no fsync", no_fsync, "acknowledged and lost", KILLED, (0, 1, 2)),
    Defect("disk error ignored", disk_error_ignored, "acknowledged and lost", {"write fails": 0.01}, (0, 1, 2)),
    Defect("halt forgotten", halt_forgotten, "has halted|are halted", HALTED, (0, 2, 4)),
    Defect("halt kept in memory", halt_kept_in_memory, "has halted|are halted", HALTED, (0, 1, 2)),
    Defect("naive time", naive_time, "New York's time|neither done nor missed", {}, (0, 1, 2)),
    Defect(
        "one catch-all", one_catch_all, "the minute is not traded",
        {"training breaks after the open": 0.9}, (0, 1, 2),
    ),
)  # fmt: skip


# --- what no simulated session reaches: provers of their own, which say what they saw ---------------------------------


def repeated_post(patch: Patch) -> None:
    """Whatever got no answer is sent once more, orders too."""
    send = PoliteAdapter.send

    def again(self: PoliteAdapter, request: Any, *rest: Any, **options: Any) -> Any:
        try:
            return send(self, request, *rest, **options)
        except Unreachable:
            return send(self, request, *rest, **options)

    patch.setattr(PoliteAdapter, "send", again)


def posts_of_an_unanswered_order(_: Path) -> str | None:
    """An order that gets no answer leaves this machine once."""
    sent: list[str] = []

    def silence(self: HTTPAdapter, request: Any, **_: Any) -> Any:
        sent.append(request.method)
        raise requests.ReadTimeout

    order = MarketOrderRequest(symbol="NVDA", qty=1, side="buy", time_in_force="day", client_order_id="one")
    wire = AlpacaWire("key", "secret", "http://127.0.0.1:1", "http://127.0.0.1:1", wait=lambda seconds: None)
    with pytest.MonkeyPatch.context() as network, suppress(Unreachable):
        network.setattr(HTTPAdapter, "send", silence)
        wire.trading.submit_order(order)
    return None if sent == ["POST"] else f"an order left as {' and '.join(sent)}"


def no_signature_check(patch: Patch) -> None:
    """Every card is taken for one that this machine signed."""
    patch.setattr(learning.model_store, "is_signed", lambda card, key: True)


class Canary:
    """Unpickling this touches a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self._path,)


def foreign_pickle_run(folder: Path) -> str | None:
    """A pickle that somebody put in a model's place, and into its card, is not run."""
    rows = np.random.default_rng(1).normal(size=(40, 2))
    scaler, forest = fit("gradient_boosting", rows, (rows[:, 0] > 0).astype(float), np.full(40, 0.5))
    card = {
        "stamp": "20260302_200003",
        "model_type": "gradient_boosting",
        "features": ["a", "b"],
        "versions": versions(),
    }
    store, seen = ModelStore(folder / "models", folder / "state"), pd.DataFrame({"symbol": ["A"], "confidence": [0.5]})
    paths = store.publish(card, TradeClassifier(forest, Calibration(0.0, 1.0, 1.0)), scaler, seen, rows, serve=True)
    joblib.dump(Canary(folder / "canary"), paths["model"])
    forged = json.loads(paths["card"].read_text())
    forged["sha256"][paths["model"].name] = sha256(paths["model"].read_bytes())
    paths["card"].write_text(json.dumps(forged))
    with suppress(NoModel, AttributeError):  # a canary is no model, once it has sung
        store.load()
    return "a pickle that nobody signed was run" if (folder / "canary").exists() else None


def second_lock_ignored(patch: Patch) -> None:
    """A lock that another process holds is passed over."""
    patch.setattr("locks.fcntl", SimpleNamespace(LOCK_EX=0, LOCK_NB=0, flock=lambda file, how: None))


def two_traders(folder: Path) -> str | None:
    """The same books are not opened twice."""
    with Journal(folder / "journal.jsonl", "20260302_200000"):
        try:
            Journal(folder / "journal.jsonl", "20260302_200001").close()
        except AlreadyRunning:
            return None
    return "two traders on the same books"


PROVED: tuple[tuple[Callable[[Patch], None], Callable[[Path], str | None], str], ...] = (
    (repeated_post, posts_of_an_unanswered_order, "left as POST and POST"),
    (no_signature_check, foreign_pickle_run, "that nobody signed was run"),
    (second_lock_ignored, two_traders, "two traders"),
)


def main() -> int:
    """Each simulated defect over the same seeds: in which it is caught, and how often as what."""
    for defect in SIMULATED:
        with pytest.MonkeyPatch.context() as patch:
            defect.plant(patch)
            found = {seed: run_session(seed, rates=defect.faults).violation or "-" for seed in range(MORE_SEEDS)}
        seeds = [seed for seed, words in found.items() if re.search(defect.caught, words)]
        kinds = Counter(re.sub(r"^at \S+ \S+ |\d+", "", words)[:100] for words in found.values())
        sys.stdout.write(f"{defect.name}: caught in {len(seeds)} of {MORE_SEEDS}, {seeds}\n")
        sys.stdout.writelines(f"    {number} {words}\n" for words, number in kinds.most_common(5))
    return 0


if __name__ == "__main__":
    sys.exit(main())

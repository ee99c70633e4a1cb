"""The halt: asked for by anybody, heard within a minute, and over only when a person says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from trading import settings_in

from desk.books import Books
from desk.brokers import Broker
from desk.halt import Halt, ask_to_halt, ask_to_resume, asked_to_halt, in_force
from desk.journal import Journal, read_events
from desk.risk import Gate
from gates import limits_of
from market.hours import local_time

MINUTE = 29_540_000
NOW = "2026-03-02T10:31"


class FakeBroker:
    """Counts how often entries were withdrawn."""

    withdrawn = 0

    def withdraw_entries(self) -> None:
        self.withdrawn += 1


class Desk:
    """One process on the books in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal.jsonl", "20260302_090000")
        self.books = Books(local_time, self.journal.events)
        self.broker, self.said = FakeBroker(), list[str]()
        gate = Gate(cast(Broker, self.broker), self.books, limits_of(settings_in(folder)), self.said.append)
        self.halt = Halt(folder, gate, self.journal, self.record, self.said.append)

    def record(self, kind: str, **fields: Any) -> dict[str, Any]:
        event = self.journal.append(kind, **fields)
        self.books.apply(event)
        return event

    def hold(self, symbol: str) -> None:
        self.record(
            "intent", order_id=f"t-20260302-{symbol}-buy-1", symbol=symbol, qty=5, price=100.0, confidence=0.7,
            minute=MINUTE, stop_loss=0.02, take_profit=0.04, model_id="m", market="alpaca",
        )  # fmt: skip

    def restarted(self) -> Desk:
        self.journal.close()
        return Desk(self.folder)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_without_word_nothing_is_halted(desk: Desk) -> None:
    desk.halt.hear(MINUTE)
    assert (desk.books.halt, desk.broker.withdrawn, desk.said) == (None, 0, [])


def test_a_halt_by_command_is_heard_kept_and_withdraws_entries_each_minute(desk: Desk) -> None:
    ask_to_halt(desk.folder, "the news\nare \x1b[31mbad", NOW)
    desk.halt.hear(MINUTE)
    desk.halt.hear(MINUTE + 1)
    assert desk.books.halt == "2026-03-02T10:31 the news are [31mbad"
    assert desk.broker.withdrawn == 2
    assert len(desk.said) == 1
    assert [e["kind"] for e in read_events(desk.folder / "journal.jsonl")] == ["journal", "halt"]


def test_a_file_that_somebody_touched_halts(desk: Desk) -> None:
    (desk.folder / "HALT").touch()
    desk.halt.hear(MINUTE)
    assert desk.books.halt == "HALT is there, without a word"


@pytest.mark.parametrize("kind", ["folder", "dangling link", "binary"])
def test_whatever_is_called_halt_halts(desk: Desk, kind: str) -> None:
    path = desk.folder / "HALT"
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("/nowhere")
    else:
        path.write_bytes(bytes(range(256)) * 10_000)
    desk.halt.hear(MINUTE)
    assert desk.books.halt


def test_a_halt_outlives_restarts_and_the_loss_of_its_file(desk: Desk) -> None:
    desk.halt.begin("MAX_DAILY_LOSS_PCT: equity is 1", MINUTE)
    assert "MAX_DAILY_LOSS_PCT" in str(asked_to_halt(desk.folder))
    (desk.folder / "HALT").unlink()
    again = desk.restarted()
    assert again.books.halt is not None
    again.halt.hear(MINUTE + 1)
    assert "MAX_DAILY_LOSS_PCT" in str(asked_to_halt(desk.folder))
    assert again.broker.withdrawn == 1


def test_only_resume_ends_it_and_says_what_it_was(desk: Desk) -> None:
    desk.halt.begin("five trading minutes failed", MINUTE)
    ask_to_resume(desk.folder, NOW)
    desk.halt.hear(MINUTE + 1)
    assert desk.books.halt is None
    assert desk.said[-1].startswith("resumed; it was halted: ")
    assert "five trading minutes failed" in desk.said[-1]
    assert {path.name for path in desk.folder.iterdir()} & {"HALT", "RESUME"} == set()
    again = desk.restarted()
    again.halt.hear(MINUTE + 2)
    assert again.books.halt is None


def test_a_resume_while_nobody_trades_is_taken_up_at_the_next_start(desk: Desk) -> None:
    desk.halt.begin("why", MINUTE)
    desk.journal.close()
    ask_to_resume(desk.folder, NOW)
    again = Desk(desk.folder)
    assert again.books.halt is not None
    again.halt.hear(MINUTE + 1)
    assert again.books.halt is None


def test_the_newest_word_counts(desk: Desk) -> None:
    ask_to_resume(desk.folder, NOW)
    ask_to_halt(desk.folder, "after all", NOW)
    desk.halt.hear(MINUTE)
    assert "after all" in str(desk.books.halt)
    assert not (desk.folder / "RESUME").exists()


def test_a_halt_between_the_two_steps_of_a_resume_stays_a_halt(desk: Desk) -> None:
    desk.halt.begin("why", MINUTE)
    (desk.folder / "RESUME").write_text("cut off before HALT was removed")
    desk.halt.hear(MINUTE + 1)
    assert desk.books.halt is not None


def test_losses_count_anew_from_a_resume_on(desk: Desk) -> None:
    desk.record("account", cash=100_000.0, settled=100_000.0)
    desk.record("minute", minute=MINUTE, equity=100_000.0)
    desk.record("minute", minute=MINUTE + 1, equity=80_000.0)
    assert (desk.books.opening_equity(MINUTE + 2), desk.books.peak_equity) == (100_000.0, 100_000.0)
    desk.halt.begin("loss", MINUTE + 1)
    ask_to_resume(desk.folder, NOW)
    desk.halt.hear(MINUTE + 2)
    assert (desk.books.opening_equity(MINUTE + 2), desk.books.peak_equity) == (80_000.0, 80_000.0)


def test_a_disk_that_takes_nothing_halts_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("durable.os.fsync", full)
        desk.halt.begin("five trading minutes failed", MINUTE)
    assert desk.books.halt == "five trading minutes failed"
    assert desk.broker.withdrawn == 1
    desk.halt.hear(MINUTE + 1)  # the disk has room again
    assert "five trading minutes failed" in str(asked_to_halt(desk.folder))
    assert desk.restarted().books.halt is not None


def test_a_resume_that_cannot_be_removed_voids_no_later_halt(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    desk.record("halt", why="the news", minute=MINUTE)
    ask_to_resume(desk.folder, NOW)
    with monkeypatch.context() as patch:
        patch.setattr("desk.halt.replace_file", read_only)
        patch.setattr(Path, "unlink", read_only)
        desk.halt.hear(MINUTE)
        assert desk.books.halt is None
        desk.halt.begin("MAX_DAILY_LOSS_PCT", MINUTE + 1)
        desk.halt.hear(MINUTE + 2)
        assert desk.books.halt == "MAX_DAILY_LOSS_PCT"
    for minute in (3, 4):  # the disk takes files again
        desk.halt.hear(MINUTE + minute)
    assert desk.books.halt == "MAX_DAILY_LOSS_PCT"
    assert "MAX_DAILY_LOSS_PCT" in str(asked_to_halt(desk.folder))
    ask_to_resume(desk.folder, NOW)  # another one
    desk.halt.hear(MINUTE + 5)
    assert desk.books.halt is None


def test_a_full_disk_takes_no_halt_and_lets_the_resume_before_it_go(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (desk.folder / "RESUME").touch()
    monkeypatch.setattr("durable.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        ask_to_halt(desk.folder, "why", NOW)
    assert not (desk.folder / "RESUME").exists()


def test_to_flatten_is_to_halt_and_to_plan_the_sale_of_all_that_is_held(desk: Desk) -> None:
    desk.hold("NVDA")
    desk.hold("AMD")
    ask_to_halt(desk.folder, "--flatten", NOW, flatten=True)
    desk.halt.hear(MINUTE + 1)
    assert desk.books.exit_plan == {"NVDA": "by hand", "AMD": "by hand"}
    assert desk.books.halt is not None
    assert not (desk.folder / "FLATTEN").exists()
    assert desk.restarted().books.exit_plan == {"NVDA": "by hand", "AMD": "by hand"}


def test_to_flatten_alone_halts_as_well(desk: Desk) -> None:
    desk.hold("NVDA")
    (desk.folder / "FLATTEN").touch()
    desk.halt.hear(MINUTE + 1)
    assert desk.books.halt == "FLATTEN is there, without a word"
    assert desk.books.exit_plan == {"NVDA": "by hand"}


def test_a_halt_of_the_programs_own_makes_void_a_resume_that_was_not_heard_yet(desk: Desk) -> None:
    desk.halt.begin("a loss", MINUTE)
    ask_to_resume(desk.folder, NOW)
    desk.halt.begin("SIGTERM", MINUTE + 1)
    desk.halt.hear(MINUTE + 2)
    assert desk.books.halt is not None
    assert "SIGTERM" in str(asked_to_halt(desk.folder))


def test_a_resume_calls_off_what_was_to_be_flattened(desk: Desk) -> None:
    desk.hold("NVDA")
    ask_to_halt(desk.folder, "--flatten", NOW, flatten=True)
    desk.halt.hear(MINUTE)
    ask_to_resume(desk.folder, NOW)
    desk.halt.hear(MINUTE + 1)
    assert desk.books.exit_plan == {}


@pytest.mark.parametrize("name", ["RESUME", "FLATTEN"])
def test_a_word_that_cannot_be_removed_breaks_nothing_off(desk: Desk, name: str) -> None:
    (desk.folder / name).mkdir()
    desk.halt.hear(MINUTE)
    desk.halt.hear(MINUTE + 1)


def test_one_wrong_high_equity_is_no_peak(desk: Desk) -> None:
    for minute, equity in enumerate([100_000.0, 130_000.0, 100_000.0, 100_000.0, 101_000.0, 101_000.0]):
        desk.record("minute", minute=MINUTE + minute, equity=equity)
        desk.halt.watch_losses(equity, MINUTE + minute)
    assert (desk.books.halt, desk.books.peak_equity) == (None, 101_000.0)


def test_what_was_asked_for_last_is_shown_also_before_a_trader_has_heard_it(tmp_path: Path) -> None:
    assert in_force(tmp_path, None) is None
    ask_to_halt(tmp_path, "lunch", "12:00")
    assert in_force(tmp_path, None) == "12:00 lunch"
    ask_to_resume(tmp_path, "13:00")
    assert in_force(tmp_path, "12:00 lunch") is None  # the books still have it
    (tmp_path / "RESUME").unlink()
    assert in_force(tmp_path, "12:00 lunch") == "12:00 lunch"

"""The view: strict JSON, whole whatever fails, like the books, and written beside the minute that it would hold up."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from bookkeeping import BOUGHT, OPEN, SIGNAL, STAMP, STORY, intent, local_time, told, view_of
from nth import HOW, How, each_nth

from desk.books import Books
from desk.journal import Event
from desk.trade_history import SIGNAL_SESSIONS, TradeHistory, old_signals, secure_view
from durable import to_json

DAY = 24 * 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trade_history.json"


def on_disk(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    document: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return document


@contextmanager
def slow_disk(patch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk on which no rename is done until the event is set."""
    replace, go = Path.replace, threading.Event()

    def waits(source: Path, target: Path) -> Path:
        assert go.wait(30)
        return replace(source, target)

    with patch.context() as slowed:
        slowed.setattr(Path, "replace", waits)
        try:
            yield go
        finally:
            go.set()


def full(source: Path, target: Path) -> Path:
    raise OSError(28, "No space left on device")


# --- what is written, and when --------------------------------------------------------------------------------------


def test_the_view_on_disk_is_strict_json_equal_to_the_books(path: Path) -> None:
    books = Books(local_time, STORY)
    TradeHistory(path, books).flush()
    assert on_disk(path) == view_of(books)
    assert path.read_text().count("\n") == len(books.trades) + len(books.signals) + 5
    assert list(path.parent.iterdir()) == [path]


def test_books_without_trades_are_a_view_too(path: Path) -> None:
    path.write_text("what stood here before")
    TradeHistory(path, Books(local_time)).flush()
    assert on_disk(path) == {"schema": 1, "trades": [], "signals": []}


def test_the_view_follows_every_event_in_the_minute_and_at_once(path: Path) -> None:
    beside, at_once = Books(local_time), Books(local_time)
    history, other = TradeHistory(path, beside), TradeHistory(path.with_name("other.json"), at_once)
    for event in [*STORY, {"n": 3, "kind": "why", "order_id": "AMD-1", "spoke": [{"feature": "rsi_14"}]}]:
        beside.apply(event)
        history.write()
        history.wait()
        assert on_disk(path) == view_of(beside)
        at_once.apply(event)
        other.flush()
        assert on_disk(path.with_name("other.json")) == view_of(at_once)


def test_the_view_is_written_when_something_changed_or_it_is_gone_and_only_then(path: Path) -> None:
    books = Books(local_time, [intent()])
    history = TradeHistory(path, books)
    history.flush()
    path.write_text("untouched")
    for write in (history.flush, history.write):
        write()
        books.apply({"n": 5, "kind": "minute", "minute": OPEN, "equity": 1.0, "cash": 1.0})
        write()
        history.wait()
        assert path.read_text() == "untouched"
    path.unlink()
    history.write()
    history.wait()
    assert on_disk(path) == view_of(books)


def test_a_trade_that_was_never_heard_of_and_is_found_again_keeps_its_place(path: Path) -> None:
    withdrawn = told("cancelled", reason="never reached the broker")
    books = Books(local_time, [intent(), withdrawn, intent("AMD-1", "AMD")])
    history = TradeHistory(path, books)
    history.flush()
    books.apply(BOUGHT)
    history.flush()
    assert [(t["id"], t["status"]) for t in on_disk(path)["trades"]] == [("NVDA-1", "OPEN"), ("AMD-1", "PENDING")]


def test_a_view_that_would_not_be_json_leaves_the_old_one(path: Path) -> None:
    books = Books(local_time, [intent()])
    history = TradeHistory(path, books)
    history.flush()
    before = path.read_bytes()
    books.apply(told("fill", price=math.nan))
    for write in (history.flush, history.write):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write()
    assert path.read_bytes() == before


# --- beside the minute ----------------------------------------------------------------------------------------------


def test_a_slow_disk_holds_no_minute_up_and_one_view_at_most_is_under_way(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(local_time, [intent()])
    history = TradeHistory(path, books)
    with slow_disk(monkeypatch) as go:
        history.write()
        first = view_of(books)
        books.apply(BOUGHT)
        history.write()  # comes back although the disk does not
        assert len(list(path.parent.glob(".*.tmp"))) <= 1
        go.set()
        history.wait()
        assert on_disk(path) == first
    history.write()
    history.wait()
    assert on_disk(path) == view_of(books)


def test_what_happens_to_the_books_while_the_view_is_written_is_not_half_in_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(local_time, STORY[:3])
    history = TradeHistory(path, books)
    with slow_disk(monkeypatch) as go:
        history._beside.submit(go.wait)  # even the lines are joined later
        history.write()
        before = view_of(books)
        for event in STORY[3:]:
            books.apply(event)
            history.write()
        go.set()
        history.wait()
    assert on_disk(path) == before


def test_a_flush_waits_for_what_is_under_way_and_is_complete(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books(local_time, [intent()])
    history = TradeHistory(path, books)
    with slow_disk(monkeypatch) as go:
        history.write()
        books.apply(BOUGHT)
        threading.Timer(0.05, go.set).start()
        history.flush()
    assert on_disk(path) == view_of(books)


def test_a_write_that_came_to_nothing_is_said_by_the_next_which_tries_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(local_time, [intent()])
    history = TradeHistory(path, books)
    history.flush()
    before = path.read_bytes()
    books.apply(BOUGHT)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        history.write()
        history.wait()
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                history.write()
            history.wait()
        assert path.read_bytes() == before
        with pytest.raises(OSError, match="No space left"):
            history.flush()
    assert path.read_bytes() == before
    history.write()
    history.wait()
    assert on_disk(path) == view_of(books)
    history.write()  # nothing left to say


def test_a_flush_makes_good_what_came_to_nothing_beside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books(local_time, [intent()])
    history = TradeHistory(path, books)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        history.write()
        history.wait()
    history.flush()
    assert on_disk(path) == view_of(books)
    history.write()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("beside", [False, True])
def test_whichever_call_fails_the_view_is_the_old_or_the_new_one(tmp_path: Path, how: How, beside: bool) -> None:
    for fault in each_nth(how):
        path = tmp_path / str(fault.nth) / "trade_history.json"
        path.parent.mkdir()
        books = Books(local_time, STORY[:4])
        history = TradeHistory(path, books)
        history.flush()
        old = view_of(books)
        for event in STORY[4:]:
            books.apply(event)
        with fault:
            if beside:
                history.write()
                history.wait()
                history.write()
                history.wait()
            else:
                history.flush()
        assert on_disk(path) in (old, view_of(books))
        if how == "error":
            history.flush()
            assert on_disk(path) == view_of(books)
            assert list(path.parent.iterdir()) == [path]


# --- old signals ----------------------------------------------------------------------------------------------------


def session(day: int, signals: int = 2) -> list[Event]:
    """A day's signals, each before its minute."""
    story: list[Event] = []
    for i in range(signals):
        minute = OPEN + day * DAY + i
        story.append({**SIGNAL, "timestamp": local_time(minute), "price": 100.0 + day})
        story.append({"n": 9, "kind": "minute", "minute": minute, "equity": 1.0})
    return story


def days(count: int, first: int = 0) -> list[Event]:
    return [event for day in range(first, first + count) for event in session(day)]


def archived(path: Path) -> dict[str, list[dict[str, Any]]]:
    files = sorted((path.parent / "archive").glob("signals_*.jsonl"))
    return {file.stem: [json.loads(text) for text in file.read_text().splitlines()] for file in files}


def test_all_trades_and_the_signals_of_the_newest_sessions_stand_in_the_view_and_nothing_is_dropped(path: Path) -> None:
    books = Books(local_time, [*STORY, *days(SIGNAL_SESSIONS + 40)])
    TradeHistory(path, books).flush()
    view = on_disk(path)
    assert view == view_of(books)
    assert len(view["trades"]) == len(books.trades) == 4
    newest = date(2026, 3, 2) + timedelta(SIGNAL_SESSIONS + 39)
    oldest = newest - timedelta(SIGNAL_SESSIONS - 1)
    assert {s["timestamp"][:10] for s in view["signals"]} == {
        str(oldest + timedelta(i)) for i in range(SIGNAL_SESSIONS)
    }
    months = archived(path)
    assert list(months) == ["signals_2026-03", "signals_2026-04"]
    assert all(s["timestamp"].startswith(name[-7:]) for name, signals in months.items() for s in signals)
    assert [s for signals in months.values() for s in signals] + view["signals"] == books.signals


def test_up_to_so_many_sessions_no_signal_is_old(path: Path) -> None:
    books = Books(local_time, days(SIGNAL_SESSIONS))
    history = TradeHistory(path, books)
    history.flush()
    assert on_disk(path)["signals"] == books.signals
    assert not (path.parent / "archive").exists()
    for event in session(SIGNAL_SESSIONS):
        books.apply(event)
    history.flush()
    assert archived(path) == {"signals_2026-03": books.signals[:2]}
    assert on_disk(path)["signals"] == books.signals[2:]


def test_signals_without_a_session_are_all_shown(path: Path) -> None:
    books = Books(local_time, [SIGNAL] * 3)
    assert old_signals(books) == 0
    assert len(view_of(books)["signals"]) == 3


def test_day_by_day_or_at_once_the_archives_are_the_same_and_a_start_leaves_them_alone(tmp_path: Path) -> None:
    story = days(SIGNAL_SESSIONS + 40)
    books, daily, once = Books(local_time), tmp_path / "daily.json", tmp_path / "once" / "trade_history.json"
    once.parent.mkdir()
    history = TradeHistory(daily, books)
    for event in story:
        books.apply(event)
        if event["kind"] == "minute":
            history.write()
        if event["kind"] == "minute" and event["minute"] % 2:
            history.flush()
            assert on_disk(daily) == view_of(books)
    TradeHistory(once, Books(local_time, story)).flush()
    assert archived(daily) == archived(once)
    before = {file: file.stat().st_ino for file in (once.parent / "archive").iterdir()}
    TradeHistory(once, Books(local_time, story)).flush()
    assert {file: file.stat().st_ino for file in (once.parent / "archive").iterdir()} == before


def test_an_archive_that_holds_what_the_books_do_not_know_is_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    story = days(SIGNAL_SESSIONS + 5)
    TradeHistory(path, Books(local_time, story)).flush()
    march = path.parent / "archive" / "signals_2026-03.jsonl"
    fuller = march.read_bytes()
    TradeHistory(path, Books(local_time, story[4:])).flush()  # the journal lost a day
    (aside,) = march.parent.glob("*.foreign-*")
    assert aside.read_bytes() == fuller
    assert aside.name in caplog.text


@pytest.mark.parametrize("how", HOW)
def test_whichever_call_fails_no_signal_leaves_the_view_before_its_archive_holds_it(tmp_path: Path, how: How) -> None:
    story = days(SIGNAL_SESSIONS + 40)
    for fault in each_nth(how):
        path = tmp_path / str(fault.nth) / "trade_history.json"
        path.parent.mkdir()
        books = Books(local_time, story)
        TradeHistory(path, Books(local_time, story[:-4])).flush()
        history = TradeHistory(path, books)
        with fault:
            history.flush()
        kept = [s["timestamp"] for signals in archived(path).values() for s in signals]
        shown = [s["timestamp"] for s in on_disk(path)["signals"]]
        known = [s["timestamp"] for s in books.signals]
        assert sorted({*kept, *shown}) in (known, known[:-2])
        if how == "error":
            history.flush()
            kept = [s for signals in archived(path).values() for s in signals]
            assert kept + on_disk(path)["signals"] == books.signals


# --- a file that is not our view ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        to_json(view_of(Books(local_time, STORY)))[:200].encode(),
        b"",
        b"[]",
        b"null",
        b'{"my": "notes"}',
        b'{"schema": 1, "trades": 5}',
        b'{"schema": 1, "trades": [{"symbol": "NVDA"}], "signals": []}',
        b'{"schema": 99, "trades": [], "signals": []}',
        b'{"schema": 1, "trades": [{"id": "somebody-else-1"}], "signals": []}',
        bytes(range(256)),
    ],
)
def test_a_file_that_is_no_view_of_these_books_is_kept_under_a_dated_name_and_said(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "trade_history.json"
    path.write_bytes(content)
    books = Books(local_time, STORY)
    secure_view(path, books, STAMP)
    TradeHistory(path, books).flush()
    assert path.with_name(f"trade_history.json.foreign-{STAMP}").read_bytes() == content
    assert f"trade_history.json.foreign-{STAMP}" in caplog.text
    assert json.loads(path.read_text()) == view_of(books)


def test_what_was_moved_aside_before_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "trade_history.json"
    for content in ("first", "second"):
        path.write_text(content)
        secure_view(path, Books(local_time), STAMP)
    assert sorted(p.read_text() for p in tmp_path.iterdir()) == ["first", "second"]


def test_our_own_view_is_left_also_when_the_journal_knows_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "trade_history.json"
    TradeHistory(path, Books(local_time, STORY[:5])).flush()
    before = path.read_bytes()
    secure_view(path, Books(local_time, STORY), STAMP)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert caplog.text == ""


def test_no_view_is_nothing_to_secure(tmp_path: Path) -> None:
    secure_view(tmp_path / "trade_history.json", Books(local_time), STAMP)
    assert list(tmp_path.iterdir()) == []


def test_the_view_of_a_newer_version_is_moved_aside_for_that_reason(tmp_path, caplog):
    path = tmp_path / "trade_history.json"
    path.write_text('{"schema": 99, "trades": [], "signals": []}')
    secure_view(path, Books(local_time), "s")
    assert "schema" in caplog.text
    assert "does not know" not in caplog.text

"""The journal: what was synced stays readable after any cut, flip or kill, and one process writes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from nth import HOW, How, each_nth

from desk.journal import AlreadyRunning, Journal, NewerJournal, read_events

ROOT = Path(__file__).resolve().parents[1]
STAMP = "20260302_200000"
HOLDER = (
    "import sys; from pathlib import Path; from desk.journal import Journal\n"
    "journal = Journal(Path(sys.argv[1]), 'x'); journal.append('minute', minute=7); journal.sync()\n"
    "print('open', flush=True); sys.stdin.read()"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "journal.jsonl"


def line(**event: Any) -> bytes:
    """A journal line as another implementation would write it."""
    body = json.dumps(event, separators=(",", ":")).encode()
    return body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)


def written(path: Path, minutes: int = 4) -> bytes:
    """A journal of a header and some minutes; its bytes."""
    with Journal(path, STAMP) as journal:
        for minute in range(minutes):
            journal.append("minute", minute=minute, equity=100_000.1 + minute / 3, words="é, “quoted”\nand a line")
    return path.read_bytes()


def minutes_of(events: list[dict[str, Any]]) -> list[int]:
    return [event["minute"] for event in events if event["kind"] == "minute"]


def others(path: Path) -> dict[str, bytes]:
    """What stands beside the journal, without its lock."""
    return {p.name: p.read_bytes() for p in path.parent.iterdir() if p.name not in (path.name, "journal.lock")}


# --- lines ----------------------------------------------------------------------------------------------------------


def test_every_line_carries_the_checksum_of_its_content_and_numbers_count_up_by_one(path: Path) -> None:
    lines = written(path).splitlines(keepends=True)
    events = []
    for text in lines:
        body, _, checksum = text.rpartition(b',"crc":"')
        assert checksum == b'%08x"}\n' % zlib.crc32(body + b"}")
        events.append(json.loads(body + b"}"))
    assert [event["n"] for event in events] == [0, 1, 2, 3, 4]
    assert events[0] == {"n": 0, "kind": "journal", "schema": 1, "started": "20260302_200000"}
    assert events == read_events(path)


def test_a_line_of_another_implementation_is_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(line(n=0, kind="journal", schema=1) + line(n=1, kind="minute", minute=3))
    assert read_events(path) == [{"n": 0, "kind": "journal", "schema": 1}, {"n": 1, "kind": "minute", "minute": 3}]


def test_a_journal_goes_on_where_it_ended(path: Path) -> None:
    before = written(path)
    with Journal(path, STAMP) as journal:
        assert minutes_of(journal.events) == [0, 1, 2, 3]
        assert journal.append("minute", minute=4)["n"] == 5
    assert path.read_bytes().startswith(before)
    assert minutes_of(read_events(path)) == [0, 1, 2, 3, 4]
    assert others(path) == {}


def test_what_append_returns_is_what_is_read_back(path: Path) -> None:
    fields = {"text": 'a\n"b" — é', "deep": {"list": [1, 2.5, None, True]}, "price": 0.1 + 0.2, "big": 1e300}
    with Journal(path, STAMP) as journal:
        event = journal.append("odd", **fields)
    assert read_events(path)[-1] == event == {"n": 1, "kind": "odd", **fields}


def test_no_journal_is_no_events_and_reading_makes_no_file(path: Path) -> None:
    assert read_events(path) == []
    assert not path.parent.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused_and_takes_no_number(path: Path, value: float) -> None:
    with Journal(path, STAMP) as journal:
        with pytest.raises(ValueError, match="not JSON compliant"):
            journal.append("minute", equity=value)
        assert journal.append("minute", minute=1)["n"] == 1
    assert [event["n"] for event in read_events(path)] == [0, 1]


# --- reaching the disk ----------------------------------------------------------------------------------------------


def test_events_are_on_disk_after_sync_and_not_before(path: Path) -> None:
    with Journal(path, STAMP) as journal:
        journal.append("minute", minute=1)
        assert minutes_of(read_events(path)) == []
        journal.sync()
        assert minutes_of(read_events(path)) == [1]


def test_an_intent_is_on_disk_before_its_order_leaves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(path, STAMP) as journal:
        assert journal.syncs_each_minute
        synced: list[int] = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), fsync(handle)))
        journal.append("intent", order_id="a")
        journal.sync(order=True)
        assert read_events(path)[-1]["order_id"] == "a"
        assert synced == [path.stat().st_size]


def test_a_replay_leaves_the_disk_alone_until_a_full_sync(path: Path) -> None:
    with Journal(path, STAMP, sync_each_order=False) as journal:
        assert not journal.syncs_each_minute
        before = path.read_bytes()
        journal.append("intent", order_id="a")
        journal.sync(order=True)
        assert path.read_bytes() == before
        journal.sync()
        assert read_events(path)[-1]["order_id"] == "a"


def test_syncing_twice_writes_once(path: Path) -> None:
    with Journal(path, STAMP) as journal:
        journal.append("minute", minute=1)
        journal.sync()
        journal.sync()
    assert minutes_of(read_events(path)) == [1]


def test_closing_brings_the_rest_to_disk_and_lets_another_write(path: Path) -> None:
    journal = Journal(path, STAMP)
    journal.append("minute", minute=1)
    journal.close()
    with Journal(path, STAMP) as another:
        assert minutes_of(another.events) == [1]


# --- after a crash --------------------------------------------------------------------------------------------------


def test_a_last_line_cut_at_any_byte_costs_no_earlier_event_and_is_kept_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = written(tmp_path / "whole" / "journal.jsonl")
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start + 1, len(whole) - 1):
        path = tmp_path / str(end) / "journal.jsonl"
        path.parent.mkdir()
        path.write_bytes(whole[:end])
        assert minutes_of(read_events(path)) == [0, 1, 2]
        assert path.read_bytes() == whole[:end]
        caplog.clear()
        with Journal(path, STAMP) as journal:
            assert minutes_of(journal.events) == [0, 1, 2]
            assert path.read_bytes() == whole[:start]
            assert journal.append("minute", minute=9)["n"] == 4
        assert minutes_of(read_events(path)) == [0, 1, 2, 9]
        assert others(path) == {f"journal.jsonl.torn-{STAMP}": whole[start:end]}
        assert f"journal.jsonl.torn-{STAMP}" in caplog.text
    assert end == len(whole) - 2


def test_a_last_line_without_its_line_end_is_whole(path: Path) -> None:
    path.parent.mkdir()
    whole = written(path)
    path.write_bytes(whole[:-1])
    assert minutes_of(read_events(path)) == [0, 1, 2, 3]
    with Journal(path, STAMP) as journal:
        journal.append("minute", minute=4)
    assert path.read_bytes().startswith(whole)
    assert minutes_of(read_events(path)) == [0, 1, 2, 3, 4]


def test_a_flipped_byte_anywhere_in_a_middle_line_costs_that_line_only_and_the_file_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = written(tmp_path / "whole" / "journal.jsonl")
    lines = whole.splitlines(keepends=True)
    start = len(lines[0]) + len(lines[1])
    for place in range(start, start + len(lines[2]) - 1):
        path = tmp_path / str(place) / "journal.jsonl"
        path.parent.mkdir()
        damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        path.write_bytes(damaged)
        caplog.clear()
        with Journal(path, STAMP) as journal:
            assert minutes_of(journal.events) == [0, 2, 3]
            assert journal.append("minute", minute=4)["n"] == 5
        assert minutes_of(read_events(path)) == [0, 2, 3, 4]
        assert others(path) == {f"journal.jsonl.damaged-{STAMP}": damaged}
        assert f"journal.jsonl.damaged-{STAMP}" in caplog.text
        assert "1 of 5 lines" in caplog.text


def test_a_damaged_file_never_overwrites_one_that_was_kept_before(path: Path) -> None:
    kept = []
    for flipped in (b"equity", b"minute"):
        damaged = written(path).replace(flipped, b"EQUITY", 1)
        kept.append(damaged)
        path.write_bytes(damaged)
        Journal(path, STAMP).close()
    assert sorted(others(path).values()) == sorted(kept)


@pytest.mark.parametrize(
    "foreign",
    [
        bytes(range(256)) * 4,
        b"\x00\xff\xfe" * 5 + b"\n",
        b'{"trades": [], "schema": 1}\n',
        b'{"n":0,"kind":"journal","schema":1,"crc":"00000000"}\n',
        b"[1, 2, 3]",
        b"\n\n\n",
        b"not a journal",
    ],
)
def test_a_foreign_file_is_kept_whole_under_a_dated_name_and_a_journal_begun(
    path: Path, foreign: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(foreign)
    assert read_events(path) == []
    with Journal(path, STAMP) as journal:
        assert [event["kind"] for event in journal.events] == ["journal"]
    assert others(path) == {f"journal.jsonl.damaged-{STAMP}": foreign}
    assert f"journal.jsonl.damaged-{STAMP}" in caplog.text
    assert [event["kind"] for event in read_events(path)] == ["journal"]


def test_an_empty_file_becomes_a_journal_without_a_word(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.touch()
    Journal(path, STAMP).close()
    assert [event["kind"] for event in read_events(path)] == ["journal"]
    assert others(path) == {}
    assert caplog.text == ""


def test_a_byte_order_mark_costs_the_first_line_only(path: Path) -> None:
    marked = b"\xef\xbb\xbf" + written(path)
    path.write_bytes(marked)
    with Journal(path, STAMP) as journal:
        assert minutes_of(journal.events) == [0, 1, 2, 3]
    assert others(path) == {f"journal.jsonl.damaged-{STAMP}": marked}


def test_temporary_files_that_a_crash_left_are_removed_and_nothing_else(path: Path) -> None:
    path.parent.mkdir()
    (path.parent / ".trade_history.json.0a1b2c3d.tmp").write_text("half")
    (path.parent / "notes.tmp").write_text("mine")
    Journal(path, STAMP).close()
    assert others(path) == {"notes.tmp": b"mine"}


# --- newer versions, other writers ----------------------------------------------------------------------------------


def test_a_journal_of_a_newer_version_is_refused_and_not_touched(path: Path) -> None:
    path.parent.mkdir()
    content = line(n=0, kind="journal", schema=2) + line(n=1, kind="minute", minute=3) + b'{"n":2,"torn'
    path.write_bytes(content)
    with pytest.raises(NewerJournal, match=r"schema 2, here 1.*update"):
        Journal(path, STAMP)
    assert path.read_bytes() == content
    assert others(path) == {}


def test_a_second_writer_is_refused_by_name_while_anyone_may_read(path: Path) -> None:
    with Journal(path, STAMP) as journal:
        journal.append("minute", minute=1)
        journal.sync()
        before = path.read_bytes()
        with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()} .* is already trading"):
            Journal(path, STAMP)
        assert path.read_bytes() == before
        assert minutes_of(read_events(path)) == [1]
        journal.append("minute", minute=2)
    assert minutes_of(read_events(path)) == [1, 2]


def test_a_writer_in_another_process_is_named_and_once_it_was_killed_refuses_nobody(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"open\n"
            with pytest.raises(AlreadyRunning, match=f"process {holder.pid} "):
                Journal(path, STAMP)
            assert minutes_of(read_events(path)) == [7]
        finally:
            holder.kill()
    with Journal(path, STAMP) as journal:
        assert minutes_of(journal.events) == [7]
        with pytest.raises(AlreadyRunning, match=rf"^process {os.getpid()} "):
            Journal(path, STAMP)


def test_a_sync_that_failed_and_is_tried_again_writes_each_event_once(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    with Journal(path, "s") as journal:
        journal.append("minute", minute=1)
        with monkeypatch.context() as patch:

            def full(_):
                raise OSError(28, "No space left on device")

            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError):
                journal.sync()
        journal.append("minute", minute=2)
    assert minutes_of(read_events(path)) == [1, 2]


def test_a_full_disk_leaves_no_half_line_in_the_middle(tmp_path):
    import subprocess
    import sys

    code = """
import resource, signal, sys
from pathlib import Path
from desk.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1]); journal = Journal(path, 's')
journal.append('minute', minute=1, words='x' * 500)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 200, resource.RLIM_INFINITY))
try: journal.sync(); print('no error')
except OSError: pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append('minute', minute=2); journal.close()
"""
    path = tmp_path / "journal.jsonl"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == ""
    assert minutes_of(read_events(path)) == [1, 2]
    with Journal(path, "s"):
        pass
    assert others(path) == {}


def test_a_torn_tail_never_overwrites_one_that_was_kept_before(tmp_path):
    path, tails = tmp_path / "journal.jsonl", []
    for cut in (9, 14):
        whole = written(path)
        start = whole.rindex(b"\n", 0, -1) + 1
        path.write_bytes(whole[:-cut])
        tails.append(whole[start:-cut])
        Journal(path, STAMP).close()
    assert sorted(others(path).values()) == sorted(tails)


def test_a_mending_that_fails_halfway_loses_no_readable_event(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    damaged = written(path).replace(b"equity", b"EQUITY", 1)
    path.write_bytes(damaged)
    with monkeypatch.context() as patch:

        def full(source, target):
            raise OSError(28, "No space left on device")

        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError):
            Journal(path, STAMP)
    import gc

    gc.collect()
    assert minutes_of(read_events(path)) == [1, 2, 3]


# --- months ---------------------------------------------------------------------------------------------------------

MONTH = 100  # minutes, here


def local(minute: int) -> str:
    return f"2026-{1 + minute // MONTH:02}-01T00:00:{minute % MONTH:02}-05:00"


STORY = [
    ("account", {"cash": 1.0}), ("minute", {"minute": 10}), ("signal", {"symbol": "A"}),
    ("intent", {"minute": 99}), ("why", {"order_id": "a"}),
    ("minute", {"minute": 100}), ("signal", {"symbol": "B"}), ("intent", {"minute": 60}), ("plan", {"close": {}}),
    ("minute", {"minute": 250}), ("signal", {"symbol": "C"}),
]  # fmt: skip


def told(path: Path) -> list[dict[str, Any]]:
    """The journal of STORY, its months not archived yet; its events."""
    with Journal(path, STAMP) as journal:
        for kind, fields in STORY:
            journal.append(kind, **fields)
    return read_events(path)


def numbers_in(path: Path) -> list[int]:
    return [json.loads(text)["n"] for text in path.read_bytes().splitlines()]


def archive(path: Path) -> None:
    with Journal(path, STAMP) as journal:
        journal.archive_months(local)


def test_finished_months_move_to_dated_archives_and_all_events_are_read_once_in_order(path: Path) -> None:
    events = told(path)
    archive(path)
    assert numbers_in(path.parent / "archive" / "journal_2026-01.jsonl") == [0, 1, 2, 3, 4, 5]
    assert numbers_in(path.parent / "archive" / "journal_2026-02.jsonl") == [0, 6, 7, 8, 9]
    assert numbers_in(path) == [0, 10, 11]
    assert read_events(path) == events
    with Journal(path, STAMP) as journal:
        assert list(journal.events) == list(journal.events) == events
        assert journal.append("minute", minute=251)["n"] == 12
    assert read_events(path)[:-1] == events


def test_while_no_month_is_finished_nothing_is_read_or_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(path, STAMP) as journal:
        journal.append("account", cash=1.0)
        journal.archive_months(local)
        journal.append("minute", minute=1)
        journal.append("minute", minute=99)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", None)
            patch.setattr(Path, "read_bytes", None)
            journal.archive_months(local)
        journal.append("minute", minute=100)
        journal.archive_months(local)
        journal.append("minute", minute=101)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", None)
            journal.archive_months(local)
    assert numbers_in(path) == [0, 4, 5]
    assert minutes_of(read_events(path)) == [1, 99, 100, 101]


def test_events_that_are_not_synced_yet_are_archived_too(path: Path) -> None:
    with Journal(path, STAMP) as journal:
        for minute in (1, 150, 151):
            journal.append("minute", minute=minute)
        journal.archive_months(local)
        assert minutes_of(read_events(path)) == [1, 150, 151]


def test_a_clock_that_goes_back_puts_nothing_into_an_archive_that_is_closed(path: Path) -> None:
    with Journal(path, STAMP) as journal:
        for minute in (150, 20, 160, 250, 130, 260):
            journal.append("minute", minute=minute)
        journal.archive_months(local)
    assert numbers_in(path.parent / "archive" / "journal_2026-02.jsonl") == [0, 1, 2, 3]
    assert numbers_in(path) == [0, 4, 5, 6]


def test_events_that_stand_in_an_archive_and_in_the_journal_count_once(path: Path) -> None:
    events = told(path)
    before = path.read_bytes()
    archive(path)
    path.write_bytes(before)  # as if it had been cut off before the journal was replaced
    assert read_events(path) == events
    archive(path)
    assert numbers_in(path) == [0, 10, 11]
    assert read_events(path) == events


def test_a_damaged_line_of_an_archive_is_counted_and_said_each_time(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = told(path)
    archive(path)
    january = path.parent / "archive" / "journal_2026-01.jsonl"
    january.write_bytes(january.read_bytes().replace(b'"symbol":"A"', b'"symbol":"X"'))
    for _ in range(2):
        caplog.clear()
        assert read_events(path) == [event for event in events if event["n"] != 3]
        assert f"{january}: 1 lines cannot be read" in caplog.text
        assert "1 of its 12 events are missing" in caplog.text


def test_the_books_keep_their_beginning_when_an_archive_loses_it(path: Path) -> None:
    events = told(path)
    archive(path)
    january = path.parent / "archive" / "journal_2026-01.jsonl"
    january.write_bytes(january.read_bytes().replace(b'"kind":"journal"', b'"kind":"j0urnal"'))
    assert read_events(path) == events


def test_a_damaged_archive_that_is_written_again_is_mended_from_the_journal_and_kept_aside(path: Path) -> None:
    events = told(path)
    before = path.read_bytes()
    archive(path)
    path.write_bytes(before)
    january = path.parent / "archive" / "journal_2026-01.jsonl"
    damaged = january.read_bytes().replace(b'"symbol":"A"', b'"symbol":"X"')
    january.write_bytes(damaged)
    archive(path)
    assert read_events(path) == events
    assert january.with_name(f"{january.name}.damaged-{STAMP}").read_bytes() == damaged


def test_a_journal_whose_archives_are_gone_says_so_and_goes_on_with_what_is_there(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = told(path)
    archive(path)
    shutil.rmtree(path.parent / "archive")
    with Journal(path, STAMP) as journal:
        assert list(journal.events) == [events[0], *events[-2:]]
        assert "9 of its 12 events are missing" in caplog.text
        assert journal.append("minute", minute=252)["n"] == 12


def test_archives_whose_journal_is_gone_lend_it_their_beginning_and_their_numbers(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = told(path)
    archive(path)
    path.unlink()
    with Journal(path, "20270101_000000") as journal:
        assert "is gone; the books go on after event 9" in caplog.text
        assert list(journal.events) == events[:-2]
        assert journal.append("minute", minute=260)["n"] == 10
    assert read_events(path)[-1]["minute"] == 260


def test_who_reads_while_a_month_moves_misses_nothing(path: Path) -> None:
    events = told(path)
    with Journal(path, STAMP) as journal:
        reading = journal.events
        read = [next(reading)]
        journal.archive_months(local)
        assert [*read, *reading] == events


# --- whatever fails, and wherever -----------------------------------------------------------------------------------


def elsewhere(path: Path) -> Path:
    """The same files where no lock holds them: what another process finds after this one was killed."""
    return shutil.copytree(path.parent, path.parent.with_name("found")) / path.name


def no_strays(folder: Path) -> bool:
    return not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("how", HOW)
def test_whichever_call_fails_what_was_acknowledged_is_there_once_and_at_most_the_next_piece_besides(
    tmp_path: Path, how: How
) -> None:
    for fault in each_nth(how):
        path, acknowledged = tmp_path / str(fault.nth) / "models" / "journal.jsonl", []
        with fault:
            journal = Journal(path, STAMP)
            for minute in range(3):
                journal.append("minute", minute=minute)
                journal.sync()
                acknowledged.append(minute)
        assert minutes_of(read_events(path)) in (acknowledged, [*acknowledged, len(acknowledged)])
        if path.parent.exists():
            path = elsewhere(path)
            with Journal(path, STAMP) as again:
                assert minutes_of(list(again.events)) in (acknowledged, [*acknowledged, len(acknowledged)])
                again.append("minute", minute=7)
            assert minutes_of(read_events(path))[: len(acknowledged)] == acknowledged
            assert minutes_of(read_events(path))[-1] == 7
            assert no_strays(path.parent)


def test_a_disk_that_failed_at_any_call_is_given_all_of_it_once_it_takes_it(tmp_path: Path) -> None:
    for fault in each_nth("error"):
        path = tmp_path / str(fault.nth) / "journal.jsonl"
        journal = Journal(path, STAMP)
        with fault:
            journal.append("minute", minute=1)
            journal.sync()
        journal.append("minute", minute=2)
        journal.close()
        assert numbers_in(path) == [0, 1, 2]


@pytest.mark.parametrize("interrupted", ["write", "fsync"])
def test_an_interrupt_in_the_middle_of_a_write_leaves_no_half_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    call = getattr(os, interrupted)

    def halfway(handle: int, *data: bytes) -> None:
        call(handle, *(bytes(piece)[:9] for piece in data))
        raise KeyboardInterrupt

    with Journal(path, STAMP) as journal:
        journal.append("minute", minute=1)
        with monkeypatch.context() as patch:
            patch.setattr(os, interrupted, halfway)
            with pytest.raises(KeyboardInterrupt):
                journal.sync()
        journal.append("minute", minute=2)
    assert numbers_in(path) == [0, 1, 2]
    assert minutes_of(read_events(path)) == [1, 2]


@pytest.mark.parametrize("how", HOW)
def test_whichever_call_fails_while_months_move_every_event_is_there_once(tmp_path: Path, how: How) -> None:
    for fault in each_nth(how):
        path = tmp_path / str(fault.nth) / "models" / "journal.jsonl"
        events = told(path)
        journal = Journal(path, STAMP)
        with fault:
            journal.archive_months(local)
        assert read_events(path) == events
        if how == "error":  # the same process goes on
            events.append(journal.append("minute", minute=251))
            journal.sync()
            assert read_events(path) == events
            journal.archive_months(local)
        path = elsewhere(path)
        with Journal(path, STAMP) as again:
            assert list(again.events) == events
            again.archive_months(local)
            assert list(again.events) == events
            again.append("minute", minute=252)
        assert read_events(path)[:-1] == events
        assert numbers_in(path)[:3] == [0, 10, 11]
        assert no_strays(path.parent)


def test_a_rename_that_may_not_last_is_brought_to_disk_before_anything_is_written_after_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(path)
    with Journal(path, STAMP) as journal:
        fsync, replace = os.fsync, Path.replace

        def folder_fails(handle: int) -> None:
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError(5, "Input/output error")
            fsync(handle)

        journal.archive_months(local)
        journal.append("minute", minute=350)
        journal.sync()
        with monkeypatch.context() as patch:
            moved = []

            def renamed(source: Path, target: Path) -> Path:
                done = replace(source, target)
                if target == path:
                    moved.append(target)
                    patch.setattr(os, "fsync", folder_fails)
                return done

            patch.setattr(Path, "replace", renamed)
            with pytest.raises(OSError, match="Input/output error"):
                journal.archive_months(local)
            assert moved
            journal.append("minute", minute=351)
            with pytest.raises(OSError, match="Input/output error"):
                journal.sync()
        journal.sync()
        assert minutes_of(read_events(path))[-2:] == [350, 351]


def test_opening_that_fails_lets_go_of_the_lock(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(line(n=0, kind="journal", schema=2))
    with pytest.raises(NewerJournal) as error:  # whoever keeps the error keeps what it came from
        Journal(path, STAMP)
    path.unlink()
    Journal(path, STAMP).close()
    assert "newer" in str(error.value)


def test_strays_of_the_books_and_of_the_archives_are_removed_and_those_of_a_training_are_left(path: Path) -> None:
    (path.parent / "archive").mkdir(parents=True)
    for name in ("trade_history.json", "journal.jsonl", "paper_account.json", "HALT", "archive/journal_2026-01.jsonl"):
        place = path.parent / name
        place.with_name(f".{place.name}.0a1b2c3d.tmp").write_text("half")
    training = path.parent / ".model_random_forest_20260302_200000.pkl.0a1b2c3d.tmp"
    training.write_text("half a model")
    Journal(path, STAMP).close()
    assert list(path.parent.rglob("*.tmp")) == [training]

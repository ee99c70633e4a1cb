"""Files that survive a cut: whatever fails, and wherever, the old or the new content is there and nothing else."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from nth import HOW, How, each_nth

from durable import AppendedFile, move_aside, remove_strays, replace_file, sync_folder, to_json

ROOT = Path(__file__).resolve().parents[1]
OLD, NEW = b"old and whole\n", b"new and whole, and longer than the old one\n"


class Disk:
    """Notes what reaches the disk, in order, and fails at the `broken` step ("file", "rename" or "folder")."""

    def __init__(self, patch: pytest.MonkeyPatch, broken: str | None = None) -> None:
        self.steps: list[str] = []
        self.synced_bytes: list[int] = []
        self._broken = broken
        self._fsync, self._replace = os.fsync, Path.replace
        patch.setattr(os, "fsync", self.fsync)
        patch.setattr(Path, "replace", lambda path, target: self.rename(path, target))

    def fsync(self, handle: int) -> None:
        status = os.fstat(handle)
        folder = stat.S_ISDIR(status.st_mode)
        self._step("folder" if folder else "file")
        if not folder:
            self.synced_bytes.append(status.st_size)
        self._fsync(handle)

    def rename(self, path: Path, target: Path) -> Path:
        self._step("rename")
        return self._replace(path, target)

    def _step(self, step: str) -> None:
        self.steps.append(step)
        if step == self._broken:
            raise OSError(28, "No space left on device")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "books.json"
    path.write_bytes(OLD)
    return path


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# --- replace_file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("broken", "left"), [("file", OLD), ("rename", OLD), ("folder", NEW)])
def test_after_a_failure_at_any_step_the_file_is_the_old_or_the_new_one_and_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, left: bytes
) -> None:
    Disk(monkeypatch, broken)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, NEW)
    assert path.read_bytes() == left
    assert files(path.parent) == ["books.json"]


@pytest.mark.parametrize(("step", "left"), [("fsync", OLD), ("replace", OLD)])
def test_a_process_that_ends_in_the_middle_leaves_the_old_file(path: Path, step: str, left: bytes) -> None:
    code = (
        "import os, sys; from pathlib import Path; from durable import replace_file\n"
        f"{'os' if step == 'fsync' else 'Path'}.{step} = lambda *_: os._exit(9)\n"
        f"replace_file(Path(sys.argv[1]), {NEW!r})"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT).returncode == 9
    assert path.read_bytes() == left


def test_the_whole_content_reaches_the_disk_before_the_rename_and_the_rename_before_we_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    replace_file(path, NEW)
    assert disk.steps == ["file", "rename", "folder"]
    assert disk.synced_bytes == [len(NEW)]
    assert path.read_bytes() == NEW
    assert files(path.parent) == ["books.json"]


def test_a_file_that_was_not_there_is_made_and_text_is_utf_8(tmp_path: Path) -> None:
    replace_file(tmp_path / "note.txt", "zażółć")
    assert (tmp_path / "note.txt").read_bytes() == "zażółć".encode()


def test_an_interrupt_leaves_no_temporary_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, NEW)
    assert files(path.parent) == ["books.json"]


@pytest.mark.parametrize("how", HOW)
def test_whichever_call_fails_the_file_is_the_old_or_the_new_one(path: Path, how: How) -> None:
    for fault in each_nth(how):
        path.write_bytes(OLD)
        with fault:
            replace_file(path, NEW)
        assert path.read_bytes() in ((OLD, NEW) if fault.failed else (NEW,))
        strays = remove_strays(path.parent)
        assert not strays or how != "error"
        assert files(path.parent) == ["books.json"]


def test_a_folder_is_synced_and_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handles: list[int] = []
    monkeypatch.setattr(os, "fsync", handles.append)
    sync_folder(tmp_path)
    assert len(handles) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handles[0])


# --- AppendedFile ---------------------------------------------------------------------------------------------------


def test_each_piece_is_on_disk_when_append_returns_and_the_name_of_a_new_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    file = AppendedFile(tmp_path / "new")
    assert disk.steps == ["folder"]
    for piece in (b"one\n", b"and two\n"):
        file.append(piece)
    assert disk.steps == ["folder", "file", "file"]
    assert disk.synced_bytes == [4, 12]
    file.close()
    assert (tmp_path / "new").read_bytes() == b"one\nand two\n"


def test_what_stood_there_stays_before_what_is_appended(path: Path) -> None:
    file = AppendedFile(path)
    file.append(NEW)
    file.close()
    assert path.read_bytes() == OLD + NEW


@pytest.mark.parametrize("how", HOW)
def test_whichever_call_fails_a_file_ends_with_a_whole_piece_or_a_torn_one_that_the_next_append_cuts_off(
    path: Path, how: How
) -> None:
    for fault in each_nth(how):
        path.write_bytes(OLD)
        file = AppendedFile(path)
        with fault:
            file.append(NEW)
        content = path.read_bytes()
        assert content.startswith(OLD)
        assert (OLD + NEW).startswith(content)
        if fault.failed:
            file.append(NEW)  # the same again, as its caller does
        file.append(b"last\n")
        file.close()
        assert path.read_bytes() == OLD + NEW + b"last\n"


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_piece_that_was_interrupted_is_cut_off_when_the_file_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    call = getattr(os, step)

    def halfway(handle: int, *data: bytes) -> None:
        call(handle, *(bytes(piece)[:5] for piece in data))
        raise KeyboardInterrupt

    file = AppendedFile(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, halfway)
        with pytest.raises(KeyboardInterrupt):
            file.append(NEW)
    assert path.read_bytes() != OLD
    file.close()
    assert path.read_bytes() == OLD


def test_a_disk_that_takes_a_piece_in_parts_gets_all_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:3]))
    file = AppendedFile(path)
    file.append(NEW)
    file.close()
    assert path.read_bytes() == OLD + NEW


# --- to_json --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_other_parsers_refuse_are_refused_at_any_depth(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"trades": [{"price": value}]})


def test_json_comes_back_as_it_was_on_one_line_or_indented() -> None:
    value = {"text": "a\nb — é", "numbers": [1, 0.1, 1e-300, -0.0, 2**60], "none": None, "yes": True}
    assert json.loads(to_json(value)) == value
    assert "\n" not in to_json(value)
    assert " " not in to_json({"a": [1, 2], "b": 3})
    assert json.loads(to_json(value, indent=1)) == value
    assert to_json(value, indent=1).count("\n") > 5


# --- move_aside -----------------------------------------------------------------------------------------------------


def test_a_file_moved_aside_has_a_dated_name_and_its_content(path: Path) -> None:
    aside = move_aside(path, "damaged", "20260302_200000")
    assert aside == path.with_name("books.json.damaged-20260302_200000")
    assert aside.read_bytes() == OLD
    assert not path.exists()


def test_moving_aside_never_overwrites_what_was_moved_before(path: Path) -> None:
    contents = [b"first", b"second", b"third"]
    moved = []
    for content in contents:
        path.write_bytes(content)
        moved.append(move_aside(path, "damaged", "20260302_200000"))
    assert len(set(moved)) == 3
    assert [aside.read_bytes() for aside in moved] == contents


def test_a_move_aside_is_brought_to_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    move_aside(path, "damaged", "20260302_200000")
    assert disk.steps == ["rename", "folder"]


# --- remove_strays --------------------------------------------------------------------------------------------------


def test_only_temporary_files_of_writers_are_strays(path: Path) -> None:
    for name in (".books.json.0a1b2c3d.tmp", ".other.0a1b2c3d.tmp", "notes.tmp", ".hidden"):
        path.with_name(name).write_text("x")
    assert sorted(stray.name for stray in remove_strays(path.parent)) == [
        ".books.json.0a1b2c3d.tmp",
        ".other.0a1b2c3d.tmp",
    ]
    assert files(path.parent) == [".hidden", "books.json", "notes.tmp"]
    assert remove_strays(path.parent / "nowhere") == []

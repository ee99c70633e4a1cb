"""The key of this machine, what it signs, and files that are read with care."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learning.signing import KEY_FILE, KeyRefused, Untrusted, is_signed, read_plain, signature, signing_key

ROOT = Path(__file__).resolve().parents[1]
KEY = bytes(range(32))
CARD: dict[str, Any] = {"stamp": "20260302_200003", "sha256": {"b": "2", "a": "1"}, "auc": 0.1 + 0.2, "words": "é"}


# --- the key --------------------------------------------------------------------------------------------------------


def test_a_key_is_made_at_first_use_for_its_owner_alone_and_stays(tmp_path: Path) -> None:
    folder, before = tmp_path / "deep" / "state", os.umask(0)
    try:
        key = signing_key(folder)
    finally:
        os.umask(before)
    assert len(key) == 32
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert signing_key(folder) == key == (folder / KEY_FILE).read_bytes()
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]
    assert signing_key(tmp_path / "another") != key


def test_of_two_processes_that_make_the_key_at_once_both_use_the_one_that_was_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = secrets.token_bytes(32)

    def overtaken(count: int) -> bytes:
        (tmp_path / KEY_FILE).touch(0o600)
        (tmp_path / KEY_FILE).write_bytes(faster)
        return bytes(count)

    monkeypatch.setattr("learning.signing.secrets.token_bytes", overtaken)
    assert signing_key(tmp_path) == faster
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_real_processes_at_once_end_with_one_key(tmp_path: Path) -> None:
    program = "import sys, pathlib\nfrom learning.signing import signing_key\nsys.stdin.read()\n"
    program += "print(signing_key(pathlib.Path(sys.argv[1])).hex())"
    command = [sys.executable, "-c", program, str(tmp_path / "state")]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) for _ in range(6)]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    keys = set()
    for process in started:
        assert process.stdout is not None
        keys.add(process.stdout.read())
        assert process.wait() == 0
    assert keys == {signing_key(tmp_path / "state").hex() + "\n"}


def as_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def sparse(path: Path) -> None:
    os.truncate(path, 10**12)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.chmod(0o644), r"is open to others than you \(mode 0644\).*Run: chmod 600 "),
        (lambda path: path.chmod(0o620), r"is open to others than you \(mode 0620\).*Run: chmod 600 "),
        (lambda path: path.write_bytes(bytes(31)), "has 31 bytes and a key 32.*Move it away"),
        (lambda path: path.write_bytes(b""), "has 0 bytes and a key 32.*Move it away"),
        (as_link, "is a link, not a plain file.*move it away"),
        (as_folder, "is a folder, not a plain file.*move it away"),
        (as_pipe, "is a pipe, not a plain file.*move it away"),
        (sparse, "is too large.*move it away"),
    ],
)
def test_a_key_that_cannot_be_trusted_is_refused_in_one_line_with_the_cure(
    tmp_path: Path, harm: Callable[[Path], object], words: str
) -> None:
    signing_key(tmp_path)
    harm(tmp_path / KEY_FILE)
    with pytest.raises(KeyRefused, match=words) as caught:
        signing_key(tmp_path)
    assert str(tmp_path / KEY_FILE) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_state_folder_that_cannot_be_made_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyRefused, match=r"cannot take the key .* set STATE_DIR to another folder"):
        signing_key(tmp_path / "file" / "state")


# --- the signature --------------------------------------------------------------------------------------------------


def test_the_signature_is_the_hmac_of_rfc_2104_over_sorted_json() -> None:
    text = b'{"auc":0.30000000000000004,"sha256":{"a":"1","b":"2"},"stamp":"20260302_200003","words":"\\u00e9"}'
    inner, outer = (bytes(byte ^ pad for byte in KEY.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    by_hand = hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).hexdigest()
    assert signature(CARD, KEY) == by_hand


def test_a_signed_card_is_known_again_from_its_file_in_any_order(tmp_path: Path) -> None:
    signed = CARD | {"signature": signature(CARD, KEY)}
    (tmp_path / "card").write_text(json.dumps(dict(reversed(signed.items())), indent=3))
    assert is_signed(json.loads((tmp_path / "card").read_text()), KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"stamp": "20260302_200004"},
        {"sha256": {"a": "1", "b": "3"}},
        {"auc": 0.3},
        {"more": None},
        {"signature": None},
        {"signature": ""},
        {"signature": 5},
        {"signature": ["é"]},
        {"signature": "\ud800"},
        {"signature": "é" * 64},
    ],
)
def test_a_card_changed_in_any_field_is_not_signed(changes: dict[str, Any]) -> None:
    signed = CARD | {"signature": signature(CARD, KEY)}
    assert is_signed(signed, KEY)
    assert not is_signed(signed | changes, KEY)


def test_a_card_is_signed_by_its_own_key_only() -> None:
    signed = CARD | {"signature": signature(CARD, KEY)}
    assert not any(is_signed(signed, key) for key in (KEY[::-1], b"", KEY[:31]))
    assert not is_signed(CARD, KEY)


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_plain_file_is_read_whole_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_plain(path, 5) == b"12345"
    with pytest.raises(Untrusted, match=r"file is too large \(5 bytes, allowed are 4\)"):
        read_plain(path, 4)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (as_link, "is a link"),
        (as_folder, "is a folder"),
        (as_pipe, "is a pipe"),  # opening one for reading would wait for a writer, for ever
        (sparse, r"is too large \(1,000,000,000,000 bytes"),
    ],
)
def test_what_is_no_plain_file_is_refused_by_name(tmp_path: Path, harm: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    harm(path)
    with pytest.raises(Untrusted, match=f"{path} {words}"):
        read_plain(path, 100)


def test_a_device_is_refused_and_not_read() -> None:
    with pytest.raises(Untrusted, match="/dev/zero is a device, not a plain file"):
        read_plain(Path("/dev/zero"), 100)


def test_a_file_that_becomes_something_else_before_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    before = os.lstat(path)
    for harm, words in ((as_link, "cannot be read"), (as_folder, "is a folder"), (as_pipe, "is a pipe")):
        harm(path)
        monkeypatch.setattr("learning.signing.os.lstat", lambda path: before)
        with pytest.raises(Untrusted, match=words):
            read_plain(path, 100)
        monkeypatch.undo()
        path.rmdir() if path.is_dir() else path.unlink()
        path.write_bytes(b"12345")

"""The .env file: a plain one is read, every other one is refused in one line that shows no value."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from env_file import BadEnvFile, read_env_file

KEY = "PKCANARY123456789012"


def written(folder: Path, content: bytes | str, mode: int = 0o600) -> Path:
    path = folder / ".env"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def refusal(path: Path) -> str:
    """The message of the refusal: one line that names the file and shows no value."""
    with pytest.raises(BadEnvFile) as caught:
        read_env_file(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(str(path))
    assert KEY not in message
    return message


def test_names_and_values_are_read_as_text(tmp_path: Path) -> None:
    content = "# mine\n\nexport A=1 # one\nB_C='two words'\nD=\"${A}\"\n  E = 5\t\nEMPTY=\n"
    assert read_env_file(written(tmp_path, content)) == {
        "A": "1", "B_C": "two words", "D": "${A}", "E": "5", "EMPTY": "",
    }  # fmt: skip


def test_the_line_ends_and_the_byte_order_mark_of_other_editors_do_no_harm(tmp_path: Path) -> None:
    assert read_env_file(written(tmp_path, "\ufeffA=1\r\nB=2\r\n")) == {"A": "1", "B": "2"}


def test_no_file_is_no_settings(tmp_path: Path) -> None:
    assert read_env_file(tmp_path / ".env") == {}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601, 0o666, 0o777])
def test_a_file_open_to_others_is_refused_before_it_is_read(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, b"\xff" + f"ALPACA_API_KEY={KEY}".encode(), mode)  # reading it would complain of \xff
    message = refusal(path)
    assert f"(mode {mode:o})" in message
    assert message.endswith(f"Run: chmod 600 {path}")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert read_env_file(written(tmp_path, "A=1\n", mode)) == {"A": "1"}


def test_the_cure_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "my files"
    folder.mkdir()
    path = written(folder, "A=1\n", 0o644)
    assert refusal(path).endswith(f"Run: chmod 600 '{path}'")


def test_a_link_is_judged_by_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / ".env"
    link.symlink_to(written(tmp_path / "real", "A=1\n", 0o644))
    assert "mode 644" in refusal(link)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"A=1\nB=2\nA=3\n", "line 3: A stands on line 1 already; keep one of them"),
        (b"A=1\nB=\0\n", r"line 2: a control character ('\x00')"),
        (b"A=1\n\nB=\x1b[31m\n", r"line 3: a control character ('\x1b')"),
        (b"A=\x7f\n", r"line 1: a control character ('\x7f')"),
        ("A=1 # Schw\xe4che".encode("latin-1"), "not UTF-8 text at byte 10; save it as UTF-8"),
        ("A=1\n".encode("utf-16"), "not UTF-8 text at byte 0; save it as UTF-8"),
        (f'A=1\nB="{KEY}\n'.encode(), "line 2: not of the form NAME=value (or an open quote); mend the line"),
        (f'A="{KEY}\nB="2"\nC=3\n'.encode(), "line 1: not of the form"),
        (f'A="{KEY}\nB=2"\n'.encode(), "line 1: not of the form"),
        (f"# keys\n{KEY}\n".encode(), "line 2: not of the form"),
        (f"{KEY}=\n".encode(), "line 1: not of the form"),
        (f"{KEY}+/==\n".encode(), "line 1: not of the form"),
        (f"A: {KEY}\n".encode(), "line 1: not of the form"),
        (f"={KEY}\n".encode(), "line 1: not of the form"),
    ],
)
def test_what_cannot_be_read_names_line_and_cure_and_no_value(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(written(tmp_path, content))


def test_a_folder_a_pipe_and_a_device_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "folder", tmp_path / "pipe", Path("/dev/zero")):
        assert "is a folder, a pipe or a device; put a file there" in refusal(path)


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(tmp_path / ".env")
    assert "cannot be read (" in refusal(tmp_path / ".env")


def test_a_huge_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = written(tmp_path, "A=1\n")
    os.truncate(path, 1_000_000_000)
    assert "has 1,000,000,000 bytes" in refusal(path)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b'A="\\')
@example("A=\u2028B\n".encode())
def test_whatever_the_file_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = written(tmp_path_factory.getbasetemp(), content)
    with contextlib.suppress(BadEnvFile):
        assert all(isinstance(value, str) for value in read_env_file(path).values())

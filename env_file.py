"""The `.env` file, read once and strictly: what a typing error, another editor or another user may have done to it is
said, never guessed at. On the ground floor: imports no other file of the house. No message shows a value.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import stat
from pathlib import Path

from dotenv.parser import parse_stream

_MAX_BYTES = 65_536
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z_]+")  # without digits, so that a key on the wrong side of "=" is never shown as a name


class BadEnvFile(ValueError):
    """A file that cannot be used as it is; the message names it, the line and the cure, in one line."""


def read_env_file(path: Path) -> dict[str, str]:
    """Names and values, as text; none where there is no such file. Raises BadEnvFile.

    The open file is judged, before anything is read from it: what is looked at is then what is read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe does not make us wait
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadEnvFile(f"{path} cannot be read ({error.strerror}); mend it or remove it") from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise BadEnvFile(f"{path} is a folder, a pipe or a device; put a file there, or nothing")
        if found.st_mode & 0o077:
            raise BadEnvFile(
                f"{path} is open to other users of this machine (mode {stat.S_IMODE(found.st_mode):03o}), so nothing "
                f"was read from it. Run: chmod 600 {shlex.quote(str(path))}"
            )
        if found.st_size > _MAX_BYTES:
            raise BadEnvFile(f"{path} has {found.st_size:,} bytes, more than settings need; is it another file?")
        content = os.read(handle, _MAX_BYTES)
    finally:
        os.close(handle)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadEnvFile(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error
    return _parse(text, path)


def _parse(text: str, path: Path) -> dict[str, str]:
    if (control := _CONTROL.search(text)) is not None:
        line = text.count("\n", 0, control.start()) + 1
        raise BadEnvFile(f"{path}, line {line}: a control character ({control[0]!r}); write the line again")
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(text)):
        name, value, line = binding.key, binding.value, binding.original.line
        if name is None and not binding.error:  # a comment, or nothing
            continue
        if name is None or value is None or "\n" in value or not _NAME.fullmatch(name):
            raise BadEnvFile(f"{path}, line {line}: not of the form NAME=value (or an open quote); mend the line")
        if name in values:
            raise BadEnvFile(f"{path}, line {line}: {name} stands on line {lines[name]} already; keep one of them")
        values[name], lines[name] = value, line
    return values

"""What this machine vouches for: files read once and with care, and cards signed with a key that nobody else has.

A pickle runs what it contains, so that a model file is code. Each card holds the SHA-256 of its model's files, and its
own HMAC-SHA256 (RFC 2104) under a key of this user and machine covers card and files alike.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from durable import sync_folder

KEY_FILE = "models.key"  # in the user's state folder, outside of the one that holds the models
KEY_BYTES = 32


class Untrusted(ValueError):
    """A file that must not be used: which one, and why."""


class KeyRefused(RuntimeError):
    """The key cannot be used or made; the message ends with the cure."""


def read_plain(path: Path, max_bytes: int, *, private: bool = False) -> bytes:
    """The content of a plain file, read once. Raises Untrusted for anything else; never waits for a writer.

    `private`: nobody but its owner may be able to read or change it.
    """
    try:
        _check_plain(path, os.lstat(path))  # before opening, which could itself act on a device
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(handle)
            _check_plain(path, status)
            if private and status.st_mode & 0o077:
                raise Untrusted(f"{path} is open to others than you (mode {stat.S_IMODE(status.st_mode):04o})")
            if status.st_size > max_bytes:
                raise Untrusted(f"{path} is too large ({status.st_size:,} bytes, allowed are {max_bytes:,})")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(max_bytes)
        finally:
            os.close(handle)
    except FileNotFoundError as error:
        raise Untrusted(f"{path} is missing") from error
    except OSError as error:
        raise Untrusted(f"{path} cannot be read ({error.strerror})") from error


def _check_plain(path: Path, status: os.stat_result) -> None:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise Untrusted(f"{path} is {kinds.get(kind, 'a device')}, not a plain file")


def signing_key(folder: Path) -> bytes:
    """The key kept in `folder`, made at first use. Raises KeyRefused."""
    path = folder / KEY_FILE
    if not os.path.lexists(path):
        try:
            _make_key(folder)
        except OSError as error:
            cure = "make it writable, or set STATE_DIR to another folder"
            raise KeyRefused(f"{folder} cannot take the key that signs models ({error.strerror}): {cure}") from error
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    try:
        key = read_plain(path, 100 * KEY_BYTES, private=True)
    except Untrusted as error:
        raise KeyRefused(
            f"{error}, so that it signs no models. Run: chmod 600 {path}, if that is all and the key is yours; "
            f"else move it away, and each model needs a training, or: python ml_trainer.py --vouch STAMP"
        ) from error
    if len(key) != KEY_BYTES:
        raise KeyRefused(
            f"{path} has {len(key)} bytes and a key {KEY_BYTES}, so that it signs no models. Move it away; each model "
            "then needs a training, or: python ml_trainer.py --vouch STAMP"
        )
    return key


def _make_key(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / f".{KEY_FILE}.{secrets.token_hex(4)}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.write(handle, secrets.token_bytes(KEY_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        os.link(temporary, folder / KEY_FILE)  # unlike a rename it never replaces the key of a faster process
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)


def signature(card: Mapping[str, Any], key: bytes) -> str:
    """HMAC-SHA256, hexadecimal, of the card's canonical JSON without its field `signature`."""
    rest = {name: value for name, value in card.items() if name != "signature"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.digest(key, canonical.encode(), "sha256").hex()


def is_signed(card: Mapping[str, Any], key: bytes) -> bool:
    """Whether the card, as it was read from its file, is one that was signed with `key`."""
    return hmac.compare_digest(str(card.get("signature")).encode(errors="replace"), signature(card, key).encode())

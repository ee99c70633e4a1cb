"""Signs of life of a trader that runs by itself: for systemd's watchdog, and in a file for whoever asks.

    python sign_of_life.py      is the trader alive? Exit code 0 if its last sign is 15 minutes old at most, else 1

It answers in a tenth of a second, from data/alive alone, so that a container may ask every minute.
"""

from __future__ import annotations

import argparse
import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from config import BadSetting, load_settings
from durable import replace_file, to_json

log = logging.getLogger(__name__)

# A sign is given every minute. The longest silence that is in order is the evening's: fetching the day and building the
# data set takes a minute or two, and several when a month has to be fetched from an Alpaca that answers slowly.
LIMIT_SECONDS = 15 * 60.0
AGAIN_SECONDS = 30.0


class SignOfLife:
    """Tells, minute by minute, that the trading loop goes round; what cannot be told is logged once and stops nothing.

    Args: `path`, the file for the health check; `environment`, in which systemd names its socket NOTIFY_SOCKET;
    `monotonic` (seconds), a clock that nobody sets and that stands still while the machine sleeps.
    """

    def __init__(
        self, path: Path, environment: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._monotonic = path, monotonic
        self._socket = environment.get("NOTIFY_SOCKET")
        self._ready = False  # whether systemd has heard READY
        self._last: tuple[str, float] | None = None  # the words that were told, and when
        self._sign = ""  # as the file has it
        self._failing: set[str] = set()

    def give(self, now: datetime, words: str) -> None:
        """One sign in the minute `now`; `words` are what `systemctl status` shows. Who waits in a loop may give the
        same sign again and again: it is told twice a minute at most."""
        at, words = self._monotonic(), " ".join(words.encode(errors="replace").decode().split())
        if self._last is not None and self._last[0] == words and at - self._last[1] < AGAIN_SECONDS:
            return
        self._last = words, at
        minute = now.isoformat(timespec="minutes")
        self._sign = to_json({"minute": minute, "monotonic_seconds": round(at, 1), "words": words}) + "\n"
        self._try(str(self._path), lambda: replace_file(self._path, self._sign))
        ready = "" if self._ready else "READY=1\n"
        self._ready |= self._notify(f"{ready}WATCHDOG=1\nSTATUS={words}")

    def end(self) -> None:
        """The trader ends in order; from now on it is not alive. Another one's sign is left where it is."""
        self._notify("STOPPING=1")
        self._try(str(self._path), self._take_back)

    def _take_back(self) -> None:
        if self._path.exists() and self._path.read_text() == self._sign:
            self._path.unlink()

    def _notify(self, state: str) -> bool:
        """Whether systemd took `state`: lines of NAME=value in one datagram (sd_notify(3))."""
        return self._socket is not None and self._try("systemd", lambda: _send(str(self._socket), state))

    def _try(self, what: str, tell: Callable[[], object]) -> bool:
        try:
            tell()
        except OSError as error:
            if what not in self._failing:
                log.warning("no sign of life reaches %s (%s); trading goes on", what, error)
            self._failing.add(what)
            return False
        return True


def _send(address: str, state: str) -> None:
    """An address that begins with @ is an abstract one, outside of the file system."""
    address = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)  # a queue that is full must not hold a trading minute up
        channel.sendto(state.encode(), address)


def judge(path: Path, now: float) -> tuple[bool, str]:
    """Whether the trader that gives its signs in `path` is alive at `now`, and that in words.

    `now` is in seconds of this machine's monotonic clock; a sign given before it was started lies ahead.
    """
    try:
        sign = json.loads(path.read_text())
        age, told = now - sign["monotonic_seconds"], f"{sign['minute']}: {sign['words']}"
    except FileNotFoundError:
        return False, f"no sign of life in {path}: no trader runs, or it is still starting"
    except (OSError, ValueError, LookupError, TypeError) as error:
        return False, f"no sign of life in {path}: it cannot be read ({error})"
    if not 0 <= age <= LIMIT_SECONDS:
        return False, f"no sign of life for more than {LIMIT_SECONDS / 60:.0f} minutes; the last one was of {told}"
    return True, f"alive; {told}"


def main(argv: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(
        "sign_of_life.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    try:
        alive, words = judge(load_settings().DATA_DIR / "alive", time.monotonic())
    except BadSetting as error:
        alive, words = False, str(error)
    print(f"sign_of_life: {words}", file=sys.stdout if alive else sys.stderr)
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())

"""The tests' handle on the Alpaca stand-in: a process of its own, ended with the test.

with StandIn.start(tmp_path, bars=file, now="2026-03-02T14:30:00Z") as standin:
    client = TradingClient(standin.KEY, standin.SECRET, url_override=standin.api)
    standin.advance(60)
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent / "alpaca_standin"
START_SECONDS = 60


class StandInFailed(RuntimeError):
    """The stand-in did not start, died, or refused what control asked; the message carries its own words."""


class StandIn:
    """One running stand-in; `api` and `control` are its two addresses."""

    KEY = "PKSTANDIN000000000AA"
    SECRET = "standinsecret00000000000000000000000000a"  # noqa: S105

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._folder, self._arguments = folder, arguments
        self._launch()

    @classmethod
    def start(cls, folder: Path, bars: Path | None = None, **options: Any) -> StandIn:
        """Start a stand-in that keeps its state in `folder`.

        `options` are the process's: now, clone, key, secret, port, control_port, state (a file name).
        """
        folder.mkdir(parents=True, exist_ok=True)
        arguments = ["--state", str(folder / options.pop("state", "alpaca.sqlite"))]
        arguments += [] if bars is None else ["--bars", str(bars)]
        for name, value in {"key": cls.KEY, "secret": cls.SECRET, **options}.items():
            text = value.isoformat() if isinstance(value, datetime) else str(value)
            arguments += [f"--{name.replace('_', '-')}", text]
        return cls(folder, arguments)

    @classmethod
    def of(cls, api: str, control: str) -> StandIn:
        """A handle on a stand-in that another process has started, and will end."""
        handle = cls.__new__(cls)
        handle.api, handle.control = api, control
        return handle

    def _launch(self) -> None:
        self._stderr = (self._folder / "standin.err").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(PACKAGE), "--with-parent", *self._arguments],
            stdin=subprocess.PIPE,  # closed by the system if the tests are killed, and the stand-in ends too
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(START_SECONDS)
            raise StandInFailed(f"the stand-in did not start\n{self.stderr}")
        addresses = json.loads(line)
        self.api: str = addresses["api"]
        self.control: str = addresses["control"]

    @property
    def stderr(self) -> str:
        """What the process wrote there so far."""
        return (self._folder / "standin.err").read_text(errors="replace")

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        died = self._process.poll()
        self.kill()
        words = self.stderr
        if died is not None and died != -9:
            raise StandInFailed(f"the stand-in died with {died}\n{words}")
        if "Traceback" in words:
            raise StandInFailed(f"the stand-in stumbled\n{words}")

    def kill(self) -> None:
        """SIGKILL, as a machine that loses its process would."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()

    def restart(self) -> None:
        """End the process if it still runs, and go on with the same state on the same ports."""
        if self._process.poll() is None:
            self.kill()
        ports = {"--port": self.api.rpartition(":")[2], "--control-port": self.control.rpartition(":")[2]}
        for name, port in ports.items():
            if name not in self._arguments:
                self._arguments += [name, port]
        self._launch()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise StandInFailed(f"{method} {path}: {error.read().decode()}\n{self.stderr}") from error
        except OSError as error:
            raise StandInFailed(f"{method} {path}: {error}\n{self.stderr}") from error

    def reset(self, now: datetime | str | None = None) -> None:
        """A new account, default settings, no faults, an empty log; without the cost of a new process."""
        text = now.isoformat() if isinstance(now, datetime) else now
        self._ask("POST", "/reset", {} if text is None else {"now": text})

    def now(self) -> datetime:
        """The virtual time."""
        return datetime.fromisoformat(self._ask("GET", "/clock")["now"])

    def set_clock(self, when: datetime | str) -> datetime:
        """Move the clock to `when`; everything due until then happens."""
        text = when if isinstance(when, str) else when.isoformat()
        return datetime.fromisoformat(self._ask("POST", "/clock", {"now": text})["now"])

    def advance(self, seconds: float) -> datetime:
        """Move the clock on."""
        return datetime.fromisoformat(self._ask("POST", "/clock", {"advance": seconds})["now"])

    def real_time(self, on: bool = True) -> None:
        """Let the clock run with the machine's."""
        self._ask("POST", "/clock", {"mode": "real" if on else "virtual"})

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings; all of them as they are now."""
        return self._ask("POST", "/settings", changes)

    def fault(self, name: str, **parameters: Any) -> None:
        """Let matching requests go wrong: method, path, times, after, and the fault's own parameters."""
        self._ask("POST", "/faults", {"fault": name, **parameters})

    def clear_faults(self) -> None:
        self._ask("DELETE", "/faults")

    def account(self, **fields: Any) -> None:
        """Override fields of the account's answer; `cash` sets the money itself."""
        cash = {"cash": fields.pop("cash")} if "cash" in fields else {}
        self._ask("POST", "/account", {"set": fields, **cash})

    def keys(self, key: str, secret: str) -> None:
        """Change the keys that are accepted."""
        self._ask("POST", "/keys", {"key": key, "secret": secret})

    def bars(self, **change: Any) -> None:
        """revise={...}, hide={...} or split={...}"""
        self._ask("POST", "/bars", change)

    def most_actives(self, **shape: Any) -> None:
        """extra=[...] more symbols, only=[...] just these"""
        self._ask("POST", "/most_actives", shape)

    def orders(self, **fields: Any) -> list[dict[str, Any]]:
        """Every order ever, in order of booking; those with these `fields`."""
        return [o for o in self._ask("GET", "/orders") if all(o[name] == value for name, value in fields.items())]

    def positions(self) -> dict[str, dict[str, Any]]:
        """The positions as they are at once, by symbol."""
        return {position["symbol"]: position for position in self._ask("GET", "/positions")}

    def requests(self, path: str | None = None, method: str | None = None) -> list[dict[str, Any]]:
        """The log of requests to the api, those whose path begins with `path`."""
        return [
            entry
            for entry in self._ask("GET", "/requests")
            if (path is None or entry["path"].startswith(path)) and method in (None, entry["method"])
        ]

    def stopped_shares(self, symbol: str) -> int:
        """Shares that living stops would sell; a leg whose entry has not filled wholly protects nothing yet."""
        ended = ("filled", "canceled", "expired", "rejected", "replaced")
        parents = {order["id"]: order["status"] for order in self.orders(side="buy")}
        living = [o for o in self.orders(symbol=symbol, side="sell") if o["status"] not in ended]
        return sum(
            int(o["qty"]) - int(o["filled_qty"])
            for o in living
            if o["type"] in ("stop", "stop_limit") and parents.get(o["parent_id"], "filled") == "filled"
        )

    def clear_requests(self) -> None:
        self._ask("DELETE", "/requests")

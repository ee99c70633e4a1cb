"""Alpaca's published description and Prism, the proxy that judges by it: fetched once, kept in the environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

DESCRIPTION, PRISM = "alpaca-mcp-server==2.4.0", "@stoplight/prism-cli@5.14.2"
CACHE = Path(sys.prefix) / "contract"
SPECS = CACHE / "alpaca_mcp_server" / "specs"
START_SECONDS = 60
# Killed tests close the pipe, and the proxy leaves too.
LEAVE_WITH_PARENT = "data:text/javascript,process.stdin.on('end',()=>process.exit()).resume()"


def fetch() -> None:
    """Bring both from their registries into CACHE, unless they are there whole and in these versions."""
    done = CACHE / "fetched"
    if done.exists() and done.read_text() == DESCRIPTION + PRISM:
        return
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir()
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--only-binary=:all:", "--dest", str(CACHE), DESCRIPTION], check=True)
    (wheel,) = CACHE.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(CACHE, [name for name in archive.namelist() if "/specs/" in name])
    npm = ["npm", "install", "--loglevel=error", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(CACHE)]
    subprocess.run([*npm, PRISM], check=True)
    done.write_text(DESCRIPTION + PRISM)


class Proxy:
    """A Prism process in front of `upstream` that lets through what `description` allows; ended by `stop`."""

    def __init__(self, description: Path, upstream: str) -> None:
        self._said = description.with_suffix(".log")
        program = CACHE / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
        options = ["--errors", "--multiprocess", "false", "--host", "127.0.0.1", "--port", "0"]
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                ["node", "--import", LEAVE_WITH_PARENT, program, "proxy", *options, description, upstream],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def url(self) -> str:
        """Its address, once it listens."""
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if found := re.search(r"listening on (http://[\d.:]+)", self._said.read_text(errors="replace")):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"Prism did not start\n{self._said.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

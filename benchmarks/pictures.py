"""The README's pictures, made from a real run on the simulated market: docs/terminal.svg and docs/page.png.

python -m benchmarks.pictures      about two minutes; the page needs Chromium
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console

import report
from benchmarks.run import ROOT
from build_dataset import store_bars
from config import Settings, load_settings
from desk.orders import Execution, PriceBar
from desk.paper_broker import PaperBroker
from display.screen import draw
from display.view import View
from durable import replace_file
from market.hours import at_new_york, epoch_minute
from replay import run_replay
from sources import claim, open_market, traded_sessions
from viewing import view_on_disk

WIDTH, HEIGHT = 80, 30  # columns and rows of the terminal
VIEWPORT = {"width": 1000, "height": 1620}  # pixels of the page
STOPPED = "11:40"  # of the second session: the middle of a working day


class Until(PaperBroker):
    """The paper account until a minute comes; then the run ends as by Ctrl-C."""

    last_minute = 0

    def settle(self, now_minute: int, bars: Iterable[PriceBar]) -> list[Execution]:
        if now_minute > self.last_minute:
            raise KeyboardInterrupt
        return super().settle(now_minute, bars)


def terminal(settings: Settings, path: Path) -> None:
    """The live screen as it stood in the middle of a session."""
    feed = open_market(settings)
    sessions = traded_sessions(feed, None)
    claim(settings, "simulated", now=sessions[0].open, new_run=True)
    broker = Until(
        settings.MODELS_DIR / "paper_account.json",
        settings.PAPER_CASH,
        settings.ROUND_TRIP_COST_PCT,
        save_each_change=False,
    )
    broker.last_minute = epoch_minute(at_new_york(sessions[1].day, STOPPED))
    console = Console(record=True, file=io.StringIO(), width=200)
    try:
        run_replay(settings, feed, sessions, console, broker=broker)
    except KeyboardInterrupt:
        view = replace(view_on_disk(settings, sessions[0].open), running=True)  # as it was a moment ago
    said = [line.strip() for line in console.export_text().splitlines() if line.strip()]
    _write_svg(view, said, path)


def _write_svg(view: View, said: list[str], path: Path) -> None:
    console = Console(
        width=WIDTH, height=HEIGHT, record=True, file=io.StringIO(), force_terminal=True, color_system="standard",
        highlight=False,
    )  # fmt: skip
    console.print(draw(view, view.at, WIDTH, HEIGHT, said))
    svg = console.export_svg(title="python live_trader.py", unique_id="screen")
    # Without the web fonts that a viewer would fetch.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    replace_file(path, svg)


def page(settings: Settings, path: Path) -> None:
    """The top of the page after the whole run."""
    feed = open_market(settings)
    sessions = traded_sessions(feed, None)
    claim(settings, "simulated", now=sessions[0].open, new_run=True)
    run_replay(settings, feed, sessions, Console(file=io.StringIO()))
    store_bars(feed, settings, feed.end, Console(file=io.StringIO()))
    html = report.write_page(settings, settings.DATA_DIR / report.PAGE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        tab = browser.new_page(viewport=VIEWPORT)
        tab.goto(html.as_uri())
        tab.screenshot(path=path)
        browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = replace(
            load_settings({"MARKET": "simulated"}, {}, folder / "no.env"),
            MODELS_DIR=folder / "models", DATA_DIR=folder / "data", STATE_DIR=folder / "state",
        )  # fmt: skip
        (ROOT / "docs").mkdir(exist_ok=True)
        terminal(settings, ROOT / "docs" / "terminal.svg")
        page(settings, ROOT / "docs" / "page.png")


if __name__ == "__main__":
    main()

"""The page of 31 sessions and more than 500 trades: seconds to write it, its size, and when a browser is ready.

python -m benchmarks.page      about half a minute; the browser part needs Chromium
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

import report
from benchmarks.run import ROOT
from market.feeds import simulated_feed

sys.path.insert(0, str(ROOT / "tests"))
from reporting import CARD, BooksOnDisk
from trading import publish_eager_model, settings_in, trade

SESSIONS = 31


def run(folder: Path) -> tuple[Path, float]:
    """A page of so many trades, and the seconds that it took to write."""
    feed = simulated_feed(60, 19, 1.0)
    sessions = feed.sessions()[-SESSIONS:]
    settings = settings_in(folder, MAX_HOLDING_MINUTES=90, MAX_ENTRIES_PER_SYMBOL=20, MIN_CONFIDENCE=0.7)
    history = feed.table[feed.table["timestamp"] < sessions[0].open].reset_index(drop=True)
    publish_eager_model(settings, history)
    trade(settings, feed.table, sessions)
    BooksOnDisk(settings).serve(CARD)  # one that is complete
    held = len(report.trades(settings))
    print(f"{len(sessions)} sessions, {held} trades, {len(report.signals(settings)):,} signals")
    began = time.perf_counter()
    page = report.write_page(settings, folder / "report.html", feed.table)
    return page, time.perf_counter() - began


def ready_in(page: Path) -> float | None:
    """Milliseconds until a browser has loaded the page and its script has run; None without one."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        times = []
        for _ in range(5):
            tab = browser.new_page()
            tab.goto(page.as_uri())
            times.append(tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            tab.close()
        browser.close()
    return sorted(times)[2]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        page, seconds = run(Path(name))
        ready = ready_in(page)
        print(f"written in {seconds:.2f} s, {page.stat().st_size / 1e6:.2f} MB")
        print("no Chromium here" if ready is None else f"ready in a browser after {ready / 1000:.2f} s (median of 5)")


if __name__ == "__main__":
    main()

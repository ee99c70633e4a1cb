"""What was earned, and why: the books as a terminal summary and one HTML page.

python report.py                     summary on the terminal, page in data/report.html
python report.py --out report.html   the page somewhere else
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from config import Settings
from trader import LiveTrader


def show(settings: Settings, console: Console) -> None:
    console.print(LiveTrader(settings).get_performance_summary())


def write_page(settings: Settings, path: Path) -> Path:
    path.write_text("todo")
    return path

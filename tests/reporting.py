"""What tests of the report need: books, cards and reviews on disk, and a page as a browser makes of it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from io import StringIO
from typing import Any

from rich.console import Console

import report
from config import Settings
from desk.journal import Journal

Events = list[dict[str, Any]]
HOSTILE = """<script>alert("1")</script>&'[bold]"""
EARLIER_CARD = {  # as versions before the reviews wrote it
    "published": True,
    "versions": {},
    "sha256": {},
    "stamp": "20260227_200000",
    "model_type": "random_forest",
    "symbols": ["AAPL"],
    "train_start": "2026-01-29T14:30:00+00:00",
    "train_end": "2026-02-27T21:00:00+00:00",
    "rows": 93_637,
    "independent_rows": 426,
    "features": ["rsi_14", "atr_14", "bar_range"],
    "proven": False,
    "reason": "too few signals: 7",
    "scores": {
        "auc": 0.6176, "accuracy": 0.58, "precision": None, "recall": 0.1, "brier": 0.25, "ece": 0.06, "signals": 0,
        "net_return_per_signal": None,
    },
    "baseline": {"share_profitable": 0.42, "always_buy_net_return": -0.0004, "break_even_confidence": 0.43},
    "importances": [
        {"feature": "rsi_14", "permutation": 0.03, "impurity": None},
        {"feature": "atr_14", "permutation": -0.01, "impurity": None},
        {"feature": "bar_range", "permutation": None, "impurity": None},
    ],
    "calibration": {"table": [{"rows": 412, "confidence": 0.65, "profitable": 0.5801}]},
}  # fmt: skip
CARD: dict[str, Any] = EARLIER_CARD | {
    "market": "recorded",
    "feed": "recorded",
    "selection": {"chosen": "active list", "sessions": 22, "sessions_listed": 4, "by_hindsight": 0.81},
    "sessions": 20,
    "judged_sessions": 12,
    "min_confidence": 0.65,
    "max_open_positions": 10,
    "publish_reason": "there is no model in use to compare with",
    "scores": {
        "auc": 0.6176, "auc_standard_error": 0.024, "accuracy": 0.58, "precision": 0.625, "recall": 0.1,
        "brier": 0.246, "log_loss": 0.685, "ece": 0.048, "ece_perfect": 0.061, "ece_perfect_high": 0.09,
        "signals": 1260, "net_return_per_signal": 0.006,
        "highest_confidence": 0.83,
    },
    "money": {
        "trades": 7, "days": 12, "days_traded": 5, "net_return_per_trade": 0.0148, "one_bar_later_per_trade": 0.0121,
        "excess_per_trade": 0.0127, "daily": 0.012, "daily_standard_error": 0.004, "random_mean": -0.002,
        "random_low": -0.02, "random_high": 0.0165, "random_beaten": 0.97,
    },
    "baseline": {
        "share_profitable": 0.42, "always_buy_net_return": -0.0004, "hold_net_return": -0.0088,
        "break_even_confidence": 0.43,
    },
    "importances": [
        {"feature": "rsi_14", "permutation": 0.03, "standard_error": 0.004, "impurity": None},
        {"feature": "atr_14", "permutation": -0.01, "standard_error": 0.002, "impurity": None},
        {"feature": "bar_range", "permutation": None, "standard_error": None, "impurity": None},
    ],
    "calibration": {
        "kind": "sigmoid",
        "table": [
            {"rows": 412, "confidence": 0.65, "profitable": 0.5801, "low": 0.55, "high": 0.75},
            {"rows": 100, "confidence": 0.75, "profitable": 0.52, "low": 0.61, "high": 0.89},
            {"rows": 5, "confidence": 0.85, "profitable": 1.0, "low": None, "high": None},
        ],
    },
    "trials": {"count": 3, "traded": 2, "sharpe": 0.86, "standard_error": 0.23, "deflated": 0.91},
}  # fmt: skip
REVIEW: dict[str, Any] = {
    "session": "2026-03-02",
    "as_of": "2026-03-03T01:00:00+00:00",
    "model_id": "20260227_200000",
    "drift": {
        "light": "amber",
        "words": "the day's inputs differ 3.0 times as much; most: atr_14",
        "parts": {
            "features": {"light": "amber", "words": "the day's inputs differ 3.0 times as much; most: atr_14"},
            "signals": {"light": "green", "words": "0.41% of the day's predictions reach the model's threshold"},
            "calibration": {"light": None, "words": "0 settled days"},
        },
        "features": [
            {"feature": "atr_14", "psi": 1.52, "level": 0.524},
            {"feature": "rsi_14", "psi": 0.03, "level": 0.156},
        ],
    },
    "costs": [
        {
            "symbol": "AAPL", "legs": 3.2, "mean": -1e-7, "standard_error": 9e-5, "extra_cost": 0.0,
            "words": "4 fills, each 0.000% better than assumed: which may be chance",
        },
        {
            "symbol": "NVDA", "legs": 3.2, "mean": 0.003, "standard_error": 9e-5, "extra_cost": 0.0042,
            "words": "4 fills, each 0.300% worse than assumed: a round trip counts 0.42% more",
        },
    ],
    "turned_down": [
        {
            "symbol": "NVDA", "price": 180.5, "confidence": 0.71, "timestamp": "2026-03-02T11:03:00-05:00",
            "taken": False, "reason": "learnt from outcomes: confidence 0.71 becomes 0.58",
        },
    ],
    "win_rates": [
        {
            "low": 0.65, "high": 0.7, "trades": 240, "days": 30, "confidence": 0.67, "won": 0.5, "standard_error": 0.03,
            "correction": -0.042, "words": "of 240 trades on 30 days, 50% won: fewer than promised",
        },
    ],
    "followed": {
        "waiting": 4,
        "settled": 54,
        "evidence": {
            "shadow": {"holds": True, "reason": "25 shadow trades on 6 days, +0.52% each after cost: skill shown"},
            "not taken": {"holds": False, "reason": "too few to judge: 7 signals not taken on 2 days have ended"},
        },
    },
    "verification": {
        "compared": 4668, "agree": 4601, "not_predicted_live": 3, "unverified": {},
        "features": [
            {"feature": "rsi_14", "rows": 3, "median": 0.001, "largest": None},
            {"feature": "vwap_deviation", "rows": 67, "median": 0.012, "largest": 0.4},
            {"feature": "atr_14", "rows": 0, "median": None, "largest": None},
        ],
        "causes": {"revised bar": 60, "late bar": 7},
        "flips": {"revised bar": 2, "equal features": 1},
        "words": "4,668 predictions verified: 98.5% agree; 3 decisions would have flipped",
    },
    "words": ["drift amber"],
}  # fmt: skip


class Page(HTMLParser):
    """What a browser makes of a page: its tables by caption, its text, its tags."""

    VOID = frozenset({"meta", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.scripts = 0
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data
        elif self.open[-1:] == ["caption"]:
            self.tables[data] = self._rows


class BooksOnDisk:
    """A models folder with what a trader leaves there."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.belong_to("recorded")

    def write(self, *stories: Events) -> None:
        with Journal(self.settings.MODELS_DIR / "journal.jsonl", "stamp") as journal:
            for event in (event for story in stories for event in story):
                journal.append(**event)

    def belong_to(self, market: str) -> None:
        self._put("source.json", {"market": market, "feed": market})

    def serve(self, card: dict[str, Any]) -> None:
        self.train(card)
        self._put("current.json", {"stamp": card["stamp"]})

    def train(self, *cards: dict[str, Any]) -> None:
        """Leave cards that serve no one."""
        for card in cards:
            self._put(f"card_{card['stamp']}.json", card)

    def review(self, *reviews: dict[str, Any]) -> None:
        for review in reviews:
            self._put(f"reviews/{review['session']}.json", review)

    def html(self) -> str:
        return report.write_page(self.settings, self.settings.DATA_DIR / "report.html").read_text()

    def page(self) -> Page:
        return Page(self.html())

    def terminal(self, width: int = 200) -> str:
        output = StringIO()
        report.show(self.settings, Console(file=output, width=width))
        return output.getvalue()

    def _put(self, name: str, content: dict[str, Any]) -> None:
        path = self.settings.MODELS_DIR / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

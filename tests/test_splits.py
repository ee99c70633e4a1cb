"""Splits of what is held: seen whoever found them first, looked for again after an outage, and never sold as a loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from bookkeeping import BOUGHT, OPEN, STAMP, intent, local_time

from alpaca_wire import Unreachable
from desk.books import Books
from desk.brokers import Broker
from market.bars import BadBars
from market.feeds import BarFeed
from splits import Splits

ENTERED = datetime.fromtimestamp(OPEN * 60, UTC)
MORNING = ENTERED + timedelta(hours=18)


@dataclass
class FakeFeed:
    """Tells of splits that were found, and raises `trouble` while there is one."""

    found: dict[str, datetime] = field(default_factory=dict)
    trouble: Exception | None = None
    looked: int = 0

    def check_splits(self, now: datetime) -> list[str]:
        self.looked += 1
        if self.trouble is not None:
            raise self.trouble
        return []

    def found_splits(self) -> dict[str, datetime]:
        return self.found


@dataclass
class FakeBroker:
    alone: set[str] = field(default_factory=set)

    def leave_alone(self, symbols: set[str]) -> None:
        self.alone = set(symbols)


class Desk:
    """Books that hold NVDA, and the splits of it."""

    def __init__(self, feed: FakeFeed) -> None:
        self.books = Books(local_time, [{"n": 0, "kind": "journal", "started": STAMP}, intent(), BOUGHT])
        self.broker, self.said = FakeBroker(), list[str]()
        self.splits = Splits(cast(BarFeed, feed), self.books, cast(Broker, self.broker), self.record, self.said.append)

    def record(self, kind: str, **fields: Any) -> dict[str, Any]:
        event = {"kind": kind, **fields}
        self.books.apply(event)
        return event


def test_a_split_that_another_process_found_and_mended_is_left_alone_all_the_same() -> None:
    desk = Desk(FakeFeed({"NVDA": MORNING - timedelta(hours=1), "AMD": MORNING}))
    desk.splits.look(MORNING)
    assert desk.books.split == desk.broker.alone == {"NVDA"}
    assert "NVDA was split while it is held: nothing of it is sold here" in desk.said[0]


def test_a_split_before_the_purchase_is_none_of_its_business() -> None:
    desk = Desk(FakeFeed({"NVDA": ENTERED - timedelta(hours=5)}))
    desk.splits.look(MORNING)
    assert desk.books.split == desk.broker.alone == set()


@pytest.mark.parametrize("trouble", [Unreachable("no answer"), BadBars("damaged"), OSError(5, "Input/output error")])
def test_what_could_not_be_looked_for_is_said_once_and_looked_for_again(trouble: Exception) -> None:
    feed = FakeFeed({"NVDA": MORNING}, trouble)
    desk = Desk(feed)
    desk.splits.look(MORNING)
    desk.splits.look_again(MORNING)
    assert desk.said == [f"not looked for splits: {trouble}"]
    feed.trouble = None
    desk.splits.look_again(MORNING)
    assert desk.books.split == {"NVDA"}
    desk.splits.look_again(MORNING)
    assert feed.looked == 3

"""What Alpaca says of an account, when it is not what it should be. The rest is in test_alpaca_broker.py, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from alpaca_wire import Unreachable
from desk.alpaca_account import ORDERS_PAGE, AlpacaAccount

WHEN = datetime(2026, 3, 2, 15, tzinfo=UTC)


class Answers:
    """A client that gives the same answer to every question about orders."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def get_orders(self, _: object) -> Any:
        return self._answer


@pytest.mark.parametrize("answer", [None, {}, {"message": "try later"}, "orders"], ids=str)
def test_an_answer_that_is_no_list_of_orders_is_not_taken_for_none(answer: object) -> None:
    with pytest.raises(Unreachable, match="orders cannot be read"):
        AlpacaAccount(Answers(answer)).orders(WHEN)


def test_a_whole_page_of_unreadable_orders_is_not_taken_for_none() -> None:
    with pytest.raises(Unreachable, match="not one of a page"):
        AlpacaAccount(Answers([{"id": "?"}] * ORDERS_PAGE)).orders(WHEN)


def test_an_account_without_orders_has_none() -> None:
    assert AlpacaAccount(Answers([])).orders(WHEN) == []

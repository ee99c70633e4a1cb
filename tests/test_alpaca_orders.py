"""Alpaca's orders as values: reading them, prices it accepts, and what they mean for the books."""

from __future__ import annotations

from typing import Any

import pytest
from bookkeeping import view_of
from hypothesis import example, given
from hypothesis import strategies as st

from alpaca_wire import Unreachable
from desk.alpaca_orders import exits_of, placed, standing_levels, statements, stop_price, target_price, tick
from desk.alpaca_trade import AlpacaTrade
from desk.books import Books
from desk.orders import Execution
from market.hours import local_time

TRADE = "1-20260302-NVDA-buy-1"
AT = "2026-03-02T14:31:00.123456789Z"


def raw(order_id: str = "p", client_id: str = TRADE, **changes: Any) -> dict[str, Any]:
    """An order as Alpaca writes it: numbers are text."""
    order = {
        "id": order_id, "client_order_id": client_id, "symbol": "NVDA", "side": "buy", "type": "market",
        "status": "filled", "qty": "5", "filled_qty": "5", "filled_avg_price": "100.02", "limit_price": None,
        "stop_price": None, "submitted_at": AT, "created_at": AT, "updated_at": AT, "filled_at": AT,
        "canceled_at": None, "replaces": None, "replaced_by": None, "legs": None,
    }  # fmt: skip
    return {**order, **changes}


def leg(order_id: str, kind: str, status: str, filled: int = 0, **changes: Any) -> dict[str, Any]:
    price = {"limit_price": "104.03"} if kind == "limit" else {"stop_price": "98.01"}
    average = "104.03" if kind == "limit" else "97.9"
    return raw(
        order_id, f"leg-{order_id}", side="sell", type=kind, status=status, filled_qty=str(filled),
        filled_avg_price=average if filled else None, **{**price, **changes},
    )  # fmt: skip


def bracket(target: str = "new", stop: str = "held", **changes: Any) -> dict[str, Any]:
    return raw(legs=[leg("tp", "limit", target), leg("sl", "stop", stop)], **changes)


def books_after(*executions: Execution) -> Books:
    """Books in which the entry was meant, and that then heard these executions."""
    books = Books(local_time)
    books.apply(
        {
            "kind": "intent", "order_id": TRADE, "symbol": "NVDA", "qty": 5, "price": 100.0, "confidence": 0.7,
            "minute": 29541751, "stop_loss": 0.02, "take_profit": 0.04, "model_id": "m", "market": "alpaca",
        }
    )  # fmt: skip
    for execution in executions:
        books.apply({"kind": "execution", "execution": vars(execution)})
    return books


@example(4.128, 0.001, 0.001)
@example(4.123, 0.0001, 0.001)
@given(st.floats(0.02, 5000.0), st.floats(0.0001, 0.5), st.floats(0.0001, 0.5))
def test_levels_lie_on_whole_ticks_and_never_nearer_than_asked(entry: float, stop: float, target: float) -> None:
    low, high = stop_price(entry, stop), target_price(entry, target)
    assert low <= entry * (1 - stop) + 1e-9
    assert high >= entry * (1 + target) - 1e-9
    assert low <= entry - 0.0099
    assert high >= entry + 0.0099
    for price in (low, high):
        decimals = 2 if price >= 1 else 4
        assert price == pytest.approx(round(price, decimals), abs=1e-12)


def test_the_sdk_issue_of_106_11120000000001_cannot_happen() -> None:
    assert target_price(102.03, 0.04) == 106.12
    assert stop_price(102.03, 0.02) == 99.98
    assert (tick(0.99), tick(1.0)) == (0.0001, 0.01)


def test_an_order_without_an_id_or_with_a_number_that_is_none_is_no_usable_answer() -> None:
    for broken in (
        {k: v for k, v in raw().items() if k != "id"},
        raw(filled_qty="NaN"),
        raw(qty="-5"),
        raw(qty="five"),
        raw(submitted_at="yesterday", filled_at="yesterday"),
        None,
        "<html>",
    ):
        with pytest.raises(Unreachable, match="cannot be read"):
            placed(broken)


def test_an_unknown_status_counts_as_alive_and_a_new_field_is_ignored() -> None:
    assert placed(raw(status="pending_review", group_role="parent")).live
    assert not placed(raw(status="filled")).live


def test_a_filled_bracket_is_an_open_trade_with_the_levels_that_stand() -> None:
    entry = placed(bracket())
    trade = books_after(*statements(TRADE, entry, entry.legs, entry.qty)).trades[TRADE]
    assert (trade.status, trade.qty, trade.price, trade.held) == ("OPEN", 5, 100.02, 5)
    assert (trade.stop_loss, trade.take_profit) == (98.01, 104.03)


def test_part_fills_add_up_whichever_of_them_the_books_heard() -> None:
    third = placed(bracket(filled_qty="3", filled_avg_price="100.00", status="partially_filled", filled_at=None))
    whole = placed(bracket())
    heard_both = books_after(
        *statements(TRADE, third, third.legs, third.qty), *statements(TRADE, whole, whole.legs, whole.qty)
    )
    heard_last = books_after(*statements(TRADE, whole, whole.legs, whole.qty))
    for books in (heard_both, heard_last):
        trade = books.trades[TRADE]
        assert (trade.qty, trade.price, trade.status, trade.entering) == (5, 100.02, "OPEN", False)


def test_an_entry_cancelled_after_a_part_fill_stays_open_with_what_it_got() -> None:
    entry = placed(bracket("canceled", "canceled", status="canceled", filled_qty="2"))
    trade = books_after(*statements(TRADE, entry, entry.legs, entry.qty)).trades[TRADE]
    assert (trade.status, trade.qty, trade.qty_ordered, trade.entering) == ("OPEN", 2, 5, False)


def test_a_target_that_sold_two_and_a_stop_that_sold_three_close_the_trade_at_their_average() -> None:
    legs = [leg("tp", "limit", "canceled", 2), leg("sl", "stop", "filled", 3)]
    entry = placed(raw(legs=legs))
    trade = books_after(*statements(TRADE, entry, exits_of(TRADE, [entry]), entry.qty)).trades[TRADE]
    assert (trade.status, trade.exit_reason, trade.held) == ("CLOSED", "stop", 0)
    assert trade.exit_price == pytest.approx((2 * 104.03 + 3 * 97.9) / 5)
    assert trade.pnl_amount == pytest.approx(2 * 4.01 + 3 * -2.12, abs=0.001)


def test_hearing_everything_twice_changes_nothing() -> None:
    entry = placed(raw(legs=[leg("tp", "limit", "canceled"), leg("sl", "stop", "filled", 5)]))
    once = list(statements(TRADE, entry, entry.legs, entry.qty))
    assert view_of(books_after(*once)) == view_of(books_after(*once, *once))


def test_a_leg_that_was_replaced_belongs_to_its_trade_through_what_it_replaces() -> None:
    old = leg("sl", "stop", "replaced", replaced_by="sl2")
    new = leg("sl2", "stop", "held", replaces="sl", stop_price="97.50")
    entry = placed(raw(legs=[leg("tp", "limit", "new"), old]))
    exits = exits_of(TRADE, [entry, placed(new)])
    assert {o.id for o in exits} == {"tp", "sl", "sl2"}
    assert standing_levels(exits) == (97.50, 104.03)
    foreign = placed(leg("x", "stop", "new"))
    assert foreign not in exits_of(TRADE, [entry, foreign])


def test_an_answer_to_a_replacement_ends_the_order_it_replaces() -> None:
    trade = AlpacaTrade.of_entry(placed(bracket()), 98.0, 104.0)
    trade.take([placed(bracket())])
    trade.take([placed(leg("sl2", "stop", "held", replaces="sl", stop_price="97.50"))])
    assert [o.id for o in trade.live_exits] == ["tp", "sl2"]
    assert trade.stop_level == 97.50
    assert trade.uncovered == 0


def test_a_target_alone_protects_nothing() -> None:
    trade = AlpacaTrade.of_entry(placed(bracket()), 98.0, 104.0)
    trade.take([placed(raw(legs=[leg("tp", "limit", "new"), leg("sl", "stop", "canceled")]))])
    assert trade.uncovered == 5


def test_a_sale_that_expired_half_done_lets_the_rest_be_sold_under_a_new_id() -> None:
    entry = placed(bracket("canceled", "canceled"))
    sale = placed(raw("s", f"{TRADE}-sell-1", side="sell", status="expired", filled_qty="2", filled_avg_price="101.0"))
    books = books_after(*statements(TRADE, entry, exits_of(TRADE, [entry, sale]), entry.qty))
    trade = books.trades[TRADE]
    assert (trade.status, trade.held) == ("OPEN", 3)
    assert books.exit_id(trade) == f"{TRADE}-sell-2"


def test_a_person_s_sale_explains_missing_shares_once() -> None:
    trade = AlpacaTrade.of_entry(placed(bracket("canceled", "canceled")), 98.0, 104.0)
    trade.take([placed(bracket("canceled", "canceled"))])
    by_hand = placed(raw("h", "someone", side="sell", qty="5", filled_qty="5", filled_avg_price="101.5"))
    (sale,) = trade.note_sales_by_hand([by_hand], 5)
    assert (sale.qty, sale.price, sale.reason, sale.trade_id) == (5, 101.5, "by hand", TRADE)
    assert list(trade.note_sales_by_hand([by_hand], 5)) == []
    assert trade.held == 0
    closed = books_after(*statements(TRADE, trade.entry, trade.exits, trade.entry.qty), sale).trades[TRADE]  # type: ignore[arg-type]
    assert (closed.status, closed.exit_reason, closed.exit_price) == ("CLOSED", "by hand", 101.5)


def test_an_entry_of_which_alpaca_had_fewer_shares_under_its_id_can_be_closed() -> None:
    entry = placed(raw(qty="3", filled_qty="3", legs=[leg("tp", "limit", "canceled"), leg("sl", "stop", "filled", 3)]))
    again = statements(TRADE, entry, entry.legs, qty_ordered=5)  # the newest intent, tried again after a lost reply
    trade = books_after(*again).trades[TRADE]
    assert (trade.status, trade.qty, trade.held) == ("CLOSED", 3, 0)

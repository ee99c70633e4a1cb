"""The Alpaca broker over real HTTP: whatever the service does, one order an intent, every share under a stop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from alpaca.trading.enums import QueryOrderStatus
from alpaca.trading.requests import GetOrdersRequest, MarketOrderRequest, ReplaceOrderRequest
from alpaca_desk import CLOSE, START, Desk, desk, running, standin
from standin import StandIn

from alpaca_wire import AlpacaWire, KeysRefused, Unreachable
from desk.books import BY_HAND, WITHDRAWN, BooksDisagree
from desk.orders import Trade

__all__ = ["desk", "running", "standin"]  # fixtures

PRICES = {  # at START
    "AVGO": 312.9, "COIN": 179.4, "GS": 860.8, "META": 646.4, "NFLX": 96.7, "NKE": 60.5, "NVDA": 179.0, "ORCL": 145.5,
    "SLB": 51.0, "XLF": 51.0,
}  # fmt: skip


def person(s: StandIn) -> Any:
    """A person with the same account."""
    return AlpacaWire(s.KEY, s.SECRET, s.api, s.api, wait=s.advance).trading


def cancel_legs(desk: Desk, trade_id: str) -> None:
    parent = person(desk.standin).get_order_by_client_id(trade_id)["id"]
    leg = next(o for o in desk.standin.orders(parent_id=parent) if o["status"] in ("new", "held"))
    person(desk.standin).cancel_order_by_id(leg["id"])


# --- the plain course ------------------------------------------------------------------------------------------------


def test_an_entry_leaves_as_a_bracket_good_till_cancelled_and_its_levels_hang_on_the_fill(desk: Desk) -> None:
    trade = desk.buy(price=177.0)  # the price has moved on to 179.69 by the time of the fill
    assert (trade.status, trade.qty, trade.price) == ("OPEN", 5, 179.69)
    assert (trade.stop_loss, trade.take_profit) == (176.09, 186.88)
    living = [o for o in desk.standin.orders() if o["status"] in ("new", "held")]
    assert {o["stop_price"] or o["limit_price"] for o in living} == {"176.09", "186.88"}
    assert {o["time_in_force"] for o in living} == {"gtc"}
    desk.check()


def test_levels_off_by_no_more_than_a_tick_are_left_where_they_are(desk: Desk) -> None:
    desk.buy(price=179.68)
    assert desk.standin.requests(method="PATCH") == []


def test_levels_are_replaced_once_also_over_a_restart(desk: Desk) -> None:
    desk.buy(price=177.0)
    desk.start()
    desk.reconcile()
    for _ in range(3):
        desk.next_minute()
    assert len(desk.standin.requests(method="PATCH")) == 2
    desk.check()


def test_a_leg_that_may_not_be_replaced_while_held_stays_and_the_books_say_where(desk: Desk) -> None:
    desk.standin.settings(variants={"leg_replace_allowed_while_held": False})
    trade = desk.buy(price=177.0)
    assert trade.stop_loss == 173.46
    desk.check()


def test_a_sale_cancels_the_legs_waits_for_the_shares_and_is_booked_with_its_reason(desk: Desk) -> None:
    desk.standin.settings(cancel_lag_seconds=7)
    trade = desk.buy()
    desk.next_minute()
    desk.sell(trade)
    assert (trade.status, trade.exit_reason) == ("CLOSED", "time")
    assert desk.standin.requests("/v2/orders", "POST")[-1]["status"] == 200
    assert [r["status"] for r in desk.standin.requests("/v2/orders", "POST")] == [200, 200]  # never a refused sale
    desk.check()


def test_a_stop_that_fires_closes_the_trade_at_the_broker_s_price(standin: StandIn) -> None:
    desk = Desk(standin, stop_loss=0.002)
    trade = desk.buy("COIN", price=180.5, qty=3)  # which falls from 180.52 to 179.31 within five minutes
    for _ in range(7):
        desk.next_minute()
    assert (trade.status, trade.exit_reason, trade.exit_price) == ("CLOSED", "stop", 180.15)
    desk.check()


# --- what is unsure is looked up -------------------------------------------------------------------------------------

LOST_ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("error_after", {"status": 504}),
    ("error_after", {"status": 500}),
    ("hang", {}),
    ("reset_before", {}),
    ("reset_after", {}),
    ("html_200", {"booked": True}),
    ("html_200", {"booked": False}),
    ("empty_200", {"booked": True}),
    ("truncated_json", {}),
    ("drop_fields", {"names": ["id"]}),
    ("set_fields", {"fields": {"filled_qty": "many"}}),
]


@pytest.mark.parametrize(("fault", "parameters"), LOST_ANSWERS)
def test_an_entry_whose_answer_is_lost_is_one_order_or_none(desk: Desk, fault: str, parameters: dict[str, Any]) -> None:
    desk.standin.fault(fault, method="POST", path="/v2/orders", **parameters)
    trade = desk.buy()
    for _ in range(4):
        desk.next_minute()
    booked = desk.standin.orders(client_order_id=trade.id)
    assert len(booked) <= 1
    assert (trade.status, trade.exit_reason) == (("OPEN", None) if booked else ("CANCELLED", WITHDRAWN))
    assert len(desk.standin.requests("/v2/orders", "POST")) == 1  # nothing was sent twice
    desk.check()


@pytest.mark.parametrize(("fault", "parameters"), LOST_ANSWERS)
def test_a_sale_whose_answer_is_lost_sells_once(desk: Desk, fault: str, parameters: dict[str, Any]) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.fault(fault, method="POST", path="/v2/orders", **parameters)
    desk.sell(trade)
    desk.next_minute()
    if trade.status == "OPEN":  # it never arrived: its stop is back, and the trader sells again under the same id
        desk.check()
        desk.sell(trade)
    assert (trade.status, trade.exit_reason) == ("CLOSED", "time")
    sales = [o for o in desk.standin.orders(side="sell", symbol="NVDA") if "-sell-" in o["client_order_id"]]
    assert len(sales) == 1
    desk.check()


@pytest.mark.parametrize(("fault", "parameters"), LOST_ANSWERS)
def test_a_lost_answer_and_a_killed_process_are_still_one_order(
    desk: Desk, fault: str, parameters: dict[str, Any]
) -> None:
    order = desk.intend()
    desk.standin.fault(fault, method="POST", path="/v2/orders", **parameters)
    desk.standin.fault("error", path="/v2/orders:by_client", status=503, times=None)  # killed before any look-up
    desk.broker.submit(order)
    desk.standin.clear_faults()
    desk.start()
    desk.reconcile()
    for _ in range(4):
        desk.next_minute()
    trade = desk.books.trades[order.id]
    assert trade.status == ("OPEN" if desk.standin.orders(client_order_id=order.id) else "CANCELLED")
    desk.check()


def test_an_intent_of_a_process_killed_before_sending_is_withdrawn_and_may_be_tried_under_its_own_id(
    desk: Desk,
) -> None:
    order = desk.intend()
    desk.start()
    desk.reconcile()
    for _ in range(4):
        desk.next_minute()
    assert desk.books.trades[order.id].exit_reason == WITHDRAWN
    trade = desk.buy()
    assert trade.id == order.id
    assert trade.status == "OPEN"
    desk.check()


def test_an_order_that_shows_up_late_is_waited_for(desk: Desk) -> None:
    missing = {"code": 40410000, "message": "order not found"}
    desk.standin.fault("error", path="/v2/orders:by_client", status=404, body=missing, times=2)
    desk.standin.fault("error", method="GET", path="/v2/orders$", status=200, body=[], times=2)
    desk.standin.fault("error_after", method="POST", path="/v2/orders", status=504)
    trade = desk.buy()
    assert trade.status == "PENDING"
    desk.next_minute()
    assert trade.status == "OPEN"
    desk.check()


def buy_unseen(desk: Desk) -> Trade:
    """An entry that is booked while the answer and every look-up of the next minutes say that it is not."""
    desk.standin.fault("error", path="/v2/orders:by_client", status=404, times=None,
                       body={"code": 40410000, "message": "order not found"})  # fmt: skip
    desk.standin.fault("error", method="GET", path="/v2/orders", status=200, body=[], times=None)
    desk.standin.fault("error_after", method="POST", path="/v2/orders", status=504)
    trade = desk.buy()
    for _ in range(4):
        desk.next_minute()
    assert trade.exit_reason == WITHDRAWN
    desk.standin.clear_faults()
    return trade


def test_an_intent_tried_again_that_had_arrived_the_first_time_is_still_one_order(desk: Desk) -> None:
    first = buy_unseen(desk)
    trade = desk.buy()  # Alpaca: client_order_id must be unique
    assert (trade.id, trade.status) == (first.id, "OPEN")
    assert [r["status"] for r in desk.standin.requests("/v2/orders", "POST")] == [504, 422]
    desk.next_minute()
    desk.check()


def test_an_entry_given_up_that_arrives_after_all_is_taken_up_again(desk: Desk) -> None:
    trade = buy_unseen(desk)
    desk.reconcile()
    desk.next_minute()
    assert trade.status == "OPEN"
    desk.check()


def test_an_order_in_a_state_nobody_knows_counts_as_working(desk: Desk) -> None:
    desk.standin.fault("set_fields", path="/v2/orders", fields={"status": "pending_review", "filled_qty": "0"}, times=3)
    trade = desk.buy()
    assert trade.status == "PENDING"
    assert [o.id for o in desk.broker.working_orders()] == [trade.id]
    desk.next_minute()
    desk.next_minute()
    assert trade.status == "OPEN"
    desk.check()


def test_reads_survive_a_burst_of_429_and_the_sdk_repeats_nothing(desk: Desk) -> None:
    desk.standin.fault("error", method="GET", path="/v2/orders", status=429, body={"message": "slow down"}, times=3)
    assert desk.buy().status == "OPEN"
    desk.standin.fault("error", method="POST", path="/v2/orders", status=429, body={"message": "slow down"})
    refused = desk.buy("META", price=648.0)
    assert (refused.status, refused.exit_reason) == ("CANCELLED", WITHDRAWN)  # which says nothing about the order
    assert len(desk.standin.requests("/v2/orders", "POST")) == 2
    desk.check()


# --- refusals --------------------------------------------------------------------------------------------------------


def test_levels_on_the_wrong_side_of_alpaca_s_own_price_are_priced_from_it_once(desk: Desk) -> None:
    trade = desk.buy(price=183.5)  # a stop of 179.83 lies above the market
    assert trade.status == "OPEN"
    assert (trade.stop_loss, trade.take_profit) == (176.09, 186.88)
    assert [r["status"] for r in desk.standin.requests("/v2/orders", "POST")] == [422, 200]
    desk.check()


def test_an_entry_whose_price_alpaca_contradicts_by_more_than_the_gate_allows_is_given_up(desk: Desk) -> None:
    trade = desk.buy(price=100.0)  # a stale bar: by 179.69 shares, exposure and buying power were never judged
    assert (trade.status, "base_price" in str(trade.exit_reason)) == ("REJECTED", True)
    assert [r["status"] for r in desk.standin.requests("/v2/orders", "POST")] == [422]
    assert desk.standin.positions() == {}


@pytest.mark.parametrize("price", [177.03, 179.333333, 183.335])
def test_no_price_is_ever_refused_for_a_fraction_of_a_cent(desk: Desk, price: float) -> None:
    desk.buy(price=price)
    assert not any("sub-penny" in str(r) for r in desk.standin.requests("/v2/orders", "POST"))
    assert desk.standin.requests("/v2/orders", "POST")[-1]["status"] == 200


@pytest.mark.parametrize("status", [403, 422])
def test_a_wash_trade_refusal_ends_the_entry_in_its_own_words(desk: Desk, status: int) -> None:
    body = {"code": 40310000, "message": "potential wash trade detected. use complex orders", "existing_order_id": "x"}
    desk.standin.fault("error", method="POST", path="/v2/orders", status=status, body=body)  # brackets are exempt today
    trade = desk.buy()
    assert (trade.status, "wash trade" in str(trade.exit_reason)) == ("REJECTED", True)
    assert desk.books.entry_id(START.date(), "NVDA").endswith("-2")


def test_an_entry_that_was_refused_and_booked_all_the_same_is_in_the_books_and_sold_as_any(desk: Desk) -> None:
    body = {"code": 42210000, "message": "internal error"}  # alpaca-trade-api-js#255
    desk.standin.fault("error_after", method="POST", path="/v2/orders", status=422, body=body)
    trade = desk.buy()
    assert (trade.status, trade.held, trade.exit_reason) == ("OPEN", 5, None)
    desk.next_minute()
    desk.sell(trade)
    assert trade.status == "CLOSED"
    desk.check()


def test_an_entry_that_was_refused_and_booked_all_the_same_is_found_by_the_next_process_too(desk: Desk) -> None:
    desk.standin.fault("error_after", method="POST", path="/v2/orders", status=422, body={"message": "internal error"})
    order = desk.intend()
    desk.broker.submit(order)
    for said in desk.broker._hands.news:  # and the process ends before it has read Alpaca's list
        desk.book(said)
    assert desk.books.trades[order.id].status == "REJECTED"
    desk.start()
    desk.reconcile()
    assert (desk.books.trades[order.id].status, desk.books.trades[order.id].held) == ("OPEN", 5)
    desk.check()


def test_one_refusal_of_the_keys_at_an_order_ends_nothing_and_the_stop_is_back_at_once(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.fault("error", method="POST", path="/v2/orders", status=403, body={"message": "forbidden."})
    desk.sell(trade)
    desk.check()
    desk.sell(trade)
    assert trade.status == "CLOSED"
    desk.check()


def test_keys_that_are_refused_at_an_order_and_at_its_look_up_end_the_run(desk: Desk) -> None:
    desk.standin.fault("error", path="/v2/", status=403, body={"message": "forbidden."}, times=None)
    with pytest.raises(KeysRefused):
        desk.buy()


def test_an_order_that_is_forbidden_for_itself_says_nothing_about_the_keys(desk: Desk) -> None:
    body = {"code": 40310000, "message": "short sales are forbidden for this asset"}
    desk.standin.fault("error", method="POST", path="/v2/orders", status=403, body=body)
    assert desk.buy().status == "REJECTED"


def test_a_refused_sale_gets_its_stop_back_and_is_tried_again_under_a_new_id(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    held = {"code": 40310000, "message": "insufficient qty available for order (requested: 5, available: 0)"}
    desk.standin.fault("error", method="POST", path="/v2/orders", status=403, body=held)
    desk.sell(trade)
    assert trade.status == "OPEN"
    desk.check()
    desk.next_minute()
    desk.sell(trade)
    assert (trade.status, trade.exits_refused) == ("CLOSED", 1)
    desk.check()


def test_a_stop_that_alpaca_will_not_take_is_said_of_the_position(desk: Desk) -> None:
    trade = desk.buy()
    cancel_legs(desk, trade.id)
    desk.standin.fault("error", method="POST", path="/v2/orders", status=422,
                       body={"code": 42210000, "message": "stop price must be less than current price"})  # fmt: skip
    desk.next_minute()
    assert not desk.broker.positions()["NVDA"].protected
    desk.sell(trade, "unprotected")
    assert (trade.status, trade.exit_reason) == ("CLOSED", "unprotected")
    desk.check()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"trading_blocked": True}, "trading_blocked: True"),
        ({"account_blocked": None}, "account_blocked: None"),
        ({"status": "ONBOARDING"}, "status is ONBOARDING"),
    ],
)
def test_a_blocked_account_hinders_entries_and_so_does_silence_about_it(
    desk: Desk, fields: dict[str, Any], words: str
) -> None:
    assert desk.broker.hindrance(CLOSE) is None
    desk.standin.account(**fields)
    assert words in str(desk.broker.hindrance(CLOSE))


def test_a_clock_ten_minutes_off_hinders_entries(desk: Desk) -> None:
    desk.standin.fault("clock_skew", seconds=600)
    assert "600 s behind" in str(desk.broker.hindrance(CLOSE))
    assert desk.broker.hindrance(CLOSE) is None


def test_a_closing_that_our_calendar_does_not_know_hinders_entries(desk: Desk) -> None:
    desk.standin.fault("early_close", time="13:00", times=None)
    assert "closes at 13:00" in str(desk.broker.hindrance(CLOSE))
    desk.standin.set_clock(START + timedelta(hours=4))
    assert "closed" in str(desk.broker.hindrance(CLOSE))


def test_keys_revoked_in_mid_session_end_the_run_in_clear_words_without_the_keys(desk: Desk) -> None:
    desk.buy()
    desk.standin.keys("NEWKEY0000000000000", "newsecret00000000000000000000")
    with pytest.raises(KeysRefused, match="was reset") as refused:
        desk.settle()
    assert desk.standin.KEY not in repr(refused.value)
    assert desk.standin.SECRET not in repr(refused.value)


# --- part fills, races, lags -----------------------------------------------------------------------------------------


def test_a_part_fill_is_cancelled_after_a_minute_and_what_it_got_is_put_under_a_stop(desk: Desk) -> None:
    desk.standin.settings(fill_model="quotes", partial_share=1.0, partial_rest_seconds=1e6, seed=3)
    trade = desk.buy()
    assert 1 <= trade.qty < 5
    for _ in range(3):
        desk.next_minute()
    assert (trade.status, trade.entering) == ("OPEN", False)
    assert desk.standin.orders(client_order_id=trade.id)[0]["status"] == "canceled"
    desk.check()
    desk.standin.settings(partial_share=0.0)
    desk.sell(trade)
    assert trade.status == "CLOSED"
    desk.check()


@pytest.mark.parametrize("legs", ["capped", "full"])
def test_a_part_fill_is_sold_without_ending_short(desk: Desk, legs: str) -> None:
    desk.standin.settings(fill_model="quotes", partial_share=1.0, partial_rest_seconds=20, cancel_lag_seconds=4,
                          variants={"legs_after_partial_close": legs})  # fmt: skip
    trade = desk.buy()
    desk.standin.settings(partial_share=0.0)
    desk.sell(trade)
    for _ in range(3):
        desk.next_minute()
    assert (trade.status, trade.held) == ("CLOSED", 0)
    desk.check()


def test_a_leg_that_fills_while_it_is_being_cancelled_is_the_exit_and_nothing_is_sold_short(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.settings(cancel_lag_seconds=2)
    desk.standin.fault("fill_on_cancel")
    desk.sell(trade)
    desk.next_minute()
    assert trade.status == "CLOSED"
    assert trade.exit_reason in ("stop", "target")
    assert desk.standin.positions() == {}
    desk.check()


def test_legs_that_cannot_be_cancelled_leave_the_sale_for_the_next_minute(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.fault("error", method="DELETE", path="/v2/orders", status=500, body={"message": "oops"})
    desk.sell(trade)
    desk.check()
    desk.next_minute()
    desk.sell(trade)
    assert trade.status == "CLOSED"
    desk.check()


def test_positions_that_lag_ten_seconds_behind_a_fill_are_waited_for(desk: Desk) -> None:
    desk.standin.settings(positions_lag_seconds=10)
    trade = desk.buy()
    desk.reconcile()
    desk.sell(trade)
    assert trade.status == "CLOSED"
    desk.check()


def test_positions_that_are_empty_once_are_not_believed(desk: Desk) -> None:
    trade = desk.buy()
    desk.standin.fault("empty_list", path="/v2/positions")
    desk.reconcile()
    assert trade.status == "OPEN"
    desk.check()


def test_positions_that_stay_empty_without_a_sale_are_no_books_to_trade_on(desk: Desk) -> None:
    desk.buy()
    desk.standin.fault("empty_list", path="/v2/positions", times=None)
    with pytest.raises(BooksDisagree, match="NVDA"):
        desk.reconcile()


# --- what a person does ----------------------------------------------------------------------------------------------


def test_a_stop_removed_by_hand_is_placed_again_within_a_minute(desk: Desk) -> None:
    trade = desk.buy()
    cancel_legs(desk, trade.id)
    assert desk.standin.stopped_shares("NVDA") == 0
    desk.next_minute()
    desk.check()
    assert (trade.stop_loss, trade.take_profit) == (176.09, 186.88)
    desk.next_minute()
    assert len([o for o in desk.standin.orders() if "-arm-" in o["client_order_id"]]) == 1


def test_a_stop_moved_by_hand_stays_where_the_person_put_it(desk: Desk) -> None:
    trade = desk.buy()
    stop = next(o for o in desk.standin.orders() if o["type"] == "stop" and o["status"] in ("new", "held"))
    person(desk.standin).replace_order_by_id(stop["id"], ReplaceOrderRequest(stop_price=170.5))
    desk.next_minute()
    desk.start()
    desk.reconcile()
    desk.next_minute()
    assert trade.stop_loss == 170.5
    desk.check()


def test_a_stop_that_alpaca_rejected_when_the_entry_filled_is_placed_again(desk: Desk) -> None:
    desk.standin.fault("stop_rejected")
    desk.buy()
    desk.next_minute()
    desk.check()


def test_shares_sold_by_hand_are_booked_at_the_price_they_got(desk: Desk) -> None:
    trade = desk.buy()
    cancel_legs(desk, trade.id)
    person(desk.standin).submit_order(MarketOrderRequest(symbol="NVDA", qty=5, side="sell", time_in_force="day"))
    desk.reconcile()
    assert (trade.status, trade.exit_reason) == ("CLOSED", "by hand")
    sale = desk.standin.orders(side="sell", type="market")[-1]
    assert trade.exit_price == float(sale["filled_avg_price"])
    desk.start()
    desk.reconcile()
    desk.check()


def test_a_fill_that_the_list_does_not_show_after_a_restart_is_waited_for_and_no_disagreement(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.start()
    with monkeypatch.context() as behind:
        behind.setattr(desk.broker._account, "orders", lambda *_: [])
        behind.setattr(desk.broker._account, "find", lambda client_id: None)
        with pytest.raises(Unreachable, match="does not list orders that it has filled before: NVDA"):
            desk.reconcile()
    desk.reconcile()
    assert (trade.status, trade.held) == ("OPEN", 5)
    desk.check()


def test_a_sale_by_hand_is_never_sold_again(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    cancel_legs(desk, trade.id)
    person(desk.standin).submit_order(MarketOrderRequest(symbol="NVDA", qty=5, side="sell", time_in_force="day"))
    desk.next_minute()  # a stop is wanted for shares that are gone
    desk.sell(trade, "unprotected")
    assert desk.standin.positions() == {}
    desk.reconcile()
    assert (trade.status, trade.exit_reason) == ("CLOSED", "by hand")
    desk.check()


def test_what_a_person_has_just_sold_is_not_sold_again_though_positions_still_show_it(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    cancel_legs(desk, trade.id)
    desk.standin.settings(positions_lag_seconds=90)
    person(desk.standin).submit_order(MarketOrderRequest(symbol="NVDA", qty=5, side="sell", time_in_force="day"))
    desk.sell(trade, "unprotected")
    desk.standin.advance(120)
    assert desk.standin.positions() == {}
    desk.reconcile()
    assert (trade.status, trade.exit_reason) == ("CLOSED", "by hand")
    desk.check()


@pytest.mark.parametrize("how", ["positions late", "positions empty once"])
def test_the_sale_of_an_earlier_trade_explains_nothing_about_the_next(desk: Desk, how: str) -> None:
    first = desk.buy()
    desk.next_minute()
    desk.sell(first)
    desk.next_minute()
    if how == "positions late":
        desk.standin.settings(positions_lag_seconds=10)
    second = desk.buy()
    if how == "positions empty once":
        desk.standin.fault("empty_list", path="/v2/positions")
    desk.reconcile()
    assert (first.status, second.status) == ("CLOSED", "OPEN")
    desk.standin.advance(60)
    desk.check()


def sell_by_hand(desk: Desk, symbol: str = "NVDA", qty: int = 5) -> None:
    person(desk.standin).submit_order(MarketOrderRequest(symbol=symbol, qty=qty, side="sell", time_in_force="day"))


def at_second(desk: Desk, second: int) -> None:
    desk.standin.set_clock(desk.standin.now().replace(second=second))


def test_what_a_person_sells_while_our_sale_waits_for_its_shares_is_not_sold_again(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.settings(cancel_lag_seconds=20, positions_lag_seconds=10)
    desk.sell(trade)  # the legs take longer to end than this minute waits
    at_second(desk, 58)
    sell_by_hand(desk)
    for _ in range(2):
        desk.next_minute()
        desk.standin.advance(15)
    desk.reconcile()
    assert desk.standin.positions() == {}
    assert (trade.status, trade.exit_reason) == ("CLOSED", BY_HAND)


def test_nor_while_positions_cannot_be_read(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.settings(cancel_lag_seconds=20)
    desk.sell(trade)
    at_second(desk, 40)
    sell_by_hand(desk)
    desk.standin.fault("error", path="/v2/positions", status=503, times=None)
    for _ in range(4):
        desk.next_minute()
    assert desk.standin.positions() == {}
    desk.standin.clear_faults()
    desk.reconcile()
    assert (trade.status, trade.exit_reason) == ("CLOSED", BY_HAND)


def test_while_neither_positions_nor_orders_can_be_read_no_stop_is_taken_away(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.fault("error", method="GET", path="/v2/(positions|orders)", status=503, times=None)
    desk.broker.submit(desk.order_to_sell(trade))
    assert desk.standin.stopped_shares("NVDA") == 5
    assert desk.standin.requests("/v2/orders", "DELETE") == []


def test_a_stop_whose_replacement_cannot_be_read_keeps_no_other_position_from_its_own(desk: Desk) -> None:
    first, second = desk.buy("META", PRICES["META"]), desk.buy("NVDA", 177.0)
    alpaca = person(desk.standin)
    listed = alpaca.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, nested=True))
    leg = next(leg for order in listed for leg in order["legs"] if (leg["symbol"], leg["status"]) == ("META", "held"))
    moved = alpaca.replace_order_by_id(leg["id"], ReplaceOrderRequest(stop_price=600.0))
    cancel_legs(desk, second.id)
    leg |= {"status": "replaced", "replaced_by": moved["id"]}  # and of the new one the list says nothing yet
    nvda = alpaca.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, nested=True, symbols=["NVDA"]))
    body = [*nvda, *(order for order in listed if order["symbol"] == "META")]
    desk.standin.fault("error", method="GET", path="/v2/orders$", status=200, body=body, times=None)
    desk.standin.fault("error", path=f"/v2/orders/{moved['id']}", status=503, times=None)
    desk.next_minute()
    assert desk.standin.stopped_shares("NVDA") == 5
    with pytest.raises(Unreachable, match="what replaced one of our orders cannot be read"):
        desk.reconcile()
    desk.standin.clear_faults()
    desk.next_minute()
    assert first.stop_loss == 600.0
    desk.check()


def test_a_sale_by_hand_in_parts_and_of_half_a_share_is_booked_part_by_part(desk: Desk) -> None:
    trade = desk.buy()
    cancel_legs(desk, trade.id)
    for qty in (1, 1.5):
        person(desk.standin).submit_order(MarketOrderRequest(symbol="NVDA", qty=qty, side="sell", time_in_force="day"))
        desk.reconcile()
    assert (trade.status, trade.held) == ("OPEN", 2)


def test_an_exit_does_not_wait_for_positions_that_cannot_be_read(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.fault("error", path="/v2/positions", status=503, times=None)
    desk.sell(trade)
    assert trade.status == "CLOSED"
    assert desk.standin.positions() == {}


def test_ten_positions_are_sold_together_however_slow_their_legs_end(desk: Desk) -> None:
    trades = [desk.buy(symbol, price) for symbol, price in PRICES.items()]
    desk.next_minute()
    desk.standin.settings(cancel_lag_seconds=14)
    started = desk.standin.now()
    desk.standin.clear_requests()
    for trade in trades:
        order = desk.order_to_sell(trade)
        desk.broker.submit(order)
    desk.settle()
    assert [trade.status for trade in trades] == ["CLOSED"] * 10
    assert desk.standin.now() - started < timedelta(seconds=25)
    assert len(desk.standin.requests()) < 190


def test_a_cancel_that_takes_longer_than_we_wait_still_ends_in_a_sale(desk: Desk) -> None:
    trade = desk.buy()
    desk.next_minute()
    desk.standin.settings(cancel_lag_seconds=20)
    desk.sell(trade)
    assert trade.status == "OPEN"
    desk.next_minute()
    assert trade.status == "CLOSED"
    desk.check()


def test_a_refusal_for_too_many_requests_is_no_word_about_the_stop(desk: Desk) -> None:
    trade = desk.buy()
    cancel_legs(desk, trade.id)
    desk.standin.fault("error", method="POST", path="/v2/orders", status=429, body={"message": "slow down"})
    desk.next_minute()
    assert desk.broker.positions()["NVDA"].protected
    desk.next_minute()
    desk.check()


def test_a_changed_setting_moves_no_stop_of_a_held_position(desk: Desk) -> None:
    trade = desk.buy(price=179.69)
    desk.stop_loss = 0.05
    desk.start()
    desk.reconcile()
    desk.next_minute()
    assert trade.stop_loss == 176.09


def test_a_row_that_cannot_be_read_leaves_the_others_looked_after(desk: Desk) -> None:
    trade = desk.buy()
    desk.standin.fault("set_fields", path="/v2/orders", fields={"filled_avg_price": None}, times=2)
    desk.buy("META", price=648.0)
    for _ in range(2):
        desk.next_minute()
    assert trade.status == "OPEN"
    desk.check()


def test_an_exit_order_does_not_outlive_its_trade(desk: Desk) -> None:
    person(desk.standin).submit_order(MarketOrderRequest(symbol="NVDA", qty=100, side="buy", time_in_force="day"))
    trade = desk.buy()
    desk.next_minute()
    desk.standin.fault("error_after", method="POST", path="/v2/orders$", status=504)
    missing = {"code": 40410000, "message": "order not found"}
    desk.standin.fault("error", path="/v2/orders:by_client", status=404, body=missing)
    desk.broker.submit(desk.order_to_sell(trade))
    desk.standin.fault("error", method="GET", path="/v2/orders$", status=200, body=[], times=2)
    for _ in range(3):
        desk.next_minute()
    assert trade.status == "CLOSED"
    assert desk.standin.stopped_shares("NVDA") == 0
    assert desk.standin.positions()["NVDA"]["qty"] == "100"


def test_what_a_person_bought_is_said_once_and_left_alone(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.buy()
    person(desk.standin).submit_order(MarketOrderRequest(symbol="META", qty=2, side="buy", time_in_force="day"))
    desk.reconcile()
    desk.reconcile()
    assert [r.message for r in caplog.records if "not ours" in r.message] == [
        "META: 2 shares in the account are not ours; left alone"
    ]
    assert desk.standin.positions()["META"]["qty"] == "2"


# --- restart ---------------------------------------------------------------------------------------------------------


def test_a_restart_takes_up_ten_positions_with_their_levels(desk: Desk) -> None:
    trades = [desk.buy(symbol, price) for symbol, price in PRICES.items()]
    levels = {t.symbol: (t.stop_loss, t.take_profit) for t in trades}
    desk.start()
    desk.reconcile()
    assert {s: (p.stop_level, p.target_level) for s, p in desk.broker.positions().items()} == levels
    desk.next_minute()
    desk.check()


def test_an_exit_that_happened_while_the_process_was_down_is_heard_at_the_start(standin: StandIn) -> None:
    desk = Desk(standin, stop_loss=0.002)
    trade = desk.buy("COIN", price=180.5)
    desk.standin.set_clock(START + timedelta(minutes=30))
    desk.start()
    desk.reconcile()
    assert (trade.status, trade.exit_reason) == ("CLOSED", "stop")
    desk.check()


def test_orders_of_ours_that_the_books_do_not_know_are_refused(desk: Desk) -> None:
    desk.buy()
    lost = Desk(desk.standin)  # the same tag, and an empty journal
    with pytest.raises(BooksDisagree, match="does not know"):
        lost.reconcile()


@pytest.mark.parametrize(
    ("path", "fault", "parameters"),
    [
        ("/v2/account", "error", {"status": 200, "body": []}),
        ("/v2/account", "set_fields", {"fields": {"equity": None}}),
        ("/v2/account", "set_fields", {"fields": {"cash": "NaN"}}),
        ("/v2/clock", "set_fields", {"fields": {"timestamp": "2026-03-02T10:00:00"}}),
        ("/v2/clock", "drop_fields", {"names": ["next_close"]}),
        ("/v2/positions", "error", {"status": 200, "body": {"positions": 1}}),
        ("/v2/orders", "error", {"status": 200, "body": {"orders": 1}}),
    ],
)
def test_an_answer_without_what_matters_is_no_answer(
    desk: Desk, path: str, fault: str, parameters: dict[str, Any]
) -> None:
    desk.standin.fault(fault, path=path, method="GET", times=None, **parameters)
    with pytest.raises(Unreachable):
        (desk.reconcile if "s" in path[-1] else lambda: desk.broker.hindrance(CLOSE))()


def test_a_person_s_order_by_amount_of_money_disturbs_nothing(desk: Desk) -> None:
    desk.standin.set_clock(START - timedelta(hours=1))  # before the open it waits, without a number of shares
    person(desk.standin).submit_order(MarketOrderRequest(symbol="META", notional=500, side="buy", time_in_force="day"))
    assert desk.standin.orders()[-1]["qty"] is None
    desk.reconcile()


def test_an_account_that_cannot_be_read_raises_and_changes_nothing(desk: Desk) -> None:
    desk.buy()
    desk.standin.fault("error", path="/v2/positions", status=503, times=None)
    with pytest.raises(Unreachable):
        desk.reconcile()
    desk.standin.clear_faults()
    desk.reconcile()
    desk.check()

"""What is worth a message, and in which words."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from bookkeeping import BOUGHT, OPEN, SIGNAL, STOPPED, intent, local_time, told

import notices
from desk.books import Books
from desk.journal import Event
from market.hours import at_new_york
from notices import Notice, gathered, notice_of

NOON = at_new_york(date(2026, 3, 2), "12:00")
SESSION = {
    "n": 8, "kind": "session", "day": "2026-03-02", "predicted": 390, "not_predicted": 0, "threshold": 0.65,
    "highest_confidence": 0.61, "highest_symbol": "NVDA", "highest_time": "11:05", "break_even": 0.44,
    "silent_sessions": 3, "signals_at": {"0.60": 2, "0.55": 5},
}  # fmt: skip
MINUTE = {"n": 7, "kind": "minute", "minute": OPEN + 390, "equity": 100_012.5}


def said(*events: Event) -> list[Notice]:
    """What these events, one after the other, lead to."""
    books = Books(local_time)
    found = []
    for event in events:
        books.apply(event)
        found.append(notice_of(event, books))
    return [notice for notice in found if notice is not None]


def filled(qty: int, price: float, number: int, **options: Any) -> Event:
    """The order's state after its `number`th part."""
    event = told("fill", options.pop("side", "BUY"), price, qty=qty, **options)
    return event | {"execution": event["execution"] | {"id": f"{event['execution']['id']}-{number}"}}


def duty(name: str, outcome: str, words: str) -> Event:
    return {"n": 5, "kind": "duty", "duty": name, "session": "2026-03-02", "outcome": outcome, "words": words}


def test_a_purchase_is_said_with_its_levels() -> None:
    (notice,) = said(intent(), BOUGHT)
    assert (notice.kind, notice.title) == ("bought", "bought NVDA")
    assert notice.body == ("2026-03-02 09:31  bought 5 NVDA at 100.03 (stop 98.03, target 104.03, confidence 0.71)")


def test_an_entry_in_parts_is_said_once_when_it_is_whole() -> None:
    notices_ = said(intent(), filled(2, 100.0, 1), filled(4, 100.5, 2), filled(5, 101.0, 3))
    assert [n.body[:43] for n in notices_] == ["2026-03-02 09:31  bought 5 NVDA at 101.00 ("]


def test_an_entry_whose_rest_was_withdrawn_is_said_with_what_was_bought() -> None:
    (notice,) = said(intent(), filled(2, 100.0, 1), told("cancelled", reason="expired", qty=5))
    assert "bought 2 NVDA at 100.00 (" in notice.body
    assert notice.body.endswith("; of 5 ordered: expired")


def test_a_sale_is_said_with_what_it_earned() -> None:
    _, notice = said(intent(), BOUGHT, STOPPED)
    assert (notice.kind, notice.title) == ("sold", "sold NVDA: -10.15 USD")
    assert notice.body == "2026-03-02 09:39  sold 5 NVDA at 98.00 (stop: -10.15 USD, -2.03%)"


def test_a_sale_by_two_orders_is_said_once_for_the_whole_trade() -> None:
    part = told("fill", "SELL", 101.0, OPEN + 8, "NVDA-1-sell-1", reason="time", qty=2)
    rest = told("fill", "SELL", 102.0, OPEN + 9, "NVDA-1-sell-2", reason="time", qty=3)
    _, notice = said(intent(), BOUGHT, part, rest)
    assert "sold 5 NVDA at 101.60 (time: +7.85 USD" in notice.body


def test_what_was_sold_before_its_entry_ended_is_said_when_that_ends() -> None:
    sold = told("fill", "SELL", 98.0, OPEN + 2, reason="stop", qty=2)
    (notice,) = said(intent(), filled(2, 100.0, 1), sold, told("cancelled", reason="expired", minute=OPEN + 3))
    assert notice.title == "sold NVDA: -4.00 USD"


@pytest.mark.parametrize(
    "event",
    [
        told("rejected", reason="no cash"), told("cancelled", reason="expired"),
        told("fill", "SELL", 98.0, order_id="unknown"), told("fill", price=5.0, order_id="of somebody else"),
        SIGNAL, MINUTE, {"n": 1, "kind": "plan", "close": {}}, {"n": 1, "kind": "why", "order_id": "", "spoke": []},
        duty("rebalance", "done", ""), duty("review", "done", "drift amber: a little"),
        duty("train", "skipped", "not due by --retrain"),
    ],
)  # fmt: skip
def test_what_needs_nobody_is_not_said(event: Event) -> None:
    assert said(intent(), event) == []


def test_levels_that_moved_are_not_said() -> None:
    levels = {"id": "x", "kind": "levels", "stop_level": 97.0}
    moved = BOUGHT | {"execution": BOUGHT["execution"] | levels}
    assert [n.kind for n in said(intent(), BOUGHT, moved)] == ["bought"]


def test_a_halt_says_why_and_the_cure_and_a_resume_from_what() -> None:
    halt = {"n": 3, "kind": "halt", "why": "equity fell 3.2%", "minute": OPEN + 30}
    resume = {"n": 4, "kind": "resume", "minute": OPEN + 90, "halted": "equity fell 3.2%"}
    first, second = said(halt, resume)
    assert first.alarm
    assert first.body == (
        "2026-03-02 10:00  HALTED: equity fell 3.2%. Nothing is bought until python live_trader.py --resume; stops stay"
    )
    assert second.body == "2026-03-02 11:00  resumed, buying goes on; it was halted: equity fell 3.2%"


def test_red_drift_is_said_without_the_rest_of_the_review() -> None:
    (notice,) = said(duty("review", "done", "drift red: volume is five-fold\n  trades not made: 3 ended"))
    assert notice.alarm
    assert (notice.title, notice.body) == ("drift is red", "review of 2026-03-02: drift red: volume is five-fold")


@pytest.mark.parametrize("outcome", ["done", "failed", "missed"])
def test_what_became_of_a_training_is_said(outcome: str) -> None:
    words = "20260302_200000 serves from now on; AUC 0.591 +- 0.024 on later days; unproven: too few signals: 7"
    (notice,) = said(duty("train", outcome, words))
    assert notice == Notice(
        "training", f"training {outcome}", f"training of 2026-03-02 {outcome}: {words}", outcome != "done"
    )


def test_the_end_of_a_day_with_a_trade_counts_it() -> None:
    *_, notice = said(intent(), SIGNAL, BOUGHT, STOPPED, MINUTE, SESSION)
    assert notice.kind == "end of day"
    assert notice.body == "2026-03-02: 1 bought, 1 sold for -10.15 USD, 0 held, equity 100,012.50 USD"


def test_the_end_of_a_silent_day_says_why_nothing_was_bought() -> None:
    (notice,) = said(MINUTE, SESSION)
    first, second = notice.body.split("\n")
    assert first == "2026-03-02: 0 bought, 0 sold for +0.00 USD, 0 held, equity 100,012.50 USD"
    assert second.startswith("No buy signals generated: highest confidence 0.61 (NVDA at 11:05), threshold 0.65")


def test_start_and_stop_say_where_and_what_is_held() -> None:
    books = Books(local_time, [intent(), BOUGHT, intent("AMD-1", "AMD")])
    first = notices.started("market alpaca (feed iex), broker Alpaca's paper account", books, NOON)
    assert first.body == (
        "2026-03-02 12:00  started: market alpaca (feed iex), broker Alpaca's paper account; held: 5 NVDA; ordered: AMD"
    )
    last = notices.stopped("stopped", "Alpaca's paper account", books, NOON)
    assert last.body == ("2026-03-02 12:00  stopped; held in Alpaca's paper account, with stops: 5 NVDA; ordered: AMD")


def test_start_and_stop_say_that_nothing_is_held_and_that_it_is_halted() -> None:
    books = Books(local_time, [{"n": 3, "kind": "halt", "why": "SIGTERM", "minute": OPEN}])
    halted = "; HALTED: SIGTERM. Nothing is bought until python live_trader.py --resume; stops stay"
    assert notices.started("here", books, NOON).body == f"2026-03-02 12:00  started: here; nothing is held{halted}"
    assert notices.stopped("stopped", "it", books, NOON).body.endswith(f"stopped; nothing is held in it{halted}")


def test_silence_and_its_end_name_the_last_minute() -> None:
    later = at_new_york(date(2026, 3, 2), "12:40")
    assert "no sign of life since 2026-03-02 12:00;" in notices.silent(NOON).body
    assert notices.alive(NOON, later).body == (
        "2026-03-02 12:40  alive again; there was no minute since 2026-03-02 12:00"
    )


def test_many_go_as_one_with_the_newest_in_a_line_each_and_all_counted() -> None:
    many = [Notice("bought", "bought", f"line {i}\nmore") for i in range(12)]
    notice = gathered([*many, Notice("sold", "sold", "x" * 500)], {"bought": 4, "halt": 1})
    assert notice.title == "18 messages: 16 bought, 1 halt, 1 sold"
    *lines, last = notice.body.split("\n")
    assert lines == [f"line {i}" for i in range(3, 12)] + ["x" * 157 + "..."]
    assert last == "and 8 more: 7 bought, 1 halt"


def test_an_alarm_among_many_makes_them_one() -> None:
    calm, alarm = Notice("sold", "", "a"), Notice("halt", "", "b", alarm=True)
    assert gathered([calm, alarm], {}).alarm
    assert not gathered([calm, calm], {}).alarm


def test_a_long_body_is_cut_to_what_every_service_takes() -> None:
    (notice,) = said(duty("train", "failed", "x" * 9000))
    assert len(notice.body) == 1500
    assert notice.body.endswith("xxx...")

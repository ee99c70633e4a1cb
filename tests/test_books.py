"""The books: what the journal adds up to, the same every time it is added up, and the documented view of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from bookkeeping import BOUGHT, OPEN, SIGNAL, STAMP, STOPPED, STORY, intent, local_time, told, view_of
from hypothesis import given
from hypothesis import strategies as st

from desk.books import Books
from desk.journal import Journal, read_events
from desk.orders import Execution
from market.hours import at_new_york, epoch_minute

DOCUMENTED = {
    "symbol", "side", "qty", "price", "confidence", "entry_time", "stop_loss", "take_profit", "status", "exit_price",
    "exit_time", "pnl_pct", "pnl_amount", "id", "model_id", "market", "exit_reason", "fees", "qty_ordered",
}  # fmt: skip


def only(books: Books) -> dict[str, Any]:
    [trade] = view_of(books)["trades"]
    return trade


# --- a trade's life -------------------------------------------------------------------------------------------------


def test_an_intent_is_a_pending_trade_of_no_shares_with_the_levels_it_asks_for() -> None:
    books = Books(local_time, [intent()])
    trade = only(books)
    assert (trade["status"], trade["qty"], trade["qty_ordered"], trade["price"]) == ("PENDING", 0, 5, 100.0)
    assert (trade["stop_loss"], trade["take_profit"]) == pytest.approx((98.0, 104.0))
    assert list(books.live_trades()) == ["NVDA"]


def test_a_fill_opens_the_trade_with_what_the_broker_said() -> None:
    books = Books(local_time, [intent(), told("fill", price=101.5, qty=3, minute=OPEN + 2)])
    trade = only(books)
    assert (trade["status"], trade["qty"], trade["price"], trade["qty_ordered"]) == ("OPEN", 3, 101.5, 5)
    assert (trade["stop_loss"], trade["take_profit"]) == (101.5 * 0.98, 101.5 * 1.04)
    assert trade["entry_time"] == local_time(OPEN + 2)
    assert books.live_trades()["NVDA"].entry_minute == OPEN + 2
    assert trade["exit_price"] is trade["exit_time"] is trade["pnl_amount"] is trade["pnl_pct"] is None


def test_the_sale_closes_the_trade_at_the_fills_and_by_the_documented_sums() -> None:
    books = Books(local_time, [intent(), BOUGHT, STOPPED])
    trade = only(books)
    assert (trade["status"], trade["exit_reason"]) == ("CLOSED", "stop")
    assert (trade["price"], trade["exit_price"], trade["qty"]) == (100.03, 98.0, 5)
    assert trade["pnl_amount"] == pytest.approx((98.0 - 100.03) * 5 - trade["fees"], abs=1e-4)
    assert trade["pnl_pct"] == pytest.approx(trade["pnl_amount"] / (100.03 * 5))
    assert trade["exit_time"] == local_time(OPEN + 9)
    assert books.live_trades() == {}


def test_fees_are_taken_off_once() -> None:
    books = Books(local_time, [intent(), BOUGHT])
    books.live_trades()["NVDA"].fees = 1.25
    books.apply(STOPPED)
    trade = only(books)
    assert trade["pnl_amount"] == pytest.approx(-10.15 - 1.25)
    assert trade["pnl_pct"] == pytest.approx(-11.4 / 500.15)


@pytest.mark.parametrize(("kind", "status"), [("rejected", "REJECTED"), ("cancelled", "CANCELLED")])
def test_an_entry_that_came_to_nothing_says_why_and_frees_its_symbol(
    kind: Literal["rejected", "cancelled"], status: str
) -> None:
    books = Books(local_time, [intent(), told(kind, reason="not enough cash")])
    trade = only(books)
    assert (trade["status"], trade["exit_reason"], trade["qty"]) == (status, "not enough cash", 0)
    assert books.live_trades() == {}


def test_a_sale_that_came_to_nothing_leaves_the_trade_open() -> None:
    books = Books(local_time, [intent(), BOUGHT, told("cancelled", "SELL", reason="withdrawn")])
    assert only(books)["status"] == "OPEN"
    assert list(books.live_trades()) == ["NVDA"]


def test_two_trades_of_one_symbol_stand_beside_each_other_in_order() -> None:
    second = [intent("NVDA-2", minute=OPEN + 20), told("fill", price=90.0, order_id="NVDA-2", minute=OPEN + 21)]
    trades = view_of(Books(local_time, [intent(), BOUGHT, STOPPED, *second]))["trades"]
    assert [(t["id"], t["status"], t["price"]) for t in trades] == [
        ("NVDA-1", "CLOSED", 100.03),
        ("NVDA-2", "OPEN", 90.0),
    ]


def test_symbols_do_not_mix() -> None:
    other = [intent("AMD-1", "AMD", 50.0), told("fill", price=50.0, order_id="AMD-1", symbol="AMD")]
    books = Books(local_time, [intent(), *other, BOUGHT, STOPPED])
    assert {t.symbol: t.status for t in books.trades.values()} == {"NVDA": "CLOSED", "AMD": "OPEN"}


def test_an_execution_of_nobodys_trade_is_said_and_changes_no_trade(caplog: pytest.LogCaptureFixture) -> None:
    books = Books(local_time, [told("fill", "SELL", 10.0, symbol="GME")])
    assert view_of(books)["trades"] == []
    assert "GME: fill of 5 shares belongs to no trade of ours" in caplog.text


# --- heard twice, added up again ------------------------------------------------------------------------------------

EXECUTIONS = [place for place, event in enumerate(STORY) if event["kind"] == "execution"]


@given(st.lists(st.tuples(st.sampled_from(EXECUTIONS), st.integers(0, len(STORY))), max_size=8))
def test_hearing_an_execution_again_at_any_later_time_changes_nothing(echoes: Sequence[tuple[int, int]]) -> None:
    story = []
    for place, event in enumerate(STORY):
        story.append(event)
        story += [STORY[heard] for heard, when in echoes if heard <= place <= when]
    assert view_of(Books(local_time, story)) == view_of(Books(local_time, STORY))


def test_an_execution_is_known_once_it_was_heard() -> None:
    books, execution = Books(local_time, [intent()]), Execution(**BOUGHT["execution"])
    assert not books.heard(execution)
    books.apply(BOUGHT)
    assert books.heard(execution)


def test_the_journal_on_disk_adds_up_to_the_same_books(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    day = {"minute": OPEN + 31, "equity": 99_987.65, "cash": 99_500.0}
    rest = [("minute", day), ("plan", {"close": {"NVDA": "stop"}}), ("model", {"model_id": "m"})]
    rest.append(("duty", {"duty": "train", "session": "2026-03-02", "outcome": "done", "words": ""}))
    live = Books(local_time)
    with Journal(path, STAMP) as journal:
        for event in STORY:
            fields = {name: value for name, value in event.items() if name not in ("n", "kind")}
            live.apply(journal.append(event["kind"], **fields))
        for kind, fields in rest:
            live.apply(journal.append(kind, **fields))
    again = Books(local_time, read_events(path))
    assert view_of(again) == view_of(live)
    assert again.live_trades() == live.live_trades()
    assert again.exit_plan == live.exit_plan == {"NVDA": "stop"}
    assert again.duties == live.duties == {("train", "2026-03-02"): "done"}
    assert again.equity == live.equity == [(local_time(OPEN + 31), 99_987.65)]
    assert again.last_minute == OPEN + 31


def test_a_planned_sale_is_done_once_the_trade_is_closed_and_a_new_plan_replaces_the_old() -> None:
    books = Books(local_time, [intent(), BOUGHT, {"n": 3, "kind": "plan", "close": {"NVDA": "stop", "AMD": "target"}}])
    books.apply(STOPPED)
    assert books.exit_plan == {"AMD": "target"}
    books.apply({"n": 4, "kind": "plan", "close": {}})
    assert books.exit_plan == {}


# --- the view -------------------------------------------------------------------------------------------------------


def test_a_trade_has_the_documented_fields_and_a_closed_one_holds_no_null() -> None:
    view = view_of(Books(local_time, STORY))
    assert view["schema"] == 1
    assert all(set(trade) >= DOCUMENTED for trade in view["trades"])
    closed = [trade for trade in view["trades"] if trade["status"] == "CLOSED"]
    assert len(closed) == 1
    assert None not in closed[0].values()
    assert closed[0]["model_id"] == "20260301_200000"
    assert (closed[0]["market"], closed[0]["side"], closed[0]["confidence"]) == ("simulated", "BUY", 0.71)


def test_times_are_iso_8601_with_the_offset_of_new_york() -> None:
    trade = only(Books(local_time, [intent(), BOUGHT, STOPPED]))
    assert (trade["entry_time"], trade["exit_time"]) == ("2026-03-02T09:31:00-05:00", "2026-03-02T09:39:00-05:00")


def test_a_signal_is_in_the_view_with_its_documented_fields() -> None:
    [signal] = view_of(Books(local_time, [SIGNAL]))["signals"]
    assert signal == {name: value for name, value in SIGNAL.items() if name not in ("n", "kind")}


@pytest.mark.parametrize("lost", range(5))
def test_books_survive_the_loss_of_any_one_line(lost):
    second = intent("NVDA-2", minute=OPEN + 20)
    story = [intent(), BOUGHT, STOPPED, second, told("fill", price=97.0, order_id="NVDA-2", minute=OPEN + 21)]
    heard = [e for e in story if e["kind"] == "execution"]
    books = Books(local_time, story[:lost] + story[lost + 1 :])
    for event in heard:  # what the broker's recent_executions tell again at start
        books.apply(event)
    by_id = {t.id: (t.status, t.exit_price) for t in books.trades.values()}
    if lost in (1, 2, 4):  # an execution's line: the broker's word mends it
        assert by_id == {"NVDA-1": ("CLOSED", 98.0), "NVDA-2": ("OPEN", None)}
    elif lost == 0:
        assert by_id == {"NVDA-2": ("OPEN", None)}
    else:
        assert by_id == {"NVDA-1": ("CLOSED", 98.0)}


# --- why, and silence ------------------------------------------------------------------------------------------------

SPOKE = [{"feature": "rsi_14", "value": 0.3, "contribution": 0.05}]


def test_what_spoke_for_a_purchase_stands_with_its_trade() -> None:
    books = Books(local_time, [intent(), BOUGHT])
    books.changed.clear()
    books.apply({"n": 3, "kind": "why", "order_id": "NVDA-1", "spoke": SPOKE})
    assert list(books.changed) == ["NVDA-1"]
    assert only(books)["why"] == SPOKE
    assert only(Books(local_time, [intent()]))["why"] == []


def test_reasons_of_a_purchase_whose_intent_was_lost_are_passed_over() -> None:
    books = Books(local_time, [{"n": 3, "kind": "why", "order_id": "NVDA-1", "spoke": SPOKE}])
    assert view_of(books)["trades"] == []


def test_a_trade_keeps_the_models_own_confidence_which_is_the_same_where_nothing_lowered_it() -> None:
    lowered = only(Books(local_time, [{**intent(), "model_confidence": 0.83}]))
    assert (lowered["confidence"], lowered["model_confidence"]) == (0.71, 0.83)
    assert only(Books(local_time, [intent()]))["model_confidence"] == 0.71


def test_silent_sessions_are_those_of_the_newest_session_in_the_books() -> None:
    sessions = [{"n": n, "kind": "session", "day": f"2026-03-0{n}", "silent_sessions": n} for n in (2, 3)]
    assert Books(local_time, sessions).silent_sessions == 3
    earlier = {"n": 4, "kind": "session", "day": "2026-03-04"}  # written before sessions told of it
    assert Books(local_time, [*sessions, earlier]).silent_sessions == 0


def day_minute(day: int, hhmm: str = "10:00") -> int:
    return epoch_minute(at_new_york(date(2026, 3, day), hhmm))


@pytest.mark.parametrize("wrong_day", [2, 4])
def test_a_clock_that_leaves_the_day_and_comes_back_counts_losses_and_orders_as_before(wrong_day: int) -> None:
    books = Books(local_time)
    books.apply({"kind": "account", "cash": 1000.0, "settled": 1000.0})
    books.apply({"kind": "minute", "minute": day_minute(3), "equity": 1000.0})
    books.apply(intent("t-1", minute=day_minute(3)))
    books.apply({"kind": "minute", "minute": day_minute(3, "10:01"), "equity": 971.0})
    books.apply({"kind": "minute", "minute": day_minute(wrong_day), "equity": 971.0})
    books.apply(intent("t-2", minute=day_minute(wrong_day)))
    books.apply({"kind": "minute", "minute": day_minute(3, "10:03"), "equity": 971.0})
    assert books.opening_equity(day_minute(3, "10:04")) == 1000.0
    assert books.orders_on_day(day_minute(3, "10:04")) == 1


def test_the_signals_of_a_day_are_those_of_its_new_york_date() -> None:
    books = Books(local_time)
    for day in (2, 3, 4):
        for hhmm in ("09:31", "16:00"):
            books.apply(SIGNAL | {"timestamp": local_time(day_minute(day, hhmm))})
    assert [s["timestamp"][:16] for s in books.signals_on("2026-03-03")] == ["2026-03-03T09:31", "2026-03-03T16:00"]
    assert len(books.signals) == 6
    assert books.signals_on("2026-03-05") == []


def test_a_fill_has_the_last_word_over_an_entry_that_was_thought_refused() -> None:
    refused = told("rejected", reason="refused")
    books = Books(local_time, [intent(), refused, told("fill", price=100.03, reason="fill")])
    trade = books.trades["NVDA-1"]
    assert (trade.status, trade.qty, trade.exit_reason) == ("OPEN", 5, None)
    assert list(books.live_trades()) == ["NVDA"]

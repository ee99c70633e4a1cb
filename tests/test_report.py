"""The report says what the books say: to the cent, safely, and in words where there is nothing to count."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pytest
from reporting import CARD, EARLIER_CARD, HOSTILE, REVIEW, BooksOnDisk, Events, Page
from trading import settings_in

import report
from desk.halt import ask_to_halt
from desk.journal import Journal
from desk.orders import Execution
from learning.followed import COLUMNS, Followed, follow
from market.bar_store import BarStore
from market.bars import NoBars
from market.hours import epoch_minute, moment, sessions_between
from market.simulated_feed import BANNER
from ml_predictor import MLPredictor
from trader import LiveTrader, local_time

DAY = "2026-03-02"


@pytest.fixture
def books(tmp_path: Path) -> BooksOnDisk:
    return BooksOnDisk(settings_in(tmp_path))


def at(hhmm: str, day: str = DAY) -> int:
    return epoch_minute(pd.Timestamp(f"{day} {hhmm}", tz="America/New_York"))


def signal(symbol: str, hhmm: str, reason: str = "bought", day: str = DAY) -> Events:
    event = {"kind": "signal", "symbol": symbol, "price": 100.0, "confidence": 0.7, "reason": reason}
    return [event | {"timestamp": local_time(at(hhmm, day)), "taken": reason == "bought"}]


def execution(symbol: str, side: str, hhmm: str, qty: int, price: float, reason: str, day: str = DAY) -> Events:
    kind = "fill" if reason in ("entry", "stop", "target", "time") else "cancelled"
    name = f"{day}-{symbol}-{hhmm}"
    levels = (price * 0.98, price * 1.04) if side == "BUY" else (None, None)
    done = Execution(f"{name}/{kind}", kind, name, symbol, side, qty, price, at(hhmm, day), reason, *levels)
    return [{"kind": "execution", "execution": asdict(done)}]


def ordered(symbol: str, hhmm: str, qty: int, price: float, day: str = DAY) -> Events:
    order = {"order_id": f"{day}-{symbol}-{hhmm}", "symbol": symbol, "qty": qty, "price": price, "confidence": 0.7}
    order |= {"minute": at(hhmm, day), "stop_loss": 0.02, "take_profit": 0.04}
    return [
        {"kind": "intent", "model_id": CARD["stamp"], "market": "recorded", **order},
        *signal(symbol, hhmm, day=day),
    ]


def bought(symbol: str, hhmm: str, qty: int, price: float, day: str = DAY) -> Events:
    return ordered(symbol, hhmm, qty, price, day) + execution(symbol, "BUY", hhmm, qty, price, "entry", day)


def sold(symbol: str, hhmm: str, qty: int, price: float, reason: str = "target", day: str = DAY) -> Events:
    return execution(symbol, "SELL", hhmm, qty, price, reason, day)


def spoke(symbol: str, hhmm: str, *features: tuple[str, float, float], day: str = DAY) -> Events:
    why = [{"feature": name, "value": value, "contribution": added} for name, value, added in features]
    return [{"kind": "why", "order_id": f"{day}-{symbol}-{hhmm}", "spoke": why}]


def minutes(*equity: float, first: str = "09:30", day: str = DAY) -> Events:
    start = at(first, day)
    return [{"kind": "minute", "minute": start + i, "equity": usd, "cash": usd} for i, usd in enumerate(equity)]


def ended(day: str = DAY, **changes: object) -> Events:
    event = {"kind": "session", "day": day, "predicted": 390, "not_predicted": 2, "threshold": 0.65}
    event |= {"highest_confidence": 0.61, "highest_symbol": "AAPL", "highest_time": "13:13", "break_even": 0.43}
    return [event | {"signals_at": {"0.60": 3, "0.55": 8, "0.50": 20}} | changes]


def duty(outcome: str, words: str, name: str = "train") -> Events:
    return [{"kind": "duty", "duty": name, "session": DAY, "outcome": outcome, "words": words}]


A_DAY = (
    minutes(100_000.0, 100_001.5, 99_958.25),
    bought("AAPL", "10:00", 5, 250.01) + sold("AAPL", "11:00", 5, 260.0133),
    bought("NVDA", "10:05", 3, 180.504) + sold("NVDA", "12:00", 3, 176.9, "stop"),
    bought("MSFT", "10:06", 1, 400.0) + sold("MSFT", "13:00", 1, 400.0, "time"),
    bought("TSLA", "14:00", 2, 301.25),
    ordered("META", "15:59", 4, 700.0) + execution("META", "BUY", "15:59", 4, 0.0, "expired"),
    ended(highest_confidence=0.7),
    duty("done", "20260302_200000 serves from now on"),
)


def store_bars(books: BooksOnDisk, now: str) -> None:
    """AAPL's bars of DAY, as they are kept when they are fetched at `now`."""
    (session,) = sessions_between(date.fromisoformat(DAY), date.fromisoformat(DAY))

    def fetch(symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        times = pd.date_range(start, end, freq="min", inclusive="left").as_unit("us")
        prices = dict.fromkeys(("open", "high", "low", "close"), 250.0)
        return pd.DataFrame({"symbol": "AAPL", "timestamp": times, **prices, "volume": 1e5})

    store = BarStore(books.settings.DATA_DIR / "bars")
    assert len(list(store.update(fetch, "iex", ["AAPL"], [session], moment(at(now))))) == 1


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_each_closed_trade_stands_in_the_page_as_in_the_books_to_the_cent(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    rows = books.page().tables["Closed trades, newest first"]
    assert rows[0][:4] == ["symbol", "P&L, USD", "P&L, %", "sold by"]
    assert [row[:5] + row[6:] for row in rows[1:]] == [
        ["MSFT", "+0.00", "+0.00%", "time", "2026-03-02 10:06", "1", "400.00", "400.00", "0.70"],
        ["NVDA", "-10.81", "-2.00%", "stop", "2026-03-02 10:05", "3", "180.50", "176.90", "0.70"],
        ["AAPL", "+50.02", "+4.00%", "target", "2026-03-02 10:00", "5", "250.01", "260.01", "0.70"],
    ]


def test_each_trade_has_the_features_that_spoke_for_it_with_what_they_added(
    books: BooksOnDisk,
) -> None:
    why = (("bar_range", 0.0, 0.1319), ("rsi_14", 0.1497, 0.0728), ("atr_14", 0.001, 0.02))
    books.write(bought("AAPL", "10:00", 5, 250.0) + spoke("AAPL", "10:00", *why))
    books.write(sold("AAPL", "11:00", 5, 260.0), bought("NVDA", "12:00", 5, 180.0), spoke("NVDA", "12:00", why[2]))
    tables = books.page().tables
    assert tables["What spoke for AAPL at 2026-03-02 10:00"] == [
        ["spoke for it", "its value", "added to the model's score"],
        ["bar_range", "0", "+0.132"],
        ["rsi_14", "0.15", "+0.073"],
        ["atr_14", "0.001", "+0.020"],
    ]
    assert tables["What spoke for NVDA at 2026-03-02 12:00"][1:] == [["atr_14", "0.001", "+0.020"]]


def test_page_terminal_and_summary_agree_on_performance(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    summary = LiveTrader(books.settings).get_performance_summary()
    for words in (books.page().text, " ".join(books.terminal().split())):
        assert f"total P&L {summary['total_pnl']:+.2f} USD" in words
        assert "total P&L +39.20 USD" in words
        assert "closed trades 3" in words
        assert "win rate 33.33%" in words
        assert "average win +4.00%" in words
        assert "average loss -1.00%" in words
        assert "profit factor 4.63" in words
        assert "max drawdown 0.04%" in words
        assert "equity 99,958.25 USD" in words


def test_a_profit_factor_needs_a_loss(books: BooksOnDisk) -> None:
    books.write(bought("AAPL", "10:00", 5, 250.0), sold("AAPL", "11:00", 5, 260.0))
    assert "profit factor - " in books.page().text
    assert "average loss - " in books.page().text
    assert "average win +4.00%" in books.page().text


def test_a_session_whose_bars_are_fetched_by_half_is_not_compared_before_it_is_whole(books: BooksOnDisk) -> None:
    books.belong_to("alpaca")
    books.write(minutes(100_000.0, 100_001.5), bought("AAPL", "10:00", 5, 250.01))
    store_bars(books, "12:00")
    page = books.page().text
    assert "random portfolios" not in page
    assert "no complete session from 2026-03-02" in page
    store_bars(books, "16:00")
    assert "random portfolios" in books.page().text


def test_where_no_closed_trade_can_be_priced_the_page_says_so(books: BooksOnDisk) -> None:
    books.write(minutes(100_000.0), bought("GME", "10:00", 5, 250.0), sold("GME", "11:00", 5, 260.0))
    store_bars(books, "16:00")
    page = books.page()
    assert "No closed trade could be priced from stored bars" in page.text
    assert "P&L by price" not in page.tables


def test_an_open_position_shows_its_levels(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    assert books.page().tables["Open positions"][1] == [
        "TSLA", "2", "301.25", "295.23", "313.30", "2026-03-02 14:00", "0.70",
    ]  # fmt: skip
    assert re.search(r"03-02 14:00 +TSLA +2 +301.25 +295.23 +313.30 +0.70", books.terminal())


def test_an_order_that_was_never_filled_is_counted_with_its_reason(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    assert "1 order not filled: 1 cancelled (expired)." in books.page().text
    assert "orders not filled: 1 cancelled (expired)" in books.terminal()


def test_signals_not_taken_are_counted_by_reason(books: BooksOnDisk) -> None:
    held = signal("AAPL", "10:10", "already held") + signal("AAPL", "10:20", "already held")
    books.write(bought("AAPL", "10:00", 5, 250.0), held, signal("NVDA", "10:30", "watching only (--no-entries)"))
    assert books.page().tables["Signals not taken"][1:] == [
        ["already held", "2"],
        ["watching only (--no-entries)", "1"],
    ]
    assert "not taken: 2 already held, 1 watching only (--no-entries)" in books.terminal()
    assert "4 signals at the threshold, 1 taken" in books.terminal()


def test_trades_are_listed_up_to_ten_on_the_terminal_and_all_in_the_page(books: BooksOnDisk) -> None:
    books.write(*(bought("AAPL", f"10:{i:02}", 1, 100.0) + sold("AAPL", f"11:{i:02}", 1, 101.0) for i in range(12)))
    assert len(re.findall(r"03-02 10:\d\d", books.terminal())) == 10
    assert "the last 10 of 12" in books.terminal()
    assert len(books.page().tables["Closed trades, newest first"]) == 1 + 12


def test_signals_turned_down_for_what_was_learnt_are_counted_together(books: BooksOnDisk) -> None:
    cost = [f"learnt from outcomes: confidence 0.7{i} becomes 0.5{i}" for i in range(3)]
    books.write(*(signal("NVDA", f"10:3{i}", reason) for i, reason in enumerate(cost)), ended(highest_confidence=0.7))
    assert books.page().tables["Signals not taken"][1:] == [["learnt from outcomes", "3"]]
    assert "not taken: 3 learnt from outcomes" in books.terminal()
    assert words_of_the_day(books).startswith("No signal led to a purchase: 3 learnt from outcomes; highest confidence")


def test_the_curve_keeps_a_single_deep_minute_of_a_long_history(books: BooksOnDisk) -> None:
    usd = [100_000.0 + i % 7 for i in range(5000)]
    usd[3338] = 99_000.0
    books.write(minutes(*usd))
    html = books.html()
    points = re.search(r'points="([^"]+)"', html)
    assert points is not None
    heights = [float(point.split(",")[1]) for point in points[1].split()]
    assert len(heights) <= 800
    assert heights.count(max(heights)) == 1
    assert max(heights) > 3 * sorted(heights)[-2]
    assert "lowest 99,000.00" in html


def test_the_curve_has_titles_and_dates_for_those_who_do_not_see_it(books: BooksOnDisk) -> None:
    books.write(minutes(100_000.0, 100_010.0), minutes(100_020.0, 100_030.0, 100_030.0, day="2026-03-03"))
    page = books.page()
    assert {"title", "desc", "header", "main", "section", "h1", "h2"} <= page.tags
    referred = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert {word for value in referred for word in value.split()} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "Mar 02" in page.text
    assert "Mar 03" in page.text


# --- silence, and what went wrong ------------------------------------------------------------------------------------


def words_of_the_day(books: BooksOnDisk) -> str:
    words = report.read_report(books.settings).sessions[-1]["words"]
    assert words in books.page().text
    assert words in books.terminal(width=400)
    return str(words)


def test_a_silent_session_says_how_near_it_came(books: BooksOnDisk) -> None:
    books.write(minutes(100_000.0), ended())
    assert words_of_the_day(books) == (
        "No buy signals generated: highest confidence 0.61 (AAPL at 13:13), threshold 0.65, break-even 0.43; "
        "signals there would have been: 3 at 0.60, 8 at 0.55, 20 at 0.50."
    )


def test_a_confidence_just_below_the_threshold_does_not_read_as_if_it_had_reached_it(books: BooksOnDisk) -> None:
    books.write(ended(highest_confidence=0.6497))
    assert "highest confidence 0.6497 (AAPL at 13:13), threshold 0.65" in words_of_the_day(books)


def test_thresholds_that_are_not_lower_are_not_named(books: BooksOnDisk) -> None:
    books.write(ended(threshold=0.55, highest_confidence=0.52, break_even=None))
    assert words_of_the_day(books).endswith("threshold 0.55; signals there would have been: 20 at 0.50.")


def test_signals_that_led_to_no_purchase_are_not_called_silence(books: BooksOnDisk) -> None:
    books.write(signal("AAPL", "10:00", "already held"), ended(highest_confidence=0.7))
    assert words_of_the_day(books).startswith("No signal led to a purchase: 1 already held; highest confidence 0.70")


def test_an_order_that_found_no_fill_is_not_called_silence(books: BooksOnDisk) -> None:
    books.write(ordered("META", "15:59", 4, 700.0), execution("META", "BUY", "15:59", 4, 0.0, "expired"))
    books.write(ended(highest_confidence=0.7))
    assert words_of_the_day(books).startswith("No signal led to a purchase: no order was filled")


def test_a_session_says_how_many_in_a_row_were_silent(books: BooksOnDisk) -> None:
    books.write(ended(silent_sessions=1), ended("2026-03-03", silent_sessions=2))
    assert "; silent for 2 sessions;" in words_of_the_day(books)
    head, newest, oldest = books.page().tables["Sessions, newest first"]
    column = head.index("silent in a row")
    assert (newest[column], oldest[column]) == ("2", "1")
    assert "Silent in a row: sessions up to this one without a confidence at the threshold." in books.page().text


def test_a_session_of_an_earlier_version_does_not_tell_how_long_it_was_silent(books: BooksOnDisk) -> None:
    books.write(ended())
    head, row = books.page().tables["Sessions, newest first"]
    assert row[head.index("silent in a row")] == "-"


def test_a_session_without_predictions_says_so(books: BooksOnDisk) -> None:
    books.write(ended(predicted=0, highest_confidence=0.0, highest_symbol="", highest_time="", break_even=None))
    assert words_of_the_day(books).startswith("Nothing was predicted")


def test_a_session_that_is_still_running_says_so(books: BooksOnDisk) -> None:
    books.write(minutes(100_000.0, 100_000.0))
    assert words_of_the_day(books).startswith("The session has not ended in these books")


def test_a_session_that_bought_needs_no_explanation(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    assert report.read_report(books.settings).sessions[0]["words"] == ""
    assert "Why nothing was bought" not in books.page().text


def test_a_failed_training_is_named_with_its_reason(books: BooksOnDisk) -> None:
    books.write(duty("done", "fine"), duty("failed", "Insufficient training data: 7"), duty("done", "", "rebalance"))
    assert "train of 2026-03-02 failed: Insufficient training data: 7" in books.terminal()
    assert re.search(r"train +1 done, 1 failed", books.terminal())
    assert [DAY, "train", "failed", "Insufficient training data: 7"] in books.page().tables["Duties, newest first"]


# --- empty, hostile, simulated ---------------------------------------------------------------------------------------


def test_books_without_an_event_are_explained_in_words(books: BooksOnDisk) -> None:
    books.write()
    text = books.page().text
    for words in (
        "no minute of a session yet",
        "there is no performance to measure",
        "too few for a curve",
        "No position is open.",
        "No trade has closed yet.",
        "No buy signals generated",
        "No minute of a session is in the books yet.",
        "No trained model found",
        "No evening has been reviewed yet",
        "No model has been trained yet",
        "No model with importances is there yet",
        "No duty has been due yet",
    ):
        assert words in text
    assert "none yet" in books.terminal()


def test_an_account_that_never_moved_has_no_curve_but_a_sentence(books: BooksOnDisk) -> None:
    books.write(minutes(100_000.0, 100_000.0))
    assert "Equity has stood at 100,000.00 USD in all 2 minutes" in books.page().text


@pytest.mark.parametrize("card", [CARD, EARLIER_CARD])
@pytest.mark.parametrize("story", [A_DAY, (minutes(1e5, 1e5 + 1),), (ended(break_even=None),), ()])
def test_no_page_shows_a_missing_number_as_nan_or_none(
    books: BooksOnDisk, story: tuple[Events, ...], card: dict[str, object]
) -> None:
    books.write(*story)
    books.serve(card)
    books.review(REVIEW)
    page = books.page()
    shown = " ".join([page.text, *(value for _, value in page.attributes if _ != "preserveaspectratio")])
    assert re.findall(r"(?i)\b(nan|nat|none|null|inf(?:inity)?)\b", shown) == []


@pytest.mark.parametrize("story", [A_DAY, ()])
def test_a_page_refers_to_nothing_outside_itself(books: BooksOnDisk, story: tuple[Events, ...]) -> None:
    books.write(*story)
    books.serve(CARD)
    books.review(REVIEW)
    html = books.html()
    without_icon = html.replace('<link rel="icon" href="data:,">', "")  # else a browser asks for one
    assert re.findall(r"(?i)https?:|src=|href=.[^#]|@import|url\(|fetch\(|XMLHttp|sendBeacon", without_icon) == []
    assert not {"img", "iframe", "object"} & Page(html).tags
    assert html.count("<script>") == 1


def test_the_contents_lead_to_every_section(books: BooksOnDisk) -> None:
    books.write()
    page = books.page()
    hrefs = [value for name, value in page.attributes if name == "href" and value not in ("data:,", "#main")]
    led = [value.removeprefix("#") for value in hrefs]
    sections = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert led == sections
    assert set(led) <= set(page.ids)
    assert led[7:14] == [
        "can-it-be-believed", "what-a-confidence-meant", "what-outcomes-taught", "drift", "verified-live", "models",
        "importances-over-models",
    ]  # fmt: skip


def test_a_hostile_name_is_shown_and_never_obeyed(books: BooksOnDisk) -> None:
    books.write(
        minutes(1e5, 1e5 + 1),
        bought(HOSTILE, "10:00", 5, 250.0) + sold(HOSTILE, "11:00", 5, 260.0, "time"),
        bought(HOSTILE, "12:00", 5, 250.0),
        signal(HOSTILE, "12:10", HOSTILE),
        ordered(HOSTILE + "2", "12:12", 5, 250.0) + execution(HOSTILE + "2", "BUY", "12:12", 5, 0.0, HOSTILE),
        ordered(HOSTILE + "3", "12:13", 5, 250.0),
        ended(highest_symbol=HOSTILE),
        ended("2026-03-03", highest_symbol=HOSTILE),
        duty("failed", HOSTILE),
    )
    importances = [{"feature": HOSTILE, "permutation": 0.1, "standard_error": 0.1, "impurity": 0.1}]
    books.serve(CARD | {"reason": HOSTILE, "publish_reason": HOSTILE, "importances": importances})
    shown = ("costs", "turned_down", "win_rates", "drift", "verification", "followed")
    books.review(REVIEW | {name: _made_hostile(REVIEW[name]) for name in shown})
    page = books.page()
    assert page.scripts == 1  # its own
    assert page.text.count(HOSTILE) == 41
    assert books.terminal(width=400).count(HOSTILE) == 8


def _made_hostile(value: object) -> object:
    """The same record with HOSTILE in place of each text, but for lights and times."""
    if isinstance(value, dict):
        kept = ("light", "timestamp")
        return {name: each if name in kept else _made_hostile(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_made_hostile(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("market", ["simulated", "recorded"])
def test_only_a_simulated_market_carries_the_banner(books: BooksOnDisk, market: str) -> None:
    books.write(*A_DAY)
    books.belong_to(market)
    for words in (books.page().text, " ".join(books.terminal(width=80).replace("│", " ").split())):
        assert f"{market} (feed {market})" in words
        assert (BANNER in words) == ("SIMULATED MARKET" in words) == (market == "simulated")


def test_no_line_of_the_terminal_is_wider_than_80_columns(books: BooksOnDisk) -> None:
    books.write(*A_DAY, bought("BRK.B", "10:00", 500, 1_234.5), sold("BRK.B", "11:00", 500, 1_200.0, "target"))
    row = next(line for line in books.terminal(width=80).splitlines() if "BRK.B" in line)
    assert row.split() == [
        "03-02", "10:00", "BRK.B", "500", "1,234.50", "1,200.00", "target", "-17,250.00", "-2.79%", "0.70",
    ]  # fmt: skip


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("story", [A_DAY, ()])
def test_frames_are_tidy_also_when_empty(books: BooksOnDisk, story: tuple[Events, ...]) -> None:
    books.write(*story)
    equity, trades, signals = (read(books.settings) for read in (report.equity, report.trades, report.signals))
    assert list(equity) == ["time", "equity"]
    assert list(signals) == ["symbol", "price", "confidence", "timestamp", "taken", "reason"]
    for times in (equity["time"], trades["entry_time"], trades["exit_time"], signals["timestamp"]):
        assert str(times.dt.tz) == "America/New_York"
    assert {str(trades[name].dtype) for name in ("exit_price", "pnl_amount", "pnl_pct")} == {"float64"}
    assert signals["taken"].dtype == bool
    assert (len(equity), len(trades), len(signals)) == ((3, 5, 5) if story else (0, 0, 0))


def test_a_trade_without_exit_is_nan_in_the_frame(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    trades = report.trades(books.settings).set_index("symbol")
    assert trades.loc["TSLA", ["exit_time", "exit_price", "pnl_amount"]].isna().all()
    assert trades.loc["AAPL", "pnl_amount"] == pytest.approx(50.0165)
    assert str(trades.loc["AAPL", "exit_time"]) == "2026-03-02 11:00:00-05:00"


def test_sessions_and_duties_are_frames(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    (session,) = report.sessions(books.settings).to_dict("records")
    assert (session["day"], session["bought"], session["sold"]) == (DAY, 4, 3)
    assert session["pnl"] == pytest.approx(39.204, abs=0.01)
    (done,) = report.duties(books.settings).to_dict("records")
    assert done == {
        "session": DAY, "duty": "train", "outcome": "done", "words": "20260302_200000 serves from now on",
    }  # fmt: skip


def test_frames_need_no_settings_to_be_named(books: BooksOnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    books.write(*A_DAY)
    monkeypatch.setenv("MODELS_DIR", str(books.settings.MODELS_DIR))
    assert len(report.trades()) == 5


def test_exposure_is_what_is_held_in_each_minute_and_no_longer(books: BooksOnDisk) -> None:
    books.write(*A_DAY)  # minutes 9:30 to 9:32 only: before the first purchase
    told = report.read_report(books.settings)
    assert told.exposure().tolist() == [0.0, 0.0, 0.0]
    times = pd.to_datetime([f"{DAY} {clock}" for clock in ("10:00", "10:30", "11:00", "13:30", "15:00")])
    whole = replace(told, equity=pd.DataFrame({"time": times.tz_localize("America/New_York"), "equity": 1e5}))
    aapl, nvda, msft, tsla = 5 * 250.01, 3 * 180.504, 400.0, 2 * 301.25
    expected = [aapl, aapl + nvda + msft, nvda + msft, 0.0, tsla]
    assert whole.exposure().tolist() == pytest.approx([usd / 1e5 for usd in expected])


def test_a_halt_stands_first_in_page_and_terminal(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    assert "not halted" in books.page().text
    ask_to_halt(books.settings.MODELS_DIR, "earnings week", "2026-03-02 15:00")
    words = "2026-03-02 15:00 earnings week. Nothing is bought until python live_trader.py --resume"
    assert f"HALTED {words}" in books.page().text
    assert f"HALTED: {words}" in books.terminal()
    assert "not halted" not in books.page().text


def test_trader_and_predictor_say_in_a_line_what_they_are(books: BooksOnDisk) -> None:
    books.write(*A_DAY)
    books.serve(CARD)
    assert repr(LiveTrader(books.settings)) == (
        "LiveTrader(3 closed trades, +39.20 USD, win rate 33%; 1 open; books to 2026-03-02T09:32)"
    )
    assert repr(MLPredictor(books.settings)) == (
        "MLPredictor(market recorded; model random_forest 20260227_200000, unproven: too few signals: 7)"
    )


def test_a_predictor_without_a_model_says_so_instead_of_failing(books: BooksOnDisk) -> None:
    assert "model No trained model found" in repr(MLPredictor(books.settings))


def test_trades_that_were_not_made_are_a_frame(books: BooksOnDisk) -> None:
    assert list(report.followed(books.settings)) == COLUMNS
    when = pd.Timestamp("2026-03-02 15:00", tz="UTC")
    new = pd.DataFrame([{"symbol": "AAPL", "timestamp": when, "kind": "shadow", "confidence": 0.6}])
    books.settings.MODELS_DIR.mkdir(parents=True, exist_ok=True)
    Followed(books.settings.MODELS_DIR / "followed_trades.jsonl").write(follow(new[:0], new))
    frame = report.followed(books.settings)
    assert frame[["symbol", "timestamp", "confidence"]].to_numpy().tolist() == [["AAPL", when, 0.6]]


def test_learnt_costs_are_a_frame_with_a_row_per_review_and_symbol(books: BooksOnDisk) -> None:
    empty = report.costs(books.settings)
    assert (len(empty), list(empty)[:3]) == (0, ["session", "symbol", "legs"])
    books.review(REVIEW, REVIEW | {"session": "2026-03-03", "costs": REVIEW["costs"][:1]})
    frame = report.costs(books.settings)
    assert list(frame) == list(empty)
    assert frame[["session", "symbol", "extra_cost"]].to_numpy().tolist() == [
        ["2026-03-02", "AAPL", 0.0], ["2026-03-02", "NVDA", 0.0042], ["2026-03-03", "AAPL", 0.0],
    ]  # fmt: skip


# --- the door --------------------------------------------------------------------------------------------------------


@pytest.fixture
def door(books: BooksOnDisk, monkeypatch: pytest.MonkeyPatch) -> BooksOnDisk:
    monkeypatch.setenv("MODELS_DIR", str(books.settings.MODELS_DIR))
    monkeypatch.setenv("DATA_DIR", str(books.settings.DATA_DIR))
    monkeypatch.setenv("MARKET", "auto")
    return books


def test_without_a_journal_every_question_is_answered_with_the_cure(books: BooksOnDisk) -> None:
    for ask in (report.equity, report.trades, report.signals, report.read_report):
        with pytest.raises(NoBars, match=r"nothing to report yet: .*Run: python live_trader\.py"):
            ask(books.settings)


def test_the_door_without_a_journal_says_so_in_one_line_and_ends_with_7(
    door: BooksOnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--quiet"]) == 7
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert output.err.endswith("Run: python live_trader.py\n")
    assert not (door.settings.DATA_DIR / "report.html").exists()


def test_the_door_ends_with_one_strict_json_object(door: BooksOnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    door.write(*A_DAY)
    out = door.settings.DATA_DIR / "new" / "page.html"
    assert report.main(["--json", "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=pytest.fail)
    assert result["total_pnl"] == pytest.approx(39.2045)
    assert (result["equity"], result["signals"], result["model"]) == (99_958.25, 5, None)
    assert result["sessions"][0]["bought"] == 4
    assert result["duties"] == {"train": {"done": 1}}
    assert result["learnt"]["review"] is None
    assert Path(result["page"]) == out
    Page(out.read_text())


def test_the_door_reads_books_that_another_process_is_writing(door: BooksOnDisk) -> None:
    with Journal(door.settings.MODELS_DIR / "journal.jsonl", "stamp") as journal:
        journal.append(**minutes(100_000.0)[0])
        journal.sync()
        assert report.main(["--quiet"]) == 0


def test_a_page_that_cannot_be_written_is_a_usage_error(door: BooksOnDisk, capsys: pytest.CaptureFixture[str]) -> None:
    door.write()
    assert report.main(["--quiet", "--out", str(door.settings.MODELS_DIR)]) == 2
    assert "name another file" in capsys.readouterr().err
    assert list(door.settings.MODELS_DIR.parent.glob(".*.tmp")) == []


def test_a_damaged_note_of_whose_books_these_are_is_refused_in_a_line_with_the_cure(
    door: BooksOnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    door.write(minutes(100_000.0))
    (door.settings.MODELS_DIR / "source.json").write_text('{"market": ')
    assert report.main([]) == 5
    assert "source.json cannot be read, so whose these folders are is not known" in capsys.readouterr().err


def test_books_of_another_market_than_asked_for_are_refused(
    door: BooksOnDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    door.write()
    assert report.main(["--quiet", "--market", "simulated"]) == 5
    assert "holds the books of market recorded, not of simulated" in capsys.readouterr().err
    assert report.main(["--quiet", "--market", "recorded"]) == 0


def test_the_door_starts_alone(door: BooksOnDisk) -> None:
    door.write(*A_DAY)
    run = subprocess.run([sys.executable, report.__file__], capture_output=True, text=True, check=True)
    assert re.search(r"total P&L +\+39.20 USD", run.stdout)
    assert (door.settings.DATA_DIR / "report.html").exists()

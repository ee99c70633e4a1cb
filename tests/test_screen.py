"""The screen of a trader at work: what a person reads on it, at any size, and that it shows what the trader knows."""

from __future__ import annotations

import io
import json
import logging
import math
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text
from test_trader import DAYS, at, desk, market
from trading import settings_in

from desk.halt import ask_to_halt
from desk.journal import Journal
from display.live_screen import LiveScreen, fits
from display.screen import draw, show
from display.view import Event, Holding, View
from market.hours import at_new_york, epoch_minute
from viewing import view_of, view_on_disk

NOW = datetime(2026, 11, 24, 15, 31, 7, tzinfo=UTC)  # 10:31:07 in New York, a Tuesday
SIZES = [(80, 24), (80, 16), (60, 16), (60, 24), (120, 40), (200, 60), (33, 5)]
BARE = View(
    at=NOW,
    running=True,
    source="alpaca (feed iex), Alpaca's paper account",
    simulated=False,
    past=False,
    halted=None,
    warnings=(),
    last_minute=NOW.replace(second=0),
    equity=100_236.40,
    opening=100_140.32,
    first=100_000.0,
    cash=91_420.10,
    holdings=(),
    most_holdings=10,
    orders=(),
    signals=(),
    signals_in_words="",
    silence="",
    model="random_forest 20261123_200000, 1 session old, UNPROVEN, drift green",
    proof="too few signals: 7",
    to_sell="",
    training=datetime(2026, 11, 25, 1, tzinfo=UTC),
    rebalance=datetime(2026, 11, 25, 9, tzinfo=UTC),
)
LONG = " ".join(f"word{i}" for i in range(80)) + " " + "x" * 300


def holding(symbol: str = "NVDA", entry: float = 100.0, last: float = 101.0, **changes: Any) -> Holding:
    return replace(Holding(symbol, 5, entry, last, entry * 0.98, entry * 1.04), **changes)


TEN = tuple(holding(f"SYM{i:02}", 10.0 * 3**i, 10.0 * 3**i * (0.985 + i * 0.005)) for i in range(10))
BUSY = replace(
    BARE,
    holdings=TEN,
    orders=tuple(
        Event(f"2026-11-24T10:{30 - i}:00-05:00", f"sold 5 SYM{i:02} at 1.00, stop: -1.16 USD", -1.16)
        for i in range(12)
    ),
    signals=tuple(Event(f"2026-11-24T10:{30 - i}:00-05:00", f"SYM{i:02} 0.70  already held") for i in range(12)),
    signals_in_words="40 at the threshold, 10 ordered; not: already held: 30",
)
WORST = replace(
    BUSY,
    running=False,
    halted="a loss",
    simulated=True,
    warnings=(f"HALTED: {LONG}", LONG, "drift is red: 市場" + "市" * 90, "\x1b[2J\a\r\ttricks"),
    equity=math.nan,
    opening=None,
    first=0.0,
    cash=None,
    source=LONG,
    model=LONG,
    proof=LONG,
    silence=LONG,
    to_sell=LONG,
    last_minute=None,
    holdings=(
        holding("A" * 10, math.nan, math.nan),
        holding(last=0.0),
        holding(last=math.inf),
        holding(entry=0.0, stop=0.0, target=0.0),
        holding(note=LONG),
        *TEN,
    ),
    orders=(Event("2025-01-02T10:00:00-05:00", LONG, 1.0), Event("2026-11-24T10:00:00-05:00", "", 1.0)),
    signals=(Event("2026-11-24T10:00:00-05:00", LONG),),
)


def shown(view: View, width: int = 80, height: int = 24, now: datetime = NOW, said: tuple[str, ...] = ()) -> list[str]:
    """The lines of the screen as a terminal of that size gets them."""
    console = Console(width=width, height=height, record=True, file=io.StringIO(), highlight=False)
    console.print(draw(view, now, width, height, said))
    return console.export_text().splitlines()


def text(*arguments: Any, **options: Any) -> str:
    return "\n".join(shown(*arguments, **options))


def row(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("view", [BARE, BUSY, WORST], ids=["bare", "busy", "worst"])
def test_no_line_is_longer_than_the_terminal_is_wide(view: View, width: int, height: int) -> None:
    console = Console(width=width, height=height, file=io.StringIO(), highlight=False)
    screen = draw(view, NOW, width, height, (LONG, "bought"))
    assert all(isinstance(line, Text) and line.cell_len <= width for line in screen.renderables)
    lines = console.render_lines(screen, pad=False)
    assert len(lines) == len(screen.renderables)
    assert "\x1b" not in "".join(segment.text for line in lines for segment in line)


@pytest.mark.parametrize("said", [(), (LONG, "sold", LONG)])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 28), (120, 40), (60, 30)])
@pytest.mark.parametrize("view", [BARE, BUSY], ids=["bare", "busy"])
def test_a_sane_terminal_shows_it_all_without_scrolling(
    view: View, width: int, height: int, said: tuple[str, ...]
) -> None:
    lines = shown(view, width, height, said=said)
    assert len(lines) <= height
    for start in ("RUNNING", "equity", "held", "orders", "signals", "model", "next"):
        assert row(lines, start)


def test_the_first_line_says_that_it_runs_and_how_long_the_market_is_open() -> None:
    first, second, *_ = shown(BARE)
    assert first.startswith("RUNNING  market open, closes in 5:28:53")
    assert first.endswith("Tue 11-24 10:31:07 New York")
    assert second.startswith("alpaca (feed iex), Alpaca's paper account")
    assert second.endswith("last minute 10:31")


def test_the_countdown_goes_on_between_two_minutes() -> None:
    assert "closes in 5:28:43" in text(BARE, now=NOW + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ("2026-11-26T14:00:00+00:00", "market closed, opens Fri 09:30, in 24:30:00"),  # Thanksgiving
        ("2026-11-27T17:00:00+00:00", "market open, closes early, at 13:00, in 1:00:00"),
        ("2026-11-27T18:00:00+00:00", "market closed, opens Mon 09:30, in 68:30:00"),
        ("2026-11-24T20:59:59+00:00", "market open, closes in 0:00:01"),
    ],
)
def test_holidays_early_closes_and_weekends_are_counted_down_to(now: str, words: str) -> None:
    assert words in text(BARE, now=datetime.fromisoformat(now))


def test_outside_its_day_the_last_minute_and_its_gain_are_said_with_their_day() -> None:
    lines = shown(BARE, now=NOW + timedelta(days=1))
    assert lines[1].endswith("last minute Tue 10:31") or "last minute Tue 10:31" in "\n".join(lines)
    assert "on Tue" in row(lines, "equity")
    assert "today" not in row(lines, "equity")


def test_a_trader_that_has_stood_still_in_a_session_is_not_taken_for_one_that_runs() -> None:
    assert "no minute was traded since 10:31" in text(BARE, now=NOW + timedelta(minutes=4))
    assert "no minute was traded" not in text(BARE, now=NOW + timedelta(minutes=2))
    evening, morning = NOW + timedelta(hours=8), DAYS[1].open + timedelta(minutes=2)
    assert "no minute was traded" not in text(BARE, now=evening) + text(BARE, now=morning)
    assert "no minute was traded since 09:30" in text(BARE, now=DAYS[1].open + timedelta(minutes=4))


def test_money_is_aligned_and_carries_its_sign() -> None:
    lines = shown(replace(BARE, holdings=(holding(last=99.0),)))
    equity, cash = row(lines, "equity"), row(lines, "cash")
    assert "100,236.40 USD" in equity
    assert "+96.08 (+0.10%)" in equity
    assert "+236.40 (+0.24%)" in cash
    assert "-5.00" in equity
    assert cash.rstrip().endswith("0.5%")
    assert equity.index(".40 USD") == cash.index(".10 USD")


def test_what_is_not_known_is_a_dash_and_never_nan() -> None:
    view = replace(BARE, equity=None, opening=None, first=None, cash=math.nan, last_minute=None)
    lines = shown(view, now=DAYS[0].open)
    assert "-" in row(lines, "equity")
    assert "no minute traded yet" in lines[1]
    for words in (text(WORST), "\n".join(lines)):
        assert "nan" not in words.replace("NVDA", "").lower().split()
        assert "None" not in words


def test_nothing_held_is_said_in_words() -> None:
    assert row(shown(BARE), "held").split() == ["held", "nothing"]


def test_a_position_shows_its_gain_and_how_far_stop_and_target_are() -> None:
    lines = shown(replace(BARE, holdings=(holding("NVDA", 100.0, 102.0),)))
    assert row(lines, "held 1/10").split() == ["held", "1/10", "qty", "entry", "last", "P&L", "USD", "P&L", "%",
                                               "stop", "target"]  # fmt: skip
    cells = row(lines, "NVDA").split()
    assert cells[:6] == ["NVDA", "5", "100.00", "102.00", "+10.00", "+2.00%"]
    assert (cells[6], cells[8]) == ("-3.9%", "+2.0%")  # 98 / 102 - 1, 104 / 102 - 1


@pytest.mark.parametrize(
    ("last", "share"), [(98.0, 0.0), (99.5, 0.25), (101.0, 0.5), (104.0, 1.0), (90.0, 0.0), (120.0, 1.0)]
)
def test_the_bar_shows_where_the_price_is_between_stop_and_target(last: float, share: float) -> None:
    track = row(shown(replace(BARE, holdings=(holding(last=last),))), "NVDA").split()[7]
    assert track.index("●") == round(share * (len(track) - 1))
    if last != 100.0:
        assert track.index("┼") == round((100.0 - 98.0) / 6.0 * (len(track) - 1))


def test_a_price_that_is_not_known_draws_no_bar() -> None:
    line = row(shown(replace(BARE, holdings=(holding(last=math.nan),))), "NVDA")
    assert "●" not in line
    assert line.split()[:5] == ["NVDA", "5", "100.00", "-", "-"]


def test_a_missing_stop_stands_where_the_bar_would_be() -> None:
    line = row(shown(replace(BARE, holdings=(holding(note="no stop"),))), "NVDA")
    assert "no stop" in line
    assert "●" not in line


def test_ten_positions_fit_on_a_small_terminal() -> None:
    lines = shown(BUSY)
    assert all(row(lines, f"SYM{i:02}").count("●") == 1 for i in range(10))
    columns = {line.index("%") for line in lines if line.startswith("SYM")}
    assert len(columns) == 1


def test_positions_for_which_there_is_no_room_are_named() -> None:
    lines = shown(replace(BUSY, holdings=TEN), height=16)
    assert sum(line.startswith("SYM") for line in lines) < 10
    assert "SYM09" in row(lines, "and ")


def test_a_narrow_terminal_leaves_out_entry_and_keeps_the_distances() -> None:
    lines = shown(replace(BARE, holdings=(holding(entry=1234.0, last=1240.0),)), width=60)
    assert "entry" not in row(lines, "held")
    assert "1,240.00" in row(lines, "NVDA")
    assert "●" in row(lines, "NVDA")


def test_orders_come_newest_first_with_their_day_where_it_is_another() -> None:
    orders = (
        Event("2026-11-24T10:31:00-05:00", "bought 5 NVDA at 187.20, confidence 0.78 by rsi"),
        Event("2026-11-23T15:41:00-05:00", "sold 5 AMD at 101.20, stop: -10.20 USD, -2.01%", -10.2),
        Event("2026-11-02T15:41:00-05:00", "bought 5 AMD"),
    )
    lines = shown(replace(BARE, orders=orders))
    place = lines.index(row(lines, "orders"))
    assert lines[place].split()[1:4] == ["10:31", "bought", "5"]
    assert lines[place + 1].split()[:3] == ["Mon", "15:41", "sold"]
    assert lines[place + 2].split()[:2] == ["11-02", "15:41"]


def test_signals_are_counted_and_the_newest_say_which_gate_said_no() -> None:
    lines = shown(BUSY)
    place = lines.index(row(lines, "signals"))
    assert "40 at the threshold, 10 ordered; not: already held: 30" in lines[place]
    assert lines[place + 1].split() == ["10:30", "SYM00", "0.70", "already", "held"]


def test_a_day_without_a_purchase_says_why() -> None:
    silence = "No buy signals generated: highest confidence 0.61 (BBB at 10:30), threshold 0.65, break-even 0.44."
    words = " ".join(text(replace(BARE, silence=silence)).split())
    assert silence in words


@pytest.mark.parametrize("width", [60, 80])
def test_words_are_cut_between_words_and_say_so(width: int) -> None:
    wanted = {*LONG.split()[:-1], "…"}
    view = replace(BARE, orders=(Event("2026-11-24T10:31:00-05:00", LONG),), proof=LONG)
    words = text(view, width, 24, said=(LONG,)).split()
    assert [word for word in words if word.startswith("word") and word not in wanted] == []
    assert "…" in words


def test_a_halt_comes_first_with_why_and_cure() -> None:
    why = "HALTED: MAX_DAILY_LOSS_PCT: equity is 1 USD. Nothing is bought until python live_trader.py --resume"
    lines = shown(replace(BUSY, halted="a loss", warnings=(why, "drift is amber: wilder days")))
    assert lines[0].startswith("HALTED  market open")
    assert lines[2].startswith("! HALTED: MAX_DAILY_LOSS_PCT")
    assert "--resume" in lines[2] + lines[3]
    assert "! drift is amber: wilder days" in lines


def test_a_process_that_does_not_run_is_not_running_even_if_halted() -> None:
    assert shown(replace(BARE, running=False, halted="a loss"))[0].startswith("NOT RUNNING")


def test_a_simulated_market_is_said_before_everything_and_its_time_stands_still() -> None:
    view = replace(BARE, simulated=True, past=True, source="simulated, local paper account")
    lines = shown(view, now=NOW + timedelta(days=100))
    assert lines[0].startswith("SIMULATED MARKET: artificial prices")
    assert lines[1].startswith("RUNNING  market open, closes in 5:28:53")
    assert "Tue 2026-11-24 10:31" in lines[1]


def test_what_will_be_sold_and_the_next_duties_stand_at_the_end() -> None:
    lines = shown(replace(BARE, to_sell="NVDA (stop)"))
    place = lines.index(row(lines, "next"))
    assert "NVDA (stop)" in lines[place]
    assert lines[place + 1].strip() == "training Tue 20:00, in 9:28:53; rebalance Wed 04:00, in 17:28:53"


def test_the_earlier_duty_comes_first_and_one_that_is_due_is_due_now() -> None:
    line = row(shown(BARE, now=NOW + timedelta(hours=12)), "next")
    assert line.split()[1:4] == ["training", "now;", "rebalance"]


def test_the_log_fills_what_is_left_and_keeps_its_newest_line() -> None:
    said = tuple(f"line {i}" for i in range(60))
    few, many = shown(BARE, height=24, said=said), shown(BARE, height=50, said=said)
    assert few[-1] == many[-1] == "line 59"
    assert len(few) == 24
    assert len(many) == 50


def test_colours_only_repeat_what_signs_and_words_say() -> None:
    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(draw(replace(BUSY, halted="a loss", warnings=("HALTED: x",)), NOW, 80, 40, ("said",)))
    segments = [s for s in console._record_buffer if s.style is not None and s.text.strip()]
    coloured = {s.style.color.name for s in segments if s.style.color is not None}
    assert coloured <= {"default", "red", "green", "yellow"}
    assert all(s.style.bgcolor is None and not s.style.reverse for s in segments)
    for segment in segments:
        if segment.style.color is not None and segment.style.color.name in ("red", "green"):
            assert segment.text.strip()[0] in "+-!" or segment.text in ("HALTED", "RUNNING")


# --- gathered ---------------------------------------------------------------------------------------------------------


def test_a_view_of_a_trader_shows_its_positions_orders_and_signals(tmp_path: Path) -> None:
    symbols = [f"S{i:02}" for i in range(12)]
    wanted: dict[tuple[str, Any], float] = {(s, at(DAYS[0], "10:00")): 0.7 + i / 100 for i, s in enumerate(symbols)}
    special = {
        ("S11", at(DAYS[0], "10:02")): (100.0, 100.0, 97.0, 98.0),
        ("S10", at(DAYS[0], "10:02")): (100.0, 101.0, 100.0, 101.0),
    }
    with desk(tmp_path, market(symbols, DAYS[:1], special), wanted) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:03"))
        view = view_of(d.trader, at(DAYS[0], "10:03"), "paper")
        assert [h.symbol for h in view.holdings] == symbols[2:11]
        assert {h.symbol: h.last for h in view.holdings} == {
            symbol: position.last_price for symbol, position in d.broker.positions().items()
        }
        account = d.broker.account()
    assert (view.equity, view.cash) == (pytest.approx(account.equity), pytest.approx(account.cash))
    assert (view.opening, view.first) == (100_000.0, 100_000.0)
    assert (view.running, view.source, view.past) == (True, "recorded, the local paper account", True)
    assert view.orders[0].words.startswith("sold 5 S11 at 97.97, stop: -10.30 USD")
    assert "bought 5 S11 at 100.03, confidence 0.81 by rsi" in [order.words for order in view.orders]
    assert (
        view.signals_in_words == "12 at the threshold, 10 ordered; not: 10 positions are open (MAX_OPEN_POSITIONS): 2"
    )
    assert view.signals[0].words == "S11   0.81  ordered"
    assert view.signals[-1].words == "S00   0.70  10 positions are open (MAX_OPEN_POSITIONS)"
    assert view.silence == ""
    lines = shown(view)
    assert row(lines, "held 9/10")
    assert row(lines, "S10").split()[3:6] == ["101.00", "+4.85", "+0.97%"]


def test_the_newest_signals_come_first_and_the_next_duties_are_those_of_the_schedule(tmp_path: Path) -> None:
    wanted = {("AAA", at(DAYS[0], "10:00")): 0.8, ("BBB", at(DAYS[0], "10:02")): 0.7}
    with desk(tmp_path, market(), wanted) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:03"))
        view = view_of(d.trader, at(DAYS[0], "10:03"), "paper")
    assert [signal.time[11:16] for signal in view.signals] == ["10:02", "10:00"]
    assert (view.training, view.rebalance) == (at_new_york(DAYS[0].day, "20:00"), at_new_york(DAYS[1].day, "04:00"))


def test_an_entry_that_is_under_way_is_no_position_yet_and_shown(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("AAA", at(DAYS[0], "10:00")): 0.8}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "10:00"))
        view = view_of(d.trader, at(DAYS[0], "10:00"), "paper")
    assert [(h.symbol, h.qty, h.note) for h in view.holdings] == [("AAA", 0, "5 ordered")]
    assert view.orders[0].words.startswith("ordered 5 AAA at about 100.00, confidence 0.80")


def test_a_day_of_silence_says_how_near_it_came_and_counts_its_session_once(tmp_path: Path) -> None:
    with desk(tmp_path, market(), {("BBB", at(DAYS[0], "10:30")): 0.61}) as d:
        d.run(DAYS[0], until=at(DAYS[0], "11:00"))
        during = view_of(d.trader, at(DAYS[0], "11:00"), "paper")
        d.run(DAYS[0], after=at(DAYS[0], "11:00"))
        after = view_of(d.trader, DAYS[0].close, "paper")
        said = d.said[-1]
    assert "highest confidence 0.61 (BBB at 10:30), threshold 0.65, break-even 0.44" in during.silence
    assert after.silence == said.strip()


def test_troubles_are_warnings(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, REQUIRE_PROOF=True, MIN_CONFIDENCE=0.4)
    options: dict[str, Any] = {"light": "red", "proven": False, "entries": False}
    with desk(tmp_path, market(), {}, settings=settings, **options) as d:
        ask_to_halt(settings.MODELS_DIR, "earnings week", "2026-11-24T09:00")
        d.run(DAYS[0], until=at(DAYS[0], "10:00"))
        d.trader.keeping.failed(at(DAYS[0], "10:00"), OSError(28, "No space left on device"))
        view = view_of(d.trader, at(DAYS[0], "10:00"), "alpaca")
        d.predictor.missing = True
        without = view_of(d.trader, at(DAYS[0], "10:01"), "alpaca")
    assert "earnings week" in str(view.halted)
    first, *others = view.warnings
    assert first.startswith("HALTED: ")
    assert "earnings week" in first
    assert "--resume" in first
    for words in ("No space left", "--no-entries", "REQUIRE_PROOF", "drift is red: wilder", "below break-even 0.44"):
        assert any(words in other for other in others), words
    assert without.model == "none"
    assert any("No trained model found" in words for words in without.warnings)


def test_a_view_from_disk_is_that_of_the_process_that_trades(tmp_path: Path) -> None:
    wanted = {("AAA", at(DAYS[0], "10:00")): 0.8, ("BBB", at(DAYS[0], "10:10")): 0.61}
    special = {("AAA", at(DAYS[0], "10:09")): (101.0, 101.0, 101.0, 101.0)}
    now = at(DAYS[0], "10:10")
    with desk(tmp_path, market(["AAA", "BBB"], DAYS[:1], special), wanted, each_minute_on_disk=True) as d:
        d.run(DAYS[0], until=now)
        there, on_disk = view_of(d.trader, now, "paper"), view_on_disk(d.trader.settings, now)
        settings = d.trader.settings
    same = (
        "running",
        "source",
        "equity",
        "opening",
        "first",
        "holdings",
        "orders",
        "signals",
        "signals_in_words",
        "last_minute",
    )
    for name in (*same, "last_minute"):
        assert getattr(on_disk, name) == getattr(there, name), name
    assert on_disk.cash == pytest.approx(there.cash)
    assert not view_on_disk(settings, now).running


def test_a_word_that_no_trader_has_heard_yet_halts_the_view_from_disk(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, MARKET="alpaca")
    ask_to_halt(settings.MODELS_DIR, "earnings week", "2026-11-24T09:00")
    view = view_on_disk(settings, NOW)
    assert "earnings week" in str(view.halted)
    assert view.source == "alpaca (feed iex), Alpaca's paper account"


def test_the_silence_of_a_view_from_disk_comes_from_the_predictions(tmp_path: Path) -> None:
    minutes = {"10:05": 0.56, "10:07": 0.57, "10:08": 0.56, "16:00": 0.63}  # none counts at the close, nor at the open
    wanted = {("AAA", at(DAYS[0], hhmm)): value for hhmm, value in minutes.items()} | {("BBB", DAYS[0].open): 0.62}
    with desk(tmp_path, market(), wanted, each_minute_on_disk=True) as d:
        d.run(DAYS[0])
        now = DAYS[0].close
        there, on_disk = view_of(d.trader, now, "paper"), view_on_disk(d.trader.settings, now)
    assert "highest confidence 0.57 (AAA at 10:07)" in on_disk.silence
    assert "0 at 0.60, 2 at 0.55, " in on_disk.silence
    assert on_disk.silence == there.silence.replace(", break-even 0.44", "")  # that desk's model is not on disk


def test_empty_folders_have_a_view(tmp_path: Path) -> None:
    view = view_on_disk(settings_in(tmp_path), NOW)
    assert not view.running
    assert (view.equity, view.holdings, view.last_minute) == (None, (), None)
    assert "no minute traded yet" in text(view)


def test_the_local_account_of_an_earlier_try_is_not_the_one_that_is_shown(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, MARKET="alpaca")
    settings.MODELS_DIR.mkdir()
    (settings.MODELS_DIR / "source.json").write_text('{"market": "alpaca", "feed": "iex"}')
    minute = epoch_minute(DAYS[0].open)
    for last, place in ((minute, "the local paper account"), (minute + 24 * 60, "Alpaca's paper account")):
        account = {"schema": 1, "cash": 5.0, "settled_minute": minute, "positions": [], "orders": [], "executions": []}
        (settings.MODELS_DIR / "paper_account.json").write_text(json.dumps(account))
        with Journal(settings.MODELS_DIR / "journal.jsonl", "stamp") as journal:
            journal.append("minute", minute=last, equity=5.0)
        assert place in view_on_disk(settings, DAYS[1].close).source


def test_a_damaged_paper_account_is_a_warning(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with Journal(settings.MODELS_DIR / "journal.jsonl", "stamp"):
        (settings.MODELS_DIR / "paper_account.json").write_text("{")
        view = view_on_disk(settings, NOW)
    assert view.running
    assert any("not a paper account" in words for words in view.warnings)


# --- the terminal -----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A terminal that remembers what it was sent."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal(width: int = 80, height: int = 24, **options: Any) -> Console:
    options = {"force_terminal": True, "color_system": "standard", "_environ": {"TERM": "xterm"}} | options
    return Console(file=Terminal(), width=width, height=height, **options)


def test_the_screen_is_for_terminals_of_a_sane_size() -> None:
    assert fits(terminal())
    assert fits(terminal(60, 16))
    assert not fits(terminal(59, 24))
    assert not fits(terminal(80, 15))
    assert not fits(terminal(force_terminal=False))
    assert not fits(terminal(quiet=True))
    assert not fits(terminal(_environ={"TERM": "dumb"}))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_output_that_is_no_terminal_gets_all_of_it_in_its_own_letters(encoding: str) -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding, errors="strict"), width=80, height=5)
    show(BUSY, NOW, console)
    console.file.flush()
    lines = raw.getvalue().decode(encoding).splitlines()
    assert row(lines, "SYM09")
    assert row(lines, "next")
    assert sum("already held" in line for line in lines) == 13


def test_the_terminal_is_given_back_as_it_was_also_on_ctrl_c() -> None:
    console = terminal()
    screen = LiveScreen(console, lambda: NOW)
    screen.show(BARE)
    with suppress(KeyboardInterrupt), screen:
        raise KeyboardInterrupt
    sent = console.file.getvalue()  # type: ignore[attr-defined]
    assert sent.count("\x1b[?1049h") == sent.count("\x1b[?1049l") == 1
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")
    assert "RUNNING" in sent
    assert sent.rindex("\x1b[?1049l") > sent.rindex("RUNNING")


def test_before_the_first_minute_it_shows_what_is_said() -> None:
    console = terminal()
    screen = LiveScreen(console, lambda: NOW)
    screen.say("waiting for Alpaca")
    with screen:
        pass
    sent = console.file.getvalue()  # type: ignore[attr-defined]
    assert "starting" in sent
    assert "waiting for Alpaca" in sent


def test_warnings_and_error_output_meanwhile_are_said_in_the_log_and_not_over_the_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = Terminal()
    monkeypatch.setattr(sys, "stderr", errors)
    handler = logging.StreamHandler()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])  # none that another test has left
    try:
        with LiveScreen(terminal(), lambda: NOW) as screen:
            logging.getLogger("desk").warning("a stop was put back")
            sys.stderr.write("from a library\n")
            assert screen.said == ("a stop was put back", "from a library")
        logging.getLogger("desk").warning("after")
    finally:
        root.removeHandler(handler)
    assert errors.getvalue() == "after\n"
    assert sys.stderr is errors

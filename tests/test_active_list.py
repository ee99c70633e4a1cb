"""The most-active list: sifted, kept by day, said once, there when Alpaca is not, and read again to learn from."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from standin import StandIn

from alpaca_wire import AlpacaWire, Unreachable
from market.active_list import ACTIVE_LIST, SOURCE, SYMBOLS, ActiveList, Selection, read_lists, unfit
from market.hours import at_new_york, new_york, sessions_between

MONDAY, TUESDAY = sessions_between(date(2026, 3, 2), date(2026, 3, 3))
MINUTE = timedelta(minutes=1)
NOON = MONDAY.open + 150 * MINUTE
STOCKS = ["AVGO", "COIN", "GS", "META", "NFLX", "NKE", "NVDA", "ORCL", "SLB"]
SCREENER, ASSETS, TRADES = "/v1beta1/screener", "/v2/assets", "/v2/stocks/trades/latest"
LEFT_OUT = {
    "GONE": "not an active US stock at Alpaca",
    "NOTR": "not tradable",
    "OTCQY": "traded over the counter",
    "PENY": "below 5 USD (0.35)",
    **dict.fromkeys(["QQQ", "SOXL", "SPY", "TQQQ", "XLF"], "fund"),
}


@pytest.fixture(scope="module")
def process(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars, now=NOON) as running:
        yield running


@pytest.fixture
def standin(process: StandIn) -> StandIn:
    """The stand-in at noon on Monday, as new."""
    process.reset(now=NOON)
    process.most_actives()
    process.settings(rate_limit=None)
    process.clear_requests()
    return process


class Watched:
    """A list in a folder, and what it said."""

    def __init__(self, standin: StandIn, folder: Path, limit: int = 100, min_volume: float = 10_000) -> None:
        self.said: list[str] = []
        wire = AlpacaWire(standin.KEY, standin.SECRET, standin.api, standin.api, lambda seconds: None)
        self.list = ActiveList(wire, folder, limit, 5.0, min_volume, "iex", self.said.append)
        self._standin = standin

    def look(self, now: datetime) -> list[str]:
        self._standin.set_clock(now + timedelta(seconds=3))
        return self.list.look(now)


@pytest.fixture
def watched(standin: StandIn, tmp_path: Path) -> Watched:
    return Watched(standin, tmp_path / "symbols")


def kept(folder: Path, day: date = MONDAY.day) -> dict[str, dict[str, str]]:
    return json.loads((folder / "symbols" / f"{day}.json").read_text())


def asked(standin: StandIn) -> list[str]:
    paths = [entry["path"] for entry in standin.requests()]
    standin.clear_requests()
    return paths


# --- sifting --------------------------------------------------------------------------------------------------------


def test_funds_penny_stocks_and_what_cannot_be_traded_are_left_out_and_kept_with_the_reason(
    watched: Watched, tmp_path: Path
) -> None:
    assert watched.look(NOON) == STOCKS
    day = kept(tmp_path)
    assert day["date"] == "2026-03-02"
    assert day["left_out"] == LEFT_OUT
    assert day["symbols"] == dict.fromkeys(day["symbols"], "2026-03-02T12:00:00-05:00")
    assert sorted(day["symbols"]) == STOCKS


def test_who_falls_out_and_why_is_said_once(watched: Watched, standin: StandIn) -> None:
    for minute in range(3):
        watched.look(NOON + minute * MINUTE)
    assert len(watched.said) == 1
    for words in ("5 fund (", "1 below 5 USD (PENY)", "1 not tradable (NOTR)", "all in ", "2026-03-02.json"):
        assert words in watched.said[0]
    standin.most_actives(extra=["ZZZQ"])
    watched.look(NOON + 4 * MINUTE)
    assert "most active, but left out: 1 not an active US stock at Alpaca (ZZZQ)" in watched.said[1]


@pytest.mark.parametrize(
    ("name", "exchange", "fund"),
    [
        ("Invesco QQQ Trust, Series 1", "NASDAQ", True),
        ("ProShares UltraPro QQQ", "NASDAQ", True),
        ("iShares Bitcoin Trust ETF", "NASDAQ", True),
        ("Direxion Daily TSLA Bull 2X Shares", "NASDAQ", True),
        ("GraniteShares 2x Long NVDA Daily ETF", "NASDAQ", True),
        ("iPath Series B S&P 500 VIX Short-Term Futures ETN", "BATS", True),
        ("Anything at all", "ARCA", True),
        ("Adams Diversified Equity Fund", "NYSE", True),
        ("Northern Trust Corporation Common Stock", "NASDAQ", False),
        ("WisdomTree, Inc. Common Stock", "NYSE", False),
        ("Invesco Ltd. Common Stock", "NYSE", False),
        ("Bullish Ordinary Shares", "NYSE", False),
        ("Fundamental Global Inc. Common Stock", "NASDAQ", False),
        ("Netflix, Inc. Common Stock", "NASDAQ", False),
        ("Etfwise Holdings", "NYSE", False),
        (None, "NYSE", False),
    ],
)
def test_a_fund_is_known_by_its_exchange_or_by_whole_words_of_its_name(
    name: str | None, exchange: str, fund: bool
) -> None:
    assert (unfit({"symbol": "X", "name": name, "exchange": exchange, "tradable": True}) == "fund") is fund


@pytest.mark.parametrize("gone", ["easy_to_borrow", "class", "status", "exchange", "tradable"])
def test_a_field_that_alpaca_no_longer_sends_is_not_held_against_a_stock(
    watched: Watched, standin: StandIn, gone: str
) -> None:
    standin.fault("drop_fields", path=ASSETS, names=[gone])
    assert set(STOCKS) <= set(watched.look(NOON))


def test_the_limit_counts_stocks_that_pass(standin: StandIn, tmp_path: Path) -> None:
    watched = Watched(standin, tmp_path, limit=3)
    standin.most_actives(only=["SPY", "PENY", "NVDA", "GONE", "AVGO", "COIN", "GS"])
    assert watched.look(NOON) == ["AVGO", "COIN", "NVDA"]
    asked(standin)
    assert watched.look(NOON + MINUTE) == ["AVGO", "COIN", "NVDA"]
    assert asked(standin) == [f"{SCREENER}/stocks/most-actives"]


def test_the_volume_floor_counts_from_half_an_hour_after_the_open_and_is_judged_each_minute(
    standin: StandIn, tmp_path: Path
) -> None:
    early = Watched(standin, tmp_path / "early", min_volume=10_000_000)
    assert early.look(MONDAY.open + 29 * MINUTE) == STOCKS
    watched = Watched(standin, tmp_path / "late", min_volume=10_000_000)
    first = watched.look(MONDAY.open + 30 * MINUTE)
    assert first
    assert set(first) < set(STOCKS)
    why = json.loads((tmp_path / "late" / f"{MONDAY.day}.json").read_text())["left_out"]
    assert sorted(symbol for symbol, words in why.items() if words.startswith("below 10,000,000 shares")) == sorted(
        set(STOCKS) - set(first)
    )
    later = watched.look(MONDAY.close)
    assert set(first) < set(later)
    assert not set(later) & set(json.loads((tmp_path / "late" / f"{MONDAY.day}.json").read_text())["left_out"])


def test_a_stock_without_a_price_on_the_feed_is_left_out(watched: Watched, standin: StandIn, tmp_path: Path) -> None:
    standin.fault("error", path=TRADES, status=200, body={"trades": {s: {"p": 50.0} for s in STOCKS if s != "NKE"}})
    assert watched.look(NOON) == [symbol for symbol in STOCKS if symbol != "NKE"]
    assert kept(tmp_path)["left_out"]["NKE"] == "no price on feed iex"


# --- through the day ------------------------------------------------------------------------------------------------


def test_a_minute_costs_one_request_and_the_first_of_the_day_three(watched: Watched, standin: StandIn) -> None:
    watched.look(NOON)
    assert sorted(asked(standin)) == [f"{SCREENER}/stocks/most-actives", ASSETS, TRADES]
    watched.look(NOON + MINUTE)
    assert asked(standin) == [f"{SCREENER}/stocks/most-actives"]


def test_a_symbol_seen_today_stays_until_the_day_ends(watched: Watched, standin: StandIn, tmp_path: Path) -> None:
    standin.most_actives(only=["NVDA", "AVGO"])
    watched.look(NOON)
    standin.most_actives(only=["NVDA", "COIN"])
    assert watched.look(NOON + MINUTE) == ["AVGO", "COIN", "NVDA"]
    assert kept(tmp_path)["symbols"]["COIN"] == "2026-03-02T12:01:00-05:00"
    evening, morning = at_new_york(MONDAY.day, "20:00"), at_new_york(TUESDAY.day, "04:00")
    assert watched.look(evening) == watched.look(morning) == ["AVGO", "COIN", "NVDA"]
    assert watched.look(TUESDAY.open) == ["COIN", "NVDA"]
    assert sorted(kept(tmp_path, TUESDAY.day)["symbols"]) == ["COIN", "NVDA"]


def test_the_file_is_written_only_when_the_list_changes(watched: Watched, tmp_path: Path) -> None:
    watched.look(NOON)
    before = (tmp_path / "symbols" / "2026-03-02.json").stat().st_mtime_ns
    watched.look(NOON + MINUTE)
    assert (tmp_path / "symbols" / "2026-03-02.json").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "symbols").iterdir()] == ["2026-03-02.json"]


def test_a_new_process_goes_on_with_the_day_and_says_nothing_twice(standin: StandIn, tmp_path: Path) -> None:
    standin.most_actives(only=["NVDA", "SPY"])
    Watched(standin, tmp_path / "symbols").look(NOON)
    standin.most_actives(only=["COIN", "SPY"])
    again = Watched(standin, tmp_path / "symbols")
    assert again.look(NOON + MINUTE) == ["COIN", "NVDA"]
    assert again.said == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"symbols": 7, "left_out": {}}', '{"symbols": {}}', "\xff"])
def test_a_broken_file_is_said_and_begun_anew(watched: Watched, standin: StandIn, tmp_path: Path, content: str) -> None:
    path = tmp_path / "symbols" / "2026-03-02.json"
    path.parent.mkdir()
    path.write_bytes(content.encode("latin-1"))
    assert watched.look(NOON) == STOCKS
    assert "cannot be read" in watched.said[0]
    assert kept(tmp_path)["left_out"] == LEFT_OUT


def test_a_fresh_install_at_night_asks_for_the_last_day_s_list(watched: Watched, tmp_path: Path) -> None:
    assert watched.look(at_new_york(TUESDAY.day, "04:00")) == STOCKS
    assert kept(tmp_path)["left_out"] == LEFT_OUT


# --- when Alpaca is not there ---------------------------------------------------------------------------------------


def outage(standin: StandIn, path: str) -> None:
    standin.fault("error", path=path, status=503, times=None)


@pytest.mark.parametrize("fault", ["html_200", "empty_200", "truncated_json", "reset_before"])
def test_one_bad_reply_is_tried_again(watched: Watched, standin: StandIn, fault: str) -> None:
    for path in (SCREENER, ASSETS, TRADES):
        standin.fault(fault, path=path)
    assert watched.look(NOON) == STOCKS


def test_in_an_outage_the_last_list_serves_and_that_is_said_once_and_so_is_the_recovery(
    watched: Watched, standin: StandIn
) -> None:
    watched.look(NOON)
    watched.said.clear()
    outage(standin, SCREENER)
    for minute in (1, 2, 3):
        assert watched.look(NOON + minute * MINUTE) == STOCKS
    assert len(watched.said) == 1
    assert "the last one of 9 symbols serves" in watched.said[0]
    standin.clear_faults()
    for minute in (4, 5):
        watched.look(NOON + minute * MINUTE)
    assert watched.said[1:] == ["the most-active list is there again"]


@pytest.mark.parametrize("restarted", [False, True])
def test_an_outage_at_the_open_keeps_the_list_of_the_day_before(
    watched: Watched, standin: StandIn, tmp_path: Path, restarted: bool
) -> None:
    watched.look(NOON)
    outage(standin, SCREENER)
    if restarted:
        watched = Watched(standin, tmp_path / "symbols")
    assert watched.look(TUESDAY.open) == STOCKS
    assert not (tmp_path / "symbols" / "2026-03-03.json").exists()
    standin.clear_faults()
    standin.most_actives(only=["NVDA"])
    assert watched.look(TUESDAY.open + MINUTE) == ["NVDA"]


@pytest.mark.parametrize("path", [ASSETS, TRADES])
def test_nobody_enters_unjudged_while_part_of_alpaca_is_away(
    watched: Watched, standin: StandIn, tmp_path: Path, path: str
) -> None:
    standin.most_actives(only=["NVDA"])
    watched.look(NOON)
    if path == ASSETS:
        watched = Watched(standin, tmp_path / "symbols")
    standin.most_actives(only=["NVDA", "COIN", "SPY"])
    outage(standin, path)
    assert watched.look(NOON + MINUTE) == ["NVDA"]
    standin.clear_faults()
    assert watched.look(NOON + 2 * MINUTE) == ["COIN", "NVDA"]


@pytest.mark.parametrize("reply", [[], {}, {"most_actives": 7}, {"most_actives": [{"symbol": "NVDA"}]}])
def test_without_any_list_a_reply_that_cannot_be_read_is_an_error(
    watched: Watched, standin: StandIn, reply: object
) -> None:
    standin.fault("error", path=SCREENER, status=200, body=reply)
    with pytest.raises(Unreachable, match="most-actives: a reply that cannot be read"):
        watched.look(NOON)
    assert watched.look(NOON + MINUTE) == STOCKS


# --- the days kept, read again --------------------------------------------------------------------------------------


def keep(folder: Path, day: date, joined: dict[str, datetime]) -> None:
    """A day's list as it is kept."""
    symbols = {symbol: new_york(when).isoformat() for symbol, when in joined.items()}
    folder.mkdir(exist_ok=True)
    (folder / f"{day}.json").write_text(json.dumps({"date": str(day), "symbols": symbols, "left_out": {}}))


def test_what_was_kept_is_read_again(watched: Watched, standin: StandIn, tmp_path: Path) -> None:
    standin.most_actives(only=["NVDA", "AVGO", "SPY"])
    watched.look(NOON)
    standin.most_actives(only=["COIN"])
    watched.look(NOON + MINUTE)
    standin.most_actives(only=["NKE"])
    watched.look(at_new_york(MONDAY.day, "20:00"))
    watched.look(TUESDAY.open + timedelta(seconds=3))
    assert read_lists(tmp_path / "symbols", MONDAY.day, TUESDAY.day) == {
        MONDAY.day: {"AVGO": NOON, "NVDA": NOON, "COIN": NOON + MINUTE},
        TUESDAY.day: {"NKE": TUESDAY.open + timedelta(seconds=3)},
    }


def test_only_the_days_asked_for_are_read_and_no_folder_is_no_list(tmp_path: Path) -> None:
    days = [session.day for session in sessions_between(date(2026, 3, 2), date(2026, 3, 6))]
    assert read_lists(tmp_path / "none", days[0], days[-1]) == {}
    for day in days:
        keep(tmp_path, day, {"NVDA": at_new_york(day, "09:30")})
    assert list(read_lists(tmp_path, days[1], days[3])) == days[1:4]


@pytest.mark.parametrize(
    ("day", "close"), [(date(2026, 3, 2), "16:00"), (date(2025, 11, 28), "13:00")], ids=["full day", "early close"]
)
def test_who_joined_at_the_close_or_later_was_chosen_by_the_day_and_a_list_of_none_else_is_none(
    tmp_path: Path, day: date, close: str
) -> None:
    at_close = at_new_york(day, close)
    late = {"NVDA": at_close, "COIN": at_close + 4 * timedelta(hours=1), "NKE": at_close + timedelta(hours=16)}
    keep(tmp_path, day, late)
    assert read_lists(tmp_path, day, day) == {}
    keep(tmp_path, day, {**late, "AVGO": at_close - MINUTE})
    assert read_lists(tmp_path, day, day) == {day: {"AVGO": at_close - MINUTE}}
    keep(tmp_path, day, {})
    assert read_lists(tmp_path, day, day) == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"left_out": {}}',
        '{"symbols": ["NVDA"]}',
        '{"symbols": {"NVDA": 7}}',
        '{"symbols": {"NVDA": "noon"}}',
        '{"symbols": {"NVDA": "2026-03-02T12:00:00"}}',
        "\xff",
    ],
)
def test_a_kept_day_that_cannot_be_read_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / f"{MONDAY.day}.json").write_bytes(content.encode("latin-1"))
    keep(tmp_path, TUESDAY.day, {"NVDA": TUESDAY.open})
    with caplog.at_level(logging.WARNING):
        assert read_lists(tmp_path, MONDAY.day, TUESDAY.day) == {TUESDAY.day: {"NVDA": TUESDAY.open}}
    assert len(caplog.messages) == 1
    assert "2026-03-02.json cannot be read" in caplog.messages[0]


# --- whose bars to learn from ---------------------------------------------------------------------------------------

HALF_PAST_NOON = NOON + timedelta(minutes=30, seconds=20)
MONDAY_S = Selection(ACTIVE_LIST, ["NVDA", "COIN"], {MONDAY: {"NVDA": MONDAY.open, "AVGO": NOON, "GS": HALF_PAST_NOON}})


def minutes_of(*symbols: str) -> pd.DataFrame:
    """Symbol and timestamp of every minute of Monday and Tuesday."""
    stamps = [session.open + i * MINUTE for session in (MONDAY, TUESDAY) for i in range(session.minutes)]
    return pd.DataFrame([(symbol, stamp) for symbol in symbols for stamp in stamps], columns=["symbol", "timestamp"])


def test_a_listed_day_admits_its_symbols_from_the_minute_they_joined_and_another_those_watched_now() -> None:
    bars = minutes_of("AVGO", "COIN", "GS", "NVDA", "ORCL")
    admitted = bars[MONDAY_S.admits(bars)]
    spans = {
        (symbol, day): (stamps.min(), stamps.max(), len(stamps))
        for (symbol, day), stamps in admitted.groupby(["symbol", admitted["timestamp"].dt.date])["timestamp"]
    }
    last, whole = MONDAY.close - MINUTE, (TUESDAY.open, TUESDAY.close - MINUTE, 390)
    assert spans == {
        # the bar that starts a minute before a symbol joins is known when it joins
        ("NVDA", MONDAY.day): (MONDAY.open, last, 390),
        ("AVGO", MONDAY.day): (NOON - MINUTE, last, 241),
        ("GS", MONDAY.day): (NOON + 30 * MINUTE, last, 210),
        ("COIN", TUESDAY.day): whole,
        ("NVDA", TUESDAY.day): whole,
    }


def test_bars_are_needed_of_everybody_watched_now_or_listed_once() -> None:
    assert MONDAY_S.symbols == ["AVGO", "COIN", "GS", "NVDA"]


def test_the_share_chosen_by_hindsight_is_that_of_the_sessions_without_a_list() -> None:
    bars = minutes_of("AVGO", "COIN", "GS", "NVDA", "ORCL")
    told = MONDAY_S.describe(bars["timestamp"][MONDAY_S.admits(bars)], 2)
    assert told == {
        "chosen": "active list",
        "sessions": 2,
        "sessions_listed": 1,
        "by_hindsight": pytest.approx((390 + 390) / (390 + 241 + 210 + 390 + 390)),
    }
    nothing = Selection(ACTIVE_LIST, ["NVDA"], {})
    assert nothing.describe(bars["timestamp"], 2)["by_hindsight"] == 1.0
    every = Selection(ACTIVE_LIST, ["NVDA"], {s: {"NVDA": s.open} for s in (MONDAY, TUESDAY)})
    assert every.describe(bars["timestamp"], 2)["by_hindsight"] == 0.0
    assert every.describe(bars["timestamp"][:0], 2)["by_hindsight"] is None


@pytest.mark.parametrize("chosen", [SYMBOLS, SOURCE])
def test_of_what_the_user_or_the_source_chose_nobody_knows_how_much_is_hindsight(chosen: str) -> None:
    bars = minutes_of("NVDA", "ORCL")
    selection = Selection(chosen, ["NVDA", "ORCL"], {})
    assert selection.admits(bars).all()
    assert selection.describe(bars["timestamp"], 2) == {
        "chosen": chosen,
        "sessions": 2,
        "sessions_listed": 0,
        "by_hindsight": None,
    }


def test_a_hundred_random_selections_admit_what_a_search_row_by_row_admits() -> None:
    random = np.random.default_rng(5)
    bars = minutes_of("AVGO", "COIN", "GS")
    for _ in range(100):
        some = bars[random.random(len(bars)) < 0.02]
        lists = {
            session: {
                s: session.open + float(random.uniform(0, 390)) * MINUTE
                for s in ("AVGO", "COIN", "GS")
                if random.random() < 0.6
            }
            for session in (MONDAY, TUESDAY)
            if random.random() < 0.6
        }
        watched = [s for s in ("AVGO", "COIN", "GS") if random.random() < 0.5]
        expected = []
        for symbol, stamp in zip(some["symbol"], some["timestamp"], strict=True):
            session = MONDAY if stamp < MONDAY.close else TUESDAY
            if session in lists:
                expected.append(symbol in lists[session] and stamp + MINUTE >= lists[session][symbol])
            else:
                expected.append(symbol in watched)
        assert Selection(ACTIVE_LIST, watched, lists).admits(some).tolist() == expected

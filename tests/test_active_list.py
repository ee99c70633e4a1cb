"""The most-active list: sifted, kept by day, said once, and still there when Alpaca is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from standin import StandIn

from alpaca_wire import AlpacaWire, Unreachable
from market.active_list import ActiveList, unfit
from market.hours import at_new_york, sessions_between

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

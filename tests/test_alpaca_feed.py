"""Alpaca's bars over real HTTP against the stand-in: history, the newest minute, splits, and failures on the way."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from standin import StandIn
from trading import change_card, publish_eager_model, settings_in

from alpaca_wire import AlpacaWire, KeysRefused, Refused, Unreachable
from build_dataset import prepare
from config import Settings
from market.alpaca_feed import AlpacaFeed, FeedUnavailable
from market.bar_store import BarStore
from market.bars import Bar, as_bars, check_bars
from market.hours import at_new_york, epoch_minute, sessions_between
from ml_predictor import MLPredictor
from sources import open_alpaca, open_stored

MINUTE = timedelta(minutes=1)
PUBLISHED = timedelta(seconds=3)  # after a minute's end its bar is out
SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 3, 3))
TODAY = SESSIONS[-1]
BEFORE = SESSIONS[-2]
SYMBOLS = ["AVGO", "COIN", "NVDA"]
EVENING = at_new_york(TODAY.day, "20:00")
NOON = TODAY.open + 150 * MINUTE
BARS = "/v2/stocks/bars"


@pytest.fixture(scope="module")
def process(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars, now=EVENING, clone=100) as running:
        yield running


@pytest.fixture
def standin(process: StandIn) -> StandIn:
    """The stand-in in the evening, as new."""
    process.reset(now=EVENING)
    process.settings(rate_limit=None)
    return process


@pytest.fixture
def wire(standin: StandIn) -> AlpacaWire:
    return wire_to(standin)


def wire_to(standin: StandIn, secret: str = StandIn.SECRET) -> AlpacaWire:
    """No time passes in a pause, and the minute of the budget is over after each."""
    waited = [0.0]

    def wait(seconds: float) -> None:
        waited[0] += seconds

    return AlpacaWire(standin.KEY, secret, standin.api, standin.api, wait, lambda: waited[0])


def feed_of(wire: AlpacaWire, folder: Path, feed: str = "iex", symbols: list[str] | None = None) -> AlpacaFeed:
    return AlpacaFeed(wire, BarStore(folder / "bars"), lambda now: symbols or SYMBOLS, feed, 30)


@pytest.fixture
def feed(wire: AlpacaWire, tmp_path: Path) -> AlpacaFeed:
    return feed_of(wire, tmp_path)


def expected(real_bars: pd.DataFrame, symbols: list[str], start: datetime, end: datetime) -> pd.DataFrame:
    rows = real_bars["symbol"].isin(symbols) & (real_bars["timestamp"] >= start) & (real_bars["timestamp"] < end)
    return real_bars[rows].reset_index(drop=True)


def asked(standin: StandIn) -> list[dict[str, str]]:
    """The queries for bars since the log was cleared."""
    found = [entry["query"] for entry in standin.requests(BARS)]
    standin.clear_requests()
    return found


def hundred(real_bars: pd.DataFrame) -> list[str]:
    """100 names that the stand-in has bars of: the file's own, and clones of them."""
    own = sorted(real_bars["symbol"].unique())
    clones = [name[:-1] + letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" for name in own]
    return sorted(list(dict.fromkeys([*own, *clones]))[:100])


# --- history --------------------------------------------------------------------------------------------------------


def test_history_is_what_alpaca_has_as_a_checked_table(
    feed: AlpacaFeed, standin: StandIn, real_bars: pd.DataFrame
) -> None:
    found = feed.bars(SYMBOLS, SESSIONS[-5].open, NOON)
    pd.testing.assert_frame_equal(found, expected(real_bars, SYMBOLS, SESSIONS[-5].open, NOON))
    pd.testing.assert_frame_equal(check_bars(found), found)
    for query in asked(standin):
        assert (query["feed"], query["adjustment"], query["timeframe"]) == ("iex", "split", "1Min")
        assert query["start"].endswith("+00:00")
    assert not [entry for entry in standin.requests() if entry["unknown"]]


def test_what_is_complete_is_never_asked_for_again_and_today_is(
    feed: AlpacaFeed, standin: StandIn, tmp_path: Path
) -> None:
    standin.set_clock(NOON)
    feed.bars(SYMBOLS, SESSIONS[-5].open, NOON)
    asked(standin)
    later = NOON + 30 * MINUTE
    standin.set_clock(later + PUBLISHED)
    found = feed.bars(SYMBOLS, SESSIONS[-5].open, later)
    assert [query["start"] for query in asked(standin)] == [TODAY.open.isoformat()]
    assert found["timestamp"].max() == later - MINUTE
    note = json.loads((tmp_path / "bars" / f"{TODAY.day}.json").read_text())
    assert note["complete"] is False


def test_a_bar_that_alpaca_withdraws_in_the_session_does_not_stay_in_history(
    feed: AlpacaFeed, standin: StandIn
) -> None:
    standin.set_clock(NOON + PUBLISHED)
    before = feed.bars(["NVDA"], TODAY.open, NOON)
    gone = before["timestamp"].iloc[20]
    standin.bars(hide={"symbol": "NVDA", "from": gone.isoformat(), "to": gone.isoformat()})
    standin.set_clock(EVENING)
    after = feed.bars(["NVDA"], TODAY.open, EVENING)
    assert set(before["timestamp"]) - set(after["timestamp"]) == {gone}


def test_after_the_close_a_session_is_complete_once_its_last_bars_have_settled(
    feed: AlpacaFeed, standin: StandIn
) -> None:
    for minutes, requests in ((1, 1), (19, 1), (20, 1), (21, 0)):
        standin.set_clock(TODAY.close + minutes * MINUTE)
        feed.bars(SYMBOLS, TODAY.open, TODAY.close + minutes * MINUTE)
        assert len(asked(standin)) == requests, minutes


def test_the_bar_of_the_running_minute_is_not_known(feed: AlpacaFeed, standin: StandIn) -> None:
    standin.set_clock(NOON + timedelta(seconds=42))
    found = feed.bars(SYMBOLS, TODAY.open, NOON + timedelta(seconds=42))
    assert found["timestamp"].max() == NOON - MINUTE
    assert [query["end"] for query in asked(standin)] == [(NOON - MINUTE).isoformat()]


def test_outside_sessions_there_is_an_empty_table_and_no_request(feed: AlpacaFeed, standin: StandIn) -> None:
    sunday = datetime.fromisoformat("2026-03-01T15:00:00+00:00")
    assert feed.bars(SYMBOLS, sunday, sunday + timedelta(hours=3)).empty
    assert asked(standin) == []


def test_a_newcomer_costs_one_request_for_all_its_sessions(
    wire: AlpacaWire, standin: StandIn, tmp_path: Path, real_bars: pd.DataFrame
) -> None:
    feed = feed_of(wire, tmp_path)
    start = SESSIONS[0].open
    feed.bars(SYMBOLS, start, EVENING)
    asked(standin)
    feed.bars([*SYMBOLS, "ORCL"], start, EVENING)
    assert [query["symbols"] for query in asked(standin)] == ["ORCL"]
    pd.testing.assert_frame_equal(
        feed.bars(["ORCL"], start, EVENING), expected(real_bars, ["ORCL"], start, TODAY.close)
    )


def test_a_failure_on_page_seven_of_forty_keeps_what_came_before_and_the_next_run_goes_on_there(
    wire: AlpacaWire, standin: StandIn, tmp_path: Path, real_bars: pd.DataFrame
) -> None:
    symbols = hundred(real_bars)
    feed, start = feed_of(wire, tmp_path), SESSIONS[-10].open
    standin.fault("error", path=BARS, status=503, after=6, times=4)  # page 7, and every try of it
    with pytest.raises(Unreachable, match="503"):
        feed.bars(symbols, start, EVENING)
    assert BarStore(tmp_path / "bars").days() == [SESSIONS[-10].day]
    asked(standin)
    found = feed_of(wire, tmp_path).bars(symbols, start, EVENING)
    pages = asked(standin)
    assert pages[0]["start"] == SESSIONS[-9].open.isoformat()
    assert len(pages) == 9 * 4
    assert len(found) == 100 * 10 * 390


@pytest.mark.parametrize(
    ("fault", "parameters"),
    [
        ("html_200", {}),
        ("empty_200", {}),
        ("truncated_json", {}),
        ("reset_before", {}),
        ("reset_after", {}),
        ("error", {"status": 429, "times": 3}),
        ("error", {"status": 504, "times": 3}),
    ],
)
def test_a_read_that_goes_wrong_is_tried_again(
    feed: AlpacaFeed, standin: StandIn, real_bars: pd.DataFrame, fault: str, parameters: dict[str, int]
) -> None:
    standin.fault(fault, path=BARS, **parameters)
    found = feed.bars(SYMBOLS, TODAY.open, EVENING)
    pd.testing.assert_frame_equal(found, expected(real_bars, SYMBOLS, TODAY.open, TODAY.close))
    standin.fault(fault, path=BARS, **parameters)
    assert feed.new_bars(SYMBOLS, epoch_minute(TODAY.close) - 2, TODAY.close)
    assert len([entry for entry in standin.requests(BARS) if entry["fault"]]) == 2 * parameters.get("times", 1)


def test_pages_without_end_are_given_up_with_a_clear_word(feed: AlpacaFeed, standin: StandIn, tmp_path: Path) -> None:
    standin.fault("repeat_token", path=BARS, times=None)
    with pytest.raises(Unreachable, match="the reply has no end, try again later"):
        feed.bars(SYMBOLS, TODAY.open, EVENING)
    assert len(standin.requests(BARS)) <= 3
    assert BarStore(tmp_path / "bars").days() == []


def test_ever_new_tokens_are_given_up_at_the_pages_that_can_be_expected(wire: AlpacaWire, tmp_path: Path) -> None:
    class Endless:
        calls = 0

        def get(self, path: str, query: dict[str, object]) -> dict[str, object]:
            self.calls += 1
            return {"bars": {}, "next_page_token": str(self.calls)}

    wire.data = Endless()
    with pytest.raises(Unreachable, match="page 2 of at most 2 leads on"):
        feed_of(wire, tmp_path).bars(SYMBOLS, TODAY.open, EVENING)
    assert wire.data.calls == 2


@pytest.mark.parametrize("reply", [[], {"bars": []}, {"bars": {"NVDA": 7}}, {"bars": {"NVDA": [7]}}])
def test_a_reply_of_another_shape_is_an_error_of_the_way(feed: AlpacaFeed, standin: StandIn, reply: object) -> None:
    standin.fault("error", path=BARS, status=200, body=reply)
    if reply == {"bars": []}:
        assert feed.bars(["NVDA"], TODAY.open, EVENING).empty  # none, in another notation
        return
    with pytest.raises(Unreachable, match="/stocks/bars: a reply"):
        feed.bars(["NVDA"], TODAY.open, EVENING)


def broken_reply(bars: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    return {"bars": bars, "next_page_token": None}


def raw(minute: int, **changes: object) -> dict[str, object]:
    stamp = (TODAY.open + minute * MINUTE).isoformat().replace("+00:00", "Z")
    return {"t": stamp, "o": 10.0, "h": 11.0, "l": 9.0, "c": 10.5, "v": 100, **changes}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"c": None}, "a price is missing"),
        ({"o": "ten"}, "a price is missing"),
        ({"o": {}}, "a price is missing"),
        ({"l": 0.0}, "not positive"),
        ({"h": 8.0}, "high is below low"),
        ({"c": 12.0}, "above high"),
        ({"v": None}, "volume is missing"),
        ({"t": (TODAY.open + 5 * MINUTE + timedelta(seconds=30)).isoformat()}, "not the start of a minute"),
        ({"t": (TODAY.open + 4 * MINUTE).isoformat()}, "a second bar for one minute"),
        ({"t": (TODAY.close + 4 * MINUTE).isoformat()}, "not a time that was asked for"),
        ({"t": "1970-01-01T00:00:00Z"}, "not a time that was asked for"),
        ({"t": None}, "not a time that was asked for"),
        ({"t": 17}, "not a time that was asked for"),
    ],
)
def test_a_bar_that_breaks_a_rule_is_dropped_counted_and_said(
    feed: AlpacaFeed,
    standin: StandIn,
    changes: dict[str, object],
    rule: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [raw(minute, **(changes if minute == 5 else {})) for minute in range(60)]
    standin.fault("error", path=BARS, status=200, body=broken_reply({"NVDA": rows}))
    found = feed.bars(["NVDA"], TODAY.open, EVENING)
    assert len(found) == 59
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == [
        next(r.message for r in caplog.records if rule in r.message)
    ]
    assert "dropped 1 bars (NVDA)" in caplog.text


def test_a_symbol_with_too_many_broken_bars_is_left_out_said_and_asked_for_again(
    feed: AlpacaFeed, standin: StandIn, caplog: pytest.LogCaptureFixture, real_bars: pd.DataFrame
) -> None:
    good = [raw(minute) for minute in range(60)]
    bad = [raw(minute, **({"c": None} if minute < 4 else {})) for minute in range(60)]
    standin.fault("error", path=BARS, status=200, body=broken_reply({"AVGO": good, "NVDA": bad}))
    found = feed.bars(["AVGO", "NVDA"], TODAY.open, EVENING)
    assert found["symbol"].unique().tolist() == ["AVGO"]
    assert "more than 5% of the bars are broken, left out: ['NVDA']" in caplog.text
    asked(standin)
    feed.bars(["AVGO", "NVDA"], TODAY.open, EVENING)
    assert [query["symbols"] for query in asked(standin)] == ["NVDA"]


def test_bars_before_the_open_are_cut_without_noise(
    feed: AlpacaFeed, standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    early = [raw(minute) for minute in (-90, -1, 0, 1)]
    yesterday = [{**raw(0), "t": (BEFORE.open + MINUTE).isoformat()}]
    standin.fault("error", path=BARS, status=200, body=broken_reply({"NVDA": yesterday + early}))
    assert len(feed.bars(["NVDA"], BEFORE.open, EVENING)) == 3
    assert caplog.records == []


def test_a_symbol_that_alpaca_does_not_know_costs_only_itself(
    feed: AlpacaFeed, standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    standin.settings(variants={"unknown_data_symbol": "error"})
    found = feed.bars(["NVDA", "XXXX"], TODAY.open, EVENING)
    assert found["symbol"].unique().tolist() == ["NVDA"]
    assert "does not know the symbol XXXX" in caplog.text


def test_wrong_keys_are_said_at_once(standin: StandIn, tmp_path: Path) -> None:
    with pytest.raises(KeysRefused, match="Copy the paper account's keys"):
        feed_of(wire_to(standin, "wrongsecret000000000000000000000000000000"), tmp_path).bars(
            SYMBOLS, TODAY.open, EVENING
        )
    assert len(standin.requests()) <= 2  # the wire believes it the second time


# --- SIP ------------------------------------------------------------------------------------------------------------


def test_without_a_subscription_sip_history_ends_sixteen_minutes_ago(
    wire: AlpacaWire, standin: StandIn, tmp_path: Path
) -> None:
    standin.set_clock(NOON)
    feed = feed_of(wire, tmp_path, "sip")
    found = feed.bars(SYMBOLS, BEFORE.open, NOON)
    assert found["timestamp"].max() == NOON - 17 * MINUTE
    assert [entry["status"] for entry in standin.requests(BARS)] == [403, 200]
    standin.set_clock(EVENING)
    assert feed.bars(SYMBOLS, BEFORE.open, EVENING)["timestamp"].max() == TODAY.close - MINUTE


def test_without_a_subscription_live_sip_bars_are_refused_with_the_cure(
    wire: AlpacaWire, standin: StandIn, tmp_path: Path
) -> None:
    standin.set_clock(NOON + PUBLISHED)
    feed = feed_of(wire, tmp_path, "sip")
    with pytest.raises(FeedUnavailable, match=r'set FEED = "iex" .* or subscribe'):
        feed.new_bars(SYMBOLS, epoch_minute(NOON) - 2, NOON)
    standin.settings(feeds=["iex", "sip"])
    assert len(feed.new_bars(SYMBOLS, epoch_minute(NOON) - 2, NOON)) == 12  # the minute, and the three before


def test_another_refusal_is_not_taken_for_the_subscription(feed: AlpacaFeed, standin: StandIn) -> None:
    for method in (lambda: feed.bars(SYMBOLS, TODAY.open, NOON), lambda: feed.new_bars(SYMBOLS, 0, NOON)):
        standin.fault("error", path=BARS, status=422, body={"message": "subscription? no"})
        with pytest.raises(Refused, match=r"subscription\? no"):
            method()


# --- the newest minute ----------------------------------------------------------------------------------------------


def minute_of(feed: AlpacaFeed, now: datetime, symbols: list[str] | None = None) -> list[Bar]:
    return feed.new_bars(symbols or SYMBOLS, epoch_minute(now) - 2, now)


def test_each_minute_the_new_bars_of_all_symbols_are_one_request(
    feed: AlpacaFeed, standin: StandIn, real_bars: pd.DataFrame
) -> None:
    symbols = hundred(real_bars)
    for minute in range(3):
        now = NOON + minute * MINUTE
        standin.set_clock(now + PUBLISHED)
        found = minute_of(feed, now, symbols)
        newest = [bar for bar in found if bar.minute == epoch_minute(now) - 1]
        assert [bar.symbol for bar in newest] == symbols
        assert found == sorted(found, key=lambda bar: (bar.minute, bar.symbol))
        if minute:
            assert found == newest
        assert len(asked(standin)) == 1
    own = [bar for bar in found if bar.symbol in SYMBOLS]
    assert own == as_bars(expected(real_bars, SYMBOLS, now - MINUTE, now))


def test_three_hundred_symbols_are_two_requests(feed: AlpacaFeed, standin: StandIn, real_bars: pd.DataFrame) -> None:
    standin.set_clock(NOON)
    names = [f"X{number:03}" for number in range(300)]
    assert minute_of(feed, NOON, names) == []
    assert [len(query["symbols"].split(",")) for query in asked(standin)] == [200, 100]


def test_missed_minutes_are_handed_out_too_and_nights_are_not_asked_for(feed: AlpacaFeed, standin: StandIn) -> None:
    now = TODAY.open + 2 * MINUTE
    standin.set_clock(now + PUBLISHED)
    found = feed.new_bars(["NVDA"], epoch_minute(BEFORE.close) - 10, now)
    assert len([bar for bar in found if bar.minute > epoch_minute(BEFORE.close) - 10]) == 9 + 2
    spans = [(query["start"], query["end"]) for query in asked(standin)]
    assert spans[1] == (TODAY.open.isoformat(), (now - MINUTE).isoformat())
    assert len(spans) == 2


def test_at_the_open_nothing_is_new_and_nothing_is_asked(feed: AlpacaFeed, standin: StandIn) -> None:
    standin.set_clock(TODAY.open)
    assert feed.new_bars(SYMBOLS, epoch_minute(TODAY.open) - 1, TODAY.open) == []
    assert asked(standin) == []


def test_a_symbol_without_a_bar_in_the_minute_is_just_not_there(feed: AlpacaFeed, standin: StandIn) -> None:
    standin.set_clock(NOON)
    span = {"from": (NOON - 20 * MINUTE).isoformat(), "to": NOON.isoformat()}
    standin.bars(hide={"symbol": "NVDA", **span})
    assert {bar.symbol for bar in minute_of(feed, NOON)} == {"AVGO", "COIN"}


@pytest.mark.parametrize("seconds", [-60, 0, 30, 60, 3600])
def test_bars_of_a_running_or_later_minute_are_not_believed(
    feed: AlpacaFeed, standin: StandIn, seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    standin.set_clock(NOON)
    minute = int((NOON - TODAY.open) / MINUTE)
    stamp = (NOON + timedelta(seconds=seconds)).isoformat()
    rows = [raw(minute - 2), raw(0, t=stamp)]
    standin.fault("error", path=BARS, status=200, body=broken_reply({"NVDA": rows}))
    found = minute_of(feed, NOON, ["NVDA"])
    assert len(found) == (2 if seconds == -60 else 1)
    assert ("dropped 1 bars (NVDA)" in caplog.text) is (seconds != -60)


def test_a_correction_of_the_minutes_before_is_handed_out_once(
    feed: AlpacaFeed, standin: StandIn, real_bars: pd.DataFrame
) -> None:
    standin.set_clock(NOON + PUBLISHED)
    minute_of(feed, NOON)
    stamp = NOON - 2 * MINUTE
    standin.bars(revise={"symbol": "NVDA", "timestamp": stamp.isoformat(), "volume": 123})
    for minutes, corrections in ((1, ["NVDA"]), (2, [])):
        now = NOON + minutes * MINUTE
        standin.set_clock(now + PUBLISHED)
        found = minute_of(feed, now)
        earlier = [bar for bar in found if bar.minute < epoch_minute(now) - 1]
        assert [bar.symbol for bar in earlier] == corrections
        assert all((bar.minute, bar.volume) == (epoch_minute(stamp), 123) for bar in earlier)
        assert len(found) == len(SYMBOLS) + len(earlier)


def test_a_late_bar_is_handed_out_when_it_comes(feed: AlpacaFeed, standin: StandIn) -> None:
    standin.set_clock(NOON + PUBLISHED)
    late = raw(int((NOON - TODAY.open) / MINUTE) - 1)
    standin.fault("error", path=BARS, status=200, body=broken_reply({"AVGO": [late]}))
    assert [bar.symbol for bar in minute_of(feed, NOON)] == ["AVGO"]
    now = NOON + MINUTE
    standin.set_clock(now + PUBLISHED)
    found = minute_of(feed, now)
    assert ("NVDA", epoch_minute(NOON) - 1) in [bar[:2] for bar in found]
    assert [bar[:2] for bar in found if bar.minute == epoch_minute(now) - 1] == [
        (symbol, epoch_minute(now) - 1) for symbol in SYMBOLS
    ]


def test_recomputed_bars_come_with_the_next_minute(feed: AlpacaFeed, standin: StandIn, real_bars: pd.DataFrame) -> None:
    standin.settings(variants={"restate": True})
    known: dict[tuple[str, int], Bar] = {}
    for minute in range(5):
        now = NOON + minute * MINUTE
        standin.set_clock(now + PUBLISHED)
        known |= {bar[:2]: bar for bar in minute_of(feed, now)}
    settled = as_bars(expected(real_bars, SYMBOLS, NOON - MINUTE, now - MINUTE))
    assert [known[bar[:2]] for bar in settled] == settled


# --- splits ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(feed: AlpacaFeed, standin: StandIn) -> AlpacaFeed:
    """A feed whose store holds all sessions until the evening."""
    feed.bars(SYMBOLS, SESSIONS[0].open, EVENING)
    standin.clear_requests()
    return feed


MORNING = at_new_york(date(2026, 3, 4), "04:00")
EFFECTIVE = "2026-03-04T09:00:00Z"


def split(standin: StandIn, symbol: str = "NVDA", ratio: float = 10) -> None:
    """Ex-date is the next day: adjusted from 04:00 on."""
    standin.bars(split={"symbol": symbol, "ratio": ratio, "effective": EFFECTIVE})
    standin.set_clock(MORNING)


def test_without_a_split_one_request_is_enough_and_nothing_changes(stored: AlpacaFeed, standin: StandIn) -> None:
    assert stored.check_splits(EVENING) == []
    assert len(asked(standin)) == 1
    assert stored.symbols(EVENING) == SYMBOLS


def test_an_empty_store_has_nothing_to_compare(feed: AlpacaFeed, standin: StandIn) -> None:
    assert feed.check_splits(EVENING) == []
    assert asked(standin) == []


def test_a_split_symbol_is_fetched_anew_whole(
    stored: AlpacaFeed, standin: StandIn, real_bars: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    split(standin)
    assert stored.check_splits(MORNING) == ["NVDA"]
    assert "NVDA: stored close" in caplog.text
    found = stored.bars(SYMBOLS, SESSIONS[0].open, MORNING)
    before = expected(real_bars, SYMBOLS, SESSIONS[0].open, MORNING)
    ratio = before["close"] / found["close"]
    assert ratio[found["symbol"] == "NVDA"].round(2).eq(10).all()
    assert ratio[found["symbol"] != "NVDA"].eq(1).all()
    assert len(found) == len(before)
    assert stored.symbols(MORNING) == SYMBOLS
    assert stored.check_splits(MORNING) == []
    assert stored.found_splits() == {"NVDA": MORNING}  # though the bars no longer show it


def test_until_a_split_symbol_is_fetched_anew_it_is_not_watched(
    stored: AlpacaFeed, standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    split(standin)
    standin.fault("error", path=BARS, status=503, after=1, times=8)
    assert stored.check_splits(MORNING) == ["NVDA"]
    assert "not watched until they are fetched anew: NVDA" in caplog.text
    assert stored.symbols(MORNING) == ["AVGO", "COIN"]
    with pytest.raises(Unreachable):
        stored.bars(["NVDA"], SESSIONS[0].open, MORNING)  # never the old prices
    assert stored.check_splits(MORNING) == ["NVDA"]
    assert stored.symbols(MORNING) == SYMBOLS


def test_a_thin_symbol_is_compared_at_its_own_newest_bar(stored: AlpacaFeed, standin: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "bars" / f"{TODAY.day}.parquet"
    table = pd.read_parquet(path)
    thin = (table["symbol"] == "NVDA") & (table["timestamp"] > TODAY.open + 20 * MINUTE)
    table[~thin].to_parquet(path, index=False)
    split(standin)
    assert stored.check_splits(MORNING) == ["NVDA"]


def test_a_symbol_that_left_the_list_days_ago_is_compared_too(
    wire: AlpacaWire, standin: StandIn, tmp_path: Path
) -> None:
    feed = feed_of(wire, tmp_path)
    feed.bars([*SYMBOLS, "ORCL"], SESSIONS[-5].open, SESSIONS[-4].close + timedelta(hours=4))
    feed.bars(SYMBOLS, SESSIONS[-3].open, EVENING)
    split(standin, "ORCL")
    assert feed.check_splits(MORNING) == ["ORCL"]


def test_a_symbol_of_which_alpaca_has_no_bar_any_more_is_counted_and_said(
    stored: AlpacaFeed, standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    span = {"from": TODAY.open.isoformat(), "to": TODAY.close.isoformat()}
    standin.bars(hide={"symbol": "COIN", **span})
    assert stored.check_splits(EVENING) == []
    assert "not compared, Alpaca has no bar now where one is stored: 1 (COIN)" in caplog.text


# --- with the predictor and the data set ----------------------------------------------------------------------------


@pytest.fixture
def settings(standin: StandIn, tmp_path: Path) -> Settings:
    plain = settings_in(tmp_path, SYMBOLS=tuple(SYMBOLS), ALPACA_API_KEY=standin.KEY, ALPACA_SECRET_KEY=standin.SECRET)
    return replace(plain, MARKET="alpaca", ALPACA_TRADING_URL=standin.api, ALPACA_DATA_URL=standin.api)


@pytest.fixture(scope="module")
def models(real_bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = settings_in(tmp_path_factory.mktemp("published"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 20)
        publish_eager_model(folder, expected(real_bars, SYMBOLS, SESSIONS[-8].open, SESSIONS[-4].close))
    change_card(folder, market="alpaca", feed="iex")
    return folder.MODELS_DIR


@pytest.fixture
def predictor(settings: Settings, models: Path, wire: AlpacaWire) -> MLPredictor:
    settings.MODELS_DIR.mkdir()
    for path in models.iterdir():
        (settings.MODELS_DIR / path.name).write_bytes(path.read_bytes())
    return MLPredictor(settings, open_alpaca(settings, wire))


def predict(predictor: MLPredictor, now: datetime, symbols: list[str]) -> dict[str, str | None]:
    """One minute as the trader does it; each symbol's problem."""
    feed = predictor._open()
    bars = feed.new_bars(symbols, epoch_minute(now) - 2, now)
    return {p.symbol: p.problem for p in predictor.at_minute(now, symbols, bars, epoch_minute(now) - 1)}


def test_a_newcomer_is_backfilled_with_few_requests_before_it_is_predicted(
    predictor: MLPredictor, standin: StandIn
) -> None:
    standin.set_clock(NOON + PUBLISHED)
    assert predict(predictor, NOON, SYMBOLS) == dict.fromkeys(SYMBOLS)
    asked(standin)
    now = NOON + MINUTE
    standin.set_clock(now + PUBLISHED)
    assert predict(predictor, now, [*SYMBOLS, "ORCL"]) == dict.fromkeys([*SYMBOLS, "ORCL"])
    queries = asked(standin)
    assert [query["symbols"] for query in queries] == ["AVGO,COIN,NVDA,ORCL", "ORCL"]
    now += MINUTE
    standin.set_clock(now + PUBLISHED)
    assert predict(predictor, now, [*SYMBOLS, "ORCL"]) == dict.fromkeys([*SYMBOLS, "ORCL"])
    assert len(asked(standin)) == 1


def test_a_newcomer_that_cannot_be_fetched_costs_only_itself_and_is_tried_again(
    predictor: MLPredictor, standin: StandIn
) -> None:
    standin.set_clock(NOON + PUBLISHED)
    predict(predictor, NOON, SYMBOLS)
    now = NOON + MINUTE
    standin.set_clock(now + PUBLISHED)
    standin.fault("error", path=BARS, status=500, after=1, times=4)
    problems = predict(predictor, now, [*SYMBOLS, "ORCL"])
    assert problems == {**dict.fromkeys(SYMBOLS), "ORCL": "its history cannot be fetched"}
    now += MINUTE
    standin.set_clock(now + PUBLISHED)
    assert predict(predictor, now, [*SYMBOLS, "ORCL"]) == dict.fromkeys([*SYMBOLS, "ORCL"])


def test_a_stale_symbol_is_not_predicted_and_says_how_old_its_bar_is(predictor: MLPredictor, standin: StandIn) -> None:
    standin.set_clock(NOON + PUBLISHED)
    span = {"from": (NOON - 5 * MINUTE).isoformat(), "to": NOON.isoformat()}
    standin.bars(hide={"symbol": "NVDA", **span})
    assert predict(predictor, NOON, SYMBOLS) == {"AVGO": None, "COIN": None, "NVDA": "last bar is 6 minutes old"}


def test_windows_with_corrections_and_late_bars_equal_those_of_a_new_predictor(
    predictor: MLPredictor, standin: StandIn, settings: Settings, wire: AlpacaWire
) -> None:
    standin.settings(variants={"restate": True})
    for minute in range(5):
        now = NOON + minute * MINUTE
        standin.set_clock(now + PUBLISHED)
        predict(predictor, now, SYMBOLS)
    anew = MLPredictor(settings, open_alpaca(settings, wire))
    predict(anew, now, SYMBOLS)
    for symbol in SYMBOLS:
        old, new = predictor._open_windows()._windows[symbol], anew._open_windows()._windows[symbol]
        assert old.minutes[-300:].tolist() == new.minutes[-300:].tolist()
        assert old.values[:, -300:].tolist() == new.values[:, -300:].tolist()


def test_windows_are_built_anew_in_a_session_s_first_minute_so_that_a_split_is_in(
    predictor: MLPredictor, standin: StandIn
) -> None:
    standin.set_clock(TODAY.close + PUBLISHED)
    predict(predictor, TODAY.close, SYMBOLS)
    feed = predictor._open()
    feed.bars(SYMBOLS, SESSIONS[0].open, EVENING)
    before = predictor._open_windows()._windows["NVDA"].values[3].copy()
    split(standin)
    assert feed.check_splits(MORNING) == ["NVDA"]
    opened = MORNING + timedelta(hours=5, minutes=30)
    standin.set_clock(opened + PUBLISHED)
    since = epoch_minute(TODAY.close)  # as the trader has it: no minute of a session was missed
    predictor.at_minute(opened, SYMBOLS, feed.new_bars(SYMBOLS, since - 1, opened), since)
    assert predictor._open_windows()._windows["NVDA"].values[3] == pytest.approx(before / 10, rel=1e-3)


def test_the_data_set_of_the_evening_comes_from_alpaca_and_can_be_traded_again_from_the_store(
    settings: Settings, wire: AlpacaWire, real_bars: pd.DataFrame
) -> None:
    dataset = prepare(open_alpaca(settings, wire), EVENING, settings)
    assert (dataset.about["market"], dataset.about["feed"]) == ("alpaca", "iex")
    assert dataset.about["symbols"] == SYMBOLS
    stored = open_stored(settings, "alpaca")
    assert (stored.market, stored.feed) == ("alpaca", "iex")
    first = stored.sessions()[0].open
    pd.testing.assert_frame_equal(stored.table, expected(real_bars, SYMBOLS, first, TODAY.close))

"""Followed trades: chosen without hindsight, settled by the label and not before their time, believed only by days."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from learning.followed import (
    COLUMNS,
    NOT_TAKEN,
    SHADOW,
    Followed,
    evidence,
    follow,
    not_taken,
    settle,
    shadows,
)
from learning.labels import label_trades
from learning.verdicts import MIN_TRADE_DAYS, MIN_TRADES
from market.bars import check_bars
from market.hours import at_new_york, sessions_between

MODEL, STAMP = "20260227_200000", "20260306_200000"
STOP, TARGET, COST = 0.02, 0.04, 0.001
MINUTE = pd.Timedelta(minutes=1)
NOTHING = follow(pd.DataFrame(), pd.DataFrame())
MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
SYMBOLS = [f"S{number:02}" for number in range(12)]
SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 17))


def predicted(day: date, *rows: tuple[str, str, float]) -> pd.DataFrame:
    """Predictions of one day from (symbol, New York time of the bar, confidence)."""
    frame = pd.DataFrame(
        [(symbol, at_new_york(day, time), confidence) for symbol, time, confidence in rows],
        columns=["symbol", "timestamp", "confidence"],
    )
    stamps = pd.to_datetime(frame["timestamp"], utc=True).dt.as_unit("us")
    return frame.assign(symbol=frame["symbol"].astype("str"), timestamp=stamps, model_id=MODEL)


def chosen(found: pd.DataFrame) -> list[tuple[str, str]]:
    """Symbol and New York time of the bars on which trades were decided."""
    times = found["timestamp"].dt.tz_convert("America/New_York").dt.strftime("%H:%M")
    return list(zip(found["symbol"], times, strict=True))


# --- shadows --------------------------------------------------------------------------------------------------------


def test_the_threshold_of_shadows_is_what_as_many_symbols_reached_in_the_session_before() -> None:
    before = predicted(MONDAY, ("A", "10:00", 0.60), ("A", "11:00", 0.59), ("B", "10:00", 0.55), ("C", "12:00", 0.50))
    today = predicted(
        TUESDAY, ("A", "09:31", 0.54), ("A", "09:40", 0.55), ("A", "13:00", 0.64), ("B", "10:00", 0.549999)
    )
    assert chosen(shadows(today, before, count=2)) == [("A", "09:40")]
    assert chosen(shadows(today, before, count=1)) == [("A", "13:00")]
    assert chosen(shadows(today, before, count=3)) == [("A", "09:31"), ("B", "10:00")]
    assert chosen(shadows(today, before)) == [("A", "09:31"), ("B", "10:00")]  # fewer symbols than five: the lowest


def test_shadows_are_one_per_symbol_and_the_first_ones_of_the_day() -> None:
    before = predicted(MONDAY, *((symbol, "10:00", 0.5) for symbol in "ABCDEFG"))
    rows = [(symbol, f"1{minute}:00", 0.5 + minute / 100) for symbol in "GFEDCBA" for minute in range(6)]
    late = [("H", "10:00", 0.49), ("H", "15:00", 0.9)]
    found = shadows(predicted(TUESDAY, *rows, *late), before)
    assert chosen(found) == [(symbol, "10:00") for symbol in "ABCDE"]


def test_in_one_minute_the_more_confident_shadow_comes_first() -> None:
    before = predicted(MONDAY, ("A", "10:00", 0.5), ("B", "10:00", 0.5))
    today = predicted(TUESDAY, ("A", "10:00", 0.51), ("B", "10:00", 0.53), ("C", "10:00", 0.52))
    assert chosen(shadows(today, before, count=2)) == [("B", "10:00"), ("C", "10:00")]


@pytest.mark.parametrize(
    ("day", "last", "earlier"), [(TUESDAY, "15:59", "15:58"), (date(2026, 11, 27), "12:59", "12:58")]
)
def test_the_last_bar_of_a_session_opens_no_shadow_and_sets_no_threshold(day: date, last: str, earlier: str) -> None:
    before = predicted(day, ("A", "10:00", 0.5), ("A", last, 0.9))
    today = predicted(day, ("A", last, 0.8), ("B", earlier, 0.6))
    assert chosen(shadows(today, before)) == [("B", earlier)]


def test_what_comes_later_changes_no_shadow() -> None:
    rng = np.random.default_rng(3)
    times = [f"{hour}:{minute:02}" for hour in range(10, 15) for minute in range(60)]
    before, today = (
        predicted(day, *((symbol, time, rng.random()) for symbol in "ABCDEFGH" for time in times))
        for day in (MONDAY, TUESDAY)
    )
    whole = shadows(today, before)
    assert len(whole) > 1
    for end in whole["timestamp"]:
        cut = shadows(today[today["timestamp"] <= end], before)
        pd.testing.assert_frame_equal(cut, whole[whole["timestamp"] <= end])


def test_without_a_session_before_there_is_no_shadow() -> None:
    today = predicted(TUESDAY, ("A", "10:00", 0.9))
    assert shadows(today, today[:0]).empty
    assert shadows(today[:0], today).empty
    assert list(shadows(today[:0], today).columns) == ["symbol", "timestamp", "confidence", "model_id", "kind"]


# --- signals that were not taken, and one table of both -------------------------------------------------------------


def signal(
    symbol: str, timestamp: str, *, taken: bool = False, reason: str = "10 positions are held"
) -> dict[str, object]:
    return {
        "symbol": symbol,
        "price": 100.0,
        "confidence": 0.7,
        "timestamp": timestamp,
        "taken": taken,
        "reason": reason,
    }


def test_a_signal_not_taken_is_followed_on_the_bar_before_its_minute_with_the_model_that_made_it() -> None:
    predictions = predicted(TUESDAY, ("A", "09:59", 0.7), ("A", "10:00", 0.7), ("B", "10:00", 0.7))
    predictions["model_id"] = ["other", "model A", "model B"]
    signals = [
        signal("A", "2026-03-03T10:01:00-05:00", reason="no cash"),
        signal("B", "2026-03-03T10:01:00-05:00", taken=True),
        signal("C", "2026-03-03T10:01:00-05:00"),
    ]
    found = not_taken(signals, predictions)
    assert chosen(found) == [("A", "10:00"), ("C", "10:00")]
    assert found["model_id"].fillna("unknown").tolist() == ["model A", "unknown"]
    assert found["reason"].tolist() == ["no cash", "10 positions are held"]
    assert found["kind"].tolist() == [NOT_TAKEN, NOT_TAKEN]
    assert found["confidence"].tolist() == [0.7, 0.7]


def test_no_signals_are_an_empty_table() -> None:
    predictions = predicted(TUESDAY, ("A", "10:00", 0.7))
    assert not_taken([], predictions).empty
    assert follow(NOTHING, not_taken([], predictions[:0])).empty


def test_the_same_trade_followed_again_stays_as_it_was_and_another_kind_is_another_row() -> None:
    predictions = predicted(TUESDAY, ("A", "10:00", 0.7))
    shadow = shadows(predictions, predictions)
    once = follow(NOTHING, shadow)
    assert list(once.columns) == COLUMNS
    settled = once.assign(net_return=0.01)
    assert follow(settled, shadow.assign(confidence=0.1))[["confidence", "net_return"]].to_numpy().tolist() == [
        [0.7, 0.01]
    ]
    missed = not_taken([signal("A", "2026-03-03T10:01:00-05:00")], predictions)
    both = follow(follow(settled, missed), missed)
    assert both["kind"].tolist() == [NOT_TAKEN, SHADOW]
    pd.testing.assert_series_equal(both.dtypes, once.dtypes)


# --- settling -------------------------------------------------------------------------------------------------------


def following(*trades: tuple[str, str]) -> pd.DataFrame:
    """Shadow trades from (symbol, New York time of the bar)."""
    table = pd.DataFrame(trades, columns=["symbol", "timestamp"])
    stamps = pd.to_datetime(table["timestamp"]).dt.tz_localize("America/New_York")
    return follow(NOTHING, table.assign(timestamp=stamps, confidence=0.5, model_id=MODEL, kind=SHADOW))


def bars_of(symbol: str, *moves: tuple[str, float, int]) -> pd.DataFrame:
    """Flat minute bars of a symbol: from a New York time, a price, and for how many minutes."""
    rows = [
        (pd.Timestamp(start).tz_localize("America/New_York") + minute * MINUTE, price)
        for start, price, minutes in moves
        for minute in range(minutes)
    ]
    frame = pd.DataFrame(rows, columns=["timestamp", "open"])
    return frame.assign(symbol=symbol, high=frame["open"], low=frame["open"], close=frame["open"], volume=100.0)


def labelled(*frames: pd.DataFrame, limit: int | None = 60) -> pd.DataFrame:
    return label_trades(check_bars(pd.concat(frames)), STOP, TARGET, limit, COST)


def test_a_trade_worked_out_by_hand() -> None:
    # A is bought at 100 and sold at its stop; B gains 1% in its hour and is sold when the time is up.
    a = bars_of("A", ("2026-03-03 10:00", 100.0, 20), ("2026-03-03 10:20", 97.0, 80))
    b = bars_of("B", ("2026-03-03 10:00", 50.0, 40), ("2026-03-03 10:40", 50.5, 60))
    found = settle(following(("A", "2026-03-03 10:05"), ("B", "2026-03-03 10:05")), labelled(a, b), 60)
    assert found["net_return"].tolist() == pytest.approx([-0.03 - COST, 0.01 - COST])
    assert found["label"].tolist() == [0.0, 1.0]
    assert found["exit_reason"].tolist() == ["stop", "time"]
    settled = found["settled_at"].dt.tz_convert("America/New_York").dt.strftime("%H:%M").tolist()
    assert settled == ["10:21", "11:07"]
    # Entries decided from 10:00 to 10:29: of A 19 lose 3% and 11 nothing, of B 30 gain 1%.
    assert found["matched"].tolist() == pytest.approx([(19 * -0.03 + 30 * 0.01) / 60 - COST] * 2)


def test_trades_earn_what_their_label_says_and_are_matched_with_all_entries_of_their_half_hour(
    real_bars: pd.DataFrame,
) -> None:
    labels = label_trades(real_bars, STOP, TARGET, 390, COST)
    rng = np.random.default_rng(2)
    rows = real_bars.iloc[np.sort(rng.choice(len(real_bars), 60, replace=False))]
    picked = rows[["symbol", "timestamp"]].assign(confidence=0.5, model_id=MODEL, kind=SHADOW)
    found = settle(follow(NOTHING, picked), labels, 390)
    assert found["net_return"].notna().sum() > 45
    local = real_bars["timestamp"].dt.tz_convert("America/New_York")
    half_hours = local.dt.floor("30min")  # sessions open on the half hour
    for trade in found[found["net_return"].notna()].itertuples():
        at = (labels["symbol"] == trade.symbol) & (labels["timestamp"] == trade.timestamp)
        (label,) = labels[at].itertuples()
        told = (trade.label, trade.net_return, trade.settled_at, trade.exit_reason)
        assert told == (label.label, label.net_return, label.settled_at, label.exit_reason)
        entries = labels["net_return"][half_hours == half_hours[label.Index]].dropna()
        assert len(entries) >= 12 * 29
        assert trade.matched == pytest.approx(entries.mean())


def test_nothing_is_judged_before_its_whole_half_hour_had_its_time() -> None:
    day = bars_of("A", ("2026-03-03 09:30", 100.0, 40), ("2026-03-03 10:10", 97.0, 80), ("2026-03-03 11:30", 97.0, 60))
    followed = following(
        ("A", "2026-03-03 10:05")
    )  # stopped at 10:10; the last entry of 10:00 to 10:29 is due at 11:30
    for last, known in (("10:11", False), ("11:29", False), ("11:30", True), ("12:29", True)):
        end = pd.Timestamp(f"2026-03-03 {last}").tz_localize("America/New_York")
        found = settle(followed, labelled(day[day["timestamp"] <= end]), 60)
        assert (
            found.loc[0, ["label", "net_return", "settled_at", "exit_reason", "matched"]].notna().tolist()
            == [known] * 5
        )


@pytest.mark.parametrize("limit", [60, 390])
def test_a_judgement_made_on_some_evening_is_the_final_one(real_bars: pd.DataFrame, limit: int) -> None:
    bars = real_bars[real_bars["symbol"].isin(["AVGO", "NVDA", "XLF"])].reset_index(drop=True)
    labels = label_trades(bars, STOP, TARGET, limit, COST)
    picked = bars[["symbol", "timestamp"]].iloc[7::97].assign(confidence=0.5, model_id=MODEL, kind=SHADOW)
    followed = follow(NOTHING, picked)
    final = settle(followed, labels, limit).set_index(["symbol", "timestamp"])
    for cut in ("2026-02-13T21:00:00Z", "2026-02-17T17:13:00Z"):
        past = bars[bars["timestamp"] < pd.Timestamp(cut)].reset_index(drop=True)
        found = settle(followed, label_trades(past, STOP, TARGET, limit, COST), limit).set_index(
            ["symbol", "timestamp"]
        )
        known = found[found["net_return"].notna()]
        assert len(known) > 50
        pd.testing.assert_frame_equal(known, final.loc[known.index])


def test_what_was_settled_stays_as_it_is() -> None:
    labels = labelled(bars_of("A", ("2026-03-03 10:00", 100.0, 390 - 30)))
    followed = following(("A", "2026-03-03 10:05"), ("A", "2026-03-03 10:06"))
    followed.loc[0, ["label", "net_return", "matched"]] = [1.0, 0.5, 0.25]
    found = settle(followed, labels, 60)
    assert found["net_return"].tolist() == pytest.approx([0.5, -COST])
    assert found["matched"].tolist() == pytest.approx([0.25, -COST])


def test_trades_that_can_never_be_known_are_counted_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    labels = labelled(
        bars_of("A", ("2026-03-02 10:00", 100.0, 360), ("2026-03-03 09:30", 100.0, 390)),
        bars_of("B", ("2026-03-03 10:00", 50.0, 10), ("2026-03-03 10:16", 50.0, 344)),
        bars_of("C", ("2026-03-03 10:00", 50.0, 20)),
    )
    followed = following(
        ("A", "2026-03-02 09:45"),  # older than the bars
        ("A", "2026-03-02 15:59"),  # a session's last bar
        ("B", "2026-03-03 10:08"),
        ("B", "2026-03-03 10:09"),  # six minutes of silence
        ("B", "2026-03-03 10:12"),  # no bar of that minute
        ("C", "2026-03-03 10:10"),  # its end may still come
        ("C", "2026-03-03 10:25"),  # its bars may still come
        ("D", "2026-03-03 10:10"),
    )
    with caplog.at_level(logging.WARNING):
        found = settle(followed, labels, 60)
    assert chosen(found) == [("B", "10:08"), ("C", "10:10"), ("D", "10:10"), ("C", "10:25")]
    assert found["net_return"].notna().tolist() == found["matched"].notna().tolist() == [True, False, False, False]
    assert [record.getMessage() for record in caplog.records] == [
        "left out 1 followed trades (A): older than the bars",
        "left out 1 followed trades (B): there is no bar of that minute",
        "left out 2 followed trades (A, B): no bar near enough to enter at",
    ]


def test_without_bars_or_without_trades_nothing_is_settled() -> None:
    labels = labelled(bars_of("A", ("2026-03-03 10:00", 100.0, 100)))
    followed = following(("A", "2026-03-03 10:05"))
    pd.testing.assert_frame_equal(settle(followed, labels[:0], 60), followed)
    pd.testing.assert_frame_equal(settle(NOTHING, labels, 60), NOTHING)


# --- evidence -------------------------------------------------------------------------------------------------------


def settled_trades(net_return: np.ndarray, matched: float = 0.0, kind: str = SHADOW) -> pd.DataFrame:
    """Settled trades from net returns of shape (days, trades a day)."""
    days, count = net_return.shape
    opens = pd.to_datetime([SESSIONS[day].open for day in range(days)]).as_unit("us")
    table = pd.DataFrame({"symbol": SYMBOLS[:count] * days, "timestamp": opens.repeat(count)})
    typed = follow(NOTHING, table.assign(kind=kind, confidence=0.5, model_id=MODEL))
    return typed.assign(net_return=net_return.ravel(), matched=matched)


def test_evidence_says_how_much_and_that_it_is_none() -> None:
    net_return = np.resize([-0.0112, 0.0088], (5, 5))
    verdict = evidence(settled_trades(net_return, -0.0015), SHADOW)
    assert not verdict.holds
    mean = net_return.mean()
    assert verdict.reason == (
        f"25 shadow trades on 5 days, {mean:+.2%} each after cost, {mean + 0.0015:+.2%} against other entries of the "
        "same half hours: no skill shown"
    )


def test_gains_above_nothing_and_above_matched_entries_are_skill() -> None:
    gains = np.random.default_rng(1).normal(0.01, 0.005, (6, 5))
    verdict = evidence(settled_trades(gains, 0.002), SHADOW)
    assert verdict.holds
    assert verdict.reason.endswith("against other entries of the same half hours: skill shown")
    assert not evidence(settled_trades(gains, 0.01), SHADOW).holds  # everything rose
    assert not evidence(settled_trades(gains - 0.01, -0.008), SHADOW).holds  # it lost less than others


@pytest.mark.parametrize(("days", "count"), [(0, 5), (6, 3), (4, 6)])
def test_too_few_trades_or_days_are_no_evidence(days: int, count: int) -> None:
    gains = np.random.default_rng(1).normal(0.01, 0.001, (days, count))
    verdict = evidence(settled_trades(gains), SHADOW)
    assert not verdict.holds
    assert verdict.reason == (
        f"too few to judge: {days * count} shadow trades on {days} days have ended, "
        f"it takes {MIN_TRADES} on {MIN_TRADE_DAYS}"
    )


def test_days_count_not_trades() -> None:
    luck = np.random.default_rng(6).normal(0.004, 0.01, (6, 1)).repeat(12, axis=1)  # 72 trades that share six days
    luck += np.random.default_rng(7).normal(0, 0.0001, luck.shape)
    assert luck.mean() / (luck.std() / np.sqrt(luck.size)) > 2.4
    assert "72 shadow trades on 6 days" in evidence(settled_trades(luck), SHADOW).reason
    assert not evidence(settled_trades(luck), SHADOW).holds


def test_a_days_many_small_losses_weigh_as_much_as_a_days_one_gain() -> None:
    gain, losses = [0.01] + [np.nan] * 4, [-0.002] * 5
    days = np.array([gain, losses] * 5)[:10]
    days += np.random.default_rng(1).normal(0, 0.0001, days.shape)
    daily_mean = np.nanmean(days, axis=1)
    assert daily_mean.mean() / (daily_mean.std(ddof=1) / np.sqrt(len(days))) > 1.9
    verdict = evidence(settled_trades(days), SHADOW)
    assert verdict.reason.startswith("30 shadow trades on 10 days, -0.00%")
    assert not verdict.holds


def test_each_kind_speaks_for_itself_and_a_trade_followed_twice_counts_once() -> None:
    gains = np.random.default_rng(1).normal(0.01, 0.005, (6, 5))
    both = follow(settled_trades(gains), settled_trades(-gains[:5, :4], kind=NOT_TAKEN))
    assert evidence(both, SHADOW).reason.startswith("30 shadow trades on 6 days")
    assert evidence(both, NOT_TAKEN).reason.startswith("20 signals not taken on 5 days")
    assert evidence(both, None).reason.startswith("30 followed trades on 6 days")
    waiting = both.assign(net_return=both["net_return"].where(both["symbol"] != "S00"))
    assert evidence(waiting, SHADOW).reason.startswith("24 shadow trades on 6 days")


STEP, AHEAD, STEPS = 5, 24, 78  # minutes a bar, bars a trade is held, bars a session


@cache
def grid() -> pd.DataFrame:
    """Symbol and timestamp of a bar every five minutes, of all sessions."""
    rows = [
        (s, session.open + timedelta(minutes=STEP * i)) for s in SYMBOLS for session in SESSIONS for i in range(STEPS)
    ]
    table = pd.DataFrame(rows, columns=["symbol", "timestamp"])
    return table.assign(timestamp=table["timestamp"].dt.as_unit("us"), model_id=MODEL)


def walk(rng: np.random.Generator) -> np.ndarray:
    """Log prices of a driftless market, shape (symbols, sessions, bars)."""
    shape = (len(SYMBOLS), len(SESSIONS) * STEPS)
    steps = rng.normal(0, 0.002, shape) + rng.normal(0, 0.001, (1, shape[1]))
    return steps.cumsum(axis=1).reshape(len(SYMBOLS), len(SESSIONS), STEPS)


def shadows_of(price: np.ndarray, confidence: np.ndarray) -> pd.DataFrame:
    """The settled shadow trades of a market whose trades are held two hours."""
    flat = price.reshape(len(SYMBOLS), -1)
    ahead = np.full_like(flat, np.nan)
    ahead[:, :-AHEAD] = flat[:, AHEAD:] - flat[:, :-AHEAD]
    labels = grid()[["symbol", "timestamp"]].assign(
        label=(ahead.ravel() > 0) * 1.0,
        net_return=ahead.ravel(),
        settled_at=grid()["timestamp"] + AHEAD * STEP * MINUTE,
        exit_reason=pd.Categorical(["time"] * ahead.size),
    )
    predictions = grid().assign(confidence=confidence.ravel())
    by_day = [day for _, day in predictions.groupby(predictions["timestamp"].dt.date)]
    new = [shadows(today, before) for before, today in pairwise(by_day)]
    return settle(follow(NOTHING, pd.concat(new)), labels, AHEAD * STEP)


@pytest.mark.parametrize("sign", [-1, 1])
def test_in_a_market_without_a_pattern_the_shadows_of_a_confidence_that_follows_prices_show_no_skill(sign: int) -> None:
    rng = np.random.default_rng(4)
    verdicts = []
    for _ in range(40):
        price = walk(rng)
        so_far = price.cumsum(axis=2) / np.arange(1, STEPS + 1)
        verdicts.append(evidence(shadows_of(price, sign * (price - so_far)), SHADOW))
    assert not any(verdict.reason.startswith("too few") for verdict in verdicts)
    assert sum(verdict.holds for verdict in verdicts) <= 4  # 2 expected at 5%


def test_the_shadows_of_a_confidence_that_knows_something_show_skill() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(10):
        price = walk(rng)
        flat = np.pad(price.reshape(len(SYMBOLS), -1), ((0, 0), (0, AHEAD)), mode="edge")
        future = (flat[:, AHEAD:] - flat[:, :-AHEAD]).reshape(price.shape)
        held += evidence(shadows_of(price, future + rng.normal(0, 0.01, price.shape)), SHADOW).holds
    assert held >= 9


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    followed = following(("A", "2026-03-03 10:05"), ("B", "2026-03-03 11:00"), ("C", "2026-07-01 15:58"))
    missed = not_taken([signal("Ä", "2026-03-03T10:01:00-05:00", reason='"quoted",\nsaid\u2028')], predicted(TUESDAY))
    labels = labelled(bars_of("A", ("2026-03-03 10:00", 100.0, 110)), bars_of("B", ("2026-03-03 11:00", 50.0, 1)))
    table = settle(follow(followed, missed), labels, 60)
    assert table["net_return"].notna().sum() == 1
    file = Followed(tmp_path / "followed_trades.jsonl")
    file.write(table)
    pd.testing.assert_frame_equal(file.read(STAMP), table)
    lines = (tmp_path / "followed_trades.jsonl").read_text().split("\n")
    assert len(lines) == 5
    assert '"timestamp":"2026-03-03T10:05:00-05:00"' in lines[1]
    assert '"timestamp":"2026-07-01T15:58:00-04:00","kind":"shadow"' in lines[3]
    assert '"net_return":null,"settled_at":null' in lines[3]


def test_where_nothing_was_followed_yet_the_table_is_empty_and_has_its_types(tmp_path: Path) -> None:
    file = Followed(tmp_path / "followed_trades.jsonl")
    empty = file.read(STAMP)
    assert list(empty.columns) == COLUMNS
    assert empty.empty
    pd.testing.assert_series_equal(empty.dtypes, following(("A", "2026-03-03 10:05")).dtypes)
    file.write(empty)
    pd.testing.assert_frame_equal(file.read(STAMP), empty)
    assert not evidence(empty, None).holds


@pytest.mark.parametrize(
    "content", [b'{"symbol":"A"}\n', b'{"symbol":"A",', b"[1, 2]\n", b"17\n", b"\xff\xfe", b'{"symbol":"A"}{}\n']
)
def test_a_file_that_cannot_be_read_is_moved_aside_and_said(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "followed_trades.jsonl"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert Followed(path).read(STAMP).empty
    aside = tmp_path / f"followed_trades.jsonl.unreadable-{STAMP}"
    assert aside.read_bytes() == content
    assert not path.exists()
    assert aside.name in caplog.text


@pytest.mark.parametrize(
    "damage",
    [('"net_return":null', '"net_return":"x"'), ("T10:05", "T99:05"), ('"net_return":null', '"net_return":{}')],
)
def test_a_record_with_other_content_is_unreadable(tmp_path: Path, damage: tuple[str, str]) -> None:
    file = Followed(tmp_path / "followed_trades.jsonl")
    file.write(following(("A", "2026-03-03 10:05")))
    path = tmp_path / "followed_trades.jsonl"
    path.write_text(path.read_text().replace(*damage))
    assert file.read(STAMP).empty
    assert len(list(tmp_path.iterdir())) == 1

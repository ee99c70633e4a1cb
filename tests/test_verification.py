"""Live predictions against the final bars. What is seen live comes from windows that are fed minute by minute."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from durable import to_json
from learning.features import FEATURES, WARMUP_BARS
from learning.seen_log import SeenLog
from learning.verification import EQUAL, FLOOR, TOLERANCE, FeatureDifference, Verification, verify
from market.bars import Bar, as_bars, check_bars
from market.hours import epoch_minute, market_time, moment, sessions_between
from market.simulated_feed import simulate_bars
from market.window import BarWindow
from windows import WINDOW_BARS, newest_features

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 4))
DAY, OPENS = SESSIONS[-1].day, epoch_minute(SESSIONS[-1].open)
SYMBOLS = ["SIM02", "SIM06", "SIM12"]
MINUTES = range(OPENS + 100, OPENS + 160)  # those that are predicted live
AT = OPENS + 120  # the minute in which something is wrong, 40 minutes before the end
ROWS = len(SYMBOLS) * len(MINUTES)
WEIGHTS = np.random.default_rng(3).standard_normal(len(FEATURES))

Confidence = Callable[[np.ndarray], np.ndarray]
Arrival = tuple[int, Bar]  # the minute with whose predictions a bar arrives, and the bar


def chance(features: np.ndarray) -> np.ndarray:
    """A model of all features."""
    return 1 / (1 + np.exp(-features @ WEIGHTS))


def only(feature: str) -> Confidence:
    """A model whose answer is one feature."""
    return lambda features: features[:, FEATURES.index(feature)]


def always(value: float) -> Confidence:
    return lambda features: np.full(len(features), value)


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    """Three sessions of three symbols. One table for all tests: do not change it."""
    return simulate_bars(SESSIONS, SYMBOLS, seed=11)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "predictions"


def in_time(bars: pd.DataFrame) -> list[Arrival]:
    return [(bar.minute, bar) for bar in as_bars(bars)]


def see(folder: Path, arrivals: Iterable[Arrival], minutes: range, confidence: Confidence = chance) -> pd.DataFrame:
    """What a live predictor saw and said in these minutes."""
    windows: dict[str, BarWindow] = {}
    log = SeenLog(folder)
    day = moment(minutes[0]).date()
    opens = minutes[0] - int(market_time(np.array([minutes[0]])).into[0])
    waiting = sorted(arrivals, key=lambda arrival: arrival[0], reverse=True)
    for minute in minutes:
        while waiting and waiting[-1][0] <= minute:
            bar = waiting.pop()[1]
            windows.setdefault(bar.symbol, BarWindow(WINDOW_BARS)).put(bar)
        fresh = {symbol: window for symbol, window in windows.items() if window.last_minute == minute}
        if fresh:
            features = np.stack([newest_features(window) for window in fresh.values()])
            bars_today = [sum(window.minutes >= opens) for window in fresh.values()]
            bars = np.stack([window.values[:, -1] for window in fresh.values()])
            log.add(day, minute, list(fresh), bars_today, bars, features, confidence(features))
    log.write()
    seen = log.read(day)
    assert seen is not None
    return seen


@pytest.fixture(scope="module")
def seen(truth: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What was seen where all bars came in time. One table for all tests: do not change it."""
    return see(tmp_path_factory.mktemp("predictions"), in_time(truth), MINUTES)


def answered(seen: pd.DataFrame, value: float) -> pd.DataFrame:
    """As if the model had answered so each time."""
    return seen.assign(confidence=np.full(len(seen), value, np.float32))


def at(bars: pd.DataFrame, symbol: str, *minutes: int) -> pd.Series:
    """The rows of a symbol in these minutes."""
    found = (bars["symbol"] == symbol) & bars["timestamp"].isin([moment(minute) for minute in minutes])
    assert found.sum() == len(minutes)
    return found


def revised(bars: pd.DataFrame, symbol: str, minute: int, **factors: float) -> pd.DataFrame:
    """The table with some numbers of one bar multiplied."""
    row = at(bars, symbol, minute)
    return check_bars(bars.assign(**{name: bars[name].where(~row, bars[name] * f) for name, f in factors.items()}))


def differing(verification: Verification) -> dict[str, int]:
    return {feature: rows for feature, rows, _, _ in verification.table()}


# --- nothing is wrong -----------------------------------------------------------------------------------------------


def test_what_was_predicted_from_the_final_bars_agrees(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    threshold = float(seen["confidence"].median())
    found = verify(seen, truth, chance, threshold, FEATURES)
    nothing = tuple(FeatureDifference(name, 0, None, None) for name in FEATURES)
    assert found == Verification(ROWS, ROWS, nothing, {}, {}, 0, {})
    assert found.table() == []
    assert found.words == "180 predictions verified: 100.0% agree; no decision would have flipped"


@pytest.mark.parametrize("keep", [1.0, 0.6])
def test_on_real_bars_live_agrees_with_the_whole_history_from_the_first_minute_on(
    real_bars: pd.DataFrame, folder: Path, keep: float
) -> None:
    some = real_bars[real_bars["symbol"].isin(["COIN", "NVDA", "SPY"])].groupby("symbol").head(5 * 390)
    bars = some.sample(frac=keep, random_state=5).sort_index().reset_index(drop=True)
    opens = epoch_minute(bars["timestamp"].iloc[-1].normalize() + pd.Timedelta("14h30min"))
    seen = see(folder, in_time(bars), range(opens, opens + 60))
    found = verify(seen, bars, chance, float(seen["confidence"].median()), FEATURES)
    assert (
        found.compared
        == found.agree
        == len(seen)
        == (bars["timestamp"] >= moment(opens)).sum() - (bars["timestamp"] >= moment(opens + 60)).sum()
    )
    assert (found.causes, found.flips, found.not_predicted_live, found.unverified) == ({}, {}, 0, {})


def test_the_features_are_those_of_the_model_in_its_order(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    names = FEATURES[::-2]
    weights = WEIGHTS[::-2]
    live = seen.assign(confidence=(seen[names].to_numpy(np.float64) @ weights).astype(np.float32))
    found = verify(live, truth, lambda features: features @ weights, float(live["confidence"].mean()), names)
    assert [f.feature for f in found.features] == names
    assert (found.agree, found.flips) == (ROWS, {})


# --- bars that changed ----------------------------------------------------------------------------------------------


def test_a_bar_with_another_volume_touches_twenty_volume_ratios_and_the_vwap_of_the_rest_of_the_session(
    truth: pd.DataFrame, seen: pd.DataFrame
) -> None:
    found = verify(seen, revised(truth, "SIM06", AT, volume=2.0), chance, 0.5, FEATURES)
    assert differing(found) == {"vwap_deviation": 40, "volume_ratio_20": 20}
    assert found.causes == {"revised bar": 1, "earlier bar revised": 39}
    assert (found.compared, found.agree) == (ROWS, ROWS - 40)
    own = truth[truth["symbol"] == "SIM06"]
    volume = own["volume"].to_numpy()
    row = int(np.flatnonzero(own["timestamp"] == moment(AT))[0])
    # The mean of the 20 holds the added volume in each of the rows, the ratio of the bar itself twice its own besides.
    means = np.array([volume[r - 19 : r + 1].mean() for r in range(row, row + 20)])
    off = (means + volume[row] / 20) / means - 1
    off[0] = abs(1 - (1 + off[0]) / 2)
    (ratio,) = (f for f in found.features if f.feature == "volume_ratio_20")
    assert ratio.median == pytest.approx(float(np.median(off)), rel=1e-5)
    assert ratio.largest == pytest.approx(float(off.max()), rel=1e-5)


def test_bars_revised_here_and_there_differ_where_windows_of_the_final_bars_differ(
    truth: pd.DataFrame, seen: pd.DataFrame, folder: Path
) -> None:
    final = revised(truth, "SIM02", AT - 3, open=0.999, low=0.998)
    final = revised(final, "SIM02", AT + 25, high=1.004, close=1.003, volume=1.5)
    final = revised(final, "SIM12", OPENS, volume=7.0)
    final = revised(final, "SIM12", AT + 39, low=0.9)
    live, again = seen, see(folder, in_time(final), MINUTES)
    threshold = 0.5
    rows: Counter[str] = Counter()
    agree = flips = 0
    for (_, was), (_, is_now) in zip(live.iterrows(), again.iterrows(), strict=True):
        assert (was["symbol"], was["minute"]) == (is_now["symbol"], is_now["minute"])
        apart = [name for name in FEATURES if abs(was[name] - is_now[name]) > 1e-4 * max(abs(is_now[name]), 1e-4)]
        rows.update(apart)
        agree += not apart
        flips += (was["confidence"] >= threshold) != (is_now["confidence"] >= threshold)
    assert flips > 0
    assert len(rows) > 10
    found = verify(live, final, chance, threshold, FEATURES)
    assert differing(found) == rows
    assert [row[1] for row in found.table()] == sorted(rows.values(), reverse=True)
    assert (found.compared, found.agree) == (ROWS, agree)
    assert sum(found.causes.values()) == ROWS - agree
    assert found.causes["revised bar"] == 3  # the first bar of the session was not predicted on
    assert sum(found.flips.values()) == flips


def test_a_bar_of_the_session_before_is_an_earlier_one(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    last = epoch_minute(SESSIONS[-2].close) - 1
    final = revised(truth, "SIM02", last, high=1.01, close=1.01)
    found = verify(seen, final, chance, 0.5, FEATURES)
    assert found.causes == {"earlier bar revised": 60}
    assert differing(found)["sma_240_deviation"] == 60


def test_bars_that_a_split_has_scaled_since_agree(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    prices = {name: truth[name] / 2 for name in ("open", "high", "low", "close")}
    split = truth.assign(volume=truth["volume"] * 2, **prices)
    found = verify(seen, split, chance, 0.5, FEATURES)
    assert (found.agree, found.causes, found.flips) == (ROWS, {}, {})


def test_a_bar_three_minutes_late_is_missed_once_and_late_twice(truth: pd.DataFrame, folder: Path) -> None:
    arrivals = [(m + 3 if (bar.symbol, m) == ("SIM12", AT) else m, bar) for m, bar in in_time(truth)]
    found = verify(see(folder, arrivals, MINUTES, always(0.1)), truth, always(0.1), 0.5, FEATURES)
    assert found.causes == {"late bar": 2}
    assert found.not_predicted_live == 1
    assert (found.compared, found.agree) == (ROWS - 1, ROWS - 3)
    assert found.words == (
        "179 predictions verified: 98.8% agree; no decision would have flipped; not predicted live: 1 (late bars)"
    )


def test_a_late_bar_and_a_revised_one_in_one_row_are_the_revised_one(truth: pd.DataFrame, folder: Path) -> None:
    arrivals = [(m + 3 if (bar.symbol, m) == ("SIM12", AT) else m, bar) for m, bar in in_time(truth)]
    final = revised(truth, "SIM12", AT + 1, volume=3.0)
    found = verify(see(folder, arrivals, MINUTES), final, chance, 0.5, FEATURES)
    assert found.causes == {"revised bar": 1, "late bar": 1, "earlier bar revised": 37}


def test_a_withdrawn_bar_is_named_on_its_own_minute_and_on_those_after_it(
    truth: pd.DataFrame, seen: pd.DataFrame
) -> None:
    final = truth[~at(truth, "SIM12", AT)].reset_index(drop=True)
    found = verify(seen, final, chance, 0.5, FEATURES)
    assert found.causes == {"bar withdrawn": 40}
    assert (found.compared, found.agree, found.not_predicted_live) == (ROWS, ROWS - 40, 0)
    assert differing(found)["vwap_deviation"] == 39  # the minute itself has no final value to differ from
    assert "session_elapsed" not in differing(found)


@pytest.mark.parametrize(("factor", "agrees"), [(1 + 0.9 * TOLERANCE, True), (1 + 1.1 * TOLERANCE, False)])
def test_the_tolerance_is_relative_above_its_floor_and_absolute_below(
    truth: pd.DataFrame, seen: pd.DataFrame, factor: float, agrees: bool
) -> None:
    above = seen["rsi_14"] > FLOOR
    assert above.all()
    found = verify(seen.assign(rsi_14=seen["rsi_14"] * factor), truth, chance, 0.5, FEATURES)
    assert differing(found) == ({} if agrees else {"rsi_14": ROWS})
    small = seen["return_1"].abs() < FLOOR
    assert 5 < small.sum() < ROWS
    shifted = seen["return_1"].where(~small, seen["return_1"] + (factor - 1) * FLOOR)
    found = verify(seen.assign(return_1=shifted), truth, chance, 0.5, FEATURES)
    assert differing(found) == ({} if agrees else {"return_1": small.sum()})


# --- decisions ------------------------------------------------------------------------------------------------------


def test_a_decision_on_a_revised_bar_flips(truth: pd.DataFrame, folder: Path) -> None:
    """The model answers with the range of the bar, which the revision makes wider on this bar alone."""
    seen = see(folder, in_time(truth), MINUTES, only("bar_range"))
    final = revised(truth, "SIM06", AT, high=1.05)
    found = verify(seen, final, only("bar_range"), 0.04, FEATURES)
    assert found.flips == {"revised bar": 1}
    assert found.words == (
        f"180 predictions verified: {1000 * found.agree // 180 / 10}% agree; "
        "1 decision would have flipped (1 revised bar)"
    )
    unmoved = verify(seen, final, only("bar_range"), 0.06, FEATURES)
    assert unmoved.flips == {}
    assert unmoved.causes == found.causes


def test_a_decision_flips_either_way(truth: pd.DataFrame, folder: Path) -> None:
    final = revised(truth, "SIM06", AT, high=1.05)
    seen = see(folder, in_time(final), MINUTES, only("bar_range"))
    assert verify(seen, truth, only("bar_range"), 0.04, FEATURES).flips == {"revised bar": 1}


def test_a_decision_made_without_a_late_bar_flips(truth: pd.DataFrame, folder: Path) -> None:
    """The model answers with the last return, which spanned two minutes while the bar was missing."""
    arrivals = [(m + 3 if (bar.symbol, m) == ("SIM12", AT) else m, bar) for m, bar in in_time(truth)]
    seen = see(folder, arrivals, MINUTES, only("return_1"))
    before, missing, after = truth["close"][at(truth, "SIM12", AT - 1, AT, AT + 1)]
    threshold = (after / before + after / missing) / 2 - 1
    assert verify(seen, truth, only("return_1"), threshold, FEATURES).flips == {"late bar": 1}


@pytest.mark.parametrize(("value", "flips"), [(0.9, {"bar withdrawn": 1}), (0.65, {"bar withdrawn": 1}), (0.1, {})])
def test_a_buy_on_a_bar_that_is_gone_would_not_have_been(
    truth: pd.DataFrame, seen: pd.DataFrame, value: float, flips: dict[str, int]
) -> None:
    final = truth[~at(truth, "SIM12", AT)].reset_index(drop=True)
    assert verify(answered(seen, value), final, always(value), 0.65, FEATURES).flips == flips


def test_a_buy_where_a_final_feature_is_undefined_would_not_have_been(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    """Twenty closes at one price leave no place between the Bollinger bands."""
    flat = at(truth, "SIM12", *range(AT - 19, AT + 1))
    price = truth["close"][flat].mean()
    final = truth.assign(**{name: truth[name].where(~flat, price) for name in ("open", "high", "low", "close")})
    in_that_minute = answered(seen[seen["minute"] == AT], 0.9)
    found = verify(in_that_minute, final, always(0.9), 0.5, FEATURES)
    assert found.flips == {"revised bar": 1}
    (bands,) = (f for f in found.features if f.feature == "bollinger_position")
    assert bands == FeatureDifference("bollinger_position", 1, None, None)
    missed = seen[(seen["symbol"] != "SIM12") | (seen["minute"] != AT)]
    assert verify(missed, final, chance, 0.5, FEATURES).not_predicted_live == 0  # nor do the final bars predict it


def test_a_decision_that_flips_although_the_features_agree_is_said_so(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    found = verify(answered(seen, 0.9), truth, always(0.4), 0.5, FEATURES)
    assert found.flips == {EQUAL: ROWS}
    assert (found.agree, found.causes) == (ROWS, {})


@pytest.mark.parametrize("value", [0.65, 0.65 - 1e-12, 0.64999997, 0.7, 0.6])
def test_the_precision_of_the_log_flips_no_decision(truth: pd.DataFrame, seen: pd.DataFrame, value: float) -> None:
    assert verify(answered(seen, value), truth, always(value), 0.65, FEATURES).flips == {}


# --- what cannot be compared ----------------------------------------------------------------------------------------


def test_symbols_without_final_bars_of_the_day_and_rows_before_the_warm_up_are_counted(
    truth: pd.DataFrame, seen: pd.DataFrame
) -> None:
    that_day = truth["timestamp"] >= moment(OPENS)
    gone = truth[~(that_day & (truth["symbol"] == "SIM06"))]
    # 390 bars up to and including the one at AT
    short = gone[~((gone["symbol"] == "SIM02") & (gone["timestamp"] <= moment(AT) - pd.Timedelta(days=1)))]
    assert ((short["symbol"] == "SIM02") & (short["timestamp"] <= moment(AT))).sum() == WARMUP_BARS
    found = verify(answered(seen, 0.9), short.reset_index(drop=True), always(0.9), 0.5, FEATURES)
    assert found.unverified == {"no final bars of that day": 60, "too few final bars before it": 20}
    assert found.compared == found.agree == ROWS - 80
    assert (found.causes, found.flips, found.table()) == ({}, {}, [])
    assert found.words.endswith("; not verified: 60 (no final bars of that day), 20 (too few final bars before it)")


def test_a_symbol_of_which_nothing_is_final_is_counted(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    few = seen[seen["minute"].between(AT, AT + 2)]
    for bars in (truth[truth["symbol"] == "SIM06"], truth[:0]):
        found = verify(few, bars.reset_index(drop=True), chance, 0.5, FEATURES)
        missing = 9 - 3 * bars["symbol"].nunique()
        assert found.unverified == {"no final bars of that day": missing}
        assert found.compared == found.agree == 9 - missing
    assert found.words == "no prediction could be verified; not verified: 9 (no final bars of that day)"


def test_a_day_on_which_nothing_was_seen_has_nothing_to_verify(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    found = verify(seen[:0], truth, chance, 0.5, FEATURES)
    assert (found.compared, found.agree, found.not_predicted_live, found.unverified) == (0, 0, 0, {})
    assert found.words == "no prediction could be verified"


def test_not_predicted_live_counts_between_the_predictions_of_a_symbol_in_minutes_of_others(
    truth: pd.DataFrame, seen: pd.DataFrame
) -> None:
    newcomer, leaver = seen["symbol"] == "SIM06", seen["symbol"] == "SIM12"
    listed = ~(newcomer & (seen["minute"] < OPENS + 110)) & ~(leaver & (seen["minute"] > OPENS + 150))
    outage = seen["minute"].isin([OPENS + 115, OPENS + 116])
    late = newcomer & seen["minute"].between(OPENS + 130, OPENS + 133)
    found = verify(seen[listed & ~outage & ~late].reset_index(drop=True), truth, chance, 0.5, FEATURES)
    assert found.not_predicted_live == 4


def test_other_symbols_among_the_final_bars_do_not_matter(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    found = verify(seen[seen["symbol"] != "SIM06"], truth, chance, 0.5, FEATURES)
    assert (found.compared, found.agree, found.not_predicted_live) == (120, 120, 0)


# --- in words -------------------------------------------------------------------------------------------------------


def test_one_line_says_it_all() -> None:
    flips = {"revised bar": 3, "late bar": 9}
    found = Verification(38_200, 38_199, (), {"late bar": 1}, flips, 1_031, {"no final bars of that day": 5})
    assert found.words == (
        "38,200 predictions verified: 99.9% agree; 12 decisions would have flipped (9 late bar, 3 revised bar); "
        "not predicted live: 1,031 (late bars); not verified: 5 (no final bars of that day)"
    )


def test_the_record_is_strict_json_of_every_field(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    final = revised(truth, "SIM06", AT, volume=2.0)
    found = verify(seen, final, chance, 0.5, FEATURES)
    record = json.loads(to_json(found.record()))
    assert list(record) == ["compared", "agree", "features", "causes", "flips", "not_predicted_live", "unverified"]
    assert record["causes"] == {"revised bar": 1, "earlier bar revised": 39}
    rows = [f for f in record["features"] if f["rows"]]
    assert sorted((f["feature"], f["rows"], f["median"], f["largest"]) for f in rows) == sorted(found.table())


def test_neither_table_is_changed(truth: pd.DataFrame, seen: pd.DataFrame) -> None:
    before, bars = seen.copy(deep=True), truth.copy(deep=True)
    verify(seen, bars, chance, 0.5, FEATURES)
    pd.testing.assert_frame_equal(seen, before, check_exact=True)
    pd.testing.assert_frame_equal(bars, truth, check_exact=True)

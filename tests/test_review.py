"""The evening's review: what it learns from fills, what it follows, whether live was right, what it leaves alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from trading import CostlyBroker, golden_rows, journal_of, publish_eager_model, settings_in, trade

from alpaca_wire import Unreachable
from config import Settings
from desk.books import Books
from desk.journal import Journal, read_events
from gates import LEARNT
from learning.followed import NOT_TAKEN, SHADOW, Followed
from learning.labels import label_trades
from learning.model_store import ModelStore
from learning.prediction_log import PredictionLog
from learning.reviews import Review, Reviews
from learning.seen_log import SeenLog
from market.bars import check_bars
from market.hours import at_new_york, local_time, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from review import evening_review, review

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 13))
TRADED = SESSIONS[-3:]
LAST = TRADED[-1]
EVENING = at_new_york(LAST.day, "20:00")
SYMBOLS = ["SIM06", "SIM10", "SIM12"]
DEAR, LEG_COST = "SIM06", 0.0075
MINUTE = timedelta(minutes=1)
STAMP = "20260204_200000"


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return simulate_bars(SESSIONS, SYMBOLS, seed=19)


def traded_live(folder: Path, bars: pd.DataFrame, count: int, *, reviewed: bool) -> Settings:
    """The newest `count` sessions of `bars`, traded minute by minute on an account where DEAR's fills are bad."""
    settings = settings_in(folder, MIN_CONFIDENCE=0.55)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 30)
        publish_eager_model(settings, bars[bars["timestamp"] < TRADED[0].open].reset_index(drop=True))
    broker = partial(CostlyBroker, extra_cost={DEAR: LEG_COST})
    trade(settings, bars, SESSIONS[-count:], live=True, broker=broker, review=reviewed)
    return settings


@pytest.fixture(scope="module")
def three_days(bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three sessions with a review after each; do not change what is on its disk."""
    return traded_live(tmp_path_factory.mktemp("three_days"), bars, 3, reviewed=True)


@pytest.fixture
def settings(three_days: Settings, tmp_path: Path) -> Settings:
    """A copy of these three days."""
    shutil.copytree(three_days.MODELS_DIR, tmp_path / "models")
    return replace(three_days, MODELS_DIR=tmp_path / "models", DATA_DIR=tmp_path / "data")


def books_of(settings: Settings) -> Books:
    return Books(local_time, read_events(settings.MODELS_DIR / "journal.jsonl"))


def reviewed(settings: Settings, bars: pd.DataFrame, now: datetime = EVENING) -> Review:
    """The review of the last session once more, from these final bars, as it is read from disk."""
    review(settings, RecordedFeed(bars), books_of(settings), now)
    kept: Review = json.loads((settings.MODELS_DIR / "reviews" / f"{LAST.day}.json").read_text())
    return kept


@dataclass
class Asked:
    """A recorded market that notes whose bars were asked for; with `error` it has none."""

    bars_: pd.DataFrame
    error: Exception | None = None
    symbols: list[str] = field(default_factory=list)

    def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        self.symbols = list(symbols)
        if self.error is not None:
            raise self.error
        return RecordedFeed(self.bars_).bars(symbols, start, end)


# --- costs -----------------------------------------------------------------------------------------------------------


def test_each_evening_learns_what_fills_cost_and_only_where_they_were_bad(three_days: Settings) -> None:
    reviews = Reviews(three_days.MODELS_DIR / "reviews").all()
    assert [each["session"] for each in reviews] == [str(session.day) for session in TRADED]
    legs = []
    for each in reviews:
        costs = {cost["symbol"]: cost for cost in each["costs"]}
        assert costs[DEAR]["mean"] == pytest.approx(LEG_COST, abs=2e-6)
        assert 0 < costs[DEAR]["extra_cost"] < 2 * LEG_COST
        assert all(abs(cost["mean"]) < 2e-6 for symbol, cost in costs.items() if symbol != DEAR)  # stops, targets too
        assert [cost["extra_cost"] for symbol, cost in costs.items() if symbol != DEAR] == [0.0] * (len(costs) - 1)
        legs.append(costs[DEAR]["legs"])
        assert f"learnt costs beyond the assumed ones: {DEAR} {costs[DEAR]['extra_cost']:.2%};" in each["words"][1]
    assert legs == sorted(legs)


def test_signals_that_were_turned_down_for_a_learnt_cost_are_listed_with_their_session(three_days: Settings) -> None:
    first, *later = Reviews(three_days.MODELS_DIR / "reviews").all()
    assert first["turned_down"] == []  # nothing had been learnt yet
    listed = [signal for each in later for signal in each["turned_down"]]
    assert listed == [s for s in books_of(three_days).signals if s["reason"].startswith(LEARNT)]
    assert listed
    assert {signal["symbol"] for signal in listed} == {DEAR}
    for each in later:
        assert {s["timestamp"][:10] for s in each["turned_down"]} <= {each["session"]}
        assert f"{len(each['turned_down'])} signal" in each["words"][1]


def test_a_trade_from_before_the_days_that_are_looked_at_teaches_no_cost(
    settings: Settings, bars: pd.DataFrame
) -> None:
    short = replace(settings, DAYS_BACK=0)
    legs = {cost["symbol"]: cost["legs"] for cost in reviewed(short, bars)["costs"]}
    today = [t for t in books_of(settings).trades.values() if t.qty and t.entry_time[:10] == str(LAST.day)]
    assert sum(legs.values()) == sum(2 if t.status == "CLOSED" else 1 for t in today)


# --- followed trades -------------------------------------------------------------------------------------------------


def test_signals_that_were_not_taken_are_followed_and_settle_as_their_labels(
    three_days: Settings, bars: pd.DataFrame
) -> None:
    followed = Followed(three_days.MODELS_DIR / "followed_trades.jsonl").read("stamp")
    missed = [s for s in books_of(three_days).signals if not s["taken"]]
    ours = followed[followed["kind"] == NOT_TAKEN]
    made = {(s["symbol"], pd.Timestamp(s["timestamp"]).tz_convert("UTC") - MINUTE) for s in missed}
    close = {session.close - MINUTE for session in TRADED}
    assert set(zip(ours["symbol"], ours["timestamp"], strict=True)) == {m for m in made if m[1] not in close}
    assert set(ours["model_id"]) == {STAMP}
    labels = label_trades(bars, **three_days.trade_rules()).set_index(["symbol", "timestamp"])
    settled = ours[ours["net_return"].notna()]
    assert len(settled) > 50
    for row in settled.itertuples():
        assert row.net_return == labels.loc[(row.symbol, row.timestamp), "net_return"]


def test_shadow_trades_are_a_few_a_session_from_the_second_on_and_are_never_sent(three_days: Settings) -> None:
    followed = Followed(three_days.MODELS_DIR / "followed_trades.jsonl").read("stamp")
    shadows = followed[followed["kind"] == SHADOW]
    by_day = shadows["timestamp"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d").value_counts()
    assert set(by_day.index) <= {str(session.day) for session in TRADED[1:]}  # before the first there was no level
    assert 0 < by_day.max() <= 5
    ordered = {event["order_id"] for event in journal_of(three_days) if event["kind"] == "intent"}
    assert ordered == set(books_of(three_days).trades)


def test_bars_are_asked_for_what_was_predicted_traded_or_is_still_followed(
    settings: Settings, bars: pd.DataFrame
) -> None:
    folder = settings.MODELS_DIR / "predictions"
    text = (folder / f"{LAST.day}.jsonl").read_text().splitlines(keepends=True)
    (folder / f"{LAST.day}.jsonl").write_text("".join(line for line in text if '"SIM10"' in line))
    followed = Followed(settings.MODELS_DIR / "followed_trades.jsonl")
    table = followed.read("stamp")
    followed.write(table[table["symbol"] == "SIM12"])
    assert table.loc[table["symbol"] == "SIM12", "net_return"].isna().any()
    feed = Asked(bars)
    review(settings, feed, Books(local_time), EVENING)  # type: ignore[arg-type]
    assert feed.symbols == ["SIM10", "SIM12"]
    feed = Asked(bars)
    review(settings, feed, books_of(settings), EVENING)  # type: ignore[arg-type]
    assert feed.symbols == SYMBOLS


def test_win_rates_come_from_closed_trades_and_from_settled_signals_that_were_not_taken(three_days: Settings) -> None:
    newest = Reviews(three_days.MODELS_DIR / "reviews").all()[-1]
    closed = [t for t in books_of(three_days).trades.values() if t.status == "CLOSED"]
    followed = Followed(three_days.MODELS_DIR / "followed_trades.jsonl").read("stamp")
    missed = followed[(followed["kind"] == NOT_TAKEN) & followed["net_return"].notna()]
    assert sum(rate["trades"] for rate in newest["win_rates"]) == len(closed) + len(missed)
    won = sum((t.pnl_amount or 0.0) > 0 for t in closed) + missed["label"].sum()
    assert sum(rate["won"] * rate["trades"] for rate in newest["win_rates"]) == pytest.approx(won)
    own = [t.model_confidence for t in closed] + missed["confidence"].tolist()
    mean = sum(rate["confidence"] * rate["trades"] for rate in newest["win_rates"]) / len(own)
    assert mean == pytest.approx(np.mean(own))


def test_what_a_person_sold_is_no_outcome_of_its_confidence(settings: Settings, bars: pd.DataFrame) -> None:
    def counted() -> int:
        return sum(rate["trades"] for rate in reviewed(settings, bars)["win_rates"])

    before = counted()
    journal = settings.MODELS_DIR / "journal.jsonl"
    events = read_events(journal)
    sale = next(e["execution"] for e in events if e["kind"] == "execution" and e["execution"]["side"] == "SELL")
    sale["reason"] = "by hand"
    journal.unlink()
    with Journal(journal, "stamp") as rewritten:
        for event in events:
            rewritten.append(**{name: value for name, value in event.items() if name != "n"})
    assert counted() == before - 1


# --- drift -----------------------------------------------------------------------------------------------------------


def wilder(bars: pd.DataFrame, power: float) -> pd.DataFrame:
    """The last session with every move to the `power` of itself, from each symbol's first open."""
    result = bars.copy()
    last = result["timestamp"] >= LAST.open
    first = result[last].groupby("symbol")["open"].transform("first").to_numpy()[:, np.newaxis]
    prices = ["open", "high", "low", "close"]
    result.loc[last, prices] = first * (result.loc[last, prices].to_numpy() / first) ** power
    return check_bars(result)


def test_an_ordinary_day_is_green_and_one_of_another_market_is_red(settings: Settings, bars: pd.DataFrame) -> None:
    assert reviewed(settings, bars)["drift"]["light"] == "green"
    drift = reviewed(settings, wilder(bars, 6.0))["drift"]
    assert (drift["light"], drift["parts"]["features"]["light"]) == ("red", "red")
    assert drift["words"] == drift["parts"]["features"]["words"]
    assert {each["feature"] for each in drift["features"][:6]} & {"range_60", "bar_range", "atr_14"}


def test_the_signal_rate_is_that_of_the_models_own_confidence(three_days: Settings) -> None:
    newest = Reviews(three_days.MODELS_DIR / "reviews").all()[-1]
    day = PredictionLog(three_days.MODELS_DIR / "predictions").of_day(str(LAST.day))
    own, final = ((day[name] >= three_days.MIN_CONFIDENCE).mean() for name in ("model_confidence", "confidence"))
    assert own > final
    assert newest["drift"]["parts"]["signals"]["words"].startswith(f"{own:.2%} of the day's predictions")


def test_the_signal_rate_is_counted_at_the_threshold_of_the_models_card_whatever_is_set_today(
    settings: Settings, bars: pd.DataFrame
) -> None:
    kept = Reviews(settings.MODELS_DIR / "reviews").all()[-1]["drift"]["parts"]["signals"]
    assert reviewed(replace(settings, MIN_CONFIDENCE=0.9), bars)["drift"]["parts"]["signals"] == kept


def test_calibration_is_judged_by_days_whose_trades_have_all_had_their_time(
    three_days: Settings, bars: pd.DataFrame
) -> None:
    words = [
        each["drift"]["parts"]["calibration"]["words"] for each in Reviews(three_days.MODELS_DIR / "reviews").all()
    ]
    assert [word.startswith("0 settled days") for word in words] == [True, True, False]
    day = PredictionLog(three_days.MODELS_DIR / "predictions").of_day(str(TRADED[0].day))
    labels = label_trades(bars, **three_days.trade_rules())[["symbol", "timestamp", "label"]].dropna()
    both = day.merge(labels, on=["symbol", "timestamp"])
    gap = (both["model_confidence"] - both["label"]).mean()
    assert f"confidence was {abs(gap):.2f} {'above' if gap > 0 else 'below'}" in words[-1]
    assert "on 1 settled days" in words[-1]


def test_without_a_model_or_predictions_there_is_no_light_and_everything_else_goes_on(
    settings: Settings, bars: pd.DataFrame
) -> None:
    shutil.rmtree(settings.MODELS_DIR / "predictions")
    found = reviewed(settings, bars)
    assert (found["drift"]["light"], found["drift"]["words"]) == (None, "nothing was predicted")
    assert found["verification"] is None
    assert [cost["symbol"] for cost in found["costs"] if cost["extra_cost"] > 0] == [DEAR]
    for path in settings.MODELS_DIR.glob("c*.json"):
        path.unlink()
    found = reviewed(settings, bars)
    assert (found["drift"]["light"], found["drift"]["words"]) == (None, "no model served")
    assert found["words"][0] == "drift unknown: no model served"


# --- was live right --------------------------------------------------------------------------------------------------


def test_the_final_bars_say_what_live_predicted_where_nothing_was_revised(three_days: Settings) -> None:
    for each in Reviews(three_days.MODELS_DIR / "reviews").all():
        found = each["verification"]
        assert found["compared"] == found["agree"] == 390 * len(SYMBOLS)
        assert (found["flips"], found["causes"], found["unverified"]) == ({}, {}, {})
        assert each["words"][-1] == found["words"]


def test_a_bar_that_was_revised_after_the_prediction_is_named_as_the_cause(
    settings: Settings, bars: pd.DataFrame
) -> None:
    revised = bars.copy()
    row = (revised["symbol"] == "SIM10") & (revised["timestamp"] == LAST.open + timedelta(minutes=100))
    revised.loc[row, ["high", "close"]] *= 1.03
    found = reviewed(settings, revised)["verification"]
    assert found["causes"]["revised bar"] == 1
    assert 1 <= found["causes"]["earlier bar revised"] <= 389 - 100
    assert set(found["causes"]) == {"revised bar", "earlier bar revised"}
    assert found["agree"] + sum(found["causes"].values()) == found["compared"] == 390 * len(SYMBOLS)
    flips = sum(found["flips"].values())
    assert flips > 0
    assert f"{flips} decisions would have flipped ({flips} earlier bar revised)" in found["words"]


def test_a_bar_that_is_gone_in_the_evening_is_named_as_withdrawn(settings: Settings, bars: pd.DataFrame) -> None:
    gone = (bars["symbol"] == "SIM10") & (bars["timestamp"] == LAST.open + timedelta(minutes=100))
    found = reviewed(settings, bars[~gone].reset_index(drop=True))["verification"]
    assert set(found["causes"]) == {"bar withdrawn"}


def test_a_bar_that_came_too_late_for_its_minute_is_named(tmp_path: Path, bars: pd.DataFrame) -> None:
    late = (bars["symbol"] == "SIM10") & (bars["timestamp"] == LAST.open + timedelta(minutes=100))
    settings = traded_live(tmp_path, bars[~late].reset_index(drop=True), 1, reviewed=False)
    found = reviewed(settings, bars)["verification"]
    assert set(found["causes"]) == {"late bar"}
    assert found["not_predicted_live"] == 1
    assert "late bar" in found["words"]


def test_a_symbol_that_trades_thinly_is_verified_too(tmp_path: Path, bars: pd.DataFrame) -> None:
    thin = (bars["symbol"] == "SIM12") & (np.random.default_rng(5).random(len(bars)) > 0.35)
    table = bars[~thin].reset_index(drop=True)
    settings = traded_live(tmp_path, table, 1, reviewed=False)
    found = reviewed(settings, table)["verification"]
    assert 780 < found["agree"] == found["compared"] < 1000
    assert (found["unverified"], found["not_predicted_live"]) == ({}, 0)


def test_what_was_predicted_is_verified_by_the_model_that_spoke_though_another_serves_by_now(
    settings: Settings, bars: pd.DataFrame
) -> None:
    store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    spoke = store.load()
    other = replace(spoke.classifier, calibration=replace(spoke.classifier.calibration, level=-2.0))
    card = {**spoke.card, "stamp": "20260213_180000"}
    store.publish(card, other, spoke.scaler, store.out_of_fold(STAMP), golden_rows(card), serve=True)
    found = reviewed(settings, bars)
    assert found["model_id"] == STAMP
    assert found["verification"]["flips"] == {}
    assert found["drift"]["light"] == "green"


def test_what_earlier_days_saw_is_removed_once_it_is_verified(three_days: Settings) -> None:
    seen = SeenLog(three_days.MODELS_DIR / "predictions")
    assert [seen.read(session.day) is None for session in TRADED] == [True, True, False]


# --- the review itself -----------------------------------------------------------------------------------------------


def test_the_same_evening_reviewed_again_says_the_same(settings: Settings, bars: pd.DataFrame) -> None:
    before = (settings.MODELS_DIR / "reviews" / f"{LAST.day}.json").read_text()
    followed = (settings.MODELS_DIR / "followed_trades.jsonl").read_text()
    reviewed(settings, bars)
    assert (settings.MODELS_DIR / "reviews" / f"{LAST.day}.json").read_text() == before
    assert (settings.MODELS_DIR / "followed_trades.jsonl").read_text() == followed


def test_a_review_made_up_after_midnight_is_of_the_evening_before(settings: Settings, bars: pd.DataFrame) -> None:
    late = at_new_york(LAST.day + timedelta(days=1), "03:00")
    evening = Reviews(settings.MODELS_DIR / "reviews").newest(EVENING)
    found = reviewed(settings, bars, late)
    assert {**found, "as_of": ""} == {**evening, "as_of": ""}  # type: ignore[dict-item]
    assert found["as_of"] == late.isoformat()


def test_what_there_is_to_say_is_what_was_written_down(settings: Settings, bars: pd.DataFrame) -> None:
    said = evening_review(settings, RecordedFeed(bars))(EVENING, books_of(settings))  # type: ignore[arg-type]
    kept = Reviews(settings.MODELS_DIR / "reviews").newest(EVENING)
    assert kept is not None
    assert said.split("\n  ") == kept["words"]
    assert [line.split()[0] for line in kept["words"]] == ["drift", "learnt", "trades", "1,170"]


def test_an_evening_of_which_there_is_nothing_to_learn_is_reviewed_all_the_same(
    tmp_path: Path, bars: pd.DataFrame
) -> None:
    settings = settings_in(tmp_path)
    settings.MODELS_DIR.mkdir()
    found = review(settings, RecordedFeed(bars), Books(local_time), EVENING)
    assert (found["costs"], found["win_rates"], found["turned_down"]) == ([], [], [])
    assert found["followed"]["waiting"] == 0
    assert len(found["words"]) == 2


def test_bars_that_cannot_be_had_leave_everything_as_it_was(settings: Settings, bars: pd.DataFrame) -> None:
    before = {path: path.read_bytes() for path in settings.MODELS_DIR.rglob("*") if path.is_file()}
    feed = Asked(bars, error=Unreachable("no answer"))
    with pytest.raises(Unreachable):
        review(settings, feed, books_of(settings), EVENING)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in settings.MODELS_DIR.rglob("*") if path.is_file()} == before


def test_nothing_of_the_next_session_is_looked_at(settings: Settings, bars: pd.DataFrame) -> None:
    tomorrow = sessions_between(LAST.day + timedelta(days=1), LAST.day + timedelta(days=7))[0]
    more = simulate_bars([*SESSIONS, tomorrow], SYMBOLS, seed=19)
    kept = Reviews(settings.MODELS_DIR / "reviews").newest(EVENING)
    pd.testing.assert_frame_equal(more[more["timestamp"] < tomorrow.open].reset_index(drop=True), bars)
    assert reviewed(settings, more) == kept

"""Predictions: the documented dict with its reason, from the model that serves, and never from one that must not."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from trading import change_card, golden_rows, publish_eager_model, settings_in

import ml_predictor
from build_dataset import prepare
from config import Settings
from desk.books import Books
from desk.journal import Journal
from learning.classifier import versions
from learning.features import FEATURES, compute_features
from learning.model_store import ModelStore, NoModel
from learning.reviews import Reviews
from market.bars import Bar, as_bars, epoch_minutes
from market.hours import at_new_york, epoch_minute, local_time, moment, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from ml_predictor import MLPredictor

ROOT = Path(ml_predictor.__file__).resolve().parent
SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 6))
SYMBOLS = ["SIM06", "SIM10", "SIM12"]
STAMP = "20260204_200000"
NOW = SESSIONS[-1].open + timedelta(hours=5)
TYPES = {
    "symbol": str,
    "signal": int,
    "confidence": float,
    "price": float,
    "recommendation": str,
    "meets_threshold": bool,
    "timestamp": str,
    "model_id": str,
    "reason": str,
}


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return simulate_bars(SESSIONS, SYMBOLS, seed=19)


@pytest.fixture(scope="module")
def models(bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one published model that learnt from the first four sessions; copy it, do not change it."""
    settings = settings_in(tmp_path_factory.mktemp("published"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 30)
        publish_eager_model(settings, bars[bars["timestamp"] < SESSIONS[-1].open].reset_index(drop=True))
    return settings.MODELS_DIR


@pytest.fixture
def settings(models: Path, tmp_path: Path) -> Settings:
    """Settings whose models folder holds a copy of the published model."""
    settings = settings_in(tmp_path)
    settings.MODELS_DIR.mkdir()
    for path in models.iterdir():
        (settings.MODELS_DIR / path.name).write_bytes(path.read_bytes())
    return settings


@pytest.fixture(autouse=True)
def at_home(own_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here has folders of its own, and a wide screen."""
    monkeypatch.setenv("COLUMNS", "200")


def until(bars: pd.DataFrame, now: datetime) -> RecordedFeed:
    """The market whose newest bar became known at `now`."""
    return RecordedFeed(bars[bars["timestamp"] < now].reset_index(drop=True))


def store(settings: Settings, bars: pd.DataFrame) -> None:
    """Keep bars in data/bars/, by day."""
    folder = settings.DATA_DIR / "bars"
    folder.mkdir(parents=True)
    for day, rows in bars.groupby(bars["timestamp"].dt.tz_convert("America/New_York").dt.date):
        rows.to_parquet(folder / f"{day}.parquet", index=False)


# --- one prediction -------------------------------------------------------------------------------------------------


def test_a_prediction_is_the_documented_dict(settings: Settings, bars: pd.DataFrame) -> None:
    prediction = MLPredictor(settings, until(bars, NOW)).predict("SIM06")
    assert {name: type(value) for name, value in prediction.items()} == TYPES
    assert prediction["symbol"] == "SIM06"
    assert prediction["timestamp"] == "2026-02-06T14:30:00-05:00"
    assert prediction["model_id"] == STAMP
    last = bars[(bars["symbol"] == "SIM06") & (bars["timestamp"] < NOW)].iloc[-1]
    assert prediction["price"] == last["close"]
    assert json.loads(json.dumps(prediction, allow_nan=False)) == prediction


def test_confidence_is_the_models_probability_for_the_newest_row(settings: Settings, bars: pd.DataFrame) -> None:
    model = ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load()
    known = bars[bars["timestamp"] < NOW].reset_index(drop=True)
    newest = compute_features(known).groupby("symbol").tail(1).set_index("symbol")
    predictor = MLPredictor(settings, until(bars, NOW))
    for symbol in SYMBOLS:
        expected = model.confidence(newest.loc[[symbol], FEATURES].to_numpy())[0]
        assert predictor.predict(symbol)["confidence"] == pytest.approx(expected, abs=1e-6)


def test_a_buy_meets_the_threshold_while_the_market_is_open(settings: Settings, bars: pd.DataFrame) -> None:
    confidence = MLPredictor(settings, until(bars, NOW)).predict("SIM06")["confidence"]
    for threshold, buys in ((confidence, True), (confidence + 1e-9, False)):
        predictor = MLPredictor(replace(settings, MIN_CONFIDENCE=threshold), until(bars, NOW))
        prediction = predictor.predict("SIM06")
        assert prediction["meets_threshold"] is buys
        assert (prediction["signal"], prediction["recommendation"]) == ((1, "BUY") if buys else (0, "HOLD"))
        words = "reaches" if buys else "is below"
        assert prediction["reason"].startswith(f"{confidence:.2f} {words} {threshold:.2f}; as of 2026-02-06 14:30")


def test_after_the_close_nothing_is_bought_and_the_reason_says_so(settings: Settings, bars: pd.DataFrame) -> None:
    predictor = MLPredictor(replace(settings, MIN_CONFIDENCE=0.01), RecordedFeed(bars))
    prediction = predictor.predict("SIM06")
    assert prediction["timestamp"] == "2026-02-06T16:00:00-05:00"
    assert (prediction["signal"], prediction["recommendation"]) == (0, "HOLD")
    assert prediction["meets_threshold"] is True
    assert "market is closed" in prediction["reason"]
    assert prediction["reason"].endswith("the end of the stored recorded bars")


@pytest.mark.parametrize("market", ["recorded", "simulated"])
def test_the_reason_names_the_market_that_lies_in_the_past(settings: Settings, bars: pd.DataFrame, market: str) -> None:
    change_card(settings, market=market, feed=market)
    reason = MLPredictor(settings, RecordedFeed(bars, market)).predict("SIM06")["reason"]
    assert f"as of 2026-02-06 16:00, the end of the stored {market} bars" in reason


@pytest.mark.parametrize("before", [[], ["SIM06"]])
def test_an_unknown_symbol_is_held_at_price_zero_with_the_reason(
    settings: Settings, bars: pd.DataFrame, before: list[str]
) -> None:
    predictor = MLPredictor(settings, until(bars, NOW))
    for symbol in before:
        predictor.predict(symbol)
    prediction = predictor.predict("ZZZ")
    assert {name: type(value) for name, value in prediction.items()} == TYPES
    assert (prediction["signal"], prediction["recommendation"]) == (0, "HOLD")
    assert (prediction["price"], prediction["confidence"], prediction["meets_threshold"]) == (0.0, 0.0, False)
    assert prediction["reason"].startswith("the source has no bars of it")
    assert predictor.get_prediction_history("ZZZ") == []
    assert predictor.predict("SIM10")["price"] > 0


def test_a_symbol_with_few_bars_is_warming_up(settings: Settings, bars: pd.DataFrame) -> None:
    new = (bars["symbol"] == "SIM10") & (bars["timestamp"] < NOW - timedelta(minutes=120))
    predictor = MLPredictor(settings, until(bars[~new].reset_index(drop=True), NOW))
    prediction = predictor.predict("SIM10")
    assert prediction["reason"].startswith("warming up: 120 of 390 bars")
    assert (prediction["signal"], prediction["confidence"]) == (0, 0.0)
    assert prediction["price"] > 0
    assert predictor.get_prediction_history("SIM10") == []


def test_a_symbol_that_has_not_traded_for_minutes_says_how_many(settings: Settings, bars: pd.DataFrame) -> None:
    silent = (bars["symbol"] == "SIM10") & (bars["timestamp"] >= NOW - timedelta(minutes=7))
    predictor = MLPredictor(settings, until(bars[~silent].reset_index(drop=True), NOW))
    assert predictor.predict("SIM10")["reason"].startswith("last bar is 8 minutes old")
    assert predictor.predict("SIM06")["confidence"] > 0


def test_a_feature_that_is_undefined_is_said_and_not_predicted(settings: Settings, bars: pd.DataFrame) -> None:
    still = bars.copy()
    rows = (still["symbol"] == "SIM10") & (still["timestamp"] >= NOW - timedelta(minutes=60))
    still.loc[rows, ["open", "high", "low", "close"]] = 100.0
    prediction = MLPredictor(settings, until(still, NOW)).predict("SIM10")
    assert prediction["reason"].startswith("a feature is undefined (no price or volume change)")
    assert (prediction["signal"], prediction["confidence"], prediction["price"]) == (0, 0.0, 100.0)
    other, undefined = MLPredictor(settings, until(still, NOW)).at_minute(NOW, ["SIM06", "SIM10"], [], 0)
    assert other.confidence > 0
    assert math.isnan(undefined.confidence)


# --- several --------------------------------------------------------------------------------------------------------


def test_buy_signals_are_those_that_meet_the_threshold_best_first(settings: Settings, bars: pd.DataFrame) -> None:
    each = {symbol: MLPredictor(settings, until(bars, NOW)).predict(symbol)["confidence"] for symbol in SYMBOLS}
    ranked = sorted(SYMBOLS, key=lambda symbol: -each[symbol])
    for count in range(len(SYMBOLS) + 1):
        threshold = each[ranked[count - 1]] if count else 0.99
        predictor = MLPredictor(replace(settings, MIN_CONFIDENCE=threshold), until(bars, NOW))
        for asked in (SYMBOLS, SYMBOLS[::-1]):
            found = predictor.get_buy_signals([*asked, "ZZZ"])
            assert [prediction["symbol"] for prediction in found] == ranked[:count]
            assert all(prediction["meets_threshold"] and prediction["signal"] == 1 for prediction in found)


def test_minute_by_minute_a_predictor_says_what_a_new_one_would(settings: Settings, bars: pd.DataFrame) -> None:
    predictor = MLPredictor(settings, until(bars, NOW))
    predictor.at_minute(NOW, SYMBOLS, [], 0)
    for minute in range(1, 5):
        now = NOW + timedelta(minutes=minute)
        newest = as_bars(bars[bars["timestamp"] == now - timedelta(minutes=1)])
        assert len(newest) == len(SYMBOLS)
        again: Sequence[Bar] = [*newest, *newest]  # a bar that comes twice counts once
        followed = predictor.at_minute(now, SYMBOLS, again, epoch_minute(now) - 1)
        anew = MLPredictor(settings, until(bars, now)).at_minute(now, SYMBOLS, [], 0)
        assert [p.symbol for p in followed] == SYMBOLS
        for one, other in zip(followed, anew, strict=True):
            assert one.confidence == pytest.approx(other.confidence, abs=1e-6)
            assert (one.price, one.problem) == (other.price, None)


# --- what outcomes have taught, and why ------------------------------------------------------------------------------


def learn(settings: Settings, costs: dict[str, float]) -> None:
    """The review of the evening before NOW, in which `costs` were learnt."""
    review = {
        "as_of": at_new_york(SESSIONS[-2].day, "20:00").isoformat(),
        "drift": {"light": "red", "words": "a test"},
        "costs": [{"symbol": symbol, "extra_cost": cost} for symbol, cost in costs.items()],
        "win_rates": [],
    }
    Reviews(settings.MODELS_DIR / "reviews").write(SESSIONS[-2].day, review)


def test_a_confidence_that_outcomes_have_lowered_says_so_and_from_what(settings: Settings, bars: pd.DataFrame) -> None:
    before = MLPredictor(settings, until(bars, NOW)).predict("SIM06")
    learn(settings, {"SIM06": 0.01})
    threshold = before["confidence"]
    predictor = MLPredictor(replace(settings, MIN_CONFIDENCE=threshold), until(bars, NOW))
    after = predictor.predict("SIM06")
    assert 0 < after["confidence"] < before["confidence"]
    assert (after["signal"], after["meets_threshold"]) == (0, False)
    words = f"is below {threshold:.2f}, lowered from {threshold:.2f} by what outcomes have taught"
    assert words in after["reason"]
    assert "lowered" not in predictor.predict("SIM10")["reason"]
    (_, kept) = predictor.get_prediction_history("SIM06")
    assert kept["model_confidence"] == pytest.approx(threshold, abs=1e-6)


def test_a_prediction_can_be_explained_and_one_that_was_not_made_cannot(settings: Settings, bars: pd.DataFrame) -> None:
    predictor = MLPredictor(settings, until(bars, NOW))
    assert predictor.why(NOW, "SIM06") == []
    predictor.predict_all(["SIM06", "ZZZ"])
    spoke, against = predictor.why(NOW, "SIM06"), predictor.why(NOW, "SIM06", against=True)
    newest = compute_features(bars[bars["timestamp"] < NOW].reset_index(drop=True)).groupby("symbol").tail(1)
    row = newest.set_index("symbol").loc["SIM06"]
    for each in (*spoke, *against):
        assert each["value"] == pytest.approx(row[each["feature"]], rel=1e-6)
    assert min(each["contribution"] for each in spoke) > 0 > max(each["contribution"] for each in against)
    assert predictor.why(NOW, "ZZZ") == []


def test_what_live_predictions_saw_is_kept_minute_by_minute(settings: Settings, bars: pd.DataFrame) -> None:
    still = bars.copy()
    rows = (still["symbol"] == "SIM10") & (still["timestamp"] >= NOW - timedelta(minutes=60))
    still.loc[rows, ["open", "high", "low", "close"]] = 100.0  # of this one a feature is undefined
    predictor, said = MLPredictor(settings, RecordedFeed(still)), {}
    for minute in range(3):
        now = NOW + timedelta(minutes=minute)
        newest = as_bars(still[still["timestamp"] == now - timedelta(minutes=1)])
        for p in predictor.at_minute(now, [*SYMBOLS, "ZZZ"], newest, epoch_minute(now) - 1):
            said[p.symbol, epoch_minute(now) - 1] = p.confidence
        predictor.remember(now)
    predictor.write()
    seen = MLPredictor(settings).seen.read(SESSIONS[-1].day)
    assert seen is not None
    assert len(seen) == 3 * 2
    table = compute_features(still[still["timestamp"] < NOW + timedelta(minutes=2)].reset_index(drop=True))
    minutes = epoch_minutes(table["timestamp"])
    bars_then = still.set_index(["symbol", "timestamp"])
    for row in seen.to_dict("records"):
        assert row["confidence"] == pytest.approx(said[row["symbol"], row["minute"]], rel=1e-6)
        assert row["bars_today"] == row["minute"] - epoch_minute(SESSIONS[-1].open) + 1
        expected = table[(table["symbol"] == row["symbol"]) & (minutes == row["minute"])].iloc[0]
        assert [row[name] for name in FEATURES] == pytest.approx(expected[FEATURES].tolist(), rel=1e-5, abs=1e-7)
        bar = bars_then.loc[(row["symbol"], moment(row["minute"]))]
        assert [row[name] for name in bar.index] == bar.tolist()


def test_the_verification_gets_the_models_own_confidence(settings: Settings, bars: pd.DataFrame) -> None:
    learn(settings, {"SIM06": 0.01})
    predictor = MLPredictor(settings, until(bars, NOW))
    (prediction,) = predictor.at_minute(NOW, ["SIM06"], [], epoch_minute(NOW))
    predictor.remember(NOW)
    predictor.write()
    (row,) = predictor.seen.read(SESSIONS[-1].day).to_dict("records")
    assert prediction.model_confidence is not None
    assert row["confidence"] == pytest.approx(prediction.model_confidence, rel=1e-6)


def test_a_person_who_asks_leaves_nothing_for_the_verification(settings: Settings, bars: pd.DataFrame) -> None:
    predictor = MLPredictor(settings, until(bars, NOW))
    predictor.predict_all(SYMBOLS)
    predictor.write()
    assert predictor.seen.read(SESSIONS[-1].day) is None


# --- history --------------------------------------------------------------------------------------------------------

FRESH = """
import json, sys
from config import load_settings
from ml_predictor import MLPredictor
print(json.dumps(MLPredictor(load_settings()).get_prediction_history(sys.argv[1])))
"""


def test_history_is_there_in_a_fresh_interpreter_oldest_first(
    settings: Settings, bars: pd.DataFrame, tmp_path: Path
) -> None:
    minutes = [NOW, NOW - timedelta(minutes=30), NOW - timedelta(days=1)]
    for now in minutes:
        change_card(settings, train_end=(SESSIONS[0].close).isoformat())
        predictor = MLPredictor(settings, until(bars, now))
        for symbol in ("SIM06", "SIM10"):
            predictor.predict(symbol)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, "SIM06"], capture_output=True, text=True, cwd=ROOT, env=os.environ, check=True
    )
    history = json.loads(done.stdout)
    assert [p["timestamp"] for p in history] == [
        "2026-02-05T14:30:00-05:00",
        "2026-02-06T14:00:00-05:00",
        "2026-02-06T14:30:00-05:00",
    ]
    assert {p["symbol"] for p in history} == {"SIM06"}
    assert all(math.isfinite(p["price"]) and p["price"] > 0 for p in history)
    assert all(f"{p['symbol']}: {p['recommendation']} @ ${p['price']:.2f}" for p in history[-5:])  # as documented
    assert history == MLPredictor(settings_in(tmp_path)).get_prediction_history("SIM06")


def test_without_predictions_the_history_is_empty(tmp_path: Path) -> None:
    assert MLPredictor(settings_in(tmp_path)).get_prediction_history("AAPL") == []


# --- which model ----------------------------------------------------------------------------------------------------


def test_constructing_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    MLPredictor()
    MLPredictor(settings_in(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_without_a_model_nothing_is_ready_and_the_documented_words_appear(bars: pd.DataFrame, tmp_path: Path) -> None:
    predictor = MLPredictor(settings_in(tmp_path), RecordedFeed(bars))
    assert predictor.is_model_ready() is False
    for question in (lambda: predictor.predict("SIM06"), lambda: predictor.get_buy_signals(["SIM06"])):
        with pytest.raises(NoModel, match=r"^No trained model found in .*Run: python ml_trainer.py$"):
            question()


def test_without_bars_nothing_is_ready(tmp_path: Path) -> None:
    assert MLPredictor(settings_in(tmp_path)).is_model_ready() is False


def test_with_a_model_it_is_ready(settings: Settings, bars: pd.DataFrame) -> None:
    assert MLPredictor(settings, until(bars, NOW)).is_model_ready() is True


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"market": "alpaca", "feed": "iex"}, "learnt from market alpaca (feed iex), here is recorded (feed recorded)"),
        ({"market": "recorded", "feed": "other"}, "learnt from market recorded (feed other), here is recorded"),
        ({"train_end": (NOW + timedelta(minutes=1)).isoformat()}, f"{STAMP} is from the future"),
        ({"versions": {**versions(), "numpy": "0.1"}}, "was trained with numpy 0.1"),
        ({"versions": {"numpy": "0.1"}}, "was made by another version of this program"),
    ],
)
def test_a_model_that_must_not_predict_here_is_refused_with_the_cure(
    settings: Settings, bars: pd.DataFrame, changes: dict[str, Any], words: str
) -> None:
    change_card(settings, **changes)
    predictor = MLPredictor(settings, until(bars, NOW))
    assert predictor.is_model_ready() is False
    with pytest.raises(NoModel) as caught:
        predictor.predict("SIM06")
    assert str(caught.value).startswith("Model not ready for predictions: ")
    assert words in str(caught.value)
    assert "Run: python ml_trainer.py" in str(caught.value)
    assert predictor.get_prediction_history("SIM06") == []


def test_a_model_may_predict_from_the_moment_its_last_trade_had_settled(settings: Settings, bars: pd.DataFrame) -> None:
    change_card(settings, train_end=NOW.isoformat())
    assert MLPredictor(settings, until(bars, NOW)).is_model_ready()
    assert not MLPredictor(settings, until(bars, NOW - timedelta(minutes=1))).is_model_ready()


def test_a_model_published_meanwhile_is_taken_up(settings: Settings, bars: pd.DataFrame) -> None:
    predictor = MLPredictor(settings, until(bars, NOW))
    before = predictor.predict("SIM06")
    model_store = ModelStore(settings.MODELS_DIR, settings.STATE_DIR)
    model = model_store.load()
    steeper = replace(model.classifier, calibration=replace(model.classifier.calibration, level=-2.0))
    card = {**model.card, "stamp": "20260205_200000"}
    model_store.publish(card, steeper, model.scaler, pd.DataFrame({"a": [1]}), golden_rows(card), serve=False)
    assert predictor.predict("SIM06") == before
    model_store.use("20260205_200000")
    after = predictor.predict("SIM06")
    assert after["model_id"] == "20260205_200000"
    assert after["confidence"] < before["confidence"]
    model_store.use(STAMP)
    assert predictor.predict("SIM06") == before


# --- the door -------------------------------------------------------------------------------------------------------


def door(*argv: str) -> int:
    return ml_predictor.main(list(argv))


def test_the_door_shows_a_table_and_explains_silence(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(settings, pd.concat([bars, bars[bars["symbol"] == "SIM12"].assign(symbol="SIM99")]))
    monkeypatch.setenv("MARKET", "recorded")
    monkeypatch.setenv("MIN_CONFIDENCE", "0.99")
    assert door("--json") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    out = "\n".join(lines)
    predictions = json.loads(last)["predictions"]
    assert [p["symbol"] for p in predictions] == SYMBOLS
    assert "AAPL, MSFT, TSLA are not in this market; here are its first 3" in out
    assert f"model {STAMP}" in out
    for p in predictions:
        assert set(p) == set(TYPES)
        row = next(line for line in lines if line.startswith(p["symbol"])).split()
        assert row[:4] == [p["symbol"], f"{p['price']:.2f}", f"{p['confidence']:.2f}", "HOLD"]
    best = max(p["confidence"] for p in predictions)
    passing = [sum(p["confidence"] >= level for p in predictions) for level in (0.6, 0.5)]
    assert f"No buy signals generated: highest confidence {best:.2f}, threshold 0.99; " in out
    assert f"{passing[0]} would pass at 0.60, {passing[1]} at 0.50. Lower MIN_CONFIDENCE to trade more" in out


def test_the_door_does_not_complain_where_there_are_signals(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(settings, bars[bars["timestamp"] < NOW])
    monkeypatch.setenv("MIN_CONFIDENCE", "0.01")
    assert door("--market", "recorded", "--symbols", "SIM10,ZZZ") == 0
    out = capsys.readouterr().out
    assert "No buy signals generated" not in out
    assert "are not in this market" not in out
    assert "BUY" in next(line for line in out.splitlines() if line.startswith("SIM10"))
    assert "the source has no bars of it" in next(line for line in out.splitlines() if line.startswith("ZZZ"))


def test_after_the_close_the_door_says_how_many_reach_the_threshold_and_not_to_lower_it(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(settings, bars)
    monkeypatch.setenv("MIN_CONFIDENCE", "0.01")
    assert door("--market", "recorded", "--json") == 0
    out = capsys.readouterr().out
    best = max(p["confidence"] for p in json.loads(out.splitlines()[-1])["predictions"])
    silence = f"No buy signals generated: highest confidence {best:.2f}, threshold 0.01; "
    assert f"{silence}3 of 3 reach it, but the market is closed\n" in out
    assert "Lower MIN_CONFIDENCE" not in out


def test_brackets_in_a_symbol_are_shown_and_never_obeyed(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    store(settings, bars.replace({"symbol": {"SIM06": "[/X]"}}))
    assert door("--market", "recorded") == 0
    out = capsys.readouterr().out
    assert any(line.startswith("[/X] ") for line in out.splitlines())


def test_documented_samples_are_shown_where_the_market_has_them(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = bars.replace({"symbol": {"SIM06": "AAPL", "SIM12": "TSLA"}})
    store(settings, renamed.sort_values(["symbol", "timestamp"]))
    assert door("--market", "recorded", "--json") == 0
    out = capsys.readouterr().out
    assert [p["symbol"] for p in json.loads(out.splitlines()[-1])["predictions"]] == ["AAPL", "TSLA"]
    assert "not in this market" not in out


def test_the_market_is_that_of_the_folders(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET", "auto")
    store(settings, bars)
    (settings.DATA_DIR / "source.json").write_text('{"market": "recorded", "feed": "recorded"}')
    assert door("--json", "--quiet") == 0
    (prediction, *_) = json.loads(capsys.readouterr().out)["predictions"]
    assert "the end of the stored recorded bars" in prediction["reason"]


# --- the door that says why ------------------------------------------------------------------------------------------


def test_why_shows_what_spoke_for_and_against_and_the_first_gate_that_says_no(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(settings, bars[bars["timestamp"] < NOW])
    monkeypatch.setenv("MIN_CONFIDENCE", "0.99")
    assert door("--market", "recorded", "--why", "sim06", "--json") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert any(line.startswith("SIM06 at 2026-02-06T14:30: HOLD, ") for line in lines)
    for side in ("for", "against"):
        shown = [line.split() for line in lines if line.startswith(f"{side} ")]
        assert [row[1] for row in shown] == [each["feature"] for each in told[side]]
        assert [row[3] for row in shown] == [f"{each['contribution']:+.4f}" for each in told[side]]
        assert all(row[3].startswith("+" if side == "for" else "-") for row in shown)
        assert shown
    assert told["first_no"] == f"confidence {told['prediction']['confidence']:.2f} is below 0.99"
    assert lines[-1] == f"first reason not to buy: {told['first_no']}"


def bought(settings: Settings, symbol: str) -> None:
    """Books that hold a symbol."""
    settings.MODELS_DIR.mkdir(exist_ok=True)
    with Journal(settings.MODELS_DIR / "journal.jsonl", "stamp") as journal:
        order_id = Books(local_time, journal.events).entry_id(SESSIONS[-1].day, symbol)
        journal.append(
            "intent", order_id=order_id, symbol=symbol, qty=1, price=100.0, confidence=0.7,
            minute=epoch_minute(NOW) - 9, stop_loss=0.02, take_profit=0.04, model_id="m", market="recorded",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("held", "dear", "until_close", "first_no"),
    [
        (False, False, False, None),
        (True, False, False, "already held"),
        (False, True, False, "learnt from outcomes: confidence "),
        (False, False, True, "market is closed"),
        (True, False, True, "already held"),
    ],
)
def test_why_asks_the_gates_that_the_trader_asks(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    held: bool, dear: bool, until_close: bool, first_no: str | None,
) -> None:  # fmt: skip
    store(settings, bars if until_close else bars[bars["timestamp"] < NOW])
    feed = RecordedFeed(bars) if until_close else until(bars, NOW)
    own = MLPredictor(settings_in(settings.MODELS_DIR.parent), feed).predict("SIM06")["confidence"]
    monkeypatch.setenv("MIN_CONFIDENCE", str(own - 1e-9))
    if held:
        bought(settings, "SIM06")
    if dear:
        learn(settings, {"SIM06": 0.01})
    assert door("--market", "recorded", "--why", "SIM06", "--json") == 0
    out = capsys.readouterr().out
    told = json.loads(out.splitlines()[-1])["first_no"]
    assert told == first_no or (first_no is not None and told.startswith(first_no))
    assert ("first reason not to buy: none; only the broker can still refuse" in out) == (first_no is None)


def test_why_of_a_symbol_that_has_no_bars_names_that_and_shows_no_features(
    settings: Settings, bars: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    store(settings, bars[bars["timestamp"] < NOW])
    assert door("--market", "recorded", "--why", "ZZZ", "--json") == 0
    out = capsys.readouterr().out
    told = json.loads(out.splitlines()[-1])
    assert (told["for"], told["against"], told["first_no"]) == ([], [], "the source has no bars of it")
    assert "feature" not in "\n".join(out.splitlines()[:-1])


@pytest.mark.parametrize("with_bars", [True, False])
def test_why_without_model_or_bars_ends_with_7_and_one_line(
    bars: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str], with_bars: bool
) -> None:
    if with_bars:
        store(settings_in(tmp_path), bars)
    assert door("--market", "recorded", "--why", "SIM06") == 7
    captured = capsys.readouterr()
    assert ("No trained model found in" if with_bars else "no bars are stored") in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("with_bars", [True, False])
def test_without_model_or_bars_the_door_ends_with_7_and_one_line(
    bars: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str], with_bars: bool
) -> None:
    if with_bars:
        store(settings_in(tmp_path), bars)
    assert door("--market", "recorded", "--json") == 7
    captured = capsys.readouterr()
    words = "No trained model found in" if with_bars else "no bars are stored. Run: python build_dataset.py"
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert json.loads(captured.out.splitlines()[-1])["exit_code"] == 7


def test_what_is_learnt_is_what_is_predicted(settings: Settings, bars: pd.DataFrame) -> None:
    examples = prepare(RecordedFeed(bars), SESSIONS[-1].close, settings).examples
    row = examples[(examples["symbol"] == "SIM06") & (examples["timestamp"] < NOW)].iloc[-1]
    predictor = MLPredictor(settings, until(bars, row["timestamp"].to_pydatetime() + timedelta(minutes=1)))
    model = ModelStore(settings.MODELS_DIR, settings.STATE_DIR).load()
    expected = model.confidence(row[FEATURES].to_numpy(dtype=float)[None])[0]
    change_card(settings, train_end=SESSIONS[0].close.isoformat())
    assert predictor.predict("SIM06")["confidence"] == pytest.approx(expected, abs=1e-6)

"""From bars to labelled examples: what counts as an example, what is left out and said, and the door's manners."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from standin import StandIn
from trading import change_card, publish_eager_model, settings_in

import build_dataset
import ml_predictor
from build_dataset import prepare, read_dataset, recorded_end, select, write_dataset
from config import load_settings
from learning.features import FEATURES, WARMUP_BARS, compute_features
from learning.labels import had_its_time, label_trades, uniqueness
from market.bar_store import BarStore
from market.bars import Bar, NoBars
from market.clock import utc_now
from market.hours import at_new_york, last_closed, new_york, sessions_between
from market.recorded_feed import RecordedFeed
from market.simulated_feed import simulate_bars
from sources import open_alpaca, open_wire

SESSIONS = sessions_between(date(2026, 2, 2), date(2026, 2, 9))  # 6 of them
SYMBOLS = ["SIM06", "SIM10", "SIM12"]
EVENING = at_new_york(SESSIONS[-1].day, "20:00")


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """Simulated, with one symbol that trades in two minutes of three and one that is new on the last day."""
    table = simulate_bars(SESSIONS, SYMBOLS, seed=19)
    thin = (table["symbol"] == "SIM10") & (np.random.default_rng(1).random(len(table)) < 1 / 3)
    new = (table["symbol"] == "SIM12") & (table["timestamp"] < SESSIONS[-1].open)
    return table[~thin & ~new].reset_index(drop=True)


@pytest.fixture(scope="module")
def bars_file(bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mine") / "bars.parquet"
    bars.to_parquet(path)
    return path


@pytest.fixture(autouse=True)
def at_home(own_folders: None) -> None:
    """Every test here has folders of its own."""


def door(*argv: str) -> int:
    return build_dataset.main([str(argument) for argument in argv])


def said(text: str) -> str:
    """What was printed, whatever the width of the terminal."""
    return " ".join(text.split())


# --- examples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["simulated", "real"])
def test_an_example_is_a_known_trade_with_all_its_features(
    bars: pd.DataFrame, request: pytest.FixtureRequest, tmp_path: Path, source: str
) -> None:
    if source == "real":
        real = request.getfixturevalue("real_bars")
        bars = real[real["symbol"].isin(["NVDA", "SPY"]) & (real["timestamp"] >= "2026-02-26")].reset_index(drop=True)
    rules = settings_in(tmp_path).trade_rules()
    dataset = build_dataset.build_dataset(bars, rules, {"market": source})
    examples = dataset.examples
    outcome = ["label", "net_return", "settled_at", "exit_reason"]
    assert examples.columns.tolist() == ["symbol", "timestamp", *FEATURES, "close", "driftless", *outcome]
    assert len(examples) > 500
    assert examples.drop(columns="driftless").notna().all(axis=None)
    assert np.isfinite(examples[FEATURES]).all(axis=None)
    assert set(examples["label"]) == {0.0, 1.0}
    assert (examples["settled_at"] <= bars["timestamp"].max() + pd.Timedelta(minutes=1)).all()
    assert (examples["settled_at"] > examples["timestamp"] + pd.Timedelta(minutes=1)).all()


def test_examples_are_the_rows_that_have_both_features_and_label(bars: pd.DataFrame, tmp_path: Path) -> None:
    rules = settings_in(tmp_path).trade_rules()
    dataset = build_dataset.build_dataset(bars, rules, {})
    features, labels = compute_features(bars), label_trades(bars, **rules)
    both = features[FEATURES].notna().all(axis=1) & labels["net_return"].notna()
    np.testing.assert_array_equal(dataset.examples["timestamp"], bars["timestamp"][both])
    np.testing.assert_array_equal(dataset.examples["net_return"], labels["net_return"][both])
    np.testing.assert_array_equal(dataset.examples[FEATURES], features.loc[both, FEATURES])
    np.testing.assert_array_equal(dataset.examples["close"], bars["close"][both])


def test_what_is_left_out_is_counted_and_adds_up(bars: pd.DataFrame, tmp_path: Path) -> None:
    about = build_dataset.build_dataset(bars, settings_in(tmp_path).trade_rules(), {"market": "recorded"}).about
    assert about["rows"] + sum(about["left_out"].values()) == len(bars)
    # SIM12 has a bar each minute of one session: its last row is warm, but no trade can begin there.
    assert about["symbols"] == ["SIM06", "SIM10"]
    assert about["left_out"]["not warmed up or undefined"] == 3 * (WARMUP_BARS - 1)
    assert about["market"] == "recorded"


def test_examples_of_an_earlier_moment_are_those_that_had_settled_by_then(bars: pd.DataFrame, tmp_path: Path) -> None:
    settings, feed = settings_in(tmp_path), RecordedFeed(bars)
    whole = prepare(feed, EVENING, settings).examples
    then = SESSIONS[3].open + timedelta(hours=3)
    earlier = prepare(feed, then, settings).examples
    assert len(earlier) > 100
    assert (earlier["settled_at"] <= then).all()
    expected = whole[whole["settled_at"] <= then].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        earlier.drop(columns="driftless"), expected.drop(columns="driftless"), rtol=1e-9, atol=1e-12
    )
    had_time = had_its_time(earlier["timestamp"], then, settings.MAX_HOLDING_MINUTES)
    assert earlier["driftless"][had_time].notna().all()  # so nothing that is trained on can know it too early
    pd.testing.assert_series_equal(earlier["driftless"][had_time], expected["driftless"][had_time])


def test_only_the_days_asked_for_are_used(bars: pd.DataFrame, tmp_path: Path) -> None:
    dataset = prepare(RecordedFeed(bars), EVENING, settings_in(tmp_path, DAYS_BACK=5))
    assert dataset.about["sessions"] == 4
    assert dataset.examples["timestamp"].min() >= SESSIONS[2].open


def test_no_session_and_no_bars_are_insufficient_training_data(bars: pd.DataFrame, tmp_path: Path) -> None:
    settings, feed = settings_in(tmp_path, DAYS_BACK=5), RecordedFeed(bars)
    for now in (SESSIONS[0].open - timedelta(days=30), EVENING + timedelta(days=30)):
        with pytest.raises(NoBars, match="Insufficient training data: no bars from "):
            prepare(feed, now, settings)


def test_other_rules_make_other_labels_and_are_written_down(bars: pd.DataFrame, tmp_path: Path) -> None:
    changed = settings_in(tmp_path, MAX_HOLDING_MINUTES=30)
    plain, short = (prepare(RecordedFeed(bars), EVENING, s) for s in (settings_in(tmp_path), changed))
    assert short.about["trade_rules"] == changed.trade_rules()
    within = short.examples["timestamp"].dt.date == short.examples["settled_at"].dt.date
    lives = short.examples["settled_at"] - short.examples["timestamp"]
    assert lives[within].max() <= pd.Timedelta(minutes=30 + 5 + 10)  # entry within 5 minutes, exit at the next bar
    assert (short.examples["exit_reason"] == "time").mean() > 0.8
    assert short.about["rows"] > plain.about["rows"]


def test_a_data_set_comes_back_from_its_files(bars: pd.DataFrame, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(NoBars, match=r"^Insufficient training data: .*dataset.parquet does not exist. Run: python"):
        read_dataset(settings)
    dataset = prepare(RecordedFeed(bars), EVENING, settings)
    settings.DATA_DIR.mkdir()
    write_dataset(dataset, settings)
    again = read_dataset(settings)
    pd.testing.assert_frame_equal(again.examples, dataset.examples)
    assert again.about.items() >= dataset.about.items()
    text = (settings.DATA_DIR / "dataset.json").read_text()
    about = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in dataset.json"))
    assert about["features"] == FEATURES  # the close is none
    assert "close" not in FEATURES
    assert about["as_of"] == EVENING.isoformat()
    assert datetime.fromisoformat(about["bars_end"]) == SESSIONS[-1].close


def test_a_data_set_without_its_description_does_not_count(bars: pd.DataFrame, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.DATA_DIR.mkdir()
    write_dataset(prepare(RecordedFeed(bars), EVENING, settings), settings)
    (settings.DATA_DIR / "dataset.json").unlink()
    with pytest.raises(NoBars, match="Insufficient training data"):
        read_dataset(settings)


def test_now_is_the_evening_of_the_last_recorded_day_and_before_the_traded_sessions_of_the_simulated_market(
    bars: pd.DataFrame,
) -> None:
    assert recorded_end(RecordedFeed(bars), "recorded", []) == EVENING
    simulated = RecordedFeed(bars, "simulated")
    assert recorded_end(simulated, "simulated", []) == at_new_york(SESSIONS[0].day, "20:00")
    assert recorded_end(simulated, "simulated", [SESSIONS[2].day]) == at_new_york(SESSIONS[2].day, "20:00")


# --- whose bars: the lists of the days -------------------------------------------------------------------------------


@dataclass
class Watching:
    """A feed of Alpaca's market that watches some of the symbols whose bars it has."""

    watched: list[str]
    recorded: RecordedFeed
    market: str = "alpaca"
    feed: str = "iex"

    def symbols(self, now: datetime) -> list[str]:
        return self.watched

    def bars(self, symbols: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
        return self.recorded.bars(symbols, start, end)

    def new_bars(self, symbols: Sequence[str], after_minute: int, now: datetime) -> list[Bar]:
        raise AssertionError("a data set needs none")

    def check_splits(self, now: datetime) -> list[str]:
        return []

    def found_splits(self) -> dict[str, datetime]:
        return {}


def keep_list(data: Path, day: date, joined: dict[str, datetime]) -> None:
    """A day's active list, as market/active_list.py keeps it."""
    symbols = {symbol: new_york(when).isoformat() for symbol, when in joined.items()}
    (data / "symbols").mkdir(parents=True, exist_ok=True)
    (data / "symbols" / f"{day}.json").write_text(
        json.dumps({"date": str(day), "symbols": symbols, "left_out": {"SPY": "fund"}})
    )


def days_of(examples: pd.DataFrame, symbol: str) -> list[date]:
    return sorted(examples["timestamp"][examples["symbol"] == symbol].dt.date.unique())


@pytest.fixture(scope="module")
def unsifted(bars: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The examples of all symbols and sessions."""
    return prepare(RecordedFeed(bars), EVENING, settings_in(tmp_path_factory.mktemp("unsifted"))).examples


@pytest.fixture
def today(bars: pd.DataFrame, tmp_path: Path) -> Watching:
    """Today SIM06 is watched and SIM10 is not; lists of two days are to hand that have SIM10.

    Of the third session: both from the open. Of the fifth: SIM10 from 11:00, SIM06 not.
    """
    keep_list(tmp_path / "data", SESSIONS[2].day, {"SIM06": SESSIONS[2].open, "SIM10": SESSIONS[2].open})
    keep_list(tmp_path / "data", SESSIONS[4].day, {"SIM10": at_new_york(SESSIONS[4].day, "11:00")})
    return Watching(["SIM06"], RecordedFeed(bars))


def sifted(unsifted: pd.DataFrame) -> pd.DataFrame:
    """By hand, what the lists of `today` leave."""
    symbol, stamp = unsifted["symbol"], unsifted["timestamp"]
    third = (stamp >= SESSIONS[2].open) & (stamp < SESSIONS[2].close)
    fifth = (stamp >= SESSIONS[4].open) & (stamp < SESSIONS[4].close)
    joined = stamp + pd.Timedelta(minutes=1) >= pd.Timestamp(SESSIONS[4].open + timedelta(minutes=90))
    kept = third | (fifth & (symbol == "SIM10") & joined) | (~third & ~fifth & (symbol == "SIM06"))
    return unsifted[kept].reset_index(drop=True)


def test_a_symbol_is_learnt_from_on_the_days_it_was_listed_and_from_the_minute_on_in_which_it_joined(
    today: Watching, unsifted: pd.DataFrame, tmp_path: Path
) -> None:
    examples = prepare(today, EVENING, settings_in(tmp_path)).examples
    assert days_of(examples, "SIM10") == [SESSIONS[2].day, SESSIONS[4].day]
    first = examples["timestamp"][(examples["symbol"] == "SIM10") & (examples["timestamp"] >= SESSIONS[4].open)].min()
    assert SESSIONS[4].open + timedelta(minutes=89) <= first <= SESSIONS[4].open + timedelta(minutes=95)
    pd.testing.assert_frame_equal(examples, sifted(unsifted))


def test_a_session_without_a_list_keeps_the_symbols_of_today_s(
    today: Watching, unsifted: pd.DataFrame, tmp_path: Path
) -> None:
    examples = prepare(today, EVENING, settings_in(tmp_path)).examples
    assert days_of(examples, "SIM06") == [day for day in days_of(unsifted, "SIM06") if day != SESSIONS[4].day]


def test_what_the_lists_leave_out_is_counted_and_the_share_of_hindsight_told(
    today: Watching, unsifted: pd.DataFrame, bars: pd.DataFrame, tmp_path: Path
) -> None:
    dataset = prepare(today, EVENING, settings_in(tmp_path))
    about = dataset.about
    assert about["left_out"]["not on the list of that day"] == len(unsifted) - len(dataset.examples) > 500
    asked_for = int((bars["symbol"] != "SIM12").sum())
    assert about["rows"] + sum(about["left_out"].values()) == asked_for
    day = dataset.examples["timestamp"].dt.date
    by_hindsight = float((~day.isin([SESSIONS[2].day, SESSIONS[4].day])).mean())
    assert 0.2 < by_hindsight < 0.8
    assert about["selection"] == {
        "chosen": "active list",
        "sessions": 20,  # of the window; the bars begin later
        "sessions_listed": 2,
        "by_hindsight": pytest.approx(by_hindsight),
    }


def test_with_no_list_all_is_hindsight_and_with_all_nothing(bars: pd.DataFrame, tmp_path: Path) -> None:
    settings, feed = settings_in(tmp_path), Watching(["SIM06"], RecordedFeed(bars))
    without = prepare(feed, EVENING, settings)
    assert (without.about["selection"]["by_hindsight"], without.about["selection"]["sessions_listed"]) == (1.0, 0)
    assert without.about["symbols"] == ["SIM06"]
    for session in SESSIONS:
        keep_list(tmp_path / "data", session.day, {"SIM06": session.open})
    listed = prepare(feed, EVENING, settings)
    assert (listed.about["selection"]["by_hindsight"], listed.about["selection"]["sessions_listed"]) == (0.0, 6)
    pd.testing.assert_frame_equal(listed.examples, without.examples)


def test_a_list_begun_after_the_close_counts_as_none(bars: pd.DataFrame, tmp_path: Path) -> None:
    settings, feed = settings_in(tmp_path), Watching(["SIM06"], RecordedFeed(bars))
    without = prepare(feed, EVENING, settings)
    keep_list(tmp_path / "data", SESSIONS[3].day, {"SIM10": at_new_york(SESSIONS[3].day, "20:00")})
    keep_list(tmp_path / "data", SESSIONS[4].day, {"SIM10": at_new_york(SESSIONS[5].day, "04:00")})
    late = prepare(feed, EVENING, settings)
    assert late.about == without.about
    pd.testing.assert_frame_equal(late.examples, without.examples)


def test_a_list_from_before_the_window_is_not_looked_at(bars: pd.DataFrame, tmp_path: Path) -> None:
    keep_list(tmp_path / "data", SESSIONS[0].day, {"SIM10": SESSIONS[0].open})
    feed, settings = Watching(["SIM06"], RecordedFeed(bars)), settings_in(tmp_path, DAYS_BACK=5)
    assert select(feed, EVENING, settings).symbols == ["SIM06"]


def test_what_is_left_stays_sorted_and_its_labels_share_time_only_with_each_other(
    today: Watching, tmp_path: Path
) -> None:
    examples = prepare(today, EVENING, settings_in(tmp_path, MAX_HOLDING_MINUTES=60)).examples
    pd.testing.assert_frame_equal(examples, examples.sort_values(["symbol", "timestamp"], ignore_index=True))
    share = uniqueness(examples)
    assert ((share > 0) & (share <= 1)).all()
    one = examples[examples["symbol"] == "SIM10"].reset_index(drop=True)
    thursday = one[one["timestamp"] < SESSIONS[3].open].reset_index(drop=True)
    assert thursday["settled_at"].max() < one["timestamp"][len(thursday)]  # the other day's trades began later
    np.testing.assert_allclose(share[examples["symbol"] == "SIM10"][: len(thursday)], uniqueness(thursday))


@pytest.mark.parametrize("changes", [{"SYMBOLS": ("SIM10",)}, {}], ids=["the user", "the source"])
def test_lists_are_ignored_where_the_user_or_the_source_chose(
    today: Watching, unsifted: pd.DataFrame, tmp_path: Path, changes: dict[str, Any]
) -> None:
    feed = today if changes else RecordedFeed(today.recorded.table)
    dataset = prepare(feed, EVENING, settings_in(tmp_path, **changes))
    expected = unsifted[unsifted["symbol"] == "SIM10"] if changes else unsifted
    pd.testing.assert_frame_equal(dataset.examples, expected.reset_index(drop=True))
    assert "not on the list of that day" not in dataset.about["left_out"]
    chosen = "SYMBOLS" if changes else "the source's own"
    assert dataset.about["selection"] == {
        "chosen": chosen,
        "sessions": 20,  # of the window; the bars begin later
        "sessions_listed": 0,
        "by_hindsight": None,
    }


# --- the door -------------------------------------------------------------------------------------------------------


def test_own_bars_are_imported_for_good(
    bars: pd.DataFrame, bars_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door("--market", "recorded", "--bars", bars_file) == 0
    out = said(capsys.readouterr().out)
    assert "market recorded (feed recorded), 3 symbols, until 2026-02-09" in out
    assert f"bars: {len(bars):,} new, 6 sessions in" in out
    assert "Next: python ml_trainer.py" in out
    folder = tmp_path / "data" / "bars"
    assert sorted(path.name for path in folder.glob("*.parquet")) == [f"{s.day}.parquet" for s in SESSIONS]
    note = json.loads((folder / "2026-02-03.json").read_text())
    assert note == {"symbols": SYMBOLS, "feed": "recorded", "adjustment": "split", "complete": True}
    stored = pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("*.parquet")))
    stored = stored.sort_values(["symbol", "timestamp"], ignore_index=True)
    pd.testing.assert_frame_equal(stored, bars)
    for name in ("data", "models"):
        assert json.loads((tmp_path / name / "source.json").read_text())["market"] == "recorded"
    first = (tmp_path / "data" / "dataset.parquet").read_bytes()

    assert door("--bars", bars_file) == 0
    assert "bars: nothing new, 6 sessions in" in said(capsys.readouterr().out)
    assert door("--market", "recorded") == 0  # the file is not needed any more
    assert "bars: nothing new, 6 sessions in" in said(capsys.readouterr().out)
    assert (tmp_path / "data" / "dataset.parquet").read_bytes() == first


def test_the_door_says_what_is_left_out_and_ends_with_one_json_object(
    bars: pd.DataFrame, bars_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door("--bars", bars_file, "--json") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert (result["market"], result["feed"], result["symbols"]) == ("recorded", "recorded", ["SIM06", "SIM10"])
    assert result["rows"] + sum(result["left_out"].values()) == len(bars)
    out = said("\n".join(lines))
    assert f"examples: {result['rows']:,} of 2 symbols, {result['first'][:10]} to {result['last'][:10]}" in out
    for reason, count in result["left_out"].items():
        assert f"left out: {count:,} rows, {reason}" in out
    assert "selection: all symbols of the recorded market" in out
    assert result["selection"]["by_hindsight"] is None


def test_fewer_days_and_symbols_can_be_asked_for(
    bars_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert door("--bars", bars_file, "--days", "5", "--symbols", "sim06", "--json") == 0
    out = capsys.readouterr().out
    assert "selection: chosen by you (SYMBOLS)" in out
    result = json.loads(out.splitlines()[-1])
    assert result["symbols"] == ["SIM06"]
    assert result["first"] >= str(SESSIONS[2].open)
    stored = pd.read_parquet(tmp_path / "data" / "bars" / f"{SESSIONS[-1].day}.parquet")
    assert set(stored["symbol"]) == {"SIM06"}


def test_new_days_are_added_to_those_imported_before(
    bars: pd.DataFrame, bars_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = tmp_path / "early.csv"
    bars[bars["timestamp"] < SESSIONS[4].open].to_csv(early, index=False)
    assert door("--bars", early) == 0
    assert "4 sessions in" in said(capsys.readouterr().out)
    assert door("--bars", bars_file) == 0
    new = int((bars["timestamp"] >= SESSIONS[4].open).sum())
    assert f"bars: {new:,} new, 6 sessions in" in said(capsys.readouterr().out)


def test_brackets_in_a_path_are_shown_and_never_obeyed(
    bars_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "[data]"))
    assert door("--market", "recorded", "--bars", bars_file) == 0
    assert f"written: {tmp_path / '[data]' / 'dataset.parquet'}." in capsys.readouterr().out


def test_rows_outside_the_session_are_left_out_and_counted(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shared_data / "us_equities_1min_extended_hours.parquet"
    raw = pd.read_parquet(file)
    assert door("--bars", file, "--json") == 0
    captured = capsys.readouterr()
    result: dict[str, Any] = json.loads(captured.out.splitlines()[-1])
    clock = raw["timestamp"].dt.tz_convert("America/New_York").dt.strftime("%H:%M")
    outside = int(((clock < "09:30") | (clock >= "16:00")).sum())
    assert outside > 1000
    assert f"left out {outside:,} rows outside the regular session" in captured.err
    assert result["rows"] > 1000


def test_quiet_prints_nothing(bars_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door("--bars", bars_file, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--market", "recorded"], 7, "python build_dataset.py"),
        (["--bars", "no/such/file.parquet"], 2, "no such file or folder; check the path given to --bars"),
        (["--market", "alpaca"], 2, "cannot be reached without keys: put ALPACA_API_KEY"),
        (["--market", "simulated", "--days", "4"], 2, "DAYS_BACK=4 (command line) is not allowed: 5 to 3650"),
        (["--market", "simulated", "--symbols", "A/B"], 2, "SYMBOLS='A/B' (command line) is not allowed"),
    ],
)
def test_a_users_mistake_is_one_line_and_a_code(
    argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert door(*argv) == code
    err = capsys.readouterr().err
    assert err.startswith("build_dataset: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "data" / "dataset.parquet").exists()


def test_bars_that_break_a_rule_are_one_line_and_nothing_is_kept(
    bars: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bars.head(50).assign(high=0.01).to_csv(bad, index=False)
    assert door("--bars", bad) == 2
    err = capsys.readouterr().err
    assert str(bad) in err
    assert "high is below low" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "data" / "bars").exists()


def test_folders_of_another_market_are_refused_untouched(
    bars_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door("--bars", bars_file) == 0
    before = (tmp_path / "data" / "dataset.json").read_bytes()
    assert door("--market", "simulated", "--days", "5") == 5
    assert "belong to market recorded" in capsys.readouterr().err
    assert (tmp_path / "data" / "dataset.json").read_bytes() == before


def test_a_simulated_data_set_stops_before_the_sessions_to_be_traded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert door("--market", "simulated", "--days", "5", "--symbols", "SIM01,SIM12", "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["market"], result["last"][:10]) == ("simulated", "2026-02-27")
    days = sorted(path.stem for path in (tmp_path / "data" / "bars").glob("*.parquet"))
    assert days[-1] == "2026-02-27"


def test_a_change_of_settings_shows_in_the_data_set(
    bars_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP_LOSS_PCT", "0.01")
    assert door("--bars", bars_file, "--quiet") == 0
    dataset = read_dataset(replace(settings_in(tmp_path), DATA_DIR=tmp_path / "data"))
    assert dataset.about["trade_rules"]["stop_loss"] == 0.01
    stopped = dataset.examples["exit_reason"] == "stop"
    raw = dataset.examples["net_return"][stopped] + dataset.about["trade_rules"]["round_trip_cost"]
    assert raw.median() == pytest.approx(-0.01, abs=1e-4)


# --- from Alpaca, over HTTP against the stand-in ----------------------------------------------------------------------


@pytest.fixture
def alpaca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in at the machine's own time, with two symbols that traded in the last two weeks; its keys are set."""
    now = utc_now()
    closed = last_closed(now).day
    bars = simulate_bars(sessions_between(closed - timedelta(days=13), closed), ["SIM06", "SIM10"], seed=19)
    bars.assign(volume=bars["volume"].round()).to_parquet(tmp_path / "alpaca.parquet", index=False)
    with StandIn.start(tmp_path / "standin", bars=tmp_path / "alpaca.parquet", now=now) as standin:
        names = {"API_KEY": standin.KEY, "SECRET_KEY": standin.SECRET, "TRADING_URL": standin.api}
        for name, value in {**names, "DATA_URL": standin.api}.items():
            monkeypatch.setenv(f"ALPACA_{name}", value)
        monkeypatch.setenv("MIN_VOLUME", "0")
        standin.most_actives(only=["SIM06", "SIM10", "PENY", "SOXL"])  # the same at any hour of the machine's day
        yield standin


def test_from_alpaca_the_active_list_is_collected_and_a_second_run_asks_only_for_what_can_be_new(
    alpaca: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door("--market", "alpaca", "--days", "14", "--json") == 0
    out = capsys.readouterr().out
    result = json.loads(out.splitlines()[-1])
    assert (result["market"], result["feed"], result["symbols"]) == ("alpaca", "iex", ["SIM06", "SIM10"])
    assert result["rows"] > 500
    assert "most active, but left out: " in said(out)
    note = json.loads((tmp_path / "data" / "bars" / f"{result['first'][:10]}.json").read_text())
    assert note == {"symbols": ["SIM06", "SIM10"], "feed": "iex", "adjustment": "split", "complete": True}
    assert json.loads((tmp_path / "data" / "source.json").read_text()) == {"market": "alpaca", "feed": "iex"}
    alpaca.clear_requests()
    assert door("--market", "alpaca", "--days", "14") == 0
    assert "bars: nothing new" in said(capsys.readouterr().out)
    newest = BarStore(tmp_path / "data" / "bars").days(complete=True)[-1]
    queries = [entry["query"] for entry in alpaca.requests("/v2/stocks/bars")]
    assert len(queries) <= 2  # the split check, and today
    assert min(query["start"] for query in queries) >= str(newest)


def test_the_door_fetches_who_was_listed_once_and_the_night_agrees_with_it(
    alpaca: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alpaca.most_actives(only=["SIM06"])
    closed = last_closed(utc_now()).day
    listed = sessions_between(closed - timedelta(days=13), closed)[4]
    keep_list(tmp_path / "data", listed.day, {"SIM10": listed.open + timedelta(minutes=30)})
    assert door("--market", "alpaca", "--days", "14", "--json") == 0
    out = capsys.readouterr().out
    result = json.loads(out.splitlines()[-1])
    dataset = read_dataset(settings_in(tmp_path))
    assert result["symbols"] == ["SIM06", "SIM10"]
    assert days_of(dataset.examples, "SIM10") == [listed.day]
    assert dataset.examples["timestamp"][dataset.examples["symbol"] == "SIM10"].min() >= listed.open + timedelta(
        minutes=29
    )
    assert listed.day not in days_of(dataset.examples, "SIM06")
    selection = result["selection"]
    assert 0 < selection["by_hindsight"] < 1
    assert (
        f"selection: {selection['sessions_listed']} of {selection['sessions']} sessions trained on as listed that day, "
        f"{selection['by_hindsight']:.0%} of the examples still chosen by hindsight (today's list)"
    ) in said(out)

    settings = load_settings({"MARKET": "alpaca", "DAYS_BACK": 14})
    (tmp_path / "data" / "bars").rename(tmp_path / "old_bars")  # so that all must be fetched anew
    now = datetime.fromisoformat(dataset.about["as_of"])
    night = prepare(open_alpaca(settings, open_wire(settings)), now, settings)
    pd.testing.assert_frame_equal(night.examples, dataset.examples)
    assert night.about.items() <= dataset.about.items()


def test_the_predictor_s_door_answers_from_alpaca(
    alpaca: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(settings_in(tmp_path), MODELS_DIR=tmp_path / "models")
    publish_eager_model(settings, pd.read_parquet(tmp_path / "alpaca.parquet"))
    change_card(settings, market="alpaca", feed="iex")
    assert ml_predictor.main(["--market", "alpaca", "--json"]) == 0
    predictions = json.loads(capsys.readouterr().out.splitlines()[-1])["predictions"]
    assert [p["symbol"] for p in predictions] == ["SIM06", "SIM10"]
    assert all(p["price"] > 0 and p["reason"] for p in predictions)
    queries = [entry["query"]["symbols"] for entry in alpaca.requests("/v2/stocks/bars")]
    assert set(queries) == {"SIM06,SIM10"}


def test_wrong_keys_end_the_door_with_exit_code_3(
    alpaca: StandIn, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    alpaca.keys("PKOTHER0000000000000", "othersecret00000000000000000000000000000")
    assert door("--market", "alpaca") == 3
    assert "Copy the paper account's keys" in capsys.readouterr().err
    assert not (tmp_path / "data" / "dataset.parquet").exists()

"""The sanity check: an honest pipeline passes, and one that knows the future, or is impressed by luck, does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from trading import settings_in

import ml_trainer
from config import Settings
from learning.classifier import fit, raw_score
from learning.evaluation import WalkForward, one_bar_later
from learning.features import FEATURES, INDICATORS, SymbolBars
from learning.labels import uniqueness
from learning.money import tradable
from market.bars import epoch_minutes
from market.hours import market_time, sessions_between
from market.simulated_feed import signature_minutes, simulate_bars
from sanity import BENCHMARK, CASES, Case, Row, judge, no_feature_looks_ahead, out_of_fold, shuffled, statistical

Indicator = Callable[[SymbolBars], NDArray[np.float64]]
SHUFFLED, NOISE, SHORT, PLANTED = CASES
MARKETS = 2


def peek(bars: SymbolBars) -> NDArray[np.float64]:
    """The next minute's return: one bar of foresight."""
    return np.append(bars.close[1:], bars.close[-1]) / bars.close - 1


def session_volume(bars: SymbolBars) -> NDArray[np.float64]:
    """A minute's share of the volume of its whole session, known at the close."""
    share = np.empty_like(bars.volume)
    for rows in bars.sessions:
        share[rows] = bars.volume[rows] / bars.volume[rows].sum()
    return share


def whole_mean(bars: SymbolBars) -> NDArray[np.float64]:
    """The close against its mean over all that there is, as a scaler fitted before the split would have it."""
    return bars.close / bars.close.mean() - 1


def blank_at_the_end(bars: SymbolBars) -> NDArray[np.float64]:
    """What a shift(-1) makes of the last row."""
    return np.append(bars.close[1:] / bars.close[:-1] - 1, np.nan)


@contextmanager
def added(indicator: Indicator) -> Iterator[str]:
    """One more indicator, in the lists that everybody shares."""
    name = indicator.__name__
    INDICATORS[name] = indicator
    FEATURES.append(name)
    try:
        yield name
    finally:
        FEATURES.remove(name)
        del INDICATORS[name]


@pytest.fixture(autouse=True, scope="module")
def small_forests() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learning.classifier.TREES", 60)
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("sanity"))


@pytest.fixture(scope="module")
def honest(settings: Settings) -> dict[str, Row]:
    """The rows of the pipeline as it is, by case."""
    return {row.case: row for row in statistical(settings, FEATURES, CASES, MARKETS)}


@pytest.fixture(scope="module")
def skilled(settings: Settings) -> pd.DataFrame:
    """The judged rows of a market in which the pattern was found."""
    return out_of_fold(PLANTED, 0, replace(settings, **BENCHMARK), FEATURES)


@pytest.fixture(scope="module")
def leaking(settings: Settings) -> list[Row]:
    """The rows of short trades on noise with a feature that knows the next bar."""
    with added(peek):
        return statistical(settings, FEATURES, [SHORT], MARKETS)


# an honest pipeline


def test_an_honest_pipeline_shows_nothing_where_nothing_is(honest: dict[str, Row]) -> None:
    for case in (SHUFFLED, NOISE, SHORT):
        row = honest[case.name]
        assert (row.fault, row.markets, row.proven) == ("", MARKETS, 0)
    for case in (SHUFFLED, SHORT):
        row = honest[case.name]
        assert row.auc is not None
        assert row.auc_standard_error is not None
        assert abs(row.auc - 0.5) < 0.05
        assert 0.002 < row.auc_standard_error < 0.03


def test_an_honest_pipeline_finds_the_planted_pattern(honest: dict[str, Row]) -> None:
    row = honest[PLANTED.name]
    assert (row.fault, row.proven) == ("", MARKETS)
    assert row.auc is not None
    assert row.auc > 0.6
    assert row.trades is not None
    assert row.trades > 100
    assert row.highest_confidence is not None
    assert 0.65 < row.highest_confidence < 1


def test_the_best_scores_of_all_noise_are_not_called_proven(honest: dict[str, Row]) -> None:
    row = honest["noise, top 2%"]
    assert (row.fault, row.markets) == ("", 3 * MARKETS)
    assert row.proven is not None
    assert row.proven <= 1


def test_no_feature_of_the_house_looks_ahead() -> None:
    row = no_feature_looks_ahead(FEATURES)
    assert row.fault == ""
    assert row.auc is None


# a pipeline that knows the future


@pytest.mark.parametrize("indicator", [peek, session_volume, whole_mean, blank_at_the_end])
def test_a_feature_that_looks_ahead_is_named(indicator: Indicator) -> None:
    with added(indicator) as name:
        fault = no_feature_looks_ahead(FEATURES).fault
        assert fault.startswith(f"{name} changes when later bars are cut off")
        assert "learning/features.py" in fault
        assert no_feature_looks_ahead([feature for feature in FEATURES if feature != name]).fault == ""


def test_a_feature_that_peeks_one_bar_ahead_shows_in_short_trades_alone(leaking: list[Row]) -> None:
    row = leaking[0]
    assert row.auc is not None
    assert row.auc_standard_error is not None
    assert (row.auc - 0.5) / row.auc_standard_error > 10
    assert row.fault.startswith(f"AUC {row.auc:.3f} where nothing can be known")
    assert "learning/features.py" in row.fault


def randomly_split(
    examples: pd.DataFrame, features: Sequence[str], model_type: str, max_holding_minutes: int | None
) -> Iterator[WalkForward]:
    """A walk_forward as most programs have it: a random half of the minutes is trained on, the other half judged."""
    session = market_time(epoch_minutes(examples["timestamp"])).session
    matrix, label = examples[list(features)].to_numpy(), examples["label"].to_numpy()
    train = np.random.default_rng(0).random(len(label)) < 0.5
    scaler, estimator = fit(model_type, matrix[train], label[train], uniqueness(examples)[train])
    score = raw_score(estimator, scaler.transform(matrix[~train]))
    table = examples.assign(session=session, later_net_return=one_bar_later(examples))[~train]
    yield WalkForward(table.assign(score=score, confidence=score), pd.DataFrame())


@pytest.mark.parametrize("case", [SHUFFLED, NOISE], ids=["shuffled labels", "noise"])
def test_a_random_split_of_overlapping_minutes_is_caught(
    case: Case, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sanity.walk_forward", randomly_split)
    row, top = statistical(settings, FEATURES, [replace(case, sessions=13)], MARKETS)
    assert row.auc is not None
    assert row.auc > 0.6
    assert row.fault or top.fault
    assert case is NOISE or row.fault.startswith("AUC")


# what is judged


def test_skill_on_noise_is_a_fault_and_the_lack_of_it_where_it_is_planted_is_another(
    skilled: pd.DataFrame, settings: Settings
) -> None:
    rules = replace(settings, **BENCHMARK)
    chance = skilled.assign(score=0.5, confidence=0.4)
    assert judge(PLANTED, [skilled], rules).fault == ""
    assert judge(NOISE, [chance], rules).fault == ""
    assert judge(NOISE, [skilled], rules).fault.startswith("1 of 1 proven where nothing can be earned. Look at")
    assert judge(PLANTED, [chance], rules).fault.startswith("AUC 0.500 is below 0.58 and 0 of 1 proven, 1 are needed.")
    row = judge(SHUFFLED, [skilled], rules)
    assert row.fault.startswith(f"AUC {row.auc:.3f} where nothing can be known and 1 of 1 proven")


def test_one_market_of_four_may_be_luck_and_half_of_the_planted_ones_are_too_few(
    skilled: pd.DataFrame, settings: Settings
) -> None:
    rules = replace(settings, **BENCHMARK)
    silent = skilled.assign(confidence=0.4)
    assert judge(NOISE, [skilled, silent, silent, silent], rules).fault == ""
    assert judge(NOISE, [skilled, silent, silent], rules).fault.startswith("1 of 3 proven")
    assert judge(PLANTED, [skilled, silent], rules).fault.startswith("1 of 2 proven, 2 are needed")
    assert judge(PLANTED, [skilled, silent, skilled], rules).fault == ""


def test_four_times_the_markets_halve_the_standard_error(skilled: pd.DataFrame, settings: Settings) -> None:
    one, four = (judge(PLANTED, [skilled] * markets, settings) for markets in (1, 4))
    assert one.auc_standard_error is not None
    assert four.auc_standard_error == pytest.approx(one.auc_standard_error / 2)
    assert four.auc == pytest.approx(one.auc)
    assert (four.markets, four.proven) == (4, 4)
    assert four.trades == 4 * (one.trades or 0) > 0


def test_where_no_day_has_both_outcomes_there_is_no_auc_and_that_is_a_fault_where_it_is_judged(
    settings: Settings,
) -> None:
    rules = replace(settings, **BENCHMARK)
    same = out_of_fold(replace(NOISE, sessions=13), 0, rules, FEATURES).assign(label=0.0)
    row = judge(NOISE, [same], rules)
    assert (row.auc, row.auc_standard_error, row.fault) == (None, None, "")
    assert judge(SHORT, [same], rules).fault.startswith("AUC")


def test_the_verdict_s_own_test_counts_all_markets_without_a_pattern(
    skilled: pd.DataFrame, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsure = skilled[::5].assign(confidence=0.0)
    monkeypatch.setattr("sanity.out_of_fold", lambda *arguments: unsure)
    *_, row = statistical(settings, FEATURES, CASES, 5)
    assert (row.markets, row.proven) == (15, 15)
    assert row.expected == "at most 4 proven"  # 15 chances of 5% each give five or more once in 1,600 times
    assert row.fault.startswith("15 of 15 proven. Look at learning/verdicts.py")


def test_the_verdict_s_own_test_leaves_the_cost_out(
    skilled: pd.DataFrame, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = skilled.assign(net_return=skilled["net_return"] - 0.03, later_net_return=skilled["later_net_return"] - 0.03)
    monkeypatch.setattr("sanity.out_of_fold", lambda *arguments: dear)
    for cost, proven in ((0.03, 1), (0.0, 0)):
        *_, row = statistical(replace(settings, ROUND_TRIP_COST_PCT=cost), FEATURES, [NOISE], 1)
        assert row.proven == proven


def test_model_and_features_and_the_rules_on_noise_are_the_settings_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = [], []

    def spy(
        examples: pd.DataFrame, features: Sequence[str], model_type: str, limit: int | None
    ) -> Iterator[WalkForward]:
        targets = examples["net_return"][examples["exit_reason"] == "target"]
        asked.append((list(features), model_type, limit, targets.median()))
        return randomly_split(examples, features, model_type, limit)

    monkeypatch.setattr("sanity.walk_forward", spy)
    own = replace(settings, ML_MODEL_TYPE="gradient_boosting", MAX_HOLDING_MINUTES=200, TAKE_PROFIT_PCT=0.03)
    cases = [replace(case, sessions=4) for case in (NOISE, SHUFFLED)]
    statistical(own, FEATURES[:3], cases, 1, told.append)
    assert [each[:3] for each in asked] == [
        (FEATURES[:3], "gradient_boosting", 200),
        (FEATURES[:3], "gradient_boosting", 120),
    ]
    assert [each[3] for each in asked] == pytest.approx([0.03 - 0.0006, 0.04 - 0.0006])
    assert told == ["noise, market 1 of 1", "shuffled labels, market 1 of 1"]


def test_the_planted_pattern_is_worth_eight_tenths_of_a_percent_to_who_knows_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[pd.DataFrame] = []

    def spy(
        examples: pd.DataFrame, features: Sequence[str], model_type: str, limit: int | None
    ) -> Iterator[WalkForward]:
        asked.append(examples)
        return randomly_split(examples, features, model_type, limit)

    monkeypatch.setattr("sanity.walk_forward", spy)
    out_of_fold(PLANTED, 1, replace(settings, **BENCHMARK), FEATURES[:1])
    sessions = sessions_between(date(2026, 1, 22), date(2026, 3, 6))
    bars = simulate_bars(sessions, seed=1)
    foretold = pd.MultiIndex.from_frame(bars.loc[signature_minutes(sessions, seed=1), ["symbol", "timestamp"]])
    known = pd.MultiIndex.from_frame(asked[0][["symbol", "timestamp"]]).isin(foretold)
    assert 0.007 < tradable(asked[0][known].assign(confidence=1.0), 10)["net_return"].mean() < 0.010
    assert abs(asked[0]["net_return"].mean() + 0.0006) < 0.0015


@pytest.mark.parametrize(("limit", "held"), [(None, 780), (2000, 780), (300, 300)])
def test_trades_are_held_no_longer_than_the_simulated_month_can_tell(
    limit: int | None, held: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spy(
        examples: pd.DataFrame, features: Sequence[str], model_type: str, limit: int | None
    ) -> Iterator[WalkForward]:
        begin, end = (market_time(epoch_minutes(examples[name])).ordinal for name in ("timestamp", "settled_at"))
        asked.append((limit, (end - begin).max()))
        return randomly_split(examples, features, model_type, limit)

    monkeypatch.setattr("sanity.walk_forward", spy)
    out_of_fold(replace(NOISE, sessions=5), 0, replace(settings, MAX_HOLDING_MINUTES=limit), FEATURES[:1])
    assert asked == [(held, held + 2)]  # it begins a minute after the decision, and is settled when its last has ended


# shuffling


def test_shuffling_moves_the_features_of_each_symbol_s_day_in_one_piece_and_leaves_the_outcomes() -> None:
    examples = pd.DataFrame(
        {
            "symbol": np.repeat(["A", "B"], 60),
            "timestamp": np.tile(
                np.concatenate(
                    [
                        pd.date_range(f"2026-02-{day:02} 15:00", periods=20, freq="min", tz="UTC").astype("M8[us, UTC]")
                        for day in (2, 3, 4)
                    ]
                ),
                2,
            ),
            "one": np.arange(120.0),
            "two": -np.arange(120.0),
            "label": np.arange(120) % 2,
        }
    )
    moved = shuffled(examples, ["one", "two"], np.random.default_rng(1))
    pd.testing.assert_frame_equal(moved.drop(columns=["one", "two"]), examples.drop(columns=["one", "two"]))
    assert (moved["two"] == -moved["one"]).all()
    assert sorted(moved["one"]) == list(range(120))
    blocks = moved["one"].to_numpy().reshape(6, 20)
    sources = [set(block // 20) for block in blocks]
    assert [len(source) for source in sources] == [1] * 6
    assert sources != [{block} for block in range(6)]
    turns = np.diff(blocks, axis=1, append=blocks[:, :1])
    assert ((turns == 1).sum(axis=1) == 19).all()  # in order, but for where the day begins
    assert len({int(block[0] % 20) for block in blocks}) > 3  # each at another time of day


# the door


def door(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = ml_trainer.main(["--sanity", *arguments])
    return code, capsys.readouterr().out


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, own_folders: None) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr("sanity.MARKETS", 1)


@pytest.mark.usefixtures("quick")
def test_the_door_says_sane_with_one_table_and_touches_no_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out = door(capsys, "--json")
    assert code == 0
    for case in CASES:
        assert case.name in out
    assert out.count(" ok") == 6
    assert "FAIL" not in out
    result = json.loads(out.splitlines()[-1])
    assert result["sane"] is True
    assert out.splitlines()[-2] == result["verdict"] == "sane: it finds what is there, and nothing where nothing is"
    assert [row["case"] for row in result["rows"]] == [
        "no look-ahead", *(case.name for case in CASES), "noise, top 2%",
    ]  # fmt: skip
    assert result["rows"][4]["proven"] == 1
    assert {path.name for path in tmp_path.rglob("*")} <= {"data", "logs", "ml_trainer.log"}


@pytest.mark.usefixtures("quick")
def test_the_door_names_what_is_not_sane_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sanity.CASES", [SHORT])
    with added(peek):
        code, out = door(capsys)
    assert code == 1
    assert out.count("FAIL") == 2
    last = out.splitlines()[-1]
    assert last.startswith("NOT SANE: no look-ahead: peek changes when later bars are cut off. Look at")
    assert "noise, short: AUC 0." in last


@pytest.mark.usefixtures("quick")
def test_a_feature_that_is_left_out_can_do_no_harm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sanity.CASES", [SHORT])
    monkeypatch.setenv("LEFT_OUT_FEATURES", "peek")
    with added(peek):
        assert door(capsys)[0] == 0

"""How often was it tried: each configuration counts once, and the best of many has to show more."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skfolio.measures import deflated_sharpe_ratio, expected_max_sharpe_ratio, probabilistic_sharpe_ratio

from learning.trials import (
    Trials,
    configuration,
    deflated_sharpe,
    expected_maximum_sharpe,
    probabilistic_sharpe,
    sharpe,
    sharpe_standard_error,
)

ROOT = Path(__file__).resolve().parents[1]
WHAT = {"model_type": "random_forest", "features": ["rsi", "macd"], "trade_rules": {"stop_loss": 0.02}, "feed": "x"}
EVENING = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
DAILY = np.array([0.01, 0.0, -0.004, 0.02, 0.0])
RETURNS = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=3, max_size=40).filter(
    lambda x: np.ptp(x) > 0.01
)
SHARPES = st.lists(st.floats(-2, 2).map(lambda x: round(x, 6)), min_size=1, max_size=60)
WRITER = (
    "import sys; from datetime import UTC, datetime; from pathlib import Path; import numpy as np\n"
    "from learning.trials import Trials\n"
    "trials, name = Trials(Path(sys.argv[1])), sys.argv[2]\n"
    "print('ready', flush=True); sys.stdin.readline()\n"
    "for i in range(25):\n"
    "    trials.record({'name': name, 'i': i}, datetime(2026, 3, 2, tzinfo=UTC), np.array([0.1, 0.2]))"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "trials.json"


def strict(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    document: dict[str, Any] = json.loads(path.read_bytes(), parse_constant=refuse)
    return document


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# --- what is a configuration ----------------------------------------------------------------------------------------


def test_the_id_of_a_configuration_is_short_and_does_not_depend_on_the_order_of_keys() -> None:
    assert configuration(WHAT) == configuration(dict(reversed(WHAT.items())))
    assert len(configuration(WHAT)) == 12
    assert configuration({"b": [1, "é"], "a": None}) == "a44633ba036d"  # must stay: files of earlier years hold it


@pytest.mark.parametrize(
    "other", [{"model_type": "gradient_boosting"}, {"features": ["rsi"]}, {"trade_rules": {"stop_loss": 0.03}}]
)
def test_whatever_differs_makes_another_configuration(other: dict[str, Any]) -> None:
    assert configuration(WHAT | other) != configuration(WHAT)


def test_a_configuration_that_is_no_strict_json_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        configuration(WHAT | {"threshold": math.nan})


# --- counting -------------------------------------------------------------------------------------------------------


def test_before_anything_was_judged_there_are_no_trials(path: Path) -> None:
    assert (len(Trials(path)), Trials(path).sharpes()) == (0, [])
    assert not path.parent.exists()


def test_a_configuration_refitted_on_thirty_nights_is_one_trial(path: Path) -> None:
    for night in range(30):
        Trials(path).record(WHAT, EVENING + timedelta(days=night), DAILY * (1 + night) + 0.001)
    assert len(Trials(path)) == 1
    trial = strict(path)["trials"][configuration(WHAT)]
    assert trial == {
        "what": WHAT,
        "first": "2026-03-02T15:00:00-05:00",
        "last": "2026-03-31T16:00:00-04:00",
        "judged": 30,
        "sharpe": sharpe(DAILY * 30 + 0.001),
        "days": 5,
    }


def test_every_other_configuration_is_a_trial_of_its_own(path: Path) -> None:
    trials = Trials(path)
    for threshold in (0.6, 0.65, 0.6, 0.7):
        trials.record(WHAT | {"threshold": threshold}, EVENING, DAILY + threshold)
    assert len(trials) == 3
    assert trials.sharpes() == [sharpe(DAILY + threshold) for threshold in (0.6, 0.65, 0.7)]


def test_a_configuration_that_never_traded_is_counted_without_a_sharpe_ratio(path: Path) -> None:
    trials = Trials(path)
    trials.record(WHAT, EVENING, np.zeros(12))
    assert (len(trials), trials.sharpes()) == (1, [])
    assert strict(path)["trials"][configuration(WHAT)]["sharpe"] is None
    assert strict(path)["trials"][configuration(WHAT)]["days"] == 12
    trials.record(WHAT, EVENING, DAILY)  # and once it traded, with
    assert trials.sharpes() == [sharpe(DAILY)]


def test_a_judgement_as_of_an_earlier_time_does_not_displace_the_newest(path: Path) -> None:
    trials = Trials(path)
    trials.record(WHAT, EVENING, DAILY)
    trials.record(WHAT, EVENING - timedelta(days=9), DAILY[:3])
    trial = strict(path)["trials"][configuration(WHAT)]
    assert (trial["first"], trial["last"]) == ("2026-02-21T15:00:00-05:00", "2026-03-02T15:00:00-05:00")
    assert (trial["judged"], trial["days"], trial["sharpe"]) == (2, 5, sharpe(DAILY))


def test_a_time_without_a_zone_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="naive"):
        Trials(path).record(WHAT, EVENING.replace(tzinfo=None), DAILY)


def test_the_file_is_strict_json_of_one_schema(path: Path) -> None:
    Trials(path).record(WHAT | {"symbols": ("A", "Ü")}, EVENING, DAILY)
    document = strict(path)
    assert (set(document), document["schema"]) == ({"schema", "trials"}, 1)
    assert [entry.name for entry in path.parent.iterdir()] == ["trials.json"]


def test_two_readers_agree_on_what_either_wrote(path: Path) -> None:
    one, other = Trials(path), Trials(path)
    one.record(WHAT, EVENING, DAILY)
    other.record(WHAT | {"feed": "y"}, EVENING, 2 * DAILY + 0.01)
    one.record(WHAT, EVENING, DAILY)
    assert len(one) == len(other) == 2
    assert one.sharpes() == other.sharpes() == [sharpe(DAILY), sharpe(2 * DAILY + 0.01)]


def test_two_processes_that_count_at_once_lose_nothing(path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.close()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert len(Trials(path)) == 50


# --- files that cannot be used --------------------------------------------------------------------------------------


TRIAL = {"what": {}, "first": "2026-02-27T20:00-05:00", "last": "2026-03-02T20:00-05:00", "judged": 2, "days": 3}
TRIAL |= {"sharpe": 0.1}


def document(trials: object, schema: object = 1) -> bytes:
    return json.dumps({"schema": schema, "trials": trials}).encode()


def test_the_file_that_is_damaged_below_can_be_read_whole(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(document({"0123456789ab": TRIAL}))
    assert Trials(path).sharpes() == [0.1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        document({"0123456789ab": TRIAL})[:-3],
        b"\xff\xfe\x00",
        b"[]",
        b'{"trials": {}}',
        document({}, schema="1"),
        document([]),
        document({"0123456789ab": {key: value for key, value in TRIAL.items() if key != "first"}}),
        document({"0123456789ab": TRIAL | {"what": "a forest"}}),
        document({"0123456789ab": TRIAL | {"sharpe": "0.1"}}),
        document({"0123456789ab": TRIAL | {"sharpe": []}}),
        document({"0123456789ab": TRIAL | {"first": "yesterday"}}),
        document({"0123456789ab": TRIAL | {"first": "2026-02-27T20:00", "last": "2026-03-02T20:00"}}),
        document({"0123456789ab": TRIAL | {"sharpe": math.nan}}),
    ],
)
def test_a_file_that_cannot_be_read_is_said_and_moved_aside_before_it_would_be_overwritten(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    trials = Trials(path)
    assert (len(trials), trials.sharpes()) == (0, [])
    assert warnings(caplog) == 2 * [f"{path}: it cannot be read as trials; no trial is known"]
    assert path.read_bytes() == content
    caplog.clear()
    trials.record(WHAT, EVENING, DAILY)
    aside = path.with_name("trials.json.damaged-20260302_150000")
    assert warnings(caplog) == [
        f"{path}: it cannot be read as trials; it is kept as {aside.name}, and counting begins anew"
    ]
    assert aside.read_bytes() == content
    assert len(trials) == 1


def test_a_file_of_a_newer_version_is_said_and_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = document({"0123456789ab": {"in": "another shape"}}, schema=2)
    path.parent.mkdir()
    path.write_bytes(content)
    trials = Trials(path)
    trials.record(WHAT, EVENING, DAILY)
    assert (len(trials), trials.sharpes()) == (0, [])
    newer = f"{path}: it is of a newer version (schema 2, here 1); "
    assert warnings(caplog) == [newer + "this trial is not counted", *2 * [newer + "no trial is known"]]
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["trials.json"]


# --- Sharpe ratios --------------------------------------------------------------------------------------------------


def test_the_sharpe_ratio_is_per_day_and_as_by_hand() -> None:
    assert sharpe(np.array([0.01, 0.03])) == pytest.approx(0.02 / math.sqrt(2 * 0.01**2))
    assert sharpe(np.array([-0.02, 0.0, 0.02, -0.04])) == pytest.approx(-0.01 / math.sqrt(0.002 / 3))


@pytest.mark.parametrize("daily", [[], [0.1], [0.0] * 9, [0.1] * 3, [-0.07] * 20])
def test_without_variation_nothing_can_be_said(daily: list[float]) -> None:
    values = np.array(daily)
    assert sharpe(values) is None
    assert sharpe_standard_error(values) is None
    assert probabilistic_sharpe(values, 0.0) is None
    assert deflated_sharpe(values, [0.1, 0.2]) is None


def test_little_variation_is_variation() -> None:
    assert sharpe(0.01 + 1e-8 * np.array([1.0, -1.0])) == pytest.approx(0.01 / math.sqrt(2e-16), rel=1e-6)


def test_two_days_have_a_sharpe_ratio_but_no_standard_error() -> None:
    assert sharpe(np.array([0.01, 0.03])) is not None
    assert sharpe_standard_error(np.array([0.01, 0.03])) is None


@pytest.mark.parametrize("days", [5, 10, 20])
@pytest.mark.parametrize("scale", [0.01, 0.5, 3.0])
def test_where_the_formula_leaves_no_error_none_is_claimed(days: int, scale: float) -> None:
    shape = np.repeat([1.0, 0.0], [days // 5, days - days // 5])  # a fifth of the days differ: skewness 3 / 2
    daily = scale * ((shape - shape.mean()) / shape.std(ddof=1) + 4 / 3)
    assert sharpe(daily) == pytest.approx(4 / 3)
    assert sharpe_standard_error(daily) is None
    assert probabilistic_sharpe(daily, 0.0) is None


@pytest.mark.parametrize("skewed", [-1, 0, 1])
def test_the_standard_error_is_how_much_sharpe_ratios_of_like_series_scatter(skewed: int) -> None:
    rng = np.random.default_rng(11)
    draws = rng.normal(size=(4000, 400)) if skewed == 0 else skewed * (rng.gamma(4.0, size=(4000, 400)) - 4) / 2
    daily = 0.4 + draws  # a skewness of 1: the ratio scatters by a fifth less, or more, than that of normal returns
    scatter = np.std([sharpe(row) for row in daily])
    errors = [sharpe_standard_error(row) for row in daily]
    assert np.mean(errors) == pytest.approx(scatter, rel=0.03)
    assert (scatter > 1.1 / 20) == (skewed < 0)
    assert (scatter < 0.9 / 20) == (skewed > 0)


@given(RETURNS, st.floats(-1, 1))
def test_the_probability_of_skill_is_that_of_skfolio(returns: list[float], benchmark: float) -> None:
    expected = probabilistic_sharpe_ratio(returns, benchmark_sharpe_ratio=benchmark)
    found = probabilistic_sharpe(np.array(returns), benchmark)
    assert found == (None if math.isnan(expected) else pytest.approx(expected, abs=1e-6))


def test_half_the_probability_lies_above_the_ratio_itself() -> None:
    ratio = sharpe(DAILY)
    assert ratio is not None
    assert probabilistic_sharpe(DAILY, ratio) == pytest.approx(0.5)
    assert probabilistic_sharpe(-DAILY, -ratio) == pytest.approx(0.5)


# --- the best of many -----------------------------------------------------------------------------------------------


@given(SHARPES)
def test_the_expected_maximum_is_that_of_skfolio(sharpes: list[float]) -> None:
    spread = float(np.std(sharpes, ddof=1)) if len(sharpes) > 1 else 0.0
    expected = expected_max_sharpe_ratio(len(sharpes), spread)
    assert expected_maximum_sharpe(sharpes) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("trials", [10, 50, 200])
def test_the_best_of_trials_without_skill_shows_about_what_is_expected(trials: int) -> None:
    rng = np.random.default_rng(trials)
    best, expected = [], []
    for _ in range(300):
        daily = rng.normal(0, 0.01, (trials, 60))
        sharpes = [sharpe(row) or 0.0 for row in daily]
        best.append(max(sharpes))
        expected.append(expected_maximum_sharpe(sharpes))
    assert np.mean(best) == pytest.approx(np.mean(expected), rel=0.04)
    assert np.mean(expected) > 1.5 / math.sqrt(60)


def test_of_one_trial_nothing_was_selected() -> None:
    assert expected_maximum_sharpe([0.4]) == 0
    assert deflated_sharpe(DAILY, [0.4]) == probabilistic_sharpe(DAILY, 0.0)


def test_where_no_trial_is_known_nothing_passes_for_deflated() -> None:
    assert deflated_sharpe(DAILY, []) is None


@given(RETURNS, SHARPES)
def test_the_deflated_sharpe_ratio_is_that_of_skfolio(returns: list[float], sharpes: list[float]) -> None:
    expected = deflated_sharpe_ratio(returns, sharpes)
    found = deflated_sharpe(np.array(returns), sharpes)
    assert found == (None if math.isnan(expected) else pytest.approx(expected, abs=1e-6))


def test_the_published_example_of_the_deflated_sharpe_ratio() -> None:
    # Bailey and Lopez de Prado (2014): an annualised ratio of 2.5 over 1,250 days of 250 a year, skewness -3 and
    # kurtosis 10, the best of 100 trials whose annualised ratios have variance 1/2: 0.9004. 105 equal losses on 1,250
    # days have that skewness and kurtosis.
    shape = np.repeat([-1.0, 0.0], [105, 1145])
    daily = (shape - shape.mean()) / shape.std(ddof=1) + 2.5 / math.sqrt(250)
    spaced = np.linspace(-1, 1, 100)
    sharpes = spaced / spaced.std(ddof=1) * math.sqrt(0.5 / 250)
    assert expected_maximum_sharpe(sharpes.tolist()) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(daily, sharpes.tolist()) == pytest.approx(0.9004, abs=5e-4)


def test_noise_chosen_as_the_best_of_many_is_seldom_called_skill() -> None:
    rng = np.random.default_rng(5)
    plain, deflated = 0, 0
    for _ in range(200):
        daily = rng.normal(0, 0.01, (40, 60))
        sharpes = [sharpe(row) or 0.0 for row in daily]
        best = daily[int(np.argmax(sharpes))]
        plain += (probabilistic_sharpe(best, 0.0) or 0) > 0.95
        deflated += (deflated_sharpe(best, sharpes) or 0) > 0.95
    assert plain > 150
    assert deflated <= 10

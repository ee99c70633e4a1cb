"""How good probabilities are: scores by hand, and what a perfect forecast of the same days would have shown."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

from durable import to_json
from learning.scores import BINS, CalibrationByDay, break_even, scores

ROWS_A_DAY = 120
FORECASTS = 150


def judged_table(rows: list[tuple[int, int, float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["session", "label", "score", "confidence", "net_return"])


def perfect(rng: np.random.Generator, days: int) -> pd.DataFrame:
    """Probabilities that hold exactly, for labels that share the luck of their day, which moves its share by 0.12."""
    session = np.repeat(np.arange(days), ROWS_A_DAY)
    probability = expit(rng.normal(-0.2, 0.5, len(session)) + rng.normal(0, 0.3, days)[session])
    luck = np.sqrt(0.1) * rng.normal(size=days)[session] + np.sqrt(0.9) * rng.normal(size=len(session))
    label = (norm.cdf(luck) < probability) * 1.0
    return pd.DataFrame({"session": session, "label": label, "confidence": probability})


@cache
def forecasts(days: int) -> list[pd.DataFrame]:
    rng = np.random.default_rng(days)
    return [perfect(rng, days) for _ in range(FORECASTS)]


# --- scores ---------------------------------------------------------------------------------------------------------


def test_scores_of_a_small_table_are_those_computed_by_hand() -> None:
    table = judged_table(
        [
            (1, 1, 0.9, 0.8, 0.03),
            (1, 0, 0.2, 0.7, -0.02),
            (1, 1, 0.4, 0.3, 0.01),
            (2, 0, 0.6, 0.6, -0.01),
            (2, 1, 0.3, 0.2, 0.02),
        ]
    )
    measured = scores(table, 0.7)
    expected = {
        "auc": 0.5,  # 1.0 on the first day, 0.0 on the second
        "auc_standard_error": 0.5,
        "accuracy": 2 / 5,
        "precision": 1 / 2,
        "recall": 1 / 3,
        "brier": (0.04 + 0.49 + 0.49 + 0.36 + 0.64) / 5,
        "log_loss": -np.log([0.8, 0.3, 0.3, 0.4, 0.2]).mean(),
        "ece": (0.2 + 0.7 + 0.7 + 0.6 + 0.8) / 5,
        "ece_perfect": None,  # no tenth has rows on both days
        "ece_perfect_high": None,
        "signals": 2,
        "net_return_per_signal": 0.005,
        "highest_confidence": 0.8,
    }
    assert measured == pytest.approx(expected)
    assert list(measured) == list(expected)


def test_auc_is_a_mean_over_days_whatever_lies_between_them() -> None:
    # Each day is ranked perfectly, and all scores of the day that paid less are the higher ones.
    first = [(1, int(i >= 5), 0.1 + i / 100, 0.5, 0.0) for i in range(50)]
    second = [(2, int(i >= 45), 0.8 + i / 100, 0.5, 0.0) for i in range(50)]
    measured = scores(judged_table(first + second), 0.65)
    assert (measured["auc"], measured["auc_standard_error"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("rows", "undefined"),
    [
        (
            [(1, 0, 0.2, 0.3, -0.01), (1, 0, 0.3, 0.4, -0.01)],
            {"auc", "auc_standard_error", "precision", "recall", "net_return_per_signal"},
        ),
        ([(1, 1, 0.2, 0.9, 0.01), (1, 1, 0.3, 0.8, 0.01)], {"auc", "auc_standard_error"}),
        (
            [(1, 1, 0.2, 0.3, 0.01), (1, 0, 0.3, 0.4, -0.01)],
            {"auc_standard_error", "precision", "net_return_per_signal"},
        ),
    ],
)
def test_what_cannot_be_measured_is_none_and_the_rest_is_strict_json(
    rows: list[tuple[int, int, float, float, float]], undefined: set[str]
) -> None:
    measured = scores(judged_table(rows), 0.65)
    missing = undefined | {"ece_perfect", "ece_perfect_high"}  # a single day
    assert {name for name, value in measured.items() if value is None} == missing
    assert to_json(measured)


def test_break_even_is_where_winners_pay_for_losers() -> None:
    judged = pd.DataFrame({"label": [1.0, 1.0, 0.0], "net_return": [0.03, 0.01, -0.01]})
    assert break_even(judged) == pytest.approx(1 / 3)
    assert break_even(judged.head(2)) is None
    assert break_even(judged.tail(1)) is None


# --- what a confidence meant ----------------------------------------------------------------------------------------


def test_the_calibration_table_has_each_row_once_in_its_tenth() -> None:
    rng = np.random.default_rng(4)
    confidence = np.concatenate([rng.random(500), [0.0, 1.0, 0.1]])
    label = rng.integers(0, 2, len(confidence))
    table = judged_table([(i % 3, int(y), p, p, 0.0) for i, (y, p) in enumerate(zip(label, confidence, strict=True))])
    calibration = CalibrationByDay(table)
    records = calibration.table()
    assert sum(record["rows"] for record in records) == len(table)
    assert len(records) == BINS
    apart = 0.0
    for tenth, record in enumerate(records):
        rows = (confidence >= tenth / 10) & ((confidence < (tenth + 1) / 10) | (tenth == 9))
        assert record["rows"] == rows.sum()
        assert record["confidence"] == pytest.approx(confidence[rows].mean())
        assert record["profitable"] == pytest.approx(label[rows].mean())
        apart += abs(confidence[rows].mean() - label[rows].mean()) * rows.mean()
    assert calibration.error() == pytest.approx(apart)
    assert to_json(records)


def test_a_tenth_without_rows_is_no_line_of_the_table() -> None:
    table = judged_table([(day, day % 2, 0.5, p, 0.0) for day in range(4) for p in (0.15, 0.65)])
    assert [record["confidence"] for record in CalibrationByDay(table).table()] == pytest.approx([0.15, 0.65])


# --- beside a perfect forecast --------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [6, 15])
def test_what_a_perfect_forecast_shows_lies_in_the_span_it_is_told_about_nine_times_of_ten(days: int) -> None:
    thick, thin = [], []
    for table in forecasts(days):
        for record in CalibrationByDay(table).table():
            if record["low"] is not None:
                inside = record["low"] <= record["profitable"] <= record["high"]
                (thick if record["rows"] > len(table) / 20 else thin).append(inside)
    assert 0.84 < np.mean(thick) < 0.96
    assert 0.70 < np.mean(thin) < 0.96  # a few rows on a few days: nearly the same is asked of them
    assert len(thin) > FORECASTS


@pytest.mark.parametrize("days", [4, 12])
def test_the_calibration_error_of_a_perfect_forecast_is_the_one_foretold(days: int) -> None:
    calibrations = [CalibrationByDay(table) for table in forecasts(days)]
    shown = np.array([calibration.error() for calibration in calibrations])
    foretold = [calibration.errors_of_a_perfect_forecast() for calibration in calibrations]
    assert np.mean([errors.mean() for errors in foretold]) == pytest.approx(shown.mean(), rel=0.1)
    above = [error > np.quantile(errors, 0.95) for error, errors in zip(shown, foretold, strict=True)]
    assert np.mean(above) < 0.16 if days == 4 else np.mean(above) < 0.11


def test_a_forecast_ten_points_too_confident_is_not_taken_for_a_perfect_one() -> None:
    seen, outside = [], []
    for table in forecasts(24):
        calibration = CalibrationByDay(table.assign(confidence=np.minimum(table["confidence"] + 0.1, 0.999)))
        errors = calibration.errors_of_a_perfect_forecast()
        seen.append(calibration.error() > np.quantile(errors, 0.95))
        widest = max(calibration.table(), key=lambda record: record["rows"])
        outside.append(widest["profitable"] < widest["low"])
    assert np.mean(seen) > 0.9
    assert np.mean(outside) > 0.9


def test_being_wrong_does_not_widen_what_a_perfect_forecast_would_show() -> None:
    table = forecasts(15)[0]
    honest, boastful = (
        CalibrationByDay(table.assign(confidence=table["confidence"] * 0 + level)).table() for level in (0.45, 0.75)
    )
    assert honest[0]["high"] - honest[0]["low"] == pytest.approx(boastful[0]["high"] - boastful[0]["low"])


def test_luck_alone_shows_a_smaller_error_the_more_days_there_are() -> None:
    few, more, many = (
        np.mean([CalibrationByDay(table).errors_of_a_perfect_forecast().mean() for table in forecasts(days)])
        for days in (4, 12, 24)
    )
    assert few > 1.5 * more > 2 * many


def test_one_day_says_nothing_about_luck() -> None:
    table = perfect(np.random.default_rng(1), 1)
    calibration = CalibrationByDay(table)
    assert calibration.error() > 0
    assert calibration.errors_of_a_perfect_forecast() is None
    assert {(record["low"], record["high"]) for record in calibration.table()} == {(None, None)}


def test_a_tenth_seen_on_one_day_only_has_no_span_and_on_two_nearly_any() -> None:
    rng = np.random.default_rng(2)
    rows = [(day, int(rng.random() < 0.45), 0.5, 0.45, 0.0) for day in range(12) for _ in range(50)]
    rows += [(3, 0, 0.5, 0.75, 0.0)] * 20 + [(day, int(day == 5), 0.5, 0.65, 0.0) for day in (5, 8) for _ in range(20)]
    common, two_days, one_day = CalibrationByDay(judged_table(rows)).table()
    assert 0.25 < common["low"] < 0.45 < common["high"] < 0.65
    assert (two_days["low"], two_days["high"]) == (0, 1)
    assert (one_day["rows"], one_day["low"], one_day["high"]) == (20, None, None)


def test_the_same_rows_give_the_same_span_each_time() -> None:
    table = forecasts(6)[0]
    assert CalibrationByDay(table).table() == CalibrationByDay(table).table()

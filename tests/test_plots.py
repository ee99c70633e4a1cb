"""Pictures draw what the numbers beside them say."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from display.plots import curve, series, span


def numbers(pattern: str, html: str) -> list[tuple[float, ...]]:
    found = re.findall(pattern, html)
    return [tuple(map(float, one if isinstance(one, tuple) else (one,))) for one in found]


def test_a_series_goes_from_left_to_right_and_up_with_its_values() -> None:
    html = series([0.0, 0.5, 1.0, -1.0], [None] * 4, -1.0, 1.0)
    assert numbers(r'<circle cx="([\d.]+)%" cy="([\d.]+)%"', html) == [(12.5, 50), (37.5, 25), (62.5, 0), (87.5, 100)]
    assert re.findall(r'points="([^"]+)"', html) == ["12.50,50.00 37.50,25.00 62.50,0.00 87.50,100.00"]


def test_a_series_says_its_values_to_those_who_do_not_see_it() -> None:
    assert 'role="img"' in series([0.02, None], [None, None], 0.0, 1.0)
    assert 'aria-label="oldest first: +0.0200, -"' in series([0.02, None], [None, None], 0.0, 1.0)


def test_a_gap_breaks_the_line() -> None:
    html = series([0.0, 1.0, None, 1.0, 0.0, None, 0.5], [None] * 7, 0.0, 1.0)
    assert [len(points.split()) for points in re.findall(r'points="([^"]+)"', html)] == [2, 2]
    assert html.count("<circle") == 5


def test_each_value_has_its_standard_error_to_either_side_within_the_plot() -> None:
    html = series([0.5, 0.9], [0.25, 0.2], 0.0, 1.0)
    assert numbers(r'class="error" x1="[\d.]+%" x2="[\d.]+%" y1="([\d.]+)%" y2="([\d.]+)%"', html) == [
        (25, 75), (0, 30),
    ]  # fmt: skip


def test_the_line_across_is_zero() -> None:
    assert numbers(r'class="grid" x1="0" x2="100%" y1="([\d.]+)%"', series([0.1], [None], -0.1, 0.3)) == [(75,)]


def test_a_span_shows_promise_outcome_and_what_luck_would_do() -> None:
    html = span(0.65, 0.58, 0.55, 0.75)
    assert numbers(r'<rect x="([\d.]+)%" width="([\d.]+)%"', html) == [(55, 20)]
    assert numbers(r'class="mark" x1="([\d.]+)%"', html) == [(65,)]
    assert numbers(r'<circle cx="([\d.]+)%"', html) == [(58,)]
    assert "<rect" not in span(0.65, 0.58, None, None)


@pytest.mark.parametrize(
    ("minutes", "words"), [(0, "too few for a curve"), (1, "too few for a curve"), (2, "has stood")]
)
def test_where_there_is_no_curve_to_draw_a_sentence_says_so(minutes: int, words: str) -> None:
    time = pd.date_range("2026-03-02 09:30", periods=minutes, freq="min", tz="America/New_York")
    html = curve(pd.DataFrame({"time": time, "equity": [100_000.0] * minutes}))
    assert words in html
    assert "<svg" not in html

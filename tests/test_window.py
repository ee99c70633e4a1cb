"""The window of newest bars equals the end of a plain list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.bars import Bar
from market.window import BarWindow


def bar(minute: int, salt: float = 0.0) -> Bar:
    return Bar("NVDA", minute, minute + 0.1, minute + 0.4, minute - 0.5, minute + 0.2, minute * 10.0 + salt)


def test_a_new_window_is_empty() -> None:
    window = BarWindow(3)
    assert len(window) == window.last_minute == 0
    assert window.minutes.shape == (0,)
    assert window.values.shape == (5, 0)


def test_values_are_open_high_low_close_and_volume() -> None:
    window = BarWindow(3)
    window.put(Bar("NVDA", 7, 1.0, 4.0, 0.5, 2.0, 900.0))
    assert window.values[:, -1].tolist() == [1.0, 4.0, 0.5, 2.0, 900.0]
    assert window.minutes.tolist() == [7]


def test_a_bar_for_a_minute_that_is_there_is_its_last_word() -> None:
    window = BarWindow(3)
    for known in (bar(5), bar(6), bar(6, salt=1.0), bar(5, salt=2.0)):
        window.put(known)
    assert window.minutes.tolist() == [5, 6]
    assert window.values[4].tolist() == [52.0, 61.0]
    assert window.last_minute == 6


def test_a_late_bar_is_put_in_its_place_and_one_older_than_a_full_window_is_passed_over() -> None:
    window = BarWindow(3)
    for late in (bar(5), bar(8), bar(6)):
        window.put(late)
    assert window.minutes.tolist() == [5, 6, 8]
    window.put(bar(4))
    assert window.minutes.tolist() == [5, 6, 8]
    window.put(bar(7))
    assert window.minutes.tolist() == [6, 7, 8]
    assert window.values[4].tolist() == [60.0, 70.0, 80.0]


@given(bars=st.integers(1, 9), steps=st.lists(st.integers(-4, 5), max_size=120))
@settings(max_examples=300)
def test_after_any_bars_the_window_is_the_end_of_a_plain_table(bars: int, steps: list[int]) -> None:
    window = BarWindow(bars)
    plain: dict[int, Bar] = {}
    minute = 10
    for salt, step in enumerate(steps):
        minute = max(minute + step, 1)
        window.put(bar(minute, salt))
        plain[minute] = bar(minute, salt)
        newest = [plain[m] for m in sorted(plain)[-bars:]]
        assert len(window) == len(newest)
        assert window.last_minute == newest[-1].minute
        assert window.minutes.tolist() == [b.minute for b in newest]
        assert window.values.T.tolist() == [list(b[2:]) for b in newest]


@pytest.mark.parametrize("bars", [1, 2, 500])
def test_a_long_run_keeps_the_newest_bars_and_no_more_room_than_at_the_start(bars: int) -> None:
    window = BarWindow(bars)
    room = window._values.nbytes
    for minute in range(1, 5001):
        window.put(bar(minute))
    assert window.minutes.tolist() == list(range(5001 - bars, 5001))
    assert np.array_equal(window.values[4], np.arange(5001 - bars, 5001) * 10.0)
    assert window._values.nbytes == room

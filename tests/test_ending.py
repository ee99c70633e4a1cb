"""Ctrl-C and SIGTERM end a run between two steps, and a second one at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from ending import Ending, Terminated


@pytest.fixture
def ending() -> Iterator[Ending]:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    result = Ending()
    result.listen()
    yield result
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_outside_of_a_step_it_ends_at_once(ending: Ending) -> None:
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    with pytest.raises(Terminated):
        send(signal.SIGTERM)


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_step_is_brought_to_its_end_first(ending: Ending, number: signal.Signals, kind: type[BaseException]) -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt) as caught, ending.finishing():  # noqa: PT012
        send(number)
        steps.append("done")
    assert steps == ["done"]
    assert caught.type is kind


def test_a_second_signal_does_not_wait(ending: Ending) -> None:
    steps = []
    with pytest.raises(Terminated), ending.finishing():  # noqa: PT012
        send(signal.SIGINT)
        steps.append("first")
        send(signal.SIGTERM)
        steps.append("second")
    assert steps == ["first"]


def test_what_goes_wrong_in_a_step_is_not_hidden_by_a_signal(ending: Ending) -> None:
    with pytest.raises(ValueError, match="the step's own"), ending.finishing():  # noqa: PT012
        send(signal.SIGINT)
        raise ValueError("the step's own")


def test_a_step_without_a_signal_goes_on(ending: Ending) -> None:
    with ending.finishing():
        pass
    with ending.finishing():
        pass

"""The net itself is tested: each planted defect is caught, by what was meant to catch it, and nothing else is."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.defects import PROVED, SIMULATED, Defect, hunt
from tests.simulation.run import run_session


@pytest.fixture(autouse=True)
def quick_crashes() -> Iterator[None]:
    """Each crash collects what it left, and need not look at all that the tests have imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("defect", SIMULATED, ids=lambda defect: defect.name.replace(" ", "-"))
def test_a_planted_defect_is_caught_by_its_oracle(monkeypatch: pytest.MonkeyPatch, defect: Defect) -> None:
    defect.plant(monkeypatch)
    assert hunt(defect) is not None


@pytest.mark.parametrize("defect", SIMULATED, ids=lambda defect: defect.name.replace(" ", "-"))
def test_without_the_defect_its_first_session_holds(defect: Defect) -> None:
    assert run_session(defect.seeds[0], rates=defect.faults).violation is None


@pytest.mark.parametrize(("plant", "prove", "words"), PROVED)
def test_a_planted_defect_is_proved(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    plant: Callable[[pytest.MonkeyPatch], None],
    prove: Callable[[Path], str | None],
    words: str,
) -> None:
    for folder in ("mended", "defect"):
        (tmp_path / folder).mkdir()
    assert prove(tmp_path / "mended") is None
    plant(monkeypatch)
    assert re.search(words, prove(tmp_path / "defect") or "")


def test_there_are_enough_defects_each_with_a_sentence() -> None:
    plants = [*(defect.plant for defect in SIMULATED), *(plant for plant, _, _ in PROVED)]
    assert len(plants) >= 12
    assert all((plant.__doc__ or "").endswith(".") for plant in plants)

"""The ten-minute checklist for the real service, tried on the stand-in: it finds, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alpaca_live import VirtualTime, keys_of
from standin import StandIn
from trading import settings_in

from alpaca_wire import Unreachable
from benchmarks.real_service import Probe
from config import BadSetting
from sources import open_wire

NOW = "2026-03-02T15:00:03Z"


@pytest.fixture(scope="module")
def running(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars, now=NOW) as standin:
        yield standin


@pytest.fixture
def standin(running: StandIn) -> Iterator[StandIn]:
    running.reset(NOW)
    running.settings(rate_limit=None, partial_share=0.0, cancel_lag_seconds=2, positions_lag_seconds=3)
    yield running
    running.clear_faults()


def probe(standin: StandIn, tmp_path: Path) -> Probe:
    settings = settings_in(tmp_path, **keys_of(standin))
    time = VirtualTime(standin, ())
    return Probe(settings, open_wire(settings, time.wait, time.monotonic), time.now, time.wait)


def test_it_finds_how_late_a_bar_is_and_that_it_is_restated(standin: StandIn, tmp_path: Path) -> None:
    standin.settings(bar_delay_seconds=4, variants={"restate": True})
    found = dict(probe(standin, tmp_path).market())
    assert "there 4" in found["bar of the last minute"]
    assert found["the same bar 40 s later"] == "restated: c, v"
    assert "last updated 2026-03-02T15:01" in found["most-active list"]


def test_a_bar_that_does_not_come_is_said(standin: StandIn, tmp_path: Path) -> None:
    standin.settings(bar_delay_seconds=1000)
    assert "not there after" in dict(probe(standin, tmp_path).market())["bar of the last minute"]


@pytest.mark.parametrize("replaceable", [True, False])
def test_a_bracket_of_one_share_answers_what_is_unsure_and_leaves_nothing(
    standin: StandIn, tmp_path: Path, replaceable: bool
) -> None:
    standin.settings(variants={"leg_replace_allowed_while_held": replaceable})
    found = dict(probe(standin, tmp_path).orders("NKE"))
    assert found["the same client_order_id again"].startswith("422 40010001 client_order_id must be unique")
    assert found["a sale while the legs stand"].startswith("403 40310000 insufficient qty available")
    assert found["entry"].startswith("filled after 0.")
    assert found["replace the held stop leg"].startswith("accepted" if replaceable else "422")
    assert found["legs gone"] == "after 2.0 s"
    assert found["account afterwards"] == "0 shares of NKE"
    assert standin.positions() == {}


def test_the_share_is_sold_also_when_it_breaks_off(standin: StandIn, tmp_path: Path) -> None:
    asking = probe(standin, tmp_path).orders("NKE")
    for question, _ in asking:
        if question == "entry":
            break
    assert standin.positions()
    asking.close()  # as Ctrl-C would
    assert standin.positions() == {}


def test_a_symbol_in_which_something_is_held_is_refused(standin: StandIn, tmp_path: Path) -> None:
    first = probe(standin, tmp_path).orders("NKE")
    next(first)
    with pytest.raises(BadSetting, match="name another symbol"):
        list(probe(standin, tmp_path).orders("NKE"))
    first.close()


def test_beyond_the_limit_the_answer_is_shown(standin: StandIn, tmp_path: Path) -> None:
    standin.settings(rate_limit=20)
    settings = settings_in(tmp_path, **keys_of(standin))
    impatient = open_wire(settings, lambda seconds: None, lambda: 0.0, read_tries=1)
    ((_, finding),) = Probe(settings, impatient).flood()
    assert "429" in finding


def test_no_answer_is_an_error_with_words(standin: StandIn, tmp_path: Path) -> None:
    standin.fault("error", path="/v2/stocks", status=503, times=None)
    with pytest.raises(Unreachable, match="503"):
        list(probe(standin, tmp_path).market())

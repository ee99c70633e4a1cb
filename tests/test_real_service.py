"""The ten-minute checklist for the real service, tried on the stand-in: it finds, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alpaca.trading.requests import MarketOrderRequest
from alpaca_live import VirtualTime, keys_of
from standin import StandIn
from trading import settings_in

from alpaca_wire import Refused, Unreachable
from benchmarks.real_service import Probe, main
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
    assert "there 4" in found["the same from bars/latest"]
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
    assert found["the sale"].startswith("filled after 0.")
    assert found["account afterwards"] == "0 shares of NKE"
    left_flat(standin)


def left_flat(standin: StandIn) -> None:
    assert standin.positions() == {}
    assert {o["status"] for o in standin.orders()} <= {"filled", "canceled", "replaced", "expired", "rejected"}


def test_an_entry_that_does_not_fill_is_taken_back_and_nothing_is_sold(standin: StandIn, tmp_path: Path) -> None:
    standin.settings(fill_delay_seconds=3600)
    found = dict(probe(standin, tmp_path).orders("NKE"))
    assert found["entry"].startswith("pending_new after 15")
    assert "a sale while the legs stand" not in found
    assert standin.orders(side="sell", type="market") == []
    left_flat(standin)


def test_an_entry_that_fills_while_it_is_taken_back_is_sold(standin: StandIn, tmp_path: Path) -> None:
    standin.settings(fill_delay_seconds=3600)
    asking = probe(standin, tmp_path).orders("NKE")
    next(row for row in asking if row[0] == "entry")
    standin.settings(fill_delay_seconds=0.2)
    standin.fault("fill_on_cancel")
    list(asking)
    assert [o["status"] for o in standin.orders(side="sell", type="market")] == ["filled"]
    left_flat(standin)


def test_a_lost_answer_to_the_entry_or_to_the_sale_leaves_nothing(standin: StandIn, tmp_path: Path) -> None:
    standin.fault("error_after", method="POST", path="/v2/orders", status=504, times=1)
    with pytest.raises(Unreachable, match="504"):
        list(probe(standin, tmp_path).orders("NKE"))
    left_flat(standin)
    standin.fault("error_after", method="POST", path="/v2/orders", status=504, after=3, times=1)
    list(probe(standin, tmp_path).orders("GS"))
    assert len(standin.orders(symbol="GS", side="sell", type="market")) == 1
    left_flat(standin)


def test_an_outage_in_the_middle_is_outlasted(standin: StandIn, tmp_path: Path) -> None:
    asking = probe(standin, tmp_path).orders("NKE")
    next(row for row in asking if row[0] == "entry")
    standin.fault("error", path="/v2/", status=503, times=20)
    asking.close()
    left_flat(standin)


def test_an_outage_that_lasts_ends_with_what_to_do_by_hand(standin: StandIn, tmp_path: Path) -> None:
    asking = probe(standin, tmp_path).orders("NKE")
    next(row for row in asking if row[0] == "entry")
    standin.fault("error", path="/v2/", status=503, times=None)
    with pytest.raises(Unreachable, match="sell the share by hand"):
        asking.close()


def test_a_refused_entry_is_an_error_and_nothing_is_left(standin: StandIn, tmp_path: Path) -> None:
    standin.account(trading_blocked=True)
    with pytest.raises(Refused, match="restricted"):
        list(probe(standin, tmp_path).orders("NKE"))
    left_flat(standin)


@pytest.mark.parametrize("moment", ["entry", "legs gone"])
def test_ctrl_c_at_the_door_leaves_nothing(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    for name, value in keys_of(standin).items():
        monkeypatch.setenv(name, str(value))
    time = VirtualTime(standin, ())
    cancelled = "DELETE" if moment == "legs gone" else "POST"

    def press() -> bool:
        return bool(standin.requests("/v2/orders", cancelled)) and len(presses) < 2

    presses: list[float] = []
    code = main(["--buy", "NKE"], time.now, interrupted(time.wait, press, presses))
    assert code == 130
    assert len(presses) == 2  # the second one while it sells
    assert standin.orders(symbol="NKE", side="buy")
    left_flat(standin)


def interrupted(
    wait: Callable[[float], object], when: Callable[[], bool], presses: list[float]
) -> Callable[[float], object]:
    """Waiting in which a person presses Ctrl-C."""

    def waiting(seconds: float) -> None:
        if when():
            presses.append(seconds)
            raise KeyboardInterrupt
        wait(seconds)

    return waiting


def test_the_door_prints_what_it_found(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in keys_of(standin).items():
        monkeypatch.setenv(name, str(value))
    time = VirtualTime(standin, ())
    assert main(["--buy", "NKE"], time.now, time.wait) == 0
    printed = capsys.readouterr().out
    assert "shares free" in printed
    assert standin.KEY not in printed
    standin.keys("OTHERKEY00000000000", "othersecret000000000000000000")
    assert main([], time.now, time.wait) == 3
    standin.keys(standin.KEY, standin.SECRET)


def test_outside_the_session_nothing_is_bought(standin: StandIn, tmp_path: Path) -> None:
    standin.set_clock("2026-03-02T22:00:00Z")
    with pytest.raises(BadSetting, match="run it in the session"):
        list(probe(standin, tmp_path).orders("NKE"))
    assert standin.orders() == []


def test_shares_of_another_hand_are_never_touched(standin: StandIn, tmp_path: Path) -> None:
    trading = open_wire(settings_in(tmp_path, **keys_of(standin)), wait=standin.advance).trading
    trading.submit_order(MarketOrderRequest(symbol="GS", qty=3, side="buy", time_in_force="day"))
    standin.advance(10)
    with pytest.raises(BadSetting, match="name another symbol"):
        list(probe(standin, tmp_path).orders("GS"))
    list(probe(standin, tmp_path).orders("NKE"))
    assert {symbol: p["qty"] for symbol, p in standin.positions().items()} == {"GS": "3"}


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
    found = dict(Probe(settings, impatient).flood())
    assert found["beyond the limit"].startswith("request 21: GET /v2/clock: 429")
    assert found["its body"] == '429 application/json: {"message": "too many requests."}'
    assert "limit: 20" in found["its headers"].lower()


def test_no_answer_is_an_error_with_words(standin: StandIn, tmp_path: Path) -> None:
    standin.fault("error", path="/v2/stocks", status=503, times=None)
    with pytest.raises(Unreachable, match="503"):
        list(probe(standin, tmp_path).market())

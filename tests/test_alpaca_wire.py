"""The way to Alpaca: what is repeated and what never is, how long it may take, and what a message may hold."""

from __future__ import annotations

import logging
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alpaca.trading.requests import MarketOrderRequest
from standin import StandIn

import alpaca_wire
from alpaca_wire import REQUESTS_PER_MINUTE, RESERVED_FOR_EXITS, AlpacaWire, Budget, KeysRefused, Refused, Unreachable

ORDER = MarketOrderRequest(symbol="NVDA", qty=1, side="buy", time_in_force="day", client_order_id="one")


@pytest.fixture(scope="module")
def running(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    bars = shared_data / "us_equities_1min_31_sessions.parquet"
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars, now="2026-03-02T15:00:03Z") as standin:
        yield standin


@pytest.fixture
def standin(running: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setattr(alpaca_wire, "READ_SECONDS", 0.3)
    random.seed(0)
    running.reset("2026-03-02T15:00:03Z")
    return running


def wire(standin: StandIn, waits: list[float] | None = None) -> AlpacaWire:
    wait = (lambda seconds: None) if waits is None else waits.append
    return AlpacaWire(standin.KEY, standin.SECRET, standin.api, standin.api, wait=wait)


@pytest.mark.parametrize("fault", ["hang", "reset_before", "html_200", "empty_200", "truncated_json"])
def test_a_read_is_tried_again_after_a_pause(standin: StandIn, fault: str) -> None:
    waits: list[float] = []
    standin.fault(fault, path="/v2/account", times=2)
    assert wire(standin, waits).trading.get_account()["status"] == "ACTIVE"
    assert len(waits) == 2
    assert 0 < waits[0] <= 1 < 2 * 1 + 1
    assert waits[1] <= 2


def test_a_read_ends_after_four_tries(standin: StandIn) -> None:
    standin.fault("error", path="/v2/account", status=503, times=None)
    with pytest.raises(Unreachable, match="503"):
        wire(standin).trading.get_account()
    assert len(standin.requests("/v2/account")) == 4


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_order_is_sent_once_whatever_the_answer(standin: StandIn, status: int) -> None:
    standin.fault("error_after", method="POST", status=status, times=None)
    with pytest.raises((Unreachable, Refused)):
        wire(standin).trading.submit_order(ORDER)
    assert len(standin.requests("/v2/orders", "POST")) == 1


def test_a_definite_no_carries_its_code_and_what_the_service_adds(standin: StandIn) -> None:
    mine = wire(standin)
    mine.trading.submit_order(ORDER)
    with pytest.raises(Refused, match="unique") as again:
        mine.trading.submit_order(ORDER)
    assert (again.value.status, again.value.code) == (422, 40010001)
    with pytest.raises(Refused) as unknown:
        mine.trading.get_order_by_client_id("never")
    assert unknown.value.not_found
    assert len(standin.requests("/v2/orders:by_client_order_id")) == 1


def test_a_gateway_s_404_is_not_taken_for_the_service_s_word(standin: StandIn) -> None:
    standin.fault("error", path="/v2/orders:by_client", status=404, body="<html>not here</html>", times=None)
    with pytest.raises((Unreachable, Refused)) as error:
        wire(standin).trading.get_order_by_client_id("one")
    assert not getattr(error.value, "not_found", False)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_keys_are_one_clear_message_without_the_keys(standin: StandIn, status: int) -> None:
    standin.settings(variants={"unauthorized_status": status})
    standin.keys("OTHERKEY00000000000", "othersecret000000000000000000")
    with pytest.raises(KeysRefused, match="was reset, which makes new ones") as error:
        wire(standin).trading.get_account()
    assert standin.KEY not in str(error.value)
    standin.keys(standin.KEY, standin.SECRET)


def test_what_the_service_says_is_shown_as_one_printable_line_without_secrets(standin: StandIn) -> None:
    said = f"no\n\x1b[31m {standin.KEY} {standin.SECRET} " + "x" * 500
    standin.fault("error", path="/v2/account", status=400, body={"message": said})
    with pytest.raises(Refused) as error:
        wire(standin).trading.get_account()
    text = str(error.value)
    assert text.isprintable()
    assert len(text) < 250
    assert standin.KEY not in text
    assert standin.SECRET not in text


def test_no_secret_is_in_any_log_or_repr_whatever_fails(standin: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    mine = wire(standin)
    for fault in ("reset_before", "hang", "html_200", "error_after", "truncated_json"):
        standin.fault(fault, path="/v2/orders")
        try:
            mine.trading.submit_order(ORDER)
        except (Unreachable, Refused):
            logging.getLogger("test").exception("failed: %r", mine)
    assert "failed" in caplog.text
    assert standin.KEY not in caplog.text
    assert standin.SECRET not in caplog.text


@pytest.mark.parametrize(
    "url", ["https://api.alpaca.markets", "https://example.com", "http://paper-api.alpaca.markets.evil.test"]
)
def test_no_other_host_is_ever_asked(url: str) -> None:
    mine = AlpacaWire("K" * 20, "S" * 40, url, url, wait=lambda seconds: None)
    for ask in (mine.trading.get_account, lambda: mine.data.get("/stocks/bars"), lambda: mine.screener.get("/x")):
        with pytest.raises(Refused, match="nothing was sent"):
            ask()


@contextmanager
def dripping_server() -> Iterator[str]:
    """A server that sends a byte of its body every now and then, and never ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join(2)


def test_a_reply_that_drips_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpaca_wire, "DEADLINE_SECONDS", 0.4)
    with dripping_server() as url, pytest.raises(Unreachable, match="no answer"):
        AlpacaWire("K" * 20, "S" * 40, url, url, wait=lambda seconds: None).trading.get_account()


class Time:
    """Waiting makes time pass."""

    def __init__(self) -> None:
        self.at = 0.0

    def wait(self, seconds: float) -> None:
        self.at += seconds

    def monotonic(self) -> float:
        return self.at


def test_never_more_requests_in_a_minute_than_allowed_and_exits_have_their_own() -> None:
    time = Time()
    budget = Budget(time.wait, time.monotonic)
    for _ in range(REQUESTS_PER_MINUTE - RESERVED_FOR_EXITS):
        budget.take()
    assert time.at == 0
    budget.urgent = True
    for _ in range(RESERVED_FOR_EXITS):
        budget.take()
    assert time.at == 0  # exits did not wait
    budget.urgent = False
    sent = []
    for _ in range(500):
        budget.take()
        sent.append(time.at)
    assert all(sum(start <= at < start + 60 for at in sent) <= REQUESTS_PER_MINUTE for start in sent)
    assert 120 < time.at < 300


def test_a_thousand_requests_meet_no_429_of_a_service_that_counts(standin: StandIn) -> None:
    time = Time()
    mine = AlpacaWire(standin.KEY, standin.SECRET, standin.api, standin.api, time.wait, time.monotonic)
    standin.settings(rate_limit=REQUESTS_PER_MINUTE)
    for _ in range(REQUESTS_PER_MINUTE - RESERVED_FOR_EXITS):
        mine.trading.get_clock()
    assert time.at == 0
    assert {entry["status"] for entry in standin.requests("/v2/clock")} == {200}

"""Messages over real HTTP to a receiver on this machine that takes, refuses, fails or hangs; trading waits for none."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import pytest
from bookkeeping import BOUGHT, STOPPED, intent, local_time
from receiving import PATIENCE_SECONDS, TOKEN, Receiver

import check
import notify
from desk.books import Books
from market.hours import at_new_york
from notices import LISTED, Notice, trial
from notify import BURST, HEARTBEAT_MINUTES, BadAddress, Notifier, Outbox, Pulse, send_test

NOON = at_new_york(date(2026, 3, 2), "12:00")
SOON_SECONDS = 0.1  # no call of the trader's may take longer


def notice(words: str, kind: str = "bought", *, alarm: bool = False) -> Notice:
    return Notice(kind, f"title of {words}", words, alarm)


class FakeTime:
    """Seconds that pass when a test says so; who waits looks again every few real milliseconds."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        condition.wait(0.005)


@contextmanager
def notifying(*urls: str, timeout_seconds: float = 5.0) -> Iterator[tuple[Notifier, FakeTime]]:
    """A notifier on a time of the test's own, closed at the end."""
    fake = FakeTime()
    notifier = Notifier(urls, monotonic=fake.monotonic, wait=fake.wait)
    try:
        yield notifier, fake
    finally:
        notifier.close(timeout_seconds)


def eventually(happened: Callable[[], bool]) -> None:
    """Look again and again until it has happened."""
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, threading.Event()
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        pause.wait(0.005)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# --- what waits, and when it goes ------------------------------------------------------------------------------------


def drained(outbox: Outbox, now: float) -> list[str]:
    """The bodies of all that may go at `now`, each delivered."""
    bodies = []
    while (message := outbox.take(now)) is not None:
        bodies.append(message.body)
        outbox.settle(now, delivered=True)
    return bodies


def test_single_messages_go_at_once_and_alone() -> None:
    outbox = Outbox()
    for second in range(BURST):
        outbox.add(notice(f"{second}"))
        assert drained(outbox, float(second)) == [f"{second}"]
    assert outbox.due_in(10.0) is None


def test_beyond_a_burst_messages_wait_and_go_as_one_a_minute_after_its_first() -> None:
    outbox = Outbox()
    for second in range(BURST + 3):
        outbox.add(notice(f"{second}"))
        drained(outbox, float(second))
    assert outbox.due_in(8.0) == 52.0
    assert drained(outbox, 59.9) == []
    assert drained(outbox, 60.0) == ["6\n7\n8"]


def test_no_minute_sees_more_than_a_burst_whatever_comes() -> None:
    outbox, sent = Outbox(), []
    for second in range(600):
        outbox.add(notice(f"{second}"))
        sent += [second] * len(drained(outbox, float(second)))
    assert max(sum(at <= other < at + 60 for other in sent) for at in range(600)) == BURST


def test_more_at_once_than_a_burst_is_one_message() -> None:
    outbox = Outbox()
    for i in range(BURST + 1):
        outbox.add(notice(f"{i}"))
    assert drained(outbox, 0.0) == ["\n".join("0123456")]


def test_of_very_many_the_newest_are_spelt_out_and_the_others_counted() -> None:
    outbox = Outbox()
    for i in range(1000):
        outbox.add(notice(f"{i}", "sold" if i % 4 == 0 else "bought"))
    (body,) = drained(outbox, 0.0)
    *lines, last = body.split("\n")
    assert lines == [f"{i}" for i in range(990, 1000)]
    assert last == "and 990 more: 248 sold, 742 bought"


def test_what_was_not_delivered_waits_longer_each_time_and_goes_with_what_came_since() -> None:
    outbox, now, pauses = Outbox(), 0.0, []
    for failure in range(9):
        outbox.add(notice(f"{failure}"))
        assert outbox.take(now) is not None
        outbox.settle(now, delivered=False)
        pauses.append(outbox.due_in(now))
        assert outbox.take(now + pauses[-1] - 1) is None
        now += pauses[-1]
    assert pauses == [60, 120, 240, 480, 960, 1920, 3840, 3840, 3840]
    assert drained(outbox, now) == ["\n".join("012345678")]
    assert outbox.failures == 0


def test_what_came_while_a_failing_message_was_under_way_stands_after_it() -> None:
    outbox = Outbox()
    outbox.add(notice("under way"))
    outbox.take(0.0)
    outbox.add(notice("came since"))
    outbox.settle(0.0, delivered=False)
    assert drained(outbox, 60.0) == ["under way\ncame since"]


def test_years_of_failures_do_not_end_it() -> None:
    outbox, now = Outbox(), 0.0
    outbox.add(notice("x"))
    for _ in range(3000):
        now += outbox.due_in(now)
        outbox.take(now)
        outbox.settle(now, delivered=False)
    assert drained(outbox, now + 3840) == ["x"]


def test_nothing_is_lost_without_being_counted_whatever_fails() -> None:
    outbox, heard, now = Outbox(), 0, 0.0
    for i in range(200):
        outbox.add(notice(f"{i}"))
        now += 13.0
        if (message := outbox.take(now)) is not None:
            outbox.add(notice("while it was under way", "sold"))
            delivered = i > 150
            outbox.settle(now, delivered=delivered)
            counted = int(message.title.split()[0]) if "message" in message.title else 1
            heard += counted if delivered else 0
        else:
            outbox.add(notice("meanwhile", "sold"))
    assert heard + outbox.undelivered().total() == 400


def test_at_the_end_all_goes_at_once_in_one() -> None:
    outbox = Outbox()
    outbox.add(notice("failed"))
    outbox.take(0.0)
    outbox.settle(0.0, delivered=False)
    outbox.add(notice("stopped"))
    assert outbox.take(1.0) is None
    message = outbox.take(1.0, at_once=True)
    assert message is not None
    assert message.body == "failed\nstopped"


def test_at_the_end_two_go_as_one_even_where_each_could_go_alone() -> None:
    outbox = Outbox()
    outbox.add(notice("sold"))
    outbox.add(notice("stopped"))
    message = outbox.take(0.0, at_once=True)
    assert message is not None
    assert message.body == "sold\nstopped"


# --- a heartbeat -----------------------------------------------------------------------------------------------------


def test_a_missed_heartbeat_is_said_once_and_so_is_its_return() -> None:
    pulse = Pulse(900.0)
    assert pulse.look(5000.0) is None, "before the first beat nothing is awaited"
    assert pulse.beat(NOON, 0.0) is None
    assert pulse.due_in(100.0) == 800.0
    assert pulse.look(899.0) is None
    missed = pulse.look(900.0)
    assert missed is not None
    assert "since 2026-03-02 12:00" in missed.body
    assert pulse.look(2000.0) is None
    assert pulse.due_in(2000.0) is None
    back = pulse.beat(NOON + timedelta(minutes=40), 2400.0)
    assert back is not None
    assert back.body.startswith("2026-03-02 12:40  alive again; there was no minute since 2026-03-02 12:00")
    assert pulse.beat(NOON + timedelta(minutes=41), 2460.0) is None


def test_the_notifier_watches_the_loop_while_nothing_else_happens(receiver: Receiver) -> None:
    with notifying(receiver.url) as (notifier, fake):
        minutes = notifier.watched(NOON + timedelta(minutes=i) for i in (0, 1, 40))
        next(minutes)
        fake.seconds += 60
        assert next(minutes) == NOON + timedelta(minutes=1)
        fake.seconds += HEARTBEAT_MINUTES * 60
        receiver.await_asked(1)
        assert receiver.bodies[0].startswith("no sign of life since 2026-03-02 12:01")
        next(minutes)
        receiver.await_asked(2)
        assert receiver.bodies[1].startswith("2026-03-02 12:40  alive again")


# --- over the network ------------------------------------------------------------------------------------------------


def test_a_notice_arrives_with_title_and_kind(receiver: Receiver) -> None:
    with notifying(receiver.url) as (notifier, _):
        notifier.tell(notice("5 < 6 & *so*", alarm=True))
        receiver.await_asked(1)
    message = receiver.taken[0]
    assert (message["title"], message["message"]) == ("title of 5 < 6 & *so*", "5 < 6 & *so*")
    assert message["type"] == "warning"


def test_events_worth_a_message_arrive_in_order_and_others_do_not(receiver: Receiver) -> None:
    books = Books(local_time)
    with notifying(receiver.url) as (notifier, _):
        for count, event in enumerate([intent(), BOUGHT, STOPPED]):
            books.apply(event)
            notifier.hear(event, books)
            receiver.await_asked(count)
    assert [body[18:26] for body in receiver.bodies] == ["bought 5", "sold 5 N"]


def test_each_address_is_told(receiver: Receiver) -> None:
    other = Receiver()
    with notifying(receiver.url, other.url) as (notifier, _):
        notifier.tell(notice("x"))
    other.end()
    assert receiver.bodies == other.bodies == ["x"]


def test_an_address_that_hangs_keeps_back_no_other(receiver: Receiver) -> None:
    hanging = Receiver()
    hanging.answer = None
    slow = hanging.url.replace("rto=0.3", "rto=20")
    with notifying(slow, receiver.url, timeout_seconds=0.1) as (notifier, _):
        notifier.tell(notice("first"))
        hanging.await_asked(1)
        receiver.await_asked(1)
        notifier.tell(notice("second"))
        receiver.await_asked(2)
    hanging.end()
    assert receiver.bodies == ["first", "second"]


def test_an_event_without_words_stops_nothing(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    with notifying(receiver.url) as (notifier, _):
        notifier.hear({"n": 17, "kind": "halt"}, Books(local_time))
        notifier.tell(notice("x"))
    assert "no words for event 17" in caplog.text
    assert receiver.bodies == ["x"]


@pytest.mark.parametrize("answer", [500, 404, None])
def test_a_failing_or_hanging_address_is_logged_once_and_so_is_its_healing(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, answer: int | None
) -> None:
    receiver.answer = answer
    with notifying(receiver.url) as (notifier, fake):
        notifier.tell(notice("1"))
        for attempt in range(1, 4):
            eventually(lambda attempt=attempt: notifier._outboxes[0].failures == attempt)
            notifier.tell(notice(f"{attempt + 1}"))
            receiver.answer = answer if attempt < 3 else 200
            fake.seconds += 60 * 2 ** (attempt - 1)
        receiver.await_asked(4)
        eventually(lambda: notifier._outboxes[0].failures == 0)
    assert [record.message for record in caplog.records] == [
        "NOTIFY_URLS: address 1 (JSON) takes no message; trading goes on, messages wait",
        "NOTIFY_URLS: address 1 (JSON) takes messages again; 3 attempts failed",
    ]
    assert receiver.bodies == ["1\n2\n3\n4"]


def test_nobody_listening_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with notifying(f"json://127.0.0.1:{closed_port()}/{TOKEN}") as (notifier, fake):
        for _ in range(3):
            notifier.tell(notice("x"))
            eventually(lambda: notifier._outboxes[0].failures > 0)
            fake.seconds += 4000
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "NOTIFY_URLS: address 1 (JSON) takes no message",
        "NOTIFY_URLS: 3 messages did not reach address 1: 3 bought",
    ]


def test_thousands_of_notices_return_at_once_while_nothing_is_taken(receiver: Receiver) -> None:
    receiver.answer = None
    with notifying(receiver.url, timeout_seconds=0.1) as (notifier, _):
        slowest = 0.0
        for i in range(5000):
            started = time.monotonic()
            notifier.tell(notice(f"{i}"))
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < SOON_SECONDS
        assert notifier._outboxes[0].undelivered() == Counter(bought=5000)
        assert len(notifier._outboxes[0]._waiting) <= LISTED


def test_closing_sends_what_the_throttle_kept_back(receiver: Receiver) -> None:
    with notifying(receiver.url) as (notifier, _):
        for i in range(BURST):
            notifier.tell(notice(f"{i}"))
            receiver.await_asked(i + 1)
        notifier.tell(notice("kept back"))
        notifier.tell(notice("stopped"))
    assert receiver.bodies == [*"012345", "kept back\nstopped"]


def test_closing_takes_no_longer_than_it_may_and_counts_what_is_lost(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = None
    notifier = Notifier([receiver.url.replace("rto=0.3", "rto=30")])
    notifier.tell(notice("x"))
    receiver.await_asked(1)
    notifier.tell(notice("y", "stop"))
    started = time.monotonic()
    notifier.close(0.2)
    assert time.monotonic() - started < 1.0
    assert "2 messages did not reach address 1: 1 bought, 1 stop" in caplog.text


def test_without_addresses_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    with notifying() as (notifier, _):
        notifier.tell(notice("x"))
        notifier.hear({"n": 1, "kind": "halt"}, Books(local_time))
        assert list(notifier.watched([NOON])) == [NOON]
        assert threading.active_count() == before
    assert caplog.text == ""


def test_the_threads_do_not_outlive_the_process(receiver: Receiver) -> None:
    with notifying(receiver.url) as (notifier, _):
        assert all(thread.daemon for thread in notifier._threads)
        threads = threading.enumerate()
        notifier.tell(notice("x"))
        receiver.await_asked(1)
        eventually(lambda: {t.name for t in threading.enumerate() if not t.daemon} <= {t.name for t in threads})


# --- tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [200, 500, None])
def test_no_token_is_logged_at_any_level(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], answer: int | None
) -> None:
    caplog.set_level(1)
    receiver.answer = answer
    refusing = f"json://user:{TOKEN}@127.0.0.1:{closed_port()}/{TOKEN}"
    with notifying(receiver.url, refusing) as (notifier, _):
        notifier.tell(notice("x"))
        receiver.await_asked(1)
    send_test([receiver.url, refusing], trial(NOON), 1.0)
    assert "NOTIFY_URLS" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in repr([record.__dict__ for record in caplog.records])
    assert TOKEN not in "".join(capfd.readouterr())


def test_other_threads_log_as_before(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with notifying(receiver.url):
        logging.getLogger("urllib3.connectionpool").debug("of the way to Alpaca")
    assert "of the way to Alpaca" in caplog.text


@pytest.mark.parametrize("bad", [f"tgram://{TOKEN}", f"telegrm://{TOKEN}/1", TOKEN, "", f"http://[{TOKEN}"])
def test_an_address_that_apprise_cannot_use_is_named_by_its_position_and_not_shown(
    bad: str, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    urls = [receiver.url, bad]
    for opens in (Notifier, lambda addresses: send_test(addresses, trial(NOON), 1.0)):
        with pytest.raises(BadAddress, match=r"^NOTIFY_URLS: address 2 of 2 .* none that apprise can use") as error:
            opens(urls)
        assert TOKEN not in str(error.value)
        assert "\n" not in str(error.value)
    assert TOKEN not in caplog.text
    assert receiver.asked == 0


def test_good_addresses_are_checked_without_a_message(receiver: Receiver) -> None:
    Notifier([receiver.url]).close()
    assert receiver.asked == 0


# --- the test message ------------------------------------------------------------------------------------------------


def test_a_test_message_tells_which_address_took_it_and_waits_for_none_too_long(receiver: Receiver) -> None:
    hanging = Receiver()
    hanging.answer = None
    urls = [f"json://127.0.0.1:{closed_port()}/", receiver.url, hanging.url.replace("rto=0.3", "rto=30")]
    started = time.monotonic()
    took = send_test(urls, trial(NOON), 1.0)
    assert time.monotonic() - started < 2.0
    hanging.end()
    assert took == [("address 1 (JSON)", False), ("address 2 (JSON)", True), ("address 3 (JSON)", False)]
    assert receiver.bodies == ["2026-03-02 12:00  messages of the paper trader arrive here"]
    assert receiver.taken[0]["title"] == "test message"


def test_a_test_message_waits_as_long_as_apprise_does() -> None:
    service = notify.apprise.NotifyBase
    assert service.socket_connect_timeout + service.socket_read_timeout < check.MESSAGE_SECONDS

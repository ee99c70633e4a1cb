"""Messages to a person's phone, by apprise, to the addresses in NOTIFY_URLS. Whatever becomes of them, trading goes on.

Each address has a thread and an Outbox of its own, so that one that hangs keeps back no other. Addresses hold tokens:
none is ever shown, they are named by their position and service, and whatever apprise and the libraries below it log
in these threads is dropped. A process that is dead sends nothing; a trading loop that hangs in a living one is noticed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

import apprise

from desk.books import Books
from desk.journal import Event
from display.figures import listed, plural
from notices import LISTED, Notice, alive, gathered, notice_of, silent

log = logging.getLogger(__name__)

BURST, BURST_SECONDS = 6, 60.0  # messages at most in any such span; what is beyond waits and goes as one
RETRY_SECONDS, DOUBLINGS = 60.0, 6  # after a failure; each further one doubles the pause, up to an hour or so
HEARTBEAT_MINUTES = 15  # without a minute begun; an evening's data set takes some of them
CLOSE_SECONDS = 8.0  # some of apprise's services keep 5.5 s between two messages
THREAD = "notify"  # begins the names of the threads in which apprise works
FORMS = "such as tgram://TOKEN/CHAT, ntfy://TOPIC or mailto://USER:PASSWORD@HOST; all: github.com/caronc/apprise"


class BadAddress(ValueError):
    """An address that apprise cannot use; the message names its position and never shows it."""


class Outbox:
    """What one address is still to be told, and when. Pure: `now` is monotonic seconds.

    The newest LISTED wait as they are, older ones as a count of their kinds. While an address fails all wait, and go
    as one when it is tried again: a message may arrive twice where a service took it and did not say so.
    """

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self._waiting: deque[Notice] = deque()
        self._more: Counter[str] = Counter()
        self._taken: tuple[list[Notice], Counter[str]] = [], Counter()  # under way
        self._sent: deque[float] = deque(maxlen=BURST)  # when the newest were
        self._not_before = float("-inf")

    def add(self, notice: Notice) -> None:
        """Let a notice wait."""
        self._waiting.append(notice)
        while len(self._waiting) > LISTED:
            self._more[self._waiting.popleft().kind] += 1

    def take(self, now: float, *, at_once: bool = False) -> Notice | None:
        """The message that is due, of which `settle` hears what became; `at_once`: all that waits, in one, now."""
        due = self.due_in(now)
        if due is None or (due > 0 and not at_once):
            return None
        free = BURST - sum(sent > now - BURST_SECONDS for sent in self._sent)
        together = len(self._waiting) > 1 and (at_once or self.failures > 0 or len(self._waiting) > free)
        if not (together or self._more):
            self._taken = [self._waiting.popleft()], Counter()
            return self._taken[0][0]
        self._taken = list(self._waiting), self._more
        self._waiting, self._more = deque(), Counter()
        return gathered(*self._taken)

    def settle(self, now: float, *, delivered: bool) -> None:
        """What was taken has arrived, or waits again."""
        notices, more = self._taken
        self._taken = [], Counter()
        if delivered:
            self.failures = 0
            self._sent.append(now)
            return
        self._not_before = now + RETRY_SECONDS * 2 ** min(self.failures, DOUBLINGS)
        self.failures += 1
        newer, self._waiting = self._waiting, deque()
        self._more += more
        for notice in (*notices, *newer):
            self.add(notice)

    def due_in(self, now: float) -> float | None:
        """Seconds until something may go; None: nothing waits."""
        if not (self._waiting or self._more):
            return None
        burst_over = self._sent[0] + BURST_SECONDS if len(self._sent) == BURST else now
        return max(burst_over - now, self._not_before - now if self.failures else 0.0, 0.0)

    def undelivered(self) -> Counter[str]:
        """Kinds of the notices that have not arrived, counted."""
        notices, more = self._taken
        return self._more + more + Counter(notice.kind for notice in (*notices, *self._waiting))


class Pulse:
    """Whether the trading loop still begins minutes. Pure: `at` is monotonic seconds, which a suspended machine does
    not count."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._last: tuple[datetime, float] | None = None
        self._missed = False

    def beat(self, now: datetime, at: float) -> Notice | None:
        """The minute `now` has begun; what there is to say if it was missed."""
        last, missed = self._last, self._missed
        self._last, self._missed = (now, at), False
        return alive(last[0], now) if missed and last is not None else None

    def look(self, at: float) -> Notice | None:
        """What there is to say, once, if no minute has begun for too long."""
        if self._last is None or self._missed or at - self._last[1] < self._limit:
            return None
        self._missed = True
        return silent(self._last[0])

    def due_in(self, at: float) -> float | None:
        """Seconds until silence would be too long; None: nothing to wait for."""
        return None if self._last is None or self._missed else max(self._last[1] + self._limit - at, 0.0)


class Notifier:
    """Tells every address what happens. Its methods return at once and raise nothing, whatever the network does.

    Args: `urls` of apprise, none: nobody is told; `monotonic` seconds, and `wait` for a condition to change, at most so
    many seconds (None: without end), are arguments so that a test can hand in its own time. Raises BadAddress.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait,
    ) -> None:
        self._monotonic, self._wait = monotonic, wait
        self._pulse = Pulse(HEARTBEAT_MINUTES * 60)
        self._changed = threading.Condition()  # held for moments only, never while a message is on its way
        self._closing = False
        self._outboxes: list[Outbox] = []
        self._threads: list[threading.Thread] = []
        for address in _addresses(urls):
            self._outboxes.append(Outbox())
            self._threads.append(_thread(self._deliver, address, self._outboxes[-1]))

    def hear(self, event: Event, books: Books) -> None:
        """Tell of a journal event that `books` have taken in, if it is worth a message."""
        if not self._outboxes:
            return
        try:
            notice = notice_of(event, books)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ):  # no message is worth a trading minute
            log.exception("no words for event %s of the journal", event.get("n"))
        else:
            if notice is not None:
                self.tell(notice)

    def tell(self, notice: Notice) -> None:
        """Let a notice go out as soon as may be."""
        with self._changed:
            self._put(notice)

    def beat(self, now: datetime) -> None:
        """The trading loop has begun the minute `now`; the first call starts the watch over it."""
        with self._changed:
            again = self._pulse.beat(now, self._monotonic())
            if again is not None:
                self._put(again)

    def watched(self, minutes: Iterable[datetime]) -> Iterator[datetime]:
        """These minutes, with a `beat` as each begins."""
        for now in minutes:
            self.beat(now)
            yield now

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Send what waits, in one message to each address, and end; the log counts what has not arrived by then."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        _join(self._threads, timeout_seconds)
        for number, outbox in enumerate(self._outboxes, 1):
            with self._changed:
                lost = outbox.undelivered()
            if lost:
                count = plural(lost.total(), "message")
                log.warning("NOTIFY_URLS: %s did not reach address %d: %s", count, number, listed(lost))

    def _put(self, notice: Notice) -> None:
        for outbox in self._outboxes:
            outbox.add(notice)
        self._changed.notify_all()

    def _deliver(self, address: _Address, outbox: Outbox) -> None:
        last = False
        while not last:
            notice, last = self._next(outbox)
            if notice is None:
                continue
            before, delivered = outbox.failures, address.send(notice)
            with self._changed:
                outbox.settle(self._monotonic(), delivered=delivered)
            if not delivered and not before:
                log.warning("NOTIFY_URLS: %s takes no message; trading goes on, messages wait", address)
            elif delivered and before:
                log.warning("NOTIFY_URLS: %s takes messages again; %s failed", address, plural(before, "attempt"))

    def _next(self, outbox: Outbox) -> tuple[Notice | None, bool]:
        """The next message for an address, and whether it is the last."""
        with self._changed:
            while True:
                now = self._monotonic()
                missed = self._pulse.look(now)
                if missed is not None:
                    self._put(missed)
                notice = outbox.take(now, at_once=self._closing)
                if notice is not None or self._closing:
                    return notice, self._closing
                due = [seconds for seconds in (outbox.due_in(now), self._pulse.due_in(now)) if seconds is not None]
                self._wait(self._changed, min(due, default=None))


def send_test(urls: Sequence[str], notice: Notice, patience_seconds: float) -> list[tuple[str, bool]]:
    """Send `notice` to all addresses at once: each one's name, and whether it took it in time. Raises BadAddress."""
    addresses = _addresses(urls)
    took = [False] * len(addresses)

    def send(index: int) -> None:
        took[index] = addresses[index].send(notice)

    _join([_thread(send, index) for index in range(len(addresses))], patience_seconds)
    return [(str(address), ok) for address, ok in zip(addresses, list(took), strict=True)]


class _Address:
    """One service of apprise's, named by its position in NOTIFY_URLS."""

    def __init__(self, number: int, service: apprise.NotifyBase) -> None:
        self._name = f"address {number} ({service.service_name})"
        self._apprise = apprise.Apprise(asset=service.asset)
        self._apprise.add(service)

    def __str__(self) -> str:
        return self._name

    def send(self, notice: Notice) -> bool:
        """Whether the service took it; apprise turns every error into False."""
        kind = apprise.NotifyType.WARNING if notice.alarm else apprise.NotifyType.INFO
        text = apprise.NotifyFormat.TEXT
        return bool(self._apprise.notify(notice.body, notice.title, notify_type=kind, body_format=text))


def _addresses(urls: Sequence[str]) -> list[_Address]:
    _silence()
    # Without a limit of its own apprise works in the calling thread; its pool would hold up the end of the process.
    asset = apprise.AppriseAsset(app_id="paper trader", async_mode=False, service_timeout=0, storage_mode="memory")
    services = [apprise.Apprise.instantiate(url, asset=asset) for url in urls]
    for number, service in enumerate(services, 1):
        if service is None:
            which = f"NOTIFY_URLS: address {number} of {len(urls)} (not shown, it may hold a token)"
            raise BadAddress(f"{which} is none that apprise can use; mend it, {FORMS}")
    return [_Address(number, service) for number, service in enumerate(services, 1) if service is not None]


def _silence() -> None:
    """Let nothing be logged that may hold an address: apprise logs them, and urllib3 their paths."""
    logging.getLogger("apprise").disabled = True
    for handler in logging.getLogger().handlers:
        handler.addFilter(_not_from_below)  # twice is once


def _not_from_below(record: logging.LogRecord) -> bool:
    return record.name == __name__ or not (record.threadName or "").startswith(THREAD)


def _thread(work: Callable[..., None], *arguments: object) -> threading.Thread:
    """A started thread that ends with the process, whatever it is waiting for."""
    thread = threading.Thread(target=work, args=arguments, name=f"{THREAD} {work.__name__}", daemon=True)
    thread.start()
    return thread


def _join(threads: Sequence[threading.Thread], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))

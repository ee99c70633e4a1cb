"""The way to Alpaca: alpaca-py's clients, with the manners that they lack and one tree of errors.

    AlpacaError
    |-- KeysRefused    the keys are wrong or no longer valid: nothing will work until a person acts
    |-- Refused        a definite no: the request was understood and not carried out
    '-- Unreachable    no answer that can be used: whether an order was booked is not known, look it up

alpaca-py 0.44 has no timeout, repeats a POST after a 504 and reports a broken reply in four different ways. Here every
request goes through one transport adapter: connect and read timeouts, a deadline over all tries, reads repeated with
full jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015), nothing else ever repeated, a request budget below
Alpaca's 200 a minute, paper and data hosts or loopback only. Clients hand back plain JSON (`raw_data`): its models
drop new fields, fail on missing ones and take five times as long.
"""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from alpaca.data.historical.screener import ScreenerClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.trading.client import TradingClient
from requests.adapters import HTTPAdapter

log = logging.getLogger(__name__)

HOSTS = frozenset({"paper-api.alpaca.markets", "data.alpaca.markets", "127.0.0.1", "localhost", "::1"})
CONNECT_SECONDS, READ_SECONDS, DEADLINE_SECONDS = 3.0, 10.0, 25.0
READ_TRIES = 4
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.5, 8.0
REQUESTS_PER_MINUTE = 190  # Alpaca allows 200 a minute and key, for trading and for data each
RESERVED_FOR_EXITS = 40
MAX_REPLY_BYTES = 50_000_000


class AlpacaError(RuntimeError):
    """What went wrong on the way to Alpaca; see the tree in this module's docstring."""


class KeysRefused(AlpacaError):
    """Alpaca does not accept the keys; the message ends with the cure."""


class Unreachable(AlpacaError):
    """No answer that can be used. An order that was on its way may have been booked."""


class Refused(AlpacaError):
    """A definite no. `status` is HTTP's (0: refused here, and nothing was sent), `code` Alpaca's (None where it gives
    none), `extras` the rest of the body."""

    def __init__(self, status: int, body: Mapping[str, Any], words: str) -> None:
        super().__init__(words)
        self.status = status
        self.code = body.get("code")
        self.message = str(body.get("message", ""))
        self.extras = {name: value for name, value in body.items() if name not in ("code", "message")}

    @property
    def not_found(self) -> bool:
        """Whether the service itself, and not a gateway, says that there is no such thing."""
        return self.status == 404 and self.code == 40410000


@dataclass
class Budget:
    """Requests of the last minute to one service. `urgent` ones may use what is reserved for exits."""

    wait: Callable[[float], object]
    monotonic: Callable[[], float]
    urgent: bool = False
    _sent: deque[float] = field(default_factory=deque)

    def take(self) -> None:
        """Count one request; waits while the minute is used up."""
        limit = REQUESTS_PER_MINUTE - (0 if self.urgent else RESERVED_FOR_EXITS)
        while True:
            now = self.monotonic()
            while self._sent and self._sent[0] <= now - 60:
                self._sent.popleft()
            if len(self._sent) < limit:
                self._sent.append(now)
                return
            self.wait(self._sent[len(self._sent) - limit] + 60 - now + 0.01)


class PoliteAdapter(HTTPAdapter):
    """Sends one request as Alpaca's guest; returns a reply that holds JSON, or raises an AlpacaError.

    Args: `secrets` never appear in a message; `budget` counts every try.
    """

    def __init__(self, budget: Budget, secrets: tuple[str, ...], read_tries: int, patience: float | None) -> None:
        super().__init__(pool_maxsize=1)
        self._read_tries, self._patience = read_tries, patience
        self._budget = budget
        self._secrets = secrets

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """Deliver `request`; a GET is tried again until the deadline, anything else once."""
        what = f"{request.method} {urlsplit(request.url or '').path}"
        host = urlsplit(request.url or "").hostname
        if host not in HOSTS:
            raise Refused(0, {}, f"{host} is neither Alpaca's paper or data host nor loopback; nothing was sent")
        deadline = math.inf
        tries = self._read_tries if request.method == "GET" else 1
        for attempt in range(1, tries + 1):
            self._budget.take()
            if attempt == 1:  # waiting for the budget is no part of it
                deadline = time.monotonic() + (self._patience or DEADLINE_SECONDS)
            try:
                return self._try(request, options, deadline, what)
            except AlpacaError as error:
                again = _worth_asking_again(error, attempt)
                pause = random.uniform(0, min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**attempt))
                if not again or attempt == tries or time.monotonic() + pause > deadline:
                    raise
                log.debug("%s: try %d of %d failed: %s", what, attempt, tries, error)
                self._budget.wait(pause)
        raise AssertionError("a try returns or raises")

    def _try(
        self, request: requests.PreparedRequest, options: Mapping[str, Any], deadline: float, what: str
    ) -> requests.Response:
        timeout = (CONNECT_SECONDS, min(READ_SECONDS, max(deadline - time.monotonic(), 0.1)))
        try:
            response = super().send(request, **{**options, "stream": True, "timeout": timeout})
            response._content = _read_all(response, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            # Only the kind: the text of a transport error holds addresses and nothing that a person could use.
            raise Unreachable(f"{what}: no answer ({type(error).__name__})") from error
        self._check(response, what, repeatable=request.method == "GET")
        return response

    def _check(self, response: requests.Response, what: str, *, repeatable: bool) -> None:
        status = response.status_code
        try:
            body = response.json() if response.content else None
        except (ValueError, RecursionError):
            body = response.content[:200].decode("utf-8", "replace")
        if 200 <= status < 300:
            if isinstance(body, dict | list) or (status == 204 and body is None):
                return
            raise Unreachable(f"{what}: status {status} with a reply that is no JSON ({self._clean(body)})")
        said = body.get("message", "") if isinstance(body, dict) else body
        words = f"{what}: {status} {self._clean(said)}"
        if isinstance(body, dict) and (
            status == 401 or (status == 403 and "forbidden" in str(said) and not _of_order(body))
        ):
            if not repeatable:  # one such answer may be a gateway's; the look-up that follows asks twice
                raise Unreachable(words)
            raise KeysRefused(
                f"Alpaca refused the keys ({words}): they are mistyped, belong to a live account, or the paper account "
                "was reset, which makes new ones. Copy the paper account's keys into .env"
            )
        if status == 429 and not repeatable:
            raise Refused(status, body if isinstance(body, dict) else {}, f"{what}: 429, too many requests")
        if isinstance(body, dict) and status < 500 and status != 429:
            raise Refused(status, body, words)
        raise Unreachable(words)

    def _clean(self, text: object) -> str:
        """Foreign words as one short printable line without secrets."""
        line = re.sub(r"[^\x20-\x7e]+", " ", str(text))
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line[:160]


def _of_order(body: Mapping[str, Any]) -> bool:
    """Whether a 403 speaks of an order and not of the keys."""
    return body.get("code") == 40310000


def _worth_asking_again(error: AlpacaError, attempt: int) -> bool:
    # Refused keys end a run, so they are believed the second time.
    return isinstance(error, Unreachable) or (isinstance(error, KeysRefused) and attempt == 1)


def _read_all(response: requests.Response, deadline: float) -> bytes:
    """The whole body; a server that drips cannot hold us beyond the deadline."""
    parts, size = [], 0
    # read1 hands over what has come; read would wait for a whole block, as long as a byte comes now and then.
    while part := response.raw.read1(1 << 16, decode_content=True):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            raise requests.Timeout("the reply did not end in time")
        if size > MAX_REPLY_BYTES:
            raise requests.RequestException("the reply is too long")
    return b"".join(parts)


class AlpacaWire:
    """alpaca-py's three clients on one account's keys: `trading`, `data`, `screener`. Opening it sends nothing.

    Args: `key`, `secret`; URLs as scheme and host; `wait` (seconds) is how back-off and budget let time pass, counted
    by `monotonic`; `read_tries` of a GET; `patience`, the seconds for a request with all its tries, if not 25.
    """

    def __init__(
        self,
        key: str,
        secret: str,
        trading_url: str,
        data_url: str,
        wait: Callable[[float], object],
        monotonic: Callable[[], float] = time.monotonic,
        read_tries: int = READ_TRIES,
        patience: float | None = None,
    ) -> None:
        self.wait = wait
        self._trading_budget = Budget(wait, monotonic)
        data_budget = Budget(wait, monotonic)
        # Any: what these clients hand out is plain JSON, and not the models of their annotations.
        self.trading: Any = TradingClient(key, secret, paper=True, raw_data=True, url_override=trading_url)
        self.data: Any = StockHistoricalDataClient(key, secret, raw_data=True, url_override=data_url)
        self.screener: Any = ScreenerClient(key, secret, raw_data=True, url_override=data_url)
        for client, budget in (
            (self.trading, self._trading_budget),
            (self.data, data_budget),
            (self.screener, data_budget),
        ):
            client._retry = 0  # the adapter's part
            adapter = PoliteAdapter(budget, (key, secret), read_tries, patience)
            client._session.mount("https://", adapter)
            client._session.mount("http://", adapter)

    @contextmanager
    def urgently(self) -> Iterator[None]:
        """Requests to the trading service in this block may use what is reserved for exits."""
        self._trading_budget.urgent = True
        try:
            yield
        finally:
            self._trading_budget.urgent = False

"""What is worth a message to a person's phone, and its words. Pure: an event and the books in, a Notice or None out.

Said: what was bought and sold, halt and resume, red drift, what became of a training, the end of a session, start and
stop, and a trading loop that ticks no more. Each body is whole by itself: it may come late, or as a line among others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from desk.books import Books
from desk.journal import Event
from desk.orders import Account, Execution, Trade
from display.figures import listed, plural
from market.hours import new_york
from spoken import SessionTally, told

CURE = "Nothing is bought until python live_trader.py --resume; stops stay"
RED_DRIFT = "drift red"  # how the words of a review begin then
LONGEST = 1500  # characters of a body, which every service takes
LONGEST_LINE = 160  # characters of one message among others
LISTED = 10  # messages that a message of several spells out


@dataclass(frozen=True)
class Notice:
    """One message. `kind` is its noun where many are counted, `alarm` asks a person to look."""

    kind: str
    title: str
    body: str
    alarm: bool = False

    def in_one_line(self) -> str:
        """The first line of the body, cut to LONGEST_LINE characters."""
        return _cut(self.body.partition("\n")[0], LONGEST_LINE)


def notice_of(event: Event, books: Books) -> Notice | None:
    """What to say of a journal event, or None; `books` have taken it in."""
    words = _WORDS.get(event["kind"])
    notice = words(event, books) if words is not None else None
    return notice and replace(notice, body=_cut(notice.body, LONGEST))


def _execution(event: Event, books: Books) -> Notice | None:
    """Each entry once, when it buys no more; each sale once, when the trade is closed and its P&L known."""
    execution = Execution(**event["execution"])
    trade = _trade_of(execution, books)
    if trade is None or execution.kind == "levels":
        return None
    if trade.status == "CLOSED" and (execution.kind == "fill") == (execution.side == "SELL"):
        whole = replace(execution, kind="fill", side="SELL", qty=trade.qty, price=trade.exit_price or 0.0)
        return Notice("sold", f"sold {trade.symbol}: {trade.pnl_amount or 0.0:+,.2f} USD", told(whole, trade))
    if execution.side == "SELL" or trade.status != "OPEN" or trade.entering:
        return None
    words = told(replace(execution, kind="fill", qty=trade.qty, price=trade.price), trade)
    if trade.qty < trade.qty_ordered:
        words += f"; of {trade.qty_ordered} ordered: {execution.reason}"
    return Notice("bought", f"bought {trade.symbol}", words)


def _trade_of(execution: Execution, books: Books) -> Trade | None:
    if execution.side == "BUY" or execution.trade_id is not None:
        return books.trades.get(execution.trade_id or execution.order_id)
    return next((trade for trade in reversed(books.trades.values()) if execution.order_id in trade.exits), None)


def _halt(event: Event, books: Books) -> Notice:
    return Notice("halt", "HALTED", f"{_minute(event, books)}  HALTED: {event['why']}. {CURE}", alarm=True)


def _resume(event: Event, books: Books) -> Notice:
    words = f"resumed, buying goes on; it was halted: {event['halted']}"
    return Notice("resume", "resumed", f"{_minute(event, books)}  {words}")


def _duty(event: Event, books: Books) -> Notice | None:
    duty, session, outcome, words = (event[name] for name in ("duty", "session", "outcome", "words"))
    if duty == "review" and words.startswith(RED_DRIFT):
        light = words.partition("\n")[0]
        return Notice("red drift", "drift is red", f"review of {session}: {light}", alarm=True)
    if duty == "train" and outcome != "skipped":
        alarm = outcome != "done"
        return Notice("training", f"training {outcome}", f"training of {session} {outcome}: {words}", alarm)
    return None


def _session(event: Event, books: Books) -> Notice:
    equity = books.equity[-1][1]
    lines = SessionTally(None).lines(books, Account(equity, equity, equity), event)
    return Notice("end of day", "end of day", "\n".join(line.strip() for line in lines))


_WORDS: Mapping[str, Callable[[Event, Books], Notice | None]] = {
    "execution": _execution,
    "halt": _halt,
    "resume": _resume,
    "duty": _duty,
    "session": _session,
}


def started(place: str, books: Books, now: datetime) -> Notice:
    """The trader trades; `place` names the broker."""
    return Notice("start", "started", f"{_time(now)}  started: {place}; {_held(books)}{_halted(books)}")


def stopped(how: str, place: str, books: Books, now: datetime, *, alarm: bool = False) -> Notice:
    """The trader ends; `how` says why ("stopped", "halted and stopped by SIGTERM"), `place` names the broker."""
    words = _held(books, f" in {place}", ", with stops")
    return Notice("stop", "stopped", _cut(f"{_time(now)}  {how}; {words}{_halted(books)}", LONGEST), alarm)


def not_started(how: str, place: str, now: datetime) -> Notice:
    """The trader ended before it traded; `how` says why."""
    return Notice("stop", "not started", _cut(f"{_time(now)}  not started in {place}: {how}", LONGEST), alarm=True)


def silent(since: datetime) -> Notice:
    """The trading loop has not ticked for a while; `since` is its last minute."""
    words = f"no sign of life since {_time(since)}; stops at the broker stay. Look at the machine and at data/logs/"
    return Notice("silence", "no sign of life", words, alarm=True)


def alive(since: datetime, now: datetime) -> Notice:
    """It ticks again."""
    return Notice("sign of life", "alive again", f"{_time(now)}  alive again; there was no minute since {_time(since)}")


def trial(now: datetime) -> Notice:
    """What a check sends."""
    return Notice("test", "test message", f"{_time(now)}  messages of the paper trader arrive here")


def gathered(notices: Sequence[Notice], more: Mapping[str, int]) -> Notice:
    """One message for several, oldest first: the newest LISTED in a line each, the others counted, as are `more` kinds
    of older ones still."""
    rest = Counter(more) + Counter(notice.kind for notice in notices[:-LISTED])
    lines = [notice.in_one_line() for notice in notices[-LISTED:]]
    if rest:
        lines.append(f"and {rest.total()} more: {listed(rest)}")
    counts = Counter(more) + Counter(notice.kind for notice in notices)
    title = f"{plural(counts.total(), 'message')}: {listed(counts)}"
    return Notice("messages", title, "\n".join(lines), any(notice.alarm for notice in notices))


def _held(books: Books, where: str = "", how: str = "") -> str:
    trades = books.live_trades().values()
    held = ", ".join(f"{trade.held} {trade.symbol}" for trade in trades if trade.held)
    ordered = ", ".join(trade.symbol for trade in trades if not trade.held)
    words = f"held{where}{how}: {held}" if held else f"nothing is held{where}"
    return words + (f"; ordered: {ordered}" if ordered else "")


def _halted(books: Books) -> str:
    return "" if books.halt is None else f"; HALTED: {books.halt}. {CURE}"


def _minute(event: Event, books: Books) -> str:
    return books.local_time(event["minute"])[:16].replace("T", " ")


def _time(when: datetime) -> str:
    return f"{new_york(when):%Y-%m-%d %H:%M}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."

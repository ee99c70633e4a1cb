"""A trader on one screen: running or not, what it holds and earned, why it bought, why not, how sure it is.

`draw` lays a `View` out, what matters first, in the rows and columns there are; it knows nothing else, so that it may
run beside the trading minute.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from rich.console import Console, Group
from rich.text import Text

from display.figures import number, percent
from display.view import Event, Holding, View
from market.hours import (
    new_york,
    next_open,
    session_at,
)

LABEL = 11  # columns at the left: what a line is about
LEAST_BAR, AIRY_BAR, MOST_BAR = 7, 11, 31
STALLED = timedelta(minutes=3)  # without a traded minute in a session
FULL_SESSION = 390
WHOLE = 200  # rows that hold all there ever is to show
ASCII = str.maketrans("─├┤┼●…", "-|||o.")  # for an output that knows no more
WIDE = 80  # columns from which the clock says whose time it is
BLANKS = 5  # lines between the parts, where there is room for them
GRAVE = ("HALTED", "no minute", "without a stop")  # how warnings begin that cannot wait


def draw(view: View, now: datetime, width: int, height: int = 24, said: Sequence[str] = ()) -> Group:
    """The screen, at most `width` columns and, as far as lists can be cut, `height` rows; `said` is the log, oldest
    first. Colours repeat what signs and words say."""
    now, inner = view.at if view.past else now, width - LABEL
    head, account, duties = _head(view, now, width), _account(view, now, width), _next(view, now, width)
    held, table = _held(view, width)
    orders = [_event(order, now, width) for order in view.orders] or [Text("none yet")]
    words = view.silence or view.signals_in_words or "none yet"
    summary = wrapped(words, inner, 3)
    signals = [_event(signal, now, width, dim=not signal.words.endswith(" ordered")) for signal in view.signals]
    model = [Text(line) for fact in (view.model, view.proof) for line in wrapped(fact, inner, 2)]
    log = [wrapped(line, width, 3) for line in said if line.strip()]

    left = height - len(head) - len(account) - 1 - len(model) - len(duties)
    wanted = [len(table), len(summary) + len(signals), len(orders), sum(map(len, log)) + 1 if log else 0]
    goals = [[len(table), 3, 2, 3], [len(table), 6, 5, 5], wanted]
    rows = _shared(left - BLANKS, wanted, goals)
    roomy = all(got >= min(pair) for got, *pair in zip(rows, wanted, goals[1], strict=True))
    if not roomy:
        rows = _shared(left, wanted, goals)
    if rows[0] < len(table):
        table[max(rows[0] - 1, 0) :] = [_unshown(view.holdings[max(rows[0] - 1, 0) :])]
    if rows[1] < len(summary):
        summary = wrapped(words, inner, rows[1])
    blocks = [
        head,
        account,
        [held, *table[: rows[0]]],
        _labelled("orders", orders[: rows[2]]),
        _labelled("signals", [*map(Text, summary), *signals[: rows[1] - len(summary)]]),
        [*_labelled("model", model), *duties],
    ]
    lines = [line for i, block in enumerate(blocks) for line in ([Text("")] if i and roomy else []) + block]
    if rows[3] > 1:
        lines += [Text("─" * width, style="dim"), *_newest_words(log, rows[3] - 1)]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def show(view: View, now: datetime, console: Console) -> None:
    """Print the screen once; all of it where the output is no terminal."""
    screen = draw(view, now, console.width, console.height - 1 if console.is_terminal else WHOLE)
    for line in screen.renderables:
        if console.options.ascii_only and isinstance(line, Text):
            line.plain = line.plain.translate(ASCII)
    console.print(screen)


def _unshown(holdings: Sequence[Holding]) -> Text:
    return Text(f"and {len(holdings)} more: {', '.join(h.symbol for h in holdings)}", style="dim")


def _shared(rows: int, wanted: Sequence[int], goals: Sequence[Sequence[int]]) -> list[int]:
    """How many rows each list gets, none more than it `wanted`: one goal after the other, each list in its turn."""
    given = [0] * len(wanted)
    for goal in goals:
        for i, most in enumerate(goal):
            more = max(min(most, wanted[i]) - given[i], 0)
            more = min(more, max(rows, 0))
            given[i], rows = given[i] + more, rows - more
    return given


def _head(view: View, now: datetime, width: int) -> list[Text]:
    state = ("HALTED", "bold red") if view.halted is not None else ("RUNNING", "bold green")
    if not view.running:
        state = ("NOT RUNNING", "bold yellow")
    local = new_york(now)
    clock = f"{local:%a %Y-%m-%d %H:%M}" if view.past else f"{local:%a %m-%d %H:%M:%S}"
    clock += " New York" if width >= WIDE else ""
    last = "no minute traded yet"
    if view.last_minute is not None:
        traded = new_york(view.last_minute)
        last = f"last minute {traded:%H:%M}" if traded.date() == local.date() else f"last minute {traded:%a %H:%M}"
    over = view.past and not view.running  # a run on the past: no market goes on after it
    session = "the run is over" if over else _session(now)
    lines = [
        *_both_ends(Text.assemble(state, "  ", (session, "bold")), clock, width),
        *_both_ends(Text(view.source), last, width),
    ]
    if view.simulated:
        words = "SIMULATED MARKET: artificial prices, profit shows only that the machinery works"
        lines[:0] = [Text(line, style="bold yellow") for line in wrapped(words, width, 2)]
    for words in (*_stalled(view, now), *view.warnings):
        style = "bold red" if words.startswith(GRAVE) else "yellow"
        for i, line in enumerate(wrapped(words, width - 2, 3)):
            lines.append(Text(f"  {line}" if i else f"! {line}", style=style))
    return lines


def _session(now: datetime) -> str:
    session = session_at(now)
    if session is not None:
        early = "" if session.minutes == FULL_SESSION else f" early, at {new_york(session.close):%H:%M},"
        return f"market open, closes{early} in {_span(session.close - now)}"
    opens = next_open(now)
    return f"market closed, opens {new_york(opens):%a %H:%M}, in {_span(opens - now)}"


def _span(span: timedelta) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _stalled(view: View, now: datetime) -> Iterable[str]:
    session = session_at(now)
    if view.running and not view.past and session is not None:
        heard = max(view.last_minute or view.at, session.open)
        if now - heard > STALLED:
            yield f"no minute was traded since {new_york(heard):%H:%M}; look at the log"


def _account(view: View, now: datetime, width: int) -> list[Text]:
    known = [h for h in view.holdings if math.isfinite(h.last)]
    worth = sum(h.qty * h.last for h in known)
    day = "today"
    if view.last_minute is not None and new_york(view.last_minute).date() != new_york(now).date():
        day = f"on {new_york(view.last_minute):%a}"
    cells = [
        ("equity", number(view.equity, " USD"), ""),
        (day, *_gain(view.equity, view.opening)),
        ("open P&L", number(sum(h.earned for h in known), sign="+"), ""),
        ("cash", number(view.cash, " USD"), ""),
        ("since start", *_gain(view.equity, view.first)),
        ("exposure", percent(worth / view.equity, digits=1) if view.equity else "-", ""),
    ]
    sums = [_sums(cells, 3), _sums([cells[i] for i in (0, 1, 3, 4, 2, 5)], 2)]
    return sums[0] if sums[0][0].cell_len <= width else sums[1]


def _sums(cells: Sequence[tuple[str, str, str]], across: int) -> list[Text]:
    """Name, value and share of each, aligned in `across` columns."""
    sizes = [[max(len(cell[k]) for cell in cells[i::across]) for k in range(3)] for i in range(across)]
    lines = []
    for start in range(0, len(cells), across):
        line = Text()
        for i, (name, value, share) in enumerate(cells[start : start + across]):
            line.append("    " if i else "").append(
                f"{name:<{sizes[i][0] + 2 if i else LABEL}}", style="" if i else "bold"
            )
            line.append(f"{value:>{sizes[i][1]}}" + (f" {share:>{sizes[i][2]}}" if sizes[i][2] else ""), _colour(value))
        line.rstrip()
        lines.append(line)
    return lines


def _gain(equity: float | None, before: float | None) -> tuple[str, str]:
    """What was earned: USD, and as a share."""
    if equity is None or not before:
        return number(None), ""
    return number(equity - before, sign="+"), f"({percent(equity / before - 1, '+')})"


def _held(view: View, width: int) -> tuple[Text, list[Text]]:
    """The table's head and its rows. Columns that do not fit are left out, the least important first."""
    count = f"held {len(view.holdings)}/{view.most_holdings}"
    if not view.holdings:
        return Text.assemble((f"{'held':<{LABEL}}", "bold"), "nothing"), []
    columns: dict[str, list[str]] = {count: [h.symbol for h in view.holdings]}
    columns |= {
        "qty": [f"{h.qty}" for h in view.holdings],
        "entry": [number(h.entry) for h in view.holdings],
        "last": [number(h.last) for h in view.holdings],
        "P&L USD": [number(h.earned, sign="+") for h in view.holdings],
        "P&L %": [percent(_away(h.last, h.entry), "+") for h in view.holdings],
        "stop": [percent(_away(h.stop, h.last), "+", 1) for h in view.holdings],
        "target": [percent(_away(h.target, h.last), "+", 1) for h in view.holdings],
    }
    sizes = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}
    sizes[count] = max(sizes[count], LABEL - 1)
    for left_out in ("entry", "P&L USD", "qty"):
        if sum(sizes.values()) + len(sizes) + LEAST_BAR > width:
            del sizes[left_out]
    room = width - sum(sizes.values())
    between = "  " if room - 2 * len(sizes) >= AIRY_BAR else " "
    bar = max(min(room - len(between) * len(sizes), MOST_BAR), 0)
    head, rows = Text(), [Text() for _ in view.holdings]
    for name, size in sizes.items():
        side = "<" if name == count else ">"
        gap = "" if name == count else between
        head.append(f"{gap}{name:{side}{size}}", style="bold" if name == count else "dim")
        for row, cell, h in zip(rows, columns[name], view.holdings, strict=True):
            row.append(f"{gap}{cell:{side}{size}}", style=_colour(cell) if name.startswith("P&L") else "")
            if name == "stop":
                row.append(f"{between}{_cut(h.note, bar) or _track(h, bar):<{bar}}")
        if name == "stop":
            head.append(between + " " * bar)
    return head, rows


def _away(there: float, here: float) -> float:
    """How far the price must move, as a fraction."""
    return there / here - 1 if here else math.nan


def _track(h: Holding, width: int) -> str:
    """Where the price stands between stop (left) and target (right); the cross is the entry."""
    if not all(map(math.isfinite, (h.stop, h.entry, h.last, h.target))) or not h.stop < h.target or width < 3:
        return ""
    cells = ["├", *"─" * (width - 2), "┤"]
    for price, mark in ((h.entry, "┼"), (h.last, "●")):
        place = (price - h.stop) / (h.target - h.stop)
        cells[round(min(max(place, 0.0), 1.0) * (width - 1))] = mark
    return "".join(cells)


def _event(event: Event, now: datetime, width: int, *, dim: bool = False) -> Text:
    then, local = datetime.fromisoformat(event.time), new_york(now)
    days = (local.date() - then.date()).days
    when = f"{then:%H:%M}" if days == 0 else f"{then:%a %H:%M}" if 0 < days < 7 else f"{then:%m-%d %H:%M}"
    words = _cut(event.words, width - LABEL - len(when) - 1)
    line = Text.assemble((when, "dim"), " ", (words, "dim" if dim else ""))
    if event.gain:
        line.stylize(_colour(f"{event.gain:+}"), len(when) + 1 + words.rfind(": ") + 1)
    return line


def _next(view: View, now: datetime, width: int) -> list[Text]:
    if view.past and not view.running:
        return _labelled("next", [Text("python live_trader.py; on the simulated market it begins anew")])
    duties = [
        f"{what} {new_york(due):%a %H:%M}, in {_span(due - now)}" if due > now else f"{what} now"
        for what, due in sorted((("training", view.training), ("rebalance", view.rebalance)), key=lambda d: d[1])
    ]
    words = [f"at the open sells {view.to_sell}"] if view.to_sell else []
    return _labelled(
        "next", [Text(line) for one in (*words, "; ".join(duties)) for line in wrapped(one, width - LABEL, 2)]
    )


def _newest_words(log: Sequence[Sequence[str]], rows: int) -> list[Text]:
    """The end of the log, oldest first: only whole lines of words, but for a newest one that is longer than `rows`."""
    shown: list[str] = []
    for wrapped in reversed(log):
        if shown and len(shown) + len(wrapped) > rows:
            break
        shown[:0] = wrapped[:rows]
    return [Text(line, style="dim") for line in shown]


def _labelled(label: str, lines: Sequence[Text]) -> list[Text]:
    return [Text.assemble((f"{label if i == 0 else '':<{LABEL}}", "bold"), line) for i, line in enumerate(lines)]


def _both_ends(left: Text, right: str, width: int) -> list[Text]:
    """One line, or two where they do not fit beside each other."""
    space = width - left.cell_len - len(right)
    if space < 1:
        return [left, Text(right, style="dim")]
    return [Text.assemble(left, " " * space, (right, "dim"))]


def _colour(signed: str) -> str:
    """Of a number in words, whose sign says the same."""
    return {"+": "green", "-": "red"}.get(signed[0], "") if any(digit in signed for digit in "123456789") else ""


def wrapped(words: str, width: int, most: int) -> list[str]:
    """`words` in at most `most` lines, broken and cut between words; nothing in it moves the cursor."""
    plain = "".join(c if c.isprintable() else " " for c in words)
    return textwrap.wrap(plain, max(width, 8), max_lines=most, placeholder=" …") if most > 0 else []


def _cut(words: str, width: int) -> str:
    return "".join(wrapped(words, width, 1))

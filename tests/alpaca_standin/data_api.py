"""The data endpoints: bars, latest bars, quotes and trades, snapshots, most active stocks.

Numbers are JSON numbers here, and errors carry a message without a code. Bars of the feeds iex and sip are the same.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from alpaca_standin.assets import EXTRAS
from alpaca_standin.call import Answer, Call
from alpaca_standin.formats import stamp
from alpaca_standin.hours import DAY
from alpaca_standin.refusals import Refused, bad_query
from alpaca_standin.tape import Bar
from market.hours import epoch_minute, last_opened, moment, new_york

HISTORICAL_FEEDS = ("sip", "iex", "otc", "boats")
LATEST_FEEDS = ("iex", "sip", "delayed_sip", "otc", "boats", "overnight")
RECENT = timedelta(minutes=15)
NO_SIP = {"message": "subscription does not permit querying recent SIP data"}
UNKNOWN_FEED = {"message": "subscription does not permit querying data from this feed"}
MINUTES = ("1Min", "1T")
DAYS = ("1Day", "1D")


def _symbols(call: Call) -> list[str]:
    symbols = sorted({symbol for symbol in call.query.get("symbols", "").split(",") if symbol})
    if not symbols:
        raise bad_query("symbols is required")
    unknown = [symbol for symbol in symbols if call.engine.assets.find(symbol) is None]
    if unknown and call.variant("unknown_data_symbol") != "absent":
        raise bad_query(f"invalid symbol: {unknown[0]}")
    return symbols


def _moment(call: Call) -> datetime:
    """The moment at which a feed's newest data stands: now, or a quarter of an hour ago; 403 without entitlement."""
    feed = call.choice("feed", "iex", LATEST_FEEDS)
    if feed == "delayed_sip":
        return call.engine.now - RECENT
    if feed not in call.engine.settings.feeds:
        raise Refused(403, NO_SIP if feed == "sip" else UNKNOWN_FEED)
    return call.engine.now


def bars(call: Call) -> Answer:
    """GET /v2/stocks/bars: sorted by symbol, then time; pages may end in the middle of a symbol."""
    symbols, limit = _symbols(call), call.count("limit", 1000, 10_000)
    feed = call.choice("feed", "sip", HISTORICAL_FEEDS)
    frame = call.choice("timeframe", "", MINUTES + DAYS)
    adjustment = call.query.get("adjustment", "raw").split(",")
    if set(adjustment) - {"raw", "split", "dividend", "spin-off", "all"}:
        raise bad_query(f"invalid adjustment: {','.join(adjustment)}")
    call.choice("sort", "asc", ("asc",))
    call.choice("currency", "USD", ("USD",))
    now, realtime = call.engine.now, feed in call.engine.settings.feeds
    newest = now if realtime else now - RECENT
    start, end = call.moment("start"), call.moment("end")
    if "T" not in call.query.get("end", "T") and end is not None:
        end = end + DAY - timedelta(minutes=1)
    today = datetime.combine(new_york(now).date(), datetime.min.time(), tzinfo=new_york(now).tzinfo)
    start, end = start or min(today, newest), end or newest
    if not realtime and end > newest:
        raise Refused(403, NO_SIP if feed == "sip" else UNKNOWN_FEED)
    if start > end:
        raise bad_query("end should not be before start")
    last = min(epoch_minute(end), call.desk.feed.published_until(now))
    first = epoch_minute(start) + (start.second + start.microsecond > 0)
    adjusted = bool({"split", "all"} & set(adjustment))
    if frame in DAYS:
        return 200, _daily(call, symbols, first, last)
    after = _after(call)
    return 200, _page(call, symbols, first, last, limit, adjusted, after)


def _after(call: Call) -> tuple[str, int]:
    token = call.query.get("page_token")
    if not token:
        return "", 0
    try:
        symbol, minute = urlsafe_b64decode(token).decode().split("|")
        return symbol, int(minute)
    except ValueError as error:
        raise bad_query("invalid page_token") from error


def token_of(symbol: str, minute: int) -> str:
    """Where the next page begins: after this bar."""
    return urlsafe_b64encode(f"{symbol}|{minute}".encode()).decode()


def _page(
    call: Call, symbols: list[str], first: int, last: int, limit: int, adjusted: bool, after: tuple[str, int]
) -> bytes:
    """One page as JSON text, put together without a JSON library: 10,000 bars are one answer."""
    parts, room, token, end_of = [], limit, None, after
    for symbol in symbols:
        if symbol < after[0]:
            continue
        found = call.desk.feed.span(symbol, max(first, after[1] + 1) if symbol == after[0] else first, last)
        if found is None or found[1] >= found[2]:
            continue
        held, begin, end = found
        if room == 0:
            token = token_of(*end_of)
            break
        stop = min(end, begin + room)
        rows = call.desk.feed.rows(symbol, held, begin, stop, call.engine.now, adjusted)
        room -= stop - begin
        end_of = (symbol, held.minute[stop - 1])
        if rows:
            parts.append(f'"{symbol}":[{",".join([_bar_text(*row) for row in rows])}]')
        if stop < end:
            token = token_of(*end_of)
            break
    closing = "null" if token is None else f'"{token}"'
    return f'{{"bars":{{{",".join(parts)}}},"next_page_token":{closing}}}'.encode()


def _bar_text(minute: int, o: float, h: float, low: float, c: float, volume: int) -> str:
    average = round((h + low + c) / 3, 4)
    return (
        f'{{"t":"{_day_text(minute // 1440)}{CLOCK[minute % 1440]}","o":{o},"h":{h},"l":{low},"c":{c},'
        f'"v":{volume},"n":{volume // 100 + 1},"vw":{average}}}'
    )


CLOCK = [f"T{hour:02}:{minute:02}:00Z" for hour in range(24) for minute in range(60)]


@lru_cache(maxsize=4096)
def _day_text(day: int) -> str:
    return str(moment(day * 1440).date())


def _bar(bar: Bar, minute: int | None = None) -> dict[str, Any]:
    """One bar's JSON."""
    when = bar.minute if minute is None else minute
    average = round((bar.high + bar.low + bar.close) / 3, 4)
    prices = {"o": bar.open, "h": bar.high, "l": bar.low, "c": bar.close}
    return {"t": stamp(moment(when)), **prices, "v": bar.volume, "n": bar.volume // 100 + 1, "vw": average}


def _daily(call: Call, symbols: list[str], first: int, last: int) -> dict[str, Any]:
    """Days as bars, at New York's midnight; all on one page."""
    begin, end = new_york(moment(first)).date(), new_york(moment(max(first, last))).date()
    days = [begin + DAY * n for n in range((end - begin).days + 1)]
    sessions = [session for session in (call.engine.hours.on(day) for day in days) if session]
    result: dict[str, list[dict[str, Any]]] = {}
    for symbol in symbols:
        for session in sessions:
            bar = call.desk.feed.day(symbol, session, call.engine.now)
            if bar is not None:
                local = new_york(session.open)
                midnight = bar.minute - local.hour * 60 - local.minute
                if midnight >= first:
                    result.setdefault(symbol, []).append(_bar(bar, midnight))
    return {"bars": result, "next_page_token": None}


def latest_bars(call: Call) -> Answer:
    """GET /v2/stocks/bars/latest: the newest published bar of each symbol that has one."""
    symbols, now = _symbols(call), _moment(call)
    found = {symbol: call.desk.feed.latest(symbol, now) for symbol in symbols}
    return 200, {"bars": {symbol: _bar(bar) for symbol, bar in found.items() if bar}}


def latest_quotes(call: Call) -> Answer:
    """GET /v2/stocks/quotes/latest: the quote that the fill model uses."""
    symbols, now = _symbols(call), _moment(call)
    return 200, {"quotes": {symbol: _quote(call, symbol, now) for symbol in symbols if _trades(call, symbol, now)}}


def latest_trades(call: Call) -> Answer:
    """GET /v2/stocks/trades/latest."""
    symbols, now = _symbols(call), _moment(call)
    return 200, {"trades": {symbol: _trade(call, symbol, now) for symbol in symbols if _trades(call, symbol, now)}}


def _trades(call: Call, symbol: str, now: datetime) -> bool:
    return call.engine.last_trade(symbol, now) is not None


def _quote(call: Call, symbol: str, now: datetime) -> dict[str, Any]:
    bid, ask = call.engine.quote(symbol, now)
    sides = {"bx": "V", "bp": float(bid), "bs": 100, "ax": "V", "ap": float(ask), "as": 100}
    return {"t": stamp(now), **sides, "c": ["R"], "z": "C"}


def _trade(call: Call, symbol: str, now: datetime) -> dict[str, Any]:
    price = call.engine.last_trade(symbol, now)
    bars = call.engine.tape.bars.get(symbol)
    index = bars.at_or_before(epoch_minute(now)) if bars else -1
    ended = moment(bars.minute[index] + 1) if bars and index >= 0 else now
    number = int(now.timestamp() * 1000)
    return {"t": stamp(min(now, ended)), "i": number, "x": "V", "p": float(price or 0), "s": 100, "c": ["@"], "z": "C"}


def snapshots(call: Call) -> Answer:
    """GET /v2/stocks/snapshots: last trade, quote, minute, day and day before of each symbol."""
    symbols, now = _symbols(call), _moment(call)
    opened = last_opened(now)
    session = call.engine.hours.on(opened.day)
    earlier = last_opened(opened.open - timedelta(minutes=1))
    result = {}
    for symbol in symbols:
        if not _trades(call, symbol, now):
            continue
        body = {"latestTrade": _trade(call, symbol, now), "latestQuote": _quote(call, symbol, now)}
        minute = call.desk.feed.latest(symbol, now)
        day = call.desk.feed.day(symbol, session, now) if session else None
        before = call.desk.feed.day(symbol, earlier, now)
        parts = {"minuteBar": minute, "dailyBar": day, "prevDailyBar": before}
        result[symbol] = body | {name: _bar(bar) for name, bar in parts.items() if bar}
    return 200, result


def most_actives(call: Call) -> Answer:
    """GET /v1beta1/screener/stocks/most-actives: by volume so far; before the day's first bar by the day before's."""
    call.choice("by", "volume", ("volume", "trades"))
    top, now = call.count("top", 10, 100), call.engine.now
    session = last_opened(now)
    before_open = new_york(now).date() != session.day
    updated = min(now, session.close)
    volumes = {symbol: call.desk.feed.volume(symbol, session, now) for symbol in call.engine.tape.bars}
    if (
        before_open
        and call.variant("most_actives_before_open") == "empty"
        and call.engine.hours.on(new_york(now).date())
    ):
        volumes, updated = {}, now
    extras = {asset.symbol: asset.volume for asset in EXTRAS}
    shape = call.desk.most_actives
    volumes |= extras | {name: 100_000_000 - n for n, name in enumerate(shape.get("extra", []))}
    if shape.get("only") is not None:  # in the order given
        volumes = {name: 100_000_000 - n for n, name in enumerate(shape["only"])}
    ranked = sorted(
        ((volume, name) for name, volume in volumes.items() if volume), key=lambda item: (-item[0], item[1])
    )
    rows = [{"symbol": name, "volume": volume, "trade_count": volume // 100 + 1} for volume, name in ranked[:top]]
    return 200, {"most_actives": rows, "last_updated": stamp(updated)}

"""The local paper account: when and at what price it fills, what it remembers, and that no dollar is made or lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.orders import Account, Execution, Order, Position
from desk.paper_broker import BadAccountFile, PaperBroker
from market.bars import Bar

COST, HALF = 0.0006, 0.0003
CASH = 10_000.0
NVDA = "NVDA"


def bar(
    minute: int,
    open_: float = 100.0,
    high: float | None = None,
    low: float | None = None,
    close: float | None = None,
    symbol: str = NVDA,
) -> Bar:
    """A bar; prices not given stay at the open."""
    close = open_ if close is None else close
    top, bottom = max(open_, close), min(open_, close)
    return Bar(symbol, minute, open_, top if high is None else high, bottom if low is None else low, close, 1000.0)


def buy(
    minute: int = 10,
    qty: int = 5,
    price: float = 100.0,
    symbol: str = NVDA,
    expires: int | None = None,
    order_id: str | None = None,
) -> Order:
    order_id = order_id or f"{symbol}-{minute}-entry"
    return Order(order_id, symbol, "BUY", qty, price, minute, expires, stop_loss=0.02, take_profit=0.04)


def sell(minute: int, reason: str = "time", symbol: str = NVDA, qty: int = 5) -> Order:
    return Order(f"{symbol}-{minute}-{reason}", symbol, "SELL", qty, 100.0, minute, reason=reason)


def in_memory() -> PaperBroker:
    return PaperBroker(None, CASH, COST)


def holding() -> PaperBroker:
    """A broker that bought 5 NVDA at the open of minute 10, 100.00; the stop stands at 98, the target at 104."""
    broker = in_memory()
    broker.submit(buy())
    assert [e.kind for e in broker.settle(11, [bar(10)])] == ["fill"]
    return broker


# --- entries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [10, 11, 14])
def test_an_entry_fills_at_the_open_of_the_first_bar_at_or_after_its_minute(first: int) -> None:
    broker = in_memory()
    broker.submit(buy(minute=10, expires=15))
    bars = [bar(9, 90.0), bar(first, 101.0, 101.5, 100.5), bar(first + 1, 110.0)]
    [fill] = broker.settle(first + 1, bars[:2])
    assert (fill.kind, fill.side, fill.qty, fill.minute, fill.reason) == ("fill", "BUY", 5, first, "entry")
    assert fill.price == pytest.approx(101.0 * (1 + HALF), abs=1e-4)
    assert broker.working_orders() == []
    assert broker.positions()[NVDA].entry_minute == first


def test_an_entry_waits_while_there_is_no_bar_and_another_symbols_bar_is_none() -> None:
    broker = in_memory()
    broker.submit(buy())
    assert broker.settle(12, [bar(9), bar(10, symbol="AMD"), bar(11, symbol="AMD")]) == []
    assert broker.working_orders() == [buy()]
    assert broker.account() == Account(CASH, CASH, CASH - 500.15)


def test_the_levels_hang_on_the_entry_open_before_the_spread() -> None:
    position = holding().positions()[NVDA]
    assert (position.stop_level, position.target_level) == pytest.approx((98.0, 104.0))
    assert position.entry_price == pytest.approx(100.03)
    [fill] = holding().recent_executions()
    assert (fill.stop_level, fill.target_level) == (position.stop_level, position.target_level)


def test_an_entry_expires_at_its_minute_and_not_before() -> None:
    broker = in_memory()
    broker.submit(buy(minute=10, expires=15))
    assert broker.settle(14, []) == []
    [ended] = broker.settle(15, [])
    assert (ended.kind, ended.qty, ended.price, ended.minute) == ("cancelled", 5, 0.0, 15)
    assert ended.reason != ""
    assert broker.settle(16, [bar(15)]) == []
    assert broker.account() == Account(CASH, CASH, CASH)


def test_an_entry_does_not_fill_on_a_bar_that_starts_when_it_expires() -> None:
    broker = in_memory()
    broker.submit(buy(minute=10, expires=15))
    assert [e.kind for e in broker.settle(20, [bar(15), bar(16)])] == ["cancelled"]


def test_an_entry_that_is_settled_late_still_fills_on_a_bar_of_its_minutes() -> None:
    broker = in_memory()
    broker.submit(buy(minute=10, expires=15))
    assert [(e.kind, e.minute) for e in broker.settle(20, [bar(14)])] == [("fill", 14)]


def test_an_entry_in_a_symbol_that_is_held_is_rejected() -> None:
    broker = holding()
    broker.submit(buy(minute=12))
    [ended] = broker.settle(13, [bar(12)])
    assert (ended.kind, ended.reason) == ("rejected", "already held")
    assert broker.positions()[NVDA].qty == 5


def test_an_entry_beyond_the_cash_at_the_fill_is_rejected_and_one_that_just_fits_is_not() -> None:
    for cash, kind in ((500.14, "rejected"), (500.15, "fill")):
        broker = PaperBroker(None, cash, COST)
        broker.submit(buy())
        [ended] = broker.settle(11, [bar(10)])
        assert ended.kind == kind
        assert broker.account().cash == pytest.approx(cash if kind == "rejected" else 0.0)
        assert broker.working_orders() == []


def test_the_same_id_twice_is_one_order_before_and_after_its_fill() -> None:
    broker = in_memory()
    broker.submit(buy())
    broker.submit(buy())
    assert len(broker.working_orders()) == 1
    broker.settle(11, [bar(10)])
    broker.submit(buy())
    assert broker.working_orders() == []
    assert broker.positions()[NVDA].qty == 5


# --- exits ----------------------------------------------------------------------------------------------------------

EXITS = [
    # bar of minute 11, price before spread, reason
    (bar(11, 100.0, 103.9, 98.1), None, None),
    (bar(11, 100.0, 101.0, 98.0), 98.0, "stop"),
    (bar(11, 100.0, 104.0, 99.0), 104.0, "target"),
    (bar(11, 100.0, 105.0, 97.0), 98.0, "stop"),  # both touched: the worse one
    (bar(11, 95.0, 96.0, 94.0), 95.0, "stop"),  # gap below
    (bar(11, 95.0, 106.0, 94.0), 95.0, "stop"),  # gap below that comes back
    (bar(11, 107.0, 108.0, 106.0), 107.0, "target"),  # gap above
    (bar(11, 107.0, 108.0, 90.0), 107.0, "target"),  # gap above that falls
    (bar(11, 98.0, 99.0, 98.0), 98.0, "stop"),  # opens on the level
    (bar(11, 104.0, 104.0, 103.0), 104.0, "target"),
]


@pytest.mark.parametrize(("second", "price", "reason"), EXITS)
def test_a_position_leaves_by_gap_then_stop_then_target(second: Bar, price: float | None, reason: str | None) -> None:
    broker = holding()
    news = broker.settle(12, [second])
    if price is None:
        assert news == []
        assert NVDA in broker.positions()
    else:
        [fill] = news
        assert (fill.kind, fill.side, fill.qty, fill.minute, fill.reason) == ("fill", "SELL", 5, 11, reason)
        assert fill.price == pytest.approx(price * (1 - HALF), abs=1e-4)
        assert broker.positions() == {}
        assert broker.account().cash == pytest.approx(CASH - 500.15 + 5 * fill.price)


@pytest.mark.parametrize(
    ("high", "low", "price", "reason"),
    [(101.0, 97.0, 98.0, "stop"), (105.0, 99.0, 104.0, "target"), (105.0, 97.0, 98.0, "stop")],
)
def test_the_entry_bars_own_low_and_high_count(high: float, low: float, price: float, reason: str) -> None:
    broker = in_memory()
    broker.submit(buy())
    entry, leave = broker.settle(11, [bar(10, 100.0, high, low)])
    assert (entry.minute, leave.minute, leave.reason) == (10, 10, reason)
    assert leave.price == pytest.approx(price * (1 - HALF), abs=1e-4)


def test_a_round_trip_at_one_price_costs_half_the_cost_on_each_side() -> None:
    broker = holding()
    broker.submit(sell(11))
    [fill] = broker.settle(12, [bar(11)])
    assert fill.price == pytest.approx(99.97)
    assert broker.account().cash == pytest.approx(CASH - 5 * 100.0 * COST)


def test_a_market_sell_fills_at_the_open_before_the_levels_are_looked_at() -> None:
    broker = holding()
    broker.submit(sell(11))
    [fill] = broker.settle(12, [bar(11, 99.0, 120.0, 80.0)])
    assert (fill.reason, fill.order_id) == ("time", "NVDA-11-time")
    assert fill.price == pytest.approx(99.0 * (1 - HALF), abs=1e-4)
    assert broker.working_orders() == []


def test_a_market_sell_does_not_fill_before_its_minute() -> None:
    broker = holding()
    broker.submit(sell(15))
    assert broker.settle(14, [bar(13)]) == []
    assert [e.minute for e in broker.settle(16, [bar(15)])] == [15]


def test_a_sell_waits_over_a_closed_market_for_the_next_open() -> None:
    broker = holding()
    broker.submit(sell(400))
    for now in range(400, 1400, 100):
        assert broker.settle(now, []) == []
    assert len(broker.working_orders()) == 1
    [fill] = broker.settle(1441, [bar(1440, 93.0)])
    assert fill.price == pytest.approx(93.0 * (1 - HALF), abs=1e-4)
    assert fill.minute == 1440


def test_a_sell_of_a_position_that_is_gone_is_withdrawn_and_never_goes_short() -> None:
    broker = in_memory()
    broker.submit(sell(11))
    [ended] = broker.settle(12, [bar(11)])
    assert (ended.kind, ended.side) == ("cancelled", "SELL")
    assert broker.positions() == {}
    assert broker.account() == Account(CASH, CASH, CASH)


def test_the_symbol_can_be_bought_again_after_it_was_sold_and_every_execution_has_its_own_id() -> None:
    broker = holding()
    broker.settle(12, [bar(11, 97.0)])
    broker.submit(buy(minute=12))
    broker.settle(13, [bar(12)])
    broker.settle(14, [bar(13, 97.0)])
    executions = broker.recent_executions()
    assert [(e.side, e.reason) for e in executions] == [("BUY", "entry"), ("SELL", "stop")] * 2
    assert len({e.id for e in executions}) == 4


# --- the account ----------------------------------------------------------------------------------------------------


def test_equity_is_cash_and_positions_at_their_last_price_and_working_entries_lower_the_buying_power() -> None:
    broker = holding()
    assert broker.account().equity == pytest.approx(CASH - 500.15 + 500.0)
    broker.settle(12, [bar(11, 100.0, close=102.0)])
    account = broker.account()
    assert account.cash == account.buying_power == pytest.approx(CASH - 500.15)
    assert account.equity == pytest.approx(account.cash + 5 * 102.0)
    broker.submit(buy(minute=12, qty=2, price=50.0, symbol="AMD"))
    broker.submit(sell(12))
    assert broker.account() == replace(account, buying_power=account.cash - 2 * 50.0 * (1 + HALF))


def test_the_buying_power_is_never_negative() -> None:
    broker = in_memory()
    broker.submit(buy(qty=1000))
    assert broker.account().buying_power == 0.0


# --- settled once, remembered ---------------------------------------------------------------------------------------


def test_bars_that_were_settled_are_passed_over_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "paper_account.json"
    broker = PaperBroker(path, CASH, COST)
    broker.submit(buy())
    broker.settle(12, [bar(10), bar(11)])
    broker.submit(sell(11))  # as if it had been decided one minute earlier
    for again in (broker, PaperBroker(path, CASH, COST)):
        assert again.settle(12, [bar(10, 90.0), bar(11, 90.0)]) == []
        assert NVDA in again.positions()
    assert [e.minute for e in broker.settle(13, [bar(11, 90.0), bar(12, 99.0)])] == [12]


def test_a_bar_of_the_minute_that_has_just_begun_is_still_to_come() -> None:
    broker = in_memory()
    broker.submit(buy())
    assert broker.settle(10, []) == []
    assert [e.minute for e in broker.settle(11, [bar(10)])] == [10]


def state(broker: PaperBroker) -> tuple[Account, dict[str, Position], list[Order], list[Execution]]:
    return broker.account(), dict(broker.positions()), broker.working_orders(), broker.recent_executions()


def test_the_account_comes_back_exactly_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "paper_account.json"
    broker = PaperBroker(path, 10_000.1 + 0.2, COST, save_each_change=False)
    broker.submit(buy())
    broker.submit(buy(symbol="AMD", price=33.3333, minute=12, expires=20))
    broker.settle(12, [bar(10, 100.1 / 3), bar(11, 100.2 / 3)])
    broker.submit(sell(12))
    broker.save()
    again = PaperBroker(path, 5.0, COST)
    assert state(again) == state(broker)
    assert again.settle(13, [bar(11, 1.0), bar(12, 33.0)]) == broker.settle(13, [bar(11, 1.0), bar(12, 33.0)])
    again.submit(buy())
    assert [order.symbol for order in again.working_orders()] == ["AMD"]


def test_live_every_order_and_fill_is_on_disk_at_once_and_in_a_replay_at_save_only(tmp_path: Path) -> None:
    live_path, replay_path = tmp_path / "live.json", tmp_path / "replay.json"
    live = PaperBroker(live_path, CASH, COST)
    replay = PaperBroker(replay_path, CASH, COST, save_each_change=False)
    for broker in (live, replay):
        broker.submit(buy())
    assert state(PaperBroker(live_path, CASH, COST)) == state(live)
    for broker in (live, replay):
        broker.settle(11, [bar(10)])
    assert state(PaperBroker(live_path, CASH, COST)) == state(live)
    assert not replay_path.exists()
    replay.save()
    assert state(PaperBroker(replay_path, CASH, COST)) == state(replay)


def test_a_first_start_has_the_cash_it_was_given_and_makes_no_file(tmp_path: Path) -> None:
    broker = PaperBroker(tmp_path / "paper_account.json", 1234.5, COST)
    assert broker.account() == Account(1234.5, 1234.5, 1234.5)
    assert list(tmp_path.iterdir()) == []


def test_saving_an_account_in_memory_writes_nothing() -> None:
    in_memory().save()


def saved(tmp_path: Path) -> bytes:
    path = tmp_path / "good.json"
    broker = PaperBroker(path, CASH, COST)
    broker.submit(buy())
    broker.settle(11, [bar(10)])
    return path.read_bytes()


def refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BadAccountFile, match=r"paper_account\.json: not a paper account.*Move it away"):
        PaperBroker(path, CASH, COST)
    assert path.read_bytes() == content


def test_an_account_file_cut_at_any_byte_is_refused_and_not_touched(tmp_path: Path) -> None:
    whole = saved(tmp_path)
    for end in range(len(whole)):
        refused(tmp_path / "paper_account.json", whole[:end])


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b'{"cash": 1000}',
        b'{"schema": 1, "trades": []}',
        b'{"schema":1,"cash":-1.5,"settled_minute":1,"positions":[],"orders":[],"executions":[]}',
        b'{"schema":1,"cash":"lots","settled_minute":1,"positions":[],"orders":[],"executions":[]}',
        b'{"schema":1,"cash":1.0,"settled_minute":1,"positions":[{"symbol":"NVDA"}],"orders":[],"executions":[]}',
        b'{"schema":1,"cash":1.0,"settled_minute":1,"positions":[],"orders":[{"id":"a","odd":1}],"executions":[]}',
        bytes(range(256)),
    ],
)
def test_a_foreign_account_file_is_refused_and_not_touched(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path / "paper_account.json", content)


def test_the_file_is_strict_json_with_its_schema(tmp_path: Path) -> None:
    document = json.loads(saved(tmp_path), parse_constant=pytest.fail)
    assert document["schema"] == 1
    assert document["cash"] == pytest.approx(CASH - 500.15)


# --- whatever happens -----------------------------------------------------------------------------------------------

SYMBOLS = ("AMD", "NVDA", "TSLA")
prices = st.floats(5.0, 500.0).map(lambda price: round(price, 4))
moves = st.floats(0.0, 0.08)


@dataclass(frozen=True)
class Minute:
    """What happens in one minute: it is skipped (only bars), or settled, ordered in, and restarted after or not."""

    skipped: bool
    buys: list[tuple[str, int, int | None]]  # symbol, shares, good for minutes
    sells: set[str]
    restart: bool
    bars: list[tuple[str, float, float, float, float]]  # symbol, open, rise, fall, close between them


symbols = st.sampled_from(SYMBOLS)
patience = st.none() | st.integers(1, 4)
quotes = st.tuples(symbols, prices, moves, moves, st.floats(0.0, 1.0))
wild_minutes = st.builds(
    Minute,
    skipped=st.sampled_from([False, False, True]),
    buys=st.lists(st.tuples(symbols, st.integers(1, 60), patience), max_size=2),
    sells=st.sets(symbols, max_size=2),
    restart=st.booleans(),
    bars=st.lists(quotes, max_size=3, unique_by=lambda quote: quote[0]),
)

QUIET = Minute(skipped=False, buys=[], sells=set(), restart=False, bars=[])


def play(minutes: Sequence[Minute], path: Path, *, restarts: bool) -> tuple[PaperBroker, list[Order], list[Execution]]:
    """The broker at the end, all orders submitted, all news; the account is looked at after every minute."""
    broker, serial = PaperBroker(path, CASH, COST), count()
    orders: list[Order] = []
    news: list[Execution] = []
    bars: list[Bar] = []
    for minute, what in enumerate([*minutes, QUIET], start=100):
        if not what.skipped:
            news += broker.settle(minute, bars)
            bars = []
            for symbol, qty, patience in what.buys:
                expires = None if patience is None else minute + patience
                orders.append(buy(minute, qty, 100.0, symbol, expires, f"{symbol}-{minute}-{next(serial)}"))
            for symbol in sorted(what.sells & set(broker.positions())):
                orders.append(sell(minute, symbol=symbol, qty=broker.positions()[symbol].qty))
            for order in orders:
                broker.submit(order)  # all of them again: the same id is one order
            if restarts and what.restart and path.exists():
                broker = PaperBroker(path, 0.0, COST)
            assert_accounts_agree(broker, news)
        for symbol, open_, rise, fall, where in sorted(what.bars):
            high, low = open_ * (1 + rise), open_ * (1 - fall)
            bars.append(bar(minute, open_, high, low, low + where * (high - low), symbol))
    return broker, orders, news


def assert_accounts_agree(broker: PaperBroker, news: Sequence[Execution]) -> None:
    """Cash + positions at cost = start + what the sales brought over their entries."""
    held: dict[str, Execution] = {}
    realised = 0.0
    for fill in [e for e in news if e.kind == "fill"]:
        if fill.side == "BUY":
            assert fill.symbol not in held
            held[fill.symbol] = fill
        else:
            entry = held.pop(fill.symbol)
            assert fill.qty == entry.qty
            realised += (fill.price - entry.price) * fill.qty
    positions = broker.positions()
    assert {s: (p.qty, p.entry_price) for s, p in positions.items()} == {s: (e.qty, e.price) for s, e in held.items()}
    account = broker.account()
    assert account.cash >= 0.0
    assert account.cash + sum(p.qty * p.entry_price for p in positions.values()) == pytest.approx(
        CASH + realised, abs=1e-6
    )
    assert 0.0 <= account.buying_power <= account.cash


@given(st.lists(wild_minutes, max_size=25))
@settings(max_examples=150)
def test_no_dollar_is_made_or_lost_and_every_order_ends_once_whatever_happens(minutes: list[Minute]) -> None:
    with TemporaryDirectory() as folder:
        broker, orders, news = play(minutes, Path(folder, "restarted.json"), restarts=True)
        unbroken, _, the_same = play(minutes, Path(folder, "unbroken.json"), restarts=False)
    assert len({e.id for e in news}) == len(news)
    ended = Counter(e.order_id for e in news)
    working = Counter(order.id for order in broker.working_orders())
    assert {order.id: ended[order.id] + working[order.id] for order in orders} == {order.id: 1 for order in orders}
    assert the_same == news
    assert unbroken.recent_executions() == broker.recent_executions() == news


@pytest.mark.parametrize(
    "content",
    [
        '{"schema":2,"cash":1.0,"settled_minute":1,"positions":[],"orders":[],"executions":[]}',
        '{"cash":1.0,"settled_minute":1,"positions":[],"orders":[],"executions":[]}',
        '{"schema":1,"cash":NaN,"settled_minute":1,"positions":[],"orders":[],"executions":[]}',
        '{"schema":1,"cash":1.0,"settled_minute":Infinity,"positions":[],"orders":[],"executions":[]}',
    ],
)
def test_an_account_of_another_schema_or_with_nan_is_refused(tmp_path, content):
    path = tmp_path / "paper_account.json"
    path.write_text(content)
    with pytest.raises(BadAccountFile):
        PaperBroker(path, 1.0, 0.0)


def test_what_was_split_while_it_is_held_is_neither_sold_nor_valued_at_the_new_prices() -> None:
    broker = holding()
    equity = broker.account().equity
    broker.leave_alone({NVDA})
    assert broker.settle(12, [bar(11, 10.0)]) == []
    assert (broker.positions()[NVDA].qty, broker.account().equity) == (5, equity)
    broker.leave_alone(set())
    assert [e.reason for e in broker.settle(13, [bar(12, 10.0)])] == ["stop"]

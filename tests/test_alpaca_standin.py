"""The stand-in for Alpaca, asked through alpaca-py over real HTTP: what a client sees is what the description says.

The tape is made for these tests: every symbol trades at 100.00 a minute long, except for one event at 10:00.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import MostActivesBy
from alpaca.data.historical.screener import ScreenerClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.models import Bar
from alpaca.data.requests import (
    MostActivesRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.models import Order
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetCalendarRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopOrderRequest,
)
from standin import StandIn, StandInFailed

from market.hours import sessions_between

MONDAY = date(2026, 3, 2)
OPEN = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
NOON = datetime(2026, 3, 2, 17, tzinfo=UTC)
CLOSE = datetime(2026, 3, 2, 21, tzinfo=UTC)
EVENT = OPEN + timedelta(minutes=30)
NESTED = GetOrderByIdRequest(nested=True)
CALM = (100.0, 100.05, 99.95, 100.0)
EVENTS = {
    "NVDA": CALM,
    "DIP": (100.0, 100.1, 97.0, 100.0),
    "RISE": (100.0, 105.0, 99.9, 100.0),
    "BOTH": (100.0, 105.0, 97.0, 100.0),
    "GAPD": (96.0, 96.5, 95.0, 96.0),
    "GAPU": (106.0, 107.0, 95.0, 106.0),
    "SPY": CALM,
}


def tape() -> pd.DataFrame:
    """A week of 390-minute sessions; THIN trades every fifth minute only."""
    rows = []
    for session in sessions_between(MONDAY, MONDAY + timedelta(days=4)):
        for minute in range(session.minutes):
            when = session.open + timedelta(minutes=minute)
            for symbol, event in EVENTS.items():
                rows.append((symbol, when, *(event if when == EVENT else CALM), 1000 + minute))
            if minute % 5 == 0:
                rows.append(("THIN", when, *CALM, 50))
    frame = pd.DataFrame(rows, columns=["symbol", "timestamp", "open", "high", "low", "close", "volume"])
    return frame.astype({"volume": "float64"})


@dataclass
class Client:
    """alpaca-py's three clients on one stand-in; `alpaca` is the trading one."""

    standin: StandIn
    alpaca: TradingClient
    data: StockHistoricalDataClient
    screener: ScreenerClient

    def buy(self, symbol: str = "NVDA", qty: float = 10, **more: Any) -> Order:
        fields = {"symbol": symbol, "qty": qty, "side": "buy", "time_in_force": "day"}
        return self.alpaca.submit_order(MarketOrderRequest(**fields | more))

    def sell(self, symbol: str = "NVDA", qty: float = 10, **more: Any) -> Order:
        return self.buy(symbol, qty, **{"side": "sell"} | more)

    def bracket(
        self, symbol: str = "NVDA", qty: float = 10, stop: float = 98, target: float = 104, **more: Any
    ) -> Order:
        legs = {"take_profit": {"limit_price": target}, "stop_loss": {"stop_price": stop}}
        return self.buy(symbol, qty, **{"time_in_force": "gtc", "order_class": "bracket"} | legs | more)

    def seen(self, order: Order) -> Order:
        """The order as it is now, with its legs."""
        return self.alpaca.get_order_by_id(order.id, NESTED)

    def legs(self, order: Order) -> dict[str, str]:
        """Each leg's type and status."""
        return {leg.type.value: leg.status.value for leg in self.seen(order).legs or []}

    def raw(self, path: str, method: str = "GET", **more: Any) -> requests.Response:
        """A request that alpaca-py would not send."""
        keys = {"APCA-API-KEY-ID": self.standin.KEY, "APCA-API-SECRET-KEY": self.standin.SECRET}
        return requests.request(method, self.standin.api + path, headers=keys, timeout=10, **more)


def client_of(standin: StandIn) -> Client:
    kinds = (TradingClient, StockHistoricalDataClient, ScreenerClient)
    clients = [kind(standin.KEY, standin.SECRET, url_override=standin.api) for kind in kinds]
    for client in clients:
        client._retry_wait = 0
    return Client(standin, *clients)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tape") / "bars.parquet"
    tape().to_parquet(path)
    return path


@pytest.fixture(scope="module")
def process(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with StandIn.start(tmp_path_factory.mktemp("standin"), bars=bars) as standin:
        yield standin


@pytest.fixture
def client(process: StandIn) -> Client:
    """Ten seconds into Monday's session, whole fills at the quote."""
    process.reset(OPEN + timedelta(seconds=10))
    process.settings(partial_share=0, rate_limit=None)
    return client_of(process)


@pytest.fixture
def by_bars(client: Client) -> Client:
    """The same with the fills of a backtest."""
    client.standin.settings(fill_model="bar_open")
    return client


def refusal(caught: pytest.ExceptionInfo[APIError]) -> tuple[int, dict[str, Any]]:
    return caught.value.status_code, json.loads(str(caught.value))


# -- account, clock, calendar, assets --------------------------------------------------------------------------------


def test_a_new_account_has_its_cash_and_no_day_trading_fields(client: Client) -> None:
    account = client.alpaca.get_account()
    assert (account.cash, account.equity, account.buying_power) == ("100000.00", "100000.00", "400000.00")
    assert account.status.value == "ACTIVE"
    assert account.daytrade_count is None
    assert "pattern_day_trader" not in client.raw("/v2/account").json()


def test_equity_is_cash_plus_shares_and_buying_power_falls_with_the_order(client: Client) -> None:
    client.buy(qty=100)
    assert float(client.alpaca.get_account().buying_power) == pytest.approx(390_000, abs=5)
    client.standin.advance(1)
    account = client.alpaca.get_account()
    assert float(account.equity) == float(account.cash) + float(account.long_market_value)
    assert 90_000 < float(account.cash) < 90_010


def test_control_overrides_the_account_and_a_blocked_one_takes_no_orders(client: Client) -> None:
    client.standin.account(trading_blocked=True, last_equity=None)
    account = client.alpaca.get_account()
    assert account.trading_blocked
    assert account.last_equity is None
    with pytest.raises(APIError) as caught:
        client.buy()
    assert refusal(caught)[0] == 403
    client.standin.account(trading_blocked=False, cash=500)
    assert client.alpaca.get_account().cash == "500.00"


def test_the_clock_is_new_york_s_and_stands_until_it_is_moved(client: Client) -> None:
    clock = client.alpaca.get_clock()
    assert clock.timestamp == OPEN + timedelta(seconds=10) == client.alpaca.get_clock().timestamp
    assert clock.timestamp.utcoffset() == timedelta(hours=-5)
    assert (clock.is_open, clock.next_close) == (True, CLOSE)
    client.standin.set_clock(CLOSE)
    assert not client.alpaca.get_clock().is_open
    client.standin.set_clock("2026-03-09T13:30:00Z")
    assert client.alpaca.get_clock().timestamp.utcoffset() == timedelta(hours=-4)


def test_the_calendar_knows_holidays_and_early_closes(client: Client) -> None:
    days = client.alpaca.get_calendar(GetCalendarRequest(start=date(2026, 11, 25), end=date(2026, 11, 29)))
    assert [(str(day.date), f"{day.close:%H:%M}") for day in days] == [("2026-11-25", "16:00"), ("2026-11-27", "13:00")]


def test_an_early_close_on_demand_ends_the_session_for_clock_calendar_and_orders(client: Client) -> None:
    client.standin.set_clock(NOON)
    order = client.alpaca.submit_order(
        LimitOrderRequest(symbol="NVDA", qty=1, side="buy", limit_price=90, time_in_force="day")
    )
    client.standin.fault("early_close", time="13:00")
    assert client.alpaca.get_clock().next_close == NOON + timedelta(hours=1)
    day = client.alpaca.get_calendar(GetCalendarRequest(start=MONDAY, end=MONDAY))[0]
    assert f"{day.close:%H:%M}" == "13:00"
    client.standin.set_clock(NOON + timedelta(hours=2))
    assert client.seen(order).status.value == "expired"
    assert client.buy().status.value == "accepted"
    latest = client.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="NVDA"))
    assert latest["NVDA"].timestamp == NOON + timedelta(minutes=59)


def test_assets_parse_and_include_what_a_trader_leaves_alone(client: Client) -> None:
    assets = {asset.symbol: asset for asset in client.alpaca.get_all_assets()}
    assert assets["NVDA"].tradable
    assert assets["SPY"].exchange.value == "ARCA"
    assert "ETF" in str(assets["SOXL"].name)
    assert (assets["GONE"].status.value, assets["NOTR"].tradable, assets["OTCQY"].exchange.value) == (
        "inactive",
        False,
        "OTC",
    )
    assert client.alpaca.get_asset("NVDA").id == client.alpaca.get_asset(assets["NVDA"].id).id
    with pytest.raises(APIError) as caught:
        client.alpaca.get_asset("NOSUCH")
    assert refusal(caught)[0] == 404


def test_a_dropped_borrow_field_breaks_alpaca_py(client: Client) -> None:
    client.standin.settings(variants={"borrow_fields": "borrow_status"})
    assert "easy_to_borrow" not in client.raw("/v2/assets/NVDA").json()


# -- the life of an order at the quote -------------------------------------------------------------------------------


def test_a_market_order_is_taken_first_and_filled_at_the_ask_later(client: Client) -> None:
    order = client.buy()
    assert (order.status.value, order.filled_qty) == ("pending_new", "0")
    client.standin.advance(0.1)
    assert client.seen(order).status.value == "new"
    client.standin.advance(0.1)
    filled = client.seen(order)
    ask = client.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="NVDA"))["NVDA"].ask_price
    assert (filled.status.value, float(filled.filled_avg_price)) == ("filled", ask)
    assert filled.filled_at == OPEN + timedelta(seconds=10.2)


def test_a_partial_fill_is_completed_by_a_later_move_of_the_clock(client: Client) -> None:
    client.standin.settings(partial_share=1, seed=3)
    order = client.buy()
    client.standin.advance(60)
    part = client.seen(order)
    assert part.status.value == "partially_filled"
    assert 0 < float(part.filled_qty) < 10
    assert client.alpaca.get_open_position("NVDA").qty == part.filled_qty
    client.standin.advance(1)
    assert client.seen(order).status.value == "filled"


def test_a_bracket_s_legs_wait_for_the_entry_and_then_hold_the_shares_once(client: Client) -> None:
    order = client.bracket()
    assert [leg.status.value for leg in order.legs] == ["held", "held"]
    client.standin.advance(1)
    assert client.legs(order) == {"limit": "new", "stop": "held"}
    position = client.alpaca.get_open_position("NVDA")
    assert (position.qty, position.qty_available) == ("10", "0")
    raw = client.raw(f"/v2/orders/{order.id}?nested=true").json()
    assert {raw["group_role"], *(leg["group_role"] for leg in raw["legs"])} == {"entry", "take_profit", "stop_loss"}


def test_a_partly_filled_entry_leaves_its_legs_held(client: Client) -> None:
    client.standin.settings(partial_share=1)
    order = client.bracket()
    client.standin.advance(1)
    assert set(client.legs(order).values()) == {"held"}
    client.alpaca.cancel_order_by_id(order.id)
    assert client.seen(order).status.value == "canceled"
    assert set(client.legs(order).values()) == {"canceled"}
    assert float(client.alpaca.get_open_position("NVDA").qty_available) > 0


def test_the_stop_sells_at_the_bid_and_the_target_goes(client: Client) -> None:
    order = client.bracket("DIP")
    client.standin.set_clock(EVENT + timedelta(minutes=1))
    assert client.legs(order) == {"limit": "canceled", "stop": "filled"}
    stop = client.seen(order).legs[1]
    assert 97.9 < float(stop.filled_avg_price) < 98
    assert EVENT < stop.filled_at < EVENT + timedelta(seconds=15)
    assert client.alpaca.get_all_positions() == []


def test_the_target_sells_at_its_price_and_the_stop_goes(client: Client) -> None:
    client.standin.settings(variants={"stop_loss_after_target": "replaced"})
    order = client.bracket("RISE")
    client.standin.set_clock(EVENT + timedelta(minutes=1))
    assert client.legs(order) == {"limit": "filled", "stop": "replaced"}
    assert float(client.seen(order).legs[0].filled_avg_price) == 104


def test_the_target_is_replaced_after_the_stop_in_the_other_variant(client: Client) -> None:
    client.standin.settings(variants={"target_after_stop": "replaced"})
    order = client.bracket("DIP")
    client.standin.set_clock(EVENT + timedelta(minutes=1))
    assert client.legs(order) == {"limit": "replaced", "stop": "filled"}


def test_a_partial_target_shrinks_the_stop(client: Client) -> None:
    order = client.bracket("RISE")
    client.standin.advance(1)
    client.standin.settings(partial_share=1)
    client.standin.set_clock(EVENT + timedelta(seconds=59))
    target, stop = client.seen(order).legs
    assert target.status.value == "partially_filled"
    assert float(stop.qty) == 10 - float(target.filled_qty)


def test_a_gap_fills_the_stop_where_the_market_opens(client: Client) -> None:
    order = client.bracket("GAPD")
    client.standin.set_clock(EVENT + timedelta(minutes=1))
    stop = client.seen(order).legs[1]
    assert (stop.status.value, stop.filled_at) == ("filled", EVENT)
    assert 95.9 < float(stop.filled_avg_price) < 96


def test_day_legs_expire_at_the_close_and_gtc_legs_stay(client: Client) -> None:
    day, gtc = client.bracket(time_in_force="day"), client.bracket("SPY")
    client.standin.set_clock(CLOSE)
    assert set(client.legs(day).values()) == {"expired"}
    assert client.legs(gtc) == {"limit": "new", "stop": "held"}
    assert len(client.alpaca.get_all_positions()) == 2


def test_an_order_before_the_open_is_queued_until_half_past_nine(client: Client) -> None:
    client.standin.reset(OPEN - timedelta(days=3))
    client.standin.set_clock(OPEN - timedelta(hours=5))
    client.standin.settings(partial_share=0)
    with pytest.raises(APIError):
        client.buy()  # no trade yet, so there is no such security
    client.standin.reset(OPEN + timedelta(hours=19))
    order = client.buy()
    assert order.status.value == "accepted"
    client.standin.set_clock(OPEN + timedelta(hours=24))
    assert client.seen(order).status.value == "new"
    client.standin.advance(1)
    assert client.seen(order).filled_at == OPEN + timedelta(hours=24, seconds=0.2)


def test_positions_show_late_and_money_at_once(client: Client) -> None:
    client.standin.settings(positions_lag_seconds=8)
    client.buy()
    client.standin.advance(1)
    assert client.alpaca.get_all_positions() == []
    assert client.standin.positions()["NVDA"]["qty"] == "10"
    assert float(client.alpaca.get_account().cash) < 100_000
    client.standin.advance(8)
    assert client.alpaca.get_open_position("NVDA").qty == "10"


def test_a_cancel_takes_its_time_and_takes_the_group_along(client: Client) -> None:
    client.standin.settings(cancel_lag_seconds=7)
    order = client.bracket()
    client.standin.advance(1)
    client.alpaca.cancel_order_by_id(client.seen(order).legs[1].id)
    assert set(client.legs(order).values()) == {"pending_cancel"}
    with pytest.raises(APIError) as caught:
        client.alpaca.close_position("NVDA")
    assert refusal(caught)[1]["held_for_orders"] == "10"
    client.standin.advance(7)
    assert set(client.legs(order).values()) == {"canceled"}
    assert client.alpaca.get_open_position("NVDA").qty_available == "10"


def test_an_entry_that_fills_before_its_cancel_completes_keeps_its_legs(client: Client) -> None:
    client.standin.settings(cancel_lag_seconds=7)
    order = client.bracket()
    client.alpaca.cancel_order_by_id(order.id)
    client.standin.advance(10)
    assert client.seen(order).status.value == "filled"
    assert client.legs(order) == {"limit": "new", "stop": "held"}


def test_a_queued_order_cannot_be_replaced_but_canceled(client: Client) -> None:
    client.standin.set_clock(CLOSE)
    order = client.alpaca.submit_order(
        LimitOrderRequest(symbol="NVDA", qty=1, side="buy", limit_price=90, time_in_force="gtc")
    )
    with pytest.raises(APIError) as caught:
        client.alpaca.replace_order_by_id(order.id, ReplaceOrderRequest(limit_price=91))
    assert refusal(caught)[1]["message"] == "cannot replace order in accepted status"
    client.alpaca.cancel_order_by_id(order.id)
    assert client.seen(order).status.value == "canceled"


def test_only_a_limit_order_for_extended_hours_fills_before_the_open(client: Client) -> None:
    client.standin.set_clock(OPEN + timedelta(hours=21))
    fields = {"symbol": "NVDA", "qty": 1, "side": "buy", "limit_price": 101, "time_in_force": "day"}
    early = client.alpaca.submit_order(LimitOrderRequest(**fields, extended_hours=True))
    plain = client.alpaca.submit_order(LimitOrderRequest(**fields))
    client.standin.advance(1)
    assert [client.seen(order).status.value for order in (early, plain)] == ["filled", "accepted"]
    client.standin.set_clock(OPEN + timedelta(days=1, seconds=1))
    assert client.seen(plain).filled_avg_price == client.seen(early).filled_avg_price


def test_dollars_buy_a_fraction_of_shares(client: Client) -> None:
    order = client.alpaca.submit_order(MarketOrderRequest(symbol="NVDA", notional=150, side="buy", time_in_force="day"))
    client.standin.advance(1)
    assert float(client.seen(order).filled_qty) == pytest.approx(1.5, rel=1e-3)


def test_a_filled_order_cannot_be_canceled(client: Client) -> None:
    order = client.buy()
    client.standin.advance(1)
    with pytest.raises(APIError) as caught:
        client.alpaca.cancel_order_by_id(order.id)
    assert refusal(caught) == (422, {"code": 42210000, "message": 'order is already in "filled" state'})


def test_a_replaced_stop_is_a_new_order_in_the_same_group(client: Client) -> None:
    order = client.bracket()
    client.standin.advance(1)
    old = client.seen(order).legs[1]
    new = client.alpaca.replace_order_by_id(old.id, ReplaceOrderRequest(stop_price=99))
    assert (new.replaces, new.status.value, new.stop_price) == (old.id, "held", "99")
    was = client.alpaca.get_order_by_id(old.id)
    assert (was.status.value, was.replaced_by) == ("replaced", new.id)
    assert client.seen(order).legs[1].id == new.id
    client.standin.settings(variants={"leg_replace_allowed_while_held": False})
    with pytest.raises(APIError) as caught:
        client.alpaca.replace_order_by_id(new.id, ReplaceOrderRequest(stop_price=98))
    assert refusal(caught)[0] == 422


def test_an_oco_protects_a_position_that_is_there(client: Client) -> None:
    client.buy("DIP")
    client.standin.advance(1)
    exits = {"take_profit": {"limit_price": 104}, "stop_loss": {"stop_price": 98}}
    order = client.alpaca.submit_order(
        LimitOrderRequest(
            symbol="DIP", qty=10, side="sell", time_in_force="gtc", order_class="oco", limit_price=104, **exits
        )
    )
    assert (order.type.value, order.limit_price, [leg.type.value for leg in order.legs]) == ("limit", "104", ["stop"])
    assert client.alpaca.get_open_position("DIP").qty_available == "0"
    client.standin.set_clock(EVENT + timedelta(minutes=1))
    assert client.seen(order).status.value == "canceled"
    assert client.legs(order) == {"stop": "filled"}


def test_a_position_is_closed_in_part_or_whole(client: Client) -> None:
    client.buy()
    client.standin.advance(1)
    part = client.alpaca.close_position("NVDA", ClosePositionRequest(percentage="50"))
    assert (part.side.value, part.qty, part.position_intent.value) == ("sell", "5", "sell_to_close")
    client.standin.advance(1)
    client.alpaca.close_position("NVDA")
    client.standin.advance(1)
    with pytest.raises(APIError) as caught:
        client.alpaca.get_open_position("NVDA")
    assert refusal(caught) == (404, {"code": 40410000, "message": "position does not exist"})


@pytest.mark.parametrize("variant", ["capped", "full"])
def test_legs_may_not_know_what_was_sold_before_their_entry_was_complete(client: Client, variant: str) -> None:
    client.standin.settings(variants={"legs_after_partial_close": variant}, partial_share=1, seed=3)
    order = client.bracket()
    client.standin.advance(1)
    bought = client.alpaca.get_open_position("NVDA").qty
    client.standin.settings(partial_share=0)
    client.alpaca.close_position("NVDA")
    client.standin.advance(1)
    client.standin.advance(1)
    rest = str(10 - int(bought))
    assert [leg.qty for leg in client.seen(order).legs] == [rest if variant == "capped" else "10"] * 2


def test_closing_everything_hides_a_refusal_inside_a_207(client: Client) -> None:
    client.bracket()
    client.buy("SPY")
    client.standin.advance(1)
    answers = {item.symbol: item for item in client.alpaca.close_all_positions()}
    assert (answers["NVDA"].status, answers["SPY"].status) == (403, 200)
    assert "insufficient qty" in answers["NVDA"].body.message
    client.standin.advance(1)
    assert [item.status for item in client.alpaca.close_all_positions(cancel_orders=True)] == [200]
    client.standin.advance(1)
    assert client.standin.positions() == {}


def test_canceling_everything_answers_for_each_order(client: Client) -> None:
    client.bracket()
    client.standin.advance(1)
    answers = client.alpaca.cancel_orders()
    assert [answer.status for answer in answers] == [200]
    assert client.alpaca.get_orders() == []


def test_selling_what_one_does_not_have_opens_a_short_position(client: Client) -> None:
    client.sell(qty=5)
    client.standin.advance(1)
    position = client.alpaca.get_open_position("NVDA")
    assert (position.qty, position.side.value) == ("-5", "short")


# -- lists of orders -------------------------------------------------------------------------------------------------


def test_a_flat_open_list_hides_the_held_stop_and_a_nested_one_shows_it(client: Client) -> None:
    order = client.bracket()
    client.standin.advance(1)
    assert [o.type.value for o in client.alpaca.get_orders()] == ["limit"]
    nested = client.alpaca.get_orders(GetOrdersRequest(nested=True))
    assert [(o.id, len(o.legs)) for o in nested] == [(order.id, 2)]
    client.standin.settings(variants={"nested_open_shows_filled_parent": False})
    assert [o.type.value for o in client.alpaca.get_orders(GetOrdersRequest(nested=True))] == ["limit"]


def test_orders_are_chosen_by_status_symbol_side_and_time(client: Client) -> None:
    client.buy()
    client.standin.advance(10)
    middle = client.standin.now()
    client.buy("SPY")
    client.standin.advance(10)
    client.sell("SPY")

    def symbols(**chosen: Any) -> list[str]:
        return [order.symbol for order in client.alpaca.get_orders(GetOrdersRequest(**chosen))]

    assert symbols() == ["SPY"]
    assert symbols(status="all") == ["SPY", "SPY", "NVDA"]
    assert symbols(status="closed", direction="asc") == ["NVDA", "SPY"]
    assert symbols(status="all", after=middle) == ["SPY"]
    assert symbols(status="all", until=middle) == ["NVDA"]
    assert symbols(status="all", symbols=["NVDA"]) == ["NVDA"]
    assert symbols(status="all", side="sell") == ["SPY"]
    assert symbols(status="all", limit=1) == ["SPY"]


def test_an_order_is_found_by_the_client_s_own_id(client: Client) -> None:
    order = client.bracket(client_order_id="mine")
    found = client.alpaca.get_order_by_client_id("mine")
    assert (found.id, len(found.legs)) == (order.id, 2)
    with pytest.raises(APIError) as caught:
        client.alpaca.get_order_by_client_id("another")
    assert refusal(caught)[0] == 404


# -- fills by bars ---------------------------------------------------------------------------------------------------


def test_by_bars_a_market_order_fills_at_once_at_the_open_of_its_minute(by_bars: Client) -> None:
    by_bars.standin.set_clock(EVENT + timedelta(seconds=3))
    order = by_bars.buy("GAPU", 3)
    assert order.status.value == "pending_new"
    filled = by_bars.seen(order)
    assert (filled.status.value, filled.filled_avg_price) == ("filled", "106")
    assert filled.filled_at == EVENT + timedelta(seconds=3)


def test_by_bars_a_minute_without_a_bar_fills_at_the_next_one(by_bars: Client) -> None:
    by_bars.standin.advance(60)
    order = by_bars.buy("THIN")
    by_bars.standin.set_clock(OPEN + timedelta(minutes=4, seconds=59))
    assert by_bars.seen(order).status.value == "new"
    by_bars.standin.advance(1)
    assert by_bars.seen(order).filled_at == OPEN + timedelta(minutes=5)


def test_by_bars_a_queued_order_fills_at_the_first_open(by_bars: Client) -> None:
    by_bars.standin.set_clock(CLOSE + timedelta(hours=12))
    order = by_bars.buy()
    by_bars.standin.set_clock(OPEN + timedelta(days=1))
    assert by_bars.seen(order).filled_at == OPEN + timedelta(days=1)


@pytest.mark.parametrize(
    ("symbol", "sold", "price"),
    [
        ("DIP", "stop", "98"),
        ("RISE", "limit", "104"),
        ("BOTH", "stop", "98"),
        ("GAPD", "stop", "96"),
        ("GAPU", "limit", "106"),
    ],
)
def test_by_bars_exits_are_judged_when_their_bar_has_ended(by_bars: Client, symbol: str, sold: str, price: str) -> None:
    order = by_bars.bracket(symbol)
    by_bars.standin.set_clock(EVENT + timedelta(seconds=59))
    assert by_bars.legs(order) == {"limit": "new", "stop": "held"}
    by_bars.standin.advance(1)
    leg = next(leg for leg in by_bars.seen(order).legs if leg.status.value == "filled")
    assert (leg.type.value, leg.filled_avg_price) == (sold, price)
    assert leg.filled_at == EVENT + timedelta(seconds=30)
    assert by_bars.standin.positions() == {}


def test_by_bars_the_entry_s_own_bar_can_stop_it_but_not_by_a_gap(by_bars: Client) -> None:
    by_bars.standin.set_clock(EVENT + timedelta(seconds=2))
    order = by_bars.bracket("DIP")
    by_bars.standin.advance(58)
    assert by_bars.seen(order).legs[1].filled_avg_price == "98"


def test_by_bars_the_levels_are_those_that_stand_when_the_bar_ends(by_bars: Client) -> None:
    order = by_bars.bracket("DIP")
    by_bars.standin.set_clock(EVENT + timedelta(seconds=40))
    stop = by_bars.seen(order).legs[1]
    by_bars.alpaca.replace_order_by_id(stop.id, ReplaceOrderRequest(stop_price=96.5))
    by_bars.standin.advance(60)
    assert by_bars.legs(order) == {"limit": "new", "stop": "held"}


# -- what is refused -------------------------------------------------------------------------------------------------

BRACKET = {"order_class": "bracket", "take_profit": {"limit_price": "104"}, "stop_loss": {"stop_price": "98"}}
PLAIN = {"symbol": "NVDA", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day"}
SUB_PENNY = "sub-penny increment does not fulfill minimum pricing criteria"


@pytest.mark.parametrize(
    ("change", "status", "code", "message"),
    [
        ({"qty": None}, 422, 40010001, "qty is required"),
        ({"symbol": None}, 422, 40010001, "symbol is required"),
        ({"side": "hold"}, 422, 40010001, "invalid side hold"),
        ({"qty": "ten"}, 422, 40010001, "qty is invalid"),
        ({"colour": "red"}, 422, 40010001, "unknown field colour"),
        (
            {"extended_hours": True},
            422,
            40010001,
            'only type="limit" is allowed for extended hours orders',
        ),
        (
            {"type": "limit", "limit_price": 90.123},
            422,
            42210000,
            f"invalid limit_price 90.123. {SUB_PENNY}",
        ),
        (
            BRACKET | {"stop_loss": {"stop_price": "98.005"}},
            422,
            42210000,
            f"invalid stop_loss.stop_price 98.005. {SUB_PENNY}",
        ),
        (BRACKET | {"take_profit": None}, 422, 42210000, "bracket orders require take_profit.limit_price"),
        (BRACKET | {"stop_loss": None}, 422, 42210000, "bracket orders require stop_loss.stop_price"),
        (BRACKET | {"qty": "1.5"}, 422, 42210000, "fractional orders must be simple orders"),
        ({"qty": "1.5", "time_in_force": "gtc"}, 422, 42210000, "fractional orders must be DAY orders"),
        (
            BRACKET | {"take_profit": {"limit_price": "99.9"}},
            422,
            42210000,
            "take_profit.limit_price must be >= base_price + 0.01",
        ),
        (
            BRACKET | {"stop_loss": {"stop_price": "100"}},
            422,
            42210000,
            "stop_loss.stop_price must be <= base_price - 0.01",
        ),
        (
            {"type": "stop", "side": "sell", "stop_price": "101"},
            422,
            42210000,
            "stop price must be less than current price",
        ),
        ({"qty": "5000"}, 403, 40310000, "insufficient buying power"),
        (
            {"time_in_force": "opg"},
            403,
            40310000,
            "opg orders must be submitted after 7:00pm and before 9:28am",
        ),
        ({"symbol": "GONE"}, 422, 42210000, "asset GONE is not active"),
        ({"symbol": "NOTR"}, 422, 42210000, "asset NOTR is not tradable"),
        ({"symbol": "NOSUCH"}, 422, 42210000, 'asset "NOSUCH" not found'),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused_in_alpaca_s_words(
    client: Client, change: dict[str, Any], status: int, code: int, message: str
) -> None:
    answer = client.raw("/v2/orders", "POST", json={k: v for k, v in (PLAIN | change).items() if v is not None})
    assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (status, code, message)
    assert ("base_price" in answer.json()) == ("base_price" in message)
    assert client.standin.orders() == []


def test_a_client_order_id_is_used_once_and_never_again(client: Client) -> None:
    order = client.alpaca.submit_order(
        LimitOrderRequest(symbol="NVDA", qty=1, side="buy", limit_price=90, time_in_force="day", client_order_id="x")
    )
    client.alpaca.cancel_order_by_id(order.id)
    with pytest.raises(APIError) as caught:
        client.buy(client_order_id="x")
    assert refusal(caught) == (422, {"code": 40010001, "message": "client_order_id must be unique"})


def test_shares_that_legs_hold_cannot_be_sold_twice(client: Client) -> None:
    order = client.bracket()
    client.standin.advance(1)
    with pytest.raises(APIError) as caught:
        client.sell(qty=9)
    status, body = refusal(caught)
    assert (status, body["code"]) == (403, 40310000)
    assert body["message"] == "insufficient qty available for order (requested: 9, available: 0)"
    assert (body["available"], body["existing_qty"], body["held_for_orders"], body["symbol"]) == (
        "0",
        "10",
        "10",
        "NVDA",
    )
    assert body["related_orders"] == [str(leg.id) for leg in client.seen(order).legs]


def test_a_bracket_does_not_exit(client: Client) -> None:
    client.buy()
    client.standin.advance(1)
    with pytest.raises(APIError) as caught:
        client.bracket(side="sell", stop=104, target=96)
    assert refusal(caught)[1]["message"] == "bracket orders must be entry orders"


@pytest.mark.parametrize(("variant", "code"), [(403, 40310000), (422, 42210000)])
def test_a_plain_buy_does_not_meet_a_resting_plain_stop(client: Client, variant: int, code: int) -> None:
    client.standin.settings(variants={"wash_trade_status": variant})
    client.buy()
    client.standin.advance(1)
    client.alpaca.submit_order(StopOrderRequest(symbol="NVDA", qty=10, side="sell", stop_price=95, time_in_force="gtc"))
    with pytest.raises(APIError) as caught:
        client.buy()
    status, body = refusal(caught)
    assert (status, body["code"]) == (variant, code)
    assert body["message"] == "potential wash trade detected. use complex orders"
    assert client.bracket().status.value == "pending_new"


def test_legs_without_a_class_are_taken_as_no_legs(client: Client) -> None:
    answer = client.raw("/v2/orders", "POST", json=PLAIN | BRACKET | {"order_class": ""})
    assert (answer.status_code, answer.json()["legs"]) == (200, None)


def test_a_stranger_s_keys_are_forbidden(client: Client) -> None:
    client.standin.keys("PKOTHER0000000000AAA", "othersecret00000000000000")
    with pytest.raises(APIError) as caught:
        client.alpaca.get_account()
    assert refusal(caught) == (403, {"message": "forbidden."})


def test_beyond_the_rate_limit_there_is_429_and_the_headers_always_say_where_one_stands(client: Client) -> None:
    client.standin.settings(rate_limit=2)
    answers = [client.raw("/v2/clock") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert client.raw("/v2/stocks/bars/latest?symbols=SPY").status_code == 200


def test_what_the_stand_in_does_not_have_is_refused_and_logged(client: Client) -> None:
    assert client.raw("/v2/watchlists").status_code == 404
    assert client.raw("/v2/orders?colour=red").status_code == 400
    assert [entry["unknown"] for entry in client.standin.requests()] == ["path", "parameter colour"]


# -- market data -----------------------------------------------------------------------------------------------------


def bars_of(client: Client, *symbols: str, **more: Any) -> dict[str, list[Bar]]:
    asked = {"symbol_or_symbols": list(symbols), "timeframe": TimeFrame.Minute, "start": OPEN, "feed": "iex"}
    return client.data.get_stock_bars(StockBarsRequest(**asked | more)).data


def test_paging_brings_every_bar_once(client: Client) -> None:
    client.standin.set_clock(CLOSE + timedelta(days=4, seconds=2))
    expected = tape().groupby("symbol")["timestamp"].apply(list).to_dict()
    found = bars_of(client, *expected)
    assert {symbol: [bar.timestamp for bar in bars] for symbol, bars in found.items()} == expected
    pages = [entry["query"].get("page_token") for entry in client.standin.requests("/v2/stocks/bars")]
    assert len(pages) == 2


def test_a_page_may_end_in_the_middle_of_a_symbol(client: Client) -> None:
    client.standin.set_clock(OPEN + timedelta(minutes=12))
    path = f"/v2/stocks/bars?symbols=SPY,NVDA&timeframe=1Min&feed=iex&limit=7&start={OPEN:%Y-%m-%dT%H:%M:%SZ}"
    seen, token, pages = [], "", 0
    while token is not None:
        body = client.raw(path + (f"&page_token={token}" if token else "")).json()
        seen += [(symbol, bar["t"]) for symbol, bars in body["bars"].items() for bar in bars]
        token, pages = body["next_page_token"], pages + 1
    assert len(seen) == len(set(seen)) == 22
    assert seen == sorted(seen)
    assert pages == 4


def test_only_published_bars_are_served(client: Client) -> None:
    client.standin.set_clock(OPEN + timedelta(minutes=3, seconds=0.9))
    assert [bar.timestamp.minute for bar in bars_of(client, "NVDA")["NVDA"]] == [30, 31]
    latest = client.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=["NVDA", "THIN"]))
    assert (latest["NVDA"].timestamp.minute, latest["THIN"].timestamp.minute) == (31, 30)
    client.standin.settings(bar_delay_seconds=0)
    assert len(bars_of(client, "NVDA")["NVDA"]) == 3


def test_the_start_and_the_end_belong_to_what_was_asked(client: Client) -> None:
    client.standin.set_clock(NOON)
    found = bars_of(client, "NVDA", start=OPEN + timedelta(minutes=1), end=OPEN + timedelta(minutes=3))
    assert [bar.timestamp.minute for bar in found["NVDA"]] == [31, 32, 33]
    assert bars_of(client, "NVDA", start=OPEN - timedelta(days=2), end=OPEN - timedelta(days=1)) == {}


def test_recent_sip_data_needs_a_subscription(client: Client) -> None:
    client.standin.set_clock(NOON)
    with pytest.raises(APIError) as caught:
        bars_of(client, "NVDA", feed="sip", end=NOON)
    message = {"message": "subscription does not permit querying recent SIP data"}
    assert refusal(caught) == (403, message)
    assert len(bars_of(client, "NVDA", feed="sip", end=NOON - timedelta(minutes=16))["NVDA"]) == 135
    with pytest.raises(APIError):
        client.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="NVDA", feed="sip"))
    client.standin.settings(feeds=["iex", "sip"])
    assert bars_of(client, "NVDA", feed="sip", end=NOON)


def test_quotes_trades_and_snapshots_agree(client: Client) -> None:
    quote = client.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="NVDA"))["NVDA"]
    trade = client.data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=["NVDA", "NOSUCH"]))
    assert list(trade) == ["NVDA"]
    assert quote.bid_price < trade["NVDA"].price < quote.ask_price
    client.standin.set_clock(OPEN + timedelta(days=1, minutes=2, seconds=2))
    snapshot = client.data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="NVDA"))["NVDA"]
    assert snapshot.minute_bar.timestamp == OPEN + timedelta(days=1, minutes=1)
    assert (snapshot.daily_bar.volume, snapshot.previous_daily_bar.close) == (2001, 100)


def test_bars_can_be_revised_hidden_and_restated(client: Client) -> None:
    client.standin.set_clock(OPEN + timedelta(minutes=3, seconds=2))
    client.standin.bars(revise={"symbol": "NVDA", "timestamp": OPEN.isoformat(), "close": 99.5})
    last = (OPEN + timedelta(minutes=2)).isoformat()
    client.standin.bars(hide={"symbol": "NVDA", "from": last, "to": last})
    assert [bar.close for bar in bars_of(client, "NVDA")["NVDA"]] == [99.5, 100]
    latest = client.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="NVDA"))
    assert latest["NVDA"].timestamp == OPEN + timedelta(minutes=1)
    client.standin.settings(variants={"restate": True})
    first = bars_of(client, "SPY")["SPY"][-1]
    client.standin.advance(30)
    assert first.volume < bars_of(client, "SPY")["SPY"][-1].volume == 1002


def test_a_split_divides_the_adjusted_past_the_shares_and_the_levels(client: Client) -> None:
    order = client.bracket()
    effective = OPEN + timedelta(days=1)
    client.standin.bars(split={"symbol": "NVDA", "ratio": 10, "effective": effective.isoformat()})
    client.standin.set_clock(effective + timedelta(minutes=2, seconds=2))
    for adjustment, expected in (("raw", (100, 10)), ("split", (10, 10))):
        found = bars_of(client, "NVDA", adjustment=adjustment)["NVDA"]
        assert (found[0].open, found[-1].open) == expected
    position = client.alpaca.get_open_position("NVDA")
    assert (position.qty, position.current_price) == ("100", "10")
    assert [leg.limit_price or leg.stop_price for leg in client.seen(order).legs] == ["10.4", "9.8"]


def test_most_actives_rank_by_volume_and_mix_in_what_is_not_tradable(client: Client) -> None:
    client.standin.set_clock(NOON)
    actives = client.screener.get_most_actives(MostActivesRequest(by=MostActivesBy.VOLUME, top=100))
    symbols = [active.symbol for active in actives.most_actives]
    assert symbols[:3] == ["PENY", "SOXL", "TQQQ"]
    assert {"NVDA", "NOTR", "GONE"} < set(symbols)
    client.standin.most_actives(only=["SPY", "PENY"])
    assert [
        a.symbol for a in client.screener.get_most_actives(MostActivesRequest(by=MostActivesBy.VOLUME)).most_actives
    ] == ["SPY", "PENY"]
    assert client.raw("/v1beta1/screener/stocks/most-actives?top=101").status_code == 400


# -- faults ----------------------------------------------------------------------------------------------------------


def test_a_504_after_booking_leaves_one_order_and_a_complaint_about_its_id(client: Client) -> None:
    client.standin.fault("error_after", method="POST", path="/v2/orders", status=504)
    with pytest.raises(APIError) as caught:
        client.buy(client_order_id="once")
    assert refusal(caught) == (422, {"code": 40010001, "message": "client_order_id must be unique"})
    assert [order["client_order_id"] for order in client.standin.orders()] == ["once"]


def test_a_504_that_stays_books_an_order_with_each_of_alpaca_py_s_attempts(client: Client) -> None:
    client.standin.fault("error_after", method="POST", path="/v2/orders", status=504, times=None)
    with pytest.raises(APIError) as caught:
        client.buy()
    assert caught.value.status_code == 504
    assert len(client.standin.orders()) == 4


@pytest.mark.parametrize(("fault", "booked"), [("reset_before", 0), ("reset_after", 1)])
def test_a_reset_says_nothing_about_the_order(client: Client, fault: str, booked: int) -> None:
    client.standin.fault(fault, method="POST", path="/v2/orders")
    with pytest.raises(requests.ConnectionError):
        client.buy()
    assert len(client.standin.orders()) == booked
    assert client.buy().status.value == "pending_new"


def test_an_answer_that_never_comes_ends_in_the_client_s_own_timeout(client: Client) -> None:
    client.standin.fault("hang", path="/v2/clock")
    keys = {"APCA-API-KEY-ID": client.standin.KEY, "APCA-API-SECRET-KEY": client.standin.SECRET}
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{client.standin.api}/v2/clock", headers=keys, timeout=0.2)
    assert client.raw("/v2/clock").status_code == 200


def test_a_slow_answer_is_a_right_answer(client: Client) -> None:
    client.standin.fault("slow", path="/v2/clock", seconds=0.3)
    assert client.raw("/v2/clock").elapsed.total_seconds() >= 0.3


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503])
def test_an_error_on_demand_books_nothing(client: Client, status: int) -> None:
    client.standin.fault("error", method="POST", path="/v2/orders", status=status, times=None)
    with pytest.raises(APIError) as caught:
        client.buy()
    assert caught.value.status_code == status
    assert client.standin.orders() == []


@pytest.mark.parametrize("booked", [False, True])
@pytest.mark.parametrize(("fault", "raised"), [("html_200", requests.JSONDecodeError), ("empty_200", TypeError)])
def test_a_200_without_json_may_have_booked_or_not(
    client: Client, fault: str, raised: type[Exception], booked: bool
) -> None:
    client.standin.fault(fault, method="POST", path="/v2/orders", booked=booked)
    with pytest.raises(raised):
        client.buy()
    assert len(client.standin.orders()) == booked


def test_half_an_answer_is_no_answer(client: Client) -> None:
    client.standin.fault("truncated_json", method="POST", path="/v2/orders")
    with pytest.raises(requests.JSONDecodeError):
        client.buy()
    assert len(client.standin.orders()) == 1


def test_fields_can_be_dropped_and_set_in_every_object_of_an_answer(client: Client) -> None:
    client.buy()
    client.standin.fault("drop_fields", path="/v2/orders", names=["filled_qty", "legs"])
    assert "filled_qty" not in client.raw("/v2/orders").json()[0]
    client.standin.fault("set_fields", path="/v2/orders", fields={"status": "weird_new_status"})
    with pytest.raises(ValueError, match="weird_new_status"):
        client.alpaca.get_orders()
    client.standin.fault("set_fields", path="/v2/stocks/bars/latest", fields={"c": -1})
    client.standin.advance(120)
    assert client.raw("/v2/stocks/bars/latest?symbols=SPY").json()["bars"]["SPY"]["c"] == -1
    client.standin.fault("empty_list", path="/v2/orders")
    assert client.raw("/v2/orders?status=all").json() == []


def test_paging_that_never_ends_repeats_its_token(client: Client) -> None:
    client.standin.set_clock(NOON)
    client.standin.fault("repeat_token", path="/v2/stocks/bars", times=None)
    path = "/v2/stocks/bars?symbols=SPY&timeframe=1Min&feed=iex&limit=5"
    token = client.raw(path).json()["next_page_token"]
    assert {client.raw(f"{path}&page_token={token}").json()["next_page_token"] for _ in range(3)} == {token}


def test_the_clock_can_be_skewed(client: Client) -> None:
    client.standin.fault("clock_skew", seconds=90)
    assert client.alpaca.get_clock().timestamp == OPEN + timedelta(seconds=100)
    assert client.alpaca.get_clock().timestamp == OPEN + timedelta(seconds=10)


@pytest.mark.parametrize(("leg", "sold"), [(0, "104"), (1, "98")])
def test_an_order_can_fill_while_it_is_being_canceled(client: Client, leg: int, sold: str) -> None:
    client.standin.settings(cancel_lag_seconds=5)
    client.standin.fault("fill_on_cancel")
    order = client.bracket()
    client.standin.advance(1)
    client.alpaca.cancel_order_by_id(client.seen(order).legs[leg].id)
    assert set(client.legs(order).values()) == {"pending_cancel"}
    client.standin.advance(5)
    legs = client.seen(order).legs
    assert (legs[leg].status.value, legs[leg].filled_avg_price) == ("filled", sold)
    assert legs[1 - leg].status.value == "canceled"
    assert client.standin.positions() == {}


def test_a_stop_can_be_rejected_when_its_entry_fills(client: Client) -> None:
    client.standin.fault("stop_rejected")
    order = client.bracket()
    client.standin.advance(1)
    assert client.legs(order) == {"limit": "new", "stop": "rejected"}


def test_a_fault_waits_for_its_turn_and_is_over_after_it(client: Client) -> None:
    client.standin.fault("error", path="/v2/clock", after=1, times=1, status=503)
    assert [client.raw("/v2/clock").status_code for _ in range(3)] == [200, 503, 200]
    client.standin.fault("error", path="/v2/(clock|account)", times=None)
    assert client.raw("/v2/account").status_code == 500
    client.standin.clear_faults()
    assert client.raw("/v2/account").status_code == 200
    with pytest.raises(StandInFailed, match="no such fault"):
        client.standin.fault("typo")
    with pytest.raises(StandInFailed, match="slow takes no second"):
        client.standin.fault("slow", second=5)
    with pytest.raises(StandInFailed, match="no such setting"):
        client.standin.settings(cancel_lag=5)


# -- the process -----------------------------------------------------------------------------------------------------


def test_a_killed_stand_in_goes_on_where_it_was(bars: Path, tmp_path: Path) -> None:
    with StandIn.start(tmp_path, bars=bars, now=OPEN + timedelta(seconds=10)) as standin:
        client = client_of(standin)
        standin.settings(partial_share=0, positions_lag_seconds=5, variants={"target_after_stop": "replaced"})
        standin.bars(split={"symbol": "SPY", "ratio": 2, "effective": NOON.isoformat()})
        order = client.bracket("DIP", client_order_id="kept")
        standin.advance(1)
        before = (standin.orders(), standin.positions(), standin.now(), client.alpaca.get_account())
        standin.kill()
        standin.restart()
        assert (standin.orders(), standin.positions(), standin.now(), client.alpaca.get_account()) == before
        assert client.alpaca.get_all_positions() == []
        standin.set_clock(EVENT + timedelta(minutes=1))
        assert client.legs(order) == {"limit": "replaced", "stop": "filled"}
        with pytest.raises(APIError):
            client.buy(client_order_id="kept")


def test_the_clock_can_run_with_the_machine_s(client: Client) -> None:
    client.standin.settings(fill_delay_seconds=0)
    client.standin.real_time()
    order = client.buy()
    assert client.seen(order).status.value == "filled"
    assert client.standin.now() > OPEN + timedelta(seconds=10)
    client.standin.real_time(on=False)
    assert client.standin.now() == client.standin.now()


def test_a_few_symbols_can_stand_for_many(bars: Path, tmp_path: Path) -> None:
    with StandIn.start(tmp_path, bars=bars, clone=100, now=NOON) as standin:
        client = client_of(standin)
        served = [asset.symbol for asset in client.alpaca.get_all_assets() if asset.tradable]
        assert len(served) == 100 + 4
        assert all(symbol.isalpha() and symbol.isupper() and len(symbol) <= 5 for symbol in served)
        found = client.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=served))
        assert len(found) == 100


def test_a_stand_in_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(StandInFailed, match=r"absent\.parquet"):
        StandIn.start(tmp_path, bars=tmp_path / "absent.parquet")


def test_the_stand_in_ends_with_the_tests_that_started_it(tmp_path: Path) -> None:
    standin = StandIn.start(tmp_path)
    standin._process.stdin.close()
    assert standin._process.wait(10) == 0
    standin.kill()


def test_the_log_holds_no_secrets(client: Client) -> None:
    client.buy()
    entry = client.standin.requests("/v2/orders", "POST")[0]
    assert (entry["status"], entry["keys"], entry["body"]["symbol"]) == (200, 2, "NVDA")
    assert client.standin.SECRET not in json.dumps(client.standin.requests())

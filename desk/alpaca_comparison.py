"""Our trades held against the shares in an Alpaca account: what a person sold, what is not ours, what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from desk.alpaca_account import AlpacaAccount
from desk.alpaca_orders import Placed, foreign_orders
from desk.alpaca_trade import AlpacaTrade
from desk.books import BooksDisagree
from desk.orders import Execution

READS, READ_AGAIN_SECONDS = 4, 5.0  # positions follow orders up to 10 s late, and were seen empty once


@dataclass(frozen=True)
class Comparison:
    """`sales` by hand of our shares, `last` prices by symbol, `foreign`: words about what is not ours."""

    sales: list[Execution]
    last: dict[str, float]
    foreign: list[str]


def compare_shares(
    account: AlpacaAccount,
    trades: Sequence[AlpacaTrade],
    tag: str,
    rows: Sequence[Placed],
    read_orders: Callable[[], Sequence[Placed]],
    wait: Callable[[float], object],
) -> Comparison:
    """Compare; a shortage is believed only after several reads, and must be explained by a person's sale.

    `rows` are all orders as `trades` know them; `read_orders` lists them anew and brings `trades` up to date. Raises
    BooksDisagree.
    """
    sales: list[Execution] = []
    shares: dict[str, tuple[int, float]] = {}
    for attempt in range(READS):
        if attempt:
            wait(READ_AGAIN_SECONDS)
            rows = read_orders()
        read, lacking = account.shares(), dict[str, int]()
        # The most that any read has shown: a listing that is empty for once, or behind, is no shortage.
        shares |= {symbol: seen for symbol, seen in read.items() if seen[0] >= shares.get(symbol, seen)[0]}
        for trade in trades:
            missing = trade.held - shares.get(trade.symbol, (0, 0.0))[0]
            if missing > 0 and attempt == READS - 1:
                sales += trade.note_sales_by_hand(rows, missing)
                missing = trade.held - shares.get(trade.symbol, (0, 0.0))[0]
            lacking[trade.symbol] = max(missing, 0)
        if not any(lacking.values()):
            break
    else:
        names = ", ".join(f"{symbol} ({missing} missing)" for symbol, missing in lacking.items() if missing)
        raise BooksDisagree(
            f"the account lacks shares that our orders bought, and no sale explains it: {names}; nothing is traded. "
            "Compare models/trade_history.json with Alpaca's page and mend the account, or start anew with other "
            "folders: MODELS_DIR=... DATA_DIR=..."
        )
    held = {trade.symbol: trade.held for trade in trades}
    ours = {order.id for trade in trades for order in trade.exits}
    extra = {symbol: qty - held.get(symbol, 0) for symbol, (qty, _) in read.items()}
    foreign = [
        f"{symbol}: {qty} shares in the account are not ours; left alone" for symbol, qty in extra.items() if qty
    ]
    foreign += foreign_orders(tag, rows, ours)
    return Comparison(sales, {symbol: price for symbol, (_, price) in read.items() if price}, foreign)

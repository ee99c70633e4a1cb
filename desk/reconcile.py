"""Books and broker brought together: what the books have to hear, or why the two cannot both be right."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from desk.books import WITHDRAWN, Books, BooksDisagree
from desk.brokers import Broker
from desk.orders import Execution

log = logging.getLogger(__name__)


def missed_executions(books: Books, broker: Broker, minute: int) -> Iterator[Execution]:
    """What the broker did and the books have not heard, oldest first; book each before asking for the next.

    An intent that never reached the broker is withdrawn. Shares that are not ours are said and left alone. Raises
    BooksDisagree where the broker executed orders of ours that the books do not know, or holds less than they do.
    """
    executions = broker.recent_executions()
    lost = [e.order_id for e in executions if e.side == "BUY" and e.order_id not in books.trades]
    if lost:
        raise BooksDisagree(
            f"the broker executed {len(lost)} of our orders that the journal does not know, the first {lost[0]}; "
            "nothing is traded. Put back the whole journal.jsonl, or move its folder away to start anew"
        )
    yield from (execution for execution in executions if not books.heard(execution))
    working = {order.id for order in broker.working_orders()}
    positions = broker.positions()
    for trade in books.live_trades().values():
        if trade.status == "PENDING" and trade.id not in working:
            name, reason = f"{trade.id}/withdrawn/{minute}", WITHDRAWN
            yield Execution(name, "cancelled", trade.id, trade.symbol, "BUY", trade.qty_ordered, 0.0, minute, reason)
        elif trade.status == "OPEN" and trade.held > 0 and trade.symbol not in positions:
            raise BooksDisagree(
                f"the books hold {trade.qty} {trade.symbol}, the broker holds none and tells of no sale; nothing is "
                "traded. Compare trade_history.json with the account, then move the folder away or mend it"
            )
    for symbol in sorted(set(positions) - set(books.live_trades())):
        log.warning("%s: %d shares at the broker are not ours; they are left alone", symbol, positions[symbol].qty)

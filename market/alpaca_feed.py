"""Bars and the most-active list from Alpaca. Not built yet: whoever asks for it gets one clear error."""

from __future__ import annotations


class FeedUnavailable(RuntimeError):
    """A source of bars that cannot be used as asked; the message says why and the cure."""


class AlpacaFeed:
    """The seam for Alpaca's market data (`alpaca.data.historical.StockHistoricalDataClient`)."""

    market = "alpaca"

    def __init__(self, feed: str) -> None:
        raise FeedUnavailable(
            f"market alpaca (feed {feed}): this version cannot fetch bars from Alpaca yet. Use --market simulated, or "
            "your own bars with --market recorded --bars PATH"
        )

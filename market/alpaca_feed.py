"""Bars and the most-active list from Alpaca. Not built yet: asking for it gives one clear error, and nothing is pretended."""

from __future__ import annotations

from market.bars import BadBars


class AlpacaFeed:
    """The seam for Alpaca's market data (`alpaca.data.historical.StockHistoricalDataClient`)."""

    market = "alpaca"

    def __init__(self, feed: str) -> None:
        raise BadBars(
            f"market alpaca (feed {feed}): this version cannot fetch bars from Alpaca yet. Use --market simulated, or your "
            "own bars with --market recorded --bars PATH"
        )

"""The securities the stand-in knows: one per symbol of the bars, and some that a trader should leave alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

NAMES = {
    "AVGO": ("Broadcom Inc. Common Stock", "NASDAQ"),
    "COIN": ("Coinbase Global, Inc. Class A Common Stock", "NASDAQ"),
    "GS": ("Goldman Sachs Group, Inc. (The) Common Stock", "NYSE"),
    "META": ("Meta Platforms, Inc. Class A Common Stock", "NASDAQ"),
    "NFLX": ("Netflix, Inc. Common Stock", "NASDAQ"),
    "NKE": ("Nike, Inc. Class B Common Stock", "NYSE"),
    "NVDA": ("NVIDIA Corporation Common Stock", "NASDAQ"),
    "ORCL": ("Oracle Corporation Common Stock", "NYSE"),
    "QQQ": ("Invesco QQQ Trust, Series 1", "NASDAQ"),
    "SLB": ("SLB Limited Common Stock", "NYSE"),
    "SPY": ("State Street SPDR S&P 500 ETF Trust", "ARCA"),
    "XLF": ("State Street Financial Select Sector SPDR ETF", "ARCA"),
}


@dataclass(frozen=True)
class Asset:
    """One security; `price` and `volume` are constant ones for a security without bars."""

    symbol: str
    name: str
    exchange: str
    status: str = "active"
    tradable: bool = True
    price: float | None = None
    volume: int = 0
    attributes: tuple[str, ...] = ("fractional_eh_enabled",)

    @property
    def id(self) -> str:
        return str(uuid5(NAMESPACE_URL, f"asset:{self.symbol}"))

    def body(self, borrow_fields: str) -> dict[str, Any]:
        """The answer's object; `borrow_fields`: both, easy_to_borrow or borrow_status."""
        ordinary = self.tradable and self.status == "active"
        body = {
            "id": self.id,
            "class": "us_equity",
            "exchange": self.exchange,
            "symbol": self.symbol,
            "name": self.name,
            "status": self.status,
            "tradable": self.tradable,
            "marginable": ordinary,
            "shortable": ordinary,
            "fractionable": ordinary,
            "maintenance_margin_requirement": 30,
            "margin_requirement_long": "30",
            "margin_requirement_short": "30",
            "attributes": list(self.attributes),
        }
        if borrow_fields in ("both", "easy_to_borrow"):
            body["easy_to_borrow"] = ordinary
        if borrow_fields in ("both", "borrow_status"):
            body["borrow_status"] = "easy_to_borrow" if ordinary else "hard_to_borrow"
        return body


EXTRAS = [
    Asset("SOXL", "Direxion Daily Semiconductor Bull 3X ETF", "ARCA", price=40.0, volume=90_000_000),
    Asset("TQQQ", "ProShares UltraPro QQQ", "NASDAQ", price=55.0, volume=80_000_000),
    Asset("PENY", "Pennywise Resources Inc. Common Stock", "NASDAQ", price=0.35, volume=150_000_000),
    Asset("GONE", "Gone Industries Inc. Common Stock", "NYSE", "inactive", False, price=12.0, volume=70_000_000),
    Asset("NOTR", "Notrade Holdings Inc. Common Stock", "NASDAQ", tradable=False, price=25.0, volume=60_000_000),
    Asset("OTCQY", "Otcquay Holdings Ltd American Depositary Receipts", "OTC", price=3.5, volume=50_000_000),
]


class Assets:
    """Every asset by symbol and by id."""

    def __init__(self, symbols: list[str]) -> None:
        known = [*(_named(symbol) for symbol in symbols), *EXTRAS]
        self.by_symbol = {asset.symbol: asset for asset in sorted(known, key=lambda asset: asset.symbol)}
        self._by_id = {asset.id: asset for asset in known}

    def find(self, symbol_or_id: str) -> Asset | None:
        return self.by_symbol.get(symbol_or_id) or self._by_id.get(symbol_or_id)


def _named(symbol: str) -> Asset:
    name, exchange = NAMES.get(symbol, (f"{symbol.title()} Holdings Inc. Common Stock", "NASDAQ"))
    return Asset(symbol, name, exchange, attributes=("fractional_eh_enabled", "has_options"))


def is_uuid(value: str) -> bool:
    """Could `value` be an id?"""
    try:
        UUID(value)
    except ValueError:
        return False
    return True

"""Alpaca's paper account as broker. Not built yet: whoever asks for it gets one clear error."""

from __future__ import annotations


class BrokerUnavailable(RuntimeError):
    """A broker that cannot be used as asked; the message says why and the cure."""


class AlpacaBroker:
    """The seam for Alpaca's paper account (`alpaca.trading.client.TradingClient`)."""

    name = "alpaca"

    def __init__(self) -> None:
        raise BrokerUnavailable(
            "broker alpaca: this version cannot trade an Alpaca account yet. Use --broker paper, the local account"
        )

"""What control may change about the stand-in's behaviour, and every behaviour nobody could confirm, as a variant."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

VARIANTS: dict[str, Any] = {
    "nested_open_shows_filled_parent": True,
    "stop_loss_after_target": "canceled",
    "target_after_stop": "canceled",
    "legs_after_partial_close": "capped",
    "leg_replace_allowed_while_held": True,
    "shares_available_lag": False,
    "wash_trade_status": 403,
    "bracket_lacks_leg_code": 42210000,
    "blocked_body": {"code": 40310000, "message": "account is restricted to trade"},
    "inactive_body": {"code": 42210000, "message": "asset {symbol} is not active"},
    "not_tradable_body": {"code": 42210000, "message": "asset {symbol} is not tradable"},
    "unknown_asset_body": {"code": 42210000, "message": 'asset "{symbol}" not found'},
    "unknown_data_symbol": "absent",
    "rate_limit_body": {"message": "too many requests."},
    "unauthorized_status": 403,
    "submit_answer_status": "pending_new",
    "canceled_again": 422,
    "borrow_fields": "both",
    "most_actives_before_open": "previous",
    "restate": False,
}


class BadSetting(ValueError):
    """Control asked for a setting that does not exist."""


@dataclass
class Settings:
    """Everything `POST /settings` may change; times in virtual seconds."""

    fill_model: str = "quotes"
    cancel_lag_seconds: float = 0.0
    positions_lag_seconds: float = 0.0
    fill_delay_seconds: float = 0.2
    partial_share: float = 0.1
    partial_rest_seconds: float = 0.0
    seed: int = 0
    bar_delay_seconds: float = 1.0
    feeds: list[str] = field(default_factory=lambda: ["iex"])
    rate_limit: int | None = 200
    variants: dict[str, Any] = field(default_factory=lambda: dict(VARIANTS))

    def change(self, changes: dict[str, Any]) -> None:
        """Take over `changes`; BadSetting, with nothing changed, when one of the names is not known."""
        variants = changes.get("variants", {})
        unknown = [name for name in changes if name not in {item.name for item in fields(self)}]
        unknown += [f"variants.{name}" for name in variants if name not in VARIANTS]
        if unknown:
            raise BadSetting(f"no such setting: {', '.join(unknown)}")
        if changes.get("fill_model", "quotes") not in ("quotes", "bar_open"):
            raise BadSetting(f"fill_model {changes['fill_model']!r}: choose quotes or bar_open")
        for name, value in changes.items():
            if name == "variants":
                self.variants |= value
            else:
                setattr(self, name, value)

"""Every setting, with its unit and reason. Edit the values below; that is all there is to it.

A value can also come from the environment or from `.env` (`MIN_CONFIDENCE=0.60 python live_trader.py`). What counts, in
this order: command-line argument, environment, `.env`, the line in this file. `_PCT` settings are fractions (0.02: 2%).
Keys never stand here: ALPACA_API_KEY and ALPACA_SECRET_KEY belong into `.env` (see `.env.example`).
"""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from env_file import BadEnvFile, read_env_file
from setting_rules import Between, Matches, OneOf

# --- Model -----------------------------------------------------------------------------------------------------------
ML_MODEL_TYPE = "random_forest"  # or "gradient_boosting"
MIN_CONFIDENCE = 0.65  # buy when the probability of a profitable trade is at least this
MIN_TRAINING_SAMPLES = 500  # fewer labelled examples than this are not trained on
DAYS_BACK = 30  # calendar days of minute bars to learn from
LEFT_OUT_FEATURES = None  # features not to learn from, such as ["return_1"]; report.py names those that earn nothing
REQUIRE_PROOF = False  # True: a model that has not proven skill does not buy
STOP_ENTRIES_ON_RED_DRIFT = False  # True: nothing is bought while the drift light is red

# --- Risk ------------------------------------------------------------------------------------------------------------
MAX_POSITION_SIZE = 5  # shares per trade at most
MAX_OPEN_POSITIONS = 10  # symbols held at once at most
STOP_LOSS_PCT = 0.02  # sell 2% below the entry price
TAKE_PROFIT_PCT = 0.04  # sell 4% above the entry price
RISK_PER_TRADE_PCT = 0.01  # share of the account's equity that one trade may lose at its stop
MAX_POSITION_PCT = 0.5  # share of equity that one position may be worth
MAX_EXPOSURE_PCT = 1.0  # share of equity that positions and working entries may be worth together
MAX_ENTRIES_PER_SYMBOL = 3  # purchases of one symbol in a session
MAX_ORDERS_PER_DAY = 200  # beyond them nothing is bought in that session; exits always go
MAX_DAILY_LOSS_PCT = 0.03  # a session that loses this share of equity halts all buying until --resume
MAX_DRAWDOWN_PCT = 0.10  # and so does a fall this far below the highest equity
MAX_HOLDING_MINUTES = 390  # market minutes; 390 gives a trade one session; None: no limit
ROUND_TRIP_COST_PCT = 0.0006  # spread and slippage of buying and selling together, part of label and paper fills

# --- Schedule, New York time -----------------------------------------------------------------------------------------
TRAIN_TIME = "20:00"  # daily training, after the close
REBALANCE_TIME = "04:00"  # daily rebalancing, before the open
TRAIN_DEADLINE_MINUTES = 60  # a training that takes longer is ended, and the model in use stays
TRAIN_MEMORY_GB = 8  # and one that asks for more memory fails (Linux)

# --- Market ----------------------------------------------------------------------------------------------------------
MARKET = "auto"  # auto (alpaca with keys, else simulated), alpaca, recorded or simulated
FEED = "iex"  # Alpaca's data feed: iex (free) or sip
SYMBOLS = None  # None: the source's active list; or a list such as ["AAPL", "MSFT"]
ACTIVE_SYMBOLS = 100  # the most active stocks watched at Alpaca, whose list ends at 100
MIN_PRICE = 5.0  # USD; cheaper shares move by whole spreads, and a 2% stop is a few cents
MIN_VOLUME = 1_000_000  # shares traded in the session so far; counts from half an hour after the open
PAPER_CASH = 100_000  # USD with which the local paper account starts
SIMULATED_SEED = 19  # an unremarkable month, in which always buying earns about nothing; others are other markets
SIMULATED_PATTERN_STRENGTH = 1.0  # 0: pure noise, nothing to learn; 1: a pattern that a forest can find

# --- Files and display -----------------------------------------------------------------------------------------------
DATA_DIR = "data"  # bars, data set, logs; relative to this file
MODELS_DIR = "models"  # models, trades, predictions; relative to this file
STATE_DIR = "~/.local/state/ml-paper-trader"  # what belongs to this user and machine: the models' key, account locks
NOTIFY_URLS = None  # who gets messages: apprise addresses, in .env, as they hold tokens (README, "Messages")
LOG_LEVEL = "INFO"  # what data/logs/ holds: DEBUG, INFO, WARNING or ERROR

# --- Alpaca, paper only ----------------------------------------------------------------------------------------------
ALPACA_TRADING_URL = "https://paper-api.alpaca.markets"
ALPACA_DATA_URL = "https://data.alpaca.markets"

# Below this line nothing needs editing: it reads the lines above and checks them. -------------------------------------


class BadSetting(ValueError):
    """A setting that cannot be used: names it, its value, where it came from, what is allowed."""


_SHARE = Between(0.0001, 0.5, "(a fraction: 0.02 is 2%)")
_WHOLE = Between(0.001, 1.0, "(a fraction of equity: 0.1 is 10%)")
_EVENING = Matches(r"(1[6-9]|2[0-3]|0[0-7]):[0-5]\d", 'a New York time from "16:00" to "07:59"')
_MORNING = Matches(r"0[0-8]:[0-5]\d|09:[0-2]\d", 'a New York time from "00:00" to "09:29"')
_TICKER = Matches(r"[A-Z][A-Z0-9.]{0,9}", "upper-case tickers such as AAPL or BRK.B", str.upper)
_ADDRESS = Matches(r"[a-z0-9+.-]+://\S+", "apprise addresses such as ntfy://ntfy.sh/topic")
_FEATURE = Matches(r"[a-z][a-z0-9_]*", "feature names such as return_1", str.lower)
_PAPER_HOST = r"https://paper-api\.alpaca\.markets|https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?"
_DATA_HOST = r"https://data\.alpaca\.markets|https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?"


@dataclass(frozen=True)
class Settings:
    """The checked settings. The field's type and rule stand together; the value comes from the line of that name."""

    ML_MODEL_TYPE: Annotated[str, OneOf(("random_forest", "gradient_boosting"))]
    MIN_CONFIDENCE: Annotated[float, Between(0.01, 0.99, "(a probability)")]
    MIN_TRAINING_SAMPLES: Annotated[int, Between(100, 10_000_000, "examples")]
    DAYS_BACK: Annotated[int, Between(5, 3650, "calendar days")]
    LEFT_OUT_FEATURES: Annotated[tuple[str, ...] | None, _FEATURE]
    REQUIRE_PROOF: bool
    STOP_ENTRIES_ON_RED_DRIFT: bool
    MAX_POSITION_SIZE: Annotated[int, Between(1, 1_000_000, "shares")]
    MAX_OPEN_POSITIONS: Annotated[int, Between(1, 1000, "positions")]
    STOP_LOSS_PCT: Annotated[float, _SHARE]
    TAKE_PROFIT_PCT: Annotated[float, _SHARE]
    RISK_PER_TRADE_PCT: Annotated[float, _SHARE]
    MAX_POSITION_PCT: Annotated[float, _WHOLE]
    MAX_EXPOSURE_PCT: Annotated[float, _WHOLE]
    MAX_ENTRIES_PER_SYMBOL: Annotated[int, Between(1, 100, "purchases a session")]
    MAX_ORDERS_PER_DAY: Annotated[int, Between(1, 10_000, "orders")]
    MAX_DAILY_LOSS_PCT: Annotated[float, _WHOLE]
    MAX_DRAWDOWN_PCT: Annotated[float, _WHOLE]
    MAX_HOLDING_MINUTES: Annotated[int | None, Between(1, 100_000, "market minutes, or None")]
    ROUND_TRIP_COST_PCT: Annotated[float, Between(0, 0.05, "(a fraction: 0.0006 is 6 basis points)")]
    TRAIN_TIME: Annotated[str, _EVENING]
    REBALANCE_TIME: Annotated[str, _MORNING]
    TRAIN_DEADLINE_MINUTES: Annotated[int, Between(1, 480, "minutes")]
    TRAIN_MEMORY_GB: Annotated[float, Between(4, 1024, "GB")]
    MARKET: Annotated[str, OneOf(("auto", "alpaca", "recorded", "simulated"))]
    FEED: Annotated[str, OneOf(("iex", "sip"))]
    SYMBOLS: Annotated[tuple[str, ...] | None, _TICKER]
    ACTIVE_SYMBOLS: Annotated[int, Between(1, 100, "symbols")]
    MIN_PRICE: Annotated[float, Between(0, 10_000, "USD")]
    MIN_VOLUME: Annotated[int, Between(0, 1_000_000_000, "shares")]
    PAPER_CASH: Annotated[float, Between(100, 1e9, "USD")]
    SIMULATED_SEED: Annotated[int, Between(0, 2**32 - 1, "(a whole number)")]
    SIMULATED_PATTERN_STRENGTH: Annotated[float, Between(0, 3, "(0: pure noise, 1: learnable)")]
    DATA_DIR: Path
    MODELS_DIR: Path
    STATE_DIR: Path
    NOTIFY_URLS: Annotated[tuple[str, ...] | None, _ADDRESS] = field(repr=False)
    LOG_LEVEL: Annotated[str, OneOf(("DEBUG", "INFO", "WARNING", "ERROR"))]
    ALPACA_TRADING_URL: Annotated[str, Matches(_PAPER_HOST, "Alpaca's paper host or loopback; this never trades live")]
    ALPACA_DATA_URL: Annotated[str, Matches(_DATA_HOST, "Alpaca's data host or loopback")]
    ALPACA_API_KEY: str | None = field(default=None, repr=False)
    ALPACA_SECRET_KEY: str | None = field(default=None, repr=False)
    overridden: tuple[str, ...] = ()  # "NAME=value (from where)" for each setting not taken from this file

    @property
    def has_keys(self) -> bool:
        return self.ALPACA_API_KEY is not None

    @property
    def market(self) -> str:
        """The market that `auto` means here."""
        if self.MARKET != "auto":
            return self.MARKET
        return "alpaca" if self.has_keys else "simulated"

    def trade_rules(self) -> dict[str, float | int | None]:
        """What makes a label: a model trained under other rules answers another question."""
        return {
            "stop_loss": self.STOP_LOSS_PCT,
            "take_profit": self.TAKE_PROFIT_PCT,
            "max_holding_minutes": self.MAX_HOLDING_MINUTES,
            "round_trip_cost": self.ROUND_TRIP_COST_PCT,
        }

    def as_environment(self) -> dict[str, str]:
        """These settings for a child process, which works under the same ones. What is secret it reads by itself."""
        values = {name: value for name, value in asdict(self).items() if name.isupper() and name not in _SECRET}
        return {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}


_HERE = Path(__file__).resolve().parent
_KEYS = ("ALPACA_API_KEY", "ALPACA_SECRET_KEY")
_SECRET = (*_KEYS, "NOTIFY_URLS")  # never shown
_NAMES = [f.name for f in fields(Settings) if f.name.isupper()]
_FORMS = {bool: "True or False", Path: "a folder's path, at most 1,000 printable characters (~ needs a home folder)"}


def load_settings(
    arguments: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Settings:
    """Read, check and freeze the settings.

    Args: `arguments` are values from the command line by setting name (None means not given); `environment` and
    `env_file` default to the process's own and to `.env` beside this file. Raises BadSetting, in one line.
    """
    environment = os.environ if environment is None else environment
    env_path = _HERE / ".env" if env_file is None else env_file
    try:
        dotenv = read_env_file(env_path)
    except BadEnvFile as error:
        raise BadSetting(str(error)) from error
    _check_names(dotenv, environment, env_path)
    hints = typing.get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    overridden: list[str] = []
    for name in _NAMES:
        here = _checked(name, globals()[name], hints[name], "config.py") if name not in _KEYS else None
        value, origin = _lookup(name, arguments or {}, environment, dotenv)
        values[name] = here if origin == "config.py" else _checked(name, value, hints[name], origin)
        if values[name] != here and name not in _KEYS:
            overridden.append(f"{name}={'...' if name in _SECRET else _short(str(value))} ({origin})")
    _check_keys(values)
    _check_folders(values)
    if values["ROUND_TRIP_COST_PCT"] >= values["TAKE_PROFIT_PCT"]:
        raise BadSetting(
            f"ROUND_TRIP_COST_PCT={values['ROUND_TRIP_COST_PCT']:g} is not below TAKE_PROFIT_PCT="
            f"{values['TAKE_PROFIT_PCT']:g}: no trade could ever profit; lower the cost or raise the target"
        )
    return Settings(**values, overridden=tuple(overridden))


def _lookup(
    name: str, arguments: Mapping[str, object], environment: Mapping[str, str], dotenv: Mapping[str, str]
) -> tuple[object, str]:
    if arguments.get(name) is not None:
        return arguments[name], "command line"
    if environment.get(name):
        return environment[name], "environment"
    if dotenv.get(name):
        return dotenv[name], ".env"
    return None, "config.py"


def _checked(name: str, value: object, hint: Any, origin: str) -> Any:
    kind, rule = (hint.__origin__, hint.__metadata__[0]) if hasattr(hint, "__metadata__") else (hint, None)
    optional = isinstance(kind, types.UnionType) and type(None) in kind.__args__
    if optional and (value is None or value in ("None", "none")):
        return None
    base = kind.__args__[0] if optional else kind
    try:
        converted = _convert(base, value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a home folder of nobody
        converted = None
    if isinstance(converted, tuple) and rule:
        converted = tuple(dict.fromkeys(map(rule.spelt, converted)))
    items = converted if isinstance(converted, tuple) else (converted,)
    allowed = rule.explain(items[0] if items else None) if rule and len(items) <= 1 else None
    if isinstance(converted, tuple) and converted and rule:
        wrong = [item if item.isprintable() else repr(item) for item in converted if rule.explain(item)]
        allowed = f"{rule.explain(None)}; not {_short(', '.join(wrong))}" if wrong else None
    if converted is None or allowed:
        words = allowed or (rule.explain(None) if rule else _FORMS.get(base, "text"))
        shown = _short(repr(value))
        if any(map(_may_be_key, re.split(r"[^A-Za-z0-9+/=]", str(value)))):  # pasted into the wrong line
            shown, words = "(what may be a key)", rule.explain(None) if rule else words
        if name in _SECRET and rule:
            shown, words = "(not shown)", rule.explain(None)
        raise BadSetting(f"{name}={shown} ({origin}) is not allowed: {words}; mend it and start again")
    return converted


def _may_be_key(text: str) -> bool:
    return len(text) >= 16 and any(map(str.isdigit, text)) and any(map(str.isalpha, text))


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:150]}... ({len(text):,} characters)"


def _convert(base: Any, value: object) -> Any:
    if base is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        return words.get(str(value).lower())
    if base is Path:
        text = str(value)
        return (_HERE / Path(text).expanduser()).resolve() if text.isprintable() and 0 < len(text) <= 1000 else None
    if base is int:
        if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
            return None
        return int(value)  # type: ignore[call-overload]
    if base is float:
        return None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    if typing.get_origin(base) is tuple:
        # an address may hold commas of its own
        comma = r",(?=\s*[a-z0-9+.-]+://)" if "://" in str(value) else ","
        items = re.split(comma, value) if isinstance(value, str) else list(value)  # type: ignore[call-overload]
        return tuple(str(item).strip() for item in items if str(item).strip()) or None
    return value if isinstance(value, str) and value else None


def _check_names(dotenv: Mapping[str, str], environment: Mapping[str, str], env_path: Path) -> None:
    written = {name for name in globals() if name.isupper() and not name.startswith("_") and name != "UTC"}
    for name in sorted(written ^ set(_NAMES) - set(_KEYS)):
        if name in written:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            raise BadSetting(
                f"{name} in config.py is no setting; {f'did you mean {near[0]}?' if near else 'remove it'}"
            )
        near = difflib.get_close_matches(name, written - set(_NAMES), n=1)
        hint = f"is {near[0]} meant to be it?" if near else "write the line again"
        raise BadSetting(f"{name} in config.py is missing; {hint}")
    for name in dotenv:
        if name.startswith("APCA_"):
            raise BadSetting(f"{name} in {env_path} is another tool's name; here it is {' and '.join(_KEYS)}")
        if name not in _NAMES:
            near = difflib.get_close_matches(name.upper(), _NAMES, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; remove the line"
            raise BadSetting(f"{name} in {env_path} is no setting{hint}")
    for name in environment:
        near = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.9)
        if near and name not in _NAMES and name.isupper():
            raise BadSetting(f"{name} in the environment is no setting; did you mean {near[0]}?")
    if any(name.startswith("APCA_API") for name in environment) and not any(environment.get(k) for k in _KEYS):
        raise BadSetting(f"APCA_... keys are set in the environment, which this program does not read; set {_KEYS[0]}")


def _check_keys(values: Mapping[str, Any]) -> None:
    given = [name for name in _KEYS if values[name]]
    if len(given) == 1:
        missing = next(name for name in _KEYS if name not in given)
        raise BadSetting(f"{given[0]} is set and {missing} is not; set both in .env, or neither to use no account")
    for name in given:
        if not re.fullmatch(r"[A-Za-z0-9+/=]{16,80}", values[name]) or "your" in values[name].lower():
            raise BadSetting(f"{name} does not look like a key (a placeholder, a quote, a space?); copy it from Alpaca")


def _check_folders(values: Mapping[str, Any]) -> None:
    for name in ("DATA_DIR", "MODELS_DIR"):
        if _HERE.is_relative_to(values[name]):
            raise BadSetting(f"{name}={values[name]} holds this program itself; name a folder of its own")
        if values["STATE_DIR"].is_relative_to(values[name]):
            raise BadSetting(
                f"STATE_DIR={values['STATE_DIR']} lies in {name}, where it could be archived or copied with the models "
                "that its key signs; name a folder outside"
            )
    data, models = values["DATA_DIR"], values["MODELS_DIR"]
    if data.is_relative_to(models) or models.is_relative_to(data):  # what a simulated run left is moved as a whole
        raise BadSetting(f"DATA_DIR={data} and MODELS_DIR={models} are one folder, or one in the other; name two")

"""Settings: the documented names and defaults, one order of precedence, and one clear line for each mistake."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

import config
from config import BadSetting, Settings, load_settings

ROOT = Path(config.__file__).resolve().parent
KEY, SECRET = "PKABCDEFGH1234567890", "abcdefghijklmnopqrstuvwxyz0123456789/+AB"
DOCUMENTED = {
    "ML_MODEL_TYPE": "random_forest",
    "MIN_CONFIDENCE": 0.65,
    "MIN_TRAINING_SAMPLES": 500,
    "MAX_POSITION_SIZE": 5,
    "MAX_OPEN_POSITIONS": 10,
    "STOP_LOSS_PCT": 0.02,
    "TAKE_PROFIT_PCT": 0.04,
    "TRAIN_TIME": "20:00",
    "REBALANCE_TIME": "04:00",
    "DAYS_BACK": 30,
}
NEW = {
    "RISK_PER_TRADE_PCT": 0.01,
    "MAX_HOLDING_MINUTES": 390,
    "ROUND_TRIP_COST_PCT": 0.0006,
    "REQUIRE_PROOF": False,
    "LEFT_OUT_FEATURES": None,
    "NOTIFY_URLS": None,
    "STOP_ENTRIES_ON_RED_DRIFT": False,
    "MARKET": "auto",
    "FEED": "iex",
    "SYMBOLS": None,
    "PAPER_CASH": 100_000,
    "DATA_DIR": "data",
    "MODELS_DIR": "models",
}


def load(
    arguments: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Settings:
    """Settings of this test alone, whatever the machine's environment and .env say."""
    return load_settings(arguments, environment or {}, env_file or Path("no.env"))


def refused(
    arguments: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> str:
    """The message of the refusal, which is one line."""
    with pytest.raises(BadSetting) as caught:
        load(arguments, environment, env_file)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """An empty `.env` that only its owner may read."""
    path = tmp_path / ".env"
    path.touch(mode=0o600)
    return path


def edited(tmp_path: Path, *changes: tuple[str, str]) -> ModuleType:
    """config.py as a user edited it, loaded from its own folder."""
    text = (ROOT / "config.py").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "config.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("edited_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["edited_config"] = module
    spec.loader.exec_module(module)
    return module


# --- names and defaults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [*DOCUMENTED.items(), *NEW.items()])
def test_a_documented_setting_has_its_documented_default(name: str, value: object) -> None:
    assert getattr(config, name) == value
    assert type(getattr(config, name)) is type(value)
    if not name.endswith("_DIR"):
        assert getattr(load(), name) == value


def test_every_line_of_the_file_is_a_setting_and_every_setting_but_the_keys_is_a_line() -> None:
    lines = {name for name in vars(config) if name.isupper() and not name.startswith("_")}
    fields = {field.name for field in dataclasses.fields(Settings) if field.name.isupper()}
    assert fields - lines == {"ALPACA_API_KEY", "ALPACA_SECRET_KEY"}
    assert lines <= fields


def test_the_settings_import_no_file_of_the_house_but_their_own_two() -> None:
    house = {path.stem for path in ROOT.glob("*.py")} - {"env_file", "setting_rules"} | {"market", "learning", "desk"}
    tree = ast.parse((ROOT / "config.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "os" in imported
    assert not house & {name.partition(".")[0] for name in imported}


def test_plain_settings_override_nothing() -> None:
    assert load().overridden == ()
    assert load().market == "simulated"


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().MIN_CONFIDENCE = 0.1


def test_relative_folders_are_relative_to_the_file_not_to_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = load()
    assert (plain.DATA_DIR, plain.MODELS_DIR) == (ROOT / "data", ROOT / "models")
    moved = load({"DATA_DIR": "other/data", "MODELS_DIR": str(tmp_path / "here")})
    assert (ROOT / "other" / "data", tmp_path / "here") == (moved.DATA_DIR, moved.MODELS_DIR)


def test_an_edited_line_is_the_default_from_then_on(tmp_path: Path) -> None:
    edits = [
        ("MIN_CONFIDENCE = 0.65", "MIN_CONFIDENCE = 0.60"),
        ("SYMBOLS = None", 'SYMBOLS = ["AAPL", "msft", "AAPL"]'),
        ("LEFT_OUT_FEATURES = None", 'LEFT_OUT_FEATURES = ["return_1"]'),
        ("MAX_HOLDING_MINUTES = 390", "MAX_HOLDING_MINUTES = None"),
        ('ML_MODEL_TYPE = "random_forest"', 'ML_MODEL_TYPE = "gradient_boosting"'),
    ]
    settings = edited(tmp_path, *edits).load_settings({}, {})
    assert settings.MIN_CONFIDENCE == 0.60
    assert settings.SYMBOLS == ("AAPL", "MSFT")
    assert settings.LEFT_OUT_FEATURES == ("return_1",)
    assert settings.MAX_HOLDING_MINUTES is None
    assert settings.ML_MODEL_TYPE == "gradient_boosting"
    assert tmp_path / "data" == settings.DATA_DIR
    assert settings.overridden == ()


# --- precedence -----------------------------------------------------------------------------------------------------

PLACES = ("command line", "environment", ".env")


@pytest.mark.parametrize("given", [c for n in range(4) for c in itertools.combinations(PLACES, n)])
def test_arguments_come_before_environment_before_env_file_before_the_file(
    env_file: Path, given: tuple[str, ...]
) -> None:
    values = {"command line": "0.71", "environment": "0.72", ".env": "0.73"}
    env_file.write_text("MIN_CONFIDENCE=0.73\n" if ".env" in given else "")
    settings = load(
        {"MIN_CONFIDENCE": "0.71" if "command line" in given else None},
        {"MIN_CONFIDENCE": "0.72"} if "environment" in given else {},
        env_file,
    )
    winner = next((place for place in PLACES if place in given), None)
    assert float(values.get(winner, "0.65")) == settings.MIN_CONFIDENCE
    assert settings.overridden == ((f"MIN_CONFIDENCE={values[winner]} ({winner})",) if winner else ())


def test_an_empty_variable_is_not_a_value() -> None:
    assert load({}, {"MIN_CONFIDENCE": ""}).MIN_CONFIDENCE == 0.65


def test_a_value_equal_to_the_line_overrides_nothing() -> None:
    assert load({}, {"MIN_CONFIDENCE": "0.650"}).overridden == ()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("MAX_POSITION_SIZE", "7", 7),
        ("PAPER_CASH", "5000", 5000.0),
        ("REQUIRE_PROOF", "true", True),
        ("REQUIRE_PROOF", "1", True),
        ("STOP_ENTRIES_ON_RED_DRIFT", "yes", True),
        ("LEFT_OUT_FEATURES", "Return_1, rsi_14,return_1", ("return_1", "rsi_14")),
        ("LEFT_OUT_FEATURES", "None", None),
        ("MAX_HOLDING_MINUTES", "None", None),
        ("MAX_HOLDING_MINUTES", "60", 60),
        ("SYMBOLS", "aapl, MSFT,aapl ,BRK.B", ("AAPL", "MSFT", "BRK.B")),
        ("TRAIN_TIME", "23:59", "23:59"),
        ("ROUND_TRIP_COST_PCT", "0", 0.0),
        ("SIMULATED_PATTERN_STRENGTH", "0", 0.0),
        ("MIN_CONFIDENCE", "0.01", 0.01),
        ("STOP_LOSS_PCT", "0.5", 0.5),
    ],
)
def test_text_becomes_a_value_of_the_right_type(name: str, text: str, value: object) -> None:
    found = getattr(load({}, {name: text}), name)
    assert found == value
    assert type(found) is type(value)


# --- bad values -----------------------------------------------------------------------------------------------------

FRACTION = "0.0001 to 0.5 (a fraction: 0.02 is 2%)"
BAD = [
    *[
        ("STOP_LOSS_PCT", bad, FRACTION)
        for bad in ("0", "-0.02", "150", "2", "5%", "nan", "inf", "-inf", "two", "True")
    ],
    *[("TAKE_PROFIT_PCT", bad, FRACTION) for bad in ("0", "4", "nan", "4%")],
    *[("RISK_PER_TRADE_PCT", bad, FRACTION) for bad in ("0", "1")],
    *[("MIN_CONFIDENCE", bad, "0.01 to 0.99 (a probability)") for bad in ("0", "1", "65", "65%", "nan", "-0.5")],
    *[("MAX_POSITION_SIZE", bad, "shares") for bad in ("0", "-5", "2.5", "five", "nan", "inf", "1e3", "True")],
    *[("MAX_OPEN_POSITIONS", bad, "1 to 1000 positions") for bad in ("0", "1001", "ten")],
    *[("MIN_TRAINING_SAMPLES", bad, "examples") for bad in ("0", "99", "lots")],
    *[("DAYS_BACK", bad, "5 to 3650 calendar days") for bad in ("0", "4", "-30", "3651", "month")],
    *[("MAX_HOLDING_MINUTES", bad, "market minutes, or None") for bad in ("0", "-1", "all day")],
    *[("ROUND_TRIP_COST_PCT", bad, "0 to 0.05 (a fraction") for bad in ("-0.0001", "0.06", "6bp")],
    *[("PAPER_CASH", bad, "USD") for bad in ("0", "99", "1e10", "nan", "$100")],
    *[
        ("TRAIN_TIME", bad, "a New York time")
        for bad in ("8pm", "25:00", "20:60", "8:00", "20:00:00", "20:00 EST", "20")
    ],
    *[("REBALANCE_TIME", bad, "a New York time") for bad in ("4am", "24:00", "-4:00")],
    *[("ML_MODEL_TYPE", bad, "one of random_forest, gradient_boosting") for bad in ("RandomForest", "xgboost", " ")],
    *[("MARKET", bad, "one of auto, alpaca, recorded, simulated") for bad in ("nyse", "Alpaca")],
    *[("FEED", bad, "one of iex, sip") for bad in ("IEX", "otc")],
    *[("LOG_LEVEL", bad, "one of DEBUG, INFO, WARNING, ERROR") for bad in ("info", "LOUD")],
    *[("REQUIRE_PROOF", bad, "True or False") for bad in ("maybe", "2", "on ")],
    *[("STOP_ENTRIES_ON_RED_DRIFT", bad, "True or False") for bad in ("red", "none")],
    *[("LEFT_OUT_FEATURES", bad, "feature names such as return_1") for bad in ("return 1", "1_return", ",", "a;b")],
    *[("SYMBOLS", bad, "upper-case tickers") for bad in ("BRK/B", "AAPL;rm", ",", " , ", "ABCDEFGHIJKL", "1X", "../x")],
]


@pytest.mark.parametrize(("name", "bad", "allowed"), BAD)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_bad_value_is_one_line_naming_setting_value_place_and_what_is_allowed(
    name: str, bad: str, allowed: str, place: str, env_file: Path
) -> None:
    if place == ".env":
        env_file.write_text(f'{name}="{bad}"\n')
    message = refused({}, {name: bad} if place == "environment" else {}, env_file)
    assert message.startswith(f"{name}={bad!r} ({place}) is not allowed: ")
    assert allowed in message


@pytest.mark.parametrize("bad", ["a\0b", "a\nb", "a\x1b[31mb", "a\udcffb", "~nobody_of_this_name/data"])
@pytest.mark.parametrize("name", ["DATA_DIR", "MODELS_DIR", "STATE_DIR"])
def test_a_folder_whose_name_cannot_be_printed_or_found_is_refused_and_shown_as_it_is(name: str, bad: str) -> None:
    message = refused({}, {name: bad})
    assert message.startswith(
        f"{name}={bad!r} (environment) is not allowed: a folder's path, at most 1,000 printable characters"
    )
    assert message.isprintable()


@pytest.mark.parametrize("name", ["DATA_DIR", "MODELS_DIR"])
@pytest.mark.parametrize("folder", [".", "..", "models/..", "/", str(ROOT), str(ROOT.parent)])
def test_a_folder_that_holds_the_program_is_refused_as_its_files_would_be_archived(name: str, folder: str) -> None:
    assert "holds this program itself; name a folder of its own" in refused({name: folder})


@pytest.mark.parametrize(("data", "models"), [("", ""), ("", "models"), ("models/data", "models")])
def test_one_folder_for_models_and_data_or_one_in_the_other_is_refused(data: str, models: str, tmp_path: Path) -> None:
    message = refused({"DATA_DIR": str(tmp_path / data), "MODELS_DIR": str(tmp_path / "x" / ".." / models)})
    folders = f"DATA_DIR={tmp_path / data} and MODELS_DIR={tmp_path / models}"
    assert message == f"{folders} are one folder, or one in the other; name two"


def test_without_a_home_folder_the_state_folder_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert "STATE_DIR='~/.local/state/ml-paper-trader' (config.py)" in (message := refused())
    assert "~ needs a home folder" in message


def no_home(path: Path) -> Path:
    if str(path).startswith("~"):
        raise RuntimeError("Could not determine home directory.")
    return path


def test_very_many_symbols_are_read_and_told_in_short() -> None:
    many = [f"S{letters[0]}{letters[1]}{letters[2]}" for letters in itertools.product("ABCDEFGHIJKLMNOPQR", repeat=3)]
    settings = load({}, {"SYMBOLS": ",".join(many[:5000])})
    assert tuple(many[:5000]) == settings.SYMBOLS
    (told,) = settings.overridden
    assert len(told) < 250
    assert len(refused({}, {"SYMBOLS": ",".join(f"{symbol}/" for symbol in many)})) < 500
    assert refused({}, {"SYMBOLS": "AAPL,B\x1b[2J,C\nD"}).isprintable()


@pytest.mark.parametrize("value", [KEY, SECRET, f"'{KEY}'", f"x {SECRET}", f"AAPL,{KEY}"])
@pytest.mark.parametrize("name", ["MIN_CONFIDENCE", "SYMBOLS", "ALPACA_TRADING_URL", "ML_MODEL_TYPE", "REQUIRE_PROOF"])
def test_a_key_that_was_pasted_into_another_setting_is_not_shown(name: str, value: str) -> None:
    message = refused({}, {name: value})
    assert message.startswith(f"{name}=(what may be a key) (environment) is not allowed: ")
    assert KEY not in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("MAX_POSITION_SIZE = 5 ", "MAX_POSITION_SIZE = True "),
        ("STOP_LOSS_PCT = 0.02", "STOP_LOSS_PCT = False"),
        ("STOP_LOSS_PCT = 0.02", "STOP_LOSS_PCT = None"),
        ("STOP_LOSS_PCT = 0.02", 'STOP_LOSS_PCT = float("nan")'),
        ("TAKE_PROFIT_PCT = 0.04", 'TAKE_PROFIT_PCT = float("inf")'),
        ("MIN_CONFIDENCE = 0.65", "MIN_CONFIDENCE = [0.65]"),
        ("MAX_OPEN_POSITIONS = 10", "MAX_OPEN_POSITIONS = 10.5"),
        ("DAYS_BACK = 30", 'DAYS_BACK = float("nan")'),
        ('TRAIN_TIME = "20:00"', "TRAIN_TIME = 2000"),
        ("SYMBOLS = None", "SYMBOLS = []"),
        ("LEFT_OUT_FEATURES = None", "LEFT_OUT_FEATURES = []"),
        ("LEFT_OUT_FEATURES = None", 'LEFT_OUT_FEATURES = ["return_1", "rsi 14"]'),
        ("STOP_ENTRIES_ON_RED_DRIFT = False", "STOP_ENTRIES_ON_RED_DRIFT = None"),
        ("SYMBOLS = None", "SYMBOLS = 5"),
        ("SYMBOLS = None", 'SYMBOLS = ["AAPL", "BRK/B", "$X"]'),
        ('ML_MODEL_TYPE = "random_forest"', 'ML_MODEL_TYPE = ("random_forest",)'),
        ("REQUIRE_PROOF = False", 'REQUIRE_PROOF = "perhaps"'),
        ('DATA_DIR = "data"', 'DATA_DIR = ""'),
    ],
)
def test_a_bad_line_of_the_file_is_refused_by_name(tmp_path: Path, name: str, line: str) -> None:
    module = edited(tmp_path, (name, line))
    with pytest.raises(
        module.BadSetting, match=rf"^{line.split(' = ')[0]}=.*\(config\.py\) is not allowed: "
    ) as caught:
        module.load_settings({}, {})
    assert "\n" not in str(caught.value)


def test_a_bad_line_is_refused_even_where_another_place_overrides_it(tmp_path: Path) -> None:
    module = edited(tmp_path, ("STOP_LOSS_PCT = 0.02", "STOP_LOSS_PCT = 2"))
    with pytest.raises(module.BadSetting, match="STOP_LOSS_PCT=2"):
        module.load_settings({}, {"STOP_LOSS_PCT": "0.02"})


def test_of_several_symbols_the_bad_ones_are_listed() -> None:
    assert "not BRK/B, $X;" in refused({"SYMBOLS": "AAPL,brk/b,$x"})


def test_a_cost_that_no_trade_can_earn_is_refused_naming_both() -> None:
    message = refused({"ROUND_TRIP_COST_PCT": "0.04"})
    assert "ROUND_TRIP_COST_PCT=0.04" in message
    assert "TAKE_PROFIT_PCT=0.04" in message


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("MIN_CONFIDENC=0.6", "MIN_CONFIDENCE"),
        ("stop_los_pct=0.02", "STOP_LOSS_PCT"),
        ("ALPACA_KEY=x", "ALPACA_API_KEY"),
    ],
)
def test_an_unknown_name_in_the_env_file_gets_a_suggestion(env_file: Path, line: str, meant: str) -> None:
    env_file.write_text(f"{line}\n")
    message = refused(env_file=env_file)
    assert message == f"{line.split('=')[0]} in {env_file} is no setting; did you mean {meant}?"


def test_a_name_like_no_setting_is_to_be_removed(env_file: Path) -> None:
    env_file.write_text("QQQ=1\n")
    assert refused(env_file=env_file).endswith("QQQ in " + f"{env_file} is no setting; remove the line")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MIN_CONFIDENC", "MIN_CONFIDENCE"),
        ("STOPLOSS_PCT", "STOP_LOSS_PCT"),
        ("MAX_POSITIONS_SIZE", "MAX_POSITION_SIZE"),
    ],
)
def test_a_typo_in_the_environment_gets_a_suggestion(name: str, meant: str) -> None:
    assert refused({}, {name: "1"}) == f"{name} in the environment is no setting; did you mean {meant}?"


def test_the_rest_of_the_environment_is_none_of_our_business() -> None:
    others = {"PATH": "/bin", "HOME": "/", "DATA": "x", "LOG": "1", "SYMBOL_SERVER": "y", "min_confidence": "9"}
    assert load({}, others).overridden == ()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("MIN_CONFIDENCE = 0.65", "MIN_CONFIDENC = 0.65", "MIN_CONFIDENC"),
        ("STOP_LOSS_PCT = 0.02", "STOP_LOSS_PCT = 0.02\nSTOP_LOS_PCT = 0.03", "STOP_LOS_PCT .*STOP_LOSS_PCT"),
        ("TRAIN_TIME", "# TRAIN_TIME", "TRAIN_TIME in config.py is missing"),
    ],
)
def test_a_misspelt_or_missing_line_of_the_file_is_refused(tmp_path: Path, old: str, new: str, named: str) -> None:
    module = edited(tmp_path, (old, new))
    with pytest.raises(module.BadSetting, match=named) as caught:
        module.load_settings({}, {})
    assert "\n" not in str(caught.value)


# --- the .env file --------------------------------------------------------------------------------------------------


def test_an_env_file_may_hold_comments_exports_quotes_and_blank_lines(env_file: Path) -> None:
    env_file.write_text("# mine\n\nexport MIN_CONFIDENCE=0.7\nTRAIN_TIME='19:30'\nDATA_DIR=\"${HOME}\"\n")
    settings = load(env_file=env_file)
    assert (settings.MIN_CONFIDENCE, settings.TRAIN_TIME, settings.DATA_DIR.name) == (0.7, "19:30", "${HOME}")


def test_an_env_file_that_others_may_read_is_a_bad_setting(env_file: Path) -> None:
    env_file.write_text("MIN_CONFIDENCE=0.7\n")
    env_file.chmod(0o640)
    assert refused(env_file=env_file).endswith(f"Run: chmod 600 {env_file}")


def test_without_an_env_file_nothing_is_missing(tmp_path: Path) -> None:
    assert load(env_file=tmp_path / "none").overridden == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("MIN_CONFIDENCE=0.7 # Schwäche\n".encode("latin-1"), "not UTF-8 text at byte 25; save it as UTF-8"),
        (b'MIN_CONFIDENCE=0.7\nALPACA_API_KEY="PKABC\n', "line 2: not of the form NAME=value (or an open quote)"),
        (b"# keys\nMIN_CONFIDENCE\n", "line 2: not of the form NAME=value"),
        (b"MIN_CONFIDENCE: 0.7\n", "line 1: not of the form NAME=value"),
    ],
)
def test_an_env_file_that_cannot_be_read_names_file_and_place(env_file: Path, content: bytes, words: str) -> None:
    env_file.write_bytes(content)
    message = refused(env_file=env_file)
    assert str(env_file) in message
    assert words in message


# --- keys and hosts -------------------------------------------------------------------------------------------------


def both(key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    return {"ALPACA_API_KEY": key, "ALPACA_SECRET_KEY": secret}


def test_with_both_keys_auto_means_alpaca(env_file: Path) -> None:
    env_file.write_text("".join(f"{name}={value}\n" for name, value in both().items()))
    for settings in (load({}, both()), load(env_file=env_file)):
        assert settings.has_keys
        assert settings.market == "alpaca"
    assert load({"MARKET": "simulated"}, both()).market == "simulated"


@pytest.mark.parametrize("name", ["ALPACA_API_KEY", "ALPACA_SECRET_KEY"])
def test_one_key_without_the_other_names_the_missing_one(name: str) -> None:
    (missing,) = set(both()) - {name}
    message = refused({}, {name: both()[name]})
    assert f"{name} is set and {missing} is not" in message


@pytest.mark.parametrize(
    "bad",
    [
        "your_key_here",
        "YOURALPACAKEYHERE1234",
        "PKSHORT",
        f'"{KEY}"',
        f"'{KEY}'",
        f"{KEY} ",
        f"{KEY}\n",
        f"{KEY[:10]} {KEY[10:]}",
        f"{KEY}\0",
        f"{KEY}é",
        "P" * 81,
    ],
)
@pytest.mark.parametrize("name", ["ALPACA_API_KEY", "ALPACA_SECRET_KEY"])
def test_what_is_no_key_is_refused_without_printing_it(name: str, bad: str) -> None:
    message = refused({}, both() | {name: bad})
    assert message.startswith(f"{name} does not look like a key")
    assert bad.strip() not in message


@pytest.mark.parametrize("name", ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"])
def test_another_tools_names_are_an_error_with_the_cure_never_a_reason_to_simulate(name: str, env_file: Path) -> None:
    env_file.write_text(f"{name}={KEY}\n")
    in_file, in_environment = refused(env_file=env_file), refused({}, {name: KEY})
    assert f"{name} in {env_file} is another tool's name; here it is ALPACA_API_KEY and ALPACA_SECRET_KEY" in in_file
    assert "APCA_" in in_environment
    assert "ALPACA_API_KEY" in in_environment
    assert KEY not in in_file + in_environment


def test_another_tools_names_beside_our_keys_do_no_harm() -> None:
    assert load({}, both() | {"APCA_API_KEY_ID": KEY}).has_keys


@pytest.mark.parametrize(
    "url",
    [
        "https://api.alpaca.markets",
        "http://paper-api.alpaca.markets",
        "https://paper-api.alpaca.markets.evil.com",
        "https://paper-api.alpaca.markets@evil.com",
        "https://paper-api.alpaca.markets:444/v2",
        "https://paper-apiXalpaca.markets",
        "http://127.0.0.1.evil.com",
        "http://10.0.0.1",
        "ftp://localhost",
    ],
)
@pytest.mark.parametrize("name", ["ALPACA_TRADING_URL", "ALPACA_DATA_URL"])
def test_a_live_or_foreign_host_is_refused(name: str, url: str) -> None:
    assert refused({}, {name: url}).startswith(f"{name}={url!r} (environment) is not allowed: Alpaca's ")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "https://localhost:1", "http://[::1]:9"])
def test_loopback_is_allowed_for_tests(url: str) -> None:
    settings = load({}, {"ALPACA_TRADING_URL": url, "ALPACA_DATA_URL": url})
    assert (url, url) == (settings.ALPACA_TRADING_URL, settings.ALPACA_DATA_URL)


def test_the_hosts_are_not_interchangeable() -> None:
    assert load().ALPACA_TRADING_URL == "https://paper-api.alpaca.markets"
    assert load().ALPACA_DATA_URL == "https://data.alpaca.markets"
    refused({}, {"ALPACA_TRADING_URL": "https://data.alpaca.markets"})
    refused({}, {"ALPACA_DATA_URL": "https://paper-api.alpaca.markets"})


def test_keys_are_in_no_text_that_is_printed_or_handed_on() -> None:
    settings = load({}, both())
    assert (settings.ALPACA_API_KEY, settings.ALPACA_SECRET_KEY) == (KEY, SECRET)
    handed_on = settings.as_environment()
    for text in (repr(settings), str(settings.overridden), str(handed_on), *handed_on.values()):
        assert KEY not in text
        assert SECRET not in text
    for wrong in ({"MIN_CONFIDENCE": "2"}, {"MIN_CONFIDENC": "1"}, {"ALPACA_API_KEY": f"{KEY}!"}):
        message = refused({}, both() | wrong)
        assert KEY not in message
        assert SECRET not in message


# --- handed on ------------------------------------------------------------------------------------------------------


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    changes = {
        "SYMBOLS": "AAPL,MSFT",
        "LEFT_OUT_FEATURES": "return_1,rsi_14",
        "STOP_ENTRIES_ON_RED_DRIFT": "True",
        "MAX_HOLDING_MINUTES": "None",
        "REQUIRE_PROOF": "True",
        "MIN_CONFIDENCE": "0.6123456789",
        "DATA_DIR": str(tmp_path / "d d"),
        "MARKET": "recorded",
    }
    for settings in (load(), load(changes)):
        child = load({}, settings.as_environment())
        assert dataclasses.replace(child, overridden=()) == dataclasses.replace(settings, overridden=())


def test_the_rules_of_a_trade_are_the_four_that_make_its_label() -> None:
    assert load({"MAX_HOLDING_MINUTES": "60"}).trade_rules() == {
        "stop_loss": 0.02,
        "take_profit": 0.04,
        "max_holding_minutes": 60,
        "round_trip_cost": 0.0006,
    }

"""The README is held to the program: its commands, files, settings and the one line that adds an indicator."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

import backtest
import build_dataset
import config
import live_trader
import market_scheduler
import ml_predictor
import ml_trainer
import report
import sign_of_life
from command import EXIT_CODES
from learning import features

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
DOORS = {
    module.__name__: module
    for module in (
        backtest,
        build_dataset,
        live_trader,
        market_scheduler,
        ml_predictor,
        ml_trainer,
        report,
        sign_of_life,
    )
}
COMMANDS = sorted(set(re.findall(r"python (\w+)\.py((?: --?[\w-]+(?: [\w./|]+)?)*)", README)))


@pytest.mark.parametrize(("door", "arguments"), COMMANDS)
def test_every_command_of_the_readme_has_its_options(
    door: str, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        DOORS[door].main(["--help"])
    manual = capsys.readouterr().out
    for option in re.findall(r"--[\w-]+", arguments):
        assert option in manual


def test_the_readme_names_every_door() -> None:
    assert {door for door, _ in COMMANDS} == set(DOORS)


def test_every_file_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)?[a-z_]+\.(?:py|txt|toml))`", README)) | {".env.example", "Makefile"}
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_settings_table_is_the_settings() -> None:
    cells = re.findall(r"`([A-Z][A-Z_]+)` \| `([^`]+)`", README)
    table = {name: eval(value) for name, value in cells}  # noqa: S307 - our own README
    written = {f.name: getattr(config, f.name) for f in config.fields(config.Settings) if hasattr(config, f.name)}
    shown = {
        "DATA_DIR",
        "MODELS_DIR",
        "STATE_DIR",
        "LOG_LEVEL",
        "SIMULATED_SEED",
        "ALPACA_TRADING_URL",
        "ALPACA_DATA_URL",
    }
    assert table == {name: value for name, value in written.items() if name not in shown}


def test_every_setting_has_a_line_of_its_own_with_a_reason() -> None:
    lines = (ROOT / "config.py").read_text().splitlines()
    for name in (f.name for f in config.fields(config.Settings) if hasattr(config, f.name)):
        if not name.startswith("ALPACA"):
            assert [line for line in lines if re.match(rf"{name} = \S+.*  # \w", line)], name


def test_the_exit_codes_are_those_of_the_program() -> None:
    listed = re.search(r"Exit codes: (.*?)\.\n", README, re.DOTALL)
    assert listed
    codes = {int(code) for code in re.findall(r"\b(\d) ", listed[1])}
    assert set(EXIT_CODES.values()) | {0, 1, 3} == codes


def test_the_indicator_of_the_readme_is_one_line_and_works(
    real_bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = re.search(r'^    "(\w+)": (lambda b: talib.+),$', README, re.MULTILINE)
    assert line
    name, source = line.groups()
    added = eval(source, {"talib": features.talib})  # noqa: S307 - our own README
    monkeypatch.setitem(features.INDICATORS, name, added)
    monkeypatch.setattr(features, "FEATURES", list(features.INDICATORS))
    bars = real_bars[real_bars["symbol"] == "NVDA"].head(1000).reset_index(drop=True)
    column = features.compute_features(bars)[name]
    assert column.iloc[features.WARMUP_BARS :].notna().all()
    shorter = features.compute_features(bars.iloc[200:].reset_index(drop=True))[name]
    assert shorter.iloc[-1] == pytest.approx(column.iloc[-1], rel=1e-6)


def test_no_path_of_a_machine_and_no_key_is_in_the_repository() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = {name: (ROOT / name).read_text(errors="replace") for name in files if (ROOT / name).is_file()}
    homes = re.compile(r"/(?:home|root|Users)/\w+")
    assert [name for name, text in texts.items() if homes.search(text) and not name.startswith("tests/")] == []
    assert [name for name in files if re.search(r"\.(pkl|parquet|csv|log)$|(^|/)\.env$", name)] == []

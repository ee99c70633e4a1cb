"""The doors as a user meets them: each in a process of its own, in folders of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOORS = ("build_dataset", "ml_trainer", "ml_predictor", "market_scheduler", "live_trader", "backtest", "report")
DOCUMENTED_TRADE_FIELDS = {
    "symbol", "side", "qty", "price", "confidence", "entry_time", "stop_loss", "take_profit", "status", "exit_price",
    "exit_time", "pnl_pct", "pnl_amount", "id", "model_id", "market", "exit_reason", "fees", "qty_ordered",
}  # fmt: skip

Run = Callable[..., subprocess.CompletedProcess[str]]


def runner(folder: Path) -> Run:
    """Runs Python in `folder` as a user of the repository would, without keys and with folders of its own there."""
    keyless = {name: value for name, value in os.environ.items() if not name.startswith(("ALPACA", "APCA"))}
    here = {"MODELS_DIR": str(folder / "models"), "DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT)}

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=keyless | here | settings,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


def door(name: str) -> str:
    return str(ROOT / f"{name}.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run, subprocess.CompletedProcess[str]]:
    """A folder after `python live_trader.py` without keys: the whole cycle on the simulated market."""
    folder = tmp_path_factory.mktemp("finished")
    run = runner(folder)
    return folder, run, run(door("live_trader"), "--json")


@pytest.mark.parametrize("name", DOORS)
def test_every_door_explains_itself(name: str, tmp_path: Path) -> None:
    result = runner(tmp_path)(door(name), "--help")
    assert result.returncode == 0
    for option in ("--market", "--bars", "--symbols", "--days", "--json", "--quiet", f"python {name}.py"):
        assert option in result.stdout


@pytest.mark.parametrize(
    ("name", "code", "words", "cure"),
    [
        ("ml_trainer", 7, "Insufficient training data", "python build_dataset.py"),
        ("ml_predictor", 7, "No trained model found", "python ml_trainer.py"),
        ("report", 7, "", "python live_trader.py"),
    ],
)
def test_a_door_that_comes_too_early_names_the_cure(
    name: str, code: int, words: str, cure: str, tmp_path: Path
) -> None:
    result = runner(tmp_path)(door(name))
    assert result.returncode == code
    assert words in result.stderr
    assert cure in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", DOORS)
def test_a_wrong_setting_is_one_line_and_exit_code_2(name: str, tmp_path: Path) -> None:
    result = runner(tmp_path)(door(name), STOP_LOSS_PCT="2")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "STOP_LOSS_PCT" in result.stderr
    assert "0.0001 to 0.5" in result.stderr


def test_importing_the_doors_does_no_work(tmp_path: Path) -> None:
    result = runner(tmp_path)("-c", f"import {', '.join(DOORS)}; print('quiet')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "quiet\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--market", "alpaca"), ("--broker", "alpaca")])
def test_alpaca_without_keys_is_refused_in_one_clear_line(arguments: tuple[str, str], tmp_path: Path) -> None:
    result = runner(tmp_path)(door("live_trader"), *arguments)
    assert result.returncode == 2
    assert "alpaca" in result.stderr
    assert result.stderr.count("\n") == 1


def test_too_few_sessions_before_the_first_traded_one_end_with_exit_code_7(tmp_path: Path) -> None:
    result = runner(tmp_path)(door("live_trader"), "--days", "25")
    assert result.returncode == 7
    assert "Insufficient training data" in result.stderr


def test_the_main_job_ends_by_itself_with_trades_and_a_summary(
    finished: tuple[Path, Run, subprocess.CompletedProcess[str]],
) -> None:
    folder, _, result = finished
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert "SIMULATED MARKET" in result.stdout
    summary = json.loads(result.stdout.strip().splitlines()[-1])
    assert summary["closed_trades"] > 3
    assert summary["failures"] == {}
    names = {re.sub(r"\d{8}_\d{6}", "STAMP", path.name) for path in (folder / "models").iterdir()}
    assert {
        "model_random_forest_STAMP.pkl", "scaler_STAMP.pkl", "features_STAMP.pkl", "card_STAMP.json", "current.json",
        "journal.jsonl", "trade_history.json", "paper_account.json", "predictions", "source.json",
    } <= names  # fmt: skip
    assert len(list((folder / "models").glob("model_*.pkl"))) == 6  # the first, and one a night
    assert (folder / "data" / "report.html").exists()
    assert len(list((folder / "data" / "bars").glob("*.parquet"))) > 25


def test_the_books_of_the_main_job_add_up(finished: tuple[Path, Run, subprocess.CompletedProcess[str]]) -> None:
    folder, _, _ = finished
    history = json.loads((folder / "models" / "trade_history.json").read_text())
    account = json.loads((folder / "models" / "paper_account.json").read_text())
    closed = [t for t in history["trades"] if t["status"] == "CLOSED"]
    held = [t for t in history["trades"] if t["status"] == "OPEN"]
    assert all(set(t) >= DOCUMENTED_TRADE_FIELDS for t in history["trades"])
    assert all(value is not None for t in closed for value in t.values())
    for t in closed:
        assert t["pnl_amount"] == pytest.approx((t["exit_price"] - t["price"]) * t["qty"] - t["fees"], abs=1e-4)
        assert t["entry_time"] < t["exit_time"]
        assert t["confidence"] >= 0.65
    cash = 100_000 + sum(t["pnl_amount"] for t in closed) - sum(t["price"] * t["qty"] for t in held)
    assert account["cash"] == pytest.approx(cash, abs=0.005)
    assert any(s["taken"] for s in history["signals"])
    assert all(set(s) == {"symbol", "price", "confidence", "timestamp", "taken", "reason"} for s in history["signals"])


def test_each_evening_of_the_main_job_was_reviewed_and_each_purchase_knows_why(
    finished: tuple[Path, Run, subprocess.CompletedProcess[str]],
) -> None:
    folder, _, result = finished
    reviews = [json.loads(path.read_text()) for path in sorted((folder / "models" / "reviews").iterdir())]
    days = [review["session"] for review in reviews]
    assert len(days) == 5
    assert all(f"review of {day}: drift " in result.stdout for day in days)
    history = json.loads((folder / "models" / "trade_history.json").read_text())
    bought = [t for t in history["trades"] if t["qty"]]
    assert {t["entry_time"][:10] for t in bought} <= set(days)
    for t in bought:
        assert t["model_confidence"] >= t["confidence"]
        assert [set(each) for each in t["why"]] == [{"feature", "value", "contribution"}] * len(t["why"])
        assert t["why"]


@pytest.mark.parametrize(("symbol", "no"), [("SIM01", None), ("AAPL", "the source has no bars of it")])
def test_the_predictor_says_why(
    finished: tuple[Path, Run, subprocess.CompletedProcess[str]], symbol: str, no: str | None
) -> None:
    _, run, _ = finished
    result = run(door("ml_predictor"), "--why", symbol, "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.strip().splitlines()[-1])
    assert told["first_no"] == no or (no is None and told["first_no"])  # the market is closed by then
    assert bool(told["for"]) == bool(told["against"]) == (no is None)
    assert f"first reason not to buy: {told['first_no']}" in result.stdout


def snippets(document: Path) -> list[str]:
    """The Python blocks of a Markdown page that do something, not those that only show settings."""
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    return [block for block in blocks if "import" in block]


@pytest.mark.parametrize("number", range(4))
def test_every_snippet_of_the_user_documentation_runs_after_the_main_job(
    finished: tuple[Path, Run, subprocess.CompletedProcess[str]], shared_data: Path, number: int
) -> None:
    found = snippets(shared_data.parent / "user_documentation.md")
    assert len(found) == 4
    _, run, _ = finished
    result = run("-c", found[number])
    assert result.returncode == 0, result.stderr


def test_knowledge_survives_the_process(finished: tuple[Path, Run, subprocess.CompletedProcess[str]]) -> None:
    _, run, _ = finished
    result = run(
        "-c",
        "from ml_predictor import MLPredictor; from live_trader import LiveTrader; import json;"
        "p = MLPredictor(); h = p.get_prediction_history('SIM01');"
        "print(json.dumps([p.is_model_ready(), len(h), h[0]['timestamp'] < h[-1]['timestamp'],"
        " p.predict('SIM01'), p.predict('AAPL'), LiveTrader().get_performance_summary()]))",
    )
    assert result.returncode == 0, result.stderr
    ready, count, ordered, known, unknown, summary = json.loads(result.stdout)
    assert ready
    assert ordered
    assert count > 1900  # five sessions, every minute but the first
    assert known["price"] > 0
    assert "the end of the stored simulated bars" in known["reason"]
    assert (unknown["recommendation"], unknown["price"], unknown["signal"]) == ("HOLD", 0.0, 0)
    assert summary["closed_trades"] > 3


def test_the_same_run_is_the_same_again_and_the_first_is_archived(tmp_path: Path) -> None:
    run = runner(tmp_path)
    assert run(door("live_trader"), "--days", "1", "--quiet").returncode == 0
    first = json.loads((tmp_path / "models" / "trade_history.json").read_text())
    again = run(door("live_trader"), "--days", "1")
    assert "moved to" in again.stdout
    assert json.loads((tmp_path / "models" / "trade_history.json").read_text()) == first
    assert len(list((tmp_path / "archive").glob("simulated_*"))) == 1


def test_a_second_trader_on_the_same_books_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    run = runner(tmp_path)
    program = (
        "from desk.journal import Journal; from pathlib import Path; import live_trader, report, json;"
        "Path('models/source.json').parent.mkdir(); Path('data').mkdir();"
        "source = json.dumps({'market': 'recorded', 'feed': 'recorded'});"
        "Path('models/source.json').write_text(source); Path('data/source.json').write_text(source);"
        "held = Journal(Path('models/journal.jsonl'), 's');"
        "bars = __import__('sys').argv[1];"
        "print(live_trader.main(['--bars', bars, '--days', '1', '--quiet']), live_trader.main(['--status', '--quiet']))"
    )
    from_market = run(
        "-c",
        "from market.simulated_feed import simulate_bars; from market.hours import sessions_between;"
        "from datetime import date;"
        "simulate_bars(sessions_between(date(2026, 2, 2), date(2026, 2, 20)), seed=1).to_parquet('bars.parquet')",
    )
    assert from_market.returncode == 0, from_market.stderr
    result = run("-c", program, "bars.parquet")
    assert result.stdout.split() == ["4", "0"], result.stderr
    assert "process" in result.stderr


def test_the_status_reads_the_books_of_a_trader(
    finished: tuple[Path, Run, subprocess.CompletedProcess[str]],
) -> None:
    _, run, _ = finished
    result = run(door("live_trader"), "--status")
    assert result.returncode == 0
    assert "2026-03-06T16:00" in result.stdout


def test_getting_started_in_four_steps_uses_the_model_that_was_trained(tmp_path: Path) -> None:
    run = runner(tmp_path)
    assert run(door("build_dataset")).returncode == 0
    trained = run(door("ml_trainer"), "--json")
    assert trained.returncode == 0
    for word in ("accuracy", "precision", "recall", "Feature importances", "model_random_forest_"):
        assert word in trained.stdout
    stamp = json.loads(trained.stdout.strip().splitlines()[-1])["stamp"]
    tested = run(door("ml_predictor"))
    assert tested.returncode == 0
    assert "SIM01" in tested.stdout
    traded = run(door("live_trader"), "--days", "5")
    assert traded.returncode == 0
    assert f"model {stamp} is in use" in traded.stdout
    assert "training of 2026-02-27" not in traded.stdout

"""The service and the container fit the program: how they stop it, what they start again, what they take along."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from command import EXIT_CODES, MACHINE
from config import STATE_DIR
from learning.model_store import NoModel
from sign_of_life import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parents[1]
UNIT = ROOT / "deploy" / "ml-paper-trader.service"
HERE = "%h/ml-paper-trader"
SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600}
ENDED_FOR_NOW = {EXIT_CODES[NoModel], MACHINE}  # no data, no answer, no room: what a minute may heal


def unit(section: str) -> dict[str, list[str]]:
    """The settings of a section of the unit, each with all its lines."""
    settings = defaultdict(list)
    inside = UNIT.read_text().partition(f"[{section}]\n")[2].partition("\n[")[0]
    for name, value in re.findall(r"^(\w+)=(.*)$", inside, re.MULTILINE):
        settings[name].append(value)
    assert settings
    return settings


def seconds(text: str) -> int:
    number, of = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * SECONDS[of]


# --- systemd ----------------------------------------------------------------------------------------------------------


def test_an_ordinary_stop_is_ctrl_c_and_reaches_the_trader_alone() -> None:
    service = unit("Service")
    assert service["KillSignal"] == ["SIGINT"]
    assert service["KillMode"] == ["mixed"]
    assert "130" in service["SuccessExitStatus"][0].split()  # interrupted before the first minute


def test_what_only_a_person_can_mend_is_not_started_again() -> None:
    service = unit("Service")
    assert service["Restart"] == ["on-failure"]
    prevented = {int(code) for code in service["RestartPreventExitStatus"][0].split()}
    assert prevented == set(EXIT_CODES.values()) - ENDED_FOR_NOW
    assert 1 not in prevented
    assert seconds(service["RestartSec"][0]) >= 60


def test_systemd_waits_longer_than_the_health_check_and_that_longer_than_an_evening() -> None:
    service = unit("Service")
    assert service["Type"] == ["notify"]
    assert seconds(service["WatchdogSec"][0]) > LIMIT_SECONDS >= 15 * 60


def test_the_service_starts_this_program_on_alpaca_s_market() -> None:
    python, script, *arguments = unit("Service")["ExecStart"][0].split()
    assert python == f"{HERE}/.venv/bin/python"
    assert unit("Service")["WorkingDirectory"] == [HERE]
    assert (ROOT / script).is_file()
    assert arguments == ["--market", "alpaca"]


def test_the_service_may_write_the_folders_of_the_settings_and_no_others() -> None:
    service = unit("Service")
    written = {path.lstrip("-") for line in service["ReadWritePaths"] for path in line.split()}
    own = {f"{HERE}/data", f"{HERE}/models", f"{HERE}/archive"}
    assert written == own | {STATE_DIR.replace("~", "%h")}
    # Strict alone leaves /home as it is, and a user's service has a view of its own only together with PrivateUsers.
    assert (service["ProtectSystem"], service["ProtectHome"], service["PrivateUsers"]) == (
        ["strict"],
        ["read-only"],
        ["yes"],
    )


def test_no_secret_and_no_path_of_a_machine_is_in_the_files_of_deployment() -> None:
    for path in (UNIT, ROOT / "Dockerfile", ROOT / "deploy" / "compose.yaml"):
        text = path.read_text()
        assert re.findall(r"(?:SECRET|API)_KEY", text) == [], path.name
        assert re.findall(r"/(?:home|root|Users)/\w+", text) == [], path.name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on this machine")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for folder in ("data", "models", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to("/bin/sh")
    service = tmp_path / UNIT.name
    service.write_text(UNIT.read_text().replace(HERE, str(tmp_path)))
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    run = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", str(service)],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [line for line in (run.stdout + run.stderr).splitlines() if UNIT.name in line]
    assert (run.returncode, complaints) == (0, [])


# --- docker -----------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, in order, each on one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(maxsplit=1)[0], " ".join(line.split()[1:])) for line in text.splitlines() if line.strip()]


def final_stage() -> list[tuple[str, str]]:
    every = instructions()
    last = max(i for i, (name, _) in enumerate(every) if name == "FROM")
    return every[last:]


def let_through(path: str) -> bool:
    """Whether .dockerignore leaves a file or folder in the build: the last line that names it counts."""
    through = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = [path] if "/" in pattern else [path.split("/")[0]]
        deep = pattern.startswith("**/") and fnmatch.fnmatch(path.split("/")[-1], pattern.removeprefix("**/"))
        if deep or any(fnmatch.fnmatchcase(part, pattern) for part in parts):
            through = line.startswith("!")
    return through


def test_a_container_runs_python_on_a_named_version_without_root_and_stops_as_by_ctrl_c() -> None:
    stage = final_stage()
    for name, value in instructions():
        if name == "FROM":
            assert re.match(r"python:3\.1[123]\S*-slim-\w+", value)
    names = [name for name, _ in stage]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert dict(stage)["USER"] == "trader"
    assert re.search(r"useradd --uid \d+ .* trader\b", dict(stage)["RUN"])
    assert dict(stage)["STOPSIGNAL"] == "SIGINT"
    assert dict(stage)["ENTRYPOINT"] == '["python", "live_trader.py"]'  # without a shell, which would keep the signal
    assert dict(stage)["HEALTHCHECK"].endswith('CMD ["python", "sign_of_life.py"]')


def test_packages_come_from_the_lock_with_their_hashes_and_without_a_compiler() -> None:
    runs = " ".join(value for name, value in instructions() if name == "RUN")
    assert runs.count("pip") - runs.count("without-pip") == 1
    assert "--require-hashes -r requirements.lock" in runs
    assert "--only-binary :all:" in runs
    assert "apt" not in runs


def test_every_file_of_the_program_is_copied_and_nothing_else() -> None:
    sources = [value.split()[:-1] for name, value in instructions() if name == "COPY" and "--from" not in value]
    copied = {path.name for pattern in sources for part in pattern for path in ROOT.glob(part)}
    assert all(any(ROOT.glob(part)) for pattern in sources for part in pattern)
    rooms = {"market", "learning", "desk", "display"}
    assert copied == {path.name for path in ROOT.glob("*.py")} | rooms | {"requirements.lock"}
    assert all(let_through(name) for name in copied)
    house = {path.stem for path in ROOT.glob("*.py")} | {path.name for path in ROOT.iterdir() if path.is_dir()}
    for path in (path for name in copied for path in (ROOT / name, *(ROOT / name).rglob("*.py"))):
        if path.suffix == ".py":
            wanted = imported(path) & house
            assert wanted <= {Path(name).stem for name in copied}, path


def imported(path: Path) -> set[str]:
    """The names at the top of what a file imports."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    "name", [".env", ".git", ".venv", "data", "models", "models_recorded", "archive", "tests", "keys.json", "README.md"]
)
def test_no_key_no_data_and_no_test_gets_into_an_image(name: str) -> None:
    assert not let_through(name)
    assert not let_through("desk/__pycache__")


def test_the_folders_of_a_container_lie_in_its_volume_and_outlive_it() -> None:
    stage = dict(final_stage())
    folders = dict(pair.split("=") for pair in stage["ENV"].split())
    assert {folders[name].rpartition("/")[0] for name in ("DATA_DIR", "MODELS_DIR", "STATE_DIR")} == {stage["VOLUME"]}
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert f"trading:{stage['VOLUME']}" in compose
    grace = re.search(r"stop_grace_period: (\w+)", compose)
    assert grace
    assert seconds(grace[1]) == seconds(unit("Service")["TimeoutStopSec"][0]) > 60

"""The locks hold what requirements*.txt name, and all that these need in turn, in exact versions with hashes."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
SYSTEMS = [
    {
        "sys_platform": system,
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    | {"platform_system": name, "os_name": "posix", "implementation_name": "cpython", "extra": ""}
    | {"platform_python_implementation": "CPython", "implementation_version": f"{python}.0"}
    for system, name, machine in [
        ("linux", "Linux", "x86_64"),
        ("linux", "Linux", "aarch64"),
        ("darwin", "Darwin", "arm64"),
        ("darwin", "Darwin", "x86_64"),
    ]
    for python in ("3.11", "3.12", "3.13")
]


def named(file: str) -> dict[str, Requirement]:
    """The requirements of a hand-written list, those that it includes as well, by canonical name."""
    found: dict[str, Requirement] = {}
    for line in (ROOT / file).read_text().splitlines():
        if line.startswith("-r "):
            found |= named(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            requirement = Requirement(line)
            found[canonicalize_name(requirement.name)] = requirement
    return found


def locked(file: str) -> dict[str, tuple[Requirement, int]]:
    """What a lock pins, each with the number of its hashes, by canonical name."""
    found: dict[str, tuple[Requirement, int]] = {}
    text = (ROOT / file).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        words, *_ = line.split("--hash", 1)
        requirement = Requirement(words)
        name = canonicalize_name(requirement.name)
        assert name not in found
        assert HASH.sub("", line).split() == words.split(), "nothing but a requirement and its hashes"
        found[name] = requirement, len(HASH.findall(line))
    return found


def version(requirement: Requirement) -> str:
    (pin,) = requirement.specifier
    assert pin.operator == "=="
    assert "*" not in pin.version
    return pin.version


@pytest.fixture(params=["requirements", "requirements-dev"])
def pair(request: pytest.FixtureRequest) -> tuple[dict[str, Requirement], dict[str, tuple[Requirement, int]]]:
    return named(f"{request.param}.txt"), locked(f"{request.param}.lock")


def test_every_named_package_is_locked_in_its_version_for_its_systems(
    pair: tuple[dict[str, Requirement], dict[str, tuple[Requirement, int]]],
) -> None:
    listed, lock = pair
    for name, requirement in listed.items():
        assert version(lock[name][0]) == version(requirement), f"{name}: run make lock"
        for system in SYSTEMS:
            assert wanted(lock[name][0], system) == wanted(requirement, system), f"{name}: run make lock"


def test_everything_locked_has_one_version_and_its_hashes(
    pair: tuple[dict[str, Requirement], dict[str, tuple[Requirement, int]]],
) -> None:
    for name, (requirement, hashes) in pair[1].items():
        assert version(requirement), name
        assert hashes >= 1, name


def test_what_the_packages_of_this_machine_need_in_turn_is_locked(
    pair: tuple[dict[str, Requirement], dict[str, tuple[Requirement, int]]],
) -> None:
    _, lock = pair
    here = [name for name, (requirement, _) in lock.items() if wanted(requirement)]
    for name in here:
        installed = distribution(name)
        if installed.version != version(lock[name][0]):
            continue  # installed from requirements*.txt by hand, which leave open what packages need in turn
        for needed in map(Requirement, installed.requires or []):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in here, f"{name} needs {needed}"
                assert version(lock[canonicalize_name(needed.name)][0]) in needed.specifier


def test_the_program_runs_on_the_same_versions_with_and_without_the_tools_of_development() -> None:
    program, development = locked("requirements.lock"), locked("requirements-dev.lock")
    assert {name: str(requirement) for name, (requirement, _) in program.items()} == {
        name: str(development[name][0]) for name in program
    }


def test_make_installs_from_the_locks_and_nothing_else() -> None:
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("\t$(PIP)")]
    assert installs == [f"\t$(PIP) --require-hashes -r requirements{kind}.lock" for kind in ("", "-dev")]


def wanted(requirement: Requirement, system: dict[str, str] | None = None) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(system)

"""The floors of the house, read from the imports: who may know whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("market", "learning", "desk", "display")
FILES = sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).glob("*.py"))])
GROUND = ("durable", "locks", "alpaca_wire")  # files, locks, the way to Alpaca: what every room may stand on
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}
CLOCKS |= {("time", "time"), ("time", "time_ns"), ("time", "sleep"), ("time", "localtime")}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str) -> set[str]:
    """Every module a file imports, wherever in the file; `from a import b` counts as a, and as a.b."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


HOUSE = {name_of(path) for path in FILES}
KNOWS = {name_of(path): imports(path.read_text()) & HOUSE - {name_of(path)} for path in FILES}


def room_of(module: str) -> str:
    return module.split(".")[0] if module.split(".")[0] in ROOMS else "door"


def broken_rules(module: str, known: set[str]) -> list[str]:
    """What `module` imports and must not."""
    room = room_of(module)
    allowed = {
        "market": lambda other: room_of(other) == "market" or other in GROUND,
        "desk": lambda other: room_of(other) == "desk" or other in GROUND,
        "learning": lambda other: (
            room_of(other) == "learning" or other in ("market", "market.bars", "market.hours", "durable")
        ),
        "display": lambda other: room_of(other) != "door" or other in GROUND,
        "door": lambda other: True,
    }[room]
    return sorted(other for other in known if not allowed(other))


@pytest.mark.parametrize("module", sorted(HOUSE))
def test_a_room_knows_only_the_floors_below_it(module: str) -> None:
    assert broken_rules(module, KNOWS[module]) == []


@pytest.mark.parametrize("lower", ["env_file", "setting_rules", *GROUND])
def test_files_and_the_wire_stand_on_the_ground(lower: str) -> None:
    assert KNOWS[lower] == set()


def test_the_settings_know_their_rules_and_their_env_file_and_nothing_else_and_nobody_else_reads_it() -> None:
    assert KNOWS["config"] == {"env_file", "setting_rules"}
    assert [module for module in HOUSE if "env_file" in KNOWS[module]] == ["config"]


def test_only_doors_read_the_settings() -> None:
    assert [module for module in HOUSE if room_of(module) != "door" and "config" in KNOWS[module]] == []


def test_nobody_imports_in_a_circle() -> None:
    def reach(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        for other in KNOWS[module] - set(ROOMS):
            reach(other, (*path, module))

    for module in HOUSE:
        reach(module, ())


def test_only_the_clock_asks_the_machine_for_the_time() -> None:
    asking = {}
    for path in FILES:
        calls = {
            (node.value.id, node.attr)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        if calls & CLOCKS:
            asking[name_of(path)] = calls & CLOCKS
    assert set(asking) == {"market.clock"}


def test_rooms_import_nothing_inside_functions() -> None:
    hidden = [
        name_of(path)
        for path in FILES
        for outer in ast.walk(ast.parse(path.read_text()))
        if isinstance(outer, ast.FunctionDef)
        for node in ast.walk(outer)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


def test_there_is_one_catch_all_and_it_is_the_scheduler_s() -> None:
    broad = [
        name_of(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
    ]
    assert sorted(broad) == ["durable", "market_scheduler"]  # durable removes its temporary file and raises again


def test_the_rules_here_can_be_broken() -> None:
    assert broken_rules("desk.risk", {"market.bars"}) == ["market.bars"]
    assert broken_rules("learning.labels", {"market.feeds", "market.hours"}) == ["market.feeds"]
    assert imports("def f():\n    from market import bars") >= {"market", "market.bars"}

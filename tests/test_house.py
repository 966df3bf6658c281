"""The plan of the house: a room imports from the floors below it alone."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "csdm_jax"
TOP = 11
FLOORS = {
    "runtime": 0,
    "storage": 1,
    "metric": 2,
    "networks": 2,
    "augment": 2,
    "parameterisations": 2,
    "data": 3,
    "training": 4,
    "sets": 5,
    "distillation": 6,
    "evaluation": 7,
    "reporting": 8,
    "experiment": 9,
    "scoring": 10,
    "api": 10,
}
COMMANDS = {
    "cli",
    "compare",
    "export",
    "import_set",
    "main",
    "page",
    "report",
    "reproduce",
    "score",
    "sketch",
    "sweep",
}


def room_of(path):
    """The room that a file lies in; None at the top level."""
    return path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else None


def imported(path):
    """Every module of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def broken(path):
    """The imports of a file that lead to its own floor or above, but for its own room."""
    room = room_of(path)
    for module in imported(path):
        package, _, rest = module.partition(".")
        if package == "csdm_jax" and rest.partition(".")[0] != room:
            floor = FLOORS.get(rest.partition(".")[0], TOP)
            if floor >= FLOORS.get(room, TOP + 1):
                yield module


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_from_floors_below(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    found = {str(path.relative_to(PACKAGE)): list(broken(path)) for path in files}
    assert {name: modules for name, modules in found.items() if modules} == {}


def test_the_metric_imports_jax_and_itself_alone():
    for path in (PACKAGE / "metric").rglob("*.py"):
        ours = [m for m in imported(path) if m.startswith("csdm_jax")]
        assert all(module.startswith("csdm_jax.metric") for module in ours), (path, ours)


def test_rooms_and_commands_are_those_of_the_plan():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(FLOORS)
    files = {path.stem for path in PACKAGE.glob("*.py")}
    assert files - {"__init__", "_moved"} == COMMANDS
    assert all(len((PACKAGE / f"{name}.py").read_text().splitlines()) < 140 for name in COMMANDS)


def test_tests_mirror_the_rooms():
    tests = Path(__file__).parent
    rooms = {path.parent.name for path in tests.glob("*/__init__.py")}
    assert rooms == set(FLOORS) | {"faults"}


def test_the_plan_is_the_one_that_contributors_read():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| ")]
    told = {
        name.strip(" `/"): int(floor)
        for floor, names in rows
        if floor.strip().isdigit()
        for name in names.split(",")
        if name.strip().endswith("/`")
    }
    assert told == FLOORS


def test_what_contributors_are_told_to_open_is_there():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    rows = text.partition("| to change | open |")[2].partition("\n## ")[0]
    named = [word for word in rows.split("`")[1::2] if word.startswith("csdm_jax/")]
    assert len([line for line in rows.splitlines() if line.startswith("| ")]) == 12
    assert len(named) >= 10 and all((PACKAGE.parent / name).exists() for name in named)

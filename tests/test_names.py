"""Each public name of the package is defined once, and says what it is."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SRC = Path(__file__).parents[1] / "src" / "earwitness"

REPEATED = {"main": "programs of their own", "register": "each module of commands adds its own"}
FACES = ("api", "cli")
"""Functions here are named as what they call: what a notebook and the command line see of it."""
MODULES = {
    "*": "bubble outside beside together chain kept visit introduction post governor doubts notebook wan instrument",
    "path": "end ends link",
    "phone": "report reports grid reception",
}
"""Names of modules that say nothing, by package; `*`: of any."""
CLASSES = """
    TorsWord Notebook LiveCall Told News Untrue Governor Reception GridSender Sparingly
    FarHost FarChild FarMachine FarEnd FarCallEnd FarCapture Post LabPost ClusterPost
    Visit Introduction BesideOptions KeptCircuit KeptCircuits End PathEnd
"""
"""Names of classes and functions that say nothing, or that three things had."""


def modules() -> list[Path]:
    found = sorted(SRC.rglob("*.py"))
    assert len(found) > 300
    return found


def defined(path: Path) -> list[str]:
    """Public classes, functions and type aliases at a module's top level."""
    names = []
    for one in ast.parse(path.read_text()).body:
        if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(one.name)
        elif isinstance(one, ast.Assign) and isinstance(one.value, ast.Subscript | ast.BinOp):
            names += [name.id for name in one.targets if isinstance(name, ast.Name) and not name.id.isupper()]
    return [name for name in names if not name.startswith("_")]


def test_public_names_are_defined_once() -> None:
    places = defaultdict(list)
    for path in modules():
        if path.parent.name not in FACES:
            for name in defined(path):
                places[name].append(str(path.relative_to(SRC)))
    twice = {name: where for name, where in places.items() if len(where) > 1 and name not in REPEATED}
    assert twice == {}


def test_modules_say_what_they_are() -> None:
    unclear = [
        path.relative_to(SRC)
        for path in modules()
        for package, names in MODULES.items()
        if path.stem in names.split() and package in ("*", path.parent.name)
    ]
    assert unclear == []
    assert len([path for path in modules() if path.stem == "link"]) <= 1


def test_classes_and_functions_say_what_they_are() -> None:
    unclear = set(CLASSES.split())
    found = {name for path in modules() for name in defined(path) if name in unclear}
    assert found == set()

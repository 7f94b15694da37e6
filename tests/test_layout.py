"""Who may import whom among the tests, the benchmarks and what they share."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.commands import REPOSITORY


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import is a second name"
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize(
    ("folder", "others"),
    [
        ("tests", {"tests"}),
        ("testing", {"tests", "bench"}),
        ("bench", {"tests"}),
        ("src", {"tests", "testing", "bench"}),
    ],
)
def test_nobody_imports_a_test(folder: str, others: set[str]) -> None:
    files = sorted((REPOSITORY / folder).rglob("*.py"))
    assert len(files) > 20
    assert [(str(file), name) for file in files for name in imported(file) if name.split(".")[0] in others] == []


def test_modules_of_tests_hold_tests_or_fixtures() -> None:
    # What lies in a `src` is a package that tests install.
    names = {path.name for path in (REPOSITORY / "tests").rglob("*.py") if "src" not in path.parts[-4:]}
    assert {name for name in names if not name.startswith("test_")} == {"__init__.py", "conftest.py"}
    assert not [path for path in (REPOSITORY / "testing").rglob("*.py") if path.name.startswith("test_")]

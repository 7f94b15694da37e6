"""No function and no module grows beyond what a reader takes in: 80 lines, 350 lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import earwitness

LONGEST_FUNCTION = 80
"""From `def` to its last line, docstring and all."""
LONGEST_MODULE = 350
SOURCES = Path(earwitness.__file__).parent


def long_functions(source: str, longest: int) -> Iterator[tuple[str, int]]:
    """Name and length of each function, method and inner function that is longer."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > longest:
                yield node.name, length


def modules() -> list[Path]:
    found = sorted(SOURCES.rglob("*.py"))
    assert len(found) > 300, "not the sources"
    return found


def test_no_function_is_too_long() -> None:
    found = [
        f"{path.relative_to(SOURCES)}: {name}: {length} lines"
        for path in modules()
        for name, length in long_functions(path.read_text(encoding="utf-8"), LONGEST_FUNCTION)
    ]
    assert found == []


def test_no_module_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    found = [f"{path.relative_to(SOURCES)}: {lines} lines" for path, lines in lengths.items() if lines > LONGEST_MODULE]
    assert found == []


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_check_counts_methods_and_inner_functions_to_the_last_line(kind: str) -> None:
    body = "\n".join(["            x = (", *["                1,"] * 5, "            )"])
    source = f"class A:\n    {kind} outer(self):\n        {kind} inner():\n{body}\n        return inner\n"
    assert dict(long_functions(source, 7)) == {"outer": 10, "inner": 8}
    assert dict(long_functions(source, 9)) == {"outer": 10}
    assert dict(long_functions(source, 10)) == {}

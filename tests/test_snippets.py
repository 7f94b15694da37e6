"""The documents' Python runs: the blocks of a page in order, in one namespace, beside small files of those names."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import earwitness as ew
from testing.samples import write_samples

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
ALLOWED = {"earwitness", "numpy", "pandas", "matplotlib", *sys.stdlib_module_names}
IN_THE_LAB = ("ew.place_calls(", "ew.run_study(")


@dataclass(frozen=True)
class Snippet:
    """A block of Python in a page; `line` is that of its first line."""

    page: Path
    line: int
    text: str

    @property
    def in_the_lab(self) -> bool:
        return any(name in self.text for name in IN_THE_LAB)

    def run(self, namespace: dict[str, object]) -> None:
        # Faults then name the page's own line.
        exec(compile("\n" * (self.line - 1) + self.text, str(self.page), "exec"), namespace)


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text()
    return [
        Snippet(page, text.count("\n", 0, found.start(1)) + 1, found.group(1))
        for found in re.finditer(r"^```(?:python|py)\b[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


QUOTES = {"extending.md": TOP / "tests" / "plugins" / "test_extending.py"}
"""Pages that quote a package instead, whose own test says that they do; that package is installed, run and tested."""
WITH_PYTHON = [page for page in PAGES if snippets(page) and page.name not in QUOTES]
IDS = [page.name for page in WITH_PYTHON]


def test_there_are_snippets() -> None:
    assert {"README.md", "python.md"} <= set(IDS)
    assert len(snippets(TOP / "docs" / "python.md")) > 10
    assert all(test.exists() for test in QUOTES.values())
    assert {one.in_the_lab for one in snippets(TOP / "docs" / "python.md")} == {True, False}


def imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{node.module}.{node.names[0].name}" if node.module == "earwitness" else f"{node.module}"


@pytest.mark.parametrize("page", WITH_PYTHON, ids=IDS)
def test_snippets_use_the_public_names_alone(page: Path) -> None:
    for snippet in snippets(page):
        for name in imported(snippet.text):
            top, _, rest = name.partition(".")
            assert top in ALLOWED, (page.name, name)
            assert top != "earwitness" or rest in ("", *ew.__all__), (page.name, name)
        for name in re.findall(r"\bew\.(\w+)", snippet.text):
            assert name in ew.__all__, (page.name, name)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


@pytest.fixture
def beside_samples(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARWITNESS_RUNTIME", str(tmp_path / "runtime"))
    import matplotlib

    matplotlib.use("agg")


@pytest.mark.usefixtures("beside_samples")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=IDS)
def test_snippets_run(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for snippet in snippets(page):
        if not snippet.in_the_lab:
            snippet.run(namespace)


@pytest.mark.lab
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("beside_samples")
@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if any(one.in_the_lab for one in snippets(page))],
                         ids=lambda page: page.name)  # fmt: skip
def test_snippets_run_in_the_lab(page: Path, permitted: None) -> None:
    namespace: dict[str, object] = {"__name__": "__main__", "ew": ew}
    for snippet in snippets(page):
        if snippet.in_the_lab:
            snippet.run(namespace)

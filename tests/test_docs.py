"""What the documents name is there: links, functions, benchmarks, commands and their options."""

from __future__ import annotations

import ast
import pkgutil
import re
import shlex
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer.main

import bench
from earwitness.cli.main import app
from earwitness.plugins import GROUPS

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]


def named(pattern: str) -> list[tuple[Path, str]]:
    """Each match's group in any page, once a page: (page, text)."""
    found = [(page, text) for page in PAGES for text in re.findall(pattern, page.read_text())]
    assert found
    return list(dict.fromkeys(found))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    for page, link in named(r"\]\(([^)\s]+)\)"):
        path, _, anchor = link.partition("#")
        if "://" not in path:
            target = page.parent / path if path else page
            assert target.exists(), (page.name, link)
            assert not anchor or anchor in anchors(target), (page.name, link)


def described(name: str) -> str | None:
    """The docstring of `earwitness.package.module.thing`, read off the source: importing all of it takes seconds."""
    place, (*parts,) = TOP / "src", name.split(".")
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    module = place / f"{parts.pop(0)}.py" if parts and (place / f"{parts[0]}.py").exists() else place / "__init__.py"
    found: ast.AST = ast.parse(module.read_text())
    for one in ast.walk(found):
        if isinstance(one, ast.ImportFrom) and parts and parts[0] in {alias.name for alias in one.names}:
            return described(f"{one.module}.{parts[0]}")
    lines = ast.parse(module.read_text()).body
    for line, after in pairwise(lines):  # a constant, with its docstring below it
        if isinstance(line, ast.Assign | ast.AnnAssign) and parts == [ast.unparse(line).partition(" ")[0].rstrip(":")]:
            return ast.unparse(after) if isinstance(after, ast.Expr) else None
    for part in parts:
        found = next(one for one in ast.iter_child_nodes(found) if getattr(one, "name", "") == part)
    assert isinstance(found, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return ast.get_docstring(found)


def test_what_is_named_of_the_package_is_in_it() -> None:
    for page, name in named(r"`(earwitness(?:\.\w+)+)"):
        assert described(name), (page.name, name)


def benchmarks() -> set[str]:
    """The names of all benchmarks, as `make bench BENCH=...` takes them."""
    known: list[str] = []
    for module in pkgutil.iter_modules(bench.__path__):
        text = Path(bench.__path__[0], f"{module.name}.py").read_text()
        area = module.name.removeprefix("bench_")
        known += [f"{area}.{one}" for one in re.findall(r"^def bench_(\w+)", text, re.MULTILINE)]
    return set(known)


def test_benchmarks_that_are_named_can_be_run() -> None:
    known = benchmarks()
    for page, name in named(r"BENCH=([\w.]+)"):
        assert any(one.startswith(name) for one in known), (page.name, name)


def command_lines() -> Iterator[tuple[str, str]]:
    """Command lines of code blocks, after prompts and in backticks, as they are written: (page, line)."""
    for page in PAGES:
        text = page.read_text()
        lines = [line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        lines += re.findall(r"^    \w*\$ (.*)$", text, re.MULTILINE) + re.findall(r"`(earwitness [^`]+)`", text)
        for line in lines:
            for part in re.split(r"&&|  +#", line):
                if part.strip().startswith("earwitness "):
                    yield page.name, part.strip()


def test_commands_and_their_options_are_there() -> None:
    lines = dict.fromkeys(command_lines())
    assert len(lines) > 50
    top: Any = typer.main.get_command(app)
    for page, line in lines:
        first, *words = [word for word in shlex.split(line.replace("\\", ""))[1:] if word != "|"]
        assert first in top.commands, (page, line)
        command = top.commands[first]
        if hasattr(command, "commands"):
            if len(words) != 1 and set(words) <= set(command.commands):
                continue  # a group alone, or with several of its commands: `lab up | down`
            assert words[0] in command.commands, (page, line)
            command = command.commands[words[0]]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, (page, line)


# -- modules, names and files that any text of the project names -------------------------------------------------

PACKAGE = TOP / "src" / "earwitness"
ROOMS = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
TEXTS = [
    *PAGES,
    *(
        path
        for kind in ("py", "c", "h", "j2")
        for room in ("src", "tests", "testing", "bench", "tools")
        for path in (TOP / room).rglob(f"*.{kind}")
    ),
]
NO_MODULES = {
    **dict.fromkeys(GROUPS, "entry points"),
    **dict.fromkeys(("earwitness.package", "earwitness.NAME"), "stands for any name"),
    "earwitness.test": "a SIP domain",
}
NO_ROOMS = {
    **dict.fromkeys((f"call.{part}" for part in ("record", "trace", "heard", "ledger")), "of a value `call`"),
    "trace.arrived_ns": "of a value `trace`",
    "call.relay_mbit": "of a study file",
}
NO_FILES = {"asyncio.py", "sitecustomize.py"}
"""Of Python; tests write some."""


def top_level(path: Path) -> dict[str, ast.stmt]:
    """What a module defines or imports, by name."""
    found: dict[str, ast.stmt] = {}
    for one in ast.parse(path.read_text()).body:
        for inner in (one, *(one.body if isinstance(one, ast.If | ast.Try) else ())):
            targets = inner.targets if isinstance(inner, ast.Assign) else [getattr(inner, "target", None)]
            names = [name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)]
            if isinstance(inner, ast.Import | ast.ImportFrom):
                names = [(alias.asname or alias.name).partition(".")[0] for alias in inner.names]
            found |= {name: inner for name in (*names, getattr(inner, "name", "")) if name}
    return found


def members(of: ast.ClassDef) -> set[str]:
    """A class's own methods and attributes, those among them that are set on `self`."""
    inside = list(ast.walk(of))
    return (
        {one.name for one in of.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
        | {one.id for line in of.body for one in ast.walk(line) if isinstance(one, ast.Name)}
        | {one.attr for one in inside if isinstance(one, ast.Attribute) and ast.unparse(one.value) == "self"}
    )


def is_there(dotted: str) -> bool:
    """Whether `room.module.name.attribute`, or less of it, is in the package."""
    place, parts = PACKAGE, dotted.split(".")
    while parts and (place / parts[0] / "__init__.py").exists():
        place /= parts.pop(0)
    module = place / f"{parts.pop(0)}.py" if parts and (place / f"{parts[0]}.py").exists() else place / "__init__.py"
    if not parts or parts[0].startswith("__"):
        return True
    found = top_level(module).get(parts[0])
    if found is None:
        return False
    return not (isinstance(found, ast.ClassDef) and not found.bases and parts[1:]) or parts[1] in members(found)


def mentioned(pattern: str, exempt: Iterable[str] = ()) -> list[tuple[str, int, str]]:
    """Each match's group in any text: (file, line, text)."""
    found = [
        (str(path.relative_to(TOP)), path.read_text()[: match.start()].count("\n") + 1, match[1])
        for path in TEXTS
        for match in re.finditer(pattern, path.read_text())
        if not any(match[1] == no or match[1].startswith(f"{no}.") for no in exempt)
    ]
    assert found
    return found


def test_names_of_the_package_are_there_wherever_they_are_written() -> None:
    dotted = mentioned(r"(?<![\w./@-])(earwitness(?:\.[A-Za-z_]\w*)+)", NO_MODULES)
    assert [one for one in dotted if not is_there(one[2].removeprefix("earwitness."))] == []


def test_names_that_begin_at_a_room_are_there() -> None:
    dotted = mentioned(rf"`((?:{'|'.join(sorted(ROOMS))})\.[A-Za-z_]\w*(?:\.\w+)*)", NO_ROOMS)
    assert [one for one in dotted if not is_there(one[2]) and one[2] not in benchmarks()] == []


def test_python_files_that_are_named_are_there() -> None:
    files = mentioned(r"(?<![\w./-])((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)\b", NO_FILES)
    roots = [TOP, TOP / "src", PACKAGE, TOP / "tests", TOP / "bench"]
    names = {path.name for room in ("src", "tests", "testing", "bench", "tools") for path in (TOP / room).rglob("*.py")}
    assert [
        one
        for one in files
        if not any((root / one[2]).exists() for root in (*roots, (TOP / one[0]).parent))
        and not ("/" not in one[2] and one[2] in names)
    ] == []

"""What the documents name is there: links, functions, benchmarks, commands and their options."""

from __future__ import annotations

import ast
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

import bench
from earwitness.cli.main import app

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
    for part in parts:
        found = next(one for one in ast.iter_child_nodes(found) if getattr(one, "name", "") == part)
    assert isinstance(found, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return ast.get_docstring(found)


def test_what_is_named_of_the_package_is_in_it() -> None:
    for page, name in named(r"`(earwitness(?:\.\w+)+)"):
        assert described(name), (page.name, name)


def test_benchmarks_that_are_named_can_be_run() -> None:
    known: list[str] = []
    for module in pkgutil.iter_modules(bench.__path__):
        text = Path(bench.__path__[0], f"{module.name}.py").read_text()
        area = module.name.removeprefix("bench_")
        known += [f"{area}.{one}" for one in re.findall(r"^def bench_(\w+)", text, re.MULTILINE)]
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

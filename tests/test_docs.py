"""What the documents name is there: links, functions, benchmarks, commands and their options."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench
import typer.main

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


def test_what_is_named_of_the_package_is_in_it() -> None:
    for page, name in named(r"`(earwitness(?:\.\w+)+)"):
        found: Any = importlib.import_module("earwitness")
        path = "earwitness"
        for part in name.split(".")[1:]:
            path += f".{part}"
            if not hasattr(found, part):
                importlib.import_module(path)
            found = getattr(found, part)
        assert found.__doc__, (page.name, name)


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

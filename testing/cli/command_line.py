"""The command line as a user runs it: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from earwitness.cli.main import app
from testing.commands import EARWITNESS


def earwitness(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*EARWITNESS, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def start(environment: Mapping[str, str], *arguments: object) -> subprocess.Popen[str]:
    """Start a command that serves."""
    return subprocess.Popen(
        [*EARWITNESS, *map(str, arguments)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def output(*arguments: object, **environment: str) -> str:
    """What a command prints that ends well."""
    ran = earwitness(*arguments, **environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def records(*arguments: object, **environment: str) -> list[dict[str, Any]]:
    """Its records, with --json."""
    return [json.loads(line) for line in output(*arguments, "--json", **environment).splitlines()]


def refusal(*arguments: object, **environment: str) -> str:
    """The one line of a command that cannot do what it is asked, without its name."""
    ran = earwitness(*arguments, **environment)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert ran.stdout == ""
    line = ran.stderr.strip()
    assert "\n" not in line, line
    assert line.startswith("earwitness: ")
    return line.removeprefix("earwitness: ")


def all_commands() -> dict[str, TyperCommand]:
    """Every command that does something, by the words that call it: `lab up`."""
    found: dict[str, TyperCommand] = {}

    def walk(group: TyperGroup, words: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            if isinstance(command, TyperGroup):
                walk(command, (*words, name))
            else:
                assert isinstance(command, TyperCommand)
                found[" ".join((*words, name))] = command

    top = get_command(app)
    assert isinstance(top, TyperGroup)
    walk(top, ())
    return found

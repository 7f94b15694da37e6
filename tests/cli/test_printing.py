"""Everything that people see goes through the consoles of `earwitness.cli.common`: no module prints around them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import earwitness

SOURCE = Path(earwitness.__file__).parent
ON_THE_WAY = ("cli/common.py", "cli/terminal.py")
"""Where the consoles are made, and where records and CSV are written."""
SPEAKS_TO_OTHERS = (
    "archive/index.py",  # CSV into a file
    "archive/dictionary.py",  # the data dictionary, as Markdown
    "capture/agent.py",
    "lab/load/agent.py",
    "lab/load/server.py",
    "phone/agent.py",
    "remote/loopback_answerer.py",
)
"""Files; and processes of ours whose standard output is a pipe, in JSON."""


def around(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and words of each thing in a module that prints without the consoles, or reads data as markup."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            if "rich.console" in names and "Console" in names and not _for_types(tree, node):
                yield node.lineno, "a console of its own"
            if names & {"rich.markup", "rich.print", "rich.logging", "rich.traceback"} or "from rich import print" in (
                ast.unparse(node)
            ):
                yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            last = called.rpartition(".")[2]
            keywords = {word.arg: word.value for word in node.keywords}
            if (
                called in ("print", "sys.stdout.write", "sys.stderr.write", "csv.writer")
                or last in ("echo", "secho", "echo_via_pager", "print_exc", "print_exception")
                or last in ("from_markup", "render_markup", "from_ansi", "Console")
                or (called.startswith(("output.", "progress.")) and last in ("out", "control", "print_json", "input"))
            ):
                yield node.lineno, called
            elif "markup" in keywords and ast.unparse(keywords["markup"]) != "False":
                yield node.lineno, f"{called} with markup"
            elif last == "TextColumn" and "markup" not in keywords:
                yield node.lineno, "TextColumn without markup=False"
            elif last == "Spinner" and len(node.args) > 1 and not ast.unparse(node.args[1]).startswith("Text"):
                yield node.lineno, "Spinner reads a string as markup"


def _for_types(tree: ast.AST, node: ast.AST) -> bool:
    """Whether the module only names the type."""
    return not any(isinstance(call, ast.Call) and ast.unparse(call.func) == "Console" for call in ast.walk(tree))


MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


def test_no_module_prints_around_the_consoles() -> None:
    found = [
        f"{name}:{line}: {what}"
        for name in MODULES
        if name not in (*ON_THE_WAY, *SPEAKS_TO_OTHERS)
        for line, what in around(ast.parse((SOURCE / name).read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "print(x)",
        "typer.echo(x)",
        "sys.stdout.write(x)",
        "from rich.console import Console\nConsole().print(x)",
        "output.print(x, markup=True)",
        "output.out(x)",
        "Text.from_markup(x)",
        "TextColumn('{task.fields[x]}')",
        "Spinner('dots', x)",
        "from rich import print",
        "csv.writer(sys.stdout)",
    ],
)
def test_what_prints_around_them_is_found(code: str) -> None:
    assert list(around(ast.parse(code)))

"""`earwitness doctor`."""

from __future__ import annotations

import dataclasses

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, output, print_records


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.MACHINE)(doctor)


def doctor(json: JsonFlag = False) -> None:
    """List what this machine lacks, with the command that fixes it. Exit code 1: calls cannot be placed."""
    from rich.table import Table
    from rich.text import Text

    from earwitness.doctor import examine

    checks = examine()
    if json:
        print_records(dataclasses.asdict(check) for check in checks)
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("", "what", "found", "fix"):
            table.add_column(heading, overflow="fold")
        for check in checks:
            word, colour = ("missing", "red") if check.required else ("absent", "yellow")
            sign = Text("ok", style="green") if check.ok else Text(word, style=colour)
            need = f" (for {check.needed_for})" if check.needed_for and not check.ok else ""
            table.add_row(sign, check.name, f"{check.detail}{need}", check.remedy)
        output.print(table)
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(1)

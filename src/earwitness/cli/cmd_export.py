"""`earwitness export`: writes a data set in another layout."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, output, print_records, show_problems


class ExportLayout(StrEnum):
    """Layouts for export."""

    PUBLISHED = "published"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", rich_help_panel=panels.DATASETS)(export)


def export(
    dataset: Annotated[Path, typer.Argument(help="Data set: a folder that `call`, `study run` or `import` made.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.", rich_help_panel=panels.RESULT)],
    layout: Annotated[
        ExportLayout,
        typer.Option(
            help="Layout of the table. published: the published study's columns, one row a call.",
            rich_help_panel=panels.RESULT,
        ),
    ] = ExportLayout.PUBLISHED,
    json: JsonFlag = False,
) -> None:
    """Write a data set as the published study's table, so that its own scripts can read it."""
    needs("export", "data")
    from earwitness.archive.problems import Problem
    from earwitness.published.importing import export_published

    problems: list[Problem] = []
    calls = export_published(dataset, out, problems)
    show_problems("export", problems)
    if json:
        print_records([{"layout": str(layout), "calls": calls, "file": str(out)}])
        print_records(problem.to_dict() for problem in problems)
    else:
        output.print(f"{calls} calls written to {out}", markup=False, soft_wrap=True)

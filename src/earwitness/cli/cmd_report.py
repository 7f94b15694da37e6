"""`earwitness report`: writes the report of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, output, print_records, progress, show_problems
from earwitness.errors import InputError
from earwitness.events import Event, StageReached


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.DATASETS)(report)


def report(
    dataset: Annotated[Path, typer.Argument(help="Data set: a folder that `call`, `study run` or `import` made.")],
    calls: Annotated[
        str,
        typer.Option(
            help="Number of calls to show in full, with packets and sound, or all.", rich_help_panel=panels.CHOICE
        ),
    ] = "24",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="HTML file to write. Default: report.html in the data set.",
            rich_help_panel=panels.RESULT,
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Folder for figures for a paper, as PDF and PNG. Default: none are drawn.",
            rich_help_panel=panels.RESULT,
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.", rich_help_panel=panels.RESULT)
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write the report of a data set: one HTML file that works from disk, offline, with sound.

    It contains the table of verdicts, the comparison of paths, and for each call the circuit, the sound sent and heard
    (to view and to play), and the delay of every packet. With --json, the rows of the data set are printed, one
    object per call and direction.
    """
    needs("report", "report")
    from earwitness.archive.codec import to_plain
    from earwitness.archive.dataset import Dataset
    from earwitness.archive.problems import Problem
    from earwitness.report import html, table

    def show_stage(event: Event) -> None:
        if isinstance(event, StageReached):
            progress.print(f"report: {event.stage}", markup=False)

    problems: list[Problem] = []
    page = html.write_report(
        dataset,
        out,
        calls=_how_many(calls),
        on_event=show_stage,
        problems=problems,
    )
    written = [page]
    if figures is not None:
        from earwitness.report.figures import write_figures

        written += write_figures(dataset, figures, problems)
    opened = Dataset.open(dataset)
    problems = list(dict.fromkeys(problems))
    if json:
        print_records(to_plain(row) for call in opened.readable([]) for row in call.rows)
        print_records(problem.to_dict() for problem in problems)
    else:
        if not output.is_terminal:
            output.width = max(output.width, 100)  # a file or pipe has no line width
        output.print(table.report([row for call in opened.readable([]) for row in call.rows], output.width))
    show_problems("report", problems)
    for path in written:
        progress.print(f"report: wrote {path}", markup=False, soft_wrap=True)
    if show:
        typer.launch(page.resolve().as_uri())


def _how_many(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit():
        raise InputError(
            "reading the number of calls", text, "neither a number nor `all`", "give 50 or all", field="calls"
        )
    return int(text)

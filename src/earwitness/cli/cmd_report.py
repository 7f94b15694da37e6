"""`earwitness report`: the page of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.common import JsonFlag, needs, output, print_records, progress, tell_problems
from earwitness.errors import InputError
from earwitness.events import Event, StageReached


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    dataset: Annotated[Path, typer.Argument(help="Directory of a data set (as --out of a call or study made it).")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: report.html in the data set.")
    ] = None,
    calls: Annotated[
        str,
        typer.Option("--calls", help="How many calls to show in full, with packets and sound: a number or `all`."),
    ] = "24",
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Also write figures for a paper (PDF and PNG) into this directory."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write the report of a data set: one HTML file that works from disk, offline, with sound.

    It holds the verdict table, the paths compared, and call by call the circuit, what was said and what was
    heard (to see and to play), and the delay of every packet. With `--json` the rows of the data set are
    printed, one object a call and direction.
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
            output.width = max(output.width, 100)  # a file or pipe has room
        output.print(table.report([row for call in opened.readable([]) for row in call.rows], output.width))
    tell_problems("report", problems)
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

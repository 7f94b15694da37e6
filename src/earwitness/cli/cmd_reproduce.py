"""`earwitness reproduce`: computes a study's numbers, tables and figures again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, bar_listener, needs, output, print_records, progress_bar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.DATASETS)(reproduce)


def reproduce(
    folder: Annotated[Path, typer.Argument(help="The published study's artifact, or a data set of Earwitness.")],
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and the page.", rich_help_panel=panels.RESULT)],
    raw: Annotated[
        bool,
        typer.Option(
            "--raw/--no-raw",
            help="Measure the artifact's captures and recordings too.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = True,
    resamples: Annotated[
        int, typer.Option(min=10, help="Number of resamples for each interval.", rich_help_panel=panels.METHOD)
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.", rich_help_panel=panels.METHOD)] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.", rich_help_panel=panels.WORK)] = 1,
    json: JsonFlag = False,
) -> None:
    """Compute the published numbers and figures again, and compare them with the published and the corrected ones.

    Writes CSV and Markdown tables, figures as PDF and PNG, and one page, reproduction.html. For a data set of
    Earwitness it draws the same figures for the new study.
    """
    needs("reproduce", "report")
    from earwitness.netns.workers import pool
    from earwitness.report.reproduction.reproduce import reproduce as run

    with pool(workers) as executor, progress_bar() as bar:
        task = bar.add_task("measuring the raw calls", total=None)
        result = run(
            folder,
            out,
            raw=raw,
            executor=executor,
            resamples=resamples,
            seed=seed,
            on_event=bar_listener(bar, task),
        )
    if json:
        print_records(number.to_dict() for number in result.numbers)
        return
    from earwitness.report.reproduction.text import rows_text

    if result.numbers:
        counts = result.counts()
        output.print(
            f"{len(result.numbers)} published numbers: {counts['agree']} agree to the printed digits,"
            f" {counts['disagree']} do not, {counts['not computable']} cannot be computed from the files at hand.",
            soft_wrap=True,
        )
    for sentence in rows_text(result.rows):
        output.print(sentence, markup=False, soft_wrap=True)
    for title, reason in result.not_drawn:
        output.print(f"not drawn: {title}: {reason}", markup=False, soft_wrap=True)
    output.print(
        f"{len(result.figures)} figures and the tables: {out / 'reproduction.html'}", markup=False, soft_wrap=True
    )

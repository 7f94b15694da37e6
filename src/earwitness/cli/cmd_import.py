"""`earwitness import`: imports captures and recordings into a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, bar_listener, needs, output, print_records, progress_bar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import", rich_help_panel=panels.RECORDINGS)(import_)


def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of captures and recordings, in the published study's layout or as pairs x.pcap, x.wav."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Data set to import into; created if absent.", rich_help_panel=panels.RESULT),
    ],
    copy_files: Annotated[
        bool,
        typer.Option(
            "--copy", help="Copy captures and recordings into the data set too.", rich_help_panel=panels.RESULT
        ),
    ] = False,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Compute scores and jitter like the published study, to its decimals.",
            rich_help_panel=panels.METHOD,
        ),
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(help="Speech that was sent. Default: the study's, if found.", rich_help_panel=panels.METHOD),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.", rich_help_panel=panels.WORK)] = 1,
    json: JsonFlag = False,
) -> None:
    """Import captures and recordings: timing from the packets, PESQ from the sound, one row per call and direction.

    Every file that is empty, truncated, mislabelled or otherwise doubtful is counted with its reason. If you stop the
    command, run it again to continue.
    """
    from rich.progress import Progress, TextColumn, TimeRemainingColumn

    needs("import", "data")
    from earwitness.netns.workers import pool
    from earwitness.published.importing import import_folder

    columns = (
        *Progress.get_default_columns()[:-1],
        TimeRemainingColumn(),
        TextColumn("{task.fields[call]}", markup=False),
    )
    with pool(workers) as executor, progress_bar(*columns) as bar:
        task = bar.add_task("importing", total=None, call="")
        summary = import_folder(
            folder,
            out,
            as_published=as_published,
            reference=reference,
            copy_files=copy_files,
            executor=executor,
            on_event=bar_listener(bar, task, "call"),
        )
    if json:
        print_records([summary.to_dict()])
        return
    output.print(
        f"{summary.calls_found} calls found: {summary.calls_imported} imported, {summary.calls_already_there} were"
        f" there already; {summary.rows_completed} of {summary.rows} directions are complete."
    )
    for kind, count in summary.doubts.items():
        output.print(f"{count:6d}  {kind}", markup=False)
    for name, reason in summary.files_without_a_call:
        output.print(f"left out: {name}: {reason}", markup=False, soft_wrap=True)
    if summary.doubtful:
        output.print(f"Which ones: the columns outcome and doubts of {out / 'calls.csv'}", markup=False, soft_wrap=True)

"""`earwitness import`: other people's captures and recordings into a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.common import JsonFlag, bar_listener, needs, output, print_records, progress_bar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of captures and recordings: the published study's layout, or pairs x.pcap, x.wav."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Data set to import into; made where there is none.")],
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published", help="Score and compute jitter the way the published study did, to its decimals."
        ),
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="Speech that was played; by default the study's, where it is found."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that measure at the same time.")] = 1,
    copy_files: Annotated[
        bool, typer.Option("--copy", help="Copy captures and recordings into the data set too.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Import captures and recordings: timing from the packets, PESQ from the sound, a row a call and direction.

    Every file that is empty, cut, mislabelled or otherwise doubtful is counted with its reason. Stop it at any
    moment and run it again: it goes on where it was.
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

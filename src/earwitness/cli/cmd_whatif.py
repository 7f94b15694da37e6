"""`earwitness whatif`: renders a data set's calls through other jitter buffers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from earwitness.cli import panels
from earwitness.cli.clusters import ClusterOption, KeysOption, work_on
from earwitness.cli.common import JsonFlag, bar_listener, needs, output, print_records, progress, progress_bar


def show_left_out(left_out: Sequence[tuple[str, str, str]]) -> None:
    """The number of directions that could not be rendered, by reason, with an example each."""
    first: dict[str, str] = {}
    for call, direction, reason in left_out:
        first.setdefault(reason, f"{call} {direction}".strip())
    for reason, example in first.items():
        count = sum(reason == other for _, _, other in left_out)
        progress.print(f"left out: {count} x {reason} (first: {example})", markup=False, soft_wrap=True)


def print_left_out(left_out: Sequence[tuple[str, str, str]]) -> None:
    """The same as JSON records: `left_out` (the call), `direction`, `why`."""
    print_records({"left_out": call, "direction": direction, "why": why} for call, direction, why in left_out)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.DATASETS)(whatif)


def whatif(
    dataset: Annotated[Path, typer.Argument(help="Data set of calls, live or imported.")],
    calls: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of calls to use. Default: all.", rich_help_panel=panels.CHOICE),
    ] = None,
    captures: Annotated[
        Path | None,
        typer.Option(
            help="Imported folder, which gives each phone's playout clock. Default: the data set alone.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Speech of calls that have none beside them, such as imported ones: a WAV file or the"
            " name of a shipped speech. Packets that were cut are made again from it. Default: the"
            " speech stored beside each call.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None,
    buffer: Annotated[
        list[str] | None,
        typer.Option(
            help="Jitter buffer: fixed:MS, pjmedia, adaptive or oracle:MS; repeat it for several. Default:"
            " fixed 40 to 400 ms, pjmedia, adaptive from impatient to patient, and the oracle as the"
            " bound.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.", rich_help_panel=panels.WORK)] = 1,
    cluster: ClusterOption = None,
    keys: KeysOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results. Default: the folder whatif of the data set.", rich_help_panel=panels.RESULT
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Render all calls through other jitter buffers, and compare quality and delay.

    Writes a page, whatif.html, tables, and the trade-off figures. If you stop the command, run it again to continue.
    The result is the same for any number of workers, on this machine or on a --cluster.
    """
    needs("whatif", "report")
    from rich.progress import Progress, TextColumn, TimeRemainingColumn

    from earwitness.replay.whatif import DEFAULT_BUFFERS
    from earwitness.report.whatif import report_what_if

    columns = (
        *Progress.get_default_columns()[:-1],
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}", markup=False),
    )
    with work_on(workers, cluster, keys) as executor, progress_bar(*columns) as bar:
        task = bar.add_task("hearing", total=None, now="")
        report = report_what_if(
            dataset,
            buffer or DEFAULT_BUFFERS,
            out=out,
            reference=reference,
            captures=captures,
            calls=calls,
            executor=executor,
            on_event=bar_listener(bar, task, "now"),
        )
    summary = report.found.summary
    left_out = (*report.found.left_out, *report.found.refused)
    if json:
        print_records({str(name): value for name, value in row.items()} for row in summary.to_dict("records"))
        print_left_out(left_out)
        return
    _show(summary)
    show_left_out(left_out)
    output.print(f"The page: {report.files[0]}", markup=False, soft_wrap=True)


def _show(summary: Any) -> None:
    from rich.table import Table

    from earwitness.report.whatif import reader_row

    for (condition, codec), group in summary.groupby(["condition", "codec"], sort=False):
        rows = [reader_row(row) for row in group.to_dict("records")]
        table = Table(title=f"{condition}, {codec}", title_justify="left", box=None, pad_edge=False)
        for heading in rows[0]:
            table.add_column(heading, justify="left" if heading == "buffer" else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row.values())
        output.print(table)

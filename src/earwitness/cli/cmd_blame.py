"""`earwitness blame`: which cause took how much of a call's quality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from earwitness.cli.clusters import ClusterOption, KeysOption, work_on
from earwitness.cli.cmd_whatif import print_left_out, tell_left_out
from earwitness.cli.common import JsonFlag, bar_listener, needs, output, print_records, progress_bar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(blame)


def blame(
    calls_or_capture: Annotated[
        Path, typer.Argument(metavar="DATASET|CAPTURE", help="Data set, or pcap or pcapng of a call.")
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="What was said: WAV file or name of speech that ships. For a capture, and for imported calls.",
        ),
    ] = None,
    buffer: Annotated[
        str | None,
        typer.Option("--buffer", help="Jitter buffer to hear through; default: as the call was heard, else pjmedia."),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="In a capture: address of the phone whose ear it is.")] = None,
    codec: Annotated[
        str | None, typer.Option("--codec", help="In a capture: the codec, where it does not tell.")
    ] = None,
    captures: Annotated[
        Path | None,
        typer.Option("--captures", help="Folder that was imported: for each phone's own playing clock."),
    ] = None,
    calls: Annotated[int | None, typer.Option("--calls", min=1, help="Only the first so many calls.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that work at the same time.")] = 1,
    cluster: ClusterOption = None,
    keys: KeysOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for results; default: the data set's folder blame.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Say what took a call's quality: codec, far phone, loss, lateness, concealment, moving delay, or PESQ itself.

    The call is replayed with one cause after the other put back; each part is the difference of two neighbouring
    scores, so the parts sum to all that was lost. For a data set also tables and a figure are written.
    """
    needs("blame", "report")
    if calls_or_capture.is_file():
        _one(calls_or_capture, reference, buffer, to, codec, json)
        return
    from earwitness.report.blame import report_blame

    with work_on(workers, cluster, keys) as executor, progress_bar() as bar:
        task = bar.add_task("blaming", total=None)
        report = report_blame(
            calls_or_capture,
            buffer=buffer,
            out=out,
            reference=reference,
            captures=captures,
            calls=calls,
            executor=executor,
            on_event=bar_listener(bar, task),
        )
    left_out = (*report.found.left_out, *report.found.refused)
    tell_left_out(left_out)
    if json:
        print_records({str(name): value for name, value in row.items()} for row in _rows(report.found.calls))
        print_left_out(left_out)
        return
    _show(
        [
            {"call": f"{row['condition']}, {row['codec']}", "n": row["scored"], **row}
            for row in _rows(report.found.summary)
        ]
    )
    output.print(f"Every call: {report.files[1]}; the figure: {report.files[-2]}", markup=False, soft_wrap=True)


def _one(
    capture: Path, reference: str | None, buffer: str | None, to: str | None, codec: str | None, json: bool
) -> None:
    from earwitness.errors import InputError
    from earwitness.replay.blame_calls import blame_capture
    from earwitness.replay.whatif_calls import DEFAULT_PHONE

    if reference is None:
        raise InputError("blaming", capture, "what was said is not known", "give the speech", field="reference")
    found = blame_capture(capture, reference, buffer=buffer or DEFAULT_PHONE, to=to, codec=codec)
    record = {"capture": str(capture), "buffer": buffer or DEFAULT_PHONE, **found.to_dict()}
    if json:
        print_records([record])
        return
    _show([{"call": capture.name, "n": 1, **record}])
    output.print(found.sentence, markup=False, soft_wrap=True)
    for note in found.notes:
        output.print(f"note: {note}", markup=False, soft_wrap=True)


def _rows(frame: Any) -> list[dict[Any, Any]]:
    return list(frame.to_dict("records"))


def _show(rows: list[dict[Any, Any]]) -> None:
    from rich.table import Table

    from earwitness.replay.blame import CAUSES
    from earwitness.report.words import number

    table = Table(box=None, pad_edge=False)
    for heading in ("call", "buffer", "n", "MOS", "lost", *CAUSES):
        table.add_column(heading, justify="left" if heading in ("call", "buffer") else "right", no_wrap=True)
    for row in rows:
        parts = (row[f"blame_{name}"] for name in CAUSES)
        values = [number(value, 2) for value in (row["mos_lqo"], row["blame_whole"], *parts)]
        table.add_row(str(row["call"]), str(row["buffer"]), str(row["n"]), *values)
    output.print(table)

"""`earwitness blame`: how much of a call's quality each cause took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from earwitness.cli import panels
from earwitness.cli.choosing import PayloadTypeOption, PortOption, SrtpKeyOption, SsrcOption, StreamOption
from earwitness.cli.clusters import ClusterOption, KeysOption, work_on
from earwitness.cli.cmd_whatif import print_left_out, show_left_out
from earwitness.cli.common import JsonFlag, bar_listener, needs, output, print_records, progress_bar
from earwitness.cli.options import taking


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.DATASETS)(blame)


@dataclass(frozen=True, kw_only=True)
class BlameOptions:
    """The options of `earwitness blame`."""

    calls_or_capture: Annotated[
        Path, typer.Argument(metavar="DATASET|CAPTURE", help="Data set, or pcap or pcapng capture of a call.")
    ]
    to: Annotated[
        str | None,
        typer.Option(
            help="Address of the listening phone (capture only). Default: the capturing phone.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = None
    stream: StreamOption = None
    port: PortOption = None
    ssrc: SsrcOption = None
    payload_type: PayloadTypeOption = None
    srtp_key: SrtpKeyOption = None
    codec: Annotated[
        str | None,
        typer.Option(
            help="Codec, if the capture does not name it (capture only). Default: the capture's.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = None
    captures: Annotated[
        Path | None,
        typer.Option(
            help="Imported folder, which gives each phone's playout clock. Default: the data set alone.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = None
    calls: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of calls to use. Default: all.", rich_help_panel=panels.CHOICE),
    ] = None
    reference: Annotated[
        str | None,
        typer.Option(
            help="Speech that was sent: a WAV file or the name of a shipped speech. A capture needs it, and so do"
            " imported calls. Default: the speech stored beside each call.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None
    buffer: Annotated[
        str | None,
        typer.Option(
            help="Jitter buffer to hear through. Default: as the call was heard, else pjmedia.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.", rich_help_panel=panels.WORK)] = 1
    cluster: ClusterOption = None
    keys: KeysOption = None
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results. Default: the folder blame of the data set.", rich_help_panel=panels.RESULT
        ),
    ] = None
    json: JsonFlag = False


@taking(BlameOptions)
def blame(asked: BlameOptions) -> None:
    """Attribute a call's loss of quality: codec, far phone, loss, lateness, concealment, delay changes, or PESQ itself.

    The call is replayed with one cause removed after another. Each part is the difference between two successive
    scores, so the parts add up to the whole loss. For a data set, tables and a figure are written too.
    """
    from earwitness.errors import InputError

    needs("blame", "report")
    if asked.calls_or_capture.is_file():
        _one(asked)
        return
    for name in ("to", "codec", "stream", "port", "ssrc", "payload_type", "srtp_key"):
        if asked.calls_or_capture.is_dir() and getattr(asked, name) is not None:
            happened, remedy = "it chooses among the streams of a capture, and this is a data set", "leave it out"
            raise InputError("blaming", asked.calls_or_capture, happened, remedy, field=name)
    from earwitness.report.blame import report_blame

    with work_on(asked.workers, asked.cluster, asked.keys) as executor, progress_bar() as bar:
        task = bar.add_task("blaming", total=None)
        report = report_blame(
            asked.calls_or_capture,
            buffer=asked.buffer,
            out=asked.out,
            reference=asked.reference,
            captures=asked.captures,
            calls=asked.calls,
            executor=executor,
            on_event=bar_listener(bar, task),
        )
    left_out = (*report.found.left_out, *report.found.refused)
    show_left_out(left_out)
    if asked.json:
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


def _one(asked: BlameOptions) -> None:
    from earwitness.errors import InputError
    from earwitness.replay.blame_calls import blame_capture
    from earwitness.replay.whatif_calls import DEFAULT_PHONE
    from earwitness.trace.selection import selection

    capture, buffer = asked.calls_or_capture, asked.buffer or DEFAULT_PHONE
    if asked.reference is None:
        raise InputError(
            "blaming", capture, "the speech that was sent is unknown", "give the speech", field="reference"
        )
    chosen = selection(
        stream=asked.stream,
        ports=asked.port,
        ssrc=asked.ssrc,
        payload_types=asked.payload_type,
        srtp_key=asked.srtp_key,
    )
    found = blame_capture(capture, asked.reference, buffer=buffer, to=asked.to, codec=asked.codec, selected=chosen)
    record = {"capture": str(capture), "buffer": buffer, **found.to_dict()}
    if asked.json:
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
    from earwitness.report.words import number_text

    table = Table(box=None, pad_edge=False)
    for heading in ("call", "buffer", "n", "MOS", "lost", *CAUSES):
        table.add_column(heading, justify="left" if heading in ("call", "buffer") else "right", no_wrap=True)
    for row in rows:
        parts = (row[f"blame_{name}"] for name in CAUSES)
        values = [number_text(value, 2) for value in (row["mos_lqo"], row["blame_whole"], *parts)]
        table.add_row(str(row["call"]), str(row["buffer"]), str(row["n"]), *values)
    output.print(table)

"""`earwitness hear`: renders what a phone would have played from a capture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from earwitness.cli import panels
from earwitness.cli.choosing import PayloadTypeOption, PortOption, SrtpKeyOption, SsrcOption, StreamOption
from earwitness.cli.common import JsonFlag, needs, output, print_records, progress
from earwitness.cli.options import taking

_BASES = {"sent": "", "rtt/2": " *"}
_SHARES = ("late", "lost", "discarded", "concealed", "stretched")
_WORTH_SAYING = 0.05
"""The least part of the time in pauses that is told; the time until the first packet plays is among it."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.RECORDINGS)(hear)


@dataclass(frozen=True, kw_only=True)
class HearOptions:
    """The options of `earwitness hear`."""

    capture: Annotated[Path, typer.Argument(help="pcap or pcapng file of a call, from any softphone.")]
    to: Annotated[
        str | None,
        typer.Option(
            help="Address of the listening phone. Default: the capturing phone.", rich_help_panel=panels.CHOICE
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
            help="Codec, if the capture does not name it: g711u, opus:24000 ... Default: the capture's.",
            rich_help_panel=panels.CHOICE,
        ),
    ] = None
    reference: Annotated[
        str | None,
        typer.Option(
            help="Speech that the far phone sent: a WAV file or the name of a shipped speech. Needed for"
            " scores, and for truncated packets. Default: none, no scores.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None
    buffer: Annotated[
        list[str] | None,
        typer.Option(
            help="Jitter buffer, such as fixed:60 or adaptive (`earwitness kinds buffers`); repeat it for"
            " several. Default: pjmedia.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None
    conceal: Annotated[
        str | None,
        typer.Option(
            help="What fills a missing frame: silence, repeat, wsola, codec, fec or pjmedia. Default: the"
            " buffer's own.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Score as the published study's program did, which reads WAV files from byte 44 on,"
            " whatever the header says.",
            rich_help_panel=panels.METHOD,
        ),
    ] = False
    out: Annotated[
        Path | None,
        typer.Option(
            help="WAV file to write; with several buffers one each, OUT-fixed-60.wav ... Default: none.",
            rich_help_panel=panels.RESULT,
        ),
    ] = None
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="Parquet file of every frame's fate, named in the same way. Default: none.",
            rich_help_panel=panels.RESULT,
        ),
    ] = None
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="Additional scorer by name (`earwitness kinds scorers`); repeat for several. Default: none.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None
    json: JsonFlag = False


@taking(HearOptions)
def hear(asked: HearOptions) -> None:
    """Replay a capture through a phone's receiver: jitter buffer, concealment and decoder.

    Prints a record for each buffer: MOS-LQO against the reference, mouth-to-ear delay, and the shares of speech that
    were played, late, lost, discarded, concealed or stretched. The same capture always gives the same sound.
    """
    if asked.ledger is not None:
        needs("hear --ledger", "data")
    from earwitness.replay.hearing import hear_capture
    from earwitness.trace.selection import selection

    heard = hear_capture(
        asked.capture,
        asked.buffer or ["pjmedia"],
        reference=asked.reference,
        codec=asked.codec,
        concealment=asked.conceal,
        to=asked.to,
        selected=selection(
            stream=asked.stream,
            ports=asked.port,
            ssrc=asked.ssrc,
            payload_types=asked.payload_type,
            srtp_key=asked.srtp_key,
        ),
        as_published=asked.as_published,
        scorers=asked.scorer or (),
    )
    records = [one.save(asked.out, asked.ledger, several=len(heard) > 1) for one in heard]
    if asked.json:
        print_records(records)
        return
    progress.print(f"heard: {heard[0].why}", markup=False, soft_wrap=True)
    _show(records, asked.as_published, asked.scorer or ())
    _say(records)


def _show(records: Sequence[Mapping[str, Any]], as_published: bool, scorers: Sequence[str]) -> None:
    from rich.table import Table

    from earwitness.score.scorers import scorer as scorer_named

    # With --as-published, the printed score is already that one.
    wide = any(one["mos_lqo_wb"] is not None for one in records)
    study_reads = not as_published and any(one["mos_lqo_as_published"] is not None for one in records)
    table = Table(box=None, pad_edge=False)
    further = [kind for name in dict.fromkeys(scorers) if not (kind := scorer_named(name)).column]
    headings = (
        "buffer",
        "MOS-LQO",
        *["wideband"] * wide,
        *["as published"] * study_reads,
        *(kind.heading for kind in further),
    )
    for heading in (*headings, "LQE est.", "codec", "mouth to ear", *_SHARES, "sound"):
        table.add_column(heading)
    for one in records:
        scores = [one["mos_lqo"], *[one["mos_lqo_wb"]] * wide, *[one["mos_lqo_as_published"]] * study_reads]
        table.add_row(
            str(one["buffer"]),
            *("-" if score is None else f"{score:.2f}" for score in scores),
            *(_figure(one["scores"].get(kind.name), kind.digits) for kind in further),
            _figure(one["estimate"].get("estimated_mos_lqe"), 2),
            str(one["codec"]),
            f"{one['mouth_to_ear_ms']:.0f} ms{_BASES.get(one['mouth_to_ear_basis'], ' +')}",
            *(f"{one[f'{name}_ratio']:.1%}" for name in _SHARES),
            str(one["audio"] or ""),
        )
    output.print(table)
    bases = {str(one["mouth_to_ear_basis"]) for one in records}
    if "rtt/2" in bases:
        output.print("* with half of RTCP's round trip as the network's median delay", markup=False)
    if bases - set(_BASES):
        output.print("+ plus the minimum network delay, which a capture at one end cannot show", markup=False)
    paused = max(float(one["pause_ratio"]) for one in records)
    if paused >= _WORTH_SAYING:
        output.print(
            f"The shares are of speech: {paused:.0%} of the time is pauses, in which nothing was sent (silence"
            " suppression, or on hold).",
            markup=False,
        )
    if any(one["sound_from"] == "reference" for one in records):
        output.print(
            "The packets are cut: their sound was made again from the reference, so it shows loss and delay alone.",
            markup=False,
        )
    output.print("LQE est.: estimated by the E-model from the packets alone, not from the sound (G.107)", markup=False)
    if study_reads:
        output.print(
            "as published: the reference read from byte 44 on, as the published study's program did, whatever its"
            " header says (docs/ear.md)",
            markup=False,
        )


def _say(records: Sequence[Mapping[str, Any]]) -> None:
    """What is doubtful about the figures, and why one is missing; with the buffer's name unless it holds for all."""
    estimates = [
        {"estimate": one["estimate"]["estimate_doubt"]} | {"no estimate": one["estimate"]["estimate_refused"]}
        for one in records
    ]
    told = [
        {"": one["doubt"], "scored": one["sound_note"], "not scored": one["score_refused"], **each}
        for one, each in zip(records, estimates, strict=True)
    ]
    for kind in told[0]:
        for said in dict.fromkeys(one[kind] for one in told if one[kind]):
            whose = [str(record["buffer"]) for record, one in zip(records, told, strict=True) if one[kind] == said]
            about = ", ".join(whose) if len(whose) < len(records) else ""
            line = ": ".join(filter(None, (about, kind, said)))
            output.print(line, markup=False, soft_wrap=True)


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

"""`earwitness score`: PESQ of one sound file against another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, output, print_line, print_records

if TYPE_CHECKING:
    from earwitness.score.files import FileScore


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.RECORDINGS)(score)


def score(
    reference: Annotated[Path, typer.Argument(help="The sound sent: a sound file.")],
    degraded: Annotated[Path, typer.Argument(help="The sound heard: a sound file.")],
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Read both files like the published study's program: 8 kHz samples from byte 44 on,"
            " whatever the header says.",
            rich_help_panel=panels.METHOD,
        ),
    ] = False,
    wideband: Annotated[
        bool,
        typer.Option(
            "--wideband", help="Use wideband PESQ (P.862.2), for sound of 16 kHz.", rich_help_panel=panels.METHOD
        ),
    ] = False,
    channel: Annotated[
        str | None,
        typer.Option(
            help="Channel of DEGRADED: left, right, mix (the mean of all), or a number from 1. Default: any, if all are"
            " alike; otherwise required.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None,
    reference_channel: Annotated[
        str | None,
        typer.Option(
            help="Channel of REFERENCE, in the same way. Default: any, if all are alike.", rich_help_panel=panels.METHOD
        ),
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="Additional scorer by name (`earwitness kinds scorers`); repeat for several. Default: none.",
            rich_help_panel=panels.METHOD,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Score the sound heard against the sound sent: PESQ (ITU-T P.862), MOS-LQO, delay, levels and a verdict.

    The first line has the format of the ITU-T reference program: the raw score and MOS-LQO (P.862.1). Narrowband PESQ
    runs at the files' own rate if both have 8 or both 16 kHz; otherwise both are converted, and the output says so.
    """
    from earwitness.score.files import score_files

    found = score_files(
        reference,
        degraded,
        as_published=as_published,
        wideband=wideband,
        channel=channel,
        reference_channel=reference_channel,
        scorers=scorer or (),
    )
    if json:
        print_records([found.to_dict()])
        return
    _show(found)


def _show(found: FileScore) -> None:
    from earwitness.score.scorers import SCORERS

    print_line(found.prediction)
    if found.delay_ms is not None and found.delay_range_ms is not None:
        moved = f", moving by {found.delay_range_ms:.1f} ms" if found.delay_range_ms else ""
        output.print(f"delay      {found.delay_ms:.1f} ms{moved} over {found.utterances} utterances")
    converted = f", resampled: {found.resampled}" if found.resampled else ""
    output.print(f"compared   at {found.sample_rate} Hz ({found.mode}){converted}", markup=False)
    for name, rate, seconds, level, activity in (
        (
            "reference",
            found.reference_sample_rate,
            found.reference_seconds,
            found.reference_level_dbov,
            found.reference_activity,
        ),
        (
            "degraded",
            found.degraded_sample_rate,
            found.degraded_seconds,
            found.degraded_level_dbov,
            found.degraded_activity,
        ),
    ):
        output.print(
            f"{name:<10} {seconds:.2f} s at {rate} Hz, {level:.1f} dBov active speech level, active {activity:.0%}"
        )
    for note in found.notes:
        output.print(f"note       {note}", markup=False, soft_wrap=True)
    for name, value in found.scores.items():
        kind = SCORERS.find(name)
        assert kind is not None
        output.print(f"{name:<10} {value:.{kind.digits}f} {kind.unit}", markup=False)
    output.print(f"verdict    {found.verdict}: {found.verdict_reason}", markup=False, soft_wrap=True)

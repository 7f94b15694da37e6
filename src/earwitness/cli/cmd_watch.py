"""`earwitness watch`: runs a study continuously, with metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, print_records, progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.STUDIES)(watch)


def watch(
    file: Annotated[Path, typer.Argument(help="Study file (TOML); its \\[watch] table is the schedule.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the data sets, one per day.", rich_help_panel=panels.RESULT)
    ] = Path("earwitness-watch"),
    metrics: Annotated[
        str, typer.Option(help="HOST:PORT at which Prometheus finds /metrics.", rich_help_panel=panels.RESULT)
    ] = "127.0.0.1:9709",
    json: JsonFlag = False,
) -> None:
    """Measure blocks of a study on a schedule, into one data set per day, and serve /metrics for Prometheus.

    Ctrl-C ends the watch after the running calls. A restarted watch continues the day's data set.
    """
    needs("watch", "watch")
    import asyncio
    import sys

    from earwitness.cli.calling import in_a_lab
    from earwitness.cli.running import INTERRUPTED, stopping
    from earwitness.events import Event, Notice, StageReached, WarningGiven
    from earwitness.netns.termination import run
    from earwitness.study.ending import StopRequest, Why
    from earwitness.study.events import CallFinished, TurnFinished
    from earwitness.study.file import read_study_file
    from earwitness.study.memory import use_little_memory
    from earwitness.study.session import lab_plan_of
    from earwitness.study.watch_session import watch_in_lab

    study_file = read_study_file(file)

    def show(text: str) -> None:
        progress.print(text, markup=False, soft_wrap=True)

    def on_event(event: Event) -> None:
        match event:
            case CallFinished(call=call, stored=stored):
                record = stored.record
                show(f"{call.arm}, {record.codec}: {record.outcome_detail or record.outcome}")
                if json:
                    print_records(row.to_dict() for row in stored.rows)
            case TurnFinished(day, blocks, ending):
                show(f"{day}: {blocks} block{'s' * (blocks != 1)}, {ending.completed} calls completed")
            case StageReached(stage):
                show(f"lab: {stage}")
            case Notice(text) | WarningGiven(text):
                show(text)

    async def watching() -> int:
        stop = StopRequest()
        with stopping(stop):
            ending = await watch_in_lab(
                study_file,
                out,
                metrics,
                stop=stop,
                on_event=on_event,
                command=tuple(sys.argv),
            )
        show(f"{ending.why}: {ending.detail}")
        return INTERRUPTED if ending.why is Why.STOPPED else 1

    def inside() -> int:
        use_little_memory()
        try:
            return run(watching())
        except asyncio.CancelledError:
            return INTERRUPTED

    raise typer.Exit(in_a_lab(lab_plan_of(study_file.study), inside))

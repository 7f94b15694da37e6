"""`earwitness watch`: blocks of a study for ever, with metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.common import JsonFlag, needs, print_records, progress


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def watch(
        file: Annotated[Path, typer.Argument(help="The study file (TOML); its \\[watch] table is the schedule.")],
        out: Annotated[Path, typer.Option(help="Directory of the days' data sets.")] = Path("earwitness-watch"),
        metrics: Annotated[str, typer.Option(help="HOST:PORT for Prometheus.")] = "127.0.0.1:9709",
        json: JsonFlag = False,
    ) -> None:
        """Measure blocks of a study for ever on a schedule, a data set a day, and serve /metrics for Prometheus.

        Ctrl-C ends it after the calls on the air. A watch that is started again goes on with the day's data set.
        """
        needs("watch", "watch")
        import asyncio
        import sys

        from earwitness.cli.calling import in_a_lab
        from earwitness.cli.running import INTERRUPTED, stopping
        from earwitness.netns.termination import run
        from earwitness.study.file import read_study
        from earwitness.study.memory import use_little_memory
        from earwitness.study.runner import News, Stop, Why
        from earwitness.study.session import lab_plan_of
        from earwitness.study.watch import Turn
        from earwitness.study.watch_session import watch_in_lab

        def say(text: str) -> None:
            progress.print(text, markup=False, soft_wrap=True)

        def told(news: News) -> None:
            if news.stored is not None:
                record = news.stored.record
                say(f"{news.call.arm}, {record.codec}: {record.outcome_detail or record.outcome}")
                if json:
                    print_records(row.to_dict() for row in news.stored.rows)

        def turned(turn: Turn) -> None:
            say(f"{turn.day}: {turn.blocks} block{'s' * (turn.blocks != 1)}, {turn.ending.completed} calls completed")

        async def watching() -> int:
            stop = Stop()
            with stopping(stop):
                ending = await watch_in_lab(
                    file,
                    out,
                    metrics,
                    stop=stop,
                    told=told,
                    turned=turned,
                    noted=say,
                    booting=lambda stage, _fraction: say(f"lab: {stage}"),
                    command=tuple(sys.argv),
                )
            say(f"{ending.why}: {ending.detail}")
            return INTERRUPTED if ending.why is Why.STOPPED else 1

        def inside() -> int:
            use_little_memory()
            try:
                return run(watching())
            except asyncio.CancelledError:
                return INTERRUPTED

        raise typer.Exit(in_a_lab(lab_plan_of(read_study(file)), inside))

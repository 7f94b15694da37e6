"""`earwitness demo`: places calls, scores them and writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.call_options import DEFAULT_OUT
from earwitness.cli.common import JsonFlag, needs, progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.CALLS)(demo)


def demo(
    out: Annotated[
        Path, typer.Option(help="Data set to add the calls to.", rich_help_panel=panels.RESULT)
    ] = DEFAULT_OUT,
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of everything random: relays, losses, RTP start values.", rich_help_panel=panels.METHOD
        ),
    ] = 1,
    json: JsonFlag = False,
) -> None:
    """Start a private Tor network, place and score six real calls, and write a report.

    The calls go direct, over Tor with 3 hops and with 2, each with G.711 and with Opus, in both directions. This takes
    about two minutes, needs no network, and leaves only the data set with its report.html.
    """
    needs("demo", "lab", "report")
    from earwitness.call.lab_needs import lab_plan_for
    from earwitness.call.run import demo_plans
    from earwitness.cli.calling import in_a_lab, place_calls
    from earwitness.report.html import write_report

    plans = demo_plans(seed)
    lab_plan = lab_plan_for(plans)

    def inside() -> int:
        code = place_calls(plans, lab_plan, out, json=json)
        report = write_report(out)
        progress.print(f"report: {report.resolve()}", markup=False, soft_wrap=True)
        return code

    raise typer.Exit(in_a_lab(lab_plan, inside))

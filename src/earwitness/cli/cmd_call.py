"""`earwitness call`: places one call and measures it."""

from __future__ import annotations

import typer

from earwitness.cli import panels
from earwitness.cli.call_options import CallOptions
from earwitness.cli.common import needs
from earwitness.cli.options import taking


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.CALLS)(call)


@taking(CallOptions)
def call(asked: CallOptions) -> None:
    """Place one real SIP/RTP call and measure both directions, in the lab or outside.

    A running lab (`earwitness lab up`) is used; otherwise one is started for the call. Outside the lab, the call goes
    to another machine that runs `earwitness answer`, or over the public Tor network back to this one. Exit code 0: the
    call completed; 3: it failed (the line says how); 2: invalid options.
    """
    needs("call", "lab")
    from earwitness.cli.calling import call_as_asked

    raise typer.Exit(call_as_asked(asked))

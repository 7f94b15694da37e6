"""`earwitness call`: place one call and measure it."""

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
    """Place one real SIP/RTP call, both directions, and measure everything about it: in the lab, or outside.

    A lab that is up (`earwitness lab up`) is used; else one is started for the call and ended with it. Outside the
    lab, the call goes to another machine, where `earwitness answer` waits, or over the public Tor network back to
    this one. Exit code 0: the call completed; 3: it ended otherwise (the line says how); 2: it was asked for wrongly.
    """
    needs("call", "lab")
    from earwitness.cli.calling import call_as_asked

    raise typer.Exit(call_as_asked(asked))

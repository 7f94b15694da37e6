"""`earwitness fetch`: gets a call's files from the other machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, print_records, progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.CALLS)(fetch)


def fetch(
    call_id: Annotated[str, typer.Argument(help="Id of the call, as printed by `earwitness call` and `answer`.")],
    to: Annotated[str, typer.Option(help="HOST[:PORT] of the other machine.", rich_help_panel=panels.MEETING)],
    invitation: Annotated[
        Path, typer.Option(help="Invitation that its `earwitness answer` wrote.", rich_help_panel=panels.MEETING)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the files. Default: a folder named after the call.", rich_help_panel=panels.RESULT
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Fetch the callee's files of a call whose caller crashed or lost the connection.

    The answering machine keeps captures and events by call id, including those of failed calls.
    """
    needs("fetch", "lab")
    from earwitness.netns.termination import run
    from earwitness.remote.certificates import Invitation
    from earwitness.remote.client import fetch_kept, parse_address

    folder = out or Path(call_id)
    files = run(fetch_kept(parse_address(to), Invitation.read(invitation), call_id, folder))
    if json:
        print_records({"file": str(path), "bytes": path.stat().st_size} for path in files)
    progress.print(f"{len(files)} files of {call_id} in {folder}", markup=False, soft_wrap=True)

"""`earwitness answer`: answers calls from another machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, event_lines, needs, print_records, progress
from earwitness.cli.options import MachineName, StoreFolder, taking


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.CALLS)(answer)


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """The options of `earwitness answer`."""

    listen: Annotated[
        str, typer.Option(help="ADDRESS:PORT at which the control channel listens.", rich_help_panel=panels.MEETING)
    ] = "0.0.0.0:7717"
    reached_at: Annotated[
        str,
        typer.Option(
            help="Address at which callers and exits reach this machine, if it is behind NAT. Default: its own.",
            rich_help_panel=panels.MEETING,
        ),
    ] = ""
    media_port: Annotated[
        int,
        typer.Option(
            help="TCP port for the streams of tcp, tor, vpn and vpn-tor; 0: any free one. Most exits permit 443.",
            rich_help_panel=panels.MEETING,
        ),
    ] = 0
    tor_control: Annotated[
        str,
        typer.Option(
            help="Control port of this machine's tor, which offers onion services; unix:/path or host:port."
            " Default: /run/tor/control, else port 9051.",
            rich_help_panel=panels.MEETING,
        ),
    ] = ""
    init: Annotated[
        Path | None,
        typer.Option(
            help="Make keys and an invitation in this folder and stop; use them later with --keys. Default: serve.",
            rich_help_panel=panels.MEETING,
        ),
    ] = None
    keys: Annotated[
        Path | None,
        typer.Option(help="Folder that --init made. Default: keys for this run only.", rich_help_panel=panels.MEETING),
    ] = None
    invitation: Annotated[
        Path,
        typer.Option(
            help="File for the invitation of a run without --keys; it is removed at the end.",
            rich_help_panel=panels.MEETING,
        ),
    ] = Path("earwitness-invitation.json")
    place: Annotated[
        str, typer.Option(help="City of this machine, for the records. Default: none.", rich_help_panel=panels.RECORDS)
    ] = ""
    name: MachineName = ""
    store: StoreFolder = None
    patience_s: Annotated[
        float,
        typer.Option(
            "--patience",
            help="Seconds to keep a call open after its caller has disconnected and its media have stopped.",
            rich_help_panel=panels.RECORDS,
        ),
    ] = 60.0
    clock_offset_ms: Annotated[
        float,
        typer.Option(
            help="Simulate that this machine's clock is ahead by this many ms, to test the measurement.",
            rich_help_panel=panels.RECORDS,
        ),
    ] = 0.0
    json: JsonFlag = False


@taking(AnswerSettings)
def answer(asked: AnswerSettings) -> None:
    """Answer calls from another machine, over TLS, from the holder of the invitation only.

    Runs the callee's capture, phone and end of the path (an OpenVPN server or an onion service too) and, on request,
    a SIP server for the call, while `earwitness call --to HOST --invitation FILE` measures from the other side.
    Measurements are kept by call id, even if the connection is lost.
    """
    needs("answer", "lab")
    from earwitness.netns.sandbox import in_sandbox, rerun_inside
    from earwitness.netns.termination import run
    from earwitness.remote.machine import may_make_devices
    from earwitness.remote.service import AnswerOptions, check_media_port, make_answer_keys, wait_for_calls

    if asked.init is not None:
        made = make_answer_keys(
            asked.init, asked.reached_at and f"{asked.reached_at}:{asked.listen.rpartition(':')[2]}"
        )
        if asked.json:
            print_records([{"keys": str(asked.init), "invitation": str(made)}])
        progress.print(
            f"keys made in {asked.init}; give {made} to the caller over a secure channel, then delete it", markup=False
        )
        return
    options = AnswerOptions(
        listen=asked.listen,
        keys=asked.keys,
        invitation=asked.invitation,
        reached_at=asked.reached_at,
        place=asked.place,
        name=asked.name,
        store=asked.store,
        media_port=check_media_port(asked.media_port),
        tor_control=asked.tor_control,
        patience_s=asked.patience_s,
        clock_offset_ms=asked.clock_offset_ms,
    )
    if not (may_make_devices() or in_sandbox()):
        raise typer.Exit(rerun_inside())

    run(wait_for_calls(options, event_lines("answer", asked.json)))

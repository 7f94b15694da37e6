"""`earwitness answer`: be the callee of another machine's calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.common import JsonFlag, event_lines, needs, print_records, progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(answer)


def answer(
    listen: Annotated[str, typer.Option(help="ADDRESS:PORT of the control channel.")] = "0.0.0.0:7717",
    init: Annotated[
        Path | None, typer.Option(help="Make keys and an invitation in this folder, and stop: for --keys later.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder made by --init. Default: keys for this run.")] = None,
    invitation: Annotated[
        Path, typer.Option(help="Without --keys: where this run's invitation is written; removed at the end.")
    ] = Path("earwitness-invitation.json"),
    reached_at: Annotated[
        str, typer.Option(help="Address by which callers and exits reach this machine, if not its own (NAT).")
    ] = "",
    place: Annotated[str, typer.Option(help="City that this machine is in, for the records.")] = "",
    name: Annotated[str, typer.Option(help="Name of this machine in records. Default: its host name.")] = "",
    store: Annotated[
        Path | None, typer.Option(help="Where what is measured is kept. Default: ~/.local/state/earwitness.")
    ] = None,
    media_port: Annotated[
        int,
        typer.Option(help="TCP port that takes the streams of paths: tcp, tor, vpn, vpn-tor; 0: any. Exits like 443."),
    ] = 0,
    tor_control: Annotated[
        str,
        typer.Option(
            help="Control port of the tor here that offers onion services, unix:/path or host:port."
            " Default: /run/tor/control, else port 9051."
        ),
    ] = "",
    patience: Annotated[
        float, typer.Option(help="Seconds that a call is kept whose caller is away and whose media have stopped.")
    ] = 60.0,
    clock_offset_ms: Annotated[
        float, typer.Option(help="As if this machine's clock were so far ahead: checks the instrument.")
    ] = 0.0,
    json: JsonFlag = False,
) -> None:
    """Wait for calls from another machine: TLS, and only for the holder of the invitation.

    It runs the callee's capture, phone, path end (also an OpenVPN server, or an onion service of the tor here) and,
    where asked, a SIP server made for the call, while `earwitness call --to HOST --invitation FILE` measures
    from the other side, and keeps what it measured by call id, whatever becomes of the connection.
    """
    needs("answer", "lab")
    from earwitness.netns.sandbox import in_sandbox, rerun_inside
    from earwitness.netns.termination import run
    from earwitness.remote.machine import may_make_devices
    from earwitness.remote.service import AnswerOptions, check_media_port, make_keys, wait_for_calls

    if init is not None:
        made = make_keys(init, reached_at and f"{reached_at}:{listen.rpartition(':')[2]}")
        if json:
            print_records([{"keys": str(init), "invitation": str(made)}])
        progress.print(f"keys made in {init}; hand {made} to the caller by a safe way, then delete it", markup=False)
        return
    options = AnswerOptions(
        listen=listen,
        keys=keys,
        invitation=invitation,
        reached_at=reached_at,
        place=place,
        name=name,
        store=store,
        media_port=check_media_port(media_port),
        tor_control=tor_control,
        patience_s=patience,
        clock_offset_ms=clock_offset_ms,
    )
    if not (may_make_devices() or in_sandbox()):
        raise typer.Exit(rerun_inside())

    run(wait_for_calls(options, event_lines("answer", json)))

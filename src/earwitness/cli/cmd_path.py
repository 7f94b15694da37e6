"""`earwitness path`: prints the configuration to build a path by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, needs, output, print_records, progress
from earwitness.cli.naming import CommandLine

_DAYS = 30


def register(app: typer.Typer) -> None:
    """Add the command."""
    paths = CommandLine(no_args_is_help=True, help="Show the configuration of a path, to build one by hand.")
    app.add_typer(paths, name="path", rich_help_panel=panels.CALLS)
    paths.command()(config)


def config(
    server: Annotated[
        str, typer.Option(help="IPv4 address at which the callee's end listens.", rich_help_panel=panels.MEETING)
    ],
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="TCP port at which it listens.", rich_help_panel=panels.MEETING)
    ] = 1194,
    socks: Annotated[
        str | None,
        typer.Option(
            help="SOCKS proxy of the caller's end, HOST:PORT (for vpn-tor, that of a tor). Default: no proxy.",
            rich_help_panel=panels.MEETING,
        ),
    ] = None,
    security: Annotated[
        str,
        typer.Option(
            help="Protection of the tunnel: none (as in the published study), static or tls.",
            rich_help_panel=panels.METHOD,
        ),
    ] = "tls",
    tunnel_nodelay: Annotated[
        bool, typer.Option(help="Set TCP_NODELAY on the tunnel's own TCP connection.", rich_help_panel=panels.METHOD)
    ] = True,
    days: Annotated[
        int,
        typer.Option(min=1, max=3650, help="Validity of the certificates, in days.", rich_help_panel=panels.METHOD),
    ] = _DAYS,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New folder for both files, with new keys (mode 0600). Default: the files are printed,"
            " and no keys are made.",
            rich_help_panel=panels.RESULT,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Print the OpenVPN files of the paths vpn and vpn-tor, for the client (caller) and the server (callee).

    `earwitness call` uses the same files. Keys are never printed; --out makes them.
    """
    needs("path config", "lab")
    from earwitness.path.manual import tunnel_by_hand, write_by_hand
    from earwitness.path.vpn_config import files_of
    from earwitness.path.vpn_files import configs

    tunnel = tunnel_by_hand(server, port, security, socks, nodelay=tunnel_nodelay)
    written = write_by_hand(out, tunnel, days) if out is not None else []
    texts = configs(tunnel)
    if json:
        print_records(
            {
                "file": name,
                "end": "caller" if name == "client.ovpn" else "callee",
                "needs": list(files_of(name.partition(".")[0], tunnel.security, tunnel.socks is not None)),
                "text": text,
                "written": str(out / name) if out is not None else None,
            }
            for name, text in texts.items()
        )
        return
    for name, text in texts.items():
        output.print(f"# ---- {name}", text, sep="\n", markup=False, soft_wrap=True)
    for path in written:
        progress.print(f"written: {path}", markup=False, soft_wrap=True)
    for end, place in (("server", "callee"), ("client", "caller")):
        others = files_of(end, tunnel.security, tunnel.socks is not None)
        beside = f", with {', '.join(others)} beside it" if others else ""
        progress.print(f"at the {place}: openvpn --config {end}.ovpn{beside}", markup=False, soft_wrap=True)

"""`earwitness path`: the paths, and what is needed to build one by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.common import JsonFlag, needs, output, print_records, progress
from earwitness.cli.naming import CommandLine

_DAYS = 30


def register(app: typer.Typer) -> None:
    """Add the command."""
    paths = CommandLine(no_args_is_help=True, help="What a path is made of, for building one by hand.")
    app.add_typer(paths, name="path")

    @paths.command()
    def config(
        server: Annotated[str, typer.Option(help="IPv4 address at which the callee's end listens.")],
        port: Annotated[int, typer.Option(help="Its TCP port.", min=1, max=65535)] = 1194,
        security: Annotated[str, typer.Option(help="none, as in the published study; static; or tls.")] = "tls",
        socks: Annotated[
            str | None,
            typer.Option(help="SOCKS proxy of the caller's end, HOST:PORT (vpn-tor: a tor's). Default: straight."),
        ] = None,
        tunnel_nodelay: Annotated[bool, typer.Option(help="TCP_NODELAY on the tunnel's own TCP connection.")] = True,
        out: Annotated[
            Path | None,
            typer.Option(help="New directory for both files, with new keys (mode 0600). Without: printed, no keys."),
        ] = None,
        days: Annotated[int, typer.Option(help="How long the certificates hold.", min=1, max=3650)] = _DAYS,
        json: JsonFlag = False,
    ) -> None:
        """Print the OpenVPN files of the paths vpn and vpn-tor, client (caller) and server (callee).

        They are those that `earwitness call` uses. Keys are never printed: give --out to have them made.
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

"""`earwitness vantage`: runs this machine as one place of a study over many machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, event_lines, needs
from earwitness.cli.options import MachineName, StoreFolder, taking


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=panels.STUDIES)(vantage)


@dataclass(frozen=True, kw_only=True)
class VantageSettings:
    """The options of `earwitness vantage`."""

    at: Annotated[
        str,
        typer.Option(help="City of this machine, which is its place in studies.", rich_help_panel=panels.MEETING),
    ]
    cluster: Annotated[
        str, typer.Option(help="Address of the scheduler: tls://HOST:PORT.", rich_help_panel=panels.MEETING)
    ]
    keys: Annotated[
        Path,
        typer.Option(
            help="Folder with this vantage's keys, such as DIR/vantage-frankfurt.", rich_help_panel=panels.MEETING
        ),
    ]
    listen: Annotated[
        str,
        typer.Option(
            help="ADDRESS:PORT at which the control channel of incoming calls listens.", rich_help_panel=panels.MEETING
        ),
    ] = "0.0.0.0:7717"
    reached_at: Annotated[
        str,
        typer.Option(
            help="Address at which others reach this machine, if it is behind NAT. Default: its own.",
            rich_help_panel=panels.MEETING,
        ),
    ] = ""
    media_port: Annotated[
        int, typer.Option(help="TCP port for the streams of paths; 0: any free one.", rich_help_panel=panels.MEETING)
    ] = 0
    worker_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="First TCP port at which the cluster reaches this machine, and one more for each scorer;"
            " 0: any free ones.",
            rich_help_panel=panels.MEETING,
        ),
    ] = 0
    tor_control: Annotated[
        str,
        typer.Option(
            help="Control port of the tor here, unix:/path or host:port. Default: /run/tor/control, else port 9051.",
            rich_help_panel=panels.MEETING,
        ),
    ] = ""
    calls_an_hour: Annotated[
        int,
        typer.Option(
            min=1,
            help="Maximum number of calls per hour from here over the public Tor network.",
            rich_help_panel=panels.WORK,
        ),
    ] = 12
    scorers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of processes that render and score calls for the whole cluster.",
            rich_help_panel=panels.WORK,
        ),
    ] = 1
    name: MachineName = ""
    store: StoreFolder = None
    json: JsonFlag = False


@taking(VantageSettings)
def vantage(asked: VantageSettings) -> None:
    """Join a cluster as a vantage: place, answer and score calls for studies that run with --cluster.

    A vantage takes one call at a time, and needs root, or CAP_NET_ADMIN and CAP_NET_RAW.
    """
    needs("vantage", "cluster")
    from earwitness.cluster.dask import cluster_address
    from earwitness.cluster.ending import serve_to_the_end
    from earwitness.cluster.serve import VantageOptions, serve_vantage
    from earwitness.remote.service import check_media_port

    options = VantageOptions(
        at=asked.at,
        cluster=cluster_address(asked.cluster),
        keys=asked.keys,
        name=asked.name,
        listen=asked.listen,
        reached_at=asked.reached_at,
        media_port=check_media_port(asked.media_port),
        worker_port=asked.worker_port,
        tor_control=asked.tor_control,
        calls_an_hour=asked.calls_an_hour,
        scorers=asked.scorers,
        store=asked.store,
    )
    serve_to_the_end(serve_vantage(options, event_lines("vantage", asked.json)))

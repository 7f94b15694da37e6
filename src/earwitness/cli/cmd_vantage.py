"""`earwitness vantage`: be one place of a study that runs over many machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.common import JsonFlag, event_lines, needs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(vantage)


def vantage(
    at: Annotated[str, typer.Option(help="City that this machine is in: the place of a study that it bears.")],
    cluster: Annotated[str, typer.Option(help="tls://HOST:PORT of the scheduler.")],
    keys: Annotated[Path, typer.Option(help="Folder with this vantage's keys, such as DIR/vantage-frankfurt.")],
    listen: Annotated[
        str, typer.Option(help="ADDRESS:PORT of the control channel of calls that come here.")
    ] = "0.0.0.0:7717",
    reached_at: Annotated[
        str, typer.Option(help="Address by which others reach this machine, if not its own (NAT).")
    ] = "",
    media_port: Annotated[int, typer.Option(help="TCP port that takes the streams of paths; 0: any.")] = 0,
    worker_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="First TCP port at which the cluster reaches this machine, and one more a scorer.",
        ),
    ] = 0,
    name: Annotated[str, typer.Option(help="Name of this machine in records. Default: its host name.")] = "",
    tor_control: Annotated[
        str, typer.Option(help="Control port of the tor here. Default: /run/tor/control, else port 9051.")
    ] = "",
    calls_an_hour: Annotated[
        int, typer.Option(min=1, help="Bound on calls over the public Tor network from here an hour.")
    ] = 12,
    scorers: Annotated[int, typer.Option(min=0, help="Processes that hear and score for the whole cluster.")] = 1,
    store: Annotated[
        Path | None, typer.Option(help="Where what is measured is kept. Default: ~/.local/state/earwitness.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Be a vantage of a cluster: place and answer calls for studies that run with --cluster, and score.

    One call at a time. Needs root, or CAP_NET_ADMIN and CAP_NET_RAW.
    """
    needs("vantage", "cluster")
    from earwitness.cluster.dask import cluster_address
    from earwitness.cluster.ending import serve_to_the_end
    from earwitness.cluster.serve import VantageOptions, serve_vantage
    from earwitness.remote.service import check_media_port

    options = VantageOptions(
        at=at,
        cluster=cluster_address(cluster),
        keys=keys,
        name=name,
        listen=listen,
        reached_at=reached_at,
        media_port=check_media_port(media_port),
        worker_port=worker_port,
        tor_control=tor_control,
        calls_an_hour=calls_an_hour,
        scorers=scorers,
        store=store,
    )
    serve_to_the_end(serve_vantage(options, event_lines("vantage", json)))

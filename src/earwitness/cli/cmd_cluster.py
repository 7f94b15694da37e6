"""`earwitness cluster`: keys for many machines, and the scheduler that connects them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import JsonFlag, event_lines, needs, output, print_records, progress
from earwitness.cli.naming import CommandLine


def register(app: typer.Typer) -> None:
    """Add the commands."""
    cluster = CommandLine(no_args_is_help=True, help="Use many machines: make keys, run the scheduler, list vantages.")
    app.add_typer(cluster, name="cluster", rich_help_panel=panels.STUDIES)
    cluster.command(name="init")(cluster_init)
    cluster.command(name="schedule")(cluster_schedule)
    cluster.command(name="show")(cluster_show)


def cluster_init(
    folder: Annotated[Path, typer.Argument(help="Folder for the keys; run the command again on it to add vantages.")],
    vantage: Annotated[
        list[str] | None,
        typer.Option(
            "--vantage",
            help="Name of a vantage; repeat for each machine. Default: none.",
            rich_help_panel=panels.MEETING,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make a cluster's keys: an authority, and a folder each for the scheduler, the client and every vantage.

    Transfer each folder to its machine securely, and keep the authority here. Anyone who has one of them can run
    programs on all machines of the cluster.
    """
    needs("cluster init", "cluster")
    from earwitness.cluster.keys import make_cluster_keys

    made = make_cluster_keys(folder, vantage or ())
    if json:
        print_records({"keys": str(path)} for path in made)
    for path in made:
        progress.print(f"keys made: {path}", markup=False, soft_wrap=True)


def cluster_schedule(
    keys: Annotated[
        Path,
        typer.Option(help="Folder with the scheduler's keys, such as DIR/scheduler.", rich_help_panel=panels.MEETING),
    ],
    listen: Annotated[
        str,
        typer.Option(help="ADDRESS:PORT that all machines of the cluster can reach.", rich_help_panel=panels.MEETING),
    ] = "0.0.0.0:8786",
    json: JsonFlag = False,
) -> None:
    """Run the scheduler that connects vantages and studies, over mutual TLS."""
    needs("cluster schedule", "cluster")
    from earwitness.cluster.ending import serve_to_the_end
    from earwitness.cluster.keys import ClusterKeys
    from earwitness.cluster.scheduler import run_scheduler as run

    serve_to_the_end(run(listen, ClusterKeys.read(keys), event_lines("cluster", json)))


def cluster_show(
    cluster: Annotated[
        str, typer.Option(help="Address of the scheduler: tls://HOST:PORT.", rich_help_panel=panels.WORK)
    ],
    keys: Annotated[
        Path, typer.Option(help="Folder with keys of the cluster, such as DIR/client.", rich_help_panel=panels.WORK)
    ],
    json: JsonFlag = False,
) -> None:
    """List a cluster's connected vantages, and the number of its scoring processes."""
    needs("cluster show", "cluster")
    import asyncio

    from earwitness.cluster.session import members_of

    vantages, scorers = asyncio.run(members_of(cluster, keys))
    records = [
        {"place": one.place, "name": one.name, "answers_at": f"{one.answers_at[0]}:{one.answers_at[1]}"}
        for one in vantages
    ]
    if json:
        print_records([*records, {"scorers": scorers}])
        return
    for record in records:
        output.print(f"{record['place']}: {record['name']}, answers at {record['answers_at']}", markup=False)
    output.print(f"{len(records)} vantages; {scorers} processes score", markup=False)

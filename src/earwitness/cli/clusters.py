"""Shared by commands that can use a cluster: its two options, and the executor of their work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli import panels
from earwitness.cli.common import needs

if TYPE_CHECKING:
    from concurrent.futures import Executor

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        help="Use the machines of a cluster: tls://HOST:PORT of its scheduler (`earwitness cluster schedule`)."
        " Default: this machine.",
        rich_help_panel=panels.WORK,
    ),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        help="Folder with this machine's keys for --cluster, such as DIR/client. Default: none.",
        rich_help_panel=panels.WORK,
    ),
]


def cluster_asked(cluster: str | None, keys: Path | None) -> tuple[str, Path] | None:
    """The cluster and its keys; None if not requested. Raises `InputError` if only one of the two is given."""
    from earwitness.errors import InputError

    if cluster is None and keys is None:
        return None
    if cluster is None or keys is None:
        field, missing = ("keys", "cluster") if cluster is None else ("cluster", "keys")
        raise InputError(
            "using a cluster with",
            f"{field} only",
            "both are needed",
            f"add {{{missing}}}",
            field=field,
            related=(missing,),
        )
    return cluster, keys


@contextmanager
def work_on(workers: int, cluster: str | None, keys: Path | None) -> Iterator[Executor | None]:
    """An executor for what-ifs: processes of this machine, or a cluster; None to use this process alone.

    Raises `InputError` if both are requested.
    """
    joining = cluster_asked(cluster, keys)
    if joining is not None:
        if workers != 1:
            from earwitness.errors import InputError

            happened = "these would be processes of this machine, and the work goes to the cluster's"
            remedy = "leave out {workers} or {cluster}"
            raise InputError(
                "working with", f"{workers} processes", happened, remedy, field="workers", related=("cluster",)
            )
        needs("whatif and blame --cluster", "cluster")
        from earwitness.cluster.executor import cluster_executor

        with cluster_executor(*joining) as executor:
            yield executor
        return
    from earwitness.netns.workers import pool

    with pool(workers) as local:
        yield local

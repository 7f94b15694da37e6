"""A process that hears and scores for the cluster, one task at a time, at low priority so as not to disturb calls.

`python -m earwitness.cluster.scorer CLUSTER KEYS NAME FOLDER [REACHED_AT PORT]`, started by a vantage; it ends with the
vantage.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from earwitness.cluster.dask import SCORING, use_our_settings
from earwitness.cluster.ending import serve_to_the_end, until_end_signal
from earwitness.cluster.keys import ClusterKeys
from earwitness.cluster.worker import WorkerOptions, serve_worker
from earwitness.errors import EarwitnessError
from earwitness.netns.priority import lower_priority


async def _main(cluster: str, keys: str, name: str, folder: str, reached_at: str = "", port: str = "0") -> None:
    options = WorkerOptions(
        cluster=cluster,
        keys=ClusterKeys.read(Path(keys)),
        name=name,
        folder=Path(folder),
        resources={SCORING: 1.0},
        reached_at=reached_at,
        port=int(port),
    )
    await until_end_signal(asyncio.create_task(serve_worker(options, lambda _line: None)))


if __name__ == "__main__":
    lower_priority()
    use_our_settings()
    try:
        serve_to_the_end(_main(*sys.argv[1:]))
    except EarwitnessError as failure:
        sys.exit(f"scorer: {failure}")

"""A worker of the cluster that reconnects after its scheduler was away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Worker

from earwitness.cluster.dask import LOOPBACK_ONLY, in_our_words, join, own_address
from earwitness.cluster.keys import ClusterKeys
from earwitness.errors import EarwitnessError
from earwitness.events import Listener, Notice, WarningGiven

_AGAIN_S = 3.0
_CLOSING_S = 5.0


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """The options of a Dask worker that may be restarted many times."""

    cluster: str
    keys: ClusterKeys
    name: str
    folder: Path
    """Folder for what it keeps while running."""
    resources: Mapping[str, float] = field(default_factory=dict)
    port: int = 0
    """TCP port by which others in the cluster reach it; 0: any."""
    reached_at: str = ""
    """Address by which others reach this machine, if it is not its own."""
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def listens_at(self) -> str:
        """This machine's address on the route to the scheduler; all addresses if it is behind a NAT."""
        return "0.0.0.0" if self.reached_at else own_address(self.cluster)


async def serve_worker(options: WorkerOptions, on_event: Listener) -> None:
    """Run a worker until cancelled. If the scheduler disappears, or later rejects the worker, wait for it.

    Raises, at the start only, `InputError` if the cluster rejects this machine, `EarwitnessError` if it cannot be
    reached.
    """
    joined, waits_for = False, ""
    while True:
        try:
            await (await join(options.cluster, options.keys)).close()
            await _one_life(options, on_event)
            on_event(WarningGiven("the scheduler is gone; waiting for it"))
            waits_for = ""
        except (EarwitnessError, OSError) as error:
            if not joined:
                raise
            if str(error) != waits_for:
                waits_for = str(error)
                on_event(WarningGiven(f"waiting for the scheduler: {waits_for}"))
        joined = True
        await asyncio.sleep(_AGAIN_S)


async def _one_life(options: WorkerOptions, on_event: Listener) -> None:
    worker = Worker(
        options.cluster,
        nthreads=1,
        name=options.name,
        resources=dict(options.resources),
        security=options.keys.security(),
        memory_limit=0,
        local_directory=str(options.folder),
        protocol="tls",
        host=options.listens_at,
        port=options.port,
        contact_address=f"tls://{options.reached_at}:{options.port}" if options.reached_at else None,
        dashboard_address=LOOPBACK_ONLY,
    )
    worker.extensions.update(options.extensions)
    try:
        with in_our_words(options.cluster):
            await worker
        on_event(Notice(f"joined {options.cluster}"))
        await worker.finished()
    finally:
        with contextlib.suppress(OSError, TimeoutError):  # it would notify a scheduler that may be gone
            async with asyncio.timeout(_CLOSING_S):
                await worker.close(timeout=1)

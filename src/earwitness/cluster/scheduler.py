"""`earwitness cluster schedule`: Dask's scheduler, reachable only over mutual TLS."""

from __future__ import annotations

import asyncio

from distributed import Scheduler

from earwitness.cluster.agreement import agreement
from earwitness.cluster.dask import AGREEMENT, DEFAULT_PORT, LOOPBACK_ONLY, check_free, use_our_settings
from earwitness.cluster.ending import until_end_signal
from earwitness.cluster.keys import ClusterKeys
from earwitness.events import Listener, Notice
from earwitness.netns.scratch import scratch_folder
from earwitness.remote.client import parse_address


async def run_scheduler(listen: str, keys: ClusterKeys, on_event: Listener) -> None:
    """Serve until SIGINT or SIGTERM. `InputError` if it cannot listen at `listen` (ADDRESS[:PORT])."""
    use_our_settings()
    host, port = parse_address(listen if ":" in listen else f"{listen}:{DEFAULT_PORT}", lowest_port=0)
    check_free(host, port, "listen")
    with scratch_folder("earwitness-scheduler-") as folder:
        scheduler = Scheduler(
            host=host,
            port=port,
            protocol="tls",
            security=keys.security(),
            dashboard=False,
            dashboard_address=LOOPBACK_ONLY,
            local_directory=str(folder),
        )
        async with scheduler:
            scheduler.set_metadata([AGREEMENT], agreement())
            on_event(Notice(f"scheduling at {scheduler.address}"))
            await until_end_signal(asyncio.create_task(scheduler.finished()))

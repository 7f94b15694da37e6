"""`earwitness cluster schedule`: Dask's scheduler, reached over mutual TLS and no other way."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from distributed import Scheduler

from earwitness.cluster.agreement import agreement
from earwitness.cluster.dask import AGREEMENT, DEFAULT_PORT, LOOPBACK_ONLY, use_our_settings
from earwitness.cluster.ending import until_told_to_end
from earwitness.cluster.keys import ClusterKeys
from earwitness.errors import InputError
from earwitness.remote.client import parse_address

Told = Callable[[str], None]


async def schedule(listen: str, keys: ClusterKeys, told: Told) -> None:
    """Serve until SIGINT or SIGTERM. `InputError` where it cannot listen at `listen` (ADDRESS[:PORT])."""
    use_our_settings()
    host, port = parse_address(listen if ":" in listen else f"{listen}:{DEFAULT_PORT}", lowest_port=0)
    _check_free(host, port)
    scheduler = Scheduler(
        host=host, port=port, protocol="tls", security=keys.security(), dashboard=False, dashboard_address=LOOPBACK_ONLY
    )
    async with scheduler:
        scheduler.set_metadata([AGREEMENT], agreement())
        told(f"scheduling at {scheduler.address}")
        await until_told_to_end(asyncio.create_task(scheduler.finished()))


def _check_free(host: str, port: int) -> None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except (OSError, OverflowError) as error:
        remedy = "give an address of this machine and a free port to --listen"
        raise InputError("listening on", f"{host}:{port}", error, remedy) from error

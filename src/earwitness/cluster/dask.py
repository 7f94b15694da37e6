"""Configures Dask (TLS only, no sampling, logging handled by Earwitness) and joins a cluster."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client
from tornado.iostream import StreamClosedError

from earwitness.cluster.agreement import check_agreement
from earwitness.cluster.keys import ClusterKeys
from earwitness.errors import EarwitnessError, InputError

AGREEMENT = "earwitness"
"""Key of the scheduler's metadata that describes what it runs."""
SCORING = "scoring"
"""Resource of a scoring worker; every task requests one, so that none runs where calls are placed."""
DEFAULT_PORT = 8786
LOOPBACK_ONLY = "127.0.0.1:0"
"""Address of Dask's HTTP server, which cannot be disabled: it has no pages, and is not reachable from outside."""
JOIN_S = 20.0
UNSCORED_S = 300.0
"""Time after which the scheduler abandons work that no process has taken, because no scorer is left."""

_SETTINGS: dict[str, Any] = {
    "distributed.comm.require-encryption": True,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # Dask's profiler would interrupt the interpreter every 10 ms to inspect all stacks.
    "distributed.worker.profile.enabled": False,
    "distributed.diagnostics.nvml": False,
    # Dask would measure its own lateness 50 times a second, and the machine twice, for dashboards that are not served.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.scheduler.no-workers-timeout": f"{UNSCORED_S:g}s",
    # Waiting for a scheduler is done in rounds here; a process that exits would wait for Dask's retries.
    "distributed.comm.timeouts.connect": "10s",
}


def use_our_settings() -> None:
    """Apply the settings in this process, before any part of Dask is started."""
    dask.config.set(_SETTINGS)
    for name in ("distributed", "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def cluster_address(text: str) -> str:
    """`tls://HOST:PORT`, also from `HOST` or `HOST:PORT`. `InputError` otherwise, and for unencrypted connections."""
    tried = ("reading the cluster's address", text or "(empty)")
    parts = urlsplit(text if "://" in text else f"tls://{text}")
    if parts.scheme != "tls":
        raise InputError(*tried, f"{parts.scheme}:// is not encrypted", "give tls://HOST:PORT", field="cluster")
    try:
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.path.strip("/"):
        raise InputError(*tried, "not tls://HOST:PORT", "write it as in tls://192.0.2.7:8786", field="cluster")
    return f"tls://{host}:{port}"


def own_address(cluster: str) -> str:
    """This machine's IPv4 address on the route to the scheduler, by which others in the cluster reach it."""
    parts = urlsplit(cluster)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((parts.hostname, parts.port))  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise InputError("finding the way to", cluster, error, "give its IPv4 address or a name that resolves") from (
            error
        )


def check_free(host: str, port: int, field: str) -> None:
    """`InputError` if this port cannot be listened on; Dask's own error is long. `field`: the setting of the port."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except (OSError, OverflowError) as error:
        remedy = "give an address of this machine and a free port"
        raise InputError("listening on", f"{host}:{port}", error, remedy, field=field) from error


async def join(cluster: str, keys: ClusterKeys, timeout_s: float = JOIN_S) -> Client:
    """A client of the cluster, for this event loop; the caller closes it.

    `InputError` if either side rejects the other's certificate, or the cluster runs another Earwitness;
    `EarwitnessError` if it cannot be reached.
    """
    with in_our_words(cluster):
        client: Client = await Client(
            cluster, security=keys.security(), asynchronous=True, timeout=timeout_s, set_as_default=False
        )
        try:
            check_agreement(await client.get_metadata(AGREEMENT, default=None), cluster)
        except BaseException:
            await client.close()
            raise
    return client


@contextmanager
def in_our_words(cluster: str) -> Iterator[None]:
    """Convert Dask's connection errors to one-line errors."""
    tried = ("joining the cluster at", cluster)
    try:
        yield
    except EarwitnessError:
        raise
    except (OSError, RuntimeError) as error:  # Dask hides the reason of a failed start in a RuntimeError
        if isinstance(_chain(error)[-1], _CLOSED_ON_US):
            happened = f"one side does not accept the other's certificate ({_chain(error)[-1]})"
            raise InputError(
                *tried, happened, "give keys of the same `earwitness cluster init`", field="keys"
            ) from error
        remedy = "check that `earwitness cluster schedule` runs there and can be reached"
        raise EarwitnessError(*tried, str(_chain(error)[-1]) or type(error).__name__, remedy) from error


_CLOSED_ON_US = (ssl.SSLError, ConnectionResetError, BrokenPipeError, StreamClosedError)
"""Errors by which a rejected certificate shows; with TLS 1.3 the other side learns of it when it reads."""


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its chain of causes."""
    chain = [error]
    while (earlier := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(earlier)
    return chain

"""How we use Dask: nothing served but over TLS, nothing sampled, its log left to us; and how to join."""

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
"""Name of the scheduler's metadata that say what it runs."""
SCORING = "scoring"
"""Resource of a worker that hears and scores; every task asks for one, so that none lands where calls are placed."""
DEFAULT_PORT = 8786
LOOPBACK_ONLY = "127.0.0.1:0"
"""Where Dask's HTTP server, which cannot be left out, listens: it has no page, and nobody else reaches it."""
JOIN_S = 20.0
UNSCORED_S = 300.0
"""Work that no process has taken for so long, as none is left that scores, is given up by the scheduler."""

_SETTINGS: dict[str, Any] = {
    "distributed.comm.require-encryption": True,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # It stops the interpreter every 10 ms to look at all stacks.
    "distributed.worker.profile.enabled": False,
    "distributed.diagnostics.nvml": False,
    # It looks at its own lateness 50 times a second, and at the machine twice: for pages that we do not have.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.scheduler.no-workers-timeout": f"{UNSCORED_S:g}s",
    # Who waits for a scheduler does so in rounds of ours; a process that ends would wait for Dask's.
    "distributed.comm.timeouts.connect": "10s",
}


def use_our_settings() -> None:
    """For this process, before anything of Dask is started."""
    dask.config.set(_SETTINGS)
    for name in ("distributed", "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def cluster_address(text: str) -> str:
    """`tls://HOST:PORT`, also from `HOST` or `HOST:PORT`. `InputError` otherwise, and for connections in the clear."""
    tried = ("reading the cluster's address", text or "(empty)")
    parts = urlsplit(text if "://" in text else f"tls://{text}")
    if parts.scheme != "tls":
        raise InputError(*tried, f"{parts.scheme}:// is not protected", "give tls://HOST:PORT", field="cluster")
    try:
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.path.strip("/"):
        raise InputError(*tried, "not tls://HOST:PORT", "write it as in tls://192.0.2.7:8786", field="cluster")
    return f"tls://{host}:{port}"


def own_address(cluster: str) -> str:
    """Our IPv4 address on the way to the scheduler: others of the cluster reach us by it."""
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
    """Raise `InputError` where we cannot listen there, of which Dask would say more than a line.

    `field`: the setting that has the port.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except (OSError, OverflowError) as error:
        remedy = "give an address of this machine and a free port"
        raise InputError("listening on", f"{host}:{port}", error, remedy, field=field) from error


async def join(cluster: str, keys: ClusterKeys, timeout_s: float = JOIN_S) -> Client:
    """A client of the cluster, for this event loop; to be closed.

    `InputError` where the other side is not of the cluster, does not take us for one, or runs another Earwitness;
    `EarwitnessError` where it is not reached.
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
    """What Dask says of a connection that does not come to be, as one line of ours."""
    tried = ("joining the cluster at", cluster)
    try:
        yield
    except EarwitnessError:
        raise
    except (OSError, RuntimeError) as error:  # a server of Dask's that does not start hides why in a RuntimeError
        if isinstance(_chain(error)[-1], _CLOSED_ON_US):
            happened = f"one side does not accept the other's certificate ({_chain(error)[-1]})"
            raise InputError(
                *tried, happened, "give keys of the same `earwitness cluster init`", field="keys"
            ) from error
        remedy = "see that `earwitness cluster schedule` runs there and can be reached"
        raise EarwitnessError(*tried, str(_chain(error)[-1]) or type(error).__name__, remedy) from error


_CLOSED_ON_US = (ssl.SSLError, ConnectionResetError, BrokenPipeError, StreamClosedError)
"""How it shows that a side did not like what it was shown; with TLS 1.3 the other hears of it when it reads."""


def _chain(error: BaseException) -> list[BaseException]:
    """The error, what it came from, and so on to what it all began with."""
    chain = [error]
    while (earlier := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(earlier)
    return chain

"""`tcp`: the forwarders and streams of `tor` without Tor, directly from host to host: the tunnel's effect alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host
from earwitness.path.base import PhonePorts
from earwitness.path.callee_host import CalleeHost
from earwitness.path.facts import PathFacts
from earwitness.path.tunnel import OpenStreamsPath, StreamsRefused, tunnel_ends


class TcpPath:
    """RFC 4571 over one TCP connection per flow. The control for `tor`: the two differ only in the relays."""

    name = "tcp"

    @asynccontextmanager
    async def open(self, caller: Host, callee: CalleeHost, ports: PhonePorts) -> AsyncIterator[OpenStreamsPath]:
        """Open the connections. Raises `CallFailure`: `STREAM_REFUSED` or `PATH_FAILED`."""
        begun = time.monotonic_ns()
        async with tunnel_ends(caller, callee, ports, listen=callee.address) as ends:
            try:
                took = await ends.open_streams(ends.listener)
            except StreamsRefused as refused:
                raise CallFailure(
                    Outcome.STREAM_REFUSED,
                    f"opening the {refused.flow} connection to",
                    on=callee.name,
                    happened=refused.said["reason"],
                    remedy="check that the callee can be reached over TCP",
                    evidence={"flow": refused.flow},
                ) from refused
            setup_ms = (time.monotonic_ns() - begun) / 1e6
            yield OpenStreamsPath(
                self.name,
                *ends.phones,
                ends=ends,
                facts=PathFacts(path_setup_ms=setup_ms, streams=took, interface=ends.pair.interface),
                faults=ends.faults,
                processes=ends.processes,
            )

"""All of a call's datagrams in one TCP connection from host to host: signalling and voice wait for each other."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from earwitness.errors import CallFailure, Outcome
from earwitness.looks import Look
from earwitness.netns.host import Host
from earwitness.path.base import OpenPath, PhonePorts
from earwitness.path.callee_host import CalleeHost
from earwitness.path.facts import PathFacts
from earwitness.path.kind import PathKind
from earwitness.path.tunnel import OpenStreamsPath, StreamsRefused, tunnel_ends


class OneTcpPath:
    """As `tcp`, which has a connection for each of SIP, RTP, RTCP and the rest."""

    name = "one-tcp"

    @asynccontextmanager
    async def open(self, caller: Host, callee: CalleeHost, ports: PhonePorts) -> AsyncIterator[OpenPath]:
        begun = time.monotonic_ns()
        async with tunnel_ends(caller, callee, ports, listen=callee.address, one_stream=True) as ends:
            try:
                await ends.open_streams(ends.listener)
            except StreamsRefused as refused:
                raise CallFailure(
                    Outcome.STREAM_REFUSED,
                    "opening the connection to",
                    on=callee.name,
                    happened=refused.said["reason"],
                    remedy="see that the callee can be reached over TCP",
                ) from refused
            yield OpenStreamsPath(
                self.name,
                *ends.phones,  # the addresses that the phones use, and the devices that are captured
                ends=ends,
                facts=PathFacts(path_setup_ms=(time.monotonic_ns() - begun) / 1e6),
                faults=ends.faults,
                processes=ends.processes,
            )


ONE_TCP = PathKind(
    name="one-tcp",
    summary="all datagrams in one TCP connection from host to host",
    usage="one-tcp",
    build=lambda _options, _around: OneTcpPath(),
    look=Look("one TCP", "sky", "dotted", "cross", "bars"),
    phrase="Over one TCP connection",
    overhead_s=1.5,
)

"""`tor`: the phones' datagrams over Tor streams, on one circuit of chosen relays that exits to the callee."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from earwitness.netns.host import Host
from earwitness.path.base import PhonePorts
from earwitness.path.callee_host import CalleeHost
from earwitness.path.circuit import CircuitMaker, CircuitMonitor
from earwitness.path.circuit_cache import CircuitCache
from earwitness.path.tunnel import OpenStreamsPath, StreamsRefused, tunnel_ends
from earwitness.tor.description import TorNetwork
from earwitness.tor.select import CircuitRequest


@dataclass
class OpenTorPath(OpenStreamsPath):
    """A path over Tor streams; it notices when the circuit, a stream or a forwarder ends during the call."""

    monitor: CircuitMonitor | None = field(default=None, repr=False)

    def failure(self) -> str | None:
        """The most specific known cause: a forwarder's end, then tor's reason, then what a forwarder saw."""
        if self.ends is None or self.monitor is None:
            return None
        return self.ends.problem or self.monitor.ended() or self.ends.lost_stream

    async def _wait_for_cause(self) -> None:
        if self.ends is not None and self.monitor is not None and self.ends.problem is None:
            await self.monitor.wait_until_reported()


class TorPath:
    """RTP and SIP datagrams over Tor streams with RFC 4571 framing: one each for SIP, RTP, RTCP and the rest.

    The arguments are those of `CircuitMaker`.
    """

    name = "tor"

    def __init__(
        self,
        request: CircuitRequest,
        network: TorNetwork,
        *,
        keep_circuit: bool = False,
        kept: CircuitCache | None = None,
        nodelay: bool | None = None,
    ) -> None:
        self.circuits = CircuitMaker(request, network, keep_circuit=keep_circuit, kept=kept, nodelay=nodelay)

    @asynccontextmanager
    async def open(self, caller: Host, callee: CalleeHost, ports: PhonePorts) -> AsyncIterator[OpenTorPath]:
        """Build the circuit, open the streams, and check that they are on it.

        Raises `CallFailure`: `CIRCUIT_FAILED`, `STREAM_REFUSED` with the END reason, or `PATH_FAILED`; and
        `InputError` if no relay matches the request.
        """
        begun = time.monotonic_ns()
        async with AsyncExitStack() as stack:
            over = await stack.enter_async_context(self.circuits.making(caller))
            ends = await stack.enter_async_context(
                tunnel_ends(
                    caller,
                    callee,
                    ports,
                    listen=callee.address,
                    socks=over.socks,
                    username=over.username,
                )
            )
            watch = await over.built()
            streams_begun = time.monotonic_ns()
            try:
                async with watch.attaching():
                    took = await ends.open_streams(ends.listener)
            except StreamsRefused as refused:
                raise await over.refusal(refused.flow, refused.said["reason"], {"forwarder": refused.said}) from refused
            facts = await stack.enter_async_context(self.circuits.settled(over, took))
            now = time.monotonic_ns()
            facts = replace(
                facts,
                path_setup_ms=(now - begun) / 1e6,
                streams_open_ms=(now - streams_begun) / 1e6,
                interface=ends.pair.interface,
            )
            yield OpenTorPath(
                self.name,
                *ends.phones,
                circuit=over.circuit_facts,
                facts=facts,
                processes=ends.processes,
                faults={**ends.faults, **over.faults},
                monitor=over.monitor,
                ends=ends,
            )

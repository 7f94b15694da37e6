"""`tor`: the phones' datagrams over Tor streams, on one circuit of chosen relays, out of its exit to the callee."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from earwitness.errors import CallFailure, InputError, Outcome
from earwitness.lab.host import Host
from earwitness.path.base import Hop, OpenPath, PhonePorts
from earwitness.path.ends import StreamsRefused, TunnelEnds, tunnel_ends
from earwitness.tor.control import Circuit, TorControl
from earwitness.tor.description import TorNetwork
from earwitness.tor.nodelay import set_nodelay
from earwitness.tor.relays import Relay
from earwitness.tor.select import CircuitRequest, choose
from earwitness.tor.streams import USER_PREFIX, StreamWatch

CIRCUIT_TIMEOUT_S = 30.0
TORS_WORD_WITHIN_NS = 500_000_000


@dataclass
class OpenTorPath(OpenPath):
    """A path over one circuit; it knows when the circuit, a stream, or a forwarder ends under the call."""

    control: TorControl | None = field(default=None, repr=False)
    circuit: Circuit | None = field(default=None, repr=False)
    watch: StreamWatch | None = field(default=None, repr=False)
    ends: TunnelEnds | None = field(default=None, repr=False)

    def failure(self) -> str | None:
        """The first cause known: tor's reason before what the forwarders saw of it."""
        if self.circuit is not None and (reason := self.circuit.ended) is not None:
            return f"circuit {self.circuit.id} closed: {reason}"
        for stream in self.watch.streams.values() if self.watch else ():
            if (reason := stream.ended) is not None:
                return f"stream {stream.id} ({stream.label}) closed: {reason}"
        if self.control is not None and self.control.lost:
            return self.control.lost
        # Tor's own word on a closed stream is usually a moment behind, and says more.
        return self.ends.failure(TORS_WORD_WITHIN_NS) if self.ends else None

    def counters(self) -> dict[str, Any]:
        """Datagrams sent, received and dropped by each forwarder, by flow: at most a second old."""
        return self.ends.counters() if self.ends else {}


class TorPath:
    """RTP and SIP datagrams over Tor streams with RFC 4571 framing, a stream each for SIP, RTP, RTCP and the rest.

    Args:
        request: which circuit.
        network: whose relays and clients; the caller's host must have a client.
        keep_circuit: leave the circuit standing on closing, and use it again at the next opening.
        nodelay: in a private network, whether its relays and clients have TCP_NODELAY while this path is
            open (`earwitness.tor.nodelay`); it holds for the whole network, so open one such path at a time. None
            leaves all as it is.
    """

    name = "tor"

    def __init__(
        self,
        request: CircuitRequest,
        network: TorNetwork,
        *,
        keep_circuit: bool = False,
        nodelay: bool | None = None,
    ) -> None:
        if nodelay is False and network.relay_nodelay:
            remedy = "start the lab without --relay-nodelay"
            raise InputError("clearing TCP_NODELAY in the network", network.name, "it keeps it set", remedy)
        if nodelay is not None and not network.pids:
            remedy = "leave it away, or use the lab's network"
            raise InputError("setting TCP_NODELAY on the relays of", network.name, "they are not ours", remedy)
        self.request = request
        self.network = network
        self.keep_circuit = keep_circuit
        self.nodelay = nodelay
        self._kept: int | None = None

    @asynccontextmanager
    async def open(self, caller: Host, callee: Host, ports: PhonePorts) -> AsyncIterator[OpenTorPath]:
        """Build the circuit, open the streams on it, and check that they are there.

        Raises `CallFailure`: `CIRCUIT_FAILED`, `STREAM_REFUSED` with the END reason, or `PATH_FAILED`; and
        `InputError` where no relay is as asked for.
        """
        begun = time.monotonic_ns()
        details: dict[str, Any] = {}
        hops = choose(self.request, self.network.relays)
        client = self.network.client(caller.name)
        username = USER_PREFIX + secrets.token_hex(8)
        async with AsyncExitStack() as stack:
            control = await stack.enter_async_context(TorControl.connect(client.control))
            building = asyncio.ensure_future(self._circuit(control, hops))
            stack.push_async_callback(_abandon, building)
            ends = await stack.enter_async_context(
                tunnel_ends(
                    caller,
                    callee,
                    ports,
                    listen=callee.address,
                    socks=client.socks,
                    username=username,
                    counted=details,
                )
            )
            circuit, was_kept = await building
            stack.push_async_callback(self._leave_circuit, control, circuit)
            watch = stack.enter_context(StreamWatch(control, circuit, username).following())
            streams_begun = time.monotonic_ns()
            try:
                async with watch.attaching():
                    took = await ends.open_streams(ends.listener)
            except StreamsRefused as refused:
                raise _refusal(refused, watch, circuit, hops) from refused
            on_circuit = await watch.verify()
            if self.nodelay is not None:
                # Now, when every connection that the call will use is there.
                stack.callback(self._set_nodelay, self.network.relay_nodelay)
                self._set_nodelay(self.nodelay)
            now = time.monotonic_ns()
            details.update(
                path_setup_ms=(now - begun) / 1e6,
                circuit_build_ms=circuit.build_ms,
                circuit_kept=was_kept,
                streams_open_ms=(now - streams_begun) / 1e6,
                streams={
                    label: {
                        "stream_id": stream.id,
                        "circuit_id": str(on_circuit[label]),
                        "source_port": stream.source_port,
                        **took[label],
                    }
                    for label, stream in watch.by_label().items()
                },
                interface=ends.pair.interface,
                relay_nodelay=self.network.relay_nodelay if self.nodelay is None else self.nodelay,
                circuit_request=dict(vars(self.request)),
            )
            yield OpenTorPath(
                self.name,
                *ends.phones,
                circuit_id=str(circuit.id),
                hops=tuple(_hop(relay) for relay in hops),
                details=details,
                control=control,
                circuit=circuit,
                watch=watch,
                ends=ends,
            )

    def _set_nodelay(self, on: bool) -> None:
        for pid in self.network.voice_pids().values():
            # A relay that a test has killed does not matter here; one of the circuit's would show as a failure.
            with suppress(ProcessLookupError):
                os.kill(pid, 0)
                set_nodelay(pid, on)

    async def _circuit(self, control: TorControl, hops: Sequence[Relay]) -> tuple[Circuit, bool]:
        """The circuit through these relays, and whether it stood already."""
        fingerprints = [relay.fingerprint for relay in hops]
        if self.keep_circuit and self._kept is not None:
            standing = await control.standing_circuit(self._kept, fingerprints)
            if standing is not None:
                return standing, True
        circuit = await control.build_circuit(fingerprints, timeout_s=CIRCUIT_TIMEOUT_S)
        if self.keep_circuit:
            self._kept = circuit.id
        return circuit, False

    async def _leave_circuit(self, control: TorControl, circuit: Circuit) -> None:
        if not self.keep_circuit and circuit.ended is None:
            await control.close_circuit(circuit.id)


def _refusal(refused: StreamsRefused, watch: StreamWatch, circuit: Circuit, hops: Sequence[Relay]) -> CallFailure:
    """Why the streams did not open, from tor's own events where it told."""
    stream = watch.by_label().get(refused.flow)
    circuit_gone = circuit.ended
    told = (stream.ended if stream else None) or next(iter(watch.refused), None) or refused.said["reason"]
    return CallFailure(
        Outcome.CIRCUIT_FAILED if circuit_gone else Outcome.STREAM_REFUSED,
        f"opening the {refused.flow} stream over",
        on=" -> ".join(relay.nickname for relay in hops),
        happened=circuit_gone or told,
        remedy="try again, or choose other relays" if circuit_gone else "choose another exit with --exit",
        evidence={
            "flow": refused.flow,
            "reason": stream.reason if stream else "",
            "remote_reason": stream.remote_reason if stream else "",
            "circuit_id": circuit.id,
            "hops": [relay.nickname for relay in hops],
            "forwarder": refused.said,
        },
    )


async def _abandon(building: asyncio.Task[tuple[Circuit, bool]]) -> None:
    """Where opening failed for another reason first, the circuit's own failure is nobody's news."""
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)


def _hop(relay: Relay) -> Hop:
    return Hop(relay.nickname, relay.fingerprint, relay.address, relay.place, relay.country)

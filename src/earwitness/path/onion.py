"""`onion`: the `tor` path's streams to a v3 onion service at the callee, over a rendezvous point that tor chooses."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.netns.host import Host
from earwitness.path.base import PhonePorts
from earwitness.path.callee_host import CalleeHost, OnionRequest
from earwitness.path.circuit import CircuitMonitor
from earwitness.path.facts import CircuitFacts, Hop, PathFacts
from earwitness.path.tor import OpenTorPath
from earwitness.path.tunnel import StreamsRefused, tunnel_ends
from earwitness.tor.control import TorControl
from earwitness.tor.description import TorNetwork
from earwitness.tor.nodelay import check_nodelay, nodelay_during
from earwitness.tor.onion import (
    DescriptorFetches,
    OnionService,
    descriptor_fetches,
)
from earwitness.tor.streams import USER_PREFIX, StreamWatch

STREAMS_TIMEOUT_S = 90.0
"""The descriptor fetch, introduction and rendezvous precede the first stream."""


class OnionPath:
    """RTP and SIP datagrams to an ephemeral onion service at the callee; neither end knows the other's address.

    The circuit has six relays, three chosen by each side; the caller's last one is the rendezvous point. A single
    onion service does not hide its location: its tor connects directly to the rendezvous point, so there are three
    relays in all.

    Args:
        network: the Tor network; both ends' hosts must have a client in it.
        scratch: directory for the tor of a single onion service.
        single: whether it is a single onion service; in the lab only.
        nodelay: TCP_NODELAY on relays and clients while the path is open, as in `CircuitMaker`.
    """

    name = "onion"

    def __init__(
        self, network: TorNetwork, scratch: Path | None = None, *, single: bool = False, nodelay: bool | None = None
    ) -> None:
        if single and scratch is None:
            raise ValueError("a single onion service needs a directory for its tor")
        check_nodelay(network, nodelay)
        self.network = network
        self.scratch = scratch
        self.single = single
        self.nodelay = nodelay

    @asynccontextmanager
    async def open(self, caller: Host, callee: CalleeHost, ports: PhonePorts) -> AsyncIterator[OpenTorPath]:
        """Publish the service, meet at a rendezvous, open the streams.

        Raises `CallFailure`: `PATH_FAILED` if the service could not be published, `ONION_UNREACHABLE` with tor's
        reason if it could not be reached (descriptor not found, introduction failed ...), `STREAM_REFUSED` if it was
        reached and the streams did not open.
        """
        begun = time.monotonic_ns()
        username = USER_PREFIX + secrets.token_hex(8)
        here = self.network.client(caller.name)
        async with AsyncExitStack() as stack:
            callers_tor = await stack.enter_async_context(TorControl.connect(here.control))
            ends = await stack.enter_async_context(
                tunnel_ends(
                    caller,
                    callee,
                    ports,
                    listen=None,
                    socks=here.socks,
                    username=username,
                    one_circuit=True,
                )
            )
            offered = await stack.enter_async_context(
                callee.offered_onion(OnionRequest(ends.listener, self.network, self.single, self.scratch))
            )
            service = offered.service
            watch = stack.enter_context(StreamWatch(callers_tor, None, username).following())
            streams_begun = time.monotonic_ns()
            async with descriptor_fetches(callers_tor, service.address) as fetches:
                try:
                    took = await ends.open_streams((service.address, service.port), timeout_s=STREAMS_TIMEOUT_S)
                except StreamsRefused as refused:
                    raise _refusal(refused, service, watch, callee, fetches) from refused
            now = time.monotonic_ns()
            circuit = callers_tor.circuit(_one_circuit(watch))
            half = [self._hop(fingerprint) for fingerprint in circuit.fingerprints]
            # The service's half ends at the rendezvous point, which is already in the caller's half.
            rest = [self._hop(fingerprint) for fingerprint in (await offered.circuit())[-2::-1]]
            stack.enter_context(
                nodelay_during(self.network, self.nodelay, {"service": offered.pid} if offered.pid else {})
            )
            facts = PathFacts(
                path_setup_ms=(now - begun) / 1e6,
                publish_ms=service.publish_ms,
                streams_open_ms=(now - streams_begun) / 1e6,
                descriptor_uploads=len(service.uploads),
                streams=took,
                single_onion=self.single,
                rendezvous=half[-1].nickname if half else "",
                interface=ends.pair.interface,
                relay_nodelay=self.network.relay_nodelay if self.nodelay is None else self.nodelay,
            )
            close = {"close-circuit": lambda: callers_tor.spawn(callers_tor.close_circuit(circuit.id))}
            yield OpenTorPath(
                self.name,
                *ends.phones,
                circuit=CircuitFacts(id=str(circuit.id), relays=(*half, *rest)),
                facts=facts,
                notes=("the onion service did not hide its location (--single-onion)",) if self.single else (),
                processes=ends.processes,
                faults={**ends.faults, **close},
                # Tor reports the caller's half of the rendezvous circuit; the other half ends with it.
                monitor=CircuitMonitor(callers_tor, circuit, watch, "rendezvous circuit"),
                ends=ends,
            )

    def _hop(self, fingerprint: str) -> Hop:
        """A relay as reported by a path; one that is missing from this end's consensus has only a fingerprint."""
        try:
            relay = self.network.relay(fingerprint)
        except InputError:
            return Hop(f"${fingerprint}", fingerprint)
        return Hop.of(relay)


def _one_circuit(watch: StreamWatch) -> int:
    """The circuit of all our streams. Raises `EarwitnessError` if they are on several."""
    circuits = {circuit for stream in watch.streams.values() for circuit in stream.circuits[-1:]}
    if len(circuits) != 1:
        raise EarwitnessError(
            "keeping the streams of", watch.username, f"on one circuit: tor had them on {sorted(circuits)}", "try again"
        )
    return circuits.pop()


def _refusal(
    refused: StreamsRefused, service: OnionService, watch: StreamWatch, callee: Host, fetches: DescriptorFetches
) -> CallFailure:
    """Why the streams did not open: the service was unreachable, or it refused them."""
    reasons = [stream.ended for stream in watch.streams.values() if stream.ended]
    if not fetches.received and fetches.failures:
        unreachable, happened = True, f"its descriptor was not found ({fetches.failures[-1]})"
    else:
        # A stream that was sent to the service has a circuit, so the service was reached.
        unreachable = not any(stream.circuits for stream in watch.streams.values())
        happened = refused.said["reason"]
    return CallFailure(
        Outcome.ONION_UNREACHABLE if unreachable else Outcome.STREAM_REFUSED,
        f"opening the {refused.flow} stream to the onion service at",
        on=callee.name,
        happened=happened + (f"; tor's reason: {reasons[0]}" if reasons else ""),
        remedy="try again: descriptors and introductions of a new service can take a moment",
        evidence={
            "forwarder": refused.said,
            "reasons": reasons,
            "uploads": service.uploads,
            "descriptor_received": fetches.received,
            "descriptor_failures": fetches.failures,
        },
    )

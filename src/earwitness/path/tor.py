"""`tor`: the phones' datagrams over Tor streams, on one circuit of chosen relays, out of its exit to the callee."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from earwitness.errors import CallFailure, Outcome
from earwitness.lab.host import Host
from earwitness.path.base import End, Hop, OpenPath, PhonePorts
from earwitness.path.end import PathEnd, flows
from earwitness.path.tun import tun_pair
from earwitness.tor.control import Circuit, TorControl
from earwitness.tor.description import TorNetwork
from earwitness.tor.relays import Relay
from earwitness.tor.select import CircuitRequest, choose
from earwitness.tor.streams import USER_PREFIX, StreamWatch

CIRCUIT_TIMEOUT_S = 30.0
STREAMS_TIMEOUT_S = 30.0
TORS_WORD_WITHIN_NS = 500_000_000


@dataclass
class OpenTorPath(OpenPath):
    """A path over one circuit; it knows when the circuit, a stream, or a forwarder ends under the call."""

    control: TorControl | None = field(default=None, repr=False)
    circuit: Circuit | None = field(default=None, repr=False)
    watch: StreamWatch | None = field(default=None, repr=False)
    ends: tuple[PathEnd, ...] = field(default=(), repr=False)

    def failure(self) -> str | None:
        """The first cause known: tor's reason before what the forwarders saw of it."""
        if self.circuit is not None and (reason := self.circuit.ended) is not None:
            return f"circuit {self.circuit.id} closed: {reason}"
        for stream in self.watch.streams.values() if self.watch else ():
            if (reason := stream.ended) is not None:
                return f"stream {stream.id} ({stream.label}) closed: {reason}"
        if self.control is not None and self.control.lost:
            return self.control.lost
        for end in self.ends:
            if end.problem is not None:
                return end.problem
            for flow, (reason, heard_ns) in end.closed.items():
                # Tor's own word on it is usually a moment behind, and says more.
                if time.monotonic_ns() - heard_ns > TORS_WORD_WITHIN_NS:
                    return f"the {flow} stream closed at the {end.host.name}: {reason}"
        return None

    def counters(self) -> dict[str, Any]:
        """Datagrams sent, received and dropped by each forwarder, by flow: at most a second old."""
        return {end.host.name: end.statistics for end in self.ends}


class TorPath:
    """RTP and SIP datagrams over Tor streams with RFC 4571 framing, a stream each for SIP, RTP, RTCP and the rest.

    Args:
        request: which circuit.
        network: whose relays and clients; the caller's host must have a client.
        keep_circuit: leave the circuit standing on closing, and use it again at the next opening.
    """

    name = "tor"

    def __init__(self, request: CircuitRequest, network: TorNetwork, *, keep_circuit: bool = False) -> None:
        self.request = request
        self.network = network
        self.keep_circuit = keep_circuit
        self._kept: int | None = None

    @asynccontextmanager
    async def open(self, caller: Host, callee: Host, ports: PhonePorts) -> AsyncIterator[OpenTorPath]:
        """Build the circuit, open the streams on it, and check that they are there.

        Raises `CallFailure`: `CIRCUIT_FAILED`, `STREAM_REFUSED` with the END reason, or `PATH_FAILED`; and
        `InputError` where no relay is as asked for.
        """
        begun = time.monotonic_ns()
        hops = choose(self.request, self.network.relays)
        client = self.network.client(caller.name)
        username = USER_PREFIX + secrets.token_hex(8)
        async with AsyncExitStack() as stack:
            control = await stack.enter_async_context(TorControl.connect(client.control))
            building = asyncio.ensure_future(self._circuit(control, hops))
            stack.push_async_callback(_abandon, building)
            pair = stack.enter_context(tun_pair(caller, callee))
            shared = {"token": secrets.token_hex(16), "flows": flows(ports)}
            callee_end = await stack.enter_async_context(
                PathEnd.running(
                    callee,
                    {
                        **shared,
                        "role": "callee",
                        "tun": pair.callee_descriptor,
                        "local": pair.callee_address,
                        "remote": pair.caller_address,
                        "listen": callee.address,
                    },
                )
            )
            caller_end = await stack.enter_async_context(
                PathEnd.running(
                    caller,
                    {
                        **shared,
                        "role": "caller",
                        "tun": pair.caller_descriptor,
                        "local": pair.caller_address,
                        "remote": pair.callee_address,
                        "target": callee_end.listening,
                        "socks": client.socks,
                        "username": username,
                    },
                )
            )
            circuit, was_kept = await building
            stack.push_async_callback(self._leave_circuit, control, circuit)
            watch = stack.enter_context(StreamWatch(control, circuit, username).following())
            streams_begun = time.monotonic_ns()
            async with watch.attaching():
                await _open_streams(caller_end, callee_end, watch, hops)
            on_circuit = await watch.verify()
            now = time.monotonic_ns()
            path = OpenTorPath(
                name=self.name,
                caller=End(caller, pair.caller_address, pair.interface),
                callee=End(callee, pair.callee_address, pair.interface),
                circuit_id=str(circuit.id),
                hops=tuple(_hop(relay) for relay in hops),
                control=control,
                circuit=circuit,
                watch=watch,
                ends=(caller_end, callee_end),
                details={
                    "path_setup_ms": (now - begun) / 1e6,
                    "circuit_build_ms": circuit.build_ms,
                    "circuit_kept": was_kept,
                    "streams_open_ms": (now - streams_begun) / 1e6,
                    "streams": {
                        label: {
                            "stream_id": stream.id,
                            "circuit_id": str(on_circuit[label]),
                            "source_port": stream.source_port,
                            **{key: caller_end.opened[label][key] for key in ("connect_ms", "greeting_ms")},
                        }
                        for label, stream in watch.by_label().items()
                    },
                    "interface": pair.interface,
                    "circuit_request": dict(vars(self.request)),
                },
            )
            try:
                yield path
            finally:
                path.details["forwarders"] = path.counters()

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


async def _open_streams(caller_end: PathEnd, callee_end: PathEnd, watch: StreamWatch, hops: Sequence[Relay]) -> None:
    """Have the caller's end open every stream; all must stand at both ends."""
    wanted = set(caller_end.flow_names)
    caller_end.command("open")
    try:
        await caller_end.until(
            lambda: wanted <= caller_end.opened.keys() or bool(caller_end.refused),
            STREAMS_TIMEOUT_S,
            "opening the streams at",
        )
    except CallFailure as failure:
        if failure.outcome is Outcome.PATH_FAILED and caller_end.problem is None:
            raise _refusal(caller_end, watch, hops, str(failure.happened)) from failure
        raise
    if caller_end.refused:
        raise _refusal(caller_end, watch, hops, "")
    await callee_end.until(lambda: wanted <= callee_end.opened.keys(), STREAMS_TIMEOUT_S, "taking the streams at")


def _refusal(end: PathEnd, watch: StreamWatch, hops: Sequence[Relay], otherwise: str) -> CallFailure:
    """Why the streams did not open, from tor's own events where it told."""
    flow, said = next(iter(end.refused.items()), ("", {"reason": otherwise}))
    stream = watch.by_label().get(flow)
    circuit_gone = watch.circuit.ended
    reason = circuit_gone or (stream.ended if stream else None) or next(iter(watch.refused), None) or said["reason"]
    return CallFailure(
        Outcome.CIRCUIT_FAILED if circuit_gone else Outcome.STREAM_REFUSED,
        f"opening the {flow or 'path'} stream over",
        on=" -> ".join(relay.nickname for relay in hops),
        happened=reason,
        remedy="choose another exit with --exit" if not circuit_gone else "try again, or choose other relays",
        evidence={
            "flow": flow,
            "reason": stream.reason if stream else "",
            "remote_reason": stream.remote_reason if stream else "",
            "circuit_id": watch.circuit.id,
            "hops": [relay.nickname for relay in hops],
            "socks": said,
        },
    )


async def _abandon(building: asyncio.Task[tuple[Circuit, bool]]) -> None:
    """Where opening failed for another reason first, the circuit's own failure is nobody's news."""
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)


def _hop(relay: Relay) -> Hop:
    return Hop(relay.nickname, relay.fingerprint, relay.address, relay.place, relay.country)

"""The circuit of a path: building or reusing it, checking our streams on it, TCP_NODELAY on its relays, closing it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host
from earwitness.path.base import REASON_WITHIN_S
from earwitness.path.circuit_cache import CircuitCache
from earwitness.path.facts import CircuitFacts, Hop, PathFacts, StreamFacts
from earwitness.tor.control import Circuit, TorControl
from earwitness.tor.description import TorNetwork
from earwitness.tor.nodelay import check_nodelay, nodelay_during
from earwitness.tor.relays import Relay
from earwitness.tor.select import CircuitRequest, choose_relays
from earwitness.tor.streams import USER_PREFIX, StreamWatch

CIRCUIT_TIMEOUT_S = 30.0
_OF_ITS_CIRCUIT = "DESTROY"
"""Stream end reason that only says that the circuit ended; the circuit's own reason says more (control-spec 4.1.2)."""


@dataclass(frozen=True)
class CircuitMonitor:
    """Follows tor's events on the end of a circuit and of our streams on it."""

    control: TorControl
    circuit: Circuit
    watch: StreamWatch
    what: str = "circuit"

    def ended(self) -> str | None:
        """What ended, with tor's reason; None while all of it stands."""
        if (reason := self.circuit.ended) is not None:
            return f"{self.what} {self.circuit.id} closed: {reason}"
        for stream in self.watch.streams.values():
            if (reason := stream.ended) is not None:
                return f"stream {stream.id} ({stream.label}) closed: {reason}"
        return self.control.lost

    async def wait_until_reported(self) -> None:
        """Return when tor has reported why something ended. There is no time limit: the caller sets one."""
        await self.control.until(self._is_whole)

    async def ended_within(self) -> str | None:
        """Like `ended`, after another source saw a failure: wait up to `REASON_WITHIN_S` for tor's reason."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REASON_WITHIN_S):
                await self.wait_until_reported()
        return self.ended()

    def _is_whole(self) -> bool:
        reasons = [stream.ended for stream in self.watch.streams.values() if stream.ended]
        return bool(self.circuit.ended or self.control.lost or any(one != _OF_ITS_CIRCUIT for one in reasons))


@dataclass
class OverCircuit:
    """A circuit that is being built or stands, and the streams that a path attaches to it."""

    control: TorControl
    relays: tuple[Relay, ...]
    """First hop first."""
    username: str
    """SOCKS user name that only this path's streams use."""
    socks: tuple[str, int]
    _building: asyncio.Task[tuple[Circuit, bool]]
    _streams: ExitStack
    _watch: StreamWatch | None = None
    _was_kept: bool = False

    async def built(self) -> StreamWatch:
        """Wait for the circuit; returns the monitor of our streams. Raises `CallFailure` (`CIRCUIT_FAILED`)."""
        if self._watch is None:
            circuit, self._was_kept = await self._building
            self._watch = self._streams.enter_context(StreamWatch(self.control, circuit, self.username).following())
        return self._watch

    @property
    def watch(self) -> StreamWatch:
        """Once it is built."""
        assert self._watch is not None
        return self._watch

    @property
    def circuit(self) -> Circuit:
        """Once it is built."""
        assert self.watch.circuit is not None
        return self.watch.circuit

    @property
    def circuit_facts(self) -> CircuitFacts:
        """The circuit for the record, once it is built."""
        return CircuitFacts(id=str(self.circuit.id), relays=tuple(map(Hop.of, self.relays)))

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        """Ways to break the circuit on purpose."""
        return {"close-circuit": lambda: self.control.spawn(self.control.close_circuit(self.circuit.id))}

    @property
    def monitor(self) -> CircuitMonitor:
        """The circuit as tor reports it; available once it is built."""
        return CircuitMonitor(self.control, self.circuit, self.watch)

    async def refusal(self, flow: str, said: str, evidence: dict[str, Any]) -> CallFailure:
        """Why a stream did not open: tor's own events if there are any, otherwise the reason of the SOCKS client."""
        stream = self.watch.by_label().get(flow)
        if stream is not None:
            await self.monitor.ended_within()
        circuit_gone = self.circuit.ended
        if stream is None and circuit_gone is None and not self.watch.refused:
            return CallFailure(
                Outcome.PATH_FAILED,
                f"opening the {flow} stream through the SOCKS port at",
                on=f"{self.socks[0]}:{self.socks[1]}",
                happened=said,
                remedy="check tor's SOCKS port: tor reported no such stream",
                evidence={"flow": flow, "circuit_id": self.circuit.id, **evidence},
            )
        reason = (stream.ended if stream else None) or next(iter(self.watch.refused), None) or said
        return CallFailure(
            Outcome.CIRCUIT_FAILED if circuit_gone else Outcome.STREAM_REFUSED,
            f"opening the {flow} stream over",
            on=" -> ".join(relay.nickname for relay in self.relays),
            happened=circuit_gone or reason,
            remedy="try again, or choose other relays" if circuit_gone else "choose another exit",
            evidence={
                "flow": flow,
                "reason": stream.reason if stream else "",
                "remote_reason": stream.remote_reason if stream else "",
                "circuit_id": self.circuit.id,
                "hops": [relay.nickname for relay in self.relays],
                **evidence,
            },
        )

    async def facts(self, took: Mapping[str, StreamFacts]) -> PathFacts:
        """Facts for the record, once the streams are open; `took`: what the forwarder measured of each, by flow.

        Raises `EarwitnessError` if a stream is, or was, on a circuit other than ours.
        """
        on_circuit = await self.watch.verify()
        return PathFacts(
            circuit_build_ms=self.circuit.build_ms,
            circuit_kept=self._was_kept,
            streams={
                label: replace(
                    took.get(label, StreamFacts()),
                    stream_id=stream.id,
                    circuit_id=str(on_circuit[label]),
                    source_port=stream.source_port,
                )
                for label, stream in self.watch.by_label().items()
            },
        )


class CircuitMaker:
    """Provides the circuit each time a path is opened.

    Args:
        request: which circuit.
        network: the Tor network; the caller's host must have a client in it.
        keep_circuit: keep the circuit open when the path closes, and use it again the next time, for as long as
            tor allows (ten minutes after its first stream, unless MaxCircuitDirtiness is set).
        kept: the cache of kept circuits; None: one that lives as long as this object.
        nodelay: in a private network, whether its relays and clients set TCP_NODELAY while the path is open
            (`earwitness.tor.nodelay`). It applies to the whole network, so open one such path at a time. None
            changes nothing.
    """

    def __init__(
        self,
        request: CircuitRequest,
        network: TorNetwork,
        *,
        keep_circuit: bool = False,
        kept: CircuitCache | None = None,
        nodelay: bool | None = None,
    ) -> None:
        check_nodelay(network, nodelay)
        self.request = request
        self.network = network
        self.keep_circuit = keep_circuit
        self.nodelay = nodelay
        self._kept = kept or CircuitCache()

    @asynccontextmanager
    async def making(self, caller: Host) -> AsyncIterator[OverCircuit]:
        """Start building the circuit at the caller's tor; on leaving it is closed unless it is kept.

        Raises `InputError` if no relay matches the request, `CallFailure` if there is no tor.
        """
        relays = choose_relays(self.request, self.network.relays)
        client = self.network.client(caller.name)
        async with AsyncExitStack() as stack:
            control = await stack.enter_async_context(TorControl.connect(client.control))
            standing = await self._standing(control, caller) if self.keep_circuit else None
            if standing is not None:
                relays = tuple(self.network.relay(fingerprint) for fingerprint in standing.fingerprints)
            building = asyncio.ensure_future(self._circuit(control, caller, relays, standing))
            stack.push_async_callback(self._leave, control, building)
            streams = stack.enter_context(ExitStack())
            username = USER_PREFIX + secrets.token_hex(8)
            yield OverCircuit(control, relays, username, client.socks, building, streams)

    @asynccontextmanager
    async def settled(self, over: OverCircuit, took: Mapping[str, StreamFacts]) -> AsyncIterator[PathFacts]:
        """Check the open streams, set TCP_NODELAY as requested until leaving; yields the facts for the record."""
        begun = time.monotonic_ns()
        facts = await over.facts(took)
        # Only now does every connection that the call will use exist.
        with nodelay_during(self.network, self.nodelay):
            yield replace(
                facts,
                verify_ms=(time.monotonic_ns() - begun) / 1e6,
                relay_nodelay=self.network.relay_nodelay if self.nodelay is None else self.nodelay,
                circuit_request=self.request,
            )

    async def _standing(self, control: TorControl, caller: Host) -> Circuit | None:
        """The kept circuit, if tor still has it."""
        kept = self._kept.recall(caller.name, self.request)
        return None if kept is None else await control.standing_circuit(kept.id, kept.fingerprints)

    async def _circuit(
        self, control: TorControl, caller: Host, relays: Sequence[Relay], standing: Circuit | None
    ) -> tuple[Circuit, bool]:
        """The circuit through these relays, and whether it was kept from an earlier call."""
        if standing is not None:
            return standing, True
        fingerprints = [relay.fingerprint for relay in relays]
        circuit = await control.build_circuit(fingerprints, timeout_s=CIRCUIT_TIMEOUT_S)
        if self.keep_circuit:
            self._kept.remember(caller.name, self.request, circuit)
        return circuit, False

    async def _leave(self, control: TorControl, building: asyncio.Task[tuple[Circuit, bool]]) -> None:
        """Ignore the circuit's failure if opening the path has already failed for another reason."""
        building.cancel()
        (made,) = await asyncio.gather(building, return_exceptions=True)
        if not isinstance(made, BaseException) and not self.keep_circuit and made[0].ended is None:
            await control.close_circuit(made[0].id)

"""Both ends of a path over streams: two devices, two forwarders, and the streams between them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from earwitness.errors import CallFailure
from earwitness.netns.host import Host
from earwitness.path.base import CalleeEndpoint, OpenPath, PathEndpoint, PhonePorts
from earwitness.path.callee_host import CalleeHost
from earwitness.path.facts import ForwarderCounts, PathFacts, StreamFacts
from earwitness.path.forwarder import OTHER, ForwarderConfig
from earwitness.path.forwarder_process import ForwarderProcess, flow_ports, start_forwarder
from earwitness.path.probe import ANSWER_TIMEOUT_S, INTERVAL_S, LIMIT_S, RoundTrips, Throughput
from earwitness.path.tun import TunPair, device_pair
from earwitness.tor.gather_or_cancel import gather_or_cancel

STREAMS_TIMEOUT_S = 30.0
_LOCALHOST = "127.0.0.1"
_PATIENCE_S = 10.0
"""Allowed in addition to the duration of a probe."""


class StreamsRefused(Exception):
    """A stream did not open: its flow, and what its forwarder reported (`reason`, `socks_reply`)."""

    def __init__(self, flow: str, said: dict[str, Any]) -> None:
        self.flow = flow
        self.said = said
        super().__init__(f"{flow}: {said['reason']}")


@dataclass
class TunnelEnds:
    """Two running forwarders, ready for their streams."""

    caller: ForwarderProcess
    callee: ForwarderProcess
    pair: TunPair
    callee_host: CalleeHost

    @property
    def phones(self) -> tuple[PathEndpoint, CalleeEndpoint]:
        """The path's ends as the phones see them: the caller's, then the callee's."""
        return (
            PathEndpoint(self.caller.host, self.pair.caller_address, self.pair.interface),
            CalleeEndpoint(self.callee_host, self.pair.callee_address, self.pair.interface),
        )

    @property
    def listener(self) -> tuple[str, int]:
        """Address and port where the callee's end accepts streams."""
        assert self.callee.listening is not None
        return self.callee.listening

    async def open_streams(
        self, target: tuple[str, int], *, timeout_s: float = STREAMS_TIMEOUT_S
    ) -> dict[str, StreamFacts]:
        """Have the caller's end open the streams of all flows to `target`; all must be open at both ends.

        Returns the times of each, by flow: `connect_ms`, `greeting_ms` (a round trip through the open stream).
        Raises `StreamsRefused`, or `CallFailure` (`PATH_FAILED`) if a forwarder ended.
        """
        wanted = set(self.caller.flow_names)
        self.caller.command("open", target=list(target))
        try:
            await self.caller.until(
                lambda: wanted <= self.caller.opened.keys() or bool(self.caller.refused),
                timeout_s,
                "opening the streams at",
            )
        except CallFailure:
            if self.caller.problem is not None:
                raise
            late = sorted(wanted - self.caller.opened.keys())
            raise StreamsRefused(late[0], {"reason": f"not open after {timeout_s:g} s"}) from None
        for flow, said in self.caller.refused.items():
            raise StreamsRefused(flow, said)
        await self.callee.until(lambda: wanted <= self.callee.opened.keys(), timeout_s, "accepting the streams at")
        return dict(self.caller.opened)

    @property
    def processes(self) -> dict[str, int]:
        """As `OpenPath.processes`."""
        return {f"forwarder on {end.host.name}": end.pid for end in (self.caller, self.callee) if end.pid}

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        """Ways to break it on purpose."""
        return {"kill-tunnel": self.callee.kill}

    @property
    def problem(self) -> str | None:
        """Why a forwarder no longer works, or None."""
        return self.caller.problem or self.callee.problem

    @property
    def lost_stream(self) -> str | None:
        """Which stream closed and why, as seen by a forwarder; None while all are open."""
        return self.caller.lost_stream or self.callee.lost_stream

    async def round_trips(self, count: int) -> RoundTrips:
        """Probe from the caller's end to the callee's and back. Raises `CallFailure` if a forwarder ended."""
        caller = self.caller
        caller.forget_measured()
        caller.command("ping", count=count)
        timeout_s = count * INTERVAL_S + ANSWER_TIMEOUT_S + _PATIENCE_S
        await caller.until(lambda: caller.round_trips is not None, timeout_s, "probing the path from")
        assert caller.round_trips is not None
        return caller.round_trips

    async def throughput(self, direction: str) -> Throughput:
        """Fill the stream `other` in one direction. Raises `CallFailure` if nothing arrives or a forwarder ended."""
        sender, receiver = (self.caller, self.callee) if direction == "to_callee" else (self.callee, self.caller)
        receiver.forget_measured()
        sender.command("fill")
        timeout_s = LIMIT_S + _PATIENCE_S
        await receiver.until(lambda: receiver.carried is not None, timeout_s, "measuring what arrives at")
        assert receiver.carried is not None
        return receiver.carried

    def counters(self) -> dict[str, ForwarderCounts]:
        """Each forwarder's counters, at most a second old: {"caller": ..., "callee": ...}."""
        return {"caller": self.caller.statistics, "callee": self.callee.statistics}


@dataclass
class OpenStreamsPath(OpenPath):
    """An open path over the streams of two forwarders."""

    ends: TunnelEnds | None = field(default=None, repr=False)

    def final_facts(self) -> PathFacts:
        """The facts with the forwarders' counters, which are final once the forwarders have ended."""
        return replace(self.facts, forwarders=self.ends.counters()) if self.ends else self.facts

    def failure(self) -> str | None:
        """Why a forwarder or a stream ended, or None. Forwarders first: one that ends closes its streams."""
        return (self.ends.problem or self.ends.lost_stream) if self.ends else None

    async def round_trips(self, count: int) -> RoundTrips | None:
        """Measured through one of its streams, from forwarder to forwarder."""
        return await self.ends.round_trips(count) if self.ends else None

    async def throughput(self, direction: str) -> Throughput | None:
        """Measured for one of its streams, from forwarder to forwarder."""
        return await self.ends.throughput(direction) if self.ends else None


@asynccontextmanager
async def tunnel_ends(
    caller: Host,
    callee: CalleeHost,
    ports: PhonePorts,
    *,
    listen: str | None,
    socks: Sequence[Any] = (),
    username: str = "",
    one_circuit: bool = False,
    one_stream: bool = False,
) -> AsyncIterator[TunnelEnds]:
    """Start both forwarders at once. `listen` is the address where the callee's end accepts streams (None: loopback),
    `socks` the caller's proxy.

    `one_stream`: send all datagrams over the stream `other`, instead of one each for SIP, RTP, RTCP and the rest.
    `one_circuit`: let the proxy put all streams on one circuit of its choice. Raises `CallFailure` (`PATH_FAILED`).
    """
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(device_pair(caller, callee))
        token = secrets.token_hex(16)
        flows: dict[str, list[int] | None] = {OTHER: None} if one_stream else flow_ports(ports)
        callee_config = ForwarderConfig(
            role="callee",
            tun=pair.callee_descriptor,
            local=pair.callee_address,
            remote=pair.caller_address,
            token=token,
            flows=flows,
            listen=listen or _LOCALHOST,
            alone=listen is None,
        )
        caller_config = ForwarderConfig(
            role="caller",
            tun=pair.caller_descriptor,
            local=pair.caller_address,
            remote=pair.callee_address,
            token=token,
            flows=flows,
            socks=list(socks),
            username=username,
            one_circuit=one_circuit,
        )
        running = ForwarderProcess.running
        callee_end, caller_end = await gather_or_cancel(
            stack.enter_async_context(running(callee, callee.start_forwarder, callee_config)),
            stack.enter_async_context(running(caller, partial(start_forwarder, caller), caller_config)),
        )
        yield TunnelEnds(caller_end, callee_end, pair, callee)

"""What a path is: how datagrams travel between two hosts, and what it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from earwitness.netns.host import Host
from earwitness.path.callee_host import CalleeHost
from earwitness.path.facts import CircuitFacts, PathFacts
from earwitness.path.probe import RoundTrips, Throughput
from earwitness.path.probe_sockets import echoes, make_transfer

WORD_WITHIN_S = 1.5
"""Of a relay that dies, the ends of a path see the streams close within a round trip; tor's event, which says why,
comes with them or a moment later (0.27 s at most in six runs at load 3 to 8; once half a second was not enough)."""


@dataclass(frozen=True)
class PhonePorts:
    """The UDP ports that the phones at both ends use (4000 and 4001 as in the published study)."""

    sip: int = 5060
    rtp: int = 4000
    rtcp: int = 4001

    @property
    def all(self) -> tuple[int, ...]:
        """All of them."""
        return (self.sip, self.rtp, self.rtcp)


@dataclass(frozen=True)
class PathEndpoint:
    """One end of an open path, as the phone there sees it.

    The phone binds to `address` and dials the other end's `address`; every UDP datagram between the two
    travels the path. Captures listen on `interface`.
    """

    host: Host
    address: str
    interface: str


@dataclass(frozen=True)
class CalleeEndpoint(PathEndpoint):
    """The callee's end, which a path's probes are answered from."""

    host: CalleeHost


@dataclass
class OpenPath:
    """A path that carries datagrams now."""

    name: str
    caller: PathEndpoint
    callee: CalleeEndpoint
    circuit: CircuitFacts = field(default_factory=CircuitFacts)
    facts: PathFacts = field(default_factory=PathFacts)
    """What a reader of the record should know: options, stream ids, set-up times."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files to keep with the call, by name, such as the configuration of a tunnel; no secret is in them."""
    notes: tuple[str, ...] = ()
    """What a reader of the record should know in words."""

    processes: Mapping[str, int] = field(default_factory=dict)
    """Process ids, by name, of the path's own ends on this machine that datagrams pass through."""
    faults: Mapping[str, Callable[[], None]] = field(default_factory=dict, repr=False)
    """Ways to break it on purpose, by the name of the injection (`kill-tunnel`, `close-circuit`)."""
    _heard_out: bool = field(default=False, init=False, repr=False)

    def final_facts(self) -> PathFacts:
        """The facts, with what the path counted so far; after it is closed, with all that it counted."""
        return self.facts

    def failure(self) -> str | None:
        """Why the path no longer carries datagrams, as far as is known now, or None while it does."""
        return None

    async def cause(self) -> str | None:
        """As `failure`; who knows more of one is heard first, for `WORD_WITHIN_S` at most and once a path."""
        if self.failure() is not None and not self._heard_out:
            self._heard_out = True
            with suppress(TimeoutError):
                async with asyncio.timeout(WORD_WITHIN_S):
                    await self._told_more()
        return self.failure()

    async def _told_more(self) -> None:
        """Return when nobody is left who would know more of the failure than is known now."""

    async def round_trips(self, count: int) -> RoundTrips | None:
        """Round trips of `count` small datagrams over the path; None where this path has no way.

        Raises `OSError` or `CallFailure`. To be called while no phone speaks.
        """
        async with self.callee.host.echoing(self.callee.interface, self.callee.address) as target:
            return await echoes(self.caller.host, self.caller.address, target, count)

    async def throughput(self, direction: str) -> Throughput | None:
        """What it carries in a direction (`to_callee`, `to_caller`), bounded; None where this path has no way.

        Raises `OSError` or `CallFailure`. To be called while no phone runs.
        """
        sends = direction == "to_callee"
        end = self.callee
        async with end.host.taking_a_transfer(end.interface, end.address, sends=not sends) as (target, theirs):
            ours = await make_transfer(self.caller.host, self.caller.address, target, sends=sends)
            return await theirs() if sends else ours


class Path(Protocol):
    """A way for datagrams between two hosts. Opening raises `CallFailure` with the outcome and evidence."""

    name: str

    def open(self, caller: Host, callee: CalleeHost, ports: PhonePorts) -> AbstractAsyncContextManager[OpenPath]:
        """Open the path, and close all of it on leaving."""
        ...

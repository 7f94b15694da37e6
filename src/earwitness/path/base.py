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

REASON_WITHIN_S = 1.5
"""How long to wait for tor's reason after a failure. When a relay dies, the ends of a path see their streams close
within a round trip; tor's event with the reason arrives at the same time or a little later (at most 0.27 s in six runs
at load 3 to 8; half a second was once too short)."""


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
    """The callee's end, which answers the path's probes."""

    host: CalleeHost


@dataclass
class OpenPath:
    """A path that is open and carries datagrams."""

    name: str
    caller: PathEndpoint
    callee: CalleeEndpoint
    circuit: CircuitFacts = field(default_factory=CircuitFacts)
    facts: PathFacts = field(default_factory=PathFacts)
    """Facts for the record: options, stream ids, set-up times."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files to store with the call, by name, such as a tunnel's configuration; they contain no secrets."""
    notes: tuple[str, ...] = ()
    """Notes for the record."""

    processes: Mapping[str, int] = field(default_factory=dict)
    """Ids, by name, of the path's processes on this machine that carry its datagrams."""
    faults: Mapping[str, Callable[[], None]] = field(default_factory=dict, repr=False)
    """Ways to break the path on purpose, by the name of the injected fault (`kill-tunnel`, `close-circuit`)."""
    _waited_for_cause: bool = field(default=False, init=False, repr=False)

    def final_facts(self) -> PathFacts:
        """The facts with the path's counters so far; complete once the path is closed."""
        return self.facts

    def failure(self) -> str | None:
        """Why the path no longer carries datagrams, as known so far; None while it works."""
        return None

    async def cause(self) -> str | None:
        """Like `failure`, but first wait up to `REASON_WITHIN_S`, once per path, for a source that knows the cause."""
        if self.failure() is not None and not self._waited_for_cause:
            self._waited_for_cause = True
            with suppress(TimeoutError):
                async with asyncio.timeout(REASON_WITHIN_S):
                    await self._wait_for_cause()
        return self.failure()

    async def _wait_for_cause(self) -> None:
        """Return when no source can add anything to what is known about the failure."""

    async def round_trips(self, count: int) -> RoundTrips | None:
        """Measure round trips of `count` small datagrams over the path; None if the path does not support it.

        Raises `OSError` or `CallFailure`. Call it while no phone is sending media.
        """
        async with self.callee.host.echoing(self.callee.interface, self.callee.address) as target:
            return await echoes(self.caller.host, self.caller.address, target, count)

    async def throughput(self, direction: str) -> Throughput | None:
        """Measure throughput in a direction (`to_callee`, `to_caller`); None if the path does not support it.

        The transfer is bounded. Raises `OSError` or `CallFailure`. Call it while no phone is running.
        """
        sends = direction == "to_callee"
        end = self.callee
        async with end.host.taking_a_transfer(end.interface, end.address, sends=not sends) as (target, theirs):
            ours = await make_transfer(self.caller.host, self.caller.address, target, sends=sends)
            return await theirs() if sends else ours


class Path(Protocol):
    """A path for datagrams between two hosts. Opening raises `CallFailure` with the outcome and evidence."""

    name: str

    def open(self, caller: Host, callee: CalleeHost, ports: PhonePorts) -> AbstractAsyncContextManager[OpenPath]:
        """Open the path; close it on leaving."""
        ...

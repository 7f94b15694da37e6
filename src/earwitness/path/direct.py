"""`direct`: plain UDP between the hosts' own addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from earwitness.netns.host import Host
from earwitness.path.base import CalleeEndpoint, OpenPath, PathEndpoint, PhonePorts
from earwitness.path.callee_host import CalleeHost
from earwitness.path.facts import PathFacts


class DirectPath:
    """Nothing to open: the phones use the hosts' addresses and interfaces."""

    name = "direct"

    @asynccontextmanager
    async def open(self, caller: Host, callee: CalleeHost, ports: PhonePorts) -> AsyncIterator[OpenPath]:
        """The two hosts as they are."""
        yield OpenPath(
            name=self.name,
            caller=PathEndpoint(caller, caller.address, caller.interface),
            callee=CalleeEndpoint(callee, callee.address, callee.interface),
            facts=PathFacts(path_setup_ms=0.0),
        )

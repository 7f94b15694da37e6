"""`direct`: plain UDP between the hosts' own addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from earwitness.netns.host import Host
from earwitness.path.base import End, OpenPath, PhonePorts


class DirectPath:
    """Nothing to open: the phones use the hosts' addresses and interfaces."""

    name = "direct"

    @asynccontextmanager
    async def open(self, caller: Host, callee: Host, ports: PhonePorts) -> AsyncIterator[OpenPath]:
        """The two hosts as they are."""
        yield OpenPath(
            name=self.name,
            caller=End(caller, caller.address, caller.interface),
            callee=End(callee, callee.address, callee.interface),
            details={"path_setup_ms": 0.0},
        )

"""A host on another machine: its end of a path is opened there, by the Earwitness that answers there."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from earwitness.capture.child import Child
from earwitness.lab.host import Host


@runtime_checkable
class FarHost(Host, Protocol):
    """A host whose processes and devices are out of our hands, but for these."""

    def tunnel_device(self, number: int) -> AbstractAsyncContextManager[bool]:
        """Have the callee's device of that number (`earwitness.path.tun`); False where it is taken there."""
        ...

    async def start_forwarder(self, config: Mapping[str, Any]) -> Child:
        """Start the callee's forwarder on the device made before. The configuration is still to be sent to it."""
        ...

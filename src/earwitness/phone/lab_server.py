"""The SIP server of one call: Kamailio with accounts for this call, and rtpengine if it relays media."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from earwitness.netns.host import Host
from earwitness.phone import kamailio, rtpengine

ENDS = ("caller", "callee")


@dataclass(frozen=True)
class LabServer:
    """Its address, and the password of each end's user; users are named after their ends."""

    address: str
    port: int
    domain: str
    passwords: Mapping[str, str] = field(repr=False)


@asynccontextmanager
async def lab_server(host: Host, state: Path, *, address: str, relay: bool) -> AsyncIterator[LabServer]:
    """Run it at the host's `address` until leaving, with its files under `state`; with `relay` it relays media too.

    Raises `CallFailure` (`TOOL_MISSING`, `PORT_TAKEN`, `LAB_FAILED`).
    """
    passwords = {end: secrets.token_urlsafe(12) for end in ENDS}
    async with AsyncExitStack() as stack:
        media = None
        if relay:
            media = await stack.enter_async_context(
                rtpengine.start_rtpengine(host, state / "rtpengine", address=address)
            )
        starting = kamailio.start_kamailio(host, state / "kamailio", passwords, address=address, relay=media)
        server = await stack.enter_async_context(starting)
        yield LabServer(server.address, server.port, server.domain, passwords)

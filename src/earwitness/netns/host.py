"""A host: a place with its own network namespace where a phone, a tor or a tunnel end can run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

SocketAddress = tuple[str, int]
"""IPv4 address and port."""


class Host(Protocol):
    """One network host. In the lab: a namespace with one TUN device into the emulated wide-area network."""

    @property
    def name(self) -> str:
        """Unique in its lab: `caller`, `callee`, `relay3`."""
        ...

    @property
    def place(self) -> str:
        """City, as in the place table."""
        ...

    @property
    def address(self) -> str:
        """IPv4 address on the network."""
        ...

    @property
    def interface(self) -> str:
        """The network device with `address`; captures of the direct path use it."""
        ...

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process in this host's network namespace. It dies with the calling process."""
        ...

    def inside(self) -> AbstractContextManager[None]:
        """Put the calling *thread* into the host's network namespace, to open sockets or TUN devices there."""
        ...

"""A sandbox used without a lab: our devices and phones inside it, while sockets to other machines are made outside.

So a user who may make no devices on the machine has them in a network of his own.
"""

from __future__ import annotations

import socket
from pathlib import Path

from earwitness.netns import egress_service
from earwitness.netns.sandbox import HOME_NETNS, STATE_DIR, in_sandbox


def in_isolated_network() -> bool:
    """Whether this process is in a sandbox's own first network, which leads nowhere (hosts of a lab have others)."""
    if not in_sandbox():
        return False
    return HOME_NETNS.stat().st_ino == Path("/proc/self/ns/net").stat().st_ino


def network_socket() -> socket.socket:
    """A TCP socket of the network that leads to other machines, from wherever we are."""
    return (
        egress_service.open_socket(STATE_DIR)
        if in_isolated_network()
        else socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    )

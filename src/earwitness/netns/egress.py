"""Access to the original network from a sandbox without a lab: devices and phones are inside, external sockets outside.

This lets a user without the right to create devices on the machine create them in a private network.
"""

from __future__ import annotations

import socket
from pathlib import Path

from earwitness.netns import egress_service
from earwitness.netns.sandbox import HOME_NETNS, STATE_DIR, in_sandbox


def in_isolated_network() -> bool:
    """Whether this process is in a sandbox's home network, which leads nowhere (hosts of a lab have their own)."""
    if not in_sandbox():
        return False
    return HOME_NETNS.stat().st_ino == Path("/proc/self/ns/net").stat().st_ino


def network_socket() -> socket.socket:
    """A TCP socket in the network that leads to other machines, from inside or outside a sandbox."""
    return (
        egress_service.open_socket(STATE_DIR)
        if in_isolated_network()
        else socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    )

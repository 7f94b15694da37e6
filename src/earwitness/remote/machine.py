"""This machine as a host of a call: its own network, or, without root, a sandbox over the machine's network."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.errors import EarwitnessError
from earwitness.netns.owned import start_owned

_SIOCGIFADDR = 0x8915


@dataclass
class Machine:
    """An `earwitness.netns.host.Host` that is the machine we run on."""

    name: str
    place: str
    address: str
    """IPv4 address by which the other machine is reached, and reaches this one."""
    interface: str
    """The device that carries it; empty inside a sandbox, from where it cannot be captured on."""

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process; it is killed when this one ends. `EarwitnessError` where it does not start."""
        try:
            return start_owned(argv, **options)
        except OSError as error:
            remedy = "run `earwitness doctor` to see what is missing"
            raise EarwitnessError("starting", argv[0], error, remedy) from error

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """We are there."""
        yield


def may_make_devices() -> bool:
    """Whether this process has CAP_NET_ADMIN and CAP_NET_RAW where it is (as root has, outside containers)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return bool(held >> 12 & 1 and held >> 13 & 1)
    return False


def interface_of(address: str) -> str:
    """The device that carries an IPv4 address, empty where none of this network does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _, name in socket.if_nameindex():
            request = struct.pack("16s24x", os.fsencode(name))
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(control, _SIOCGIFADDR, request)
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""

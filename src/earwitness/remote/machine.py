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
    """This machine as an `earwitness.netns.host.Host`."""

    name: str
    place: str
    address: str
    """This machine's IPv4 address towards the remote machine."""
    interface: str
    """The device that has it; empty inside a sandbox, where it cannot be captured."""

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process; it is killed when this one ends. Raises `EarwitnessError` if it does not start."""
        try:
            return start_owned(argv, **options)
        except OSError as error:
            remedy = "run `earwitness doctor` to see what is missing"
            raise EarwitnessError("starting", argv[0], error, remedy) from error

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Do nothing: we already run here."""
        yield


def may_make_devices() -> bool:
    """Whether this process has CAP_NET_ADMIN and CAP_NET_RAW in its namespace (as root does outside containers)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return bool(held >> 12 & 1 and held >> 13 & 1)
    return False


def interface_of(address: str) -> str:
    """Return the device that has an IPv4 address; empty if none in this network does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _, name in socket.if_nameindex():
            request = struct.pack("16s24x", os.fsencode(name))
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(control, _SIOCGIFADDR, request)
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""

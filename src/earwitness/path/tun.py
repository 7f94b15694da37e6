"""A pair of TUN devices for a path, one at each end, both with the same free number."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from earwitness.errors import CallFailure, Outcome
from earwitness.netns import tun
from earwitness.netns.host import Host
from earwitness.netns.routes import network_in_use
from earwitness.path.callee_host import CalleeHost

NETMASK = "255.255.255.0"
MTU = 65_535
"""The largest possible MTU, so that the kernel never fragments a datagram; the stream underneath needs no packets."""
QUEUE_PACKETS = 500
NUMBERS = range(1, 255)
ALL_TAKEN = "all device numbers are in use, by calls or by networks that this machine has routes to"
FAR_DESCRIPTOR = -1
"""Stands for the callee's descriptor if the callee is another machine."""


def callee_address(number: int) -> str:
    """The address that the callee's phone binds to, on device `number`."""
    return f"10.99.{number}.1"


def caller_address(number: int) -> str:
    """The address that the caller's phone binds to, on device `number`."""
    return f"10.99.{number}.2"


@dataclass(frozen=True)
class TunPair:
    """Devices of one name at both ends: 10.99.n.2 at the caller, 10.99.n.1 at the callee."""

    number: int
    caller_descriptor: int
    callee_descriptor: int

    @property
    def interface(self) -> str:
        """Their name, at both ends."""
        return f"ew{self.number}"

    @property
    def caller_address(self) -> str:
        """The address that the caller's phone binds to."""
        return caller_address(self.number)

    @property
    def callee_address(self) -> str:
        """The address that the callee's phone binds to."""
        return callee_address(self.number)


@asynccontextmanager
async def device_pair(caller: Host, callee: CalleeHost) -> AsyncIterator[TunPair]:
    """Create the pair; it is removed on leaving, once all copies of the descriptors are closed.

    Several paths may be open at once on the same hosts. A number is skipped if its device or network already exists at
    either end.

    Raises `CallFailure` (`PATH_FAILED`) if the kernel permits no device, or all 254 numbers are in use.
    """
    for number in NUMBERS:
        mine = _open(caller, number)
        if mine is None:
            continue
        try:
            async with callee.tunnel_device(number) as theirs:
                if theirs is not None:
                    pair = TunPair(number, mine, theirs)
                    _configure(caller, pair.interface, pair.caller_address)
                    yield pair
                    return
        finally:
            os.close(mine)
    raise _failure(caller, ALL_TAKEN)


@contextmanager
def callee_device(host: Host, number: int) -> Iterator[int | None]:
    """The callee's half of a pair, on the callee's machine: its descriptor, or None if the number is in use."""
    pair = TunPair(number, FAR_DESCRIPTOR, FAR_DESCRIPTOR)
    mine = _open(host, number)
    try:
        if mine is not None:
            _configure(host, pair.interface, pair.callee_address)
        yield mine
    finally:
        if mine is not None:
            os.close(mine)


def _configure(host: Host, interface: str, address: str) -> None:
    with host.inside():
        tun.configure(interface, address, NETMASK, mtu=MTU, queue_packets=QUEUE_PACKETS)


def is_taken(name: str, address: str) -> bool:
    """Whether the calling thread's network already has a device of that name, or a route to the address's network.

    A device with the address would then hide the hosts there (a LAN, another tunnel).
    """
    return name in {device for _, device in socket.if_nameindex()} or network_in_use(f"{address}/{NETMASK}")


def _open(host: Host, number: int) -> int | None:
    """The descriptor of the host's device with that number, or None if its name or network is in use."""
    name = f"ew{number}"
    try:
        with host.inside():
            return None if is_taken(name, callee_address(number)) else tun.open_tun(name)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return None
        raise _failure(host, str(error)) from error


def _failure(host: Host, happened: str) -> CallFailure:
    return CallFailure(
        Outcome.PATH_FAILED,
        "making a TUN device on",
        on=host.name,
        happened=happened,
        remedy="run as root or in the lab's sandbox, with /dev/net/tun available; see `earwitness doctor`",
        evidence={"host": host.name},
    )

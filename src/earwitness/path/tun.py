"""A pair of TUN devices for a path, one at each end, of the same number, taken from whatever is free."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from earwitness.errors import CallFailure, Outcome
from earwitness.lab import tun
from earwitness.lab.host import Host

NETMASK = "255.255.255.0"
MTU = 65_535
"""The largest there is, so that the kernel never cuts a datagram in pieces: the stream underneath has no packets."""
QUEUE_PACKETS = 500


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
        return f"10.99.{self.number}.2"

    @property
    def callee_address(self) -> str:
        """The address that the callee's phone binds to."""
        return f"10.99.{self.number}.1"


@contextmanager
def tun_pair(caller: Host, callee: Host) -> Iterator[TunPair]:
    """Make the pair; several paths may be open at once on the same hosts. Gone on leaving (with all copies closed).

    Raises `CallFailure` (`PATH_FAILED`) when the kernel permits no device, or all 254 are taken.
    """
    for number in range(1, 255):
        mine = _open(caller, f"ew{number}")
        if mine is None:
            continue
        theirs = None
        try:
            theirs = _open(callee, f"ew{number}")
            if theirs is None:
                continue
            pair = TunPair(number, mine, theirs)
            for host, address in ((caller, pair.caller_address), (callee, pair.callee_address)):
                with host.inside():
                    tun.configure(pair.interface, address, NETMASK, mtu=MTU, queue_packets=QUEUE_PACKETS)
            yield pair
            return
        finally:
            os.close(mine)
            if theirs is not None:
                os.close(theirs)
    raise _failure(caller, "all 254 are in use")


def _open(host: Host, name: str) -> int | None:
    """The device's descriptor, or None where the name is taken."""
    try:
        with host.inside():
            return tun.open_tun(name)
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
        remedy="run as root or in the lab's sandbox, with /dev/net/tun there; see `earwitness doctor`",
        evidence={"host": host.name},
    )

"""Reserves numbers of OpenVPN tunnels and TCP ports that are free at a host."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host
from earwitness.path.tun import ALL_TAKEN, is_taken
from earwitness.path.vpn_config import device_name, vpn_callee_address

_numbers_in_use: set[int] = set()


@contextmanager
def tunnel_number(host: Host, but: Collection[int] = ()) -> Iterator[int]:
    """Reserve a number whose device and network are free at the host until leaving; none of `but`.

    Raises `CallFailure` (`PATH_FAILED`) if all are in use.
    """
    for number in range(255):
        if number not in _numbers_in_use and number not in but and not is_taken_at(host, number):
            _numbers_in_use.add(number)
            try:
                yield number
            finally:
                _numbers_in_use.discard(number)
            return
    raise CallFailure(
        Outcome.PATH_FAILED,
        "opening an OpenVPN tunnel at the",
        on=host.name,
        happened=ALL_TAKEN,
        remedy="end other calls",
    )


def is_taken_at(host: Host, number: int) -> bool:
    """Like `tunnel_is_taken`, in the host's network."""
    with host.inside():
        return tunnel_is_taken(number)


def tunnel_is_taken(number: int) -> bool:
    """Whether the calling thread's network already has the tunnel's device, or a route to its network."""
    return is_taken(device_name(number), vpn_callee_address(number))


def free_port(host: Host, address: str, wanted: int = 0) -> int:
    """A TCP port that is free at the host's address now: the wanted one, 0 for any.

    Raises `CallFailure` (`PORT_TAKEN`) if it is in use.
    """
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as OpenVPN: TIME_WAIT does not block it
        try:
            sock.bind((address, wanted))
            sock.listen(1)
        except OSError as error:
            raise CallFailure(
                Outcome.PORT_TAKEN,
                "accepting a tunnel's TCP connection at",
                on=f"{address}:{wanted} of {host.name}",
                happened=error.strerror,
                remedy="choose another media port",
            ) from error
        return int(sock.getsockname()[1])

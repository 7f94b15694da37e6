"""Sets TCP_NODELAY on the connections of a running tor, without rebuilding or restarting it.

Tor leaves Nagle's algorithm on (RFC 896): a relay holds a cell while the previous one is unacknowledged, which at
voice rates costs one round trip per link. To measure the effect, its sockets are duplicated (pidfd_getfd(2), Linux
5.6) and the option is set from outside, unnoticed by tor. It can be cleared again, so that calls with and without it
can alternate on one network.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from earwitness.errors import EarwitnessError, InputError
from earwitness.tor.description import TorNetwork

_SYS_PIDFD_GETFD = 438
EVERY_S = 0.2
"""Interval of scans for new connections; a call's streams open half a second before its media."""


def set_nodelay(pid: int, on: bool) -> int:
    """Set or clear TCP_NODELAY on every TCP connection of a process; returns the number changed.

    Raises `EarwitnessError` if the process has ended or its sockets cannot be duplicated.
    """
    changed = 0
    try:
        process = os.pidfd_open(pid)
        try:
            for descriptor in _sockets(pid):
                changed += _set_on(process, descriptor, on)
        finally:
            os.close(process)
    except OSError as error:
        raise EarwitnessError(
            "setting TCP_NODELAY on the sockets of process",
            pid,
            error,
            "run as root or in the lab's sandbox (Linux 5.6 or later), and see that this tor runs",
        ) from error
    return changed


async def keep_nodelay(pids: Iterable[int], every_s: float = EVERY_S) -> None:
    """Set it on present and new connections of these processes until cancelled; processes that end are dropped."""
    living = set(pids)
    while living:
        for pid in list(living):
            try:
                set_nodelay(pid, True)
            except EarwitnessError:
                if Path(f"/proc/{pid}").exists():
                    raise
                living.discard(pid)
        await asyncio.sleep(every_s)


def check_nodelay(network: TorNetwork, on: bool | None) -> None:
    """Raise `InputError` if the option cannot be set this way for one call; None is always possible."""
    if on is False and network.relay_nodelay:
        remedy = "start a lab that leaves it to each call"
        raise InputError(
            "clearing TCP_NODELAY in the network", network.name, "it keeps it set", remedy, field="relay_nodelay"
        )
    if on is not None and not network.pids:
        remedy = "leave out {relay_nodelay}, or use the lab's network"
        raise InputError(
            "setting TCP_NODELAY on the relays of", network.name, "they are not ours", remedy, field="relay_nodelay"
        )


@contextmanager
def nodelay_during(network: TorNetwork, on: bool | None, others: Mapping[str, int] | None = None) -> Iterator[None]:
    """Set or clear it on all present connections of a network's relays and clients, and restore it on exit.

    `others`: further tors of the call (process ids by name). None: change nothing.
    """
    if on is None:
        yield
        return
    pids = {**network.pids, **(others or {})}
    _set_on_all(pids.values(), on)
    try:
        yield
    finally:
        _set_on_all(pids.values(), network.relay_nodelay)


def _set_on_all(pids: Iterable[int], on: bool) -> None:
    for pid in pids:
        # A relay killed by a test does not matter here; if it is in the circuit, the call fails anyway.
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            set_nodelay(pid, on)


def _sockets(pid: int) -> list[int]:
    descriptors = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            if str(entry.readlink()).startswith("socket:"):
                descriptors.append(int(entry.name))
    return descriptors


def _set_on(process: int, descriptor: int, on: bool) -> bool:
    """Set the option on one socket if it is a TCP connection with another value; returns whether it was changed."""
    borrowed = _libc.syscall(_SYS_PIDFD_GETFD, process, descriptor, 0)
    if borrowed < 0:
        code = ctypes.get_errno()
        if code == errno.EBADF:  # closed since
            return False
        raise OSError(code, os.strerror(code))
    with socket.socket(fileno=borrowed) as connection:
        if connection.type != socket.SOCK_STREAM or connection.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        try:
            connection.getpeername()
            if bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) == on:
                return False
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(on))
        except OSError:  # a listening socket, or a connection that has just ended
            return False
    return True


_libc = ctypes.CDLL(None, use_errno=True)

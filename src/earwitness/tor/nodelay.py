"""TCP_NODELAY on the connections of a tor that runs, without rebuilding or restarting it.

Tor leaves Nagle's algorithm on (RFC 896): a relay holds a cell while the one before it is unacknowledged, which at
voice rates costs a round trip a link. To see what that does, its sockets are borrowed (pidfd_getfd(2), Linux 5.6)
and the option is set on the very connection, from outside; tor does not notice. It can be taken back again, so
that calls with and without can alternate on one network.
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
"""How often new connections are looked for; a call's streams open half a second before its media."""


def set_nodelay(pid: int, on: bool) -> int:
    """Set or clear TCP_NODELAY on every TCP connection of a process; how many were changed by it.

    Raises `EarwitnessError` when the process is gone or its sockets may not be borrowed.
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
    """Set it on old and new connections of these processes until cancelled; those that end are left out."""
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
    """Raise `InputError` where a network's relays cannot be set so for one call; None is always possible."""
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
    """Set or clear it on all connections that a network's relays and clients have now; on leaving, as it was.

    `others`: further tors of the call (process ids by name). None: nothing is changed.
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
        # A relay that a test has killed does not matter here; one of the circuit's would show as a failure.
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
    """Set the option on one socket if it is a TCP connection and has it otherwise; whether it was."""
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
        except OSError:  # a listener, or a connection that has just ended
            return False
    return True


_libc = ctypes.CDLL(None, use_errno=True)

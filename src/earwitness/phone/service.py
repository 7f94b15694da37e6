"""Shared by the servers of a call: waiting until one answers, and ending one with all its workers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable

from earwitness.netns.host import Host

_PROBE_EVERY_S = 0.1


async def probe_until(
    host: Host,
    process: subprocess.Popen[bytes],
    where: tuple[str, int],
    probe: Callable[[tuple[str, int]], bytes],
    expected: bytes,
    timeout_s: float,
) -> bool:
    """Send `probe(own address)` over UDP until an answer begins with `expected`; False if none does in time."""
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setblocking(False)
        sock.bind((where[0], 0))
        wire = probe(sock.getsockname())
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline and process.poll() is None:
            sock.sendto(wire, where)
            await asyncio.sleep(_PROBE_EVERY_S)
            try:
                if sock.recv(2048).startswith(expected):
                    return True
            except (BlockingIOError, ConnectionError):
                continue
    return False


def end_service(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM; if it does not end, send SIGKILL to the whole session that it leads, including its workers."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()

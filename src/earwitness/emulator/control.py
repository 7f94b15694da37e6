"""The server end of the emulator's control socket: one JSON object per message on a SOCK_SEQPACKET unix socket.

Requests (each is answered by one object; {"error": text} if refused):

    {"op": "add_host", "number": N, "name": ..., "address": ...} with the TUN descriptor attached (SCM_RIGHTS)
    {"op": "remove_host", "number": N}
    {"op": "set_links", "links": [[from, to, {field of LinkProfile: value, ...}], ...]}, and "seed": N to restart the
    random streams {"op": "flush"}         answered when every record of a decided packet is in the files
    {"op": "statistics"}    lateness, fates, packets in flight; with "reset": true the counts restart
    {"op": "stop"}          write the log and exit
"""

from __future__ import annotations

import json
import os
import select
import socket
from pathlib import Path
from time import monotonic_ns
from typing import Any

from earwitness.emulator.emulator import Emulator
from earwitness.emulator.lateness import LatenessHistogram
from earwitness.emulator.link_profile import LinkProfile
from earwitness.emulator.truth_log import PacketFate
from earwitness.errors import EarwitnessError

SOCKET_NAME = "emulator.sock"
LARGEST_MESSAGE = 131_072


class ControlServer:
    """The server, polled by the emulator's own loop."""

    def __init__(self, emulator: Emulator, state_dir: Path) -> None:
        self._emulator = emulator
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        draft = state_dir / f"{SOCKET_NAME}.new"
        self._listener.bind(str(draft))
        self._listener.listen(16)
        draft.rename(state_dir / SOCKET_NAME)  # clients may connect as soon as the name exists
        self._connections: dict[int, socket.socket] = {}

    def register(self, epoll: select.epoll) -> None:
        """Add the server's sockets to the loop's epoll."""
        self._epoll = epoll
        epoll.register(self._listener.fileno(), select.EPOLLIN)

    def handle(self, descriptor: int) -> None:
        """Handle a readable descriptor that is not a device."""
        if descriptor == self._listener.fileno():
            connection, _ = self._listener.accept()
            self._connections[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)
            return
        connection = self._connections[descriptor]
        try:
            text, passed, _, _ = socket.recv_fds(connection, LARGEST_MESSAGE, 1)
            if text:
                connection.send(json.dumps(self._answer(text, passed)).encode())
                return
        except OSError:
            pass  # the client is gone
        self._epoll.unregister(descriptor)
        self._connections.pop(descriptor).close()

    def _answer(self, text: bytes, passed: list[int]) -> dict[str, Any]:
        kept = False
        try:
            request = json.loads(text)
            operation = request["op"]
            if operation == "add_host":
                self._emulator.add_host(request["number"], request["name"], request["address"], passed[0])
                kept = True
            elif operation == "remove_host":
                self._emulator.remove_host(request["number"])
            elif operation == "set_links":
                for source, destination, fields in request["links"]:
                    self._emulator.set_link(source, destination, LinkProfile(**fields), request.get("seed"))
            elif operation == "flush":
                self._emulator.log.flush()
            elif operation == "stop":
                self._emulator.stop()
            elif operation == "statistics":
                return self._statistics(reset=request.get("reset", False))
            else:
                raise ValueError(f"unknown operation {operation!r}")
        except (EarwitnessError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        finally:
            if not kept:
                for descriptor in passed:
                    os.close(descriptor)
        return {}

    def _statistics(self, reset: bool) -> dict[str, Any]:
        emulator = self._emulator
        answer = {
            "seed": emulator.seed,
            "realtime": emulator.realtime,
            "up_s": (monotonic_ns() - emulator.started_ns) / 1e9,
            "hosts": len(emulator.ports),
            "under_way": emulator.under_way(),
            "lateness": emulator.lateness.summary(),
            "fates": {fate.name.lower(): emulator.fates[fate] for fate in PacketFate},
        }
        if reset:
            emulator.lateness = LatenessHistogram()
            emulator.fates[:] = [0] * len(emulator.fates)
        return answer

"""The emulator's control socket, both ends: one JSON object a message on a SOCK_SEQPACKET unix socket.

Requests (each is answered by one object; {"error": text} when refused):

    {"op": "add_host", "number": N, "name": ..., "address": ...} with the TUN descriptor attached (SCM_RIGHTS)
    {"op": "remove_host", "number": N}
    {"op": "set_links", "links": [[from, to, {field of LinkProfile: value, ...}], ...]}, and "seed": N to draw anew
    {"op": "flush"}         every record of a decided packet is in the files when this is answered
    {"op": "statistics"}    lateness, fates, packets under way; with "reset": true they start anew
    {"op": "stop"}          write the log and end
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from earwitness.errors import EarwitnessError
from earwitness.lab.lateness import Lateness
from earwitness.lab.truthlog import Fate
from earwitness.lab.wan import LinkProfile

if TYPE_CHECKING:
    from earwitness.lab.emulator import Emulator

SOCKET_NAME = "emulator.sock"
_LARGEST_MESSAGE = 131_072
_LINKS_IN_A_MESSAGE = 200
_ANSWER_TIMEOUT_S = 10.0


class ControlServer:
    """The emulator's end; it is polled by the emulator's own loop."""

    def __init__(self, emulator: Emulator, state_dir: Path) -> None:
        self._emulator = emulator
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        draft = state_dir / f"{SOCKET_NAME}.new"
        self._listener.bind(str(draft))
        self._listener.listen(16)
        draft.rename(state_dir / SOCKET_NAME)  # who sees the name may connect
        self._connections: dict[int, socket.socket] = {}

    def register(self, epoll: select.epoll) -> None:
        """Have the loop poll us."""
        self._epoll = epoll
        epoll.register(self._listener.fileno(), select.EPOLLIN)

    def handle(self, descriptor: int) -> None:
        """Something is to be read on a descriptor that is no device."""
        if descriptor == self._listener.fileno():
            connection, _ = self._listener.accept()
            self._connections[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)
            return
        connection = self._connections[descriptor]
        try:
            text, passed, _, _ = socket.recv_fds(connection, _LARGEST_MESSAGE, 1)
            if text:
                connection.send(json.dumps(self._answer(text, passed)).encode())
                return
        except OSError:
            pass  # the asker is gone
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
                raise ValueError(f"no operation {operation!r}")
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
            "fates": {fate.name.lower(): emulator.fates[fate] for fate in Fate},
        }
        if reset:
            emulator.lateness = Lateness()
            emulator.fates[:] = [0] * len(emulator.fates)
        return answer


class EmulatorClient:
    """The lab's end; any process inside the sandbox may have one. Each request takes well under a millisecond."""

    def __init__(self, state_dir: Path) -> None:
        """Connect to the emulator that serves this state directory.

        Raises:
            EarwitnessError: it does not run.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        try:
            self._socket.connect(str(state_dir / SOCKET_NAME))
        except OSError as error:
            self._socket.close()
            raise _failed("connecting to", error) from error

    def close(self) -> None:
        """Close the connection; the emulator goes on."""
        self._socket.close()

    def add_host(self, number: int, name: str, address: str, device: int) -> None:
        """Hand over a host's TUN descriptor (the caller's copy may be closed then)."""
        self._ask({"op": "add_host", "number": number, "name": name, "address": address}, [device])

    def remove_host(self, number: int) -> None:
        """Close a host's device."""
        self._ask({"op": "remove_host", "number": number})

    def set_links(self, links: Iterable[tuple[int, int, LinkProfile]], seed: int | None = None) -> None:
        """Make or change links: (from, to, profile) by the hosts' numbers; with a seed, they draw anew from it."""
        default = LinkProfile()
        rows = [
            [source, destination, {k: v for k, v in vars(profile).items() if v != getattr(default, k)}]
            for source, destination, profile in links
        ]
        for start in range(0, len(rows), _LINKS_IN_A_MESSAGE):
            self._ask({"op": "set_links", "seed": seed, "links": rows[start : start + _LINKS_IN_A_MESSAGE]})

    def flush(self) -> None:
        """Have every record of a decided packet written to the log's files."""
        self._ask({"op": "flush"})

    def statistics(self, *, reset: bool = False) -> dict[str, Any]:
        """Lateness in ms, counts by fate, packets under way, whether scheduled in real time."""
        return self._ask({"op": "statistics", "reset": reset})

    def stop(self) -> None:
        """Have it write its log and end."""
        self._ask({"op": "stop"})

    def _ask(self, request: Mapping[str, Any], descriptors: list[int] | None = None) -> dict[str, Any]:
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors or [])
            text = self._socket.recv(_LARGEST_MESSAGE)
        except OSError as error:
            raise _failed(f"asking ({request['op']})", error) from error
        answer: dict[str, Any] = json.loads(text) if text else {"error": "it ended"}
        if "error" in answer:
            raise _failed(f"asking ({request['op']})", answer["error"])
        return answer


def _failed(tried: str, happened: object) -> EarwitnessError:
    return EarwitnessError(tried, "the network emulator", happened, "see emulator.log in the lab's state directory")

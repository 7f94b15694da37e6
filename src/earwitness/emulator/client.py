"""The client end of the emulator's control socket (requests: `earwitness.emulator.control`)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from earwitness.emulator.control import LARGEST_MESSAGE, SOCKET_NAME
from earwitness.emulator.link_profile import LinkProfile
from earwitness.errors import EarwitnessError

_LINKS_IN_A_MESSAGE = 200
_ANSWER_TIMEOUT_S = 10.0


class EmulatorClient:
    """A client for the lab, or any process in the sandbox. Each request takes well under a millisecond."""

    def __init__(self, state_dir: Path) -> None:
        """Connect to the emulator that serves this state directory.

        Raises:
            EarwitnessError: the emulator is not running.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        try:
            self._socket.connect(str(state_dir / SOCKET_NAME))
        except OSError as error:
            self._socket.close()
            raise _failed("connecting to", error) from error

    def close(self) -> None:
        """Close the connection; the emulator keeps running."""
        self._socket.close()

    def add_host(self, number: int, name: str, address: str, device: int) -> None:
        """Pass a host's TUN descriptor to the emulator (the caller may then close its copy)."""
        self._ask({"op": "add_host", "number": number, "name": name, "address": address}, [device])

    def remove_host(self, number: int) -> None:
        """Close a host's device."""
        self._ask({"op": "remove_host", "number": number})

    def set_links(self, links: Iterable[tuple[int, int, LinkProfile]], seed: int | None = None) -> None:
        """Create or change links: (from, to, profile) by host numbers; with a seed, their random streams restart."""
        default = LinkProfile()
        rows = [
            [source, destination, {k: v for k, v in vars(profile).items() if v != getattr(default, k)}]
            for source, destination, profile in links
        ]
        for start in range(0, len(rows), _LINKS_IN_A_MESSAGE):
            self._ask({"op": "set_links", "seed": seed, "links": rows[start : start + _LINKS_IN_A_MESSAGE]})

    def flush(self) -> None:
        """Write all records of decided packets to the log files."""
        self._ask({"op": "flush"})

    def statistics(self, *, reset: bool = False) -> dict[str, Any]:
        """Lateness in ms, counts by fate, packets in flight, whether real-time scheduling is on."""
        return self._ask({"op": "statistics", "reset": reset})

    def stop(self) -> None:
        """Make the emulator write its log and exit."""
        self._ask({"op": "stop"})

    def _ask(self, request: Mapping[str, Any], descriptors: list[int] | None = None) -> dict[str, Any]:
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors or [])
            text = self._socket.recv(LARGEST_MESSAGE)
        except OSError as error:
            raise _failed(f"asking ({request['op']})", error) from error
        answer: dict[str, Any] = json.loads(text) if text else {"error": "it exited"}
        if "error" in answer:
            raise _failed(f"asking ({request['op']})", answer["error"])
        return answer


def _failed(tried: str, happened: object) -> EarwitnessError:
    return EarwitnessError(tried, "the network emulator", happened, "see emulator.log in the lab's state directory")

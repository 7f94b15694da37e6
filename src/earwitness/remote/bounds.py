"""How much one caller may ask of an answering side, and the forms that what it asks must have.

A caller is authenticated by its certificate and still not trusted: whatever it asks for is bounded, so that neither
this machine's memory, disk and processes nor the end of `answer` are in its hands.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from earwitness.errors import InputError
from earwitness.path.probe import MOST_PROBES
from earwitness.path.tun import NUMBERS
from earwitness.untrusted import UntrustedValue, fields, flag, name, number, shown, whole

MOST_AT_WORK = 32
"""Requests without an answer yet; further ones are refused."""
MESSAGES_A_SECOND = 200.0
MESSAGES_AT_ONCE = 400
"""Messages that a caller may send; what comes faster waits in its own connection."""
MOST_IN_A_CALL = 8
"""Processes of a kind started, and services of a kind opened, in one call; a good one needs two at most."""
MOST_DEVICES = 4
LONGEST_CALL_S = 3900.0
"""Of a session: the hour that a call may last, and five minutes to open and to end it."""
MOST_CAPTURED = 512 << 20
"""Bytes of a capture: an hour of both directions is about 100 MB."""
MOST_EVENTS = 64 << 20
"""Bytes of what the processes of a call say, as it is written down."""
LONGEST_GRACE_S = 30.0
_MOST_FLOWS = 16


class MessagePace:
    """Lets `MESSAGES_A_SECOND` pass, `MESSAGES_AT_ONCE` after a silence."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left, self._at = float(MESSAGES_AT_ONCE), self._loop.time()

    async def __call__(self) -> None:
        """Wait until one more may pass."""
        now = self._loop.time()
        self._left = min(MESSAGES_AT_ONCE, self._left + (now - self._at) * MESSAGES_A_SECOND) - 1.0
        self._at = now
        if self._left < 0.0:
            await asyncio.sleep(-self._left / MESSAGES_A_SECOND)


class Ration:
    """Counts what a call has running, and has had, by kind."""

    def __init__(self, most_at_once: int) -> None:
        self._most_at_once = most_at_once
        self._running: Counter[str] = Counter()
        self._had: Counter[str] = Counter()

    def take(self, kind: str) -> None:
        """One more. `InputError` where that is too many."""
        if self._running[kind] >= self._most_at_once or self._had[kind] >= MOST_IN_A_CALL:
            so_many = f"{self._running[kind]} at work, {self._had[kind]} in this call"
            raise InputError(f"starting another {kind} beside", so_many, "that is more than a call needs", "end some")
        self._running[kind] += 1
        self._had[kind] += 1

    def give_back(self, kind: str) -> None:
        """One ended."""
        self._running[kind] -= 1


def device_number(given: Mapping[str, Any]) -> int:
    """The number of a device, as the caller gives it. Raises `UntrustedValue`."""
    return whole(given["number"], 0, NUMBERS.stop - 1, what="device number")


def grace_s(value: object) -> float:
    """For how long a process may go on that is to end. Raises `UntrustedValue`."""
    return number(value, 0.0, LONGEST_GRACE_S, what="grace")


def checked_flows(value: object) -> dict[str, list[int] | None]:
    """The flows of a forwarder: a pair of ports each, None for all others. Raises `UntrustedValue`."""
    given = fields(value, what="flows")
    if len(given) > _MOST_FLOWS:
        raise UntrustedValue(f"flows: {len(given)} are too many")
    read: dict[str, list[int] | None] = {}
    for flow, ports in given.items():
        if ports is not None and not (isinstance(ports, list) and len(ports) == 2):
            raise UntrustedValue(f"flow {shown(flow)}: {shown(ports)} is no pair of ports")
        read[name(flow, 30, what="flow")] = ports and [whole(port, 1, 65535, what="port") for port in ports]
    return read


def token(value: object) -> str:
    """What the caller's streams prove themselves with. Raises `UntrustedValue`."""
    given = name(value, 128, what="token")
    if len(given) < 16 or not given.isascii():
        raise UntrustedValue("token: it is no secret of letters and digits")
    return given


def forwarder_command(line: object) -> dict[str, Any]:
    """A command for a forwarder at the callee's end. Raises `UntrustedValue`."""
    given = fields(line, what="a command")
    command = given.get("command")
    if command == "ping":
        return {"command": command, "count": whole(given.get("count"), 1, MOST_PROBES, what="count")}
    if command not in ("fill", "stop"):
        raise UntrustedValue(f"a command: {shown(command)} is none of a callee's forwarder")
    return {"command": command}


def phone_command(line: object) -> dict[str, Any]:
    """A command for a phone; the phone itself checks what it is given. Raises `UntrustedValue`."""
    given = fields(line, what="a command")
    return {
        "id": whole(given.get("id"), 0, what="command number"),
        "do": name(given.get("do"), 30, what="command"),
        "with": dict(fields(given.get("with", {}), what="with")),
    }


def forwarder_setup(config: object) -> tuple[bool, dict[str, Any]]:
    """Whether it listens for a tor beside it, and what else the caller may say of it. Raises `UntrustedValue`."""
    given = fields(config, what="configuration")
    alone = flag(given.get("alone"), what="alone")
    return alone, {"token": token(given.get("token")), "flows": checked_flows(given.get("flows"))}

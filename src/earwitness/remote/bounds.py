"""Limits on what one caller may request of an answering side, and validation of its requests.

A caller is authenticated by its certificate, but not trusted: every request is bounded, so that a caller can neither
exhaust this machine's memory, disk or processes nor keep `answer` from ending.
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
"""Requests in progress; further ones are refused."""
MESSAGES_A_SECOND = 200.0
MESSAGES_AT_ONCE = 400
"""Burst of messages that a caller may send; faster ones wait in its own connection."""
MOST_IN_A_CALL = 8
"""Processes or services of one kind per call; a well-behaved caller needs two at most."""
MOST_DEVICES = 4
LONGEST_CALL_S = 3900.0
"""Limit of a session: the hour that a call may last, plus five minutes to set it up and end it."""
MOST_CAPTURED = 512 << 20
"""Bytes per capture: an hour of both directions is about 100 MB."""
MOST_EVENTS = 64 << 20
"""Bytes of process events stored per call."""
LONGEST_GRACE_S = 30.0
_MOST_FLOWS = 16


class MessagePace:
    """Token bucket: `MESSAGES_A_SECOND`, with bursts of `MESSAGES_AT_ONCE`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._left, self._at = float(MESSAGES_AT_ONCE), self._loop.time()

    async def __call__(self) -> None:
        """Wait until one more message is allowed."""
        now = self._loop.time()
        self._left = min(MESSAGES_AT_ONCE, self._left + (now - self._at) * MESSAGES_A_SECOND) - 1.0
        self._at = now
        if self._left < 0.0:
            await asyncio.sleep(-self._left / MESSAGES_A_SECOND)


class Ration:
    """Counts the running and the total instances of a call, by kind."""

    def __init__(self, most_at_once: int) -> None:
        self._most_at_once = most_at_once
        self._running: Counter[str] = Counter()
        self._had: Counter[str] = Counter()

    def take(self, kind: str) -> None:
        """Count one more. Raises `InputError` if that exceeds the limit."""
        if self._running[kind] >= self._most_at_once or self._had[kind] >= MOST_IN_A_CALL:
            counts = f"{self._running[kind]} running, {self._had[kind]} in this call"
            raise InputError(f"starting another {kind} beside", counts, "that is more than a call needs", "end some")
        self._running[kind] += 1
        self._had[kind] += 1

    def give_back(self, kind: str) -> None:
        """Count one as ended."""
        self._running[kind] -= 1


def device_number(given: Mapping[str, Any]) -> int:
    """Read a device number from the caller. Raises `UntrustedValue`."""
    return whole(given["number"], 0, NUMBERS.stop - 1, what="device number")


def grace_s(value: object) -> float:
    """Read how long a process may take to end. Raises `UntrustedValue`."""
    return number(value, 0.0, LONGEST_GRACE_S, what="grace")


def checked_flows(value: object) -> dict[str, list[int] | None]:
    """Read a forwarder's flows: a pair of ports each, None for all other ports. Raises `UntrustedValue`."""
    given = fields(value, what="flows")
    if len(given) > _MOST_FLOWS:
        raise UntrustedValue(f"flows: {len(given)} are too many")
    read: dict[str, list[int] | None] = {}
    for flow, ports in given.items():
        if ports is not None and not (isinstance(ports, list) and len(ports) == 2):
            raise UntrustedValue(f"flow {shown(flow)}: {shown(ports)} is not a pair of ports")
        read[name(flow, 30, what="flow")] = ports and [whole(port, 1, 65535, what="port") for port in ports]
    return read


def token(value: object) -> str:
    """Read the token that authenticates the caller's streams. Raises `UntrustedValue`."""
    given = name(value, 128, what="token")
    if len(given) < 16 or not given.isascii():
        raise UntrustedValue("token: not a secret of letters and digits")
    return given


def forwarder_command(line: object) -> dict[str, Any]:
    """Read a command for the callee's forwarder. Raises `UntrustedValue`."""
    given = fields(line, what="a command")
    command = given.get("command")
    if command == "ping":
        return {"command": command, "count": whole(given.get("count"), 1, MOST_PROBES, what="count")}
    if command not in ("fill", "stop"):
        raise UntrustedValue(f"a command: a callee's forwarder has no command {shown(command)}")
    return {"command": command}


def phone_command(line: object) -> dict[str, Any]:
    """Read a command for a phone; the phone itself checks the arguments. Raises `UntrustedValue`."""
    given = fields(line, what="a command")
    return {
        "id": whole(given.get("id"), 0, what="command number"),
        "do": name(given.get("do"), 30, what="command"),
        "with": dict(fields(given.get("with", {}), what="with")),
    }


def forwarder_setup(config: object) -> tuple[bool, dict[str, Any]]:
    """Read a forwarder's setup: whether it listens for a local tor, and its other fields. Raises `UntrustedValue`."""
    given = fields(config, what="configuration")
    alone = flag(given.get("alone"), what="alone")
    return alone, {"token": token(given.get("token")), "flows": checked_flows(given.get("flows"))}

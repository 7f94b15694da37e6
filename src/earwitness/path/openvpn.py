"""One OpenVPN process, one end of a tunnel: started here or on another machine, followed through its log, stopped."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.child import Child, ChildGone, LogChild
from earwitness.netns.host import Host

_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"
_LINES_KEPT = 60
_STOP_TIMEOUT_S = 2.0
_START_TIMEOUT_S = 10.0
_UP = "Initialization Sequence Completed"
_VERSION = re.compile(r"OpenVPN (\d\S*)")
_CIPHER = re.compile(r"(?:Data Channel: cipher|Outgoing Data Channel: Cipher) '([^']+)'")
LISTENING = re.compile(r"Listening for incoming TCP connection")
"""It has read its configuration and keys, and waits for the client."""
_CAUSE = re.compile(r"VERIFY \w* ?ERROR|Options error|ERROR:|recv_socks_reply|Cannot ")
_LEAVING = re.compile(
    r"^(SIG|Exiting|Closing TUN|net_|UDPv4|TCPv4|TCP/UDP: Closing|WARNING|NOTE|DEPRECATED|library|\*)"
)
"""Closing lines and warnings, which do not tell the cause of the end."""


def need_openvpn() -> str:
    """Path of openvpn; Debian installs it outside a user's PATH. Raises `CallFailure` (`TOOL_MISSING`)."""
    found = shutil.which("openvpn", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if found is None:
        raise CallFailure(
            Outcome.TOOL_MISSING,
            "opening a tunnel with",
            on="openvpn",
            happened="it is not installed",
            remedy="install it: sudo apt-get install openvpn",
            evidence={"tool": "openvpn"},
        )
    return found


class OpenVpn:
    """One end of a tunnel. Use `over`."""

    def __init__(self, host: Host, child: Child) -> None:
        self.host = host
        self.pid = child.pid
        """Its process id; 0 on another machine."""
        self.up = False
        """Whether this end reports that the tunnel carries packets."""
        self.listening = False
        self.version = ""
        self.cipher = ""
        """Cipher of the data channel, as OpenVPN names it; empty before the negotiation and without encryption."""
        self.problem: str | None = None
        """Why the process ended; None while it runs."""
        self.killed = False
        """Whether a signal from outside ended it, so that the tunnel is not the cause."""
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._child = child
        self._changed = asyncio.Event()
        self._stopping = False

    @classmethod
    @asynccontextmanager
    async def over(cls, host: Host, child: Child) -> AsyncIterator[OpenVpn]:
        """Follow a process that was just started (`start_openvpn`) on this host, and stop it on leaving."""
        end = cls(host, child)
        reader = asyncio.ensure_future(end._follow())
        try:
            yield end
        finally:
            end._stopping = True
            await child.close(_STOP_TIMEOUT_S)
            # Its last log lines are still read; its device and address are already gone.
            await asyncio.wait({reader}, timeout=_STOP_TIMEOUT_S)
            reader.cancel()

    def kill(self) -> None:
        """Kill it, as a crash would, if it runs on this machine."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def until(self, holds: Callable[[OpenVpn], bool], timeout_s: float) -> bool:
        """Wait for a condition; False if the process ended or time ran out first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds(self):
                    if self.problem is not None:
                        return False
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    @property
    def last_line(self) -> str:
        """The most informative line of its log: the first error that causes others, otherwise the last line."""
        if causes := [line for line in self.lines if _CAUSE.match(line)]:
            return causes[0]
        telling = [line for line in self.lines if not _LEAVING.match(line)]
        return (telling or list(self.lines) or ["it logged nothing"])[-1]

    async def _follow(self) -> None:
        try:
            while True:
                self._hear(str((await self._child.receive()).get("line", "")))
        except ChildGone as gone:
            if not self._stopping:
                self.killed = bool(gone.killed_by)
                cause = f"killed by {gone.killed_by}" if gone.killed_by else self.last_line
                self.problem = f"openvpn at {self.host.name} ended: {cause}"
            self._changed.set()

    def _hear(self, line: str) -> None:
        self.lines.append(line)
        if _UP in line:
            self.up = True
        elif LISTENING.search(line):
            self.listening = True
        elif not self.version and (found := _VERSION.match(line)):
            self.version = found[1]
        elif found := _CIPHER.search(line):
            self.cipher = "" if "null" in found[1] else found[1]
        self._changed.set()


async def start_openvpn(host: Host, folder: Path, config: str) -> LogChild:
    """Start it on a host with a configuration file in `folder`, which also holds the files that it refers to.

    It does not restart after a failure: a broken tunnel must show in the record.
    Raises `CallFailure` (`TOOL_MISSING`) and `EarwitnessError`.
    """
    argv = [need_openvpn(), "--cd", str(folder), "--config", config, "--suppress-timestamps"]
    return await LogChild.start(host, [*argv, "--remap-usr1", "SIGTERM"], f"openvpn at the {host.name}")


async def wait_listening(end: OpenVpn) -> None:
    """Wait until the callee's end accepts connections. Raises `CallFailure` (`PATH_FAILED`)."""
    if not await end.until(lambda this: this.listening, _START_TIMEOUT_S):
        raise not_up(end, _START_TIMEOUT_S)


def not_up(end: OpenVpn, waited_s: float) -> CallFailure:
    """The failure of an end that did not come up in time, with its log as evidence."""
    return CallFailure(
        Outcome.PATH_FAILED,
        "opening an OpenVPN tunnel at the",
        on=end.host.name,
        happened=end.problem or f"not up after {waited_s:g} s; its last message: {end.last_line}",
        remedy="see its log in the record's evidence",
        evidence={"host": end.host.name, "openvpn": list(end.lines)[-12:]},
    )

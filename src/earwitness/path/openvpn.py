"""One OpenVPN process, one end of a tunnel: started on a host, followed by what it logs, stopped."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from earwitness.errors import CallFailure, Outcome
from earwitness.lab.host import Host

_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"
_LINES_KEPT = 60
_STOP_TIMEOUT_S = 2.0
_STOP_STEP_S = 0.01
_UP = "Initialization Sequence Completed"
_VERSION = re.compile(r"OpenVPN (\d\S*)")
_CIPHER = re.compile(r"(?:Data Channel: cipher|Outgoing Data Channel: Cipher) '([^']+)'")
_LISTENING = re.compile(r"Listening for incoming TCP connection")
_CAUSE = re.compile(r"VERIFY \w* ?ERROR|Options error|ERROR:|recv_socks_reply|Cannot ")
_LEAVING = re.compile(
    r"^(SIG|Exiting|Closing TUN|net_|UDPv4|TCPv4|TCP/UDP: Closing|WARNING|NOTE|DEPRECATED|library|\*)"
)
"""What a log ends with whatever the cause was, and warnings: no cause of an end."""


def need_openvpn() -> str:
    """Where openvpn is; Debian has it where users do not look. Raises `CallFailure` (`TOOL_MISSING`)."""
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
    """One end of a tunnel. Use `running`."""

    def __init__(self, host: Host, process: subprocess.Popen[bytes]) -> None:
        self.host = host
        self.process = process
        self.up = False
        """Whether the tunnel carries packets, as this end sees it."""
        self.listening = False
        self.version = ""
        self.cipher = ""
        """What protects the data, as OpenVPN names it; empty before it is agreed on, and where nothing does."""
        self.problem: str | None = None
        """Why the process is gone, or None while it runs."""
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._changed = asyncio.Event()
        self._stopping = False

    @classmethod
    @asynccontextmanager
    async def running(cls, host: Host, folder: Path, config: str) -> AsyncIterator[OpenVpn]:
        """Start it on a host with a configuration file in `folder`, where the files that it names are too.

        It never starts over by itself: a tunnel that broke is a fact to be told. Raises `EarwitnessError`.
        """
        argv = [need_openvpn(), "--cd", str(folder), "--config", config, "--suppress-timestamps"]
        process = host.popen(
            [*argv, "--remap-usr1", "SIGTERM"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        end = cls(host, process)
        reader = asyncio.ensure_future(end._follow())
        try:
            yield end
        finally:
            end._stopping = True
            await end._stop(reader)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    async def until(self, holds: Callable[[OpenVpn], bool], timeout_s: float) -> bool:
        """Wait until something holds of it; False when its process ended, or time ran out, before."""
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
    def last_word(self) -> str:
        """The line of its log that tells most: the first error of a kind that has others in its wake, or the last."""
        if causes := [line for line in self.lines if _CAUSE.match(line)]:
            return causes[0]
        telling = [line for line in self.lines if not _LEAVING.match(line)]
        return (telling or list(self.lines) or ["it logged nothing"])[-1]

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        lines = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), self.process.stdout)
        try:
            while line := await lines.readline():
                self._hear(line.decode(errors="replace").strip())
        finally:
            transport.close()
            if not self._stopping:
                self.problem = f"openvpn at the {self.host.name} ended: {self._ending()}"
            self._changed.set()

    def _ending(self) -> str:
        """The signal that killed it, or what it said last."""
        with suppress(subprocess.TimeoutExpired):  # its output is closed: it is all but gone
            code = self.process.wait(_STOP_STEP_S)
            if code < 0:
                return f"killed by {signal.Signals(-code).name}"
        return self.last_word

    def _hear(self, line: str) -> None:
        self.lines.append(line)
        if _UP in line:
            self.up = True
        elif _LISTENING.search(line):
            self.listening = True
        elif not self.version and (found := _VERSION.match(line)):
            self.version = found[1]
        elif found := _CIPHER.search(line):
            self.cipher = "" if "null" in found[1] else found[1]
        self._changed.set()

    async def _stop(self, reader: asyncio.Task[None]) -> None:
        """SIGTERM, then SIGKILL; its device and address go with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        for _ in range(round(_STOP_TIMEOUT_S / _STOP_STEP_S)):
            if self.process.poll() is not None:
                break
            await asyncio.sleep(_STOP_STEP_S)
        else:
            self.process.kill()
            self.process.wait()
        await reader

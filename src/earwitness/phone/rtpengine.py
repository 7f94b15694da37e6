"""rtpengine as the lab's media relay: RTP passes through the server, in user space, controlled by Kamailio."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host
from earwitness.phone.media import bind_udp
from earwitness.phone.service import end_service, probe_until

_START_TIMEOUT_S = 15.0
_PING, _PONG = b"ready d7:command4:pinge", b"ready d6:result4:ponge"
"""A cookie and a bencoded dictionary: the ng control protocol."""


@dataclass(frozen=True)
class RtpEngine:
    """A running relay; Kamailio controls it at `control`."""

    address: str
    control_port: int
    ports: tuple[int, int]
    """First and last UDP port for relayed media, as seen in a capture on its host."""
    log: Path

    @property
    def control(self) -> str:
        """The control address, as Kamailio's rtpengine module expects it."""
        return f"udp:{self.address}:{self.control_port}"


@asynccontextmanager
async def start_rtpengine(
    host: Host, state: Path, *, address: str = "", control_port: int = 2223, ports: tuple[int, int] = (30_000, 30_100)
) -> AsyncIterator[RtpEngine]:
    """Run rtpengine on `host` at `address` (empty: the host's own), with its log under `state`.

    Raises CallFailure: TOOL_MISSING, PORT_TAKEN, or LAB_FAILED with the last line of its log.
    """
    program = shutil.which("rtpengine")
    if program is None:
        raise CallFailure(
            Outcome.TOOL_MISSING,
            "starting",
            on="rtpengine",
            happened="it is not installed",
            remedy="apt install rtpengine-daemon",
        )
    address = address or host.address
    with host.inside():
        bind_udp(address, control_port, "rtpengine").close()
    state.mkdir(parents=True, exist_ok=True)
    log = state / "rtpengine.log"
    argv = [program, "--config-file=none", "--foreground", "--log-stderr", "--log-level=5", "--table=-1"]
    argv += [f"--interface={address}", f"--listen-ng={address}:{control_port}", "--num-threads=1"]
    argv += [f"--port-min={ports[0]}", f"--port-max={ports[1]}", f"--pidfile={state / 'rtpengine.pid'}"]
    process: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb") as messages:
            process = host.popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                forks=True,
            )
        where = (address, control_port)
        if not await probe_until(host, process, where, lambda _own: _PING, _PONG, _START_TIMEOUT_S):
            lines = log.read_text(errors="replace").splitlines()
            raise CallFailure(
                Outcome.LAB_FAILED,
                "starting",
                on=f"rtpengine at {address}:{control_port}",
                happened=lines[-1] if lines else f"no answer in {_START_TIMEOUT_S:g} s",
                remedy=f"see {log}",
            )
        yield RtpEngine(address, control_port, ports, log)
    finally:
        if process is not None:
            await asyncio.to_thread(end_service, process)

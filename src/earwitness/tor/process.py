"""One tor process that this program owns."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping

from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host
from earwitness.tor.control_address import ControlAddress
from earwitness.tor.torrc import Node

_LOG_LINES = 12


class TorProcess:
    """A running tor: its node, host and process. `stop` ends it, and so does the end of its parent process."""

    def __init__(self, host: Host, node: Node, process: subprocess.Popen[bytes]) -> None:
        self.host = host
        self.node = node
        self.process = process

    @classmethod
    def start(cls, host: Host, node: Node, torrc: str, environment: Mapping[str, str] | None = None) -> TorProcess:
        """Write the torrc and start tor on the host."""
        node.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        node.directory.chmod(0o700)
        node.torrc.write_text(torrc)
        argv = ["tor", "-f", str(node.torrc), "--defaults-torrc", str(node.directory / "none"), "--hush"]
        with (node.directory / "output.log").open("wb") as output:
            process = host.popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        return cls(host, node, process)

    @property
    def control(self) -> ControlAddress:
        """The address of its control port."""
        return ControlAddress(path=self.node.control_socket)

    def last_words(self) -> list[str]:
        """The last lines of its log, for error messages."""
        lines: list[str] = []
        for file in (self.node.log, self.node.directory / "output.log"):
            if file.is_file():
                lines += file.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return lines

    def check(self) -> None:
        """Raise `CallFailure` (`LAB_FAILED`) with its last log lines if it has died."""
        code = self.process.poll()
        if code is None:
            return
        words = self.last_words()
        # "Reading config failed--see warnings above" is the last line of a tor that cannot read its torrc.
        telling = [
            line for line in words if ("[err]" in line or "[warn]" in line) and "see warnings" not in line
        ] or words
        raise CallFailure(
            Outcome.LAB_FAILED,
            "running tor",
            on=self.node.nickname,
            happened=f"it ended with {_ending(code)}: {telling[-1] if telling else 'it logged nothing'}",
            remedy=f"see {self.node.log}",
            evidence={"node": self.node.nickname, "exit_code": code, "log": words},
        )

    def signal(self, number: int) -> None:
        """Send it a signal, if it is alive."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, like a crash."""
        self.signal(signal.SIGKILL)
        self.process.wait()


async def stop_all(processes: list[TorProcess], patience_s: float = 3.0) -> None:
    """Send SIGTERM to all, then SIGKILL to those still alive (SIGTERM does not always end a tor)."""
    for tor in processes:
        tor.signal(signal.SIGTERM)
    waits = round(patience_s / 0.02)
    for _ in range(waits):
        if all(tor.process.poll() is not None for tor in processes):
            return
        await asyncio.sleep(0.02)
    for tor in processes:
        tor.signal(signal.SIGKILL)
    for tor in processes:
        tor.process.wait()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

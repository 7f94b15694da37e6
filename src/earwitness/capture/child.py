"""A helper process of a host, spoken to in JSON lines: commands on its stdin, events on its stdout.

Closing its stdin asks it to end; it is owned by the process that started it and is ended by its own id. A program of
others, which takes no commands and only logs, is followed in the same way (`LogChild`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from earwitness.errors import EarwitnessError
from earwitness.lab.host import Host

_LINE_LIMIT = 32 * 1024 * 1024


class ChildGone(EarwitnessError):
    """A helper process ended, or said nothing in time."""


class Child(Protocol):
    """A helper process, on this machine or another."""

    @property
    def pid(self) -> int:
        """Its process id; 0 on another machine."""
        ...

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one command. Raises ChildGone when the process has ended."""
        ...

    async def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next event. Raises ChildGone at the end of its output or after `timeout_s`."""
        ...

    def close_stdin(self) -> None:
        """Ask the process to finish."""
        ...

    async def close(self, grace_s: float = 5.0) -> None:
        """Ask it to finish, wait for its end, and insist after `grace_s`."""
        ...


class JsonChild:
    """One helper process. Use `start`, then `send` and `receive`, and `close` at the end."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], stdout: asyncio.StreamReader) -> None:
        self.name = name
        self.process = process
        self.errors: deque[str] = deque(maxlen=40)
        """The last lines of its standard error."""
        self._stdout = stdout
        self._error_task: asyncio.Task[None] | None = None
        self._transports: list[asyncio.BaseTransport] = []

    @classmethod
    async def start(cls, host: Host, argv: Sequence[str], name: str, *, pass_fds: Sequence[int] = ()) -> JsonChild:
        """Start `argv` in the host's namespace. `name` is for errors: "phone of caller"."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = host.popen(argv, pass_fds=pass_fds, **pipes)
        assert process.stdout is not None
        assert process.stderr is not None
        loop = asyncio.get_running_loop()
        stdout = asyncio.StreamReader(limit=_LINE_LIMIT)
        stderr = asyncio.StreamReader(limit=_LINE_LIMIT)
        child = cls(name, process, stdout)
        for reader, pipe in ((stdout, process.stdout), (stderr, process.stderr)):
            transport, _ = await loop.connect_read_pipe(lambda r=reader: asyncio.StreamReaderProtocol(r), pipe)  # type: ignore[misc]
            child._transports.append(transport)
        child._error_task = asyncio.create_task(child._collect_errors(stderr))
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one command. Raises ChildGone when the process has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise self._gone(f"its standard input is closed ({error})") from error

    async def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next event. Raises ChildGone at the end of its output or after `timeout_s`."""
        try:
            line = await asyncio.wait_for(self._stdout.readline(), timeout_s)
        except TimeoutError as error:
            raise self._gone(f"it said nothing for {timeout_s:g} s") from error
        if not line.endswith(b"\n"):  # nothing, or a line cut short by its death
            await asyncio.sleep(0.05)  # its last words on standard error may still be on the way
            raise self._gone(f"it ended with status {self.process.poll()}")
        return self._event(line)

    async def close(self, grace_s: float = 5.0) -> None:
        """Close its stdin and wait for it to end; after `grace_s` SIGTERM, a second later SIGKILL."""
        try:
            self.close_stdin()
            for ask, patience in ((None, grace_s), (self.process.terminate, 1.0)):
                if ask is not None:
                    ask()
                if await self._ended_within(patience):
                    break
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self._error_task is not None:
                self._error_task.cancel()
            for transport in self._transports:
                transport.close()

    def close_stdin(self) -> None:
        """Ask the process to finish."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def _event(self, line: bytes) -> dict[str, Any]:
        event = json.loads(line)
        if not isinstance(event, dict):
            raise self._gone(f"it said {line[:80]!r} where an event was expected")
        return event

    async def _ended_within(self, seconds: float) -> bool:
        deadline = asyncio.get_running_loop().time() + seconds
        pause = 0.002
        while self.process.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True

    async def _collect_errors(self, stderr: asyncio.StreamReader) -> None:
        while line := await stderr.readline():
            self.errors.append(line.decode(errors="replace").rstrip())

    def _gone(self, happened: str) -> ChildGone:
        last = next((line for line in reversed(self.errors) if line.strip()), "")
        said = f" after saying: {last}" if last else ""
        return ChildGone("talking to the", self.name, happened + said, "run again with the lab idle, or see the log")


class LogChild(JsonChild):
    """A program that logs lines of text, each told as `{"event": "log", "line": ...}`; SIGTERM asks it to finish."""

    @classmethod
    async def start(cls, host: Host, argv: Sequence[str], name: str, *, pass_fds: Sequence[int] = ()) -> LogChild:
        """Start `argv` in the host's namespace; standard error is part of its log."""
        process = host.popen(
            argv, pass_fds=pass_fds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        stdout = asyncio.StreamReader(limit=_LINE_LIMIT)
        child = cls(name, process, stdout)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), process.stdout)
        child._transports.append(transport)
        return child

    def send(self, message: Mapping[str, Any]) -> None:
        """Not to be had: raises ChildGone."""
        raise self._gone("it takes no commands")

    def close_stdin(self) -> None:
        """Ask the process to finish."""
        if self.process.poll() is None:
            self.process.terminate()

    def _event(self, line: bytes) -> dict[str, Any]:
        return {"event": "log", "line": line.decode(errors="replace").strip()}

    def _gone(self, happened: str) -> ChildGone:
        code = self.process.poll()
        if code is not None and code < 0:
            happened = f"killed by {signal.Signals(-code).name}"
        return super()._gone(happened)

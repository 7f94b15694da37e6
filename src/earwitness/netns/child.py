"""Helper processes controlled with JSON lines: commands on stdin, events on stdout.

Closing stdin asks the process to exit. It belongs to the process that started it and is ended by its own id. A foreign
program that takes no commands and only logs is handled in the same way (`LogChild`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from earwitness.errors import EarwitnessError
from earwitness.netns.host import Host

_LINE_LIMIT = 8 * 1024 * 1024
"""Longest line accepted. The longest one, a phone's report, has a bounded number of SIP messages and figures."""
MOST_UNREAD = 256 * 1024
"""Bytes of commands buffered for a process that does not read them, in addition to the pipe. A process with more
waiting is considered hung; waiting for it would hang its owner too."""
_LONGEST_ERROR = 2000
_LAST_WORDS_S = 1.0
"""Time from the end of a process's output to its exit, unless it is kept from a processor for longer."""


class ChildGone(EarwitnessError):
    """A helper process exited, or did not answer in time.

    `killed_by` is the name of the signal that killed it ("SIGKILL"), and empty if none did.
    """

    def __init__(self, tried: str, on: object, happened: object, remedy: str, *, killed_by: str = "") -> None:
        super().__init__(tried, on, happened, remedy)
        self.killed_by = killed_by


class ChildHangs(ChildGone):
    """A helper process does not read its commands."""


class Child(Protocol):
    """A helper process on this machine or another."""

    @property
    def pid(self) -> int:
        """Its process id; 0 on another machine."""
        ...

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one command. Raises ChildGone if the process has exited."""
        ...

    async def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next event. Raises ChildGone at the end of its output or after `timeout_s`."""
        ...

    def close_stdin(self) -> None:
        """Ask the process to exit."""
        ...

    async def close(self, grace_s: float = 5.0) -> None:
        """Ask it to exit, wait for it, and kill it after `grace_s`."""
        ...


class JsonChild:
    """A helper process. Create it with `start`, use `send` and `receive`, and `close` it at the end."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], stdout: asyncio.StreamReader) -> None:
        self.name = name
        self.process = process
        self.errors: deque[str] = deque(maxlen=40)
        """The last lines of its standard error."""
        self._stdout = stdout
        self._error_task: asyncio.Task[None] | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._commands: asyncio.WriteTransport | None = None

    @classmethod
    async def start(cls, host: Host, argv: Sequence[str], name: str, *, pass_fds: Sequence[int] = ()) -> JsonChild:
        """Start `argv` in the host's namespace. `name` appears in errors: "phone of caller"."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = host.popen(argv, pass_fds=pass_fds, **pipes)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        loop = asyncio.get_running_loop()
        stdout = asyncio.StreamReader(limit=_LINE_LIMIT)
        stderr = asyncio.StreamReader(limit=1 << 16)
        child = cls(name, process, stdout)
        with child._ended_unless_started():
            for reader, pipe in ((stdout, process.stdout), (stderr, process.stderr)):
                transport, _ = await loop.connect_read_pipe(lambda r=reader: asyncio.StreamReaderProtocol(r), pipe)  # type: ignore[misc]
                child._transports.append(transport)
            # Write through the loop: a process that does not read must not block this one.
            child._commands, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
            child._transports.append(child._commands)
        child._error_task = asyncio.create_task(child._collect_errors(stderr))
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one command. Raises ChildGone if the process has exited."""
        commands = self._commands
        if commands is None or commands.is_closing():
            raise self._gone("its standard input is closed")
        line = json.dumps(message).encode() + b"\n"
        if commands.get_write_buffer_size() + len(line) > MOST_UNREAD:
            gone = self._gone(f"it left more than {MOST_UNREAD} bytes of commands unread")
            raise ChildHangs(gone.tried, gone.on, gone.happened, gone.remedy)
        commands.write(line)
        if commands.is_closing():
            raise self._gone("its standard input is closed")

    async def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The next event. Raises ChildGone at the end of its output or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._stdout.readline()
        except TimeoutError as error:
            raise self._gone(f"it sent nothing for {timeout_s:g} s") from error
        except ValueError as error:
            raise self._gone(f"it sent a line of more than {_LINE_LIMIT} bytes") from error
        if not line.endswith(b"\n"):  # nothing, or a line cut short by its death
            await self._last_words()
            raise self._gone(self._ending(), self._killer())
        return self._event(line)

    async def close(self, grace_s: float = 5.0) -> None:
        """Close its stdin and wait for it to exit; after `grace_s` SIGTERM, a second later SIGKILL."""
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
            if self._commands is not None and self._commands.get_write_buffer_size():
                self._commands.abort()  # otherwise it would wait for ever to be read
            for transport in self._transports:
                transport.close()

    def close_stdin(self) -> None:
        """Ask the process to exit."""
        if self._commands is not None:
            self._commands.close()

    @contextlib.contextmanager
    def _ended_unless_started(self) -> Iterator[None]:
        """Kill the process if its start is abandoned, because nobody would own it."""
        try:
            yield
        except BaseException:
            self.process.kill()
            self.process.wait()
            for transport in self._transports:
                transport.close()
            raise

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise self._gone(f"it sent {line[:80]!r} instead of an event")
        return event

    def _ending(self) -> str:
        code = self.process.poll()
        if code is None:
            return "it closed its standard output"
        killer = self._killer()
        return f"killed by {killer}" if killer else f"it exited with status {code}"

    def _killer(self) -> str:
        code = self.process.poll()
        return _signal_name(-code) if code is not None and code < 0 else ""

    async def _last_words(self) -> None:
        """After the end of its output, wait briefly for the exit status and the rest of its standard error."""
        await self._ended_within(_LAST_WORDS_S)
        if self._error_task is not None:
            await asyncio.wait({self._error_task}, timeout=_LAST_WORDS_S)

    async def _ended_within(self, seconds: float) -> bool:
        if self.process.poll() is not None:
            return True
        descriptor = os.pidfd_open(self.process.pid)
        try:
            await exits_within(descriptor, seconds)
        finally:
            os.close(descriptor)
        return self.process.poll() is not None

    async def _collect_errors(self, stderr: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stderr.readline()
            except ValueError:  # an endless line: discard what was read, and continue
                continue
            if not line:
                return
            self.errors.append(line.decode(errors="replace").rstrip()[:_LONGEST_ERROR])

    def _gone(self, happened: str, killed_by: str = "") -> ChildGone:
        last = next((line for line in reversed(self.errors) if line.strip()), "")
        said = f" after printing: {last}" if last else ""
        remedy = "run again with the lab idle, or see the log"
        return ChildGone("talking to the", self.name, happened + said, remedy, killed_by=killed_by)


class LogChild(JsonChild):
    """A program that logs lines of text, reported as `{"event": "log", "line": ...}`; SIGTERM asks it to exit."""

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
        with child._ended_unless_started():
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), process.stdout)
            child._transports.append(transport)
        return child

    def send(self, message: Mapping[str, Any]) -> None:
        """Not supported: raises ChildGone."""
        raise self._gone("it takes no commands")

    def close_stdin(self) -> None:
        """Ask the process to exit."""
        if self.process.poll() is None:
            self.process.terminate()

    def _event(self, line: bytes) -> dict[str, Any]:
        return {"event": "log", "line": line.decode(errors="replace").strip()}


async def exits_within(pidfd: int, seconds: float) -> bool:
    """Whether a process exits within this time; its pidfd is then readable (pidfd_open(2))."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, over.set)
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"

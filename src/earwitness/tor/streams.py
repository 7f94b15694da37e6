"""Attaches our streams, and no others, to our circuit, and verifies it (control-spec 3.14 ATTACHSTREAM).

While `attaching` is open, tor leaves new streams to its controllers. Our streams have a SOCKS user name of their own,
and each is attached to the requested circuit; all others are returned to tor at once. If tor detaches a stream of ours
(the exit refused it), it is closed immediately, before tor can try it on another circuit.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiostem.event import EventStream
from aiostem.exceptions import AiostemError
from aiostem.structures import StreamCloseReasonInt

from earwitness.errors import EarwitnessError
from earwitness.netns.private import not_ours
from earwitness.netns.sandbox import private_place
from earwitness.tor.control import Circuit, TorControl
from earwitness.tor.control_address import ControlAddress

USER_PREFIX = "earwitness-"
"""Prefix of the SOCKS user names of all calls; no call touches another's streams."""

_LEAVE = "__LeaveStreamsUnattached"
_LOCK_TIMEOUT_S = 30.0
_SWEEP_EVERY_S = 0.5


@dataclass
class TorStream:
    """One stream of ours, as the control events report it."""

    id: int
    label: str
    """The SOCKS password it was opened with, which names the path's flow that it carries."""
    source_port: int = 0
    status: str = "NEW"
    reason: str = ""
    remote_reason: str = ""
    circuits: list[int] = field(default_factory=list)
    """Every circuit that tor reported for the stream, in order, without repeats."""
    closed_ns: int = 0

    @property
    def ended(self) -> str | None:
        """Why it closed, or None while it is open; after an END cell from the exit, the exit's reason."""
        if not self.closed_ns:
            return None
        return self.remote_reason or self.reason or self.status


class StreamWatch:
    """Follows the streams with one SOCKS user name, and attaches them to one circuit, if given."""

    def __init__(self, control: TorControl, circuit: Circuit | None, username: str) -> None:
        if not username.startswith(USER_PREFIX):
            raise ValueError(f"a SOCKS user name of ours begins with {USER_PREFIX!r}, not {username!r}")
        self.username = username
        self.circuit = circuit
        self.streams: dict[int, TorStream] = {}
        self.refused: list[str] = []
        """Tor's reason for refusing to attach one of our streams."""
        self._control = control
        self._attaching = False

    @contextmanager
    def following(self) -> Iterator[StreamWatch]:
        """Follow our streams' events while the path is open."""
        self._control.on_stream(self._on_stream)
        try:
            yield self
        finally:
            self._control.off_stream(self._on_stream)

    @asynccontextmanager
    async def attaching(self) -> AsyncIterator[None]:
        """Attach our new streams to our circuit while this is open; restores tor's configuration on exit."""
        async with my_turn(self._control.address) as turn:
            before = "0" if turn.left_changed else await self._control.configuration(_LEAVE)
            await self._control.configure(_LEAVE, "1")
            self._attaching = True
            sweeper = asyncio.ensure_future(self._sweep_for_ever())
            try:
                yield
            finally:
                self._attaching = False
                sweeper.cancel()
                with suppress(asyncio.CancelledError):
                    await sweeper
                # If the control connection is closed, tor has ended too, or it keeps the setting; then the next
                # holder of the lock finds our mark and restores the setting.
                with suppress(AiostemError, EarwitnessError):
                    await self._control.configure(_LEAVE, before or "0")
                    turn.restored = True
                    for number in await self._unattached():
                        await self._hand_back(number)

    async def verify(self) -> dict[str, int]:
        """Ask tor which circuit each of our streams uses now: label -> circuit id.

        Raises `EarwitnessError` if one is on another circuit than ours, or ever was.
        """
        assert self.circuit is not None, "nothing to verify: no circuit was requested"
        ours = self.circuit.id
        now: dict[int, int] = {}
        for line in (await self._control.info("stream-status")).splitlines():
            fields = line.split()
            if len(fields) >= 3 and int(fields[0]) in self.streams:
                now[int(fields[0])] = int(fields[2])
        for number, stream in self.streams.items():
            strays = [circuit for circuit in [*stream.circuits, now.get(number, 0)] if circuit not in (0, ours)]
            if strays:
                raise EarwitnessError(
                    "keeping stream",
                    f"{stream.label} on circuit {ours}",
                    f"tor had it on circuit {strays[0]}",
                    "let no other controller attach streams while a call opens",
                )
        return {stream.label: now[number] for number, stream in self.streams.items() if number in now}

    def by_label(self) -> dict[str, TorStream]:
        """The newest stream of each label."""
        return {stream.label: stream for stream in self.streams.values()}

    def _on_stream(self, event: EventStream) -> None:
        number, status = event.stream, str(event.status)
        known = self.streams.get(number)
        if known is None:
            if status != "NEW":
                return
            if event.socks_username != self.username:
                if self._attaching and not (event.socks_username or "").startswith(USER_PREFIX):
                    self._control.spawn(self._hand_back(number))
                return
            known = TorStream(number, label=event.socks_password or "")
            if event.source_addr is not None:
                known.source_port = event.source_addr.port
            self.streams[number] = known
            if self.circuit is not None:
                self._control.spawn(self._attach(number, self.circuit.id))
        known.status = status
        if event.circuit and event.circuit not in known.circuits:
            known.circuits.append(event.circuit)
        if status in ("FAILED", "CLOSED", "DETACHED") and not known.closed_ns:
            # The first reason is tor's; after a DETACHED, later ones come from our closing the stream.
            known.reason, known.remote_reason = str(event.reason or ""), str(event.remote_reason or "")
            known.closed_ns = time.monotonic_ns()
        if self.circuit is not None and (status == "DETACHED" or event.circuit not in (0, self.circuit.id)):
            self._control.spawn(self._close(number))

    async def _attach(self, number: int, circuit: int) -> None:
        try:
            reply = await self._control.request(self._control.controller.attach_stream(number, circuit))
            reply.raise_for_status()
        except (AiostemError, EarwitnessError) as error:
            self.refused.append(f"attaching stream {number} to circuit {circuit}: {error}")
            await self._close(number)

    async def _hand_back(self, number: int) -> None:
        """Attach to circuit 0: tor chooses. Tor refuses this for its internal streams, which it attaches itself."""
        with suppress(AiostemError, EarwitnessError):
            await self._control.request(self._control.controller.attach_stream(number, 0))

    async def _close(self, number: int) -> None:
        with suppress(AiostemError, EarwitnessError):
            await self._control.request(self._control.controller.close_stream(number, StreamCloseReasonInt.MISC))

    async def _sweep_for_ever(self) -> None:
        """Return unattached streams to tor, so that those whose events could not be parsed do not hang."""
        seen: set[int] = set()
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            unattached = await self._unattached()
            for number in unattached & seen:
                await self._hand_back(number)
            seen = unattached

    async def _unattached(self) -> set[int]:
        """The streams without a circuit that are not ours."""
        status = (line.split() for line in (await self._control.info("stream-status")).splitlines())
        return {int(f[0]) for f in status if len(f) >= 3 and f[2] == "0"} - self.streams.keys()


@dataclass
class StreamTurn:
    """A call's exclusive right to change the setting."""

    left_changed: bool
    """The previous holder died with the setting changed."""
    restored: bool = False
    """To be set once the setting is restored."""


@asynccontextmanager
async def my_turn(address: ControlAddress) -> AsyncIterator[StreamTurn]:
    """Let one call at a time change how this tor attaches streams, through a lock file with a mark while changed.

    The file is removed when the setting is restored.
    """
    path = _lock_file(address)
    descriptor = await _locked(path, address)
    try:
        turn = StreamTurn(left_changed=os.pread(descriptor, 1, 0) == b"1")
        os.pwrite(descriptor, b"1", 0)
        try:
            yield turn
        finally:
            if turn.restored:
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock_file(address: ControlAddress) -> Path:
    """The lock file for this tor: in the lab's directory for a lab's tor, else shared by the user's commands."""
    name = hashlib.sha256(str(address).encode()).hexdigest()[:16]
    private = private_place()
    if private is not None and address.path is not None and address.path.is_relative_to(private):
        return private / f"{name}.lock"
    return Path(tempfile.gettempdir()) / f"earwitness-{os.getuid()}-{name}.lock"


async def _locked(path: Path, address: ControlAddress) -> int:
    """Open and lock the file; returns its descriptor.

    Raises:
        EarwitnessError: others hold it too long, or the file is not this user's alone.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):  # or the previous holder removed it after we had opened it
                return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise EarwitnessError(
                    "waiting for another call to finish opening at",
                    address,
                    f"still busy after {_LOCK_TIMEOUT_S:g} s",
                    "end that call, or try again",
                ) from None
        os.close(descriptor)
        await asyncio.sleep(0.02)


def _opened(path: Path) -> int:
    """Open the lock file, or create it; another user may have put a different file there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    remedy = "remove it, or set TMPDIR to a directory that only you can write to"
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise EarwitnessError("opening the lock", path, error.strerror, remedy) from error
    about = os.fstat(descriptor)
    problem = not_ours(about) if stat.S_ISREG(about.st_mode) else "it is not a file"
    if problem:
        os.close(descriptor)
        raise EarwitnessError("opening the lock", path, problem, remedy)
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether this name still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

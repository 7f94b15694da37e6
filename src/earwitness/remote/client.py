"""The calling side's session with the remote machine: requests and processes, over connections that may break."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.phone.builtin import failure_from
from earwitness.remote.certificates import Invitation
from earwitness.remote.channel import (
    Channel,
    LaterResult,
    Message,
    MessageCheck,
    unchecked,
)
from earwitness.remote.child import RemoteChild
from earwitness.remote.connector import Connection, Connector, Refused
from earwitness.remote.hello import Hello
from earwitness.remote.session import CHUNK_BYTES
from earwitness.remote.store import CAPTURE, EVENTS, RECORDING, SPEECH
from earwitness.untrusted import fit, shown, text

DEFAULT_PORT = 7717
UNREACHABLE_S = 120.0
"""The remote machine is given up after it has been unreachable for this long,"""
REFUSED_S = 8.0
"""or has refused connections for this long: its `answer` has ended."""
_RETRY_S = 0.3
ANSWERED_S = 300.0
"""Time limit of a request: two minutes without a connection, one to publish an onion service, and as much again.
A peer that is silent for longer over a working channel will not answer."""
LONGEST_FILE_BYTES = 1 << 30
"""Size limit of a call's file; an hour's capture of both directions is about a tenth of it."""
FETCHED_S = 3600.0
"""Time limit for fetching one file of a call."""
KEPT = frozenset((CAPTURE, SPEECH, RECORDING, EVENTS))
"""Files that an answering side keeps of a call; no other name is written here."""


class RemoteClient:
    """A session with the remote machine, as its caller. Use `connect`."""

    def __init__(self, address: tuple[str, int], invitation: Invitation, also_at: str = "") -> None:
        self.address = address
        self._also_at = also_at
        self.hello: Hello
        self.local_address = ""
        """Our own address on the route to it."""
        self.lost: CallFailure | None = None
        """Why the remote machine was given up; None while it was not."""
        self.channel = Channel(self._deliver)
        self.connections = 0
        """How many connections the channel has used so far."""
        self._connector = Connector(address, invitation)
        self._session = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[Any, bytes]]] = {}
        self._children: dict[int, RemoteChild] = {}
        self._reached = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, address: tuple[str, int], invitation: Invitation, also_at: str = ""
    ) -> AsyncIterator[RemoteClient]:
        """Connect, authenticate both sides, and keep the session until leaving. `also_at`: another address of the peer.

        Raises `CallFailure`: `REMOTE_REFUSED` if the server's certificate is not the invitation's (nothing is sent to
        it then), it rejects our certificate, or it is busy; `REMOTE_LOST` if it cannot be reached.
        """
        remote = cls(address, invitation, also_at)
        try:
            connection = await remote._connected()
        except Refused as refused:
            raise remote._failure(Outcome.REMOTE_REFUSED, str(refused)) from refused
        except OSError as error:
            raise remote._failure(Outcome.REMOTE_LOST, error) from error
        holding = asyncio.create_task(remote._hold(connection))
        try:
            yield remote
        finally:
            if remote.connected:
                with contextlib.suppress(EarwitnessError, TimeoutError):
                    async with asyncio.timeout(20.0):
                        await remote.ask("leave")
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._reached.is_set() and self.lost is None

    def check_address(self, what: str, address: str) -> str:
        """Return an address that the remote machine gives as its own, if it is the one that we were asked to call.

        The remote machine must not redirect us elsewhere, or to ourselves. Raises `CallFailure` (`REMOTE_REFUSED`).
        """
        known = {*self._connector.known_addresses, self._also_at} - {""}
        if address not in known:
            raise CallFailure(
                Outcome.REMOTE_REFUSED,
                f"connecting {what} to",
                on=fit(address, 100),
                happened=f"the other machine gave this address, but the call is to {self.address[0]}",
                remedy="set `answer --reached-at` there to the address that --to has here",
                evidence={"told": fit(address, 100), "known": sorted(map(str, known))},
            )
        return address

    async def within_reach(self) -> None:
        """Wait until there is a connection. Raises `CallFailure` if the remote machine was given up."""
        await self._reached.wait()
        if self.lost is not None:
            raise self.lost

    async def ask(self, do: str, blob: bytes = b"", **given: Any) -> tuple[Any, bytes]:
        """Send a request; return its value and raw bytes. Raises the error that was raised remotely."""
        if self.lost is not None:
            raise self.lost
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self.channel.send({"id": number, "do": do, "with": given}, blob)
            async with asyncio.timeout(ANSWERED_S):
                answered: tuple[Any, bytes] = await waiting
            return answered
        except TimeoutError as error:
            raise self._failure(Outcome.REMOTE_LOST, f"no answer to `{do}` in {ANSWERED_S:g} s") from error
        finally:
            del self._waiting[number]

    async def start(self, do: str, name: str, believed: MessageCheck = unchecked, **given: Any) -> RemoteChild:
        """Start a remote process; `believed` validates its events."""
        child, _ = await self.started(do, name, believed, **given)
        return child

    async def started(
        self, do: str, name: str, believed: MessageCheck = unchecked, **given: Any
    ) -> tuple[RemoteChild, Any]:
        """Start a remote process; return it and the value of the reply."""
        number = next(self._numbers)
        child = self._children[number] = RemoteChild(self, number, f"{name} of {self.hello.name}", believed)
        value, _ = await self.ask(do, child=number, **given)
        return child, value

    @asynccontextmanager
    async def opened(self, do: str, **given: Any) -> AsyncIterator[tuple[Any, LaterResult]]:
        """Open a remote service until leaving; give its description, and a function that requests its result."""
        number = next(self._numbers)

        async def result() -> Any:
            value, _ = await self.ask("result", number=number)
            return value

        value, _ = await self.ask(do, number=number, **given)
        try:
            yield value, result
        finally:
            if self.connected:
                with contextlib.suppress(EarwitnessError):  # given up meanwhile: the remote side closes it too
                    await self.ask("close", number=number)

    async def fetch(self, name: str, out: Path, call_id: str = "") -> None:
        """Fetch a file of the call, or of an earlier one by its id. `out` exists only once it is complete."""
        draft = out.with_name(out.name + ".part")
        try:
            with draft.open("wb") as file:
                async with asyncio.timeout(FETCHED_S):
                    await self._fetch_into(file, name, call_id)
            draft.replace(out)
        except TimeoutError as error:
            raise self._failure(Outcome.REMOTE_LOST, f"{name} was not here after {FETCHED_S:g} s") from error
        finally:
            draft.unlink(missing_ok=True)

    async def _fetch_into(self, file: BinaryIO, name: str, call_id: str) -> None:
        """Fetch it in pieces; every piece but the last has the same length, so their number is bounded."""
        while True:
            _, piece = await self.ask("fetch", name=name, offset=file.tell(), call_id=call_id)
            if file.tell() + len(piece) > LONGEST_FILE_BYTES:
                raise self._failure(Outcome.REMOTE_LOST, f"{name} has more than {LONGEST_FILE_BYTES} bytes")
            file.write(piece)
            if len(piece) < CHUNK_BYTES:
                return

    # -- the connection --------------------------------------------------------------------------------

    async def _hold(self, connection: Connection | None) -> None:
        """Carry the channel, connection after connection, until the remote machine is given up."""
        try:
            while connection is not None:
                self._reached.set()
                try:
                    await self.channel.carry(connection.reader, connection.writer, connection.they_have)
                except OSError:
                    self._reached.clear()
                finally:
                    connection.writer.transport.abort()
                connection = await self._reconnected()
        except Exception as fault:  # a bug of ours: nothing that awaits the remote machine may wait for ever
            self._give_up(f"{type(fault).__name__}: {fault}")
            raise

    async def _reconnected(self) -> Connection | None:
        """Make the next connection; None if the remote machine was given up."""
        begun = time.monotonic()
        reached = begun
        while True:
            try:
                return await self._connected()
            except Refused as refused:
                self._give_up(f"its `answer` no longer knows the call: {refused}")
                return None
            except ConnectionRefusedError as error:
                if time.monotonic() - reached > REFUSED_S:
                    self._give_up(f"its `answer` has ended ({error.strerror})")
                    return None
            except OSError as error:
                reached = time.monotonic()
                if reached - begun > UNREACHABLE_S:
                    self._give_up(f"unreachable for {UNREACHABLE_S:g} s: {error}")
                    return None
            await asyncio.sleep(_RETRY_S)

    async def _connected(self) -> Connection:
        """Make one more connection of the session. Raises as `Connector.connect`."""
        connection = await self._connector.connect(self._session, self.channel.received)
        self.hello, self._session, self.local_address = connection.hello, connection.session, connection.local_address
        self.connections += 1
        return connection

    def _give_up(self, happened: str) -> None:
        self.lost = self._failure(Outcome.REMOTE_LOST, happened)
        self._reached.set()
        for child in self._children.values():
            child.end(happened)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(self.lost)

    def _failure(self, outcome: Outcome, happened: object) -> CallFailure:
        remedies = {
            Outcome.REMOTE_REFUSED: "give the invitation of its `earwitness answer`, while it has no other call",
            Outcome.REMOTE_LOST: "check that `earwitness answer` runs there, and see what it kept",
        }
        return CallFailure(
            outcome,
            "reaching the other machine at",
            on=f"{self.address[0]}:{self.address[1]}",
            happened=happened or "no answer",
            remedy=remedies[outcome],
            evidence={"connections": self.connections},
        )

    # -- what comes over the channel -------------------------------------------------------------------

    def _deliver(self, message: Message, blob: bytes) -> None:
        if "child" in message:
            child = self._children.get(message["child"])
            if child is not None and "event" in message:
                child.hear(message["event"])
            elif child is not None:
                killer = text(message.get("killed_by", ""), what="the signal that killed it")
                child.end(text(message["gone"], what="how it ended"), killer)
            return
        waiting = self._waiting.get(message["re"])
        if waiting is None or waiting.done():
            return
        if "failure" in message:
            waiting.set_exception(_raised_there(message["failure"]))
        else:
            waiting.set_result((message["value"], blob))


async def fetch_kept(address: tuple[str, int], invitation: Invitation, call_id: str, out: Path) -> list[Path]:
    """Fetch every file that the remote machine keeps of an earlier call into the folder `out`; return their paths.

    Raises `CallFailure` (`REMOTE_REFUSED`, `REMOTE_LOST`), and `InputError` if it has no call of that id or `out` is
    not writable.
    """
    async with RemoteClient.connect(address, invitation) as remote:
        files, _ = await remote.ask("files", call_id=call_id)
        names = list(files) if isinstance(files, dict) else [shown(files)]
        if strange := [name for name in names if name not in KEPT]:
            raise EarwitnessError(
                "fetching", shown(strange[0]), "not the name of a file of a call", "ask who runs that machine"
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name in names:
                await remote.fetch(name, out / name, call_id)
        except OSError as error:
            raise InputError("fetching into", out, error.strerror, "give a writable folder") from error
    return [out / name for name in names]


def _raised_there(values: dict[str, Any]) -> EarwitnessError:
    try:
        if values["kind"] == "CallFailure":
            return failure_from(values)
        error = InputError if values["kind"] == "InputError" else EarwitnessError
        return error(*(text(values[key], what=key) for key in ("stage", "on", "happened", "remedy")))
    except (KeyError, TypeError, ValueError) as fault:
        remedy = "run the same Earwitness on both machines"
        return EarwitnessError(
            "doing something at", "the other machine", f"it failed without a readable reason ({fault!r:.200})", remedy
        )


def parse_address(text: str, *, lowest_port: int = 1) -> tuple[str, int]:
    """Parse `HOST` or `HOST:PORT`. Raises `InputError` otherwise."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    if not host or not port.isdecimal() or not lowest_port <= int(port) <= 65535:
        raise InputError(
            "reading the address", text or "(empty)", "not HOST or HOST:PORT", "give an address such as 192.0.2.7"
        )
    return host, int(port)

"""The Tor control connection of a call, with typed failures (control-spec; uses aiostem)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiostem import Controller
from aiostem.connector import ControlConnector
from aiostem.event import Event, EventCirc, EventStream
from aiostem.exceptions import AiostemError, ReplyStatusError
from aiostem.reply import BaseReply

from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.netns.egress import network_socket
from earwitness.tor.control_address import ControlAddress, ControlUnreachable
from earwitness.tor.relays import Relay, parse_router_status

T = TypeVar("T")
REQUEST_TIMEOUT_S = 15.0
_CLOSED_KEPT = 256

# The library logs a traceback for an event that it cannot parse. Nothing here depends on such an event
# (streams are swept as well as followed), and a user should not see it.
logging.getLogger("aiostem").addHandler(logging.NullHandler())
logging.getLogger("aiostem").propagate = False


@dataclass
class Circuit:
    """A circuit as the control events report it; it changes while it lives."""

    id: int
    fingerprints: tuple[str, ...] = ()
    status: str = "LAUNCHED"
    reason: str = ""
    remote_reason: str = ""
    build_ms: float = 0.0
    closed_ns: int = 0
    """When its end was noticed (CLOCK_MONOTONIC); 0 while it is open."""
    _built: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def ended(self) -> str | None:
        """Why it closed, such as `DESTROYED (remote: CHANNEL_CLOSED)`; None while it is open."""
        if self.status not in ("FAILED", "CLOSED"):
            return None
        return (self.reason or self.status) + (f" (remote: {self.remote_reason})" if self.remote_reason else "")


StreamListener = Callable[[EventStream], None]


class TorControl:
    """One authenticated control connection; created by `connect`."""

    def __init__(self, controller: Controller, address: ControlAddress) -> None:
        self.address = address
        self.lost: str | None = None
        """Why the control connection closed, or None while it is open."""
        self._controller = controller
        self._circuits: dict[int, Circuit] = {}
        self._stream_listeners: list[StreamListener] = []
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: ControlAddress) -> AsyncIterator[TorControl]:
        """Connect, authenticate (by cookie, or not at all if tor permits), and follow circuits and streams.

        Raises `ControlUnreachable` if nothing listens there, `EarwitnessError` if the cookie is refused.
        """
        connector = Controller.from_path(str(address.path)) if address.path else Controller(_NetworkPort(address))
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                controller = await connector.__aenter__()
        except (OSError, TimeoutError) as error:
            raise ControlUnreachable(address, error or "no answer") from error
        control = cls(controller, address)
        try:
            await control._begin()
            yield control
        finally:
            for task in control._tasks:
                task.cancel()
            await asyncio.gather(*control._tasks, return_exceptions=True)
            await controller.__aexit__(None, None, None)

    async def _begin(self) -> None:
        try:
            reply = await self.request(self._controller.authenticate())
            reply.raise_for_status()
            await self.request(self._controller.add_event_handler("DISCONNECT", self._on_disconnect))
            await self.request(self._controller.add_event_handler("CIRC", self._on_circuit))
            await self.request(self._controller.add_event_handler("STREAM", self._on_stream))
        except (ReplyStatusError, AiostemError, OSError) as error:
            raise EarwitnessError(
                "authenticating to tor at",
                self.address,
                error,
                "run as a user who can read tor's cookie file (on Debian: member of group debian-tor)",
            ) from error

    async def request(self, command: Coroutine[Any, Any, T]) -> T:
        """Run one command. It is never abandoned: an unread reply would be taken as the reply to the next command."""
        task = asyncio.ensure_future(command)
        self._keep(task)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise EarwitnessError(
                "asking tor at", self.address, f"no answer in {REQUEST_TIMEOUT_S:g} s", "see tor's log; restart it"
            ) from error

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a task while the connection lasts (an event handler must not wait for a reply)."""
        self._keep(asyncio.ensure_future(work))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieve it here, or the loop would report an exception that the waiter also gets

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a circuit or stream event makes the condition true. Has no timeout; the caller sets one."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    # -- commands ----------------------------------------------------------------------------------

    async def info(self, key: str) -> str:
        """`GETINFO key`. Raises `EarwitnessError` when tor refuses."""
        reply = await self._granted("for", key, self._controller.get_info(key))
        value = (reply.data or {}).get(key)
        return value if isinstance(value, str) else ""

    async def relays(self) -> list[Relay]:
        """The relays in this tor's consensus; empty before it has one."""
        return parse_router_status((await self.info("ns/all")).splitlines())

    async def configuration(self, key: str) -> str:
        """`GETCONF key`: the value as text, empty for a default. Raises `EarwitnessError` when tor refuses."""
        reply = await self._granted("for its option", key, self._controller.get_conf(key))
        value = (reply.data or {}).get(key)
        return str(value) if value is not None else ""

    async def configure(self, key: str, value: str) -> None:
        """`SETCONF key=value`, in memory only, never in a torrc. Raises `EarwitnessError` when tor refuses."""
        await self._granted("to set", f"{key}={value}", self._controller.set_conf({key: value}))

    async def follow(self, event: str, handler: Callable[[Event], None]) -> None:
        """Subscribe to events of this name. Raises `EarwitnessError` when tor refuses."""
        await self._granted("to report", event, self._controller.add_event_handler(event, handler))

    async def _granted(self, what: str, on: str, command: Coroutine[Any, Any, T]) -> T:
        """Send a command and return its reply. Raises `EarwitnessError` if tor refuses or the connection is closed."""
        try:
            reply = await self.request(command)
            if isinstance(reply, BaseReply):
                reply.raise_for_status()
        except AiostemError as error:
            raise EarwitnessError(f"asking tor at {self.address} {what}", on, error, "see tor's log") from error
        return reply

    @property
    def controller(self) -> Controller:
        """The library's controller, for commands with only one caller."""
        return self._controller

    # -- circuits ----------------------------------------------------------------------------------

    async def build_circuit(self, fingerprints: Sequence[str], *, timeout_s: float = 30.0) -> Circuit:
        """Build a circuit through exactly these relays, guard first, and wait until it is BUILT.

        On failure closes the circuit and raises `CallFailure` (`CIRCUIT_FAILED`) with tor's reason as evidence.
        """
        begun = time.monotonic_ns()
        named = " -> ".join(fingerprint[:8] for fingerprint in fingerprints)
        try:
            reply = await self.request(self._controller.extend_circuit(0, [f"${f}" for f in fingerprints]))
            reply.raise_for_status()
        except AiostemError as error:
            raise _circuit_failure(named, f"tor refused: {error}", {"reason": str(error)}) from error
        assert reply.data is not None
        circuit = self._circuit(reply.data.circuit)
        try:
            async with asyncio.timeout(timeout_s):
                await circuit._built.wait()
        except TimeoutError as error:
            await self.close_circuit(circuit.id)
            hops = len(circuit.fingerprints)
            evidence = {"circuit_id": circuit.id, "reason": "TIMEOUT", "hops_built": hops}
            raise _circuit_failure(named, f"{hops} hops built in {timeout_s:g} s", evidence) from error
        except asyncio.CancelledError:
            # Await it rather than spawn a task, which would end with this connection, possibly at once.
            await self.close_circuit(circuit.id)
            raise
        if circuit.ended is not None:
            hops = len(circuit.fingerprints)
            evidence = {
                "circuit_id": circuit.id,
                "reason": circuit.reason,
                "remote_reason": circuit.remote_reason,
                "hops_built": hops,
            }
            raise _circuit_failure(named, f"{circuit.ended} after {hops} hops", evidence)
        circuit.build_ms = (time.monotonic_ns() - begun) / 1e6
        return circuit

    async def standing_circuit(self, circuit_id: int, fingerprints: Sequence[str]) -> Circuit | None:
        """The circuit with this id, if it is still open through exactly these relays."""
        for line in (await self.info("circuit-status")).splitlines():
            fields = line.split()
            if len(fields) >= 3 and fields[0] == str(circuit_id) and fields[1] == "BUILT":
                path = tuple(part.lstrip("$").partition("~")[0].partition("=")[0] for part in fields[2].split(","))
                if path == tuple(fingerprints):
                    circuit = self._circuit(circuit_id)
                    circuit.fingerprints, circuit.status = path, "BUILT"
                    return circuit
        return None

    async def close_circuit(self, circuit_id: int) -> None:
        """Close a circuit; no error if it is already closed."""
        try:
            await self.request(self._controller.close_circuit(circuit_id))
        except AiostemError:
            return  # The control connection is closed; tor drops the circuit with its streams.

    def circuit(self, circuit_id: int) -> Circuit:
        """The state of a circuit, whichever process built it; updated by events."""
        return self._circuit(circuit_id)

    def _circuit(self, circuit_id: int) -> Circuit:
        return self._circuits.setdefault(circuit_id, Circuit(circuit_id))

    def _on_circuit(self, event: Event) -> None:
        assert isinstance(event, EventCirc)
        circuit = self._circuit(event.circuit)
        circuit.status = str(event.status)
        if event.path is not None:
            circuit.fingerprints = tuple(server.fingerprint.hex().upper() for server in event.path)
        if circuit.status in ("FAILED", "CLOSED"):
            circuit.reason, circuit.remote_reason = str(event.reason or ""), str(event.remote_reason or "")
            circuit.closed_ns = time.monotonic_ns()
            circuit._built.set()
            self._forget_old_circuits()
        elif circuit.status == "BUILT":
            circuit._built.set()
        self._changed.set()

    def _forget_old_circuits(self) -> None:
        closed = [number for number, circuit in self._circuits.items() if circuit.closed_ns]
        for number in closed[:-_CLOSED_KEPT]:
            del self._circuits[number]

    # -- streams -----------------------------------------------------------------------------------

    def on_stream(self, listener: StreamListener) -> None:
        """Call `listener` with each STREAM event, until `off_stream`."""
        self._stream_listeners.append(listener)

    def off_stream(self, listener: StreamListener) -> None:
        """No longer call `listener`."""
        self._stream_listeners.remove(listener)

    def _on_stream(self, event: Event) -> None:
        assert isinstance(event, EventStream)
        for listener in list(self._stream_listeners):
            listener(event)
        self._changed.set()

    def _on_disconnect(self, _event: Event) -> None:
        self.lost = f"the control connection to tor at {self.address} closed"
        for circuit in self._circuits.values():
            circuit._built.set()
            if not circuit.closed_ns:
                circuit.status, circuit.reason, circuit.closed_ns = "CLOSED", "CONTROL_LOST", time.monotonic_ns()
        self._changed.set()


def _circuit_failure(named: str, happened: str, evidence: dict[str, Any]) -> CallFailure:
    return CallFailure(
        Outcome.CIRCUIT_FAILED,
        "building the circuit",
        on=named,
        happened=happened,
        remedy="try again, or choose another guard, middle or exit",
        evidence=evidence,
    )


class _NetworkPort(ControlConnector):
    """A control port in the host's network namespace, reachable from within a sandbox too."""

    def __init__(self, address: ControlAddress) -> None:
        self._address = address

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to it. Raises `OSError`."""
        connection = network_socket()
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, (self._address.host, self._address.port))
        except BaseException:
            connection.close()
            raise
        return await asyncio.open_connection(sock=connection)

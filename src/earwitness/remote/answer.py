"""The answering side: a listener that admits one caller, identified by its certificate, and serves its calls."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from earwitness.errors import InputError
from earwitness.events import Listener, Notice, WarningGiven, ignore
from earwitness.netns.accepting import UnverifiedPeers, connections
from earwitness.netns.egress import in_isolated_network, network_socket
from earwitness.remote.answering import Answering
from earwitness.remote.certificates import AnswerKeys, is_pinned, server_context
from earwitness.remote.channel import LONGEST_REQUEST, Message, encode, read
from earwitness.remote.log_limit import RateLimited
from earwitness.remote.machine import interface_of
from earwitness.remote.session import CallerSession
from earwitness.untrusted import name, whole

PROTOCOL = 1
HANDSHAKE_S = 10.0
_ARRIVAL_LINES = 60
GOODBYE_S = 2.0
"""Time for a TLS connection to shut down."""
END_WITHIN_S = 20.0
"""Time for a session to end when `answer` is stopped: its phone hangs up and removes its registration."""


def open_listener(address: str, port: int) -> socket.socket:
    """Open a listening socket in the machine's network. Raises `InputError` if the address is foreign or in use."""
    listener = network_socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(16)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        remedy = "give an address of this machine and a free port to --listen"
        raise InputError("listening on", f"{address}:{port}", error, remedy) from error
    return listener


class Answerer:
    """Serves callers, one at a time, until cancelled."""

    def __init__(self, keys: AnswerKeys, answering: Answering, on_event: Listener = ignore) -> None:
        self.strangers = 0
        """Connections refused during the handshake."""
        self._keys, self._answering, self._on_event = keys, answering, on_event
        self._context = server_context(keys)
        self._caller: CallerSession | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._gone = asyncio.Event()
        self._unproven = UnverifiedPeers()
        self._refusals = RateLimited(on_event, WarningGiven, "connections were refused")
        self._arrivals = RateLimited(on_event, Notice, "lines about callers", most=_ARRIVAL_LINES)
        self._breaks = RateLimited(on_event, WarningGiven, "connections of the caller broke or were unusable")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether a session is open, connected or not."""
        return self._caller is not None and not self._caller.ended.is_set()

    @property
    def visited(self) -> bool:
        """Whether any caller has connected."""
        return self._caller is not None

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until cancelled. A call in progress is then ended; its files are kept."""
        try:
            async for connection, peer in connections(listener):
                self._take_in(connection, peer)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._caller is not None:
                # Its processes die with this one, so a hung session must not delay the exit.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(END_WITHIN_S):
                        await self._caller.close()
            for said in (self._refusals, self._breaks, self._arrivals):
                said.sum_up()

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _take_in(self, connection: socket.socket, peer: str) -> None:
        """Start the handshake. The connection counts as unverified until it has identified itself or is closed."""

        def drop() -> None:
            self._refused(peer, "it had not identified itself when newer connections arrived")
            task.cancel()

        number = self._unproven.enter(peer, drop)
        task = self._run(self._shake_hands(connection, peer, lambda: self._unproven.leave(number)))
        task.add_done_callback(lambda _: self._unproven.leave(number))

    async def _shake_hands(self, connection: socket.socket, peer: str, known: Callable[[], None]) -> None:
        """Complete the handshake and check the certificate; nothing is sent to the peer before that.

        `known` is called once the peer has identified itself.
        """
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LONGEST_REQUEST)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError as error:  # TLS errors and handshake time-outs included
            # The transport owns the socket: if we closed it here, its descriptor could be reused while still in use.
            self._refused(peer, error)
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
            if not is_pinned(tls.getpeercert(binary_form=True), self._keys.client_certificate):
                self._refused(peer, "its certificate is not the caller's")
                return
            async with asyncio.timeout(HANDSHAKE_S):
                hello, _ = await read(reader)
            known()
            await self._serve(hello, reader, writer)
        except (OSError, KeyError, TypeError, ValueError) as error:
            self._breaks.report(f"the connection from {peer} was unusable ({error!r:.200})")
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()

    def _refused(self, peer: str, why: object) -> None:
        self.strangers += 1
        self._refusals.report(f"refused {peer}: {why}")

    async def _serve(self, hello: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if hello["earwitness"] != PROTOCOL:
            writer.write(encode({"refused": "its protocol version differs"}))
            return
        # Parse everything before creating the session: a session without a connection would lock out every caller.
        session, they_have = name(hello["session"], what="session"), whole(hello["received"], what="received")
        caller = self._caller
        if session:
            if caller is None or caller.session != session or caller.ended.is_set():
                writer.write(encode({"refused": "the call is no longer known here", "unknown": True}))
                return
        elif caller is not None and not caller.ended.is_set():
            writer.write(encode({"refused": f"it is busy with call {caller.call_id or 'that is being set up'}"}))
            return
        else:
            address = writer.get_extra_info("sockname")[0]
            interface = "" if in_isolated_network() else interface_of(address)
            machine = replace(self._answering.machine, address=address, interface=interface)
            caller = self._caller = CallerSession(replace(self._answering, machine=machine))
            self._run(self._see_to_its_end(caller))
            self._arrivals.report(f"a caller came from {writer.get_extra_info('peername')[0]}")
        await self._carry(caller, they_have, reader, writer)

    async def _carry(
        self, caller: CallerSession, they_have: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Make this the session's connection. An older one, whose loss has not been detected yet, is closed first."""
        while self._writer is not None:  # several may arrive at once: take them one after the other
            self._writer.transport.abort()
            await self._gone.wait()
        self._writer, self._gone = writer, asyncio.Event()
        writer.write(encode(self._hello(caller)))
        caller.away_since = None
        try:
            await caller.channel.carry(reader, writer, they_have)
        except OSError as error:
            if not caller.ended.is_set():
                self._breaks.report(f"the control channel broke ({error or type(error).__name__}); the call goes on")
        finally:
            caller.away_since = asyncio.get_running_loop().time()
            self._writer = None
            self._gone.set()

    async def _see_to_its_end(self, caller: CallerSession) -> None:
        watching = asyncio.create_task(caller.watch_over())
        try:
            await caller.ended.wait()
            because = f" ({caller.ended_because})" if caller.ended_because else ""
            kept = f"; call {caller.call_id} is kept" if caller.call_id else ""
            self._arrivals.report(f"the caller is gone{because}{kept}")
        finally:
            watching.cancel()

    def _hello(self, caller: CallerSession) -> Message:
        machine = caller.machine
        return {
            "earwitness": PROTOCOL,
            "session": caller.session,
            "received": caller.channel.received,
            "name": machine.name,
            "place": machine.place,
            "address": machine.address,
            "interface": machine.interface,
            "epoch_offset_ns": self._answering.epoch_offset_ns,
            "versions": {
                "earwitness": version("earwitness"),
                "python": platform.python_version(),
                "kernel": platform.release(),
            },
        }


async def serve_callers(
    keys: AnswerKeys, answering: Answering, listener: socket.socket, on_event: Listener = ignore
) -> None:
    """Serve callers on an open listener (`open_listener`) until cancelled."""
    with contextlib.closing(listener):
        await Answerer(keys, answering, on_event).serve(listener)

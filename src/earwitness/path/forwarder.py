"""One end of a path over TCP streams: a TUN device on one side, one stream per flow on the other.

Run as `python -m earwitness.path.forwarder` on a host. The TUN descriptor is inherited, and the first JSON line on
standard input is the configuration; further lines are commands (`{"command": "open", "target": [host, port]}` at the
caller's end, `{"command": "stop"}` at either). Events are written as JSON lines to standard output. The process ends
when its standard input closes, and so with its parent. Only this module and `earwitness.path.forwarder_process` know
this protocol.

A flow is a pair of UDP ports, caller's and callee's, whose stream carries the bare payloads (RFC 4571). All other
pairs share the flow `other`, whose frames begin with both ports (16 bits each).
"""

from __future__ import annotations

import asyncio
import gc
import hmac
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from earwitness.errors import EarwitnessError
from earwitness.netns.accepting import UnverifiedPeers, connections
from earwitness.netns.egress import network_socket
from earwitness.netns.emit import emit
from earwitness.netns.socks import SocksRefused, connect_through
from earwitness.path.datagram import LONGEST_PAYLOAD, Datagram, NotUdp, address_bytes, build_datagram, parse_datagram
from earwitness.path.framed_stream import Counters, StreamLink, tune
from earwitness.path.framing import frame
from earwitness.path.in_band import NO_PORTS, InBand
from earwitness.untrusted import fit

OTHER = "other"
GREETING_TIMEOUT_S = 20.0
LONGEST_GREETING = 1024
_MOST_REPORTED = 20
STATISTICS_EVERY_S = 1.0
_READS_IN_A_ROW = 16
_LARGEST_PACKET = 65_536
_REALTIME_PRIORITY = 5
"""Below the emulator's, so that a path's forwarder cannot delay the emulated network."""


@dataclass(frozen=True)
class ForwarderConfig:
    """Configuration of a forwarder. `flows`: name -> [caller's port, callee's port], or None for `other`."""

    role: str
    tun: int
    local: str
    remote: str
    token: str
    flows: dict[str, list[int] | None]
    listen: str = ""
    alone: bool = False
    """`listen` is a loopback address, for a tor on the same host."""
    port: int = 0
    """The port where the callee's end accepts streams; 0: any free port."""
    socks: list[Any] = field(default_factory=list)
    """The SOCKS proxy as [host, port]; empty: connect directly."""
    username: str = ""
    one_circuit: bool = False
    """Use one SOCKS password for all flows, so that tor may put them on one circuit; otherwise the flow's name."""


class Forwarder:
    """Moves datagrams between the device and the streams, both ways."""

    def __init__(self, config: ForwarderConfig) -> None:
        self.config = config
        self.ended = asyncio.Event()
        self._caller = config.role == "caller"
        self._local, self._remote = address_bytes(config.local), address_bytes(config.remote)
        self._links: dict[str, StreamLink] = {}
        self._probes = InBand(lambda: self._links.get(OTHER), emit)
        self._by_ports = {tuple(ports): name for name, ports in config.flows.items() if ports is not None}
        self._counters = {name: Counters() for name in config.flows}
        self._ignored: dict[str, int] = {}
        self._rejected = 0
        self._unproven = UnverifiedPeers()
        self._identification = 0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.add_reader(config.tun, self._on_packets)

    # -- device to stream --------------------------------------------------------------------------

    def _on_packets(self) -> None:
        for _ in range(_READS_IN_A_ROW):
            try:
                packet = os.read(self.config.tun, _LARGEST_PACKET)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(f"the device failed: {error}")
                return
            try:
                datagram = parse_datagram(packet)
            except NotUdp as kind:
                self._ignore(str(kind))
                continue
            if datagram.destination != self._remote:
                self._ignore("other destination")
                continue
            self._send(datagram)

    def _send(self, datagram: Datagram) -> None:
        ports = (datagram.source_port, datagram.destination_port)
        ports = ports if self._caller else ports[::-1]
        name = self._by_ports.get(ports, OTHER)
        payload = datagram.payload
        if name == OTHER:
            payload = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + payload
        link = self._links.get(name)
        if link is None:
            self._counters[name].dropped_no_stream += 1
        else:
            link.send(payload)

    # -- stream to device --------------------------------------------------------------------------

    def _inject(self, name: str, payload: bytes) -> None:
        ports = self.config.flows[name]
        if ports is None:
            if len(payload) < 4:
                self._ignore("short frame")
                return
            if payload.startswith(NO_PORTS):
                self._probes.take(payload[4:])
                return
            ports = [int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")]
            payload = payload[4:]
        if len(payload) > LONGEST_PAYLOAD:
            self._ignore("too long")
            return
        to_port, from_port = ports if self._caller else ports[::-1]
        self._identification += 1
        packet = build_datagram(Datagram(self._remote, self._local, from_port, to_port, payload), self._identification)
        try:
            os.write(self.config.tun, packet)
        except OSError as error:
            self._ignore(f"device: {error.strerror}")

    # -- streams -----------------------------------------------------------------------------------

    def open_all(self, target: tuple[str, int]) -> None:
        """The caller's end: open the streams of all flows at once, and report the result of each.

        With a proxy, the target's host may be a name, such as an onion address.
        """
        for name in self.config.flows:
            self._run(self._open(name, target))

    def probe(self, command: dict[str, Any]) -> None:
        """Measure the path from this end: `ping` with a `count`, or `fill`."""
        self._run(self._probes.ping(command["count"]) if command["command"] == "ping" else self._probes.fill())

    async def _open(self, name: str, target: tuple[str, int]) -> None:
        begun = time.monotonic_ns()
        try:
            connection = network_socket()
        except EarwitnessError as error:
            emit("refused", flow=name, reason=str(error), socks_reply=0)
            return
        tune(connection)
        try:
            proxy = (self.config.socks[0], self.config.socks[1]) if self.config.socks else target
            await self._loop.sock_connect(connection, proxy)
            if self.config.socks:
                await connect_through(
                    connection, target, self.config.username, "call" if self.config.one_circuit else name
                )
            connected = time.monotonic_ns()
            greeting = {"earwitness": 1, "token": self.config.token, "flow": name}
            await self._loop.sock_sendall(connection, frame(json.dumps(greeting).encode()))
            link = StreamLink(connection)
            answer = json.loads(await link.first(GREETING_TIMEOUT_S, LONGEST_GREETING))
            if answer != {"earwitness": 1, "accepted": name}:
                raise ConnectionError("the other end sent an unexpected answer")
        except (OSError, SocksRefused, ValueError, TypeError, OverflowError, RecursionError) as error:
            code = error.code if isinstance(error, SocksRefused) else 0
            connection.close()
            emit("refused", flow=name, reason=str(error) or type(error).__name__, socks_reply=code)
            return
        self._establish(name, link)
        now = time.monotonic_ns()
        emit("open", flow=name, connect_ms=(connected - begun) / 1e6, greeting_ms=(now - connected) / 1e6)

    async def listen(self) -> None:
        """The callee's end: accept one stream per flow from a peer that knows the token."""
        listener = network_socket()
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.config.listen, self.config.port))
            listener.listen(16)
        except OSError as error:
            raise OSError(f"accepting streams at {self.config.listen}:{self.config.port}: {error.strerror}") from error
        emit("listening", address=self.config.listen, port=listener.getsockname()[1])
        async for connection, peer in connections(listener):
            self._take_in(connection, peer)

    def _take_in(self, connection: socket.socket, peer: str) -> None:
        """Authenticate a new connection. Until then it occupies one of a few slots for unauthenticated connections."""
        tune(connection)
        welcome: asyncio.Task[None] = self._loop.create_task(self._welcome(connection, peer))

        def drop() -> None:
            welcome.cancel()
            self._reject(peer, "it had not authenticated when newer connections needed its place")

        number = self._unproven.enter(peer, drop)
        self._tasks.add(welcome)
        welcome.add_done_callback(self._tasks.discard)

        def over(welcome: asyncio.Task[None]) -> None:
            self._unproven.leave(number)
            if welcome.cancelled():
                connection.close()

        welcome.add_done_callback(over)

    def _reject(self, peer: str, reason: str) -> None:
        """Count an unauthenticated peer, and report only the first ones: anyone can connect any number of times."""
        self._rejected += 1
        if self._rejected <= _MOST_REPORTED:
            emit("stranger", peer=peer, reason=reason)

    async def _welcome(self, connection: socket.socket, peer: str) -> None:
        link = StreamLink(connection)
        try:
            greeting = json.loads(await link.first(GREETING_TIMEOUT_S, LONGEST_GREETING))
            name = greeting["flow"]
            if not hmac.compare_digest(str(greeting["token"]), self.config.token) or name not in self.config.flows:
                raise ConnectionError("wrong token")
            if name in self._links:
                raise ConnectionError("this flow already has a stream")
            await self._loop.sock_sendall(connection, frame(json.dumps({"earwitness": 1, "accepted": name}).encode()))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            connection.close()
            self._reject(peer, fit(str(error), LONGEST_GREETING) or type(error).__name__)
            return
        self._establish(name, link)
        emit("accepted", flow=name, peer=peer)

    def _establish(self, name: str, link: StreamLink) -> None:
        self._links[name] = link
        link.serve(
            self._counters[name], lambda datagram: self._inject(name, datagram), lambda reason: self._lost(name, reason)
        )

    def _lost(self, name: str, reason: str) -> None:
        self._links.pop(name, None)
        emit("closed", flow=name, reason=reason)

    # -- the rest ----------------------------------------------------------------------------------

    def statistics(self) -> dict[str, Any]:
        """The counters so far, by flow."""
        return {
            "flows": {name: asdict(counters) for name, counters in self._counters.items()},
            "ignored": self._ignored,
            "strangers": self._rejected,
        }

    def _ignore(self, kind: str) -> None:
        self._ignored[kind] = self._ignored.get(kind, 0) + 1

    def _end(self, reason: str) -> None:
        emit("failed", reason=reason)
        self.ended.set()

    def _run(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _obey(forwarder: Forwarder, commands: asyncio.StreamReader) -> None:
    while line := await commands.readline():
        command = json.loads(line)
        if command["command"] == "open" and forwarder.config.role == "caller":
            forwarder.open_all((command["target"][0], command["target"][1]))
        elif command["command"] in ("ping", "fill"):
            forwarder.probe(command)
        elif command["command"] == "stop":
            break
    forwarder.ended.set()


async def _report(forwarder: Forwarder) -> None:
    while True:
        await asyncio.sleep(STATISTICS_EVERY_S)
        emit("statistics", **forwarder.statistics())


async def _main() -> None:
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    config = ForwarderConfig(**json.loads(await commands.readline()))
    forwarder = Forwarder(config)
    tasks = [asyncio.ensure_future(_obey(forwarder, commands)), asyncio.ensure_future(_report(forwarder))]
    try:
        if config.role == "callee":
            tasks.append(asyncio.ensure_future(forwarder.listen()))
        else:
            emit("ready")
        gc.collect()
        gc.freeze()
        gc.disable()  # few reference cycles arise here, and a collection would take milliseconds
        ended = asyncio.ensure_future(forwarder.ended.wait())
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks[2:]:
            if task.done() and (error := task.exception()) is not None:
                emit("failed", reason=str(error))
    finally:
        for task in tasks:
            task.cancel()
        emit("statistics", **forwarder.statistics())


def main() -> None:
    """Entry point of the forwarder's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when to stop
    os.set_blocking(sys.stdout.fileno(), False)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_REALTIME_PRIORITY))
    asyncio.run(_main())


if __name__ == "__main__":
    main()

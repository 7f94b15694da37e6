"""The load's clients: `python -m earwitness.lab.load.agent` on a lab host with its own tor client.

Its configuration (`LoadConfig`) is the first JSON line on standard input. Each client has its own circuit, through
given relays, and fetches over it as its seed determines. It reports JSON lines on standard output: `flows` once all
circuits are open and data has arrived, `statistics` (`Carried`) four times a second. It ends when standard input
closes, and so with the process that started it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from aiostem.event import EventStream
from aiostem.exceptions import AiostemError

from earwitness.errors import EarwitnessError
from earwitness.lab.load.messages import Carried, LoadConfig
from earwitness.lab.load.server import NICENESS
from earwitness.lab.load.spec import LoadSpec, Web
from earwitness.netns.egress import network_socket
from earwitness.netns.emit import emit
from earwitness.netns.socks import SocksRefused, connect_through
from earwitness.tor.control import Circuit, TorControl
from earwitness.tor.control_address import ControlAddress

STATISTICS_EVERY_S = 0.25
PAGE_SIGMA = 1.0
"""Standard deviation of the logarithm of a page's size: a tenth are over 3.6 times the median."""
BULK_BYTES = 5 * 2**20
_LARGEST_PAGE_BYTES = 20 * 2**20
_USER = "load-"
_CIRCUIT_TIMEOUT_S = 20.0
_SILENCE_S = 60.0
"""A fetch that receives nothing for this long has failed. Its total duration depends on the load and has no limit."""
_FIRST_WITHIN_S = 10.0
"""Latest start of the first client, however long the pauses, so that it soon shows whether data flows."""
_AFTER_FAILURE_S = 1.0


@dataclass
class Client:
    """One client: its circuit and its random generator."""

    number: int
    part: Any
    fingerprints: list[str]
    random: Random
    circuit: Circuit | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def user(self) -> str:
        """SOCKS user name of its streams."""
        return f"{_USER}{self.number}"


class Clients:
    """All clients of a load over one tor."""

    def __init__(self, config: LoadConfig, control: TorControl) -> None:
        self.carried = Carried()
        self._config = config
        self._control = control
        parts = [part for part in LoadSpec.parse(config.load).parts for _ in range(part.clients)]
        self.clients = [
            Client(number, part, config.relays[number], Random(f"{config.seed}/{number}"))
            for number, part in enumerate(parts)
        ]
        self._by_user = {client.user: client for client in self.clients}
        control.on_stream(self._on_stream)

    async def live(self, client: Client) -> None:
        """Fetch for ever, starting at a random moment, as if the client had been running for long."""
        web = isinstance(client.part, Web)
        wait_s = client.random.uniform(0.0, client.part.pause_s if web else 0.5)
        if client.number == 0:
            wait_s = min(wait_s, _FIRST_WITHIN_S)
        while True:
            try:
                await self._with_circuit(client)
                await asyncio.sleep(wait_s)
                wait_s = 0.0
                begun = time.monotonic()
                await self._fetch(client, _size(client), int(getattr(client.part, "rate_mbit", 0.0) * 1e6))
            except (OSError, SocksRefused, EarwitnessError, AiostemError) as error:
                self.carried.failed += 1
                self.carried.last_failure = str(error) or type(error).__name__
                await asyncio.sleep(_AFTER_FAILURE_S)
                continue
            if web:
                self.carried.pages += 1
                self.carried.page_s += time.monotonic() - begun
                await asyncio.sleep(client.random.expovariate(1.0 / client.part.pause_s) if client.part.pause_s else 0)
            else:
                self.carried.downloads += 1

    async def _with_circuit(self, client: Client) -> None:
        if client.circuit is None or client.circuit.ended is not None:
            client.circuit = await self._control.build_circuit(client.fingerprints, timeout_s=_CIRCUIT_TIMEOUT_S)
        client.ready.set()

    async def _fetch(self, client: Client, size: int, bits_a_second: int) -> None:
        try:
            with network_socket() as connection:
                async with asyncio.timeout(_SILENCE_S) as patience:
                    connection.setblocking(False)
                    await self._ask(connection, client, size, bits_a_second)
                    await self._receive(connection, size, patience)
        except TimeoutError as error:
            raise TimeoutError(f"nothing came for {_SILENCE_S:g} s") from error

    async def _ask(self, connection: socket.socket, client: Client, size: int, bits_a_second: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (self._config.socks[0], self._config.socks[1]))
        server, port = self._config.server
        await connect_through(connection, (server, port), client.user, "load")
        await loop.sock_sendall(connection, b"%d %d\n" % (size, bits_a_second))

    async def _receive(self, connection: socket.socket, left: int, patience: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        buffer = bytearray(65_536)
        while left > 0:
            got = await loop.sock_recv_into(connection, buffer)
            if not got:
                raise ConnectionError("the stream ended in mid-page")
            left -= got
            self.carried.bytes += got
            patience.reschedule(loop.time() + _SILENCE_S)

    def _on_stream(self, event: EventStream) -> None:
        """Attach our streams to their client's circuit; tor chooses for all others."""
        if str(event.status) != "NEW":
            return
        client = self._by_user.get(event.socks_username or "")
        self._control.spawn(self._attach(event.stream, client.circuit.id if client and client.circuit else 0))

    async def _attach(self, stream: int, circuit: int) -> None:
        with suppress(AiostemError, EarwitnessError):  # the fetch reports it; tor attaches its own streams itself
            await self._control.request(self._control.controller.attach_stream(stream, circuit))


def _size(client: Client) -> int:
    """Size of the next page or download, bytes."""
    if not isinstance(client.part, Web):
        return BULK_BYTES
    mean = client.part.page_kib * 1024
    drawn = client.random.lognormvariate(math.log(mean) - PAGE_SIGMA**2 / 2, PAGE_SIGMA)
    return max(1024, min(_LARGEST_PAGE_BYTES, round(drawn)))


async def _report(all_clients: Clients) -> None:
    flows = False
    while True:
        all_clients.carried.at_ns = time.monotonic_ns()
        emit("statistics", **asdict(all_clients.carried))
        if not flows and all_clients.carried.bytes and all(client.ready.is_set() for client in all_clients.clients):
            flows = True
            emit("flows")
        await asyncio.sleep(STATISTICS_EVERY_S)


async def _main() -> None:
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    config = LoadConfig(**json.loads(await commands.readline()))
    async with TorControl.connect(ControlAddress.parse(config.control)) as control:
        await control.configure("__LeaveStreamsUnattached", "1")
        clients = Clients(config, control)
        tasks = [asyncio.ensure_future(clients.live(client)) for client in clients.clients]
        tasks.append(asyncio.ensure_future(_report(clients)))
        try:
            ended = asyncio.ensure_future(commands.read())
            await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and (fault := task.exception()) is not None:
                    raise fault
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in clients.clients:
                if client.circuit is not None and client.circuit.ended is None:
                    await control.close_circuit(client.circuit.id)
    emit("statistics", **{**asdict(clients.carried), "at_ns": time.monotonic_ns()})


if __name__ == "__main__":
    os.nice(NICENESS)
    asyncio.run(_main())

"""The wide-area network between the lab's hosts: one process that moves every packet between their TUN devices.

The lab runs it as `python -m earwitness.emulator STATE_DIR SEED` and passes it devices and links over its control
socket (`earwitness.emulator.control`). A packet read from a host's device goes to the link to its destination, waits in
a heap until it is due, and is written to the destination's device; `TruthLog` gets one record. No numpy here: this
process starts within tens of milliseconds and stays small.

Precision on a loaded two-core machine: real-time scheduling if permitted, no garbage collection, locked memory, timer
slack 1 ns. The last `SPIN_NS` before a packet is due are spent polling instead of sleeping, because waking takes 30-100
us. Longer spinning would take the processor from the processes that produce the packets.
"""

from __future__ import annotations

import os
import select
import socket
from heapq import heappop, heappush
from pathlib import Path
from time import monotonic_ns
from typing import Protocol

from earwitness.emulator.lateness import LatenessHistogram
from earwitness.emulator.link import Link
from earwitness.emulator.link_profile import LinkProfile
from earwitness.emulator.truth_log import NO_HOST, PacketFate, TruthLog

SPIN_NS = 100_000
FLUSH_WHEN_IDLE_S = 0.05
READS_IN_A_ROW = 8
"""Packets read from one device before checking due packets and the other devices again."""
LARGEST_PACKET = 2048
REALTIME_PRIORITY = 10


class Control(Protocol):
    """Source of requests; its descriptors are polled together with the devices."""

    def register(self, epoll: select.epoll) -> None:
        """Add its descriptors to the loop's epoll."""
        ...

    def handle(self, descriptor: int) -> None:
        """Handle a readable descriptor that is not a device."""
        ...


class Port:
    """A host's device, and its outgoing links by destination address (4 bytes)."""

    __slots__ = ("address", "descriptor", "links", "name", "number")

    def __init__(self, number: int, name: str, address: bytes, descriptor: int) -> None:
        self.number = number
        self.name = name
        self.address = address
        self.descriptor = descriptor
        self.links: dict[bytes, tuple[Link, Port]] = {}


class Emulator:
    """All ports, all links, and the packets in flight."""

    def __init__(self, state_dir: Path, seed: int) -> None:
        self.seed = seed
        self.log = TruthLog(state_dir)
        self.lateness = LatenessHistogram()
        self.fates = [0] * (max(PacketFate) + 1)
        self.ports: dict[int, Port] = {}
        self.realtime = False
        self.started_ns = monotonic_ns()
        self._by_descriptor: dict[int, Port] = {}
        self._heap: list[tuple[int, int, int, Link, Port, bytes, int]] = []
        self._epoll = select.epoll()
        self._stopped = False

    def add_host(self, number: int, name: str, address: str, descriptor: int) -> None:
        """Take ownership of a device."""
        if number in self.ports or any(port.name == name for port in self.ports.values()):
            raise ValueError(f"host {number} {name} exists already")
        os.set_blocking(descriptor, False)
        port = Port(number, name, socket.inet_aton(address), descriptor)
        self.ports[number] = self._by_descriptor[descriptor] = port
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove_host(self, number: int) -> None:
        """Close a device; packets in flight to it are logged as `PacketFate.DEAD_HOST`."""
        port = self.ports.pop(number)
        for other in self.ports.values():
            other.links.pop(port.address, None)
        self._close(port)

    def set_link(self, source: int, destination: int, profile: LinkProfile, seed: int | None = None) -> None:
        """Create or change the link of an ordered pair of hosts; with a seed, its random streams restart."""
        here, there = self.ports[source], self.ports[destination]
        known = here.links.get(there.address)
        if known is not None and seed is None:
            known[0].change(profile)
        else:
            stream = f"{self.seed if seed is None else seed}/{here.name}>{there.name}"
            here.links[there.address] = (Link(source, destination, stream, profile), there)

    def under_way(self) -> int:
        """Packets in flight."""
        return len(self._heap)

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stopped = True

    def run(self, control: Control) -> None:
        """Move packets until stopped."""
        heap, poll, ports = self._heap, self._epoll.poll, self._by_descriptor
        control.register(self._epoll)
        while not self._stopped:
            now = self._deliver(monotonic_ns())
            if heap:
                wait_ns = heap[0][0] - now - SPIN_NS
                if wait_ns > 0:  # epoll waits in whole milliseconds, select(2) in microseconds
                    select.select([self._epoll], [], [], wait_ns * 1e-9)
                events = poll(0)
            elif self.log.dirty:
                events = poll(FLUSH_WHEN_IDLE_S)
                if not events:
                    self.log.flush()
            else:
                events = poll()
            for descriptor, _ in events:
                port = ports.get(descriptor)
                if port is None:
                    control.handle(descriptor)
                else:
                    self._read(port)
                if heap and heap[0][0] <= monotonic_ns():
                    break
        self.log.flush()

    def _deliver(self, now: int) -> int:
        """Write every packet that is due."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, entered, link, port, packet, fate = heappop(heap)
            try:
                os.write(port.descriptor, packet)
            except OSError:
                fate = PacketFate.DEAD_HOST
            self.fates[fate] += 1
            self.lateness.add(now - due)
            self.log.append(entered, due, now, link.source, link.destination, packet, fate)
            now = monotonic_ns()
        return now

    def _read(self, port: Port) -> None:
        """Read packets from a device and schedule each."""
        descriptor, links, heap = port.descriptor, port.links, self._heap
        for _ in range(READS_IN_A_ROW):
            try:
                packet = os.read(descriptor, LARGEST_PACKET)
            except BlockingIOError:
                return
            except OSError:
                self._close(port)
                return
            now = monotonic_ns()
            target = links.get(packet[16:20])
            if target is None:
                self._drop(now, port.number, NO_HOST, packet, PacketFate.NO_ROUTE)
                continue
            link, destination = target
            if link.constant_delay_ns >= 0:
                due = now + link.constant_delay_ns
            else:
                due = link.admit(now, packet)
                if due < 0:
                    self._drop(now, link.source, link.destination, packet, -due)
                    continue
            self._number += 1
            heappush(heap, (due, self._number, now, link, destination, packet, PacketFate.DELIVERED))
            if link.constant_delay_ns < 0 and link.duplicates():
                self._number += 1
                heappush(heap, (due, self._number, now, link, destination, packet, PacketFate.DUPLICATE))

    _number = 0

    def _drop(self, now: int, source: int, destination: int, packet: bytes, fate: int) -> None:
        self.fates[fate] += 1
        self.log.append(now, 0, 0, source, destination, packet, fate)

    def _close(self, port: Port) -> None:
        self._epoll.unregister(port.descriptor)
        del self._by_descriptor[port.descriptor]
        os.close(port.descriptor)
        port.descriptor = -1

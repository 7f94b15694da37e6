"""The capture process: `python -m earwitness.capture.agent INTERFACE OUT.pcap --epoch-offset-ns N`.

Writes `{"event": "ready"}` to stdout once no packet can be missed, captures until its stdin closes or SIGTERM arrives,
then writes `{"event": "summary", ...}`. Every record is flushed immediately, so the file of a killed capture is
readable.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import signal
import socket
import struct
import sys
from pathlib import Path

from earwitness.capture.clock import CallClock, sample_clocks
from earwitness.capture.filter import attach, udp_filter
from earwitness.capture.pcap import LINKTYPE_ETHERNET, LINKTYPE_RAW, PcapWriter
from earwitness.netns.emit import emit

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_STATISTICS = 6
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
SIOCGIFHWADDR = 0x8927
PACKET_OUTGOING = 4
_ARPHRD_ETHER, _ARPHRD_LOOPBACK, _ARPHRD_NONE = 1, 772, 65534
_RECEIVE_BUFFER = 16 * 1024 * 1024
_LONGEST_PACKET = 65_536
_LOOK_EVERY_S = 0.1
_READS_IN_A_ROW = 4096


def hardware_type(interface: str) -> int:
    """ARPHRD type of a network device (SIOCGIFHWADDR); OSError if there is no such device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFHWADDR, struct.pack("16s240x", interface.encode()))
    return int(struct.unpack_from("=H", answer, 16)[0])


def open_packet_socket(interface: str, header: int, ports: list[int]) -> socket.socket:
    """A packet socket for both directions of `interface`, with the filter attached before it is bound."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    attach(sock, udp_filter(header, ports))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setblocking(False)
    sock.bind((interface, ETH_P_ALL))
    return sock


def stamp_of(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The kernel's CLOCK_REALTIME timestamp from a message's ancillary data, ns."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("@ll", data[:16])
            return int(seconds) * 10**9 + int(nanoseconds)
    return None


def _drain(sock: socket.socket, writer: PcapWriter, clock: CallClock, loopback: bool) -> None:
    """Write the packets waiting in the socket; bounded, so that a flood cannot keep it here."""
    for _ in range(_READS_IN_A_ROW):
        try:
            data, ancillary, _, address = sock.recvmsg(_LONGEST_PACKET, 64)
        except BlockingIOError:
            return
        realtime, monotonic = sample_clocks()
        clock.observe(realtime, monotonic)
        if loopback and address[2] == PACKET_OUTGOING:
            continue  # a loopback device shows each packet twice
        stamp = stamp_of(ancillary)
        writer.packet(clock.convert(realtime if stamp is None else stamp), data)


def _dropped(sock: socket.socket) -> int:
    """Packets that the kernel dropped because its buffer was full (struct tpacket_stats; reading it resets it)."""
    return int(struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1])


def capture(
    interface: str, out: Path, epoch_offset_ns: int, snap_length: int, ports: list[int], most_bytes: int
) -> None:
    """Capture until stdin closes or SIGTERM arrives; OSError if the device or the file does not permit it."""
    kind = hardware_type(interface)
    if kind not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK, _ARPHRD_NONE):
        raise OSError(95, f"device type {kind} is neither Ethernet nor raw IP", interface)
    header, link_type = (0, LINKTYPE_RAW) if kind == _ARPHRD_NONE else (14, LINKTYPE_ETHERNET)
    clock = CallClock(epoch_offset_ns)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with (
        open_packet_socket(interface, header, ports) as sock,
        PcapWriter(out, link_type, snap_length, most_bytes) as writer,
    ):
        clock.observe(*sample_clocks())
        emit("ready", interface=interface, link_type=link_type)
        stopping = False
        while not stopping:
            readable, _, _ = select.select([sock, sys.stdin, wake_read], [], [], _LOOK_EVERY_S)
            stopping = wake_read in readable or (sys.stdin in readable and not os.read(sys.stdin.fileno(), 4096))
            clock.observe(*sample_clocks())
            _drain(sock, writer, clock, kind == _ARPHRD_LOOPBACK)
        steps = [{"at_ns": step.at_ns, "by_ns": step.by_ns} for step in clock.steps]
        emit("summary", packets=writer.packets, dropped=_dropped(sock) + writer.left_out, clock_steps=steps)


def main() -> None:
    """Entry point: arguments in, events on stdout; on failure an error event and status 1."""
    parser = argparse.ArgumentParser(prog="earwitness.capture.agent", description=__doc__)
    parser.add_argument("interface")
    parser.add_argument("out", type=Path)
    parser.add_argument("--epoch-offset-ns", type=int, required=True)
    parser.add_argument("--snap-length", type=int, default=_LONGEST_PACKET)
    parser.add_argument("--most-bytes", type=int, default=1 << 40)
    parser.add_argument("--port", type=int, action="append", default=[])
    arguments = parser.parse_args()
    try:
        capture(
            arguments.interface,
            arguments.out,
            arguments.epoch_offset_ns,
            arguments.snap_length,
            arguments.port,
            arguments.most_bytes,
        )
    except OSError as error:
        emit("error", errno=error.errno, happened=error.strerror or str(error), on=str(error.filename or ""))
        sys.exit(1)


if __name__ == "__main__":
    main()

"""The media of one call: paced RTP out, RTP in, RTCP both ways. It runs in its own threads.

Times are on the call's clock: CLOCK_MONOTONIC plus the offset that the call gave to both ends.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from earwitness.capture.agent import SO_TIMESTAMPNS, stamp_of
from earwitness.capture.clock import CallClock, sample_clocks
from earwitness.errors import CallFailure, Outcome
from earwitness.phone.call_report import MOST_SOURCES
from earwitness.phone.pacer import PacedSender
from earwitness.phone.packets import SpeechPackets
from earwitness.phone.receiver_statistics import ReceiverStatistics
from earwitness.phone.rtcp_session import RtcpSession, SentSoFar
from earwitness.trace.rtp import MalformedPacket

_LOOK_EVERY_S = 0.05
_READS_IN_A_ROW = 256
"""Reads from one socket in a row: at line rate it is never empty, and reports and the call's end must get a turn."""
_HEADER = struct.Struct("!BBHII")


def bind_udp(address: str, port: int, what: str) -> socket.socket:
    """Bind a UDP socket. CallFailure: PORT_TAKEN if the port is in use, PATH_FAILED if the address does not exist."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        taken = error.errno == errno.EADDRINUSE
        raise CallFailure(
            Outcome.PORT_TAKEN if taken else Outcome.PATH_FAILED,
            "binding",
            on=f"UDP {address}:{port} for {what}",
            happened=error.strerror or str(error),
            remedy="end what uses that port, or choose other ports" if taken else "check that the path is open",
        ) from error
    return sock


@dataclass
class MediaEvents:
    """Callbacks from the media to the call; they run in the media's threads."""

    first_received: Callable[[int], None] = lambda _ns: None
    speech_ended: Callable[[], None] = lambda: None


@dataclass
class Media:
    """RTP and RTCP sockets and their traffic. Call `open`, then `start`, then `close`."""

    address: str
    rtp_port: int
    epoch_offset_ns: int
    random: Random
    rtcp_minimum_s: float
    events: MediaEvents
    sender: PacedSender | None = None
    receptions: dict[int, ReceiverStatistics] = field(default_factory=dict)
    rtcp: RtcpSession | None = None
    stray: int = 0
    """Datagrams on the RTP port that are not RTP, or from sources beyond the first `MOST_SOURCES`."""

    def __post_init__(self) -> None:
        self.ssrc = self.random.getrandbits(32)
        self._first_sequence = self.random.getrandbits(16)
        self._first_timestamp = self.random.getrandbits(32)
        self._clock_rate = 8000
        self._remote_rtcp: tuple[str, int] | None = None
        self._next_report_ns = 0
        self._clock = CallClock(self.epoch_offset_ns)
        self._ending = threading.Event()
        self._receiver: threading.Thread | None = None

    def open(self) -> None:
        """Bind both ports and receive: packets that arrive before the call is set up are counted too."""
        self._rtp = bind_udp(self.address, self.rtp_port, "RTP")
        try:
            self._rtcp = bind_udp(self.address, self.rtp_port + 1, "RTCP")
        except CallFailure:
            self._rtp.close()
            raise
        for sock in (self._rtp, self._rtcp):
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8)  # expedited forwarding, RFC 3246: voice
            sock.setblocking(False)
        self._receiver = threading.Thread(target=self._receive_until_end, name="rtp-receiver", daemon=True)
        self._receiver.start()

    def start(
        self, speech: SpeechPackets, remote: tuple[str, int], payload_type: int, lead_ns: int = 5_000_000
    ) -> None:
        """Start sending speech and reports to `remote`; the first packet leaves `lead_ns` from now."""
        codec = speech.codec
        self._clock_rate = codec.clock_rate
        for reception in self.receptions.values():
            reception.set_clock_rate(codec.clock_rate)
        wire = speech.rtp(payload_type, self.ssrc, self._first_sequence, self._first_timestamp)
        self._remote_rtcp = (remote[0], remote[1] + 1)
        self.rtcp = RtcpSession(
            self.ssrc, f"earwitness@{self.address}", codec.clock_rate, self.random, self.rtcp_minimum_s
        )
        now = time.monotonic_ns()
        self._next_report_ns = now + self.rtcp.next_interval_ns()
        self.sender = PacedSender(
            self._rtp,
            remote,
            wire,
            now + lead_ns,
            round(codec.packet_ms * 1_000_000),
            on_end=self.events.speech_ended,
        )
        self.sender.start()

    @property
    def first_sent_ns(self) -> int | None:
        """When the first RTP packet left, on the call's clock."""
        if self.sender is None or self.sender.first_sent_ns is None:
            return None
        return self.sender.first_sent_ns + self.epoch_offset_ns

    @property
    def packets_received(self) -> int:
        """RTP packets received from all sources."""
        return sum(reception.packets for reception in self.receptions.values())

    @property
    def main_reception(self) -> ReceiverStatistics | None:
        """Statistics of the source that sent the most packets; None before the first packet."""
        return max(self.receptions.values(), key=lambda one: one.packets, default=None)

    def silence(self) -> None:
        """Stop sending RTP and send RTCP BYE; packets that still arrive are received."""
        if self.sender is not None:
            self.sender.halt()
        if self.rtcp is not None and self._next_report_ns:
            self._next_report_ns = 0
            self._send_report(goodbye=True)

    def close(self) -> None:
        """Stop everything and free the ports."""
        self.silence()
        self._ending.set()
        if self._receiver is not None:
            self._receiver.join()
            self._rtp.close()
            self._rtcp.close()

    def _receive_until_end(self) -> None:
        self._clock.observe(*sample_clocks())
        while not self._ending.is_set():
            wait = _LOOK_EVERY_S
            if self._next_report_ns:
                wait = min(wait, max(0.0, (self._next_report_ns - time.monotonic_ns()) / 1e9))
            readable, _, _ = select.select([self._rtp, self._rtcp], [], [], wait)
            self._clock.observe(*sample_clocks())
            for sock in readable:
                self._drain(sock)
            if self._next_report_ns and time.monotonic_ns() >= self._next_report_ns and self.rtcp is not None:
                self._next_report_ns = time.monotonic_ns() + self.rtcp.next_interval_ns()
                self._send_report()

    def _drain(self, sock: socket.socket) -> None:
        for _ in range(_READS_IN_A_ROW):
            try:
                data, ancillary, _, _ = sock.recvmsg(4096, 64)
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # an ICMP error for an earlier packet of ours
            realtime, monotonic = sample_clocks()
            self._clock.observe(realtime, monotonic)
            stamp = stamp_of(ancillary)
            arrived_ns = self._clock.convert(realtime if stamp is None else stamp)
            if sock is self._rtp:
                self._receive_rtp(data, arrived_ns)
            elif self.rtcp is not None:
                try:
                    self.rtcp.receive(data, arrived_ns)
                except MalformedPacket:
                    self.rtcp.malformed += 1

    def _receive_rtp(self, data: bytes, arrived_ns: int) -> None:
        if len(data) < _HEADER.size or data[0] >> 6 != 2:
            self.stray += 1
            return
        _, _, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        reception = self.receptions.get(ssrc)
        if reception is None:
            if len(self.receptions) >= MOST_SOURCES:
                self.stray += 1
                return
            if not self.receptions:
                self.events.first_received(arrived_ns)
            reception = self.receptions[ssrc] = ReceiverStatistics(ssrc, self._clock_rate)
        reception.receive(sequence, timestamp, arrived_ns)

    def _send_report(self, *, goodbye: bool = False) -> None:
        assert self.rtcp is not None
        assert self._remote_rtcp is not None
        sender = self.sender
        now = time.monotonic_ns()
        sent = SentSoFar(0, 0, 0)
        if sender is not None and sender.deviations_ns:
            ticks = (now - sender.origin_ns) * self._clock_rate // 10**9
            timestamp = (self._first_timestamp + ticks) & 0xFFFFFFFF
            sent = SentSoFar(timestamp, len(sender.deviations_ns), sender.octets)
        now_ns = now + self.epoch_offset_ns
        data = self.rtcp.report(now_ns, sent, self.main_reception, goodbye=goodbye)
        with contextlib.suppress(OSError):  # a report that cannot be sent is dropped; the next one has the same content
            self._rtcp.sendto(data, self._remote_rtcp)

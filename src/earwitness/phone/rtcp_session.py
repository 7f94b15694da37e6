"""The RTCP of one call: when to report, what to report, and the resulting round-trip times.

Source: RFC 3550 6.2, 6.3, 6.4 and A.7. Pure: time and the random generator are arguments.

The minimum interval is a setting. The AVP profile says 5 s, at which a call of 10 s yields at most one round-trip time.
Our default is 1 s: the reduced minimum of RFC 3550 6.2 and the AVPF profile (RFC 4585 3.4) permit more frequent
reports, within the 5 % of the session's bandwidth that both demand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

from earwitness.phone.receiver_statistics import ReceiverStatistics
from earwitness.phone.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    compound,
    middle_of,
    ntp_from_ns,
    parse_compound,
)

_COMPENSATION = math.e - 1.5
"""Compensates for timer reconsideration, which converges below the intended mean (RFC 3550 6.3.1)."""
MOST_ROUND_TRIPS = 8000
"""Round-trip times kept per call: two hours at one report per second. Further ones are only counted."""
_UDP_IP_OCTETS = 28
_BANDWIDTH_SHARE = 0.05


def report_interval_s(random: Random, minimum_s: float, average_octets: float, session_bit_s: float) -> float:
    """Return the seconds to the next report in a two-party call (RFC 3550 6.3.1 with two members, both senders)."""
    needed = 2 * average_octets * 8 / (_BANDWIDTH_SHARE * session_bit_s)
    return max(minimum_s, needed) * random.uniform(0.5, 1.5) / _COMPENSATION


@dataclass(frozen=True)
class SentSoFar:
    """The state of our own stream, for a sender report."""

    rtp_timestamp: int
    packets: int
    octets: int


@dataclass(frozen=True)
class RemoteView:
    """The far end's reception of our stream, from its last report."""

    fraction_lost: float
    cumulative_lost: int
    jitter_ms: float


@dataclass
class RtcpSession:
    """Our side of the RTCP of a call."""

    ssrc: int
    cname: str
    clock_rate: int
    random: Random
    minimum_s: float = 1.0
    session_bit_s: float = 80_000.0
    round_trips_ms: list[float] = field(default_factory=list)
    remote_view: RemoteView | None = None
    remote_said_bye: bool = False
    sent: int = 0
    received: int = 0
    malformed: int = 0
    _last_sr: tuple[int, int] | None = None
    _average_octets: float = 120.0
    _first: bool = True

    def next_interval_ns(self) -> int:
        """Return the ns until the next report; the first comes after half the interval (RFC 3550 6.2)."""
        minimum = self.minimum_s / 2 if self._first else self.minimum_s
        self._first = False
        return int(report_interval_s(self.random, minimum, self._average_octets, self.session_bit_s) * 1e9)

    def report(
        self, now_ns: int, sent: SentSoFar, reception: ReceiverStatistics | None, *, goodbye: bool = False
    ) -> bytes:
        """Return the compound packet to send now (ns since 1970 on the call's clock)."""
        blocks = () if reception is None else (self._block(now_ns, reception),)
        report: RtcpPacket = ReceiverReport(self.ssrc, blocks)
        if sent.packets:
            report = SenderReport(
                self.ssrc, ntp_from_ns(now_ns), sent.rtp_timestamp, sent.packets, sent.octets & 0xFFFFFFFF, blocks
            )
        packets = [report, SourceDescription(self.ssrc, self.cname)]
        if goodbye:
            packets.append(Goodbye((self.ssrc,)))
        data = compound(packets)
        self.sent += 1
        self._average_octets += (len(data) + _UDP_IP_OCTETS - self._average_octets) / 16
        return data

    def receive(self, data: bytes, arrived_ns: int) -> None:
        """Take a datagram from the RTCP port; raises MalformedPacket."""
        packets = parse_compound(data)
        self.received += 1
        self._average_octets += (len(data) + _UDP_IP_OCTETS - self._average_octets) / 16
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._last_sr = (middle_of(packet.ntp), arrived_ns)
            if isinstance(packet, SenderReport | ReceiverReport):
                for block in packet.blocks:
                    if block.ssrc == self.ssrc:
                        self._hear_of_us(block, arrived_ns)
            elif isinstance(packet, Goodbye):
                self.remote_said_bye = True

    def _block(self, now_ns: int, reception: ReceiverStatistics) -> ReportBlock:
        last_sr, delay = 0, 0
        if self._last_sr is not None:
            last_sr, arrived_ns = self._last_sr
            delay = (now_ns - arrived_ns) * 65_536 // 10**9
        return ReportBlock(
            reception.ssrc,
            reception.fraction_lost(),
            max(-(1 << 23), min((1 << 23) - 1, reception.lost)),
            reception.highest_sequence,
            int(reception.jitter),
            last_sr,
            min(max(delay, 0), 0xFFFFFFFF),
        )

    def _hear_of_us(self, block: ReportBlock, arrived_ns: int) -> None:
        self.remote_view = RemoteView(
            block.fraction_lost / 256, block.cumulative_lost, block.jitter / self.clock_rate * 1000
        )
        if block.last_sr:
            # RFC 3550 6.4.1: A - LSR - DLSR, all modulo 2**32 in 1/65,536 s. Clock rounding can make it -1.
            ticks = (middle_of(ntp_from_ns(arrived_ns)) - block.last_sr - block.delay_since_last_sr) & 0xFFFFFFFF
            if ticks < 1 << 31 and len(self.round_trips_ms) < MOST_ROUND_TRIPS:
                self.round_trips_ms.append(ticks / 65.536)

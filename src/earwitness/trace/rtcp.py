"""RTCP reports in one capture (RFC 3550 6.4): round-trip times, and what each end reports as received.

A report says when the last sender report arrived (LSR) and how long ago that was (DLSR). If a capture contains both the
sender report and the reply, their time difference minus DLSR is the round trip from the capture point to the replying
end. It is measured on one clock and needs no clock synchronisation. Half of it equals the one-way delay only if both
directions take equally long, so it is called `half_rtt_ms`, never a one-way delay.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.arrays import F64
from earwitness.trace.bytewindow import window
from earwitness.trace.capture import Capture
from earwitness.trace.link_layer import Flow
from earwitness.trace.rtp_stream import RtpStream

_SENDER_REPORT, _RECEIVER_REPORT = 200, 201
_MAX_REPORTS = 100_000
"""Reports read per capture; no capture of calls needs more."""
_AROUND_NS = 10_000_000_000
"""Reports come this long before a stream's first packet, or after its last, at most: twice their usual interval."""
_MAX_COMPOUND = 32
"""RTCP packets read per datagram: a few are usual, but a 65 kB datagram may claim thousands."""


@dataclass(frozen=True)
class RoundTrip:
    """One round trip between the capture point and the end that replied."""

    time_ns: int
    """When the reply was captured."""
    answered_by: str
    """Address of the end that replied."""
    rtt_ms: float
    port: int = 0
    """The port from which it replied."""

    @property
    def half_rtt_ms(self) -> float:
        """Half of the round trip; equals the one-way delay only if both directions take equally long."""
        return self.rtt_ms / 2


@dataclass(frozen=True)
class _Report:
    """The fields of one RTCP packet (SR or RR) that are used here."""

    sent: int | None
    """Middle 32 bits of the NTP time of a sender report."""
    echoes: tuple[tuple[int, int], ...]
    """LSR and DLSR of each report block that has them."""
    received: tuple[tuple[int, int, int], ...]
    """SSRC, packets lost so far and the highest sequence number (16 bits) of each report block."""


def rtcp_round_trips(capture: Capture) -> tuple[RoundTrip, ...]:
    """The round trips found in a capture's RTCP, in order of time. Never raises.

    A reply from the capturing host itself takes almost no time on the wire and gives a round trip near 0 ms.
    """
    sent: dict[tuple[str, int], int] = {}
    found: list[RoundTrip] = []
    for time_ns, flow, report in _captured(capture):
        for last_sent, waited in report.echoes:
            asked = sent.get((flow.destination, last_sent))
            if asked is None:
                continue
            rtt_ns = time_ns - asked - waited * 1_000_000_000 // 65_536
            # DLSR has a resolution of 15 us: a slightly negative result is rounding.
            if rtt_ns > -20_000:
                found.append(RoundTrip(time_ns, flow.source, max(rtt_ns, 0) / 1e6, flow.source_port))
        if report.sent is not None:
            sent.setdefault((flow.source, report.sent), time_ns)
    return tuple(found)


def round_trips_ms(capture: Capture, stream: RtpStream, trips: Sequence[RoundTrip] | None = None) -> F64:
    """The round trips to the sender of a stream while it sent, ms, (k,): those of its own RTCP.

    That comes from the stream's port or the next one (RFC 3550 11, RFC 5761); if none does, what comes from a port of
    no other stream counts. `trips`: those of the capture, if known.
    """
    every = rtcp_round_trips(capture) if trips is None else trips
    if not len(stream.trace):
        return np.zeros(0)
    begin, end = int(stream.trace.arrived_ns[0]), int(stream.trace.arrived_ns[-1])
    source = stream.flow.source
    near = [one for one in every if one.answered_by == source and begin - _AROUND_NS <= one.time_ns <= end + _AROUND_NS]
    own = _rtcp_ports(stream)
    mine = [one for one in near if one.port in own]
    if not mine:
        taken = {port for one in capture.streams if one.flow.source == source for port in _rtcp_ports(one)}
        mine = [one for one in near if one.port not in taken]
    return np.array([one.rtt_ms for one in mine], dtype=np.float64)


def _rtcp_ports(stream: RtpStream) -> tuple[int, int]:
    return stream.flow.source_port, stream.flow.source_port + 1


def missed_by_capture(capture: Capture, stream: RtpStream) -> float | None:
    """The share (0..1) of the packets which the receiver reports as received that are missing from the capture.

    Uses the receiver's last report on the stream: the packets it received up to its highest sequence number, compared
    with those in the capture. None if there is no report. Never raises.
    """
    trace = stream.trace
    reported = [
        (lost, highest)
        for _, flow, report in _captured(capture)
        if flow.source == stream.flow.destination
        for ssrc, lost, highest in report.received
        if ssrc == trace.ssrc
    ]
    if not reported or not len(trace):
        return None
    lost, highest = reported[-1]
    # Extend the highest sequence number like the trace: the value nearest to the stream's last with these 16 bits.
    last = int(trace.sequence.max())
    last += (highest - last + 0x8000) % 0x10000 - 0x8000
    # Both sides count a duplicate as two packets.
    received = last - int(trace.sequence.min()) + 1 - lost
    captured = int(np.count_nonzero(trace.sequence <= last))
    return max(0.0, 1.0 - captured / received) if received > 0 else 0.0


def _captured(capture: Capture) -> Iterator[tuple[int, Flow, _Report]]:
    """Every report in a capture: its time, its flow and its contents."""
    udp = capture.udp
    rows = np.flatnonzero(udp.captured >= 8)
    head = window(udp.data, udp.start[rows], 2)
    reports = rows[(head[:, 0] >> 6 == 2) & ((head[:, 1] == _SENDER_REPORT) | (head[:, 1] == _RECEIVER_REPORT))]
    left = _MAX_REPORTS
    for row in reports[:_MAX_REPORTS].tolist():
        begin = int(udp.start[row])
        for report in _reports(udp.data[begin : begin + int(udp.captured[row])].tobytes()):
            yield int(udp.time_ns[row]), udp.flows[int(udp.flow[row])], report
            left -= 1
        if left <= 0:
            return


def _reports(data: bytes) -> Iterator[_Report]:
    """The sender and receiver reports in a compound packet, as far as it was captured."""
    at = 0
    for _ in range(_MAX_COMPOUND):
        if at + 8 > len(data):
            return
        first, kind, words = struct.unpack_from(">BBH", data, at)
        if first >> 6 != 2:
            return
        end = at + 4 * (words + 1)
        if kind in (_SENDER_REPORT, _RECEIVER_REPORT):
            sender = kind == _SENDER_REPORT
            blocks = at + (28 if sender else 8)
            if blocks <= len(data):
                sent = struct.unpack_from(">I", data, at + 10)[0] if sender else None
                places = [blocks + 24 * i for i in range(first & 0x1F)]
                whole = [place for place in places if place + 24 <= min(end, len(data))]
                pairs = [struct.unpack_from(">II", data, place + 16) for place in whole]
                blocks_received = [struct.unpack_from(">III", data, place) for place in whole]
                yield _Report(
                    sent,
                    tuple((last, waited) for last, waited in pairs if last),
                    tuple((ssrc, _signed_24(lost), highest & 0xFFFF) for ssrc, lost, highest in blocks_received),
                )
        at = end


def _signed_24(word: int) -> int:
    """The cumulative number of packets lost: the low 24 bits, negative if there were duplicates."""
    lost = word & 0xFFFFFF
    return lost - 0x1000000 if lost & 0x800000 else lost

"""What the RTCP reports in one capture tell (RFC 3550 6.4): round-trip times, and what an end says it received.

A report says when the last sender report arrived (LSR) and how long ago (DLSR). Where a capture saw that sender report
go and the answer come back, the difference less DLSR is the round trip from the capture to whoever answered: read on
one clock, needing no agreement of clocks. Half of it is a one-way delay only if both ways are alike; it is called
`half_rtt_ms`, never a one-way delay.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from earwitness.trace.bytewindow import window
from earwitness.trace.capture import Capture
from earwitness.trace.link_layer import Flow
from earwitness.trace.streams import RtpStream

_SENDER_REPORT, _RECEIVER_REPORT = 200, 201
_MAX_REPORTS = 100_000
"""No capture of calls has more that matter."""
_MAX_COMPOUND = 32
"""RTCP packets in one datagram that are looked at: a few are usual, and one of 65 kB may claim thousands."""


@dataclass(frozen=True)
class RoundTrip:
    """One round trip between the capturing host's side and an answering end."""

    time_ns: int
    """When the answer was captured."""
    answered_by: str
    """Address of the end that answered."""
    rtt_ms: float

    @property
    def half_rtt_ms(self) -> float:
        """Half of the round trip: the one-way delay only if both directions take equally long."""
        return self.rtt_ms / 2


@dataclass(frozen=True)
class _Report:
    """What one RTCP packet (SR or RR) says that matters here."""

    sent: int | None
    """Middle 32 bits of the NTP time of a sender report."""
    echoes: tuple[tuple[int, int], ...]
    """LSR and DLSR of each report block that has them."""
    received: tuple[tuple[int, int, int], ...]
    """SSRC, packets lost so far and the highest sequence number (16 bits) of each report block."""


def rtcp_round_trips(capture: Capture) -> tuple[RoundTrip, ...]:
    """The round trips that the RTCP in a capture tells, in order of time. Never raises.

    An answer from within the capturing host comes back in the time that it says it waited: those near 0 ms are such.
    """
    sent: dict[tuple[str, int], int] = {}
    found: list[RoundTrip] = []
    for time_ns, flow, report in _captured(capture):
        for last_sent, waited in report.echoes:
            asked = sent.get((flow.destination, last_sent))
            if asked is None:
                continue
            rtt_ns = time_ns - asked - waited * 1_000_000_000 // 65_536
            # DLSR is in units of 15 us: less than nothing by that much is rounding.
            if rtt_ns > -20_000:
                found.append(RoundTrip(time_ns, flow.source, max(rtt_ns, 0) / 1e6))
        if report.sent is not None:
            sent.setdefault((flow.source, report.sent), time_ns)
    return tuple(found)


def missed_by_capture(capture: Capture, stream: RtpStream) -> float | None:
    """What share, 0..1, of the packets that the receiving end reports to have received a capture does not have.

    From that end's last report about the stream: up to its highest sequence number, so many packets came, and so many
    are in the capture. None where there is no report. Never raises.
    """
    trace = stream.trace
    told = [
        (lost, highest)
        for _, flow, report in _captured(capture)
        if flow.source == stream.flow.destination
        for ssrc, lost, highest in report.received
        if ssrc == trace.ssrc
    ]
    if not told or not len(trace):
        return None
    lost, highest = told[-1]
    # The highest number as the trace extends it: the nearest one to the stream's last that has these 16 bits.
    last = int(trace.sequence.max())
    last += (highest - last + 0x8000) % 0x10000 - 0x8000
    # Both count a packet that came twice as two.
    received = last - int(trace.sequence.min()) + 1 - lost
    captured = int(np.count_nonzero(trace.sequence <= last))
    return max(0.0, 1.0 - captured / received) if received > 0 else 0.0


def _captured(capture: Capture) -> Iterator[tuple[int, Flow, _Report]]:
    """Every report in a capture: when, on which flow, and what it says."""
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
    """The sender and receiver reports of a compound packet, as far as it was captured."""
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
                heard = [struct.unpack_from(">III", data, place) for place in whole]
                yield _Report(
                    sent,
                    tuple((last, waited) for last, waited in pairs if last),
                    tuple((ssrc, _signed_24(lost), highest & 0xFFFF) for ssrc, lost, highest in heard),
                )
        at = end


def _signed_24(word: int) -> int:
    """The cumulative number of packets lost: the low 24 bits, less than 0 where there were duplicates."""
    lost = word & 0xFFFFFF
    return lost - 0x1000000 if lost & 0x800000 else lost

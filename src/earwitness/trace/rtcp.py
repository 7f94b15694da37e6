"""Round-trip times from the RTCP reports in a capture (RFC 3550 6.4.1), measured at the capture itself.

A report names the sender report that it answers (LSR) and how long it waited (DLSR). Both the report that went out and
the answer that came back are in the capture, so that the round trip is read off one clock, whatever the clocks of the
two ends say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from earwitness.trace.link import Datagrams
from earwitness.trace.model import I64
from earwitness.trace.series import F64

_SR, _RR, _LAST = 200, 201, 207
_MAX_ROUND_TRIP_S = 60.0


@dataclass(frozen=True)
class RoundTrips:
    """Round trips seen at one address, in order: when each answer came (n,) int64 ns, and how long it took (n,) ms."""

    arrived_ns: I64
    round_trip_ms: F64

    @property
    def median_ms(self) -> float:
        """Median; NaN where there was no answer."""
        return float(np.median(self.round_trip_ms)) if len(self.round_trip_ms) else float("nan")


def round_trips(found: Datagrams, address: str) -> RoundTrips:
    """From `address` to the far end and back, as often as the far end answered a sender report.

    Reports cut by the snap length count as far as they go. Never raises.
    """
    sent: dict[int, int] = {}
    times: list[int] = []
    trips: list[float] = []
    for row in _rtcp_rows(found):
        flow = found.flows[int(found.flow[row])]
        begin = int(found.start[row])
        payload = found.data[begin : begin + int(found.captured[row])].tobytes()
        now = int(found.time_ns[row])
        if flow.source == address:
            report = _sender_report(payload)
            if report is not None:
                sent[report] = now
        elif flow.destination == address:
            for last_report, waited_s in _answers(payload):
                if last_report in sent:
                    trip = (now - sent[last_report]) / 1e9 - waited_s
                    if 0 <= trip < _MAX_ROUND_TRIP_S:
                        times.append(now)
                        trips.append(trip * 1e3)
    return RoundTrips(np.array(times, dtype=np.int64), np.array(trips, dtype=np.float64))


def _rtcp_rows(found: Datagrams) -> list[int]:
    """The datagrams with the form of RTCP: version 2, a packet type of reports, and a length that fits."""
    rows = np.flatnonzero((found.captured >= 8) & (found.length % 4 == 0))
    first, kind = found.data[found.start[rows]], found.data[found.start[rows] + 1]
    return [int(row) for row in rows[(first >> 6 == 2) & (kind >= _SR) & (kind <= _LAST)]]


def _sender_report(payload: bytes) -> int | None:
    """The middle 32 bits of the NTP time of a sender report, which is what an answer will name."""
    if payload[1] != _SR or len(payload) < 16:
        return None
    return int.from_bytes(payload[10:14], "big")


def _answers(payload: bytes) -> list[tuple[int, float]]:
    """(LSR, DLSR in s) of each report block of the first report of a compound packet."""
    blocks_at = {_SR: 28, _RR: 8}.get(payload[1])
    if blocks_at is None:
        return []
    answers = []
    for number in range(payload[0] & 0x1F):
        at = blocks_at + 24 * number
        if at + 24 > len(payload):
            break
        last_report, waited = struct.unpack_from(">II", payload, at + 16)
        if last_report:
            answers.append((last_report, waited / 65536.0))
    return answers

"""Traces of RTP packets as they were built, some of them lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from earwitness.trace.encoding import Encoding
from earwitness.trace.model import UNKNOWN, Payloads, Trace
from earwitness.trace.rtp import RtpPacket

MS = 1_000_000


def trace_of_packets(
    packets: Sequence[RtpPacket],
    formats: Mapping[int, Encoding],
    *,
    lost: Collection[int] = (),
    headers: bool = False,
    clock_rate: int = 8000,
    arrived_ms: Sequence[float] | None = None,
) -> Trace:
    """A trace of these packets, sent every 20 ms, without those at the indices `lost`; rows in order of arrival.

    `headers`: the payload buffer holds the whole packets, as that of a capture does.
    """
    times = [20.0 * i for i in range(len(packets))] if arrived_ms is None else list(arrived_ms)
    rows = sorted((i for i in range(len(packets)) if i not in lost), key=lambda i: times[i])
    kept = [packets[i] for i in rows]
    payloads = Payloads.of([packet.payload for packet in kept])
    if headers:
        whole = Payloads.of([bytes(packet) for packet in kept])
        at = whole.captured - payloads.captured
        payloads = Payloads(whole.data, whole.start + at, payloads.captured)
    first = packets[0]
    return Trace(
        # Built streams are short: neither number wraps more than once.
        sequence=np.array([first.sequence + ((p.sequence - first.sequence) & 0xFFFF) for p in kept], dtype=np.int64),
        timestamp=np.array(
            [first.timestamp + ((p.timestamp - first.timestamp) & 0xFFFFFFFF) for p in kept], dtype=np.int64
        ),
        payload_type=np.array([p.payload_type for p in kept], dtype=np.uint8),
        marker=np.array([p.marker for p in kept], dtype=bool),
        size=payloads.captured.copy(),
        sent_ns=np.full(len(kept), UNKNOWN, dtype=np.int64),
        arrived_ns=np.array([round(times[i] * MS) + 1_000_000_000 for i in rows], dtype=np.int64),
        clock_rate=clock_rate,
        ssrc=first.ssrc,
        payloads=payloads,
        formats=dict(formats),
    )


def payload_of_each(trace: Trace) -> dict[int, bytes]:
    """The payload of each sequence number, 16 bits of it."""
    assert trace.payloads is not None
    return {int(number) & 0xFFFF: trace.payloads[i] for i, number in enumerate(trace.sequence)}

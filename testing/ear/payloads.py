"""Traces with payloads of one's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earwitness.speech.codecs.base import Codec
from earwitness.trace.model import Payloads, Trace
from testing.ear.traces import MS, START_NS


def trace_with(codec: Codec, payloads: Sequence[bytes], samples: int) -> Trace:
    """Packets with these payloads, one every `samples` at the codec's rate, each 30 ms on the way."""
    at = np.arange(len(payloads), dtype=np.int64) * samples
    sent_ns = START_NS + at * 1_000_000_000 // codec.sample_rate
    return Trace(
        sequence=np.arange(len(payloads), dtype=np.int64),
        timestamp=at * codec.clock_rate // codec.sample_rate,
        payload_type=np.full(len(payloads), codec.payload_type, dtype=np.uint8),
        marker=np.zeros(len(payloads), dtype=np.bool_),
        size=np.array([len(payload) for payload in payloads], dtype=np.int32),
        sent_ns=sent_ns,
        arrived_ns=sent_ns + 30 * MS,
        clock_rate=codec.clock_rate,
        sent_clock="lab",
        arrived_clock="lab",
        payloads=Payloads.of(payloads),
    )

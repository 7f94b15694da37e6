"""Traces as a capture gives them: from the 16 and 32 bits of a header, in order of arrival."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from earwitness.trace.encoding import Encoding
from earwitness.trace.extend import extend, extend_sequence
from earwitness.trace.model import UNKNOWN, Trace


def received(
    sequence: ArrayLike,
    timestamp: ArrayLike,
    arrived_ms: ArrayLike,
    *,
    marker: ArrayLike = False,
    size: ArrayLike = 160,
    payload_type: ArrayLike = 0,
    clock_rate: int = 8000,
    formats: Mapping[int, Encoding] | None = None,
) -> Trace:
    """The trace of packets (n,) with these numbers, timestamps and arrivals, given in any order."""
    arrived = np.rint(np.asarray(arrived_ms, dtype=float) * 1e6).astype(np.int64) + 5_000_000_000
    order = np.argsort(arrived, kind="stable")
    n = len(order)
    ticks = extend(np.asarray(timestamp, dtype=np.int64)[order] & 0xFFFF_FFFF, 32)
    return Trace(
        sequence=extend_sequence(np.asarray(sequence, dtype=np.int64)[order] & 0xFFFF, ticks, arrived[order]),
        timestamp=ticks,
        payload_type=np.broadcast_to(np.asarray(payload_type, dtype=np.uint8), (n,))[order],
        marker=np.broadcast_to(np.asarray(marker, dtype=bool), (n,))[order],
        size=np.broadcast_to(np.asarray(size, dtype=np.int32), (n,))[order],
        sent_ns=np.full(n, UNKNOWN, dtype=np.int64),
        arrived_ns=arrived[order],
        clock_rate=clock_rate,
        formats=formats or {},
    )

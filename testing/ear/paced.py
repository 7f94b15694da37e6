"""Traces of packets of given lengths and sizes, with pauses between them, that arrive as they were sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from earwitness.trace.encoding import Encoding
from earwitness.trace.model import UNKNOWN, Payloads, Trace

START_NS = 7_000_000_000


def paced(
    lengths_ms: Sequence[float],
    *,
    pauses_ms: Mapping[int, float] | None = None,
    lost: Collection[int] = (),
    sizes: Sequence[int] | None = None,
    name: str = "PCMU",
    clock_rate: int = 8000,
) -> Trace:
    """Packets of these lengths; each arrives when its speech has been recorded.

    `pauses_ms`: silence after the packet of that number. `lost`: packets that are not in the trace. `sizes`: bytes in
    each, by default 8 for each ms, as G.711 has.
    """
    length = np.array(lengths_ms, dtype=np.float64)
    after = np.zeros(len(length))
    for number, pause in (pauses_ms or {}).items():
        after[number] = pause
    begin = np.cumsum(length + after) - length - after
    size = np.array(sizes if sizes is not None else 8 * length, dtype=np.int32)
    rows = np.array([i for i in range(len(length)) if i not in lost])
    payloads = [bytes([0x55, *range(1, 200)] * (1 + n // 200))[:n] for n in size[rows].tolist()]
    return Trace(
        sequence=rows.astype(np.int64),
        timestamp=np.rint(begin * clock_rate / 1000).astype(np.int64)[rows],
        payload_type=np.zeros(len(rows), dtype=np.uint8),
        marker=np.zeros(len(rows), dtype=bool),
        size=size[rows],
        sent_ns=np.full(len(rows), UNKNOWN, dtype=np.int64),
        arrived_ns=START_NS + np.rint((begin + length) * 1e6).astype(np.int64)[rows],
        clock_rate=clock_rate,
        payloads=Payloads.of(payloads),
        formats={0: Encoding(name, clock_rate)},
    )

"""What a stream shows of its codec: the SDP's words, and what its packets look like."""

from __future__ import annotations

import numpy as np

from earwitness.arrays import I64
from earwitness.speech.codecs.kind import Offer
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import Payloads, Trace
from earwitness.trace.redundancy import red_blocks

_LOOKED_AT = 101
"""Packets, from the whole stream, whose bytes are shown."""


def offer_of(trace: Trace, payload_type: int, meaning: Encoding, *, readable: bool = True) -> Offer:
    """The offer of a payload type of a trace, which means this; of encrypted packets (not `readable`), as SDP says.

    Of RED packets (RFC 2198), `meaning` is that of their primary blocks, which are looked at.
    """
    rows = np.flatnonzero((trace.payload_type == payload_type) & (trace.size > 0)) if readable else _NONE
    size, payloads = trace.size[rows].astype(np.int64), _of_rows(trace, rows)
    described = trace.formats.get(payload_type, meaning)
    if payloads is not None and described.role == "redundancy":
        primary = red_blocks(payloads, trace.size[rows], np.arange(len(rows), dtype=np.int64))
        primary = primary.take((primary.age == 0) & (primary.size > 0))
        size, payloads = primary.size.astype(np.int64), Payloads(payloads.data, primary.start, primary.captured)
    elif described.role != "speech":
        size, payloads = _NONE, None
    return Offer(
        meaning.name,
        meaning.clock_rate,
        payload_type,
        fmtp=meaning.fmtp,
        payload_bytes=int(np.argmax(np.bincount(size))) if len(size) else None,
        channels=meaning.channels,
        payloads=() if payloads is None else _some(payloads, size),
    )


_NONE: I64 = np.zeros(0, dtype=np.int64)


def _of_rows(trace: Trace, rows: I64) -> Payloads | None:
    whole = trace.payloads
    return None if whole is None else Payloads(whole.data, whole.start[rows], whole.captured[rows])


def _some(payloads: Payloads, size: I64) -> tuple[bytes, ...]:
    """Some of these payloads of which bytes were captured, at their full size."""
    rows = np.flatnonzero(payloads.captured > 0)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(np.int64)]
    return tuple(payloads[row].ljust(int(size[row]), b"\0") for row in rows.tolist())

"""Which packets of a stream carry speech, and which something else: events, comfort noise, repair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import Bool
from earwitness.trace.encoding import MEDIA_ROLES
from earwitness.trace.model import Trace
from earwitness.trace.payload_types import COMFORT_NOISE, main_payload_type

_EVENT_BYTES = 4
"""One telephone event (RFC 4733 2.3)."""


def speech_rows(trace: Trace) -> Bool:
    """The packets that carry speech, (n,).

    Telephone events, comfort noise and repair data are not paced like speech: their timestamps stand still or come from
    other packets. Types are known from `formats`; RED (RFC 2198) carries speech. Without a meaning, the static types of
    comfort noise are excluded, and what looks like telephone events (`event_types`).
    """
    carries = speech_types(trace)
    return np.ones(len(trace), dtype=bool) if carries.all() else np.asarray(carries[trace.payload_type])


def speech_types(trace: Trace) -> NDArray[np.bool_]:
    """Whether each payload type number carries speech in this trace, (128,)."""
    carries = np.ones(256, dtype=bool)
    if not len(trace):
        return carries
    first = int(trace.payload_type[0])
    meant = trace.formats.get(first)
    # Nearly every stream: one payload type, of speech as far as is known.
    if (meant is None or meant.role in MEDIA_ROLES) and bool((trace.payload_type == first).all()):
        return carries
    carries[list(COMFORT_NOISE)] = False
    for number, encoding in trace.formats.items():
        carries[number] = encoding.role in MEDIA_ROLES
    carries[list(event_types(trace))] = False
    return carries


def main_speech_type(trace: Trace) -> int:
    """The payload type of most packets with speech; at least one packet must be there."""
    counts = np.bincount(trace.payload_type, minlength=256)
    spoken = np.where(speech_types(trace), counts, 0)
    return int(np.argmax(spoken)) if spoken.any() else main_payload_type(trace.payload_type)


def event_types(trace: Trace) -> tuple[int, ...]:
    """Payload types without a known meaning whose packets look like telephone events: 4 bytes each, and a timestamp
    that stands still."""
    found = []
    present = np.flatnonzero(np.bincount(trace.payload_type, minlength=128))
    main = main_payload_type(trace.payload_type)
    for number in present.tolist():
        encoding = trace.formats.get(number)
        if number == main or number < 96 or (encoding is not None and encoding.name):
            continue
        rows = np.flatnonzero(trace.payload_type == number)
        small = bool((trace.size[rows] == _EVENT_BYTES).all())
        if small and len(rows) > 1 and len(np.unique(trace.timestamp[rows])) * 2 <= len(rows):
            found.append(number)
    return tuple(found)

"""Where in the looped reference a stream begins whose packets a snap length cut, so that they have to be made again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.grid import divisible
from earwitness.speech.codecs.base import Codec
from earwitness.trace.model import Trace

_SEEN, _ASKED = 150, 16
"""Packets looked at, and the most varied of them, which are looked for in the reference."""
_LEAST_BYTES, _LEAST_DISTINCT = 16, 8
"""Kept bytes, and different ones among them, that a packet needs to be found in the reference."""
_MOST_PLACES = 4
_FROM_ZERO_S, _DOUBTFUL_S = 10, 0.25
"""A phone whose timestamps begin below this counts from the beginning of the call, as PJSIP does: a random beginning
(RFC 3550 5.1) is below 10 s once in 10,000 streams. If it is not at the very beginning, that is said."""
UNCONFIRMED = (
    "the packets are cut and made again from the reference, which is assumed to begin with the first of them; nothing"
    " in them confirms that"
)
COUNTED = (
    "the packets are cut and made again from the reference, which is assumed to have begun when the RTP timestamps were"
    " 0, as with PJSIP; nothing in them confirms that"
)


def reference_offset(trace: Trace, codec: Codec, reference: Pcm, usual: int) -> tuple[int, str]:
    """The position of RTP timestamp 0 in samples before the reference's first one, and a doubt; (r,) int16 reference.

    The kept bytes decide, where the codec has a byte for each sample. Otherwise a stream that counts from the beginning
    of the call has the `usual` offset, and any other one is assumed to begin with the reference. Both are said, unless
    the stream begins near timestamp 0.
    """
    found = _by_kept_bytes(trace, codec, reference)
    if found is not None:
        return found, ""
    first = int(trace.timestamp.min()) if len(trace) else 0
    if first <= _FROM_ZERO_S * trace.clock_rate:
        return usual, "" if first <= _DOUBTFUL_S * trace.clock_rate else COUNTED
    return first * codec.sample_rate // trace.clock_rate, UNCONFIRMED


def _by_kept_bytes(trace: Trace, codec: Codec, reference: Pcm) -> int | None:
    """The offset on which most of the loudest packets agree; None if too few are found in the reference."""
    if trace.payloads is None or codec.samples_in(bytes(160)) != 160 or codec.sample_rate != trace.clock_rate:
        return None
    if not divisible(codec) or not len(reference):
        return None
    looped = np.ascontiguousarray(np.resize(reference, len(reference) + trace.clock_rate))
    # Cut into one frame, because the codec permits any.
    coded = replace(codec, frame_samples=len(looped)).encoder().encode(looped)  # type: ignore[type-var]
    rows = np.flatnonzero((trace.payloads.captured >= _LEAST_BYTES) & (trace.payload_type == codec.payload_type))
    some = [(row, trace.payloads[row]) for row in rows[:: max(1, len(rows) // _SEEN)].tolist()]
    varied = sorted(((-len(set(kept)), row, kept) for row, kept in some), key=lambda one: one[:2])
    asked = [(row, kept) for distinct, row, kept in varied[:_ASKED] if -distinct >= _LEAST_DISTINCT]
    votes: Counter[int] = Counter()
    for row, kept in asked:
        at = coded.find(kept)
        for _ in range(_MOST_PLACES):
            if at < 0:
                break
            votes[(int(trace.timestamp[row]) - at) % len(reference)] += 1
            at = coded.find(kept, at + 1)
    offset, most = votes.most_common(1)[0] if votes else (0, 0)
    return offset if most * 2 > len(asked) else None

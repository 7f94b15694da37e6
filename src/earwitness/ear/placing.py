"""Where in the looped reference a stream begins whose packets a snap length cut, so that they have to be made again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.grid import divisible
from earwitness.speech.codecs.base import Codec
from earwitness.trace.model import Trace
from earwitness.trace.timeline import usual_step

_SEEN, _ASKED = 150, 16
"""Packets looked at, and the most varied of them, which are looked for in the reference."""
_LEAST_BYTES, _LEAST_DISTINCT = 16, 8
"""Kept bytes, and different ones among them, that a packet needs to be found in the reference."""
_MOST_PLACES = 4
_LEAST_ALIKE, _MOST_ELSEWHERE = 0.4, 0.8
"""Correlation of the kept samples with the reference from which on they place the packets, and the most elsewhere in
the reference, as a part of it."""
_SAME_SOUND = 0.98
"""Below this, the far phone sent something else than the reference as it is, which is said."""
_APART = 40
"""Samples from the best place from which on another one is elsewhere: speech is like itself a few samples on."""
_LEAST_KEPT, _MOST_KEPT = 4000, 4_000_000
"""Kept samples that are compared, at least and at most."""
_FROM_ZERO_S, _DOUBTFUL_S = 10, 0.25
"""A phone whose timestamps begin below this, at a whole number of packets, counts from the beginning of the call, as
PJSIP does. A random beginning (RFC 3550 5.1) is below 10 s once in 10,000 streams, and baresip's (below 65,536) is a
whole number of packets of 20 ms once in 160. If it is not at the very beginning, that is said."""
OTHER = (
    "the packets are cut and made again from the reference, but what is left of them is nowhere in it: the far phone"
    " seems to have sent another sound, so the score is one of loss and delay in this one; give the reference it sent"
)
_ALIKE = (
    "the packets are cut and made again from the reference, of which the samples that are left of them are like a part"
    " (correlation {:.2f}) and not the same: the far phone sent it changed, which is not in the score"
)
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

    The kept bytes decide, where the codec has a byte for each sample; if they are not the reference's, the samples that
    they hold. Otherwise a stream that counts from the beginning of the call has the `usual` offset, and any other one
    is assumed to begin with the reference. Both are said, unless the stream begins near timestamp 0.
    """
    if _is_sampled(trace, codec) and len(reference):
        found = _by_kept_bytes(trace, codec, reference)
        if found is not None:
            return found, ""
        found, alike = _by_kept_samples(trace, codec, reference)
        if found is not None:
            return found, "" if alike >= _SAME_SOUND else _ALIKE.format(alike)
        if alike > 0:
            return usual if _counts(trace) else _begins(trace, codec), OTHER
    first = int(trace.timestamp.min()) if len(trace) else 0
    if _counts(trace):
        return usual, "" if first <= _DOUBTFUL_S * trace.clock_rate else COUNTED
    return _begins(trace, codec), UNCONFIRMED


def _counts(trace: Trace) -> bool:
    """Whether the timestamps seem to count from the beginning of the call."""
    first = int(trace.timestamp.min()) if len(trace) else 0
    return first <= _FROM_ZERO_S * trace.clock_rate and first % usual_step(trace) == 0


def _begins(trace: Trace, codec: Codec) -> int:
    """The offset with which the first packet is the beginning of the reference."""
    return int(trace.timestamp.min()) * codec.sample_rate // trace.clock_rate


def _is_sampled(trace: Trace, codec: Codec) -> bool:
    """Whether each byte of the payloads is a sample."""
    return (
        trace.payloads is not None
        and codec.samples_in(bytes(160)) == 160
        and codec.sample_rate == trace.clock_rate
        and divisible(codec)
    )


def _by_kept_samples(trace: Trace, codec: Codec, reference: Pcm) -> tuple[int | None, float]:
    """The offset at which the kept samples are like the looped reference, None if there is none, and how like, up to
    1: the correlation over all of them; 0 if they are too few, or silent.

    A phone that resamples what it sends, or sets its level, sends other bytes of the same sound.
    """
    assert trace.payloads is not None
    rows = np.flatnonzero((trace.payloads.captured > 0) & (trace.payload_type == codec.payload_type))
    kept = np.minimum(trace.payloads.captured[rows], trace.size[rows]).astype(np.int64)
    rows = rows[: int(np.searchsorted(np.cumsum(kept), _MOST_KEPT, side="right"))]
    kept = kept[: len(rows)]
    if not len(rows):
        return None, 0.0
    sound = codec.decoder().decode(
        b"".join(trace.payloads[row][:size] for row, size in zip(rows.tolist(), kept.tolist(), strict=True))
    )
    within = np.arange(int(kept.sum())) - np.repeat(np.cumsum(kept) - kept, kept)
    at = (np.repeat(trace.timestamp[rows], kept) + within) % len(reference)
    length = len(reference)
    there = np.bincount(at, minlength=length).astype(np.float64)
    heard = np.bincount(at, weights=sound.astype(np.float64), minlength=length)
    said = np.fft.rfft(reference.astype(np.float64))
    energy = np.fft.rfft(reference.astype(np.float64) ** 2)
    alike = np.fft.irfft(np.fft.rfft(heard) * np.conj(said), length)
    loud = np.fft.irfft(np.fft.rfft(there) * np.conj(energy), length)
    own = float(np.dot(sound.astype(np.float64), sound.astype(np.float64)))
    if own == 0 or len(sound) < _LEAST_KEPT:
        return None, 0.0
    alike /= np.sqrt(own * np.maximum(loud, own * 1e-3))
    best = int(np.argmax(alike))
    elsewhere = np.roll(alike, -best)[_APART:-_APART]
    if alike[best] < _LEAST_ALIKE or (len(elsewhere) and elsewhere.max() > _MOST_ELSEWHERE * alike[best]):
        return None, max(float(alike[best]), 0.0)
    return best, float(alike[best])


def _by_kept_bytes(trace: Trace, codec: Codec, reference: Pcm) -> int | None:
    """The offset on which most of the loudest packets agree; None if too few are found in the reference."""
    assert trace.payloads is not None
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

"""Provides the bytes of each frame: from the capture, or re-encoded from the reference if a snap length cut them."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.frames import Frames
from earwitness.ear.grid import divisible
from earwitness.ear.placing import reference_offset
from earwitness.errors import InputError
from earwitness.speech.codecs.base import MalformedFrame
from earwitness.trace.model import Payloads, Trace

REFERENCE_OFFSET = 160
"""RTP timestamp, in samples, of the packet with the reference's first sample, for a phone that starts its file and its
timestamps with the call (as PJSIP does, one 20 ms frame late)."""

_SNAP_LENGTH = "a snap length"
_DENSE = 4
"""A stream with more than this many slots per frame is not filled up (its timestamps restarted)."""


class FrameBytes(Protocol):
    """What the decoder is given for the frames of a trace, by index."""

    def __call__(self, frame: int) -> bytes:
        """The bytes from which the decoder makes frame `frame`, and perhaps its neighbours (`Frames.per_unit`); raises
        MalformedFrame if they are not available."""
        ...


def frame_bytes(
    trace: Trace, frames: Frames, reference: Pcm | None = None, offset: int = REFERENCE_OFFSET
) -> FrameBytes:
    """The frames' bytes: from the capture if it has complete packets, otherwise re-encoded from the reference.

    `reference` (r,) int16 at the frames' sample rate is what the speaker's phone played in a loop; the frame with RTP
    timestamp t begins at sample (t * sample_rate / clock_rate - offset) mod r of it, unless the stream shows
    another place (`placing`). Raises InputError if packets were cut and there is no reference, or several codecs.
    """
    if is_whole(trace):
        return Captured(trace, frames)
    if reference is None:
        have = "it has no payload bytes" if trace.payloads is None else _cut(trace, trace.payloads)
        remedy = "give the speech that was played as {reference}"
        raise InputError("decoding", trace.source or "the trace", have, remedy, related=("reference",))
    if len(frames.codecs) > 1:
        by = trace.payloads.cut_by if trace.payloads is not None else ""
        happened = f"{by or _SNAP_LENGTH} cut its packets, and its codec changes ({frames.names})"
        raise InputError("decoding", trace.source or "the trace", happened, "capture whole packets")
    return Remade(trace, frames, reference, offset)


def _cut(trace: Trace, payloads: Payloads) -> str:
    """What cut the payloads, of how many packets, and how much it left."""
    rows = np.flatnonzero(payloads.captured < trace.size)
    which = "its packets" if len(rows) == len(trace) else f"{len(rows)} of its {len(trace)} packets"
    kept, size = int(np.max(payloads.captured[rows])), int(np.max(trace.size[rows]))
    return f"{payloads.cut_by or _SNAP_LENGTH} cut {which} to {kept} of {size} payload bytes"


def is_whole(trace: Trace) -> bool:
    """Whether every payload is complete, but for single ones that are missing altogether (SRTP that did not open)."""
    if not len(trace) or trace.payloads is None:
        return not len(trace)
    captured = trace.payloads.captured
    whole = captured >= trace.size
    return bool(np.all(whole)) or (bool(np.all(whole | (captured == 0))) and bool(np.any(captured)))


class Captured:
    """Frames as captured."""

    def __init__(self, trace: Trace, frames: Frames) -> None:
        self._payloads = trace.payloads
        self._packet: list[int] = frames.packet.tolist()
        self._unit: list[int] = (frames.part // frames.per_unit[frames.packet]).tolist()
        self._codec: list[int] = frames.codec_of.tolist()
        self._ends_within: list[bool] = frames.ends_within.tolist()
        self._split = [codec.split for codec in frames.codecs]
        self._row = -1
        self._parts: list[bytes] = []

    def __call__(self, frame: int) -> bytes:
        """The bytes of one frame. The end of a packet that is not a whole frame is shorter."""
        row = self._packet[frame]
        if row != self._row:
            assert self._payloads is not None
            payload = self._payloads[row]
            self._row, self._parts = row, self._split[self._codec[row]](payload)
            if self._ends_within[row]:
                self._parts = [*self._parts, payload[sum(map(len, self._parts)) :]]
        unit = self._unit[frame]
        if unit >= len(self._parts):
            raise MalformedFrame("packet", b"".join(self._parts), f"it has no frame number {unit + 1}")
        return self._parts[unit]


class Remade:
    """Frames re-encoded from the looped reference, once, in the order of their timestamps; `doubt`: about their place.

    The encoder processes everything from the first frame to the last, like the sender's, including what never arrived.
    """

    def __init__(self, trace: Trace, frames: Frames, reference: Pcm, offset: int) -> None:
        if not len(reference):
            raise InputError("encoding", "the reference", "it has no samples", "give a WAV file with speech")
        codec, clock_rate = frames.codecs[0], frames.stream.clock_rate
        offset, self.doubt = reference_offset(trace, codec, reference, offset)
        length = codec.frame_samples
        ticks = length * clock_rate // codec.sample_rate
        slot = frames.timestamp // ticks
        wanted, first = np.unique(slot, return_index=True)
        # Split into whole seconds and remainder, so that the product fits 64 bits.
        seconds, rest = np.divmod(frames.timestamp[first], clock_rate)
        begin = seconds * codec.sample_rate + rest * codec.sample_rate // clock_rate
        if 0 < wanted[-1] - wanted[0] < _DENSE * len(wanted):
            every = np.arange(wanted[0], wanted[-1] + 1)
            begin = np.interp(every, wanted, begin).astype(np.int64)
            wanted = every
        looped = np.concatenate((reference, np.resize(reference, length)))
        starts = (begin - offset) % len(reference)
        if divisible(codec):
            # In one piece, many times faster: its audio can be cut anywhere.
            samples = looped[starts[:, None] + np.arange(length)].reshape(-1)
            coded = replace(codec, frame_samples=len(samples)).encoder().encode(samples)  # type: ignore[type-var]
            size = len(coded) // len(starts)
            self._encoded = [coded[at : at + size] for at in range(0, size * len(starts), size)]
        else:
            encode = codec.encoder().encode
            self._encoded = [encode(looped[start : start + length]) for start in starts.tolist()]
        self._which: list[int] = np.searchsorted(wanted, slot).tolist()

    def __call__(self, frame: int) -> bytes:
        """The bytes of one frame."""
        return self._encoded[self._which[frame]]

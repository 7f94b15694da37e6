"""From what a buffer handed out to the sound that was heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earwitness.ear.base import CONCEAL
from earwitness.ear.conceal import Concealer
from earwitness.ear.payload import FrameBytes
from earwitness.ear.replay import Replay
from earwitness.speech.codecs.base import Decoder, MalformedFrame
from earwitness.trace.model import Trace

Pcm = NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Rendered:
    """`audio` (k * frame_samples,) int16, the sound of each pull in order; `malformed` the frames that the decoder
    refused, which were concealed."""

    audio: Pcm
    malformed: tuple[int, ...]


def render(trace: Trace, played: Replay, decoder: Decoder, frame_bytes: FrameBytes, concealer: Concealer) -> Rendered:
    """Decode what a buffer handed out, in the order of playing, and conceal what it did not have."""
    pieces: list[Pcm] = []
    malformed: list[int] = []
    frame = played.frame
    # Runs of frames, of gaps and of pauses, each done at once.
    kind = np.minimum(frame, 0)
    edges = (np.flatnonzero(np.diff(kind)) + 1).tolist()
    for begin, end in zip([0, *edges], [*edges, len(frame)], strict=True):
        if begin == end:
            continue
        if kind[begin] == 0:
            pieces.append(_decode_run(frame[begin:end].tolist(), decoder, frame_bytes, concealer, malformed))
        elif kind[begin] == CONCEAL:
            pieces.append(concealer.missing(end - begin, _frame_after_gap(trace, played, end, frame_bytes)))
        else:
            pieces.append(concealer.pause(end - begin))
    return Rendered(np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int16), tuple(malformed))


def _frame_after_gap(trace: Trace, played: Replay, end: int, frame_bytes: FrameBytes) -> bytes | None:
    """The frame that follows the gap before pull `end`, where it had arrived when the gap was played."""
    if end >= len(played) or played.frame[end] < 0 or played.start[end] != played.end[end - 1]:
        return None
    following = int(played.frame[end])
    if trace.arrived_ns[played.frames.packet[following]] > played.asked_ns[end - 1]:
        return None
    try:
        return frame_bytes(following)
    except MalformedFrame:
        return None


def _decode_run(
    run: list[int], decoder: Decoder, frame_bytes: FrameBytes, concealer: Concealer, malformed: list[int]
) -> Pcm:
    """Consecutive frames that are there."""
    try:
        return concealer.good(decoder.decode_many([frame_bytes(index) for index in run]).reshape(-1))
    except MalformedFrame:
        # The decoder has heard the frames before the bad one already; it hears them again, which it forgets soon.
        return np.concatenate([_decode_one(index, decoder, frame_bytes, concealer, malformed) for index in run])


def _decode_one(
    index: int, decoder: Decoder, frame_bytes: FrameBytes, concealer: Concealer, malformed: list[int]
) -> Pcm:
    try:
        return concealer.good(decoder.decode_many([frame_bytes(index)]).reshape(-1))
    except MalformedFrame:
        malformed.append(index)
        return concealer.missing(1, None)

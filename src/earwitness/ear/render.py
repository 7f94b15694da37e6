"""Turns what a buffer returned into audio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.account import stretched_frames
from earwitness.ear.base import CONCEAL, PAUSE
from earwitness.ear.comfort import ComfortNoise, noise_in_force
from earwitness.ear.conceal import Concealer
from earwitness.ear.decoding import FrameDecoder
from earwitness.ear.replay import Replay
from earwitness.ear.stretch import least_samples, stretch
from earwitness.speech.codecs.base import MalformedFrame
from earwitness.trace.model import Trace

_PLAIN, _FASTER, _SLOWER = 0, 1, 2
_NOISE = -3
_NOTHING: Pcm = np.zeros(0, dtype=np.int16)


@dataclass(frozen=True, eq=False)
class Rendered:
    """`audio` (k * frame_samples,) int16, the audio of each pull in order; `malformed`: the frames that the decoder
    rejected, which were concealed."""

    audio: Pcm
    malformed: tuple[int, ...]


def render(
    trace: Trace,
    played: Replay,
    decoder: FrameDecoder,
    concealer: Concealer,
    comfort: ComfortNoise | None = None,
) -> Rendered:
    """Decode what a buffer returned, in playing order; stretch what plays faster or slower, conceal what is missing.
    With `comfort`, pauses with known background noise (RFC 3389, or the codec's silence descriptors) are filled with
    it."""
    pieces: list[Pcm] = []
    malformed: list[int] = []
    frame, ticks = played.frame, played.frames.stream.frame_ticks
    samples, rate = decoder.frame_samples, decoder.sample_rate
    # Process runs of frames, stretched frames, gaps and pauses as a whole.
    span = played.end - played.start
    kind = np.where(frame >= 0, np.where(span == ticks, _PLAIN, np.where(span > ticks, _FASTER, _SLOWER)), frame)
    if comfort is not None:
        which, noises = noise_in_force(trace, played)
        kind = np.where(which >= 0, _NOISE - which, kind)
    edges = (np.flatnonzero(np.diff(kind)) + 1).tolist()
    for begin, end in zip([0, *edges], [*edges, len(frame)], strict=True):
        if begin == end:
            continue
        if kind[begin] == _PLAIN:
            pieces.append(_decode_run(frame[begin:end].tolist(), decoder, concealer, malformed))
        elif kind[begin] in (CONCEAL, PAUSE) and comfort is not None and (noise := _noise(end - begin, decoder)):
            # After a silence descriptor nothing is missing, as far as a phone can know.
            concealer.pause(end - begin)
            pieces += noise
        elif kind[begin] == CONCEAL:
            pieces.append(concealer.missing(end - begin, _frame_after_gap(trace, played, end)))
        elif kind[begin] == PAUSE:
            pieces.append(concealer.pause(end - begin))
        elif kind[begin] <= _NOISE and comfort is not None:
            concealer.pause(end - begin)
            pieces.append(comfort.make(noises[_NOISE - int(kind[begin])], (end - begin) * samples))
        else:
            arrived_ns = trace.arrived_ns[played.frames.packet]
            run = [one for one, _ in stretched_frames(played, np.arange(begin, end), arrived_ns)]
            natural = _decode_run(run, decoder, concealer, malformed) if run else _NOTHING
            if len(natural) < least_samples(rate):
                # Timestamps off the frame grid: too few frames lie in the media to be stretched.
                pieces.append(concealer.missing(end - begin, None))
            else:
                pieces.append(stretch(natural, (end - begin) * samples, rate))
    return Rendered(np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int16), tuple(malformed))


def _noise(count: int, decoder: FrameDecoder) -> list[Pcm]:
    """`count` frames of the codec's own comfort noise; none if the last frame was no silence descriptor."""
    pieces: list[Pcm] = []
    while len(pieces) < count and (made := decoder.comfort()) is not None:
        pieces.append(made)
    return pieces


def _frame_after_gap(trace: Trace, played: Replay, end: int) -> int | None:
    """The frame after the gap before pull `end`, if it had arrived when the gap was played."""
    if end >= len(played) or played.frame[end] < 0 or played.start[end] != played.end[end - 1]:
        return None
    following = int(played.frame[end])
    if trace.arrived_ns[played.frames.packet[following]] > played.asked_ns[end - 1]:
        return None
    return following


def _decode_run(run: list[int], decoder: FrameDecoder, concealer: Concealer, malformed: list[int]) -> Pcm:
    """Decode consecutive available frames."""
    try:
        return concealer.good(decoder.decode_many(run).reshape(-1))
    except MalformedFrame:
        # The decoder has already seen the frames before the bad one; it sees them again, with only a brief effect.
        return np.concatenate([_decode_one(index, decoder, concealer, malformed) for index in run])


def _decode_one(index: int, decoder: FrameDecoder, concealer: Concealer, malformed: list[int]) -> Pcm:
    try:
        return concealer.good(decoder.decode_many([index]).reshape(-1))
    except MalformedFrame:
        malformed.append(index)
        return concealer.missing(1, None)

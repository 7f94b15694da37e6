"""The audio signals between what was said and what was heard, each with one more cause, which `blame` scores.

All but the last use the sender's timeline: every frame at its own RTP timestamp, at a constant delay. They are rendered
by the ear itself: from the same packets with other arrival times, or from what it played.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from earwitness.arrays import F64, I64, Bool, Pcm
from earwitness.ear.account import CODE, inferred_losses
from earwitness.ear.base import Fate
from earwitness.ear.conceal import concealer
from earwitness.ear.hear import Heard, hear
from earwitness.ear.payload import frame_bytes
from earwitness.ear.render import render
from earwitness.score.kind import ScorerRefused
from earwitness.score.pesq import MOST_SECONDS
from earwitness.speech.codecs.base import Codec, packet_ticks
from earwitness.trace.model import LOST, Payloads, Trace

SEEN_MS = 16
"""PESQ uses windows of 32 ms: even when perfectly aligned, a window still covers half of its length of what filled the
time in which the media did not advance."""
FADE_MS = 5

AMPLE_MS = 1000
"""Delay of the ideal replays: long enough to distinguish a pause from a loss by the packet after it."""


class Ideal:
    """One direction with each frame as a packet of its own, arriving in order at a constant delay.

    Raises `ScorerRefused` if the timestamps span more than can be scored (they restarted in the middle).
    """

    def __init__(self, heard: Heard, codec: Codec, reference: Pcm, offset: int) -> None:
        self._codec, self._reference, self._offset = codec, reference, offset
        fate, frames = heard.account.fate, heard.played.frames
        keep = fate != CODE[Fate.DUPLICATE]
        if not bool(np.any(keep)):
            raise ScorerRefused("all packets with speech are repeats", "see that the packets are of one call")
        self._trace = _frame_by_frame(heard.trace, heard, codec).take(keep)
        self._arrived: Bool = heard.trace.arrived[frames.packet][keep]
        self._played: Bool = (heard.account.pull >= 0)[keep]
        self.first = int(self._trace.timestamp.min())
        grid = packet_ticks(codec)
        step = (self._trace.timestamp - self.first) // grid
        self._on_time: I64 = step * (grid * 1_000_000_000 // self._trace.clock_rate)
        rate = codec.sample_rate
        last = int(self._trace.timestamp.max()) - self.first
        if last > MOST_SECONDS * self._trace.clock_rate:
            raise ScorerRefused(f"the RTP timestamps span {last / self._trace.clock_rate:.0f} s")
        self.length = last * rate // self._trace.clock_rate + codec.frame_samples
        """Samples from the first frame to the last."""
        self.unknown = self._holes(heard.trace)

    def all_sent(self) -> Pcm:
        """Everything that was sent, as far as it is known: (length,) int16."""
        return self._sound(np.ones(len(self._trace), dtype=np.bool_))

    def all_arrived(self) -> Pcm:
        """What arrived, however late; silence for lost packets."""
        return self._sound(self._arrived)

    def all_played(self) -> Pcm:
        """What was played, at its original position; silence for what was not."""
        return self._sound(self._played)

    def with_unknown(self, sound: Pcm, said: Pcm) -> Pcm:
        """`sound` with what was said inserted where unknown packets are missing: (length,) int16."""
        if not len(self.unknown):
            return sound
        window = said_in(sound, said)
        filled = sound.copy()
        for at in self.unknown.tolist():
            end = at + self._codec.frame_samples
            filled[at:end] = window[at:end]
        return filled

    def _sound(self, there: Bool) -> Pcm:
        """The selected frames on the sender's timeline, with silence for the others."""
        out = np.zeros(self.length, dtype=np.int16)
        if not bool(np.any(there)):
            return out
        trace = self._trace.with_arrivals(np.where(there, self._on_time, LOST))
        one = hear(
            trace,
            self._codec,
            f"fixed:{AMPLE_MS}",
            concealment="silence",
            reference=self._reference,
            reference_offset=self._offset,
        )
        delay = AMPLE_MS * one.sample_rate // 1000
        start = int(self._trace.timestamp[there].min()) - self.first
        at = start * self._codec.sample_rate // trace.clock_rate
        sound = one.audio[delay : delay + self.length - at]
        out[at : at + len(sound)] = sound
        return out

    def _holes(self, trace: Trace) -> I64:
        """Positions in the audio of the frames known only from gaps in the sequence numbers, (h,)."""
        _, timestamp = inferred_losses(trace)
        ticks = packet_ticks(self._codec)
        frame = self._codec.frame_samples * self._codec.clock_rate // self._codec.sample_rate
        each = (timestamp[:, None] + np.arange(0, ticks, frame)[None, :]).ravel()
        at: I64 = (each - self.first) * self._codec.sample_rate // self._codec.clock_rate
        return at[(at >= 0) & (at < self.length)]


def said_in(sound: Pcm, said: Pcm) -> Pcm:
    """What was said during `sound` (n,), sample for sample: (n,) int16 from `said` (r,), looped or said once.

    The position with the highest correlation is used, so the sender's numbering does not matter.
    """
    size = 1 << int(np.ceil(np.log2(3 * len(sound) + len(said))))
    spectrum = np.conj(np.fft.rfft(sound.astype(np.float64), size))
    # If said once, the sound may begin before it or end after it.
    once: F64 = np.concatenate((np.zeros(len(sound)), said.astype(np.float64), np.zeros(len(sound))))
    looped: F64 = np.resize(said, len(said) + len(sound)).astype(np.float64)
    found = []
    for whole, starts in ((once, len(said) + len(sound)), (looped, len(said))):
        likeness = np.fft.irfft(np.fft.rfft(whole, size) * spectrum, size)[:starts]
        begin = int(np.argmax(likeness))
        window = whole[begin : begin + len(sound)]
        energy = float(np.sqrt(np.sum(window * window))) or 1.0
        found.append((float(likeness[begin]) / energy, window))
    return np.asarray(max(found, key=lambda one: one[0])[1], dtype=np.int16)


def likeness(one: Pcm, other: Pcm) -> float:
    """Correlation of two signals (n,), -1 ... 1; 0 if one is silent."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    energy = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / energy if energy else 0.0


def _frame_by_frame(trace: Trace, heard: Heard, codec: Codec) -> Trace:
    """The trace with one packet per codec frame, so that a frame of a packet can be missing by itself."""
    frames = heard.played.frames
    rows = frames.packet
    single = trace.take(rows)
    if bool(np.all(frames.count[rows] == 1)):
        return single
    payloads, size = None, (single.size // np.maximum(frames.count[rows], 1)).astype(np.int32)
    if trace.payloads is not None and bool(np.all(trace.payloads.captured >= trace.size)):
        split = [codec.split(trace.payloads[row]) for row in range(len(trace))]
        # A packet of the usual size with fewer frames has empty payloads in place of the missing ones.
        parts = [
            split[row][part] if part < len(split[row]) else b""
            for row, part in zip(rows.tolist(), frames.part.tolist(), strict=True)
        ]
        payloads = Payloads.of(parts)
        size = payloads.captured
    most = int(frames.count.max())
    return replace(
        single,
        sequence=single.sequence * most + frames.part,
        timestamp=frames.timestamp,
        size=size,
        payloads=payloads,
    )


def without_concealment(heard: Heard, codec: Codec, reference: Pcm, offset: int) -> Heard:
    """The same frames played at the same times, and silence everywhere else."""
    frames, decoder = heard.played.frames, codec.decoder()
    source = frame_bytes(heard.trace, frames, codec, reference, offset)
    silent = render(heard.trace, heard.played, codec, decoder, source, concealer("silence", codec, decoder))
    return replace(heard, audio=silent.audio, concealment="silence", audio_delay_ns=0)


def reassembled(heard: Heard, first: int, length: int) -> Pcm:
    """Move the rendered audio back to its position in the speech: (length,) int16.

    This is what PESQ would compare if it knew the true delay at every instant. Audio from times in which the media did
    not advance continues from that position up to where the media resumes; if that is immediately (speech was
    interrupted, rather than a pause lengthened), `SEEN_MS` of it cover the speech. Media played faster or slower is
    split into the frame lengths in which it was played. `first`: the RTP timestamp of sample 0.
    """
    played, rate = heard.played, heard.sample_rate
    clock, ticks = heard.trace.clock_rate, played.frames.stream.frame_ticks
    frame = ticks * rate // clock
    fade, seen = FADE_MS * rate // 1000, SEEN_MS * rate // 1000
    late = heard.audio_delay_ns * rate // 1_000_000_000
    audio = np.concatenate((heard.audio[late:], np.zeros(late + 2 * frame + seen + fade, dtype=np.int16)))
    begin = (played.start - first) * rate // clock
    end = (played.end - first) * rate // clock
    out = np.zeros(length + frame + seen + fade, dtype=np.int16)
    rising = np.arange(fade) / fade

    moves = played.end > played.start
    plain = played.end - played.start == ticks
    goes_on = np.zeros(len(played), dtype=np.bool_)
    goes_on[1:] = plain[1:] & plain[:-1] & (played.start[1:] == played.end[:-1])
    goes_on[1:] |= ~moves[1:] & ~moves[:-1]
    edges = [*np.flatnonzero(~goes_on).tolist(), len(played)]
    stood = 0
    over, hold = np.zeros(0, dtype=np.int16), 0
    for low, high in pairwise(edges):
        sound = audio[low * frame :]
        if not moves[low]:
            room = (high - low) * frame
            following = next((int(begin[i]) for i in range(high, len(played)) if moves[i]), stood)
            gap = min(max(0, following - stood), room)
            _put(out, stood, sound[:gap])
            # In a pause the delay can change unnoticed; in the middle of speech it cannot.
            hold = 0 if following > stood else min(seen, room)
            over = sound[gap : gap + hold + fade] if hold else over[:0]
            continue
        at, count = int(begin[low]), int(end[high - 1] - begin[low])
        piece = sound[:count].copy()
        if len(over) and len(piece) > hold + fade:
            piece[:hold] = over[:hold]
            tail = over[hold : hold + fade]
            up = rising[: len(tail)]
            mixed = tail * (1.0 - up) + piece[hold : hold + len(tail)] * up
            piece[hold : hold + len(tail)] = np.rint(mixed).astype(np.int16)
        _put(out, at, piece)
        stood = at + count
        # Cross-fade from the following audio to the following media where they differ.
        over, hold = sound[count : count + fade], 0
    return out[:length]


def _put(out: Pcm, at: int, piece: Pcm) -> None:
    """Write a piece, clipped to the output."""
    low, high = max(at, 0), min(at + len(piece), len(out))
    if high > low:
        out[low:high] = piece[low - at : high - at]

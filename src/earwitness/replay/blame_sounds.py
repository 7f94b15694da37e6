"""The audio signals between what was said and what was heard, each with one more cause, which `blame` scores.

All but the last use the sender's timeline: every frame at its own RTP timestamp, at a constant delay. They are rendered
by the ear itself: as if a buffer had returned each frame in its place, or from what it played.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from earwitness.arrays import F64, I64, Bool, Pcm
from earwitness.ear.account import CODE
from earwitness.ear.base import PAUSE, Fate
from earwitness.ear.conceal import Silence
from earwitness.ear.decoding import StreamDecoder
from earwitness.ear.hear import Heard
from earwitness.ear.losses import inferred_losses
from earwitness.ear.payload import frame_bytes
from earwitness.ear.render import render
from earwitness.ear.replay import Replay
from earwitness.score.kind import ScorerRefused
from earwitness.score.pesq import MOST_SECONDS
from earwitness.trace.model import Trace

SEEN_MS = 16
"""PESQ uses windows of 32 ms: even when perfectly aligned, a window still covers half of its length of what filled the
time in which the media did not advance."""
FADE_MS = 5


class Ideal:
    """One direction on the sender's own grid: every frame in its place, at a constant delay.

    `reference`, `offset`: as for `hear`. Raises `ScorerRefused` if the timestamps span more than can be scored (they
    restarted in the middle).
    """

    def __init__(self, heard: Heard, reference: Pcm, offset: int) -> None:
        trace, frames = heard.trace, heard.played.frames
        keep = np.flatnonzero(~np.isin(heard.account.fate, [CODE[Fate.DUPLICATE], CODE[Fate.UNHEARD]]))
        if not len(keep):
            raise ScorerRefused("all packets with speech are repeats", "see that the packets are of one call")
        self._trace, self._frames = trace, frames
        self._source = frame_bytes(trace, frames, reference, offset)
        self.first = int(frames.timestamp[keep].min())
        last = int(frames.timestamp[keep].max()) - self.first
        if last > MOST_SECONDS * trace.clock_rate:
            raise ScorerRefused(f"the RTP timestamps span {last / trace.clock_rate:.0f} s")
        place = (frames.timestamp[keep] - self.first) // frames.stream.frame_ticks
        # Where timestamps overlap, the packet that came first is heard.
        place, chosen = np.unique(place, return_index=True)
        self._place: I64 = place
        self._frame: I64 = keep[chosen]
        self._arrived: Bool = trace.arrived[frames.packet[self._frame]]
        self._played: Bool = heard.account.pull[self._frame] >= 0
        self.length = last * frames.sample_rate // trace.clock_rate + frames.frame_samples
        """Samples from the first frame to the last."""
        self.unknown = self._holes(trace)

    def all_sent(self) -> Pcm:
        """Everything that was sent, as far as it is known: (length,) int16."""
        return self._sound(np.ones(len(self._frame), dtype=np.bool_))

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
            end = at + self._frames.frame_samples
            filled[at:end] = window[at:end]
        return filled

    def _sound(self, there: Bool) -> Pcm:
        """The selected frames on the sender's timeline, with silence for the others."""
        frames, ticks = self._frames, self._frames.stream.frame_ticks
        out = np.zeros(self.length, dtype=np.int16)
        frame = np.full(int(self._place[-1]) + 1, PAUSE, dtype=np.int64)
        frame[self._place[there]] = self._frame[there]
        start = self.first + np.arange(len(frame)) * ticks
        when = np.arange(len(frame)) * frames.stream.frame_ns
        placed = Replay(frames, when, when, frame, start, start + ticks)
        decoder = StreamDecoder(frames, self._source)
        sound = render(self._trace, placed, decoder, Silence(frames.frame_samples)).audio[: self.length]
        out[: len(sound)] = sound
        return out

    def _holes(self, trace: Trace) -> I64:
        """Positions in the audio of the frames known only from gaps in the sequence numbers, (h,)."""
        _, timestamp = inferred_losses(trace)
        frames = self._frames
        parts = np.arange(frames.usual_count) * frames.stream.frame_ticks
        each = (timestamp[:, None] + parts[None, :]).ravel()
        at: I64 = (each - self.first) * frames.sample_rate // trace.clock_rate
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


def without_concealment(heard: Heard, reference: Pcm, offset: int) -> Heard:
    """The same frames played at the same times, and silence everywhere else."""
    frames = heard.played.frames
    decoder = StreamDecoder(frames, frame_bytes(heard.trace, frames, reference, offset))
    silent = render(heard.trace, heard.played, decoder, Silence(frames.frame_samples))
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

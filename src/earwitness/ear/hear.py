"""Renders what a phone would have played: a trace, a codec and a jitter buffer in, audio and a ledger out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import F64, Pcm
from earwitness.ear.account import Account, account, frames_in_each, inferred_losses, leapt_over, spoken_ns
from earwitness.ear.base import Fate, JitterBuffer
from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.comfort import ComfortNoise
from earwitness.ear.conceal import concealer
from earwitness.ear.decoding import FrameDecoder, StreamDecoder
from earwitness.ear.frames import frames_of
from earwitness.ear.kind import Foreseeing
from earwitness.ear.ledger import ledger_table
from earwitness.ear.levels import quiet_frames
from earwitness.ear.payload import REFERENCE_OFFSET, frame_bytes
from earwitness.ear.pjmedia_ear import pjmedia_decoder
from earwitness.ear.render import render
from earwitness.ear.replay import Replay, replay
from earwitness.ear.span import leap_seconds, without_leaps
from earwitness.ear.stream_codecs import in_main_clock
from earwitness.extras import need
from earwitness.speech.codecs.base import Codec
from earwitness.speech.sound import player
from earwitness.trace.model import Trace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Heard:
    """What a phone with one jitter buffer played of one direction of a call.

    `audio` (k,) int16 at `sample_rate`; sample i was played at `origin_ns` + i / sample_rate on the arrival clock.
    """

    audio: Pcm
    sample_rate: int
    origin_ns: int
    codec: str
    """Its specification; of several codecs in turn, their names joined by `+`."""
    buffer: str
    concealment: str
    trace: Trace = field(repr=False)
    played: Replay = field(repr=False)
    account: Account = field(repr=False)
    audio_delay_ns: int
    """Delay added after the buffer by decoder and concealment, ns."""
    lookahead_ns: int
    """The main codec's look-ahead, ns."""
    leap_s: float = 0.0
    """Excess of RTP timestamp time over arrival time, if it is too large for a call (see `span`), s."""

    def _repr_html_(self) -> str:
        return player(self.audio, self.sample_rate)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What in the packets is not heard, or is implausible and makes the results doubtful."""
        notes: list[str] = [*self.played.frames.doubts]
        if self.leap_s:
            notes.append(
                f"the RTP timestamps leap over {self.leap_s:.0f} s in which nothing arrived; delays derived from them"
                " are unreliable"
            )
        if skipped := leapt_over(self.trace):
            notes.append(
                f"{skipped} sequence numbers were skipped in too short a time for them to be losses; not counted"
            )
        return tuple(notes)

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """A row for each sent frame and each concealed or silent frame length; see `ledger_table`."""
        need("data", tried="making a table of", on="what became of each frame")
        return ledger_table(self.trace, self.played, self.account, self.audio_delay_ns)

    @cached_property
    def playout_delay_ms(self) -> F64:
        """Playing time minus arrival time of each frame that was played, ms."""
        row, when = self._when_played
        return (when - self.trace.arrived_ns[self.played.frames.packet[row]]) / 1e6

    @cached_property
    def frame_delay_ms(self) -> F64:
        """Mouth-to-ear delay of each frame that was played, ms: played minus spoken, plus the codec's look-ahead."""
        row, when = self._when_played
        frames = self.played.frames
        spoken, _ = spoken_ns(self.trace, frames.packet_ns)
        begun = spoken[frames.packet[row]] + frames.part[row] * frames.stream.frame_ns
        return (when - begun + frames.lookahead_ns[row]) / 1e6

    @cached_property
    def _when_played(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        row = np.flatnonzero(self.account.pull >= 0)
        return row, self.played.pulled_ns[self.account.pull[row]] + self.audio_delay_ns

    @property
    def mouth_to_ear_basis(self) -> str:
        """`sent`: true mouth-to-ear delay; `fastest packet`: excluding the minimum network delay, which a single
        capture cannot show."""
        return spoken_ns(self.trace, self.played.frames.packet_ns)[1]

    @property
    def playout_delay_mean_ms(self) -> float:
        """Mean time between arrival and playing, ms; NaN if no frame was played."""
        return _mean(self.playout_delay_ms)

    @property
    def playout_delay_p95_ms(self) -> float:
        """95th percentile of the same."""
        return _p95(self.playout_delay_ms)

    @property
    def mouth_to_ear_mean_ms(self) -> float:
        """Mean mouth-to-ear delay of the frames played, ms (see `mouth_to_ear_basis`); NaN if none was played."""
        return _mean(self.frame_delay_ms)

    @property
    def mouth_to_ear_p95_ms(self) -> float:
        """95th percentile of the same."""
        return _p95(self.frame_delay_ms)

    @cached_property
    def shares(self) -> dict[str, float]:
        """Shares, each 0..1.

        Of the frames sent (known, or inferred from gaps in the sequence numbers; without duplicates): `played_ratio`,
        `late_ratio`, `lost_ratio`, `discarded_ratio`, which sum to 1. Of the playing time outside the speaker's pauses:
        `concealed_ratio`, `stretched_ratio`. Of all playing time: `pause_ratio`.
        """
        counted = self.account
        inferred = len(inferred_losses(self.trace)[0])
        inferred *= frames_in_each(self.trace, self.played.frames, inferred)
        sent = len(counted.fate) - counted.frames_with(Fate.DUPLICATE) + inferred
        speech = counted.pulls_from(Fate.PLAYED, Fate.STRETCHED, Fate.CONCEALED)
        return {
            "played_ratio": _ratio(counted.frames_with(Fate.PLAYED, Fate.STRETCHED), sent),
            "late_ratio": _ratio(counted.frames_with(Fate.LATE), sent),
            "lost_ratio": _ratio(counted.frames_with(Fate.LOST) + inferred, sent),
            "discarded_ratio": _ratio(counted.frames_with(Fate.DISCARDED), sent),
            "concealed_ratio": _ratio(counted.pulls_from(Fate.CONCEALED), speech),
            "stretched_ratio": _ratio(counted.pulls_from(Fate.STRETCHED), speech),
            "pause_ratio": _ratio(counted.pulls_from(Fate.PAUSE), len(counted.source)),
        }


def hear(
    trace: Trace,
    codec: Codec,
    buffer: JitterBuffer | str,
    *,
    concealment: str | None = None,
    reference: Pcm | None = None,
    reference_offset: int = REFERENCE_OFFSET,
    clock_ns: Sequence[int] | NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Heard:
    """Render what a phone with this buffer would have played of a trace.

    `codec` is that of the most frequent payload type; the others' are as `Trace.formats` says. The audio has the
    highest of their sample rates. `concealment` is one of `earwitness.ear.conceal.CONCEALMENTS`; the default is the
    buffer's usual one.
    `reference` (r,) int16 at the audio's rate: the speech that the sending phone looped, needed only if a snap length
    cut the packets (see `payload.frame_bytes`). `clock_ns`: the phone's playing clock if known (see `replay`). `seed`:
    for the comfort noise, the only random part.
    Deterministic: equal inputs give equal bytes. Raises InputError if the trace is empty, does not carry this codec, or
    cannot be decoded.
    """
    ear = buffer_named(buffer) if isinstance(buffer, str) else buffer
    way = concealment or ear.concealment
    trace = in_main_clock(trace, codec)
    frames = frames_of(trace, codec)
    leap_s = leap_seconds(trace)
    if leap_s and isinstance(ear, Foreseeing):
        # The oracle plans by timestamps alone; other buffers restart where timestamps leap.
        trace = without_leaps(trace)
        frames = frames_of(trace, codec)
    source = frame_bytes(trace, frames, reference, reference_offset)
    quiet = quiet_frames(frames, source) if ear.wants_levels else ()
    played = replay(trace, frames, ear, clock_ns, quiet)
    decoder: FrameDecoder = StreamDecoder(frames, source)
    if way == "pjmedia":
        decoder = pjmedia_decoder(codec, decoder)
    joined = concealer(way, codec, decoder)
    # PJMEDIA does not play comfort noise.
    comfort = ComfortNoise(seed) if way != "pjmedia" else None
    rendered = render(trace, played, decoder, joined, comfort)
    return Heard(
        audio=rendered.audio,
        sample_rate=frames.sample_rate,
        origin_ns=int(played.pulled_ns[0]),
        codec=frames.names,
        buffer=ear.spec,
        concealment=way,
        trace=trace,
        played=played,
        account=account(trace, played, rendered.malformed),
        audio_delay_ns=joined.delay * 1_000_000_000 // frames.sample_rate,
        lookahead_ns=codec.lookahead_samples * 1_000_000_000 // codec.sample_rate,
        leap_s=leap_s,
    )


def _mean(values: F64) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _p95(values: F64) -> float:
    return float(np.percentile(values, 95)) if len(values) else float("nan")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0

"""Renders what a phone would have played: a trace, a codec and a jitter buffer in, audio and a ledger out."""

from __future__ import annotations

from dataclasses import dataclass

from earwitness.arrays import Pcm
from earwitness.ear.account import account
from earwitness.ear.base import JitterBuffer
from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.clock import Clock
from earwitness.ear.comfort import ComfortNoise
from earwitness.ear.conceal import Concealer, concealer
from earwitness.ear.decoding import FrameDecoder, StreamDecoder
from earwitness.ear.frames import Frames
from earwitness.ear.levels import quiet_frames
from earwitness.ear.payload import REFERENCE_OFFSET, Captured, FrameBytes, Remade, frame_bytes
from earwitness.ear.pjmedia_ear import pjmedia_decoder
from earwitness.ear.played import Played, received
from earwitness.ear.render import render
from earwitness.ear.replay import replay
from earwitness.speech.codecs.base import Codec
from earwitness.speech.sound import player
from earwitness.trace.model import Trace


@dataclass(frozen=True, eq=False, kw_only=True)
class Heard(Played):
    """What a phone with one jitter buffer played of one direction of a call.

    `audio` (k,) int16 at `sample_rate`; sample i was played at `origin_ns` + i / sample_rate on the arrival clock.
    """

    audio: Pcm
    sample_rate: int
    origin_ns: int
    codec: str
    """Its specification; of several codecs in turn, their names joined by `+`."""
    lookahead_ns: int
    """The main codec's look-ahead, ns."""
    remade: bool = False
    """Whether a snap length cut the packets, so that their sound was made again from the reference: it shows loss and
    delay, not what was really sent."""
    placing: str = ""
    """What is doubtful about where in the reference the stream begins."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of `Played`, and what is doubtful about sound made again."""
        return (*super().notes, *filter(None, (self.placing,)))

    def _repr_html_(self) -> str:
        return player(self.audio, self.sample_rate)


def hear(
    trace: Trace,
    codec: Codec,
    buffer: JitterBuffer | str,
    *,
    concealment: str | None = None,
    reference: Pcm | None = None,
    reference_offset: int = REFERENCE_OFFSET,
    clock_ns: Clock | None = None,
    repair: Trace | None = None,
    round_trip_ms: float | None = None,
    seed: int = 0,
) -> Heard:
    """Render what a phone with this buffer would have played of a trace.

    `codec` is that of the most frequent payload type; the others' are as `Trace.formats` says. The audio has the
    highest of their sample rates. `concealment` is one of `earwitness.ear.conceal.CONCEALMENTS`; the default is the
    buffer's usual one.
    `reference` (r,) int16 at the audio's rate: the speech that the sending phone looped, needed only if a snap length
    cut the packets (see `payload.frame_bytes`). `clock_ns`: the phone's playing clock if known (see `replay`).
    `repair`: a stream of its own with FEC for this one. `round_trip_ms`: the median round trip by RTCP, for the
    network's part of the delay of a capture at one end. `seed`: for the comfort noise, the only random part.
    Deterministic: equal inputs give equal bytes. Raises InputError if the trace is empty, does not carry this codec, or
    cannot be decoded.
    """
    ear = buffer_named(buffer) if isinstance(buffer, str) else buffer
    way = concealment or ear.concealment
    here = received(trace, codec, ear, repair)
    trace, frames = here.trace, here.frames
    source = frame_bytes(trace, frames, reference, reference_offset)
    quiet = quiet_frames(frames, source) if ear.wants_levels else ()
    played = replay(trace, frames, ear, clock_ns, quiet)
    decoder, joined = _decoding(frames, source, codec, way)
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
        here=here,
        played=played,
        account=account(trace, played, rendered.malformed),
        malformed=rendered.malformed,
        audio_delay_ns=joined.delay * 1_000_000_000 // frames.sample_rate,
        lookahead_ns=codec.lookahead_samples * 1_000_000_000 // codec.sample_rate,
        round_trip_ms=round_trip_ms,
        remade=isinstance(source, Remade),
        placing=source.doubt if isinstance(source, Remade) else "",
    )


def audio_delay_ns(trace: Trace, frames: Frames, codec: Codec, concealment: str) -> int:
    """The delay that decoder and concealment add after the buffer, ns."""
    _, joined = _decoding(frames, Captured(trace, frames), codec, concealment)
    return joined.delay * 1_000_000_000 // frames.sample_rate


def _decoding(frames: Frames, source: FrameBytes, codec: Codec, way: str) -> tuple[FrameDecoder, Concealer]:
    """The stream's decoder, and what joins its frames and conceals the missing ones."""
    decoder: FrameDecoder = StreamDecoder(frames, source)
    if way == "pjmedia":
        decoder = pjmedia_decoder(codec, decoder)
    return decoder, concealer(way, codec, decoder)

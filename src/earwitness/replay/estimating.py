"""Quality estimated from packets alone: what a jitter buffer would have made of a stream, and the E-model's rating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from earwitness.ear.base import JitterBuffer
from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.hear import audio_delay_ns
from earwitness.ear.listen import Chosen, clock_of_phone, codec_of_stream, repair_of, round_trip_of
from earwitness.ear.payload import frame_bytes, is_whole
from earwitness.ear.played import Played, play, received
from earwitness.ear.timed import timed
from earwitness.errors import EarwitnessError, InputError
from earwitness.score.estimate import Estimate
from earwitness.score.played import NETWORK_ALONE, estimate_played
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import kind_of
from earwitness.trace.capture import Capture
from earwitness.trace.directions import opposite_among
from earwitness.trace.roles import speech_rows
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.talks import ssrcs, talk_of

_NO_NAMES: Mapping[str, str] = MappingProxyType({})
_PAUSES_UNKNOWN = "so the buffer does not know the pauses"


@dataclass(frozen=True, eq=False)
class StreamEstimate:
    """One stream through one buffer, and its estimated quality; `reason` says why there is none."""

    buffer: str
    played: Played | None
    quality: Estimate | None
    reason: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the buffer's figures do not say of themselves: what was recovered, mended or not heard."""
        return () if self.played is None else self.played.notes

    def record(self) -> dict[str, Any]:
        """One JSON record: the buffer's delays and shares, what was recovered from redundancy, and the estimate in RTCP
        XR's terms (RFC 3611 4.7)."""
        found: dict[str, Any] = {"buffer": self.buffer, "estimate_refused": self.reason}
        if self.played is not None:
            found |= self.played.figures()
            found |= {
                "from_red": self.played.here.from_red,
                "from_fec": self.played.here.from_fec,
                "notes": list(self.notes),
            }
        if self.quality is not None:
            found |= {name: value for name, value in self.quality.record().items() if name not in found}
            found["estimate_refused"] = self.quality.reason
        return found

    def doubted(self, *doubts: str) -> StreamEstimate:
        """The same with more doubts about its quality."""
        if self.quality is None or not any(doubts):
            return self
        return replace(
            self, quality=replace(self.quality, doubt="; ".join(filter(None, (*doubts, self.quality.doubt))))
        )


def estimate_streams(
    capture: Capture,
    streams: Sequence[RtpStream],
    buffer: str | JitterBuffer,
    *,
    stream: str | int | None = None,
    names: Mapping[str, str] = _NO_NAMES,
) -> list[StreamEstimate]:
    """What a phone with this buffer would have made of streams of a capture: the same delays and shares as `hear`.

    One whose talker changes the SSRC is estimated over the whole talk, as `hear` hears it, and the doubt says so;
    `stream`: as the user gave it to `earwitness.trace.report.choose_streams`: what was named is estimated alone, as
    `hear --stream` hears it. Packets that cannot be read (encrypted, or of a codec that this program or machine does
    not have) are taken to hold as much speech as their timestamps say. `names`: what the user calls the settings that
    reasons name (`InputError.named`). Raises InputError for an unknown buffer.
    """
    ear = buffer_named(buffer) if isinstance(buffer, str) else buffer
    talk = talk_of(capture.streams)
    every = tuple(dict.fromkeys(talk.values()))
    whole = {one: one if stream is not None else talk.get(one, one) for one in streams}
    of_talk = {
        one: _estimated(capture, one, opposite_among(every, one), ear, names) for one in dict.fromkeys(whole.values())
    }
    found = []
    for one in streams:
        parts = [part for part in capture.streams if talk[part] is whole[one] is not part]
        parts.sort(key=lambda part: int(part.trace.arrived_ns[0]))
        said = f"over the whole talk of SSRCs {ssrcs(parts)}" if parts else ""
        found.append(of_talk[whole[one]].doubted(said))
    return found


def _estimated(
    capture: Capture, stream: RtpStream, back: RtpStream | None, ear: JitterBuffer, names: Mapping[str, str]
) -> StreamEstimate:
    if stream.media != "audio":
        return StreamEstimate(ear.spec, None, None, f"it carries {stream.media}")
    if not speech_rows(stream.trace).any():
        return StreamEstimate(ear.spec, None, None, "none of its packets carries speech")
    try:
        codec: Codec | None = codec_of_stream(stream)
        why = ""
    except EarwitnessError as error:
        codec, why = None, _said(error, names)
    try:
        if codec is None or stream.encryption.certain:
            return _by_timestamps(capture, stream, ear, codec, why)
        played = played_stream(capture, Chosen(stream, back, codec), ear)
        pauses = "" if _levels_known(played, ear) else f"the packets are cut, {_PAUSES_UNKNOWN}"
        return StreamEstimate(ear.spec, played, estimate_played(played, codec)).doubted(pauses)
    except EarwitnessError as error:
        return StreamEstimate(ear.spec, None, None, _said(error, names))


def _said(error: EarwitnessError, names: Mapping[str, str]) -> str:
    return str(error.named(names) if isinstance(error, InputError) else error)


def _levels_known(played: Played, ear: JitterBuffer) -> bool:
    """Whether a buffer that uses the loudness of frames was told it."""
    return not ear.wants_levels or is_whole(played.trace)


def _by_timestamps(
    capture: Capture, stream: RtpStream, ear: JitterBuffer, codec: Codec | None, why: str
) -> StreamEstimate:
    """The estimate of a stream whose packets cannot be read."""
    trace, stand_in = timed(stream.trace, stream.codec)
    played = play(received(trace, stand_in, ear), ear, round_trip_ms=round_trip_of(capture, stream))
    rated = estimate_played(played, stand_in, NETWORK_ALONE if codec is None else codec.spec)
    doubts = []
    if codec is None:
        doubts.append(
            f"the packets cannot be decoded here, so they are rated as G.711: the network's part alone ({why})"
        )
    elif kind_of(codec).options:
        doubts.append(f"its packets are encrypted and do not tell their bit rate: taken for {codec.spec}")
    if ear.wants_levels:
        doubts.append(f"the packets cannot be read, {_PAUSES_UNKNOWN}")
    return StreamEstimate(ear.spec, played, rated).doubted(*doubts)


def played_stream(capture: Capture, chosen: Chosen, ear: JitterBuffer) -> Played:
    """What the buffer makes of the chosen stream, without decoding it. Raises EarwitnessError."""
    stream, codec = chosen.heard, chosen.codec
    here = received(stream.trace, codec, ear, repair_of(capture, stream))
    readable = ear.wants_levels and is_whole(here.trace)
    return play(
        here,
        ear,
        source=frame_bytes(here.trace, here.frames) if readable else None,
        clock_ns=clock_of_phone(capture, chosen) if ear.follows_phone_clock else None,
        audio_delay_ns=audio_delay_ns(here.trace, here.frames, codec, ear.concealment),
        round_trip_ms=round_trip_of(capture, stream),
    )

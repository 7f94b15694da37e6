"""Quality estimated from packets alone: what a jitter buffer would have made of a stream, and the E-model's rating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from earwitness.arrays import I64
from earwitness.ear.base import JitterBuffer
from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.hear import audio_delay_ns
from earwitness.ear.listen import Chosen, clock_of_phone, codec_of_stream, repair_of, round_trip_of
from earwitness.ear.payload import frame_bytes, is_whole
from earwitness.ear.played import Played, play, received
from earwitness.ear.timed import timed
from earwitness.errors import EarwitnessError
from earwitness.score.estimate import Estimate, estimate
from earwitness.score.voip_metrics import fates_of
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import kind_of
from earwitness.trace.capture import Capture
from earwitness.trace.directions import opposite
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.talks import talks

_NETWORK_ALONE = "g711u"
"""The codec without an impairment of its own, whose concealment is average."""
_UNSEEN = 0.005
"""Share of speech interrupted without a missing packet, from which on an estimate by missing packets is in doubt."""


@dataclass(frozen=True, eq=False)
class StreamEstimate:
    """One stream through one buffer, and its estimated quality; `reason` says why there is none."""

    buffer: str
    played: Played | None
    quality: Estimate | None
    reason: str = ""

    def record(self) -> dict[str, Any]:
        """One JSON record: the buffer's delays and shares, and the estimate in RTCP XR's terms (RFC 3611 4.7)."""
        found: dict[str, Any] = {"buffer": self.buffer, "estimate_refused": self.reason}
        if self.played is not None:
            found |= self.played.figures()
        if self.quality is not None:
            found |= {name: value for name, value in self.quality.record().items() if name not in found}
            found["estimate_refused"] = self.quality.reason
        return found


def estimate_stream(capture: Capture, stream: RtpStream, buffer: str | JitterBuffer) -> StreamEstimate:
    """What a phone with this buffer would have made of a stream of a capture: the same delays and shares as `hear`.

    Packets that cannot be read (encrypted, or of a codec that this program or machine does not have) are taken to hold
    as much speech as their timestamps say. Raises InputError for an unknown buffer.
    """
    ear = buffer_named(buffer) if isinstance(buffer, str) else buffer
    if stream.media != "audio":
        return StreamEstimate(ear.spec, None, None, f"it carries {stream.media}")
    try:
        codec: Codec | None = codec_of_stream(stream)
        why = ""
    except EarwitnessError as error:
        codec, why = None, str(error)
    try:
        if codec is None or stream.encryption.certain:
            return _by_timestamps(capture, stream, ear, codec, why)
        played = played_stream(capture, Chosen(stream, opposite(capture, stream), codec), ear)
        return StreamEstimate(ear.spec, played, estimate_played(played, codec))
    except EarwitnessError as error:
        return StreamEstimate(ear.spec, None, None, str(error))


def _by_timestamps(
    capture: Capture, stream: RtpStream, ear: JitterBuffer, codec: Codec | None, why: str
) -> StreamEstimate:
    """The estimate of a stream whose packets cannot be read."""
    trace, stand_in = timed(stream.trace, stream.codec)
    played = play(received(trace, stand_in, ear), ear, round_trip_ms=round_trip_of(capture, stream))
    rated = estimate_played(played, stand_in, _NETWORK_ALONE if codec is None else codec.spec)
    if codec is not None and not kind_of(codec).options:
        return StreamEstimate(ear.spec, played, rated)
    if codec is not None:
        doubt = f"its packets are encrypted and do not tell their bit rate: taken for {codec.spec}"
    else:
        doubt = f"the codec is not known here, so it is rated as G.711: the network's part alone ({why})"
    return StreamEstimate(ear.spec, played, replace(rated, doubt="; ".join(filter(None, (doubt, rated.doubt)))))


def played_stream(capture: Capture, chosen: Chosen, ear: JitterBuffer) -> Played:
    """What the buffer makes of the chosen stream, without decoding it. Raises EarwitnessError."""
    stream, codec = chosen.heard, chosen.codec
    here = received(stream.trace, codec, ear, repair_of(capture, stream))
    clock: I64 | None = clock_of_phone(chosen) if ear.follows_phone_clock else None
    readable = ear.wants_levels and is_whole(here.trace)
    return play(
        here,
        ear,
        source=frame_bytes(here.trace, here.frames) if readable else None,
        clock_ns=clock,
        audio_delay_ns=audio_delay_ns(here.trace, here.frames, codec, ear.concealment),
        round_trip_ms=round_trip_of(capture, stream),
    )


def estimate_played(played: Played, codec: Codec, rated_as: str = "") -> Estimate:
    """The E-model's estimate of what a buffer made of a stream (`earwitness.score.estimate`).

    `rated_as`: the codec whose factors count, by default its own. Without factors it is rated as G.711 with its losses
    concealed, and that is said.
    """
    spec = rated_as or codec.spec
    rated = _estimate(played, codec, spec)
    if rated.mos_lqe is not None or spec == _NETWORK_ALONE or not rated.metrics.packets:
        return rated
    doubt = f"no E-model factors of {spec} are known, so it is rated as G.711: the network's part alone"
    found = _estimate(played, codec, _NETWORK_ALONE)
    return replace(found, codec=spec, doubt="; ".join(filter(None, (doubt, found.doubt))))


def _estimate(played: Played, codec: Codec, spec: str) -> Estimate:
    trace, frames = played.trace, played.played.frames
    packet_ms = float(frames.packet_ns[frames.count > 0].mean()) / 1e6 if bool((frames.count > 0).any()) else 20.0
    ends_ms = played.end_system_delay_ms
    whole_ms = played.mouth_to_ear_mean_ms
    known = played.mouth_to_ear_basis != "fastest packet" and whole_ms == whole_ms
    rated = estimate(
        fates_of(trace.sequence, trace.arrived, played.discarded),
        packet_ms,
        spec,
        network_delay_ms=max(0.0, whole_ms - ends_ms) if known else None,
        end_system_delay_ms=ends_ms if ends_ms == ends_ms else None,
        round_trip_ms=played.round_trip_ms,
    )
    if len(played.played.frames.codecs) > 1:
        several = f"the codec changes; rated as {codec.name}"
        rated = replace(rated, doubt="; ".join(filter(None, (rated.doubt, several))))
    shares = played.shares
    unseen = shares["concealed_ratio"] - shares["lost_ratio"] - shares["late_ratio"] - shares["discarded_ratio"]
    if unseen < _UNSEEN:
        return rated
    emptied = (
        f"{unseen:.1%} of the speech was concealed although its packets were played later, because the buffer ran"
        " empty: the E-model does not see that"
    )
    return replace(rated, doubt="; ".join(filter(None, (rated.doubt, emptied))))


def estimate_streams(
    capture: Capture, streams: Sequence[RtpStream], buffer: str | JitterBuffer
) -> list[StreamEstimate]:
    """`estimate_stream` for each; for one whose talker changes the SSRC, over the whole talk, as `hear` hears it."""
    whole = talks(capture.streams)
    return [estimate_stream(capture, _talk_of(stream, whole), buffer) for stream in streams]


def _talk_of(stream: RtpStream, whole: Sequence[RtpStream]) -> RtpStream:
    for talk in whole:
        same = (talk.flow, talk.call, talk.media) == (stream.flow, stream.call, stream.media)
        if same and len(talk.trace) > len(stream.trace) > 0:
            begin, end = int(talk.trace.arrived_ns[0]), int(talk.trace.arrived_ns[-1])
            if begin <= int(stream.trace.arrived_ns[0]) and int(stream.trace.arrived_ns[-1]) <= end:
                return talk
    return stream

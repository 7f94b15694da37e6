"""Listening to a capture: chooses the stream the phone heard, its codec and its clock, and plays it through buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.base import JitterBuffer
from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.clock import PhoneClock
from earwitness.ear.hear import Heard, hear
from earwitness.ear.offering import offer_of
from earwitness.ear.payload import REFERENCE_OFFSET, is_whole
from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_named
from earwitness.speech.codecs.registry import codec_as_sent, codec_offered, kind_of
from earwitness.trace.capture import Capture
from earwitness.trace.directions import SENT, UNKNOWN_DIRECTION, opposite, opposite_among, seen
from earwitness.trace.encryption import no_sound
from earwitness.trace.link_layer import Flow
from earwitness.trace.model import Trace
from earwitness.trace.report import choose_streams
from earwitness.trace.rtcp import round_trips_ms
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.talks import talks

_HANGING_UP_NS = 1_000_000_000
"""For so long a phone may go on sending after a BYE that ends the call."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The stream that the phone heard, the one it sent (None if not in the capture), and the codec.

    `why` says in one line which stream was taken, for what reason, and what was left.
    """

    heard: RtpStream
    sent: RtpStream | None
    codec: Codec
    why: str = ""

    @property
    def trace(self) -> Trace:
        """The packets that were heard."""
        return self.heard.trace


def choose_stream(
    capture: Capture, *, to: str | None = None, codec: str | None = None, stream: str | int | None = None
) -> Chosen:
    """Select the stream to listen to.

    `stream`: its number in the capture, from 1, or its SSRC, as for `earwitness.trace.report.choose_streams`.
    `to`: the address of the phone that listens. By default, of the two directions of the call with the most packets of
    audio, the one towards the end where the capture was made (`earwitness.trace.directions`). A talker whose SSRC
    changes in mid-call is one (`earwitness.trace.talks`).
    `codec`: as for `earwitness.speech.codecs.registry.codec`; by default as given by SDP or the payload type.
    Raises InputError if there is no such stream, or its codec is unknown.
    """
    if stream is not None:
        (first,) = choose_streams(capture, stream=str(stream))
        back = opposite(capture, first)
        _refuse_encrypted(capture, first)
        return _chosen(first, back, codec, _why(capture, first, "as asked"))
    whole = talks(capture.streams)
    streams = [one for one in whole if to is None or to in (one.flow.source, one.flow.destination)]
    audio = sorted((one for one in streams if one.media == "audio"), key=lambda one: not one.codec)
    heard = [one for one in audio if to is None or one.flow.destination == to]
    if not heard:
        raise _nothing(capture, to)
    first = heard[0]
    largest = "the audio with the most packets"
    if any(len(one.trace) > len(first.trace) for one in heard):
        largest = "the audio of a known codec with the most packets"
    reason = f"to {to}" if to else largest if len(audio) > 1 else "the only audio"
    back = opposite_among(whole, first)
    if to is None and back is not None:
        told = seen(capture, first, back)
        reason = f"the direction that the capturing phone received{told.guessed}"
        if told.direction == UNKNOWN_DIRECTION:
            reason = f"{largest}; nothing tells which direction the capturing phone received"
        elif told.direction == SENT:
            first, back = back, first
    _refuse_encrypted(capture, first)
    return _chosen(first, back, codec, _why(capture, first, reason))


def _chosen(stream: RtpStream, back: RtpStream | None, asked: str | None, why: str) -> Chosen:
    """With a doubt if the packets are those of another codec than they are named."""
    codec = codec_of_stream(stream, asked)
    if asked is None:
        named = codec_offered(offer_of(stream.trace, stream.payload_type, stream.encoding, readable=False))
        if named.name == codec.name and named.encoding_name != codec.encoding_name:
            said = f"named {named.encoding_name}, its packets are speech as {codec.encoding_name}: decoded as that"
            stream = replace(stream, guessed=(*stream.guessed, said))
    return Chosen(stream, back, codec, why)


def _refuse_encrypted(capture: Capture, stream: RtpStream) -> None:
    if stream.encryption.certain:
        raise no_sound(f"{capture.source}, {stream.flow}", stream.encryption)


def clock_of_phone(capture: Capture, chosen: Chosen) -> PhoneClock | None:
    """The playing clock of the phone that heard, from the stream that it sent; None if that is not in the capture, or
    was not captured at that phone: what has crossed a network shows no clock."""
    if chosen.sent is None or not len(chosen.sent.trace):
        return None
    if seen(capture, chosen.heard, chosen.sent).direction == SENT:
        return None
    ended_ns = _ended_ns(capture, chosen.heard.flow, int(chosen.sent.trace.arrived_ns.max()))
    return PhoneClock(chosen.sent.trace, kind_of(chosen.codec).encoding_takes_ns, ended_ns)


def _ended_ns(capture: Capture, flow: Flow, last_ns: int) -> int | None:
    """When a BYE ended the call of a flow whose listener sent until `last_ns`; None if the capture has none."""
    end = flow.destination, flow.destination_port
    calls = {one.call_id for one in capture.sip if any((part.address, part.port) == end for part in one.media)}
    ended = [
        one.time_ns
        for one in capture.sip
        if one.method == "BYE"
        and flow.destination in (one.source, one.destination)
        and (not calls or not one.call_id or one.call_id in calls)
    ]
    return min((time_ns for time_ns in ended if time_ns > last_ns - _HANGING_UP_NS), default=None)


def round_trip_of(capture: Capture, stream: RtpStream) -> float | None:
    """The median round trip to the stream's sender by RTCP in the capture, ms; None if there is none."""
    trips = round_trips_ms(capture, stream)
    return float(np.median(trips)) if len(trips) else None


def repair_of(capture: Capture, stream: RtpStream) -> Trace | None:
    """The stream of FEC for this one: on its flow with an SSRC of its own (RFC 8627), or between the same hosts on
    ports of its own with the same SSRC (RFC 5109 7.2, 14.1); None if there is none."""
    ends = stream.flow.source, stream.flow.destination
    for other in capture.streams:
        same_flow, same_ssrc = other.flow == stream.flow, other.ssrc == stream.ssrc
        beside = same_flow or ((other.flow.source, other.flow.destination) == ends and other.call == stream.call)
        if other.encoding.role == "repair" and beside and same_flow != same_ssrc:
            return other.trace
    return None


def _why(capture: Capture, taken: RtpStream, reason: str) -> str:
    """Which stream was taken, why, and what else there is."""
    others = [one for one in capture.streams if one.flow != taken.flow or one.call != taken.call]
    same = [one for one in capture.streams if one.flow == taken.flow and one.call == taken.call]
    rest = []
    for media in ("audio", "video"):
        count = sum(one.media == media for one in others)
        if count:
            rest.append(f"{count} more {media} {'streams' if count > 1 else 'stream'}")
    unheard = sum(len(one.trace) for one in same) - len(taken.trace)
    if unheard > 0:
        rest.append(f"{unheard} packets of other SSRCs on the same ports")
    return f"{taken}: {reason}" + (f"; not heard: {', '.join(rest)}" if rest else "")


def _nothing(capture: Capture, to: str | None) -> InputError:
    there = ", ".join(f"{one.flow}{'' if one.media == 'audio' else f' ({one.media})'}" for one in capture.streams)
    there = there or "none"
    if to is not None:
        wanted = f"it has no stream of audio to {to} (streams: {there})"
        remedy = "name another address as {to}" if capture.streams else "give a capture of a call"
        return InputError("listening to", capture.source, wanted, remedy, related=("to",))
    if capture.streams:
        wanted, remedy = f"it has no stream of audio (streams: {there})", "choose one with {stream}"
        return InputError("listening to", capture.source, wanted, remedy, related=("stream",))
    found = "; ".join(problem.detail for problem in capture.problems[:3])
    happened = f"it has no RTP stream ({found})" if found else "it has no RTP stream"
    return InputError("listening to", capture.source, happened, "give a capture that holds the RTP of a call")


def listen_to_capture(
    capture: Capture,
    buffers: Sequence[str | JitterBuffer],
    *,
    reference: Pcm | None = None,
    reference_offset: int = REFERENCE_OFFSET,
    to: str | None = None,
    codec: str | None = None,
    stream: str | int | None = None,
    concealment: str | None = None,
    round_trip_ms: float | None = None,
    seed: int = 0,
) -> list[Heard]:
    """What a phone would have played of a capture, once per buffer in `buffers`.

    `reference` (r,) int16 at the codec's sample rate (8 kHz by default): what the sending phone played in a loop,
    needed if a snap length cut the packets. `round_trip_ms`: to the sender, if the capture has no RTCP. `to`, `codec`,
    `stream`: see `choose_stream`; `concealment`: see `hear`.
    PJMEDIA's buffer uses the clock of the captured phone, if the capture contains the stream that it sent; other
    buffers use an exact clock. Raises InputError.
    """
    chosen = choose_stream(capture, to=to, codec=codec, stream=stream)
    clock = clock_of_phone(capture, chosen)
    measured = round_trip_of(capture, chosen.heard)
    ears = [buffer_named(one) if isinstance(one, str) else one for one in buffers]
    return [
        hear(
            chosen.trace,
            chosen.codec,
            ear,
            concealment=concealment,
            reference=reference,
            reference_offset=reference_offset,
            clock_ns=clock if ear.follows_phone_clock else None,
            repair=repair_of(capture, chosen.heard),
            round_trip_ms=round_trip_ms if measured is None else measured,
            seed=seed,
        )
        for ear in ears
    ]


def codec_of_stream(stream: RtpStream, asked: str | None = None) -> Codec:
    """The codec asked for, else what SDP or the payload type of the stream says; raises InputError where unknown."""
    if asked is not None and ":" in asked:
        return codec_named(asked)
    readable = not stream.encryption.certain
    offer = offer_of(stream.trace, stream.payload_type, stream.encoding, readable=readable)
    # A bare name leaves open with what options the packets were made.
    found = codec_offered(offer) if asked is None else codec_as_sent(asked, offer)
    return found if is_whole(stream.trace) else remade_as(found)


def remade_as(codec: Codec) -> Codec:
    """The codec with which packets that a snap length cut are made again (`CodecKind.remade_as`)."""
    spec = kind_of(codec).remade_as
    return codec_named(spec) if spec else codec

"""Listening to a capture: chooses the stream the phone heard, its codec and its clock, and plays it through buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.account import media_ns
from earwitness.ear.base import JitterBuffer
from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.clock import playing_clock
from earwitness.ear.frames import frames_of
from earwitness.ear.hear import Heard, hear
from earwitness.ear.payload import REFERENCE_OFFSET, is_whole
from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_named
from earwitness.speech.codecs.registry import codec_from_rtpmap, kind_of
from earwitness.trace.capture import Capture
from earwitness.trace.model import Trace
from earwitness.trace.streams import RtpStream

_CLEARLY = 2
_JITTER_NS = 10_000_000
"""Arrivals that scatter `_CLEARLY` times as much as in the other direction, and more than this, have crossed a network:
a softphone's own clock scatters by a few milliseconds at most."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The stream that the phone heard, the one it sent (None if not in the capture), and the codec."""

    heard: RtpStream
    sent: RtpStream | None
    codec: Codec

    @property
    def trace(self) -> Trace:
        """The packets that were heard."""
        return self.heard.trace


def choose_stream(capture: Capture, *, to: str | None = None, codec: str | None = None) -> Chosen:
    """Select the stream to listen to.

    `to`: the address of the phone that listens. By default, of the two directions of the call with the most packets,
    the one towards the end where the capture was made. A capture at a phone shows its own packets leaving evenly, so
    this is the direction whose arrivals scatter much more around their RTP timestamps. If both are even, it is the one
    towards the end that answers SIP requests sooner, because the other's answers take an additional round trip.
    `codec`: as for `earwitness.speech.codecs.registry.codec`; by default as given by SDP or the payload type.
    Raises InputError if there is no such stream, or its codec is unknown.
    """
    streams = [stream for stream in capture.streams if len(stream.trace)]
    if to is not None:
        streams = [stream for stream in streams if to in (stream.flow.source, stream.flow.destination)]
    heard = [stream for stream in streams if to is None or stream.flow.destination == to]
    if not heard:
        there = ", ".join(str(stream.flow) for stream in capture.streams) or "none"
        wanted = f"it has no RTP stream to {to} (streams: {there})" if to else "it has no RTP stream"
        remedy = "give a capture of a call, or another address as {to}"
        raise InputError("listening to", capture.source, wanted, remedy, related=("to",))
    first = heard[0]
    back = next((stream for stream in streams if _opposite(first, stream)), None)
    if to is None and back is not None and not _captured_at_receiver(capture, first, back):
        first, back = back, first
    return Chosen(first, back, codec_of_stream(first, codec))


def listen_to_capture(
    capture: Capture,
    buffers: Sequence[str | JitterBuffer],
    *,
    reference: Pcm | None = None,
    reference_offset: int = REFERENCE_OFFSET,
    to: str | None = None,
    codec: str | None = None,
    concealment: str | None = None,
    seed: int = 0,
) -> list[Heard]:
    """What a phone would have played of a capture, once per buffer in `buffers`.

    `reference` (r,) int16 at the codec's sample rate (8 kHz by default): what the sending phone played in a loop,
    needed if a snap length cut the packets. `to`, `codec`: see `choose_stream`; `concealment`: see `hear`.
    PJMEDIA's buffer uses the clock of the captured phone, if the capture contains the stream that it sent; other
    buffers use an exact clock. Raises InputError.
    """
    chosen = choose_stream(capture, to=to, codec=codec)
    clock = None
    if chosen.sent is not None:
        takes_ns = kind_of(chosen.codec).encoding_takes_ns
        clock = playing_clock(chosen.sent.trace, frames_of(chosen.trace, chosen.codec).tick_ms, takes_ns)
        if not len(clock) or clock[0] > np.max(chosen.trace.arrived_ns):
            clock = None
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
            seed=seed,
        )
        for ear in ears
    ]


def _captured_at_receiver(capture: Capture, first: RtpStream, back: RtpStream) -> bool:
    """Whether the capture was made at the end that receives `first`."""
    scatter = _scatter_ns(first.trace), _scatter_ns(back.trace)
    if max(scatter) < max(_CLEARLY * min(scatter), _JITTER_NS):
        here, there = (_answers_within_ns(capture, address) for address in (first.flow.destination, first.flow.source))
        if here is not None and there is not None:
            return here < there
    return scatter[0] >= scatter[1]


def _answers_within_ns(capture: Capture, address: str) -> int | None:
    """The shortest time in which this end answered a SIP request, ns; None if it answered none."""
    asked: dict[str, int] = {}
    least: int | None = None
    for message in capture.sip:
        if message.destination == address and not message.status and message.method != "ACK":
            # A retransmitted request may be answered in response to its first transmission.
            asked.setdefault(message.source, message.time_ns)
        elif message.source == address and message.status and message.destination in asked:
            took = message.time_ns - asked.pop(message.destination)
            least = took if least is None else min(least, took)
    return least


def _opposite(one: RtpStream, other: RtpStream) -> bool:
    return one.flow.source == other.flow.destination and one.flow.destination == other.flow.source


def _scatter_ns(trace: Trace) -> float:
    """How far arrivals scatter around the RTP timestamps: the width of the middle 90 % of their differences, ns."""
    came = trace.arrived
    late = trace.arrived_ns[came] - media_ns(trace)[came]
    return float(np.ptp(np.percentile(late, [5, 95]))) if len(late) else 0.0


def codec_of_stream(stream: RtpStream, asked: str | None = None) -> Codec:
    """The codec asked for, else what SDP or the payload type of the stream says; raises InputError where unknown."""
    encoding = stream.encoding
    # A bare name of a codec whose packets have to be made again leaves open with what options they were made.
    if asked is not None and (":" in asked or not kind_of(codec_named(asked)).remade_as):
        return codec_named(asked)
    known = codec_from_rtpmap(asked or encoding.name, encoding.clock_rate, stream.payload_type)
    return known if is_whole(stream.trace) else remade_as(known)


def remade_as(codec: Codec) -> Codec:
    """The codec with which packets that a snap length cut are made again (`CodecKind.remade_as`)."""
    spec = kind_of(codec).remade_as
    return codec_named(spec) if spec else codec

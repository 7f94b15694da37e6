"""Listening to a capture: which stream the phone heard, with which codec, by which clock, and through which ears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.arrays import Pcm
from earwitness.ear.account import media_ns
from earwitness.ear.base import JitterBuffer
from earwitness.ear.buffers import buffer as buffer_named
from earwitness.ear.clock import SENDING_TAKES_NS, playing_clock
from earwitness.ear.hear import Heard, hear
from earwitness.ear.payload import REFERENCE_OFFSET, is_whole
from earwitness.ear.pjmedia import Pjmedia
from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.registry import codec as codec_named
from earwitness.speech.codecs.registry import codec_from_rtpmap
from earwitness.trace.capture import Capture
from earwitness.trace.model import Trace
from earwitness.trace.streams import Stream

STUDY_OPUS = "opus:48000,fec=1,complexity=0,loss=5"
"""How Opus packets that a snap length cut are made again, unless told otherwise. The study's far phone coded at 48 kHz
in stereo at an automatic rate (99 kbit/s) with in-band FEC for 5 % loss (the first 45 bytes of its packets of silence
are just that); at 8 kHz, which is all that narrowband PESQ hears, mono at half the rate predicts its recordings as well
(RMSE 0.08 MOS-LQO with either) in a fifteenth of the time."""

_CLEARLY = 2
_JITTER_NS = 10_000_000
"""Arrivals that stray so many times as much as the other way, and more than this, have crossed a network: a softphone's
own clock strays by a few milliseconds at most."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The stream that the phone heard, the one that it sent (None where the capture has none), and the codec."""

    heard: Stream
    sent: Stream | None
    codec: Codec

    @property
    def trace(self) -> Trace:
        """The packets that were heard."""
        return self.heard.trace


def choose(capture: Capture, *, to: str | None = None, codec: str | None = None) -> Chosen:
    """Find the stream to listen to.

    `to`: the address of the phone whose ear it is. Without it, of the two directions of the call with the most packets,
    the one to the end that was captured at. A capture at a phone shows its own packets leaving evenly, so that is the
    direction whose arrivals stray much more from their RTP timestamps; where both are even, the one to the end that
    answers SIP requests sooner, since the other's answers take a round trip more. `codec`: as for
    `earwitness.speech.codecs.registry.codec`; without it what SDP or the payload type says.
    Raises InputError where there is no such stream, or its codec is not known.
    """
    streams = [stream for stream in capture.streams if len(stream.trace)]
    if to is not None:
        streams = [stream for stream in streams if to in (stream.flow.source, stream.flow.destination)]
    heard = [stream for stream in streams if to is None or stream.flow.destination == to]
    if not heard:
        there = ", ".join(str(stream.flow) for stream in capture.streams) or "none"
        wanted = f"no RTP stream to {to} in it (streams: {there})" if to else "no RTP stream in it"
        remedy = "give a capture of a call, or another address as {to}"
        raise InputError("listening to", capture.source, wanted, remedy, related=("to",))
    first = heard[0]
    back = next((stream for stream in streams if _opposite(first, stream)), None)
    if to is None and back is not None and not _captured_at_receiver(capture, first, back):
        first, back = back, first
    return Chosen(first, back, _codec_of(first, codec))


def listen(
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
    """What a phone would have heard of a capture, once through each of `buffers`.

    `reference` (r,) int16 at the codec's sample rate (8 kHz unless asked otherwise): what the far phone played in a
    loop, needed where a snap length cut the packets. `to`, `codec`: see `choose`; `concealment`: see `hear`.
    PJMEDIA's buffer plays by the clock of the phone that was captured, where the capture has the stream that it sent;
    other buffers by an exact one. Raises InputError.
    """
    chosen = choose(capture, to=to, codec=codec)
    clock = None
    if chosen.sent is not None:
        takes_ns = SENDING_TAKES_NS.get(chosen.codec.name, 0)
        clock = playing_clock(chosen.sent.trace, chosen.codec.packet_ms, takes_ns)
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
            clock_ns=clock if isinstance(ear, Pjmedia) else None,
            seed=seed,
        )
        for ear in ears
    ]


def _captured_at_receiver(capture: Capture, first: Stream, back: Stream) -> bool:
    """Whether the capture was made at the end that `first` goes to."""
    strays = _strays(first.trace), _strays(back.trace)
    if max(strays) < max(_CLEARLY * min(strays), _JITTER_NS):
        here, there = (_answers_within_ns(capture, address) for address in (first.flow.destination, first.flow.source))
        if here is not None and there is not None:
            return here < there
    return strays[0] >= strays[1]


def _answers_within_ns(capture: Capture, address: str) -> int | None:
    """The least time in which this end answered a SIP request, ns; None where it answered none."""
    asked: dict[str, int] = {}
    least: int | None = None
    for message in capture.sip:
        if message.destination == address and not message.status and message.method != "ACK":
            # A request that is sent again may be answered for the first time that it was sent.
            asked.setdefault(message.source, message.time_ns)
        elif message.source == address and message.status and message.destination in asked:
            took = message.time_ns - asked.pop(message.destination)
            least = took if least is None else min(least, took)
    return least


def _opposite(one: Stream, other: Stream) -> bool:
    return one.flow.source == other.flow.destination and one.flow.destination == other.flow.source


def _strays(trace: Trace) -> float:
    """How far arrivals stray from the RTP timestamps: the width of the middle 90 % of their differences, ns."""
    came = trace.arrived
    late = trace.arrived_ns[came] - media_ns(trace)[came]
    return float(np.ptp(np.percentile(late, [5, 95]))) if len(late) else 0.0


def _codec_of(stream: Stream, asked: str | None) -> Codec:
    if asked is not None and asked.strip().lower() != "opus":
        return codec_named(asked)
    encoding = stream.encoding
    known = codec_from_rtpmap(asked or encoding.name, encoding.clock_rate, stream.payload_type)
    if known.name == "opus" and not is_whole(stream.trace):
        return codec_named(STUDY_OPUS)
    return known

"""The codec of every packet of a stream: a sender may change it from one packet to the next (RFC 3551 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import I64
from earwitness.ear.offering import offer_of
from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec
from earwitness.speech.codecs.kind import Offer
from earwitness.speech.codecs.registry import codec_offered
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import Trace
from earwitness.trace.one_clock import in_one_clock
from earwitness.trace.payload_types import COMFORT_NOISE
from earwitness.trace.roles import main_speech_type

NONE = -1
"""`StreamCodecs.of_packet` of a packet without speech, or whose speech cannot be decoded."""


@dataclass(frozen=True, eq=False)
class StreamCodecs:
    """`codecs`: those of a stream's packets, the main payload type's first. `of_packet` (n,): the index of each
    packet's, or `NONE`. `unheard`: why packets that may hold speech have none, in sentences."""

    codecs: tuple[Codec, ...]
    of_packet: I64
    unheard: tuple[str, ...] = ()

    def names(self, trace: Trace) -> str:
        """The specification of a single codec; of several, their names in order of sending, joined by `+`."""
        if len(self.codecs) == 1:
            return self.codecs[0].spec
        order = np.argsort(trace.sequence, kind="stable")
        began = [int(np.argmax(self.of_packet[order] == index)) for index in range(len(self.codecs))]
        return "+".join(dict.fromkeys(self.codecs[index].name for index in np.argsort(began).tolist()))


def codecs_of(trace: Trace, codec: Codec) -> StreamCodecs:
    """The codecs of a trace whose main payload type has this one; of the others, `Trace.formats` says which.

    Without formats (a trace made by hand) only the main payload type holds speech. Raises InputError if the trace's RTP
    clock is not the codec's.
    """
    if trace.clock_rate != codec.clock_rate:
        raise InputError(
            "reading the frames of",
            trace.source or "the trace",
            f"its RTP clock is {trace.clock_rate} Hz and {codec.name}'s is {codec.clock_rate} Hz",
            "name this stream's {codec}",
            related=("codec",),
        )
    main = main_speech_type(trace) if len(trace) else codec.payload_type
    of_packet = np.where(trace.payload_type == main, 0, NONE).astype(np.int64)
    if not trace.formats:
        return StreamCodecs((codec,), of_packet)
    codecs, unheard = [codec], []
    for number in np.unique(trace.payload_type[of_packet == NONE]).tolist():
        meaning = trace.formats.get(number)
        if number in COMFORT_NOISE or (meaning is not None and meaning.role != "speech"):
            continue
        rows = trace.payload_type == number
        known = "unknown" if meaning is None or not meaning.name else meaning.name
        packets = f"{np.count_nonzero(rows)} packets of payload type {number} ({known}) are not heard: "
        if meaning is None:
            unheard.append(f"{packets}its meaning is not known")
            continue
        try:
            found = _codec(offer_of(trace, number, meaning), meaning, codec, trace.formats.get(main))
        except InputError as error:
            unheard.append(f"{packets}{error.happened}")
            continue
        if max(found.clock_rate, trace.clock_rate) % min(found.clock_rate, trace.clock_rate):
            unheard.append(f"{packets}its RTP clock is {found.clock_rate} Hz, the stream's {trace.clock_rate} Hz")
            continue
        if found not in codecs:
            codecs.append(found)
        of_packet[rows] = codecs.index(found)
    return StreamCodecs(tuple(codecs), of_packet, tuple(unheard))


def _codec(offer: Offer, meaning: Encoding, main: Codec, main_meaning: Encoding | None) -> Codec:
    """The codec of a payload type besides the main one; the main codec itself if that has several numbers."""
    same = meaning.name.lower() == main.encoding_name.lower()
    if same and (main_meaning is None or meaning.fmtp == main_meaning.fmtp):
        return main
    return codec_offered(replace(offer, sample_rate=main.sample_rate) if same else offer)


def in_main_clock(trace: Trace, codec: Codec) -> Trace:
    """The trace with all timestamps in the main codec's RTP clock (`earwitness.trace.one_clock`).

    Raises InputError like `codecs_of`.
    """
    found = codecs_of(trace, codec)
    clocks = np.array([one.clock_rate for one in found.codecs], dtype=np.int64)
    clock = np.where(found.of_packet == NONE, trace.clock_rate, clocks[np.maximum(found.of_packet, 0)])
    return in_one_clock(trace, clock)

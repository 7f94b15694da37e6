"""The frames of a trace as a buffer plays them: each one's packet, timestamp, codec and place in the packet."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.ear.base import Stream
from earwitness.ear.grid import Held, divisible, ends_within_slot, held_by, slot_ticks
from earwitness.ear.stream_codecs import NONE, StreamCodecs, codecs_of
from earwitness.ear.timed import Timed
from earwitness.errors import InputError
from earwitness.speech.codecs.base import MOST_PACKET_MS, Codec
from earwitness.speech.codecs.registry import at_ptime
from earwitness.trace.model import LOST, Trace


@dataclass(frozen=True, eq=False)
class Frames:
    """Every frame of the packets in a trace, in trace order. A frame is one slot of the playing grid (see `grid`),
    whatever the codec calls a frame.

    Arrays of shape (m,): `packet` is the row in the trace, `part` the position in the packet, `timestamp` the RTP
    timestamp (extended). `first` (n,) is the index of each packet's first frame, `count` (n,) its number of frames.
    """

    stream: Stream
    packet: I64
    part: I64
    timestamp: I64
    first: I64
    count: I64
    codecs: tuple[Codec, ...]
    """The codecs of the packets, the main one first, set up for this grid."""
    codec_of: I64
    """(n,) index of each packet's codec, or `stream_codecs.NONE`."""
    per_unit: I64
    """(n,) frames that the packet's decoder yields at once."""
    ends_within: Bool
    """(n,) whether the packet's last frame is only partly filled."""
    packet_ns: I64
    """(n,) duration of each packet's audio, ns; of a packet without audio, the usual one."""
    sample_rate: int
    """The highest of the codecs' sample rates, Hz."""
    usual_count: int
    """Frames in most packets that have any."""
    names: str
    """See `StreamCodecs.names`."""
    doubts: tuple[str, ...] = ()
    """What in the packets is not heard, or not as sent, in sentences."""

    def __len__(self) -> int:
        return len(self.packet)

    @property
    def frame_samples(self) -> int:
        """Samples in a frame at `sample_rate`."""
        return self.stream.frame_ticks * self.sample_rate // self.stream.clock_rate

    @property
    def tick_ms(self) -> float:
        """The time between two ticks of the phone's sound device, ms."""
        return self.stream.frame_ns * self.stream.frames_per_packet / 1e6

    def as_sent(self, codec: Codec) -> Codec:
        """The codec with the packet time that most packets really have; unchanged if it permits no such packets."""
        with suppress(InputError):
            return at_ptime(codec, self.usual_count * self.stream.frame_ns / 1e6)
        return codec

    @property
    def lookahead_ns(self) -> I64:
        """The look-ahead of each frame's codec, (m,) ns."""
        each = [codec.lookahead_samples * 1_000_000_000 // codec.sample_rate for codec in self.codecs]
        return np.array(each, dtype=np.int64)[self.codec_of[self.packet]]


def frames_of(trace: Trace, codec: Codec) -> Frames:
    """The frames in each packet of a trace whose main payload type has this codec; of the others see `codecs_of`.

    Packets without speech (telephone events, comfort noise) hold no frames. At most `MOST_PACKET_MS` are decoded per
    packet. All timestamps must be in one clock (`stream_codecs.in_main_clock`). Raises InputError if the trace's RTP
    clock is not the codec's, or no packet holds a frame.
    """
    voices = codecs_of(trace, codec)
    held = held_by(trace, voices)
    some = held.samples > 0
    if not bool(np.any(some)):
        kind = "packet in it" if not len(trace) else f"packet in it holds a frame of {codec.name}"
        source, remedy = trace.source or "the trace", "name its {codec}"
        raise InputError("reading the frames of", source, f"no {kind}", remedy, related=("codec",))
    voices, held = _used(voices, held)
    clock, ticks = trace.clock_rate, slot_ticks(trace, voices, held)
    rates = np.array([one.sample_rate for one in voices.codecs])
    rate = rates[np.maximum(voices.of_packet, 0)]
    slot = ticks * rate // clock
    count = -(-held.samples // slot)
    per_unit = np.where(held.unit > 0, -(-held.unit // slot), 1)
    cut = trace.payloads is None or bool(np.any(trace.payloads.captured < trace.size))
    codecs = []
    for index, one in enumerate(voices.codecs):
        size = ticks * one.sample_rate // clock
        rows = voices.of_packet == index
        set_up, alone = _for_grid(one, size, held.unit[rows & some], cut)
        codecs.append(set_up)
        if alone:
            per_unit[rows] = 1
    first = np.cumsum(count) - count
    packet = np.repeat(np.arange(len(trace), dtype=np.int64), count)
    part = np.arange(len(packet), dtype=np.int64) - first[packet]
    usual = int(np.argmax(np.bincount(count[some])))
    duration_ns = held.samples * 1_000_000_000 // rate
    lengths = duration_ns[some & (count == usual)]
    stream = Stream(clock, ticks, _frames_per_tick(codec, ticks, clock), usual)
    ends_within = ends_within_slot(held, slot)
    return Frames(
        stream=stream,
        packet=packet,
        part=part,
        timestamp=trace.timestamp[packet] + part * ticks,
        first=first,
        count=count,
        codecs=tuple(codecs),
        codec_of=voices.of_packet,
        per_unit=per_unit,
        ends_within=ends_within,
        packet_ns=np.where(some, duration_ns, int(lengths[0])),
        sample_rate=int(rates.max()),
        usual_count=usual,
        names=voices.names(trace),
        doubts=(*voices.unheard, *_doubts(held, int(np.count_nonzero(ends_within)), stream)),
    )


def _used(voices: StreamCodecs, held: Held) -> tuple[StreamCodecs, Held]:
    """Without the codecs of which no packet holds anything, except the main one."""
    there = [
        index
        for index in range(len(voices.codecs))
        if not index or bool(np.any(held.samples[voices.of_packet == index]))
    ]
    if len(there) == len(voices.codecs):
        return voices, held
    of_packet = np.full(len(voices.of_packet), NONE, dtype=np.int64)
    for number, index in enumerate(there):
        of_packet[voices.of_packet == index] = number
    return replace(voices, codecs=tuple(voices.codecs[index] for index in there), of_packet=of_packet), held


def _for_grid(codec: Codec, size: int, units: I64, cut: bool) -> tuple[Codec, bool]:
    """The codec for slots of `size` samples if its decoder yields `units` at once, and whether each slot is a unit."""
    if divisible(codec):
        kept = codec if codec.frame_samples == size else replace(codec, frame_samples=size)  # type: ignore[type-var]
        return kept, True
    lengths = np.unique(units).tolist()
    if lengths == [codec.frame_samples] or isinstance(codec, Timed):
        return codec, False
    several = len(lengths) > 1
    wanted = size if several else int(lengths[0]) if lengths else size
    try:
        found = at_ptime(codec, 1000 * wanted / codec.sample_rate)
    except InputError:
        return codec, False
    if found.frame_samples != wanted:
        return codec, False
    # Packets that have to be made again need not have their original length.
    return found, several and cut


def _frames_per_tick(codec: Codec, ticks: int, clock: int) -> int:
    """Slots in one tick of a phone whose sound device runs by the codec's packet time."""
    return max(1, int(codec.packet_ms * clock // (1000 * ticks)))


def _doubts(held: Held, uneven: int, stream: Stream) -> list[str]:
    """What the lengths of the packets leave open, in sentences."""
    doubts: list[str] = []
    if held.overlong:
        doubts.append(
            f"{held.overlong} packets claim to hold more than {MOST_PACKET_MS} ms of speech; the excess is not decoded"
        )
    if held.refused:
        doubts.append(f"{held.refused} packets of the codec's payload type hold no frame of it and are concealed")
    if uneven:
        doubts.append(
            f"{uneven} packets do not hold a whole number of the frame lengths of {stream.frame_ns / 1e6:g} ms in which"
            " the stream is played; where they end, less than one is not as sent"
        )
    return doubts


def frame_arrivals(trace: Trace, frames: Frames) -> tuple[int, list[int], list[int], list[int], list[int], list[int]]:
    """The packets that arrived, in order of arrival, as plain lists for the inner loop.

    Returns the first arrival (ns; 0 if none), and arrival times since then (ns: Python is faster with small integers),
    first frames, timestamps, frame counts and sequence numbers.
    """
    rows = np.flatnonzero(trace.arrived_ns != LOST)
    rows = rows[np.argsort(trace.arrived_ns[rows], kind="stable")]
    began_ns = int(trace.arrived_ns[rows[0]]) if len(rows) else 0
    return (
        began_ns,
        (trace.arrived_ns[rows] - began_ns).tolist(),
        frames.first[rows].tolist(),
        trace.timestamp[rows].tolist(),
        frames.count[rows].tolist(),
        trace.sequence[rows].tolist(),
    )

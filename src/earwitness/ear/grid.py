"""The playing grid of a stream: how much audio each packet holds, and the frame length in which all of it is played.

Packets of a network and frames of a codec are different things: a packet holds several frames (G.711, GSM, Speex) or
one frame of any of several lengths (Opus), and both may change within a call. What a buffer plays is therefore a slot:
the longest time of which the audio that the decoder yields at once, whatever the packet, is a multiple.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, lcm

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.ear.span import LONGEST_NS
from earwitness.ear.stream_codecs import StreamCodecs
from earwitness.ear.timed import Timed
from earwitness.ear.told_lengths import told_lengths
from earwitness.speech.codecs.base import MOST_PACKET_MS, Codec, packet_samples
from earwitness.speech.codecs.registry import CODECS
from earwitness.trace.model import Trace

_LEAST_MS = 1
"""Shortest slot of a codec whose audio can be cut anywhere, unless many packets need a shorter one."""
_USUAL_MS = 10
"""Its slot if the packets permit: as PJMEDIA counts G.711's frames."""
_FINE_MS = 5
"""Below this, packets of one length are played as they are rather than in parts."""
_RARE = 100
"""A length is rare if fewer than one packet in this many has it."""
_MOST_SLOTS, _MOST_SPARSE_SLOTS = 1 << 22, 1 << 17
"""Limit of the slots in the time of the arrivals: more than an hour of 1 ms ones, or 20 minutes of 10 ms ones if the
packets fill less than one part in `_SPARSE` of it, whatever they claim."""
_MOST_FINE_SLOTS = 1 << 20
"""Limit of slots below 1 ms: those of nine minutes at 0.5 ms."""
_SPARSE = 16


@dataclass(frozen=True, eq=False)
class Held:
    """How much audio each packet holds. Arrays (n,): `samples` at its codec's rate, 0 if it holds none; `unit`, the
    samples that its decoder yields at once (0: it can be cut anywhere). `refused`: packets that hold something, but
    nothing of their codec; they are given the usual length, so that they are missed. `overlong`: packets that claim
    more than `MOST_PACKET_MS`, which is what remains."""

    samples: I64
    unit: I64
    refused: int
    overlong: int


def divisible(codec: Codec) -> bool:
    """Whether a codec's audio can be cut, be it only every few samples."""
    return _grain(codec) > 0


def _grain(codec: Codec) -> int:
    kind = CODECS.find(codec.name)
    return 0 if kind is None else kind.grain


def held_by(trace: Trace, voices: StreamCodecs) -> Held:
    """Measure every packet; of those that a snap length cut, by the bytes that are left and the size."""
    samples, unit = np.zeros(len(trace), dtype=np.int64), np.zeros(len(trace), dtype=np.int64)
    refused = overlong = 0
    for index, codec in enumerate(voices.codecs):
        rows = np.flatnonzero((voices.of_packet == index) & (trace.size > 0))
        found, known = _samples(trace, rows, codec), 0
        some = found[found > 0]
        if len(some):
            known = int(np.argmax(np.bincount(some)))
            refused += int(np.count_nonzero(found == 0))
            found[found == 0] = known
        if not divisible(codec):
            for value in np.unique(found[found > 0]).tolist():
                row = int(rows[np.argmax(found == value)])
                unit[rows[found == value]] = _unit(trace, row, codec, value)
        most = MOST_PACKET_MS * codec.sample_rate // 1000
        each = unit[rows]
        most_units = np.where(each > 0, -(-most // np.maximum(each, 1)) * each, most)
        overlong += int(np.count_nonzero(found > most_units))
        samples[rows] = np.minimum(found, most_units)
    return Held(samples, unit, refused, overlong)


def _samples(trace: Trace, rows: I64, codec: Codec) -> I64:
    """The samples in each of these packets."""
    if isinstance(codec, Timed) and (told := told_lengths(trace, rows, codec.frame_samples)) is not None:
        return told
    sizes: list[int] = trace.size[rows].tolist()
    if divisible(codec):
        # The size alone decides, so one payload of each size is measured.
        by_size = {size: codec.samples_in(bytes(size)) for size in set(sizes)}
        return np.array([by_size[size] for size in sizes], dtype=np.int64)
    payloads = trace.payloads
    if payloads is None:
        return np.full(len(rows), _assumed(trace, rows, codec), dtype=np.int64)
    kept: list[int] = payloads.captured[rows].tolist()
    assumed = _assumed(trace, rows, codec) if 0 in kept else 0
    data, measure = payloads.data.data, codec.samples_in
    return np.array(
        [
            measure(bytes(data[begin : begin + captured]).ljust(size, b"\0")) if captured else assumed
            for begin, captured, size in zip(payloads.start[rows].tolist(), kept, sizes, strict=True)
        ],
        dtype=np.int64,
    )


def _assumed(trace: Trace, rows: I64, codec: Codec) -> int:
    """The length of packets of which no byte is left: the usual step of the timestamps if packets of that length exist,
    else the codec's own."""
    order = rows[np.argsort(trace.sequence[rows], kind="stable")]
    follows = np.diff(trace.sequence[order]) == 1
    step = np.diff(trace.timestamp[order])[follows]
    step = step[(step > 0) & (step <= trace.clock_rate * MOST_PACKET_MS // 1000)]
    kind = CODECS.find(codec.name)
    if len(step) and kind is not None:
        usual = int(np.argmax(np.bincount(step)))
        if 1000 * usual / trace.clock_rate in kind.ptimes:
            return usual * codec.sample_rate // trace.clock_rate
    return packet_samples(codec)


def _unit(trace: Trace, row: int, codec: Codec, samples: int) -> int:
    """The samples that the decoder yields at once from packets like this one."""
    if samples > MOST_PACKET_MS * codec.sample_rate // 1000:
        return codec.frame_samples
    payloads = trace.payloads
    if payloads is None or not payloads.captured[row]:
        units = max(1, samples // codec.frame_samples)
    else:
        units = max(1, len(codec.split(payloads[row].ljust(int(trace.size[row]), b"\0"))))
    return samples // units if samples % units == 0 else samples


def slot_ticks(trace: Trace, voices: StreamCodecs, held: Held) -> int:
    """The slot in ticks of the trace's RTP clock; at least one packet must hold audio.

    The greatest common divisor of what the decoders yield at once, of the lengths of packets that can be cut anywhere,
    and for these of 10 ms, unless that makes it shorter than 5 ms. A length is left out if it would make the slot
    shorter than 5 ms for the sake of a few packets after which the timestamps do not go on. So is one that would make
    it shorter than 1 ms, unless many packets have it and the timestamps go on by it (a sender that fills the network's
    packets). Packets of a length that is left out end within a slot.
    """
    clock = trace.clock_rate
    rates = np.array([codec.sample_rate for codec in voices.codecs])
    rate = rates[np.maximum(voices.of_packet, 0)]
    some = held.samples > 0
    whole = some & (held.unit > 0)
    slot = gcd(*np.unique((held.unit * clock // rate)[whole]).tolist())
    length = np.where(some & ~whole, held.samples * clock // rate, 0)
    if bool(np.any(length)):
        held_ticks = int(length.sum())
        usual, fine = clock * _USUAL_MS // 1000, clock * _FINE_MS // 1000
        finest = max(1, _least_ticks(trace, held_ticks, _MOST_FINE_SLOTS))
        least = max(1, clock * _LEAST_MS // 1000, _least_ticks(trace, held_ticks, _MOST_SLOTS))
        lengths = _lengths(trace, length, min(finest, least), least, fine)
        tens = _common(lengths, gcd(slot, usual))
        fits = tens >= fine and lengths[0][0] % max(tens, 1) == 0
        slot = max(min(finest, least), tens if fits else _common(lengths, slot))
        if any(one % slot for one, worth in lengths if worth < least):
            # Too long a call for that: the ends of packets within 1 ms are little, their ends within a packet are much.
            slot = least
    # Every codec has a whole number of samples in a slot, and of those between which it can be cut.
    grains = [clock * max(1, _grain(codec)) for codec in voices.codecs]
    grain = lcm(*(one // gcd(one, rate) for one, rate in zip(grains, rates.tolist(), strict=True)))
    return max(grain, slot // grain * grain)


def _least_ticks(trace: Trace, held: int, most: int) -> int:
    """The shortest slot of which the span of the arrivals has no more than this many, if packets hold that much; in
    ticks."""
    came = trace.arrived_ns[trace.arrived]
    span_ns = min(int(came.max()) - int(came.min()), LONGEST_NS) if len(came) else 0
    span = span_ns * trace.clock_rate // 1_000_000_000
    return span // (_MOST_SPARSE_SLOTS if held * _SPARSE < span else most)


def _lengths(trace: Trace, length: I64, finest: int, least: int, fine: int) -> list[tuple[int, int]]:
    """The distinct lengths (n,) except 0, the most frequent first, and the shortest slot that each is worth, ticks.

    A length is rare and without consequence if the packets after those of this length do not begin where these end.
    """
    order = np.argsort(trace.sequence, kind="stable")
    follows = np.diff(trace.sequence[order]) == 1
    goes_on = np.zeros(len(trace), dtype=np.bool_)
    goes_on[order[:-1]] = follows & (np.diff(trace.timestamp[order]) == length[order[:-1]])
    values, counts = np.unique(length[length > 0], return_counts=True)
    found = []
    for at in np.argsort(-counts, kind="stable").tolist():
        rare = int(counts[at]) * _RARE < int(counts.sum())
        of_consequence = int(np.count_nonzero(goes_on[length == values[at]]))
        if rare:
            worth = least if of_consequence else fine
        else:
            worth = finest if of_consequence * 2 >= int(counts[at]) else least
        found.append((int(values[at]), worth))
    return found


def _common(lengths: list[tuple[int, int]], slot: int) -> int:
    """The common divisor of `slot` (0: any) and these lengths, without those that would make it less than they are
    worth."""
    for length, worth in lengths:
        if (together := gcd(slot, length)) >= worth:
            slot = together
    return slot


def ends_within_slot(held: Held, slot_samples: I64) -> Bool:
    """Packets whose audio is not a whole number of slots, (n,); `slot_samples` (n,) at each packet's rate."""
    uneven: Bool = (held.samples > 0) & (held.samples % slot_samples != 0)
    return uneven

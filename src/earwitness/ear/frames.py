"""The codec frames of a trace: each one's packet, timestamp and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from earwitness.arrays import I64
from earwitness.ear.base import Stream
from earwitness.errors import InputError
from earwitness.speech.codecs.base import Codec, most_frames
from earwitness.trace.model import LOST, Trace
from earwitness.trace.payload_types import main_payload_type


@dataclass(frozen=True, eq=False)
class Frames:
    """Every codec frame of the packets in a trace, in trace order.

    Arrays of shape (m,): `packet` is the row in the trace, `part` the position in the packet, `timestamp` the RTP
    timestamp (extended). `first` (n,) is the index of each packet's first frame, `count` (n,) its number of frames.
    `overlong`: packets that claim to hold more speech than is decoded per packet.
    """

    stream: Stream
    packet: I64
    part: I64
    timestamp: I64
    first: I64
    count: I64
    overlong: int = 0

    def __len__(self) -> int:
        return len(self.packet)


def frame_ticks(codec: Codec) -> int:
    """RTP ticks in one codec frame."""
    return codec.frame_samples * codec.clock_rate // codec.sample_rate


def frames_per_ptime(codec: Codec) -> int:
    """Codec frames in one packet of the codec's ptime."""
    return max(1, codec.packet_ms * codec.sample_rate // (1000 * codec.frame_samples))


def frames_of(trace: Trace, codec: Codec) -> Frames:
    """The frames in each packet of a trace.

    The number of frames per packet is read from the first complete payload of each size; if all of them were cut, from
    a payload of zeros of that size. Packets whose payload type is not the main one (telephone events, comfort noise)
    hold no frames. At most `MOST_PACKET_MS` are decoded per packet. Raises InputError if the trace's RTP clock is not
    the codec's, or no packet holds a frame.
    """
    if trace.clock_rate != codec.clock_rate:
        raise InputError(
            "reading the frames of",
            trace.source or "the trace",
            f"its RTP clock is {trace.clock_rate} Hz and {codec.name}'s is {codec.clock_rate} Hz",
            "name this stream's {codec}",
            related=("codec",),
        )
    ticks = frame_ticks(codec)
    count = np.ones(len(trace), dtype=np.int64)
    speech = trace.payload_type == main_payload_type(trace.payload_type)
    count[~speech] = 0
    most, overlong = most_frames(codec.frame_samples, codec.sample_rate), 0
    for size, rows in _of_each_size(trace, np.flatnonzero(speech)):
        payload = bytes(size)
        if trace.payloads is not None:
            whole = rows[trace.payloads.captured[rows] == size]
            if len(whole):
                payload = trace.payloads[int(whole[0])]
        parts = codec.split(payload) if size else []
        count[rows] = len(parts)
        if len(parts) == most and sum(map(len, parts)) < size:
            overlong += len(rows)
    if not bool(np.any(count)):
        kind = "packet in it" if not len(trace) else f"packet in it holds a frame of {codec.name}"
        source, remedy = trace.source or "the trace", "name its {codec}"
        raise InputError("reading the frames of", source, f"no {kind}", remedy, related=("codec",))
    first = np.cumsum(count) - count
    packet = np.repeat(np.arange(len(trace), dtype=np.int64), count)
    part = np.arange(len(packet), dtype=np.int64) - first[packet]
    stream = Stream(trace.clock_rate, ticks, frames_per_ptime(codec))
    return Frames(stream, packet, part, trace.timestamp[packet] + part * ticks, first, count, overlong)


def _of_each_size(trace: Trace, rows: I64) -> Iterator[tuple[int, I64]]:
    """Each payload size among these rows, and the rows that have it, in order."""
    order = rows[np.argsort(trace.size[rows], kind="stable")]
    sizes, begins = np.unique(trace.size[order], return_index=True)
    return zip(sizes.tolist(), np.split(order, begins[1:]), strict=False)


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

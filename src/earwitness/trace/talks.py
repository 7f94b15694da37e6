"""One talker's speech in a capture, although its SSRC changes: consecutive streams of one flow joined to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from earwitness.trace.model import Payloads, Trace
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.timeline import SEQUENCE_BREAK, usual_step

MOST_PAUSE_NS = 10_000_000_000
"""After a longer silence, a new SSRC on the same ports is taken for another call."""
MOST_OVERLAP_NS = 200_000_000
"""For so long packets of an old SSRC may still arrive after the first one of a new: the network reorders them."""
_NEAR = 50
"""Packets on either side of a change of SSRC whose fastest one places the new timestamps."""
_NAMED = 4
"""SSRCs of one talker that are listed."""


def talks(streams: Sequence[RtpStream]) -> tuple[RtpStream, ...]:
    """The streams, with those of one flow and call that follow each other joined; the one with the most packets first.

    A phone takes a new SSRC in mid-call when it is transferred, resumes from hold, or restarts; the listener hears one
    talker. Streams that overlap by more than `MOST_OVERLAP_NS` are different talkers and stay apart. A joined stream
    has the SSRC with the most packets; its trace notes the changes.
    """
    return tuple(sorted((_joined(run) for run in _runs(streams)), key=lambda one: -len(one.trace)))


def talk_of(streams: Sequence[RtpStream]) -> dict[RtpStream, RtpStream]:
    """The talk of each stream (see `talks`): itself, or the joined stream that it is a part of."""
    found = {stream: stream for stream in streams}
    for run in _runs(streams):
        found |= dict.fromkeys(run, _joined(run))
    return found


def ssrcs(run: Sequence[RtpStream]) -> str:
    """The SSRCs of streams that follow each other, in order, as text; of many, the first ones and the last."""
    names = [f"0x{stream.ssrc:08x}" for stream in run]
    if len(names) > _NAMED + 1:
        names = [*names[:_NAMED], "...", names[-1]]
    return " to ".join(names)


def _runs(streams: Sequence[RtpStream]) -> list[list[RtpStream]]:
    """The streams of each talker in order of time; without streams of no packet."""
    by_flow: dict[object, list[RtpStream]] = {}
    for stream in streams:
        if len(stream.trace):
            key = (stream.flow, stream.call, stream.media, stream.encoding.clock_rate, stream.encryption)
            by_flow.setdefault(key, []).append(stream)
    found: list[list[RtpStream]] = []
    for members in by_flow.values():
        runs: list[list[RtpStream]] = []
        for stream in sorted(members, key=_begin):
            before = [run for run in runs if _follows(run[-1], stream)]
            if before:
                max(before, key=lambda run: _end(run[-1])).append(stream)
            else:
                runs.append([stream])
        found += runs
    return found


def _begin(stream: RtpStream) -> int:
    return int(stream.trace.arrived_ns[0])


def _end(stream: RtpStream) -> int:
    return int(stream.trace.arrived_ns[-1])


def _follows(first: RtpStream, second: RtpStream) -> bool:
    """Whether the second stream continues the first."""
    pause = _begin(second) - _end(first)
    # What is heard with another stream for most of its time does not follow it.
    least = min(_end(one) - _begin(one) for one in (first, second))
    same = first.trace.formats.items() | second.trace.formats.items()
    # FEC names packets by their numbers, which an overlap changes.
    most = 0 if any(encoding.role == "repair" for _, encoding in same) else min(MOST_OVERLAP_NS, least // 2)
    return -most <= pause <= MOST_PAUSE_NS and len({number for number, _ in same}) == len(same)


def _joined(run: Sequence[RtpStream]) -> RtpStream:
    """The streams as one, their packets in order of arrival."""
    if len(run) == 1:
        return run[0]
    longest = max(run, key=lambda one: len(one.trace))
    trace = run[0].trace
    for stream in run[1:]:
        trace = _appended(trace, stream.trace)
    times = "once" if len(run) == 2 else f"{len(run) - 1} times"
    note = f"the SSRC changes {times} in mid-call ({ssrcs(run)}); heard as one talker"
    notes = tuple(dict.fromkeys(one for stream in run for one in stream.trace.notes))
    guessed = dict.fromkeys(one for stream in run for one in stream.guessed)
    trace = replace(trace, ssrc=longest.ssrc, notes=(*notes, note))
    return replace(longest, trace=trace, guessed=(*guessed, note))


def _appended(first: Trace, second: Trace) -> Trace:
    """The second trace after the first, in order of arrival.

    Its sequence numbers are so far above that a restart is seen between them. Where packets of both are interleaved, no
    such place can be seen: there the numbering goes on, and the timestamps are placed by the arrivals.
    """
    begins = int(first.sequence.max()) - int(second.sequence.min())
    shift = max(0, -(-(begins + SEQUENCE_BREAK) // 0x10000)) * 0x10000
    timestamp = second.timestamp
    interleaved = int(second.arrived_ns[0]) < int(first.arrived_ns[-1])
    if interleaved:
        shift, timestamp = begins + 1, timestamp + _ticks_between(first, second)
    whole = replace(
        first,
        sequence=np.concatenate((first.sequence, second.sequence + shift)),
        timestamp=np.concatenate((first.timestamp, timestamp)),
        payload_type=np.concatenate((first.payload_type, second.payload_type)),
        marker=np.concatenate((first.marker, second.marker)),
        size=np.concatenate((first.size, second.size)),
        sent_ns=np.concatenate((first.sent_ns, second.sent_ns)),
        arrived_ns=np.concatenate((first.arrived_ns, second.arrived_ns)),
        payloads=_payloads(first, second),
        formats={**first.formats, **second.formats},
    )
    return whole.take(np.argsort(whole.arrived_ns, kind="stable")) if interleaved else whole


def _ticks_between(first: Trace, second: Trace) -> int:
    """RTP ticks to add to the second trace's timestamps, so that its first packets are as fast as the last ones of the
    first, and lie on its grid of packets."""
    origin, begin = int(first.timestamp[0]), int(second.timestamp[0])
    near = np.arange(_NEAR, dtype=np.int64)
    last, next_ones = first.take(len(first) - 1 - near[: len(first)]), second.take(near[: len(second)])
    since_ns = int(first.arrived_ns[0])
    shift = _ahead(next_ones, since_ns) - _ahead(last, since_ns)
    grid = usual_step(first)
    off = (begin + shift - origin + grid // 2) % grid - grid // 2
    return max(shift - off, -int(second.timestamp.min()))


def _ahead(trace: Trace, since_ns: int) -> int:
    """By how many RTP ticks the fastest packet arrived later than its timestamp says."""
    return int(((trace.arrived_ns - since_ns) * trace.clock_rate // 1_000_000_000 - trace.timestamp).min())


def _payloads(first: Trace, second: Trace) -> Payloads | None:
    one, other = first.payloads, second.payloads
    if one is None or other is None:
        return None
    data, start = one.data, other.start
    if other.data is not one.data:
        data, start = np.concatenate((one.data, other.data)), other.start + len(one.data)
    captured = np.concatenate((one.captured, other.captured))
    return Payloads(data, np.concatenate((one.start, start)), captured, one.cut_by or other.cut_by)

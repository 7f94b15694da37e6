"""One talker's speech in a capture, although its SSRC changes: consecutive streams of one flow joined to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from earwitness.trace.model import Payloads, Trace
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.timeline import SEQUENCE_BREAK

MOST_PAUSE_NS = 10_000_000_000
"""After a longer silence, a new SSRC on the same ports is taken for another call."""


def talks(streams: Sequence[RtpStream]) -> tuple[RtpStream, ...]:
    """The streams, with those of one flow and call that follow each other joined; the one with the most packets first.

    A phone takes a new SSRC in mid-call when it is transferred, resumes from hold, or restarts; the listener hears one
    talker. Streams that overlap are different talkers and stay apart. A joined stream has the SSRC with the most
    packets; its trace notes the changes.
    """
    by_flow: dict[object, list[RtpStream]] = {}
    for stream in streams:
        if len(stream.trace):
            key = (stream.flow, stream.call, stream.media, stream.encoding.clock_rate, stream.encryption)
            by_flow.setdefault(key, []).append(stream)
    found: list[RtpStream] = []
    for members in by_flow.values():
        members.sort(key=_begin)
        run = [members[0]]
        for stream in members[1:]:
            if _follows(run[-1], stream):
                run.append(stream)
            else:
                found.append(_joined(run))
                run = [stream]
        found.append(_joined(run))
    return tuple(sorted(found, key=lambda one: -len(one.trace)))


def _begin(stream: RtpStream) -> int:
    return int(stream.trace.arrived_ns[0])


def _follows(first: RtpStream, second: RtpStream) -> bool:
    """Whether the second stream continues the first."""
    pause = _begin(second) - int(first.trace.arrived_ns[-1])
    same = first.trace.formats.items() | second.trace.formats.items()
    return 0 <= pause <= MOST_PAUSE_NS and len({number for number, _ in same}) == len(same)


def _joined(run: Sequence[RtpStream]) -> RtpStream:
    """The streams as one, in their order."""
    if len(run) == 1:
        return run[0]
    longest = max(run, key=lambda one: len(one.trace))
    trace = run[0].trace
    for stream in run[1:]:
        trace = _appended(trace, stream.trace)
    names = " to ".join(f"0x{stream.ssrc:08x}" for stream in run)
    note = f"the SSRC changes {len(run) - 1} times in mid-call ({names}); heard as one talker"
    notes = tuple(dict.fromkeys(one for stream in run for one in stream.trace.notes))
    guessed = dict.fromkeys(one for stream in run for one in stream.guessed)
    note = note.replace("1 times", "once")
    trace = replace(trace, ssrc=longest.ssrc, notes=(*notes, note))
    return replace(longest, trace=trace, guessed=(*guessed, note))


def _appended(first: Trace, second: Trace) -> Trace:
    """The second trace after the first, its sequence numbers so far above that a restart is seen between them."""
    above = int(first.sequence.max()) + SEQUENCE_BREAK - int(second.sequence.min())
    shifted = second.sequence + max(0, -(-above // 0x10000)) * 0x10000
    return replace(
        first,
        sequence=np.concatenate((first.sequence, shifted)),
        timestamp=np.concatenate((first.timestamp, second.timestamp)),
        payload_type=np.concatenate((first.payload_type, second.payload_type)),
        marker=np.concatenate((first.marker, second.marker)),
        size=np.concatenate((first.size, second.size)),
        sent_ns=np.concatenate((first.sent_ns, second.sent_ns)),
        arrived_ns=np.concatenate((first.arrived_ns, second.arrived_ns)),
        payloads=_payloads(first, second),
        formats={**first.formats, **second.formats},
    )


def _payloads(first: Trace, second: Trace) -> Payloads | None:
    one, other = first.payloads, second.payloads
    if one is None or other is None:
        return None
    data, start = one.data, other.start
    if other.data is not one.data:
        data, start = np.concatenate((one.data, other.data)), other.start + len(one.data)
    captured = np.concatenate((one.captured, other.captured))
    return Payloads(data, np.concatenate((one.start, start)), captured)

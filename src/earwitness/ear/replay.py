"""Plays a trace through a jitter buffer: merges arrivals and clock ticks in time order."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.ear.base import JitterBuffer, Playout
from earwitness.ear.clock import Clock, PhoneClock, Ticks
from earwitness.ear.frames import Frames, frame_arrivals
from earwitness.ear.kind import Foreseeing
from earwitness.ear.span import LONGEST_NS, checked_span
from earwitness.errors import InputError
from earwitness.trace.model import LOST, Trace

_BLOCK = 1 << 16
"""Ticks whose pulls are kept as objects, which need ten times the memory of plain numbers."""
_NO_MORE = (2**63, 0, 0, 0, 0)
"""A packet later than any tick."""
_FEW_PACKETS = 2
"""So many packets outside of the phone's clock are not worth a note: they cross the first or the last of its own."""


@dataclass(frozen=True, eq=False)
class Replay:
    """What a buffer returned. Arrays of shape (k,), one entry per pull: when it was requested, when it began to play
    (the frames of one tick are requested together and play one after the other), the frame (or `CONCEAL`, `PAUSE`), and
    the RTP timestamps it covers.

    `outside` (n,): packets of the trace that arrived before the phone played or after it had ended. `notes`: what is
    doubtful about the phone's clock, one sentence each.
    """

    frames: Frames
    asked_ns: I64
    pulled_ns: I64
    frame: I64
    start: I64
    end: I64
    outside: Bool = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)


def replay(
    trace: Trace,
    frames: Frames,
    buffer: JitterBuffer,
    clock_ns: Clock | None = None,
    quiet: Sequence[bool] = (),
) -> Replay:
    """Play a trace through a buffer.

    `quiet`: for each frame, whether it contains no speech; used by buffers with `wants_levels`.

    `clock_ns`: the times, on the arrival clock, at which the phone's sound device requested a packet's length of audio
    (`frames_per_packet` frames), if known; or the phone's clock, from which they follow (`clock`). Packets that arrived
    before the first of them or after the last are not heard, because the phone's media was not running. By default the
    clock is exact, starts at the first arrival (plus the buffer's offset) and runs until everything has been played.
    A packet that arrives exactly at a tick is in time.
    Raises InputError if nothing arrived, or over a longer time than a call can last (`span`).
    """
    began_ns, times, first, timestamps, counts, sequences = frame_arrivals(trace, frames)
    if not times:
        raise InputError(
            "replaying", trace.source or "the trace", "no packet arrived", "give a capture with RTP in this direction"
        )
    checked_span(trace, times[-1], len(times))
    stream = frames.stream
    foreseen = buffer.foresee(trace, frames, quiet) if isinstance(buffer, Foreseeing) else None
    playout: Playout = foreseen or buffer.open(stream, quiet)
    put, pull = playout.put, playout.pull
    pulls: list[int] = []
    take = pulls.extend
    burst = stream.frames_per_packet
    tick_ns = stream.frame_ns * burst
    known = _given(clock_ns, trace, tick_ns, began_ns, times[-1], burst * stream.frame_ns)
    outside: Bool = np.zeros(len(trace), dtype=np.bool_)
    if known is None:
        begin = buffer.clock_offset_ns(tick_ns) if foreseen is None else foreseen.begin_ns - began_ns
        ticks = _own_clock(begin, times[-1], tick_ns)
    else:
        ticks = (known.at_ns - began_ns).tolist()
        outside = _outside(trace, known)
    unheard = 0 if known is None else int(np.searchsorted(times, ticks[0]))
    packets = chain(islice(zip(times, first, timestamps, counts, sequences, strict=True), unheard, None), (_NO_MORE,))
    packet = next(packets)
    each = range(burst)
    tables: list[I64] = []
    for at in range(0, len(ticks), _BLOCK):
        for now in ticks[at : at + _BLOCK]:
            while packet[0] <= now:
                put(*packet)
                packet = next(packets)
            for _ in each:
                take(pull(now))
        tables.append(_numbers(pulls))
    ends = ticks
    if known is None or known.drains:
        ends = [*ticks, *_until_drained(playout, ticks[-1], tick_ns, burst, pulls)]
        tables.append(_numbers(pulls))
    table = np.concatenate(tables)
    asked = np.repeat(np.array(ends, dtype=np.int64) + began_ns, burst)
    within = np.tile(np.arange(burst, dtype=np.int64) * stream.frame_ns, len(ends))
    notes = () if known is None else _notes(known, int(np.count_nonzero(outside)))
    return Replay(frames, asked, asked + within, table[:, 0], table[:, 1], table[:, 2], outside, notes)


def _given(
    clock_ns: Clock | None, trace: Trace, tick_ns: int, began_ns: int, last_ns: int, each_ns: int
) -> Ticks | None:
    """The ticks of the clock that was given; None if there is none. `last_ns`: the last arrival after `began_ns`."""
    if isinstance(clock_ns, PhoneClock):
        known = clock_ns.ticks(tick_ns, began_ns, began_ns + last_ns)
    else:
        known = None if clock_ns is None else Ticks(np.asarray(clock_ns, dtype=np.int64))
    if known is None or 0 < len(known.at_ns) * each_ns <= LONGEST_NS:
        return known
    length = "lasts more than four hours" if len(known.at_ns) else "has no ticks"
    raise InputError("replaying", trace.source or "the trace", f"its clock {length}", "cut the capture")


def _outside(trace: Trace, known: Ticks) -> Bool:
    """The packets that arrived before the first tick, or after the last, (n,)."""
    came = trace.arrived_ns
    return np.asarray((came != LOST) & ((came < known.at_ns[0]) | (came > known.at_ns[-1])))


def _notes(known: Ticks, outside: int) -> tuple[str, ...]:
    """What is doubtful about a clock that was given, in sentences."""
    said = [known.note] if known.note else []
    if outside > _FEW_PACKETS:
        said.append(
            f"{outside} packets arrived before the phone began to play or after it had ended; they are not counted"
        )
    return tuple(said)


def _numbers(pulls: list[int]) -> I64:
    """The pulls, three numbers each, as a (k, 3) array; empties the list."""
    table: I64 = np.frombuffer(struct.pack(f"{len(pulls)}q", *pulls), dtype=np.int64).reshape(-1, 3)
    pulls.clear()
    return table


def _own_clock(begin_ns: int, last_ns: int, tick_ns: int) -> list[int]:
    """Exact ticks from `begin_ns` to just after the last arrival."""
    if last_ns - begin_ns > LONGEST_NS:
        raise InputError(
            "replaying", "the trace", "its arrivals span more than four hours", "cut the capture into calls"
        )
    return list(range(begin_ns, max(last_ns, begin_ns) + tick_ns, tick_ns))


def _until_drained(playout: Playout, last_ns: int, tick_ns: int, burst: int, pulls: list[int]) -> list[int]:
    """Keep pulling after the last arrival until the buffer is empty; returns the times of those ticks."""
    ticks: list[int] = []
    now = last_ns
    while not playout.drained and now - last_ns < LONGEST_NS:
        now += tick_ns
        ticks.append(now)
        for _ in range(burst):
            pulls.extend(playout.pull(now))
    return ticks

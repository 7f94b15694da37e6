"""A phone's playing clock, derived from the stream that it sends.

A softphone takes a frame from its jitter buffer and sends one in the same tick of its sound device. So its outgoing RTP
shows when it played: packet by packet while it sent, and on the grid in between during silence suppression.

Between reading its jitter buffer and sending its own packet, a phone encodes a frame. The encoding time on the study's
machines is a fact of each codec (`CodecKind.encoding_takes_ns`), measured on the published captures as the lead for
which most frames of the recordings are reproduced exactly. It matters only for races between a packet and a tick.

A phone may play while it sends nothing: early media, a muted microphone. Its sound device then goes on evenly, so the
clock is continued with exact ticks as far as packets arrive, but not beyond a BYE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from earwitness.arrays import I64
from earwitness.ear.span import LONGEST_NS, QUIET_NS
from earwitness.trace.model import LOST, Trace
from earwitness.trace.timeline import mended

STARTING_NS = 200_000_000
"""Packets that come so shortly before a phone's first tick are not heard: its sound device is starting. In the
published captures up to 131 ms pass, and the recordings do not contain those packets."""
_FEW_TICKS = 2
"""So few ticks between the end of the clock and the last arrival, or the BYE, are no gap in the clock."""
_NOTED_NS = 200_000_000
"""Shorter continuations are no reason for doubt: in so short a time a sound device does not drift."""


@dataclass(frozen=True, eq=False)
class Ticks:
    """The ticks (k,) int64 ns of a phone's sound device. `drains`: it then runs on until everything has been played.
    `note`: how far the clock is known, in a sentence; empty where it is wholly known."""

    at_ns: I64
    drains: bool = False
    note: str = ""


@dataclass(frozen=True, eq=False)
class PhoneClock:
    """The clock of the phone that sent `sent`, as captured at that phone.

    `sending_takes_ns`: from a tick to its packet. `ended_ns`: when the call was ended by a BYE, if the capture has one.
    """

    sent: Trace
    sending_takes_ns: int = 0
    ended_ns: int | None = None

    @cached_property
    def _outgoing(self) -> Trace:
        return mended(self.sent)

    def ticks(self, tick_ns: int, first_ns: int, last_ns: int) -> Ticks | None:
        """The ticks for packets that arrive from `first_ns` to `last_ns`; None if the stream shows no clock then.

        Between the phone's first and last packet they are as it sent. Before and after, they are `tick_ns` apart, and
        the note says so.
        """
        known = playing_clock(self._outgoing, tick_ns / 1e6, self.sending_takes_ns)
        if not len(known) or int(known[0]) > last_ns or int(known[-1]) < first_ns:
            return None
        begin, end = int(known[0]), int(known[-1])
        ends = last_ns if self.ended_ns is None else min(last_ns, self.ended_ns)
        if max(end, ends) - min(begin, first_ns) > LONGEST_NS:
            return Ticks(known)
        before = -(-(begin - first_ns) // tick_ns) if begin - first_ns > STARTING_NS else 0
        drains = ends == last_ns and ends - end > _FEW_TICKS * tick_ns
        after = -(-(ends - end) // tick_ns) if drains else max(0, ends - end) // tick_ns
        after = after if after > _FEW_TICKS else 0
        if not before and not after:
            return Ticks(known)
        earlier = begin - tick_ns * np.arange(before, 0, -1, dtype=np.int64)
        later = end + tick_ns * np.arange(1, after + 1, dtype=np.int64)
        whole = np.concatenate((earlier, known, later))
        note = ""
        if (before + after) * tick_ns > _NOTED_NS:
            took = (int(whole[-1]) - int(whole[0])) / 1e9
            note = (
                f"the phone's clock is known for {(end - begin) / 1e9:.1f} of {took:.1f} s, while it sent; it is taken"
                " to be even for the rest"
            )
        return Ticks(whole, drains=drains, note=note)


Clock: TypeAlias = Sequence[int] | I64 | PhoneClock
"""The ticks of a phone's sound device in ns, or what they follow from."""


def playing_clock(outgoing: Trace, tick_ms: float = 20, sending_takes_ns: int = 0) -> I64:
    """The ticks of the phone that sent `outgoing`, (k,) int64 ns on the capture's clock, `tick_ms` apart, in order.

    They run from the packet with the smallest timestamp to the one with the largest. `outgoing` is the stream as
    captured at the phone (its `arrived_ns`: when the capture saw each packet leave, `sending_takes_ns` after the tick),
    without breaks of its numbering. Ticks without a packet of their own are interpolated between their neighbours.
    Empty if there are no packets, or if the timestamps leap over more time than the packets were sent in, so that they
    are not a clock.
    """
    seen = outgoing.arrived_ns != LOST
    if not bool(np.any(seen)):
        return np.zeros(0, dtype=np.int64)
    timestamp, when = outgoing.timestamp[seen], outgoing.arrived_ns[seen]
    span_ns = int(when.max()) - int(when.min())
    timestamp, first = np.unique(timestamp, return_index=True)
    when = when[first]
    step = outgoing.clock_rate * tick_ms / 1000
    media_ns = (int(timestamp[-1]) - int(timestamp[0])) * 1_000_000_000 // outgoing.clock_rate
    if step <= 0 or media_ns > min(span_ns + QUIET_NS, LONGEST_NS):
        return np.zeros(0, dtype=np.int64)
    wanted = np.arange(int((int(timestamp[-1]) - int(timestamp[0])) / step) + 1) * step
    begin = int(when[0])
    known = (timestamp - timestamp[0]).astype(np.float64), (when - begin).astype(np.float64)
    after: I64 = np.rint(np.interp(wanted, *known)).astype(np.int64)
    return after + (begin - sending_takes_ns)

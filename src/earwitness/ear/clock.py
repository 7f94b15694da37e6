"""A phone's playing clock, derived from the stream that it sends.

A softphone takes a frame from its jitter buffer and sends one in the same tick of its sound device. So its outgoing RTP
shows when it played: packet by packet while it sent, and on the grid in between during silence suppression.

Between reading its jitter buffer and sending its own packet, a phone encodes a frame. The encoding time on the study's
machines is a fact of each codec (`CodecKind.encoding_takes_ns`), measured on the published captures as the lead for
which most frames of the recordings are reproduced exactly. It matters only for races between a packet and a tick.
"""

from __future__ import annotations

import numpy as np

from earwitness.arrays import I64
from earwitness.ear.span import LONGEST_NS, QUIET_NS
from earwitness.trace.model import LOST, Trace


def playing_clock(outgoing: Trace, tick_ms: float = 20, sending_takes_ns: int = 0) -> I64:
    """The ticks of the phone that sent `outgoing`, (k,) int64 ns on the capture's clock, in order.

    They run from the packet with the smallest timestamp to the one with the largest. `outgoing` is the stream as
    captured at the phone (its `arrived_ns`: when the capture saw each packet leave, `sending_takes_ns` after the tick).
    Ticks without a packet are interpolated between their neighbours. Empty if there are no packets, or if the
    timestamps leap over more time than the packets were sent in, so that they are not a clock.
    """
    seen = outgoing.arrived_ns != LOST
    if not bool(np.any(seen)):
        return np.zeros(0, dtype=np.int64)
    step = max(1, int(outgoing.clock_rate * tick_ms // 1000))
    tick = outgoing.timestamp[seen] // step
    order = np.argsort(tick, kind="stable")
    tick, first = np.unique(tick[order], return_index=True)
    when = outgoing.arrived_ns[seen][order][first]
    span_ns = int(outgoing.arrived_ns[seen].max()) - int(outgoing.arrived_ns[seen].min())
    if (int(tick[-1]) - int(tick[0])) * tick_ms * 1_000_000 > min(span_ns + QUIET_NS, LONGEST_NS):
        return np.zeros(0, dtype=np.int64)
    wanted = np.arange(tick[0], tick[-1] + 1)
    begin = int(when[0])
    after: I64 = np.rint(np.interp(wanted, tick, (when - begin).astype(np.float64))).astype(np.int64)
    return after + (begin - sending_takes_ns)

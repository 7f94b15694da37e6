"""What the numbers of a trace can be: wide enough for every stream there is, narrow enough for 64 bits.

A capture of a stranger's packets or a damaged file can hold anything. Within these bounds two times, two sequence
numbers or two timestamps can be subtracted without an overflow, and every payload lies inside of its buffer; so what
works on a `Trace` need not ask again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from earwitness.trace.model import Payloads, Trace

MOST_TIME_NS = 2**32 * 1_000_000_000
"""Times lie within so much of their clock's zero, ns: up to the year 2106, as far as the format pcap counts."""
MOST_SEQUENCE = 2**48
"""Extended sequence numbers are less: four thousand million wraps."""
MOST_TIMESTAMP = 2**56
"""Extended timestamps are less: tens of millions of leaps of half of the 32 bits."""
MOST_PAYLOAD = 65_535
"""No UDP datagram holds more bytes."""
MOST_CLOCK_RATE = 1_000_000_000
"""Hz: what SDP is read up to, and small enough for a second of it in ns to fit 64 bits."""


def misfit(trace: Trace) -> str:
    """What in a trace is out of bounds, as a clause; empty where nothing is."""
    if trace.clock_rate > MOST_CLOCK_RATE:
        return f"its RTP clock is {trace.clock_rate} Hz, more than {MOST_CLOCK_RATE}"
    bounds = (
        ("sequence number", trace.sequence, -MOST_SEQUENCE, MOST_SEQUENCE),
        ("timestamp", trace.timestamp, -MOST_TIMESTAMP, MOST_TIMESTAMP),
        ("payload size", trace.size, 0, MOST_PAYLOAD),
    )
    for name, values, least, most in bounds:
        if _outside(values, least, most):
            row = int(np.argmax((values < least) | (values > most)))
            return f"packet {row} has a {name} of {int(values[row])}, and {least} to {most} can be"
    for name, values in (("sending", trace.sent_ns), ("arrival", trace.arrived_ns)):
        if _outside(values, -MOST_TIME_NS, MOST_TIME_NS):
            wrong = _times_outside(values)
            if bool(np.any(wrong)):
                row = int(np.argmax(wrong))
                return f"packet {row} has a time of {name} of {int(values[row])} ns, beyond the year 2106"
    return "" if trace.payloads is None else _misfit_payloads(trace.payloads, trace.size)


def _outside(values: NDArray[Any], least: int, most: int) -> bool:
    return bool(len(values)) and not (least <= int(values.min()) and int(values.max()) <= most)


def _times_outside(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Times that are neither within bounds nor the mark of one that is not known (the least int64)."""
    unknown = values == np.iinfo(np.int64).min
    beyond: NDArray[np.bool_] = ~unknown & ((values < -MOST_TIME_NS) | (values > MOST_TIME_NS))
    return beyond


def _misfit_payloads(payloads: Payloads, size: NDArray[Any]) -> str:
    start, captured, held = payloads.start, payloads.captured, len(payloads.data)
    if not len(start):
        return ""
    if _outside(start, 0, held) or _outside(captured, 0, MOST_PAYLOAD) or int((start + captured).max()) > held:
        return f"its payloads reach beyond the {held} bytes that are there"
    longer = captured > size
    if bool(np.any(longer)):
        row = int(np.argmax(longer))
        return f"packet {row} has {int(captured[row])} bytes of a payload of {int(size[row])}"
    return ""

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
        if _highest(values if least == 0 else np.abs(values)) > most:
            row = int(np.argmax((values < least) | (values > most)))
            return f"packet {row} has a {name} of {int(values[row])}, and {least} to {most} can be"
    for name, values in (("sending", trace.sent_ns), ("arrival", trace.arrived_ns)):
        # The mark of a time that is not known, the least int64, has no absolute value and stays negative.
        away = np.abs(values)
        if len(away) and int(np.maximum.reduce(away)) > MOST_TIME_NS:
            row = int(np.argmax(away > MOST_TIME_NS))
            return f"packet {row} has a time of {name} of {int(values[row])} ns, beyond the year 2106"
    return "" if trace.payloads is None else _misfit_payloads(trace.payloads, trace.size)


def _highest(values: NDArray[Any]) -> int:
    """The highest of (n,) integers, with those below 0 taken as unsigned and so as higher than any other."""
    return int(np.maximum.reduce(values.view(f"u{values.itemsize}"))) if len(values) else 0


def _misfit_payloads(payloads: Payloads, size: NDArray[Any]) -> str:
    start, captured, held = payloads.start, payloads.captured, len(payloads.data)
    if not len(start):
        return ""
    if _highest(start) > held or _highest(captured) > MOST_PAYLOAD or _highest(start + captured) > held:
        return f"its payloads reach beyond the {held} bytes that are there"
    longer = captured > size
    if bool(np.any(longer)):
        row = int(np.argmax(longer))
        return f"packet {row} has {int(captured[row])} bytes of a payload of {int(size[row])}"
    return ""

"""What the numbers of a trace can be: wide enough for every stream there is, narrow enough for 64 bits.

A capture of a stranger's packets or a damaged file can hold anything. Within these bounds two times, two sequence
numbers or two timestamps can be subtracted without an overflow, and every payload lies inside of its buffer; so what
works on a `Trace` need not ask again.
"""

from __future__ import annotations

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

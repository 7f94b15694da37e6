"""Limits for the numbers in a trace: wide enough for every real stream, narrow enough for 64-bit arithmetic.

An untrusted capture or a damaged file can contain any value. Within these limits, subtracting two times, sequence
numbers or timestamps cannot overflow, and every payload lies inside its buffer, so code that works on a `Trace` need
not check again.
"""

from __future__ import annotations

MOST_TIME_NS = 2**32 * 1_000_000_000
"""Largest distance of a time from its clock's zero, in ns: up to the year 2106, the limit of the pcap format."""
MOST_SEQUENCE = 2**48
"""Upper limit of extended sequence numbers: 2**32 wraps."""
MOST_TIMESTAMP = 2**56
"""Upper limit of extended timestamps: 2**24 wraps."""
MOST_PAYLOAD = 65_535
"""Largest UDP payload, bytes."""
MOST_CLOCK_RATE = 1_000_000_000
"""Hz: the largest rate accepted from SDP; one second of it in ns still fits 64 bits."""

"""Measurements of the path itself: round-trip times as ping prints them, and throughput in each direction.

Round trips, before the call: small datagrams at a steady pace, each echoed by the other end. Throughput, after the
call: as much as the path accepts, up to `LIMIT_BYTES` sent or `LIMIT_S` from the first arrival, whichever comes first.
The rate is the bytes that arrived after the first piece over the time since that piece. It therefore includes the
slow start of a TCP connection or circuit, like any transfer of that size, and the network is loaded only briefly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from earwitness.facts import MS_RANGE, fact

MOST_PROBES = 1000
"""Most probes in one series: over three minutes."""
INTERVAL_S = 0.2
"""Interval between probes, the shortest that ping permits an ordinary user. An answer is usually back before the next
probe, so Nagle's algorithm at a relay delays none of them; its effect on voice shows in the call itself."""
ANSWER_TIMEOUT_S = 2.0
"""Time to wait for answers after the last probe."""
LIMIT_BYTES = 1 << 20
LIMIT_S = 3.0
PIECE_BYTES = 1400


@dataclass(frozen=True)
class RoundTrips:
    """The answers to a series of probes; times in ms, None if no answer came back."""

    sent: int = fact("Probes sent")
    received: int = fact("Probes answered")
    min_ms: float | None = fact("Minimum round-trip time", MS_RANGE)
    avg_ms: float | None = fact("Mean round-trip time", MS_RANGE)
    max_ms: float | None = fact("Maximum round-trip time", MS_RANGE)
    mdev_ms: float | None = fact("Standard deviation with divisor n, like ping's mdev", MS_RANGE)


NO_ROUND_TRIPS = RoundTrips(0, 0, None, None, None, None)


def summarise_round_trips(sent: int, times_ms: Sequence[float]) -> RoundTrips:
    """The figures for `sent` probes, with the times of those that came back."""
    if not times_ms:
        return RoundTrips(sent, 0, None, None, None, None)
    mean = math.fsum(times_ms) / len(times_ms)
    mdev = math.sqrt(math.fsum((time - mean) ** 2 for time in times_ms) / len(times_ms))
    return RoundTrips(sent, len(times_ms), min(times_ms), mean, max(times_ms), mdev)


@dataclass(frozen=True)
class Throughput:
    """Bytes that arrived at one end after the first piece, and how long that took."""

    bytes: int
    seconds: float

    @property
    def kbit_s(self) -> float | None:
        """The rate in 1,000 bits per second; None if nothing arrived after the first piece."""
        return self.bytes * 8 / 1000 / self.seconds if self.bytes and self.seconds > 0 else None


class TransferArrivals:
    """Adds up the pieces of a transfer as they arrive; times in ns on one clock."""

    def __init__(self) -> None:
        self.bytes = 0
        self.first_ns: int | None = None
        self.last_ns = 0

    def add(self, count: int, at_ns: int) -> bool:
        """Add a piece; returns whether it counts (it is the first, or within `LIMIT_S` of the first)."""
        if self.first_ns is None:
            self.first_ns = self.last_ns = at_ns
            return True
        if at_ns - self.first_ns > LIMIT_S * 1e9:
            return False
        self.bytes += count
        self.last_ns = at_ns
        return True

    def result(self) -> Throughput:
        """The rate so far."""
        return Throughput(self.bytes, 0.0 if self.first_ns is None else (self.last_ns - self.first_ns) / 1e9)

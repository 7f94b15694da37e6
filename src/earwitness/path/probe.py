"""What is measured of a path itself: round trips as ping prints them, and how much it carries each way.

Round trips: small datagrams at a steady pace, each sent back by the other end, before the call. Throughput: as much as
the path takes, to at most `LIMIT_BYTES` sent or `LIMIT_S` from the first arrival, whichever is first, after the call;
the rate is what arrived after the first piece over the time since it. So the ramp at the start of a TCP connection or a
circuit is in it, as in any transfer of that size, and nobody's network is loaded for long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from earwitness.facts import MS_RANGE, fact

MOST_PROBES = 1000
"""In one series: over three minutes."""
INTERVAL_S = 0.2
"""Between probes, as short as ping lets an ordinary user have it: an answer is usually back before the next, so that
Nagle's algorithm at a relay holds none of them. What it does to voice, the voice shows."""
ANSWER_TIMEOUT_S = 2.0
"""After the last probe."""
LIMIT_BYTES = 1 << 20
LIMIT_S = 3.0
PIECE_BYTES = 1400


@dataclass(frozen=True)
class RoundTrips:
    """The answers to a series of probes; times in ms, None where none came back."""

    sent: int = fact("Probes sent")
    received: int = fact("Probes answered")
    min_ms: float | None = fact("Minimum round-trip time", MS_RANGE)
    avg_ms: float | None = fact("Mean round-trip time", MS_RANGE)
    max_ms: float | None = fact("Maximum round-trip time", MS_RANGE)
    mdev_ms: float | None = fact("Standard deviation with divisor n, like ping's mdev", MS_RANGE)


NO_ROUND_TRIPS = RoundTrips(0, 0, None, None, None, None)


def summarise_round_trips(sent: int, times_ms: Sequence[float]) -> RoundTrips:
    """The figures of `sent` probes, of which these came back."""
    if not times_ms:
        return RoundTrips(sent, 0, None, None, None, None)
    mean = math.fsum(times_ms) / len(times_ms)
    mdev = math.sqrt(math.fsum((time - mean) ** 2 for time in times_ms) / len(times_ms))
    return RoundTrips(sent, len(times_ms), min(times_ms), mean, max(times_ms), mdev)


@dataclass(frozen=True)
class Throughput:
    """What arrived at one end after the first piece, and how long that took."""

    bytes: int
    seconds: float

    @property
    def kbit_s(self) -> float | None:
        """The rate, 1,000 bits a second; None where nothing came after the first piece."""
        return self.bytes * 8 / 1000 / self.seconds if self.bytes and self.seconds > 0 else None


class TransferArrivals:
    """Adds up what arrives of a transfer, as its pieces come; times in ns on one clock."""

    def __init__(self) -> None:
        self.bytes = 0
        self.first_ns: int | None = None
        self.last_ns = 0

    def add(self, count: int, at_ns: int) -> bool:
        """A piece came; whether it still counts (it is the first, or within `LIMIT_S` of it)."""
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

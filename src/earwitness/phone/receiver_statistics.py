"""A phone's statistics of the stream that it receives: counts, loss and jitter for its RTCP reports.

Source: RFC 3550 A.1 (sequence numbers), A.3 (loss), A.8 (jitter). Pure: the time is an argument. Figures for the
data set come from the captures; these are reported to the far end during the call.
"""

from __future__ import annotations

from dataclasses import dataclass

_MAX_DROPOUT = 3000
_MAX_MISORDER = 100


@dataclass
class ReceiverStatistics:
    """Statistics of one RTP source."""

    ssrc: int
    clock_rate: int
    packets: int = 0
    jitter: float = 0.0
    """In units of the RTP clock."""
    _base: int = 0
    _highest: int = -1
    _transit: float | None = None
    _expected_before: int = 0
    _received_before: int = 0

    def receive(self, sequence: int, timestamp: int, arrived_ns: int) -> None:
        """Take one packet: 16-bit sequence number, 32-bit timestamp, arrival in ns."""
        if self._highest < 0:
            self._base = self._highest = sequence
        else:
            step = (sequence - self._highest) & 0xFFFF
            if step < _MAX_DROPOUT:
                self._highest += step
            elif step < 0x10000 - _MAX_MISORDER:
                # A jump too large to be loss: the source restarted (RFC 3550 A.1 waits for a second packet).
                self._base = sequence - self.packets
                self._highest = sequence
        self.packets += 1
        arrival = arrived_ns * self.clock_rate / 1e9
        transit = (arrival - timestamp) % 2**32
        if self._transit is not None:
            difference = (transit - self._transit + 2**31) % 2**32 - 2**31
            self.jitter += (abs(difference) - self.jitter) / 16
        self._transit = transit

    def set_clock_rate(self, clock_rate: int) -> None:
        """Set the RTP clock rate, once the answer states it; packets may arrive before. Jitter is reset."""
        self.clock_rate, self.jitter, self._transit = clock_rate, 0.0, None

    @property
    def expected(self) -> int:
        """Packets expected, from the sequence numbers."""
        return self._highest - self._base + 1 if self._highest >= 0 else 0

    @property
    def lost(self) -> int:
        """Expected less received; duplicates can make it negative (RFC 3550 6.4.1)."""
        return self.expected - self.packets

    @property
    def highest_sequence(self) -> int:
        """Extended highest sequence number, 32 bits."""
        return self._highest & 0xFFFFFFFF

    @property
    def jitter_ms(self) -> float:
        """The interarrival jitter estimate, ms."""
        return self.jitter / self.clock_rate * 1000

    def fraction_lost(self) -> int:
        """Loss since the previous call of this method, in 1/256 (RFC 3550 A.3)."""
        expected, received = self.expected - self._expected_before, self.packets - self._received_before
        self._expected_before, self._received_before = self.expected, self.packets
        lost = expected - received
        return 0 if expected <= 0 or lost <= 0 else min(255, (lost << 8) // expected)

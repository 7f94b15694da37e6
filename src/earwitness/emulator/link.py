"""One direction of one link: decides what happens to each packet, from the profile and the seed."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

from earwitness.emulator.link_profile import LinkProfile, LossPattern, read_delay_trace
from earwitness.emulator.truth_log import PacketFate

_NS_PER_MS = 1_000_000
_TCP, _UDP = 6, 17


class Link:
    """The state of one ordered pair of hosts: counters, queue, and a random stream for each kind of decision.

    The streams depend only on the seed and the two names, and each draws once per packet, so the same seed and packets
    give the same decisions, and changing one setting does not affect the others.
    """

    def __init__(self, source: int, destination: int, stream: str, profile: LinkProfile) -> None:
        """`stream` identifies the random streams: the lab's seed and the hosts' names."""
        self.source = source
        self.destination = destination
        self._stream = stream
        self._streams: dict[str, random.Random] = {}
        self._in_burst = False
        self._free_at_ns = 0
        self._last_due_ns = 0
        self.change(profile)

    def _random(self, kind: str) -> random.Random:
        """The stream for one kind of decision, created on demand: seeding costs more than most links ever draw."""
        if kind not in self._streams:
            self._streams[kind] = random.Random(f"{self._stream}/{kind}")
        return self._streams[kind]

    def change(self, profile: LinkProfile) -> None:
        """Use another profile from the next packet on; patterns and traces restart, random streams continue."""
        self.profile = profile
        self.constant_delay_ns = -1
        """The delay if nothing else has to be decided; otherwise -1."""
        if profile == LinkProfile(delay_ms=profile.delay_ms):
            self.constant_delay_ns = round(profile.delay_ms * _NS_PER_MS)
        self._delay_ns = profile.delay_ms * _NS_PER_MS
        self._jitter = _jitter(profile, self._random)
        self._strikes = _STRIKES[profile.loss_on]
        self._pattern = LossPattern(profile.loss_pattern)
        self._struck = 0
        self._ns_per_byte = 8_000 / profile.rate_mbit_s if profile.rate_mbit_s else 0.0
        self._queue_ns = profile.queue_ms * _NS_PER_MS
        self._trace = read_delay_trace(Path(profile.trace)) if profile.trace else None
        self._trace_number = 0
        self._trace_started_ns = -1

    def admit(self, now_ns: int, packet: bytes) -> int:
        """When the packet (complete, IPv4) that arrived now departs, ns; or minus its `PacketFate`."""
        profile = self.profile
        if self._strikes(packet):
            number = self._struck
            self._struck = number + 1
            if self._pattern and self._pattern.loses(number):
                return -PacketFate.LOST_DECLARED
            if profile.loss_ratio and self._loses_by_chance():
                return -PacketFate.LOST_RANDOM
        if self._ns_per_byte:
            starts_ns = max(now_ns, self._free_at_ns)
            if starts_ns - now_ns > self._queue_ns:
                return -PacketFate.QUEUE_FULL
            now_ns = self._free_at_ns = starts_ns + round(len(packet) * self._ns_per_byte)
        if self._trace is not None:
            return self._replay(now_ns)
        due_ns = now_ns + round(max(0.0, self._delay_ns + self._jitter()))
        if profile.reorder_ratio and self._random("reorder").random() < profile.reorder_ratio:
            return due_ns + round(profile.reorder_ms * _NS_PER_MS)
        self._last_due_ns = max(self._last_due_ns, due_ns)
        return self._last_due_ns

    def duplicates(self) -> bool:
        """Whether the packet just admitted is delivered twice."""
        ratio = self.profile.duplicate_ratio
        return ratio > 0 and self._random("duplicate").random() < ratio

    def _loses_by_chance(self) -> bool:
        """Independent losses, or a two-state Gilbert chain with the same mean and the configured mean burst."""
        ratio, burst = self.profile.loss_ratio, self.profile.loss_burst
        draw = self._random("loss").random()
        if burst == 1 or ratio == 1:
            return draw < ratio
        stays_or_starts = 1 - 1 / burst if self._in_burst else ratio / (burst * (1 - ratio))
        self._in_burst = draw < stays_or_starts
        return self._in_burst

    def _replay(self, now_ns: int) -> int:
        assert self._trace is not None
        delays, times = self._trace.delays_ms, self._trace.times_ms
        if times:
            if self._trace_started_ns < 0:
                self._trace_started_ns = now_ns
            since_ms = (now_ns - self._trace_started_ns) / _NS_PER_MS
            delay_ms = delays[max(0, bisect_right(times, times[0] + since_ms % _span_ms(times)) - 1)]
        else:
            delay_ms = delays[self._trace_number % len(delays)]
            self._trace_number += 1
        return -PacketFate.LOST_DECLARED if math.isnan(delay_ms) else now_ns + round(delay_ms * _NS_PER_MS)


def _span_ms(times: tuple[float, ...]) -> float:
    """Length of one cycle of a trace by time: the last step lasts as long as the mean of the others."""
    between = times[-1] - times[0]
    return between + between / (len(times) - 1) if between else math.inf


def _jitter(profile: LinkProfile, stream: Callable[[str], random.Random]) -> Callable[[], float]:
    """A function that draws the random part of the delay, ns."""
    scale_ns = profile.jitter_ms * _NS_PER_MS
    if not scale_ns:
        return lambda: 0.0
    source = stream("jitter")
    if profile.jitter_shape == "uniform":
        return lambda: source.uniform(-scale_ns, scale_ns)
    if profile.jitter_shape == "exponential":
        return lambda: source.expovariate(1 / scale_ns)

    def normal() -> float:
        while abs(deviate := source.gauss(0.0, 1.0)) > 3:
            pass
        return deviate * scale_ns

    return normal


def _is_rtp(packet: bytes) -> bool:
    """UDP with RTP version 2, and not RTCP (second byte 192-223, RFC 5761 4); SIP text does not look like version 2."""
    payload = (packet[0] & 15) * 4 + 8
    if packet[9] != _UDP or len(packet) < payload + 12:
        return False
    return packet[payload] >> 6 == 2 and not 192 <= packet[payload + 1] <= 223


_STRIKES: dict[str, Callable[[bytes], bool]] = {
    "all": lambda packet: True,
    "udp": lambda packet: packet[9] == _UDP,
    "tcp": lambda packet: packet[9] == _TCP,
    "rtp": _is_rtp,
}

"""What the first bytes of an Opus packet say. Source: RFC 6716."""

from __future__ import annotations

_LONGEST = 48
"""Longest packet (120 ms) in units of 2.5 ms (RFC 6716 3.2.5)."""
_DURATIONS = (*((4, 8, 16, 24) * 3), *((4, 8) * 2), *((1, 2, 4, 8) * 4))
"""Frame duration of each configuration in units of 2.5 ms (RFC 6716 table 2)."""


def samples_in(packet: bytes, sample_rate: int) -> int:
    """Samples of audio in an Opus packet, by its first two bytes (RFC 6716 3.1, 3.2); 0 if it claims none, or more than
    120 ms."""
    if not packet:
        return 0
    head, frames = packet[0], 1
    if head & 3 == 3:
        frames = packet[1] & 63 if len(packet) > 1 else 0
    elif head & 3:
        frames = 2
    duration = frames * _DURATIONS[head >> 3]
    return duration * sample_rate // 400 if duration <= _LONGEST else 0


def has_fec(packet: bytes) -> bool:
    """Whether a mono packet of one frame carries the frame before it at a lower rate (LBRR, RFC 6716 4.2.4).

    Only SILK and hybrid frames can. The SILK header's voice-activity bits, one per 20 ms, come first and the
    LBRR flag follows; they are coded with probability 1/2, so they stand in the first byte as plain bits.
    """
    if len(packet) < 2 or packet[0] & 0x80 or packet[0] & 0x03:
        return False
    configuration = packet[0] >> 3
    frames_of_20_ms = 1 if configuration >= 12 else max(1, (1, 1, 2, 3)[configuration & 3])
    return bool((packet[1] >> (7 - frames_of_20_ms)) & 1)


def rate_of(packet: bytes) -> int:
    """The sample rate for the bandwidth of a packet (RFC 6716 table 2): 8,000 Hz for narrowband, 16,000 for all above,
    because that is as much as wideband PESQ hears; 0 for an empty packet."""
    if not packet:
        return 0
    configuration = packet[0] >> 3
    return 8000 if configuration < 4 or 16 <= configuration < 20 else 16000

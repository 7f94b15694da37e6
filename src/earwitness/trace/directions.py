"""Which direction of a captured call the capturing phone received, and which it sent."""

from __future__ import annotations

import numpy as np

from earwitness.trace.capture import Capture
from earwitness.trace.delay import relative_delay_ms
from earwitness.trace.rtp_stream import RtpStream

RECEIVED, SENT, UNKNOWN_DIRECTION = "received", "sent", "unknown"
_CLEARLY = 2
_JITTER_MS = 10.0
"""Arrivals that scatter `_CLEARLY` times as much as in the other direction, and more than this, have crossed a network:
a softphone's own clock scatters by a few milliseconds at most."""


def direction(capture: Capture, stream: RtpStream) -> str:
    """`received` or `sent`, seen from where the capture was made; `unknown` if nothing tells.

    A Linux cooked capture says it of every packet. Otherwise a capture at a phone shows its own packets leaving evenly,
    so the direction whose arrivals scatter much more around their RTP timestamps is the one it received. If both are
    even, it is the one towards the end that answers SIP requests sooner, because the other's answers take an additional
    round trip. Without SIP, or with one direction alone, nothing tells.
    """
    back = opposite(capture, stream)
    if back is None:
        return {1: SENT, -1: RECEIVED}.get(stream.way, UNKNOWN_DIRECTION)
    here = captured_at_receiver(capture, stream, back)
    return UNKNOWN_DIRECTION if here is None else RECEIVED if here else SENT


def directions(capture: Capture) -> dict[RtpStream, str]:
    """`direction` of every stream of a capture."""
    found: dict[RtpStream, str] = {}
    for stream in capture.streams:
        if stream in found:
            continue
        found[stream] = direction(capture, stream)
        back = opposite(capture, stream)
        if back is not None and back not in found and opposite(capture, back) is stream:
            found[back] = {RECEIVED: SENT, SENT: RECEIVED}.get(found[stream], UNKNOWN_DIRECTION)
    return found


def opposite(capture: Capture, stream: RtpStream) -> RtpStream | None:
    """The stream of the other direction, the one with the most packets."""
    flow = stream.flow
    for other in capture.streams:
        if (other.flow.source, other.flow.destination) == (flow.destination, flow.source) and (
            other.media == stream.media and len(other.trace)
        ):
            return other
    return None


def captured_at_receiver(capture: Capture, first: RtpStream, back: RtpStream) -> bool | None:
    """Whether the capture was made at the end that receives `first`, whose other direction is `back`; None: unknown."""
    if first.way != back.way:
        return first.way < back.way
    scatter = _scatter_ms(first), _scatter_ms(back)
    if max(scatter) < max(_CLEARLY * min(scatter), _JITTER_MS):
        here, there = (_answers_within_ns(capture, address) for address in (first.flow.destination, first.flow.source))
        if here is not None and there is not None:
            return here < there
        return None
    return scatter[0] >= scatter[1]


def _answers_within_ns(capture: Capture, address: str) -> int | None:
    """The shortest time in which this end answered a SIP request, ns; None if it answered none."""
    asked: dict[str, int] = {}
    least: int | None = None
    for message in capture.sip:
        if message.destination == address and not message.status and message.method != "ACK":
            # A retransmitted request may be answered in response to its first transmission.
            asked.setdefault(message.source, message.time_ns)
        elif message.source == address and message.status and message.destination in asked:
            took = message.time_ns - asked.pop(message.destination)
            least = took if least is None else min(least, took)
    return least


def _scatter_ms(stream: RtpStream) -> float:
    """How far arrivals scatter around the RTP timestamps: the width of the middle 90 % of their differences, ms."""
    late = relative_delay_ms(stream.trace)
    return float(np.ptp(np.percentile(late, [5, 95]))) if len(late) else 0.0

"""Which direction of a captured call the capturing phone received, and which it sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earwitness.trace.capture import Capture
from earwitness.trace.delay import relative_delay_ms
from earwitness.trace.rtp_stream import RtpStream
from earwitness.trace.series import ArrivalSeries, arrivals
from earwitness.trace.talks import talk_of, talks

RECEIVED, SENT, UNKNOWN_DIRECTION = "received", "sent", "unknown"
_CLEARLY = 2
_JITTER_MS = 10.0
"""Arrivals that scatter `_CLEARLY` times as much as in the other direction, and more than this, have crossed a network:
a softphone's packets leave with the ticks of its sound device, which scatter by a few milliseconds at most."""
_WINDOW_NS = 10_000_000_000
"""Scatter is taken within windows of this length, in which a sound device's clock drifts by less than 1 ms."""
_LEAST_IN_WINDOW = 20
_SLOWER_NS = 5_000_000
"""Answers that take this much longer, and twice as long, come from the far end; programs differ by milliseconds."""

KnownArrivals = Mapping[RtpStream, ArrivalSeries]
"""The arrivals of streams for which they are known already."""


@dataclass(frozen=True)
class Seen:
    """`direction`: `received`, `sent` or `unknown`, seen from where the capture was made. `basis`: `capture` if it says
    so of every packet, otherwise what was judged by: `jitter` or `SIP`; empty if unknown."""

    direction: str = UNKNOWN_DIRECTION
    basis: str = ""

    def __str__(self) -> str:
        return self.direction + self.guessed

    @property
    def guessed(self) -> str:
        """What a guess was made by, in brackets; empty if it is none."""
        return {"jitter": " (by its jitter)", "SIP": " (by its answers to SIP)"}.get(self.basis, "")

    @property
    def reverse(self) -> Seen:
        """The same of the other direction."""
        return Seen({RECEIVED: SENT, SENT: RECEIVED}.get(self.direction, UNKNOWN_DIRECTION), self.basis)


def seen(capture: Capture, stream: RtpStream, back: RtpStream | None, series: KnownArrivals | None = None) -> Seen:
    """The direction of a stream whose other direction is `back` (None: not in the capture), and what tells it.

    A Linux cooked capture says it of every packet. Otherwise a capture at a phone shows its own packets leaving
    evenly, so the direction whose arrivals scatter much more around their RTP timestamps is the one it received. If
    both are even, it is the one towards the end that answers SIP requests clearly sooner, because the other's answers
    take an additional round trip. Without SIP, or with one direction alone, nothing tells. In a capture midway, at no
    phone, the last two are wrong: `basis` says that they were guessed.
    """
    way, back_way = stream.way, 0 if back is None else back.way
    if way != back_way:
        return Seen(RECEIVED if way < back_way else SENT, "capture")
    if back is None:
        return Seen()
    scatter = _scatter_ms(stream, series), _scatter_ms(back, series)
    if max(scatter) >= max(_CLEARLY * min(scatter), _JITTER_MS):
        return Seen(RECEIVED if scatter[0] >= scatter[1] else SENT, "jitter")
    here, there = (_answers_within_ns(capture, address) for address in (stream.flow.destination, stream.flow.source))
    if here is None or there is None or abs(there - here) < max(_SLOWER_NS, min(here, there)):
        return Seen()
    return Seen(RECEIVED if here < there else SENT, "SIP")


def directions(
    capture: Capture, streams: Sequence[RtpStream] | None = None, series: KnownArrivals | None = None
) -> dict[RtpStream, Seen]:
    """`seen` for these streams of a capture, by default all; of a talker whose SSRC changes, over the whole talk.

    `series`: the arrivals of streams, where they are known already.
    """
    whole = talk_of(capture.streams)
    every = tuple(dict.fromkeys(whole.values()))
    known: dict[RtpStream, Seen] = {}
    found: dict[RtpStream, Seen] = {}
    for stream in capture.streams if streams is None else streams:
        talk = whole.get(stream, stream)
        if talk not in known:
            back = opposite_among(every, talk)
            known[talk] = seen(capture, talk, back, series)
            if back is not None and opposite_among(every, back) is talk:
                known.setdefault(back, known[talk].reverse)
        found[stream] = known[talk]
    return found


def opposite(capture: Capture, stream: RtpStream) -> RtpStream | None:
    """The talk (`earwitness.trace.talks`) of the other direction; None if there is none."""
    return opposite_among(talks(capture.streams), stream)


def opposite_among(whole: Sequence[RtpStream], stream: RtpStream) -> RtpStream | None:
    """The other direction of a stream among talks: in the same call with its ports reversed, otherwise between the same
    addresses (asymmetric RTP); of several, at the same time and with the most packets."""
    flow = stream.flow
    best: tuple[bool, bool, int] | None = None
    found: RtpStream | None = None
    for other in whole:
        there = other.flow
        if (there.source, there.destination) != (flow.destination, flow.source) or other.media != stream.media:
            continue
        exact = there == flow.reversed
        if not len(other.trace) or (exact and other.call != stream.call):
            continue
        rank = exact, _overlap(stream, other), len(other.trace)
        if best is None or rank > best:
            best, found = rank, other
    return found


def _overlap(one: RtpStream, other: RtpStream) -> bool:
    """Whether two streams were captured at the same time."""
    if not len(one.trace) or not len(other.trace):
        return False
    mine, its = one.trace.arrived_ns, other.trace.arrived_ns
    return bool(mine[0] <= its[-1] and its[0] <= mine[-1])


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


def _scatter_ms(stream: RtpStream, series: KnownArrivals | None) -> float:
    """How far arrivals scatter around the RTP timestamps, ms: the width of the middle 90 % of their differences within
    `_WINDOW_NS`, in the median window. The drift of the sender's clock is then no scatter."""
    here = (series or {}).get(stream) or arrivals(stream.trace)
    late, when = relative_delay_ms(stream.trace, here), here.counted.arrived_ns
    if not len(late):
        return 0.0
    edges = np.searchsorted(when, np.arange(int(when[0]), int(when[-1]) + 1, _WINDOW_NS)[1:])
    windows = [part for part in np.split(late, edges) if len(part) >= _LEAST_IN_WINDOW] or [late]
    return float(np.median([np.ptp(np.percentile(part, [5, 95])) for part in windows]))

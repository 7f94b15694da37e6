"""What the payload types of a stream mean, and at what rate its clock runs: from SDP, RFC 3551, or its timestamps.

Whatever is not known from SDP or RFC 3551 is a guess, and said to be one (`Meaning.doubts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from earwitness.arrays import I64
from earwitness.trace.encoding import MEDIA_ROLES, Encoding
from earwitness.trace.link_layer import Flow
from earwitness.trace.payload_types import CLOCK_RATES, GUESSED, STATIC
from earwitness.trace.sdp import MediaDescription, SipMessage
from earwitness.trace.steps import most_frequent, steps

MOST_DESCRIPTIONS = 256
"""Distinct descriptions considered per capture: a call repeats its SDP, and a flood of SDP must stay cheap."""
_MOST_TIMES = 64
_ANSWER_NS = 1_000_000_000
"""Early media may come before the answer that describes it."""
_LEAST_STEPS = 4
_LEAST_SPAN_NS = 60_000_000
_HOLD_NS = 2_000_000_000
_SURE_NS = 1_000_000_000
_CONTRADICTED_NS = 5_000_000_000
_FIXED_CLOCKS = {"g722": 8000, "opus": 48000}
"""Clocks that RFC 3551 4.5.2 and RFC 7587 4.1 fix, whatever an rtpmap says."""


@dataclass
class Description:
    """One distinct media description of a capture, and when it was sent (ns)."""

    section: MediaDescription
    times: list[int] = field(default_factory=list)

    def in_force(self, time_ns: int) -> int:
        """The last time at or shortly after `time_ns` at which it was sent, else the first, negated: later is worse."""
        before = [time for time in self.times if time <= time_ns + _ANSWER_NS]
        return max(before) if before else -min(self.times)


@dataclass(frozen=True)
class Meaning:
    """What a stream's payload types mean: `main` is that of its speech.

    `codec_from` says how that is known: `option`, `sdp`, `static`, `guessed` or `unknown`. `doubts`: what was guessed.
    """

    main: Encoding
    codec_from: str
    formats: Mapping[int, Encoding]
    doubts: tuple[str, ...]
    section: MediaDescription | None


def descriptions(sip: Iterable[SipMessage]) -> list[Description]:
    """The distinct media descriptions in SIP messages, in order."""
    seen: dict[object, Description] = {}
    for message in sip:
        for section in message.media:
            where = (section.media, section.address, section.port, section.payload_types, section.profile)
            key = (where, section.crypto, tuple(section.encodings.items()))
            if key not in seen:
                if len(seen) == MOST_DESCRIPTIONS:
                    return list(seen.values())
                seen[key] = Description(section)
            if len(seen[key].times) < _MOST_TIMES:
                seen[key].times.append(message.time_ns)
    return list(seen.values())


def meaning(
    main: int,
    present: Iterable[int],
    flow: Flow,
    described: Iterable[Description],
    options: Mapping[int, Encoding],
    clock_rate: int | None,
    timestamp: I64,
    sequence: I64,
    times: I64,
) -> Meaning:
    """What the payload types `present` in a stream mean, `main` among them.

    `options`, `clock_rate`: what the user says. `timestamp`, `sequence`, `times`: of its packets, extended and in ns,
    (n,) each and at least one.
    """
    nearest = sorted(described, key=lambda one: _nearness(one, flow, int(times[0])))
    known, codec_from = _encoding(main, nearest, options)
    span_ns = int(times[-1] - times[0])
    measured: tuple[float, ...] = ()
    if clock_rate is None and not _is_settled(known, codec_from, timestamp, span_ns):
        measured = _measured_rate(timestamp, sequence, times)
    encoding, codec_from, doubts = _with_clock(main, known, codec_from, clock_rate, measured, span_ns)
    formats = {main: encoding}
    for number in present:
        other, _ = _encoding(number, nearest, options)
        if number != main and other is not None:
            formats[number] = _fixed(other)
    section = next((one.section for one in nearest if _is_at(one.section, flow)), None)
    return Meaning(encoding, codec_from, formats, doubts, section)


def meanings(
    numbers: Iterable[int],
    flow: Flow,
    described: Iterable[Description],
    options: Mapping[int, Encoding],
    time_ns: int,
) -> dict[int, Encoding]:
    """What these payload types mean on a flow at a time, as far as known: those inside RED, which no header has."""
    nearest = sorted(described, key=lambda one: _nearness(one, flow, time_ns))
    found = {number: _encoding(number, nearest, options)[0] for number in numbers}
    return {number: _fixed(one) for number, one in found.items() if one is not None}


def _is_settled(encoding: Encoding | None, codec_from: str, timestamp: I64, span_ns: int) -> bool:
    """Whether the clock is known and nothing contradicts it: the stream is short, or keeps to it on the whole."""
    if encoding is None or codec_from == "guessed":
        return False
    ticks = int(timestamp[-1] - timestamp[0])
    return span_ns < _CONTRADICTED_NS or (
        ticks > 0 and _nearest((ticks * 1e9 / span_ns,), (encoding.clock_rate,)) is not None
    )


def speech_numbers(
    present: Iterable[int],
    flow: Flow,
    described: Iterable[Description],
    options: Mapping[int, Encoding],
    time_ns: int,
) -> tuple[int, ...]:
    """Those payload types in a stream that carry speech (or video), as far as known, or have no known meaning; known
    ones first, if there are any."""
    nearest = sorted(described, key=lambda one: _nearness(one, flow, time_ns))
    meanings = {number: _encoding(number, nearest, options)[0] for number in present}
    known = [number for number, one in meanings.items() if one is not None and one.role in MEDIA_ROLES]
    return tuple(known or [number for number, one in meanings.items() if one is None])


def _nearness(described: Description, flow: Flow, time_ns: int) -> tuple[object, ...]:
    """Order of preference. The receiver chooses the numbers (RFC 3264 5.1), so its description comes first."""
    section = described.section
    port, address = section.port != flow.destination_port, section.address != flow.destination
    time = described.in_force(time_ns)
    return (port, address, section.port != flow.source_port, time < 0, -abs(time) if time >= 0 else abs(time))


def _is_at(section: MediaDescription, flow: Flow) -> bool:
    return section.port in (flow.destination_port, flow.source_port)


def _encoding(
    number: int, nearest: Iterable[Description], options: Mapping[int, Encoding]
) -> tuple[Encoding | None, str]:
    """The meaning of a payload type, and how it is known."""
    if number in options:
        return options[number], "option"
    for one in nearest:
        if number in one.section.encodings:
            return _fixed(one.section.encodings[number]), "sdp"
    if number in STATIC:
        return STATIC[number], "static"
    if number in GUESSED:
        return GUESSED[number], "guessed"
    return None, "unknown"


def _fixed(encoding: Encoding) -> Encoding:
    rate = _FIXED_CLOCKS.get(encoding.name.lower())
    return encoding if rate in (None, encoding.clock_rate) else replace(encoding, clock_rate=rate)


def _with_clock(
    main: int,
    encoding: Encoding | None,
    codec_from: str,
    asked: int | None,
    measured: tuple[float, ...],
    span_ns: int,
) -> tuple[Encoding, str, tuple[str, ...]]:
    """The encoding with its clock, how it is known, and what is doubtful."""
    if asked is not None:
        return replace(encoding or Encoding("", asked), clock_rate=asked), codec_from, ()
    agrees = encoding is not None and _nearest(measured, (encoding.clock_rate,)) is not None
    if encoding is not None and codec_from != "guessed":
        if agrees or not measured or span_ns < _CONTRADICTED_NS:
            return encoding, codec_from, ()
        doubt = (
            f"payload type {main} is {encoding.name}/{encoding.clock_rate}, but its timestamps advance at about"
            f" {measured[0]:.0f} Hz: times derived from them are doubtful"
        )
        return encoding, codec_from, (doubt,)
    if encoding is not None and (agrees or not measured):
        how = "its timestamps agree" if agrees else "unconfirmed: stream too short to measure"
        guess = f"payload type {main} guessed to be {encoding.name}/{encoding.clock_rate} ({how})"
        return encoding, codec_from, (guess,)
    rate = _nearest(measured, CLOCK_RATES)
    if rate is None:
        return Encoding("", 8000), "unknown", (f"payload type {main} unknown; RTP clock guessed to be 8000 Hz",)
    few = "" if span_ns >= _SURE_NS else f" over {span_ns / 1e9:.1f} s"
    clock = f"RTP clock {rate} Hz measured from its timestamps{few}"
    if rate == 48000:
        return Encoding("opus", 48000, 2), "guessed", (f"payload type {main} guessed to be opus/48000: {clock}",)
    return Encoding("", rate), "unknown", (f"payload type {main} unknown; {clock}",)


def _nearest(measured: tuple[float, ...], rates: tuple[int, ...]) -> int | None:
    """The rate that a measured clock matches; None if none does. Delay distorts a short call, but rates are factors
    apart."""
    near = [(abs(math.log(one / rate)), rate) for one in measured for rate in rates]
    distance, rate = min(near, default=(math.inf, 0))
    return rate if distance < 0.25 else None


def _measured_rate(timestamp: I64, sequence: I64, times: I64) -> tuple[float, ...]:
    """The timestamps' advance over the arrival times, Hz; empty if the stream is too short to measure.

    Over the whole stream; over consecutive packets with the most frequent step, so that pauses, losses and jumps do not
    count; and, if some of them lie seconds apart, as on hold, without those.
    """
    step = steps(timestamp)
    regular = (steps(sequence) == 1) & (step > 0)
    usual = most_frequent(step[regular])
    if usual is None or np.count_nonzero(regular) < _LEAST_STEPS:
        return ()
    chosen = steps(times)[regular & (step == usual)]
    found = []
    whole = int(times[-1] - times[0])
    if whole >= _SURE_NS and timestamp[-1] > timestamp[0]:
        # With packet times that change, a step and the time after it belong to different packets.
        found.append(int(timestamp[-1] - timestamp[0]) * 1e9 / whole)
    for some in (chosen, chosen[chosen < _HOLD_NS]):
        elapsed = int(some.sum())
        if len(some) >= _LEAST_STEPS and elapsed >= _LEAST_SPAN_NS:
            found.append(usual * len(some) * 1e9 / elapsed)
    return tuple(dict.fromkeys(found))

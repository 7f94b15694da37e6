"""What the payload types of a stream mean, and at what rate its clock runs: from SDP, RFC 3551, or its timestamps.

Whatever is not known from RFC 3551 or from SDP for the stream's own ends is a guess, and said to be one
(`Meaning.doubts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import I64
from earwitness.trace.descriptions import Near
from earwitness.trace.encoding import MEDIA_ROLES, Encoding
from earwitness.trace.payload_types import CLOCK_RATES, GUESSED, STATIC
from earwitness.trace.sdp import MediaDescription
from earwitness.trace.steps import most_frequent, steps

_LEAST_STEPS = 4
_LEAST_SPAN_NS = 60_000_000
_HOLD_NS = 2_000_000_000
_SURE_NS = 1_000_000_000
_CONTRADICTED_NS = 5_000_000_000
"""From here on any other clock contradicts; from `_SURE_NS` on, one of those in use that is steadily measured."""
_UNSURE = ("unknown", "guessed")
_FIXED_CLOCKS = {"g722": 8000, "opus": 48000}
"""Clocks that RFC 3551 4.5.2 and RFC 7587 4.1 fix, whatever an rtpmap says."""


@dataclass(frozen=True)
class Meaning:
    """What a stream's payload types mean: `main` is that of its speech.

    `codec_from` says how that is known: `option`, `sdp`, `static`, `guessed` or `unknown`. `doubts`: what was guessed.
    `section`: the description of the stream's ports that has its main payload type, else the likeliest of its ends'.
    `main_number`: the payload type of `main`; `unsure`: those whose meaning is unknown or guessed.
    """

    main: Encoding
    codec_from: str
    formats: Mapping[int, Encoding]
    doubts: tuple[str, ...]
    section: MediaDescription | None
    main_number: int
    unsure: frozenset[int]


@dataclass(frozen=True)
class _Known:
    """What a payload type may mean, the likeliest first, and how that is known.

    `assumed`: what was assumed about it, with `{}` for the meaning taken; empty if it is known.
    """

    choices: tuple[Encoding, ...]
    codec_from: str
    assumed: str = ""

    @property
    def first(self) -> Encoding | None:
        return self.choices[0] if self.choices else None

    def doubt(self, number: int, chosen: Encoding, how: str) -> str:
        said = self.assumed.format(f"{chosen.name}/{chosen.clock_rate}")
        return f"payload type {number} {said} ({how})"


def meaning(
    main: int,
    present: Iterable[int],
    near: Near,
    options: Mapping[int, Encoding],
    clock_rate: int | None,
    timestamp: I64,
    sequence: I64,
    times: I64,
) -> Meaning:
    """What the payload types `present` in a stream mean, `main` among them.

    `near`: the descriptions near its flow when it began. `options`, `clock_rate`: what the user says. `timestamp`,
    `sequence`, `times`: of its packets, extended and in ns, (n,) each and at least one.
    """
    known = _known(main, near, options)
    measured: tuple[float, ...] = ()
    span_ns = int(times[-1] - times[0])
    contradicted = False
    if clock_rate is None and not _is_settled(known, timestamp, span_ns):
        measured = _measured_rate(timestamp, sequence, times)
        contradicted = known.first is not None and _nearest(measured, (known.first.clock_rate,)) is None
        if contradicted and span_ns < _CONTRADICTED_NS:
            contradicted = span_ns >= _SURE_NS and _is_steady(measured, timestamp, sequence, times)
    encoding, codec_from, doubts = _with_clock(main, known, clock_rate, measured, contradicted, span_ns)
    others = [number for number in present if number != main]
    beside, more = meanings(others, near, options)
    formats = {main: encoding, **beside}
    unsure = {number for number in others if _known(number, near, options).codec_from in _UNSURE}
    unsure |= {main} if codec_from in _UNSURE else set()
    return Meaning(
        encoding, codec_from, formats, (*doubts, *more), _section(main, near, codec_from), main, frozenset(unsure)
    )


def _section(main: int, near: Near, codec_from: str) -> MediaDescription | None:
    """The description that a stream belongs to: with BUNDLE (RFC 8843), several have its port."""
    assumed = near.by_port if codec_from == "sdp" else ()
    for one in (*near.sure, *assumed):
        if main in one.section.payload_types:
            return one.section
    kinds = {one.section.media for one in near.sure}
    return near.sure[0].section if len(kinds) == 1 else None


def meanings(
    numbers: Iterable[int], near: Near, options: Mapping[int, Encoding]
) -> tuple[dict[int, Encoding], tuple[str, ...]]:
    """What these payload types mean near a flow, as far as known, and what was guessed: those beside a stream's main
    one, and those inside RED, which no header has."""
    found: dict[int, Encoding] = {}
    doubts = []
    for number in numbers:
        known = _known(number, near, options)
        if known.first is not None:
            found[number] = known.first
            if known.assumed:
                doubts.append(known.doubt(number, known.first, "unconfirmed"))
    return found, tuple(doubts)


def speech_numbers(present: Iterable[int], near: Near, options: Mapping[int, Encoding]) -> tuple[int, ...]:
    """Those payload types in a stream that carry speech (or video), as far as known, or have no known meaning; known
    ones first, if there are any."""
    meanings = {number: _known(number, near, options).first for number in present}
    known = [number for number, one in meanings.items() if one is not None and one.role in MEDIA_ROLES]
    return tuple(known or [number for number, one in meanings.items() if one is None])


def _is_settled(known: _Known, timestamp: I64, span_ns: int) -> bool:
    """Whether the clock is known and nothing contradicts it: the stream is short, or keeps to it on the whole."""
    if known.first is None or known.assumed:
        return False
    ticks = int(timestamp[-1] - timestamp[0])
    return span_ns < _SURE_NS or (
        ticks > 0 and _nearest((ticks * 1e9 / span_ns,), (known.first.clock_rate,)) is not None
    )


def _known(number: int, near: Near, options: Mapping[int, Encoding]) -> _Known:
    """The meaning of a payload type, and how it is known."""
    if number in options:
        return _Known((options[number],), "option")
    for one in near.sure:
        if number in one.section.encodings:
            return _Known((_fixed(one.section.encodings[number]),), "sdp")
    if number in STATIC:
        return _Known((STATIC[number],), "static")
    at_port = [one.section for one in near.by_port if number in one.section.encodings]
    if at_port:
        choices = tuple(dict.fromkeys(_fixed(one.encodings[number]) for one in at_port))
        address, port = next(one for one in at_port[0].places if one[1] in near.ports)
        other = f"{address}:{port}".replace("{", "").replace("}", "")
        assumed = f"taken to be {{}}, as SDP for {other} says: the port is this stream's, the address is not"
        return _Known(choices, "sdp", assumed)
    others = tuple(dict.fromkeys(map(_fixed, near.others(number))))
    if others:
        among = ", among other meanings" if len(others) > 1 else ""
        return _Known(others, "guessed", f"guessed to be {{}}, as SDP for other ports says{among}")
    if number in GUESSED:
        return _Known((GUESSED[number],), "guessed", "guessed to be {}")
    return _Known((), "unknown")


def _fixed(encoding: Encoding) -> Encoding:
    rate = _FIXED_CLOCKS.get(encoding.name.lower())
    return encoding if rate in (None, encoding.clock_rate) else replace(encoding, clock_rate=rate)


def _with_clock(
    main: int, known: _Known, asked: int | None, measured: tuple[float, ...], contradicted: bool, span_ns: int
) -> tuple[Encoding, str, tuple[str, ...]]:
    """The encoding with its clock, how it is known, and what is doubtful."""
    encoding = known.first
    if asked is not None:
        guess = (known.doubt(main, encoding, "its clock is set by option"),) if encoding and known.assumed else ()
        return replace(encoding or Encoding("", asked), clock_rate=asked), known.codec_from, guess
    if encoding is not None and not known.assumed:
        if not contradicted or not measured:
            return encoding, known.codec_from, ()
        doubt = (
            f"payload type {main} is {encoding.name}/{encoding.clock_rate}, but its timestamps advance at about"
            f" {measured[0]:.0f} Hz: times derived from them are doubtful"
        )
        return encoding, known.codec_from, (doubt,)
    fitting = [one for one in known.choices if not measured or _nearest(measured, (one.clock_rate,)) is not None]
    if fitting:
        how = "its timestamps agree" if measured else "unconfirmed: stream too short to measure"
        return fitting[0], known.codec_from, (known.doubt(main, fitting[0], how),)
    rate = _nearest(measured, CLOCK_RATES)
    if rate is None:
        return Encoding("", 8000), "unknown", (f"payload type {main} unknown; RTP clock guessed to be 8000 Hz",)
    few = "" if span_ns >= _SURE_NS else f" over {span_ns / 1e9:.1f} s"
    clock = f"RTP clock {rate} Hz measured from its timestamps{few}"
    if rate == 48000:
        return Encoding("opus", 48000, 2), "guessed", (f"payload type {main} guessed to be opus/48000: {clock}",)
    return Encoding("", rate), "unknown", (f"payload type {main} unknown; {clock}",)


def _is_steady(measured: tuple[float, ...], timestamp: I64, sequence: I64, times: I64) -> bool:
    """Whether a stream's measured clocks are one and the same of those in use, in each half of it, too.

    Within seconds, a queue that fills or drains distorts the clock, but neither by a whole factor nor throughout.
    """
    half = len(times) // 2
    for part in (slice(half), slice(half, None)):
        measured += _measured_rate(timestamp[part], sequence[part], times[part])
    rates = {_nearest((one,), CLOCK_RATES) for one in measured}
    return len(rates) == 1 and None not in rates


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

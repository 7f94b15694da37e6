"""`LinkProfile`: what one direction of a wide-area link does to packets."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.errors import InputError, naming_field
from earwitness.files import MIB, read_text

JITTER_SHAPES = ("normal", "uniform", "exponential")
LOSS_TARGETS = ("all", "udp", "tcp", "rtp")

_REMEDY = "see `earwitness.emulator.link_profile.LinkProfile` for the fields and their ranges"


@dataclass(frozen=True)
class LinkProfile:
    """One direction between two hosts. Packets keep their order except with `reorder_ratio` or a trace.

    A packet may first be lost; it is then serialised at `rate_mbit_s` behind those queued before it, then delayed.

    Raises:
        InputError: a value is out of range, or a trace file cannot be read.
    """

    delay_ms: float = 0.0
    """One-way propagation delay."""
    jitter_ms: float = 0.0
    """Random delay by `jitter_shape`: standard deviation (normal, cut at +-3), half width (uniform; both around
    `delay_ms`), or mean of the addition (exponential). The total delay is never negative."""
    jitter_shape: str = "normal"
    loss_ratio: float = 0.0
    """Share of packets lost at random."""
    loss_burst: float = 1.0
    """Mean length of a run of random losses, in packets (Gilbert model); 1: independent losses."""
    loss_pattern: str = ""
    """Deterministic losses among the packets selected by `loss_on`, counted from 0: `3/100` (3 of each 100, evenly
    spread), `at:0,7,12` (these, once), or a cycle, for example `....x` (x is lost)."""
    loss_on: str = "all"
    """Which packets can be lost: all, udp, tcp, or rtp (RFC 3550 media over UDP; not RTCP, not SIP)."""
    duplicate_ratio: float = 0.0
    """Share of packets delivered twice, at the same time."""
    reorder_ratio: float = 0.0
    """Share of packets delayed by `reorder_ms` while those behind them pass."""
    reorder_ms: float = 30.0
    rate_mbit_s: float = 0.0
    """Bit rate of the link (IP packets, 10^6 bit/s); 0: no limit."""
    queue_ms: float = 200.0
    """Drop-tail queue of a rate-limited link: a packet that would wait longer is dropped."""
    trace: str = ""
    """File of recorded delays, replayed in a cycle instead of `delay_ms` and jitter, without keeping order. Either one
    packet per line (its delay in ms, or `x` for lost), or two columns, time and delay in ms: a step function of
    time."""

    def __post_init__(self) -> None:
        for name in ("delay_ms", "jitter_ms", "reorder_ms", "rate_mbit_s", "queue_ms"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "is not a finite number >= 0")
        for name in ("loss_ratio", "duplicate_ratio", "reorder_ratio"):
            self._require(name, 0 <= getattr(self, name) <= 1, "is not between 0 and 1")
        self._require("loss_burst", 1 <= self.loss_burst < math.inf, "is not a finite number >= 1")
        self._require("jitter_shape", self.jitter_shape in JITTER_SHAPES, f"is not one of {', '.join(JITTER_SHAPES)}")
        self._require("loss_on", self.loss_on in LOSS_TARGETS, f"is not one of {', '.join(LOSS_TARGETS)}")
        with naming_field("loss_pattern"):
            LossPattern(self.loss_pattern)
        if self.trace:
            with naming_field("trace"):
                read_delay_trace(Path(self.trace))

    def _require(self, name: str, holds: bool, complaint: str) -> None:
        if not holds:
            happened = f"{getattr(self, name)!r} {complaint}"
            raise InputError("using link setting", name, happened, _REMEDY, field=name)

    def with_spec(self, spec: str) -> LinkProfile:
        """This profile changed by a compact text, for example `jitter=5,loss=0.01,pattern=3/100`.

        Names are the fields', with or without the unit or `_ratio`/`loss_` part: delay, jitter, jitter_shape, loss,
        loss_burst, pattern, loss_on, duplicate, reorder, reorder_ms, rate, queue, trace. Lists inside a value
        (`at:1;2;3`) are separated by semicolons, as commas separate settings.

        Raises:
            InputError: an unknown name, or a value that is not a number or out of range.
        """
        changes: dict[str, Any] = {}
        for item in filter(None, (part.strip() for part in spec.split(","))):
            short, equals, text = item.partition("=")
            field = _SHORT_NAMES.get(short.strip(), short.strip())
            if not equals or field not in _FIELD_TYPES:
                known = ", ".join(_SHORT_NAMES)
                raise InputError("reading link setting", repr(item), "unknown", f"write name=value; names are {known}")
            try:
                changes[field] = text.replace(";", ",") if _FIELD_TYPES[field] == "str" else float(text)
            except ValueError as error:
                raise InputError("reading link setting", repr(item), "not a number", _REMEDY, field=field) from error
        return dataclasses.replace(self, **changes)


_SHORT_NAMES = {
    "delay": "delay_ms",
    "jitter": "jitter_ms",
    "shape": "jitter_shape",
    "loss": "loss_ratio",
    "burst": "loss_burst",
    "pattern": "loss_pattern",
    "on": "loss_on",
    "duplicate": "duplicate_ratio",
    "reorder": "reorder_ratio",
    "rate": "rate_mbit_s",
    "queue": "queue_ms",
}
_FIELD_TYPES = {field.name: str(field.type) for field in dataclasses.fields(LinkProfile)}


class LossPattern:
    """Deterministic losses: which packets, numbered from 0, are lost. The text is `LinkProfile.loss_pattern`."""

    def __init__(self, text: str) -> None:
        self._lost_once: frozenset[int] = frozenset()
        self._cycle: tuple[bool, ...] = ()
        try:
            if text.startswith("at:"):
                self._lost_once = frozenset(int(number) for number in text[3:].split(","))
            elif "/" in text:
                lost, of = (int(number) for number in text.split("/"))
                if not 0 <= lost <= of or of < 1:
                    raise ValueError
                self._cycle = tuple((number + 1) * lost // of > number * lost // of for number in range(of))
            elif set(text) <= set(".x"):
                self._cycle = tuple(letter == "x" for letter in text)
            else:
                raise ValueError
        except ValueError as error:
            raise InputError("reading loss pattern", repr(text), "not one of its three forms", _REMEDY) from error

    def __bool__(self) -> bool:
        return bool(self._cycle or self._lost_once)

    def loses(self, number: int) -> bool:
        """Whether packet `number` (from 0) is lost."""
        return self._cycle[number % len(self._cycle)] if self._cycle else number in self._lost_once


@dataclass(frozen=True)
class DelayTrace:
    """Recorded delays: by packet (`times_ms` empty) or as a step function of time. NaN means lost."""

    delays_ms: tuple[float, ...]
    times_ms: tuple[float, ...] = ()


MOST_TRACE_BYTES = 8 * MIB
"""Limit of a file of recorded delays: a million packets, 5 hours of a call."""


def read_delay_trace(path: Path) -> DelayTrace:
    """Read a file of recorded delays (see `LinkProfile.trace`); blank lines and `#` comments are skipped.

    Raises:
        InputError: the file is unreadable, empty or mixed, has a negative delay, or times that go backwards.
    """
    tried = "reading delay trace"
    remedy = "give one delay in ms (or x) per line, or two columns: time and delay in ms"
    delays: list[float] = []
    times: list[float] = []
    widths: set[int] = set()
    try:
        for line in read_text(path, MOST_TRACE_BYTES).splitlines():
            row = [_delay(word) for word in line.split("#")[0].replace(",", " ").split()]
            if row:
                widths.add(len(row))
                delays.append(row[-1])
                times.append(row[0])
    except (OSError, ValueError) as error:
        raise InputError(tried, path, getattr(error, "strerror", None) or error, remedy) from error
    if widths not in ({1}, {2}):
        raise InputError(tried, path, "empty, or not one or two columns throughout", remedy)
    if widths == {1}:
        times = []
    backwards = any(later <= earlier for earlier, later in itertools.pairwise(times))
    if any(delay < 0 or math.isinf(delay) for delay in delays) or backwards or any(map(math.isnan, times)):
        raise InputError(tried, path, "a delay is negative, or times do not go forward", remedy)
    return DelayTrace(tuple(delays), tuple(times))


def _delay(word: str) -> float:
    try:
        return math.nan if word == "x" else float(word)
    except ValueError:
        raise ValueError(f"{word[:40]!r} is not a number") from None

"""`Trace`: what was sent and when each packet arrived. Every part of Earwitness shares this value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I32, I64, U8, Bool
from earwitness.errors import InputError
from earwitness.trace.bounds import MOST_CLOCK_RATE, MOST_PAYLOAD, MOST_SEQUENCE, MOST_TIME_NS, MOST_TIMESTAMP
from earwitness.trace.encoding import Encoding

UNKNOWN: int = int(np.iinfo(np.int64).min)
"""A time that was not observed (`sent_ns` of a capture at the receiver alone)."""

LOST: int = UNKNOWN
"""`arrived_ns` of a packet that never arrived."""


@dataclass(frozen=True, eq=False)
class Payloads:
    """The RTP payload bytes of a trace's packets, back to back.

    `data` (total,) uint8; packet i is `data[start[i] : start[i] + captured[i]]`. `captured[i]` is less than
    the trace's `size[i]` if the snap length cut the packet, and 0 if no payload was kept. `cut_by`: what did, if it was
    no snap length.
    """

    data: U8
    start: I64
    captured: I32
    cut_by: str = ""

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, index: int) -> bytes:
        begin = int(self.start[index])
        return self.data[begin : begin + int(self.captured[index])].tobytes()

    def take(self, rows: I64) -> Payloads:
        """The payloads of these rows, sharing `data`."""
        return replace(self, start=self.start[rows], captured=self.captured[rows])

    @staticmethod
    def of(payloads: Sequence[bytes]) -> Payloads:
        """Pack a sequence of payloads, one per packet."""
        captured = np.array([len(payload) for payload in payloads], dtype=np.int32)
        start = np.zeros(len(payloads), dtype=np.int64)
        if len(payloads):
            start[1:] = np.cumsum(captured[:-1], dtype=np.int64)
        return Payloads(np.frombuffer(b"".join(payloads), dtype=np.uint8), start, captured)


@dataclass(frozen=True, eq=False)
class Trace:
    """One RTP stream in one direction, one row per packet; immutable.

    Rows are in order of arrival as captured; packets that never arrived (`arrived_ns == LOST`) come last, in
    sequence order. All arrays have shape (n,).

    - `sequence`: RTP sequence number, extended over wraps (RFC 3550 A.1).
    - `timestamp`: RTP timestamp in units of `clock_rate`, extended over wraps.
    - `payload_type`, `marker`: as in the RTP header (RFC 3550 5.1).
    - `size`: RTP payload bytes on the wire, regardless of the snap length.
    - `sent_ns`, `arrived_ns`: integer nanoseconds on `sent_clock` and `arrived_clock`; `UNKNOWN` / `LOST`.
      Two times can be subtracted only if their clocks have the same name.
    - `payloads`: payload bytes, if known.
    - `formats`: what its payload types mean, as far as that is known.
    - `source`: where the trace came from; `notes`: remarks for the reader (truncated file, stray SSRC ...).

    Raises `InputError` if a number is outside `bounds` or a payload extends beyond its buffer.
    """

    sequence: I64
    timestamp: I64
    payload_type: U8
    marker: Bool
    size: I32
    sent_ns: I64
    arrived_ns: I64
    clock_rate: int
    ssrc: int = 0
    sent_clock: str = "unknown"
    arrived_clock: str = "capture"
    payloads: Payloads | None = None
    source: str = ""
    notes: tuple[str, ...] = field(default=())
    formats: Mapping[int, Encoding] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.sequence)
        columns = (self.timestamp, self.payload_type, self.marker, self.size, self.sent_ns, self.arrived_ns)
        if any(len(column) != n for column in columns) or (self.payloads is not None and len(self.payloads) != n):
            raise ValueError(f"columns of a trace differ in length: {n}, {[len(c) for c in columns]}")
        if self.clock_rate <= 0:
            raise ValueError(f"RTP clock rate must be positive, not {self.clock_rate}")
        if wrong := _misfit(self):
            raise InputError(
                "using the packets of", self.source or "the trace", wrong, "make the trace again from its capture"
            )

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def arrived(self) -> Bool:
        """Which packets arrived, (n,) bool."""
        return np.not_equal(self.arrived_ns, LOST)

    @property
    def received(self) -> Trace:
        """The packets that arrived: the trace itself if all did."""
        arrived = self.arrived
        return self if bool(arrived.all()) else self.take(arrived)

    @property
    def sending_times_known(self) -> bool:
        """Whether packets arrived, and the sending times of all that did are known."""
        # Nearly always all are known, or none.
        if not len(self) or (self.sent_ns[0] == UNKNOWN and self.arrived_ns[0] != LOST):
            return False
        here = self.received
        return len(here) > 0 and not bool((here.sent_ns == UNKNOWN).any())

    @property
    def one_clock(self) -> bool:
        """Whether sent and arrival times come from the same clock, so that they can be subtracted."""
        return self.sent_clock == self.arrived_clock

    def take(self, rows: NDArray[Any]) -> Trace:
        """The rows selected by an index or boolean array (n,), in that order."""
        index = np.arange(len(self), dtype=np.int64)[rows]
        # A subset of a validated trace is valid too.
        taken = object.__new__(Trace)
        taken.__dict__.update(
            self.__dict__,
            sequence=self.sequence[index],
            timestamp=self.timestamp[index],
            payload_type=self.payload_type[index],
            marker=self.marker[index],
            size=self.size[index],
            sent_ns=self.sent_ns[index],
            arrived_ns=self.arrived_ns[index],
            payloads=None if self.payloads is None else self.payloads.take(index),
        )
        return taken

    def with_arrivals(self, arrived_ns: I64, clock: str | None = None, note: str | None = None) -> Trace:
        """The same packets with different arrival times (a what-if), sorted by arrival.

        `arrived_ns` (n,) int64, `LOST` where a packet does not arrive.
        """
        changed = replace(
            self,
            arrived_ns=np.asarray(arrived_ns, dtype=np.int64),
            arrived_clock=clock or self.arrived_clock,
            notes=self.notes if note is None else (*self.notes, note),
        )
        lost = changed.arrived_ns == LOST
        order = np.lexsort((np.where(lost, changed.sequence, 0), changed.arrived_ns, lost))
        return changed.take(order)


def _misfit(trace: Trace) -> str:
    """What in a trace is out of bounds, as a clause; empty if everything fits."""
    if trace.clock_rate > MOST_CLOCK_RATE:
        return f"its RTP clock is {trace.clock_rate} Hz, more than {MOST_CLOCK_RATE}"
    bounds = (
        ("sequence number", trace.sequence, -MOST_SEQUENCE, MOST_SEQUENCE),
        ("timestamp", trace.timestamp, -MOST_TIMESTAMP, MOST_TIMESTAMP),
        ("payload size", trace.size, 0, MOST_PAYLOAD),
    )
    for name, values, least, most in bounds:
        if _highest(values if least == 0 else np.abs(values)) > most:
            row = int(np.argmax((values < least) | (values > most)))
            return f"packet {row} has a {name} of {int(values[row])}, outside {least} to {most}"
    for name, values in (("sending", trace.sent_ns), ("arrival", trace.arrived_ns)):
        # UNKNOWN, the smallest int64, has no absolute value and stays negative.
        away = np.abs(values)
        if len(away) and int(np.maximum.reduce(away)) > MOST_TIME_NS:
            row = int(np.argmax(away > MOST_TIME_NS))
            return f"packet {row} has a time of {name} of {int(values[row])} ns, beyond the year 2106"
    return "" if trace.payloads is None else _misfit_payloads(trace.payloads, trace.size)


def _highest(values: NDArray[Any]) -> int:
    """The largest of (n,) integers, reading them as unsigned, so that a negative one is larger than any other."""
    return int(np.maximum.reduce(values.view(f"u{values.itemsize}"))) if len(values) else 0


def _misfit_payloads(payloads: Payloads, size: NDArray[Any]) -> str:
    start, captured, held = payloads.start, payloads.captured, len(payloads.data)
    if not len(start):
        return ""
    if _highest(start) > held or _highest(captured) > MOST_PAYLOAD or _highest(start + captured) > held:
        return f"its payloads extend beyond the {held} bytes available"
    longer = captured > size
    if bool(np.any(longer)):
        row = int(np.argmax(longer))
        return f"packet {row} has {int(captured[row])} captured bytes of a {int(size[row])}-byte payload"
    return ""

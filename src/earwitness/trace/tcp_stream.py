"""One direction of a TCP connection that carries datagrams or SIP: segments in order, and the units cut out of them.

A unit's time is that of the segment which completed it, as the receiver would have got it. The capture may lack
segments, or their ends: sequence numbers tell how much, and reading goes on where a unit surely begins: SIP's messages
at the beginning of a segment, frames of RTP anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from earwitness.trace.framings import MEASURES, MOST_UNIT, Framing, Unit, looks_right
from earwitness.trace.rebuilt import AS_CAPTURED, WITH_A_HOLE, Packet
from earwitness.trace.tcp_search import RTP_FRAMINGS, Sources, find_frame, fits_rtcp

_MOST_WAITING = 64
"""Segments held for a missing one; then it is taken to be missing from the capture."""
_MOST_AHEAD = 2**20
"""Bytes that a segment can be ahead; further away, the numbering has begun anew."""
_MOST_UNCONFIRMED = 64
_MOST_SOURCES = 64
_NEAR = 16
_ENOUGH = 2
"""Steps of a sequence number, or RTCP packets, that make a stream of frames believed."""
_SEARCHED_AT_ONCE = 2**13
"""New bytes that are waited for before a search, and bytes that stay after one in vain, since frames may begin in them:
five of an Ethernet's length. So each byte is searched a few times at most."""
_MOST_RESUMED = 16
"""Frames gone on at in the bytes between two holes; after so many, the rest is left out."""
_MOST_IN_VAIN = 2**15
"""Bytes searched in vain after which a stream that is not yet believed is none."""


@dataclass(frozen=True)
class Segment:
    """A segment's captured payload, how many more bytes it had on the wire, and when and where it was captured."""

    data: bytes
    missing: int
    time_ns: int
    record: int


def ahead(sequence: int, of: int) -> int:
    """How far a 32-bit sequence number is ahead of another."""
    return (sequence - of + 0x80000000) % 0x100000000 - 0x80000000


@dataclass
class TcpStream:
    """One direction of a connection. Mutable; `take` appends to `found` what it completes.

    `kind` is NONE at first if the capture lacks the stream's beginning: then it is found out by a search for frames.
    `alive`: whether its bytes still have the form of its framing. `holes`: places where the capture lacks bytes.
    `began_late`: bytes were left out before its first frame.
    """

    kind: Framing
    expected: int
    found: list[Packet] = field(default_factory=list)
    alive: bool = True
    holes: int = 0
    began_late: bool = False
    _buffer: bytearray = field(default_factory=bytearray)
    _waiting: list[tuple[int, Segment]] = field(default_factory=list)
    _needed: int = 0
    """Bytes that the buffer must hold before its first unit is complete."""
    _skip: int = 0
    _in_step: bool = True
    _confirmed: bool = False
    _unconfirmed: list[Packet] = field(default_factory=list)
    _sources: Sources = field(default_factory=Sources)
    _sought: list[tuple[bytes, Segment]] = field(default_factory=list)
    """Bytes among which a frame is looked for, and the segments that they came in."""
    _sought_bytes: int = 0
    _sought_new: int = 0
    _in_vain: int = 0
    _score: int = 0
    _latest: Segment | None = None

    def __post_init__(self) -> None:
        self._confirmed, self._in_step = self.kind == Framing.SIP, self.kind != Framing.NONE
        # Of no framing nothing is in step, so nothing is measured.
        self._measure = MEASURES.get(self.kind, MEASURES[Framing.FRAMED])

    @property
    def held(self) -> int:
        """Bytes that wait here."""
        packets = sum(len(packet.data) for packet in self._unconfirmed)
        sought = self._sought_bytes + 100 * len(self._sought)
        return len(self._buffer) + sought + packets + sum(len(segment.data) + 100 for _, segment in self._waiting)

    def restart(self, sequence: int) -> None:
        """A new connection between the same ports."""
        self.end()
        self.expected, self._in_step, self._skip = sequence, self.kind != Framing.NONE, 0

    def take(self, sequence: int, segment: Segment) -> None:
        """Add one segment."""
        distance = ahead(sequence, self.expected)
        if abs(distance) > _MOST_AHEAD:
            self._flush()
            self._hole(_MOST_AHEAD, segment, WITH_A_HOLE)
            self.expected, distance = sequence, 0
        if distance > 0:
            self._waiting.append((sequence, segment))
            if len(self._waiting) > _MOST_WAITING:
                self._flush()
            return
        self._in_order(distance, segment)
        if self._waiting:
            self._deliver_waiting(segment)

    def end(self) -> None:
        """Nothing follows, or memory is short: read what waits as far as it goes."""
        self._flush()
        self._search(whole=True)
        self._trim(0)
        if self._buffer and self.kind == Framing.SIP and self._in_step and self._latest is not None:
            self._cut_off(self._latest)
        self._forget()
        self._unconfirmed.clear()
        self._in_step = False

    def _in_order(self, distance: int, segment: Segment) -> None:
        """Deliver a segment that begins `-distance` bytes before what is expected."""
        fresh, missing = segment.data[-distance:], segment.missing
        if -distance > len(segment.data):
            missing = max(0, missing - (-distance - len(segment.data)))
        if fresh or missing:
            self.expected = (self.expected + len(fresh) + missing) % 0x100000000
            self._feed(fresh, missing, segment)

    def _deliver_waiting(self, now: Segment) -> None:
        """Deliver what was held for the bytes that came `now`."""
        while True:
            due = [i for i, (sequence, _) in enumerate(self._waiting) if ahead(sequence, self.expected) <= 0]
            if not due:
                return
            sequence, segment = self._waiting.pop(due[0])
            late = Segment(segment.data, segment.missing, now.time_ns, now.record)
            self._in_order(ahead(sequence, self.expected), late)

    def _flush(self) -> None:
        """Deliver what is held, although bytes before it are missing from the capture."""
        self._waiting.sort(key=lambda each: ahead(each[0], self.expected))
        waiting, self._waiting = self._waiting, []
        for sequence, segment in waiting:
            distance = ahead(sequence, self.expected)
            if distance > 0:
                self._hole(distance, segment, WITH_A_HOLE)
                self.expected, distance = sequence, 0
            self._in_order(distance, segment)

    def _feed(self, data: bytes, missing: int, segment: Segment) -> None:
        self._latest = segment
        if self._skip:
            over = min(self._skip, len(data))
            data, self._skip = data[over:], self._skip - over
            over = min(self._skip, missing)
            missing, self._skip = missing - over, self._skip - over
        self._add(data, segment)
        if missing:
            self._hole(missing, segment)

    def _add(self, data: bytes, segment: Segment) -> None:
        if not self._in_step and data and self._begins(data):
            # What was sought in before has what frames it has before this segment.
            self._search(whole=True)
            self._trim(0)
            self._in_step = True
        if self._in_step:
            self._buffer += data
            self._cut(segment)
        elif data and self.kind != Framing.SIP:
            self._seek(data, segment)
            if self._sought_new >= _SEARCHED_AT_ONCE:
                self._search(whole=False)

    def _begins(self, data: bytes) -> bool:
        """Whether a segment begins a unit by its form alone: SIP, in RFC 4571 too, and STUN."""
        if self.kind == Framing.SIP:
            return looks_right(self._measure, data)
        if self.kind not in (Framing.FRAMED, Framing.TURN):
            return False
        unit = self._measure(bytearray(data[:4096]), 0)
        return isinstance(unit, Unit) and unit.sure

    def _seek(self, data: bytes, segment: Segment) -> None:
        self._sought.append((data, segment))
        self._sought_bytes += len(data)
        self._sought_new += len(data)

    def _search(self, *, whole: bool) -> None:
        """Go on at the first frame in the bytes that are out of step, if any. `whole`: no bytes follow them at once."""
        for _ in range(_MOST_RESUMED if whole else 1):
            if self._in_step or not self._sought:
                return
            self._trim(2 * _SEARCHED_AT_ONCE)
            beginnings = np.cumsum([0, *(len(data) for data, _ in self._sought)])[:-1].tolist() if whole else []
            framings = (self.kind,) if self.kind != Framing.NONE else RTP_FRAMINGS
            data = bytearray().join(data for data, _ in self._sought)
            found = find_frame(framings, data, self._sources, beginnings)
            if found is None:
                self._trim(_SEARCHED_AT_ONCE)
                return
            self._resume(*found)

    def _trim(self, most: int) -> None:
        """Leave out the first segments of what is sought in, so that at most so many bytes stay."""
        count = 0
        while self._sought_bytes > most:
            size = len(self._sought[count][0])
            self._sought_bytes -= size
            self._in_vain += size
            count += 1
        del self._sought[:count]
        self._sought_new = 0
        self.alive = self.alive and (self._confirmed or self._in_vain < _MOST_IN_VAIN)

    def _resume(self, kind: Framing, at: int) -> None:
        """Read on from a place in what was sought in, each packet with the segment that completed it."""
        sought, self._sought, self._sought_bytes = self._sought, [], 0
        if self.kind == Framing.NONE:
            self.kind, self._measure, self._confirmed = kind, MEASURES[kind], True
            self.began_late = at + self._in_vain > 0
        self._forget()
        self._in_step = True
        for data, segment in sought:
            piece, at = data[at:], max(0, at - len(data))
            if piece and self._in_step:
                self._buffer += piece
                self._cut(segment)
            elif piece:
                self._seek(piece, segment)
        self._sought_new = 0

    def _cut(self, segment: Segment) -> None:
        """Cut the complete units off the buffer."""
        at, buffer = 0, self._buffer
        if len(buffer) < self._needed:
            return
        self._needed = 0
        while at < len(buffer):
            unit = self._measure(buffer, at)
            if unit is False:
                rest = bytes(buffer[at + 1 :])
                self._lose()
                if self._confirmed and rest and self.kind != Framing.SIP:
                    self._seek(rest, segment)
                return
            if not isinstance(unit, Unit):
                break
            if at + unit.total > len(buffer):
                self._needed = unit.total
                break
            self._confirmed |= unit.sure
            if unit.length:
                data = bytes(buffer[at + unit.start : at + unit.start + unit.length])
                self._emit(Packet(data, unit.length, segment.time_ns, segment.record))
            at += unit.total
        del buffer[:at]
        if len(buffer) > MOST_UNIT:
            self._lose()

    def _forget(self) -> None:
        self._buffer.clear()
        self._needed = 0

    def _hole(self, missing: int, segment: Segment, made: int = AS_CAPTURED) -> None:
        """Bytes that the capture lacks: the unit they are part of is read as far as it goes.

        `made` tells whether a snap length cut them off, or a segment is missing."""
        self._search(whole=True)
        self._trim(0)
        self.holes += 1
        unit = self._measure(self._buffer, 0) if self._buffer and self._in_step else None
        beyond = -missing
        if self._skip:
            beyond = self._skip - missing
        elif isinstance(unit, Unit):
            beyond = unit.total - len(self._buffer) - missing
        if self._buffer and self._in_step:
            self._cut_off(segment, made)
        self._forget()
        self._skip, self._in_step = max(0, beyond), beyond >= 0

    def _cut_off(self, segment: Segment, made: int = AS_CAPTURED) -> None:
        """Emit the beginning of a unit whose rest is missing."""
        unit = self._measure(self._buffer, 0)
        if isinstance(unit, Unit) and unit.length:
            data = bytes(self._buffer[unit.start : unit.start + unit.length])
            self._emit(Packet(data, unit.length, segment.time_ns, segment.record, made=made))
        elif unit is None and self.kind == Framing.SIP:
            self._emit(Packet(bytes(self._buffer), len(self._buffer) + 1, segment.time_ns, segment.record))

    def _lose(self) -> None:
        """The bytes have another form. A stream that was sure goes on where a unit surely begins; another is none."""
        self._forget()
        self._in_step = False
        if self._confirmed:
            self.holes += 1
        else:
            self.alive = False
            self._unconfirmed.clear()

    def _emit(self, packet: Packet) -> None:
        step = self._note(packet)
        if self._confirmed:
            self._release()
            self.found.append(packet)
            return
        self._unconfirmed.append(packet)
        self._score += step
        if self._score >= _ENOUGH:
            self._confirmed = True
            self._release()
        elif len(self._unconfirmed) > _MOST_UNCONFIRMED:
            self._lose()

    def _note(self, packet: Packet) -> bool:
        """Remember who sent a packet. Whether it is RTCP, or a step forward of its source."""
        data, sources = packet.data, self._sources
        if len(data) < 8 or data[0] >> 6 != 2:
            return False
        if 200 <= data[1] <= 207:
            told = fits_rtcp(data, len(data))
            if told and len(sources.reporters) < _MOST_SOURCES:
                sources.reporters.add(data[4:8])
                sources.types.add(data[1])
            return told
        if len(data) < 12:
            return False
        number, source = data[2] << 8 | data[3], data[8:12]
        if source not in sources.last and len(sources.last) >= _MOST_SOURCES:
            return False
        step = (number - sources.last.get(source, number)) % 65536
        sources.last[source] = number
        sources.types.add(data[1] & 0x7F)
        return 0 < step <= _NEAR

    def _release(self) -> None:
        if self._unconfirmed:
            self.found += self._unconfirmed
            self._unconfirmed.clear()

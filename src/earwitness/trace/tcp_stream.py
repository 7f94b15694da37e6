"""One direction of a TCP connection that carries datagrams or SIP: segments in order, and the units cut out of them.

A unit's time is that of the segment which completed it, as the receiver would have got it. The capture may lack
segments, or their ends: sequence numbers tell how much, and reading goes on where a unit surely begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from earwitness.trace.framings import MEASURES, MOST_UNIT, Framing, Unit, looks_right
from earwitness.trace.rebuilt import AS_CAPTURED, WITH_A_HOLE, Packet

_MOST_WAITING = 64
"""Segments held for a missing one; then it is taken to be missing from the capture."""
_MOST_AHEAD = 2**20
"""Bytes that a segment can be ahead; further away, the numbering has begun anew."""
_MOST_UNCONFIRMED = 64
_MOST_SOURCES = 64
_NEAR = 16
_ENOUGH = 2
"""Steps of a sequence number, or RTCP packets, that make a stream of frames believed."""


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

    `alive`: whether its bytes still have the form of its framing. `holes`: places where the capture lacks bytes.
    """

    kind: Framing
    expected: int
    found: list[Packet] = field(default_factory=list)
    alive: bool = True
    holes: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _waiting: list[tuple[int, Segment]] = field(default_factory=list)
    _needed: int = 0
    """Bytes that the buffer must hold before its first unit is complete."""
    _skip: int = 0
    _in_step: bool = True
    _confirmed: bool = False
    _unconfirmed: list[Packet] = field(default_factory=list)
    _last: dict[bytes, int] = field(default_factory=dict)
    _score: int = 0
    _latest: Segment | None = None

    def __post_init__(self) -> None:
        self._confirmed = self.kind == Framing.SIP
        self._measure = MEASURES[self.kind]

    @property
    def held(self) -> int:
        """Bytes that wait here."""
        packets = sum(len(packet.data) for packet in self._unconfirmed)
        return len(self._buffer) + packets + sum(len(segment.data) + 100 for _, segment in self._waiting)

    def restart(self, sequence: int) -> None:
        """A new connection between the same ports."""
        self.end()
        self.expected, self._in_step, self._skip = sequence, True, 0

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
        if not self._in_step and data and looks_right(self._measure, data):
            self._in_step = True
        if self._in_step:
            self._buffer += data
            self._cut(segment)
        if missing:
            self._hole(missing, segment)

    def _cut(self, segment: Segment) -> None:
        """Cut the complete units off the buffer."""
        at, buffer = 0, self._buffer
        if len(buffer) < self._needed:
            return
        self._needed = 0
        while at < len(buffer):
            unit = self._measure(buffer, at)
            if unit is False:
                self._lose()
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
        """The bytes have another form. A stream that was sure goes on where a segment looks right; another is none."""
        self._forget()
        self._in_step = False
        if self._confirmed:
            self.holes += 1
        else:
            self.alive = False
            self._unconfirmed.clear()

    def _emit(self, packet: Packet) -> None:
        if self._confirmed:
            self._release()
            self.found.append(packet)
            return
        self._unconfirmed.append(packet)
        data = packet.data
        if len(data) >= 8 and data[0] >> 6 == 2:
            if 200 <= data[1] <= 207:
                self._score += 4 * (data[2] << 8 | data[3]) + 4 <= len(data)
            elif len(data) >= 12 and len(self._last) < _MOST_SOURCES:
                number, source = data[2] << 8 | data[3], data[8:12]
                step = (number - self._last.get(source, number)) % 65536
                self._score += 0 < step <= _NEAR
                self._last[source] = number
        if self._score >= _ENOUGH:
            self._confirmed = True
            self._release()
        elif len(self._unconfirmed) > _MOST_UNCONFIRMED:
            self._lose()

    def _release(self) -> None:
        if self._unconfirmed:
            self.found += self._unconfirmed
            self._unconfirmed.clear()

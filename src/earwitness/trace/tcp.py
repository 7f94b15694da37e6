"""TCP connections that carry SIP, or RTP in a framing, found among all segments of a capture by what is in them.

Which segments begin with something known is decided for all at once, so a capture full of other connections costs
little. Only connections with such segments are followed, byte by byte, in bounded memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, U8, Bool
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.flow_numbers import flow_numbers
from earwitness.trace.framings import LONGEST_FIRST_FRAME, Framing
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.rebuilt import Packet, Rebuilt
from earwitness.trace.sdp import SIP_BEGINNINGS
from earwitness.trace.tcp_search import ENOUGH_STEPS, rtp_pairs
from earwitness.trace.tcp_stream import Segment, TcpStream, ahead
from earwitness.trace.turn import COOKIE
from earwitness.trace.walk import DatagramRows, Segments, Walk

MOST_STREAMS = 4096
"""Directions of connections followed at once; beyond them the oldest ends."""
MOST_HELD_BYTES = 32 * 2**20
"""Bytes held over all streams of a file, of units that are incomplete."""
_MOST_TRIES = 8
"""Times that a stream may turn out to be something else before it is left alone."""
_FIRST_ROWS = 16
"""Segments at the beginning of a stream among which the first is looked for: they may have come out of order."""
_FAR = 2**18
_LOOKED_THROUGH = 2**14
"""Bytes at the beginning of a direction that are looked through for frames if its first segment begins with none."""
_TLS_PORT, _OPENVPN_PORT = 5061, 1194
_SIP = np.array(sorted(int.from_bytes(word, "big") for word in SIP_BEGINNINGS), dtype=np.uint32)
_CRLF = 0x0D0A


@dataclass
class Connections:
    """The streams of one file that carry something, oldest first, by addresses and ports. Mutable."""

    unread: Counter[str]
    streams: dict[bytes, TcpStream] = field(default_factory=dict)
    tries: Counter[bytes] = field(default_factory=Counter)
    tls_segments: int = 0
    """Payload segments on the port of SIP over TLS; `tls_seen`: some had the form of TLS."""
    tls_seen: bool = False
    holes: int = 0
    late: int = 0
    """Streams whose beginning the capture lacks."""
    held: int = 0

    def follow(self, walk: Walk, rebuilt: Rebuilt, *, last: bool) -> list[DatagramRows]:
        """The datagrams and SIP messages that the walk's segments complete, as parts whose bytes are in the walk."""
        done: list[tuple[bytes, Packet]] = []
        found, walk.segments = walk.segments, []
        for segments in found:
            self._encrypted(walk, segments)
            done += self._family(walk, rebuilt, segments)
        if last:
            for key in list(self.streams):
                done += self._end(key)
        parts = []
        for size in (12, 36):
            family = [(key, packet) for key, packet in done if len(key) == size]
            if family:
                cursor = rebuilt.append(walk, [packet for _, packet in family])
                keys = np.frombuffer(b"".join(key for key, _ in family), dtype=np.uint8).reshape(-1, size)
                addresses = np.ascontiguousarray(keys[:, :-4])
                parts.append(DatagramRows(cursor, addresses, big_endian(keys, size - 4, 4), transport="TCP"))
        return parts

    def problems(self) -> list[CaptureProblem]:
        """What could not be read."""
        found = []
        if self.tls_seen:
            detail = (
                f"SIP over TLS on port {_TLS_PORT}: {self.tls_segments} packets, cannot be read;"
                " if the codec is not known from elsewhere, give it with --payload-type"
            )
            found.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
        if self.holes:
            detail = f"{self.holes} places where segments of SIP or RTP over TCP are missing or cut; read around them"
            found.append(CaptureProblem(ProblemKind.FRAGMENTED, detail))
        if self.late:
            detail = f"{self.late} TCP streams with RTP begin before the capture; read from their first whole frame on"
            found.append(CaptureProblem(ProblemKind.FRAGMENTED, detail))
        return found

    def _encrypted(self, walk: Walk, segments: Segments) -> None:
        """Count SIP over TLS and OpenVPN over TCP."""
        cursor = segments.cursor
        filled = cursor.wire > 0
        source, destination = segments.ports >> 16, segments.ports & 0xFFFF
        secure = filled & ((source == _TLS_PORT) | (destination == _TLS_PORT))
        if secure.any():
            head = window(walk.data, cursor.at[secure], 3)
            form = (head[:, 0] >= 20) & (head[:, 0] <= 23) & (head[:, 1] == 3) & (head[:, 2] <= 4)
            self.tls_seen |= bool((form & (cursor.captured[secure] >= 3)).any())
            self.tls_segments += int(secure.sum())
        tunnel = filled & ((source == _OPENVPN_PORT) | (destination == _OPENVPN_PORT))
        if tunnel.any():
            head = window(walk.data, cursor.at[tunnel], 3)
            form = (
                (big_endian(head, 0, 2) + 2 == cursor.wire[tunnel]) & (head[:, 2] >> 3 >= 1) & (head[:, 2] >> 3 <= 11)
            )
            if form.any():
                self.unread["OpenVPN (encrypted)"] += int(form.sum())

    def _family(self, walk: Walk, rebuilt: Rebuilt, segments: Segments) -> list[tuple[bytes, Packet]]:
        kinds = _kinds(walk.data, segments)
        number, firsts = flow_numbers(segments.addresses, segments.ports)
        chosen = np.zeros(len(firsts), dtype=bool)
        chosen[number[kinds > 0]] = True
        midway = _midway(walk.data, segments, kinds, number, firsts)
        chosen |= midway
        if not (chosen.any() or self.streams):
            return []
        keys = {i: _key(segments, int(firsts[i])) for i in range(len(firsts)) if self.streams or chosen[i]}
        for i, key in keys.items():
            chosen[i] |= key in self.streams
        rows = np.flatnonzero(chosen[number])
        rows = rows[np.argsort(number[rows], kind="stable")]
        done: list[tuple[bytes, Packet]] = []
        if len(rows):
            for group in np.split(rows, np.flatnonzero(np.diff(number[rows])) + 1):
                flow = int(number[group[0]])
                # A flow that is searched has no beginning that its first segment shows.
                done += self._stream(walk, rebuilt, segments, kinds, keys[flow], group, midway=bool(midway[flow]))
        return done

    def _stream(
        self, walk: Walk, rebuilt: Rebuilt, segments: Segments, kinds: U8, key: bytes, rows: I64, *, midway: bool
    ) -> list[tuple[bytes, Packet]]:
        """Feed one stream its segments (rows of `segments`, in order)."""
        done: list[tuple[bytes, Packet]] = []
        stream = self.streams.get(key)
        before = 0 if stream is None else stream.held
        cursor = segments.cursor
        at, sequence = 0, segments.sequence[rows].tolist()
        while at < len(rows):
            if stream is None:
                begin = self._begin(kinds[rows[at:]], sequence[at:], key, midway=midway)
                if begin is None:
                    break
                stream, rest = begin
                rows, sequence, at = rows[at:][rest], segments.sequence[rows[at:][rest]].tolist(), 0
                self.streams[key] = stream
            i = int(rows[at])
            if segments.starts[i]:
                stream.restart((sequence[at] + 1) % 0x100000000)
            wire, place = int(cursor.wire[i]), int(cursor.at[i])
            if wire > 0:
                kept = min(int(cursor.captured[i]), wire)
                data = walk.data[place : place + kept].tobytes()
                number = sequence[at] + bool(segments.starts[i])
                stream.take(number % 0x100000000, Segment(data, wire - kept, *rebuilt.when(int(cursor.row[i]))))
            at += 1
            if not stream.alive:
                done += self._end(key)
                stream = None
        self.held -= before
        if stream is not None:
            done += [(key, packet) for packet in stream.found]
            stream.found.clear()
            self.held += stream.held
            if self.held > MOST_HELD_BYTES or len(self.streams) > MOST_STREAMS:
                oldest = next(iter(self.streams)) if len(self.streams) > MOST_STREAMS else key
                self.held -= self.streams[oldest].held
                done += self._end(oldest)
        return done

    def _begin(
        self, kinds: U8, sequence: list[int], key: bytes, *, midway: bool
    ) -> tuple[TcpStream, NDArray[Any]] | None:
        """A stream that begins at the first of these segments with a known form, and which of them belong to it.

        `midway`: at the first of all, if its form is unknown; frames are looked for in it.
        """
        midway = midway and not kinds[0]
        known = np.arange(len(kinds)) if midway else np.flatnonzero(kinds)
        if not len(known) or self.tries[key] >= _MOST_TRIES:
            return None
        if len(self.tries) > MOST_STREAMS:
            self.tries.clear()
        self.tries[key] += 1
        first = int(known[0])
        distance = np.array([ahead(number, sequence[first]) for number in sequence], dtype=np.int64)
        near = known[(known < first + _FIRST_ROWS) & (distance[known] > -_FAR)]
        start = int(distance[near].min())
        belongs = ((distance >= start) & (distance < _FAR)) | (np.arange(len(kinds)) >= first)
        return TcpStream(
            Framing.NONE if midway else Framing(int(kinds[first])), (sequence[first] + start) % 0x100000000
        ), belongs

    def _end(self, key: bytes) -> list[tuple[bytes, Packet]]:
        """Forget a stream; what it still gives."""
        stream = self.streams.pop(key)
        if stream.alive:
            stream.end()
        self.holes += stream.holes if stream.kind != Framing.NONE else 0
        self.late += stream.began_late
        return [(key, packet) for packet in stream.found]


def _key(segments: Segments, row: int) -> bytes:
    ends: bytes = segments.addresses[row].tobytes()
    return ends + int(segments.ports[row]).to_bytes(4, "big")


def _midway(data: U8, segments: Segments, kinds: U8, number: NDArray[Any], firsts: NDArray[Any]) -> Bool:
    """The flows whose first segment has no known form and whose first bytes hold several frames of RTP all the same."""
    cursor = segments.cursor
    found = np.zeros(len(firsts), dtype=bool)
    order = np.argsort(number, kind="stable")
    order = order[(cursor.captured[order] > 0) & (cursor.wire[order] > 0)]
    if not len(order):
        return found
    flows, size = number[order], np.minimum(cursor.captured, cursor.wire)[order]
    begins = np.flatnonzero(np.diff(flows, prepend=-1))
    before = np.cumsum(size) - size
    before -= np.repeat(before[begins], np.diff(begins, append=len(order)))
    wanted = (before < _LOOKED_THROUGH) & (np.repeat(kinds[order[begins]], np.diff(begins, append=len(order))) == 0)
    if not wanted.any():
        return found
    at, size, flows = cursor.at[order][wanted], size[wanted], flows[wanted]
    pieces = [data[a : a + n] for a, n in zip(at.tolist(), size.tolist(), strict=True)]
    pairs = rtp_pairs(np.concatenate(pieces))
    of_flow = flows[np.searchsorted(np.cumsum(size), pairs, side="right")]
    return np.asarray(np.bincount(of_flow, minlength=len(firsts)) >= ENOUGH_STEPS)


def _kinds(data: U8, segments: Segments) -> U8:
    """The framing in whose form each segment begins (n,): a `Framing`."""
    cursor = segments.cursor
    head = window(data, cursor.at, 8)
    whole = cursor.captured >= 8
    word, later = big_endian(head, 0, 4), big_endian(head, 4, 4)
    kinds = np.zeros(len(cursor), dtype=np.uint8)
    wire, first = cursor.wire, head[:, 0]

    length = big_endian(head, 0, 2).astype(np.int64)
    carried = big_endian(head, 2, 4)
    rtp = (head[:, 2] >> 6 == 2) & _continues(data, segments, 2 + length, 0, 2)
    kinds[whole & (length >= 8) & (length <= LONGEST_FIRST_FRAME) & (rtp | np.isin(carried, _SIP))] = Framing.FRAMED

    size = big_endian(head, 2, 2).astype(np.int64)
    rtp = whole & (head[:, 4] >> 6 == 2) & (size >= 8) & (size <= LONGEST_FIRST_FRAME)
    padded = 4 + (size + 3) // 4 * 4
    kinds[rtp & (first >> 6 == 1) & _continues(data, segments, padded, 2, 4)] = Framing.TURN
    kinds[whole & (first >> 6 == 0) & (later == COOKIE) & (size % 4 == 0)] = Framing.TURN
    kinds[rtp & (first == 0x24) & (head[:, 1] < 16) & (4 + size <= wire)] = Framing.RTSP

    pair = big_endian(head, 2, 4)
    sip = whole & (((word >> 16 == _CRLF) & np.isin(pair, _SIP)) | ((word == 0x0D0A0D0A) & np.isin(later, _SIP)))
    kinds[sip | ((cursor.captured >= 4) & np.isin(word, _SIP))] = Framing.SIP
    return kinds


def _continues(data: U8, segments: Segments, total: I64, length_at: int, packet_at: int) -> Bool:
    """Whether the segment ends with its first unit of `total` bytes or before, or another RTP packet's unit follows."""
    cursor = segments.cursor
    spare = cursor.captured - total
    following = window(data, cursor.at + total, packet_at + 1)
    length = big_endian(following, length_at, 2)
    again = (spare >= packet_at + 1) & (following[:, packet_at] >> 6 == 2)
    again &= (length >= 8) & (length <= LONGEST_FIRST_FRAME)
    return np.asarray((total >= cursor.wire) | again | (spare < 0))

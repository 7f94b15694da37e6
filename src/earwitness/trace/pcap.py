"""The pcap container (draft-ietf-opsawg-pcap); for pcapng see `pcapng`, for the choice between them `container`.

A first pass locates the packets; their headers are then parsed all at once. An impossible length ends the reading with
a problem. Memory use is a few words per packet of the piece being read.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I32, I64, U8, Bool
from earwitness.trace.bytewindow import window
from earwitness.trace.problem import ProblemKind
from earwitness.trace.records import MAX_PACKET, Records
from earwitness.trace.tally import Tally

HEADER_BYTES = 24
PCAP_MAGIC = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
"""Byte order, and nanoseconds per unit of the fraction field."""

MOST_DAMAGES = 10_000
"""Damaged places after which reading resumes."""
MOST_PACKETS = 50_000_000
"""Packets read per file, of any kind: reading them takes a minute."""
TOO_LONG = f"more than {MOST_PACKETS:,} packets; nothing after them is read (split the file: editcap -c 10000000)"
_SEARCH_BYTES = 2**12
_NEAR_S = 60
_LOOK_AHEAD = 8
_HOLE_BYTES = 2**12
_CHAINED_UP_TO = 16 * 2**20
_BLOCK_BYTES = 2**16


class PcapReader:
    """The packets of one pcap file, piece by piece. `ended`: nothing after the last piece can be read.

    With `resume`, reading continues after damage at the next place where three consecutive records look valid.
    """

    def __init__(self, head: bytes, tally: Tally, *, resume: bool) -> None:
        self._order, self._unit_ns = PCAP_MAGIC[head[:4]]
        _, _, _, _, snap_length, link_field = struct.unpack(self._order + "HHiIII", head[4:HEADER_BYTES])
        self._limit = max(snap_length, MAX_PACKET) if snap_length < 2**24 else MAX_PACKET
        self._link_types = (link_field & 0x03FF_FFFF,)
        self._tally, self._resume = tally, resume
        self._walked = _Walked()
        self._held = 0
        self.ended = False

    def take(self, data: U8, offset: int, *, last: bool) -> tuple[Records, int]:
        """The complete packets in a piece, (n,) uint8, that begins `offset` bytes into the file (where the previous
        piece stopped), and how many of its bytes were used. The `last` piece extends to the end of the file."""
        begin = 0 if offset else HEADER_BYTES
        chained = _chained(data, self._order, self._limit) if last and not offset else None
        if chained is not None:
            (offsets, words), used = chained, len(data)
        else:
            walk = _Walk(data, offset, self._order, self._limit, self._unit_ns, self._resume, last, self._tally)
            offsets, used, self.ended = walk.run(begin, self._walked)
            words = window(data, offsets, 16).view(self._order + "u4")
        self._held += len(offsets)
        if self._held > MOST_PACKETS and not last:
            self._tally.place(ProblemKind.UNSUPPORTED, TOO_LONG, offset + used)
            self.ended = True
        if last and not self._held and not len(self._tally):
            self._tally.place(ProblemKind.EMPTY, "a header but no packets", HEADER_BYTES)
        return self._records(data, offsets, words, offset), used

    def _records(self, data: U8, offsets: I64, words: NDArray[Any], base: int) -> Records:
        """The packets whose headers, (n, 4) words, begin at `offsets`; `base`: where the piece begins in the file."""
        seconds, fraction, length = (words[:, column].astype(np.int64) for column in (0, 1, 3))
        captured: I32 = words[:, 2].astype(np.int32)
        odd = fraction * self._unit_ns >= 1_000_000_000
        if odd.any():
            what = "packets with a fraction of a second that is a second or more; left out"
            self._tally.count(ProblemKind.BAD_TIME, what, int(odd.sum()), base + int(offsets[odd][0]))
            offsets, seconds, fraction = offsets[~odd], seconds[~odd], fraction[~odd]
            captured, length = captured[~odd], length[~odd]
        lying = length < captured
        if lying.any():
            what = "packets with a wire length below their captured length; the captured length is used"
            self._tally.count(ProblemKind.BAD_LENGTH, what, int(lying.sum()), base + int(offsets[lying][0]))
            length = np.maximum(length, captured)
        return Records(
            data=data,
            start=offsets + 16,
            captured=captured,
            length=length,
            time_ns=seconds * 1_000_000_000 + fraction * self._unit_ns,
            interface=np.zeros(len(offsets), dtype=np.int32),
            link_types=self._link_types,
            resolution_ns=float(self._unit_ns),
            format="pcap",
            problems=(),
        )


def _chained(data: U8, order: str, limit: int) -> tuple[I64, NDArray[Any]] | None:
    """The offset of every record in an undamaged file and its header's four words, found without a step per record;
    None if a walk is needed.

    Candidates share the upper half of the first record's seconds, which stays the same for 18 hours. They are then
    verified: each record must end exactly where the next begins, the first at 24, the last at the end of the file.
    """
    if not 40 <= len(data) <= _CHAINED_UP_TO or not data[24:40].any():
        return None
    offsets = _repeats(data, 26 if order == "<" else 24, len(data) - 40) + 24
    words = window(data, offsets, 16).view(order + "u4")
    likely = (words[:, 1] < 1_000_000_000) & (words[:, 2] <= limit)
    if not likely.all():
        rows = np.flatnonzero(likely)
        offsets, words = offsets[rows], words.take(rows, axis=0)
    following = offsets + 16 + words[:, 2]
    if not len(offsets) or offsets[0] != 24 or following[-1] != len(data):
        return None
    return (offsets, words) if bool((following[:-1] == offsets[1:]).all()) else None


def _repeats(data: U8, at: int, reach: int) -> I64:
    """How far after `at` its two bytes occur again, up to `reach` bytes after it; the first of (k,) is 0."""
    first, second = data[at], data[at + 1]
    found = []
    # Blocks that stay in the processor's cache are compared several times faster than the file at once.
    same, follows = np.empty(_BLOCK_BYTES, dtype=bool), np.empty(_BLOCK_BYTES, dtype=bool)
    for begin in range(at, at + reach + 1, _BLOCK_BYTES):
        size = min(_BLOCK_BYTES, at + reach + 1 - begin)
        one, other = same[:size], follows[:size]
        np.equal(data[begin : begin + size], first, out=one)
        np.equal(data[begin + 1 : begin + size + 1], second, out=other)
        np.logical_and(one, other, out=one)
        found.append(one.nonzero()[0] + (begin - at))
    return np.concatenate(found)


class _Walked:
    """State carried from piece to piece."""

    def __init__(self) -> None:
        self.packets = self.damages = 0
        self.second: int | None = None
        """Seconds field of the previous packet, to judge whether a time is plausible."""
        self.longest = 0
        """Longest of the recent packets; 0 before the first."""
        self.damage: tuple[int, str] | None = None
        """Offset and description of damage whose end has not been found yet."""


class _Walk:
    """Finds where each record of one piece begins, up to the first invalid one, or past it with `resume`."""

    def __init__(
        self, data: U8, base: int, order: str, limit: int, unit_ns: int, resume: bool, last: bool, tally: Tally
    ) -> None:
        self._data, self._base, self._last, self._tally = data, base, last, tally
        self._order, self._limit, self._unit_ns, self._resume = order, limit, unit_ns, resume
        self._offsets = array("q")

    def run(self, begin: int, walked: _Walked) -> tuple[I64, int, bool]:
        """Walk from `begin`: the record offsets, the bytes consumed, and whether reading ends here."""
        used, ended, position = begin, False, begin
        while True:
            if walked.damage is not None:
                found, position = self._past_damage(position, walked)
                if not found:
                    used, ended = position, self._last
                    break
            position, fault = self._sound(position, walked.packets)
            if not fault:
                used = position
                break
            walked.damages += 1
            if not self._resume or walked.damages > MOST_DAMAGES:
                where = self._base + position
                self._tally.place(ProblemKind.CORRUPT, f"{fault}; nothing after it can be trusted", where)
                used, ended = position, True
                break
            walked.damage = (self._base + position, fault)
            position += 1
        if self._offsets:
            walked.packets += len(self._offsets)
            walked.second, walked.longest = self._before(walked)
        offsets = np.frombuffer(self._offsets, dtype=np.int64) if self._offsets else np.zeros(0, dtype=np.int64)
        return offsets, used, ended

    def _sound(self, position: int, before: int) -> tuple[int, str]:
        """Consecutive valid records from `position`: where they end, and what is wrong there (empty at the piece's
        end)."""
        data, order, limit, offsets, base = self._data, self._order, self._limit, self._offsets, self._base
        captured_of = struct.Struct(order + "I").unpack_from
        view, end = data.data, len(data)
        previous, alike, ahead = -1, 0, _LOOK_AHEAD
        while position + 16 <= end:
            (captured,) = captured_of(view, position + 8)
            following = position + 16 + captured
            if captured <= limit and following <= end:
                alike = alike + 1 if captured == previous else 0
                previous = captured
                if alike < _LOOK_AHEAD:
                    offsets.append(position)
                    position = following
                    continue
                if not captured and not data[position : position + _HOLE_BYTES].any():
                    # A hole in the file, or an unwritten tail: no packets, no matter how many bytes.
                    while offsets and not data[offsets[-1] : offsets[-1] + 16].any():
                        position = offsets.pop()
                    return position, f"zeros instead of packet {before + len(offsets) + 1}"
                # Voice is many packets of equal length: check a row of them at once.
                stride = 16 + captured
                count = min(ahead, (end - position) // stride)
                row: NDArray[Any] = np.ndarray((count,), order + "u4", data, offset=position + 8, strides=(stride,))
                other = np.flatnonzero(row != captured)
                held = int(other[0]) if len(other) else count
                offsets.extend(range(position, position + held * stride, stride))
                position += held * stride
                alike, ahead = (0, _LOOK_AHEAD) if len(other) else (alike, min(2 * ahead, 4096))
                continue
            if captured > limit:
                return position, f"packet {before + len(offsets) + 1} claims {captured} bytes"
            if self._last:
                detail = f"the file ends within packet {before + len(offsets) + 1}"
                self._tally.place(ProblemKind.TRUNCATED, detail, base + position)
            return position, ""
        if position != end and self._last:
            detail = f"the file ends within the header of packet {before + len(offsets) + 1}"
            self._tally.place(ProblemKind.TRUNCATED, detail, base + position)
        return position, ""

    def _past_damage(self, begin: int, walked: _Walked) -> tuple[bool, int]:
        """The next valid record from `begin`; or False, and where a search of a longer piece must start."""
        assert walked.damage is not None
        where, fault = walked.damage
        found, position = self._search(begin, *self._before(walked))
        if found:
            skipped = f"{fault}; {self._base + position - where} bytes skipped, and packets are missing here"
            self._tally.place(ProblemKind.CORRUPT, skipped, where)
            walked.damage = None
        elif self._last:
            self._tally.place(ProblemKind.CORRUPT, f"{fault}; nothing after it can be trusted", where)
        return found, position

    def _before(self, walked: _Walked) -> tuple[int | None, int]:
        """Seconds field of the previous packet, and the length of the longest recent one."""
        if not self._offsets:
            return walked.second, walked.longest
        last = np.array(self._offsets[-1000:], dtype=np.int64)
        words = window(self._data, last, 16).view(self._order + "u4")
        return int(words[-1, 0]), int(words[:, 2].max())

    def _search(self, begin: int, second: int | None, longest: int) -> tuple[bool, int]:
        """The next place where three consecutive records look valid, within a day of the packets before."""
        data, order = self._data, self._order
        longest = longest or MAX_PACKET
        stop, size = begin, _SEARCH_BYTES
        while stop + 16 <= len(data):
            piece, stop = stop, min(stop + size, len(data) - 15)
            size = min(2 * size, 256 * _SEARCH_BYTES)
            if not data[piece : stop + 15].any():
                continue
            words: NDArray[Any] = np.ndarray((stop - piece, 4), order + "u4", data, offset=piece, strides=(1, 4))
            # Few places pass this first check, so the other checks are cheap.
            likely = np.flatnonzero((words[:, 2] > 0) & (words[:, 2] <= longest))
            if not len(likely):
                continue
            seconds, fraction, captured, length = (words[likely, column].astype(np.int64) for column in range(4))
            sound = (fraction < 1_000_000_000 // self._unit_ns) & (length >= captured) & (length <= MAX_PACKET)
            if second is not None:
                sound &= np.abs(seconds - second) < 86_400
            if sound.any():
                candidates = piece + likely[sound]
                held, unsure = self._three_in_a_row(candidates, seconds[sound], longest)
                decided = np.flatnonzero(held | unsure)
                if len(decided):
                    return bool(held[decided[0]]), int(candidates[decided[0]])
        return False, stop

    def _three_in_a_row(self, candidates: I64, seconds: I64, longest: int) -> tuple[Bool, Bool]:
        """Which of the places (n,) begin three valid records within a minute (or fewer, up to the end of the file); and
        which cannot be decided without a longer piece."""
        held, unsure = np.zeros(len(candidates), dtype=bool), np.zeros(len(candidates), dtype=bool)
        going, at, end = np.arange(len(candidates)), candidates, len(self._data)
        for _ in range(3):
            if self._last:
                held[going[at == end]] = True
            within = at + 16 <= end
            if not self._last:
                unsure[going[~within]] = True
            going, at = going[within], at[within]
            when, _, kept, wire = window(self._data, at, 16).view(self._order + "u4").astype(np.int64).T
            sound = (kept > 0) & (kept <= np.minimum(longest, wire)) & (wire <= MAX_PACKET)
            sound &= np.abs(when - seconds[going]) <= _NEAR_S
            going, at = going[sound], (at + 16 + kept)[sound]
        held[going] = True
        return held, unsure

"""The pcap container (draft-ietf-opsawg-pcap) to records; pcapng is in `pcapng`, what chooses in `container`.

One pass finds where each packet lies; the headers are then read all at once. A length that cannot be ends the
reading with a problem; nothing here allocates more than a few words a packet of the piece that it is given.
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
"""Byte order, and nanoseconds in a unit of the fraction."""

MOST_DAMAGES = 10_000
"""Places of damage that reading goes on after."""
MOST_PACKETS = 50_000_000
"""Packets of one file, of whatever kind: reading them takes a minute."""
TOO_LONG = f"more than {MOST_PACKETS:,} packets; nothing after them is read (split the file: editcap -c 10000000)"
_SEARCH_BYTES = 2**12
_NEAR_S = 60
_LOOK_AHEAD = 8
_HOLE_BYTES = 2**12
_CHAINED_UP_TO = 16 * 2**20


class PcapReader:
    """The packets of one pcap, piece by piece. `ended`: nothing after the last piece can be read.

    With `resume` reading goes on after damage, at the next place where three records in a row look sound.
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
        """The packets that lie whole in a piece, (n,) uint8, that begins `offset` bytes into the file, where the piece
        before it was used up to; and how much of this one is used. The `last` piece goes up to the file's end."""
        begin = 0 if offset else HEADER_BYTES
        chained = _chained(data, self._order, self._limit) if last and not offset else None
        if chained is not None:
            offsets, used = chained, len(data)
        else:
            walk = _Walk(data, offset, self._order, self._limit, self._unit_ns, self._resume, last, self._tally)
            offsets, used, self.ended = walk.run(begin, self._walked)
        self._held += len(offsets)
        if self._held > MOST_PACKETS and not last:
            self._tally.place(ProblemKind.UNSUPPORTED, TOO_LONG, offset + used)
            self.ended = True
        if last and not self._held and not len(self._tally):
            self._tally.place(ProblemKind.EMPTY, "a header and no packet", HEADER_BYTES)
        return self._records(data, offsets, offset), used

    def _records(self, data: U8, offsets: I64, base: int) -> Records:
        fields = [(key, self._order + "u4") for key in ("seconds", "fraction", "captured", "length")]
        header: NDArray[Any] = window(data, offsets, 16).view(np.dtype(fields))[:, 0]
        seconds, fraction = header["seconds"].astype(np.int64), header["fraction"].astype(np.int64)
        odd = fraction * self._unit_ns >= 1_000_000_000
        if odd.any():
            what = "packets with a fraction of a second that is a second or more; left out"
            self._tally.count(ProblemKind.BAD_TIME, what, int(odd.sum()), base + int(offsets[odd][0]))
            offsets, header, seconds, fraction = offsets[~odd], header[~odd], seconds[~odd], fraction[~odd]
        captured: I32 = header["captured"].astype(np.int32)
        length: I64 = header["length"].astype(np.int64)
        lying = length < captured
        if lying.any():
            what = "packets said to be shorter than what was kept of them; the kept length is used"
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


def _chained(data: U8, order: str, limit: int) -> I64 | None:
    """Where each record of a sound file begins, without a step a record; None where only a walk can tell.

    Records are guessed from the upper half of the first one's seconds, which stands at the same place in each for 18
    hours, and then proven: each must end exactly where the next begins, the first at 24 and the last at the end.
    """
    if not 40 <= len(data) <= _CHAINED_UP_TO or not data[24:40].any():
        return None
    high = 2 if order == "<" else 0
    end = len(data) - 16 + high
    alike = (data[24 + high : end + 1] == data[24 + high]) & (data[25 + high : end + 2] == data[25 + high])
    offsets = np.flatnonzero(alike) + 24
    words = window(data, offsets, 16).view(order + "u4")
    likely = (words[:, 1] < 1_000_000_000) & (words[:, 2] <= limit)
    if not likely.all():
        offsets, words = offsets[likely], words[likely]
    following = offsets + 16 + words[:, 2]
    if not len(offsets) or offsets[0] != 24 or following[-1] != len(data):
        return None
    return offsets if bool((following[:-1] == offsets[1:]).all()) else None


class _Walked:
    """What a walk must remember from piece to piece."""

    def __init__(self) -> None:
        self.packets = self.damages = 0
        self.second: int | None = None
        """Seconds of the packet before, to know a sound time by."""
        self.longest = 0
        """Longest of the last packets; 0 before the first."""
        self.damage: tuple[int, str] | None = None
        """Where in the file damage began that has no end so far, and what is there."""


class _Walk:
    """Where each record of one piece begins, up to the first that cannot be, or past it with `resume`."""

    def __init__(
        self, data: U8, base: int, order: str, limit: int, unit_ns: int, resume: bool, last: bool, tally: Tally
    ) -> None:
        self._data, self._base, self._last, self._tally = data, base, last, tally
        self._order, self._limit, self._unit_ns, self._resume = order, limit, unit_ns, resume
        self._offsets = array("q")

    def run(self, begin: int, walked: _Walked) -> tuple[I64, int, bool]:
        """From `begin` on: where records begin, how many bytes are done, and whether that is the end of reading."""
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
        """Records in a row from `position` on: where they end, and what is wrong there (nothing at the piece's end)."""
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
                    # A hole in the file, or a tail that was never written: no packets, however many bytes of it.
                    while offsets and not data[offsets[-1] : offsets[-1] + 16].any():
                        position = offsets.pop()
                    return position, f"zeros in the place of packet {before + len(offsets) + 1}"
                # Voice is many packets of one length: look at a row of them at once.
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
        """The next sound record from `begin` on; or False, and from where on a longer piece must be searched."""
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
        """Seconds of the packet before, and the longest of the last ones."""
        if not self._offsets:
            return walked.second, walked.longest
        last = np.array(self._offsets[-1000:], dtype=np.int64)
        words = window(self._data, last, 16).view(self._order + "u4")
        return int(words[-1, 0]), int(words[:, 2].max())

    def _search(self, begin: int, second: int | None, longest: int) -> tuple[bool, int]:
        """The next place where three records in a row look sound, of the days around the ones before."""
        data, order = self._data, self._order
        longest = longest or MAX_PACKET
        stop, size = begin, _SEARCH_BYTES
        while stop + 16 <= len(data):
            piece, stop = stop, min(stop + size, len(data) - 15)
            size = min(2 * size, 256 * _SEARCH_BYTES)
            if not data[piece : stop + 15].any():
                continue
            words: NDArray[Any] = np.ndarray((stop - piece, 4), order + "u4", data, offset=piece, strides=(1, 4))
            # Few places pass the first look, so that the others cost nothing there.
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
                told = np.flatnonzero(held | unsure)
                if len(told):
                    return bool(held[told[0]]), int(candidates[told[0]])
        return False, stop

    def _three_in_a_row(self, candidates: I64, seconds: I64, longest: int) -> tuple[Bool, Bool]:
        """Which of the places (n,) begin three sound records within a minute, or fewer up to the file's end; and of
        which a longer piece must tell."""
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

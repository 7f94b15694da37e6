"""The pcapng container (draft-ietf-opsawg-pcapng): sections, interfaces and packet blocks to `Records`."""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, U8, Bool
from earwitness.trace.bytewindow import window
from earwitness.trace.pcap import MOST_PACKETS, TOO_LONG
from earwitness.trace.problem import ProblemKind
from earwitness.trace.records import MAX_PACKET, Records
from earwitness.trace.tally import Tally

PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
MOST_INTERFACES = 1_000_000
"""Interfaces over all sections of a file; a merge of many captures has one or two from each."""

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14
_MAX_BLOCK = 64 * 2**20
"""Longest block accepted; one that claims more is corrupt (name resolution and custom blocks are short)."""
_MOST_OPTIONS = 2**16
"""Bytes of an interface's options that are read: time resolution and offset come early."""
_LATEST_S = 2**32
"""Times must lie this close to the epoch, like those of a pcap, so that any two can be subtracted."""


@dataclass
class _Interfaces:
    """The interfaces of all sections so far: link type, ticks per second, and seconds to add."""

    link_type: array[int] = field(default_factory=lambda: array("i"))
    ticks: array[int] = field(default_factory=lambda: array("q"))
    offset_s: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.link_type)


@dataclass
class _Found:
    """The packet blocks of one piece."""

    positions: array[int] = field(default_factory=lambda: array("q"))
    """Where each packet's own fields begin: interface, time high, time low, captured, length."""
    old: list[int] = field(default_factory=list)
    """Which of them are obsolete Packet Blocks, whose interface number is 16 bits wide."""
    runs: list[tuple[int, bool, int, int]] = field(default_factory=list)
    """Starting packet of each run, whether its section is big-endian, its first interface, and its interface count."""


class PcapngReader:
    """The packets of one pcapng file, piece by piece. `ended`: nothing after the last piece can be read."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._interfaces = _Interfaces()
        self._link_types: tuple[int, ...] = ()
        self._order, self._base = "<", 0
        self._held = self._blocks = 0
        self.ended = False

    def take(self, data: U8, offset: int, *, last: bool) -> tuple[Records, int]:
        """As `PcapReader.take`."""
        found, used = self._walk(data, offset, last)
        records = self._records(data, found, offset)
        self._held += len(records)
        if last and not self._held and not len(self._tally):
            self._tally.place(ProblemKind.EMPTY, "a header but no packets")
        return records, used

    def _records(self, data: U8, found: _Found, base: int) -> Records:
        at: I64 = np.frombuffer(found.positions, dtype=np.int64) if found.positions else np.zeros(0, dtype=np.int64)
        runs = np.array(found.runs, dtype=np.int64).reshape(-1, 4)
        lengths = np.diff(runs[:, 0], append=len(at))
        big, first, count = (np.repeat(runs[:, column], lengths) for column in (1, 2, 3))
        # Read the block length again: the packet must not extend past it.
        words = _words(window(data, at - 4, 24), big != 0)
        ends, words = at + words[:, 0] - 12, words[:, 1:]
        if found.old:
            old = np.array(found.old, dtype=np.int64)
            halves = window(data, at[old], 2)
            words[old, 0] = np.where(big[old] != 0, halves.view(">u2")[:, 0], halves.view("<u2")[:, 0])

        captured, length = words[:, 3], words[:, 4]
        known = words[:, 0] < count
        fits = (captured <= MAX_PACKET) & (at + 20 + captured <= ends)
        for bad, what in (
            (~known, "of an undescribed interface"),
            (known & ~fits, "longer than their block"),
        ):
            if bad.any():
                detail = f"packets {what}; skipped"
                self._tally.count(ProblemKind.CORRUPT, detail, int(bad.sum()), base + int(at[bad][0]))
        keep = known & fits
        at, words, captured, length = at[keep], words[keep], captured[keep], length[keep]
        interface = words[:, 0] + first[keep]

        ticks = (words[:, 1].astype(np.uint64) << np.uint64(32)) | words[:, 2].astype(np.uint64)
        time_ns, good = self._nanoseconds(ticks, interface)
        if not good.all():
            what = "packets with an impossible time; skipped"
            self._tally.count(ProblemKind.BAD_TIME, what, int((~good).sum()), base + int(at[~good][0]))
        lying = length < captured
        if lying.any():
            what = "packets with a wire length below their captured length; the captured length is used"
            self._tally.count(ProblemKind.BAD_LENGTH, what, int(lying.sum()), base + int(at[lying][0]))
        if len(self._link_types) < len(self._interfaces):
            self._link_types = tuple(self._interfaces.link_type)
        return Records(
            data=data,
            start=at[good] + 20,
            captured=captured[good].astype(np.int32),
            length=np.maximum(length, captured)[good],
            time_ns=time_ns[good],
            interface=interface[good].astype(np.int32),
            link_types=self._link_types,
            resolution_ns=1e9 / min(self._interfaces.ticks, default=1_000_000),
            format="pcapng",
            problems=(),
        )

    def _nanoseconds(self, ticks: NDArray[np.uint64], interface: I64) -> tuple[I64, Bool]:
        """Ticks since the epoch as nanoseconds, and which of them are plausible times."""
        if not len(ticks):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
        rates = np.frombuffer(self._interfaces.ticks, dtype=np.int64)[interface]
        offset_s = np.frombuffer(self._interfaces.offset_s, dtype=np.int64)[interface]
        seconds, fraction = np.zeros(len(ticks), dtype=np.uint64), np.zeros(len(ticks), dtype=np.uint64)
        # Rates are powers of 2 or 10: there are few of them, regardless of the number of interfaces.
        for rate in np.unique(rates).tolist():
            rows = rates == rate
            seconds[rows] = ticks[rows] // np.uint64(rate)
            rest = ticks[rows] - seconds[rows] * np.uint64(rate)
            if rate <= 1_000_000_000 and 1_000_000_000 % rate == 0:
                fraction[rows] = rest * np.uint64(1_000_000_000 // rate)
            else:
                fraction[rows] = (rest.astype(np.longdouble) * (1_000_000_000 / np.longdouble(rate))).astype(np.uint64)
        good = seconds < np.uint64(2**33)
        whole = np.where(good, seconds, 0).astype(np.int64) + offset_s
        good &= np.abs(whole) < _LATEST_S
        return np.where(good, whole, 0) * 1_000_000_000 + fraction.astype(np.int64), good

    def _walk(self, data: U8, base: int, last: bool) -> tuple[_Found, int]:
        """The position of every packet block in a piece, and the bytes consumed; registers interfaces on the way."""
        found, tally, interfaces = _Found(), self._tally, self._interfaces
        view, end, position = data.data, len(data), 0
        order, first = self._order, self._base
        header = struct.Struct(order + "II").unpack_from
        add, changed, simple, blocks = found.positions.append, True, 0, 0
        while position + 12 <= end:
            kind, total = header(view, position)
            if kind == _SECTION:
                (magic,) = struct.unpack_from("<I", view, position + 8)
                if magic not in (_BYTE_ORDER_MAGIC, 0x4D3C2B1A):
                    tally.place(ProblemKind.CORRUPT, "a section without a byte order", base + position)
                    self.ended = True
                    break
                order = "<" if magic == _BYTE_ORDER_MAGIC else ">"
                header = struct.Struct(order + "II").unpack_from
                _, total = header(view, position)
                first, changed = len(interfaces), True
            if total < 12 or total % 4 or total > _MAX_BLOCK:
                detail = f"a block that claims {total} bytes; nothing after it can be read"
                tally.place(ProblemKind.CORRUPT, detail, base + position)
                self.ended = True
                break
            if position + total > end:
                if last:
                    tally.place(
                        ProblemKind.TRUNCATED, f"the file ends within a block of {total} bytes", base + position
                    )
                break
            if kind in (_ENHANCED, _OLD_PACKET):
                if total >= 32:
                    if changed:
                        found.runs.append((len(found.positions), order == ">", first, len(interfaces) - first))
                        changed = False
                    if kind == _OLD_PACKET:
                        found.old.append(len(found.positions))
                    add(position + 8)
                else:
                    detail = f"a packet block of {total} bytes, too short; skipped"
                    tally.place(ProblemKind.CORRUPT, detail, base + position)
            elif kind == _INTERFACE:
                if len(interfaces) == MOST_INTERFACES:
                    detail = f"more than {MOST_INTERFACES} interfaces; nothing after it is read"
                    tally.place(ProblemKind.CORRUPT, detail, base + position)
                    self.ended = True
                    break
                body = bytes(view[position + 8 : position + min(total - 4, _MOST_OPTIONS)])
                self._interface(body, order, base + position)
                changed = True
            elif kind == _SIMPLE:
                simple += 1
            position += total
            blocks += 1
        else:
            if position != end and last:
                tally.place(ProblemKind.TRUNCATED, "the file ends within the header of a block", base + position)
        if simple:
            what = "simple packet blocks, which carry no time; skipped"
            tally.count(ProblemKind.BAD_TIME, what, simple)
        self._order, self._base = order, first
        self._blocks += blocks
        if self._blocks > MOST_PACKETS and not last:
            tally.place(ProblemKind.UNSUPPORTED, TOO_LONG, base + position)
            self.ended = True
        return found, position

    def _interface(self, body: bytes, order: str, position: int) -> None:
        """Parse an Interface Description Block's body: link type, reserved, snap length, options."""
        link_type, ticks, offset_s = -1, 1_000_000, 0
        if len(body) < 8:
            self._tally.place(ProblemKind.CORRUPT, "an interface block that is too short", position)
        else:
            link_type = struct.unpack_from(order + "H", body)[0]
        at = 8
        while at + 4 <= len(body):
            code, size = struct.unpack_from(order + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == 0 or len(value) < size:
                break
            if code == _OPTION_RESOLUTION and size >= 1:
                power, base, most = value[0] & 0x7F, 10, 18
                if value[0] & 0x80:
                    base, most = 2, 62
                if power <= most or base == 2:
                    ticks = base ** min(power, most)
                if power > most:
                    detail = f"an interface whose time unit is 1/{base}^{power} s"
                    self._tally.place(ProblemKind.BAD_TIME, detail, position)
            elif code == _OPTION_OFFSET and size >= 8:
                offset_s = int(np.clip(struct.unpack_from(order + "q", value)[0], -(2**33), 2**33))
            at += 4 + size + (-size % 4)
        self._interfaces.link_type.append(link_type)
        self._interfaces.ticks.append(ticks)
        self._interfaces.offset_s.append(offset_s)


def _words(fields: U8, big: NDArray[Any]) -> I64:
    """The 32-bit words in rows of bytes (n, 4 k), in each row's byte order: (n, k) int64."""
    words = fields.view("<u4").astype(np.int64)
    if big.any():
        words[big] = fields[big].view(">u4").astype(np.int64)
    return words

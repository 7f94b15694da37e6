"""The pcapng container (draft-ietf-opsawg-pcapng): sections, interfaces and packet blocks to `Records`."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from earwitness.trace.bytewindow import window
from earwitness.trace.model import I64, U8
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.records import MAX_PACKET, Records

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14
_MAX_BLOCK = 64 * 2**20
"""No block that we read is longer; one that claims more is a lie (name resolution and custom blocks are short)."""


@dataclass
class _Interface:
    """One interface of a section: its link layer and how it writes time."""

    link_type: int
    ticks: int = 1_000_000
    """Ticks a second, or 2**shift where `binary`."""
    offset_s: int = 0


@dataclass
class _Found:
    """What the walk over the blocks has gathered."""

    interfaces: list[_Interface] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    """Where the packet's own fields begin: interface, time high, time low, captured, length."""
    orders: list[bool] = field(default_factory=list)
    """Whether the block's section is big-endian."""
    bases: list[int] = field(default_factory=list)
    """Index of the section's first interface: numbers in packet blocks count from it."""
    old: list[bool] = field(default_factory=list)
    """Whether it is an obsolete Packet Block, whose interface number is 16 bits wide."""
    counts: list[int] = field(default_factory=list)
    """How many interfaces the section had when the packet came."""
    ends: list[int] = field(default_factory=list)
    """Where the block's body ends: the packet's bytes may not pass it."""
    problems: list[CaptureProblem] = field(default_factory=list)
    simple: int = 0


def parse_pcapng(data: U8, name: str) -> Records:
    """The packets of a pcapng file given as its bytes. Damage becomes problems; it never raises."""
    found = _walk(data)
    big = np.array(found.orders, dtype=bool)
    at = np.array(found.positions, dtype=np.int64)
    fields = window(data, at, 20)
    words = fields.view("<u4").astype(np.int64)
    if big.any():
        words[big] = fields[big].view(">u4").astype(np.int64)
    old = np.array(found.old, dtype=bool)
    if old.any():
        halves = np.where(
            big[old], fields[old][:, 0:2].copy().view(">u2")[:, 0], fields[old][:, 0:2].copy().view("<u2")[:, 0]
        )
        words[old, 0] = halves
    problems = found.problems
    if found.simple:
        detail = f"{found.simple} simple packet blocks, which carry no time; left out"
        problems.append(CaptureProblem(ProblemKind.BAD_TIME, detail))

    captured, length = words[:, 3], words[:, 4]
    ends = np.array(found.ends, dtype=np.int64)
    known = words[:, 0] < np.array(found.counts, dtype=np.int64)
    fits = (captured <= MAX_PACKET) & (at + 20 + captured <= ends)
    for bad, what in ((~known, "of an interface that was not described"), (known & ~fits, "longer than their block")):
        if bad.any():
            detail = f"{int(bad.sum())} packets {what}; left out"
            problems.append(CaptureProblem(ProblemKind.CORRUPT, detail, int(at[bad][0])))
    keep = known & fits
    at, words, captured, length = at[keep], words[keep], captured[keep], length[keep]
    interface = words[:, 0] + np.array(found.bases, dtype=np.int64)[keep]

    ticks = (words[:, 1].astype(np.uint64) << np.uint64(32)) | words[:, 2].astype(np.uint64)
    time_ns = np.zeros(len(at), dtype=np.int64)
    good = np.ones(len(at), dtype=bool)
    for number in np.unique(interface).tolist():
        rows = interface == number
        time_ns[rows], good[rows] = _nanoseconds(ticks[rows], found.interfaces[number])
    if not good.all():
        detail = f"{int((~good).sum())} packets with a time that cannot be; left out"
        problems.append(CaptureProblem(ProblemKind.BAD_TIME, detail, int(at[~good][0])))
    lying = length < captured
    if lying.any():
        detail = f"{int(lying.sum())} packets said to be shorter than what was kept of them; the kept length is used"
        problems.append(CaptureProblem(ProblemKind.BAD_LENGTH, detail, int(at[lying][0])))
    if not len(at) and not problems:
        problems.append(CaptureProblem(ProblemKind.EMPTY, "a header and no packet"))
    return Records(
        data=data,
        start=at[good] + 20,
        captured=captured[good].astype(np.int32),
        length=np.maximum(length, captured)[good],
        time_ns=time_ns[good],
        interface=interface[good].astype(np.int32),
        link_types=tuple(interface.link_type for interface in found.interfaces),
        resolution_ns=max((1e9 / interface.ticks for interface in found.interfaces), default=1000.0),
        format="pcapng",
        problems=tuple(problems),
    )


def _nanoseconds(ticks: np.ndarray[tuple[int], np.dtype[np.uint64]], interface: _Interface) -> tuple[I64, np.ndarray]:
    """Ticks since the epoch as nanoseconds, and which of them a trace can hold (`bounds`)."""
    rate = interface.ticks
    seconds = ticks // np.uint64(rate) if rate < 2**63 else np.zeros_like(ticks)
    rest = ticks - seconds * np.uint64(rate) if rate < 2**63 else ticks
    good = seconds < np.uint64(2**32)
    if rate <= 1_000_000_000 and 1_000_000_000 % rate == 0:
        fraction = rest * np.uint64(1_000_000_000 // rate)
    else:
        fraction = (rest.astype(np.longdouble) * (1_000_000_000 / np.longdouble(rate))).astype(np.uint64)
    whole = np.where(good, seconds, 0).astype(np.int64) + interface.offset_s
    good &= np.abs(whole) < 2**32
    return np.where(good, whole, 0) * 1_000_000_000 + fraction.astype(np.int64), good


def _walk(data: U8) -> _Found:
    """Every packet block's place, its section's byte order, and the interfaces described on the way."""
    found = _Found()
    view, end, position = data.data, len(data), 0
    order, base = "<", 0
    header = struct.Struct("<II").unpack_from
    while position + 12 <= end:
        kind, total = header(view, position)
        if kind == _SECTION:
            (magic,) = struct.unpack_from("<I", view, position + 8)
            if magic not in (_BYTE_ORDER_MAGIC, 0x4D3C2B1A):
                found.problems.append(CaptureProblem(ProblemKind.CORRUPT, "a section of no byte order", position))
                break
            order = "<" if magic == _BYTE_ORDER_MAGIC else ">"
            header = struct.Struct(order + "II").unpack_from
            _, total = header(view, position)
            base = len(found.interfaces)
        if total < 12 or total % 4 or total > _MAX_BLOCK:
            detail = f"a block that claims {total} bytes; nothing after it can be read"
            found.problems.append(CaptureProblem(ProblemKind.CORRUPT, detail, position))
            break
        if position + total > end:
            detail = f"the file ends within block of {total} bytes"
            found.problems.append(CaptureProblem(ProblemKind.TRUNCATED, detail, position))
            break
        if kind in (_ENHANCED, _OLD_PACKET):
            if total >= 32:
                found.positions.append(position + 8)
                found.orders.append(order == ">")
                found.bases.append(base)
                found.old.append(kind == _OLD_PACKET)
                found.counts.append(len(found.interfaces) - base)
                found.ends.append(position + total - 4)
            else:
                detail = f"a packet block of {total} bytes, too short for one; left out"
                found.problems.append(CaptureProblem(ProblemKind.CORRUPT, detail, position))
        elif kind == _INTERFACE:
            found.interfaces.append(
                _interface(bytes(view[position + 8 : position + total - 4]), order, position, found)
            )
        elif kind == _SIMPLE:
            found.simple += 1
        position += total
    else:
        if position != end:
            detail = "the file ends within the header of a block"
            found.problems.append(CaptureProblem(ProblemKind.TRUNCATED, detail, position))
    return found


def _interface(body: bytes, order: str, position: int, found: _Found) -> _Interface:
    """An Interface Description Block's body: link type, reserved, snap length, options."""
    if len(body) < 8:
        found.problems.append(CaptureProblem(ProblemKind.CORRUPT, "an interface block too short for one", position))
        return _Interface(-1)
    interface = _Interface(struct.unpack_from(order + "H", body)[0])
    at = 8
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        value = body[at + 4 : at + 4 + size]
        if code == 0 or len(value) < size:
            break
        if code == _OPTION_RESOLUTION and size >= 1:
            power = value[0] & 0x7F
            if value[0] & 0x80:
                interface.ticks = 2 ** min(power, 62)
            elif power <= 18:
                interface.ticks = 10**power
            if power > (62 if value[0] & 0x80 else 18):
                detail = f"an interface whose time unit is 1/{'2' if value[0] & 0x80 else '10'}^{power} s"
                found.problems.append(CaptureProblem(ProblemKind.BAD_TIME, detail, position))
        elif code == _OPTION_OFFSET and size >= 8:
            interface.offset_s = int(np.clip(struct.unpack_from(order + "q", value)[0], -(2**33), 2**33))
        at += 4 + size + (-size % 4)
    return interface

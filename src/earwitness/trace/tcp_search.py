"""Where frames of RTP begin in bytes of a TCP stream whose beginning is missing from the capture.

In every framing the 16-bit length lies right before the RTP header. Such places are found for all bytes at once, and
only from these are frames followed, a bounded number each, so that the cost is linear in the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64, U8, Bool
from earwitness.trace.bytewindow import big_endian, window
from earwitness.trace.framings import LONGEST_FIRST_FRAME, MEASURES, Framing, Unit
from earwitness.trace.turn import COOKIE

RTP_FRAMINGS = (Framing.FRAMED, Framing.TURN, Framing.RTSP)
ENOUGH_STEPS = 4
"""Steps of sequence numbers in a row that show frames of an unknown source: five packets."""
_ENOUGH_KNOWN = 2
"""Packets in a row of sources seen before that show frames."""
_MOST_UNITS, _MOST_SOURCES, _MOST_PLACES = 16, 4, 256
"""Followed from one place; of a search, places followed."""
_NEAR = 16
_FAR = 8192
"""Packets that a hole can have cost: 2**20 bytes of speech."""
_HEADER = 12
_RTCP = range(200, 208)
_PADDING = 64
_BETWEEN = ((2, 1), (4, 4), (4, 1), (36, 4), (48, 4))
"""Bytes between a packet and the next one's header, and to how many the packet is padded: RFC 4571, ChannelData, RTSP,
and TURN's indications with the peer's address in IPv4 and IPv6."""
_COOKIE = COOKIE.to_bytes(4, "big")
_LONGEST_INDICATION_HEAD = 80


@dataclass
class Sources:
    """Senders of RTP that a stream has had: the latest sequence number of each SSRC, and all payload types. Mutable."""

    last: dict[bytes, int] = field(default_factory=dict)
    types: set[int] = field(default_factory=set)
    reporters: set[bytes] = field(default_factory=set)
    """SSRCs that sent RTCP."""


@dataclass(frozen=True)
class _Evidence:
    """Of frames in a row: packets of known sources, steps by one packet or little more, and the first packet's type.

    The type is -1 if the first packet's source is not known.
    """

    known: int
    steps: int
    kind: int


def fits_rtcp(head: bytes | bytearray, length: int) -> bool:
    """Whether the first bytes of a datagram of version 2 are RTCP."""
    return len(head) >= 8 and head[1] in _RTCP and 4 * (head[2] << 8 | head[3]) + 4 <= length


def rtp_pairs(data: U8) -> I64:
    """Places of RTP headers that a framing's length precedes and the next packet of the same source follows."""
    at = _headers(data)
    return at[_paired(_padded(data), at)] if len(at) else at


def _paired(padded: U8, at: I64) -> Bool:
    end = len(padded) - _PADDING
    length, sequence, source = _number(padded, at - 2, 2), _number(padded, at + 2, 2), _number(padded, at + 8, 4)
    paired = np.zeros(len(at), dtype=bool)
    for between, multiple in _BETWEEN:
        following = np.minimum(at + (length + multiple - 1) // multiple * multiple + between, end)
        same = (following <= end - _HEADER) & (_number(padded, following + 8, 4) == source)
        if same.any():
            step = (_number(padded, following + 2, 2) - sequence) % 65536
            paired |= same & (padded[following] >> 6 == 2) & (step >= 1) & (step <= _NEAR)
    return paired


def find_frame(
    framings: Sequence[Framing], data: bytearray, sources: Sources, beginnings: Sequence[int] = ()
) -> tuple[Framing, int] | None:
    """The first place where frames surely begin, and their framing.

    `beginnings`: places where segments begin, if no more bytes follow: there one packet of a known source is enough.
    """
    places = _promising(np.frombuffer(data, dtype=np.uint8), sources).tolist()[:_MOST_PLACES]
    starts = ((kind, at) for place in places for kind in framings for at in _starts(kind, data, place))
    found = next(((kind, at) for kind, at in starts if _sure(kind, data, at, sources)), None)
    for at, following in zip(beginnings, [*beginnings, len(data)][1:], strict=True):
        if found is not None and at >= found[1]:
            break
        if following - at < _HEADER:
            continue
        for kind in framings:
            evidence = _follow(kind, data, at, sources)
            if evidence.known and evidence.kind in sources.types:
                return kind, at
    return found


def _sure(kind: Framing, data: bytearray, at: int, sources: Sources) -> bool:
    evidence = _follow(kind, data, at, sources)
    return evidence.known >= _ENOUGH_KNOWN or evidence.steps >= ENOUGH_STEPS


def _follow(kind: Framing, data: bytearray, at: int, sources: Sources) -> _Evidence:
    """What the frames from a place on show; its own must be a packet of RTP or RTCP."""
    measure, seen = MEASURES[kind], dict[bytes, int]()
    trusted: set[bytes] = set()
    known, steps, first = 0, 0, -2
    for _ in range(_MOST_UNITS):
        if known >= _ENOUGH_KNOWN or steps >= ENOUGH_STEPS or len(seen) > _MOST_SOURCES:
            break
        unit = measure(data, at)
        if not isinstance(unit, Unit) or unit.length > LONGEST_FIRST_FRAME:
            break
        head = data[at + unit.start : at + unit.start + min(unit.length, _HEADER)]
        at += unit.total
        if unit.length and head[:1] and head[0] >> 6 == 2 and fits_rtcp(head, unit.length):
            known += bytes(head[4:8]) in sources.reporters
        elif unit.length and len(head) == _HEADER and head[0] >> 6 == 2:
            number, source = head[2] << 8 | head[3], bytes(head[8:12])
            if source in seen:
                step = (number - seen[source]) % 65536
                if not 1 <= step <= _NEAR:
                    break
                steps += 1
            elif 1 <= (number - sources.last.get(source, number)) % 65536 <= _FAR:
                trusted.add(source)
            known += source in trusted
            seen[source] = number
        elif first < -1 or unit.length:
            break
        if first < -1:
            first = -1 if not known else head[1] if head[1] in _RTCP else head[1] & 0x7F
    return _Evidence(known, steps, first)


def _starts(kind: Framing, data: bytearray, place: int) -> list[int]:
    """Where the frame can begin whose RTP header lies at a place."""
    if kind == Framing.FRAMED:
        return [place - 2]
    if place >= 4 and data[place - 4] >> 6 == 1 and kind == Framing.TURN:
        return [place - 4]
    if place >= 4 and data[place - 4] == 0x24 and kind == Framing.RTSP:
        return [place - 4]
    cookie = data.rfind(_COOKIE, max(0, place - _LONGEST_INDICATION_HEAD), place) if kind == Framing.TURN else -1
    return [cookie - 4] if cookie >= 4 else []


def _headers(data: U8) -> I64:
    """Places that look like RTP or RTCP of version 2 with a length before it."""
    if len(data) < 2 + _HEADER:
        return np.zeros(0, dtype=np.int64)
    places = np.flatnonzero((data[2:] >> 6 == 2) & (data[:-2] <= LONGEST_FIRST_FRAME >> 8)).astype(np.int64) + 2
    length = data[places - 2].astype(np.int64) << 8 | data[places - 1]
    return places[(length >= 8) & (length <= LONGEST_FIRST_FRAME)]


def _promising(data: U8, sources: Sources) -> I64:
    """Places of headers of known sources, and of those that another packet follows."""
    at = _headers(data)
    if not len(at):
        return at
    padded = _padded(data)
    found = _paired(padded, at) | _among(_number(padded, at + 8, 4), sources.last)
    if sources.reporters:
        reports = (padded[at + 1] >= 200) & (padded[at + 1] <= 207)
        found |= reports & _among(_number(padded, at + 4, 4), sources.reporters)
    return at[found]


def _among(numbers: I64, known: Iterable[bytes]) -> Bool:
    values = [int.from_bytes(each, "big") for each in known]
    return np.asarray(np.isin(numbers, np.array(values, dtype=np.int64)))


def _padded(data: U8) -> NDArray[np.uint8]:
    return np.concatenate([data, np.zeros(_PADDING, dtype=np.uint8)])


def _number(padded: U8, at: I64, size: int) -> I64:
    """Numbers of 2 or 4 bytes at places."""
    return big_endian(window(padded, at, size), 0, size).astype(np.int64)

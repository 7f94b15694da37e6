"""How datagrams and messages lie in a TCP stream: SIP's own framing, RFC 4571, TURN (RFC 8656 12.5), RTSP.

A framing measures the unit that begins at a place in a buffer. It knows its own form well enough to say when the bytes
are something else: a port proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from earwitness.trace.sdp import SIP_BEGINNINGS
from earwitness.trace.turn import COOKIE, DATA, DATA_ATTRIBUTE, SEND

MOST_UNIT = 2**17
"""Longest message accepted, bytes; frames are shorter by their 16-bit length."""
LONGEST_FIRST_FRAME = 1500
"""Longest first frame of a stream that is taken for RTP: an Ethernet's worth."""
_MOST_HEAD = 2**16
_CONTENT_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\d{1,6})", re.IGNORECASE)
_COOKIE = COOKIE.to_bytes(4, "big")


class Framing(IntEnum):
    """A framing; 0 is none."""

    NONE = 0
    FRAMED = 1
    TURN = 2
    RTSP = 3
    SIP = 4


@dataclass(frozen=True)
class Unit:
    """One unit of a stream: its whole length, and where in it the datagram lies (`length` 0: there is none).

    `sure`: its form cannot be by chance.
    """

    total: int
    start: int = 0
    length: int = 0
    sure: bool = False


_Measured = Unit | None | bool
"""A unit; None if more bytes are needed; False if the bytes are not of this framing."""
Measure = Callable[[bytearray, int], _Measured]


def framed(data: bytearray, at: int) -> _Measured:
    """RFC 4571: 16 bits of length, then RTP or RTCP; with ICE also STUN and DTLS, in Earwitness's path also SIP."""
    if len(data) - at < 3:
        return None
    length = data[at] << 8 | data[at + 1]
    first = data[at + 2]
    if first >> 6 == 2:
        return Unit(2 + length, 2, length) if length >= 8 else False
    if bytes(data[at + 2 : at + 6]) in SIP_BEGINNINGS:
        return Unit(2 + length, 2, length, sure=True)
    if first < 4 and length >= 20:
        return Unit(2 + length) if data[at + 6 : at + 10] == _COOKIE[: len(data) - at - 6] else False
    return Unit(2 + length) if 20 <= first < 64 and length >= 13 else False


def turn(data: bytearray, at: int) -> _Measured:
    """STUN messages, and ChannelData padded to four bytes."""
    if len(data) - at < 5:
        return None
    length = data[at + 2] << 8 | data[at + 3]
    if data[at] >> 6 == 1:
        whole = 4 + (length + 3) // 4 * 4
        return Unit(whole, 4, length if data[at + 4] >> 6 == 2 else 0)
    if data[at] >> 6 or length % 4:
        return False
    if len(data) - at < 20 + length:
        known = data[at + 4 : at + 8] == _COOKIE[: len(data) - at - 4]
        return Unit(20 + length, sure=len(data) - at >= 8) if known else False
    if data[at + 4 : at + 8] != _COOKIE:
        return False
    start, size = _data_attribute(data, at, 20 + length)
    return Unit(20 + length, start, size, sure=True)


def _data_attribute(data: bytearray, at: int, total: int) -> tuple[int, int]:
    """Where the datagram of a Send or Data indication lies in the message, and its length."""
    if data[at] << 8 | data[at + 1] not in (SEND, DATA):
        return 0, 0
    place = 20
    while place + 4 <= total:
        kind, length = data[at + place] << 8 | data[at + place + 1], data[at + place + 2] << 8 | data[at + place + 3]
        if kind == DATA_ATTRIBUTE:
            return (place + 4, length) if place + 4 + length <= total else (0, 0)
        place += 4 + (length + 3) // 4 * 4
    return 0, 0


def rtsp(data: bytearray, at: int) -> _Measured:
    """RFC 2326 10.12: `$`, a channel, 16 bits of length and a packet; or a message in text."""
    if len(data) - at < 4:
        return None
    if data[at] == 0x24:
        length = data[at + 2] << 8 | data[at + 3]
        return Unit(4 + length, 4, length)
    if not all(65 <= byte <= 95 for byte in data[at : at + 4]):
        return False
    return _message(data, at, carries=False)


def sip(data: bytearray, at: int) -> _Measured:
    """RFC 3261 18.3: messages that say their length, and between them empty lines to keep the connection alive."""
    blank = 0
    while blank < 16 and at + blank < len(data) and data[at + blank] in b"\r\n":
        blank += 1
    if blank:
        return Unit(blank)
    if len(data) - at < 4:
        return None
    return _message(data, at, carries=True) if bytes(data[at : at + 4]) in SIP_BEGINNINGS else False


def _message(data: bytearray, at: int, *, carries: bool) -> _Measured:
    head = data.find(b"\r\n\r\n", at, at + _MOST_HEAD)
    if head < 0:
        return None if len(data) - at < _MOST_HEAD else False
    stated = _CONTENT_LENGTH.search(data, at, head + 2)
    total = head + 4 - at + (int(stated[1]) if stated else 0)
    if stated is None and data[head + 4 : head + 6] == b"v=":
        # Without its length, which TCP requires, a description ends with what has come.
        total = len(data) - at
    return Unit(total, 0, total if carries else 0, sure=True) if total <= MOST_UNIT else False


MEASURES: dict[Framing, Measure] = {Framing.FRAMED: framed, Framing.TURN: turn, Framing.RTSP: rtsp, Framing.SIP: sip}


def looks_right(measure: Measure, data: bytes) -> bool:
    """Whether a segment begins a unit: it and those after it, as far as the segment goes, have the framing's form."""
    buffer, at = bytearray(data[:4096]), 0
    for number in range(3):
        unit = measure(buffer, at)
        if not isinstance(unit, Unit):
            # A message whose head is longer than the segment was not refused; of a frame, this is too little.
            return unit is None and (number > 0 or len(buffer) >= 16)
        at += unit.total
        if at >= len(buffer):
            return True
    return True

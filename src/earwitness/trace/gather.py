"""Gather the pieces of a capture file into one set of datagrams, keeping only what call analysis can use.

A file of one piece is kept whole. Of a longer file only packets that look like RTP, RTCP or SIP are kept, so a day of
traffic with a few calls costs no more memory than the calls. The amount kept is limited: past `MOST_PAYLOAD_BYTES` only
the start of each packet is kept, as with a short snap length (timing stays complete, audio does not); past
`MOST_DATAGRAMS` the file is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import I8, I32, I64, U8, Bool
from earwitness.errors import InputError
from earwitness.trace.bytewindow import window
from earwitness.trace.encryption import key_exchange_among
from earwitness.trace.link_layer import Datagrams, Followed, follow
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.records import Records, no_records
from earwitness.trace.sdp import SIP_BEGINNINGS

MOST_DATAGRAMS = 2_500_000
"""RTP, RTCP and SIP packets per file: 7 hours of a call at 50 packets per second each way."""
MOST_PAYLOAD_BYTES = 256 * 2**20
"""Payload kept per file: 3 hours of a two-way G.711 call, more with other codecs."""
_KEPT_OF_EACH = 64
"""Bytes kept per packet beyond that limit: the RTP header with its extensions."""

_LATE = 2**63 - 1
_SIP = np.array(sorted(int.from_bytes(word, "little") for word in SIP_BEGINNINGS), dtype="<u4")


@dataclass(frozen=True, eq=False)
class Gathered:
    """The contents of a capture file. `packets` and the times cover the whole file; `udp` is what was kept.

    `contents`: packets of the whole file by what they carry.
    """

    format: str
    link_types: tuple[int, ...]
    resolution_ns: float
    packets: int
    started_ns: int
    ended_ns: int
    udp: Datagrams
    contents: Counter[str]


def sip_among(data: U8, at: I64, captured: I64 | I32) -> Bool:
    """Which payloads, starting at `at` with `captured` bytes each (n,), begin like SIP."""
    words = window(data, at, 4).view("<u4")[:, 0]
    return np.asarray((captured >= 8) & (_SIP[np.minimum(np.searchsorted(_SIP, words), len(_SIP) - 1)] == words))


def gather(pieces: Iterator[Records], name: str) -> Gathered:
    """Everything the pieces of a file hold. Raises `InputError` if that is more than `MOST_DATAGRAMS`."""
    followed, kept = Followed(), _Kept(name)
    packets, started, ended = 0, _LATE, -_LATE
    for records in pieces:
        if records.complete:
            udp = follow(records, followed, last=True)
        else:
            kept.add(follow(records, followed, _wanted), packets)
        if len(records):
            started = min(started, int(records.time_ns.min()))
            ended = max(ended, int(records.time_ns.max()))
        packets += len(records)
        about = (records.format, records.link_types, records.resolution_ns)
        complete = records.complete
        del records  # free the memory before the next piece is read
    if not complete:
        kept.add(follow(no_records(*about), followed, _wanted, last=True), packets)
        udp = kept.datagrams()
    problems = (*followed.problems(), *kept.problems())
    udp = replace(udp, flows=tuple(followed.flows), problems=problems)
    return Gathered(*about, packets, started if packets else 0, ended if packets else 0, udp, followed.contents())


def _wanted(data: U8, at: I64, captured: I64) -> Bool:
    """Which payloads look like RTP or RTCP (version 2), or begin like SIP or the key exchange of SRTP."""
    rtp = (captured >= 8) & (window(data, at, 1)[:, 0] >> 6 == 2)
    return np.asarray(rtp | sip_among(data, at, captured) | key_exchange_among(data, at, captured))


class _Kept:
    """The datagrams kept so far from one file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bytes = bytearray()
        self._columns: list[tuple[I64, I32, I32, I64, I32, I64, I8, I8]] = []
        self._count = self._cut = 0

    def add(self, found: Datagrams, before: int) -> None:
        """Add the datagrams of a piece; `before` packets of the file precede it."""
        self._count += len(found)
        if self._count > MOST_DATAGRAMS:
            raise InputError(
                "reading the capture",
                self._name,
                f"it holds more than {MOST_DATAGRAMS:,} RTP packets",
                "choose calls (tshark -r FILE -Y 'ip.addr == ADDRESS' -w CALLS) or split it (editcap -c 1000000)",
            )
        captured, total = found.captured, len(self._bytes)
        if total > MOST_PAYLOAD_BYTES:
            self._cut += int(np.count_nonzero(captured > _KEPT_OF_EACH))
            captured = np.minimum(captured, _KEPT_OF_EACH)
        if 2 * int(captured.sum()) >= len(found.data):
            # Most of the piece is wanted, so keeping it unchanged is faster.
            start = total + found.start
            self._bytes += found.data.data
        else:
            start = total + np.cumsum(captured, dtype=np.int64) - captured
            content, ends = found.data.tobytes(), (found.start + captured).tolist()
            self._bytes += b"".join([content[a:b] for a, b in zip(found.start.tolist(), ends, strict=True)])
        self._columns.append(
            (start, captured, found.length, found.time_ns, found.flow, before + found.record, found.way, found.made)
        )

    def datagrams(self) -> Datagrams:
        """All datagrams, without flows and problems."""
        names = ("start", "captured", "length", "time_ns", "flow", "record", "way", "made")
        columns = {}
        for i, name in enumerate(names):
            columns[name] = np.concatenate([column[i] for column in self._columns])
        data: U8 = np.frombuffer(self._bytes, dtype=np.uint8)
        return Datagrams(data=data, flows=(), problems=(), **columns)

    def problems(self) -> tuple[CaptureProblem, ...]:
        """What was cut."""
        if not self._cut:
            return ()
        detail = (
            f"{self._cut} packets past the first {MOST_PAYLOAD_BYTES >> 20} MiB of RTP, of which {_KEPT_OF_EACH} bytes"
            " each are read: timing is complete, audio is not"
        )
        return (CaptureProblem(ProblemKind.TRUNCATED, detail),)

"""Finds RTP streams among UDP datagrams: by header form, by SDP, or by the caller's options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64
from earwitness.trace.bytewindow import codes
from earwitness.trace.call_numbers import call_numbers
from earwitness.trace.clock_back import ClockBack
from earwitness.trace.descriptions import Descriptions
from earwitness.trace.encryption import key_exchanges
from earwitness.trace.incomplete import counted, not_arrived, said_of_those_missing
from earwitness.trace.link_layer import Datagrams
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.rtp import RtpHeaders
from earwitness.trace.rtp_stream import CaptureFacts, RtpStream, StreamOptions, build_stream
from earwitness.trace.sdp import SipMessage
from earwitness.trace.srtp import Attempts
from earwitness.trace.talks import MOST_OVERLAP_NS

MAX_STREAMS = 256
"""Streams returned per capture; the rest are counted but skipped."""
MOST_SOURCES = 16_384
"""SSRCs per flow examined; random data that looks like RTP can have a new SSRC in every packet."""
_MIN_PACKETS = 3
_OVERLAP_NS = 200_000_000
"""Packets of an old SSRC may still arrive after the first one of a new."""
_NEAR = 16
"""Steps of the sequence number that count as consecutive packets of one stream."""


def find_streams(
    found: Datagrams,
    headers: RtpHeaders,
    sip: Sequence[SipMessage],
    *,
    options: StreamOptions,
    clock: str,
    source: str,
    clock_back: ClockBack,
) -> tuple[tuple[RtpStream, ...], list[CaptureProblem]]:
    """The RTP streams among datagrams, the one with the most packets first.

    Raises InputError only if the options give a key and the extra `srtp` is missing.
    """
    described = Descriptions(sip)
    rows = np.flatnonzero(headers.looks_right)
    missed = not_arrived(found, rows)
    missing = rows[missed]
    if len(missing):
        rows = rows[~missed]
    if options.ssrc is not None:
        rows = rows[headers.ssrc[rows] == options.ssrc]
    if options.ports:
        chosen = [flow.source_port in options.ports or flow.destination_port in options.ports for flow in found.flows]
        rows = rows[np.array(chosen, dtype=bool)[found.flow[rows]]] if chosen else rows
    calls = call_numbers(found, rows, sip)
    sources_of = _sources(found, headers, rows)
    number, distinct = codes(sources_of | (calls << 48) if calls.any() else sources_of)
    problems = described.problems()
    count = len(distinct)
    if count > MOST_SOURCES:
        detail = f"{count} sources of RTP-like packets; only the {MOST_SOURCES} with the most packets are examined"
        problems.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
        rows, calls, number, count = _with_most(rows, calls, number)
    sources = [_Source(rows[group], int(calls[group[0]])) for group in _groups(number, count)]
    if len(missing):
        absent = counted(_sources(found, headers, missing))
        for one in sources:
            one.missing = absent[int(_sources(found, headers, one.rows[:1])[0])]

    ports = described.ports
    announced = [bool(options.ports) or flow.destination_port in ports for flow in found.flows]
    accepted: dict[int, list[_Source]] = {}
    others: dict[int, list[_Source]] = {}
    for one in sources:
        flow = int(found.flow[one.rows[0]])
        sound = announced[flow] or _is_continuous(headers.sequence[one.rows].astype(np.int64))
        (accepted if sound else others).setdefault(flow, []).append(one)
    for flow, more in others.items():
        if flow in accepted:
            accepted[flow].extend(more)
    lines = [line for here in accepted.values() for line in _said_of_several(found, headers, here)]
    problems += _strays(lines)
    ordered = sorted((one for here in accepted.values() for one in here), key=lambda one: -len(one.rows))
    if len(ordered) > MAX_STREAMS:
        detail = f"{len(ordered)} RTP streams; only the {MAX_STREAMS} with the most packets are read"
        problems.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
    around = CaptureFacts(
        found=found,
        headers=headers,
        described=described,
        options=options,
        clock=clock,
        source=source,
        exchanges=key_exchanges(found, np.flatnonzero(~headers.looks_right)),
        sections=described.sections,
        attempts=Attempts(),
        encrypted=any(section.encrypted for section in described.sections),
        clock_back=clock_back,
    )
    return tuple(_built(around, one) for one in ordered[:MAX_STREAMS]), problems


@dataclass
class _Source:
    """One SSRC on one flow in one call: its packets' rows (n,), and what is said about it. Mutable, local."""

    rows: I64
    call: int
    note: str = ""
    missing: int = 0
    """Packets of the source that did not arrive whole, in all calls."""


def _sources(found: Datagrams, headers: RtpHeaders, rows: I64) -> I64:
    """The flow and SSRC of datagrams, (n,), as one number."""
    return np.asarray((found.flow[rows].astype(np.int64) << 32) | headers.ssrc[rows])


def _built(around: CaptureFacts, one: _Source) -> RtpStream:
    stream = build_stream(around, one.rows)
    notes = [one.note] if one.note else []
    if one.missing:
        notes.append(said_of_those_missing(one.missing))
    if notes:
        stream = replace(stream, trace=replace(stream.trace, notes=(*stream.trace.notes, *notes)))
    return replace(stream, call=one.call) if one.call else stream


def _with_most(rows: I64, calls: I64, number: NDArray[np.int32]) -> tuple[I64, I64, NDArray[np.int32], int]:
    """Only the rows of the `MOST_SOURCES` groups with the most packets, renumbered."""
    most = np.sort(np.argsort(-np.bincount(number), kind="stable")[:MOST_SOURCES])
    renumbered = np.full(int(number.max()) + 1, -1, dtype=np.int32)
    renumbered[most] = np.arange(len(most), dtype=np.int32)
    keep = renumbered[number] >= 0
    return rows[keep], calls[keep], renumbered[number[keep]], len(most)


def _groups(number: np.ndarray, count: int) -> list[I64]:
    """The rows of each of `count` groups, in order."""
    if count <= 8:
        return [np.flatnonzero(number == group) for group in range(count)]
    order = np.argsort(number, kind="stable")
    return np.split(order, np.searchsorted(number[order], np.arange(1, count)))


def _said_of_several(found: Datagrams, headers: RtpHeaders, sources: Sequence[_Source]) -> list[str]:
    """A line for each call on a flow that has several SSRCs, noted with each of its sources too."""
    if len(sources) == 1:
        return []
    by_call: dict[int, list[_Source]] = {}
    for one in sorted(sources, key=lambda one: -len(one.rows)):
        by_call.setdefault(one.call, []).append(one)
    lines = []
    for here in by_call.values():
        if len(here) > 1:
            lines.append(_several(found, headers, [one.rows for one in here]))
            for one in here:
                one.note = str(CaptureProblem(ProblemKind.STRAY_SSRC, lines[-1]))
    return lines


def _several(found: Datagrams, headers: RtpHeaders, members: Sequence[I64]) -> str:
    """Several SSRCs on one flow in one call, the one with the most packets first: one after the other, or together."""
    flow = found.flows[int(found.flow[members[0][0]])]
    others = sum(len(one) for one in members[1:])
    in_order = sorted(members, key=lambda one: int(found.time_ns[one].min()))
    ends = [int(found.time_ns[one].max()) for one in in_order]
    begins = [int(found.time_ns[one].min()) for one in in_order[1:]]
    apart = all(end <= begin + MOST_OVERLAP_NS for end, begin in zip(ends, begins, strict=False))
    first = int(headers.ssrc[members[0][0]])
    how = "one after the other" if apart else "at the same time"
    return (
        f"{flow}: {len(members) - 1} more SSRCs with {others} packets besides the {len(members[0])} of 0x{first:08x},"
        f" {how}"
    )


def _strays(lines: Sequence[str]) -> list[CaptureProblem]:
    """What is said of the whole capture about flows with several SSRCs; each stream has the line of its flow."""
    if not lines:
        return []
    detail = lines[0] if len(lines) == 1 else f"{len(lines)} flows or calls have several SSRCs; the first is {lines[0]}"
    return [CaptureProblem(ProblemKind.STRAY_SSRC, detail)]


def _is_continuous(sequence: I64) -> bool:
    """Whether sequence numbers mostly advance in small steps, as in RTP, unlike random data that looks like RTP."""
    if len(sequence) < _MIN_PACKETS:
        return False
    step = (sequence[1:] - sequence[:-1]) & 0xFFFF
    # A mirror port captures every packet twice: copies neither speak for it nor against it.
    step = step[step > 0]
    return len(step) + 1 >= _MIN_PACKETS and bool(np.count_nonzero(step <= _NEAR) * 2 >= len(step))

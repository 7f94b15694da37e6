"""Finds RTP streams among UDP datagrams: by header form, by SDP, or by the caller's options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64
from earwitness.trace.bytewindow import codes
from earwitness.trace.encryption import key_exchanges
from earwitness.trace.link_layer import Datagrams
from earwitness.trace.meaning import descriptions
from earwitness.trace.problem import CaptureProblem, ProblemKind
from earwitness.trace.rtp import RtpHeaders
from earwitness.trace.rtp_stream import CaptureFacts, RtpStream, StreamOptions, build_stream
from earwitness.trace.sdp import SipMessage
from earwitness.trace.talks import MOST_OVERLAP_NS

MAX_STREAMS = 256
"""Streams returned per capture; the rest are counted but skipped."""
MOST_SOURCES = 16_384
"""SSRCs per flow examined; random data that looks like RTP can have a new SSRC in every packet."""
_MIN_PACKETS = 3
_MOST_CALLS = 1000
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
) -> tuple[tuple[RtpStream, ...], list[CaptureProblem]]:
    """The RTP streams among datagrams, the one with the most packets first.

    Raises InputError only if the options give a key and the extra `srtp` is missing.
    """
    described = descriptions(sip)
    rows = np.flatnonzero(headers.looks_right)
    if options.ssrc is not None:
        rows = rows[headers.ssrc[rows] == options.ssrc]
    if options.ports:
        chosen = [flow.source_port in options.ports or flow.destination_port in options.ports for flow in found.flows]
        rows = rows[np.array(chosen, dtype=bool)[found.flow[rows]]] if chosen else rows
    calls = _call_numbers(found, rows, sip)
    number, distinct = codes((calls << 48) | (found.flow[rows].astype(np.int64) << 32) | headers.ssrc[rows])
    problems: list[CaptureProblem] = []
    count = len(distinct)
    if count > MOST_SOURCES:
        detail = f"{count} sources of RTP-like packets; only the {MOST_SOURCES} with the most packets are examined"
        problems.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
        rows, number, count = _with_most(rows, number)
    groups = _groups(number, count)

    announced_ports = {one.section.port for one in described}
    announced = [bool(options.ports) or flow.destination_port in announced_ports for flow in found.flows]
    accepted: dict[int, list[I64]] = {}
    others: dict[int, list[I64]] = {}
    for group in groups:
        members = rows[group]
        flow = int(found.flow[members[0]])
        sound = announced[flow] or _is_continuous(headers.sequence[members].astype(np.int64))
        (accepted if sound else others).setdefault(flow, []).append(members)

    for flow, members_list in others.items():
        if flow in accepted:
            accepted[flow].extend(members_list)
    for members_list in accepted.values():
        members_list.sort(key=len, reverse=True)
        if len(members_list) > 1:
            problems.append(_several(found, headers, members_list))
    ordered = sorted((m for members_list in accepted.values() for m in members_list), key=len, reverse=True)
    if len(ordered) > MAX_STREAMS:
        detail = f"{len(ordered)} RTP streams; only the {MAX_STREAMS} with the most packets are read"
        problems.append(CaptureProblem(ProblemKind.UNSUPPORTED, detail))
    call_of = dict(zip(rows.tolist(), calls.tolist(), strict=True)) if calls.any() else {}
    around = CaptureFacts(
        found=found,
        headers=headers,
        described=described,
        options=options,
        clock=clock,
        source=source,
        exchanges=key_exchanges(found),
        sections=tuple(one.section for one in described),
    )
    streams = tuple(build_stream(around, members) for members in ordered[:MAX_STREAMS])
    if call_of:
        firsts = (int(members[0]) for members in ordered[:MAX_STREAMS])
        streams = tuple(replace(one, call=call_of[first]) for one, first in zip(streams, firsts, strict=True))
    return streams, problems


def _with_most(rows: I64, number: NDArray[np.int32]) -> tuple[I64, NDArray[np.int32], int]:
    """Only the rows of the `MOST_SOURCES` groups with the most packets, renumbered."""
    most = np.sort(np.argsort(-np.bincount(number), kind="stable")[:MOST_SOURCES])
    renumbered = np.full(int(number.max()) + 1, -1, dtype=np.int32)
    renumbered[most] = np.arange(len(most), dtype=np.int32)
    keep = renumbered[number] >= 0
    return rows[keep], renumbered[number[keep]], len(most)


def _groups(number: np.ndarray, count: int) -> list[I64]:
    """The rows of each of `count` groups, in order."""
    if count <= 8:
        return [np.flatnonzero(number == group) for group in range(count)]
    order = np.argsort(number, kind="stable")
    return np.split(order, np.searchsorted(number[order], np.arange(1, count)))


def _call_numbers(found: Datagrams, rows: I64, sip: Sequence[SipMessage]) -> I64:
    """Which call of those on its ports each datagram belongs to, (n,): 0 for the first.

    A second call may use the ports, and even the SSRC, of a first one; its SDP has another Call-ID.
    """
    calls: dict[tuple[str, int], dict[str, int]] = {}
    for message in sip:
        for section in message.media:
            seen = calls.setdefault((section.address, section.port), {})
            if len(seen) < _MOST_CALLS:
                seen.setdefault(message.call_id, message.time_ns)
    number = np.zeros(len(rows), dtype=np.int64)
    reused = {place: sorted(seen.values())[1:] for place, seen in calls.items() if len(seen) > 1}
    if not reused:
        return number
    for flow, ends in enumerate(found.flows):
        begins = reused.get((ends.destination, ends.destination_port)) or reused.get((ends.source, ends.source_port))
        if begins:
            mine = found.flow[rows] == flow
            number[mine] = np.searchsorted(np.array(begins), found.time_ns[rows[mine]], side="right")
    return number


def _several(found: Datagrams, headers: RtpHeaders, members: Sequence[I64]) -> CaptureProblem:
    """Several SSRCs on one flow, the one with the most packets first: one after the other, or together."""
    flow = found.flows[int(found.flow[members[0][0]])]
    others = sum(len(one) for one in members[1:])
    in_order = sorted(members, key=lambda one: int(found.time_ns[one].min()))
    ends = [int(found.time_ns[one].max()) for one in in_order]
    begins = [int(found.time_ns[one].min()) for one in in_order[1:]]
    apart = all(end <= begin + MOST_OVERLAP_NS for end, begin in zip(ends, begins, strict=False))
    first = int(headers.ssrc[members[0][0]])
    how = "one after the other" if apart else "at the same time"
    detail = (
        f"{flow}: {len(members) - 1} more SSRCs with {others} packets besides the {len(members[0])} of 0x{first:08x},"
        f" {how}"
    )
    return CaptureProblem(ProblemKind.STRAY_SSRC, detail)


def _is_continuous(sequence: I64) -> bool:
    """Whether sequence numbers mostly advance in small steps, as in RTP, unlike random data that looks like RTP."""
    if len(sequence) < _MIN_PACKETS:
        return False
    step = (sequence[1:] - sequence[:-1]) & 0xFFFF
    # A mirror port captures every packet twice: copies neither speak for it nor against it.
    step = step[step > 0]
    return len(step) + 1 >= _MIN_PACKETS and bool(np.count_nonzero(step <= _NEAR) * 2 >= len(step))

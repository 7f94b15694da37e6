"""Joins the captures at the sender and the receiver of one direction into one trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earwitness.arrays import I64
from earwitness.errors import InputError
from earwitness.trace.model import LOST, UNKNOWN, Payloads, Trace


def pair(sent: Trace, received: Trace) -> Trace:
    """One trace from the captures at both ends: `sent_ns` from the sender's, `arrived_ns` from the receiver's.

    Each capture's own times are in its `arrived_ns`. Packets are matched by the sequence number and timestamp on the
    wire (16 and 32 bits), so the two captures may begin in different cycles. Rows are in order of arrival; a packet
    that arrived twice has two rows with the same `sent_ns`. Packets seen only by the receiver keep `sent_ns` `UNKNOWN`;
    packets seen only by the sender come last, as `LOST`. `notes` counts all of these.

    Raises `InputError` if the two are not the same stream (another SSRC, or no packet in common).
    """
    if sent.ssrc != received.ssrc:
        happened = f"SSRC 0x{sent.ssrc:08x} was sent, 0x{received.ssrc:08x} received"
        raise InputError(
            "pairing captures", f"{sent.source} and {received.source}", happened, "give two ends of one call"
        )
    sent, received = sent.take(sent.arrived), received.take(received.arrived)
    notes: list[str] = []
    sent_rows, sent_twice = _first_of_each(_keys(sent))
    sent_keys = _keys(sent)[sent_rows]
    order = np.argsort(sent_keys)
    keys = _keys(received)
    place = np.searchsorted(sent_keys[order], keys)
    place = np.minimum(place, max(len(order) - 1, 0))
    matched = sent_keys[order][place] == keys if len(order) else np.zeros(len(keys), dtype=bool)
    if len(sent) and len(received) and not matched.any():
        happened = "they have no packet in common"
        raise InputError(
            "pairing captures", f"{sent.source} and {received.source}", happened, "give both ends of one call"
        )
    partner = np.full(len(received), -1, dtype=np.int64)
    if len(order):
        partner[matched] = sent_rows[order][place[matched]]
    arrived = np.zeros(len(sent), dtype=bool)
    arrived[partner[matched]] = True
    lost_rows = sent_rows[~arrived[sent_rows]]
    lost_rows = lost_rows[np.argsort(sent.sequence[lost_rows], kind="stable")]

    came_again = len(received) - len(_first_of_each(keys)[0])
    if sent_twice:
        notes.append(f"{sent_twice} packets captured more than once at the sender; their first time is used")
    if came_again:
        notes.append(f"{came_again} duplicate arrivals")
    if not matched.all():
        notes.append(f"{int((~matched).sum())} packets seen only at the receiver; their sending time is unknown")
    notes += _edges(sent, sent_rows, arrived, len(received) > 0)

    # The receiver's numbering may lag by whole cycles: align it to the sender's.
    shift = 0
    if matched.any():
        row = int(np.flatnonzero(matched)[0])
        shift = int(sent.sequence[partner[row]] - received.sequence[row])
        shift_ticks = int(sent.timestamp[partner[row]] - received.timestamp[row])
    else:
        shift_ticks = 0
    sent_ns = np.where(matched, sent.arrived_ns[partner] if len(sent) else UNKNOWN, UNKNOWN)
    size = _joined(received.size, sent.size[lost_rows])
    return Trace(
        sequence=_joined(
            np.where(matched, sent.sequence[partner] if len(sent) else 0, received.sequence + shift),
            sent.sequence[lost_rows],
        ),
        timestamp=_joined(
            np.where(matched, sent.timestamp[partner] if len(sent) else 0, received.timestamp + shift_ticks),
            sent.timestamp[lost_rows],
        ),
        payload_type=_joined(received.payload_type, sent.payload_type[lost_rows]),
        marker=_joined(received.marker, sent.marker[lost_rows]),
        size=size,
        sent_ns=_joined(sent_ns, sent.arrived_ns[lost_rows]),
        arrived_ns=_joined(received.arrived_ns, np.full(len(lost_rows), LOST, dtype=np.int64)),
        clock_rate=sent.clock_rate,
        ssrc=sent.ssrc,
        sent_clock=sent.arrived_clock,
        arrived_clock=received.arrived_clock,
        payloads=_within(_payloads(sent, received, partner, lost_rows), size),
        source=sent.source if sent.source == received.source else f"{sent.source} > {received.source}",
        notes=tuple(dict.fromkeys([*sent.notes, *received.notes, *notes])),
    )


def _keys(trace: Trace) -> I64:
    """Identifies a packet within a stream: 32 bits of timestamp and 16 of sequence number."""
    return np.asarray(((trace.timestamp & 0xFFFF_FFFF) << 16) | (trace.sequence & 0xFFFF))


def _first_of_each(keys: I64) -> tuple[I64, int]:
    """The first row of each distinct key, in order, and the number of repeated rows."""
    _, first = np.unique(keys, return_index=True)
    return np.sort(first), len(keys) - len(first)


def _edges(sent: Trace, rows: I64, arrived: NDArray[np.bool_], any_received: bool) -> list[str]:
    """Notes on losses at the very beginning or end, which may mean that the capture was shorter."""
    if not any_received or not len(rows):
        return []
    came = arrived[rows]
    if not came.any():
        return []
    head, tail = int(came.argmax()), int(came[::-1].argmax())
    named = (("first", "begun later", head), ("last", "ended earlier", tail))
    return [
        f"the {which} {count} packets sent never arrived: the receiver's capture may have {when}"
        for which, when, count in named
        if count >= 3
    ]


def _joined(received: NDArray[Any], lost: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([received, lost.astype(received.dtype, copy=False)])


def _within(payloads: Payloads | None, size: NDArray[Any]) -> Payloads | None:
    """Clip payloads to the packet's size: a packet changed on its way can be longer at one end than at the other."""
    if payloads is None:
        return None
    return replace(payloads, captured=np.minimum(payloads.captured, size).astype(np.int32))


def _payloads(sent: Trace, received: Trace, partner: I64, lost_rows: I64) -> Payloads | None:
    """Each packet's bytes, from the capture that kept more of them."""
    if sent.payloads is None and received.payloads is None:
        return None
    none = Payloads(np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32))
    first = received.payloads if received.payloads is not None else none
    second = sent.payloads if sent.payloads is not None else none
    shift = len(first.data)
    n = len(received)
    start, captured = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int32)
    if received.payloads is not None:
        start[:], captured[:] = first.start, first.captured
    lost_start, lost_captured = np.zeros(len(lost_rows), dtype=np.int64), np.zeros(len(lost_rows), dtype=np.int32)
    if sent.payloads is not None:
        rows = np.flatnonzero(partner >= 0)
        better = rows[second.captured[partner[rows]] > captured[rows]]
        start[better], captured[better] = second.start[partner[better]] + shift, second.captured[partner[better]]
        lost_start, lost_captured = second.start[lost_rows] + shift, second.captured[lost_rows]
    return Payloads(
        np.concatenate([first.data, second.data]),
        np.concatenate([start, lost_start]),
        np.concatenate([captured, lost_captured]),
        first.cut_by or second.cut_by,
    )

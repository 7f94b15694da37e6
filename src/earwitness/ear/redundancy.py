"""Recovers lost packets from RED and FEC as a receiver does, for the ear alone: the network's loss stays the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from earwitness.arrays import I64, Bool
from earwitness.ear.repair import Added, Restoring, repairs_beside, repairs_within
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import LOST, UNKNOWN, Payloads, Trace
from earwitness.trace.redundancy import RedBlocks, red_blocks, rows_of_role
from earwitness.trace.steps import most_frequent, usual_ticks


@dataclass(frozen=True, eq=False)
class Recovered:
    """A trace as a receiver of redundancy has it.

    `trace`: RED packets hold their primary block alone, and packets that never arrived but whose copy did have rows of
    their own, which arrive with the packet that completed them. `from_red`, `from_fec`: how many of those. `early`:
    packets that arrived late themselves, of which a copy came before. `notes`: for the reader.
    """

    trace: Trace
    from_red: int = 0
    from_fec: int = 0
    early: int = 0
    notes: tuple[str, ...] = ()


def recovered(trace: Trace, repair: Trace | None = None) -> Recovered:
    """Use the redundancy in a trace: RED (RFC 2198), ULPFEC (RFC 5109), FlexFEC (RFC 8627).

    Payload types are known from the trace's `formats`. `repair`: a second stream with FEC for this one (another SSRC or
    port), on the same arrival clock. A trace without redundancy is returned as it is. Never raises; packets that
    cannot be used are counted in `notes`.
    """
    red = rows_of_role(trace, "redundancy")
    others = rows_of_role(trace, "repair")
    if trace.payloads is None or not (len(red) or len(others) or (repair is not None and len(repair))):
        return Recovered(trace)
    notes: list[str] = []
    blocks = red_blocks(trace.payloads, trace.size, red)
    if _is_text(trace, blocks):
        return Recovered(trace)
    if len(blocks.malformed):
        notes.append(f"{len(blocks.malformed)} RED packets are malformed; not decoded")
    plain = _primary(trace, blocks)
    added = Added()
    from_red, early = _from_red(plain, blocks, added)
    repairs = [
        *repairs_within(plain, blocks, notes),
        *(repairs_beside(plain, repair, notes) if repair is not None else ()),
    ]
    from_fec, early_fec = Restoring(trace, plain, added, notes).all(repairs)
    early += early_fec
    if from_red or from_fec:
        notes.append(
            f"{from_red} lost packets recovered from RED, {from_fec} from FEC, as a receiver does; the network's"
            " loss figures still count them"
        )
    if early:
        notes.append(f"{early} packets arrived after a redundant copy of them, which is heard")
    return Recovered(_joined(plain, added), from_red, from_fec, early, tuple(notes))


def _is_text(trace: Trace, blocks: RedBlocks) -> bool:
    """Whether RED carries T.140 text (RFC 4103), which nobody hears."""
    names = {trace.formats[number].name.lower() for number in set(blocks.payload_type.tolist()) & set(trace.formats)}
    return "t140" in names


def _primary(trace: Trace, blocks: RedBlocks) -> Trace:
    """The trace with each RED packet replaced by its primary block."""
    assert trace.payloads is not None
    first = blocks.take(blocks.age == 0)
    payload_type, size = trace.payload_type.copy(), trace.size.copy()
    start, captured = trace.payloads.start.copy(), trace.payloads.captured.copy()
    payload_type[first.row], size[first.row] = first.payload_type, first.size
    start[first.row], captured[first.row] = first.start, first.captured
    return replace(
        trace, payload_type=payload_type, size=size, payloads=replace(trace.payloads, start=start, captured=captured)
    )


def _is_speech(trace: Trace, payload_type: int) -> bool:
    return trace.formats.get(payload_type, Encoding("", trace.clock_rate)).role == "speech"


def _from_red(plain: Trace, blocks: RedBlocks, added: Added) -> tuple[int, int]:
    """Add what RED has of packets that are missing, or that come later: how many of each."""
    assert plain.payloads is not None
    speech = [number for number in range(128) if _is_speech(plain, number)]
    here = plain.arrived
    useful = (blocks.age > 0) & (blocks.size > 0) & (blocks.captured == blocks.size)
    copies = blocks.take(useful & np.isin(blocks.payload_type, speech) & here[blocks.row])
    rows = np.flatnonzero(here & np.isin(plain.payload_type, speech))
    if not len(copies) or not len(rows):
        return 0, 0
    # Every packet that arrived, in the order of its timestamp, by its first arrival.
    rows = rows[np.lexsort((plain.arrived_ns[rows], plain.timestamp[rows]))]
    known, first = np.unique(plain.timestamp[rows], return_index=True)
    rows = rows[first]
    sequence = plain.sequence[rows]
    step = usual_ticks(sequence, plain.timestamp[rows]) or max(1, plain.clock_rate // 50)

    when = plain.timestamp[copies.row] - copies.offset
    arrived_ns = plain.arrived_ns[copies.row]
    after = np.searchsorted(known, when)
    same = known[np.minimum(after, len(known) - 1)] == when
    ahead = same & (arrived_ns < plain.arrived_ns[rows[np.minimum(after, len(known) - 1)]])
    # What would lie before the first packet or after the last may never have been sent.
    inside = ~same & (after > 0) & (after < len(known))
    low = sequence[np.maximum(after - 1, 0)]
    gap = sequence[np.minimum(after, len(known) - 1)] - low - 1
    told = sequence[np.minimum(after, len(known) - 1)]
    by_age = plain.sequence[copies.row] - _distance(copies.age, plain.sequence[copies.row] - told, same)
    by_time = low + np.clip(np.rint((when - known[np.maximum(after - 1, 0)]) / step), 1, np.maximum(gap, 1))
    number = np.where((by_age > low) & (by_age <= low + gap), by_age, by_time).astype(np.int64)
    number = np.where(same, told, number)
    chosen = np.flatnonzero(ahead | (inside & (gap > 0)))
    chosen = chosen[np.lexsort((arrived_ns[chosen], number[chosen]))]
    chosen = chosen[np.unique(number[chosen], return_index=True)[1]]
    data = plain.payloads.data
    for i in chosen.tolist():
        begin = int(copies.start[i])
        added.sequence.append(int(number[i]))
        added.timestamp.append(int(when[i]))
        added.payload_type.append(int(copies.payload_type[i]))
        added.marker.append(False)
        added.arrived_ns.append(int(arrived_ns[i]))
        added.place.append(int(copies.row[i]) - 0.5)
        added.payload.append(data[begin : begin + int(copies.size[i])].tobytes())
    early = int(ahead[chosen].sum())
    return len(chosen) - early, early


def _distance(age: I64, apart: I64, known: Bool) -> I64:
    """By how many numbers the packet that is repeated precedes the one with the copy, (k,).

    For each age of a block what it is most often, by the copies of packets that are `known`: a sender may repeat only
    what it sent three packets before.
    """
    found = age.copy()
    for one in np.unique(age).tolist():
        usual = most_frequent(apart[known & (age == one) & (apart > 0)])
        found[age == one] = one if usual is None else usual
    return found


def _joined(plain: Trace, added: Added) -> Trace:
    """The trace with the packets recovered, in order of arrival."""
    if not added.sequence:
        return plain
    assert plain.payloads is not None
    more = len(added.sequence)
    sequence = np.array(added.sequence, dtype=np.int64)
    new = Payloads.of(added.payload)
    # A packet of two captures that never arrived has a row of its own, with its sending time: it arrives now.
    missing = np.flatnonzero(~plain.arrived)
    row_of = dict(zip(plain.sequence[missing].tolist(), missing.tolist(), strict=True))
    replaced = [row_of[number] for number in added.sequence if number in row_of]
    sent_ns = [int(plain.sent_ns[row_of[number]]) if number in row_of else UNKNOWN for number in added.sequence]
    held = len(plain.payloads.data)
    start = np.concatenate([plain.payloads.start, new.start + held])
    captured = np.concatenate([plain.payloads.captured, new.captured])
    whole = Trace(
        sequence=np.concatenate([plain.sequence, sequence]),
        timestamp=np.concatenate([plain.timestamp, np.array(added.timestamp, dtype=np.int64)]),
        payload_type=np.concatenate([plain.payload_type, np.array(added.payload_type, dtype=np.uint8)]),
        marker=np.concatenate([plain.marker, np.array(added.marker, dtype=bool)]),
        size=np.concatenate([plain.size, new.captured]),
        sent_ns=np.concatenate([plain.sent_ns, np.array(sent_ns, dtype=np.int64)]),
        arrived_ns=np.concatenate([plain.arrived_ns, np.array(added.arrived_ns, dtype=np.int64)]),
        clock_rate=plain.clock_rate,
        ssrc=plain.ssrc,
        sent_clock=plain.sent_clock,
        arrived_clock=plain.arrived_clock,
        payloads=Payloads(np.concatenate([plain.payloads.data, new.data]), start, captured, plain.payloads.cut_by),
        source=plain.source,
        notes=plain.notes,
        formats=plain.formats,
    )
    place = np.concatenate([np.arange(len(plain), dtype=np.float64), np.array(added.place)])
    keep = np.ones(len(whole), dtype=bool)
    keep[replaced] = False
    lost = whole.arrived_ns == LOST
    order = np.lexsort((np.where(lost, whole.sequence, 0), place, np.where(lost, 0, whole.arrived_ns), lost))
    assert len(order) == len(plain) + more
    return whole.take(order[keep[order]])

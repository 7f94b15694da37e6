"""How long packets last whose content cannot be read, told by timestamps and sizes, where the packet time changes.

A packet lasts no longer than until the next one by number; it lasts less where the sender paused in between. A long
packet is told from a short one before a pause by its size: it holds more bytes, or many like it follow each other.
"""

from __future__ import annotations

import numpy as np

from earwitness.arrays import I32, I64, Bool
from earwitness.speech.codecs.base import MOST_PACKET_MS
from earwitness.trace.model import Trace

_FEWEST = 3
"""Packets of one length that a sender sends at least."""
_RARE = 50
"""A step of fewer than one packet in this many is chance: a pause, or a jump."""
_NEARLY = 8
"""Within this part of the usual step, steps are the usual one as a sender's clock gives it ..."""
_CLOCKED = 10
"""... and if one step in this many is such a one, all are: no packet time is told by them."""


def told_lengths(trace: Trace, rows: I64, usual: int) -> I64 | None:
    """The length of the packets in `rows` (m,) of a trace, ticks; None if all have the `usual` one."""
    sequence, first, whose = np.unique(trace.sequence, return_index=True, return_inverse=True)
    step = np.diff(trace.timestamp[first], append=trace.timestamp[first[-1:]])
    follows = np.diff(sequence, append=sequence[-1:]) == 1
    plausible = follows & (step > 0) & (step <= trace.clock_rate * MOST_PACKET_MS // 1000)
    mine = np.zeros(len(trace), dtype=bool)
    mine[rows] = True
    plausible &= mine[first]
    near = plausible & (np.abs(step - usual) * _NEARLY <= usual)
    beside = int(np.count_nonzero(near & (step != usual)))
    if not bool(np.any(plausible & ~near)) or beside * _CLOCKED >= int(np.count_nonzero(plausible)):
        return None
    size = trace.size[first]
    known = near | _other_lengths(step, size, plausible & ~near, near, usual)
    length = np.where(near, usual, np.where(known, step, 0))
    if not bool(np.any(known & ~near)):
        return None
    return _completed(length, size, known, usual)[whose][rows]


def _other_lengths(step: I64, size: I32, other: Bool, near: Bool, usual: int) -> Bool:
    """Which of the packets (k,) whose step is not the usual one last as long as that."""
    usual_size = float(np.median(size[near])) if near.any() else 0.0
    least = max(_FEWEST, -(-int(np.count_nonzero(other | near)) // _RARE))
    found = _in_runs(step, other) & (step > usual) & (size >= usual_size)
    values, counts = np.unique(step[other], return_counts=True)
    often = counts >= least
    for value, count in zip(values[often].tolist(), counts[often].tolist(), strict=True):
        these = other & (step == value)
        if value < usual:
            found |= these
            continue
        # Halfway between what the usual packets hold and as much more as the step is longer.
        larger = these & (2 * size * usual > usual_size * (usual + value))
        if int(np.count_nonzero(larger)) >= least:
            # Where the rate varies, some long packets are small, but few are as small as short ones.
            most = 4 * int(np.count_nonzero(larger)) >= 3 * count
            found |= these & (size > usual_size) if most else larger
    return found


def _in_runs(step: I64, other: Bool) -> Bool:
    """Which packets (k,) are among `_FEWEST` of the same step, one after the other."""
    same = (step[1:] == step[:-1]) & other[1:] & other[:-1]
    run = np.zeros(len(step), dtype=bool)
    whole = same[1:] & same[:-1]
    for begin in range(_FEWEST):
        run[begin : begin + len(whole)] |= whole
    return run


def _completed(length: I64, size: I32, known: Bool, usual: int) -> I64:
    """The lengths (k,), those not known (before a loss or a pause) as of most packets of the same size, else as of the
    packet before."""
    found = length.copy()
    places = np.flatnonzero(known)
    before = np.searchsorted(places, np.arange(len(length)), side="right") - 1
    found[~known] = np.where(before >= 0, length[places[np.maximum(before, 0)]], usual)[~known]
    pairs, counts = np.unique(size[known].astype(np.int64) << 32 | length[known], return_counts=True)
    pairs = pairs[np.argsort(counts, kind="stable")]
    of_size = dict(zip((pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), strict=True))
    alike = [of_size.get(each, 0) for each in size[~known].tolist()]
    found[~known] = np.where(np.array(alike) > 0, alike, found[~known])
    return found

"""What payload types of no sure meaning are by the form of their packets: RED (RFC 2198), telephone events (RFC 4733).

Heard as the codec in it, RED is noise, and events have no pace: both are worth a guess that is said to be one. A guess
that the packets contradict is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from earwitness.arrays import I64
from earwitness.trace.bytewindow import window
from earwitness.trace.contradiction import contradiction
from earwitness.trace.encoding import Encoding
from earwitness.trace.meaning import Meaning
from earwitness.trace.model import Trace
from earwitness.trace.redundancy import red_blocks

_EXAMINED = 128
_LEAST_RED, _LEAST_EVENTS = 8, 3
_MOST_INSIDE = 4
"""Payload types in one RED stream: a codec or two, comfort noise, events."""
_FIRST_DYNAMIC = 96
_EVENT_BYTES, _MOST_EVENT, _RESERVED = 4, 16, 0x40
"""One event, digits to flash, and the bit that is 0 (RFC 4733 2.3, 3.2)."""


def by_form(trace: Trace, known: Meaning, encrypted: Callable[[], bool] = lambda: False) -> Meaning:
    """The meaning of a stream's payload types, where those not surely known have the form of RED or of events, or
    contradict what was guessed. `encrypted` tells whether the packets look encrypted, which is asked only where it
    matters.

    The meaning itself if none does.
    """
    for number in sorted(known.unsure):
        rows = np.flatnonzero(trace.payload_type == number)[:_EXAMINED]
        inside = _inside_red(trace, rows, number)
        clock = trace.clock_rate
        if inside:
            form, encoding = f"RED (RFC 2198) of type {inside[0]}", Encoding("red", clock)
        elif _are_events(trace, rows, number):
            form, encoding = "telephone events (RFC 4733)", Encoding("telephone-event", clock)
        else:
            guess = known.formats[number].name.lower() if number in known.formats else ""
            why = contradiction(trace, rows, guess, encrypted)
            if not why:
                continue
            form, encoding = "", Encoding("", clock)
        doubt = f"payload type {number} guessed to be {encoding.name}/{clock}: its packets have the form of {form}"
        if not form:
            doubt = f"payload type {number} unknown, with an RTP clock of {clock} Hz; not {guess}: {why}"
        doubts = tuple(one for one in known.doubts if not one.startswith(f"payload type {number} "))
        known = replace(known, formats={**known.formats, number: encoding}, doubts=(*doubts, doubt))
        if number == known.main_number:
            known = replace(known, main=encoding, codec_from="guessed" if form else "unknown")
    return known


def _inside_red(trace: Trace, rows: I64, number: int) -> tuple[int, ...]:
    """The payload types inside packets of RED, the primary one first; empty if they are something else.

    Nearly all packets parse, most repeat an earlier block, and the timestamps of what they repeat are in the stream.
    """
    if trace.payloads is None or len(rows) < _LEAST_RED:
        return ()
    first = window(trace.payloads.data, trace.payloads.start[rows], 1)[:, 0]
    if np.count_nonzero(first >= 0x80) * 2 < len(rows):
        return ()
    blocks = red_blocks(trace.payloads, trace.size, rows)
    again = (blocks.age > 0) & (blocks.offset > 0)
    repeated = np.isin(trace.timestamp[blocks.row[again]] - blocks.offset[again], trace.timestamp)
    inside = np.bincount(blocks.payload_type[blocks.age == 0], minlength=128)
    types = np.unique(blocks.payload_type)
    sound = (
        len(blocks.malformed) * 20 <= len(rows)
        and np.count_nonzero(again) * 2 >= len(rows)
        and np.count_nonzero(repeated) * 2 >= len(repeated)
        and len(types) <= _MOST_INSIDE
        and number not in types
    )
    return tuple(one for one in np.argsort(-inside, kind="stable").tolist() if inside[one]) if sound else ()


def _are_events(trace: Trace, rows: I64, number: int) -> bool:
    """Whether packets are telephone events: four bytes of their form, and timestamps that stand still."""
    if trace.payloads is None or len(rows) < _LEAST_EVENTS or number < _FIRST_DYNAMIC:
        return False
    if not (trace.size[rows] == _EVENT_BYTES).all() or not (trace.payloads.captured[rows] == _EVENT_BYTES).all():
        return False
    fields = window(trace.payloads.data, trace.payloads.start[rows], 2)
    likely = (fields[:, 0] <= _MOST_EVENT) & ((fields[:, 1] & _RESERVED) == 0)
    return bool(likely.all()) and len(np.unique(trace.timestamp[rows])) * 2 <= len(rows)

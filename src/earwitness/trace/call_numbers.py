"""Which of several calls on the same ports a datagram belongs to, by the Call-IDs in the capture's SIP."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earwitness.arrays import I64
from earwitness.trace.descriptions import comparable
from earwitness.trace.link_layer import Datagrams
from earwitness.trace.sdp import SipMessage

_MOST_CALLS = 1000
_SILENCE_NS = 500_000_000
"""Between two calls on the same ports nothing arrives for at least this long."""


def call_numbers(found: Datagrams, rows: I64, sip: Sequence[SipMessage]) -> I64:
    """Which call of those on its ports each datagram belongs to, (n,): 0 for the first.

    A second call may use the ports, and even the SSRC, of a first one; its SDP has another Call-ID. So has that of the
    other leg of one call through a server that leaves the media to the phones: there the stream goes on, and is one.
    """
    calls: dict[tuple[str, int], dict[str, int]] = {}
    places: dict[int, tuple[str, int]] = {}
    for message in sip:
        for section in message.media:
            # Messages with the same SDP share one value.
            place = places.get(id(section))
            if place is None:
                place = places[id(section)] = (comparable(section.address), section.port)
            seen = calls.setdefault(place, {})
            if len(seen) < _MOST_CALLS:
                seen.setdefault(message.call_id, message.time_ns)
    number = np.zeros(len(rows), dtype=np.int64)
    if not any(len(seen) > 1 for seen in calls.values()):
        return number
    flow_of = found.flow[rows]
    order = np.argsort(flow_of, kind="stable")
    bounds = np.searchsorted(flow_of[order], np.arange(len(found.flows) + 1)).tolist()
    index = {flow: number for number, flow in enumerate(found.flows)}
    for flow, ends in enumerate(found.flows):
        mine = order[bounds[flow] : bounds[flow + 1]]
        there = calls.get((ends.destination, ends.destination_port), {})
        back = calls.get((ends.source, ends.source_port), {})
        if len(mine) and max(len(there), len(back)) > 1:
            # A call begins with its offer, at whichever end that is.
            begun = dict(there)
            for call, time in back.items():
                begun[call] = min(time, begun.get(call, time))
            times = found.time_ns[rows[mine]]
            other = index.get(ends.reversed, flow)
            both = np.concatenate((times, found.time_ns[rows[order[bounds[other] : bounds[other + 1]]]]))
            begins = _in_silence(np.array(sorted(begun.values())[1:], dtype=np.int64), np.sort(both))
            number[mine] = np.searchsorted(begins, times, side="right")
    return number


def _in_silence(begins: I64, times: I64) -> I64:
    """Those beginnings of calls, sorted, before which and after which there are packets, but none for a while around
    it; `times` (n,) of those in both directions, sorted. Of several in one silence, the first."""
    after = np.searchsorted(times, begins, side="right")
    inside = (after > 0) & (after < len(times))
    begins, after = begins[inside], after[inside]
    silent = times[after] - times[after - 1] >= _SILENCE_NS
    _, first = np.unique(after[silent], return_index=True)
    return np.asarray(begins[silent][first])

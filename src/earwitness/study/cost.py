"""The cost of a study: calls, time, and bytes that relays carry."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from earwitness.call.plan import CallPlan
from earwitness.path.kind import TorUse
from earwitness.speech.codecs.registry import payload_bytes
from earwitness.speech.reference import DEFAULT_SPEECH, speech
from earwitness.study.design import PlannedCall

CELL_BYTES = 514
"""A fixed-length cell on a link of version 4 and later (tor-spec, "Cell Packet format")."""
CELL_DATA_BYTES = 498
"""Data bytes in a RELAY_DATA cell (tor-spec: a 509-byte payload minus an 11-byte relay header)."""
CONTROL_CELLS = 1.03
"""SENDMEs (one for 50 data cells of a stream, one for 100 of a circuit), circuit building, RTCP, SIP."""
_RTP_HEADER_BYTES = 12

LOAD_OVERHEAD_S = 6.0
"""Extra time for a call with background traffic: building its circuits, and settling."""


@dataclass(frozen=True)
class Cost:
    """The cost of calls. Bytes count both directions."""

    calls: int
    over_tor: int
    circuits: int
    """Circuits of all calls together."""
    speech_s: float
    """Duration of speech; both directions talk at once."""
    busy_s: float
    """Duration of all calls placed one after another."""
    tor_bytes: float
    """Cells that calls put on circuits, in bytes, at the client; excludes the lab's background traffic."""
    relayed_bytes: float
    """The same cells, counted once per relay that carries them."""


def cost(calls: Iterable[PlannedCall]) -> Cost:
    """The total cost of these calls."""
    count = over_tor = circuits = 0
    speech_s = busy_s = tor_bytes = relayed = 0.0
    for call in calls:
        plan = call.plan
        count += 1
        seconds = speech_seconds(plan)
        speech_s += seconds
        busy_s += seconds + plan.tail_s + plan.path_kind.overhead_s
        busy_s += LOAD_OVERHEAD_S if plan.load_spec else 0.0
        uses = plan.tor_use
        if uses is not None:
            over_tor += 1
            circuits += uses.circuits
            own = tor_bytes_of(plan)
            tor_bytes += own
            relayed += own * uses.relays
    return Cost(count, over_tor, circuits, speech_s, busy_s, tor_bytes, relayed)


def tor_bytes_of(plan: CallPlan) -> float:
    """Bytes of the cells that one call puts on its circuits, both directions; 0 without circuits."""
    uses = plan.tor_use
    if uses is None:
        return 0.0
    packet_ms, cells = _packets(plan.codec, uses)
    return 2 * speech_seconds(plan) * 1000.0 / packet_ms * cells * uses.copies * CELL_BYTES * CONTROL_CELLS


def speech_seconds(plan: CallPlan) -> float:
    """Duration of the call's speech."""
    return plan.seconds if plan.seconds is not None else _speech_seconds(plan.speech or DEFAULT_SPEECH)


@cache
def _speech_seconds(name: str) -> float:
    return speech(name).seconds


def _packets(spec: str, uses: TorUse) -> tuple[float, int]:
    """Milliseconds of speech per packet, and cells per packet."""
    codec, payload = payload_bytes(spec)
    return codec.packet_ms, math.ceil((payload + _RTP_HEADER_BYTES + uses.wrapping_bytes) / CELL_DATA_BYTES)

"""What a study will take: calls, time, and bytes that relays carry."""

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
"""What a RELAY_DATA cell carries (tor-spec: a 509-byte payload less an 11-byte relay header)."""
CONTROL_CELLS = 1.03
"""SENDMEs (one for 50 data cells of a stream, one for 100 of a circuit), circuit building, RTCP, SIP."""
_RTP_HEADER_BYTES = 12

LOAD_OVERHEAD_S = 6.0
"""More where the call brings a load: its circuits, and what it needs to settle."""


@dataclass(frozen=True)
class Cost:
    """What calls take. Bytes are of both directions."""

    calls: int
    over_tor: int
    circuits: int
    """That calls have, one each time or several at once."""
    speech_s: float
    """Speech, both directions at once."""
    busy_s: float
    """Time with a call under way, one at a time."""
    tor_bytes: float
    """Cells that calls put on circuits, in bytes, at the client's side; what a load of the lab carries is not in it."""
    relayed_bytes: float
    """The same cells counted at every relay that carries them."""


def cost(calls: Iterable[PlannedCall]) -> Cost:
    """What these calls take in all."""
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
    """Bytes of the cells that one call puts on its circuits, both directions; 0 where it has none."""
    uses = plan.tor_use
    if uses is None:
        return 0.0
    packet_ms, cells = _packets(plan.codec, uses)
    return 2 * speech_seconds(plan) * 1000.0 / packet_ms * cells * uses.copies * CELL_BYTES * CONTROL_CELLS


def speech_seconds(plan: CallPlan) -> float:
    """How long the call's speech is."""
    return plan.seconds if plan.seconds is not None else _speech_seconds(plan.speech or DEFAULT_SPEECH)


@cache
def _speech_seconds(name: str) -> float:
    return speech(name).seconds


def _packets(spec: str, uses: TorUse) -> tuple[int, int]:
    """Milliseconds of speech in a packet, and the cells that a packet fills."""
    codec, payload = payload_bytes(spec)
    return codec.packet_ms, math.ceil((payload + _RTP_HEADER_BYTES + uses.wrapping_bytes) / CELL_DATA_BYTES)

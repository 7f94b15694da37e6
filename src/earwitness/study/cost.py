"""What a study will take: calls, time, and bytes that relays carry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from earwitness.call.plan import CallPlan
from earwitness.speech.codecs.opus import Opus
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.speech.reference import DEFAULT_SPEECH, speech
from earwitness.study.design import PlannedCall

CELL_BYTES = 514
"""A fixed-length cell on a link of version 4 and later (tor-spec, "Cell Packet format")."""
CELL_DATA_BYTES = 498
"""What a RELAY_DATA cell carries (tor-spec: a 509-byte payload less an 11-byte relay header)."""
CONTROL_CELLS = 1.03
"""SENDMEs (one for 50 data cells of a stream, one for 100 of a circuit), circuit building, RTCP, SIP."""
_RTP_AND_FRAME_BYTES = 12 + 2
"""RTP header, and the length that frames it in a stream (RFC 4571)."""
_LARGEST_OTHER_PAYLOAD = 160
"""G.711 at 20 ms; GSM and Speex are smaller: one cell a packet all the same."""

OVERHEAD_S = {"direct": 1.0, "tor": 3.2}
"""From the end of one call's speech to the start of the next one's, without the tail: start captures and phones, open
the path, dial, collect. Measured in the lab on 2 idle cores; a study that runs goes by its own calls instead."""

LOAD_OVERHEAD_S = 6.0
"""More where the call brings a load: its circuits, and what it needs to settle."""


@dataclass(frozen=True)
class Cost:
    """What calls take. Bytes are of both directions."""

    calls: int
    over_tor: int
    speech_s: float
    """Speech, both directions at once."""
    busy_s: float
    """Time with a call under way, one at a time."""
    tor_bytes: float
    """Cells that calls put on circuits, in bytes, at the client's side; what a load of the lab carries is not in it."""
    relayed_bytes: float
    """The same cells counted at every relay that carries them."""


def cost(calls: Iterable[PlannedCall], overhead_s: Mapping[str, float] = OVERHEAD_S) -> Cost:
    """What these calls take in all."""
    count = over_tor = 0
    speech_s = busy_s = tor_bytes = relayed = 0.0
    for call in calls:
        plan = call.plan
        count += 1
        seconds = speech_seconds(plan)
        speech_s += seconds
        busy_s += seconds + plan.tail_s + overhead_s.get(plan.path, OVERHEAD_S["tor"])
        busy_s += LOAD_OVERHEAD_S if plan.load_spec else 0.0
        if plan.over_tor:
            over_tor += 1
            own = tor_bytes_of(plan)
            tor_bytes += own
            relayed += own * plan.hops
    return Cost(count, over_tor, speech_s, busy_s, tor_bytes, relayed)


def tor_bytes_of(plan: CallPlan) -> float:
    """Bytes of the cells that one call puts on its circuit, both directions; 0 where it has none."""
    if not plan.over_tor:
        return 0.0
    packet_ms, cells = _packets(plan.codec)
    return 2 * speech_seconds(plan) * 1000.0 / packet_ms * cells * CELL_BYTES * CONTROL_CELLS


def speech_seconds(plan: CallPlan) -> float:
    """How long the call's speech is."""
    return plan.seconds if plan.seconds is not None else _speech_seconds(plan.speech or DEFAULT_SPEECH)


@cache
def _speech_seconds(name: str) -> float:
    return speech(name).seconds


@cache
def _packets(spec: str) -> tuple[int, int]:
    """Milliseconds of speech in a packet, and the cells that a packet fills."""
    codec = codec_of(spec)
    payload = _LARGEST_OTHER_PAYLOAD
    if isinstance(codec, Opus):
        payload = math.ceil(codec.bitrate * codec.packet_ms / 8000)
    return codec.packet_ms, math.ceil((payload + _RTP_AND_FRAME_BYTES) / CELL_DATA_BYTES)

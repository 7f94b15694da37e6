"""What is known of a call when its last packet has come and nothing has been heard or scored yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from earwitness.archive.record import Circuit, Endpoint, Speech
from earwitness.call.plan import CallPlan
from earwitness.call.self_check import Instrument
from earwitness.errors import Outcome

CALL_CLOCK = "call"
"""CLOCK_MONOTONIC plus one offset to Unix time, read when the call starts: the clock of every time in a call."""


CALLEE_MARKS = {
    "first_rtp_received": "first_media_to_callee",
    "invite_received": "invite_received",
    "first_rtp_sent": "callee_first_rtp_sent",
    "speech_ended": "callee_speech_ended",
}
"""Milestones of the callee's phone that a call keeps, and their names there: times of the callee's clock."""


@dataclass(frozen=True, kw_only=True)
class EndFacts:
    """What one end's phone and capture said of themselves."""

    endpoint: Endpoint
    send_deviation_p99_ms: float | None = None
    send_deviation_max_ms: float | None = None
    rtcp_rtt_ms: float | None = None
    packets_dropped_by_kernel: int = 0
    clock_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class PlacedCall:
    """One call, placed; its captures are in its folder. Plain values: it travels to other processes."""

    call_id: str
    started_at: str
    plan: CallPlan
    codec: str
    """Canonical specification of the codec."""
    outcome: Outcome
    outcome_detail: str = ""
    stage: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    network: str = "lab"
    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    circuit: Circuit = field(default_factory=Circuit)
    hops: int = 0
    path_details: Mapping[str, Any] = field(default_factory=dict)
    path_setup_ms: float | None = None
    caller: EndFacts = field(default_factory=lambda: EndFacts(endpoint=Endpoint()))
    callee: EndFacts = field(default_factory=lambda: EndFacts(endpoint=Endpoint()))
    speech: Speech = field(default_factory=Speech)
    milestones: Mapping[str, int] = field(default_factory=dict)
    clocks: Mapping[str, str] = field(default_factory=lambda: {"caller": CALL_CLOCK, "callee": CALL_CLOCK})
    """Name of the clock that each end's times were read from; two on two machines."""
    instrument: Instrument = field(default_factory=Instrument)
    load: Mapping[str, Any] = field(default_factory=dict)
    """As `earwitness.archive.record.CallRecord.load`."""
    notes: tuple[str, ...] = ()

    def end(self, name: str) -> EndFacts:
        """`caller` or `callee`."""
        return self.caller if name == "caller" else self.callee

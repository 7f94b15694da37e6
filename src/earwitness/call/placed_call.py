"""What is known about a call after its last packet, before it is heard and scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from earwitness.archive.facts import CallParty
from earwitness.archive.record import CallRecord
from earwitness.call.plan import CallPlan
from earwitness.capture.live import CaptureSummary
from earwitness.phone.call_report import PhoneReport

CALL_CLOCK = "call"
"""CLOCK_MONOTONIC plus a fixed offset to Unix time, read when the call starts: the clock of all times in a call."""


CALLEE_MARKS = {
    "first_rtp_received": "first_media_to_callee",
    "invite_received": "invite_received",
    "first_rtp_sent": "callee_first_rtp_sent",
    "speech_ended": "callee_speech_ended",
}
"""Milestones of the callee's phone that a call stores, and their names in its record; times on the callee's clock."""


@dataclass(frozen=True, kw_only=True)
class EndFacts:
    """Facts reported by one end's phone and capture."""

    send_deviation_p99_ms: float | None = None
    """99th percentile deviation of its sending times from the ptime grid; None if the phone does not report it."""
    send_deviation_max_ms: float | None = None
    rtcp_rtt_ms: float | None = None
    """Median round-trip time from RTCP reports."""
    packets_dropped_by_kernel: int = 0
    """Packets that the capture missed."""

    @classmethod
    def of(cls, report: PhoneReport | None, captured: CaptureSummary | None) -> EndFacts:
        """The facts in an end's report and capture summary; None: there is none."""
        sending = report.sending if report else None
        return cls(
            send_deviation_p99_ms=sending.p99_ms if sending else None,
            send_deviation_max_ms=sending.max_ms if sending else None,
            rtcp_rtt_ms=report.rtcp.median_round_trip_ms if report else None,
            packets_dropped_by_kernel=captured.dropped if captured else 0,
        )


@dataclass(frozen=True, kw_only=True)
class SetupFacts:
    """How the path was opened, as seen by the call."""

    hops: int = 0
    """Relays in the circuit; as requested until the path is open."""
    path_setup_ms: float | None = None
    """Time to open the path; None: it did not open."""


@dataclass(frozen=True, kw_only=True)
class PlacedCall:
    """One placed call; its captures are in its folder. Plain values, so that it can be sent to other processes."""

    plan: CallPlan
    record: CallRecord
    """The record so far: without rows, with the callee's times on the callee's clock."""
    setup: SetupFacts = SetupFacts()
    caller: EndFacts = EndFacts()
    callee: EndFacts = EndFacts()
    clocks: Mapping[str, str] = field(default_factory=lambda: {"caller": CALL_CLOCK, "callee": CALL_CLOCK})
    """Name of the clock of each end's times; two clocks if there are two machines."""

    def end(self, name: str) -> EndFacts:
        """`caller` or `callee`."""
        return self.caller if name == "caller" else self.callee

    def party(self, name: str) -> CallParty:
        """`caller` or `callee`."""
        return self.record.caller if name == "caller" else self.record.callee

    def with_note(self, note: str) -> PlacedCall:
        """The call with one more note for the record."""
        return replace(self, record=replace(self.record, notes=(*self.record.notes, note)))

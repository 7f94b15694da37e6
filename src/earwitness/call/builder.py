"""What is known so far of a call that is being placed; whatever happens, a `PlacedCall` can be made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from earwitness.archive.record import Circuit, Endpoint, Speech
from earwitness.call.placed_call import CALL_CLOCK, EndFacts, PlacedCall
from earwitness.call.plan import CallPlan
from earwitness.call.self_check import Instrument
from earwitness.capture.live import CaptureSummary
from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.phone.call_report import PhoneReport


@dataclass
class CallBuilder:
    """What is known so far of a call that is being placed."""

    call_id: str
    plan: CallPlan
    network: str
    command: tuple[str, ...] = ()
    codec: str = ""
    started_at: str = ""
    started_monotonic_ns: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    circuit: Circuit = field(default_factory=Circuit)
    hops: int = 0
    path_details: dict[str, Any] = field(default_factory=dict)
    path_setup_ms: float | None = None
    endpoints: dict[str, Endpoint] = field(default_factory=lambda: {"caller": Endpoint(), "callee": Endpoint()})
    reports: dict[str, PhoneReport] = field(default_factory=dict)
    captured: dict[str, CaptureSummary] = field(default_factory=dict)
    milestones: dict[str, int] = field(default_factory=dict)
    clocks: dict[str, str] = field(default_factory=lambda: {"caller": CALL_CLOCK, "callee": CALL_CLOCK})
    speech: Speech = field(default_factory=Speech)
    instrument: Instrument = field(default_factory=Instrument)
    load: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def live(self, outcome: Outcome, failure: EarwitnessError | None = None) -> PlacedCall:
        """The call as it stands, ended so."""
        evidence = dict(failure.evidence) if isinstance(failure, CallFailure) else {}
        return PlacedCall(
            call_id=self.call_id,
            started_at=self.started_at,
            plan=self.plan,
            codec=self.codec or self.plan.codec,
            outcome=outcome,
            outcome_detail=str(failure) if failure else "",
            stage=failure.tried if failure else "",
            evidence={**evidence, **self._sip_log(outcome)},
            network=self.network,
            command=self.command,
            versions=self.versions,
            circuit=self.circuit,
            hops=self.hops,
            path_details=self.path_details,
            path_setup_ms=self.path_setup_ms,
            caller=self._end("caller"),
            callee=self._end("callee"),
            speech=self.speech,
            milestones=self.milestones,
            clocks=self.clocks,
            instrument=self.instrument,
            load=self.load,
            notes=tuple(self.notes),
        )

    def _end(self, name: str) -> EndFacts:
        report, captured = self.reports.get(name), self.captured.get(name)
        return EndFacts(
            endpoint=self.endpoints[name],
            send_deviation_p99_ms=report.sending.p99_ms if report and report.sending else None,
            send_deviation_max_ms=report.sending.max_ms if report and report.sending else None,
            rtcp_rtt_ms=report.rtcp.median_round_trip_ms if report else None,
            packets_dropped_by_kernel=captured.dropped if captured else 0,
            clock_steps=len(captured.clock_steps) if captured else 0,
        )

    def _sip_log(self, outcome: Outcome) -> dict[str, Any]:
        """The SIP dialogue of both ends, for a call that failed."""
        if outcome is Outcome.COMPLETED:
            return {}
        return {
            f"sip_{name}": [dataclasses.asdict(entry) for entry in report.sip] for name, report in self.reports.items()
        }

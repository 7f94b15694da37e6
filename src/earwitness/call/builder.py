"""What is known so far about a call being placed; a `PlacedCall` can be made from it at any time."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

from earwitness.archive.layout import CAPTURES
from earwitness.archive.record import CallRecord
from earwitness.call.placed_call import CALL_CLOCK, EndFacts, PlacedCall, SetupFacts
from earwitness.call.plan import CallPlan
from earwitness.capture.live import CaptureSummary
from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.phone.call_report import PhoneReport


class CallBuilder:
    """Collects the facts of a call while it is placed.

    Each fact goes into `record` as soon as it is known (`builder.record = replace(builder.record, ...)`), so that
    nothing is lost, however the call ends.
    """

    def __init__(
        self, call_id: str, plan: CallPlan, network: str, command: tuple[str, ...] = (), *, started_at: str = ""
    ) -> None:
        self.plan = plan
        self.record = CallRecord(
            call_id=call_id,
            started_at=started_at,
            command=command,
            seed=plan.seed,
            network=network,
            plan=plan.to_dict(),
            path=plan.path,
            codec=plan.codec,
            phone=plan.phone,
            outcome=Outcome.FAILED,  # until the call ends otherwise
        )
        # As requested until the path is open: a call that fails earlier still belongs to that path.
        self.setup = SetupFacts(hops=plan.hops if plan.chooses_relays else 0)
        self.started_monotonic_ns = 0
        """CLOCK_MONOTONIC at the call's start; 0: not started."""
        self.reports: dict[str, PhoneReport] = {}
        """Reports of the phones at the end of the call, by end."""
        self.captured: dict[str, CaptureSummary] = {}
        """Summaries of the captures, by end."""
        self.clocks = dict.fromkeys(CAPTURES, CALL_CLOCK)
        self.notes: list[str] = []

    @property
    def call_id(self) -> str:
        """Identity of the call."""
        return self.record.call_id

    def placed(self, outcome: Outcome, failure: EarwitnessError | None = None) -> PlacedCall:
        """The call with what is known now, and this outcome."""
        evidence = dict(failure.evidence) if isinstance(failure, CallFailure) else {}
        ends = {end: EndFacts.of(self.reports.get(end), self.captured.get(end)) for end in CAPTURES}
        most = {end: facts.send_deviation_max_ms for end, facts in ends.items()}
        return PlacedCall(
            plan=self.plan,
            record=replace(
                self.record,
                outcome=outcome,
                outcome_detail=str(failure) if failure else "",
                stage=failure.tried if failure else "",
                evidence={**evidence, **self._sip_log(outcome)},
                instrument=replace(self.record.instrument, send_deviation_max_ms=most),
                milestones_clock=self.clocks["caller"],
                notes=tuple(self.notes),
            ),
            setup=self.setup,
            caller=ends["caller"],
            callee=ends["callee"],
            clocks=self.clocks,
        )

    def _sip_log(self, outcome: Outcome) -> dict[str, Any]:
        """The SIP dialogue of both ends, for a call that failed."""
        if outcome is Outcome.COMPLETED:
            return {}
        return {
            f"sip_{name}": [dataclasses.asdict(entry) for entry in report.sip] for name, report in self.reports.items()
        }

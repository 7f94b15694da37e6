"""The record of a call, put together from what the placing and the hearing of it gave."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from earwitness.archive.layout import CAPTURES, DIRECTIONS
from earwitness.archive.record import CallRecord, Listening
from earwitness.archive.schema import Row
from earwitness.call.clocks import OnOneClock, one_clock
from earwitness.call.placed_call import PlacedCall
from earwitness.call.rows import blank_row, ended
from earwitness.errors import EarwitnessError, Outcome


def compose(
    live: PlacedCall,
    timed_on: OnOneClock,
    codec: str,
    rows: Sequence[Row],
    outcome: Outcome,
    detail: str,
    listening: Mapping[str, Listening],
    notes: Sequence[str],
) -> CallRecord:
    """The record of a call that ended so; `codec` as it was heard, `rows` one a direction, not ended yet."""
    return CallRecord(
        call_id=live.call_id,
        started_at=live.started_at,
        command=live.command,
        versions=live.versions,
        seed=live.plan.seed,
        clocks=timed_on.clocks,
        network=live.network,
        plan=live.plan.to_dict(),
        path=live.plan.path,
        path_details=live.path_details,
        circuit=live.circuit,
        caller=live.caller.endpoint,
        callee=live.callee.endpoint,
        codec=codec,
        phone=live.plan.phone,
        speech=live.speech,
        outcome=outcome,
        outcome_detail=detail,
        stage=live.stage,
        evidence=live.evidence,
        load=live.load,
        instrument={
            **asdict(live.instrument),
            "send_deviation_max_ms": {end: live.end(end).send_deviation_max_ms for end in CAPTURES},
        },
        milestones=timed_on.milestones,
        milestones_clock=live.clocks["caller"],
        listening=listening,
        rows=tuple(ended(row, outcome, detail) for row in rows),
        notes=tuple(notes),
    )


def unheard(live: PlacedCall, fault: Exception) -> CallRecord:
    """The record of a placed call of which evaluating met a fault of ours: what is known without, and the fault."""
    happened = f"{type(fault).__name__}: {fault}"
    remedy = "its captures are kept; report this with the evidence in its record"
    detail = str(EarwitnessError("hearing and scoring", live.call_id, happened, remedy))
    if live.outcome is not Outcome.COMPLETED:
        detail = f"{live.outcome_detail}; and then: {detail}"
    timed_on = one_clock(live, {}, [])
    told = replace(
        live,
        evidence={**live.evidence, "traceback": traceback.format_exception(fault)},
        stage=live.stage or "hearing and scoring",
    )
    return compose(
        told,
        timed_on,
        live.codec,
        [blank_row(live, direction, timed_on.milestones) for direction in DIRECTIONS],
        Outcome.FAILED if live.outcome is Outcome.COMPLETED else live.outcome,
        detail,
        {},
        live.notes,
    )

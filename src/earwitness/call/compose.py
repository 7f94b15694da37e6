"""The record of a call, completed with the results of hearing it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace

from earwitness.archive.facts import Rendering
from earwitness.archive.layout import DIRECTIONS
from earwitness.archive.record import CallRecord
from earwitness.archive.schema import Row
from earwitness.call.clocks import OnOneClock, one_clock
from earwitness.call.placed_call import PlacedCall
from earwitness.call.rows import blank_row
from earwitness.errors import EarwitnessError, Outcome


def compose(
    placed: PlacedCall,
    timed_on: OnOneClock,
    codec: str,
    rows: Sequence[Row],
    outcome: Outcome,
    detail: str,
    listening: Mapping[str, Rendering],
    notes: Sequence[str],
) -> CallRecord:
    """The record of a call with this outcome; `codec` as found in the media, `rows` one per direction."""
    return replace(
        placed.record,
        clocks=timed_on.clocks,
        milestones=timed_on.milestones,
        codec=codec,
        outcome=outcome,
        outcome_detail=detail,
        listening=listening,
        rows=tuple(row.ended(outcome, detail) for row in rows),
        notes=tuple(notes),
    )


def unheard(placed: PlacedCall, fault: Exception) -> CallRecord:
    """The record of a call whose evaluation failed by an internal error: what is known without it, and the error."""
    record = placed.record
    happened = f"{type(fault).__name__}: {fault}"
    remedy = "its captures are kept; report this with the evidence in its record"
    detail = str(EarwitnessError("hearing and scoring", record.call_id, happened, remedy))
    if record.outcome is not Outcome.COMPLETED:
        detail = f"{record.outcome_detail}; and then: {detail}"
    timed_on = one_clock(placed, {}, [])
    rows = [blank_row(placed, direction, timed_on.milestones) for direction in DIRECTIONS]
    outcome = Outcome.FAILED if record.outcome is Outcome.COMPLETED else record.outcome
    return replace(
        compose(placed, timed_on, record.codec, rows, outcome, detail, {}, record.notes),
        evidence={**record.evidence, "traceback": traceback.format_exception(fault)},
        stage=record.stage or "hearing and scoring",
    )

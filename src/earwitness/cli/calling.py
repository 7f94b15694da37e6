"""What `call` and `demo` share: a lab around them, a table that fills while calls run, records for `--json`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from earwitness.cli.common import output, print_records, progress

if TYPE_CHECKING:
    from earwitness.archive.schema import Row
    from earwitness.call.plan import CallPlan
    from earwitness.lab.plan import LabPlan

DEFAULT_OUT = Path("earwitness-data")


def in_a_lab(lab_plan: LabPlan, inside: Callable[[], int], *, own: bool = False) -> int:
    """Run `inside` in a lab: this command line is run again in owned namespaces unless it is there already."""
    from earwitness.lab.sandbox import in_sandbox
    from earwitness.lab.session import rerun_in_lab

    return inside() if in_sandbox() else rerun_in_lab(lab_plan, own=own)


def place_calls(plans: Sequence[CallPlan], lab_plan: LabPlan, out: Path, *, json: bool) -> int:
    """Place calls in a lab, show them as they come, and print what they gave; the exit code: 0 when all completed."""
    return asyncio.run(_place_calls(plans, lab_plan, out, json))


async def _place_calls(plans: Sequence[CallPlan], lab_plan: LabPlan, out: Path, json: bool) -> int:
    from earwitness.archive.dataset import Dataset
    from earwitness.archive.stored import StoredCall
    from earwitness.call.lab_network import LabNetwork
    from earwitness.call.run import run_calls
    from earwitness.errors import CallFailure
    from earwitness.lab.session import lab_for
    from earwitness.report.table import live_table, report

    rows: list[Row] = []
    failed = 0
    exit_code = 0
    with Dataset.open_or_create(out) as dataset, live_table(progress) as table:

        def booting(stage: str, fraction: float) -> None:
            table.stage("lab", "the lab", f"{stage} ({fraction:.0%})")
            if not progress.is_terminal:
                progress.print(f"lab: {stage}", markup=False)

        def told(call_id: str, title: str, stage: str) -> None:
            table.stage(call_id, title, stage)
            if not progress.is_terminal:
                progress.print(f"{title}: {stage}", markup=False)

        async with lab_for(lab_plan, booting) as lab:
            table.finished("lab", ())
            running = run_calls(plans, LabNetwork(lab), dataset, command=tuple(sys.argv), told=told)
            async for call_id, ended in running:
                if isinstance(ended, StoredCall):
                    table.finished(call_id, ended.rows)
                    rows.extend(ended.rows)
                    if ended.record.outcome != "completed":
                        failed += 1
                        exit_code = exit_code or CallFailure.exit_code
                        progress.print(f"earwitness: {ended.record.outcome_detail}", markup=False, soft_wrap=True)
                else:
                    table.finished(call_id, ())
                    failed += 1
                    exit_code = exit_code or ended.exit_code
                    progress.print(f"earwitness: {ended}", markup=False, soft_wrap=True)
    if json:
        print_records(row.to_dict() for row in rows)
    else:
        output.print(report(rows))
    done = len(plans) - failed
    progress.print(f"{done} of {len(plans)} calls completed; data set: {out}", markup=False, soft_wrap=True)
    return exit_code

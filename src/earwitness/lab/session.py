"""How a command gets a lab: the running one, or one of its own.

    def call(...):                                  # the command
        plan = LabPlan(...)
        if not in_sandbox():
            raise SystemExit(rerun_in_lab(plan))    # this very command line again, inside
        asyncio.run(place_call(plan))

    async def place_call(plan):
        async with lab_for(plan, on_event) as lab:  # joined or started; arranged for the plan
            ...

A running lab is used if it serves the plan (`LabPlan.served_by`), by one command at a time; others wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import AsyncIterator

from earwitness.errors import EarwitnessError
from earwitness.events import Listener, StageReached, ignore
from earwitness.geography import share_places
from earwitness.lab import keeper
from earwitness.lab.lab import LAB_DIR, LAB_FILE, Lab
from earwitness.lab.plan import LabPlan
from earwitness.netns.joining import run_joined
from earwitness.netns.sandbox import rerun_inside

_WAIT_STEP_S = 0.2


def rerun_in_lab(plan: LabPlan, *, own: bool = False) -> int:
    """Run this command line again where a lab for the plan is up or can be started; returns its exit code.

    With `own`, a running lab is not used.

    Raises:
        EarwitnessError: this machine does not permit it, or the joined lab went down meanwhile.
    """
    share_places(host.place for host in plan.hosts())
    record = None if own else keeper.current()
    if record is None or not record.ready or not plan.served_by(record.plan):
        return rerun_inside()
    return rerun_joined(record)


def rerun_joined(record: keeper.KeeperRecord) -> int:
    """Run this command line again inside the running lab; returns its exit code.

    Raises:
        EarwitnessError: it cannot be joined, or went down meanwhile.
    """
    code = run_joined(record.init, [sys.executable, *sys.orig_argv[1:]])
    if code != 0 and not record.init.alive():
        raise EarwitnessError("using", "the lab that was up", "it went down meanwhile", "run the command again")
    return code


@contextlib.asynccontextmanager
async def lab_for(plan: LabPlan, on_event: Listener = ignore) -> AsyncIterator[Lab]:
    """Inside a sandbox: its running lab, arranged for the plan and reserved until exit; else a new lab.

    Raises:
        EarwitnessError: not in a sandbox, or a part of the lab did not start.
    """
    if not LAB_FILE.exists():
        async with Lab.started(plan, on_event) as lab:
            yield lab
        return
    lock = os.open(LAB_DIR / "in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _take(lock, on_event)
        with Lab.joined() as lab:
            lab.arrange(
                caller_place=plan.caller_place, callee_place=plan.callee_place, links=plan.links, seed=plan.seed
            )
            on_event(StageReached("joined the lab that is up", 1.0))
            yield lab
    finally:
        os.close(lock)


async def _take(lock: int, on_event: Listener) -> None:
    reported = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not reported:
                on_event(StageReached("waiting for another command that uses the lab", 0.0))
                reported = True
            await asyncio.sleep(_WAIT_STEP_S)
        else:
            return

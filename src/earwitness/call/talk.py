"""The call itself: register, dial, talk, hang up; and the reports of both ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

from earwitness.call.builder import CallBuilder
from earwitness.call.defaults import ANSWER_TIMEOUT_S, STREAM_WATCH_S
from earwitness.call.measurement_point import MeasurementPoint, RunningCapture
from earwitness.call.network import Network
from earwitness.call.placed_call import CALLEE_MARKS
from earwitness.call.plan import CallPlan, Injection
from earwitness.errors import CallFailure, EarwitnessError, Outcome
from earwitness.events import InstructionsGiven, Listener, StageReached
from earwitness.path.base import OpenPath
from earwitness.phone.base import Phone
from earwitness.phone.call_report import PhoneReport, StrangeReport
from earwitness.phone.manual import ManualPhone, instructions

_REPORT_TIMEOUT_S = 12.0


async def talk(
    plan: CallPlan,
    network: Network,
    opened: OpenPath,
    phones: Mapping[str, Phone],
    builder: CallBuilder,
    on_event: Listener,
) -> None:
    """Register if requested, dial, talk until both have spoken, hang up; or wait for the user's phones to do so."""
    caller, callee = phones["caller"], phones["callee"]
    if isinstance(caller, ManualPhone) and isinstance(callee, ManualPhone):
        with instructions(caller, callee, plan.wait_s, network.scratch) as text:
            on_event(InstructionsGiven(text))
            on_event(StageReached("waiting for your phones"))
            await caller.call(callee.uri)
            on_event(StageReached("your phones talk"))
            await _until_over(plan, network, opened, caller)
        return
    if plan.sip_server:
        on_event(StageReached("registering"))
        await asyncio.gather(caller.register(), callee.register())
    if not (plan.inject and plan.inject.what == "callee-absent"):
        await callee.listen()
    on_event(StageReached("dialling"))
    await caller.call(callee.uri, ANSWER_TIMEOUT_S)
    seconds = builder.record.speech.seconds or 0.0
    on_event(StageReached(f"talking, {seconds:.0f} s"))
    await _until_over(plan, network, opened, caller)


async def _until_over(plan: CallPlan, network: Network, opened: OpenPath, caller: Phone) -> None:
    """Wait until the caller's phone has finished; the loss of the path or of the other machine ends the call."""
    finish = asyncio.create_task(caller.finish(plan.tail_s))
    begun = time.monotonic()
    try:
        while not finish.done():
            await asyncio.wait({finish}, timeout=STREAM_WATCH_S)
            if (lost := await path_lost(plan, network, opened)) is not None:
                raise lost
            if plan.inject and time.monotonic() - begun > plan.inject.after_s:
                _strike(plan.inject, network, opened)
        await finish
    finally:
        finish.cancel()
        await asyncio.gather(finish, return_exceptions=True)  # the cause of the call's end is already known


def _strike(inject: Injection, network: Network, opened: OpenPath) -> None:
    """Inject the plan's fault, if it is one for the middle of a call; calling it twice is harmless."""
    if inject.what in opened.faults:
        opened.faults[inject.what]()
    elif inject.kills_a_relay and opened.circuit.relays and network.lab_facts is not None:
        hop = {"kill-guard": 0, "kill-middle": 1, "kill-exit": -1}[inject.what]
        network.lab_facts.lose_relay(opened.circuit.relays[hop].nickname)


async def collect(
    ends: Mapping[str, MeasurementPoint],
    phones: Mapping[str, Phone],
    captures: Mapping[str, RunningCapture],
    builder: CallBuilder,
) -> CallFailure | None:
    """Stop what is still running and store the reports of both ends, whatever happened before.

    Returns the error of a failed capture, an unreadable report or an unreachable end, for a call that would otherwise
    be complete.
    """
    failure: CallFailure | None = None
    for name, phone in phones.items():
        try:
            await ends[name].within_reach()
            async with asyncio.timeout(_REPORT_TIMEOUT_S):
                await phone.hang_up()
                builder.reports[name] = await phone.report()
        except (EarwitnessError, TimeoutError) as error:
            if isinstance(error, StrangeReport):
                failure = failure or error
            builder.notes.append(f"no report from the {name}'s phone: {error or 'it did not answer in time'}")
            builder.reports[name] = PhoneReport(uri=phone.uri, role="idle", milestones=dict(phone.milestones))
        builder.notes.extend(f"{name}'s phone: {note}" for note in phone.notes)
    for name, capture in captures.items():
        try:
            builder.captured[name] = await capture.stop()
        except CallFailure as error:
            builder.notes.append(f"the {name}'s capture: {error}")
            failure = failure or error
    caller, callee = builder.reports["caller"], builder.reports["callee"]
    marks = dict(caller.milestones)
    for source, mark, target in (
        (caller, "first_rtp_received", "first_media_to_caller"),
        *((callee, mark, target) for mark, target in CALLEE_MARKS.items()),
    ):
        if mark in source.milestones:
            marks[target] = source.milestones[mark]
    builder.record = replace(builder.record, milestones=dict(sorted(marks.items(), key=lambda item: item[1])))
    steps = sum(len(summary.clock_steps) for summary in builder.captured.values())
    if steps:
        builder.notes.append("the wall clock was set during the call; the times here do not depend on it")
    return failure


async def path_lost(plan: CallPlan, network: Network, opened: OpenPath) -> CallFailure | None:
    """The failure to raise if the other machine or the path is lost; None while both stand."""
    if (gone := network.failure()) is not None:
        return gone
    reason = await opened.cause()
    if reason is None:
        return None
    return CallFailure(
        Outcome.PATH_LOST,
        "carrying the call over",
        on=plan.title,
        happened=reason,
        remedy="place it again; the record holds what was measured until then",
        evidence={"circuit": opened.circuit.id, "hops": [hop.nickname for hop in opened.circuit.relays]},
    )

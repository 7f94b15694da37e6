"""The lab that calls need, determined without importing the code that places calls, so that commands start faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from earwitness.call.plan import CallPlan
from earwitness.emulator.link_profile import LinkProfile
from earwitness.errors import naming_field
from earwitness.lab.load.spec import DEFAULT_RELAY_MBIT, NO_LOAD
from earwitness.lab.plan import LabPlan


def lab_plan_for(plans: Sequence[CallPlan], pairs: int = 1) -> LabPlan:
    """The lab that these calls need: with Tor if one uses it, with a refusing exit if one requests it.

    `pairs`: how many calls may be on the air at once.
    Raises `InputError` for an unknown city or link setting.
    """
    first = plans[0]
    refuses = any(plan.inject is not None and plan.inject.what == "exit-refuses" for plan in plans)
    loaded = any(plan.load_spec for plan in plans)
    asked = [plan.relay_mbit for plan in plans if plan.relay_mbit is not None]
    with naming_field("", caller_place="from_place", callee_place="to_place"):
        lab_plan = LabPlan(
            caller_place=first.from_place,
            callee_place=first.to_place,
            with_tor=loaded or any(plan.over_tor for plan in plans),
            with_load=loaded,
            # Calls that specify their load, even `none`, get no other.
            load=NO_LOAD if any(plan.load for plan in plans) else None,
            relay_mbit=asked[0] if asked else DEFAULT_RELAY_MBIT if loaded else None,
            seed=first.seed,
            pairs=pairs,
        )
    exits = [host.name for host in lab_plan.hosts() if host.role == "exit"]
    for plan in plans:
        with naming_field("link"):
            LinkProfile().with_spec(plan.link)
    return replace(lab_plan, refusing_exits=tuple(exits[-1:])) if refuses else lab_plan

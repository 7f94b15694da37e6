"""Runs a study over a cluster, from its file to its end."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

from earwitness.call.plan import CallPlan
from earwitness.call.public_network import CALLS_AN_HOUR
from earwitness.call.remote_network import RemoteNetwork
from earwitness.cluster.dask import cluster_address, use_our_settings
from earwitness.cluster.keys import ClusterKeys
from earwitness.cluster.members import Cluster, WorkerLost
from earwitness.cluster.orders import Facts
from earwitness.cluster.slot import NETWORK, ClusterSlot
from earwitness.errors import EarwitnessError, InputError
from earwitness.events import Listener, Notice, ignore
from earwitness.geography import place
from earwitness.speech.reference import speech_names
from earwitness.study.design import design
from earwitness.study.ending import Ending, StopRequest, Why
from earwitness.study.events import StudyOpened
from earwitness.study.file import StudyFile
from earwitness.study.folder import owned_study
from earwitness.study.model import Study
from earwitness.study.runner import Runner
from earwitness.study.schedule import its_places
from earwitness.study.session import ending_noted

PATIENCE_S = 300.0
"""How long to wait for the vantage of a place before the study stops."""


def on_cluster(study: Study) -> Study:
    """The study as a cluster runs it: the same calls, over the network between the vantages.

    If calls go over Tor and the file sets no limit, the hourly limit of `call --to` applies.
    """
    budget = study.budget
    if budget.calls_per_hour is None and any(call.plan.over_tor for call in design(study)):
        budget = replace(budget, calls_per_hour=float(CALLS_AN_HOUR))
    return replace(study, network=NETWORK, budget=budget)


def check_calls(study: Study) -> None:
    """`InputError` for calls that cannot be placed between machines, checked before any is placed."""
    seen: set[CallPlan] = set()
    for call in design(study)[: study.blocks_per_repeat * study.calls_per_block]:
        plan = replace(call.plan, seed=0, study=None)
        if plan in seen:
            continue
        seen.add(plan)
        RemoteNetwork.check(plan)
        if plan.speech not in ("", *speech_names()):
            raise InputError(
                "speaking at vantages",
                plan.speech,
                "it is a file on this machine",
                "use shipped speech",
                field="speech",
            )
        if plan.sip_accounts:
            happened = "the file is on this machine"
            remedy = "leave out {sip_accounts}, and set the accounts in the environment of the vantages"
            raise InputError("calling at vantages with", plan.sip_accounts, happened, remedy, field="sip_accounts")
        if place(plan.from_place) == place(plan.to_place):
            remedy = "give each end a place of its own"
            raise InputError(
                "calling between vantages at",
                plan.from_place,
                "both ends are at the same place",
                remedy,
                field="to_place",
            )


async def run_in_cluster(
    file: StudyFile,
    directory: Path,
    cluster: str,
    keys: Path,
    *,
    stop: StopRequest,
    patience_s: float = PATIENCE_S,
    on_event: Listener = ignore,
    command: tuple[str, ...] = (),
) -> Ending:
    """Run a study to its end over the vantages of a cluster, or resume it; arguments as for `run_in_lab`.

    `cluster` is tls://HOST:PORT of its scheduler; `patience_s`: how long to wait for a missing vantage.

    Raises:
        InputError: the study needs something that machines cannot do, the directory belongs to another study, or the
            cluster rejects this machine.
        EarwitnessError: another run is using it, or the scheduler cannot be reached.
    """
    use_our_settings()
    address, own = cluster_address(cluster), ClusterKeys.read(keys)
    adapted = file.adapted(on_cluster)
    study = adapted.study
    check_calls(study)
    with owned_study(directory, adapted) as folder, folder.dataset:
        on_event(StudyOpened(folder))
        for note in folder.notes:
            on_event(Notice(note))
        if all(state.state in ("done", "failed") for state in folder.journal.states()):
            folder.journal.end_run(Why.FINISHED)
            return Ending(Why.FINISHED)
        with ending_noted(folder):
            async with Cluster.joined(address, own, on_event) as joined:
                run = secrets.token_hex(8)
                slots = [
                    ClusterSlot(f"slot {number}", joined, run, patience_s, stop.gently, command)
                    for number in range(1, study.run.at_once + 1)
                ]
                return await Runner(folder, slots, stop, on_event, occupied=its_places).run()


async def members_of(cluster: str, keys: Path) -> tuple[list[Facts], int]:
    """The current vantages of a cluster, and the number of scoring processes. Raises like `run_in_cluster`."""
    use_our_settings()
    address = cluster_address(cluster)
    async with Cluster.joined(address, ClusterKeys.read(keys)) as joined:
        try:
            return [member.facts for member in await joined.vantages()], await joined.scorers()
        except WorkerLost as lost:
            raise EarwitnessError("asking the cluster at", address, lost, "try again") from lost

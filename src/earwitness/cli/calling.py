"""Shared by `call` and `demo`: running in a lab, the table that fills while calls run, records for `--json`."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from earwitness.cli.common import output, print_records, progress
from earwitness.cli.naming import in_options
from earwitness.events import CallStageReached, Event, InstructionsGiven, Listener, StageReached
from earwitness.netns.termination import run

if TYPE_CHECKING:
    from earwitness.archive.schema import Row
    from earwitness.call.network import Network
    from earwitness.call.plan import CallPlan
    from earwitness.cli.call_options import CallOptions
    from earwitness.lab.plan import LabPlan
    from earwitness.remote.certificates import Invitation
    from earwitness.remote.loopback_answerer import LoopbackOptions
    from earwitness.tor.description import TorNetwork


def call_as_asked(asked: CallOptions) -> int:
    """Place the call of `earwitness call` on the requested network; returns the exit code."""
    check_network(asked.network, asked.invitation, asked.path, asked.reached_at)
    plan = asked.plan()
    plan.check()
    if asked.invitation is not None:
        return call_other_machine(
            [plan],
            asked.to_place,
            asked.invitation,
            asked.out,
            tor_control=asked.tor_control,
            calls_an_hour=asked.calls_an_hour,
            json=asked.json,
        )
    if asked.network == "public":
        return _call_this_machine_as_asked(plan, asked)
    from earwitness.call.lab_needs import lab_plan_for

    lab_plan = lab_plan_for([plan])
    if plan.phone_kind.by_hand:
        check_lab_is_up(lab_plan)
    return in_a_lab(
        lab_plan,
        lambda: place_calls([plan], lab_plan, asked.out, json=asked.json),
        own=plan.inject is not None and plan.inject.kills_a_relay,
    )


def _call_this_machine_as_asked(plan: CallPlan, asked: CallOptions) -> int:
    from earwitness.remote.loopback_answerer import LoopbackOptions
    from earwitness.remote.service import check_media_port

    options = LoopbackOptions(
        place=plan.from_place,
        reached_at=asked.reached_at,
        media_port=check_media_port(asked.media_port),
        tor_control=asked.tor_control or "",
    )
    return call_this_machine([plan], options, asked.out, calls_an_hour=asked.calls_an_hour, json=asked.json)


def in_a_lab(lab_plan: LabPlan, inside: Callable[[], int], *, own: bool = False) -> int:
    """Run `inside` in a lab: unless already inside, this command line is run again in new namespaces."""
    from earwitness.lab.session import rerun_in_lab
    from earwitness.netns.sandbox import in_sandbox

    return inside() if in_sandbox() else rerun_in_lab(lab_plan, own=own)


def place_calls(plans: Sequence[CallPlan], lab_plan: LabPlan, out: Path, *, json: bool) -> int:
    """Place calls in a lab, show their progress, and print the results; returns the exit code, 0 if all completed."""

    @contextlib.asynccontextmanager
    async def lab(on_event: Listener) -> AsyncIterator[Network]:
        from earwitness.call.lab_network import LabNetwork
        from earwitness.lab.session import lab_for

        async with lab_for(lab_plan, on_event) as running:
            yield LabNetwork(running)

    return run(_place_calls(plans, lab, out, json))


def call_other_machine(
    plans: Sequence[CallPlan],
    to: str,
    invitation: Path,
    out: Path,
    *,
    tor_control: str | None,
    calls_an_hour: int | None,
    json: bool,
) -> int:
    """Like `place_calls`, outside the lab, to the machine at `to` (HOST[:PORT]) that wrote the invitation.

    Calls over Tor use this machine's tor (`tor_control`: its control port; None: the usual ones). If the user cannot
    create network devices, they are placed in a sandbox.
    """
    from earwitness.netns.sandbox import in_sandbox, rerun_inside
    from earwitness.remote.certificates import Invitation
    from earwitness.remote.client import parse_address
    from earwitness.remote.machine import may_make_devices

    address, invited = parse_address(to), Invitation.read(invitation)
    if not (may_make_devices() or in_sandbox()):
        return rerun_inside()

    @contextlib.asynccontextmanager
    async def two_machines(on_event: Listener) -> AsyncIterator[Network]:
        tor = await _tor_here(plans, tor_control, on_event)
        yield _remote_network(address, invited, tor, calls_an_hour)

    return run(_place_calls(plans, two_machines, out, json, where="public"))


def call_this_machine(
    plans: Sequence[CallPlan], options: LoopbackOptions, out: Path, *, calls_an_hour: int | None, json: bool
) -> int:
    """Like `call_other_machine`, with the answering side on this machine too, each end in a sandbox."""
    from earwitness.netns.egress import in_isolated_network
    from earwitness.netns.sandbox import rerun_inside

    if not in_isolated_network():
        return rerun_inside()

    @contextlib.asynccontextmanager
    async def one_machine(on_event: Listener) -> AsyncIterator[Network]:
        from earwitness.remote.loopback_answerer import loopback_answerer

        tor = await _tor_here(plans, options.tor_control, on_event)
        on_event(StageReached("starting the answering side", 0.0))
        async with loopback_answerer(options) as (address, invited):
            yield _remote_network(address, invited, tor, calls_an_hour, options.epoch_offset_ns, options.reached_at)

    return run(_place_calls(plans, one_machine, out, json, where="public"))


async def _tor_here(plans: Sequence[CallPlan], control: str | None, on_event: Listener) -> TorNetwork | None:
    """The network that this machine's tor knows, if a call goes over Tor."""
    from earwitness.call.public_network import public_tor
    from earwitness.call.remote_network import CALLER
    from earwitness.tor.control_address import ControlAddress

    if not any(plan.over_tor for plan in plans):
        return None
    on_event(StageReached("asking the tor that runs here", 0.0))
    return await public_tor(ControlAddress.parse(control) if control else None, CALLER)


def _remote_network(
    address: tuple[str, int],
    invited: Invitation,
    tor: TorNetwork | None,
    calls_an_hour: int | None,
    one_clock_ns: int | None = None,
    also_at: str = "",
) -> Network:
    from earwitness.call.public_network import CALLS_AN_HOUR, Politeness
    from earwitness.call.remote_network import RemoteNetwork
    from earwitness.netns.sandbox import private_place

    return RemoteNetwork(
        address,
        invited,
        private_place() or Path(tempfile.gettempdir()),
        tor=tor,
        politeness=Politeness(calls_an_hour=CALLS_AN_HOUR if calls_an_hour is None else calls_an_hour),
        one_clock_ns=one_clock_ns,
        also_at=also_at,
    )


def check_network(network: str, invitation: Path | None, path: str, reached_at: str = "") -> None:
    """Raise `InputError` if the requested network conflicts with other options."""
    from earwitness.errors import InputError, naming_field
    from earwitness.path.registry import path_kind

    tried = ("calling over the network", network)
    with naming_field("path"):
        kind = path_kind(path)
    if network not in ("lab", "public"):
        raise InputError(*tried, "no such network", "choose lab or public", field="network")
    if reached_at and (network == "lab" or invitation is not None):
        remedy = "give it to `earwitness answer` there" if invitation is not None else "set {network} to public"
        happened = "the callee is not this machine"
        raise InputError("being reached at", reached_at, happened, remedy, field="reached_at", related=("network",))
    if network == "public" and invitation is None:
        elsewhere = "run `earwitness answer` on another machine, and give its address as {to_place} with {invitation}"
        related = ("to_place", "invitation", "reached_at", "media_port")
        if kind.reaches_own_address and not (kind.reaches_own_machine or reached_at):
            tried = (f"calling this machine over {path} by", network)
            happened, remedy = (
                "exits must know its address",
                f"give {{reached_at}} (and {{media_port}}); or {elsewhere}",
            )
            raise InputError(*tried, happened, remedy, field="network", related=related)
        if not kind.reaches_own_address:
            tried = (f"calling this machine over {path} by", network)
            raise InputError(*tried, "such a call never leaves it", elsewhere, field="network", related=related)
    if network == "lab" and invitation is not None and kind.tor is not None:
        happened, remedy = "another machine is not in the lab", "set {network} to public"
        raise InputError(*tried, happened, remedy, field="network")


def check_lab_is_up(lab_plan: LabPlan) -> None:
    """Raise `InputError` unless a lab is up that can serve this plan and that other commands can join meanwhile."""
    from earwitness.errors import InputError
    from earwitness.lab import keeper
    from earwitness.netns.sandbox import in_sandbox

    if in_sandbox():
        return
    record = keeper.current()
    if record is None or not record.ready or not lab_plan.served_by(record.plan):
        what = "no lab is up" if record is None else "the lab that is up lacks what the call needs"
        up = "earwitness lab up" + ("" if lab_plan.with_tor else " --no-tor")
        raise InputError("calling with", "your own phones", what, f"run `{up}` first: they have to get into it")


async def _place_calls(
    plans: Sequence[CallPlan],
    opening: Callable[[Listener], contextlib.AbstractAsyncContextManager[Network]],
    out: Path,
    json: bool,
    where: str = "lab",
) -> int:
    from earwitness.archive.dataset import Dataset
    from earwitness.archive.stored import StoredCall
    from earwitness.archive.storing import FolderGone
    from earwitness.call.run import run_calls
    from earwitness.errors import CallFailure
    from earwitness.report.table import live_table, report

    rows: list[Row] = []
    failed = 0
    exit_code = 0
    with Dataset.open_or_create(out) as dataset, live_table(progress) as table:

        def on_event(event: Event) -> None:
            match event:
                case StageReached(stage, fraction):
                    share = "" if fraction is None else f" ({fraction:.0%})"
                    table.stage(where, f"the {where} network", f"{stage}{share}")
                    if not progress.is_terminal:
                        progress.print(f"{where}: {stage}", markup=False)
                case CallStageReached(call_id, call, stage):
                    table.stage(call_id, call, stage)
                    if not progress.is_terminal:
                        progress.print(f"{call}: {stage}", markup=False)
                case InstructionsGiven(text):
                    progress.print(text, markup=False, soft_wrap=True, highlight=False)

        async with opening(on_event) as network:
            table.finished(where, ())
            running = run_calls(plans, network, dataset, command=tuple(sys.argv), on_event=on_event)
            async with contextlib.aclosing(running):
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
                        progress.print(f"earwitness: {in_options(ended)}", markup=False, soft_wrap=True)
                        if isinstance(ended, FolderGone):
                            break  # it is of all calls
    if json:
        print_records(row.to_dict() for row in rows)
    else:
        output.print(report(rows, output.width))
    done = len(plans) - failed
    progress.print(f"{done} of {len(plans)} calls completed; data set: {out}", markup=False, soft_wrap=True)
    return exit_code

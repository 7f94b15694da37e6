"""Place one call: open the path, capture, register, dial, talk, hang up. Everything that happens is recorded."""

from __future__ import annotations

import asyncio
import platform
import socket
import time
import traceback
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from earwitness import options
from earwitness.archive import layout
from earwitness.archive.facts import CallParty, SelfCheck, SpeechFacts
from earwitness.call.accounts import SipService, sip_service
from earwitness.call.builder import CallBuilder
from earwitness.call.measurement_point import MeasurementPoint, RunningCapture
from earwitness.call.network import Network
from earwitness.call.placed_call import PlacedCall, SetupFacts
from earwitness.call.plan import LAB_SERVER, CallPlan
from earwitness.call.probes import fill, probe
from earwitness.call.self_check import CpuWaits
from earwitness.call.talk import collect, path_lost, talk
from earwitness.ear.buffers import BUFFERS
from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.events import Listener, StageReached
from earwitness.netns.host import Host
from earwitness.path.base import OpenPath, PathEndpoint, PhonePorts
from earwitness.path.registry import PATHS
from earwitness.phone.base import Phone, Phones
from earwitness.phone.call_report import media_outcome
from earwitness.phone.kind import CallFolder
from earwitness.phone.registry import PHONES
from earwitness.phone.setup import PhoneSetup
from earwitness.plugins import Registry
from earwitness.score.scorers import SCORERS
from earwitness.speech.codecs.registry import CODECS
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.speech.reference import DEFAULT_SPEECH
from earwitness.speech.reference import speech as reference_speech
from earwitness.utc import utc_text

OPEN_WITHIN_S = 900.0
"""Bound on opening a path as a whole; each of its stages has a shorter bound."""


async def attempt_call(
    plan: CallPlan, network: Network, folder: Path, builder: CallBuilder, on_event: Listener
) -> PlacedCall:
    """Place the call; its captures go into `folder`.

    Always returns, with a typed outcome, unless it is cancelled; the builder then holds what is known.
    """
    offset_ns = network.epoch_offset_ns()
    builder.started_monotonic_ns = time.monotonic_ns()
    started_at = utc_text(builder.started_monotonic_ns + offset_ns)
    builder.record = replace(builder.record, started_at=started_at, versions={**_versions(), **_plugins(plan)})
    opened: OpenPath | None = None
    outcome, failed = Outcome.COMPLETED, None
    try:
        _prepare(plan, builder)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(network.turn(builder.call_id, plan))
            versions = {**builder.record.versions, **network.versions()}
            builder.record = replace(builder.record, versions=versions)
            opened = await _open_path(plan, network, folder, builder, stack, on_event)
            try:
                await _captured_call(plan, network, opened, folder, offset_ns, builder, on_event)
                if plan.throughput:
                    on_event(StageReached("measuring throughput"))
                    await fill(opened, builder)
            except EarwitnessError as failure:
                # If the path broke, that is the cause of the phones' errors.
                raise await path_lost(plan, network, opened) or failure from failure
    except EarwitnessError as failure:
        outcome, failed = _outcome_of(failure), failure
    except Exception as fault:  # of the system, or internal; the measurements are kept
        outcome, failed = Outcome.FAILED, _fault(plan, fault)
    finally:
        _look_back(network, opened, builder)
    return builder.placed(outcome, failed)


def _look_back(network: Network, opened: OpenPath | None, builder: CallBuilder) -> None:
    """Add the final facts of the path, which is now closed, and of the network."""
    if opened is not None:
        builder.record = replace(builder.record, path_details=opened.final_facts())
    if network.lab_facts is None:
        return
    if (late := network.lab_facts.lateness()) is not None:
        check = replace(builder.record.instrument, emulator_late_p99_ms=late.p99_ms, emulator_late_max_ms=late.max_ms)
        builder.record = replace(builder.record, instrument=check)
    load = network.lab_facts.load()
    builder.record = replace(builder.record, load=load)
    if load.failed:
        builder.notes.append(f"the load: {load.failed} fetches failed, the last: {load.last_failure}")


def _prepare(plan: CallPlan, builder: CallBuilder) -> None:
    """Refuse an impossible plan before anything is opened."""
    codec = codec_of(plan.codec)
    builder.record = replace(builder.record, codec=codec.spec)
    try:
        said = reference_speech(plan.speech or DEFAULT_SPEECH, codec.sample_rate, plan.seconds)
    except InputError as error:
        raise CallFailure(
            Outcome.SPEECH_UNUSABLE, error.tried, on=error.on, happened=error.happened, remedy=error.remedy
        ) from error
    speech = SpeechFacts(
        name=said.name, attribution=said.attribution, seconds=said.seconds, sample_rate=said.sample_rate
    )
    builder.record = replace(builder.record, speech=speech)


async def _open_path(
    plan: CallPlan, network: Network, folder: Path, builder: CallBuilder, stack: AsyncExitStack, on_event: Listener
) -> OpenPath:
    caller, callee = network.hosts(plan)
    builder.record = replace(builder.record, caller=_party(caller), callee=_party(callee))
    on_event(StageReached("opening the path"))
    begun_ns = time.monotonic_ns()
    try:
        async with asyncio.timeout(OPEN_WITHIN_S):
            opened = await stack.enter_async_context(network.path(plan).open(caller, callee, PhonePorts()))
    except TimeoutError as error:
        raise CallFailure(
            Outcome.PATH_FAILED,
            "opening the path of",
            on=plan.title,
            happened=f"it was not open after {OPEN_WITHIN_S:g} s",
            remedy="check the machines at both ends",
        ) from error
    setup_ms = (time.monotonic_ns() - begun_ns) / 1e6
    builder.setup = SetupFacts(hops=len(opened.circuit.relays), path_setup_ms=setup_ms)
    builder.record = replace(
        builder.record,
        circuit=opened.circuit,
        caller=_party(opened.caller.host, opened.caller.address),
        callee=_party(opened.callee.host, opened.callee.address),
    )
    builder.notes.extend(opened.notes)
    for name, text in opened.files.items():
        (folder / name).write_text(text)
    return opened


def _party(host: Host, address: str = "") -> CallParty:
    return CallParty(place=host.place, host=host.name, address=address)


async def _captured_call(
    plan: CallPlan,
    network: Network,
    opened: OpenPath,
    folder: Path,
    offset_ns: int,
    builder: CallBuilder,
    on_event: Listener,
) -> None:
    """Everything from the start of the captures to their end."""
    ends = network.measurement_points(opened, _phones(plan, folder), offset_ns)
    builder.clocks = {name: end.clock for name, end in ends.items()}
    async with AsyncExitStack() as stack:
        on_event(StageReached("starting captures and phones"))
        service = await stack.enter_async_context(sip_service(plan, ends["callee"], network.scratch))
        setups = {
            "caller": _setup(plan, "caller", opened.caller, opened.callee, service, ends["caller"]),
            "callee": _setup(plan, "callee", opened.callee, opened.caller, service, ends["callee"]),
        }
        taken = _take_port(opened.callee) if plan.inject and plan.inject.what == "port-taken" else None
        try:
            entered = await _enter_all(
                stack,
                *(end.capture(folder / layout.CAPTURES[name]) for name, end in ends.items()),
                *(end.phone(setups[name]) for name, end in ends.items()),
            )
        finally:
            if taken:
                taken.close()
        captures: dict[str, RunningCapture] = dict(zip(ends, entered[:2], strict=True))
        phones: dict[str, Phone] = dict(zip(ends, entered[2:], strict=True))
        failure: CallFailure | None = None
        waits: CpuWaits | None = None
        try:
            on_event(StageReached("probing the path"))
            await probe(opened, plan.rtt_probes, builder)  # not while phones start: it delays answers
            others = network.lab_facts.processes(opened) if network.lab_facts else {}
            waits = CpuWaits({**opened.processes, **others})
            async with waits.watched():
                await talk(plan, network, opened, phones, builder, on_event)
        finally:
            if waits is not None and (waited := waits.summary()) is not None:
                check = SelfCheck(cpu_wait_mean_ms=waited[0], cpu_wait_worst_ms=waited[1], processes=tuple(waits.names))
                builder.record = replace(builder.record, instrument=check)
            failure = await collect(ends, phones, captures, builder)
        if failure is not None:
            raise failure
        outcome = media_outcome(builder.reports["caller"], builder.reports["callee"])
        if outcome is not Outcome.COMPLETED:
            raise CallFailure(
                outcome,
                "carrying media over",
                on=plan.title,
                happened="the call was answered, but RTP arrived at "
                + ("neither end" if outcome is Outcome.NO_MEDIA else "one end only"),
                remedy="see both ends' captures in the call's folder",
            )


async def _enter_all(stack: AsyncExitStack, *contexts: AbstractAsyncContextManager[Any]) -> list[Any]:
    """Enter all concurrently; if one fails, leave the others and raise its error."""
    results = await asyncio.gather(*(context.__aenter__() for context in contexts), return_exceptions=True)
    failed = None
    for context, result in zip(contexts, results, strict=True):
        if isinstance(result, BaseException):
            failed = failed or result
        else:
            stack.push_async_exit(context)
    if failed is not None:
        raise failed
    return list(results)


def _setup(
    plan: CallPlan, name: str, on_path: PathEndpoint, other: PathEndpoint, service: SipService, end: MeasurementPoint
) -> PhoneSetup:
    ports = PhonePorts()
    # With the user's own server, messages and media may come from any host of its operator.
    own_server = plan.sip_server and plan.sip_server != LAB_SERVER
    beside = {account.host for account in service.accounts.values()}
    return PhoneSetup(
        address=on_path.address,
        epoch_offset_ns=end.epoch_offset_ns,
        user=name,
        sip_port=service.port(name),
        rtp_port=ports.rtp,
        codec=plan.codec,
        speech=plan.speech or DEFAULT_SPEECH,
        seconds=plan.seconds,
        silence_suppression=plan.silence_suppression,
        seed=plan.seed * 2 + (name == "callee"),
        server=service.accounts.get(name),
        peers=() if own_server else tuple(sorted({other.address, *beside})),
    )


def _phones(plan: CallPlan, folder: Path) -> Phones:
    """The kind of phones that the plan requests; those that record write into the call's folder."""
    captures = {name: folder / capture for name, capture in layout.CAPTURES.items()}
    return plan.phone_kind.build(CallFolder(folder, captures, plan.wait_s))


def _take_port(end: PathEndpoint) -> socket.socket:
    """Occupy the phone's SIP port, as another program might (injected fault)."""
    with end.host.inside():
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind((end.address, PhonePorts().sip))
    return taken


def _outcome_of(failure: EarwitnessError) -> Outcome:
    return failure.outcome if isinstance(failure, CallFailure) else Outcome.FAILED


def _fault(plan: CallPlan, fault: Exception) -> CallFailure:
    return CallFailure(
        Outcome.FAILED,
        "placing the call",
        on=plan.title,
        happened=fault if isinstance(fault, OSError) else f"{type(fault).__name__}: {fault}",
        remedy="if it happens again, report it with the evidence in the record",
        evidence={"traceback": traceback.format_exception(fault)},
    )


def _plugins(plan: CallPlan) -> dict[str, str]:
    """Versions of the plug-in packages that this call uses, by package."""
    used: tuple[tuple[Registry[Any], str], ...] = (
        (PATHS, plan.path),
        (CODECS, plan.codec),
        (BUFFERS, plan.buffer),
        (PHONES, plan.phone),
        *((SCORERS, name) for name in plan.scorers),
    )
    packages = [registry.package(options.split(spec)[0]) for registry, spec in used]
    return {package.rpartition(" ")[0]: package.rpartition(" ")[2] for package in packages if package}


def _versions() -> dict[str, str]:
    return {
        "earwitness": version("earwitness"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "aiosipua": version("aiosipua"),
        "pesq": version("pesq"),
        "numpy": version("numpy"),
    }

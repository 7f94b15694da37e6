"""Place one call: open the path, capture, register, dial, talk, hang up. What happens on the way is written down."""

from __future__ import annotations

import asyncio
import platform
import socket
import time
import traceback
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from earwitness.archive import layout
from earwitness.archive.record import Circuit, Endpoint, Relay, Speech
from earwitness.call.accounts import SipService, sip_service
from earwitness.call.builder import CallBuilder
from earwitness.call.endpoints import CallEnd, Capture, call_end
from earwitness.call.network import Network
from earwitness.call.placed_call import PlacedCall
from earwitness.call.plan import LAB_SERVER, MANUAL, CallPlan
from earwitness.call.probes import fill, probe
from earwitness.call.self_check import CpuWaits, Instrument
from earwitness.call.talk import collect, path_lost, talk
from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.events import Listener, StageReached
from earwitness.path.base import End, OpenPath, PhonePorts
from earwitness.phone.base import Phone, PhoneKind
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.call_report import media_outcome
from earwitness.phone.linphone import Linphones
from earwitness.phone.manual import ManualPhones
from earwitness.phone.setup import PhoneSetup
from earwitness.speech.codecs.registry import codec as codec_of
from earwitness.speech.reference import DEFAULT_SPEECH
from earwitness.speech.reference import speech as reference_speech

OPEN_WITHIN_S = 900.0
"""Each stage of opening a path has a shorter bound of its own; together they are not to last for ever."""


async def place(
    plan: CallPlan, network: Network, folder: Path, notebook: CallBuilder, on_event: Listener
) -> PlacedCall:
    """Place the call; its captures go into `folder`.

    Always returns, with a typed outcome, unless it is cancelled: the notebook then holds what was known.
    """
    offset_ns = network.epoch_offset_ns()
    notebook.started_monotonic_ns = time.monotonic_ns()
    notebook.started_at = _utc(notebook.started_monotonic_ns + offset_ns)
    notebook.versions = _versions()
    # As asked, until the path is open and tells: a call that fails before is one of that path all the same.
    notebook.hops = plan.hops if plan.chooses_relays else 0
    outcome, failed = Outcome.COMPLETED, None
    try:
        _prepare(plan, notebook)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(network.turn(notebook.call_id, plan))
            notebook.versions.update(network.versions())
            opened = await _open_path(plan, network, folder, notebook, stack, on_event)
            try:
                await _captured_call(plan, network, opened, folder, offset_ns, notebook, on_event)
                if plan.throughput:
                    on_event(StageReached("measuring throughput"))
                    await fill(opened, notebook)
            except EarwitnessError as failure:
                # A path that broke is the cause of whatever its phones then met.
                raise await path_lost(plan, network, opened) or failure from failure
    except EarwitnessError as failure:
        outcome, failed = _outcome_of(failure), failure
    except Exception as fault:  # the system's or ours; what was measured is kept, as of every call that fails
        outcome, failed = Outcome.FAILED, _fault(plan, fault)
    finally:
        _look_back(network, notebook)
    return notebook.live(outcome, failed)


def _look_back(network: Network, notebook: CallBuilder) -> None:
    """What the network has to tell of the call's time."""
    if (late := network.lateness()) is not None:
        notebook.instrument = replace(
            notebook.instrument, emulator_late_p99_ms=late.p99_ms, emulator_late_max_ms=late.max_ms
        )
    notebook.load = network.load()
    if missed := notebook.load.get("failed"):
        notebook.notes.append(f"the load: {missed} fetches failed, the last: {notebook.load['last_failure']}")


def _prepare(plan: CallPlan, notebook: CallBuilder) -> None:
    """What can be refused before anything is opened."""
    codec = codec_of(plan.codec)
    notebook.codec = codec.spec
    try:
        said = reference_speech(plan.speech or DEFAULT_SPEECH, codec.sample_rate, plan.seconds)
    except InputError as error:
        raise CallFailure(
            Outcome.SPEECH_UNUSABLE, error.tried, on=error.on, happened=error.happened, remedy=error.remedy
        ) from error
    notebook.speech = Speech(
        name=said.name, attribution=said.attribution, seconds=said.seconds, sample_rate=said.sample_rate
    )


async def _open_path(
    plan: CallPlan, network: Network, folder: Path, notebook: CallBuilder, stack: AsyncExitStack, on_event: Listener
) -> OpenPath:
    caller, callee = network.hosts(plan)
    notebook.endpoints["caller"] = Endpoint(place=caller.place, host=caller.name)
    notebook.endpoints["callee"] = Endpoint(place=callee.place, host=callee.name)
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
            remedy="see what the machines at both ends say",
        ) from error
    notebook.path_setup_ms = (time.monotonic_ns() - begun_ns) / 1e6
    notebook.hops = len(opened.hops)
    notebook.circuit = Circuit(
        id=opened.circuit_id,
        relays=tuple(
            Relay(nickname=h.nickname, fingerprint=h.fingerprint, address=h.address, place=h.place, country=h.country)
            for h in opened.hops
        ),
    )
    notebook.path_details = opened.details  # it goes on being filled until the path is closed
    notebook.notes.extend(opened.notes)
    for name, text in opened.files.items():
        (folder / name).write_text(text)
    for name, end in (("caller", opened.caller), ("callee", opened.callee)):
        notebook.endpoints[name] = Endpoint(place=end.host.place, host=end.host.name, address=end.address)
    return opened


async def _captured_call(
    plan: CallPlan,
    network: Network,
    opened: OpenPath,
    folder: Path,
    offset_ns: int,
    notebook: CallBuilder,
    on_event: Listener,
) -> None:
    """Everything between the first packet that could be captured and the last."""
    ends = {
        name: call_end(end, _phones(plan, folder), offset_ns)
        for name, end in (("caller", opened.caller), ("callee", opened.callee))
    }
    notebook.clocks = {name: end.clock for name, end in ends.items()}
    async with AsyncExitStack() as stack:
        on_event(StageReached("starting captures and phones"))
        service = await stack.enter_async_context(sip_service(plan, opened, network.scratch))
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
        captures: dict[str, Capture] = dict(zip(ends, entered[:2], strict=True))
        phones: dict[str, Phone] = dict(zip(ends, entered[2:], strict=True))
        failure: CallFailure | None = None
        waits: CpuWaits | None = None
        try:
            on_event(StageReached("probing the path"))
            await probe(opened, plan.rtt_probes, notebook)  # with the phones up: starting them would delay the answers
            waits = CpuWaits({**opened.processes, **network.processes(opened)})
            async with waits.watched():
                await talk(plan, network, opened, phones, notebook, on_event)
        finally:
            if waits is not None and (waited := waits.summary()) is not None:
                notebook.instrument = Instrument(
                    cpu_wait_mean_ms=waited[0], cpu_wait_worst_ms=waited[1], processes=tuple(waits.names)
                )
            failure = await collect(ends, phones, captures, notebook)
        if failure is not None:
            raise failure
        outcome = media_outcome(notebook.reports["caller"], notebook.reports["callee"])
        if outcome is not Outcome.COMPLETED:
            raise CallFailure(
                outcome,
                "carrying media over",
                on=plan.title,
                happened="the call was answered, but RTP arrived at "
                + ("neither end" if outcome is Outcome.NO_MEDIA else "one end only"),
                remedy="see the captures of both ends in the call's folder",
            )


async def _enter_all(stack: AsyncExitStack, *contexts: AbstractAsyncContextManager[Any]) -> list[Any]:
    """Enter all at once; where one fails, those that stood are left again and its error is raised."""
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


def _setup(plan: CallPlan, name: str, on_path: End, other: End, service: SipService, end: CallEnd) -> PhoneSetup:
    ports = PhonePorts()
    # Through a server of the user's, messages and media come and go by whatever stands beside it.
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


def _phones(plan: CallPlan, folder: Path) -> PhoneKind:
    """The kind of phone that the plan asks for; one that records does so into the call's folder."""
    if plan.phone == MANUAL:
        return ManualPhones({name: folder / capture for name, capture in layout.CAPTURES.items()}, plan.wait_s)
    return Linphones(folder) if plan.phone == "linphone" else BuiltinPhone


def _take_port(end: End) -> socket.socket:
    """Sit on the phone's SIP port, as another program would (injected fault)."""
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
        remedy="report this with the evidence in its record, if it happens again",
        evidence={"traceback": traceback.format_exception(fault)},
    )


def _utc(at_ns: int) -> str:
    seconds, nanoseconds = divmod(at_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _versions() -> dict[str, str]:
    return {
        "earwitness": version("earwitness"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "aiosipua": version("aiosipua"),
        "pesq": version("pesq"),
        "numpy": version("numpy"),
    }

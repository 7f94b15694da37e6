"""`earwitness vantage`: the answering side, the worker for the place, and the scoring processes."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from earwitness.call.public_network import CALLS_AN_HOUR, Politeness
from earwitness.capture.live import epoch_offset_ns
from earwitness.cluster.dask import check_free, join, own_address, use_our_settings
from earwitness.cluster.ending import until_end_signal
from earwitness.cluster.keys import ClusterKeys
from earwitness.cluster.orders import EXTENSION, Facts
from earwitness.cluster.vantage import Vantage
from earwitness.cluster.worker import WorkerOptions, serve_worker
from earwitness.errors import InputError, naming_field
from earwitness.events import Listener, Notice, WarningGiven
from earwitness.geography import place as find_place
from earwitness.netns.owned import start_owned
from earwitness.netns.scratch import scratch_folder
from earwitness.remote.answer import open_listener
from earwitness.remote.answering import Answering
from earwitness.remote.client import parse_address
from earwitness.remote.machine import Machine, may_make_devices
from earwitness.remote.service import ANY, AnswerOptions, default_store
from earwitness.remote.store import CallStore
from earwitness.tor.control_address import ControlAddress

VANTAGE = "vantage"
"""Resource of a worker for a place, and the beginning of its name: `vantage/PLACE/NAME/...`."""
PATIENCE_S = 15.0
_AGAIN_S = 5.0
_LOOK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class VantageOptions:
    """The options of `earwitness vantage`."""

    at: str
    """City of this machine."""
    cluster: str
    keys: Path
    name: str = ""
    """Its name in records; empty: its host name."""
    listen: str = AnswerOptions.listen
    """ADDRESS:PORT of the control channel for incoming calls."""
    reached_at: str = ""
    """Address by which others reach this machine, if it is not its own."""
    media_port: int = 0
    worker_port: int = 0
    """First TCP port by which the cluster reaches this machine: the vantage's, then one per scorer."""
    tor_control: str = ""
    calls_an_hour: int = CALLS_AN_HOUR
    scorers: int = 1
    store: Path | None = None
    """Folder for what it measures as callee; None: in the user's state folder."""


async def serve_vantage(options: VantageOptions, on_event: Listener) -> None:
    """Serve as a vantage until SIGINT or SIGTERM.

    Raises `InputError` if the cluster rejects this machine or an option cannot be satisfied, `EarwitnessError` if the
    scheduler cannot be reached.
    """
    if not may_make_devices():
        remedy = "run it as root, or with CAP_NET_ADMIN and CAP_NET_RAW"
        raise InputError("starting a vantage at", options.at, "this user may not create network devices", remedy)
    if options.reached_at and not options.worker_port:
        happened, remedy = "the port is missing", "give {worker_port}, and open it in the firewall"
        raise InputError(
            "being reached at", options.reached_at, happened, remedy, field="reached_at", related=("worker_port",)
        )
    use_our_settings()
    with naming_field("at"):
        city = find_place(options.at)
    keys = ClusterKeys.read(options.keys)
    await (await join(options.cluster, keys)).close()
    name = options.name or platform.node() or "vantage"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(open_listener(*parse_address(options.listen, lowest_port=0)))
        folder = stack.enter_context(scratch_folder("earwitness-vantage-"))
        listens, port = listener.getsockname()[:2]
        own = own_address(options.cluster) if listens == ANY else listens
        tor_control = ControlAddress.parse(options.tor_control) if options.tor_control else None
        vantage = Vantage(
            Facts(name, str(city), (options.reached_at or own, port)),
            Answering(
                machine=Machine(name, city.name, "", ""),
                store=CallStore(options.store or default_store()),
                epoch_offset_ns=epoch_offset_ns(),
                reached_at=options.reached_at,
                media_port=options.media_port,
                tor_control=tor_control,
                patience_s=PATIENCE_S,
            ),
            listener,
            Politeness(calls_an_hour=options.calls_an_hour),
            folder,
            tor_control=tor_control,
            on_event=on_event,
        )
        worker = WorkerOptions(
            cluster=options.cluster,
            keys=keys,
            name=f"{VANTAGE}/{city.name}/{name}/{secrets.token_hex(4)}",
            folder=folder,
            resources={VANTAGE: 1.0},
            port=options.worker_port,
            reached_at=options.reached_at,
            extensions={EXTENSION: vantage},
        )
        if worker.port:
            for number in range(options.scorers + 1):
                check_free(worker.listens_at, worker.port + number, "worker_port")
        on_event(Notice(f"{name} in {city.name} answers at {vantage.facts.answers_at[0]}:{port}"))
        await until_end_signal(asyncio.create_task(_serve_all(options, worker, vantage, folder, on_event)))
        on_event(Notice("stopped; measurements are kept"))


async def _serve_all(
    options: VantageOptions, worker: WorkerOptions, vantage: Vantage, folder: Path, on_event: Listener
) -> None:
    tasks = [asyncio.create_task(serve_worker(worker, on_event))]
    tasks += [
        asyncio.create_task(_scoring(options, worker, number, folder, on_event))
        for number in range(1, options.scorers + 1)
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await vantage.end()


async def _scoring(
    options: VantageOptions, worker: WorkerOptions, number: int, folder: Path, on_event: Listener
) -> None:
    """Keep one scoring process running."""
    own = folder / f"scorer-{number}"
    own.mkdir()
    name = f"scorer/{worker.name.removeprefix(f'{VANTAGE}/')}/{number}"
    argv = [sys.executable, "-m", "earwitness.cluster.scorer", worker.cluster, str(options.keys), name, str(own)]
    if options.reached_at:
        argv += [options.reached_at, str(options.worker_port + number)]
    while True:
        process = start_owned(argv, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                await asyncio.sleep(_LOOK_S)
            on_event(WarningGiven(f"scorer {number} exited with {process.returncode}; restarting it"))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        await asyncio.sleep(_AGAIN_S)

"""Runs a watch in the lab: serves metrics in the caller's network namespace, and restarts a failed lab."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from earwitness.errors import CallFailure, EarwitnessError, InputError, Outcome
from earwitness.events import Listener, Notice, WarningGiven, ignore, to_all
from earwitness.lab.session import lab_for
from earwitness.netns import egress_service
from earwitness.netns.sandbox import STATE_DIR
from earwitness.netns.workers import scoring_pool
from earwitness.study.ending import Ending, StopRequest, Why
from earwitness.study.file import StudyFile
from earwitness.study.lab_slots import lab_slots
from earwitness.study.metrics import Metrics
from earwitness.study.metrics_server import served
from earwitness.study.session import lab_plan_of
from earwitness.study.watch import remember, watch

DEFAULT_ADDRESS = "127.0.0.1:9709"
"""The default address, reachable from this machine only."""
_REST_S = (5.0, 600.0)
"""First and longest wait before the lab is restarted; doubled each time it fails without finishing a block."""


async def watch_in_lab(
    file: StudyFile,
    directory: Path,
    address: str,
    *,
    stop: StopRequest,
    on_event: Listener = ignore,
    command: tuple[str, ...] = (),
) -> Ending:
    """Watch until the user stops it. `address`: HOST:PORT for `/metrics`. To be called inside a sandbox.

    Raises:
        InputError: the address cannot be read.
        EarwitnessError: the address is in use, another watch writes there, or the disk is full.
    """
    study = file.study
    plan = lab_plan_of(replace(study, design=replace(study.design, repeats=1)))
    metrics = Metrics()
    remember(directory, metrics, f"{datetime.now(UTC):%Y-%m-%d}")
    both = to_all(metrics.listen, on_event)
    rest_s = _REST_S[0]
    with served(metrics.registry, _listener(address)) as (host, port):
        on_event(Notice(f"metrics: http://{host}:{port}/metrics"))
        while True:
            begun_s = time.monotonic()
            try:
                with scoring_pool(max(1, (os.cpu_count() or 2) // 2)) as executor:
                    async with lab_for(plan, on_event) as lab:
                        slots = lab_slots(lab, executor, command)[: study.run.at_once]
                        ending = await watch(file, directory, slots, stop, on_event=both)
                        if ending.why is not Why.NETWORK:
                            return ending
                        trouble = ending.detail
            except EarwitnessError as error:
                if not isinstance(error, CallFailure) or error.outcome is not Outcome.LAB_FAILED:
                    raise
                metrics.error()
                trouble = str(error)
            rest_s = _REST_S[0] if time.monotonic() - begun_s > _REST_S[1] else min(2 * rest_s, _REST_S[1])
            on_event(WarningGiven(f"{trouble}; restarting the lab in {rest_s:.0f} s"))
            try:
                async with asyncio.timeout(rest_s):
                    await stop.gently.wait()
                return Ending(Why.STOPPED, "stopped by the user")
            except TimeoutError:
                continue


def _listener(address: str) -> socket.socket:
    """A socket bound to the address in the network namespace that the command was started in."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        remedy = f"write HOST:PORT, such as {DEFAULT_ADDRESS}"
        raise InputError("serving metrics at", address, "it is not an address", remedy, field="metrics")
    host = host.strip("[]")
    listener = egress_service.open_socket(STATE_DIR, socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
    except OSError as error:
        listener.close()
        raise EarwitnessError("serving metrics at", address, error.strerror, "choose another address") from error
    return listener

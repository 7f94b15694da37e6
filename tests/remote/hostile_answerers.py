"""A caller's whole dealing with an answering side whose words are mutated: each step by itself, then whole calls."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from earwitness.capture.live import CaptureProcess
from earwitness.errors import EarwitnessError
from earwitness.path import openvpn
from earwitness.path.end import PathEnd
from earwitness.path.vpn_config import Security
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.setup import PhoneSetup
from earwitness.remote import client
from earwitness.remote.channel import Message
from earwitness.remote.client import FarEnd, fetch_kept
from earwitness.remote.end import FarCapture, FarMachine

from .hostile import INTRODUCTION, SETUP, STRANGE, answering_falsely, honest, mutated

CONFIG = {"role": "callee", "tun": 0, "token": "t" * 32, "flows": {"other": None}, "alone": False}


async def _device(machine: FarMachine, _folder: Path) -> None:
    async with machine.tunnel_device(1):
        pass


async def _forwarder(machine: FarMachine, _folder: Path) -> None:
    async with PathEnd.running(machine, CONFIG) as end:
        await asyncio.sleep(0.01)
        assert end.listening is None or end.listening[0] == "127.0.0.1", f"it would connect to {end.listening}"
        assert len(repr(end.statistics)) < 5000


async def _tunnel(machine: FarMachine, _folder: Path) -> None:
    started = await machine.start_tunnel(1, Security.TLS, nodelay=True)
    if started is not None:
        offer, child = started
        assert offer.tunnel.server == "127.0.0.1", f"it would connect to {offer.tunnel.server}"
        async with openvpn.OpenVpn.over(machine, child) as end:
            await end.until(lambda this: this.up, 0.05)


async def _onion(machine: FarMachine, _folder: Path) -> None:
    async with machine.offered_onion() as offered:
        assert offered.service.address.endswith(".onion")
        await offered.circuit()


async def _probes(machine: FarMachine, _folder: Path) -> None:
    async with machine.echoing("ew1"):
        pass
    async with machine.taking_a_transfer("ew1", sends=False) as (_, received):
        told = await received()
        assert told is None or (told.kbit_s or 0.0) < 1e9


async def _server(machine: FarMachine, _folder: Path) -> None:
    async with machine.lab_server("ew1", "10.99.1.1", relay=False):
        pass


async def _capture(machine: FarMachine, folder: Path) -> None:
    child = await machine.far.start("capture", "capture", interface="ew1")
    process = await CaptureProcess.over(child, "ew1", folder / "there")
    try:
        await FarCapture(machine.far, process, folder / "callee.pcap").stop()
    finally:
        await child.close(0.1)


async def _phone(machine: FarMachine, _folder: Path) -> None:
    child = await machine.far.start("phone", "phone")
    async with BuiltinPhone.over(child, PhoneSetup.from_dict(SETUP)) as phone:
        await phone.listen()
        await phone.hang_up()
        report = await phone.report()
        assert len(str(report.to_dict())) < 5_000_000


async def _speech(machine: FarMachine, _folder: Path) -> None:
    await machine.far.ask("speech", blob=b"x")


STEPS: tuple[Callable[[FarMachine, Path], Awaitable[None]], ...] = (
    _device, _forwarder, _tunnel, _onion, _probes, _server, _capture, _phone, _speech,
)  # fmt: skip


def small_patience() -> contextlib.ExitStack:
    """Bounds in time that a test can wait for, in the place of minutes."""
    stack = contextlib.ExitStack()
    for where, name, seconds in (
        ("earwitness.remote.client", "ANSWERED_S", 0.3),
        ("earwitness.remote.client", "REFUSED_S", 0.2),
        ("earwitness.remote.client", "UNREACHABLE_S", 0.2),
        ("earwitness.remote.client", "_RETRY_S", 0.05),
        ("earwitness.phone.builtin", "START_TIMEOUT_S", 0.3),
        ("earwitness.path.end", "START_TIMEOUT_S", 0.3),
        ("earwitness.path.end", "_STOP_TIMEOUT_S", 0.05),
        ("earwitness.path.openvpn", "_STOP_TIMEOUT_S", 0.05),
        ("earwitness.phone.builtin", "_GRACE_S", 0.05),
        ("earwitness.capture.live", "READY_WITHIN_S", 0.3),
        ("earwitness.capture.live", "_SUMMARY_WITHIN_S", 0.3),
        ("earwitness.remote.far_child", "_ON_THE_WAY_S", 0.0),
    ):
        stack.enter_context(mock.patch(f"{where}.{name}", seconds))
    defaults = BuiltinPhone._ask.__kwdefaults__
    stack.enter_context(mock.patch.dict(defaults, within_s=0.3))
    return stack


async def hostile_answer(chance: Random, folder: Path) -> tuple[str, float]:
    """One dealing with a false answerer: which step, and how long it took. What is no error of ours is raised."""
    step = chance.choice(STEPS)
    share = chance.choice((0.1, 0.3, 0.6))
    flooding = chance.random() < 0.05

    def reply(message: Message, _blob: bytes) -> list[tuple[Message, bytes]]:
        said: list[tuple[Message, bytes]] = []
        for one, back in honest(message):
            if message.get("do") != "leave" and chance.random() < share:
                one = mutated(one, chance, chance.choice((1, 1, 2)))
            if isinstance(one, dict):
                said.append((one, chance.randbytes(chance.choice((0, 5, 300_000))) if chance.random() < 0.05 else back))
            if flooding and isinstance(one, dict) and "child" in one:
                said += [(one, b"")] * 500
        if chance.random() < 0.02:
            said.append(({"child": chance.choice(STRANGE), "re": chance.choice(STRANGE)}, b""))
        return said

    def introduction() -> Any:
        return mutated(INTRODUCTION, chance) if chance.random() < 0.1 else INTRODUCTION

    begun = time.monotonic()
    async with answering_falsely(reply, introduction) as (port, invitation):
        try:
            async with FarEnd.connect(("127.0.0.1", port), invitation) as far:
                await far.ask("begin", call_id="x")
                machine = FarMachine(far, "there", "", far.introduction.address, "lo")
                await step(machine, folder)
            if chance.random() < 0.2:
                await fetch_kept(("127.0.0.1", port), invitation, "call-1", folder / "fetched")
        except (EarwitnessError, TimeoutError) as error:
            line = str(error)
            assert len(line) < 4000, line[:200]
            line.encode()
    return step.__name__, time.monotonic() - begun


__all__ = ["client", "hostile_answer", "small_patience"]

"""A caller's whole dealing with an answering side whose words are mutated: each step by itself, then whole calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from earwitness.archive.dataset import Dataset
from earwitness.capture.live import CaptureProcess
from earwitness.errors import EarwitnessError
from earwitness.path.callee_host import OnionRequest
from earwitness.path.forwarder import ForwarderConfig
from earwitness.path.forwarder_process import ForwarderProcess
from earwitness.path.vpn_config import Security
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.setup import PhoneSetup
from earwitness.remote.certificates import AnswerKeys, Invitation, client_context, server_context
from earwitness.remote.channel import Message, encode, read
from earwitness.remote.client import RemoteClient, fetch_kept
from earwitness.remote.endpoint import RemoteCapture, RemoteMachine
from earwitness.tor.description import TorNetwork
from testing.commands import EARWITNESS, INSIDE
from testing.remote.hostile import (
    INTRODUCTION,
    SETUP,
    STRANGE,
    Answer,
    Watched,
    answering_falsely,
    honest,
    mutated,
)

CONFIG = ForwarderConfig(
    role="callee", tun=0, local="10.99.1.1", remote="10.99.1.2", token="t" * 32, flows={"other": None}
)


async def _device(machine: RemoteMachine, _folder: Path) -> None:
    async with machine.tunnel_device(1):
        pass


async def _forwarder(machine: RemoteMachine, _folder: Path) -> None:
    async with ForwarderProcess.running(machine, machine.start_forwarder, CONFIG) as end:
        await asyncio.sleep(0.01)
        assert end.listening is None or end.listening[0] == "127.0.0.1", f"it would connect to {end.listening}"
        assert len(repr(end.statistics)) < 5000


async def _tunnel(machine: RemoteMachine, _folder: Path) -> None:
    async with machine.offered_tunnel(1, Security.TLS, nodelay=True, scratch=_folder) as offered:
        if offered is not None:
            offer, end = offered
            assert offer.tunnel.server == "127.0.0.1", f"it would connect to {offer.tunnel.server}"
            await end.until(lambda this: this.up, 0.05)


async def _onion(machine: RemoteMachine, _folder: Path) -> None:
    async with machine.offered_onion(OnionRequest(("127.0.0.1", 1), TorNetwork("none", (), {}))) as offered:
        assert offered.service.address.endswith(".onion")
        await offered.circuit()


async def _probes(machine: RemoteMachine, _folder: Path) -> None:
    async with machine.echoing("ew1", "10.99.1.1"):
        pass
    async with machine.taking_a_transfer("ew1", "10.99.1.1", sends=False) as (_, received):
        told = await received()
        assert told is None or (told.kbit_s or 0.0) < 1e9


async def _server(machine: RemoteMachine, _folder: Path) -> None:
    async with machine.lab_server("ew1", "10.99.1.1", relay=False):
        pass


async def _capture(machine: RemoteMachine, folder: Path) -> None:
    child = await machine.remote.start("capture", "capture", interface="ew1")
    process = await CaptureProcess.over(child, "ew1", folder / "there")
    try:
        await RemoteCapture(machine.remote, process, folder / "callee.pcap").stop()
    finally:
        await child.close(0.1)


async def _phone(machine: RemoteMachine, _folder: Path) -> None:
    child = await machine.remote.start("phone", "phone")
    async with BuiltinPhone.over(child, PhoneSetup.from_dict(SETUP)) as phone:
        await phone.listen()
        await phone.hang_up()
        report = await phone.report()
        assert len(str(report.to_dict())) < 5_000_000


async def _speech(machine: RemoteMachine, _folder: Path) -> None:
    await machine.remote.ask("speech", blob=b"x")


STEPS: tuple[Callable[[RemoteMachine, Path], Awaitable[None]], ...] = (
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
        ("earwitness.path.forwarder_process", "START_TIMEOUT_S", 0.3),
        ("earwitness.path.forwarder_process", "_STOP_TIMEOUT_S", 0.05),
        ("earwitness.path.openvpn", "_STOP_TIMEOUT_S", 0.05),
        ("earwitness.phone.builtin", "_GRACE_S", 0.05),
        ("earwitness.capture.live", "READY_WITHIN_S", 0.3),
        ("earwitness.capture.live", "_SUMMARY_WITHIN_S", 0.3),
        ("earwitness.remote.child", "_ON_THE_WAY_S", 0.0),
    ):
        stack.enter_context(mock.patch(f"{where}.{name}", seconds))
    defaults = BuiltinPhone._ask.__kwdefaults__
    stack.enter_context(mock.patch.dict(defaults, within_s=0.3))
    return stack


async def hostile_answer(chance: Random, folder: Path) -> tuple[str, float]:
    """One dealing with a false answerer: which step, and how long it took. What is no error of ours is raised."""
    step = chance.choice(STEPS)
    share = chance.choice((0.1, 0.3, 0.6))
    flooding, will = chance.random() < 0.05, honest()

    def reply(message: Message, _blob: bytes) -> list[tuple[Message, bytes]]:
        said: list[tuple[Message, bytes]] = []
        for one, back in will(message):
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
            async with RemoteClient.connect(("127.0.0.1", port), invitation) as remote:
                await remote.ask("begin", call_id="x")
                machine = RemoteMachine(remote, "there", "", remote.hello.address, "lo")
                await step(machine, folder)
            if chance.random() < 0.2:
                await fetch_kept(("127.0.0.1", port), invitation, "call-1", folder / "fetched")
        except (EarwitnessError, TimeoutError) as error:
            line = str(error)
            assert len(line) < 4000, line[:200]
            line.encode()
    return step.__name__, time.monotonic() - begun


# -- whole calls ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def mutating(answer: Answer, chance: Random, share: float) -> AsyncIterator[tuple[int, Invitation]]:
    """Between a caller and a real answering side, as one that has the keys of both: what comes back is mutated.

    The numbers by which messages belong together stay, or the caller would wait its five minutes for each.
    """
    keys, invitation = AnswerKeys.make("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(
            "127.0.0.1",
            answer.port,
            ssl=client_context(answer.invitation),
            server_hostname="earwitness",
            limit=1 << 23,
        )

        async def forth() -> None:
            while data := await reader.read(65_536):
                there[1].write(data)

        async def back() -> None:
            while True:
                message, blob = await read(there[0], 60.0)
                for part in ("event", "value", "failure"):
                    if part in message and chance.random() < share:
                        message[part] = mutated(message[part], chance)
                writer.write(encode(message, blob))

        try:
            await asyncio.gather(forth(), back())
        except (OSError, ValueError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            there[1].transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(keys), limit=1 << 23)
    try:
        yield server.sockets[0].getsockname()[1], invitation
    finally:
        server.close()


async def whole_call(answer: Answer, folder: Path, number: int, share: float) -> tuple[int, str, str, float]:
    """`earwitness call --to` in a sandbox of its own: exit code, what it said, the outcome stored, its memory (MiB)."""
    chance = Random(number)
    async with mutating(answer, chance, share) as (port, invitation):
        file, out, log = folder / f"{number}.json", folder / f"{number}.data", folder / f"{number}.log"
        invitation.write(file)
        argv = [*INSIDE, *EARWITNESS, "call", "--to", f"127.0.0.1:{port}"]
        argv += ["--invitation", str(file), "--path", chance.choice(("tcp", "tcp", "vpn")), "--seconds", "4"]
        argv += ["--out", str(out)]
        with log.open("wb") as said:
            environment = {**os.environ, "XDG_STATE_HOME": str(folder), "COLUMNS": "200"}
            process = subprocess.Popen(argv, stdout=said, stderr=said, env=environment)
        watched = Watched(process, log)
        looking = asyncio.create_task(watched.looking())
        try:
            code = await asyncio.to_thread(process.wait, 700)
        finally:
            looking.cancel()
            process.kill()
        stored = [call.record.outcome for call in Dataset.open(out).calls()]
    return code, watched.said, str(stored[0]) if stored else "", watched.worst_one_mib

"""Peers that are known by their certificates and mean harm, both ways, over real TLS: each kind of harm, and a fuzz."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from earwitness.errors import CallFailure, EarwitnessError
from earwitness.events import Event, WarningGiven
from earwitness.netns.accepting import UnverifiedPeers
from earwitness.path.forwarder_process import ForwarderProcess
from earwitness.path.vpn_config import Security
from earwitness.remote import answer as answering_side
from earwitness.remote.answering import Answering
from earwitness.remote.certificates import AnswerKeys
from earwitness.remote.channel import Message
from earwitness.remote.client import RemoteClient, fetch_kept
from earwitness.remote.endpoint import RemoteMachine
from earwitness.remote.log_limit import RateLimited
from earwitness.remote.machine import Machine
from earwitness.remote.store import CallStore
from earwitness.remote.validation import is_onion_address
from testing.remote.hostile import (
    INTRODUCTION,
    ONION,
    SETUP,
    Caller,
    answering,
    answering_falsely,
    good_visit,
    honest,
    hostile_session,
)
from testing.remote.hostile_answerers import CONFIG, STEPS, hostile_answer, small_patience

pytestmark = pytest.mark.timeout(120)


# -- a hostile caller of a real `answer` --------------------------------------------------------------------


@pytest.mark.lab
@pytest.mark.usefixtures("permitted")
def test_hostile_callers_leave_nothing_behind_and_the_next_one_is_served(tmp_path: Path) -> None:
    async def scene() -> bool:
        for number in range(15):
            await hostile_session(answer, Random(number), number)
        return await good_visit(answer, "good-call")

    with answering(tmp_path, "--patience", "1") as answer:
        assert asyncio.run(scene())
    assert answer.process.returncode == 0
    assert answer.left == []
    assert "Traceback" not in answer.said


@pytest.mark.lab
@pytest.mark.usefixtures("permitted")
def test_thousands_of_commands_and_unread_replies_neither_hold_up_answer_nor_fill_its_memory(tmp_path: Path) -> None:
    async def scene() -> None:
        looking = asyncio.create_task(answer.looking())
        caller = Caller(answer)
        await caller.connect()
        await caller.ask("begin", call_id="flood")
        await caller.ask("device", number=1)
        await caller.ask("phone", child=1)
        caller.send({"child": 1, "line": SETUP})
        await caller.hear(30.0, lambda message: (message.get("event") or {}).get("event") == "ready")
        for number in range(6000):
            caller.send({"child": 1, "line": {"id": number, "do": "report", "with": {}}})
        await asyncio.sleep(3.0)  # nothing is read meanwhile
        looking.cancel()
        caller.writer.transport.abort()

    with answering(tmp_path) as answer:
        asyncio.run(scene())
        assert answer.end() == 0
    assert answer.ended_in_s < 25.0
    assert answer.left == []
    assert answer.worst_all_mib < 600.0


@pytest.mark.lab
@pytest.mark.usefixtures("permitted")
def test_a_visit_has_one_process_of_a_kind_and_speech_of_an_hour_at_most(tmp_path: Path) -> None:
    async def scene() -> tuple[list[Message], list[Message], list[Message]]:
        caller = Caller(answer)
        await caller.connect()
        await caller.ask("begin", call_id="many")
        await caller.ask("device", number=1)
        for number in range(120):
            caller.send({"id": 1000 + number, "do": "capture", "with": {"child": 1000 + number, "interface": "ew1"}})
        captures: list[Message] = []
        while len(captures) < 120:
            heard = await caller.hear(20.0, lambda message: message.get("re", 0) >= 1000)
            assert heard
            captures += [message for message in heard if message.get("re", 0) >= 1000]
        await caller.ask("phone", child=1)
        caller.send({"child": 1, "line": {**SETUP, "seconds": 1e5}})
        phone = await caller.hear(10.0, lambda message: "gone" in message and message["child"] == 1)
        await caller.ask("phone", child=2)
        caller.send({"child": 2, "line": {**SETUP, "address": "127.0.0.1"}})
        elsewhere = await caller.hear(10.0, lambda message: "gone" in message and message["child"] == 2)
        await caller.leave()
        return captures, phone, elsewhere

    with answering(tmp_path) as answer:
        captures, phone, elsewhere = asyncio.run(scene())
    assert len(captures) == 120
    assert sum("value" in one for one in captures) == 1
    assert "seconds: 100000.0 is not a number from 0 to 3600" in phone[-1]["gone"]
    assert "not an address of this call" in elsewhere[-1]["gone"]


@pytest.mark.lab
@pytest.mark.usefixtures("permitted")
def test_a_greeting_that_is_cut_short_locks_nobody_out(tmp_path: Path) -> None:
    async def scene() -> Message | None:
        caller = Caller(answer)
        assert await caller.connect({"earwitness": 1, "session": ""}) is None
        caller.writer.transport.abort()
        other = Caller(answer)
        reply = await other.connect()
        other.writer.transport.abort()
        return reply

    with answering(tmp_path) as answer:
        reply = asyncio.run(scene())
    assert reply is not None
    assert "refused" not in reply, reply


# -- strangers --------------------------------------------------------------------------------------------------


def test_idle_strangers_keep_no_caller_out_and_are_told_of_sparingly(tmp_path: Path) -> None:
    said: list[Event] = []

    async def scene() -> None:
        keys, invitation = AnswerKeys.make("")
        machine = Machine("there", "", "127.0.0.1", "lo")
        answer = Answering(machine=machine, store=CallStore(tmp_path), epoch_offset_ns=0)
        listener = answering_side.open_listener("127.0.0.1", 0)
        port = listener.getsockname()[1]
        serving = asyncio.create_task(answering_side.serve_callers(keys, answer, listener, said.append))
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        async with RemoteClient.connect(("127.0.0.1", port), invitation) as remote:
            assert remote.hello.name == "there"
        for _ in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            writer.close()
        await asyncio.sleep(0.5)
        for _, writer in idle:
            writer.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(scene())
    assert len(said) < 20
    assert any("more connections were refused in the last 60 s" in str(event) for event in said)


def test_a_newcomer_takes_the_place_of_the_oldest_of_the_crowd() -> None:
    dropped: list[str] = []
    unproven = UnverifiedPeers(4)
    unproven.enter("192.0.2.1", lambda: dropped.append("the caller"))
    for number in range(5):
        unproven.enter("192.0.2.66", partial(dropped.append, f"stranger {number}"))
    assert dropped == ["stranger 0", "stranger 1"]


def test_what_is_not_said_is_counted() -> None:
    said: list[Event] = []

    async def scene() -> None:
        limited = RateLimited(said.append, WarningGiven, "were refused", period_s=0.05)
        for number in range(100):
            limited.report(str(number))
        await asyncio.sleep(0.2)

    asyncio.run(scene())
    lines = ["0", "1", "2", "3", "4", "95 more were refused in the last 0.05 s"]
    assert said == [WarningGiven(line) for line in lines]


# -- a hostile answerer ---------------------------------------------------------------------------------------


def dealing(
    step: Any,
    folder: Path,
    change: Any = lambda _message, said: said,
    introduction: Any = INTRODUCTION,
    to: str = "127.0.0.1",
) -> str:
    """The error, in one line, that a step of the caller's ends with; empty where with none."""

    async def scene() -> str:
        will = honest()

        def reply(message: Message, _blob: bytes) -> list[tuple[Message, bytes]]:
            return [(change(message, said), back) for said, back in will(message)]

        async with answering_falsely(reply, lambda: introduction) as (port, invitation):
            try:
                async with RemoteClient.connect((to, port), invitation) as remote:
                    await step(RemoteMachine(remote, "there", "", remote.hello.address, "lo"), folder)
            except EarwitnessError as error:
                return str(error)
        return ""

    with small_patience():
        return asyncio.run(scene())


def test_every_step_goes_with_an_answerer_of_good_will(tmp_path: Path) -> None:
    told = {step.__name__: dealing(step, tmp_path) for step in STEPS}
    # The answerer refuses the speech, as one may, in its own words.
    assert told == {step.__name__: "a b: c; d" if step.__name__ == "_speech" else "" for step in STEPS}


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "localhost"])
def test_an_answerer_cannot_send_the_caller_s_streams_elsewhere(tmp_path: Path, address: str) -> None:
    async def forwarder(machine: RemoteMachine, _folder: Path) -> None:
        async with ForwarderProcess.running(machine, machine.start_forwarder, CONFIG) as end:
            raise AssertionError(f"it would connect to {end.listening}")

    async def tunnel(machine: RemoteMachine, _folder: Path) -> None:
        async with machine.offered_tunnel(1, Security.TLS, nodelay=True, scratch=_folder) as offered:
            raise AssertionError(f"it would connect to {offered}")

    def change(_message: Message, said: Message) -> Message:
        if (said.get("event") or {}).get("event") == "listening":
            return {**said, "event": {**said["event"], "address": address}}
        if isinstance(said.get("value"), dict) and "server" in said["value"]:
            return {**said, "value": {**said["value"], "server": address}}
        return said

    for step in (forwarder, tunnel):
        assert "but the call is to 127.0.0.1" in dealing(step, tmp_path, change)


def test_an_answerer_cannot_send_the_caller_s_phone_elsewhere(tmp_path: Path) -> None:
    async def direct(machine: RemoteMachine, _folder: Path) -> None:
        machine.remote.check_address("phones", machine.remote.hello.address)
        raise AssertionError("it would call there")

    told = dealing(direct, tmp_path, introduction={**INTRODUCTION, "address": "10.1.2.3"})
    assert "but the call is to 127.0.0.1" in told


def test_an_onion_address_is_one_of_version_3_with_its_checksum() -> None:
    assert is_onion_address(ONION)
    for wrong in ("127.0.0.1", "a" * 56 + ".onion", ONION.replace("duck", "buck"), ONION[1:], ONION + ".", "x.onion"):
        assert not is_onion_address(wrong)


@pytest.mark.parametrize("told", [5, ["a"], {"../../.bashrc": 1}, {"record.json": 1}, {"\ud800": 1}, None])
def test_a_fetch_brings_files_of_calls_alone(tmp_path: Path, told: object) -> None:
    async def scene() -> None:
        def reply(message: Message, _blob: bytes) -> list[tuple[Message, bytes]]:
            return [({"re": message["id"], "value": told if message["do"] == "files" else None}, b"")]

        async with answering_falsely(reply, lambda: INTRODUCTION) as (port, invitation):
            await fetch_kept(("127.0.0.1", port), invitation, "call-1", tmp_path / "fetched")

    with pytest.raises(EarwitnessError, match="not the name of a file of a call"):
        asyncio.run(scene())
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_there_says_and_nobody_hears_does_not_pile_up(tmp_path: Path) -> None:
    async def capture(machine: RemoteMachine, _folder: Path) -> None:
        child = await machine.remote.start("capture", "capture", interface="ew1")
        for _ in range(100):
            if child.gone is not None:
                break
            await asyncio.sleep(0.1)
        assert child.gone == "its events arrived faster than they were read"
        assert child._waiting_bytes < 9 << 20

    async def scene() -> None:
        will = honest()

        def reply(message: Message, _blob: bytes) -> list[tuple[Message, bytes]]:
            said = will(message)
            if message.get("do") == "capture":
                said += [({"child": message["with"]["child"], "event": {"event": "x" * 200_000}}, b"")] * 100
            return said

        async with (
            answering_falsely(reply, lambda: INTRODUCTION) as (port, invitation),
            RemoteClient.connect(("127.0.0.1", port), invitation) as remote,
        ):
            await capture(RemoteMachine(remote, "there", "", "127.0.0.1", "lo"), tmp_path)

    asyncio.run(scene())


def test_a_failure_there_cannot_make_a_call_whole(tmp_path: Path) -> None:
    async def asked(machine: RemoteMachine, _folder: Path) -> None:
        with pytest.raises(CallFailure) as raised:
            await machine.remote.ask("speech")
        assert raised.value.outcome == "failed"
        assert len(json.dumps(raised.value.evidence)) < 20_000
        raise raised.value

    def change(message: Message, said: Message) -> Message:
        if message.get("do") != "speech":
            return said
        return {**said, "failure": {**said["failure"], "outcome": "completed", "evidence": {"x": ["y" * 9999] * 9}}}

    assert dealing(asked, tmp_path, change) == "a b: c; d"


def test_hostile_answerers_end_in_one_line(tmp_path: Path) -> None:
    async def scene() -> list[object]:
        lost: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: lost.append(context))
        for number in range(12):
            async with asyncio.timeout(30):
                await hostile_answer(Random(number), tmp_path)
        return lost

    with small_patience():
        assert asyncio.run(scene()) == []

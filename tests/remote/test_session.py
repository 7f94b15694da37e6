"""What the answering side does for a caller, asked in its own process: it gives nothing but what belongs to a call."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from earwitness.remote.answering import Answering
from earwitness.remote.channel import ProtocolError
from earwitness.remote.hello import Hello
from earwitness.remote.machine import Machine
from earwitness.remote.session import CallerSession
from earwitness.remote.store import CallStore
from earwitness.tor.control_address import ControlAddress


def asked(folder: Path, *requests: dict[str, Any], media_port: int = 0) -> list[dict[str, Any]]:
    """What a visit answers to these requests, in order."""
    sent: list[dict[str, Any]] = []

    async def run() -> None:
        machine = Machine("there", "", "127.0.0.1", "lo")
        nowhere = ControlAddress(path=Path("/nowhere/control"))
        visit = CallerSession(
            Answering(
                machine=machine,
                store=CallStore(folder / "store"),
                epoch_offset_ns=0,
                media_port=media_port,
                tor_control=nowhere,
            )
        )
        visit.channel.send = lambda message, blob=b"": sent.append(dict(message))  # type: ignore[method-assign]
        for number, request in enumerate(({"do": "begin", "with": {"call_id": "a-call"}}, *requests)):
            await visit._answer({"id": number, **request}, b"")
        await visit.close()

    asyncio.run(run())
    return [message for message in sent if "re" in message][1:]


def tunnel(**given: Any) -> dict[str, Any]:
    return {"do": "tunnel", "with": {"child": 1, "number": 7, "security": "tls", "nodelay": True, **given}}


def test_no_openvpn_there_is_a_typed_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_a, **_k: None)
    (answer,) = asked(tmp_path, tunnel())
    assert answer["failure"]["outcome"] == "tool_missing"
    assert "apt-get install openvpn" in answer["failure"]["remedy"]


def test_a_media_port_in_use_is_a_typed_outcome(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (answer,) = asked(tmp_path, tunnel(), media_port=port)
    assert answer["failure"]["outcome"] == "port_taken"
    assert f"127.0.0.1:{port} of there" in answer["failure"]["on"]


def test_a_device_that_is_taken_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "ewvpn7")])
    (answer,) = asked(tmp_path, tunnel())
    assert answer["value"] is None


@pytest.mark.parametrize(
    "request_",
    [
        tunnel(number="0\nup /bin/sh"),
        tunnel(number=-1),
        tunnel(security="none\nup /bin/sh"),
        {"do": "device", "with": {"number": "lo"}},
        {"do": "echo", "with": {"number": 1, "interface": "eth0"}},
        {"do": "transfer", "with": {"number": 1, "interface": "ew1", "sends": True}},
        {"do": "sip_server", "with": {"number": 1, "interface": "ewvpn0", "relay": False}},
        {"do": "onion", "with": {"number": 1}},  # no forwarder of this call listens for one
        {"do": "capture", "with": {"child": 1, "interface": "any"}},
        {"do": "result", "with": {"number": 5}},
        {"do": "run", "with": {"argv": ["sh"]}},
        {"do": "forwarder", "with": {"child": 1, "number": 1}},  # no device of this call
        {"do": "phone", "with": {"child": "1"}},
        {"do": "fetch", "with": {"name": "events.jsonl", "offset": 10**30}},
        {"do": ["device"], "with": []},
    ],
)
def test_nothing_is_opened_that_is_not_the_call_s(tmp_path: Path, request_: dict[str, Any]) -> None:
    (answer,) = asked(tmp_path, request_)
    assert "failure" in answer


def test_a_process_that_is_told_nonsense_is_ended_and_its_caller_hears_why(tmp_path: Path) -> None:
    async def run() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        gone = asyncio.Event()

        def send(message: dict[str, Any], _blob: bytes = b"") -> None:
            sent.append(dict(message))
            if "gone" in message:
                gone.set()

        machine = Machine("there", "", "127.0.0.1", "lo")
        visit = CallerSession(Answering(machine=machine, store=CallStore(tmp_path), epoch_offset_ns=0))
        visit.channel.send = send  # type: ignore[method-assign, assignment]  # in the place of a connection
        await visit._answer({"id": 0, "do": "begin", "with": {"call_id": "a-call"}}, b"")
        for number in (1, 2):
            await visit._answer({"id": number, "do": "phone", "with": {"child": 1}}, b"")
        visit._deliver({"child": 1, "line": {"address": "127.0.0.1"}}, b"")
        await asyncio.wait_for(gone.wait(), 20)
        await visit.close()
        return sent

    sent = asyncio.run(run())
    assert "not a free process number" in next(one for one in sent if one.get("re") == 2)["failure"]["happened"]
    assert (
        "refused: the setup of a phone: epoch_offset_ns is missing"
        in next(one for one in sent if "gone" in one)["gone"]
    )


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"address": "127.0.0.1\nup /bin/sh"},
        {"epoch_offset_ns": 2**80},
        {"epoch_offset_ns": "0"},
        {"name": "a\nb"},
        {"versions": ["1"]},
    ],
)
def test_an_introduction_is_believed_only_where_it_is_one(told: dict[str, Any]) -> None:
    right = {"name": "there", "place": "", "address": "127.0.0.1", "interface": "", "epoch_offset_ns": 5}
    right["versions"] = {"python": "3.11"}
    assert Hello.read(right).epoch_offset_ns == 5
    with pytest.raises(ProtocolError):
        Hello.read({**right, **told} if told else {})

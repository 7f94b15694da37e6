"""Registering and calling through a real Kamailio, which challenges and record-routes."""

from __future__ import annotations

import asyncio
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earwitness.errors import CallFailure, Outcome
from earwitness.phone import kamailio, rtpengine
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.call_report import PhoneReport
from earwitness.phone.media import bind_udp
from earwitness.phone.setup import SipServer
from testing.phone.calls import NewHost, SetupOf, every_request_was_answered, run

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(
        shutil.which("kamailio", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None, reason="kamailio is not installed"
    ),
]

USERS = {"alice": "correct horse", "bob": "battery staple"}


def account(server: kamailio.Kamailio, user: str, password: str = "") -> SipServer:
    return SipServer(server.address, user, password or USERS[user], server.port, server.domain)


def test_a_call_with_digest_through_the_proxy(new_host: NewHost, setup_of: SetupOf, tmp_path: Path) -> None:
    caller, callee, middle = new_host("alice"), new_host("bob"), new_host("server")

    async def scenario() -> tuple[PhoneReport, PhoneReport, str]:
        async with (
            kamailio.start_kamailio(middle, tmp_path, USERS) as server,
            BuiltinPhone.start(caller, setup_of(caller, server=account(server, "alice"))) as a,
            BuiltinPhone.start(callee, setup_of(callee, server=account(server, "bob"))) as b,
        ):
            await asyncio.gather(a.register(), b.register())
            await b.listen(ring_s=0.1)
            assert b.uri == "sip:bob@earwitness.test"
            await a.call(b.uri, 10)
            await a.finish(0.3)
            assert await b.wait_ended(5)
            return await a.report(), await b.report(), server.address

    a, b, server = run(scenario())
    for report in (a, b):
        every_request_was_answered(report)
        assert {entry.peer for entry in report.sip} == {f"{server}:5060"}  # ACK and BYE by the recorded route too
        assert (report.packets_sent, report.packets_received) == (100, 100)
    assert a.bye_status == 200
    assert b.ended_by == "remote"
    ack = next(entry for entry in b.sip if entry.first_line.startswith("ACK"))
    assert ack.first_line == f"ACK sip:bob@{callee.address}:5060 SIP/2.0"
    text = "".join(entry.text for entry in (*a.sip, *b.sip))
    assert "407" in text
    assert "response=" not in text
    assert "nonce=" not in text


@pytest.mark.skipif(shutil.which("rtpengine") is None, reason="rtpengine-daemon is not installed")
def test_media_relayed_by_the_server(new_host: NewHost, setup_of: SetupOf, tmp_path: Path) -> None:
    caller, callee, middle = new_host("alice"), new_host("bob"), new_host("server")

    async def scenario() -> tuple[PhoneReport, PhoneReport]:
        async with (
            rtpengine.start_rtpengine(middle, tmp_path) as relay,
            kamailio.start_kamailio(middle, tmp_path, USERS, relay=relay) as server,
            BuiltinPhone.start(caller, setup_of(caller, server=account(server, "alice"), codec="opus")) as a,
            BuiltinPhone.start(callee, setup_of(callee, server=account(server, "bob"), codec="opus")) as b,
        ):
            await asyncio.gather(a.register(), b.register())
            await b.listen()
            await a.call(b.uri, 10)
            await a.finish(0.5)
            assert await b.wait_ended(5)
            return await a.report(), await b.report()

    for report in run(scenario()):
        every_request_was_answered(report)
        assert (report.packets_sent, report.packets_received) == (100, 100)
        received = [entry.text for entry in report.sip if not entry.sent and "m=audio" in entry.text]
        assert len(received) == 1
        assert f"c=IN IP4 {middle.address}" in received[0]  # each end is told to send to the relay
        assert int(received[0].partition("m=audio ")[2].split()[0]) in range(30_000, 30_101)
        assert report.rtcp.round_trips_ms


@pytest.mark.parametrize("user", ["alice", "mallory"])
def test_a_wrong_password_is_noticed_at_once(new_host: NewHost, setup_of: SetupOf, tmp_path: Path, user: str) -> None:
    host, middle = new_host("alice"), new_host("server")

    async def scenario() -> tuple[CallFailure, CallFailure, PhoneReport]:
        async with kamailio.start_kamailio(middle, tmp_path, USERS) as server:
            setup = setup_of(host, server=account(server, user, "wrong"))
            async with BuiltinPhone.start(host, setup) as phone:
                with pytest.raises(CallFailure) as registering:
                    await phone.register()
                with pytest.raises(CallFailure) as calling:
                    await phone.call("sip:bob@earwitness.test", 5)
                return registering.value, calling.value, await phone.report()

    registering, calling, report = run(scenario())
    assert registering.outcome is calling.outcome is Outcome.AUTH_FAILED
    assert "wrong" not in str(registering)
    assert sum(entry.first_line.startswith("REGISTER") for entry in report.sip) == 2
    assert sum(entry.first_line.startswith("INVITE") for entry in report.sip) == 2


def test_a_callee_that_did_not_register(new_host: NewHost, setup_of: SetupOf, tmp_path: Path) -> None:
    host, middle = new_host("alice"), new_host("server")

    async def scenario() -> CallFailure:
        async with kamailio.start_kamailio(middle, tmp_path, USERS) as server:
            setup = setup_of(host, server=account(server, "alice"))
            async with BuiltinPhone.start(host, setup) as phone:
                with pytest.raises(CallFailure) as caught:
                    await phone.call("sip:bob@earwitness.test", 5)
                return caught.value

    failure = run(scenario())
    assert failure.outcome is Outcome.NO_ANSWER
    assert "480" in str(failure)


def test_no_server_there(new_host: NewHost, setup_of: SetupOf) -> None:
    host, nobody = new_host("alice"), new_host("server")
    server = SipServer(nobody.address, "alice", "x", domain="earwitness.test")

    async def scenario() -> None:
        async with BuiltinPhone.start(host, setup_of(host, server=server, t1_s=0.02)) as phone:
            await phone.register()

    with pytest.raises(CallFailure) as caught:
        run(scenario())
    assert caught.value.outcome is Outcome.REGISTER_FAILED


def test_the_configuration_is_private_and_gone_as_soon_as_it_is_read(
    new_host: NewHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = new_host("server")
    removed: list[tuple[str, int, str]] = []
    unlink = Path.unlink

    def looked_at(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            removed.append((path.name, stat.S_IMODE(path.stat().st_mode), path.read_text()))
        unlink(path, missing_ok)

    async def scenario() -> list[str]:
        async with kamailio.start_kamailio(middle, tmp_path, USERS):
            return [path.name for path in tmp_path.iterdir()]

    monkeypatch.setattr(Path, "unlink", looked_at)
    there = run(scenario())
    ((name, mode, text),) = removed
    assert (name, mode) == ("kamailio.cfg", 0o600)
    assert name not in there  # while it runs
    assert all(password not in text for password in USERS.values())


def test_a_taken_port_is_told(new_host: NewHost, tmp_path: Path) -> None:
    middle = new_host("server")

    async def scenario() -> None:
        async with (
            kamailio.start_kamailio(middle, tmp_path / "a", USERS),
            kamailio.start_kamailio(middle, tmp_path / "b", USERS),
        ):
            raise AssertionError("both started")

    with pytest.raises(CallFailure) as caught:
        run(scenario())
    assert caught.value.outcome is Outcome.PORT_TAKEN


_OWNER = """
import asyncio, sys
from contextlib import AsyncExitStack
from pathlib import Path
from earwitness.phone.lab_server import lab_server
from earwitness.remote.machine import Machine
async def serve():
    machine = Machine("there", "", sys.argv[1], "lo")
    async with lab_server(machine, Path(sys.argv[2]), address=sys.argv[1], relay=sys.argv[3] == "relay"):
        print("serving", flush=True)
        await asyncio.sleep(600)
asyncio.run(serve())
"""


@pytest.mark.parametrize("relay", ["no relay", "relay"])
def test_a_killed_owner_leaves_neither_processes_nor_a_taken_port(
    new_host: NewHost, tmp_path: Path, relay: str
) -> None:
    """As `answer` has it for `call --sip-server lab`."""
    if relay == "relay" and shutil.which("rtpengine") is None:
        pytest.skip("rtpengine-daemon is not installed")
    address = new_host("server").address
    for _ in range(3):
        argv = [sys.executable, "-c", _OWNER, address, str(tmp_path), relay]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"serving\n"
            owner.kill()
        until = time.monotonic() + 20
        while left := [pid for pid in Path("/proc").glob("[0-9]*") if str(tmp_path).encode() in command_line(pid)]:
            assert time.monotonic() < until, left
            time.sleep(0.01)
        while taken(address):  # a process that is ending has no command line any more, but still its sockets
            assert time.monotonic() < until
            time.sleep(0.01)


def taken(address: str) -> bool:
    try:
        bind_udp(address, 5060, "kamailio").close()
    except CallFailure:
        return True
    return False


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""

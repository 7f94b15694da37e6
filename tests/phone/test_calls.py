"""Real calls between two phone processes on loopback addresses."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from earwitness.capture.live import CaptureProcess
from earwitness.errors import CallFailure, Outcome
from earwitness.netns.host import Host
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.call_report import PhoneReport, media_outcome
from earwitness.phone.setup import PhoneSetup
from testing.phone.calls import NewHost, SetupOf, every_request_was_answered, run

pytestmark = pytest.mark.realtime


async def call(caller: tuple[Host, PhoneSetup], callee: tuple[Host, PhoneSetup]) -> tuple[PhoneReport, PhoneReport]:
    async with BuiltinPhone.start(*caller) as a, BuiltinPhone.start(*callee) as b:
        await b.listen()
        await a.call(b.uri, 10)
        await b.wait_answered(5)
        await a.finish(0.3)
        assert await b.wait_ended(5)
        # The goodbye of RTCP comes to another socket than SIP's, and may be read after it.
        async with asyncio.timeout(10):
            while not (heard := await b.report()).rtcp.remote_said_bye:
                await asyncio.sleep(0.02)
        return await a.report(), heard


def rows(pcap: Path, query: str, port: int, *fields: str) -> list[list[str]]:
    argv = ["tshark", "-r", str(pcap), "-d", f"udp.port=={port},rtp", "-Y", query, "-T", "fields"]
    argv += [part for field in fields for part in ("-e", field)]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize(("codec", "ticks"), [("g711u", 160), ("opus:24000", 960)])
def test_a_call_from_invite_to_bye(
    new_host: NewHost, setup_of: SetupOf, tmp_path: Path, codec: str, ticks: int
) -> None:
    caller, callee = new_host("alice"), new_host("bob")
    pcap = tmp_path / "call.pcap"
    port = 20_000 + os.getpid() % 20_000 * 2
    options = {"codec": codec, "rtp_port": port}

    async def scenario() -> tuple[PhoneReport, PhoneReport]:
        setups = setup_of(caller, **options), setup_of(callee, **options)
        if os.geteuid() != 0:
            return await call((caller, setups[0]), (callee, setups[1]))
        offset = setups[0].epoch_offset_ns
        async with await CaptureProcess.start(caller, "lo", pcap, epoch_offset_ns=offset, ports=[port, port + 1]):
            return await call((caller, setups[0]), (callee, setups[1]))

    a, b = run(scenario())
    assert (a.packets_sent, b.packets_sent) == (100, 100)
    assert (a.packets_received, b.packets_received) == (100, 100)
    assert (a.packets_lost, b.packets_lost) == (0, 0)
    assert media_outcome(a, b) is Outcome.COMPLETED
    assert a.codec == b.codec
    assert (a.role, b.role) == ("caller", "callee")
    assert (a.ended_by, b.ended_by, a.bye_status) == ("local", "remote", 200)
    assert [a.ssrc] == list(b.remote_ssrcs)
    assert [b.ssrc] == list(a.remote_ssrcs)
    assert b.rtcp.remote_said_bye
    for report in (a, b):
        assert not report.no_media
        assert report.rtcp.malformed == 0
        assert report.rtcp.remote_cumulative_lost == 0
        assert report.rtcp.median_round_trip_ms is not None
        assert 0 <= report.rtcp.median_round_trip_ms < 20
        assert PhoneReport.from_dict(report.to_dict()) == report
    order = ("invite_sent", "first_provisional", "answered", "ack", "first_rtp_sent", "speech_ended", "bye", "ended")
    times = [a.milestones[name] for name in order]
    assert times == sorted(times)
    every_request_was_answered(a)
    every_request_was_answered(b)
    if os.geteuid() != 0 or shutil.which("tshark") is None:
        return
    got = rows(
        pcap, f"rtp && ip.src=={caller.address} && udp.dstport=={port}", port, "rtp.seq", "rtp.timestamp", "rtp.marker"
    )
    assert len(got) == 100
    steps = {(int(y[1]) - int(x[1])) % 2**32 for x, y in itertools.pairwise(got)}
    assert steps == {ticks}
    assert [row[2] for row in got].count("1") + [row[2] for row in got].count("True") == 1


def test_silence_suppression_leaves_slots_empty(new_host: NewHost, setup_of: SetupOf) -> None:
    hosts = new_host("alice"), new_host("bob")
    setups = [setup_of(host, seconds=3.0, silence_suppression=True) for host in hosts]
    a, b = run(call((hosts[0], setups[0]), (hosts[1], setups[1])))
    assert a.packets_suppressed > 0
    assert a.packets_sent + a.packets_suppressed == 150
    assert b.packets_received == a.packets_sent
    assert b.packets_lost == 0


def test_the_start_values_come_from_the_seed(new_host: NewHost, setup_of: SetupOf) -> None:
    host = new_host("alice")

    async def ssrc(seed: int) -> int | None:
        async with BuiltinPhone.start(host, setup_of(host, seed=seed)) as phone:
            return (await phone.report()).ssrc

    first, again, other = run(ssrc(1)), run(ssrc(1)), run(ssrc(2))
    assert first == again != other


async def failing_call(caller: tuple[Host, PhoneSetup], callee: tuple[Host, PhoneSetup], **listen: Any) -> CallFailure:
    async with BuiltinPhone.start(*caller) as a, BuiltinPhone.start(*callee) as b:
        await b.listen(**listen)
        with pytest.raises(CallFailure) as caught:
            await a.call(b.uri, 1.0)
        every_request_was_answered(await a.report())
        assert not (await b.report()).answered
        return caught.value


def test_refusals_are_typed_endings(new_host: NewHost, setup_of: SetupOf) -> None:
    cases: list[tuple[dict[str, Any], str, Outcome, str]] = [
        ({"refuse_with": 486}, "g711u", Outcome.CALL_REJECTED, "486"),
        ({"refuse_with": 603}, "g711u", Outcome.CALL_REJECTED, "603"),
        ({}, "gsm", Outcome.CALL_REJECTED, "488"),
        ({"ring_s": 30.0}, "g711u", Outcome.NO_ANSWER, "no answer within 1 s"),
    ]

    async def all_at_once() -> list[CallFailure]:
        calls = []
        for listen, codec, _, _ in cases:
            caller, callee = new_host("alice"), new_host("bob")
            calls.append(failing_call((caller, setup_of(caller, codec=codec)), (callee, setup_of(callee)), **listen))
        return await asyncio.gather(*calls)

    for failure, (_, _, outcome, said) in zip(run(all_at_once()), cases, strict=True):
        assert failure.outcome is outcome
        assert said in str(failure)


def test_nobody_there(new_host: NewHost, setup_of: SetupOf) -> None:
    caller, nobody = new_host("alice"), new_host("nobody")

    async def scenario() -> CallFailure:
        async with BuiltinPhone.start(caller, setup_of(caller)) as phone:
            with pytest.raises(CallFailure) as caught:
                await phone.call(f"sip:bob@{nobody.address}:5060", 1.0)
            report = await phone.report()
            gaps = [b.at_ns - a.at_ns for a, b in itertools.pairwise(report.sip)]
            assert gaps[0] == pytest.approx(0.5e9, abs=0.1e9)  # T1, then twice that: RFC 3261 17.1.1.2
            assert {entry.first_line.split()[0] for entry in report.sip} == {"INVITE"}
            return caught.value

    assert run(scenario()).outcome is Outcome.NO_ANSWER


@pytest.mark.parametrize("port", ["sip", "rtp", "rtcp"])
def test_a_port_in_use_is_a_typed_ending(new_host: NewHost, setup_of: SetupOf, port: str) -> None:
    host = new_host("alice")
    setup = setup_of(host)
    number = {"sip": setup.sip_port, "rtp": setup.rtp_port, "rtcp": setup.rtp_port + 1}[port]

    async def scenario() -> None:
        async with BuiltinPhone.start(host, setup):
            raise AssertionError("it started")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((host.address, number))
        with pytest.raises(CallFailure) as caught:
            run(scenario())
    assert caught.value.outcome is Outcome.PORT_TAKEN
    assert f":{number}" in str(caught.value)


def test_a_caller_that_goes_away_hangs_up(new_host: NewHost, setup_of: SetupOf) -> None:
    caller, callee = new_host("alice"), new_host("bob")

    async def scenario() -> PhoneReport:
        async with BuiltinPhone.start(callee, setup_of(callee)) as b:
            await b.listen()
            async with BuiltinPhone.start(caller, setup_of(caller)) as a:
                await a.call(b.uri, 10)
                await asyncio.sleep(0.3)
            assert await b.wait_ended(5)
            return await b.report()

    report = run(scenario())
    assert report.ended_by == "remote"
    assert 0 < report.packets_received < 100


def test_a_phone_that_is_killed_is_told(new_host: NewHost, setup_of: SetupOf) -> None:
    caller, callee = new_host("alice"), new_host("bob")

    async def scenario() -> None:
        async with BuiltinPhone.start(caller, setup_of(caller)) as a, BuiltinPhone.start(callee, setup_of(callee)) as b:
            await b.listen()
            await a.call(b.uri, 10)
            os.kill(a._child.pid, signal.SIGKILL)
            with pytest.raises(CallFailure) as caught:
                await a.finish()
            assert caught.value.outcome is Outcome.FAILED

    run(scenario())


def test_a_second_caller_finds_it_busy(new_host: NewHost, setup_of: SetupOf) -> None:
    first, second, callee = new_host("alice"), new_host("carol"), new_host("bob")

    async def scenario() -> CallFailure:
        async with (
            BuiltinPhone.start(callee, setup_of(callee)) as b,
            BuiltinPhone.start(first, setup_of(first)) as a,
            BuiltinPhone.start(second, setup_of(second)) as c,
        ):
            await b.listen()
            await a.call(b.uri, 10)
            with pytest.raises(CallFailure) as caught:
                await c.call(b.uri, 10)
            await a.hang_up()
            return caught.value

    failure = run(scenario())
    assert (failure.outcome, failure.evidence["status"]) == (Outcome.CALL_REJECTED, 486)


def test_no_media_is_noticed(new_host: NewHost, setup_of: SetupOf) -> None:
    """The callee answers and never speaks: its answer comes from here, not from a phone."""
    caller, callee = new_host("alice"), new_host("mute")
    mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mute.bind((callee.address, 5060))
    mute.setblocking(False)

    async def answering() -> None:
        loop = asyncio.get_running_loop()
        while True:
            data, source = await loop.sock_recvfrom(mute, 4096)
            text = data.decode()
            kept = [line for line in text.split("\r\n") if line.split(":")[0] in ("Via", "From", "Call-ID", "CSeq")]
            to = next(line for line in text.split("\r\n") if line.startswith("To:"))
            description = f"v=0\r\nc=IN IP4 {callee.address}\r\nm=audio 4000 RTP/AVP 0\r\n"
            head = ["SIP/2.0 200 OK", *kept, to if "tag=" in to else to + ";tag=1"]
            head += [f"Contact: <sip:mute@{callee.address}>", "Content-Type: application/sdp"]
            if not text.startswith("ACK"):
                body = description if text.startswith("INVITE") else ""
                await loop.sock_sendto(mute, ("\r\n".join(head) + "\r\n\r\n" + body).encode(), source)

    async def scenario() -> PhoneReport:
        server = asyncio.create_task(answering())
        async with BuiltinPhone.start(caller, setup_of(caller, no_media_s=0.5)) as a:
            await a.call(f"sip:mute@{callee.address}", 5)
            await asyncio.wait_for(a.no_media.wait(), 5)
            await a.hang_up()
            report = await a.report()
        server.cancel()
        return report

    report = run(scenario())
    mute.close()
    assert report.no_media
    assert report.packets_received == 0
    assert report.packets_sent > 10


def test_speech_that_is_not_there(new_host: NewHost, setup_of: SetupOf) -> None:
    host = new_host("alice")

    async def scenario() -> None:
        async with BuiltinPhone.start(host, setup_of(host, speech="/nonexistent.wav")):
            raise AssertionError("it started")

    with pytest.raises(CallFailure) as caught:
        run(scenario())
    assert caught.value.outcome is Outcome.SPEECH_UNUSABLE

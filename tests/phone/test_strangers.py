"""What the other phone, or anybody who reaches its ports, can do to a phone: addresses, floods, nonsense."""

from __future__ import annotations

import asyncio
import socket
import time
from random import Random
from typing import Any

import pytest

from earwitness.errors import CallFailure, Outcome
from earwitness.phone import sdp
from earwitness.phone.builtin import BuiltinPhone
from earwitness.phone.call_report import MOST_SOURCES
from earwitness.phone.media import Media, MediaEvents
from earwitness.phone.reachable import Reach, Unreachable
from earwitness.phone.rtcp import ReceiverReport, ReportBlock
from earwitness.phone.rtcp_session import MOST_ROUND_TRIPS, RtcpSession
from earwitness.phone.setup import PhoneSetup
from earwitness.phone.sip_transactions import MOST_TRANSACTIONS, SipTransactions, Timers
from earwitness.phone.sip_wire import MOST_LOGGED_CHARACTERS
from earwitness.phone.user_agent import UserAgent
from earwitness.remote.machine import Machine
from earwitness.speech.codecs.registry import codec
from earwitness.trace.rtp import RtpPacket
from testing.phone.wire import Wire, message, statuses

PEER = ("10.0.0.2", 5060)
REACH = Reach("10.0.0.1", (PEER[0],))


@pytest.mark.parametrize(
    ("host", "own", "peers", "may"),
    [
        ("10.0.0.2", "10.0.0.1", ("10.0.0.2",), True),
        ("10.0.0.3", "10.0.0.1", ("10.0.0.2",), False),
        ("127.0.0.1", "10.0.0.1", (), False),
        ("127.0.0.1", "10.0.0.1", ("127.0.0.1",), False),
        ("127.8.8.8", "127.0.0.1", (), True),
        ("169.254.169.254", "10.0.0.1", (), False),
        ("224.0.0.1", "10.0.0.1", (), False),
        ("0.0.0.0", "10.0.0.1", (), False),
        ("255.255.255.255", "10.0.0.1", (), False),
        ("192.0.2.7", "10.0.0.1", (), True),
        ("localhost", "10.0.0.1", (), False),
        ("::1", "10.0.0.1", (), False),
        ("", "10.0.0.1", (), False),
        ("0x7f.1", "10.0.0.1", (), False),
    ],
)
def test_where_a_phone_sends_to(host: str, own: str, peers: tuple[str, ...], may: bool) -> None:
    reach = Reach(own, peers)
    if may:
        assert reach.check((host, 5060)) == (host, 5060)
    else:
        with pytest.raises(Unreachable):
            reach.check((host, 5060))
    for port in (0, -1, 65536, 10**400):
        with pytest.raises(Unreachable):
            reach.check((host, port))


def with_agent(scenario: Any, reach: Reach | None = REACH) -> None:
    async def run() -> None:
        layer, wire = SipTransactions(Timers(0.01), lambda: 0, reach), Wire()
        layer.connection_made(wire)  # type: ignore[arg-type]
        result = scenario(layer, UserAgent(layer, "bob", None), wire)
        if asyncio.iscoroutine(result):
            await result
        layer.close()

    asyncio.run(run())


def invite(*headers: str, branch: str = "z9hG4bKabc", body: str = "") -> bytes:
    via = f"Via: SIP/2.0/UDP 10.0.0.2:5060;branch={branch};rport"
    return message("INVITE sip:bob@10.0.0.1 SIP/2.0", "CSeq: 7 INVITE", via, *headers, body=body)


@pytest.mark.parametrize(
    "headers",
    [
        ("Contact: <sip:a@127.0.0.1:22>",),
        ("Contact: <sip:a@10.0.0.77>",),
        ("Contact: <sip:a@metadata.internal>",),
        ("Contact: <sip:a@10.0.0.2:99999>",),
        ("Contact: <sip:a@10.0.0.2;maddr=127.0.0.1>",),
        ("Contact: <sip:a@10.0.0.2>", "Record-Route: <sip:127.0.0.1;lr>"),
        ("Contact: <sip:a@10.0.0.2>", "Record-Route: <sip:192.168.0.1:53>"),
        ("Contact: nonsense",),
    ],
)
def test_a_caller_whose_requests_lead_elsewhere_is_refused(headers: tuple[str, ...]) -> None:
    def scenario(layer: SipTransactions, agent: UserAgent, wire: Wire) -> None:
        refused: list[str] = []
        agent.on_invite, agent.on_refused = lambda _call: pytest.fail("it rang"), refused.append
        layer.datagram_received(invite(*headers), PEER)
        assert statuses(wire) == [403]
        assert {target for _, target in wire.sent} == {PEER}
        assert len(refused) == 1

    with_agent(scenario)


@pytest.mark.parametrize(
    "headers", [("Contact: <sip:b@127.0.0.1:22>",), ("Contact: <sip:b@10.0.0.2>", "Record-Route: <sip:10.0.0.9;lr>")]
)
def test_an_answer_whose_requests_lead_elsewhere_ends_the_call_in_one_line(headers: tuple[str, ...]) -> None:
    async def scenario(layer: SipTransactions, agent: UserAgent, wire: Wire) -> None:
        calling = asyncio.create_task(agent.invite("sip:b@10.0.0.2", "v=0\r\n", 1, lambda _r: None, lambda: None))
        await asyncio.sleep(0.002)
        sent = wire.sent[0][0]
        kept = [f"{name}: {sent.headers.get_first(name)}" for name in ("Via", "From", "Call-ID", "CSeq")]
        layer.datagram_received(message("SIP/2.0 200 OK", *kept, "To: <sip:b@10.0.0.2>;tag=b9", *headers), PEER)
        with pytest.raises(CallFailure, match="directs further requests to a forbidden address") as raised:
            await calling
        assert raised.value.outcome is Outcome.CALL_REJECTED
        assert {target for _, target in wire.sent} == {PEER}

    with_agent(scenario)


def test_responses_go_to_nobody_but_the_one_that_asked() -> None:
    def scenario(layer: SipTransactions, _agent: UserAgent, wire: Wire) -> None:
        for nth, via in enumerate(("10.0.0.2:99999", "10.0.0.2;received=127.0.0.1", "10.0.0.2:22;received=10.0.0.9")):
            options = message("OPTIONS sip:b SIP/2.0", "CSeq: 1 OPTIONS", f"Via: SIP/2.0/UDP {via};branch=z9hG4bK{nth}")
            layer.datagram_received(options, PEER)
        assert {target[0] for _, target in wire.sent} <= {PEER[0]}

    with_agent(scenario)


def test_who_is_not_of_the_call_is_not_heard() -> None:
    def scenario(layer: SipTransactions, agent: UserAgent, wire: Wire) -> None:
        agent.on_invite = lambda _call: pytest.fail("it rang")
        layer.datagram_received(invite("Contact: <sip:a@10.0.0.2>"), ("10.0.0.66", 5060))
        assert wire.sent == []
        assert (layer.dropped, len(layer.log)) == (1, 0)

    with_agent(scenario)


def test_a_flood_of_requests_is_bounded_in_transactions_and_in_the_log() -> None:
    async def scenario(layer: SipTransactions, _agent: UserAgent, _wire: Wire) -> None:
        for nth in range(1000):
            layer.datagram_received(
                invite("Contact: <sip:a@10.0.0.2>", branch=f"z9hG4bK{nth}", body="x" * 40_000), PEER
            )
        assert len(layer._servers) == MOST_TRANSACTIONS
        assert sum(len(entry.text) for entry in layer.log) < MOST_LOGGED_CHARACTERS + 10_000

    with_agent(scenario)


def test_no_datagram_raises_or_closes_the_socket() -> None:
    def scenario(layer: SipTransactions, agent: UserAgent, _wire: Wire) -> None:
        chance = Random(5)
        agent.on_invite = lambda call: agent.answer(call, "v=0\r\n")
        good = invite("Contact: <sip:a@10.0.0.2>")
        layer.datagram_received(b"INVITE " + b"a" * 60_000, PEER)
        layer.datagram_received(good.replace(b"CSeq: 7", b"CSeq: " + b"9" * 5000), PEER)
        layer.datagram_received(good.replace(b"Content-Length: 0", b"Content-Length: -999999999999"), PEER)
        layer.datagram_received(good.replace(b"Via: ", b"Via: " + b"SIP/2.0/UDP x;branch=y, " * 2000), PEER)
        for _ in range(2000):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 12)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            layer.datagram_received(bytes(data), PEER)
        assert layer.malformed > 0

    with_agent(scenario)


SDP = "v=0\r\no=- 1 1 IN IP4 {a}\r\ns=-\r\nc=IN IP4 {a}\r\nt=0 0\r\nm=audio {p} RTP/AVP 0\r\n{more}"


@pytest.mark.parametrize(
    ("address", "port", "more"),
    [
        ("10.0.0.2", "65535", ""),
        ("10.0.0.2", "99999", ""),
        ("10.0.0.2", "-5", ""),
        ("10.0.0.2", "9" * 5000, ""),
        ("evil.example", "4000", ""),
        ("10.0.0.2", "4000", "a=rtpmap:0 PCMU/x\r\n"),
        ("10.0.0.2", "4000", f"a=rtpmap:0 PCMU/{'9' * 5000}\r\n"),
    ],
)
def test_a_description_that_is_none_is_not_acceptable(address: str, port: str, more: str) -> None:
    text = SDP.format(a=address, p=port, more=more)
    with pytest.raises(sdp.NotAcceptable):
        sdp.agreed_by(text, [codec("g711u")])


def test_an_attribute_that_is_none_is_passed_over() -> None:
    text = SDP.format(a="10.0.0.2", p="4000", more="a=rtpmap:" + "x" * 60_000 + "\r\n")
    assert sdp.agreed_by(text, [codec("g711u")]).remote == ("10.0.0.2", 4000)


def test_speech_goes_where_the_path_leads_and_nowhere_else(unused_port: int) -> None:
    async def scene() -> tuple[list[bytes], list[str]]:
        setup = PhoneSetup(
            address="127.0.0.1",
            epoch_offset_ns=0,
            sip_port=unused_port,
            rtp_port=41_300,
            seconds=0.2,
            peers=("127.0.0.1",),
        )
        machine = Machine("there", "", "127.0.0.1", "")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            caller.bind(("127.0.0.1", 0))
            caller.setblocking(False)
            here = caller.getsockname()
            sent = message(
                "INVITE sip:b@127.0.0.1 SIP/2.0",
                "CSeq: 7 INVITE",
                f"Via: SIP/2.0/UDP 127.0.0.1:{here[1]};branch=z9hG4bKabc;rport",
                f"Contact: <sip:a@127.0.0.1:{here[1]}>",
                "Content-Type: application/sdp",
                body=SDP.format(a="127.0.0.9", p=4000, more=""),
            )
            async with BuiltinPhone.start(machine, setup) as phone:
                await phone.listen()
                caller.sendto(sent, ("127.0.0.1", unused_port))
                answers = []
                for _ in range(2):
                    async with asyncio.timeout(5):
                        answers.append(await asyncio.get_running_loop().sock_recv(caller, 65_536))
                await phone.report()
                return answers, phone.notes

    answers, notes = asyncio.run(scene())
    assert [answer.split()[1] for answer in answers] == [b"100", b"488"]
    assert "directs RTP to a forbidden address: 127.0.0.9 is not the other end of the path" in str(notes)


def test_a_flood_of_rtp_from_many_sources_is_bounded_and_the_phone_ends(unused_port: int) -> None:
    media = Media("127.0.0.1", unused_port, 0, Random(1), 1.0, MediaEvents())
    media.open()
    stop = time.monotonic() + 1.5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        ssrc = 0
        while time.monotonic() < stop:
            for _ in range(200):
                ssrc += 1
                flood.sendto(bytes(RtpPacket(0, 1, 1, ssrc, b"x")), ("127.0.0.1", unused_port))
        assert len(media.receptions) == MOST_SOURCES
        assert media.stray > 1000
    media.close()


@pytest.fixture
def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1]) & ~1


def test_round_trips_are_kept_up_to_a_bound() -> None:
    us = RtcpSession(7, "a@b", 8000, Random(1))
    block = ReportBlock(7, 0, 0, 1, 0, last_sr=1, delay_since_last_sr=0)
    data = bytes(ReceiverReport(9, (block,) * 31))
    for _ in range(MOST_ROUND_TRIPS // 31 + 10):
        us.receive(data, 10**9)
    assert len(us.round_trips_ms) <= MOST_ROUND_TRIPS

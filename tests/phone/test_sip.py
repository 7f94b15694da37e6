"""SIP transactions and dialogues without a network: what goes out for what comes in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiosipua import CSeq, SipRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.phone.sip_dialog import Dialog
from earwitness.phone.sip_transactions import NoResponse, SipTransactions, Timers
from earwitness.phone.sip_wire import endpoint_of, redacted
from earwitness.phone.user_agent import UserAgent
from earwitness.phone.user_agent_server import IncomingInvite
from testing.phone.wire import Wire, message, statuses

PEER = ("10.0.0.2", 5060)


def with_agent(scenario: Callable[[SipTransactions, UserAgent, Wire], Any], t1_s: float = 0.01) -> None:
    async def run() -> None:
        layer, wire = SipTransactions(Timers(t1_s), lambda: 0), Wire()
        layer.connection_made(wire)  # type: ignore[arg-type]
        agent = UserAgent(layer, "bob", None)
        result = scenario(layer, agent, wire)
        if asyncio.iscoroutine(result):
            await result
        layer.close()

    asyncio.run(run())


INVITE = message(
    "INVITE sip:bob@10.0.0.1 SIP/2.0",
    "CSeq: 7 INVITE",
    "Contact: <sip:a@10.0.0.9:5080>",
    "Record-Route: <sip:10.0.0.3;lr>, <sip:10.0.0.4;lr>",
)


def test_the_200_keeps_record_route_and_is_repeated_until_the_ack() -> None:
    async def scenario(layer: SipTransactions, agent: UserAgent, wire: Wire) -> None:
        def answer(call: IncomingInvite) -> None:
            agent.ring(call)
            agent.answer(call, "v=0\r\n")

        agent.on_invite = answer
        layer.datagram_received(INVITE, PEER)
        assert statuses(wire) == [100, 180, 200]
        ok = wire.sent[-1][0]
        assert ok.headers.get("Record-Route") == ["<sip:10.0.0.3;lr>", "<sip:10.0.0.4;lr>"]
        assert ok.headers.get_first("Contact") == "<sip:bob@10.0.0.1:5060>"
        assert wire.sent[-1][1] == PEER
        await asyncio.sleep(0.025)
        assert statuses(wire).count(200) >= 2
        layer.datagram_received(INVITE, PEER)  # a retransmission gets the last response again
        before = len(wire.sent)
        ack = message(
            "ACK sip:bob@10.0.0.1 SIP/2.0", "CSeq: 7 ACK", f"To: {ok.headers.get_first('To')}", "Via: SIP/2.0/UDP x"
        )
        layer.datagram_received(ack, PEER)
        await asyncio.sleep(0.05)
        assert len(wire.sent) == before
        asyncio.get_running_loop().create_task(agent.bye(0.01))
        await asyncio.sleep(0.002)
        bye, target = wire.sent[-1]
        assert isinstance(bye, SipRequest)
        assert bye.uri == "sip:a@10.0.0.9:5080"
        assert bye.headers.get("Route") == ["<sip:10.0.0.3;lr>", "<sip:10.0.0.4;lr>"]
        assert target == ("10.0.0.3", 5060)

    with_agent(scenario)


def test_the_callers_dialogue_goes_to_the_contact_by_the_reversed_route() -> None:
    async def scenario(layer: SipTransactions, agent: UserAgent, wire: Wire) -> None:
        calling = asyncio.create_task(agent.invite("sip:b@10.0.0.8", "v=0\r\n", 1, lambda _r: None, lambda: None))
        await asyncio.sleep(0.002)
        invite = wire.sent[0][0]
        assert invite.cseq is not None
        headers = [f"{name}: {invite.headers.get_first(name)}" for name in ("Via", "From", "Call-ID", "CSeq")]
        headers += ["To: <sip:b@10.0.0.8>;tag=b9", "Contact: <sip:b@10.0.0.9:5090>"]
        headers += ["Record-Route: <sip:10.0.0.4;lr>", "Record-Route: <sip:10.0.0.3;lr>"]
        ok = message("SIP/2.0 200 OK", *headers)
        layer.datagram_received(ok, PEER)
        await calling
        layer.datagram_received(ok, PEER)  # the ACK was lost: it is sent again
        acks = [(sent, target) for sent, target in wire.sent if isinstance(sent, SipRequest) and sent.method == "ACK"]
        assert len(acks) == 2
        for ack, target in acks:
            assert ack.uri == "sip:b@10.0.0.9:5090"
            assert ack.headers.get("Route") == ["<sip:10.0.0.3;lr>", "<sip:10.0.0.4;lr>"]
            assert ack.cseq == CSeq(invite.cseq.seq, "ACK")
            assert target == ("10.0.0.3", 5060)

    with_agent(scenario)


def test_a_strict_router_becomes_the_request_uri() -> None:
    async def scenario(layer: SipTransactions, _agent: UserAgent, _wire: Wire) -> None:
        dialog = Dialog("one", "<sip:a@x>;tag=1", "<sip:b@y>;tag=2", "sip:b@10.0.0.9", ("<sip:10.0.0.3>",), 1)
        made, target = dialog.request(layer, "BYE")
        assert (made.uri, target) == ("sip:10.0.0.3", ("10.0.0.3", 5060))
        assert made.headers.get("Route") == ["<sip:b@10.0.0.9>"]

    with_agent(scenario)


def test_requests_are_repeated_as_the_rfc_has_it_until_64_t1() -> None:
    async def scenario(layer: SipTransactions, _agent: UserAgent, wire: Wire) -> None:
        transaction = layer.send(layer.new_request("OPTIONS", "sip:10.0.0.2"), PEER)
        with pytest.raises(NoResponse):
            await transaction.final
        assert len(wire.sent) == 1 + transaction.retransmissions
        assert transaction.retransmissions in (5, 6)  # after 1, 3, 7, 15, 31 and perhaps 63 x T1

    with_agent(scenario, t1_s=0.005)


@pytest.mark.parametrize(
    ("first", "headers", "status"),
    [
        ("BYE sip:bob@10.0.0.1 SIP/2.0", ["CSeq: 8 BYE", "To: <sip:bob@10.0.0.1>;tag=zz"], 481),
        ("BYE sip:bob@10.0.0.1 SIP/2.0", ["CSeq: 8 BYE"], 481),
        ("CANCEL sip:bob@10.0.0.1 SIP/2.0", ["CSeq: 8 CANCEL"], 481),
        ("OPTIONS sip:bob@10.0.0.1 SIP/2.0", ["CSeq: 8 OPTIONS"], 200),
        ("MESSAGE sip:bob@10.0.0.1 SIP/2.0", ["CSeq: 8 MESSAGE"], 405),
        ("INVITE sip:bob@10.0.0.1 SIP/2.0", ["CSeq: 8 INVITE"], 480),
        ("INVITE sip:bob@10.0.0.1 SIP/2.0", ["CSeq: 8 INVITE", "Require: 100rel"], 420),
    ],
)
def test_every_request_has_an_answer(first: str, headers: list[str], status: int) -> None:
    def scenario(layer: SipTransactions, _agent: UserAgent, wire: Wire) -> None:
        layer.datagram_received(message(first, *headers), PEER)
        assert statuses(wire) == [status]

    with_agent(scenario)


def test_a_cancelled_call_is_terminated() -> None:
    def scenario(layer: SipTransactions, agent: UserAgent, wire: Wire) -> None:
        calls: list[Any] = []
        agent.on_invite = calls.append
        layer.datagram_received(INVITE, PEER)
        agent.ring(calls[0])
        layer.datagram_received(message("CANCEL sip:bob@10.0.0.1 SIP/2.0", "CSeq: 7 CANCEL"), PEER)
        assert statuses(wire) == [100, 180, 200, 487]
        assert calls[0].cancelled.is_set()

    with_agent(scenario)


@settings(max_examples=200)
@given(st.data())
def test_whatever_comes_from_the_network_breaks_nothing(data: st.DataObject) -> None:
    wire_bytes = bytearray(data.draw(st.sampled_from([INVITE, message("SIP/2.0 200 OK", "CSeq: 7 INVITE")])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(wire_bytes) - 1))
        wire_bytes[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))

    def scenario(layer: SipTransactions, agent: UserAgent, _wire: Wire) -> None:
        agent.on_invite = agent.ring
        layer.datagram_received(bytes(wire_bytes), PEER)
        layer.datagram_received(bytes(wire_bytes), PEER)

    with_agent(scenario)


@given(st.binary(max_size=300))
def test_noise_is_counted_at_most(noise: bytes) -> None:
    def scenario(layer: SipTransactions, _agent: UserAgent, wire: Wire) -> None:
        layer.datagram_received(noise, PEER)
        assert layer.malformed <= 1
        assert wire.sent == []

    with_agent(scenario)


def test_credentials_are_left_out_of_the_log() -> None:
    text = redacted(b'REGISTER sip:x SIP/2.0\r\nAuthorization: Digest response="abc", nonce="d"\r\nTo: y\r\n\r\n')
    assert text == "REGISTER sip:x SIP/2.0\r\nAuthorization: (left out)\r\nTo: y\r\n\r\n"


def test_where_a_uri_points() -> None:
    assert endpoint_of("sip:bob@10.1.2.3") == ("10.1.2.3", 5060)
    assert endpoint_of("sip:10.1.2.3:5099;lr") == ("10.1.2.3", 5099)

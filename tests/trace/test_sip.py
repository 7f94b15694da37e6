"""What SIP messages tell: numbers, directions, early answers, another codec in the answer, multipart bodies."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.trace.capture import parse_capture
from earwitness.trace.sdp import SipMessage, SipReader, looks_like_sip, parse_sdp
from testing.trace import tshark
from testing.trace.carrying import segment
from testing.trace.making import START_NS, Datagram, pcap

OFFER = (
    "v=0\r\nc=IN IP4 10.8.0.2\r\nm=audio 4000 RTP/AVP 96 0\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\n"
)
ANSWER = "v=0\r\nc=IN IP4 10.8.0.1\r\nm=audio 20848 RTP/AVP 0\r\n"


def message(first: str, cseq: str, body: str = "", kind: str = "application/sdp", **more: str) -> bytes:
    lines = [first, "Via: SIP/2.0/TCP a", "Call-ID: one", f"CSeq: {cseq}", *(f"{k}: {v}" for k, v in more.items())]
    if body:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


def read(payload: bytes) -> SipMessage:
    found = SipReader().message(payload, 5, "10.8.0.2", "10.8.0.1", False)
    assert found is not None
    return found


CALL = [
    message("INVITE sip:a@b SIP/2.0", "1 INVITE", OFFER),
    message("SIP/2.0 100 Trying", "1 INVITE"),
    message("SIP/2.0 183 Session Progress", "1 INVITE", ANSWER),
    message("SIP/2.0 200 OK", "1 INVITE", ANSWER.replace("20848", "20850")),
    message("ACK sip:a@b SIP/2.0", "1 ACK"),
    message("INVITE sip:a@b SIP/2.0", "2 INVITE", OFFER.replace("a=rtpmap", "a=sendonly\r\na=rtpmap")),
    message("SIP/2.0 200 OK", "2 INVITE", ANSWER + "a=recvonly\r\n"),
    message("UPDATE sip:a@b SIP/2.0", "3 UPDATE", OFFER.replace("4000", "4002")),
    message("SIP/2.0 200 OK", "3 UPDATE", ANSWER),
    message("BYE sip:a@b SIP/2.0", "4 BYE"),
]
TOLD = [
    ("INVITE", 0, 1, [4000], "sendrecv"),
    ("INVITE", 100, 1, [], ""),
    ("INVITE", 183, 1, [20848], "sendrecv"),
    ("INVITE", 200, 1, [20850], "sendrecv"),
    ("ACK", 0, 1, [], ""),
    ("INVITE", 0, 2, [4000], "sendonly"),
    ("INVITE", 200, 2, [20848], "recvonly"),
    ("UPDATE", 0, 3, [4002], "sendrecv"),
    ("UPDATE", 200, 3, [20848], "sendrecv"),
    ("BYE", 0, 4, [], ""),
]


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_every_offer_and_answer_of_a_call_is_kept_with_its_time(transport: str) -> None:
    ends = ("10.8.0.2", 5060), ("10.8.0.1", 5060)
    packets: list[bytes] = []
    at = [1, 1]
    for content in CALL:
        answer = content.startswith(b"SIP")
        there, back = ends[::-1] if answer else ends
        packets.append(segment(content, at[answer], there, back))
        at[answer] += len(content)
    times = [START_NS + i * 10**9 for i in range(len(CALL))]
    if transport == "UDP":
        data = pcap([Datagram(t, content, *ends) for t, content in zip(times, CALL, strict=True)])
    else:
        data = pcap(list(zip(times, packets, strict=True)))
    found = parse_capture(data).sip
    told = [
        (m.method, m.status, m.cseq, [s.port for s in m.media], m.media[0].direction if m.media else "") for m in found
    ]
    assert told == TOLD
    assert [m.time_ns for m in found] == [time_ns // 1000 * 1000 for time_ns in times]
    assert {m.call_id for m in found} == {"one"}
    assert found[0].media[0].encodings[96].fmtp == "useinbandfec=1"
    assert found[3].media[0].payload_types == (0,)


@pytest.mark.skipif(tshark.TSHARK is None, reason="tshark is not installed")
def test_tshark_reads_the_same_messages_out_of_the_stream(tmp_path: Path) -> None:
    stream = b"".join(CALL)
    pieces = [(START_NS + i * 1000, stream[at : at + 333], at) for i, at in enumerate(range(0, len(stream), 333))]
    data = pcap([(t, segment(piece, 1 + at)) for t, piece, at in pieces])
    (tmp_path / "a.pcap").write_bytes(data)
    assert tshark.TSHARK is not None
    fields = ["-T", "fields", "-e", "frame.number", "-e", "sip.CSeq.seq", "-Y", "sip"]
    lines = subprocess.run(
        [tshark.TSHARK, "-r", str(tmp_path / "a.pcap"), *fields], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    theirs = [(int(line.split("\t")[0]) - 1, int(n)) for line in lines for n in line.split("\t")[1].split(",")]
    capture = parse_capture(data)
    assert [(int(row), m.cseq) for row, m in zip(capture.udp.record, capture.sip, strict=True)] == theirs


def test_the_description_in_a_multipart_body() -> None:
    other = "<m>\r\nm=audio 9 RTP/AVP 3\r\n</m>\r\n"
    body = (
        f"--x1\r\nContent-Type: application/isup\r\n\r\n{other}--x1\r\n"
        f"Content-Type: application/sdp\r\nContent-Disposition: session\r\n\r\n{OFFER}\r\n--x1--\r\n"
    )
    for kind in ('multipart/mixed;boundary="x1"', "multipart/mixed; boundary=x1; a=b", "Multipart/Related;BOUNDARY=x1"):
        found = read(message("INVITE sip:a@b SIP/2.0", "1 INVITE", body, kind))
        assert [section.port for section in found.media] == [4000]
    without = body.replace("application/sdp", "text/plain")
    assert read(message("INVITE sip:a@b SIP/2.0", "1 INVITE", without, 'multipart/mixed;boundary="x1"')).media == ()


def test_compact_headers_and_numbers_that_are_none() -> None:
    compact = b"INVITE sip:a@b SIP/2.0\r\ni: short\r\nCSeq: 2147483648 INVITE\r\nl: 3\r\n\r\n" + ANSWER.encode()
    found = read(compact)
    assert (found.call_id, found.cseq) == ("short", 2147483648)
    for number in ("", "x INVITE", "-1 INVITE", "9" * 40 + " INVITE", "\u0664 INVITE"):
        assert read(message("INVITE sip:a@b SIP/2.0", number)).cseq == -1


def test_the_sessions_direction_holds_for_sections_without_their_own() -> None:
    one, two = parse_sdp("v=0\r\na=inactive\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\na=sendrecv\r\n")
    assert (one.direction, two.direction) == ("inactive", "sendrecv")


def test_an_emergency_call_is_sip() -> None:
    assert looks_like_sip(b"INVITE urn:service:sos SIP/2.0\r\n")
    assert not looks_like_sip(b"INVITE somebody else\r\n")


@given(st.binary(max_size=300), st.sampled_from(("multipart/mixed;boundary=x", "multipart/", "application/sdp", "")))
def test_bodies_of_any_bytes_never_raise(content: bytes, kind: str) -> None:
    head = (
        f"INVITE sip:a@b SIP/2.0\r\nContent-Type: {kind}\r\n\r\n--x\r\nContent-Type: application/sdp\r\n\r\nm=".encode()
    )
    assert read(head + content).method == "INVITE"

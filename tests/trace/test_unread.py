"""What is not read is named with its count; ordinary traffic beside a call is not."""

from __future__ import annotations

import struct

import pytest

from earwitness.trace.capture import parse_capture
from earwitness.trace.problem import ProblemKind
from testing.trace.carrying import CARRIERS, Wrap, ethernet, gre, ip, llc, ppp, segment, udp, wifi
from testing.trace.making import START_NS, pcap, rtp_stream, udp_packet

PACKET = udp_packet(rtp_stream(".")[0])
ENCRYPTED = bytes(range(100, 196))
UNREAD = {
    "IPsec ESP (encrypted)": (1, ethernet(ip(struct.pack(">II", 0x1234, 1) + ENCRYPTED, 50))),
    "IPsec ESP in UDP (encrypted)": (1, ethernet(udp(struct.pack(">II", 0x1234, 1) + ENCRYPTED, 4500, 4500))),
    "WireGuard (encrypted)": (1, ethernet(udp(struct.pack("<IIQ", 4, 77, 1) + ENCRYPTED[:80], 51820))),
    "OpenVPN (encrypted)": (1, ethernet(udp(b"\x48\0\0\1" + ENCRYPTED, 1194))),
    "MACsec (encrypted)": (1, ethernet(ENCRYPTED, 0x88E5)),
    "encrypted Wi-Fi": (105, wifi(PACKET, 0x41)[:24] + ENCRYPTED),
    "Wi-Fi aggregates (A-MSDU)": (105, wifi(PACKET, 0x01, quality=True)[:24] + b"\x80\0" + bytes(14) + llc(PACKET)),
    "GRE protocol 0x9999": (1, ethernet(gre(ENCRYPTED, 0x9999))),
    "L2TPv3 (not Ethernet)": (1, ethernet(ip(struct.pack(">I", 5) + ENCRYPTED, 115))),
    "EtherIP of an unknown version": (1, ethernet(ip(b"\x40\0" + ENCRYPTED, 97))),
    "compressed IP (IPComp)": (1, ethernet(ip(ENCRYPTED, 108))),
    "PPP with compressed headers": (9, b"\xff\x03\x00\x2d" + ENCRYPTED),
}


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("call", [True, False])
def test_a_carrier_that_is_not_read_is_named_with_its_count(name: str, call: bool) -> None:
    link_type, frame = UNREAD[name]
    beside = []
    if call:
        wraps: dict[int, Wrap] = {1: ethernet, 105: wifi, 9: ppp}
        beside = [(d.time_ns, wraps[link_type](udp_packet(d))) for d in rtp_stream("....")]
    data = pcap(sorted([*beside, *((START_NS + i, frame) for i in range(5))]))
    capture = parse_capture(data[:20] + struct.pack("<I", link_type) + data[24:])
    assert len(capture.streams) == call
    told = [problem.detail for problem in capture.problems if problem.kind == ProblemKind.UNSUPPORTED]
    assert told == [f"5 packets of {name}, not read"]
    if not call:
        (without,) = (problem.detail for problem in capture.problems if problem.kind == ProblemKind.NO_RTP)
        assert without.startswith("5 packets but no RTP stream; there are ")
        assert f"5 of {name}" in without


NOISE = [
    ethernet(bytes(28), 0x0806),
    ethernet(bytes(40), 0x88CC),
    ethernet(b"\x42\x42\x03" + bytes(35), 38),
    ethernet(ip(bytes(40), 1)),
    ethernet(ip(bytes(40), 58, ("fe80::1", "ff02::1"))),
    ethernet(ip(bytes(40), 132)),
    ethernet(ip(bytes(40), 89)),
    ethernet(segment(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1, ("10.0.0.1", 4444), ("10.0.0.2", 80))),
    ethernet(segment(b"\x17\x03\x03\x00\x40" + bytes(64), 1, ("10.0.0.1", 4445), ("10.0.0.2", 443))),
    ethernet(udp(b"\x12\x34\x01\x00" + bytes(20), 53)),
]


def test_ordinary_traffic_beside_a_call_is_no_problem() -> None:
    call = [(d.time_ns, ethernet(udp_packet(d))) for d in rtp_stream("." * 20)]
    noise = [(START_NS + 1000 * i, frame) for i, frame in enumerate(NOISE * 10)]
    data = pcap(sorted(call + noise), link="ethernet")
    capture = parse_capture(data)
    assert [len(stream.trace) for stream in capture.streams] == [20]
    assert capture.problems == ()


def test_without_rtp_it_is_told_what_there_is_instead() -> None:
    noise = [(START_NS + i, frame) for i, frame in enumerate([*NOISE, NOISE[0], NOISE[7], NOISE[7], *[NOISE[9]] * 3])]
    (problem,) = parse_capture(pcap(noise, link="ethernet")).problems
    assert problem.kind == ProblemKind.NO_RTP
    assert problem.detail == (
        "16 packets but no RTP stream; there are 4 of TCP, 4 of UDP (to port 53), 2 of ARP, 1 of LLDP, and more"
    )


@pytest.mark.parametrize(("link", "family"), [("null", "<I"), ("loop", ">I")])
def test_another_address_family_of_a_loopback_is_told(link: str, family: str) -> None:
    frames = [(START_NS + i, struct.pack(family, 7) + b"abcdefgh") for i in range(10)]
    (problem,) = parse_capture(pcap(frames, link=link)).problems
    assert problem.detail == "10 packets but no RTP stream; there are 10 of another address family"


def test_many_kinds_that_are_not_read_are_a_short_list() -> None:
    frames = [ethernet(gre(ENCRYPTED, 0x9000 + i)) for i in range(40) for _ in range(1 + (i == 7))]
    capture = parse_capture(pcap([(START_NS + i, frame) for i, frame in enumerate(frames)], link="ethernet"))
    told = [problem.detail for problem in capture.problems if problem.kind == ProblemKind.UNSUPPORTED]
    assert len(told) == 5
    assert told[0] == "2 packets of GRE protocol 0x9007, not read"
    assert told[-1] == "36 packets of other carriers, not read"


def test_a_tunnel_beside_the_call_in_it_is_no_problem() -> None:
    """Both sides of a gateway in one capture: the packets within the tunnel are as good as those outside."""
    call = rtp_stream("." * 10)
    frames = [(d.time_ns, CARRIERS["gre"](udp_packet(d))) for d in call]
    assert parse_capture(pcap(frames, link="ethernet")).problems == ()

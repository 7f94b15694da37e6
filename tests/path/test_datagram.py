from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Raw

from earwitness.path.datagram import Datagram, NotUdp, address_bytes, build_datagram, checksum, parse_datagram

HERE, THERE = address_bytes("10.99.1.2"), address_bytes("10.99.1.1")
ports = st.integers(0, 65535)


@given(ports, ports, st.binary(max_size=1500), st.integers(0, 2**20))
def test_what_is_built_is_what_is_parsed(source: int, destination: int, payload: bytes, identification: int) -> None:
    datagram = Datagram(HERE, THERE, source, destination, payload)
    assert parse_datagram(build_datagram(datagram, identification)) == datagram


@given(ports, ports, st.binary(max_size=200), st.integers(0, 65535))
def test_headers_are_those_that_scapy_makes(source: int, destination: int, payload: bytes, identification: int) -> None:
    ours = build_datagram(Datagram(HERE, THERE, source, destination, payload), identification)
    ip = IP(src="10.99.1.2", dst="10.99.1.1", id=identification, ttl=64)
    assert ours == bytes(ip / UDP(sport=source, dport=destination) / Raw(payload))


@given(st.binary(max_size=300))
def test_checksum_is_the_folded_sum_of_words(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(data) == total ^ 0xFFFF  # RFC 1071


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (bytes(IP(dst="10.99.1.1") / ICMP() / Raw(b"ping")), "icmp"),
        (bytes(IP(dst="10.99.1.1", flags="MF") / UDP() / Raw(b"first")), "fragment"),
        (bytes(IP(dst="10.99.1.1", frag=100) / UDP() / Raw(b"later")), "fragment"),
        (b"\x60" + bytes(60), "ipv6"),
        (b"", "short"),
        (bytes(IP(dst="10.99.1.1") / UDP(len=400) / Raw(b"cut")), "short"),
    ],
)
def test_anything_else_is_named(packet: bytes, kind: str) -> None:
    with pytest.raises(NotUdp, match=kind):
        parse_datagram(packet)


@given(st.binary(max_size=80))
def test_no_packet_crashes_the_parser(packet: bytes) -> None:
    with contextlib.suppress(NotUdp):
        assert len(parse_datagram(packet).payload) <= len(packet) - 28

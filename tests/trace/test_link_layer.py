"""From link layers to UDP datagrams, against packets of our own and of scapy's making."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earwitness.trace.container import parse_records
from earwitness.trace.link_layer import Datagrams, Flow, datagrams
from earwitness.trace.problem import ProblemKind
from testing.trace.making import LINKS, START_NS, Datagram, pcap, rtp_stream, udp_packet

SIX: dict[str, Any] = {"source": ("fd00::1", 4002), "destination": ("fd00::2", 4000)}


def read(data: bytes) -> Datagrams:
    return datagrams(parse_records(np.frombuffer(data, dtype=np.uint8)))


def payloads(found: Datagrams) -> list[bytes]:
    return [found.data[s : s + c].tobytes() for s, c in zip(found.start, found.captured, strict=True)]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("ends", [{}, SIX])
def test_every_link_layer_gives_the_same_datagrams(link: str, ends: dict[str, Any]) -> None:
    if (link == "ipv4" and ends) or (link == "ipv6" and not ends):
        pytest.skip("that link layer carries the other version")
    stream = rtp_stream("....", **ends)
    found = read(pcap(stream, link=link))
    assert payloads(found) == [d.payload for d in stream]
    assert found.time_ns.tolist() == [d.time_ns for d in stream]
    source, destination = stream[0].source, stream[0].destination
    assert found.flows == (Flow(*source, *destination),)
    assert not found.problems


@pytest.mark.parametrize("link", LINKS)
def test_a_cooked_capture_tells_which_packets_its_machine_sent(link: str) -> None:
    way = {"cooked": -1, "cooked2": -1, "cooked sent": 1, "cooked2 sent": 1}.get(link, 0)
    ends = SIX if link == "ipv6" else {}
    assert read(pcap(rtp_stream("....", **ends), link=link)).way.tolist() == [way] * 4


def test_both_versions_and_directions_keep_the_captures_order() -> None:
    four, six = rtp_stream("...."), rtp_stream("....", start_ns=START_NS + 7_000_000, **SIX)
    mixed = sorted([*four, *six], key=lambda d: d.time_ns)
    found = read(pcap(mixed))
    assert payloads(found) == [d.payload for d in mixed]
    assert found.record.tolist() == list(range(8))
    assert [found.flows[f].source for f in found.flow] == ["10.8.0.1", "fd00::1"] * 4


def test_ipv4_options_and_ipv6_extension_headers_are_passed() -> None:
    four, six = rtp_stream(".")[0], rtp_stream(".", **SIX)[0]
    hop = bytes([17, 1]) + bytes(14)
    packets = [(START_NS, udp_packet(four, options=bytes([1] * 8))), (START_NS, udp_packet(six, extension=hop))]
    assert payloads(read(pcap(packets))) == [four.payload, six.payload]


def test_ethernet_padding_is_not_payload() -> None:
    short = replace(rtp_stream(".")[0], payload=b"abc")
    frame = LINKS["ethernet"][1](udp_packet(short), 0x0800) + bytes(15)
    found = read(pcap([(START_NS, frame)], link="ethernet"))
    assert payloads(found) == [b"abc"]
    assert found.length.tolist() == [3]


def test_the_snap_length_cuts_the_payload_and_the_length_stays() -> None:
    found = read(pcap(rtp_stream("..."), snap_length=85))
    assert found.captured.tolist() == [85 - 28] * 3
    assert found.length.tolist() == [172] * 3


def test_of_an_incomplete_datagram_the_first_part_is_read_and_it_is_said() -> None:
    datagram = rtp_stream(".")[0]
    found = read(pcap([(START_NS, udp_packet(datagram, fragment=0x2000)[:100])]))
    assert payloads(found) == [datagram.payload[:72]]
    assert found.length.tolist() == [172]
    assert [p.kind for p in found.problems] == [ProblemKind.FRAGMENTED]


def test_a_link_layer_that_is_not_read_is_counted_not_ignored() -> None:
    data = bytearray(pcap(rtp_stream("...")))
    struct.pack_into("<I", data, 20, 189)  # USB
    found = read(bytes(data))
    assert len(found) == 0
    assert found.problems[0].kind == ProblemKind.UNSUPPORTED
    assert "3 packets of unsupported link type 189" in found.problems[0].detail


@pytest.mark.parametrize("kept", [0, 10, 19, 20, 27, 28])
def test_packets_cut_within_their_headers_are_counted(kept: int) -> None:
    found = read(pcap(rtp_stream("."), snap_length=kept) if kept else pcap([(START_NS, b"")]))
    assert len(found) == (1 if kept == 28 else 0)
    assert bool(found.problems) == (kept < 28)


@pytest.mark.parametrize(("total", "udp", "size"), [(0, 180, 172), (200, 0, 172), (200, 9999, 172), (60, 180, 32)])
def test_lengths_that_lie_never_reach_beyond_the_packet(total: int, udp: int, size: int) -> None:
    packet = bytearray(udp_packet(rtp_stream(".")[0]))
    struct.pack_into(">H", packet, 2, total)
    struct.pack_into(">H", packet, 24, udp)
    found = read(pcap([(START_NS, bytes(packet))]))
    assert found.length.tolist() == found.captured.tolist() == [size]


def test_what_is_not_udp_is_passed_over() -> None:
    icmp = bytearray(udp_packet(rtp_stream(".")[0]))
    icmp[9] = 1
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    assert len(read(pcap([(START_NS, bytes(icmp))]))) == 0
    assert len(read(pcap([(START_NS, arp)], link="ethernet"))) == 0


def test_scapy_made_packets_are_read_alike() -> None:
    layers = pytest.importorskip("scapy.layers.l2")
    inet, inet6 = pytest.importorskip("scapy.layers.inet"), pytest.importorskip("scapy.layers.inet6")
    body = bytes(range(40))
    udp = inet.UDP(sport=5004, dport=6000) / body
    made = [
        layers.Ether() / layers.Dot1Q(vlan=5) / inet.IP(src="192.0.2.1", dst="192.0.2.2") / udp,
        layers.Ether() / layers.Dot1AD(vlan=5) / layers.Dot1Q(vlan=6) / inet.IP(src="192.0.2.1", dst="192.0.2.2") / udp,
        layers.Ether() / inet6.IPv6(src="2001:db8::1", dst="2001:db8::2") / inet6.IPv6ExtHdrHopByHop() / udp,
        layers.Ether() / inet6.IPv6(src="2001:db8::1", dst="2001:db8::2") / inet6.IPv6ExtHdrRouting() / udp,
        layers.Ether() / inet.IP(src="192.0.2.1", dst="192.0.2.2", options=[inet.IPOption(b"\x01")]) / udp,
    ]
    found = read(pcap([(START_NS + i, bytes(packet)) for i, packet in enumerate(made)], link="ethernet"))
    assert payloads(found) == [body] * 5
    assert found.flows == (
        Flow("192.0.2.1", 5004, "192.0.2.2", 6000),
        Flow("2001:db8::1", 5004, "2001:db8::2", 6000),
    )


def test_many_flows_are_told_apart() -> None:
    made = [
        Datagram(START_NS + i, b"x" * 20, (f"10.0.{i % 7}.{i % 11}", 1000 + i % 13), ("10.1.0.1", 2000 + i % 5))
        for i in range(5005)
    ]
    found = read(pcap(made))
    assert len(found.flows) == 5005
    flows = [found.flows[number] for number in found.flow]
    assert flows == [Flow(*d.source, *d.destination) for d in made]

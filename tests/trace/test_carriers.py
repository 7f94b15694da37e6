"""RTP inside carriers: read by the innermost datagram, whatever is around it; against scapy's packets and tshark."""

from __future__ import annotations

import random
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.trace.capture import Capture, parse_capture
from earwitness.trace.link_layer import Flow
from earwitness.trace.problem import ProblemKind
from testing.trace import tshark
from testing.trace.carrying import CARRIERS, LINK_CARRIERS, Wrap, ethernet, gre, ip, turn_channel, turn_indication, udp
from testing.trace.making import START_NS, Datagram, pcap, rtp_stream, udp_packet
from testing.trace.mutating import SIX

FRAMES: dict[str, tuple[int, Wrap]] = {
    **{name: (1, wrap) for name, wrap in CARRIERS.items()},
    **{f"link type {name}": pair for name, pair in LINK_CARRIERS.items()},
}
TSHARK_IS_TOLD = ("-d", "udp.port==8472,vxlan", "-d", "mpls.label==17,pwethcw", "-d", "mpls.label==18,pwethnocw")
NOT_IN_TSHARK = ("l2tp 3", "l2tp 3 udp", "fabric path")
"""It takes the form of an L2TPv3 pseudowire from its signalling or a setting, and reads none without; of a FabricPath
frame it takes the last four bytes for a checksum, which a capture does not hold."""
OVER_IP = [name for name, wrap in CARRIERS.items() if wrap(ip(b"", 17))[12:14] == b"\x08\x00"]


def capture_of(frames: list[tuple[int, bytes]], link_type: int = 1) -> Capture:
    data = pcap(frames)
    return parse_capture(data[:20] + struct.pack("<I", link_type) + data[24:])


def wrapped(wrap: Wrap, stream: list[Datagram]) -> list[tuple[int, bytes]]:
    return [(d.time_ns, wrap(udp_packet(d))) for d in stream]


def steps_ms(capture: Capture) -> list[float]:
    (stream,) = capture.streams
    times = stream.trace.arrived_ns
    return [float(step) / 1e6 for step in times[1:] - times[:-1]]


@pytest.mark.parametrize("ends", [{}, SIX], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("name", FRAMES)
def test_the_stream_in_a_carrier_is_the_stream(name: str, ends: dict[str, tuple[str, int]]) -> None:
    link_type, wrap = FRAMES[name]
    sent = rtp_stream(".....", **ends)  # type: ignore[arg-type]
    capture = capture_of(wrapped(wrap, sent), link_type)
    assert steps_ms(capture) == [20.0] * 4
    (stream,) = capture.streams
    assert stream.flow == Flow(*sent[0].source, *sent[0].destination)
    assert stream.trace.payloads is not None
    assert stream.trace.payloads[0] == bytes(range(160))
    assert not capture.problems


@pytest.mark.skipif(tshark.TSHARK is None, reason="tshark is not installed")
@pytest.mark.parametrize("link_type", sorted({link_type for link_type, _ in FRAMES.values()}))
def test_tshark_finds_the_same_datagram_in_each(tmp_path: Path, link_type: int) -> None:
    names = [name for name, (kind, _) in FRAMES.items() if kind == link_type and name not in NOT_IN_TSHARK]
    datagram = rtp_stream(".")[0]
    data = pcap([(START_NS + i, FRAMES[name][1](udp_packet(datagram))) for i, name in enumerate(names)])
    (tmp_path / "a.pcap").write_bytes(data[:20] + struct.pack("<I", link_type) + data[24:])
    fields = ["-T", "fields", "-E", "occurrence=l", "-e", "udp.srcport", "-e", "udp.dstport", "-e", "udp.payload"]
    assert tshark.TSHARK is not None
    command = [tshark.TSHARK, "-r", str(tmp_path / "a.pcap"), *TSHARK_IS_TOLD, *fields]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = f"{datagram.source[1]}\t{datagram.destination[1]}\t{datagram.payload.hex()}"
    assert {name: line for name, line in zip(names, lines, strict=True) if line != expected} == {}


def test_what_scapy_builds_is_read() -> None:
    pytest.importorskip("scapy.all")
    from scapy.contrib.erspan import ERSPAN_II, ERSPAN_III
    from scapy.contrib.geneve import GENEVE
    from scapy.contrib.gtp import GTP_U_Header
    from scapy.contrib.mpls import MPLS
    from scapy.layers.dot11 import Dot11, Dot11QoS, RadioTap
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import GRE, LLC, SNAP, Ether
    from scapy.layers.ppp import PPP, PPPoE
    from scapy.layers.vxlan import VXLAN

    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    outer = frame / IP(src="192.0.2.1", dst="192.0.2.2")
    plain = [
        outer / GRE(key_present=1, key=9, seqnum_present=1, chksum_present=1),
        outer,
        outer / UDP(sport=2152, dport=2152) / GTP_U_Header(teid=1),
        outer / UDP(sport=2152, dport=2152) / GTP_U_Header(teid=1, S=1, seq=3),
        frame / MPLS(label=9, s=0) / MPLS(label=10, s=1),
        frame / PPPoE(sessionid=1) / PPP(proto=0x21),
        outer / UDP(dport=4789) / VXLAN(vni=4) / frame,
        outer / UDP(dport=6081) / GENEVE(vni=4) / frame,
        outer / GRE(seqnum_present=1, proto=0x88BE) / ERSPAN_II() / frame,
        outer / GRE(seqnum_present=1, proto=0x22EB) / ERSPAN_III() / frame,
    ]
    body = rtp_stream(".....")[0].payload
    inner = IP(src="10.8.0.1", dst="10.8.0.2") / UDP(sport=20848, dport=4000) / body
    radio = (
        RadioTap()
        / Dot11(type=2, subtype=8, FCfield=1, addr1="02:00:00:00:00:01")
        / Dot11QoS()
        / LLC()
        / SNAP()
        / inner
    )
    frames = [(1, bytes(carrier / inner)) for carrier in plain] + [(127, bytes(radio))]
    for link_type, content in frames:
        udp_found = capture_of([(START_NS, content)], link_type).udp
        assert udp_found.flows[-1] == Flow("10.8.0.1", 20848, "10.8.0.2", 4000)
        assert udp_found.data[udp_found.start[-1] :][: udp_found.captured[-1]].tobytes() == body


@pytest.mark.parametrize("wrap", [turn_channel, lambda p: turn_channel(p, padded=False), turn_indication])
def test_datagrams_relayed_by_turn_belong_to_the_flow_to_its_server(wrap: Wrap) -> None:
    sent = rtp_stream(".....", payload=bytes(range(33)), destination=("10.8.0.2", 3478))
    capture = capture_of(
        [(d.time_ns, ethernet(udp_packet(Datagram(0, wrap(d.payload), d.source, d.destination)))) for d in sent]
    )
    assert steps_ms(capture) == [20.0] * 4
    assert capture.streams[0].flow == Flow("10.8.0.1", 20848, "10.8.0.2", 3478)
    assert capture.streams[0].trace.size.tolist() == [33] * 5
    assert not capture.problems


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(OVER_IP), min_size=2, max_size=5))
def test_carriers_within_carriers(names: list[str]) -> None:
    def nested(packet: bytes) -> bytes:
        for name in names:
            packet = CARRIERS[name](packet)[14:]
        return ethernet(packet)

    capture = capture_of(wrapped(nested, rtp_stream(".....")))
    assert steps_ms(capture) == [20.0] * 4
    assert not capture.problems


def test_a_nest_without_end_is_given_up_and_told() -> None:
    packet = udp_packet(rtp_stream(".")[0])
    for _ in range(400):
        packet = ip(packet, 4)
    begun = time.monotonic()
    capture = capture_of([(START_NS + i, ethernet(packet)) for i in range(500)])
    assert time.monotonic() - begun < 2.0
    assert "500 packets with carriers nested too deeply; skipped" in [p.detail for p in capture.problems]


CARRIERS_PORTS = (4789, 8472, 4341, 6081, 2152, 1701, 37008, 3478, 4500, 1194, 5060)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CARRIERS_PORTS),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 127).filter(lambda number: not 64 <= number <= 95),
    st.binary(min_size=20, max_size=60),
)
def test_rtp_on_a_carriers_port_is_rtp(
    port: int, sequence: int, timestamp: int, ssrc: int, payload_type: int, payload: bytes
) -> None:
    made = rtp_stream(
        "......", sequence=sequence, timestamp=timestamp, ssrc=ssrc, payload_type=payload_type, payload=payload,
        destination=("10.8.0.2", port),
    )  # fmt: skip
    capture = parse_capture(pcap(made))
    assert [len(stream.trace) for stream in capture.streams] == [6]
    assert not [problem for problem in capture.problems if problem.kind == ProblemKind.UNSUPPORTED]


def test_what_else_is_in_a_carrier_does_not_disturb() -> None:
    call = wrapped(CARRIERS["vxlan"], rtp_stream("....."))
    question = udp(b"\x12\x34\x01\x00" + bytes(20), 53)
    noise = [
        CARRIERS["vxlan"](question),
        CARRIERS["gre"](ip(bytes(8), 1)),
        ethernet(bytes(28), 0x0806),
        ethernet(question),
    ]
    echo = ethernet(udp(struct.pack(">BBHI", 0x32, 1, 4, 0) + bytes(4), 2152, 2152))
    control = ethernet(udp(struct.pack(">HHHHHH", 0xC802, 12, 1, 0, 0, 0), 1701, 1701))
    extra = [(START_NS + 1000 + i, frame) for i, frame in enumerate([*noise, echo, control])]
    capture = capture_of(sorted(call + extra))
    assert steps_ms(capture) == [20.0] * 4
    assert not capture.problems


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FRAMES)), st.data())
def test_spoilt_headers_never_raise(name: str, data: st.DataObject) -> None:
    link_type, wrap = FRAMES[name]
    frames = []
    for time_ns, frame in wrapped(wrap, rtp_stream("...")):
        spoilt = bytearray(frame)
        for _ in range(data.draw(st.integers(1, 4))):
            spoilt[data.draw(st.integers(0, min(len(spoilt), 110) - 1))] = data.draw(st.integers(0, 255))
        frames.append((time_ns, bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))])))
    capture = capture_of(frames, link_type)
    assert capture.packets == 3


def test_random_bytes_behind_every_carrier() -> None:
    rng = random.Random(5)
    for name, (link_type, wrap) in FRAMES.items():
        frame = wrap(udp_packet(rtp_stream(".")[0]))
        frames = [(START_NS + i, frame[: rng.randrange(80)] + rng.randbytes(60)) for i in range(50)]
        assert capture_of(frames, link_type).packets == 50, name


def test_a_kept_checksum_bit_and_a_routed_gre_are_told_apart() -> None:
    packet = udp_packet(rtp_stream(".")[0])
    capture = capture_of([(START_NS, ethernet(gre(packet, 0x0800, 0xC000)))])
    assert "1 packets of GRE with source routing or of an unknown version, not read" in str(capture.problems[0])

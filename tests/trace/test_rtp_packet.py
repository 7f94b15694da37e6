from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.trace.rtp import MalformedPacket, RtpPacket

packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=400),
    marker=st.booleans(),
    csrc=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension=st.none()
    | st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40).map(lambda data: data[: len(data) // 4 * 4])),
)


@given(packets)
def test_round_trip(packet: RtpPacket) -> None:
    assert RtpPacket.parse(bytes(packet)) == packet


@given(st.binary(max_size=80))
def test_any_bytes_are_a_packet_or_a_typed_error(data: bytes) -> None:
    try:
        packet = RtpPacket.parse(data)
    except MalformedPacket:
        return
    assert len(packet.payload) <= len(data) - 12


@given(packets, st.integers(0, 60))
def test_a_truncated_packet_never_crashes(packet: RtpPacket, kept: int) -> None:
    with contextlib.suppress(MalformedPacket):
        RtpPacket.parse(bytes(packet)[:kept])


def test_the_header_of_the_rfc() -> None:
    wire = bytes(RtpPacket(0, 0x1234, 0xA0, 0xDEADBEEF, b"\xff\x7f", marker=True))
    assert wire.hex() == "80801234000000a0deadbeefff7f"


def test_padding_is_taken_off_and_checked() -> None:
    wire = bytearray(bytes(RtpPacket(0, 1, 2, 3, b"ab\0\0\0\4")))
    wire[0] |= 0x20
    assert RtpPacket.parse(bytes(wire)).payload == b"ab"
    wire[-1] = 200
    with pytest.raises(MalformedPacket, match="padding"):
        RtpPacket.parse(bytes(wire))

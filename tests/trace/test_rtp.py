"""The RTP header: what is written is read, one packet or many, and nothing malformed passes or crashes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.trace.rtp import MalformedPacket, RtpPacket, parse_headers

words = st.integers(0, 2**32 - 1)
packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 65535),
    timestamp=words,
    ssrc=words,
    payload=st.binary(max_size=60),
    marker=st.booleans(),
    csrc=st.lists(words, max_size=15).map(tuple),
    extension=st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 8).map(lambda n: bytes(range(4 * n)))),
    padding=st.integers(0, 255),
)


@given(packets)
def test_what_is_written_is_read(packet: RtpPacket) -> None:
    assert RtpPacket.parse(bytes(packet)) == packet


def test_the_header_of_the_rfc() -> None:
    wire = bytes(RtpPacket(0, 0x1234, 0xA0, 0xDEADBEEF, b"\xff\x7f", marker=True))
    assert wire.hex() == "80801234000000a0deadbeefff7f"


def test_padding_is_taken_off_and_checked() -> None:
    wire = bytearray(bytes(RtpPacket(0, 1, 2, 3, b"ab\0\0\0\4")))
    wire[0] |= 0x20
    assert RtpPacket.parse(bytes(wire)).payload == b"ab"
    for count in (0, 7, 200):
        wire[-1] = count
        with pytest.raises(MalformedPacket, match="padding"):
            RtpPacket.parse(bytes(wire))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_packet_or_a_typed_error(data: bytes) -> None:
    packet = parsed(data)
    # Nothing is lost: a packet written again is as long as it was.
    assert isinstance(packet, str) or len(bytes(packet)) == len(data)


@given(packets.map(bytes), st.integers(0, 80))
def test_a_packet_cut_short_is_an_error_or_a_shorter_packet(data: bytes, cut: int) -> None:
    try:
        packet = RtpPacket.parse(data[: max(0, len(data) - cut)])
    except MalformedPacket:
        return
    assert len(bytes(packet)) == len(data) - cut


@pytest.mark.parametrize(
    "fields",
    [{"payload_type": 128}, {"sequence": 65536}, {"timestamp": -1}, {"csrc": (0,) * 16}, {"extension": (0, b"abc")}],
)
def test_a_field_out_of_range_is_not_written(fields: dict[str, Any]) -> None:
    good: dict[str, Any] = {"payload_type": 0, "sequence": 0, "timestamp": 0, "ssrc": 0}
    with pytest.raises(MalformedPacket):
        bytes(RtpPacket(**{**good, **fields}))


def parsed(data: bytes) -> RtpPacket | str:
    """The packet, or what is wrong with it."""
    try:
        return RtpPacket.parse(data)
    except MalformedPacket as error:
        return str(error)


@given(st.lists(packets.map(bytes) | st.binary(max_size=40), max_size=12))
@settings(max_examples=200, deadline=None)
def test_many_at_once_agree_with_one_at_a_time(datas: list[bytes]) -> None:
    joined = b"".join(datas)
    start = np.cumsum([0, *map(len, datas)])[:-1].astype(np.int64)
    length = np.array([len(d) for d in datas], dtype=np.int32)
    headers = parse_headers(np.frombuffer(joined, dtype=np.uint8), start, length, length)
    for i, data in enumerate(datas):
        rtcp = len(data) > 1 and 192 <= data[1] <= 223
        packet = parsed(data)
        if isinstance(packet, str):
            # In SRTP the last byte counts nothing.
            unpadded = "of padding" in packet and not rtcp
            assert headers.looks_right[i] == unpadded
            assert headers.padding[i] == (-1 if unpadded else 0)
            continue
        assert headers.looks_right[i] == (not rtcp)
        if rtcp:
            continue
        assert headers.payload_type[i] == packet.payload_type
        assert headers.marker[i] == packet.marker
        assert headers.sequence[i] == packet.sequence
        assert headers.timestamp[i] == packet.timestamp
        assert headers.ssrc[i] == packet.ssrc
        assert headers.payload_size[i] == len(packet.payload)
        assert headers.padding[i] == packet.padding
        begin = start[i] + headers.payload_at[i]
        assert joined[begin : begin + headers.payload_size[i]] == packet.payload


def test_a_cut_packet_keeps_its_size_on_the_wire() -> None:
    data = bytes(RtpPacket(0, 1, 2, 3, payload=bytes(160)))[:57]
    one = np.array([0], dtype=np.int64)
    headers = parse_headers(
        np.frombuffer(data, dtype=np.uint8), one, np.array([57], np.int32), np.array([172], np.int32)
    )
    assert headers.looks_right.all()
    assert headers.payload_size.tolist() == [160]

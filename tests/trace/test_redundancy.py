"""RED, ULPFEC and FlexFEC as their RFCs draw them, and anything else."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.trace.encoding import Encoding
from earwitness.trace.model import Payloads
from earwitness.trace.redundancy import (
    MOST_BLOCKS,
    RedBlocks,
    block_types,
    parse_flexfec,
    parse_ulpfec,
    primary_encoding,
    red_blocks,
)
from earwitness.trace.rtp import MalformedPacket, RtpPacket
from testing.ear.redundancy import trace_of_packets
from testing.trace.redundancy import flexfec, red, red_stream, ulpfec

RED = Encoding("red", 8000, fmtp="0/0")


def blocks_of(*payloads: bytes, captured: int | None = None) -> RedBlocks:
    held = Payloads.of(payloads)
    size = held.captured.copy()
    if captured is not None:
        held = Payloads(held.data, held.start, np.minimum(held.captured, captured).astype(np.int32))
    return red_blocks(held, size, np.arange(len(payloads), dtype=np.int64))


def test_a_red_packet_is_read_as_the_rfc_draws_it() -> None:
    # RFC 2198 5: a DVI4 primary (type 5) with an LPC block (type 7) of 14 bytes from 2 packets of 20 ms before.
    payload = bytes.fromhex("87 05 00 0e 05") + b"L" * 14 + b"D" * 84
    blocks = blocks_of(payload)
    assert blocks.payload_type.tolist() == [7, 5]
    assert blocks.offset.tolist() == [320, 0]
    assert blocks.age.tolist() == [1, 0]
    assert blocks.size.tolist() == [14, 84]
    assert blocks.start.tolist() == [5, 19]


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=60),
            st.lists(st.tuples(st.integers(0, 127), st.integers(0, 16383), st.binary(max_size=60)), max_size=4),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_block_is_found_with_its_bytes(
    packets: list[tuple[bytes, list[tuple[int, int, bytes]]]],
) -> None:
    payloads = [red((9, 0, primary), *redundant) for primary, redundant in packets]
    blocks = blocks_of(*payloads)
    data = b"".join(payloads)
    found = [
        (row, number, offset, data[start : start + size])
        for row, number, offset, start, size in zip(
            blocks.row.tolist(),
            blocks.payload_type.tolist(),
            blocks.offset.tolist(),
            blocks.start.tolist(),
            blocks.size.tolist(),
            strict=True,
        )
    ]
    wanted = [(i, *block) for i, (primary, redundant) in enumerate(packets) for block in [*redundant, (9, 0, primary)]]
    assert found == wanted
    assert not len(blocks.malformed)


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 40))
def test_any_bytes_are_blocks_within_their_packet_or_malformed(payloads: list[bytes], captured: int) -> None:
    blocks = blocks_of(*payloads, captured=captured)
    assert set(blocks.row.tolist()) | set(blocks.malformed.tolist()) == set(range(len(payloads)))
    assert not set(blocks.row.tolist()) & set(blocks.malformed.tolist())
    ends = np.cumsum([len(payload) for payload in payloads]) if payloads else np.zeros(0, dtype=np.int64)
    for row, start, size, kept in zip(blocks.row, blocks.start, blocks.size, blocks.captured, strict=True):
        assert 0 <= kept <= size
        assert start + kept <= ends[row]
        assert start >= ends[row] - len(payloads[row])
    assert (blocks.age >= 0).all()


def test_a_cut_packet_keeps_the_blocks_that_were_captured() -> None:
    blocks = blocks_of(red((0, 0, b"p" * 160), (0, 160, b"r" * 160)), captured=200)
    assert blocks.captured.tolist() == [160, 200 - 5 - 160]


def test_as_many_blocks_are_read_as_the_offset_reaches_back_at_48_khz() -> None:
    reach = ((1 << 14) - 1) // 960
    blocks = blocks_of(red((111, 0, b"now"), *((111, 960 * age, bytes([age])) for age in range(reach, 0, -1))))
    assert blocks.offset.tolist() == [960 * age for age in range(reach, -1, -1)]
    assert not len(blocks.malformed)


def test_a_header_without_an_end_is_malformed() -> None:
    endless = bytes([0x80, 0, 0, 0]) * (MOST_BLOCKS + 1)
    assert blocks_of(endless, red((0, 0, b"x"))).malformed.tolist() == [0]


def test_what_red_carries_is_read_from_the_packets_or_from_its_fmtp() -> None:
    opus, pcmu = Encoding("opus", 48000, 2), Encoding("PCMU", 8000)
    packets = red_stream([bytes(20)] * 5, inner=111, step=960)
    trace = trace_of_packets(packets, {63: Encoding("red", 48000, 2, "96/0")}, clock_rate=48000)
    assert block_types(trace) == (111, 96, 0)
    assert primary_encoding(trace, {111: opus}) == opus
    assert primary_encoding(trace) == pcmu  # all that is known of those
    assert primary_encoding(trace_of_packets(packets, {63: opus})) is None


def packets_of(count: int, **kinds: object) -> list[RtpPacket]:
    rng = random.Random(count)
    return [
        RtpPacket(0, (65_530 + i) & 0xFFFF, 160 * i, 77, rng.randbytes(rng.randrange(1, 180)), i == 2, **kinds)  # type: ignore[arg-type]
        for i in range(count)
    ]


@pytest.mark.parametrize("missing", range(6))
@pytest.mark.parametrize(
    "kinds", [{}, {"extension": (0xBEDE, b"abcdefgh"), "csrc": (5, 6)}, {"padding": 4}], ids=["plain", "long", "padded"]
)
@pytest.mark.parametrize("wire", ["ulpfec", "ulpfec long", "flexfec", "flexfec-03", "flexfec grid"])
def test_a_missing_packet_is_restored_whole(wire: str, kinds: dict[str, object], missing: int) -> None:
    packets = dict(enumerate(packets_of(6, **kinds)))
    if wire.startswith("ulpfec"):
        repair = parse_ulpfec(ulpfec(packets, long_mask="long" in wire))
    elif wire == "flexfec grid":
        repair = parse_flexfec(flexfec(packets, grid=(6, 0)))
    else:
        repair = parse_flexfec(flexfec(packets, draft="03" in wire), draft="03" in wire)
    assert repair.members == tuple(packets)
    assert repair.base == 65_530
    others = {at: bytes(packet) for at, packet in packets.items() if at != missing}
    assert repair.restored(packets[missing].sequence, 77, others) == packets[missing]


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("members", [(0, 14), (0, 15), (3, 45), (1, 46), (0, 20, 108)])
def test_the_masks_of_flexfec_are_read_at_every_length(members: tuple[int, ...], draft: bool) -> None:
    packets = packets_of(110)
    repair = parse_flexfec(flexfec({at: packets[at] for at in members}, draft=draft), draft=draft)
    assert repair.members == members


@pytest.mark.parametrize(
    ("grid", "members"), [((4, 0), (0, 1, 2, 3)), ((4, 1), (0, 1, 2, 3)), ((4, 3), (0, 4, 8)), ((1, 2), (0, 1))]
)
def test_rows_and_columns_of_flexfec_are_read(grid: tuple[int, int], members: tuple[int, ...]) -> None:
    packets = packets_of(12)
    assert parse_flexfec(flexfec({at: packets[at] for at in members}, grid=grid)).members == members


def test_two_levels_of_ulpfec_restore_what_both_protect() -> None:
    packets = packets_of(3)
    one = ulpfec(dict(enumerate(packets)), protected=20)
    longest = max(len(packet.payload) for packet in packets)
    rest = bytearray(longest - 20)
    for packet in packets[:2]:
        for i, byte in enumerate(packet.payload[20:]):
            rest[i] ^= byte
    repair = parse_ulpfec(one + len(rest).to_bytes(2) + (0b11 << 14).to_bytes(2) + bytes(rest))
    others = {1: bytes(packets[1]), 2: bytes(packets[2])}
    assert repair.restored(packets[0].sequence, 77, others) == packets[0]
    with pytest.raises(MalformedPacket, match="FEC protects 20 of"):
        repair.restored(packets[2].sequence, 77, {0: bytes(packets[0]), 1: bytes(packets[1])})


@given(st.binary(max_size=120))
def test_any_bytes_are_a_fec_packet_or_malformed(payload: bytes) -> None:
    packets = packets_of(255)
    for parse in (parse_ulpfec, parse_flexfec, lambda data: parse_flexfec(data, draft=True)):
        try:
            repair = parse(payload)
            assert 0 < len(repair.members) <= 255
            first, *others = repair.members
            restored = repair.restored(
                (repair.base + first) & 0xFFFF, 1, {at: bytes(packets[at % 255]) for at in others}
            )
            assert len(restored.payload) <= len(payload)
        except MalformedPacket:
            pass

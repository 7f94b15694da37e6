"""What RED and FEC bring back is what was lost, at the time when a receiver has it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.ear.hear import hear
from earwitness.ear.listen import choose_stream, listen_to_capture
from earwitness.ear.redundancy import recovered
from earwitness.speech.codecs.base import Codec, encode_packets
from earwitness.speech.codecs.registry import codec
from earwitness.trace.capture import parse_capture
from earwitness.trace.encoding import Encoding
from earwitness.trace.model import LOST, Payloads, Trace
from earwitness.trace.rtp import RtpPacket
from earwitness.trace.rtp_stream import StreamOptions
from testing.ear.redundancy import MS, payload_of_each, trace_of_packets
from testing.ear.traces import voice
from testing.trace.making import PHONE, SERVER, START_NS, Datagram, invite, pcap, together
from testing.trace.redundancy import flexfec, red, red_stream, ulpfec

PCMU, OPUS = Encoding("PCMU", 8000), Encoding("opus", 48000, 2)
RED = {63: Encoding("red", 8000, fmtp="0/0"), 0: PCMU}
FEC = {0: PCMU, 97: Encoding("ulpfec", 8000), 98: Encoding("flexfec", 8000), 99: Encoding("flexfec-03", 8000)}


def noise(count: int, seed: int = 1) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(1, 200)) for _ in range(count)]


@pytest.mark.parametrize(
    ("depth", "lost", "back"), [(1, {3, 7, 8}, {3, 8}), (2, {3, 7, 8}, {3, 7, 8}), (2, {0}, set())]
)
def test_lost_packets_come_back_from_red_byte_for_byte(depth: int, lost: set[int], back: set[int]) -> None:
    payloads = noise(20)
    packets = red_stream(payloads, depth=depth, first=65_530)
    trace = trace_of_packets(packets, RED, lost=lost)
    found = recovered(trace)
    assert (found.from_red, found.from_fec, found.early) == (len(back), 0, 0)
    assert len(trace) == 20 - len(lost)
    there = payload_of_each(found.trace)
    assert there == {packets[i].sequence: payloads[i] for i in range(20) if i not in lost - back}
    assert set(found.trace.payload_type.tolist()) == {0}
    assert (np.diff(found.trace.arrived_ns) >= 0).all()
    for i in back:
        row = int(np.flatnonzero(found.trace.sequence == 65_530 + i)[0])
        assert found.trace.timestamp[row] == 160 * i
        carrier = next(j for j in range(i + 1, 20) if j not in lost)
        assert found.trace.arrived_ns[row] == 1_000_000_000 + carrier * 20 * MS


@pytest.mark.parametrize(("depth", "distance"), [(1, 3), (1, 2), (2, 2)])
def test_red_may_repeat_packets_from_further_back(depth: int, distance: int) -> None:
    """So that a burst of losses spares the copies."""
    payloads, lost = noise(40), {12, 13, 14, 25, 26}
    packets = red_stream(payloads, depth=depth, distance=distance)
    found = recovered(trace_of_packets(packets, RED, lost=lost))
    back = {i for i in lost if any(i + distance * age not in lost for age in range(1, depth + 1))}
    assert len(back) > 2
    assert payload_of_each(found.trace) == {packets[i].sequence: payloads[i] for i in range(40) if i not in lost - back}


def test_opus_in_red_sounds_as_without_loss_where_no_two_packets_were_lost() -> None:
    opus = codec("opus:24000")
    payloads = encode_packets(opus, voice(1.0))
    packets = red_stream(payloads, inner=111, step=960)
    formats = {63: Encoding("red", 48000, 2, "111/111"), 111: OPUS}
    lost = {4, 11, 30}
    found = recovered(trace_of_packets(packets, formats, lost=lost, clock_rate=48000))
    plain = trace_of_packets(
        [replace(packet, payload_type=111, payload=payloads[i]) for i, packet in enumerate(packets)],
        {111: OPUS},
        clock_rate=48000,
    )
    assert found.from_red == 3
    assert heard(found.trace, opus) == heard(plain, opus)


def heard(trace: Trace, by: Codec) -> bytes:
    return hear(trace, by, "fixed:100").audio.tobytes()


def test_pauses_of_the_speaker_are_no_losses() -> None:
    payloads = noise(12)
    packets = red_stream(payloads)
    # The speaker is silent for a second after packet 5, and what follows does not repeat what came before.
    later = [replace(packet, timestamp=packet.timestamp + 8000) for packet in packets[6:]]
    later[0] = replace(later[0], payload=red((0, 0, payloads[6])))
    found = recovered(trace_of_packets([*packets[:6], *later], RED, lost={3, 9}))
    assert found.from_red == 2
    assert payload_of_each(found.trace) == {1000 + i: payloads[i] for i in range(12)}
    assert found.trace.timestamp[found.trace.sequence == 1009].tolist() == [160 * 9 + 8000]


def test_a_late_packet_is_heard_from_the_copy_that_came_first_and_is_not_called_lost() -> None:
    payloads = noise(10)
    times = [20.0 * i + (50 if i == 4 else 0) for i in range(10)]
    found = recovered(trace_of_packets(red_stream(payloads), RED, arrived_ms=times))
    assert (found.from_red, found.early) == (0, 1)
    rows = np.flatnonzero(found.trace.sequence == 1004)
    assert (found.trace.arrived_ns[rows] // MS).tolist() == [1100, 1130]
    assert found.notes == ("1 packets arrived after a redundant copy of them, which is heard",)


def test_a_packet_known_from_its_sender_keeps_its_sending_time() -> None:
    payloads = noise(10)
    trace = trace_of_packets(red_stream(payloads), RED)
    sent = replace(trace, sent_ns=trace.arrived_ns - 30 * MS, sent_clock="one", arrived_clock="one")
    arrived = sent.arrived_ns.copy()
    arrived[5] = LOST
    found = recovered(sent.with_arrivals(arrived))
    assert len(found.trace) == 10
    row = int(np.flatnonzero(found.trace.sequence == 1005)[0])
    assert found.trace.arrived_ns[row] - found.trace.sent_ns[row] == 50 * MS
    assert payload_of_each(found.trace) == {1000 + i: payloads[i] for i in range(10)}


def test_telephone_events_in_red_are_left_to_their_readers() -> None:
    events = {**RED, 101: Encoding("telephone-event", 8000)}
    packets = red_stream(noise(6), inner=101)
    found = recovered(trace_of_packets(packets, events, lost={2}))
    assert found.from_red == 0
    assert set(found.trace.payload_type.tolist()) == {101}


def test_text_in_red_is_left_alone() -> None:
    trace = trace_of_packets(red_stream(noise(6), inner=98), {63: RED[63], 98: Encoding("t140", 1000)}, lost={2})
    assert recovered(trace).trace is trace


def test_a_trace_without_redundancy_is_returned_as_it_is() -> None:
    trace = trace_of_packets(red_stream(noise(6)), {63: PCMU}, lost={2})
    assert recovered(trace).trace is trace


# -- FEC ----------------------------------------------------------------------------------------------------------


def speech(count: int, **kinds: object) -> list[RtpPacket]:
    return [
        RtpPacket(0, (65_500 + i) & 0xFFFF, 160 * i, 7, payload, i == 0, **kinds)  # type: ignore[arg-type]
        for i, payload in enumerate(noise(count))
    ]


def repairs(packets: list[RtpPacket], wire: str, group: int = 5) -> list[tuple[int, RtpPacket]]:
    """A FEC packet for every `group` packets: the index of the packet before it, and the packet."""
    made: list[tuple[int, RtpPacket]] = []
    for first in range(0, len(packets), group):
        chosen = dict(enumerate(packets[first : first + group]))
        if wire == "ulpfec":
            number, payload = 97, ulpfec(chosen)
        else:
            number, payload = (98, flexfec(chosen)) if wire == "flexfec" else (99, flexfec(chosen, draft=True))
        last = first + len(chosen) - 1
        made.append((last, RtpPacket(number, len(made), packets[last].timestamp, 8, payload)))
    return made


@pytest.mark.parametrize("wire", ["ulpfec", "flexfec", "flexfec-03"])
@pytest.mark.parametrize(
    "kinds", [{}, {"extension": (0xBEDE, b"abcd"), "csrc": (9,)}], ids=["plain headers", "extended headers"]
)
def test_lost_packets_come_back_from_a_stream_of_fec(wire: str, kinds: dict[str, object]) -> None:
    packets = speech(50, **kinds)
    made = repairs(packets, wire)
    lost = {2, 8, 14, 31, 32}
    trace = trace_of_packets(packets, FEC, lost=lost, headers=True)
    beside = trace_of_packets(
        [packet for _, packet in made], FEC, headers=True, arrived_ms=[20.0 * last + 1 for last, _ in made]
    )
    found = recovered(trace, beside)
    assert (found.from_red, found.from_fec) == (0, 3)
    there = payload_of_each(found.trace)
    assert there == {p.sequence: p.payload for i, p in enumerate(packets) if i not in {31, 32}}
    row = int(np.flatnonzero(found.trace.sequence == 65_502)[0])
    assert found.trace.arrived_ns[row] == 1_000_000_000 + 81 * MS
    assert found.trace.timestamp[row] == 320
    assert not [note for note in found.notes if "assumption" in note]


@pytest.mark.parametrize(("wire", "port", "ssrc"), [("ulpfec", 4002, 7), ("flexfec", 4000, 8)])
def test_a_capture_has_fec_on_its_own_port_or_on_that_of_the_speech(wire: str, port: int, ssrc: int) -> None:
    media = [RtpPacket(0, i, 160 * i, 7, payload) for i, payload in enumerate([bytes([i]) * 160 for i in range(50)])]
    sent = [datagram(packet, i) for i, packet in enumerate(media) if i not in {7, 23}]
    fec = [datagram(replace(packet, ssrc=ssrc), last, port) for last, packet in repairs(media, wire)]
    offer = invite(
        f"m=audio 4000 RTP/AVP 0 98\r\na=rtpmap:98 flexfec/8000\r\n"
        f"m=audio {port if port != 4000 else 4004} RTP/AVP 97\r\na=rtpmap:97 ulpfec/8000\r\n"
    )
    capture = parse_capture(pcap([offer, *together(sent, fec)]))
    assert choose_stream(capture).heard.payload_type == 0
    (heard,) = listen_to_capture(capture, ["fixed:200"])
    assert heard.here.from_fec == 2
    assert choose_stream(capture).heard.doubts == ()
    alone = parse_capture(pcap([offer, *together(sent, fec)]), options=StreamOptions(ssrc=7))
    told = [doubt for doubt in choose_stream(alone).heard.doubts if "are left out" in doubt]
    assert len(told) == (ssrc != 7)
    # That of another stream, from another port of the same host, says nothing of this one.
    other = [datagram(replace(packet, ssrc=9), last, 4002) for last, packet in repairs(media, "ulpfec")]
    (unaided,) = listen_to_capture(parse_capture(pcap([offer, *together(sent, other)])), ["fixed:200"])
    assert unaided.here.from_fec == 0


def datagram(packet: RtpPacket, slot: int, port: int = PHONE[1]) -> Datagram:
    source = SERVER[0], SERVER[1] + port - PHONE[1]
    return Datagram(START_NS + 20 * MS * slot, bytes(packet), source, (PHONE[0], port))


def test_fec_between_the_packets_of_its_stream_is_used_and_no_speech() -> None:
    media = speech(20)
    packets, number = [], 65_500
    for i, packet in enumerate(media):
        packets.append(replace(packet, sequence=number & 0xFFFF))
        number += 1
        if i % 4 == 3:
            group = {p.sequence - packets[-4].sequence & 0xFFFF: p for p in packets[-4:]}
            packets.append(RtpPacket(97, number & 0xFFFF, packet.timestamp, 7, ulpfec(group)))
            number += 1
    found = recovered(trace_of_packets(packets, FEC, lost={1, 7}))
    assert found.from_fec == 2
    assert payload_of_each(found.trace) == {p.sequence: p.payload for p in packets}
    assert "assumption" in found.notes[0]


def test_fec_in_red_restores_the_packets_as_they_were_before_red() -> None:
    media = speech(12)
    packets = []
    for i, packet in enumerate(media):
        fec = [(97, 0, ulpfec(dict(enumerate(media[i - 3 : i])), long_mask=True))] if i and i % 3 == 0 else []
        packets.append(replace(packet, payload_type=63, payload=red((0, 0, packet.payload), *fec)))
    found = recovered(trace_of_packets(packets, {**RED, **FEC}, lost={1, 5}, headers=True))
    assert (found.from_red, found.from_fec) == (0, 2)
    assert payload_of_each(found.trace) == {p.sequence: p.payload for p in media}


def test_rows_and_columns_together_restore_a_burst() -> None:
    packets = speech(16)
    made: list[RtpPacket] = []
    for i in range(4):
        row = {j: packets[4 * i + j] for j in range(4)}
        column = {4 * j: packets[4 * j + i] for j in range(4)}
        made += [RtpPacket(98, 2 * i, 0, 8, flexfec(row, grid=(4, 1)))]
        made += [RtpPacket(98, 2 * i + 1, 0, 8, flexfec(column, grid=(4, 4)))]
    trace = trace_of_packets(packets, FEC, lost={5, 6, 7, 10}, headers=True)
    beside = trace_of_packets(made, FEC, headers=True, arrived_ms=[400.0] * 8)
    found = recovered(trace, beside)
    assert found.from_fec == 4
    assert payload_of_each(found.trace) == {p.sequence: p.payload for p in packets}


def test_a_restored_packet_that_cannot_be_is_not_believed() -> None:
    packets = speech(10)
    (_, good), *_ = repairs(packets[:5], "ulpfec")
    other = replace(good, payload=good.payload[:4] + b"\x77\x77\x77\x77" + good.payload[8:])  # TS recovery
    trace = trace_of_packets(packets, FEC, lost={2}, headers=True)
    assert recovered(trace, trace_of_packets([other], FEC, arrived_ms=[300])).from_fec == 0
    assert recovered(trace, trace_of_packets([good], FEC, arrived_ms=[300])).from_fec == 1


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**9), st.sampled_from(["red", "ulpfec", "flexfec", "flexfec-03"]))
def test_damaged_redundancy_brings_back_nothing_that_breaks_a_trace(seed: int, wire: str) -> None:
    rng = random.Random(seed)
    packets = speech(20)
    if wire == "red":
        packets = red_stream(noise(20), depth=2)
        beside = None
    else:
        beside = trace_of_packets([damaged(p, rng) for _, p in repairs(packets, wire)], FEC, headers=True)
    lost = set(rng.sample(range(20), 5))
    trace = trace_of_packets([damaged(p, rng) for p in packets], {**RED, **FEC}, lost=lost)
    cut = rng.choice([None, 0, 3, 50])
    if cut is not None and trace.payloads is not None:
        held = np.minimum(trace.payloads.captured, cut).astype(np.int32)
        trace = replace(trace, payloads=Payloads(trace.payloads.data, trace.payloads.start, held))
    found = recovered(trace, beside)
    assert len(found.trace) == len(trace) + found.from_red + found.from_fec + found.early
    assert (np.diff(found.trace.arrived_ns) >= 0).all()
    replace(found.trace)  # every number is within bounds


def damaged(packet: RtpPacket, rng: random.Random) -> RtpPacket:
    payload = bytearray(packet.payload)
    for _ in range(rng.choice([0, 0, 1, 3])):
        if payload:
            payload[rng.randrange(min(len(payload), 16))] = rng.randrange(256)
    return replace(packet, payload=bytes(payload[: rng.choice([len(payload), len(payload), rng.randrange(200)])]))

"""Two captures of one direction, joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.errors import InputError
from earwitness.trace.capture import parse_capture
from earwitness.trace.model import LOST, UNKNOWN, Trace
from earwitness.trace.pair import pair
from earwitness.trace.rtp_stream import StreamOptions
from testing.trace.making import Datagram, pcap, rtp_stream

PORTS = StreamOptions(ports={4000})


def captured(datagrams: list[Datagram], clock: str = "one", snap_length: int = 262_144) -> Trace:
    data = pcap(datagrams, nanoseconds=True, snap_length=snap_length)
    return parse_capture(data, clock, clock=clock, options=PORTS).streams[0].trace


@given(st.text(alphabet=".xdl", min_size=1, max_size=80).filter(lambda p: "." in p), st.integers(0, 65535))
@settings(max_examples=120, deadline=None)
def test_each_packet_is_joined_with_itself(pattern: str, sequence: int) -> None:
    sent = captured(rtp_stream("." * len(pattern), sequence=sequence))
    received = captured(rtp_stream(pattern, sequence=sequence, delay_ms=lambda i: 100 + 0.01 * i))
    joined = pair(sent, received)
    number = joined.sequence - joined.sequence.min()
    assert sorted(set(number.tolist())) == list(range(len(pattern)))
    arrived = joined.arrived
    lost = number[~arrived].tolist()
    assert lost == [i for i, c in enumerate(pattern) if c == "x"]
    assert arrived[: arrived.sum()].all()
    delay = (joined.arrived_ns - joined.sent_ns)[arrived] / 1e6
    extra = delay - 100 - 0.01 * number[arrived]
    assert set(np.round(extra, 6).tolist()) <= {0.0, 45.0, 1.0}
    assert (np.diff(joined.arrived_ns[arrived]) >= 0).all()


def test_what_only_the_receiver_saw_is_kept_and_said() -> None:
    joined = pair(captured(rtp_stream("xx....")), captured(rtp_stream("......")))
    assert (joined.sent_ns == UNKNOWN).tolist() == [True, True, False, False, False, False]
    assert joined.sequence.tolist() == list(range(1000, 1006))
    assert any("2 packets seen only at the receiver" in note for note in joined.notes)


def test_duplicates_at_either_end_are_counted() -> None:
    joined = pair(captured(rtp_stream("..d...")), captured(rtp_stream("....d.")))
    assert len(joined) == 7
    assert len(set(joined.sequence.tolist())) == 6
    assert any("more than once at the sender" in note for note in joined.notes)
    assert any("1 duplicate arrivals" in note for note in joined.notes)


def test_a_receiver_that_began_in_another_cycle_is_aligned() -> None:
    sent, received = rtp_stream("." * 12, sequence=65_530), rtp_stream("x" * 8 + "....", sequence=65_530)
    joined = pair(captured(sent), captured(received))
    assert joined.sequence[:4].tolist() == [65_538, 65_539, 65_540, 65_541]
    assert (joined.arrived_ns == LOST).sum() == 8
    assert any("first 8 packets sent never arrived" in note for note in joined.notes)


def test_clocks_and_payloads_come_from_where_they_were_seen() -> None:
    sent = captured(rtp_stream("....", payload=b"abcdefgh" * 20), "near", snap_length=85)
    received = captured(rtp_stream(".x..", payload=b"abcdefgh" * 20), "far")
    joined = pair(sent, received)
    assert (joined.sent_clock, joined.arrived_clock, joined.one_clock) == ("near", "far", False)
    assert joined.payloads is not None
    assert [len(joined.payloads[i]) for i in range(4)] == [160, 160, 160, 85 - 40]
    assert joined.size.tolist() == [160] * 4


def test_two_calls_are_not_paired() -> None:
    with pytest.raises(InputError, match="SSRC"):
        pair(captured(rtp_stream("....", ssrc=1)), captured(rtp_stream("....", ssrc=2)))
    with pytest.raises(InputError, match="no packet in common"):
        pair(captured(rtp_stream("....")), captured(rtp_stream("....", sequence=9)))

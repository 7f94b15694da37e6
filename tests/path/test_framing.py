from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.path.framing import LONGEST, Deframer, frame


@given(st.lists(st.binary(max_size=600), max_size=20), st.data())
def test_any_cutting_of_the_stream_gives_the_same_datagrams(datagrams: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(datagram) for datagram in datagrams)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    deframer, got = Deframer(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += deframer.feed(stream[begin:end])
    assert got == datagrams
    assert deframer.waiting == 0


def test_length_is_sixteen_bits_in_network_order() -> None:
    assert frame(b"x" * 258)[:3] == b"\x01\x02x"  # RFC 4571, section 2


def test_longest_fits_and_one_more_does_not() -> None:
    assert Deframer().feed(frame(bytes(LONGEST))) == [bytes(LONGEST)]
    with pytest.raises(ValueError, match="65535"):
        frame(bytes(LONGEST + 1))


def test_incomplete_frame_waits() -> None:
    deframer = Deframer()
    assert deframer.feed(b"\x00\x03ab") == []
    assert deframer.waiting == 4
    assert deframer.feed(b"c\x00") == [b"abc"]

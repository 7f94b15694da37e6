"""Everything that is done with a capture, with what must hold of any."""

from __future__ import annotations

from pathlib import Path

from earwitness.errors import InputError
from earwitness.trace.capture import parse_capture, read_capture
from earwitness.trace.rtcp import missed_by_capture, rtcp_round_trips
from earwitness.trace.timing import summarise
from earwitness.trace.wireshark import wireshark_figures


def read_all(data: bytes | Path, resume: bool) -> int:
    """Everything that is ever done with a capture, of bytes or in a file; how many streams it had."""
    try:
        capture = parse_capture(data, resume=resume) if isinstance(data, bytes) else read_capture(data, resume=resume)
    except InputError:
        return 0
    for stream in capture.streams:
        trace = stream.trace
        assert (trace.size >= 0).all()
        assert trace.payloads is not None
        assert (trace.payloads.captured <= trace.size).all()
        assert (trace.payloads.start + trace.payloads.captured <= len(trace.payloads.data)).all()
        found = summarise(trace)
        assert 0 <= found.packets_received <= found.packets_expected
        assert found.packets_received + found.packets_duplicate == len(trace)
        wireshark_figures(trace)
        assert 0.0 <= (missed_by_capture(capture, stream) or 0.0) <= 1.0
    rtcp_round_trips(capture)
    assert len(capture.streams) or capture.problems or not capture.packets
    return len(capture.streams)

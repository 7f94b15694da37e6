"""A trace on disk is the trace, exactly."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earwitness.errors import EarwitnessError, InputError
from earwitness.trace.bounds import MOST_PAYLOAD, MOST_SEQUENCE, MOST_TIME_NS, MOST_TIMESTAMP
from earwitness.trace.model import LOST, UNKNOWN, Payloads, Trace
from earwitness.trace.table import from_table, read_trace, to_table, write_trace


def same(one: Trace, other: Trace) -> bool:
    for field in fields(Trace):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            if a.dtype != b.dtype or not np.array_equal(a, b):
                return False
        elif isinstance(a, Payloads):
            if b is None or [a[i] for i in range(len(a))] != [b[i] for i in range(len(b))]:
                return False
        elif a != b:
            return False
    return True


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    n = draw(st.integers(0, 20))
    time = st.just(UNKNOWN) | st.just(LOST) | st.integers(-MOST_TIME_NS, MOST_TIME_NS)
    payloads = draw(st.none() | st.lists(st.binary(max_size=20), min_size=n, max_size=n))
    lengths = np.array([len(one) for one in payloads] if payloads else [0] * n, dtype=np.int32)
    return Trace(
        sequence=draw(arrays(np.int64, n, elements=st.integers(-MOST_SEQUENCE, MOST_SEQUENCE))),
        timestamp=draw(arrays(np.int64, n, elements=st.integers(-MOST_TIMESTAMP, MOST_TIMESTAMP))),
        payload_type=draw(arrays(np.uint8, n)),
        marker=draw(arrays(np.bool_, n)),
        size=lengths + draw(arrays(np.int32, n, elements=st.integers(0, MOST_PAYLOAD - 20))),
        sent_ns=draw(arrays(np.int64, n, elements=time)),
        arrived_ns=draw(arrays(np.int64, n, elements=time)),
        clock_rate=draw(st.integers(1, 192_000)),
        ssrc=draw(st.integers(0, 2**32 - 1)),
        sent_clock=draw(st.text()),
        payloads=None if payloads is None else Payloads.of(payloads),
        source=draw(st.text()),
        notes=tuple(draw(st.lists(st.text(), max_size=3))),
    )


@given(traces())
@settings(max_examples=150, deadline=None)
def test_there_and_back(trace: Trace) -> None:
    assert same(trace, from_table(to_table(trace)))


def test_through_a_file_with_its_metadata(tmp_path: Path) -> None:
    zeros = np.zeros(3, dtype=np.int64)
    trace = Trace(
        sequence=np.arange(3),
        timestamp=zeros,
        payload_type=zeros.astype(np.uint8),
        marker=zeros.astype(bool),
        size=np.array([0, 3, 256], dtype=np.int32),
        sent_ns=zeros,
        arrived_ns=np.array([5, LOST, 7]),
        clock_rate=48000,
        payloads=Payloads.of([b"", b"abc", bytes(range(256))]),
        notes=("why",),
    )
    write_trace(trace, tmp_path / "x.trace.parquet")
    assert same(trace, read_trace(tmp_path / "x.trace.parquet"))
    table = pq.read_table(tmp_path / "x.trace.parquet")
    assert table.column("arrived_ns").null_count == 1
    assert b'"clock_rate": 48000' in table.schema.metadata[b"earwitness.trace"]


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an Earwitness trace"):
        from_table(pa.table({"a": [1]}))
    newer = to_table(read_back(tmp_path)).replace_schema_metadata({b"earwitness.trace": b'{"version": 99}'})
    with pytest.raises(InputError, match="version 99"):
        from_table(newer)
    with pytest.raises(InputError, match="damaged"):
        from_table(newer.replace_schema_metadata({b"earwitness.trace": b"{}"}))
    (tmp_path / "bad").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="reading the trace"):
        read_trace(tmp_path / "bad")
    with pytest.raises(EarwitnessError, match="writing the trace"):
        write_trace(read_back(tmp_path), tmp_path / "absent" / "x.parquet")


def read_back(tmp_path: Path) -> Trace:
    from earwitness.trace.capture import parse_capture
    from testing.trace.making import pcap, rtp_stream

    return parse_capture(pcap(rtp_stream("...."))).streams[0].trace

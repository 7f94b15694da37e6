"""A trace holds only numbers that can be reckoned with, wherever it came from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earwitness.errors import InputError
from earwitness.trace import parquet_layout
from earwitness.trace.bounds import MOST_CLOCK_RATE, MOST_PAYLOAD, MOST_SEQUENCE, MOST_TIME_NS, MOST_TIMESTAMP
from earwitness.trace.jitter import jitter_units, last_jitter_units
from earwitness.trace.model import LOST, UNKNOWN, Payloads, Trace
from earwitness.trace.pair import pair
from earwitness.trace.parquet import read_plain
from earwitness.trace.series import ticks_ns
from earwitness.trace.table import from_table, read_trace, to_table, write_trace
from earwitness.trace.thrift import BrokenThrift, read_struct

MS = 1_000_000


def whole(count: int = 5) -> Trace:
    return Trace(
        sequence=np.arange(count),
        timestamp=np.arange(count) * 160,
        payload_type=np.zeros(count, dtype=np.uint8),
        marker=np.zeros(count, dtype=bool),
        size=np.full(count, 160, dtype=np.int32),
        sent_ns=np.full(count, UNKNOWN),
        arrived_ns=np.arange(count) * 20 * MS,
        clock_rate=8000,
        payloads=Payloads.of([bytes(160)] * count),
        source="somewhere",
    )


def one_line(error: InputError) -> str:
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("sequence", MOST_SEQUENCE + 1, "packet 3 has a sequence number"),
        ("sequence", -(2**63), "packet 3 has a sequence number"),
        ("timestamp", 2**63 - 1, "packet 3 has a timestamp"),
        ("timestamp", -MOST_TIMESTAMP - 1, "packet 3 has a timestamp"),
        ("size", -1, "packet 3 has a payload size of -1"),
        ("size", MOST_PAYLOAD + 1, "packet 3 has a payload size"),
        ("size", 2**31 - 1, "packet 3 has a payload size"),
        ("size", 10, "packet 3 has 160 captured bytes of a 10-byte payload"),
        ("sent_ns", 2**63 - 1, "packet 3 has a time of sending"),
        ("arrived_ns", UNKNOWN + 1, "packet 3 has a time of arrival"),
        ("arrived_ns", MOST_TIME_NS + 1, "packet 3 has a time of arrival"),
    ],
)
def test_numbers_out_of_bounds(column: str, value: int, says: str, tmp_path: Path) -> None:
    good = whole()
    values = np.array(getattr(good, column))
    values[3] = value
    with pytest.raises(InputError, match=says) as caught:
        replace(good, **cast(Any, {column: values}))
    assert "somewhere" in one_line(caught.value)
    # The same in a file.
    table = to_table(good)
    kind = table.schema.field(column).type
    table = table.set_column(table.schema.get_field_index(column), column, pa.array(values, type=kind))
    path = tmp_path / "x.trace.parquet"
    pq.write_table(table, path)
    with pytest.raises(InputError, match=says) as caught:
        read_trace(path)
    assert str(path) in one_line(caught.value)


def test_the_very_bounds_are_within_them() -> None:
    good = whole()
    ends = np.array([-1, 1, 0, 0, 0])
    trace = replace(
        good,
        sequence=ends * MOST_SEQUENCE,
        timestamp=ends * MOST_TIMESTAMP,
        arrived_ns=np.array([-MOST_TIME_NS, MOST_TIME_NS, LOST, 0, 0]),
        clock_rate=MOST_CLOCK_RATE,
    )
    assert len(from_table(to_table(trace))) == 5
    with pytest.raises(InputError, match="RTP clock"):
        replace(good, clock_rate=MOST_CLOCK_RATE + 1)


@pytest.mark.parametrize(("start", "captured"), [(-1, 160), (641, 160), (2**62, 160), (0, -1), (0, 70_000)])
def test_payloads_beyond_their_buffer(start: int, captured: int) -> None:
    good = whole()
    assert good.payloads is not None
    starts, lengths = good.payloads.start.copy(), good.payloads.captured.copy()
    starts[4], lengths[4] = start, captured
    with pytest.raises(InputError, match="beyond the 800 bytes"):
        replace(good, payloads=Payloads(good.payloads.data, starts, lengths))


def test_a_packet_longer_at_the_other_end_is_cut_to_its_size() -> None:
    sent = replace(whole(), size=np.full(5, 200, dtype=np.int32), payloads=Payloads.of([bytes(200)] * 5))
    joined = pair(sent, whole())
    assert joined.payloads is not None
    assert np.array_equal(joined.payloads.captured, joined.size)


def test_jitter_beyond_what_a_report_can_say() -> None:
    trace = replace(whole(), timestamp=np.array([0, MOST_TIMESTAMP, 0, -MOST_TIMESTAMP, 0]))
    assert jitter_units(trace)[-1] == last_jitter_units(trace) <= 0xFFFF_FFFF


def test_ticks_as_nanoseconds_are_exact_and_saturate() -> None:
    for rate in (1, 8000, 44_100, 48_000, MOST_CLOCK_RATE):
        ticks = np.array([-7, -1, 0, 1, 159, 10**9 - 1])
        assert ticks_ns(ticks, rate).tolist() == [tick * 1_000_000_000 // rate for tick in ticks.tolist()]
    assert np.abs(ticks_ns(np.array([-MOST_TIMESTAMP, MOST_TIMESTAMP]), 8000)).tolist() == [10**18] * 2


def about(**changes: Any) -> Callable[[pa.Table], pa.Table]:
    """The table with other metadata."""

    def change(table: pa.Table) -> pa.Table:
        said = {**json.loads(table.schema.metadata[b"earwitness.trace"]), **changes}
        return table.replace_schema_metadata({b"earwitness.trace": json.dumps(said).encode()})

    return change


def column(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    """The table with another column."""
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values)


DAMAGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "no clock rate": about(clock_rate=0),
    "negative clock rate": about(clock_rate=-8000),
    "endless clock rate": about(clock_rate=float("inf")),
    "huge clock rate": about(clock_rate=10**400),
    "text for a number": about(clock_rate="8000"),
    "yes for a number": about(ssrc=True),
    "negative SSRC": about(ssrc=-1),
    "number for a text": about(sent_clock=5),
    "list for a text": about(source=["x"]),
    "numbers for notes": about(notes=[1, 2]),
    "no notes": about(notes=None),
    "version of text": about(version="1"),
    "list for all": lambda table: table.replace_schema_metadata({b"earwitness.trace": b"[1]"}),
    "deep": lambda table: table.replace_schema_metadata({b"earwitness.trace": b"[" * 100_000}),
    "no UTF-8": lambda table: table.replace_schema_metadata({b"earwitness.trace": b'{"version": "\xff"}'}),
    "missing numbers": column("sequence", pa.array([1, None, 3, 4, 5])),
    "missing payload": column("payload", pa.array([b"", None, b"", b"", b""])),
    "words": column("timestamp", pa.array(["a"] * 5)),
    "lists": column("timestamp", pa.array([[1]] * 5)),
    "fractions": column("timestamp", pa.array([0.5] * 5)),
    "out of 32 bits": column("size", pa.array([2**40] * 5)),
    "out of 8 bits": column("payload_type", pa.array([300] * 5)),
    "numbers for bytes": column("payload", pa.array([1.5] * 5)),
    "a column less": lambda table: table.drop_columns(["marker"]),
    "a column twice": lambda table: table.append_column("size", table.column("size")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tables_are_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    table = DAMAGES[damage](to_table(whole()))
    with pytest.raises(InputError, match="damaged") as caught:
        from_table(table)
    one_line(caught.value)
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    with pytest.raises(InputError, match="reading the trace") as caught:
        read_trace(path)
    one_line(caught.value)


@pytest.mark.timeout(20)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, says in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a directory")):
        with pytest.raises(InputError, match=says):
            read_trace(path)
        with pytest.raises(InputError, match=says):
            read_plain(path, "reading", "make it again")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="too large"):
        read_trace(tmp_path / "sparse")


def repeated(value: bytes, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([value]))


def test_a_payload_that_is_repeated_is_held_once(tmp_path: Path) -> None:
    """A file of a few kB whose payloads would be 2 GB."""
    count = 40_000
    zeros = np.zeros(count, dtype=np.int64)
    trace = Trace(
        sequence=np.arange(count),
        timestamp=zeros,
        payload_type=zeros.astype(np.uint8),
        marker=zeros.astype(bool),
        size=np.full(count, 50_000, dtype=np.int32),
        sent_ns=zeros,
        arrived_ns=zeros,
        clock_rate=8000,
    )
    table = to_table(trace).append_column("payload", repeated(b"x" * 50_000, count))
    pq.write_table(table, tmp_path / "x.parquet")
    found = read_trace(tmp_path / "x.parquet")
    assert found.payloads is not None
    assert len(found.payloads.data) == 50_000
    assert found.payloads[count - 1] == b"x" * 50_000
    pq.write_table(table, tmp_path / "x.parquet", store_schema=False)
    with pytest.raises(InputError, match="is too large when unpacked"):
        read_plain(tmp_path / "x.parquet", "reading", "make it again")


def test_equal_payloads_in_several_parts_of_a_file(tmp_path: Path) -> None:
    payloads = [bytes([row % 3]) * (row % 5) for row in range(60)]
    trace = replace(whole(60), payloads=Payloads.of(payloads))
    pq.write_table(to_table(trace), tmp_path / "x.parquet", row_group_size=7)
    found = read_trace(tmp_path / "x.parquet")
    assert found.payloads is not None
    assert [found.payloads[row] for row in range(60)] == payloads


def test_files_that_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": np.zeros(parquet_layout.MOST_ROWS + 1, dtype=np.int8)}), path)
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match="4000001 rows"):
        read_trace(path)
    pq.write_table(pa.table({"a": pa.array([[1, 2]])}), path)
    with pytest.raises(InputError, match="are nested"):
        read_plain(path, "reading", "make it again")
    pq.write_table(pa.table({"a": pa.array([b"x" * 16] * 3, type=pa.binary(16))}), path)
    with pytest.raises(InputError, match="unsupported type"):
        read_plain(path, "reading", "make it again")
    strings = pa.table({"a": ["x" * 1000] * 3})
    pq.write_table(strings, path, use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"})
    with pytest.raises(InputError, match="unsupported encoding"):
        read_plain(path, "reading", "make it again")
    write_trace(whole(1000), path)
    monkeypatch.setattr(parquet_layout, "MOST_BYTES", 20_000)
    with pytest.raises(InputError, match="unpacks to more"):
        read_trace(path)


def test_a_page_that_unpacks_to_more_than_the_footer_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": np.arange(100)}), path, compression="zstd", use_dictionary=False)
    content = bytearray(path.read_bytes())
    header, length = read_struct(bytes(content[4:]))
    twice = 2 * header[2]  # as zigzag has it
    place = content.index(bytes([twice & 127 | 128, twice >> 7]), 4, 4 + length)
    content[place : place + 2] = b"\xfe\x7f"  # 8191
    path.write_bytes(content)
    monkeypatch.setattr(parquet_layout, "MOST_BYTES", 8000)
    with pytest.raises(InputError, match="unpacks to more"):
        read_plain(path, "reading", "make it again")


def test_structs_that_are_none() -> None:
    assert read_struct(b"\x15\x02\x00") == ({1: 1}, 3)
    for broken in (b"", b"\x15", b"\x18\x7f", b"\x19\xf5\xff\x7f", b"\x15" + b"\xff" * 20, b"\x1c" * 50, b"\x1b\x00"):
        with pytest.raises(BrokenThrift):
            read_struct(broken)


def test_every_bit_of_a_file_turned(tmp_path: Path) -> None:
    """A damaged file is a trace, or an InputError."""
    path = tmp_path / "x.parquet"
    write_trace(whole(20), path)
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    read = 0
    for _ in range(600):
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            changed[int(rng.integers(0, len(changed)))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(changed[: int(rng.integers(4, len(changed)))] if rng.random() < 0.1 else changed)
        try:
            read += len(read_trace(path)) > 0
        except InputError as error:
            one_line(error)
    assert 20 < read < 580

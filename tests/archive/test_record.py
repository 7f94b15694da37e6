from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.archive.codec import Mismatch, to_plain
from earwitness.archive.record import CallRecord, Circuit, Clock, Endpoint, Listening, Relay, Speech
from earwitness.archive.schema import Row
from earwitness.errors import Outcome

name = st.text(max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
ms = st.none() | st.floats(-1e12, 1e12)
whole = st.integers(-(2**63), 2**63 - 1)

records = st.builds(
    CallRecord,
    call_id=st.just("a-call"),
    started_at=name,
    command=st.lists(name, max_size=3).map(tuple),
    versions=st.dictionaries(name, name, max_size=3),
    seed=st.none() | whole,
    clocks=st.dictionaries(name, st.builds(Clock, kind=name, host=name, error_ms=ms), max_size=2),
    circuit=st.builds(Circuit, id=name, relays=st.lists(st.builds(Relay, nickname=name), max_size=3).map(tuple)),
    caller=st.builds(Endpoint, place=name),
    speech=st.builds(
        Speech, name=name, seconds=st.none() | st.floats(0, 1e9), sample_rate=st.none() | st.integers(1, 10**9)
    ),
    outcome=st.sampled_from(Outcome),
    evidence=st.dictionaries(name, st.none() | st.integers() | name | st.lists(finite, max_size=3), max_size=3),
    milestones=st.dictionaries(name, whole, max_size=3),
    listening=st.dictionaries(name, st.builds(Listening, origin_ns=whole, shares=st.just({"played": 0.5}))),
    rows=st.sampled_from([(), ("to_callee",), ("to_caller", "to_callee")]).map(
        lambda directions: tuple(Row(call_id="a-call", direction=direction) for direction in directions)
    ),
)


@given(records)
def test_round_trip(record: CallRecord) -> None:
    assert CallRecord.from_json(record.to_json()) == record


def test_numpy_values_and_nan_become_plain() -> None:
    row = Row(packets_sent=np.int64(3), loss_ratio=np.float64(0.25), jitter_max_ms=float("nan"))  # type: ignore[arg-type]
    plain = to_plain(row)
    assert (plain["packets_sent"], plain["loss_ratio"], plain["jitter_max_ms"]) == (3, 0.25, None)
    assert type(plain["packets_sent"]) is int


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(Mismatch, match="bytes"):
        to_plain({"evidence": b"raw"})


def _plain() -> dict[str, object]:
    rows = (Row(call_id="a", direction="to_callee", hops=3),)
    record = CallRecord(call_id="a", started_at="t", outcome=Outcome.COMPLETED, rows=rows)
    plain: dict[str, object] = json.loads(record.to_json())
    return plain


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"record_version": 2}, "newer"),
        ({"record_version": 0}, "older"),
        ({"record_version": True}, "record_version: missing"),
        ({"record_version": None}, "record_version: missing"),
        ({"outcome": "fine"}, "outcome: 'fine' is not one of"),
        ({"call_id": None}, "call_id: expected a string"),
        ({"seed": "7"}, "seed: expected an integer, got '7'"),
        ({"seed": True}, "seed: expected an integer, got True"),
        ({"rows": {}}, "rows: expected a list"),
        ({"rows": [3]}, r"rows\[0\]: expected an object"),
        ({"rows": [{"call_id": "a", "hops": "x"}]}, r"rows\[0\].hops: expected an integer, got 'x'"),
        ({"rows": [{"call_id": "b"}]}, r"rows\[0\].call_id: 'b' in the record of 'a'"),
        ({"rows": [{"call_id": "a"}, {"call_id": "a"}]}, "a direction twice"),
        ({"clocks": {"lab": {"host": "x"}}}, "clocks.lab.kind: missing"),
        ({"milestones": {"answered": 1.5}}, "milestones.answered: expected an integer"),
    ],
)
def test_a_wrong_record_is_told_by_place(change: dict[str, object], says: str) -> None:
    with pytest.raises(Mismatch, match=says):
        CallRecord.from_json(json.dumps(_plain() | change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "\x00", "[" * 100_000, '{"record_version": 1}'])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(Mismatch):
        CallRecord.from_json(text)


def test_a_column_of_a_later_version_is_left_out_and_told() -> None:
    plain = _plain()
    plain["rows"] = [{"call_id": "a", "direction": "to_caller", "loudness": 3}]
    plain["weather"] = "rain"
    notes: list[str] = []
    record = CallRecord.from_json(json.dumps(plain), notes)
    assert record.rows[0] == Row(call_id="a", direction="to_caller")
    assert notes == ["rows[0].loudness: unknown, left out", "weather: unknown, left out"]


def test_every_field_is_defined() -> None:
    for kind in (CallRecord, Clock, Relay, Circuit, Endpoint, Speech, Listening, Row):
        for field in dataclasses.fields(kind):
            assert field.metadata.get("definition"), f"{kind.__name__}.{field.name}"

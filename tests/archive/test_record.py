from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.archive.codec import Mismatch, to_plain
from earwitness.archive.facts import CallParty, Clock, Rendering, SelfCheck, SpeechFacts
from earwitness.archive.record import CallRecord
from earwitness.archive.schema import Row
from earwitness.errors import Outcome
from earwitness.lab.load.facts import LoadFacts
from earwitness.path.facts import CircuitFacts, FlowCounts, Hop, PathFacts, StreamFacts
from earwitness.tor.select import CircuitRequest

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
    circuit=st.builds(CircuitFacts, id=name, relays=st.lists(st.builds(Hop, nickname=name), max_size=3).map(tuple)),
    caller=st.builds(CallParty, place=name),
    speech=st.builds(
        SpeechFacts, name=name, seconds=st.none() | st.floats(0, 1e9), sample_rate=st.none() | st.integers(1, 10**9)
    ),
    path_details=st.builds(
        PathFacts,
        path_setup_ms=ms,
        interface=st.none() | name,
        streams=st.none() | st.dictionaries(name, st.builds(StreamFacts, stream_id=st.none() | whole), max_size=2),
        circuit_request=st.none() | st.builds(CircuitRequest, hops=st.integers(2, 8), guard=st.none() | name),
        relay_nodelay=st.none() | st.booleans(),
        others=st.dictionaries(name.map("x-{}".format), st.none() | whole | name, max_size=2),
    ),
    load=st.builds(LoadFacts, load=st.none() | name, failed=st.none() | whole),
    instrument=st.builds(SelfCheck, cpu_wait_mean_ms=ms, send_deviation_max_ms=st.dictionaries(name, ms, max_size=2)),
    outcome=st.sampled_from(Outcome),
    evidence=st.dictionaries(name, st.none() | st.integers() | name | st.lists(finite, max_size=3), max_size=3),
    milestones=st.dictionaries(name, whole, max_size=3),
    listening=st.dictionaries(name, st.builds(Rendering, origin_ns=whole, shares=st.just({"played": 0.5}))),
    rows=st.sampled_from([(), ("to_callee",), ("to_caller", "to_callee")]).map(
        lambda directions: tuple(Row(call_id="a-call", direction=direction) for direction in directions)
    ),
)


@given(records)
def test_round_trip(record: CallRecord) -> None:
    assert CallRecord.from_json(record.to_json()) == record


FIRST_EDITION = {
    "circuit_build_ms": 1072.999586,
    "circuit_kept": False,
    "streams": {
        "rtp": {
            "stream_id": 10,
            "circuit_id": "3",
            "source_port": 49798,
            "connect_ms": 169.378548,
            "greeting_ms": 222.657514,
        }
    },
    "verify_ms": 0.307999,
    "relay_nodelay": False,
    "circuit_request": {"hops": 3, "guard": None, "middle": None, "exit": None, "seed": 1},
    "path_setup_ms": 1729.046469,
    "interface": "ew1",
    "rtt": {"sent": 3, "received": 2, "min_ms": 161.0, "avg_ms": 163.0, "max_ms": 165.0, "mdev_ms": 1.5},
    "throughput": {"to_callee": {"bytes": 1047200, "seconds": 0.99, "kbit_s": 8453.9}},
    "forwarders": {
        "caller": {
            "flows": {"rtp": {"sent": 250, "received": 249, "dropped_queue_full": 1, "dropped_no_stream": 0}},
            "ignored": {"icmp": 2},
            "strangers": 0,
        }
    },
    "of a path to come": {"anything": [1, "two"]},
}
"""`path_details` as the first edition wrote them, and a key that none has written yet."""


def test_what_the_first_edition_wrote_of_a_path_is_read_into_fields_and_written_as_it_was() -> None:
    notes: list[str] = []
    plain = {**_plain(), "path_details": FIRST_EDITION, "load": {"load": "web:2", "failed": 1}, "instrument": {}}
    record = CallRecord.from_json(json.dumps(plain), notes)
    assert notes == []
    assert record.path_details.rtt is not None
    assert record.path_details.rtt.received == 2
    assert (record.path_details.forwarders or {})["caller"].flows == {
        "rtp": FlowCounts(sent=250, received=249, dropped_queue_full=1)
    }
    assert (record.load.load, record.load.failed) == ("web:2", 1)
    written = json.loads(record.to_json())
    assert written["load"] == plain["load"]
    assert written["path_details"] == FIRST_EDITION


@pytest.mark.parametrize(
    ("details", "says"),
    [
        ({"streams": {"rtp": {"stream_id": "ten"}}}, r"path_details.streams.rtp.stream_id: expected an integer"),
        ({"security": "x" * 201}, r"path_details.security: .* has 201 characters"),
        ({"rtt": {"sent": 1, "received": 1, "min_ms": 1e300}}, r"path_details.rtt.min_ms: .* is not within"),
        ({"of a path to come": float("nan")}, "not JSON: NaN"),
    ],
)
def test_a_path_s_facts_are_checked(details: dict[str, object], says: str) -> None:
    with pytest.raises(Mismatch, match=says):
        CallRecord.from_json(json.dumps({**_plain(), "path_details": details}))


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
    for kind in (CallRecord, Clock, Hop, CircuitFacts, CallParty, SpeechFacts, Rendering, Row):
        for field in dataclasses.fields(kind):
            assert field.metadata.get("definition"), f"{kind.__name__}.{field.name}"

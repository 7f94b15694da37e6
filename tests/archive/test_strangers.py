"""Data sets that anybody may have made: what is wrong with one call leaves that call out, is told, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from earwitness.archive.codec import Mismatch, to_plain
from earwitness.archive.dataset import Dataset
from earwitness.archive.problems import Problem, apart
from earwitness.archive.record import CallRecord, read_record, write_record
from earwitness.archive.schema import Row
from earwitness.errors import CallFailure, InputError, Outcome

pytestmark = pytest.mark.timeout(60)


def record(call_id: str, **options: Any) -> CallRecord:
    rows = tuple(
        Row(call_id=call_id, started_at="2026-11-22T12:00:00Z", direction=direction, outcome="completed", mos_lqo=4.0)
        for direction in ("to_callee", "to_caller")
    )
    return CallRecord(
        call_id=call_id, started_at="2026-11-22T12:00:00Z", outcome=Outcome.COMPLETED, rows=rows, **options
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    with Dataset.open_or_create(tmp_path / "set", durable=False) as made:
        for call_id in ("good", "bad"):
            with made.new_call(call_id) as folder:
                write_record(folder, record(call_id))
    return made


def change(dataset: Dataset, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the record of the call `bad` as a stranger's program might have written it."""
    path = dataset.path / "calls" / "bad" / "record.json"
    plain = json.loads(path.read_bytes())
    text = edit(plain)
    path.write_text(text if isinstance(text, str) else json.dumps(plain))
    (dataset.path / "calls.parquet").unlink(missing_ok=True)


def only_the_bad_one_is_left_out(dataset: Dataset) -> str:
    """That the other call is read, by rows and by records; why the bad one is not."""
    rows = dataset.rows()
    assert set(rows["call_id"]) == {"good"}
    problems: list[Problem] = []
    assert [call.call_id for call in dataset.readable(problems)] == ["good"]
    (problem,) = problems
    assert problem.skipped
    assert rows.attrs["problems"] == problems
    problem.what.encode()
    assert len(problem.what) < 400
    assert "\n" not in problem.what
    return problem.what


def row(**values: object) -> Callable[[dict[str, Any]], object]:
    def edit(plain: dict[str, Any]) -> None:
        plain["rows"][0].update(values)

    return edit


def field(**values: object) -> Callable[[dict[str, Any]], object]:
    return lambda plain: plain.update(values)


deep: object = 1
for _ in range(800):
    deep = [deep]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (row(mos_lqo=10**400), r"rows\[0\].mos_lqo: no number can be as large as 1000"),
        (row(packets_sent=10**30), r"rows\[0\].packets_sent: 1000+ does not fit into 64 bits"),
        (row(mos_lqo=float("nan")), "not JSON: NaN"),
        (row(mos_lqo=float("inf")), "not JSON: Infinity"),
        (lambda plain: json.dumps(plain).replace("4.0", "1e999", 1), r"mos_lqo: inf is not a number"),
        (lambda plain: json.dumps(plain).replace("4.0", "9" * 5000, 1), "not JSON"),
        (row(mos_lqo=1e300), r"rows\[0\].mos_lqo: 1e\+300 is not within 0.9 to 5"),
        (row(loss_ratio=-3.0), r"loss_ratio: -3.0 is not within"),
        (row(packets_received=-1), "packets_received: -1 is not within"),
        (row(owd_p50_ms=-1e200), "owd_p50_ms: -1e"),
        (row(codec="\ud800"), r"rows\[0\].codec: '\\ud800' is not Unicode text"),
        (field(versions={"tor\udcff": "1"}), "versions: .* is not Unicode text"),
        (field(plan={"a": [{"b": "\ud800"}]}), r"plan.a: .* is not Unicode text"),
        (field(evidence={"a": deep}), "evidence.a: nested deeper than 40"),
        (lambda _: "[" * 100_000, "not JSON"),
        (lambda plain: json.dumps(plain).replace('{"call_id"', '{"call_id": "x", "call_id"'), "call_id: there twice"),
        (field(milestones={"bye": 2**63}), "milestones.bye: .* does not fit"),
        (row(codec="x" * 300), "codec: .* has 300 characters, at most 200"),
        (field(plan=[]), "plan: expected an object, got a list"),
        (row(direction="../../../etc/passwd"), "direction: .* is not one of to_callee, to_caller"),
        (field(command=["x" * 20_000_000]), "it is too large"),
        (lambda _: "", "not JSON"),
    ],
)
def test_a_figure_that_cannot_be_leaves_its_call_out(
    dataset: Dataset, edit: Callable[[dict[str, Any]], object], says: str
) -> None:
    change(dataset, edit)
    assert re.search(says, only_the_bad_one_is_left_out(dataset))


def test_a_million_unknown_keys_are_told_in_a_few_notes(dataset: Dataset) -> None:
    def many(plain: dict[str, Any]) -> None:
        unknown = {f"key\x1b{i}": 1 for i in range(100_000)}
        plain.update(unknown)
        for one in plain["rows"]:
            one.update(unknown)

    change(dataset, many)
    rows = dataset.rows()
    assert set(rows["call_id"]) == {"good", "bad"}
    assert 0 < len(rows.attrs["problems"]) <= 20
    assert all(problem.what.isprintable() for problem in rows.attrs["problems"])


def test_what_we_write_ourselves_can_be_read_back(tmp_path: Path) -> None:
    """A path that is not UTF-8 does not lose the call."""
    folder = tmp_path / "a"
    folder.mkdir()
    write_record(folder, record("a", command=("earwitness", os.fsdecode(b"/tmp/\xff")), evidence={"\udcfe": "\ud800"}))
    assert read_record(folder).command[1] == "/tmp/\\udcff"
    assert to_plain({"\udcfe": 1}) == {"\\udcfe": 1}
    with pytest.raises(Mismatch, match="does not fit"):
        write_record(folder, record("a", seed=2**63))


@pytest.mark.parametrize("kind", ["fifo", "directory", "socket", "device", "dangling"])
@pytest.mark.parametrize("name", ["calls/bad/record.json", "calls/bad"])
def test_what_is_no_file_is_not_waited_for(dataset: Dataset, kind: str, name: str) -> None:
    path = dataset.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (dataset.path / "calls.parquet").unlink()
    replace(path, kind)
    if name == "calls/bad" and kind == "directory":
        assert "No such file" in only_the_bad_one_is_left_out(dataset)
    else:
        only_the_bad_one_is_left_out(dataset)


def replace(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        import socket

        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is at most 107 bytes
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
@pytest.mark.parametrize("name", ["dataset.json", "calls"])
def test_a_data_set_that_is_none_is_one_line(dataset: Dataset, kind: str, name: str) -> None:
    path = dataset.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    replace(path, kind)
    if (name, kind) == ("calls", "directory"):
        assert len(dataset.rows()) == 0
        return
    with pytest.raises(InputError):
        Dataset.open(dataset.path).rows()


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "dangling"])
def test_an_index_that_is_no_file_is_made_again(dataset: Dataset, kind: str) -> None:
    (dataset.path / "calls.parquet").unlink()
    replace(dataset.path / "calls.parquet", kind)
    assert len(dataset.rows()) == 4


def test_names_that_no_call_can_have_are_told(dataset: Dataset) -> None:
    calls = os.fsencode(dataset.path / "calls")
    for name in (b"\xff\xfe", b"a b", b"-rf", "Köln".encode(), b"x" * 200):
        Path(os.fsdecode(calls + b"/" + name)).mkdir()
    problems = dataset.rows().attrs["problems"]
    assert len(problems) == 5
    assert all(problem.what == "no call can have this name" for problem in problems)
    "".join(problem.call_id for problem in problems).encode()
    assert len(dataset.rows()) == 4


def _set(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))


@pytest.mark.parametrize(
    "forge",
    [
        lambda table: _set(table, "mos_lqo", [float("nan"), 4.0, 4.0, 4.0]),
        lambda table: _set(table, "mos_lqo", [1e300, 4.0, 4.0, 4.0]),
        lambda table: _set(table, "packets_sent", [-(2**63), 4, 4, 4]),
        lambda table: _set(table, "direction", ["../x", "to_caller", "to_callee", "to_caller"]),
        lambda table: _set(table, "direction", ["to_callee"] * 4),
        lambda table: _set(table, "codec", [None] * 4),
        lambda table: pa.concat_tables([table] * 2),
        lambda table: table.take(pa.array([0] * 1_000_000)),
        lambda table: _set(table, "circuit", ["x" * 2**20] * 4).take(pa.array([0] * 1000)),
    ],
)
def test_an_index_that_no_record_could_give_is_not_believed(
    dataset: Dataset, forge: Callable[[pa.Table], pa.Table]
) -> None:
    path = dataset.path / "calls.parquet"
    good = pq.read_table(path)
    pq.write_table(forge(good), path)
    assert dataset.rows()["mos_lqo"].tolist() == [4.0] * 4
    assert len(dataset.rows()) == 4


def test_an_index_that_is_right_is_believed(dataset: Dataset) -> None:
    path = dataset.path / "calls.parquet"
    pq.write_table(_set(pq.read_table(path), "mos_lqo", [1.0, None, 2.0, 4.5]), path)
    assert dataset.rows()["mos_lqo"].sum() == 7.5


def test_apart_tells_where_a_fault_is_and_lets_the_rest_go_on() -> None:
    problems: list[Problem] = []
    done = []
    for number in range(3):
        with apart(f"call-{number}", problems):
            if number == 1:
                pc.cast(pa.array(["x"]), pa.int64())
            done.append(number)
    assert done == [0, 2]
    assert problems[0].call_id == "call-1"
    assert problems[0].what.startswith("ArrowInvalid: Failed to parse")
    with apart("\udcff", problems, without="sound"):
        Dataset.open(Path("/nowhere/at/all"))
    assert problems[1] == Problem("\\udcff", "without sound: there is none", skipped=False)

    def too_much() -> None:
        raise MemoryError

    with apart("c", problems):
        too_much()
    assert problems[2].what.startswith("MemoryError (")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), SystemExit(1)])
def test_what_concerns_all_calls_is_not_one_calls_problem(error: BaseException) -> None:
    with pytest.raises(type(error)), apart("a", []):
        raise error
    with pytest.raises(CallFailure), apart("a", []):
        raise CallFailure(Outcome.STORAGE_FAILED, "storing", on="x", happened="full", remedy="free some")

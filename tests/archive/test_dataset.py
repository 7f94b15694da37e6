from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from earwitness.archive.dataset import Dataset
from earwitness.archive.facts import CallParty
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.schema import columns
from earwitness.errors import CallFailure, InputError, Outcome
from earwitness.path.facts import CircuitFacts, Hop
from testing.archive.storing import add, leftovers, simple_record
from testing.commands import with_repository


def test_a_call_is_stored_with_both_forms_of_the_index(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Dataset.open_or_create(root) as dataset:
        add(dataset, "b")
        add(dataset, "a")
        frame = dataset.rows()
    assert list(frame.columns) == [column.name for column in columns()]
    assert list(frame["call_id"]) == ["a", "a", "b", "b"]
    assert frame["hops"].dtype == pd.Int64Dtype()
    assert frame["post_dial_delay_ms"].isna().all()
    assert frame["instrument_ok"].dtype == pd.BooleanDtype()
    assert frame["loss_ratio"].iloc[0] == 0.1 + 0.2
    parquet = pd.read_parquet(root / "calls.parquet", dtype_backend="numpy_nullable")
    csv = pd.read_csv(root / "calls.csv", dtype_backend="numpy_nullable")
    assert parquet["packets_sent"].tolist() == csv["packets_sent"].tolist() == [500] * 4
    assert csv["loss_ratio"].tolist() == parquet["loss_ratio"].tolist()
    assert csv["instrument_ok"].all()
    assert json.loads((root / "dataset.json").read_text())["schema_version"] == 1
    assert dataset.call("a").record == simple_record("a")
    assert dataset.call("a").capture("caller").stat().st_size == 1000
    assert not leftovers(root)


def test_nothing_stays_of_a_call_that_raised(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path)
    with pytest.raises(RuntimeError, match="scorer"), dataset.new_call("a") as folder:  # noqa: PT012
        write_record(folder, simple_record("a"))
        raise RuntimeError("scorer")
    with pytest.raises(InputError, match="No such file"), dataset.new_call("b") as folder:
        pass
    with pytest.raises(InputError, match="its record is of 'c'"), dataset.new_call("d") as folder:
        write_record(folder, simple_record("c"))
    assert dataset.rows().empty
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("call_id", ["", "..", "../x", "a/b", ".hidden", "a\x00", "x" * 200, "a b"])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, call_id: str) -> None:
    dataset = Dataset.open_or_create(tmp_path / "data")
    with pytest.raises(InputError, match="cannot be the name"), dataset.new_call(call_id):
        pass


def test_a_call_is_never_overwritten(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path)
    add(dataset, "a")
    with pytest.raises(InputError, match="there is one of that name"):
        add(dataset, "a")
    assert len(dataset) == 1


def test_a_failed_call_is_stored_with_its_evidence(tmp_path: Path) -> None:
    log = tmp_path / "tor.log"
    log.write_text("circuit failed")
    record = CallRecord(
        call_id="f",
        started_at="2026",
        outcome=Outcome.CIRCUIT_FAILED,
        outcome_detail="extending the circuit: relay gone; try again",
        circuit=CircuitFacts(relays=(Hop(nickname="guard1", place="Oslo"), Hop(nickname="exit1", place="Lima"))),
        caller=CallParty(place="Oslo"),
        evidence={"reason": "DESTROYED"},
    )
    dataset = Dataset.open_or_create(tmp_path / "data")
    stored = dataset.add_failed(record, [log, tmp_path / "never.pcap"])
    assert (stored.folder / "tor.log").read_text() == "circuit failed"
    frame = dataset.rows()
    assert list(frame["direction"]) == ["to_callee", "to_caller"]
    assert set(frame["outcome"]) == {"circuit_failed"}
    assert set(frame["verdict"]) == {"failed"}
    assert frame["circuit"].iloc[0] == "guard1@Oslo > exit1@Lima"
    assert frame["hops"].iloc[0] == 2


def test_damaged_and_newer_calls_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path)
    for call_id in ("good", "cut", "newer", "renamed", "empty"):
        add(dataset, call_id)
    calls = tmp_path / "calls"
    record = calls / "cut" / "record.json"
    record.write_text(record.read_text()[:100])
    newer = calls / "newer" / "record.json"
    newer.write_text(newer.read_text().replace('"record_version": 1', '"record_version": 9'))
    (calls / "empty" / "record.json").unlink()
    (calls / "renamed").rename(calls / "other")
    (calls / "stray.txt").write_text("no call")
    problems = {problem.call_id: problem.what for problem in dataset.reindex()}
    assert set(problems) == {"cut", "newer", "other", "empty"}
    assert "not JSON" in problems["cut"]
    assert "newer Earwitness" in problems["newer"]
    assert [call.call_id for call in dataset.calls()] == ["good"]
    assert {problem.call_id for problem in dataset.rows().attrs["problems"]} == set(problems)


def test_the_index_can_be_rebuilt_from_the_records(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path) as dataset:
        for i in range(4):
            add(dataset, f"call-{i}")
    before = (tmp_path / "calls.csv").read_bytes(), (tmp_path / "calls.parquet").read_bytes()
    (tmp_path / "calls.csv").unlink()
    (tmp_path / "calls.parquet").write_bytes(b"PAR1 damaged")
    assert len(dataset.rows()) == 8
    assert dataset.reindex() == []
    assert ((tmp_path / "calls.csv").read_bytes(), (tmp_path / "calls.parquet").read_bytes()) == before


def test_a_removed_call_leaves_the_rows(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path) as dataset:
        add(dataset, "a")
        add(dataset, "b")
    (tmp_path / "calls" / "a").rename(tmp_path / "elsewhere")
    assert set(dataset.rows()["call_id"]) == {"b"}


def test_rows_are_right_while_the_index_lags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.open_or_create(tmp_path)
    add(dataset, "a")
    monkeypatch.setattr(dataset, "_indexed", 10_000)
    add(dataset, "b")
    assert len(pd.read_csv(tmp_path / "calls.csv")) == 2
    assert len(dataset.rows()) == 4
    dataset.close()
    assert len(pd.read_csv(tmp_path / "calls.csv")) == 4


def test_the_index_is_written_seldom_in_a_large_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.open_or_create(tmp_path, durable=False)
    written: list[bool] = []
    real = dataset._write_index

    def counted(use_index: bool) -> None:
        written.append(use_index)
        real(use_index)

    monkeypatch.setattr(dataset, "_write_index", counted)
    for i in range(200):
        add(dataset, f"c{i}")
    assert len(written) < 125
    dataset.close()
    assert len(pd.read_csv(tmp_path / "calls.csv")) == 400


def test_a_directory_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"holds other things \(thesis.tex\)"):
        Dataset.open_or_create(tmp_path)
    with pytest.raises(InputError, match="there is none"):
        Dataset.open(tmp_path)


def test_newer_and_damaged_data_sets_are_told(tmp_path: Path) -> None:
    Dataset.open_or_create(tmp_path)
    (tmp_path / "dataset.json").write_text('{"schema_version": 99, "earwitness": "9.0"}')
    with pytest.raises(InputError, match="version 99; use Earwitness 9"):
        Dataset.open_or_create(tmp_path)
    (tmp_path / "dataset.json").write_text("[1")
    with pytest.raises(InputError, match="is damaged"):
        Dataset.open(tmp_path)


def _add_many(root: Path, prefix: str, count: int) -> None:
    with Dataset.open_or_create(root) as dataset:
        for i in range(count):
            add(dataset, f"{prefix}{i}")


def test_processes_add_calls_at_the_same_time(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_add_many, args=(tmp_path / "data", prefix, 8)) for prefix in "xyz"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(pd.read_csv(tmp_path / "data" / "calls.csv")) == 2 * 24
    assert not leftovers(tmp_path / "data")


_WRITER = """
import sys, time
from earwitness.archive.dataset import Dataset
with Dataset.open_or_create(sys.argv[1]).new_call("half") as folder:
    (folder / "caller.pcap").write_bytes(b"half a capture")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_killed_run_is_cleaned_up_by_the_next_and_a_live_one_is_not(tmp_path: Path) -> None:
    root = tmp_path / "data"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        dataset = Dataset.open_or_create(root)
        add(dataset, "other")
        assert len(leftovers(root)) == 2, "the folder of a live process was removed"
        assert any(name.startswith(f"{writer.pid}-") for name in leftovers(root))
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    Dataset.open_or_create(root)
    assert not leftovers(root)
    assert set(dataset.rows()["call_id"]) == {"other"}


def test_drafts_of_a_killed_writer_are_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Dataset.open_or_create(tmp_path) as dataset:
        add(dataset, "a")
        with monkeypatch.context() as killed:
            killed.setattr(Path, "replace", lambda *_: None)
            killed.setattr(Path, "unlink", lambda *_, **_named: None)
            dataset.reindex()
    assert list(tmp_path.glob(".calls.*"))
    Dataset.open_or_create(tmp_path)
    assert not list(tmp_path.glob(".calls.*"))


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path)
    with pytest.raises(CallFailure, match="No space left on device; free some space") as caught, dataset.new_call("a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.outcome is Outcome.STORAGE_FAILED
    assert "\n" not in str(caught.value)


def test_a_refused_connection_is_no_storage_failure(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(tmp_path)
    with pytest.raises(PermissionError), dataset.new_call("a"):
        raise PermissionError(errno.EACCES, "Permission denied", "/dev/net/tun")


_FILL = """
import subprocess, sys
from pathlib import Path
from earwitness.archive.dataset import Dataset
from earwitness.errors import CallFailure
from testing.archive.storing import add, leftovers
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", root], check=True)
print("mounted", flush=True)
with Dataset.open_or_create(root / "data") as dataset:
    add(dataset, "first")
    try:
        with dataset.new_call("second") as folder:
            (folder / "caller.pcap").write_bytes(bytes(1_000_000))
    except CallFailure as failure:
        print(failure.outcome, "|", failure)
    print(leftovers(root / "data"), list(dataset.rows()["call_id"]))
    add(dataset, "third")
    # Room for the call, none for the index: the call counts all the same.
    filler = root / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    try:
        dataset.reindex()
    except CallFailure as failure:
        print(failure.outcome)
    filler.unlink()
print(len((root / "data" / "calls.csv").read_text().splitlines()))
"""


def test_a_disk_that_really_fills(tmp_path: Path) -> None:
    command = ["unshare", "-m", sys.executable, "-c", _FILL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=with_repository())
    if "mounted" not in done.stdout:
        pytest.skip(f"no mount namespace with a tmpfs here: {done.stderr.strip().splitlines()[-1:]}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith("storage_failed | storing ")
    assert lines[1].endswith("No space left on device; free some space and run it again")
    assert lines[2] == "[] ['first', 'first']"
    assert lines[3:] == ["storage_failed", "5"]


def _removed(root: Path, _other: Path) -> None:
    shutil.rmtree(root)


def _moved_and_linked(root: Path, other: Path) -> None:
    root.rename(root.with_name("moved"))
    root.symlink_to(other)


def _another_folder(root: Path, _other: Path) -> None:
    root.rename(root.with_name("moved"))
    root.mkdir()


def _another_data_set(root: Path, _other: Path) -> None:
    root.rename(root.with_name("moved"))
    Dataset.open_or_create(root)


def _a_file(root: Path, _other: Path) -> None:
    shutil.rmtree(root)
    root.write_text("mine")


@pytest.mark.parametrize("happens", [_removed, _moved_and_linked, _another_folder, _another_data_set, _a_file])
@pytest.mark.parametrize("moment", ["writing", "written", "between", "at the end"])
def test_a_folder_removed_or_replaced_while_it_is_written_to(
    tmp_path: Path, happens: Callable[[Path, Path], None], moment: str
) -> None:
    """One line, nothing in what has the name then, and nothing half done in what was moved."""
    root, other = tmp_path / "data", tmp_path / "other"
    other.mkdir()

    def write() -> None:
        with Dataset.open_or_create(root, durable=False) as dataset:
            add(dataset, "first")
            if moment == "between":
                happens(root, other)
            if moment == "at the end":
                dataset._added = 1
                happens(root, other)
                return
            with dataset.new_call("second") as folder:
                if moment == "writing":
                    happens(root, other)
                (folder / "caller.pcap").write_bytes(b"x" * 1000)
                write_record(folder, simple_record("second"))
                if moment == "written":
                    happens(root, other)

    with pytest.raises(CallFailure) as caught:
        write()
    assert caught.value.outcome is Outcome.STORAGE_FAILED
    assert "the folder was removed or replaced meanwhile; leave it where it is and run it again" in str(caught.value)
    assert list(other.iterdir()) == []
    now = {path.name for path in root.iterdir()} if root.is_dir() else set()
    assert now == ({".lock", "dataset.json"} if happens is _another_data_set else set())
    if (moved := tmp_path / "moved").is_dir():
        assert list((moved / ".staging").iterdir()) == []
        assert [call.call_id for call in Dataset.open(moved).calls()] == ["first"]


def test_a_data_set_that_may_not_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(CallFailure, match="give a writable directory"):
        Dataset.open_or_create(tmp_path / "data")


def test_reading_needs_no_writing(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path) as dataset:
        add(dataset, "a")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    time.sleep(0.01)
    again = Dataset.open(tmp_path)
    assert len(again.rows()) == 2
    assert [call.call_id for call in again.calls()] == ["a"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

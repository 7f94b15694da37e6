"""Commands on a data set with one call that anybody may have made: it is left out and told, the others are there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import earwitness.replay.blame_calls as blame_calls
import earwitness.replay.whatif as whatif
from earwitness.archive.dataset import Dataset
from earwitness.archive.problems import Problem
from earwitness.archive.stored import StoredCall
from earwitness.cli.main import app
from earwitness.errors import InputError
from earwitness.netns.workers import WorkerDied, Workers
from earwitness.published.importing import export_published
from earwitness.replay.tasks import ReplayTask
from earwitness.replay.whatif import WhatIf, what_if
from earwitness.replay.whatif_journal import result_journal, run_resumable
from earwitness.report import page as report_page
from earwitness.report.figures import write_figures
from earwitness.report.html import write_report
from earwitness.report.tracks import tracks
from earwitness.report.whatif import report_what_if
from earwitness.study.lock import JOURNAL
from earwitness.study.query import query
from testing.report.synthetic import Made, add_call

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "set"
    with Dataset.open_or_create(path, durable=False) as store:
        add_call(store, Made("bad", "tor", 3, codec="gsm", seconds=3.0, seed=2))
        add_call(store, Made("good", seconds=3.0, seed=1))
    return path


@pytest.fixture
def dataset(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "set")
    return tmp_path / "set"


def spoil(dataset: Path, **fields: object) -> None:
    path = dataset / "calls" / "bad" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields))
    (dataset / "calls.parquet").unlink()


def run(*argv: object) -> Result:
    result = CliRunner().invoke(app, [*map(str, argv)])
    assert result.exit_code == 0, result.output
    assert result.exception is None
    return result


def records(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_every_command_tells_what_it_leaves_out(dataset: Path, tmp_path: Path) -> None:
    spoil(dataset, seed=10**30)
    why = f"seed: {'1' + '0' * 30} does not fit into 64 bits"
    shown = run("report", dataset, "--json", "--figures", tmp_path / "figures")
    assert {"left_out": "bad", "why": why} in records(shown)
    assert {row.get("call_id") for row in records(shown)} == {"good", None}
    assert f"calls/bad: {why}; left out" in shown.stderr
    page = (dataset / "report.html").read_text()
    assert why in page
    assert page.index("1 call of the data set could not be read") < page.index("MOS-LQO")  # before any figure
    for argv in (
        ("export", dataset, "--out", tmp_path / "out.csv"),
        ("query", dataset, "SELECT * FROM calls", "--csv"),
    ):
        assert f"calls/bad: {why}; left out" in run(*argv).stderr
    assert len(pd.read_csv(tmp_path / "out.csv")) == 1
    for name in ("whatif", "blame"):
        argv = (name, dataset, *(("--buffer", "fixed:60") if name == "whatif" else ()), "--json")
        assert {"left_out": "bad", "direction": "", "why": why} in records(run(*argv))
        assert f"left out: 1 x {why} (first: bad)" in " ".join(run(*argv[:-1]).stderr.split())
    assert why in (dataset / "whatif" / "whatif.html").read_text()


def test_a_fault_of_ours_over_one_call_is_told_with_its_place(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def faulty(call: StoredCall, direction: str) -> object:
        if call.call_id == "bad":
            raise IndexError("index 7 is out of bounds")
        return tracks(call, direction)

    monkeypatch.setattr(report_page, "tracks", faulty)
    problems: list[Problem] = []
    text = write_report(dataset, problems=problems).read_text()
    (problem,) = problems
    assert problem.what.startswith("without its packets and sound: IndexError: index 7 is out of bounds (")
    assert "earwitness/report/page.py:" in problem.what
    assert not problem.skipped
    assert "IndexError" in text
    assert "Tor, 3 hops" in text
    monkeypatch.setattr("earwitness.report.figures.one_direction", lambda *_: 1 / 0)
    problems.clear()
    write_figures(dataset, tmp_path / "figures", problems)
    assert {one.call_id for one in problems} == {"good", "bad"}
    monkeypatch.setattr("earwitness.published.importing._published_line", lambda record: {"codec": {}[record.call_id]})
    problems.clear()
    assert export_published(dataset, tmp_path / "none.csv", problems) == 0
    assert problems[1].what.startswith("KeyError: 'bad' (")


REPLAY = whatif.replay_scored


def deadly(task: ReplayTask) -> dict[str, object]:
    if task.heard.call_id == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return REPLAY(task)


def hungry(task: ReplayTask) -> dict[str, object]:
    if task.heard.call_id == "bad":
        raise MemoryError
    return REPLAY(task)


def wrong(task: ReplayTask) -> dict[str, object]:
    if task.heard.call_id == "bad":
        raise ValueError("operands could not be broadcast together")
    return REPLAY(task)


def only_good(found: WhatIf) -> str:
    """That the good call has scores and the bad one none; why not."""
    assert found.calls["mos_lqo"].notna().tolist() == [True, True, False, False]
    (reason,) = {why for _, _, why in found.refused}
    assert {call for call, _, _ in found.refused} == {"bad"}
    return reason


def test_a_worker_that_dies_takes_one_call_with_it(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whatif, "replay_scored", deadly)
    with Workers(2) as executor:
        reason = only_good(what_if(dataset, ["fixed:60"], executor=executor))
    assert reason.startswith("WorkerDied: its worker process died")
    monkeypatch.undo()
    again = what_if(dataset, ["fixed:60"])  # it is not kept as a result
    assert again.made_anew == 2
    assert again.calls["mos_lqo"].notna().all()


def test_workers_go_on_after_a_death() -> None:
    with Workers(1) as executor:
        dead, alive = executor.submit(os._exit, 1), executor.submit(abs, -3)
        assert alive.result() == 3
        with pytest.raises(WorkerDied):
            dead.result()


@pytest.mark.parametrize(("work", "says", "kept"), [(hungry, "MemoryError", False), (wrong, "ValueError: op", True)])
def test_what_a_replay_raises_is_its_reason(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[..., object], says: str, kept: bool
) -> None:
    monkeypatch.setattr(whatif, "replay_scored", work)
    found = report_what_if(dataset, ["fixed:60"])
    assert only_good(found.found).startswith(says)
    assert says in found.files[0].read_text()
    assert what_if(dataset, ["fixed:60"]).made_anew == (0 if kept else 2)
    monkeypatch.setattr(blame_calls, "blame", lambda *_: 1 / 0)
    assert set(blame_calls.blame_dataset(dataset).calls["refused"].str[:17]) == {"ZeroDivisionError"}


def test_an_interrupt_interrupts(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_task: object) -> dict[str, object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(whatif, "replay_scored", interrupted)
    with pytest.raises(KeyboardInterrupt):
        what_if(dataset, ["fixed:60"])


def test_a_call_without_its_speech_does_not_end_the_others(dataset: Path) -> None:
    (dataset / "calls" / "bad" / "reference.wav").unlink()
    found = what_if(dataset, ["fixed:60"])
    assert set(found.calls["call_id"]) == {"good"}
    assert {(call, why) for call, _, why in found.left_out} == {("bad", "call bad is stored without reference.wav")}


@pytest.mark.parametrize(
    "line",
    [
        '{"key": "@", "record": {"mos_lqo": "loud"}}',
        '{"key": "@", "record": {"mos_lqo": 1e400}}',
        '{"key": "@", "record": 3}',
        '{"key": "@", "record": {"call_id": "other", "mos_lqo": 3}}',
        '{"key": "@", "record": {"condition": "\\ud800"}}',
        '{"key": ["@"], "record": {}}',
        "[" * 100_000,
        "x" * 3_000_000,
        "null",
    ],
)
def test_damaged_results_are_made_again(dataset: Path, line: str) -> None:
    fresh = what_if(dataset, ["fixed:60"])
    path = dataset / "whatif" / "journal.jsonl"
    entries = [json.loads(text) for text in path.read_text().splitlines()]
    path.write_text("".join(f"{line.replace('@', entry['key'])}\n" for entry in entries))
    again = what_if(dataset, ["fixed:60"])
    pd.testing.assert_frame_equal(again.calls, fresh.calls)
    assert again.made_anew == 4


def test_results_of_others_tasks_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text("".join(json.dumps({"key": str(key), "record": {"n": key}}) + "\n" for key in range(1000)))
    with result_journal(path, {"7"}) as store:
        assert store.kept == {"7": {"n": 7}}
        assert run_resumable([("7", 7)], lambda n: {"n": n}, store) == [{"n": 7}]


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_journal_that_is_no_file_of_its_own_is_not_written_to(dataset: Path, tmp_path: Path, kind: str) -> None:
    path = dataset / "whatif" / "journal.jsonl"
    path.parent.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("half a line")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(InputError, match="remove it"):
        what_if(dataset, ["fixed:60"])
    assert victim.read_text() == "half a line"


def test_results_are_not_written_through_links(dataset: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("whatif/whatif-calls.csv", "whatif/whatif-calls.parquet", "blame/blame.csv", "report.html"):
        (dataset / name).parent.mkdir(exist_ok=True)
        (dataset / name).symlink_to(victim)
    os.mkfifo(dataset / "whatif" / "whatif.html")
    run("whatif", dataset, "--buffer", "fixed:60")
    run("blame", dataset)
    run("report", dataset)
    assert victim.read_text() == "mine"
    assert (dataset / "whatif" / "whatif.html").is_file()


COUNTS = "SELECT call_id, count(*) FROM {} GROUP BY 1 ORDER BY 1"


def put_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def forge_types(path: Path) -> None:
    table = pq.read_table(path)
    names = [pa.array(["x"] * len(table)) if name == "size" else table.column(name) for name in table.column_names]
    pq.write_table(pa.table(names, table.column_names), path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b"PAR1" + bytes(1000) + b"PAR1"),
        put_a_pipe,
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        lambda path: (path.unlink(), path.mkdir()),
        forge_types,
    ],
)
def test_a_question_is_answered_without_the_file_that_cannot_be_read(
    dataset: Path, damage: Callable[[Path], object]
) -> None:
    for direction in ("to_callee", "to_caller"):
        damage(dataset / "calls" / "bad" / f"{direction}.trace.parquet")
    answer = query(dataset, COUNTS.format("packets"))
    assert ("good", 300) in [tuple(row) for row in answer.rows]
    assert query(dataset, COUNTS.format("calls")).rows == [("bad", 2), ("good", 2)]
    with pytest.raises(InputError, match="nowhere"):
        query(dataset, "SELECT * FROM nowhere")


def test_a_journal_of_a_study_that_cannot_be_read_leaves_its_tables_out(dataset: Path) -> None:
    (dataset / "study").mkdir()
    path = dataset / "study" / JOURNAL
    path.write_bytes(b"SQLite format 3\0" + bytes(100))
    answer = query(dataset, COUNTS.format("calls"))
    assert len(answer.rows) == 2
    assert "without planned and attempts" in answer.problems[0].what
    path.unlink()
    with sqlite3.connect(path) as database:
        endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
        database.execute(f"CREATE VIEW calls AS {endless}")
        database.execute("CREATE TABLE attempts (why TEXT)")
        database.execute("INSERT INTO attempts VALUES (CAST(x'ff80' AS TEXT)), (x'00ff'), (1e300)")
    assert len(query(dataset, COUNTS.format("calls")).rows) == 2


@pytest.mark.parametrize("column", ["size", "timestamp", "payload"])
def test_a_question_of_packets_leaves_out_a_trace_with_a_damaged_page(dataset: Path, column: str) -> None:
    path = dataset / "calls" / "bad" / "to_callee.trace.parquet"
    group = pq.read_metadata(path).row_group(0)
    (chunk,) = [one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == column]
    content = bytearray(path.read_bytes())
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content[begin : begin + 8] = b"\xff" * 8  # the page's header; the footer, and so every count, stays as it was
    path.write_bytes(content)
    answer = query(
        dataset, f'SELECT call_id, count("{column}") AS n, max(hash("{column}")) AS h FROM packets GROUP BY 1'
    )
    assert {row["call_id"]: row["n"] for row in answer.records()} == {"good": 300, "bad": 150}
    assert [problem.call_id for problem in answer.problems] == ["bad"]
    assert "to_callee.trace.parquet" in answer.problems[0].what

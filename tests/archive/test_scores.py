"""Figures of further scorers in records, the index and tables; old data without any, and strangers' records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from earwitness.archive.codec import Mismatch
from earwitness.archive.dataset import Dataset
from earwitness.archive.record import CallRecord, write_record
from testing.archive.storing import simple_record


def with_scores(call_id: str, scores: dict[str, float]) -> CallRecord:
    record = simple_record(call_id)
    return replace(record, rows=tuple(replace(row, scores=scores) for row in record.rows))


def stored(folder: Path, *records: CallRecord) -> Dataset:
    dataset = Dataset.open_or_create(folder)
    for record in records:
        with dataset.new_call(record.call_id) as call:
            write_record(call, record)
    dataset.reindex()
    return dataset


def test_each_scorer_has_a_column_in_tables(tmp_path: Path) -> None:
    calls = with_scores("a", {"lsd": 1.25, "snr": -3.0}), with_scores("bb", {"lsd": 0.1}), simple_record("ccc")
    dataset = stored(tmp_path / "data", *calls)
    rows = dataset.rows()
    assert rows.columns.tolist()[-3:] == ["scores", "lsd", "snr"]
    assert rows["lsd"].tolist() == [1.25, 1.25, 0.1, 0.1, pd.NA, pd.NA]
    assert rows["snr"].tolist()[2:] == [pd.NA] * 4
    table = pd.read_csv(tmp_path / "data" / "calls.csv")
    assert table["lsd"].dropna().tolist() == [1.25, 1.25, 0.1, 0.1]
    index = pq.read_table(tmp_path / "data" / "calls.parquet")
    assert index.column_names[-1] == "scores", "the index has the same columns whatever was scored"
    assert json.loads(index.column("scores")[0].as_py()) == {"lsd": 1.25, "snr": -3.0}
    assert [row.scores for row in dataset.call("a").rows] == [{"lsd": 1.25, "snr": -3.0}] * 2
    assert dataset.call("a").rows[0].figure("lsd") == 1.25
    assert dataset.call("a").rows[0].figure("hops") == 3
    assert dataset.call("ccc").rows[0].figure("lsd") is None


def test_a_record_without_any_is_read_as_before() -> None:
    plain = json.loads(simple_record("old").to_json())
    for row in plain["rows"]:
        del row["scores"]
    read = CallRecord.from_json(json.dumps(plain))
    assert [row.scores for row in read.rows] == [{}, {}]
    assert "lsd" not in read.rows[0].to_dict()


@pytest.mark.parametrize(
    "scores",
    [
        {"mos_lqo": 4.5},
        {"LSD": 1.0},
        {"a b": 1.0},
        {"": 1.0},
        {"=cmd": 1.0},
        {"x" * 41: 1.0},
        {"lsd": 1e13},
        {f"s{number}": 0.0 for number in range(51)},
    ],
)
def test_what_cannot_be_figures_of_scorers_is_no_record(scores: dict[str, float]) -> None:
    plain = json.loads(simple_record("strange").to_json())
    plain["rows"][0]["scores"] = scores
    with pytest.raises(Mismatch, match="scores"):
        CallRecord.from_json(json.dumps(plain))


@pytest.mark.parametrize("text", ["{", "[1]", '{"mos_lqo": 1.0}', '{"lsd": "x"}', '{"lsd": NaN}'])
def test_an_index_that_no_records_can_have_given_is_not_believed(tmp_path: Path, text: str) -> None:
    dataset = stored(tmp_path / "data", with_scores("a", {"lsd": 1.25}))
    path = tmp_path / "data" / "calls.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("scores")
    pq.write_table(table.set_column(place, table.schema.field(place), [[text, text]]), path)
    assert dataset.rows()["lsd"].tolist() == [1.25, 1.25], "the records are read instead"

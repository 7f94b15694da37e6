"""What lies beside a call is read as it was written, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earwitness.archive.layout import TRUTH, ledger_file, trace_file
from earwitness.archive.stored import StoredCall, write_ledger
from earwitness.errors import InputError


def ledger() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "packet": np.arange(4),
            "part": np.zeros(4, dtype=np.int64),
            "timestamp": np.arange(4) * 160,
            "due_ns": pd.array([1, None, 3, 2**62], dtype="Int64"),
            "fate": pd.Categorical(["played", "late", "late", "played"], categories=["played", "late"]),
            "audio_ms": [0.5, np.nan, 1.0, 2.0],
        }
    )


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_ledger(tmp_path, "to_caller", ledger())
    found = StoredCall(tmp_path).ledger("to_caller")
    pd.testing.assert_frame_equal(found, ledger().astype(dict.fromkeys(("packet", "part", "timestamp"), "Int64")))


def test_texts_stay_texts(tmp_path: Path) -> None:
    table = pa.table({"host": ["a", "b", None, "a"], "at_ns": [1, 2, 3, None]})
    pq.write_table(table, tmp_path / TRUTH)
    found = StoredCall(tmp_path).truth()
    assert found["host"].tolist()[:2] == ["a", "b"]
    assert found["host"].dtype == table.to_pandas()["host"].dtype
    assert found["at_ns"].isna().tolist() == [False, False, False, True]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", [ledger_file("to_caller"), TRUTH, trace_file("to_caller")])
def test_damaged_tables_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    call, path = StoredCall(tmp_path), tmp_path / name
    read = {ledger_file("to_caller"): lambda: call.ledger("to_caller"), TRUTH: call.truth}.get(
        name, lambda: call.trace("to_caller")
    )

    def refused() -> str:
        with pytest.raises(InputError) as caught:
            read()
        assert "\n" not in str(caught.value)
        return caught.value.happened

    assert "no such file" in refused()
    os.mkfifo(path)
    assert refused()
    path.unlink()
    for content in (b"", b"PAR1", b"PAR1" * 100, b"no"):
        path.write_bytes(content)
        assert refused()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "too large" in refused()
    once = pa.DictionaryArray.from_arrays(pa.array(np.zeros(500_000, dtype=np.int32)), pa.array(["x" * 10_000]))
    pq.write_table(pa.table({"text": once}), path, store_schema=False)
    assert path.stat().st_size < 20_000
    assert refused()

"""A data set from Python: however it is given, the same as the commands and the functions behind them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import earwitness as ew
from earwitness.analysis.paired import compare


@pytest.fixture
def directory(samples: Path, tmp_path: Path) -> Path:
    """A data set of our own to write into."""
    return shutil.copytree(samples / "earwitness-data", tmp_path / "data")


def test_calls_by_turn_and_by_name(samples: Path) -> None:
    data = ew.open_dataset(str(samples / "earwitness-data"))
    assert isinstance(data, ew.Dataset)
    names = [call.call_id for call in data]
    assert names == list(dict.fromkeys(data.rows()["call_id"]))
    assert len(data) == len(names) == 9
    call = data["call-1"]
    trace = call.trace("to_callee")
    assert isinstance(trace, ew.Trace)
    sound = call.heard("to_callee")
    samples_, rate = sound
    assert (sound.sample_rate, len(sound.samples)) == (rate, len(samples_))
    assert np.array_equal(ew.hear(trace, call.record.codec, "fixed:60").audio, sound.samples)
    with pytest.raises(ew.EarwitnessError, match=r"see calls\.csv for the names"):
        _ = data["call-99"]


def test_what_a_notebook_shows_is_escaped(directory: Path) -> None:
    data = ew.open_dataset(directory)
    assert repr(data) == f"Dataset('{directory}')"
    shown = data._repr_html_()
    assert "9 calls" in shown
    assert shown.count("<tr") == 18 + 1
    evil = directory.rename(directory.with_name("<script>x"))
    assert "<script>" not in ew.open_dataset(evil)._repr_html_()
    call = data.__class__.open(evil)["call-failed"]._repr_html_()
    assert "DESTROYED" in call
    assert not re.search(r">(None|nan|<NA>)<", call)


def test_compare_takes_a_data_set_its_directory_or_its_rows(samples: Path) -> None:
    data = ew.open_dataset(samples / "earwitness-data")
    expected = pd.DataFrame([one.to_dict() for one in compare(data.rows(), "path", ["mos_lqo"])])
    assert expected["pairs"].tolist() == [4]
    for given in (data, samples / "earwitness-data", str(samples / "earwitness-data"), data.rows()):
        pd.testing.assert_frame_equal(ew.compare(given, by="path", measures=["mos_lqo"]), expected)
    assert ew.compare(data)["measure"].nunique() > 5
    with pytest.raises(ew.EarwitnessError, match="no such axis"):
        ew.compare(data, by="colour")


def test_calls_are_heard_again_with_any_number_of_workers(directory: Path, tmp_path: Path) -> None:
    told: list[str] = []
    one = ew.what_if(
        ew.open_dataset(directory),
        ["fixed:60", "fixed:200"],
        calls=1,
        out=str(tmp_path / "one"),
        on_event=lambda event: told.append(str(event)),
    )
    assert told[-1].startswith("4 of 4: ")
    two = ew.what_if(directory, ["fixed:60", "fixed:200"], calls=1, out=tmp_path / "two", workers=2)
    pd.testing.assert_frame_equal(one.calls, two.calls)
    assert one.summary["buffer"].tolist() == ["fixed:60", "fixed:200"]
    blamed = ew.blame_dataset(directory, calls=1)
    assert blamed.calls["blame_whole"].notna().all()
    assert (directory / "blame").is_dir()


def test_questions_in_sql(samples: Path) -> None:
    data = ew.open_dataset(samples / "earwitness-data")
    answer = ew.query(data, "SELECT path, count(DISTINCT call_id) AS calls FROM calls GROUP BY path ORDER BY path")
    assert answer.to_dict("list") == {"path": ["direct", "tor"], "calls": [4, 5]}
    assert answer.attrs["problems"] == []
    with pytest.raises(ew.EarwitnessError, match="it would change something"):
        ew.query(data, "CREATE TABLE mine (x INT)")


def test_a_report_and_figures(directory: Path, tmp_path: Path) -> None:
    told: list[str] = []
    page = ew.write_report(
        ew.open_dataset(directory),
        calls=1,
        figures=str(tmp_path / "figures"),
        on_event=lambda event: told.append(str(event)),
    )
    assert page == directory / "report.html"
    assert told
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".pdf", ".png"}
    assert ew.write_report(directory, str(tmp_path / "page.html"), calls=0) == tmp_path / "page.html"


def test_captures_become_a_data_set(samples: Path, tmp_path: Path) -> None:
    summary = ew.import_folder(
        str(samples / "captures"), str(tmp_path / "data"), reference=str(samples / "said.wav"), workers=2
    )
    assert (summary.calls_found, summary.calls_imported) == (2, 2)
    assert set(summary.doubts) == {"side unknown", "recording short"}  # ten seconds, and addresses of nobody's study
    rows = ew.open_dataset(tmp_path / "data").rows()
    assert rows.loc[rows["outcome"] == "completed", "mos_lqo"].between(2.0, 4.5).all()
    assert ew.import_folder(samples / "captures", tmp_path / "data", reference=samples / "said.wav").calls_imported == 0


def test_the_figures_of_a_data_set(directory: Path, tmp_path: Path) -> None:
    result = ew.reproduce(ew.open_dataset(directory), str(tmp_path / "out"), resamples=20)
    assert (tmp_path / "out" / "reproduction.html").is_file()
    assert result.numbers == ()
    assert len(result.tables["conditions"]) > 0


def test_a_study_is_read_and_planned(samples: Path) -> None:
    study = ew.read_study(str(samples / "study.toml"))
    plan = ew.plan_study(study)
    assert (study.name, plan.cost.calls, len(plan.calls)) == ("sample", 2, 2)
    assert ew.plan_study(samples / "study.toml", pilot=str(samples / "earwitness-data")).variance != plan.variance
    with pytest.raises(ew.EarwitnessError, match="study init"):
        ew.read_study(samples / "none.toml")

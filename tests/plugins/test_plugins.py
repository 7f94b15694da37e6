"""Plug-ins from a package outside of ours: each used by name from the command line, a study file and a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from earwitness.archive.dataset import Dataset
from earwitness.archive.stored import StoredCall
from earwitness.speech.reference import speech
from earwitness.speech.wav import write_wav
from testing.plugins.installed import Command, Done, command_with

STUDY = """
version = 1
name = "plugged"
[[path]]
name = "one"
path = "one-tcp"
[[path]]
name = "direct"
path = "direct"
[axes]
codec = ["l24:8000"]
buffer = ["relearn:80"]
places = [["Frankfurt", "London"]]
[call]
seconds = 4.0
scorers = ["lsd"]
[retry]
instrument = 1     # on a busy machine calls are marked, and then left out of comparisons
"""


def records(done: Done) -> list[dict[str, Any]]:
    assert done.code == 0, done.messages
    return [json.loads(line) for line in done.out.splitlines()]


def only(dataset: Path) -> StoredCall:
    """The one call of a data set."""
    (stored,) = Dataset.open(dataset).readable([])
    return stored


@pytest.fixture(scope="session")
def call(plugged: Command, tmp_path_factory: pytest.TempPathFactory, permitted: None) -> Path:
    """A data set with one call, of which codec, buffer, scorer and path are the plug-ins'."""
    out = tmp_path_factory.mktemp("call") / "data"
    options = ("--path", "one-tcp", "--codec", "l24", "--buffer", "relearn:80", "--scorer", "lsd", "--scorer", "pesq")
    done = plugged("call", *options, "--seconds", "6", "--out", out, "--json")
    assert done.code == 0, done.messages
    return out


def test_every_kind_is_listed_with_its_package(plugged: Command) -> None:
    listed = records(plugged("kinds", "--json"))
    ours = {(one["kind"], one["name"]) for one in listed if one["package"] == "earwitness-example 1.0"}
    assert ours == {("codecs", "l24"), ("buffers", "relearn"), ("scorers", "lsd"), ("paths", "one-tcp")}
    assert {"g711u", "opus", "fixed", "pesq", "direct", "tor"} <= {one["name"] for one in listed if not one["package"]}


@pytest.mark.lab
def test_a_call_with_all_four(call: Path) -> None:
    stored = only(call)
    record = stored.record
    assert record.outcome == "completed", record.outcome_detail
    assert (record.path, record.codec, record.versions["earwitness-example"]) == ("one-tcp", "l24", "1.0")
    for row in record.rows:
        assert (row.path, row.codec, row.playout_buffer, row.hops) == ("one-tcp", "l24", "relearn:80", 0)
        assert row.mos_lqo is not None
        assert row.mos_lqo > 4.3
        assert row.mos_lqo_wb is not None, "it is sound at 16 kHz"
        assert row.mos_cqe is not None
        assert row.scores.keys() == {"lsd"}, "PESQ has a column of its own"
        assert 0 <= row.scores["lsd"] < 3
    trace = stored.trace("to_callee")
    assert set(trace.payload_type.tolist()) == {107}
    assert set(trace.size.tolist()) == {960}


@pytest.mark.lab
def test_tables_have_a_column_for_the_scorer(call: Path, plugged: Command) -> None:
    figure = only(call).rows[0].scores["lsd"]
    assert Dataset.open(call).rows()["lsd"].tolist()[0] == figure
    header, first, *_ = (call / "calls.csv").read_text().splitlines()
    assert header.endswith(",scores,lsd")
    assert float(first.rpartition(",")[2]) == figure
    assert records(plugged("query", call, "SELECT max(lsd) AS most FROM calls", "--json"))[0]["most"] >= figure


@pytest.mark.lab
def test_its_capture_is_heard_through_the_buffer_and_scored(call: Path, plugged: Command) -> None:
    folder = only(call).folder
    buffers = ("--buffer", "relearn:80", "--buffer", "fixed:80", "--scorer", "lsd")
    done = plugged("hear", folder / "callee.pcap", "--reference", folder / "reference.wav", *buffers, "--json")
    relearn, fixed = records(done)
    assert (relearn["codec"], relearn["buffer"]) == ("l24", "relearn:80"), "the codec is known by the capture's SDP"
    assert relearn["scores"]["lsd"] == pytest.approx(fixed["scores"]["lsd"], abs=0.5)
    bare = plugged("hear", folder / "callee.pcap", "--buffer", "relearn:80", "--scorer", "lsd", "--json")
    assert "lsd" in records(bare)[0]["score_refused"], "there is no reference"
    again = records(plugged("whatif", call, "--buffer", "relearn:40", "--buffer", "fixed:40", "--json"))
    assert {one["buffer"] for one in again if "buffer" in one} == {"relearn:40", "fixed:40"}


def test_two_files_are_scored(plugged: Command, tmp_path: Path) -> None:
    said = speech("allison-10s", 8000)
    write_wav(tmp_path / "said.wav", said.samples, 8000)
    write_wav(tmp_path / "heard.wav", (said.samples // 2).astype("int16"), 8000)
    found = [
        records(plugged("score", tmp_path / "said.wav", tmp_path / heard, "--scorer", "lsd", "--json"))[0]
        for heard in ("said.wav", "heard.wav")
    ]
    assert found[0]["scores"] == {"lsd": 0.0}
    assert found[1]["scores"]["lsd"] == pytest.approx(6.0, abs=1.0), "at half the amplitude every spectrum is 6 dB down"
    text = plugged("score", tmp_path / "said.wav", tmp_path / "heard.wav", "--scorer", "lsd").out
    assert f"lsd        {found[1]['scores']['lsd']:.1f} dB" in text


def test_a_study_is_planned(plugged: Command, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(STUDY)
    (plan,) = records(plugged("study", "plan", file, "--json"))[:1]
    assert (plan["calls"], plan["over_tor"], plan["tor_bytes"]) == (2, 0, 0)
    # Over Tor an L24 packet at 16 kHz fills two cells (960 bytes and its headers), one at 8 kHz one.
    bytes_of = {}
    for rate in (8000, 16000):
        file.write_text(STUDY.replace('"one-tcp"', '"tor"').replace("l24:8000", f"l24:{rate}"))
        bytes_of[rate] = records(plugged("study", "plan", file, "--json"))[0]["tor_bytes"]
    assert bytes_of[16000] == 2 * bytes_of[8000] > 0
    file.write_text(STUDY.replace("l24:8000", "l24:44100").replace("relearn:80", "relearn:x").replace("lsd", "lds"))
    wrong = plugged("study", "plan", file)
    assert wrong.code == 2
    for fault in ("rate cannot be '44100'", "'x' is not 0 to 1000", "no scorer has that name", "plcmos, lsd"):
        assert fault in wrong.messages


@pytest.mark.lab
def test_a_study_is_run_compared_and_reported(plugged: Command, call: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "study.toml", tmp_path / "data"
    file.write_text(STUDY)
    done = plugged("study", "run", file, "--out", out, "--json")
    assert done.code == 0, done.messages
    rows = Dataset.open(out).rows()
    assert sorted(rows["path"].unique()) == ["direct", "one-tcp"]
    assert set(rows["outcome"]) == {"completed"}
    assert rows["lsd"].notna().all()
    found = records(plugged("compare", out, "--measure", "lsd", "--any-instrument", "--json"))
    assert [one["measure"] for one in found] == ["lsd"]
    page = (out / "report.html").read_text()
    assert "one TCP" in page
    assert "Over one TCP connection" in page
    assert page.count("LSD dB") >= 3, "in the cards, the table and each direction"
    assert "log-spectral distance" in page


@pytest.mark.lab
def test_what_plugins_made_is_read_where_they_are_not_installed(call: Path, tmp_path: Path) -> None:
    bare = command_with(tmp_path / "nothing", tmp_path)
    page = tmp_path / "report.html"
    done = bare("report", call, "--out", page)
    assert done.code == 0, done.messages
    text = page.read_text()
    assert "one-tcp" in text
    assert "which is not installed here" in text
    heard = bare("hear", only(call).folder / "callee.pcap")
    assert heard.code == 2
    assert "rtpmap L24/16000" in heard.messages

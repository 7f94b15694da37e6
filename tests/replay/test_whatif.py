"""What-if over small data sets: physics, the same bytes whatever the workers, and going on after a stop."""

from __future__ import annotations

import json
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from earwitness.analysis.statistics import cluster_bootstrap
from earwitness.archive.dataset import Dataset
from earwitness.cli.main import app
from earwitness.ear.account import least_delay_ms
from earwitness.errors import InputError
from earwitness.events import Event, Progress
from earwitness.published.importing import import_folder
from earwitness.replay.blame_calls import blame_dataset
from earwitness.replay.hearing import hear_capture
from earwitness.replay.whatif import conversational, what_if
from earwitness.replay.whatif_journal import result_journal, run_resumable
from earwitness.replay.whatif_summary import mean_interval
from earwitness.report.whatif import report_what_if
from earwitness.speech.codecs.registry import codec as codec_named
from testing.ear.traces import trace_of, voice
from testing.report.synthetic import Made, add_call, add_failure

BUFFERS = ("fixed:20", "fixed:100", "pjmedia")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calls") / "set"
    with Dataset.open_or_create(path, durable=False) as store:
        add_call(store, Made("call-1", "tor", 3, seconds=5.0, seed=1))
        add_call(store, Made("call-2", "tor", 3, seconds=5.0, seed=2), ("Lagos", "Oslo"))
        add_failure(store)
    return path


@pytest.fixture(scope="module")
def table(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return what_if(dataset, BUFFERS, out=tmp_path_factory.mktemp("once")).calls


def test_every_direction_is_heard_through_every_buffer_and_the_rest_is_told(dataset: Path, tmp_path: Path) -> None:
    found = what_if(dataset, ["fixed:60"], out=tmp_path)
    assert len(found.calls) == 4
    assert found.calls["mos_lqo"].between(1.0, 4.6).all()
    assert set(found.calls["mouth_to_ear_basis"]) == {"sent"}
    assert found.summary[["n", "scored", "places"]].values.tolist() == [[4, 4, 2]]
    assert {(call, reason) for call, _, reason in found.left_out} == {("call-failed", "outcome circuit_failed")}


def test_longer_delay_means_fewer_late_frames_and_better_sound(table: pd.DataFrame) -> None:
    short, long = (table[table["buffer"] == f"fixed:{ms}"].reset_index() for ms in (20, 100))
    assert (short["late_ratio"] > long["late_ratio"]).all()
    assert (long["mos_lqo"] > short["mos_lqo"]).all()
    # Both hold the first packet; what it took is the same, so the difference is that of the settings.
    difference = long["mouth_to_ear_ms"] - short["mouth_to_ear_ms"]
    assert difference.tolist() == pytest.approx([80.0] * len(short), abs=0.1)


def test_a_rows_delay_counts_in_its_conversational_quality() -> None:
    assert conversational(4.0, 100.0) == pytest.approx(conversational(4.0, 0.0), abs=0.15)
    assert conversational(4.0, 400.0) < conversational(4.0, 200.0) < conversational(4.0, 100.0)
    assert conversational(2.0, 0.0) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_the_same_bytes_whatever_the_workers(dataset: Path, tmp_path: Path, kind: str) -> None:
    def files(name: str, executor: Executor | None) -> dict[str, bytes]:
        report = report_what_if(dataset, BUFFERS[:2], out=tmp_path / name, executor=executor)
        return {path.name: path.read_bytes() for path in report.files}

    pool = ThreadPoolExecutor(3) if kind == "threads" else ProcessPoolExecutor(2)
    with pool as executor:
        several = files("several", executor)
    assert files("one", None) == several
    assert {"whatif.html", "whatif-calls.csv", "whatif-summary.csv", "tradeoff-tor-3-hops.pdf"} <= several.keys()
    assert b"http" not in several["whatif.html"].replace(b"http-equiv", b"")


def test_a_run_that_was_stopped_goes_on_where_it_was(dataset: Path, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        what_if(dataset, BUFFERS[:2], out=tmp_path / "stopped", on_event=stop)
    file = tmp_path / "stopped" / "journal.jsonl"
    file.write_bytes(file.read_bytes() + b'{"key": "half a li')  # as a kill leaves it
    again = what_if(dataset, BUFFERS[:2], out=tmp_path / "stopped")
    assert again.made_anew == 8 - 3
    fresh = what_if(dataset, BUFFERS[:2], out=tmp_path / "fresh")
    pd.testing.assert_frame_equal(again.calls, fresh.calls, check_exact=True)
    pd.testing.assert_frame_equal(again.summary, fresh.summary, check_exact=True)
    assert what_if(dataset, BUFFERS[:2], out=tmp_path / "stopped").made_anew == 0
    assert all(json.loads(line)["key"] for line in file.read_bytes().splitlines())


def test_two_runs_do_not_write_one_journal(tmp_path: Path) -> None:
    with result_journal(tmp_path / "j") as store:
        assert run_resumable([("a", 1), ("b", 2)], lambda task: {"twice": 2 * task}, store) == [
            {"twice": 2},
            {"twice": 4},
        ]
        with pytest.raises(InputError, match="another run"), result_journal(tmp_path / "j"):
            pass


def test_an_unknown_buffer_and_a_missing_reference_are_told_before_anything_runs(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no buffer has that name"):
        what_if(dataset, ["fixd:60"], out=tmp_path)
    with Dataset.open_or_create(tmp_path / "bare", durable=False) as store:
        add_call(store, Made("call-1", seconds=4.0))
    (tmp_path / "bare" / "calls" / "call-1" / "reference.wav").unlink()
    with pytest.raises(InputError, match="give the speech as reference"):
        what_if(tmp_path / "bare", ["fixed:60"])


def test_the_interval_is_the_cluster_bootstraps() -> None:
    rng = np.random.default_rng(2)
    values, places = rng.normal(size=60), np.array([f"place {i % 7}" for i in range(60)])
    slow = cluster_bootstrap(lambda x: float(np.mean(x)), [values], places, resamples=200, seed=4)
    fast = mean_interval(values, places, resamples=200, seed=4)
    assert (fast.low, fast.high, fast.clusters) == pytest.approx((slow.low, slow.high, slow.clusters))
    assert np.isnan(mean_interval(values, np.array(["here"] * 60)).low)


def test_the_least_delay_is_what_makes_the_median_packet_take_half_a_round_trip() -> None:
    codec = codec_named("g711u")
    delays = [100.0 + 10.0 * (packet % 5) for packet in range(100)]
    trace = trace_of(codec, voice(2.0), delay_ms=delays)
    assert least_delay_ms(trace, 2 * 120.0) == pytest.approx(100.0, abs=0.01)
    assert least_delay_ms(trace, 0.0) == 0.0


def test_the_command_prints_the_summary_as_json(dataset: Path, tmp_path: Path) -> None:
    arguments = ["whatif", str(dataset), "--buffer", "fixed:60", "--calls", "1", "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (record,) = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert record["buffer"] == "fixed:60"
    assert record["n"] == 2
    assert record["mos_lqo_low"] is None  # one place


@pytest.fixture
def one_published_call(published: Path, tmp_path: Path) -> tuple[Path, Path]:
    capture = next(
        iter(sorted((published / "05-data/Sample-Raw-Data/Tor/g711").glob("1*/caller/data/test_pcaps/*_0.pcap")))
    )
    link = tmp_path / "folder" / capture.relative_to(published)
    link.parent.mkdir(parents=True)
    link.symlink_to(capture)
    return tmp_path / "folder", link


@pytest.mark.published
def test_an_imported_call_is_heard_as_its_capture_is(
    published: Path, one_published_call: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, capture = one_published_call
    reference = published / "02-data-collection-steps/caller/audio-samples/prior-work-jithin-audio.wav"
    import_folder(folder, tmp_path / "set", reference=reference)
    (direct,) = hear_capture(capture, ["pjmedia"], reference=reference, to="10.8.0.2")
    found = what_if(tmp_path / "set", ["pjmedia"], reference=reference, captures=folder)
    (row,) = found.calls.to_dict("records")
    assert row["mouth_to_ear_basis"] == "rtt/2"
    assert {name: row[name] for name in ("mos_lqo", *direct.heard.figures())} == {
        "mos_lqo": direct.record()["mos_lqo"],
        **direct.heard.figures(),
    }


def test_stored_calls_of_other_packet_times_are_heard_again(tmp_path: Path) -> None:
    with Dataset.open_or_create(tmp_path / "set", durable=False) as store:
        for number, spec in enumerate(("opus:24000,ptime=40", "g711u:ptime=5", "gsm:ptime=60")):
            add_call(store, Made(f"call-{number}", codec=spec, seconds=4.0))
    table = what_if(tmp_path / "set", ["fixed:400"], out=tmp_path / "out").calls
    assert (table["refused"] == "").all()
    assert (table["played_ratio"] == 1.0).all()
    assert (table["mos_lqo"] > 2.8).all()
    assert set(table["codec"]) == {"opus:24000,ptime=40", "g711u:ptime=5", "gsm:ptime=60"}
    blamed = blame_dataset(tmp_path / "set", out=tmp_path / "blamed").calls
    assert (blamed["refused"] == "").all()
    assert np.allclose(blamed["mos_lqo"] + blamed["blame_whole"], blamed["reference_mos"])

"""Real calls in the lab, from the command line to the data set."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from earwitness.archive.dataset import Dataset
from earwitness.archive.schema import columns
from testing.commands import Run

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("tor_lab")]

# What the data set promises for every direction of every completed call.
PROMISED = [
    "call_id",
    "started_at",
    "network",
    "path",
    "hops",
    "circuit",
    "codec",
    "from_place",
    "to_place",
    "phone",
    "seed",
    "outcome",
    "outcome_detail",
    "direction",
    "packets_sent",
    "packets_received",
    "loss_ratio",
    "late_ratio",
    "jitter_mean_ms",
    "jitter_p95_ms",
    "gap_max_ms",
    "owd_min_ms",
    "owd_p50_ms",
    "owd_p95_ms",
    "owd_p99_ms",
    "owd_error_ms",
    "mouth_to_ear_ms",
    "post_dial_delay_ms",
    "pesq_raw",
    "mos_lqo",
    "mos_cqe",
    "verdict",
    "verdict_reason",
]
MAY_BE_EMPTY = {"outcome_detail", "circuit"}


def test_a_direct_call_measures_what_the_emulator_did(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "data"
    ran = run("call", "--path", "direct", "--seconds", "6", "--link", "pattern=3/100,on=rtp", "--out", str(out))
    assert ran.code == 0, ran.messages
    assert [record["direction"] for record in ran.records] == ["to_callee", "to_caller"]
    for record in ran.records:
        missing = [name for name in PROMISED if record[name] in (None, "") and name not in MAY_BE_EMPTY]
        assert not missing
        # 6 s are 300 packets, of each 100 of which three are declared lost.
        assert (record["packets_sent"], record["packets_received"]) == (300, 291)
        assert record["loss_ratio"] == pytest.approx(0.03)
        assert record["owd_p50_ms"] == pytest.approx(record["owd_min_ms"], abs=1.0)
    call = next(iter(Dataset.open(out).calls()))
    truth = call.truth()
    for direction, source in (("to_callee", "caller"), ("to_caller", "callee")):
        trace = call.trace(direction)
        logged = truth[(truth["source"] == source) & (truth["rtp_ssrc"] == trace.ssrc)]
        assert logged["fate"].value_counts().to_dict() == {"delivered": 291, "lost_declared": 9}
        delivered = logged[logged["fate"] == "delivered"].set_index("rtp_sequence")
        arrived = trace.take(trace.arrived)
        ours = pd.Series((arrived.arrived_ns - arrived.sent_ns) / 1e6, index=arrived.sequence % 65536)
        theirs = (delivered["out_ns"] - delivered["in_ns"]).astype(float) / 1e6
        assert set(ours.index) == set(theirs.index)
        assert float(np.quantile((ours - theirs.loc[ours.index]).abs(), 0.99)) < 2.0


def test_a_call_over_chosen_relays_says_so_and_is_whole_on_disk(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "data"
    options = ["--hops", "2", "--guard", "Paris", "--exit", "London", "--codec", "opus:24000", "--seconds", "6"]
    ran = run("call", *options, "--out", str(out))
    assert ran.code == 0, ran.messages
    assert len(ran.records) == 2
    for record in ran.records:
        assert record["circuit"] == "relay4@Paris > relay6@London"
        assert record["hops"] == 2
        assert record["mos_lqo"] > 4.0
        assert set(record) == {column.name for column in columns()}
    call = next(iter(Dataset.open(out).calls()))
    streams = call.record.path_details.streams
    assert streams is not None
    assert {stream.circuit_id for stream in streams.values()} == {call.record.circuit.id}
    for name in ("caller.pcap", "callee.pcap", "reference.wav", "to_callee.wav", "to_caller.wav", "truth.parquet"):
        assert call.has(name), name
    sound, rate = call.heard("to_callee")
    assert len(sound) / rate == pytest.approx(6.0, abs=0.5)


def test_a_call_through_the_lab_s_sip_server(run: Run, tmp_path: Path) -> None:
    ran = run("call", "--path", "direct", "--sip-server", "lab", "--seconds", "5", "--out", str(tmp_path / "data"))
    assert ran.code == 0, ran.messages
    assert [record["outcome"] for record in ran.records] == ["completed", "completed"]


def test_a_wrong_password_is_told(run: Run, tmp_path: Path) -> None:
    account = {"EARWITNESS_SIP_CALLER_USER": "caller", "EARWITNESS_SIP_CALLER_PASSWORD": "not the one"}
    arguments = ("call", "--path", "direct", "--sip-server", "lab", "--out", str(tmp_path / "data"))
    ran = run(*arguments, environment=account)
    _is_told(ran.code, ran.complaints, ran.records, "auth_failed", "credentials were refused")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert b"not the one" not in stored


@pytest.mark.parametrize(
    ("fault", "outcome", "says"),
    [("callee-absent", "no_answer", "480"), ("port-taken", "port_taken", "Address already in use")],
)
def test_a_fault_is_a_typed_outcome(run: Run, tmp_path: Path, fault: str, outcome: str, says: str) -> None:
    ran = run("call", "--path", "direct", "--inject", fault, "--seconds", "5", "--out", str(tmp_path / "data"))
    _is_told(ran.code, ran.complaints, ran.records, outcome, says)


def test_a_full_disk_loses_no_other_call(run: Run, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    from earwitness.netns import syscalls

    small = tmp_path / "small"
    small.mkdir()
    syscalls.mount("tmpfs", str(small), "tmpfs", 0, "size=900k")
    elsewhere = {"EARWITNESS_RUNTIME": str(tmp_path / "runtime")}  # the lab that is up was up before this disk
    try:
        first = run("call", "--path", "direct", "--seconds", "4", "--out", str(small / "data"), environment=elsewhere)
        assert first.code == 0, first.messages
        before = sorted(path.name for path in (small / "data" / "calls").iterdir())
        (small / "ballast").write_bytes(b"x" * (os.statvfs(small).f_bavail * os.statvfs(small).f_bsize - 60_000))
        second = run("call", "--path", "direct", "--seconds", "8", "--out", str(small / "data"), environment=elsewhere)
        assert second.code != 0
        assert len(second.complaints) == 1
        assert "No space left" in second.complaints[0]
        assert sorted(path.name for path in (small / "data" / "calls").iterdir()) == before
        assert len(Dataset.open(small / "data").rows()) == 2
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty"), (b"this is no sound at all, but text", "not audio")],
)
def test_speech_that_is_no_speech_is_refused(run: Run, tmp_path: Path, content: bytes, says: str) -> None:
    wav = tmp_path / "speech.wav"
    wav.write_bytes(content)
    ran = run("call", "--path", "direct", "--speech", str(wav), "--out", str(tmp_path / "data"))
    _is_told(ran.code, ran.complaints, ran.records, "speech_unusable", says)


def test_stereo_speech_at_44100_hz_is_converted(run: Run, tmp_path: Path) -> None:
    import soundfile

    from earwitness.speech.reference import speech
    from earwitness.speech.wav import resample

    said = resample(speech("allison-10s", 16000).samples, 16000, 44100)
    wav = tmp_path / "stereo.wav"
    soundfile.write(wav, np.stack([said, said], axis=1), 44100)
    ran = run("call", "--path", "direct", "--speech", str(wav), "--seconds", "6", "--out", str(tmp_path / "data"))
    assert ran.code == 0, ran.messages
    assert len(ran.records) == 2
    # Read at a wrong rate, or with its channels interleaved, it would score below 2.
    for record in ran.records:
        assert record["mos_lqo"] > 3.7


def _is_told(code: int, complaints: list[str], records: list[dict[str, object]], outcome: str, says: str) -> None:
    """One clear line, a non-zero exit, and both directions kept as failed."""
    assert code == 3
    assert len(complaints) == 1
    assert says in complaints[0]
    assert [record["outcome"] for record in records] == [outcome, outcome]
    assert [record["verdict"] for record in records] == ["failed", "failed"]

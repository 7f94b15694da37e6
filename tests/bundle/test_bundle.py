"""Bundles: whole, the same bytes again, without sound or names where asked, and the figures from them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from earwitness.archive.dataset import Dataset
from earwitness.archive.record import CallRecord, write_record
from earwitness.bundle.bundle import bundle
from earwitness.bundle.pseudonyms import Pseudonyms
from earwitness.errors import InputError, Outcome
from earwitness.path.facts import CircuitFacts, Hop
from earwitness.report.reproduction.reproduce import reproduce
from earwitness.study.design import design
from earwitness.study.file import StudyFile, parse_study
from earwitness.study.folder import owned_study
from testing.commands import MAIN, extract
from testing.study.files import BOTH_CODECS, TOR3, study_file
from testing.study.simulated import SimulatedSlot, run_simulated, simulated_record

STUDY = study_file(
    "sim",
    paths=[f'{TOR3}\nguard = "Fluffy"'],
    codecs=BOTH_CODECS,
    places=[("Frankfurt", "London"), ("Paris", "Tokyo")],
)
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "data"
    run_simulated(STUDY, out, [SimulatedSlot()])
    relay = Hop(nickname="Fluffy", fingerprint=FINGERPRINT, address="203.0.113.9", place="Paris", country="FR")
    plan = design(parse_study(STUDY))[0].plan
    with Dataset.open(out) as dataset, dataset.new_call("by-hand") as folder:
        record = simulated_record("by-hand", plan, Outcome.PATH_LOST, None)
        changed = json.loads(record.to_json())
        changed["versions"] = {"tor": "0.4.9.11"}
        changed["evidence"] = {"log": f"circuit ${FINGERPRINT}~Fluffy at 203.0.113.9:9001 and [2001:db8:5::1] closed"}
        changed["command"] = ["/home/somebody/venv/bin/earwitness", "call"]
        record = CallRecord.from_json(json.dumps(changed))
        write_record(folder, replace(record, circuit=CircuitFacts(id="5", relays=(relay,))))
        for name in ("reference.wav", "to_callee.wav"):
            (folder / name).write_bytes(b"RIFF sound")
        (folder / "callee.pcap").write_bytes(b"INVITE sip:callee@203.0.113.9")
        trace = pd.DataFrame({"sequence": [1, 2], "sent_ns": [0, 20], "payload": [b"voice", b"voice"]})
        trace.to_parquet(folder / "to_callee.trace.parquet")
        truth = pd.DataFrame({"in_ns": [0], "source": ["caller"], "destination": ["Fluffy"], "length": [60]})
        truth.to_parquet(folder / "truth.parquet")
    return out


def unpacked(path: Path, into: Path) -> Path:
    with tarfile.open(path) as tar:
        extract(tar, into)
        assert all(member.mtime == 0 and member.uid == 0 and not member.uname for member in tar)
    (top,) = into.iterdir()
    return top


def test_a_bundle_is_whole_and_the_same_again(directory: Path, tmp_path: Path) -> None:
    made = bundle(directory, tmp_path / "study.tar.gz")
    again = bundle(directory, tmp_path / "b" / "study.tar.gz")
    assert made.sha256 == again.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
    top = unpacked(made.path, tmp_path / "x")
    assert top.name == "study"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=top, check=True)
    listed = {line.split("  ")[1] for line in (top / "SHA256SUMS").read_text().splitlines()}
    present = {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()}
    assert listed == present - {"SHA256SUMS"}
    pd.testing.assert_frame_equal(Dataset.open(top / "data").rows(), Dataset.open(directory).rows())
    assert parse_study((top / "data/study/study.toml").read_text()) == parse_study(STUDY)
    assert not (top / "data/study/pseudonyms.key").exists()
    assert not list(directory.parent.glob("**/.bundle-*"))


def test_without_audio_nothing_can_be_heard(directory: Path, tmp_path: Path) -> None:
    made = bundle(directory, tmp_path / "quiet.tar.gz", audio=False)
    top = unpacked(made.path, tmp_path / "x")
    assert not [path for path in top.rglob("*") if path.suffix in (".wav", ".pcap")]
    trace = pd.read_parquet(top / "data/calls/by-hand/to_callee.trace.parquet")
    assert list(trace["sent_ns"]) == [0, 20]
    assert trace["payload"].isna().all()
    assert b"voice" not in b"".join(path.read_bytes() for path in top.rglob("*.parquet"))
    assert json.loads((top / "MANIFEST.json").read_text())["left_out"] == {"captures": 9, "sound": 2}


def test_pseudonyms_leave_no_name_and_are_the_same_everywhere(directory: Path, tmp_path: Path) -> None:
    made = bundle(directory, tmp_path / "masked.tar.gz", pseudonyms=True)
    top = unpacked(made.path, tmp_path / "x")
    for path in (path for path in top.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for name in (b"Fluffy", FINGERPRINT.encode(), b"203.0.113.9", b"10.77.", b"2001:db8:5::1", b"/home/somebody"):
            assert name not in content, f"{name!r} in {path.relative_to(top)}"
    record = Dataset.open(top / "data").call("by-hand").record
    (relay,) = record.circuit.relays
    log = record.evidence["log"]
    assert f"${relay.fingerprint}~{relay.nickname} at {relay.address}:9001" in log
    assert record.versions == {"tor": "0.4.9.11"}, "a version is not an address"
    assert (relay.place, record.caller.place) == ("Paris", record.rows[0].from_place)
    truth = pd.read_parquet(top / "data/calls/by-hand/truth.parquet")
    assert list(truth.iloc[0][["source", "destination"]]) == ["caller", relay.nickname]
    with sqlite3.connect(top / "data/study/journal.sqlite") as journal:
        plans = [json.loads(plan) for (plan,) in journal.execute("SELECT plan FROM calls")]
    journal.close()
    assert {plan["guard"] for plan in plans if plan["path"] == "tor"} == {relay.nickname}
    assert bundle(directory, tmp_path / "c" / "masked.tar.gz", pseudonyms=True).sha256 == made.sha256


def test_pseudonyms_depend_on_the_key_and_spare_what_only_looks_alike() -> None:
    one, other = Pseudonyms(b"1", ["relay1", "relay10"]), Pseudonyms(b"2", ["relay1"])
    assert one.text("relay1") != other.text("relay1")
    assert one.text("relay10 relay1,relay1") == f"{one.text('relay10')} {one.text('relay1')},{one.text('relay1')}"
    assert one.text("xrelay1 relay1x 1.2.3 1.2.3.4.5 999.1.1.1 12:30:45 a:b") == (
        "xrelay1 relay1x 1.2.3 1.2.3.4.5 999.1.1.1 12:30:45 a:b"
    )
    assert one.text("127.0.0.1:9050") == "127.0.0.1:9050"


def test_figures_come_again_bit_for_bit(directory: Path, tmp_path: Path) -> None:
    def draw(data: Path, folder: Path) -> Sequence[Path]:
        return [path for figure in reproduce(data, folder, resamples=50).figures for path in figure.files]

    made = bundle(directory, tmp_path / "figures.tar.gz", draw=draw)
    assert made.figures >= 4
    top = unpacked(made.path, tmp_path / "x")
    program = f"{sys.executable} -c '{MAIN}'"
    done = subprocess.run(
        ["make", "figures", f"EARWITNESS={program}"], cwd=top, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "every figure is the same, bit for bit" in done.stdout
    first = sorted((top / "figures").rglob("*.png"))[0]
    first.write_bytes(first.read_bytes() + b" ")
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "../FIGURES.sha256"], cwd=top / "figures", check=False)
    assert checked.returncode != 0


def test_what_cannot_be_bundled(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.tar\.gz"):
        bundle(directory, tmp_path / "study.zip")
    with pytest.raises(InputError, match="there is none"):
        bundle(tmp_path / "nothing", tmp_path / "study.tar.gz")
    with owned_study(directory, StudyFile.parse(STUDY)), pytest.raises(InputError, match="a run is using it"):
        bundle(directory, tmp_path / "study.tar.gz")

"""What the first edition left half-done goes on, and its bundles are verified."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import tarfile
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from testing.commands import MAIN, extract
from testing.first_edition.answers import EXPECTED, HEARD_AGAIN_REL, assert_same
from testing.first_edition.questions import DATA, half_run_what_if, records, run, unpack, what_if_resumed

PLACED = {
    "half-00001-direct-gsm-a1",
    "half-00002-tor3-gsm-a1",
    "half-00003-unknown-gsm-a1",
    "half-00004-direct-speex-a1",
    "half-00005-unknown-speex-a1",
}
LEFT = {"half-00003-unknown-gsm-a2", "half-00005-unknown-speex-a2", "half-00006-tor3-speex-a1"}


def by_call(found: Any, expected: Any) -> list[tuple[Any, Any]]:
    """Both answers to each question that is rated by the E-model."""
    return [(one, other) for one, other in zip(found, expected, strict=True) if other.get("mos_cqe") is not None]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.lab
@pytest.mark.timeout(240)
def test_the_half_run_study_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, permitted: None) -> None:
    monkeypatch.setenv("EARWITNESS_RUNTIME", str(tmp_path / "runtime"))
    half = unpack("half", tmp_path)
    before = contents(half / "calls")
    assert {name.split("/")[0] for name in before} == PLACED
    placed = records("study", "run", DATA / "half.toml", "--out", half, "--no-report")
    assert {row["call_id"] for row in placed} == LEFT
    after = contents(half / "calls")
    assert {name.split("/")[0] for name in after} == PLACED | LEFT
    assert {name: after[name] for name in before} == before, "what was done stays as it was, to the byte"
    assert not list((half / ".staging").iterdir())
    assert not (half / "study" / "damaged").exists()
    (status,) = records("study", "status", half)
    assert (status["calls"], status["open"], status["attempts"]) == (6, 0, 8)
    assert status["outcomes"] == {"completed": 4, "failed": 4}
    rows = records("query", half, "SELECT DISTINCT call_id FROM calls")
    assert {row["call_id"] for row in rows} == PLACED | LEFT


def test_the_half_run_what_if_is_resumed_and_keeps_what_it_had(tmp_path: Path) -> None:
    data = half_run_what_if(tmp_path)
    journal = data / "whatif" / "journal.jsonl"
    before = journal.read_bytes()
    assert before.count(b"\n") == 4
    found = what_if_resumed(tmp_path)
    expected = deepcopy(EXPECTED["what_if_resumed"])
    # Since then the E-model counts packets that were not played, as in every other command, instead of late frames.
    rated = [(one.pop("mos_cqe"), other.pop("mos_cqe"), other["late_ratio"]) for one, other in by_call(found, expected)]
    assert_same(found, expected, "what-if", HEARD_AGAIN_REL)
    assert sum(late == 0 for _, _, late in rated) > 5
    for now, then, late in rated:
        assert now == pytest.approx(then, rel=HEARD_AGAIN_REL) if not late else abs(now - then) < 0.05
    after = journal.read_bytes()
    assert after.startswith(before)
    # 30 results: the same code adds what was missing, other code takes nothing old for its own.
    assert after.count(b"\n") - 4 in (26, 30)


def test_an_import_that_is_asked_for_again_adds_nothing(tmp_path: Path) -> None:
    captures, imported = unpack("captures", tmp_path), unpack("imported", tmp_path)
    (reference,) = unpack("calls", tmp_path).glob("calls/tcp-gsm-*/reference.wav")
    before = contents(imported / "calls")
    done = run("import", captures, "--copy", "--reference", reference, "--out", imported)
    assert done.returncode == 0, done.stderr
    assert contents(imported / "calls") == before


@pytest.mark.parametrize("name", ["plain", "pseudonyms"])
class TestABundle:
    def make(self, top: Path, target: str) -> subprocess.CompletedProcess[str]:
        program = f"EARWITNESS={sys.executable} -c '{MAIN}'"
        return subprocess.run(["make", target, program], cwd=top, capture_output=True, text=True, check=False)

    def test_it_is_verified(self, name: str, tmp_path: Path) -> None:
        done = self.make(unpack(name, tmp_path), "check")
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("ending", [".json", ".parquet", ".sqlite"])
    def test_a_spoilt_copy_is_refused(self, name: str, ending: str, tmp_path: Path) -> None:
        top = unpack(name, tmp_path)
        spoilt = max((path for path in (top / "data").rglob(f"*{ending}")), key=lambda path: path.stat().st_size)
        content = bytearray(spoilt.read_bytes())
        content[len(content) // 2] ^= 1
        spoilt.write_bytes(content)
        done = self.make(top, "check")
        assert done.returncode != 0
        assert spoilt.name in done.stdout + done.stderr

    def test_it_can_be_bundled_again(self, name: str, tmp_path: Path) -> None:
        top = unpack(name, tmp_path)
        first = contents(top / "data" / "calls")
        out = tmp_path / "again.tar.gz"
        records("bundle", top / "data", "--no-figures", "--out", out)
        with tarfile.open(out) as tar:
            extract(tar, tmp_path / "again")
        assert contents(tmp_path / "again" / "again" / "data" / "calls") == first


def test_every_figure_is_drawn_again(tmp_path: Path) -> None:
    """Bit for bit by the versions that the bundle names, as it promises; by others each of the same names."""
    top = unpack("plain", tmp_path)
    done = run("reproduce", top / "data", "--out", top / "figures")
    assert done.returncode == 0, done.stderr
    lines = [line.split("  ") for line in (top / "FIGURES.sha256").read_text().splitlines()]
    listed = {name: digest for digest, name in lines}
    drawn = contents(top / "figures")
    assert len(listed) == 10
    assert set(listed) <= set(drawn)
    made_with = json.loads((top / "MANIFEST.json").read_text())["bundled_with"]
    here = {name: platform.python_version() if name == "python" else version(name) for name in made_with}
    if here == made_with:
        assert {name: hashlib.sha256(drawn[name]).hexdigest() for name in listed} == listed

"""Each command that works on files, through the real command line: what it prints, and its line for wrong input.

`score` and `timing` have files of their own; those that place calls or serve are in `test_serving.py`.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from earwitness.archive.dataset import Dataset
from testing.cli.command_line import all_commands, earwitness, output, records, refusal
from testing.first_edition.questions import unpack
from testing.published.make import both_ways, end_files, reference, sound, table, wav_bytes
from testing.report.synthetic import Made, add_call
from testing.study.files import study_file

pytestmark = pytest.mark.timeout(240)

STUDY = study_file("tiny", "[call]\nseconds = 4\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commands") / "set"
    with Dataset.open_or_create(path, durable=False) as store:
        for seed in (1, 2):
            add_call(store, Made(f"direct-{seed}", path="direct", hops=0, seconds=3.0, seed=seed))
            add_call(store, Made(f"tor-{seed}", seconds=3.0, seed=seed))
    return path


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("artifact")
    reference(root)
    (root / "05-data").mkdir()
    table(60).to_csv(root / "05-data" / "Non-tor-data.csv", index=False)
    end_files(root, capture=both_ways(), recording=wav_bytes(sound(26)))
    return root


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("captures", tmp_path_factory.mktemp("captures")) / "tcp-gsm.pcap"


def test_report_writes_the_page_and_prints_the_table(data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = earwitness("report", data, "--out", page, "--calls", "1")
    assert ran.returncode == 0, ran.stderr
    assert f"wrote {page}" in ran.stderr
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "MOS" in ran.stdout
    assert refusal("report", data, "--calls", "many").startswith("--calls: ")


def test_compare_prints_paired_differences(tmp_path: Path) -> None:
    data = unpack("calls", tmp_path)
    found = records("compare", data, "--measure", "mos_lqo", "--any-instrument", "--resamples", "10")
    assert {one["measure"] for one in found} == {"mos_lqo"}
    assert all(one["pairs"] for one in found)
    assert "choose" in refusal("compare", data, "--by", "weather")


def test_query_answers_in_sql(data: Path) -> None:
    assert records("query", data, "SELECT count(*) AS n FROM calls") == [{"n": 8}]
    assert output("query", data, "SELECT 1 AS one", "--csv") == "one\n1\n"
    assert "it would change something" in refusal("query", data, "DROP TABLE calls")


def test_export_writes_the_published_table(data: Path, tmp_path: Path) -> None:
    assert "calls written to" in output("export", data, "--out", tmp_path / "table.csv")
    assert (tmp_path / "table.csv").stat().st_size
    assert str(tmp_path / "none") in refusal("export", tmp_path / "none", "--out", tmp_path / "x.csv")


def test_bundle_packs_the_data_set(data: Path, tmp_path: Path) -> None:
    packed = tmp_path / "set.tar.gz"
    (made,) = records("bundle", data, "--out", packed, "--no-figures")
    assert made["calls"] == 4
    with tarfile.open(packed) as opened:
        assert any(name.endswith("/data/dataset.json") for name in opened.getnames())
    assert ".tar.gz" in refusal("bundle", data, "--out", tmp_path / "set.zip", "--no-figures")


def test_import_measures_a_folder(artifact: Path, tmp_path: Path) -> None:
    (summary,) = records("import", artifact, "--out", tmp_path / "set")
    assert summary["calls_found"] == summary["calls_imported"] == 1
    assert str(tmp_path / "none") in refusal("import", tmp_path / "none", "--out", tmp_path / "set")


def test_reproduce_computes_the_published_numbers(artifact: Path, tmp_path: Path) -> None:
    text = output("reproduce", artifact, "--out", tmp_path / "page", "--no-raw", "--resamples", "10")
    assert "published numbers" in text
    assert (tmp_path / "page" / "reproduction.html").is_file()
    assert str(tmp_path / "none") in refusal("reproduce", tmp_path / "none", "--out", tmp_path / "x")


def test_hear_prints_a_row_for_each_buffer_and_writes_the_sound(capture: Path, tmp_path: Path) -> None:
    heard = records("hear", capture, "--buffer", "fixed:60", "--buffer", "adaptive", "--out", tmp_path / "x.wav")
    assert [one["buffer"] for one in heard] == ["fixed:60", "adaptive"]
    assert (tmp_path / "x-fixed-60.wav").stat().st_size > 1000
    assert "no buffer has that name" in refusal("hear", capture, "--buffer", "elastic")


def test_hear_calls_settings_by_its_options(tmp_path: Path) -> None:
    cut = unpack("captures", tmp_path) / "none.pcap"
    cut.write_bytes(b"no capture")
    assert "reading the capture" in refusal("hear", cut)


def test_whatif_hears_the_calls_again(data: Path, tmp_path: Path) -> None:
    rows = records("whatif", data, "--buffer", "fixed:60", "--calls", "1", "--out", tmp_path / "whatif")
    assert any(row.get("buffer") == "fixed:60" for row in rows)
    assert (tmp_path / "whatif" / "whatif.html").is_file()
    assert refusal("whatif", data, "--cluster", "tls://127.0.0.1:1").startswith("--cluster: ")
    both = ("--cluster", "tls://127.0.0.1:1", "--keys", tmp_path, "--workers", "2")
    assert "leave out --workers or --cluster" in refusal("whatif", data, *both)


def test_blame_needs_to_know_what_was_said(data: Path, capture: Path, tmp_path: Path) -> None:
    rows = records("blame", data, "--calls", "1", "--out", tmp_path / "blame")
    assert any("blame_whole" in row for row in rows)
    assert refusal("blame", capture).startswith("--reference: ")


def test_study_init_plan_and_status(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    assert earwitness("study", "init", file).returncode == 0
    assert "it is there already" in refusal("study", "init", file)
    (summary,) = records("study", "plan", file)
    assert summary["calls"] > 0
    assert str(tmp_path) in refusal("study", "status", tmp_path)
    assert "choose one of small, published" in refusal("study", "init", tmp_path / "b.toml", "--like", "vast")


def test_a_study_file_is_refused_with_a_line_for_each_fault(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(STUDY.replace("seconds = 4", "seconds = 2\nsip_relay = true"))
    for command in (("plan", file), ("run", file, "--out", tmp_path / "set")):
        ran = earwitness("study", *command)
        assert ran.returncode == 2
        first, *faults = ran.stderr.strip().splitlines()
        assert first == f"earwitness: reading {file}: 2 faults"
        assert [fault.split(": ")[0:2] for fault in faults] == [
            ["  line 10", "call.seconds"],
            ["  line 11", "call.sip_relay"],
        ]
        assert "--" not in "".join(faults)
    assert not (tmp_path / "set").exists()


def test_path_config_prints_both_files_and_no_key() -> None:
    text = output("path", "config", "--server", "192.0.2.7")
    assert "# ---- client.ovpn" in text
    assert "# ---- server.ovpn" in text
    assert "PRIVATE KEY" not in text
    assert refusal("path", "config", "--server", "192.0.2.7", "--security", "rot13")


def test_kinds_lists_what_is_built_in() -> None:
    names = {one["name"] for one in records("kinds", "codecs")}
    assert {"g711u", "opus"} <= names
    assert refusal("kinds", "weather").startswith("WHAT: ")


def test_doctor_lists_what_it_looked_for() -> None:
    ran = earwitness("doctor", "--json")
    assert ran.returncode in (0, 1)
    checks = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {"tor", "openvpn"} <= {check["name"] for check in checks}
    assert all(check["remedy"] for check in checks if not check["ok"])
    assert earwitness("doctor", "--all").returncode == 2


def test_every_command_is_run_by_a_test_of_this_folder() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    missing = [name for name in all_commands() if ", ".join(f'"{word}"' for word in name.split()) not in tests]
    assert missing == []

"""What goes into a bundle: files of a data set, and nothing that a link, a device or a strange name brings in."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from earwitness.archive.dataset import Dataset
from earwitness.archive.layout import CALL_FILES
from earwitness.archive.record import CallRecord, write_record
from earwitness.bundle.bundle import bundle
from earwitness.errors import InputError, Outcome
from earwitness.files import OpenFolder, UnfitFile
from earwitness.phone.linphone import recording_name
from testing.bundle.archive import in_archive
from testing.commands import EARWITNESS
from testing.study.files import study_file
from testing.study.simulated import SimulatedSlot, run_simulated

STUDY = study_file("sim")
SECRET = b"root:$6$secret-of-another-file"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("shadow", "callee.pcap", "study.toml", "journal.sqlite"):
        (folder / name).write_bytes(SECRET)
    return folder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    out = tmp_path / "data"
    with Dataset.open_or_create(out) as dataset, dataset.new_call("a") as folder:
        write_record(folder, CallRecord(call_id="a", started_at="2026-01-01T00:00:00Z", outcome=Outcome.NO_ANSWER))
        (folder / "caller.pcap").write_bytes(b"capture")
        (folder / "reference.wav").write_bytes(b"RIFF")
    return out


def packed(path: Path) -> dict[str, bytes]:
    """The bundle's files, without its own name."""
    with tarfile.open(path) as tar:
        assert all(member.isreg() for member in tar)
        return {name.partition("/")[2]: in_archive(tar, name) for name in tar.getnames()}


def check(made: Path) -> dict[str, bytes]:
    found = packed(made)
    assert not [name for name, content in found.items() if SECRET in content]
    return found


@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", [{}, {"audio": False}, {"pseudonyms": True}])
def test_links_pipes_devices_and_strange_names_stay_out(
    directory: Path, secret: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    call = directory / "calls" / "a"
    (call / "callee.pcap").symlink_to(secret / "shadow")
    (call / "truth.parquet").symlink_to("../../../elsewhere/shadow")
    (call / "to_callee.wav").symlink_to("/dev/zero")
    (call / "notes.txt").write_bytes(SECRET)
    (call / ".bash_history").write_bytes(SECRET)
    (call / "record.json.bak").write_bytes(SECRET)
    os.mkfifo(call / "to_caller.wav")
    os.mkfifo(call / "to_callee.trace.parquet")
    (call / "to_caller.trace.parquet").mkdir()
    (call / "to_caller.trace.parquet" / "x").write_bytes(SECRET)
    (call / b"\xff\x1b[2J".decode("utf-8", "surrogateescape")).write_bytes(SECRET)
    (directory / "calls" / "linked").symlink_to(secret, target_is_directory=True)
    (directory / "calls" / "stray").write_bytes(SECRET)
    (directory / "calls" / "-x").mkdir()
    (directory / "secret").write_bytes(SECRET)
    made = bundle(directory, tmp_path / "out.tar.gz", **options)
    found = check(made.path)
    in_call = {Path(name).name for name in found if name.startswith("data/calls/a/")}
    assert in_call <= {"record.json", "caller.pcap", "reference.wav"}
    told = "\n".join(made.strangers)
    for name in (
        "notes.txt",
        ".bash_history",
        "calls/linked",
        "calls/stray",
        "calls/-x",
    ):
        assert name in told
    assert ("to_caller.wav: it is a pipe" in told) is options.get("audio", True)
    about = json.loads(found["MANIFEST.json"])
    assert about["left_out"]["files that are not part of a data set"] >= 10
    assert about["calls"] == 1


def test_a_link_to_a_folder_on_the_way_is_refused(directory: Path, secret: Path, tmp_path: Path) -> None:
    (directory / "calls").rename(tmp_path / "moved")
    (directory / "calls").symlink_to(tmp_path / "moved", target_is_directory=True)
    for pseudonyms in (False, True):
        with pytest.raises(InputError, match="link"):
            bundle(directory, tmp_path / "out.tar.gz", pseudonyms=pseudonyms)
    (directory / "calls").unlink()
    (tmp_path / "moved").rename(directory / "calls")
    (directory / "study").symlink_to(secret, target_is_directory=True)
    for pseudonyms in (False, True):
        with pytest.raises(InputError, match="link"):
            bundle(directory, tmp_path / "out.tar.gz", pseudonyms=pseudonyms)
    assert not (secret / "pseudonyms.key").exists()


def test_nor_is_a_link_in_the_study(tmp_path: Path, secret: Path) -> None:
    out = tmp_path / "data"
    run_simulated(STUDY, out, [SimulatedSlot()])
    (out / "study" / "study.toml").unlink()
    (out / "study" / "study.toml").symlink_to(secret / "study.toml")
    (out / "study" / "journal.sqlite").rename(tmp_path / "other.sqlite")
    (out / "study" / "journal.sqlite").symlink_to(tmp_path / "other.sqlite")
    (out / "study" / "damaged").mkdir()
    (out / "study" / "damaged" / "x").write_bytes(SECRET)
    made = bundle(out, tmp_path / "out.tar.gz")
    assert not [name for name in check(made.path) if name.startswith("data/study/")]
    assert [told.partition(":")[0] for told in made.strangers] == ["study/journal.sqlite", "study/study.toml"]


def test_a_journal_gives_its_own_tables_only(tmp_path: Path) -> None:
    out = tmp_path / "data"
    run_simulated(STUDY, out, [SimulatedSlot()])
    with sqlite3.connect(out / "study" / "journal.sqlite") as journal:
        journal.execute("CREATE TABLE diary (text)")
        journal.execute("INSERT INTO diary VALUES (?)", (SECRET.decode(),))
        journal.execute("INSERT INTO meta VALUES ('diary', ?)", (SECRET.decode(),))
    journal.close()
    made = bundle(out, tmp_path / "out.tar.gz")
    content = check(made.path)["data/study/journal.sqlite"]
    (tmp_path / "copy.sqlite").write_bytes(content)
    with sqlite3.connect(tmp_path / "copy.sqlite") as copy, sqlite3.connect(out / "study" / "journal.sqlite") as own:
        for table in ("calls", "attempts", "runs"):
            assert copy.execute(f"SELECT * FROM {table}").fetchall() == own.execute(f"SELECT * FROM {table}").fetchall()
    copy.close()
    own.close()
    (out / "study" / "journal.sqlite").write_bytes(b"no database" * 100)
    damaged = bundle(out, tmp_path / "damaged.tar.gz")
    assert "data/study/journal.sqlite" not in packed(damaged.path)
    assert any(told.startswith("study/journal.sqlite: ") for told in damaged.strangers)


def test_what_a_killed_run_left_beside_the_journal_is_in_it(tmp_path: Path) -> None:
    out = tmp_path / "data"
    run_simulated(STUDY, out, [SimulatedSlot()])
    program = (
        "import sqlite3, os, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA journal_mode=WAL');"
        "db.execute(\"UPDATE calls SET why = 'in the log'\"); db.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(out / "study" / "journal.sqlite")], check=True)
    assert (out / "study" / "journal.sqlite-wal").stat().st_size
    made = bundle(out, tmp_path / "out.tar.gz")
    assert b"in the log" in packed(made.path)["data/study/journal.sqlite"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has others' files to link")
def test_a_hard_link_to_another_users_file_stays_out(directory: Path, tmp_path: Path) -> None:
    call = directory / "calls" / "a"
    (tmp_path / "shadow").write_bytes(SECRET)
    os.link(tmp_path / "shadow", call / "to_callee.wav")
    os.chown(call, 12345, 12345)
    made = bundle(directory, tmp_path / "out.tar.gz")
    assert "data/calls/a/to_callee.wav" not in check(made.path)
    os.link(call / "caller.pcap", tmp_path / "backup.pcap")
    os.chown(call / "caller.pcap", 12345, 12345)
    again = packed(bundle(directory, tmp_path / "again.tar.gz").path)
    assert again["data/calls/a/caller.pcap"] == b"capture", "a copy of links (cp -l) is the user's own"


def test_a_bundle_shares_no_bytes_with_the_data_set(directory: Path, tmp_path: Path) -> None:
    """What is written into a file of the data set while it is bundled cannot make the bundle disagree with itself."""
    path = directory / "calls" / "a" / "caller.pcap"

    def draw(data: Path, folder: Path) -> list[Path]:
        with path.open("ab") as file:
            file.write(b" goes on")
        folder.mkdir()
        (folder / "x.png").write_bytes(b"figure")
        return [folder / "x.png"]

    made = bundle(directory, tmp_path / "out.tar.gz", draw=draw)
    assert packed(made.path)["data/calls/a/caller.pcap"] == b"capture"


def test_a_file_that_may_not_be_read_is_told(directory: Path, tmp_path: Path) -> None:
    with OpenFolder.of(directory) as top, pytest.raises(UnfitFile, match="too large"):
        top.open("dataset.json", 3)
    with OpenFolder.of(directory) as top, pytest.raises(UnfitFile, match="directory"):
        top.open("calls", 3)
    with OpenFolder.of(directory) as top, pytest.raises(UnfitFile, match="not a folder"), top.folder("dataset.json"):
        pass


def test_whatever_a_call_writes_can_be_in_a_bundle(directory: Path, tmp_path: Path) -> None:
    assert {recording_name(end) for end in ("caller", "callee")} <= CALL_FILES
    for name in CALL_FILES - {"record.json"}:
        (directory / "calls" / "a" / name).write_bytes(b"content of " + name.encode())
    found = packed(bundle(directory, tmp_path / "out.tar.gz").path)
    assert {Path(name).name for name in found if name.startswith("data/calls/a/")} == CALL_FILES


def test_names_in_the_source_that_a_call_writes_are_on_the_list() -> None:
    """Files that paths, phones and captures write beside a record, as the code names them."""
    import earwitness.path.vpn as vpn

    source = Path(vpn.__file__).read_text()
    assert "caller.ovpn" in source
    assert {"caller.ovpn", "callee.ovpn"} <= CALL_FILES


def test_the_command_tells_what_it_left_out(directory: Path, tmp_path: Path) -> None:
    (directory / "calls" / "a" / "evil\x1b[2J").write_bytes(SECRET)
    out = tmp_path / "out.tar.gz"
    done = subprocess.run(
        [*EARWITNESS, "bundle", str(directory), "--out", str(out), "--no-figures"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "left out: 1 files that are not part of a data set" in done.stdout
    assert r"left out: calls/a/evil\x1b[2J: not a file of the data set layout" in done.stderr


@pytest.mark.timeout(30)
def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(directory: Path, tmp_path: Path) -> None:
    (directory / "study").mkdir()
    os.mkfifo(directory / "study" / "lock")
    assert bundle(directory, tmp_path / "out.tar.gz").calls == 1


@pytest.mark.timeout(30)
def test_a_key_that_is_none_is_refused(directory: Path, tmp_path: Path, secret: Path) -> None:
    (directory / "study").mkdir()
    key = directory / "study" / "pseudonyms.key"
    for put in (lambda: key.write_text("no key"), lambda: key.symlink_to(secret / "shadow"), lambda: os.mkfifo(key)):
        put()
        with pytest.raises(InputError, match="key"):
            bundle(directory, tmp_path / "out.tar.gz", pseudonyms=True)
        key.unlink()

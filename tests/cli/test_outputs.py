"""What cannot be written is one line, leaves nothing half done, and puts no file in the place of what is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earwitness.archive.dataset import Dataset
from earwitness.cli.main import app
from earwitness.errors import InputError
from testing.cli.on_a_full_disk import commands
from testing.commands import REPOSITORY
from testing.published.make import both_ways, end_files, reference, sound, table, wav_bytes
from testing.report.synthetic import Made, add_call

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outputs") / "set"
    with Dataset.open_or_create(path, durable=False) as store:
        add_call(store, Made("good", seconds=3.0, seed=1))
    return path


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("artifact")
    reference(root)
    (root / "05-data").mkdir()
    table(60).to_csv(root / "05-data" / "Non-tor-data.csv", index=False)
    end_files(root, capture=both_ways(), recording=wav_bytes(sound(26)))
    return root


def test_a_full_disk_and_one_that_may_not_be_written(data: Path, artifact: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    argv = ["unshare", "-m", sys.executable, "-m", "testing.cli.on_a_full_disk", *map(str, (place, data, artifact))]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    if "mounted" not in done.stdout:
        pytest.skip(f"no mount namespace with a tmpfs here: {done.stderr.strip().splitlines()[-1:]}")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()[1:]]
    assert len(found) == 1 + 2 * len(commands("", "", ""))
    for one in found:
        if one["disk"] == "nearly full" and one["command"] == "export":  # there is room for it
            assert one["files"] == ["ballast", "x.csv"]
            continue
        assert one["ours"], one
        why = "Read-only file system; give a" if one["disk"] == "read-only" else "No space left on device; free some"
        assert why in one["told"], one
        drafts = [name for name in one["files"] if Path(name).name.startswith(".") and Path(name).name != ".lock"]
        assert drafts == [], one
        assert not {"x.csv", "x.html", "x.tar.gz", "r/reproduction.html", "w/whatif.html"} & set(one["files"]), one


TARGETS = {
    "export": "x.csv",
    "report": "x.html",
    "report --figures": "figures/delay-cdf.pdf",
    "bundle": "x.tar.gz",
    "reproduce": "r/reproduction.html",
    "whatif": "w/whatif-calls.csv",
    "blame": "b/blame.csv",
}


@pytest.mark.parametrize("command", TARGETS)
def test_a_directory_is_not_written_over(data: Path, artifact: Path, tmp_path: Path, command: str) -> None:
    target = tmp_path / TARGETS[command]
    target.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(app, commands(str(data), str(artifact), str(tmp_path))[command])
    assert isinstance(result.exception, InputError), result.output
    assert str(result.exception).endswith("it is a directory, not a file; give another name, or remove it")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["export", "report", "bundle"])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_pipe_stays_one(data: Path, tmp_path: Path, command: str, through_a_link: bool) -> None:
    target, pipe = tmp_path / TARGETS[command], tmp_path / "pipe"
    if through_a_link:
        target.symlink_to(pipe)
    else:
        pipe = target
    os.mkfifo(pipe)
    result = CliRunner().invoke(app, commands(str(data), "", str(tmp_path))[command])
    assert isinstance(result.exception, InputError), result.output
    assert "it is a pipe, not a file" in str(result.exception)
    assert pipe.is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {target.name, pipe.name}

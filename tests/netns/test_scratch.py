"""Folders for short-lived files: gone with their owner, whatever became of it, and nothing else gone with them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earwitness.netns.scratch import scratch_folder

_OWNER = """
import sys, time
from pathlib import Path
from earwitness.netns.scratch import scratch_folder
with scratch_folder("ours-", Path(sys.argv[1])) as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "private.key").write_text("secret")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_it_is_ours_alone_and_gone_on_leaving(tmp_path: Path) -> None:
    with scratch_folder("ours-", tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("something")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_an_owner_that_is_killed_leaves_nothing_behind(tmp_path: Path, ending: signal.Signals) -> None:
    beside = tmp_path / "ours-of-another"
    beside.mkdir()
    with subprocess.Popen([sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert (folder / "deep" / "private.key").exists()
        owner.send_signal(ending)
        owner.wait()
    until = time.monotonic() + 60
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == [beside]


def test_what_is_there_under_its_name_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _size: "0")
    theirs = tmp_path / "ours-0"
    theirs.mkdir()
    (theirs / "file").write_text("theirs")
    with pytest.raises(FileExistsError), scratch_folder("ours-", tmp_path):
        pass
    assert (theirs / "file").read_text() == "theirs"

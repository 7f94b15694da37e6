"""Files that tasks bring along to a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from earwitness.cluster import executor
from earwitness.cluster.executor import Brought


def test_a_file_that_every_task_brings_outlives_many_that_one_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_FILES_OF_A_WORKER", 3)
    shared = Brought("reference", "/home/speech.wav", "0")
    for number in range(1, 6):
        reference = executor._kept(tmp_path, shared, b"speech")
        for kept in tmp_path.iterdir():  # an hour between tasks
            os.utime(kept, times=(kept.stat().st_atime, kept.stat().st_mtime - 3600))
        trace = executor._kept(tmp_path, Brought("trace", f"/home/{number}/trace", str(number)), b"trace")
        assert reference.read_bytes() == b"speech"
        assert trace.read_bytes() == b"trace"
    assert {path.name for path in tmp_path.iterdir()} == {"0", "4", "5"}

"""A few of the spoilt data sets of `bench mutated`, each time the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from testing.commands import REPOSITORY, with_repository

SEEDS = "101-140"


@pytest.mark.timeout(280)
def test_spoilt_data_sets_end_in_no_traceback_and_the_good_calls_stay() -> None:
    """In a process of its own, since the one that forks must have no threads."""
    done = subprocess.run(
        [sys.executable, "-m", "testing.study.mutated_sets", "-q", SEEDS],
        cwd=REPOSITORY,
        env=with_repository(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

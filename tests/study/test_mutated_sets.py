"""A few of the spoilt data sets of `bench mutated`, each time the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SEEDS = "101-140"


@pytest.mark.timeout(280)
def test_spoilt_data_sets_end_in_no_traceback_and_the_good_calls_stay() -> None:
    """In a process of its own, since the one that forks must have no threads."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.study.mutated_sets", "-q", SEEDS],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr

"""Scripts that run in a sandbox, as processes of their own, and report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from earwitness.errors import EarwitnessError
from earwitness.lab.sandbox import check_permitted


def ran(script: Path, folder: Path) -> dict[str, Any]:
    """The report of a script that makes a lab and writes `report.json` into `folder`."""
    try:
        check_permitted()
    except EarwitnessError as error:
        pytest.skip(str(error))
    argv = [sys.executable, str(script), str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report

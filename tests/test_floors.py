"""The floors are kept by a linter: what breaks a contract of theirs is found."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CONTRACTS = 5

BREACHES = {
    "upwards": ("tor/relays.py", "from earwitness.call import plan", "Floors"),
    "a circle": ("trace/bounds.py", "from earwitness.trace import model", "No circles"),
    "a circle for types alone": (
        "trace/bounds.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from earwitness.trace import model",
        "No circles",
    ),
    "Dask": ("study/status.py", "import distributed", "Only the cluster knows Dask"),
    "a clock": ("ear/hear.py", "import time", "The pure floors"),
    "a socket behind another module": ("files.py", "import socket", "The pure floors"),
    "the face": ("report/table.py", "from earwitness import __version__", "No room uses the face"),
}


def contracts(repository: Path) -> dict[str, bool]:
    """The import linter's contracts in a checkout, and whether each is kept."""
    linter = Path(sys.executable).with_name("lint-imports")
    environment = {"PYTHONPATH": str(repository / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [linter, "--no-cache"], cwd=repository, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    found = re.findall(r"^(.+?) (KEPT|BROKEN)\b.*$", done.stdout, re.MULTILINE)
    assert len(found) == CONTRACTS, done.stdout + done.stderr
    assert done.returncode == int("BROKEN" in dict(found).values())
    return {name: word == "KEPT" for name, word in found}


def test_every_contract_is_kept() -> None:
    assert [name for name, kept in contracts(REPOSITORY).items() if not kept] == []


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_found(breach: str, tmp_path: Path) -> None:
    name, line, contract = BREACHES[breach]
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__", "data"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    path = tmp_path / "src" / "earwitness" / name
    path.write_text(path.read_text() + f"\n{line}\n")
    broken = [name for name, kept in contracts(tmp_path).items() if not kept]
    assert any(name.startswith(contract) for name in broken), broken
